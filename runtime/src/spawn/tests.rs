use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::*;
use crate::program::Slot;
use crate::program::blame::{Blame, Place};

/// The failure of a spawn whose child does `op`, while the parent does `born` after its birth and `step` when asked.
fn failure(
    op: Op,
    born: &mut dyn FnMut(&Spawned) -> Result<()>,
    step: &mut dyn FnMut(&Spawned) -> Result<()>,
) -> String {
    let mut plan = Plan::default();
    match op {
        Op::Ask { .. } => {
            plan.ask(ParentStep::TimeOffsets(String::new()), Slot::NONE, Blame::new("ask", Place::NONE));
        }
        op => plan.program.push_own(op, "do it"),
    }
    let resources = Resources {
        streams: [0, 1, 2],
        preserved: 0,
        listener: None,
        cgroup: None,
        cgroup_optional: false,
        absent: &[],
        cancel: None,
        expects_to_wait: false,
        born_joined: &[],
        namespaces: &[],
        sibling: false,
    };
    let mut serve = |_: Asked<'_>, child: &Spawned| step(child).map(|()| None);
    spawn(&plan, &resources, born, &mut serve).unwrap_err().to_string()
}

fn gone() -> Error {
    Error::os(Errno::ENOENT, "write to a file in /proc")
}

#[test]
fn what_the_child_reports_is_the_reason_and_not_that_it_is_gone() {
    let fails = Op::NoProcess;
    let reported = "cannot start a container without a process";
    assert_eq!(failure(fails, &mut |_| Ok(()), &mut |_| Ok(())), reported);
    let after_its_end = |child: &Spawned| {
        let ended = waitid(Id::Pid(Pid::from_raw(child.pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        ended.map(drop).map_err(|errno| Error::os(errno, "wait"))?;
        Err(gone())
    };
    assert_eq!(failure(fails, &mut { after_its_end }, &mut |_| Ok(())), reported);
}

#[test]
fn the_end_of_a_child_that_is_killed_is_the_reason() {
    let asks = Op::Ask { step: 0, into: Slot::NONE };
    let mut kill = |child: &Spawned| {
        pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL).map_err(|errno| Error::os(errno, "kill"))?;
        socket::wait_readable([child.pidfd.as_raw_fd()], -1).map_err(|errno| Error::os(errno, "wait"))?;
        Err(gone())
    };
    let killed = failure(asks, &mut |_| Ok(()), &mut kill);
    assert!(killed.ends_with("it was killed by signal 9"), "{killed}");
    let mut unanswered = |child: &Spawned| kill(child).or(Ok(()));
    let killed = failure(asks, &mut |_| Ok(()), &mut unanswered);
    assert!(killed.ends_with("it was killed by signal 9"), "{killed}");
}

#[test]
fn what_a_living_child_has_no_part_in_is_told_as_met() {
    let asks = Op::Ask { step: 0, into: Slot::NONE };
    assert_eq!(failure(asks, &mut |_| Ok(()), &mut |_| Err(gone())), gone().to_string());
    assert_eq!(failure(asks, &mut |_| Err(gone()), &mut |_| Ok(())), gone().to_string());
}
