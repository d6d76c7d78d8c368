//! The parent's half of a creation: makes the child, serves its requests, words its failures.
//!
//! The caller may be any thread of any program. Nothing of its process changes: the calling thread's signals are
//! blocked around the clone, and its mask is then restored.

mod failure;
pub(crate) mod id_map;
mod make;
mod mapping;
mod steps;
mod view;

use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::child::message::{MESSAGE_SIZE, Message, MessageKind};
use crate::error::{Error, Kind, Result};
use crate::linux::process_stat::{became_program, doing};
use crate::linux::waiting;
use crate::plan::{ParentStep, Plan};
use crate::program::Op;
use crate::program::blame::Blame;
use crate::sys::marks::Marks;
use crate::sys::{pidfd, socket};
use crate::trace;
use failure::describe;
pub(crate) use failure::{describe_late, ended_by};
pub(crate) use mapping::{compare_id_maps, map_ids};
pub(crate) use steps::{
    open_device, open_directory, open_id_map, open_mount, open_procfs, own_streams, set_io_priority,
    set_oom_score, set_rlimits, set_scheduler, write_time_offsets,
};
pub(crate) use view::View;
#[cfg(feature = "criu")]
pub(crate) use view::protect_nodes;

/// How many milliseconds a child has between the report of its failure and its end. It needs none, but a seccomp filter
/// may keep it from ending.
pub(crate) const LAST_WORDS: i32 = 2000;

/// How many milliseconds a killed process may take to end.
const PATIENCE: i32 = 10_000;

/// The descriptors that a child gets.
#[derive(Debug)]
pub(crate) struct Resources<'r> {
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
    /// Whether the child's parent is the caller's parent.
    pub(crate) sibling: bool,
    /// Becomes readable when the caller cancels.
    pub(crate) cancel: Option<BorrowedFd<'r>>,
    /// Whether the caller expects a long wait, and wants no log message about it.
    pub(crate) expects_to_wait: bool,
}

/// A child whose program has got to the report that everything is in place, or to its end.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// The process that made this one to enter a pid namespace, and then ends.
    maker: Option<OwnedFd>,
    sync: OwnedFd,
    /// The master of the container's terminal, and the number of the other end.
    pub(crate) console: Option<(OwnedFd, u32)>,
    /// Becomes readable when the caller cancels.
    cancel: Option<OwnedFd>,
    expects_to_wait: bool,
    /// Whether another process is the parent, and takes its status.
    sibling: bool,
    /// Whether dropping this must not end the child: it is already gone.
    released: bool,
    /// When its steps began, if the log needs that, and how many of them are logged.
    marks: Option<Marks>,
    told: usize,
}

/// How far to follow the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Created,
    Exec,
}

/// What a child asks its parent to do.
#[derive(Debug)]
pub(crate) enum Asked<'a> {
    /// Take a step of the plan; the descriptor of the answer goes to the child.
    Step(&'a ParentStep),
    /// Pass on the listener of its seccomp filter, at once: its next call may already wait for an answer there.
    Listener(OwnedFd),
    /// Note its new pid, as it goes on in a new process.
    Reborn,
    /// Record a mount that it is about to attach.
    Note(&'a ParentStep, OwnedFd),
    /// Nothing: it reports on recorded mounts.
    Fate(Fate),
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

/// Serves the child's requests.
pub(crate) type Serve<'s> = dyn FnMut(Asked<'_>, &Spawned) -> Result<Option<OwnedFd>> + 's;

/// Makes the child and serves it until it reports `Created`. `born` runs directly after the clone, while the child is
/// busy. On failure nothing of the child is left.
pub(crate) fn spawn(
    plan: &Plan,
    resources: &Resources<'_>,
    born: &mut dyn FnMut(&Spawned) -> Result<()>,
    serve: &mut Serve<'_>,
) -> Result<Spawned> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| Error::os(errno, "make the socket to the container's process"))?;
    let cancel = resources.cancel.map(|fd| fd.try_clone_to_owned()).transpose();
    let cancel = cancel.map_err(|error| Error::io(&error, "duplicate a descriptor"))?;
    let marks = trace::marks(plan);
    let (pid, pidfd) = make::make_child(plan, resources, theirs.as_raw_fd(), marks.as_ref())?;
    trace::done(format_args!("made process {pid}"));
    // Only the child holds its end now, so that we notice its end.
    drop(theirs);
    let sibling = resources.sibling;
    let mut spawned = Spawned {
        pid,
        pidfd,
        maker: None,
        sync: ours,
        console: None,
        cancel,
        expects_to_wait: resources.expects_to_wait,
        sibling,
        released: false,
        marks,
        told: 0,
    };
    // The process that enters a pid namespace is another one, which may exist before the first has got anything: what
    // is done for the first counts only while it lives, and is always done for the second.
    let emerges = plan.program.ops.contains(&Op::Emerge);
    match born(&spawned) {
        Err(error) if !emerges => return Err(spawned.reason(plan, error)),
        _ => {}
    }
    let mut serve_both = |asked: Asked<'_>, child: &Spawned| {
        if emerges && matches!(asked, Asked::Reborn) {
            born(child)?;
        }
        serve(asked, child)
    };
    let served = spawned.serve(plan, &mut serve_both, Until::Created);
    spawned.tell(plan);
    served.map(|()| spawned)
}

