//! Judges an OCI runtime binary by the rows of the specification.

use std::ffi::OsString;
use std::process::ExitCode;
use wharf_spec_tests::progress::{Progress, summary};
use wharf_spec_tests::runner::{Totals, run_all};
use wharf_spec_tests::{Runtime, Test, all, format, session};

const HELP: &str = "\
Judges an OCI runtime by the rows of the specification.

usage: conformance [--runtime PATH] [--filter WORD]... [--format text|json|junit] [--jobs N] [--systemd-cgroup] [--list]
       conformance --compare NAME=PATH... [--filter WORD]...

  --runtime PATH     the runtime (a name is looked up in PATH); else $WHARF_RUNTIME, else `wharf`
  --filter WORD      only tests whose name has this word; a row such as A14 must match whole
  --format FORMAT    text (default), json or junit
  --compare          run the suite for several runtimes and print a markdown table
  --jobs N           tests side by side (default: the number of CPUs)
  --systemd-cgroup   pass --systemd-cgroup to the runtime
  --list             print the names of the tests and stop

Exit code: 0 when nothing failed, 1 when a test failed, 2 for a wrong call.";

struct Options {
    runtimes: Vec<(String, OsString)>,
    filters: Vec<String>,
    format: String,
    compare: bool,
    list: bool,
    jobs: usize,
    globals: Vec<String>,
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: {error}\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match judge(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt};
    let mut options = Options {
        runtimes: Vec::new(),
        filters: Vec::new(),
        format: "text".into(),
        compare: false,
        list: false,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        globals: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => {
                println!("{HELP}");
                return Ok(None);
            }
            Long("runtime") => {
                let path = parser.value()?;
                options.runtimes.push((path.to_string_lossy().into_owned(), path));
            }
            Long("compare") => options.compare = true,
            Value(pair) if options.compare => {
                let pair = pair.string()?;
                let Some((name, path)) = pair.split_once('=') else {
                    return Err(format!("--compare takes NAME=PATH, not {pair}").into());
                };
                options.runtimes.push((name.into(), path.into()));
            }
            Long("filter") => options.filters.push(parser.value()?.string()?),
            Long("format") => {
                options.format = parser.value()?.string()?;
                if !["text", "json", "junit"].contains(&options.format.as_str()) {
                    return Err(format!("--format is text, json or junit, not {}", options.format).into());
                }
            }
            Long("jobs") => options.jobs = parser.value()?.parse()?,
            Long("systemd-cgroup") => options.globals.push("--systemd-cgroup".into()),
            Long("list") => options.list = true,
            other => return Err(other.unexpected()),
        }
    }
    if options.runtimes.is_empty() {
        let path = std::env::var_os("WHARF_RUNTIME").unwrap_or_else(|| "wharf".into());
        options.runtimes.push((path.to_string_lossy().into_owned(), path));
    }
    if !options.compare && options.runtimes.len() > 1 {
        return Err("one --runtime at a time; use --compare for several".into());
    }
    Ok(Some(options))
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
    let runtimes = options
        .runtimes
        .iter()
        .map(|(_, path)| {
            let found = Runtime::find(path).map_err(|error| format!("runtime {}: {error}", path.display()));
            found.map(|runtime| Runtime { globals: options.globals.clone(), ..runtime })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut session = session::prepare().map_err(|error| format!("private mount namespace: {error}"))?;
    if let Err(fault) = session.accommodate(&runtimes) {
        return Err(format!("the first container: {fault:?}"));
    }
    for note in &session.notes {
        eprintln!("note: {note}");
    }
    let mut columns = Vec::new();
    for ((name, _), runtime) in options.runtimes.iter().zip(&runtimes) {
        eprintln!("{name}: {} ({})", runtime.path.display(), runtime.version());
        let progress = Progress::new(tests.len(), options.format == "text" && !options.compare);
        let verdicts =
            run_all(&tests, runtime, &session.host, session.work(), options.jobs, &|v| progress.report(v));
        progress.end();
        columns.push((name.clone(), verdicts));
    }
    let totals: Vec<Totals> = columns.iter().map(|(_, verdicts)| Totals::of(verdicts)).collect();
    if options.compare {
        println!("{}", format::matrix(&columns));
        for ((name, _), totals) in columns.iter().zip(&totals) {
            println!("{name}: {}", format::closing(*totals));
        }
    } else {
        let (name, verdicts) = &columns[0];
        match options.format.as_str() {
            "json" => println!("{:#}", format::json(name, verdicts)),
            "junit" => println!("{}", format::junit(name, verdicts)),
            _ => {
                summary(verdicts);
                println!("{}", format::closing(totals[0]));
            }
        }
    }
    Ok(totals.iter().all(|totals| totals.failed == 0))
}

/// A filter that looks like a row must be one of the test's rows; any other is a part of the name.
fn wanted(test: &Test, filters: &[String]) -> bool {
    let is_row = |word: &str| word.len() > 1 && word.is_ascii() && word[1..].parse::<u32>().is_ok();
    filters.is_empty()
        || filters.iter().any(|word| {
            if is_row(word) {
                test.rows.split(' ').any(|row| row == word)
            } else {
                test.name().contains(word.as_str())
            }
        })
}
