//! Counts the system calls of a container's life with strace(1), and the instructions of short calls.

use super::limits::Counts;
use super::steps;
use crate::bundle::{Image, Kind};
use crate::contestant::Contestant;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use wharf_spec_tests::Outcome;
use wharf_spec_tests::outcome::{fail, skip};
use wharf_spec_tests::runtime::{PATIENCE, Running, brief};

/// The steps of a container's life, in this order; `run` is a life of its own.
pub const LIFE: [&str; 6] = ["create", "start", "state", "exec", "kill", "delete"];

/// How often everything is counted; the smallest count is true: calls that are repeated after an interruption only add
/// to it.
const TRIES: usize = 3;

/// Finds a counting program; skips if it is not installed.
pub fn tool(name: &str) -> Outcome<PathBuf> {
    let found =
        ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name)).into_iter().find(|path| path.exists());
    found.map_or_else(|| skip(format!("{name} is not installed")), Ok)
}

/// The system calls of each operation on a bundle, and of what it starts up to the end of the container's program.
pub fn system_calls(
    strace: &Path,
    one: &Contestant,
    image: &Image,
    kind: Kind,
) -> Outcome<Vec<(String, Counts)>> {
    let mut best: Vec<(String, Counts)> = Vec::new();
    for _ in 0..TRIES {
        for (at, found) in life(strace, one, image, kind)?.into_iter().enumerate() {
            match best.get_mut(at) {
                Some(old) if old.1.values().sum::<u64>() <= found.1.values().sum() => {}
                Some(old) => *old = found,
                None => best.push(found),
            }
        }
    }
    Ok(best)
}

fn life(strace: &Path, one: &Contestant, image: &Image, kind: Kind) -> Outcome<Vec<(String, Counts)>> {
    let id = one.id(0);
    let sleeping = one.bundle(image, kind, 0, &["/bin/sleep", "100000"])?;
    let ending = one.bundle(image, kind, 1, &["/bin/true"])?;
    let file = one.directory("calls");
    let trace = |args: &[&str]| -> Outcome<Running> {
        let before = ["-f", "-c", "-U", "calls,name", "-o", &file.to_string_lossy()];
        one.through(strace, &before, args).spawn()
    };
    let mut all = Vec::new();
    let title = |word: &str| format!("system calls of {word} {kind:?}");
    trace(&["run", "--bundle", &ending.to_string_lossy(), &one.id(1)])?.finish(PATIENCE)?.ok()?;
    all.push((title("run"), read(&file)?));
    // The tracer stays until the container's first process ends, so kill that, unseen, once `create` is done.
    let create = trace(&["create", "--bundle", &sleeping.to_string_lossy(), &id])?;
    until_created(one, &id, create.pid())?;
    one.call(&["kill", &id, "KILL"])?;
    create.finish(PATIENCE)?.ok()?;
    all.push((title("create"), read(&file)?));
    one.call(&["delete", "--force", &id])?;
    one.call(&["create", "--bundle", &sleeping.to_string_lossy(), &id])?;
    for word in &LIFE[1..] {
        let words: &[&str] = match *word {
            "exec" => &["exec", &id, "/bin/true"],
            "kill" => &["kill", &id, "KILL"],
            other => &[other, &id],
        };
        trace(words)?.finish(PATIENCE)?.ok()?;
        all.push((title(word), read(&file)?));
        if *word == "kill" {
            one.until_stopped(0)?;
        }
    }
    Ok(all)
}

/// Waits until a container is created and its creator, a child of `pid`, has ended.
fn until_created(one: &Contestant, id: &str, pid: u32) -> Outcome {
    let children = format!("/proc/{pid}/task/{pid}/children");
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let called = one.unmeasured(&["state", id]).call()?;
        let created = called.status.success() && called.json()?["status"] == "created";
        if created && fs::read_to_string(&children)?.trim().is_empty() {
            return Ok(());
        }
    }
    fail(format!("{id} is not created after {} s", PATIENCE.as_secs()))
}

/// What `strace -c -U calls,name` wrote: a number and a name in each line, and a total.
fn read(file: &Path) -> Outcome<Counts> {
    let text = fs::read_to_string(file)?;
    let counts: Counts = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let count = words.next()?.parse().ok()?;
            words.next().filter(|name| *name != "total").map(|name| (name.to_owned(), count))
        })
        .collect();
    if counts.is_empty() { fail(format!("strace counted nothing: {}", brief(&text))) } else { Ok(counts) }
}

/// The user-space instructions of calls that start nothing: the cost of starting the program, and of planning.
///
/// Stepping takes some 20 microseconds for each, so the longer calls are left to valgrind, which is faster but does not
/// know the newer system calls of the shorter ones.
pub fn instructions(one: &Contestant, image: &Image) -> Outcome<Vec<(String, Counts)>> {
    let id = one.id(0);
    one.call(&["create", "--bundle", &sleeping(one, image)?, &id])?;
    let calls: [&[&str]; 3] = [&["--version"], &["list"], &["state", &id]];
    calls.iter().map(|args| Ok(titled(args[0], steps::count(one.unmeasured(args))?))).collect()
}

/// The same for checking and planning.
pub fn planning(valgrind: &Path, one: &Contestant, image: &Image) -> Outcome<Vec<(String, Counts)>> {
    let bundle = sleeping(one, image)?;
    let calls = ["features", "check", "explain"]
        .map(|word| if word == "features" { vec![word] } else { vec![word, &bundle] });
    calls.iter().map(|args| Ok(titled(args[0], collected(valgrind, one, args)?))).collect()
}

fn sleeping(one: &Contestant, image: &Image) -> Outcome<String> {
    let bundle = one.bundle(image, Kind::B, 0, &["/bin/sleep", "100000"])?;
    Ok(bundle.to_string_lossy().into_owned())
}

fn titled(word: &str, count: u64) -> (String, Counts) {
    let bundle = if ["check", "explain", "state"].contains(&word) { " B" } else { "" };
    (format!("instructions of {word}{bundle}"), [("all".to_owned(), count)].into())
}

fn collected(valgrind: &Path, one: &Contestant, args: &[&str]) -> Outcome<u64> {
    let before = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let called = one.through(valgrind, &before, args).call()?.ok()?;
    let line = called.stderr.lines().find_map(|line| line.split_once("Collected : "));
    let number = line.and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    number.map_or_else(|| fail(format!("valgrind counted nothing: {}", brief(&called.stderr))), Ok)
}
