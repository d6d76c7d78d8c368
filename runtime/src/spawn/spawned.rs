//! A child from its birth on: what it says, and how it ends.

use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::failure;
use crate::child::message::{MESSAGE_SIZE, Message, MessageKind};
use crate::error::{Error, ErrorKind, Result};
use crate::linux::process_stat::doing;
use crate::linux::waiting;
use crate::plan::Plan;
use crate::sys::marks::Marks;
use crate::sys::{pidfd, socket};

/// How many milliseconds a child has between the report of its failure and its end. It needs none, but a seccomp filter
/// may keep it from ending.
pub(crate) const LAST_WORDS: i32 = 2000;

/// How many milliseconds a killed process may take to end.
const PATIENCE: i32 = 10_000;

/// A child whose program has got to the report that everything is in place, or to its end.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// The process that made this one to enter a pid namespace, and then ends.
    pub(super) maker: Option<OwnedFd>,
    pub(super) sync: OwnedFd,
    /// The master of the container's terminal, and the number of the other end.
    pub(crate) console: Option<(OwnedFd, u32)>,
    /// Becomes readable when the caller cancels.
    pub(super) cancel: Option<OwnedFd>,
    pub(super) expects_to_wait: bool,
    pub(super) memory_limit: Option<i64>,
    /// Whether another process is the parent, and takes its status.
    pub(super) sibling: bool,
    /// Whether dropping this must not end the child: it is already gone.
    pub(super) released: bool,
    /// When its steps began, if the log needs that, and how many of them are logged.
    pub(super) marks: Option<Marks>,
    pub(super) told: usize,
}

