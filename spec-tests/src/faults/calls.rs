//! Calls of the runtime that fail.

use crate::inject::{Baseline, Mode, Verb};
use crate::outcome::{Fault, Outcome, check, fail};
use crate::{Bed, Test, root};
use nix::errno::Errno;

pub(super) const TESTS: &[Test] = &[
    root(
        "F40",
        "a container whose look at a file was not permitted is isolated all the same, or refused",
        |bed| each(bed, Verb::Run, &["openat2", "fstat", "newfstatat"], Errno::EPERM),
    ),
    root(
        "F40",
        "a program whose look at a file was not permitted is isolated all the same, or refused",
        |bed| each(bed, Verb::Exec, &["openat2", "fstat", "newfstatat"], Errno::EPERM),
    ),
    root(
        "F40",
        "a delete --force whose signal was not permitted ends in time, and can be tried again",
        |bed| each(bed, Verb::DeleteForce, &["kill", "pidfd_send_signal"], Errno::EPERM),
    ),
    root("F40", "no mounts add hangs because the kernel has no memory to unmap a page", |bed| {
        each(bed, Verb::MountsAdd, &["munmap"], Errno::ENOMEM)
    }),
];

/// Lets each of the calls fail once. `inject` does so with every call there is.
fn each(bed: &Bed<'_>, verb: Verb, calls: &[&str], errno: Errno) -> Outcome {
    // What happens beside this test is below this directory.
    let work = bed.dir().parent().unwrap_or(bed.dir());
    let baseline = Baseline::record(verb, bed.runtime, bed.host, work)?;
    let mut points = baseline.points(&[Mode::Fail], &[errno]);
    points.retain(|point| calls.iter().any(|call| point.name().contains(&format!(" {call} "))));
    check(!points.is_empty(), || format!("it makes none of the calls {calls:?}"))?;
    let mut passed = 0;
    for point in points.iter().step_by(bed.sample(points.len())) {
        let verdict = point.judge(bed.runtime, bed.host, work);
        match verdict.outcome {
            Ok(()) => passed += 1,
            Err(Fault::Failed(text)) => return fail(format!("{}: {text}", verdict.name)),
            // A runtime with threads does not make the same calls each time.
            Err(Fault::Skipped(_)) => {}
        }
    }
    check(passed > 0, || "none of the calls was made again".into())
}
