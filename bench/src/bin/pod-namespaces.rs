//! What it costs to keep the namespaces of pods: in a process that there is anyway, in a process that does nothing else,
//! or by bind mounts.
//!
//! A stand-in for the shim, a process of each pod, is there in every way, and so is the pod's network namespace; the
//! figures are what comes on top of both.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use wharf::pod::{Home, PodNamespaces};
use wharf_bench::report::Surroundings;
use wharf_bench::table::median;
use wharf_spec_tests::network::Network;
use wharf_spec_tests::{Host, markers, program};

const USAGE: &str = "\
pod-namespaces [--pods N] [--repeats N] [--into FILE]

Measures ways to keep the namespaces of pods, and prints a markdown table.

  --pods N       pods at the same time (default 100)
  --repeats N    how often each way is measured (default 5)
  --into FILE    put the table between the markers `namespaces` of this file

Needs root.";

/// What keeps the namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// There are none: what the stand-ins themselves cost.
    None,
    Shim,
    Holder,
    Pins,
}

const WAYS: [Way; 4] = [Way::None, Way::Shim, Way::Holder, Way::Pins];

/// The figures of one way; all but the last are for each pod.
#[derive(Debug, Clone, Copy)]
struct Figures {
    /// Microseconds to make the namespaces.
    time: f64,
    /// What the group is charged with, kB.
    charged: f64,
    /// Processes beside the stand-in.
    processes: f64,
    mounts: f64,
    /// Microseconds that a copy of the mount namespace takes.
    copy: f64,
}

type Result<T> = std::result::Result<T, String>;

