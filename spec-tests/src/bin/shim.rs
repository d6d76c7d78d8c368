//! Judges a containerd shim binary by standing in for containerd.

use std::ffi::OsString;
use std::process::ExitCode;
use wharf_spec_tests::matrix::{self, Column};
use wharf_spec_tests::progress::{Progress, summary};
use wharf_spec_tests::runner::{Totals, side_by_side};
use wharf_spec_tests::shim::launch::Era;
use wharf_spec_tests::shim::{Subject, Test, all, private_run, run_one};
use wharf_spec_tests::variation::Variation;
use wharf_spec_tests::{Runtime, format, program, session};

const HELP: &str = "\
Judges a containerd shim by standing in for containerd: the calls of its binary, the task API, the events.

usage: shim [--shim PATH] [--as VERSION] [--filter WORD]... [--format text|json|junit] [--jobs N] [--soak] [--shared-root] [--list]
       shim --compare [--as VERSION] NAME=PATH... [--filter WORD]...

  --shim PATH        the shim (a name is looked up in PATH); else $WHARF_SHIM, else `containerd-shim-wharf-v2`
  --as VERSION       the containerd that calls it: 1.6, 1.7, 2.0 or 2.3 (default); some tests try each
  --filter WORD      only tests whose name has this word; a row such as T14 must match whole
  --format FORMAT    text (default), json or junit
  --compare          run the tests for several shims and print a markdown table; NAME=PATH@VERSION chooses --as
  --jobs N           tests side by side (default: the number of CPUs)
  --soak             repeat in the tests of leaks what they repeat at full count (10,000 execs, 1,000 containers)
  --shared-root      let / and all below it be shared, as on a machine with systemd, in a mount namespace of our own
  --list             print the names of the tests and stop

Needs root. /run is hidden from the shim: its sockets and states are in a file system of their own.
Exit code: 0 when nothing failed, 1 when a test failed, 2 for a wrong call.";

struct Options {
    shims: Vec<(String, OsString)>,
    era: Era,
    filters: Vec<String>,
    format: String,
    compare: bool,
    soak: bool,
    shared_root: bool,
    list: bool,
    jobs: usize,
}

fn main() -> ExitCode {
    let options = match program::options("shim", HELP, parse()) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match judge(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("shim: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt};
    let mut options = Options {
        shims: Vec::new(),
        era: Era::V2_3,
        filters: Vec::new(),
        format: "text".into(),
        compare: false,
        soak: false,
        shared_root: false,
        list: false,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("shim") => {
                let path = parser.value()?;
                options.shims.push((path.to_string_lossy().into_owned(), path));
            }
            Long("as") => options.era = era(&parser.value()?.string()?)?,
            Long("compare") => options.compare = true,
            Value(pair) if options.compare => {
                let pair = pair.string()?;
                let Some((name, path)) = pair.split_once('=') else {
                    return Err(format!("--compare takes NAME=PATH, not {pair}").into());
                };
                options.shims.push((name.into(), path.into()));
            }
            Long("filter") => options.filters.push(parser.value()?.string()?),
            Long("format") => {
                options.format = parser.value()?.string()?;
                if !["text", "json", "junit"].contains(&options.format.as_str()) {
                    return Err(format!("--format is text, json or junit, not {}", options.format).into());
                }
            }
            Long("jobs") => options.jobs = parser.value()?.parse()?,
            Long("soak") => options.soak = true,
            Long("shared-root") => options.shared_root = true,
            Long("list") => options.list = true,
            other => return Err(other.unexpected()),
        }
    }
    if options.shims.is_empty() {
        let path = std::env::var_os("WHARF_SHIM").unwrap_or_else(|| "containerd-shim-wharf-v2".into());
        options.shims.push((path.to_string_lossy().into_owned(), path));
    }
    if !options.compare && options.shims.len() > 1 {
        return Err("one --shim at a time; use --compare for several".into());
    }
    Ok(Some(options))
}

fn era(version: &str) -> Result<Era, lexopt::Error> {
    Era::of(version)
        .ok_or_else(|| format!("--as is a version of containerd from 1.6 on, not {version}").into())
}

/// Runs the tests; true when none failed.
fn judge(options: &Options) -> Result<bool, String> {
    let tests: Vec<Test> = all().into_iter().filter(|test| wanted(test, &options.filters)).collect();
    if options.list {
        for test in &tests {
            println!("{}", test.name());
        }
        return Ok(true);
    }
    if tests.is_empty() {
        return Err(format!("no test matches {:?}", options.filters));
    }
    let subjects =
        options.shims.iter().map(|(_, path)| subject(options, path)).collect::<Result<Vec<_>, _>>()?;
    // Before there is a reaper, which would take the exit statuses that the calls wait for.
    let versions: Vec<String> = subjects.iter().map(Subject::version).collect();
    let variation = options.shared_root.then(|| Variation::find("shared-root")).transpose()?;
    let session =
        session::prepare_on(variation).map_err(|error| format!("private mount namespace: {error}"))?;
    if session.host.root {
        private_run().map_err(|error| format!("a /run of our own: {error}"))?;
    }
    for note in &session.notes {
        eprintln!("note: {note}");
    }
    let mut columns = Vec::new();
    for (((name, _), subject), version) in options.shims.iter().zip(&subjects).zip(&versions) {
        eprintln!("{name}: {} ({version}), as {:?}", subject.path.display(), subject.era);
        let progress = Progress::new(tests.len(), options.format == "text" && !options.compare);
        let one = |test: &Test| run_one(test, subject, &session.host, session.work());
        let verdicts = side_by_side(&tests, options.jobs, &one, &|verdict| progress.report(verdict));
        progress.end();
        columns.push(Column { name: name.clone(), version: subject.version(), verdicts });
    }
    Ok(print(options, &columns))
}

fn subject(options: &Options, path: &OsString) -> Result<Subject, String> {
    let text = path.to_string_lossy();
    let (path, era) = match text.rsplit_once('@') {
        Some((path, version)) if options.compare => {
            (OsString::from(path), era(version).map_err(|error| error.to_string())?)
        }
        _ => (path.clone(), options.era),
    };
    let found = Runtime::find(&path).map_err(|error| format!("shim {}: {error}", path.display()))?;
    Ok(Subject { path: found.path, era, effort: if options.soak { 100 } else { 2 } })
}

fn print(options: &Options, columns: &[Column]) -> bool {
    let totals: Vec<Totals> = columns.iter().map(|column| Totals::of(&column.verdicts)).collect();
    if options.compare {
        println!("{}", matrix::by_test(columns));
        for (column, totals) in columns.iter().zip(&totals) {
            println!("{}: {}", column.name, format::closing(*totals));
        }
    } else if let Some(column) = columns.first() {
        match options.format.as_str() {
            "json" => println!("{:#}", format::json(&column.name, &column.verdicts)),
            "junit" => println!("{}", format::junit(columns)),
            _ => {
                summary(&column.verdicts);
                println!("{}", format::closing(totals[0]));
            }
        }
    }
    totals.iter().all(|totals| totals.failed == 0)
}

/// A filter that looks like a row must be the test's row; any other is part of the name.
fn wanted(test: &Test, filters: &[String]) -> bool {
    let is_row = |word: &str| word.len() > 1 && word.is_ascii() && word[1..].parse::<u32>().is_ok();
    filters.is_empty()
        || filters
            .iter()
            .any(|word| if is_row(word) { test.row == word } else { test.name().contains(word.as_str()) })
}
