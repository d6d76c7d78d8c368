//! Measures containerd shims side by side: how much memory idle pods use, and how long calls take.
//!
//! Everything is interleaved, one round of each shim after another, so that other load on the machine affects all
//! alike.

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options as RuncOptions;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};
use wharf_bench::report::Surroundings;
use wharf_spec_tests::outcome::{Fault, Outcome, fail};
use wharf_spec_tests::shim::client::granted;
use wharf_spec_tests::shim::launch::{Era, any};
use wharf_spec_tests::shim::task::process;
use wharf_spec_tests::shim::{Bed, Pod, Streams, Subject, Task, private_run};
use wharf_spec_tests::{Bundle, Runtime, Spec, markers, program, session};

const HELP: &str = "\
Measures containerd shims side by side and prints a markdown table; ratios are to the first.

usage: shim-figures [--pods N] [--rounds N] [--hide-unified] NAME=SHIM[@VERSION][,BINARY]...

  NAME=SHIM          a shim's path; @VERSION is the containerd that calls it (default 2.3), BINARY the runtime that it calls
  --pods N[,N]...    idle pods of each (default 20)
  --rounds N         rounds of calls of each (default 40)
  --into FILE        put the table between the markers `shim` of this file
  --hide-unified     hide /sys/fs/cgroup/unified, for runtimes that refuse hosts with v1 and v2 cgroups

Needs root and a machine with nothing else to do.";

struct Entry {
    name: String,
    subject: Subject,
    options: Option<Any>,
}

struct Options {
    entries: Vec<Entry>,
    pods: Vec<usize>,
    into: Option<PathBuf>,
    rounds: usize,
    hide_unified: bool,
}

