//! `--pidfd-socket`: sends the pidfd of a process to the listener of a unix socket.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::Mode;

use crate::failure::Failure;

/// What kind of process the descriptor stands for; the text is the payload of the message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sender {
    /// The first process of a container.
    Init,
    /// A process that joined one.
    Exec,
}

/// Sends one message with one descriptor.
pub(crate) fn send(path: &Path, pidfd: BorrowedFd<'_>, sender: Sender) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("send pidfd to {}: {error}", path.display()));
    let stream = connect(path).map_err(failed)?;
    let payload: &[u8] = match sender {
        Sender::Init => b"standard",
        Sender::Exec => b"setns",
    };
    let fds = [pidfd.as_raw_fd()];
    sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(payload)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map_err(|errno| failed(errno.into()))?;
    Ok(())
}

/// Connects to a socket behind a path of any length: an address holds 107 bytes (`unix(7)`).
fn connect(path: &Path) -> std::io::Result<UnixStream> {
    if SocketAddr::from_pathname(path).is_ok() {
        return UnixStream::connect(path);
    }
    // Not with `OpenOptions`: with musl, it takes O_PATH for a part of the access mode.
    let held = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{ControlMessageOwned, recvmsg};
    use std::io::IoSliceMut;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    #[test]
    fn one_message_carries_the_word_and_one_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        send(&path, file.as_fd(), Sender::Exec).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let mut text = [0; 64];
        let mut parts = [IoSliceMut::new(&mut text)];
        let mut space = nix::cmsg_space!([i32; 4]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
        let rights: Vec<_> = message
            .cmsgs()
            .unwrap()
            .map(|part| match part {
                ControlMessageOwned::ScmRights(fds) => fds.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(rights, [1]);
        let length = message.bytes;
        assert_eq!(&text[..length], b"setns");
    }
}
