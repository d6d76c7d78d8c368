//! The gate between `create` and the start of the program: a socket on which the created process waits.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};

use super::store::Directory;
use crate::child::message::{MESSAGE_SIZE, Message, MessageKind};
use crate::error::{Error, Result};
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

/// Connects to the waiting process; none if nobody waits (any more).
pub(super) fn reach(directory: &Directory) -> Result<Option<OwnedFd>> {
    let holder = directory.open()?;
    let connection = seqpacket()?;
    let context = |errno| Error::os(errno, format!("connect to {}", directory.socket().display()));
    let address = UnixAddr::new(&Directory::short_socket(&holder)).map_err(context)?;
    match connect(connection.as_raw_fd(), &address) {
        Ok(()) => Ok(Some(connection)),
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
        Err(errno) => Err(context(errno)),
    }
}

/// What came of the request to start.
pub(super) enum Started {
    /// The process has become its program.
    Running,
    /// It failed on the way; the message tells in which step, the descriptor what a hook printed.
    Failed(Message, Option<OwnedFd>),
    /// It ended without a word.
    Gone,
}

/// Tells the waiting process to become its program, and waits until it has or has not.
pub(super) fn release(connection: OwnedFd, init: &OwnedFd) -> Result<Started> {
    let context = |errno| Error::os(errno, "hear from the container's process");
    match raw::send(connection.as_raw_fd(), &Message::new(MessageKind::Start).encode(), -1) {
        Ok(()) => {}
        Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(Started::Gone),
        Err(errno) => return Err(Error::os(errno, "start the container's process")),
    }
    let mut failure = None;
    loop {
        let [readable, ended] =
            raw::wait_readable([connection.as_raw_fd(), init.as_fd().as_raw_fd()], -1).map_err(context)?;
        if !readable {
            // Ended, while somebody else holds its end of the connection.
            return Ok(if ended && failure.is_none() { Started::Gone } else { outcome(failure) });
        }
        let mut packet = [0u8; MESSAGE_SIZE];
        match raw::receive_owned(&connection, &mut packet) {
            Ok((0, _)) => return Ok(outcome(failure)),
            Ok((length, fd)) => {
                if let Some(message) = packet.get(..length).and_then(Message::decode)
                    && message.kind == MessageKind::Failed
                {
                    failure = Some((message, fd));
                }
            }
            // It ended before it took the request: killed just before the start.
            Err(Errno::ECONNRESET) => {
                return Ok(if failure.is_some() { outcome(failure) } else { Started::Gone });
            }
            Err(errno) => return Err(context(errno)),
        }
    }
}

fn outcome(failure: Option<(Message, Option<OwnedFd>)>) -> Started {
    match failure {
        Some((message, fd)) => Started::Failed(message, fd),
        None => Started::Running,
    }
}
