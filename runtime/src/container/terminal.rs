//! Handing over the master of a container's terminal.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use oci_spec::runtime::Process;

use super::options::Console;
use crate::error::{Error, ErrorKind, Result};
use crate::spawn::Spawned;
use crate::sys::unix_path::connect_stream;
use crate::sys::{socket as raw, tty};

/// Where the master of a terminal goes.
#[derive(Debug)]
pub(super) struct Destination {
    socket: Option<OwnedFd>,
    relayed: bool,
}

impl Destination {
    /// Connects to the console socket if the terminal goes to one, and refuses options that do not fit the process. Done
    /// before any side effect, so that a wrong path costs nothing.
    pub(super) fn connect(terminal: bool, console: &Console) -> Result<Self> {
        let context = |path: &Path| format!("connect to the console socket {}", path.display());
        let socket = target(terminal, console)?
            .map(|path| connect_stream(path).map_err(|errno| Error::os(errno, context(path))))
            .transpose()?;
        Ok(Self { socket, relayed: *console == Console::Relay })
    }

    /// Takes the master from a new process, which waits until then to run its program; a returned one is for the caller.
    pub(super) fn take_from(&self, child: &mut Spawned) -> Result<Option<OwnedFd>> {
        let Some((master, number)) = child.console.take() else { return Ok(None) };
        if self.relayed {
            tty::clear_onlcr(master.as_raw_fd())
                .map_err(|errno| Error::os(errno, "set the mode of the terminal").at("/process/terminal"))?;
        }
        self.take(master, Some(number))
    }

    /// Sends the master to the console socket, with the name of the other end as the message, or returns it.
    pub(super) fn take(&self, master: OwnedFd, number: Option<u32>) -> Result<Option<OwnedFd>> {
        let Some(socket) = &self.socket else { return Ok(Some(master)) };
        let number = number
            .map_or_else(|| tty::number(master.as_raw_fd()), Ok)
            .map_err(|errno| Error::os(errno, "ask for the number of the terminal"))?;
        raw::send(socket.as_raw_fd(), format!("/dev/pts/{number}").as_bytes(), master.as_raw_fd())
            .map_err(|errno| Error::os(errno, "send the terminal to the console socket"))?;
        Ok(None)
    }
}

/// Whether a process is to have a terminal.
pub(super) fn has_terminal(process: Option<&Process>) -> bool {
    process.and_then(Process::terminal).unwrap_or(false)
}

/// Reports what [`Destination::connect`] would refuse, without connecting: the listener would take a connection for a container.
pub(super) fn check(terminal: bool, console: &Console) -> Result<()> {
    let Some(path) = target(terminal, console)? else { return Ok(()) };
    let what = |why| format!("the console socket {} {why}", path.display());
    match path.metadata() {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(Error::new(ErrorKind::InvalidSpec, what("is no socket")))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(Error::new(ErrorKind::InvalidSpec, what("does not exist")))
        }
        // The caller may not look at it.
        _ => Ok(()),
    }
}

/// The console socket, if the terminal goes to one.
fn target(terminal: bool, console: &Console) -> Result<Option<&Path>> {
    match (terminal, console) {
        (true, Console::None) => Err(Error::new(
            ErrorKind::InvalidSpec,
            "cannot allocate tty if runc will detach without setting console socket",
        )
        .at("/process/terminal")
        .with_hint("a process with a terminal needs a console socket, or a caller that keeps the terminal")),
        (false, Console::Socket(_)) => Err(Error::new(
            ErrorKind::InvalidSpec,
            "cannot use console socket if runc will not detach or allocate tty",
        )
        .at("/process/terminal")),
        (true, Console::Socket(path)) => Ok(Some(path)),
        (_, Console::Keep | Console::Relay) | (false, Console::None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_looked_at_and_not_connected_to() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, file) = (dir.path().join("socket"), dir.path().join("file"));
        let told = |terminal, console| check(terminal, &console).err().map(|error| error.to_string());
        let named = |path: &Path| Console::Socket(path.to_owned());
        let missing = told(true, named(&socket)).unwrap();
        assert_eq!(missing, format!("the console socket {} does not exist", socket.display()));
        std::fs::write(&file, "").unwrap();
        let plain = told(true, named(&file)).unwrap();
        assert_eq!(plain, format!("the console socket {} is no socket", file.display()));
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(told(true, named(&socket)), None);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(told(true, Console::None).is_some() && told(false, named(&socket)).is_some());
        assert!(told(true, Console::Keep).is_none() && told(true, Console::Relay).is_none());
        assert!(told(false, Console::None).is_none());
    }
}
