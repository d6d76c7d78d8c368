//! Handing the master of a container's terminal to whoever asked for it.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect as nix_connect, socket};

use super::options::Console;
use crate::error::{Error, Kind, Result};
use crate::sys::socket as raw;

/// A connection over which the master will go.
#[derive(Debug)]
pub(super) struct ConsoleSocket(OwnedFd);

impl ConsoleSocket {
    /// Sends the master, with the name of the other end as the message.
    pub(super) fn send(&self, master: OwnedFd, number: u32) -> Result<()> {
        let name = format!("/dev/pts/{number}");
        raw::send(self.0.as_raw_fd(), name.as_bytes(), master.as_raw_fd())
            .map_err(|errno| Error::os(errno, "send the terminal to the console socket"))
    }
}

/// Connects to the console socket, if the terminal goes to one; refuses wishes that do not fit the process. Done before
/// any side effect, so that a wrong path costs nothing.
pub(super) fn connect(terminal: bool, console: &Console) -> Result<Option<ConsoleSocket>> {
    match (terminal, console) {
        (true, Console::None) => Err(Error::new(
            Kind::InvalidSpec,
            "cannot allocate tty if runc will detach without setting console socket",
        )
        .at("/process/terminal")
        .hint("a process with a terminal needs a console socket, or a caller that keeps the terminal")),
        (false, Console::Socket(_)) => Err(Error::new(
            Kind::InvalidSpec,
            "cannot use console socket if runc will not detach or allocate tty",
        )
        .at("/process/terminal")),
        (true, Console::Socket(path)) => open(path).map(Some),
        (_, Console::Keep) | (false, Console::None) => Ok(None),
    }
}

fn open(path: &Path) -> Result<ConsoleSocket> {
    let context = |errno| Error::os(errno, format!("connect to the console socket {}", path.display()));
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(context)?;
    let address = UnixAddr::new(path).map_err(context)?;
    nix_connect(fd.as_raw_fd(), &address).map_err(context)?;
    Ok(ConsoleSocket(fd))
}
