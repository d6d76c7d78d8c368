use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::*;
use crate::child::message::{Message, MessageKind};
use crate::plan::Plan;
use crate::program::blame::{Blame, Place};
use crate::program::{Op, Program, Slot};
use crate::sys::{pidfd, socket};

type Act<'a> = &'a mut dyn FnMut(&Spawned) -> Result<()>;

/// What the parent does after the birth of its child, and when asked.
struct Acts<'a>(Act<'a>, Act<'a>);

impl Operation for Acts<'_> {
    fn born(&mut self, child: &Spawned) -> Result<()> {
        (self.0)(child)
    }

    fn step(&mut self, _: &ParentStep, child: &Spawned) -> Result<()> {
        (self.1)(child)
    }
}

/// The failure of a spawn whose child does `op`, while the parent does `born` after its birth and `step` when asked.
fn failed(op: Op, memory_limit: Option<i64>, born: Act<'_>, step: Act<'_>) -> Error {
    let mut plan = Plan::default();
    match op {
        Op::Ask { .. } => plan.ask(ParentStep::RuntimeHooks, Slot::NONE, Blame::new("ask", Place::NONE)),
        op => plan.program.push_own(op, "do it"),
    }
    let resources = Resources { memory_limit, ..Resources::new(Host::of_root(), &[]) };
    spawn(&plan, &resources, &mut Acts(born, step)).unwrap_err()
}

fn failure(op: Op, born: Act<'_>, step: Act<'_>) -> String {
    failed(op, None, born, step).to_string()
}

fn gone() -> Error {
    Error::os(Errno::ENOENT, "write to a file in /proc")
}

fn kill(child: &Spawned) -> Result<()> {
    pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL).map_err(|errno| Error::os(errno, "kill"))?;
    socket::wait_readable([child.pidfd.as_raw_fd()], -1).map_err(|errno| Error::os(errno, "wait"))?;
    Err(gone())
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
    let killed = failure(asks, &mut |_| Ok(()), &mut kill);
    assert!(killed.ends_with("it was killed by signal 9"), "{killed}");
    let mut unanswered = |child: &Spawned| kill(child).or(Ok(()));
    let killed = failure(asks, &mut |_| Ok(()), &mut unanswered);
    assert!(killed.ends_with("it was killed by signal 9"), "{killed}");
}

#[test]
fn a_memory_limit_is_suspected_only_where_the_child_was_killed() {
    let asks = Op::Ask { step: 0, into: Slot::NONE };
    let pointer = |limit, step: Act<'_>| {
        let error = failed(asks, Some(limit), &mut |_| Ok(()), step);
        error.pointer().map(str::to_owned)
    };
    let memory = Some("/linux/resources/memory/limit".to_owned());
    assert_eq!(pointer(4096, &mut kill), memory);
    assert_eq!(pointer(-1, &mut kill), None);
    let mut says_so = |_: &Spawned| Err(Error::new(ErrorKind::Hook, "it was killed by signal 9"));
    assert_eq!(pointer(4096, &mut says_so), None, "the words are those of a hook");
}

#[test]
fn what_a_living_child_has_no_part_in_is_told_as_met() {
    let asks = Op::Ask { step: 0, into: Slot::NONE };
    assert_eq!(failure(asks, &mut |_| Ok(()), &mut |_| Err(gone())), gone().to_string());
    assert_eq!(failure(asks, &mut |_| Err(gone()), &mut |_| Ok(())), gone().to_string());
}

#[test]
fn only_a_refused_score_is_told_to_be_one() {
    let told = |pointer, written| {
        let mut program = Program::default();
        let (path, text) = (program.text("/proc/self/file"), program.text(written));
        program.push(Op::WriteHost { path, text }, Blame::new("write", Place::of(pointer)).on(text));
        let message = Message { b: libc::EACCES, ..Message::new(MessageKind::Failed) };
        failure::describe(&program, message, None).to_string().contains("OOM score")
    };
    assert!(told("/process/oomScoreAdj", "-500"));
    assert!(!told("/linux/timeOffsets", "") && !told("/linux/cgroupsPath", "0"));
}
