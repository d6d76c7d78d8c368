//! The processes under measurement.

use std::fs;
use std::io::{Read as _, Write as _, pipe};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde_json::json;
use wharf::{Bundle, Container, ContainerId, CreateOptions, Delete, Runtime};
use wharf_bench::table::median;

use crate::heap::{self, Advised};

/// A kind of program.
pub(crate) struct Kind {
    /// The word that selects it.
    pub(crate) name: &'static str,
    /// Its description.
    pub(crate) sentence: &'static str,
    large: Option<Advised>,
    worker: bool,
}

const HEAP: usize = 200 << 20;
const THREADS: usize = 8;

/// All of them.
pub(crate) const KINDS: [Kind; 5] = [
    Kind { name: "small", sentence: "small, one thread", large: None, worker: false },
    Kind {
        name: "large",
        sentence: "200 MB of heap and 8 threads",
        large: Some(Advised::Not),
        worker: false,
    },
    Kind {
        name: "huge",
        sentence: "the same in huge pages (`MADV_HUGEPAGE`)",
        large: Some(Advised::Huge),
        worker: false,
    },
    Kind {
        name: "apart",
        sentence: "the same, kept from children (`MADV_DONTFORK`)",
        large: Some(Advised::NotForChildren),
        worker: false,
    },
    Kind {
        name: "worker",
        sentence: "the same, by a worker forked before (`wharf::worker::fork`)",
        large: Some(Advised::Not),
        worker: true,
    },
];

/// The word for many containers at the same time.
pub(crate) const MANY: &str = "many";

type Result<T> = std::result::Result<T, String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Acts as such a program, and returns its figures.
pub(crate) fn be(name: &str, runs: usize, bundles: &Path, root: &Path) -> Result<String> {
    let runtime = Runtime::builder().root(root).build().map_err(text)?;
    if name == MANY {
        return many(&runtime, runs, bundles);
    }
    let kind = KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| format!("no kind {name}"))?;
    if !kind.worker {
        grow(kind)?;
        return lives(&runtime, runs, bundles);
    }
    // The worker is a copy of the program from when it was small.
    let (mut asked, ask) = pipe().map_err(text)?;
    let (mut answer, mut answered) = pipe().map_err(text)?;
    let keep = [asked.as_raw_fd(), answered.as_raw_fd()];
    let own = runtime.clone();
    // What moves into the work is dropped here, so that the end of the answer can be noticed.
    let worker = wharf::worker::fork(&keep, move || {
        let done = asked.read(&mut [0]).map_err(text).and_then(|_| lives(&own, runs, bundles));
        let _reader_is_gone =
            answered.write_all(done.unwrap_or_else(|error| format!("error: {error}")).as_bytes());
        0
    });
    worker.map_err(text)?;
    grow(kind)?;
    drop(ask);
    let mut figures = String::new();
    answer.read_to_string(&mut figures).map_err(text)?;
    Ok(figures)
}

/// Grows large, if the kind does.
fn grow(kind: &Kind) -> Result<()> {
    let Some(advised) = kind.large else { return Ok(()) };
    heap::take(HEAP, advised).map_err(text)?;
    for _ in 1..THREADS {
        std::thread::spawn(std::thread::park);
    }
    Ok(())
}

fn create(runtime: &Runtime, bundles: &Path, n: usize) -> Result<Container> {
    let bundle = Bundle::open(bundles.join(n.to_string())).map_err(text)?;
    let id = ContainerId::new(&format!("embedded-{n}")).map_err(text)?;
    runtime.create(&id, &bundle, CreateOptions::new()).map_err(text)
}

fn end(container: Container) -> Result<()> {
    container.kill(9).map_err(text)?;
    container.wait().map_err(text)?;
    container.delete(Delete::Stopped).map_err(text)
}

/// Containers one after another.
fn lives(runtime: &Runtime, runs: usize, bundles: &Path) -> Result<String> {
    let (mut creates, mut runnings, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=runs {
        let before = cpu()?;
        let begin = Instant::now();
        let container = create(runtime, bundles, 0)?;
        let created = begin.elapsed();
        container.start().map_err(text)?;
        let running = begin.elapsed();
        end(container)?;
        // The first fills caches.
        if round > 0 {
            creates.push(created.as_secs_f64() * 1e3);
            runnings.push(running.as_secs_f64() * 1e3);
            cpus.push(cpu()? - before);
        }
    }
    Ok(json!({"create_ms": median(creates), "running_ms": median(runnings), "cpu_ms": median(cpus)})
        .to_string())
}

/// CPU milliseconds of this process and of its children that were waited for.
fn cpu() -> Result<f64> {
    let mut sum = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who).map_err(text)?;
        sum += usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    }
    #[allow(clippy::cast_precision_loss, reason = "some seconds in microseconds")]
    Ok(sum as f64 / 1e3)
}

/// All containers at once.
fn many(runtime: &Runtime, count: usize, bundles: &Path) -> Result<String> {
    let descriptors = || fs::read_dir("/proc/self/fd").map_err(text).map(Iterator::count);
    let (memory, files) = (resident()?, descriptors()?);
    let begin = Instant::now();
    let mut containers = Vec::new();
    for n in 0..count {
        let made = create(runtime, bundles, n);
        match made.and_then(|container| container.start().map_err(text).map(|()| container)) {
            Ok(container) => containers.push(container),
            Err(error) => {
                let number = containers.len();
                containers.into_iter().try_for_each(end)?;
                return Err(format!("container {number}: {error}"));
            }
        }
    }
    let running = begin.elapsed().as_secs_f64();
    let (memory_now, files_now) = (resident()?, descriptors()?);
    let begin = Instant::now();
    containers.into_iter().try_for_each(end)?;
    let ended = begin.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "numbers of containers, files and kibibytes")]
    let each = |before: usize, now: usize| (now as f64 - before as f64) / count as f64;
    Ok(json!({"running_s": running, "ended_s": ended, "rss_kib": each(memory, memory_now),
        "descriptors": each(files, files_now)})
    .to_string())
}

/// KiB.
fn resident() -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status").map_err(text)?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok());
    line.ok_or_else(|| "no VmRSS".to_owned())
}
