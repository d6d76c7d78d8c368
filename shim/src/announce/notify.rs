//! `$NOTIFY_SOCKET`: tells the service manager that a container is ready (`sd_notify(3)`).
//!
//! The container gets a socket of its own. Of its messages, only readiness is passed on, in this program's own words:
//! with the manager's socket it could name any process as the main one, or store descriptors with the manager.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::pipe2;
use wharf::Container;

use crate::failure::Failure;

/// How long the manager may take to read its messages, as with systemd-notify(1).
const BARRIER: Duration = Duration::from_secs(30);
/// How many messages are read before anything else gets a turn: a container can send them without end.
const AT_ONCE: usize = 16;

/// The service manager.
pub(crate) struct Manager(SocketAddr);

impl Manager {
    /// The manager that `$NOTIFY_SOCKET` names.
    pub(crate) fn from_environment() -> Result<Option<Self>, Failure> {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Self::named(name.as_encoded_bytes()).map(Some),
            _ => Ok(None),
        }
    }

    /// An absolute path, or `@` and a name in the abstract namespace (`unix(7)`).
    fn named(name: &[u8]) -> Result<Self, Failure> {
        let shown = String::from_utf8_lossy(name);
        let address = match name {
            [b'@', abstracted @ ..] if !abstracted.is_empty() => SocketAddr::from_abstract_name(abstracted),
            [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(name)),
            _ => {
                return Err(Failure::new(format!(
                    "invalid $NOTIFY_SOCKET {shown:?}: neither an absolute path nor @ and a name"
                )));
            }
        };
        address.map(Self).map_err(|error| Failure::new(format!("invalid $NOTIFY_SOCKET {shown:?}: {error}")))
    }

    /// A connection for one container that is about to start; none, with a warning, if it has no socket.
    pub(crate) fn listen(&self, container: &Container) -> Result<Option<Readiness>, Failure> {
        let failed =
            |error: io::Error| Failure::new(format!("connect to $NOTIFY_SOCKET {:?}: {error}", self.0));
        let manager = UnixDatagram::unbound().map_err(failed)?;
        manager.connect_addr(&self.0).map_err(failed)?;
        let Some(socket) = container.bind_notify_socket()? else {
            log::warn!(
                "$NOTIFY_SOCKET was not set when the container was created: its readiness is not reported"
            );
            return Ok(None);
        };
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Some(Readiness { container: socket, manager }))
    }
}

/// Waits for the readiness of one container.
pub(crate) struct Readiness {
    container: UnixDatagram,
    manager: UnixDatagram,
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }
}

impl Readiness {
    /// Reads what has arrived, and reports readiness to the manager; `main` is the process that it then watches.
    /// Returns whether the container was ready.
    pub(crate) fn pass_on(&self, main: u32) -> bool {
        let ready = (0..AT_ONCE).map_while(|_| self.next()).any(|ready| ready);
        // One message: the manager must not see one without the other.
        if ready && let Err(error) = self.manager.send(format!("MAINPID={main}\nREADY=1\n").as_bytes()) {
            log::warn!("report to $NOTIFY_SOCKET that the container is ready: {error}");
        }
        ready
    }

    /// Whether the next message reports readiness; none if there is no next one.
    fn next(&self) -> Option<bool> {
        let mut message = [0; 4096];
        loop {
            match self.container.recv(&mut message) {
                Ok(length) => {
                    return Some(
                        message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1"),
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits until the container is ready or has ended. Then waits until the manager has read everything: when it looks
    /// up the sender, this process must still exist.
    pub(crate) fn wait(&self, init: BorrowedFd<'_>, main: u32) -> Result<(), Failure> {
        loop {
            let mut fds =
                [PollFd::new(self.as_fd(), PollFlags::POLLIN), PollFd::new(init, PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(errno) => {
                    return Err(Failure::new(format!("wait for the container to be ready: {errno}")));
                }
                Ok(_) => {}
            }
            let [_, ended] = fds.map(|fd| fd.any().unwrap_or(true));
            if self.pass_on(main) {
                self.barrier();
                return Ok(());
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Sends the manager the write end of a pipe, and waits until the manager gets to this message and closes it.
    fn barrier(&self) {
        let told = pipe2(OFlag::O_CLOEXEC).and_then(|(reader, writer)| {
            let fds = [writer.as_raw_fd()];
            let text = [IoSlice::new(b"BARRIER=1")];
            let rights = [ControlMessage::ScmRights(&fds)];
            sendmsg::<()>(self.manager.as_raw_fd(), &text, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
            drop(writer);
            let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(BARRIER).unwrap_or(PollTimeout::MAX);
            uninterrupted(|| poll(&mut fds, timeout))
        });
        match told {
            Ok(0) => log::warn!("$NOTIFY_SOCKET did not answer BARRIER=1 within {} s", BARRIER.as_secs()),
            Ok(_) => {}
            Err(errno) => log::warn!("send BARRIER=1 to $NOTIFY_SOCKET: {errno}"),
        }
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Readiness, UnixDatagram, UnixDatagram) {
        let (container, inside) = UnixDatagram::pair().unwrap();
        let (manager, outside) = UnixDatagram::pair().unwrap();
        container.set_nonblocking(true).unwrap();
        outside.set_nonblocking(true).unwrap();
        (Readiness { container, manager }, inside, outside)
    }

    fn heard(outside: &UnixDatagram) -> Option<String> {
        let mut text = [0; 256];
        outside.recv(&mut text).ok().map(|length| String::from_utf8_lossy(&text[..length]).into_owned())
    }

    #[test]
    fn only_readiness_is_passed_on_and_never_in_the_containers_words() {
        let (readiness, inside, outside) = pair();
        inside.send(b"STATUS=starting\nMAINPID=1").unwrap();
        inside.send(b"XREADY=1\nREADY=10").unwrap();
        assert!(!readiness.pass_on(7));
        assert_eq!(heard(&outside), None);
        inside.send(b"MAINPID=1\nREADY=1\nFDSTORE=1").unwrap();
        assert!(readiness.pass_on(7));
        assert_eq!(heard(&outside).as_deref(), Some("MAINPID=7\nREADY=1\n"));
        assert_eq!(heard(&outside), None);
    }

    #[test]
    fn names_are_paths_or_abstract() {
        assert!(Manager::named(b"/run/systemd/notify").unwrap().0.as_pathname().is_some());
        assert_eq!(Manager::named(b"@a/b").unwrap().0.as_abstract_name(), Some(&b"a/b"[..]));
        for name in [&b"relative"[..], b"@", b"vsock:2:1234", &[b'/'; 200]] {
            assert!(Manager::named(name).is_err());
        }
    }
}
