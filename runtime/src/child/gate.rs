//! Communication with the parent, and the wait for `start`.

use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;

use super::message::{Detail, MESSAGE_SIZE, Message, MessageKind};
use super::{Child, Failure, Outcome};
use crate::program::Slot;
use crate::sys::clone::{self, Forked};
use crate::sys::{path, socket};

impl Child<'_> {
    /// Sends a message with a descriptor.
    pub(super) fn hand_over(&self, kind: MessageKind, a: u32, fd: RawFd) -> Outcome {
        Ok(socket::send(self.sync, &Message::about(kind, a).encode(), fd)?)
    }

    /// Receives the parent's next message; without one this process ends.
    fn receive(fd: RawFd) -> Outcome<(Message, RawFd)> {
        let mut packet = [0u8; MESSAGE_SIZE];
        let (length, with) = socket::receive(fd, &mut packet)?;
        match packet.get(..length).and_then(Message::decode) {
            Some(message) => Ok((message, with)),
            None => Err(Failure::with(Errno::ECONNRESET, Detail::PeerGone)),
        }
    }

    /// Has the parent take a step, with a descriptor unless that is negative, and waits for its answer.
    pub(super) fn ask(&mut self, step: u16, with: RawFd, into: Slot) -> Outcome {
        socket::send(self.sync, &Message::about(MessageKind::Ask, u32::from(step)).encode(), with)?;
        let (message, fd) = Self::receive(self.sync)?;
        if message != Message::about(MessageKind::Answer, u32::from(step)) {
            return Err(Failure::with(Errno::EPROTO, Detail::PeerGone));
        }
        if into != Slot::NONE {
            self.fill(into, fd);
        }
        Ok(())
    }

    /// Continues in a new process, a child of our parent, inside the pid namespace that this one prepared.
    ///
    /// Only needed if the parent itself may not enter the namespace: it would first have to enter the user namespace
    /// that owns it, and setns(2) refuses that to a process with threads.
    ///
    /// The new process waits until the parent knows of it. Otherwise the parent would take its messages for this one's,
    /// take its steps for a process that is ending, and record that one's pid.
    pub(super) fn refork(&mut self, kinds: i32) -> Outcome {
        let [told, tell] = path::pipe()?;
        // SAFETY: this process has one thread and calls nothing but system calls.
        match unsafe { clone::fork_into((libc::CLONE_PARENT | kinds) as u64, None) }? {
            Forked::Child => {
                path::close(tell);
                let answer = path::read(told, &mut [0]);
                path::close(told);
                // Without the byte the parent does not know of this process, and nothing would ever end it.
                if answer == Ok(1) { Ok(()) } else { clone::exit_now(1) }
            }
            Forked::Parent(pid, pidfd) => self.announce(pid, pidfd.as_raw_fd(), tell),
        }
    }

    /// Reports that the container is complete, and waits until the parent has recorded that. If the parent dies first,
    /// this process must not outlive it, or nothing would ever find it.
    pub(super) fn created(&mut self) -> Outcome {
        if self.inherited.listener >= 0 {
            // A manager that gives up before the start sends one of these to what would be the container's process. Not
            // for SIGHUP: a terminal that nothing holds open until the start is no reason to end. Before the report: the
            // signal may come as soon as the container is known.
            for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
                clone::end_by_signal(signal)?;
            }
        }
        socket::send(self.sync, &Message::new(MessageKind::Created).encode(), -1)?;
        match Self::receive(self.sync)? {
            (message, _) if message.kind == MessageKind::Go => Ok(()),
            _ => Err(Failure::with(Errno::EPROTO, Detail::PeerGone)),
        }
    }

    /// Waits for a connection that says `Start`. Others only ask whether this process still waits.
    pub(super) fn gate(&mut self) -> Outcome {
        let listener = self.inherited.listener;
        path::close(self.sync);
        self.sync = -1;
        loop {
            let connection = socket::accept(listener)?;
            match Self::receive(connection) {
                Ok((message, _)) if message.kind == MessageKind::Start => {
                    path::close(listener);
                    self.peer = connection;
                    return Ok(());
                }
                Ok((_, fd)) => path::close(fd),
                Err(_) => {}
            }
            path::close(connection);
        }
    }
}
