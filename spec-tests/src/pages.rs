//! The README and the pages in docs/: what they have in common, where their links lead, and whether the tests that the
//! threat model names exist.
//!
//! The table in the README has a few figures from the pages, which the measuring programs write. `cargo test -p
//! wharf-spec-tests pages` fails if the README differs from the pages; with `UPDATE_GENERATED=1` in the environment it
//! writes the table.

use crate::{markers, matrix};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A line of the README's table, and the source of its figures: block, row, columns, which part of a cell, unit.
struct Line {
    label: &'static str,
    block: &'static str,
    row: &'static str,
    columns: [&'static str; 3],
    part: usize,
    unit: &'static str,
}

/// The columns of the newest runtimes.
const RUNTIMES: [&str; 3] = ["wharf", "crun-1.28", "runc-1.3.6"];
const SHIMS: [&str; 3] = ["wharf", "Go+crun", "Go+runc"];
/// A cell of the benchmark is wall median, wall minimum, CPU median.
const CPU: usize = 2;

const LINES: [Line; 5] = [
    Line {
        label: "`run` of a container as Docker configures it, CPU time",
        block: "bench",
        row: "run B",
        columns: RUNTIMES,
        part: CPU,
        unit: " ms",
    },
    Line {
        label: "`exec` in it, CPU time",
        block: "bench",
        row: "exec B",
        columns: RUNTIMES,
        part: CPU,
        unit: " ms",
    },
    Line {
        label: "peak memory of that `run`",
        block: "bench",
        row: "peak RSS, run B, KiB",
        columns: RUNTIMES,
        part: 0,
        unit: " KiB",
    },
    Line {
        label: "smallest memory limit in which a container starts",
        block: "bench",
        row: "smallest memory limit of a container, KiB",
        columns: RUNTIMES,
        part: 0,
        unit: " KiB",
    },
    Line {
        label: "memory of the containerd shim, for each of 100 idle pods (wharf's own; containerd's for the others)",
        block: "shim",
        row: "100 idle pods, per shim: PSS",
        columns: SHIMS,
        part: 0,
        unit: "",
    },
];

/// The table, from the texts of the two pages.
fn table(performance: &str, conformance: &str) -> Result<String, String> {
    let heads = RUNTIMES.map(|name| name.replace('-', " "));
    let mut out = format!("| | {} |\n|---|--:|--:|--:|\n", heads.join(" | "));
    for line in &LINES {
        let text = markers::read(performance, line.block)?;
        let _infallible = write!(out, "| {} |", line.label);
        for column in line.columns {
            let cell = cell(text, line.row, column)?;
            let part = cell.split(" / ").nth(line.part);
            let part = part.ok_or_else(|| format!("{}: {cell:?} has no such part", line.row))?;
            // A figure may be followed by a comparison.
            let part = part.split(" (").next().unwrap_or(part);
            let _infallible = write!(out, " {part}{} |", line.unit);
        }
        out.push('\n');
    }
    let text = markers::read(conformance, matrix::BLOCK)?;
    let of = |row: &str, column: &str| cell(text, row, column);
    let version = |column| of("version", column).map(|text| text.split('+').next().unwrap_or(text));
    let (crun, runc) = (version("crun")?, version("runc")?);
    let _infallible =
        write!(out, "| rows of the conformance suite that are right (crun {crun}, runc {runc}) |");
    for column in ["wharf", "crun", "runc"] {
        let count = |row: &str| of(row, column)?.parse::<usize>().map_err(|error| format!("{row}: {error}"));
        let right = count("rows: Y right")?;
        let tried = right + count("rows: P partly")? + count("rows: N wrong")?;
        let _infallible = write!(out, " {right} of {tried} |");
    }
    Ok(out)
}

/// A cell of the first table in a text with this row and this column.
fn cell<'t>(text: &'t str, row: &str, column: &str) -> Result<&'t str, String> {
    let cells = |line: &'t str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let mut head = Vec::new();
    for line in text.lines() {
        if !line.starts_with('|') {
            head.clear();
        } else if head.is_empty() {
            head = cells(line);
        } else if cells(line)[0] == row
            && let Some(at) = head.iter().position(|name| *name == column)
        {
            return cells(line).get(at).copied().ok_or_else(|| format!("{row} is short"));
        }
    }
    Err(format!("no table with the row {row:?} and the column {column:?}"))
}