impl Spawned {
    /// Becomes readable when the caller cancels.
    pub(crate) fn cancel(&self) -> Option<BorrowedFd<'_>> {
        self.cancel.as_ref().map(OwnedFd::as_fd)
    }

    /// Tells a created child that its creation is recorded.
    pub(crate) fn go(&mut self) -> Result<()> {
        socket::send(self.sync.as_raw_fd(), &Message::new(MessageKind::Go).encode(), -1)
            .map_err(|errno| Error::os(errno, "release the container's process"))
    }

    /// Goes on in another process, which this one has made.
    pub(super) fn move_to(&mut self, pid: u32, pidfd: OwnedFd) {
        self.maker = Some(std::mem::replace(&mut self.pidfd, pidfd));
        self.pid = pid as i32;
    }

    /// Takes the status of the process that made this one: nothing else waits for it, unless it is not our child. It
    /// has ended, or is about to.
    fn reap_maker(&mut self) {
        if let Some(maker) = self.maker.take().filter(|_| !self.sibling) {
            // It would not end by itself in a frozen cgroup.
            pidfd::end_child(maker.as_fd());
        }
    }

    /// Lets the child live, and returns its pidfd.
    pub(crate) fn into_pidfd(mut self) -> Result<OwnedFd> {
        self.reap_maker();
        let pidfd = self
            .pidfd
            .try_clone()
            .map_err(|error| Error::io(&error, "duplicate the pidfd of the container's process"))?;
        self.released = true;
        Ok(pidfd)
    }

    /// Why something that was done to or with the child failed. A child that ends takes its files in /proc and its end
    /// of the socket with it, so `met` often only says that it is gone. Then its own report is the reason, or else how
    /// it ended. If the child lives, `met` is the reason.
    pub(crate) fn reason(&mut self, plan: &Plan, met: Error) -> Error {
        // A hook has its own reason, and may be what ended the child.
        if matches!(met.kind(), ErrorKind::Hook | ErrorKind::Cancelled) {
            return met;
        }
        let mut failed: Option<(Message, Option<OwnedFd>)> = None;
        loop {
            // Once it has reported a failure it only ends, so wait for that.
            let both = [self.sync.as_raw_fd(), self.pidfd.as_raw_fd()];
            if failed.is_none() && !matches!(socket::wait_readable(both, 0), Ok([true, _] | [_, true])) {
                return met;
            }
            match self.next_message(failed.is_some()) {
                Ok(Some((message, fd))) if message.kind == MessageKind::Failed => {
                    failed = Some((message, fd));
                }
                // Its maker ends because of that, and this one has to be ended, too.
                Ok(Some((message, Some(pidfd))))
                    if message.kind == MessageKind::Refork && self.maker.is_none() =>
                {
                    self.move_to(message.a, pidfd);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return met,
            }
        }
        log::debug!("the container's process has ended; meanwhile: {met}");
        match failed {
            Some((message, output)) => failure::describe(&plan.program, message, output),
            None => self.ended(),
        }
    }

    /// The next message; none at end of file, and soon after a failed one. If another process holds the socket of a
    /// child that is gone, that counts as end of file as well.
    pub(super) fn next_message(&self, failed: bool) -> Result<Option<(Message, Option<OwnedFd>)>> {
        let context = |errno| Error::os(errno, "hear from the container's process");
        let cancel = self.cancel.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let fds = [self.sync.as_raw_fd(), self.pidfd.as_raw_fd(), cancel];
        let [readable, _, cancelled] = if failed {
            socket::wait_readable(fds, LAST_WORDS)
        } else if self.expects_to_wait {
            socket::wait_readable(fds, -1)
        } else {
            waiting::wait_readable(fds, self.pid, "of the container")
        }
        .map_err(context)?;
        if cancelled {
            return Err(Error::cancelled());
        }
        if !readable {
            // The child has ended; a message that it sent before is in the socket by now.
            let [late] = socket::wait_readable([self.sync.as_raw_fd()], 0).map_err(context)?;
            if !late {
                return Ok(None);
            }
        }
        let mut packet = [0u8; MESSAGE_SIZE];
        let (length, fd) = match socket::receive_owned(&self.sync, &mut packet) {
            Err(Errno::ECONNRESET) => (0, None),
            other => other.map_err(context)?,
        };
        if length == 0 {
            return Ok(None);
        }
        match packet.get(..length).and_then(Message::decode) {
            Some(message) => Ok(Some((message, fd))),
            None => Err(Error::new(
                ErrorKind::System,
                "the container's process sent something that is no message",
            )),
        }
    }

    /// The error for a child whose end of the socket is closed: its own end is seen a moment later.
    pub(super) fn ended(&self) -> Error {
        let _ = socket::wait_readable([self.pidfd.as_raw_fd()], 1000);
        let end = pidfd::wait(self.pidfd.as_raw_fd(), libc::WNOHANG | libc::WNOWAIT).ok().flatten();
        // Only the parent of a sibling can know how it ended.
        let may_be_killed = matches!(end, Some((code, libc::SIGKILL)) if code != libc::CLD_EXITED)
            || (end.is_none() && self.sibling);
        let error = failure::ended(end);
        match self.memory_limit {
            // One that was killed during its set-up has mostly hit its own limit.
            Some(limit) if limit > 0 && may_be_killed => error
                .at("/linux/resources/memory/limit")
                .with_hint(format!("the memory limit of {limit} bytes may be too low to start a process")),
            _ => error,
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.reap_maker();
        if !self.released {
            if let Err(errno) = pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL)
                && errno != Errno::ESRCH
            {
                log::warn!("process {} cannot be killed: {errno}", self.pid);
                return;
            }
            // It has ended, so what it held is free.
            match socket::wait_readable([self.pidfd.as_raw_fd()], PATIENCE) {
                Ok([false]) => {
                    log::warn!(
                        "process {} does not end although it was killed: {}",
                        self.pid,
                        doing(self.pid)
                    );
                }
                _ if self.sibling => {}
                _ => drop(pidfd::wait(self.pidfd.as_raw_fd(), 0)),
            }
        }
    }
}
