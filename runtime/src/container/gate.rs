//! The gate between `create` and the start of the program: a socket on which the created process waits.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::identity::has_ended;
use super::store::Directory;
use crate::child::message::{MESSAGE_SIZE, Message, MessageKind};
use crate::error::{Error, Result};
use crate::linux::process_stat::{Executed, became_program, has_executed};
use crate::linux::waiting::{self, UNTOLD, WaitLog};
use crate::spawn::LAST_WORDS;
use crate::sys::socket as raw;

fn seqpacket() -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| Error::os(errno, "make a socket"))
}

/// Makes the socket on which the created process will wait.
pub(super) fn make(directory: &Directory) -> Result<OwnedFd> {
    let context = |errno| Error::os(errno, format!("listen on {}", directory.socket().display()));
    let holder = directory.open()?;
    let listener = seqpacket()?;
    let address = UnixAddr::new(&Directory::short_socket(&holder)).map_err(context)?;
    bind(listener.as_raw_fd(), &address).map_err(context)?;
    listen(&listener, Backlog::new(8).unwrap_or(Backlog::MAXCONN)).map_err(context)?;
    Ok(listener)
}

/// Whether a process waits at the gate.
///
/// Probes with a socket of another type, which the kernel refuses with different errors depending on whether the gate's
/// socket is open. No connection is made, so the probe never waits for a stopped or frozen process, and leaves nothing
/// in its queue.
pub(super) fn is_waiting(directory: &Directory) -> Result<bool> {
    let context = |errno| Error::os(errno, format!("look at {}", directory.socket().display()));
    let holder = directory.open()?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asking = socket(AddressFamily::Unix, SockType::Datagram, flags, None)
        .map_err(|errno| Error::os(errno, "make a socket"))?;
    let address = UnixAddr::new(&Directory::short_socket(&holder)).map_err(context)?;
    match connect(asking.as_raw_fd(), &address) {
        Err(Errno::EPROTOTYPE) => Ok(true),
        Ok(()) | Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(false),
        Err(errno) => Err(context(errno)),
    }
}

/// Connects to the process that waits at the gate in that directory; none if there is none (any more), or if `init` has
/// ended.
///
/// A stopped process accepts no connections, and those of earlier starts may fill its queue.
pub(super) fn reach(holder: &OwnedFd, init: &OwnedFd, init_pid: i32) -> Result<Option<OwnedFd>> {
    let context = |errno| Error::os(errno, "connect to the socket of the container's process");
    let connection = seqpacket()?;
    // Ends a wait for a place in the queue (socket(7)).
    setsockopt(&connection, SendTimeout, &TimeVal::milliseconds(i64::from(UNTOLD)))
        .map_err(|errno| Error::os(errno, "limit the time of a connection"))?;
    let address = UnixAddr::new(&Directory::short_socket(holder)).map_err(context)?;
    let mut told = WaitLog::default();
    loop {
        match connect(connection.as_raw_fd(), &address) {
            Ok(()) => return Ok(Some(connection)),
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if has_ended(init.as_fd()) => return Ok(None),
            Err(Errno::EAGAIN) => told.of_process(init_pid, "to take the request to start"),
            Err(errno) => return Err(context(errno)),
        }
    }
}

/// The outcome of the request to start.
pub(super) enum Started {
    /// The process has become its program.
    Running,
    /// It failed on the way; the message says in which step, and the descriptor holds what a hook printed.
    Failed(Message, Option<OwnedFd>),
    /// It ended without a message before it became its program: by this signal, if it is not 0.
    Gone(i32),
    /// Another request came first.
    Elsewhere,
}

/// Tells the waiting process to become its program, and waits for the outcome.
pub(super) fn release(connection: OwnedFd, init: &OwnedFd, pid: i32) -> Result<Started> {
    let context = |errno| Error::os(errno, "hear from the container's process");
    let reset = || match has_executed(pid, init.as_fd()) {
        Executed::Never | Executed::Forgotten => Started::Gone(0),
        Executed::Yes | Executed::NotYet => Started::Elsewhere,
    };
    match raw::send(connection.as_raw_fd(), &Message::new(MessageKind::Start).encode(), -1) {
        Ok(()) => {}
        Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(reset()),
        Err(errno) => return Err(Error::os(errno, "start the container's process")),
    }
    let mut failure = None;
    loop {
        let fds = [connection.as_raw_fd(), init.as_raw_fd()];
        let [readable, _] = match failure {
            None => waiting::wait_readable(fds, pid, "to become its program"),
            // It is about to end, and may report more; unless it cannot, if a seccomp filter stops it.
            Some(_) => raw::wait_readable(fds, LAST_WORDS),
        }
        .map_err(context)?;
        if !readable {
            // It has ended while another process holds its end of the connection, or there is nothing more to read.
            return Ok(outcome(failure, init, pid));
        }
        let mut packet = [0u8; MESSAGE_SIZE];
        match raw::receive_owned(&connection, &mut packet) {
            Ok((0, _)) => return Ok(outcome(failure, init, pid)),
            Ok((length, fd)) => {
                if let Some(message) = packet.get(..length).and_then(Message::decode)
                    && message.kind == MessageKind::Failed
                {
                    failure = Some((message, fd));
                }
            }
            // It never received the request.
            Err(Errno::ECONNRESET) if failure.is_none() => return Ok(reset()),
            Err(Errno::ECONNRESET) => return Ok(outcome(failure, init, pid)),
            Err(errno) => return Err(context(errno)),
        }
    }
}

fn outcome(failure: Option<(Message, Option<OwnedFd>)>, init: &OwnedFd, pid: i32) -> Started {
    match failure {
        Some((message, fd)) => Started::Failed(message, fd),
        // End of file does not prove success: ask the kernel.
        None => match became_program(pid, init.as_fd()) {
            Ok(()) => Started::Running,
            Err(signal) => Started::Gone(signal),
        },
    }
}
