//! Fails if a runtime makes more system calls or takes more instructions than before. See `wharf_bench::guard`.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use wharf_bench::bundle::{Image, Kind};
use wharf_bench::contestant::Contestant;
use wharf_bench::guard::count;
use wharf_bench::guard::limits::{Judgement, Limits};
use wharf_bench::stopwatch::Stopwatch;
use wharf_spec_tests::{Fault, Outcome, program, session};

const LIMITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guard.json");

const USAGE: &str = "\
guard --runtime PATH [OPTION]...

Counts the system calls of run, create, start, state, exec, kill and delete with strace, and the instructions of calls
that start nothing, by steps of ptrace or with valgrind; fails where they are more than 2 % above the limits, and says which calls grew.
Needs root. The numbers are those of the released form, a static binary.

  --renew        write what is counted now as the limits of hosts of this kind
  --limits FILE  the limits (bench/guard.json)";

struct Options {
    runtime: String,
    limits: PathBuf,
    renew: bool,
}

fn main() -> ExitCode {
    if let Err(error) = leave_environment() {
        eprintln!("guard: start without an environment: {error}");
        return ExitCode::FAILURE;
    }
    let options = match program::options("guard", USAGE, parse()) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match judge(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("guard: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program again with the same environment everywhere: a program looks at each of its variables when it
/// starts, so they affect the count.
fn leave_environment() -> std::io::Result<()> {
    const MARK: &str = "GUARD";
    if std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env_clear().env(MARK, "1");
    Err(again.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").exec())
}

fn parse() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, ValueExt as _};
    let (mut runtime, mut limits, mut renew) = (None, PathBuf::from(LIMITS), false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("runtime") => runtime = Some(parser.value()?.string()?),
            Long("limits") => limits = parser.value()?.into(),
            Long("renew") => renew = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    let runtime = runtime.ok_or("no --runtime PATH")?;
    Ok(Some(Options { runtime, limits, renew }))
}

/// Counts everything; true if nothing grew.
fn judge(options: &Options) -> Outcome<bool> {
    let session = session::prepare()?;
    session.host.needs_root()?;
    let work = session.work();
    let memory = work.join("memory");
    std::fs::create_dir(&memory)?;
    let watch = Stopwatch::new(&work.join("probe"), work);
    // The length of the runtime's path affects the count as well.
    let runtime = work.join("runtime");
    std::fs::copy(&options.runtime, &runtime)?;
    let one = Contestant::new("guard", &runtime.to_string_lossy(), work, &memory, watch)?;
    let image = Image::make(work, &session.host)?;
    let kind = session.host.cgroups.name();
    let mut parts = Vec::new();
    for bundle in [Kind::A, Kind::B] {
        let counted =
            count::tool("strace").and_then(|strace| count::system_calls(&strace, &one, &image, bundle));
        one.clean_up(&session.host, 2);
        parts.push((format!("system calls, bundle {bundle:?}"), counted));
    }
    let counted = count::instructions(&one, &image);
    one.clean_up(&session.host, 1);
    parts.push(("instructions".to_owned(), counted));
    let counted = count::tool("valgrind").and_then(|valgrind| count::planning(&valgrind, &one, &image));
    parts.push(("instructions of planning".to_owned(), counted));
    let mut found = Vec::new();
    let (mut failed, mut skipped) = (0, 0);
    for (part, counted) in parts {
        match counted {
            Ok(list) => found.extend(list),
            Err(Fault::Skipped(reason)) => {
                println!("SKIP {part}: {reason}");
                skipped += 1;
            }
            Err(Fault::Failed(reason)) => {
                println!("FAIL {part}: {reason}");
                failed += 1;
            }
        }
    }
    if options.renew {
        Limits::renew(&options.limits, kind, &found).map_err(Fault::Failed)?;
        println!("{}: {} limits of hosts with {kind}", options.limits.display(), found.len());
        return Ok(failed == 0);
    }
    let limits = Limits::read(&options.limits, kind).map_err(Fault::Failed)?;
    let (mut grown, mut passed) = (0, 0);
    for (title, counts) in &found {
        let total: u64 = counts.values().sum();
        match limits.judge(title, counts) {
            Judgement::Same => {
                println!("ok   {title}: {total}");
                passed += 1;
            }
            Judgement::Less(text) => {
                println!("ok   {title}: {text}; renew the limit, else the next growth passes unseen");
                passed += 1;
            }
            Judgement::More(text) => {
                println!("FAIL {title}: {text}");
                grown += 1;
            }
            Judgement::Unknown => {
                println!("SKIP {title}: {total}; no limit for hosts with {kind}");
                skipped += 1;
            }
        }
    }
    if grown > 0 {
        println!("\nIf the growth is wanted: guard --runtime {} --renew", options.runtime);
    }
    println!("{passed} passed, {} failed, {skipped} skipped", failed + grown);
    Ok(failed + grown == 0)
}
