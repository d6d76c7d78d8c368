//! How runtimes compare, as markdown: one line per row of the specification, one column per runtime.

use crate::markers;
use crate::outcome::Fault;
use crate::rows;
use crate::runner::{Totals, Verdict};
use std::fmt::Write;

/// The block with the table, as [`markers`] names it.
pub const BLOCK: &str = "matrix";

/// Tests that belong to no row of the specification.
const GROUPS: [(char, &str); 3] =
    [('S', "attacks by images and containers"), ('F', "faults and interruptions"), ('C', "command line")];

/// The suite's results for one runtime.
#[derive(Debug, Clone)]
pub struct Column {
    /// The runtime's name here.
    pub name: String,
    /// What it says about itself.
    pub version: String,
    /// The verdicts on all tests.
    pub verdicts: Vec<Verdict>,
}

/// The combined result of all tests of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// All that ran passed.
    Yes,
    /// Some passed.
    Partly,
    /// None passed.
    No,
    /// None ran.
    Skipped,
}

impl Cell {
    fn of<'v>(verdicts: impl Iterator<Item = &'v Verdict>) -> Self {
        let (mut passed, mut failed) = (0, 0);
        for verdict in verdicts {
            passed += usize::from(verdict.outcome.is_ok());
            failed += usize::from(matches!(verdict.outcome, Err(Fault::Failed(_))));
        }
        match (passed, failed) {
            (0, 0) => Self::Skipped,
            (_, 0) => Self::Yes,
            (0, _) => Self::No,
            _ => Self::Partly,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Yes => "Y",
            Self::Partly => "P",
            Self::No => "**N**",
            Self::Skipped => "-",
        }
    }
}

/// The whole comparison: the totals, then the rows.
pub fn markdown(columns: &[Column]) -> String {
    let cells: Vec<Vec<Cell>> =
        columns.iter().map(|column| rows::numbers().map(|row| cell(column, row)).collect()).collect();
    let mut out = String::from("| |");
    for column in columns {
        let _infallible = write!(out, " {} |", column.name);
    }
    let _infallible = write!(out, "\n|---|{}\n| version |", ":-:|".repeat(columns.len()));
    for column in columns {
        let version = column.version.rsplit(' ').next().unwrap_or_default();
        let _infallible = write!(out, " {version} |");
    }
    for (label, kind) in [
        ("rows: Y right", Cell::Yes),
        ("rows: P partly", Cell::Partly),
        ("rows: N wrong", Cell::No),
        ("rows: - could not be tried here", Cell::Skipped),
    ] {
        let _infallible = write!(out, "\n| {label} |");
        for column in &cells {
            let _infallible = write!(out, " {} |", column.iter().filter(|cell| **cell == kind).count());
        }
    }
    out.push_str(&totals(columns));
    out.push_str("\n\n<details><summary>All rows</summary>\n\n| row | |");
    for column in columns {
        let _infallible = write!(out, " {} |", column.name);
    }
    let _infallible = write!(out, "\n|---|---|{}", ":-:|".repeat(columns.len()));
    for row in rows::numbers() {
        let _infallible = write!(out, "\n{} |", head(row));
        for column in &cells {
            let _infallible = write!(out, " {} |", column[row - 1].text());
        }
    }
    for (letter, label) in GROUPS {
        let _infallible = write!(out, "\n| {letter} | {label} |");
        for column in columns {
            let (passed, ran) = group(column, letter);
            let _infallible = write!(out, " {passed}/{ran} |");
        }
    }
    out.push_str("\n\n</details>");
    out
}

/// One line per test, for suites without rows of the specification.
pub fn by_test(columns: &[Column]) -> String {
    let mut out = String::from("| test |");
    for column in columns {
        let _infallible = write!(out, " {} |", column.name);
    }
    let _infallible = write!(out, "\n|---|{}", ":-:|".repeat(columns.len()));
    let first = columns.first().map(|column| column.verdicts.as_slice()).unwrap_or_default();
    for (index, verdict) in first.iter().enumerate() {
        let _infallible = write!(out, "\n| {} |", verdict.name.replace('|', "\\|"));
        for column in columns {
            let _infallible = write!(out, " {} |", Cell::of(column.verdicts.get(index).into_iter()).text());
        }
    }
    out.push_str(&totals(columns));
    out
}

fn totals(columns: &[Column]) -> String {
    let mut out = String::new();
    for (label, count) in [
        ("tests passed", (|totals| totals.passed) as fn(Totals) -> usize),
        ("tests failed", |totals| totals.failed),
        ("tests skipped", |totals| totals.skipped),
    ] {
        let _infallible = write!(out, "\n| {label} |");
        for column in columns {
            let _infallible = write!(out, " {} |", count(Totals::of(&column.verdicts)));
        }
    }
    out
}