#[test]
fn the_readme_says_what_the_pages_say() {
    let root = root();
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let wanted = table(&read("docs/performance.md"), &read("docs/conformance.md")).unwrap();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        markers::write(&root.join("README.md"), "summary", &wanted).unwrap();
    }
    let readme = read("README.md");
    let found = markers::read(&readme, "summary").unwrap().trim();
    assert_eq!(found, wanted, "run UPDATE_GENERATED=1 cargo test -p wharf-spec-tests pages");
}

#[test]
fn a_cell_is_found_by_its_row_and_column() {
    let text =
        "| x | a |\n|---|---|\n| r | 1 |\n\n| x | a | b |\n|---|---|---|\n| q | 2 | 3 |\n| r | 4 | 5 |\n";
    assert_eq!(cell(text, "r", "a"), Ok("1"));
    assert_eq!(cell(text, "r", "b"), Ok("5"));
    assert!(cell(text, "r", "c").is_err());
    assert!(cell(text, "s", "a").is_err());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages for readers, by their paths.
fn pages() -> Vec<PathBuf> {
    let below = |dir: &str| std::fs::read_dir(root().join(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = below("")
        .chain(below("docs"))
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    pages.sort();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page.clone() } else { page.with_file_name("").join(file) };
            let there = file.exists()
                && (heading.is_empty()
                    || std::fs::read_to_string(&file)
                        .unwrap()
                        .lines()
                        .any(|line| line.starts_with('#') && anchor(line) == heading));
            if !there {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_readme_stays_a_front_page() {
    let lines = std::fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= 200, "{lines} lines: the rest belongs into docs/");
}

/// The rows and the sentence of each test, as the threat model names it: those of the shim with `shim` in front.
fn named() -> Vec<(String, String)> {
    let conformance = crate::all().into_iter().map(|test| (test.rows.to_owned(), test.sentence.to_owned()));
    let shim = crate::shim::all().into_iter();
    let shim =
        shim.map(|test| (format!("shim {}", test.row.replace(' ', " shim ")), test.sentence.to_owned()));
    conformance.chain(shim).collect()
}

/// What is in code style in a text and begins with a row.
fn references(text: &str) -> Vec<&str> {
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .filter(|span| {
            let first = span.strip_prefix("shim ").unwrap_or(span).split(' ').next().unwrap_or_default();
            let (letter, number) = first.split_at_checked(1).unwrap_or_default();
            letter.chars().all(|letter| letter.is_ascii_uppercase())
                && !number.is_empty()
                && number.chars().all(|digit| digit.is_ascii_digit())
        })
        .collect()
}

/// Whether there is a test of this row with these words.
fn exists(tests: &[(String, String)], reference: &str) -> bool {
    let (shim, rest) = reference.strip_prefix("shim ").map_or((false, reference), |rest| (true, rest));
    let (row, words) = rest.split_once(' ').unwrap_or((rest, ""));
    tests.iter().any(|(rows, sentence)| {
        let of_shim = rows.starts_with("shim ");
        of_shim == shim && rows.split(' ').any(|one| one == row) && sentence.contains(words)
    })
}

#[test]
fn the_threat_model_names_tests_that_exist_in_each_line() {
    let text = std::fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let tests = named();
    let mut wrong: Vec<String> = references(&text)
        .into_iter()
        .filter(|reference| !exists(&tests, reference))
        .map(|reference| format!("no test is called {reference:?}"))
        .collect();
    let lines = text.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| tests |"));
    for line in lines.clone() {
        let last = line.trim_end_matches(['|', ' ']).rsplit(" | ").next().unwrap_or_default();
        if !last.starts_with("none: ") && references(last).is_empty() {
            wrong.push(format!("neither a test nor a reason: {line}"));
        }
    }
    assert!(lines.count() > 100);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_threat_model_has_every_row_of_attacks() {
    let text = std::fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let references = references(&text);
    let rows: std::collections::BTreeSet<String> = crate::all()
        .iter()
        .flat_map(|test| test.rows.split(' '))
        .filter(|row| row.starts_with('S'))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> =
        rows.iter().filter(|row| !references.iter().any(|one| one.split(' ').next() == Some(row))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_reference_is_a_row_and_words() {
    let tests =
        [("S5 C11".to_owned(), "a mount stays".to_owned()), ("shim B12".to_owned(), "a socket".to_owned())];
    assert_eq!(references("`S5 stays`, `x`, `shim B12`, `CAP_X`, `S`"), ["S5 stays", "shim B12"]);
    assert!(exists(&tests, "S5") && exists(&tests, "C11 a mount") && exists(&tests, "shim B12 socket"));
    assert!(
        !exists(&tests, "S5 goes")
            && !exists(&tests, "S6")
            && !exists(&tests, "B12")
            && !exists(&tests, "shim S5")
    );
}
