//! Judges an OCI runtime binary by the rows of the specification.

mod options;

use options::{Format, Options, Task};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use wharf_spec_tests::inject;
use wharf_spec_tests::markers;
use wharf_spec_tests::matrix::{self, Column};
use wharf_spec_tests::outcome::Fault;
use wharf_spec_tests::progress::{Progress, summary};
use wharf_spec_tests::runner::{Totals, Verdict, run_all};
use wharf_spec_tests::session::{First, Session};
use wharf_spec_tests::variation::Variation;
use wharf_spec_tests::{Runtime, Test, all, cgroup, format, program, rows, session};

fn main() -> ExitCode {
    if let Some(code) = inject::tracer::called() {
        return code;
    }
    let options = match program::options("conformance", options::HELP, options::parse()) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let done = match &options.task {
        Task::List => list(&options),
        Task::Hosts => Ok(show_hosts()),
        Task::Rows => Ok(show_rows()),
        Task::Check(file) => check(file),
        Task::Judge => judge(&options),
        Task::Compare { into } => compare(&options, into.as_deref()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::from(2)
        }
    }
}

fn list(options: &Options) -> Result<bool, String> {
    for test in chosen(options)? {
        println!("{}", test.name());
    }
    Ok(true)
}

fn show_hosts() -> bool {
    for one in Variation::ALL {
        println!("{:17} {}", one.name, one.about);
    }
    true
}

fn show_rows() -> bool {
    println!("{}", rows::report(&all()));
    rows::uncovered(&all()).is_empty()
}

fn check(file: &Path) -> Result<bool, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    match matrix::check(&text) {
        Ok(()) => Ok(true),
        Err(error) => {
            eprintln!("conformance: {}: {error}", file.display());
            Ok(false)
        }
    }
}

/// Runs the tests for one runtime; true when none failed.
fn judge(options: &Options) -> Result<bool, String> {
    let tests = chosen(options)?;
    let mut session = begin(options)?;
    let mut columns = run(options, &tests, &mut session)?;
    let Some(column) = columns.pop() else { return Err("no runtime".into()) };
    let totals = Totals::of(&column.verdicts);
    match options.format {
        Format::Json => println!("{:#}", format::json(&column.name, &column.verdicts)),
        Format::JUnit => println!("{}", format::junit(std::slice::from_ref(&column))),
        Format::Text => {
            summary(&column.verdicts);
            println!("{}", format::closing(totals));
        }
    }
    Ok(totals.failed == 0)
}

/// Runs the tests for several runtimes and prints how they compare, which is not a judgement.
fn compare(options: &Options, into: Option<&Path>) -> Result<bool, String> {
    let tests = chosen(options)?;
    let mut session = begin(options)?;
    let columns = run(options, &tests, &mut session)?;
    match options.format {
        Format::Json => {
            let all: Vec<_> =
                columns.iter().map(|column| format::json(&column.name, &column.verdicts)).collect();
            println!("{:#}", serde_json::Value::Array(all));
        }
        Format::JUnit => println!("{}", format::junit(&columns)),
        Format::Text => {
            for column in &columns {
                for verdict in column.verdicts.iter().filter(|v| matches!(v.outcome, Err(Fault::Failed(_)))) {
                    eprintln!("{}: {}", column.name, format::line(verdict));
                }
            }
            println!("{}", matrix::markdown(&columns));
            for column in &columns {
                println!("{}: {}", column.name, format::closing(Totals::of(&column.verdicts)));
            }
        }
    }
    if let Some(file) = into {
        let error = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|e| error(&e))?;
        let text =
            markers::replace(&text, matrix::BLOCK, &matrix::markdown(&columns)).map_err(|e| error(&e))?;
        std::fs::write(file, text).map_err(|e| error(&e))?;
    }
    Ok(true)
}

fn begin(options: &Options) -> Result<Session, String> {
    if options.globals.iter().any(|option| option == "--systemd-cgroup") {
        cgroup::by_systemd();
    }
    let mut session =
        session::prepare_on(options.host).map_err(|error| format!("private mount namespace: {error}"))?;
    if options.keep {
        session.keep();
    }
    notes(&session.notes);
    Ok(session)
}

fn notes(notes: &[String]) {
    for note in notes {
        eprintln!("note: {note}");
    }
}

/// Runs the tests for each runtime. Those that refuse hybrid hosts come last, as the v2 hierarchy stays hidden from
/// then on.
fn run(options: &Options, tests: &[Test], session: &mut Session) -> Result<Vec<Column>, String> {
    let mut runtimes = Vec::new();
    for (name, path) in &options.runtimes {
        let runtime = Runtime::find(path).map_err(|error| format!("runtime {}: {error}", path.display()))?;
        let (globals, limit) = (options.globals.clone(), options.timeout);
        let before = options.host.and_then(|host| host.before);
        let state = session.prepared.state.clone();
        let runtime =
            Runtime { globals, limit, keep: options.keep, quick: options.quick, before, state, ..runtime };
        let first = session.first(&runtime).map_err(|fault| format!("the first container: {fault}"))?;
        if let First::Fails(why) = &first {
            eprintln!("note: {name} does not run the simplest container, so most tests will fail: {why}");
        }
        runtimes.push((name, runtime, matches!(first, First::RefusesHybrid)));
    }
    let mut columns: Vec<Option<Column>> = runtimes.iter().map(|_| None).collect();
    let (last, first): (Vec<usize>, Vec<usize>) = (0..runtimes.len()).partition(|index| runtimes[*index].2);
    for index in first.into_iter().chain(last) {
        let (name, runtime, refuses) = &runtimes[index];
        if *refuses {
            let known = session.notes.len();
            session.hide_unified(runtime).map_err(|fault| format!("hide cgroup v2: {fault}"))?;
            notes(&session.notes[known..]);
        }
        let version = runtime.version();
        eprintln!("{name}: {} ({version})", runtime.path.display());
        let progress = Progress::new(
            tests.len(),
            matches!((&options.task, options.format), (Task::Judge, Format::Text)),
        );
        let mut verdicts =
            run_all(tests, runtime, &session.host, session.work(), options.jobs, &|v| progress.report(v));
        progress.end();
        verdicts.extend(leftover(session));
        columns[index] = Some(Column { name: (*name).clone(), version, verdicts });
    }
    Ok(columns.into_iter().flatten().collect())
}

/// A failing test, if the run as a whole has left something that no single test is blamed for.
fn leftover(session: &Session) -> Option<Verdict> {
    let left = session.cgroups_left();
    let text = format!("left below the suite's own cgroup: {}", left.join(", "));
    (!left.is_empty()).then(|| Verdict {
        name: "F0 the run as a whole leaves no cgroup".to_owned(),
        outcome: Err(Fault::Failed(text)),
        took: Duration::ZERO,
    })
}

/// The tests that pass the filters.
fn chosen(options: &Options) -> Result<Vec<Test>, String> {
    let filters = &options.filters;
    let is_row = |word: &str| rows::number(word, "ACFS").is_some();
    let wanted = |test: &Test| {
        filters.is_empty()
            || filters.iter().any(|word| {
                if is_row(word) {
                    test.rows.split(' ').any(|row| row == word)
                } else {
                    test.name().contains(word.as_str())
                }
            })
    };
    let tests: Vec<Test> = all().into_iter().filter(wanted).collect();
    if tests.is_empty() { Err(format!("no test matches {filters:?}")) } else { Ok(tests) }
}
