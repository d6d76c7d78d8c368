//! The command line of the suite.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use wharf_spec_tests::runtime::LIMIT;
use wharf_spec_tests::variation::Variation;

pub(crate) const HELP: &str = "\
Judges an OCI runtime: any program with runc's command line (create, start, state, kill, delete, run, exec).

usage: conformance [--runtime PATH] [--filter WORD]... [--format text|json|junit] [--keep] [--systemd-cgroup]
                   [--host NAME] [--quick]
       conformance --compare NAME=PATH... [--into FILE] [--filter WORD]... [--format text|json|junit]
       conformance --list | --hosts | --rows | --check FILE

  --runtime PATH     the runtime (a name is looked up in PATH); else $WHARF_RUNTIME, else `wharf`
  --filter WORD      only tests whose name has this word; a row such as A14 must match whole
  --format FORMAT    text (default), json (one document) or junit (XML for CI systems)
  --keep             leave the bundles of tests that fail, and say where they are
  --systemd-cgroup   use the systemd cgroup driver: the option for the runtime, slice:prefix:name for containers
  --host NAME        make this machine, in the suite's own mount namespace, one unlike most: see --hosts
  --quick            a tenth of the rounds of races and sweeps, for machines with one processor
  --jobs N           tests side by side (default: the number of CPUs)
  --timeout SECONDS  end a test that takes longer, which has failed then (default 60)
  --compare          run the suite for several runtimes and print a markdown table
  --into FILE        put the table between the markers of this file as well
  --list             print the names of the tests
  --hosts            print the kinds of machines for --host
  --rows             print the rows, each with its tests; fails when a row has none
  --check FILE       fails when the table in this file does not have the rows of this suite

A test is named after its rows and what must be true. Rows A1 to A238 are the requirements of the runtime specification
1.3 for Linux and what callers expect beyond it; tests of attacks are S, of faults F, of the command line C. On a
terminal a bar shows how far it is, and only failures and skips are printed; elsewhere there is a line for each test:
ok, FAIL with what was seen, or skip with what this machine lacks. The last line is `N passed, M failed, K skipped`.

As root the suite works in a mount namespace of its own and hides cgroup v2 there from runtimes that refuse hosts
with both versions. Any other user gets containers with a user namespace.

Exit code: 0 when nothing failed, 1 when a test failed, 2 for a wrong call.";

/// What to do.
pub(crate) enum Task {
    Judge,
    Compare { into: Option<PathBuf> },
    List,
    Hosts,
    Rows,
    Check(PathBuf),
}

/// How verdicts are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
    JUnit,
}

pub(crate) struct Options {
    pub(crate) task: Task,
    pub(crate) runtimes: Vec<(String, OsString)>,
    pub(crate) filters: Vec<String>,
    pub(crate) format: Format,
    pub(crate) jobs: usize,
    pub(crate) timeout: Duration,
    pub(crate) globals: Vec<String>,
    pub(crate) keep: bool,
    pub(crate) host: Option<Variation>,
    pub(crate) quick: bool,
}

/// None if the help was asked for and printed.
pub(crate) fn parse() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt};
    let mut options = Options {
        task: Task::Judge,
        runtimes: Vec::new(),
        filters: Vec::new(),
        format: Format::Text,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        timeout: LIMIT,
        globals: Vec::new(),
        keep: false,
        host: None,
        quick: false,
    };
    let mut target = None;
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("runtime") => {
                let path = parser.value()?;
                options.runtimes.push((path.to_string_lossy().into_owned(), path));
            }
            Long("compare") => options.task = Task::Compare { into: None },
            Value(pair) if matches!(options.task, Task::Compare { .. }) => {
                let pair = pair.string()?;
                let Some((name, path)) = pair.split_once('=') else {
                    return Err(format!("--compare takes NAME=PATH, not {pair}").into());
                };
                options.runtimes.push((name.into(), path.into()));
            }
            Long("into") => target = Some(PathBuf::from(parser.value()?)),
            Long("filter") => options.filters.push(parser.value()?.string()?),
            Long("format") => {
                options.format = match parser.value()?.string()?.as_str() {
                    "text" => Format::Text,
                    "json" => Format::Json,
                    "junit" => Format::JUnit,
                    other => return Err(format!("--format is text, json or junit, not {other}").into()),
                };
            }
            Long("jobs") => options.jobs = parser.value()?.parse()?,
            Long("timeout") => options.timeout = Duration::from_secs(parser.value()?.parse()?),
            Long("systemd-cgroup") => options.globals.push("--systemd-cgroup".into()),
            Long("host") => options.host = Some(Variation::find(&parser.value()?.string()?)?),
            Long("hosts") => options.task = Task::Hosts,
            Long("quick") => options.quick = true,
            Long("keep") => options.keep = true,
            Long("list") => options.task = Task::List,
            Long("rows") => options.task = Task::Rows,
            Long("check") => options.task = Task::Check(parser.value()?.into()),
            other => return Err(other.unexpected()),
        }
    }
    match (&mut options.task, target) {
        (_, None) => {}
        (Task::Compare { into }, target) => *into = target,
        (_, Some(_)) => return Err("--into goes with --compare".into()),
    }
    if options.runtimes.is_empty() && matches!(options.task, Task::Compare { .. }) {
        return Err("--compare needs at least one NAME=PATH".into());
    }
    if options.runtimes.is_empty() {
        let path = std::env::var_os("WHARF_RUNTIME").unwrap_or_else(|| "wharf".into());
        options.runtimes.push((path.to_string_lossy().into_owned(), path));
    }
    if matches!(options.task, Task::Judge) && options.runtimes.len() > 1 {
        return Err("one --runtime at a time; use --compare for several".into());
    }
    Ok(Some(options))
}
