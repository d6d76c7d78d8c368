//! An idle shim after much work: its memory, file descriptors and sockets are what they were before.

use crate::outcome::{Outcome, check, fail};
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
];

/// KiB by which a heap may grow: a garbage collector keeps some. At full count a leak of 100 bytes per round shows.
const SLACK: u64 = 1000;

/// What a process uses.
#[derive(Debug, Clone, Copy)]
struct Held {
    rss: u64,
    files: usize,
    sockets: usize,
    children: usize,
}

impl Held {
    fn of(pid: u32) -> Outcome<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let rss =
            rollup.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().split(' ').next()?.parse().ok());
        let sockets = fs::read_to_string(format!("/proc/{pid}/net/unix"))?.lines().count();
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.split_whitespace().count();
        let Some(rss) = rss else { return fail("no Rss in smaps_rollup") };
        Ok(Self { rss, files: fs::read_dir(format!("/proc/{pid}/fd"))?.count(), sockets, children })
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
        check(last.rss <= self.rss + SLACK, || format!("before {self:?}, afterwards {last:?}"))
    }
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
