//! The parent's half of a creation: make the child, serve its requests, word its failures.
//!
//! The caller may be any thread of any program. Nothing of its process changes: the signal mask of the calling thread
//! is blocked around the clone and restored.

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

/// How many milliseconds a child has from the report of its failure to its end. It needs none, but a seccomp filter may
/// keep it from ending.
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
    /// Those of them that are not the caller's to preserve: they were not open.
    pub(crate) absent: &'r [RawFd],
    /// The socket on which a created container awaits `start`.
    pub(crate) listener: Option<BorrowedFd<'r>>,
    /// The cgroup (v2) that the child is born in.
    pub(crate) cgroup: Option<BorrowedFd<'r>>,
    /// Whether the child is better outside its cgroup than not born, where the caller may not put it there.
    pub(crate) cgroup_optional: bool,
    /// Namespaces that the child is born into, each with its `CLONE_NEW*` flag.
    pub(crate) born_joined: &'r [(OwnedFd, i32)],
    /// Namespaces and other descriptors that the program refers to by number.
    pub(crate) namespaces: &'r [OwnedFd],
    /// Whether the child is one of the caller's parent.
    pub(crate) sibling: bool,
    /// Becomes readable when the caller wants none of it any more.
    pub(crate) cancel: Option<BorrowedFd<'r>>,
    /// Whether the caller knows that it may have to wait for long, and wants no word about that.
    pub(crate) expects_to_wait: bool,
}

/// A child that has walked its program to the report that everything is in place, or to its end.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// The process that made this one to come into a pid namespace, and ends.
    maker: Option<OwnedFd>,
    sync: OwnedFd,
    /// The master of the container's terminal, and the number of the other end.
    pub(crate) console: Option<(OwnedFd, u32)>,
    /// Becomes readable when the caller wants none of it any more.
    cancel: Option<OwnedFd>,
    expects_to_wait: bool,
    /// Whether somebody else is the parent, and takes its status.
    sibling: bool,
    /// Whether the child is gone already, so that dropping this need not end it.
    released: bool,
    /// When its steps began, if the log wants to know, and how many of them the log has.
    marks: Option<Marks>,
    told: usize,
}

/// How far to follow the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Created,
    Exec,
}

/// What a child asks of its parent.
#[derive(Debug)]
pub(crate) enum Asked<'a> {
    /// A step of the plan; the descriptor of the answer goes to the child.
    Step(&'a ParentStep),
    /// To hand on the listener of its seccomp filter, at once: its next call may be one that waits for an answer there.
    Listener(OwnedFd),
    /// To be known under another pid, as it goes on in a new process.
    Reborn,
    /// To write down a mount that it is about to attach.
    Note(&'a ParentStep, OwnedFd),
    /// Nothing: it tells of mounts on record.
    Fate(Fate),
}

/// What a child tells of mounts that are on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The one of that number is not there any more.
    Gone(u32),
    /// The one of that number goes if the child succeeds.
    Found(u32),
    /// None of those is left that were attached since its birth.
    Undone,
}

/// Serves what the child asks for.
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
    // Only the child holds its end now, so that its end is seen here.
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
    // What comes into a pid namespace is another process, which may be there before the first has got anything: what is done
    // for the first counts only as long as that lives, and is done for the second in any case.
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

    /// Whether the process is one that others in its pid namespace can see.
    fn has_emerged(&self, plan: &Plan) -> bool {
        self.maker.is_some() && plan.program.ops.contains(&Op::Emerge)
    }

    /// Takes the status of the process that made this one: nobody else waits for it, unless it is not our child. It has
    /// ended, or is about to.
    fn reap_maker(&mut self) {
        if let Some(maker) = self.maker.take().filter(|_| !self.sibling) {
            // In a frozen cgroup it would not end by itself.
            let _ = pidfd::send_signal(maker.as_fd(), libc::SIGKILL);
            let _ = pidfd::wait(maker.as_raw_fd(), 0);
        }
    }

    /// Lets the child live, and gives its pidfd away.
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

    /// Tells the log of the steps that have begun since it was told last.
    fn tell(&mut self, plan: &Plan) {
        if let Some(marks) = &self.marks {
            self.told = trace::tell(plan, marks, self.told);
        }
    }

    /// Serves messages until `Created` or the end of the conversation.
    fn serve(&mut self, plan: &Plan, serve: &mut Serve<'_>, until: Until) -> Result<()> {
        let mut failed: Option<(Message, Option<OwnedFd>)> = None;
        let mut refused: Option<Error> = None;
        loop {
            let Some((message, fd)) = self.next_message(failed.is_some())? else { break };
            match message.kind {
                // Others may hold the socket of a process that they can see, and speak for it.
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
                        // It has something to take away again before it ends.
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
                // The child may send the plain failure first and then what it found out about it.
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
            // The socket closes by execve, or by the end of the process: the kernel knows.
            (None, Until::Exec) => {
                became_program(self.pid, self.pidfd.as_fd()).map_err(failure::not_executed)
            }
            (None, Until::Created) => Err(failure::ended(self.peek_end())),
        }
    }

    /// Does one step of the plan for the child.
    fn serve_step(&self, serve: &mut Serve<'_>, asked: Asked<'_>, blame: Blame) -> Result<Option<OwnedFd>> {
        serve(asked, self).map_err(|error| match blame.place.pointer() {
            Some(pointer) => error.at(pointer),
            None => error,
        })
    }

    /// Why something failed that was done to the child or with it. A child that ends takes its files in /proc and its end of
    /// the socket along, so what `met` tells is often only that it is gone: what it reported itself is the reason then, else
    /// how it ended. Where the child lives, `met` is the reason.
    pub(crate) fn reason(&mut self, plan: &Plan, met: Error) -> Error {
        // A hook has a reason of its own, and may be what ended the child.
        if matches!(met.kind(), Kind::Hook | Kind::Cancelled) {
            return met;
        }
        let mut failed: Option<(Message, Option<OwnedFd>)> = None;
        loop {
            // Once it has reported a failure it does nothing more than end, and that is waited for.
            let both = [self.sync.as_raw_fd(), self.pidfd.as_raw_fd()];
            if failed.is_none() && !matches!(socket::wait_readable(both, 0), Ok([true, _] | [_, true])) {
                return met;
            }
            match self.next_message(failed.is_some()) {
                Ok(Some((message, fd))) if message.kind == MessageKind::Failed => {
                    failed = Some((message, fd));
                }
                // The one that made it ends by that, and this one is to be ended, too.
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
            None => failure::ended(self.peek_end()),
        }
    }

    /// The next message; none at end of file, and soon after one that has failed. A child that is gone while somebody else
    /// holds its socket is at the end of its file as well.
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

    /// Whether the child has ended, and how, without consuming the status.
    pub(crate) fn peek_end(&self) -> Option<(i32, i32)> {
        pidfd::wait(self.pidfd.as_raw_fd(), libc::WNOHANG | libc::WNOWAIT).ok().flatten()
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.reap_maker();
        if !self.released {
            let _ = pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            // Ended is enough: what it held is free then.
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

/// The error for a child that asks for what is not in its plan at this point.
pub(crate) fn out_of_turn() -> Error {
    Error::new(Kind::System, "the container's process asks for a step out of turn")
}

#[cfg(test)]
mod tests;