struct Options {
    pods: usize,
    repeats: usize,
    into: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match program::options("pod-namespaces", USAGE, parse()) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let done = measure(&options).and_then(|table| {
        println!("{table}");
        options.into.as_ref().map_or(Ok(()), |file| markers::write(file, "namespaces", &table))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pod-namespaces: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, ValueExt as _};
    let mut options = Options { pods: 100, repeats: 5, into: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("pods") => options.pods = parser.value()?.parse::<std::num::NonZeroUsize>()?.get(),
            Long("repeats") => options.repeats = parser.value()?.parse::<std::num::NonZeroUsize>()?.get(),
            Long("into") => options.into = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn measure(options: &Options) -> Result<String> {
    let surroundings = Surroundings::look();
    let network = Network::new().map_err(|fault| format!("a network namespace: {fault:?}"))?;
    let mut samples: [Vec<Figures>; WAYS.len()] = Default::default();
    for round in 0..=options.repeats {
        let mut turns: Vec<usize> = (0..WAYS.len()).collect();
        fastrand::shuffle(&mut turns);
        for at in turns {
            let figures = in_a_copy(WAYS[at], options.pods, &network.path())?;
            // The first round fills caches.
            if round > 0 {
                samples[at].push(figures);
            }
        }
    }
    Ok(surroundings.sentences(Host::probe().cgroups.name()) + "\n" + &table(options.pods, &samples))
}

fn table(pods: usize, samples: &[Vec<Figures>; WAYS.len()]) -> String {
    let of = |at: usize, get: fn(&Figures) -> f64| median(samples[at].iter().map(get)).unwrap_or_default();
    let row = |name: String, get: fn(&Figures) -> f64, base: bool, show: fn(f64) -> String| {
        let cells = (1..WAYS.len())
            .map(|at| format!(" {} |", show(of(at, get) - if base { of(0, get) } else { 0.0 })));
        format!("| {name} |{}\n", cells.collect::<String>())
    };
    let mut table = format!(
        "{pods} pods, medians:\n\n| for each pod | the shim itself | a process that only holds them | bind mounts |\n|---|--:|--:|--:|\n"
    );
    table += &row("time to make them".into(), |one| one.time, false, |value| format!("{value:.0} µs"));
    table += &row(
        "memory, of the kernel and of processes".into(),
        |one| one.charged,
        true,
        |value| format!("{value:.1} kB"),
    );
    table += &row("processes".into(), |one| one.processes, true, |value| format!("{value:.0}"));
    table += &row("mounts".into(), |one| one.mounts, true, |value| format!("{value:.0}"));
    table
        + &row(
            format!("one copy of the mount namespace beside {pods} pods, as each container makes it"),
            |one| one.copy,
            false,
            |value| format!("{value:.0} µs"),
        )
}

/// Measures in a process of its own, with mounts and a group of its own.
fn in_a_copy(way: Way, pods: usize, network: &str) -> Result<Figures> {
    let (mut ours, theirs) = std::io::pipe().map_err(text)?;
    let keep = [theirs.as_raw_fd()];
    let group = Group::make()?;
    let dir = group.dir.clone();
    let network = network.to_owned();
    let pid = wharf::worker::fork(&keep, move || {
        let done = stage(way, pods, &network, &dir);
        let answer = match &done {
            Ok(one) => format!("{} {} {} {} {}", one.time, one.charged, one.processes, one.mounts, one.copy),
            Err(error) => format!("!{error}"),
        };
        i32::from(File::from(OwnedFd::from(theirs)).write_all(answer.as_bytes()).is_err())
    })
    .map_err(text)?;
    let mut answer = String::new();
    ours.read_to_string(&mut answer).map_err(text)?;
    waitpid(Pid::from_raw(pid), None).map_err(text)?;
    group.remove()?;
    if let Some(error) = answer.strip_prefix('!') {
        return Err(format!("{way:?}: {error}"));
    }
    let numbers: Vec<f64> = answer.split(' ').filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [time, charged, processes, mounts, copy] => Ok(Figures { time, charged, processes, mounts, copy }),
        _ => Err(format!("{way:?}: the measuring process told {answer:?}")),
    }
}

#[allow(clippy::cast_precision_loss, reason = "there are some hundreds of pods")]
fn stage(way: Way, pods: usize, network: &str, group: &Path) -> Result<Figures> {
    fs::write(group.join("cgroup.procs"), std::process::id().to_string()).map_err(text)?;
    // Holders come to it.
    nix::sys::prctl::set_child_subreaper(true).map_err(text)?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(text)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(text)?;
    mount(Some("pins"), "/mnt", Some("tmpfs"), MsFlags::empty(), none).map_err(text)?;
    let (mut times, tell) = std::io::pipe().map_err(text)?;
    let (life, alive) = std::io::pipe().map_err(text)?;
    let before = [processes(group)?, mounts()];
    let mut samples = Vec::new();
    for pod in 0..pods {
        let namespaces = PodNamespaces::new().network(network).ipc(true).uts(true).hostname("blue");
        let (tell, mut life) = (tell.try_clone().map_err(text)?, life.try_clone().map_err(text)?);
        let keep = [tell.as_raw_fd(), life.as_raw_fd()];
        wharf::worker::fork(&keep, move || {
            let begin = Instant::now();
            let kept = keep_namespaces(way, &namespaces, pod, life.as_fd());
            let time = begin.elapsed().as_secs_f64() * 1e6;
            let time = if kept.is_ok() { time } else { f64::NAN };
            if (&tell).write_all(&time.to_ne_bytes()).is_err() {
                return 1;
            }
            // Until the other end is closed.
            i32::from(life.read(&mut [0]).is_err())
        })
        .map_err(text)?;
        let mut bytes = [0; 8];
        times.read_exact(&mut bytes).map_err(text)?;
        let time = f64::from_ne_bytes(bytes);
        if time.is_nan() {
            return Err("the namespaces cannot be made".into());
        }
        samples.push(time);
    }
    let count = pods as f64;
    let figures = Figures {
        time: median(samples).unwrap_or_default(),
        charged: charged(group)? / count,
        processes: (processes(group)? - before[0]) / count,
        mounts: (mounts() - before[1]) / count,
        copy: copies()?,
    };
    drop(alive);
    // Stand-ins and holders.
    while waitpid(None, None).is_ok() {}
    Ok(figures)
}

fn keep_namespaces(
    way: Way,
    namespaces: &PodNamespaces,
    pod: usize,
    life: std::os::fd::BorrowedFd<'_>,
) -> Result<Option<Home>> {
    match way {
        Way::None => Ok(None),
        // The way back is kept: that is part of it.
        Way::Shim => namespaces.enter().map(Some).map_err(text),
        Way::Holder => {
            // As the shim does: in a copy of itself, which ends in the pod's namespaces.
            let (namespaces, number) = (namespaces.clone(), life.as_raw_fd());
            let life = life.try_clone_to_owned().map_err(text)?;
            let keep = [number, life.as_raw_fd()];
            let pid = wharf::worker::fork(&keep, move || i32::from(namespaces.hold(life.as_fd()).is_err()));
            let status = waitpid(Pid::from_raw(pid.map_err(text)?), None).map_err(text)?;
            match status {
                nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(None),
                other => Err(format!("{other:?}")),
            }
        }
        Way::Pins => {
            let home = namespaces.enter().map_err(text)?;
            for kind in ["ipc", "uts"] {
                let pin = format!("/mnt/{pod}-{kind}");
                File::create(&pin).map_err(text)?;
                let none: Option<&str> = None;
                let own = format!("/proc/thread-self/ns/{kind}");
                mount(Some(own.as_str()), pin.as_str(), none, MsFlags::MS_BIND, none).map_err(text)?;
            }
            home.go_back().map_err(text)?;
            Ok(None)
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "there are some thousands of mounts")]
fn mounts() -> f64 {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().count() as f64
}

#[allow(clippy::cast_precision_loss, reason = "there are some hundreds of processes")]
fn processes(group: &Path) -> Result<f64> {
    Ok(fs::read_to_string(group.join("cgroup.procs")).map_err(text)?.lines().count() as f64)
}

/// Of the group, kB.
fn charged(group: &Path) -> Result<f64> {
    let value = ["memory.current", "memory.usage_in_bytes"]
        .iter()
        .find_map(|file| fs::read_to_string(group.join(file)).ok()?.trim().parse::<f64>().ok());
    value.map(|bytes| bytes / 1024.0).ok_or_else(|| format!("{}: no memory", group.display()))
}

/// Microseconds of a copy of the mount namespace.
fn copies() -> Result<f64> {
    let (mut ours, theirs) = std::io::pipe().map_err(text)?;
    let keep = [theirs.as_raw_fd()];
    let pid = wharf::worker::fork(&keep, move || {
        let one = |_| {
            let begin = Instant::now();
            let done = unshare(CloneFlags::CLONE_NEWNS);
            done.map_or(f64::NAN, |()| begin.elapsed().as_secs_f64() * 1e6)
        };
        let time = median((0..50).map(one)).unwrap_or(f64::NAN);
        i32::from((&theirs).write_all(&time.to_ne_bytes()).is_err())
    })
    .map_err(text)?;
    let mut bytes = [0; 8];
    ours.read_exact(&mut bytes).map_err(text)?;
    waitpid(Pid::from_raw(pid), None).map_err(text)?;
    Ok(f64::from_ne_bytes(bytes))
}

/// A group that counts memory.
struct Group {
    dir: PathBuf,
}

impl Group {
    fn make() -> Result<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo").map_err(text)?;
        let name = format!("pod-namespaces-{}", std::process::id());
        let groups = table.lines().filter(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 "));
        for root in groups.filter_map(|line| line.split(' ').nth(4)) {
            let dir = Path::new(root).join(&name);
            if fs::create_dir(&dir).is_err() {
                continue;
            }
            if ["memory.current", "memory.usage_in_bytes"].iter().any(|file| dir.join(file).exists()) {
                return Ok(Self { dir });
            }
            fs::remove_dir(&dir).map_err(text)?;
        }
        Err("no hierarchy of groups counts memory".into())
    }

    fn remove(&self) -> Result<()> {
        // The kernel releases an ended task a moment after its exit was reported.
        let end = Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match fs::remove_dir(&self.dir) {
                Err(error) if error.raw_os_error() == Some(libc_ebusy()) && Instant::now() < end => {
                    std::thread::yield_now();
                }
                other => return other.map_err(|error| format!("remove {}: {error}", self.dir.display())),
            }
        }
    }
}

fn libc_ebusy() -> i32 {
    nix::errno::Errno::EBUSY as i32
}
