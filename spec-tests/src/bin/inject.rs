//! Disturbs a runtime at each of its system calls.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::process::Signal;
use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Instant;
use wharf_spec_tests::inject::{self, Baseline, MODES, Mode, Point, VERBS, Verb};
use wharf_spec_tests::outcome::Fault;
use wharf_spec_tests::progress::{Progress, summary};
use wharf_spec_tests::runner::{Totals, Verdict, side_by_side};
use wharf_spec_tests::session::{self, First, Session};
use wharf_spec_tests::{Runtime, format, program};

const HELP: &str = "\
Disturbs an OCI runtime at each of its system calls, and judges what is left.

usage: inject [--runtime PATH] [--verb NAME]... [--mode kill|fail|stop]... [--sample N [--seed S]] [--filter WORD]...

  --runtime PATH  the runtime (a name is looked up in PATH); else $WHARF_RUNTIME, else `wharf`
  --verb NAME     only this command: create, start, run, exec, delete, delete-force, update, pause, resume, kill,
                  mounts-add, mounts-remove, checkpoint or restore
  --mode MODE     only this: kill the process that makes the call; let the call fail, and do nothing; or stop the process
                  by a signal for a moment
  --errno NAME    the error with which calls fail, such as EIO (default: ENOMEM, EINTR and EPERM, one after the other)
  --sample N      only N of the disturbances, of each command as many as of the others
  --seed S        which ones (default 1)
  --filter WORD   only those whose name has this word
  --jobs N        disturbances side by side (default: the number of CPUs)
  --list          print the names of the disturbances and stop
  --keep          leave the bundles of those that fail, and say where they are

Each command runs undisturbed once, and its system calls and those of its children are recorded. Then it runs again for
each call. A disturbance is named after the command, the process (in the order in which they are made) and the number of
its call, the call, and what happens: `create 2.17 mount EPERM`. The command must end within 10 seconds, without the text
of a panic. If it succeeds, what the container's process sees of its isolation, and the limits of its cgroup, must be
what they are without a disturbance; if it fails, a container that it is not meant to end must be as it was. Then
`delete --force` must work and leave no process, mount, cgroup or state.

Only failures are printed, and at the end `N passed, M failed, K skipped`: skipped are calls that were not made again, as
with programs that have threads, and commands that the runtime does not have. Needs root. All of it happens in a pid
namespace and a mount namespace of its own. Exit code: 0 when nothing failed, 1 when something did, 2 for a wrong call.";

/// The word that says that the namespaces are made; the number of the run follows it.
const INSIDE: &str = "--inside";

struct Options {
    runtime: OsString,
    verbs: Vec<Verb>,
    modes: Vec<Mode>,
    errnos: Vec<Errno>,
    sample: Option<usize>,
    seed: u64,
    filters: Vec<String>,
    jobs: usize,
    list: bool,
    keep: bool,
}

fn main() -> ExitCode {
    if let Some(code) = inject::tracer::called() {
        return code;
    }
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let number = match arguments.iter().position(|word| word == INSIDE) {
        Some(at) => arguments.drain(at..).nth(1).and_then(|number| number.to_str()?.parse().ok()),
        None => None,
    };
    let options = match program::options("inject", HELP, parse(&arguments)) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let done = match number {
        Some(number) => run(&options, number),
        None => go_inside(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("inject: {error}");
            ExitCode::from(2)
        }
    }
}

/// None if the help was asked for.
fn parse(arguments: &[OsString]) -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, ValueExt};
    let mut options = Options {
        runtime: std::env::var_os("WHARF_RUNTIME").unwrap_or_else(|| "wharf".into()),
        verbs: Vec::new(),
        modes: Vec::new(),
        errnos: Vec::new(),
        sample: None,
        seed: 1,
        filters: Vec::new(),
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        list: false,
        keep: false,
    };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("runtime") => options.runtime = parser.value()?,
            Long("verb") => options.verbs.push(one_of(&VERBS, "--verb", &parser.value()?)?),
            Long("mode") => options.modes.push(one_of(&MODES, "--mode", &parser.value()?)?),
            Long("errno") => options.errnos.push(errno(&parser.value()?.string()?)?),
            Long("sample") => options.sample = Some(parser.value()?.parse()?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("filter") => options.filters.push(parser.value()?.string()?),
            Long("jobs") => options.jobs = parser.value()?.parse()?,
            Long("list") => options.list = true,
            Long("keep") => options.keep = true,
            other => return Err(other.unexpected()),
        }
    }
    if options.verbs.is_empty() {
        options.verbs = VERBS.iter().map(|(_, verb)| *verb).collect();
    }
    if options.modes.is_empty() {
        options.modes = MODES.iter().map(|(_, mode)| *mode).collect();
    }
    if options.errnos.is_empty() {
        options.errnos = inject::ERRNOS.to_vec();
    }
    Ok(Some(options))
}