/// The first two cells of a line.
fn head(row: usize) -> String {
    format!("| A{row} | {}", rows::subject(row).unwrap_or_default())
}

fn cell(column: &Column, row: usize) -> Cell {
    Cell::of(column.verdicts.iter().filter(|verdict| rows::of(&verdict.name).any(|one| one == row)))
}

/// How many tests with a letter passed, and how many ran.
fn group(column: &Column, letter: char) -> (usize, usize) {
    let ours = column.verdicts.iter().filter(|verdict| {
        let mut words = verdict.name.split(' ').map_while(|word| rows::number(word, "ACFS"));
        words.any(|(kind, _)| kind == letter)
    });
    ours.fold((0, 0), |(passed, ran), verdict| match verdict.outcome {
        Ok(()) => (passed + 1, ran + 1),
        Err(Fault::Failed(_)) => (passed, ran + 1),
        Err(Fault::Skipped(_)) => (passed, ran),
    })
}

/// Checks that the table in this text has exactly the suite's rows.
pub fn check(text: &str) -> Result<(), String> {
    let found: Vec<String> = markers::read(text, BLOCK)?
        .lines()
        .filter(|line| line.starts_with("| A"))
        .map(|line| line.splitn(4, '|').take(3).collect::<Vec<_>>().join("|").trim_end().to_owned())
        .collect();
    let wanted: Vec<String> = rows::numbers().map(head).collect();
    match wanted
        .iter()
        .find(|row| !found.contains(row))
        .or_else(|| found.iter().find(|row| !wanted.contains(row)))
    {
        Some(row) => Err(format!("the table does not have the rows of the suite, for example `{row}`")),
        None if found.len() != wanted.len() => Err("the table has rows twice".into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn column(name: &str, outcomes: &[(&str, Option<Fault>)]) -> Column {
        let verdict = |(name, fault): &(&str, Option<Fault>)| Verdict {
            name: (*name).into(),
            outcome: fault.clone().map_or(Ok(()), Err),
            took: Duration::ZERO,
        };
        Column {
            name: name.into(),
            version: format!("{name} version 1.2"),
            verdicts: outcomes.iter().map(verdict).collect(),
        }
    }

    fn failed() -> Fault {
        Fault::Failed("wrong".into())
    }

    fn example() -> String {
        let first = [
            ("A1 A2 x", None),
            ("A2 y", Some(failed())),
            ("A3 z", Some(failed())),
            ("A4 z", Some(Fault::Skipped("no".into()))),
            ("S1 s", None),
        ];
        let second =
            [("A1 A2 x", None), ("A2 y", None), ("A3 z", None), ("A4 z", None), ("S1 s", Some(failed()))];
        markdown(&[column("one", &first), column("two", &second)])
    }

    #[test]
    fn a_row_is_what_all_its_tests_say() {
        let text = example();
        for line in [
            "| version | 1.2 | 1.2 |",
            "| tests failed | 2 | 1 |",
            "| A1 | config.json | Y | Y |",
            "| A2 | JSON is UTF-8 without repeated names | P | Y |",
            "| A3 | ociVersion is there and SemVer 2.0.0 | **N** | Y |",
            "| A4 | an unsupported ociVersion is an error | - | Y |",
            "| S | attacks by images and containers | 1/1 | 0/1 |",
        ] {
            assert!(text.lines().any(|one| one == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn a_table_by_test_has_a_line_for_each() {
        let text = by_test(&[column("one", &[("T1 x", None)]), column("two", &[("T1 x", Some(failed()))])]);
        assert!(text.starts_with("| test | one | two |\n|---|:-:|:-:|\n| T1 x | Y | **N** |"), "{text}");
        assert!(text.ends_with("| tests skipped | 0 | 0 |"), "{text}");
    }

    #[test]
    fn the_table_is_checked_between_its_markers() {
        let [begin, end] = markers::markers(BLOCK);
        let text = markers::replace(&format!("{begin}\nold\n{end}\n"), BLOCK, &example()).unwrap();
        assert_eq!(check(&text), Ok(()));
        assert!(check(&text.replace("| A77 |", "| B77 |")).is_err());
        assert!(check(&text.replace("| A5 | ", "| A5 | other ")).is_err());
        assert!(check("no markers").is_err());
    }

    #[test]
    fn the_page_has_the_rows_of_this_suite() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md");
        assert_eq!(check(&std::fs::read_to_string(page).unwrap()), Ok(()));
    }
}