impl Spawned {
    /// Tells a created child that its creation is recorded.
    pub(crate) fn go(&mut self) -> Result<()> {
        socket::send(self.sync.as_raw_fd(), &Message::new(MessageKind::Go).encode(), -1)
            .map_err(|errno| Error::os(errno, "release the container's process"))
    }

    /// Whether others in its pid namespace can see the process.
    fn has_emerged(&self, plan: &Plan) -> bool {
        self.maker.is_some() && plan.program.ops.contains(&Op::Emerge)
    }

    /// Takes the status of the process that made this one: nothing else waits for it, unless it is not our child. It
    /// has ended, or is about to.
    fn reap_maker(&mut self) {
        if let Some(maker) = self.maker.take().filter(|_| !self.sibling) {
            // It would not end by itself in a frozen cgroup.
            let _ = pidfd::send_signal(maker.as_fd(), libc::SIGKILL);
            let _ = pidfd::wait(maker.as_raw_fd(), 0);
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

    /// Waits until the child has become its program.
    pub(crate) fn await_exec(&mut self, plan: &Plan) -> Result<()> {
        let served = self.serve(plan, &mut |_, _| Err(out_of_turn()), Until::Exec);
        self.tell(plan);
        served
    }

    /// Logs the steps that have begun since the last call.
    fn tell(&mut self, plan: &Plan) {
        if let Some(marks) = &self.marks {
            self.told = trace::tell(plan, marks, self.told);
        }
    }

    /// Serves messages until `Created` or the end of the connection.
    fn serve(&mut self, plan: &Plan, serve: &mut Serve<'_>, until: Until) -> Result<()> {
        let mut failed: Option<(Message, Option<OwnedFd>)> = None;
        let mut refused: Option<Error> = None;
        loop {
            let Some((message, fd)) = self.next_message(failed.is_some())? else { break };
            match message.kind {
                // Other processes that can see it may hold its socket, and speak for it.
                MessageKind::Ask | MessageKind::Console if self.has_emerged(plan) => {
                    return Err(out_of_turn());
                }
                MessageKind::Ask => {
                    let Some((step, blame)) = plan.steps.get(message.a as usize) else {
                        return Err(Error::new(
                            Kind::System,
                            "the container's process asks for an unknown step",
                        ));
                    };
                    let asked = match fd {
                        Some(mount) => Asked::Note(step, mount),
                        None => Asked::Step(step),
                    };
                    let mut packet = Message::about(MessageKind::Answer, message.a);
                    let answer = match self.serve_step(serve, asked, *blame) {
                        Ok(answer) => answer,
                        // It must undo something before it ends.
                        Err(error) if plan.program.undoes => {
                            packet.b = libc::ECANCELED;
                            refused = Some(error);
                            None
                        }
                        Err(error) => return Err(self.reason(plan, error)),
                    };
                    let with = answer.as_ref().map_or(-1, AsRawFd::as_raw_fd);
                    let packet = packet.encode();
                    socket::send(self.sync.as_raw_fd(), &packet, with).map_err(|errno| {
                        self.reason(plan, Error::os(errno, "answer the container's process"))
                    })?;
                }
                MessageKind::Reborn if self.maker.is_none() => {
                    if let Some(pidfd) = fd {
                        self.maker = Some(std::mem::replace(&mut self.pidfd, pidfd));
                        self.pid = message.a as i32;
                        serve(Asked::Reborn, self).map_err(|error| self.reason(plan, error))?;
                        for (step, blame) in &plan.emerged {
                            self.serve_step(serve, Asked::Step(step), *blame)
                                .map_err(|error| self.reason(plan, error))?;
                        }
                    }
                }
                MessageKind::Gone => drop(serve(Asked::Fate(Fate::Gone(message.a)), self)?),
                MessageKind::Found => drop(serve(Asked::Fate(Fate::Found(message.a)), self)?),
                MessageKind::Undone => drop(serve(Asked::Fate(Fate::Undone), self)?),
                MessageKind::Console => self.console = fd.map(|fd| (fd, message.a)),
                MessageKind::Listener => {
                    if let Some(fd) = fd {
                        serve(Asked::Listener(fd), self)?;
                    }
                }
                MessageKind::Warning => log::warn!("{}", failure::warning(&plan.program, message)),
                // The child may send the plain failure first, and then what it found out about it.
                MessageKind::Failed => failed = Some((message, fd)),
                MessageKind::Created if until == Until::Created => return Ok(()),
                MessageKind::Created
                | MessageKind::Reborn
                | MessageKind::Answer
                | MessageKind::Go
                | MessageKind::Start => {
                    return Err(Error::new(
                        Kind::System,
                        "the container's process sent a message out of turn",
                    ));
                }
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        match (failed, until) {
            (Some((message, output)), _) => Err(describe(&plan.program, message, output)),
            // The socket closes at execve, or at the end of the process: the kernel knows which.
            (None, Until::Exec) => {
                became_program(self.pid, self.pidfd.as_fd()).map_err(failure::not_executed)
            }
            (None, Until::Created) => Err(failure::ended(self.await_end())),
        }
    }

    /// Takes one step of the plan for the child.
    fn serve_step(&self, serve: &mut Serve<'_>, asked: Asked<'_>, blame: Blame) -> Result<Option<OwnedFd>> {
        serve(asked, self).map_err(|error| match blame.place.pointer() {
            Some(pointer) => error.at(pointer),
            None => error,
        })
    }

    /// Why something that was done to or with the child failed. A child that ends takes its files in /proc and its end
    /// of the socket with it, so `met` often only says that it is gone. Then its own report is the reason, or else how
    /// it ended. If the child lives, `met` is the reason.
    pub(crate) fn reason(&mut self, plan: &Plan, met: Error) -> Error {
        // A hook has its own reason, and may be what ended the child.
        if matches!(met.kind(), Kind::Hook | Kind::Cancelled) {
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
                    if message.kind == MessageKind::Reborn && self.maker.is_none() =>
                {
                    self.maker = Some(std::mem::replace(&mut self.pidfd, pidfd));
                    self.pid = message.a as i32;
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return met,
            }
        }
        log::debug!("the container's process has ended; meanwhile: {met}");
        match failed {
            Some((message, output)) => describe(&plan.program, message, output),
            None => failure::ended(self.await_end()),
        }
    }

    /// The next message; none at end of file, and soon after a failed one. If another process holds the socket of a
    /// child that is gone, that counts as end of file as well.
    fn next_message(&self, failed: bool) -> Result<Option<(Message, Option<OwnedFd>)>> {
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
            None => {
                Err(Error::new(Kind::System, "the container's process sent something that is no message"))
            }
        }
    }

    /// How the child has ended, whose end of the socket is closed: its own end is seen a moment later.
    fn await_end(&self) -> Option<(i32, i32)> {
        let _ = socket::wait_readable([self.pidfd.as_raw_fd()], 1000);
        self.peek_end()
    }

    /// Whether the child has ended, and how, without taking the status.
    pub(crate) fn peek_end(&self) -> Option<(i32, i32)> {
        pidfd::wait(self.pidfd.as_raw_fd(), libc::WNOHANG | libc::WNOWAIT).ok().flatten()
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.reap_maker();
        if !self.released {
            let _ = pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
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

/// The error for a child that asks for something that is not in its plan at this point.
pub(crate) fn out_of_turn() -> Error {
    Error::new(Kind::System, "the container's process asks for a step out of turn")
}

#[cfg(test)]
mod tests;