fn one_of<T: Copy>(known: &[(&str, T)], option: &str, value: &OsString) -> Result<T, lexopt::Error> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let found = known.iter().find(|(name, _)| value == *name).map(|(_, one)| *one);
    found.ok_or_else(|| format!("{option} is one of {}, not {}", names.join(", "), value.display()).into())
}

fn errno(name: &str) -> Result<Errno, lexopt::Error> {
    let found = (1..134).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name);
    found.ok_or_else(|| format!("--errno is a name such as EIO, not {name}").into())
}

/// Runs this program again as the first process of a pid namespace: a runtime that reads a wrong pid because a call has
/// failed can then signal nothing else on this machine.
fn go_inside(arguments: &[OsString]) -> Result<bool, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".into());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| format!("pid namespace: {errno}"))?;
    let mut command = Command::new(own);
    command.args(arguments).arg(INSIDE).arg(std::process::id().to_string());
    let status = command.status().map_err(|error| error.to_string())?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        Some(_) => Err("it did not end well".into()),
        None => Err(format!("it ended by {status}")),
    }
}

fn run(options: &Options, number: u32) -> Result<bool, String> {
    let mut session = begin(number)?;
    let runtime =
        Runtime::find(&options.runtime).map_err(|error| format!("{}: {error}", options.runtime.display()))?;
    let runtime = Runtime { keep: options.keep, ..runtime };
    if options.keep {
        session.keep();
    }
    match session.first(&runtime).map_err(|fault| format!("the first container: {fault}"))? {
        First::Runs => {}
        First::RefusesHybrid => {
            session.hide_unified(&runtime).map_err(|fault| format!("hide cgroup v2: {fault}"))?;
        }
        First::Fails(why) => return Err(format!("it does not run the simplest container: {why}")),
    }
    for note in &session.notes {
        eprintln!("note: {note}");
    }
    eprintln!("{} ({})", runtime.path.display(), runtime.version());
    let begun = Instant::now();
    let mut verdicts = Vec::new();
    let mut baselines = Vec::new();
    for verb in &options.verbs {
        match Baseline::record(*verb, &runtime, &session.host, session.work()) {
            Ok(baseline) => baselines.push(baseline),
            Err(fault) => verdicts.push(undisturbed(*verb, fault, begun)),
        }
    }
    for baseline in &baselines {
        eprintln!("{}", baseline.summary());
    }
    let points = chosen(options, &baselines);
    if options.list {
        for point in &points {
            println!("{}", point.name());
        }
        return Ok(true);
    }
    let progress = Progress::new(points.len(), false);
    let report = |verdict: &Verdict| {
        if let Err(Fault::Failed(_)) = verdict.outcome {
            eprintln!("{}", format::line(verdict));
        }
        progress.report(verdict);
    };
    let judge = |point: &Point<'_>| point.judge(&runtime, &session.host, session.work());
    verdicts.extend(side_by_side(&points, options.jobs, &judge, &report));
    progress.end();
    summary(&verdicts);
    for verb in &options.verbs {
        let prefix = format!("{} ", verb.name());
        let own: Vec<Verdict> =
            verdicts.iter().filter(|one| one.name.starts_with(&prefix)).cloned().collect();
        println!("{:14}{}", verb.name(), format::closing(Totals::of(&own)));
    }
    println!("{} disturbances took {:.1} s", points.len(), begun.elapsed().as_secs_f64());
    let totals = Totals::of(&verdicts);
    println!("{}", format::closing(totals));
    Ok(totals.failed == 0)
}

fn begin(number: u32) -> Result<Session, String> {
    let failed = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
    // Nothing of a run outlives the process that was called.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| errno.to_string())?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("mount namespace"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(failed("private mounts"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).map_err(failed("mount /proc"))?;
    session::number(number);
    session::prepare().map_err(|error| error.to_string())
}

fn chosen<'b>(options: &Options, baselines: &'b [Baseline]) -> Vec<Point<'b>> {
    let mut points: Vec<Point<'b>> =
        baselines.iter().flat_map(|baseline| baseline.points(&options.modes, &options.errnos)).collect();
    if !options.filters.is_empty() {
        points.retain(|point| options.filters.iter().any(|word| point.name().contains(word.as_str())));
    }
    match options.sample {
        Some(count) => inject::sample(points, count, options.seed),
        None => points,
    }
}

/// The verdict on a command that cannot be disturbed.
fn undisturbed(verb: Verb, fault: Fault, begun: Instant) -> Verdict {
    Verdict { name: format!("{} undisturbed", verb.name()), outcome: Err(fault), took: begun.elapsed() }
}
