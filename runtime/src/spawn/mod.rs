//! The parent's half of a creation: makes the child, serves its requests, words its failures.
//!
//! The caller may be any thread of any program. Nothing of its process changes: the calling thread's signals are
//! blocked around the clone, and its mask is then restored.

mod apart;
mod failure;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
pub(crate) mod id_map;
mod make;
mod mapping;
mod opening;
mod server;
mod setting;
mod spawned;
#[cfg(test)]
mod tests;
mod view;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::plan::ParentStep;
#[cfg(feature = "criu")]
pub(crate) use apart::among;
pub(crate) use failure::{describe_late, ended_by};
pub(crate) use opening::{open_mount, open_procfs};
pub(crate) use server::spawn;
#[cfg(feature = "criu")]
pub(crate) use setting::set_oom_score;
pub(crate) use spawned::{LAST_WORDS, Spawned};
pub(crate) use view::HostView;

/// What a child gets, and what its parent has to know to serve it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources<'r> {
    /// What the caller may do.
    pub(crate) host: Host,
    /// What becomes standard input, output and error.
    pub(crate) streams: [RawFd; 3],
    /// How many descriptors from 3 up are preserved.
    pub(crate) preserved: u32,
    /// Those among them that are not the caller's to preserve, because they were not open.
    pub(crate) absent: &'r [RawFd],
    /// The socket on which a created container waits for `start`.
    pub(crate) listener: Option<BorrowedFd<'r>>,
    /// The cgroup (v2) that the child is born in.
    pub(crate) cgroup: Option<BorrowedFd<'r>>,
    /// Whether the child may be born outside of its cgroup, if the caller may not put it there.
    pub(crate) cgroup_optional: bool,
    /// Namespaces that the child is born into, each with its `CLONE_NEW*` flag.
    pub(crate) born_joined: &'r [(OwnedFd, i32)],
    /// Namespaces and other descriptors that the program refers to by number.
    pub(crate) namespaces: &'r [OwnedFd],
    /// The root file system, if the child makes the mounts in it: sources in there are those that the child sees.
    pub(crate) rootfs: Option<&'r Path>,
    /// The score for the kernel's out-of-memory killer.
    pub(crate) oom_score: Option<i32>,
    /// The limit of a new memory cgroup, which the set-up of the child may exceed.
    pub(crate) memory_limit: Option<i64>,
    /// Whether the child's parent is the caller's parent.
    pub(crate) sibling: bool,
    /// Becomes readable when the caller cancels.
    pub(crate) cancel: Option<BorrowedFd<'r>>,
    /// Whether the caller expects a long wait, and wants no log message about it.
    pub(crate) expects_to_wait: bool,
}

impl<'r> Resources<'r> {
    /// Those of a child that gets the caller's streams and these descriptors.
    pub(crate) const fn new(host: Host, namespaces: &'r [OwnedFd]) -> Self {
        Self {
            host,
            streams: [0, 1, 2],
            preserved: 0,
            absent: &[],
            listener: None,
            cgroup: None,
            cgroup_optional: false,
            born_joined: &[],
            namespaces,
            rootfs: None,
            oom_score: None,
            memory_limit: None,
            sibling: false,
            cancel: None,
            expects_to_wait: false,
        }
    }
}

/// What only the operation can do that the child is made for. All else that a child asks for, the parent does in the
/// same way whatever the operation is.
pub(crate) trait Operation {
    /// Acts directly after the birth of the child, while it is busy.
    fn born(&mut self, _child: &Spawned) -> Result<()> {
        Ok(())
    }

    /// Notes the new pid of the child, as it goes on in a new process.
    fn moved(&mut self, _child: &Spawned) -> Result<()> {
        Ok(())
    }

    /// Takes a step on something that the container has.
    fn step(&mut self, step: &ParentStep, child: &Spawned) -> Result<()>;

    /// Passes on the listener of the child's seccomp filter, at once: its next call may already wait for an answer
    /// there.
    fn listener(&mut self, _listener: OwnedFd, _child: &Spawned) -> Result<()> {
        Ok(())
    }

    /// Opens the context of a procfs for one of the namespaces that the child got.
    fn procfs(&self, pid_namespace: &OwnedFd) -> Result<OwnedFd> {
        open_procfs(pid_namespace.as_fd())
    }

    /// Records a mount that the child is about to attach.
    fn attaches(&mut self, _destination: &Path, _mount: OwnedFd) -> Result<()> {
        Err(out_of_turn())
    }

    /// Notes what became of a recorded mount.
    fn fate(&mut self, _fate: Fate) -> Result<()> {
        Err(out_of_turn())
    }
}

/// What a child reports about recorded mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The one with that number is gone.
    Gone(u32),
    /// The one with that number goes if the child succeeds.
    Found(u32),
    /// None of those attached since its birth is left.
    Undone,
}

/// The error for a child that sends something that its plan does not have at this point.
pub(crate) fn out_of_turn() -> Error {
    Error::new(ErrorKind::System, "the container's process sent a message out of turn")
}
