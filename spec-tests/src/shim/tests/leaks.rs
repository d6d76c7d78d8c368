//! An idle shim after much work: its memory, file descriptors and sockets are what they were before.

use crate::outcome::{Outcome, check, fail, skip};
use crate::shim::bed::Bed;
use crate::shim::client::{granted, refused};
use crate::shim::stdio::Streams;
use crate::shim::task::{Task, process};
use crate::shim::{Pod, Test, test};
use crate::spec::Spec;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs;

pub(super) const TESTS: &[Test] = &[
    test("L1", "execs of a missing program leave memory, files and sockets as they were", execs),
    test("L2", "creates and deletes leave memory, files and sockets as they were", creates),
    test("L3", "execs that run leave memory, files and sockets as they were", runs),
    test("L4", "a shim that was left alone has less memory and works as before", rested),
];

/// KiB by which a heap may grow: a garbage collector keeps some. At full count a leak of 100 bytes per round shows.
const SLACK: u64 = 1000;

/// What a process uses.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Not of files: a shim may unmap its code while it waits.
    anonymous: u64,
    files: usize,
    sockets: usize,
    children: usize,
}

impl Held {
    fn of(pid: u32) -> Outcome<Self> {
        let anonymous = memory(pid, "Anonymous:")?;
        let sockets = fs::read_to_string(format!("/proc/{pid}/net/unix"))?.lines().count();
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.split_whitespace().count();
        Ok(Self { anonymous, files: fs::read_dir(format!("/proc/{pid}/fd"))?.count(), sockets, children })
    }

    /// Passes if nothing has grown, except memory by [`SLACK`].
    fn flat(self, pod: &Pod, bed: &Bed<'_>) -> Outcome {
        let mut last = self;
        bed.until("files and sockets to be as before", || {
            last = Self::of(pod.pid)?;
            let flat =
                last.files <= self.files && last.sockets <= self.sockets && last.children <= self.children;
            Ok(flat.then_some(()))
        })
        .or_else(|_| fail(format!("before {self:?}, afterwards {last:?}")))?;
        check(last.anonymous <= self.anonymous + SLACK, || format!("before {self:?}, afterwards {last:?}"))
    }
}

/// A line of the `smaps_rollup` of a process, in KiB.
fn memory(pid: u32, line: &str) -> Outcome<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let found =
        rollup.lines().find_map(|text| text.strip_prefix(line)?.trim().split(' ').next()?.parse().ok());
    found.map_or_else(|| fail(format!("no {line} in smaps_rollup")), Ok)
}

/// A shim in a separate network namespace with a running container.
fn alone<'b, 'a>(bed: &'b Bed<'a>) -> Outcome<Task<'b, 'a>> {
    let group = format!("leak-{}-{}", std::process::id(), bed.dir().display());
    let spec = Spec::new().set("/annotations", json!({"io.containerd.runc.v2.group": group}));
    let bundle = bed.bundle(&spec.args(&["/probe", "wait"]))?;
    let mut call = bed.call(&bundle);
    call.private_network = true;
    let pod = bed.pod_by(&call)?;
    let task = bed.create_in(&pod, bundle, Streams::output(bed.dir())?)?;
    task.begin()?;
    task.streams.borrow_mut().until("ready")?;
    Ok(task)
}

/// The number of repetitions, for a full count of `full`.
fn count(bed: &Bed<'_>, full: u32) -> u32 {
    (full * bed.subject.effort / 100).max(10)
}

/// Does something `rounds` times, after a tenth of that to warm up, and compares what the shim uses.
fn repeat(task: &Task<'_, '_>, rounds: u32, mut act: impl FnMut(u32) -> Outcome) -> Outcome {
    let warm = rounds / 10 + 5;
    for round in 0..warm {
        act(round)?;
    }
    let before = Held::of(task.pod.pid)?;
    for round in warm..warm + rounds {
        act(round)?;
        if round % 100 == 0 {
            // As the daemon does, so that the log never fills up.
            let _read = task.pod.log();
            task.bed.daemon.forget();
        }
    }
    before.flat(&task.pod, task.bed)?;
    end(task)
}

/// The container has lived all the while.
fn end(task: &Task<'_, '_>) -> Outcome {
    if let Some(pid) = Pid::from_raw(task.pid.cast_signed()) {
        kill_process(pid, Signal::USR1)?;
    }
    task.streams.borrow_mut().until("signal 10")?;
    task.finish()
}

fn execs(bed: &Bed<'_>) -> Outcome {
    let task = alone(bed)?;
    let streams = Streams::output(bed.dir())?;
    repeat(&task, count(bed, 10_000), |round| {
        let id = format!("e{round}");
        granted("Exec", task.add(&id, &process(&["no-such-program"]), &streams))?;
        refused("Start", task.start(&id), &[], &["executable file not found"])?;
        granted("Delete", task.delete(&id)).map(drop)
    })
}

/// Which memory a shim gives back, and when, is its own affair; that it is in order afterwards is not.
fn rested(bed: &Bed<'_>) -> Outcome {
    let task = alone(bed)?;
    let busy = memory(task.pod.pid, "Rss:")?;
    let mut now = busy;
    let less = bed.until("the shim to have less memory", || {
        now = memory(task.pod.pid, "Rss:")?;
        Ok((now < busy * 3 / 4).then_some(()))
    });
    let streams = Streams::output(bed.dir())?;
    granted("Exec", task.add("e", &process(&["/probe", "true"]), &streams))?;
    granted("Start", task.start("e"))?;
    task.exit("e")?;
    granted("Delete", task.delete("e"))?;
    end(&task)?;
    less.or_else(|_| skip(format!("the shim keeps what it has: {busy} kB, then {now}")))
}

fn runs(bed: &Bed<'_>) -> Outcome {
    let task = alone(bed)?;
    let streams = Streams::output(bed.dir())?;
    repeat(&task, count(bed, 1_000), |round| {
        let id = format!("e{round}");
        granted("Exec", task.add(&id, &process(&["/probe", "true"]), &streams))?;
        granted("Start", task.start(&id))?;
        task.exit(&id)?;
        granted("Delete", task.delete(&id)).map(drop)
    })
}

fn creates(bed: &Bed<'_>) -> Outcome {
    let task = alone(bed)?;
    let annotations = task.bundle.spec()?["annotations"].clone();
    // One bundle for all rounds: the bed's own search for leftovers would grow with each.
    let bundle = bed.bundle(&Spec::new().set("/annotations", annotations).args(&["/probe", "true"]))?;
    let streams = Streams::output(bed.dir())?;
    let addresses = streams.addresses.clone();
    repeat(&task, count(bed, 1_000), |_| {
        let streams = Streams::at("", &addresses.stdout, &addresses.stderr);
        let other = bed.create_in(&task.pod, bundle.clone(), streams)?;
        other.begin()?;
        other.exit("")?;
        granted("Delete", other.delete("")).map(drop)
    })
}