fn main() -> ExitCode {
    let options = match program::options("shim-figures", HELP, parse()) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match measure(&options) {
        Ok(table) => {
            println!("{table}");
            match options.into.map_or(Ok(()), |file| markers::write(&file, "shim", &table)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(text) => {
                    eprintln!("shim-figures: {text}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(Fault::Failed(text) | Fault::Skipped(text)) => {
            eprintln!("shim-figures: {text}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt};
    let mut options =
        Options { entries: Vec::new(), pods: vec![20], into: None, rounds: 40, hide_unified: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("pods") => {
                let counts = parser.value()?.string()?;
                let counts = counts.split(',').map(str::parse::<usize>).collect::<Result<Vec<_>, _>>();
                options.pods = counts.map_err(|error| format!("--pods: {error}"))?;
            }
            Long("into") => options.into = Some(parser.value()?.into()),
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("hide-unified") => options.hide_unified = true,
            Value(text) => options.entries.push(entry(&text.string()?)?),
            other => return Err(other.unexpected()),
        }
    }
    if options.entries.is_empty() {
        return Err("no shim to measure".into());
    }
    Ok(Some(options))
}

fn entry(text: &str) -> Result<Entry, lexopt::Error> {
    let Some((name, rest)) = text.split_once('=') else {
        return Err(format!("NAME=SHIM, not {text}").into());
    };
    let (rest, binary) = rest.split_once(',').map_or((rest, None), |(rest, binary)| (rest, Some(binary)));
    let (path, version) = rest.split_once('@').unwrap_or((rest, "2.3"));
    let era = Era::of(version).ok_or_else(|| format!("{version} is no version of containerd from 1.6 on"))?;
    let found = Runtime::find(path.as_ref()).map_err(|error| format!("{path}: {error}"))?;
    let options = binary.map(|binary| {
        let options = RuncOptions { binary_name: binary.into(), ..RuncOptions::new() };
        any("containerd.runc.v1.Options", options.write_to_bytes().unwrap_or_default())
    });
    Ok(Entry { name: name.into(), subject: Subject { path: found.path, era, effort: 1 }, options })
}

/// What one shim uses, in kB.
#[derive(Clone, Copy, Default)]
struct Memory {
    rss: u64,
    pss: u64,
    dirty: u64,
    tables: u64,
    threads: u64,
}

impl Memory {
    fn of(pid: u32) -> Outcome<Self> {
        let number = |text: &str, key: &str| -> Outcome<u64> {
            let value =
                text.lines().find_map(|line| line.strip_prefix(key)?.trim().split(' ').next()?.parse().ok());
            value.map_or_else(|| fail(format!("no {key} of process {pid}")), Ok)
        };
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            rss: number(&rollup, "Rss:")?,
            pss: number(&rollup, "Pss:")?,
            dirty: number(&rollup, "Private_Dirty:")?,
            tables: number(&status, "VmPTE:")?,
            threads: number(&status, "Threads:")?,
        })
    }
}

/// The timed calls, in the order of the table.
const CALLS: [&str; 6] = [
    "`start` of a shim, to its first answer",
    "Create and Start, to running",
    "Create, Start, Kill, Wait, Delete",
    "Exec and Start, to running",
    "Exec, Start, Wait, Delete",
    "State",
];

/// Times of each call, in microseconds.
type Times = [Vec<u64>; CALLS.len()];

fn measure(options: &Options) -> Outcome<String> {
    let surroundings = Surroundings::look();
    let session = session::prepare()?;
    session.host.needs_root()?;
    private_run()?;
    let mut host = session.host.clone();
    if options.hide_unified
        && let Some(path) = host.hierarchies.iter().find(|path| path.ends_with("unified"))
    {
        nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH).map_err(std::io::Error::from)?;
        host = wharf_spec_tests::Host::probe();
    }
    let beds = options
        .entries
        .iter()
        .map(|entry| Bed::new(&entry.subject, &host, session.work()))
        .collect::<Outcome<Vec<_>>>()?;
    let memory =
        options.pods.iter().map(|pods| idle_pods(options, *pods, &beds)).collect::<Outcome<Vec<_>>>()?;
    let times = calls(options, &beds)?;
    for bed in beds {
        // Some leave their sockets behind; that is not judged here.
        bed.tolerate_leftovers();
        bed.clean_up()?;
    }
    Ok(surroundings.sentences(host.cgroups.name()) + "\n" + &table(options, &memory, &times))
}

fn created<'b, 'a>(
    bed: &'b Bed<'a>,
    pod: &Rc<Pod>,
    bundle: Bundle,
    options: Option<Any>,
) -> Outcome<Task<'b, 'a>> {
    let mut task = Task::new(bed, Rc::clone(pod), bundle, Streams::none());
    task.pid = granted("Create", task.create(options, &[]))?.pid;
    Ok(task)
}

/// Mean of what the shims of idle pods use.
fn idle_pods(options: &Options, pods: usize, beds: &[Bed<'_>]) -> Outcome<Vec<Memory>> {
    let spec = Spec::new().args(&["/probe", "wait"]);
    let mut tasks: Vec<Vec<Task<'_, '_>>> = beds.iter().map(|_| Vec::new()).collect();
    for _ in 0..pods {
        for ((bed, entry), tasks) in beds.iter().zip(&options.entries).zip(&mut tasks) {
            let bundle = bed.bundle(&spec)?;
            let pod = bed.pod(&bundle)?;
            let task = created(bed, &pod, bundle, entry.options.clone())?;
            task.begin()?;
            tasks.push(task);
        }
    }
    // A garbage collector gets its chance.
    std::thread::sleep(Duration::from_secs(3));
    let mut means = Vec::new();
    for tasks in &tasks {
        let mut sum = Memory::default();
        for task in tasks {
            let one = Memory::of(task.pod.pid)?;
            sum.rss += one.rss;
            sum.pss += one.pss;
            sum.dirty += one.dirty;
            sum.tables += one.tables;
            sum.threads += one.threads;
        }
        let count = tasks.len().max(1) as u64;
        means.push(Memory {
            rss: sum.rss / count,
            pss: sum.pss / count,
            dirty: sum.dirty / count,
            tables: sum.tables / count,
            threads: sum.threads / count,
        });
    }
    for task in tasks.iter().flatten() {
        task.finish()?;
        let _closed = task.pod.shutdown();
    }
    Ok(means)
}

/// Rounds of calls, one shim after another.
fn calls(options: &Options, beds: &[Bed<'_>]) -> Outcome<Vec<Times>> {
    let annotation =
        |bed: &Bed<'_>| serde_json::json!({"io.containerd.runc.v2.group": bed.dir().to_string_lossy()});
    let mut settled = Vec::new();
    for (bed, entry) in beds.iter().zip(&options.entries) {
        let spec = Spec::new().set("/annotations", annotation(bed)).args(&["/probe", "wait"]);
        let bundle = bed.bundle(&spec)?;
        let pod = bed.pod(&bundle)?;
        let task = created(bed, &pod, bundle, entry.options.clone())?;
        task.begin()?;
        settled.push((task, bed.bundle(&spec)?, bed.bundle(&Spec::new())?));
    }
    let mut times: Vec<Times> = beds.iter().map(|_| Times::default()).collect();
    for round in 0..options.rounds + 2 {
        for (((task, second, alone), entry), times) in settled.iter().zip(&options.entries).zip(&mut times) {
            let seen = one_round(task, second, alone, entry, round)?;
            // The first rounds fill caches.
            if round >= 2 {
                for (list, time) in times.iter_mut().zip(seen) {
                    list.push(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
                }
            }
        }
    }
    for (task, _, _) in &settled {
        task.finish()?;
    }
    Ok(times)
}

fn one_round(
    task: &Task<'_, '_>,
    second: &Bundle,
    alone: &Bundle,
    entry: &Entry,
    round: usize,
) -> Outcome<[Duration; CALLS.len()]> {
    let bed = task.bed;
    let begun = Instant::now();
    let pod = bed.pod(alone)?;
    let start = begun.elapsed();
    let _closed = pod.shutdown();
    drop(pod);

    let begun = Instant::now();
    let other = created(bed, &task.pod, second.clone(), entry.options.clone())?;
    other.begin()?;
    let running = begun.elapsed();
    granted("Kill", other.kill("", 9, false))?;
    other.exit("")?;
    granted("Delete", other.delete(""))?;
    let life = begun.elapsed();

    let id = format!("e{round}");
    let begun = Instant::now();
    granted("Exec", task.add(&id, &process(&["/probe", "true"]), &Streams::none()))?;
    granted("Start of the exec", task.start(&id))?;
    let exec_running = begun.elapsed();
    task.exit(&id)?;
    granted("Delete of the exec", task.delete(&id))?;
    let exec = begun.elapsed();

    let begun = Instant::now();
    granted("State", task.state(""))?;
    Ok([start, running, life, exec_running, exec, begun.elapsed()])
}

/// The value that `percent` of the list do not exceed.
fn quantile(list: &[u64], percent: usize) -> u64 {
    let mut sorted = list.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0)
}

/// Rows of a markdown table.
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, values: &[u64], show: fn(u64) -> String) {
        let mut row = format!("\n| {name} |");
        for (at, value) in values.iter().enumerate() {
            let ratio = match value.saturating_mul(10).checked_div(values[0]) {
                Some(tenths) if at > 0 => format!(" ({}.{}x)", tenths / 10, tenths % 10),
                _ => String::new(),
            };
            let _infallible = write!(row, " {}{ratio} |", show(*value));
        }
        self.0.push_str(&row);
    }
}

fn table(options: &Options, memory: &[Vec<Memory>], times: &[Times]) -> String {
    let names: Vec<&str> = options.entries.iter().map(|entry| entry.name.as_str()).collect();
    let mut table = Table(format!("| | {} |\n|---|{}", names.join(" | "), "--:|".repeat(names.len())));
    let kb = |value: u64| format!("{value} kB");
    let plain = |value: u64| value.to_string();
    let ms = |value: u64| format!("{}.{:02} ms", value / 1000, value % 1000 / 10);
    for (pods, memory) in options.pods.iter().zip(memory) {
        let of = |get: fn(&Memory) -> u64| memory.iter().map(get).collect::<Vec<_>>();
        let idle = format!("{pods} idle pod{}, per shim", if *pods == 1 { "" } else { "s" });
        table.row(&format!("{idle}: PSS"), &of(|m| m.pss), kb);
        table.row(&format!("{idle}: private dirty"), &of(|m| m.dirty), kb);
        table.row(&format!("{idle}: RSS"), &of(|m| m.rss), kb);
        table.row(&format!("{idle}: page tables"), &of(|m| m.tables), kb);
        table.row(&format!("{idle}: threads"), &of(|m| m.threads), plain);
    }
    for (at, name) in CALLS.iter().enumerate() {
        let at_part = |percent| times.iter().map(|times| quantile(&times[at], percent)).collect::<Vec<_>>();
        table.row(&format!("{name}: median of {}", options.rounds), &at_part(50), ms);
        table.row(&format!("{name}: best"), &at_part(0), ms);
    }
    table.0
}
