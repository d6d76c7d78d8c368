//! The other end of `--console-socket`, `--pidfd-socket` and a seccomp listener: a socket that receives file descriptors.

use crate::outcome::{Outcome, check, fail};
use crate::runtime::readable;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OutputModes, tcgetattr};
use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A listening socket.
pub struct Receiver {
    listener: UnixListener,
    /// Its path.
    pub path: PathBuf,
}

/// The contents of one message.
pub struct Received {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The file descriptors.
    pub fds: Vec<OwnedFd>,
    /// Whether the sender closed the connection afterwards.
    pub closed: bool,
}

impl Receiver {
    /// Listens at `dir/name`.
    pub fn listen(dir: &Path, name: &str) -> Outcome<Self> {
        let path = dir.join(name);
        Ok(Self { listener: UnixListener::bind(&path)?, path })
    }

    /// Listens at a path below `dir` that is longer than a socket address.
    pub fn listen_far(dir: &Path, name: &str) -> Outcome<Self> {
        let listener = UnixListener::bind(dir.join(name))?;
        let far = dir.join("d".repeat(150));
        std::fs::create_dir_all(&far)?;
        let path = far.join(name.repeat(30));
        std::fs::rename(dir.join(name), &path)?;
        Ok(Self { listener, path })
    }

    /// Becomes readable with a connection.
    pub fn socket(&self) -> &UnixListener {
        &self.listener
    }

    /// Takes the descriptors of one connection.
    pub fn take(&self) -> Outcome<Vec<OwnedFd>> {
        let (stream, _) = self.listener.accept()?;
        Ok(message(&stream, &mut vec![0; 65_536])?.1)
    }

    /// Waits for one connection and its first message.
    pub fn receive(&self) -> Outcome<Received> {
        let patience = Duration::from_secs(10);
        check(readable(&self.listener, patience)?, || "nobody connected to the socket".into())?;
        let (stream, _) = self.listener.accept()?;
        check(readable(&stream, patience)?, || "nothing was sent over the socket".into())?;
        let mut bytes = vec![0; 65_536];
        let (length, fds) = message(&stream, &mut bytes)?;
        bytes.truncate(length);
        let mut more = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let closed = readable(&stream, Duration::from_secs(2))? && (&stream).read_to_end(&mut more).is_ok();
        bytes.extend(more);
        Ok(Received { bytes, fds, closed })
    }
}

/// Whether a terminal turns `\n` into `\r\n` on output; either end shows it.
pub fn straightens(terminal: impl AsFd) -> Outcome<bool> {
    let output = tcgetattr(terminal)?.output_modes;
    check(output.contains(OutputModes::OPOST), || "the terminal does not process output".into())?;
    Ok(output.contains(OutputModes::ONLCR))
}

/// A terminal: its master, and the other end.
pub fn terminal() -> Outcome<(File, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let other = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok((File::from(master), other))
}

/// The length of the next message, and its descriptors.
fn message(stream: &UnixStream, bytes: &mut [u8]) -> Outcome<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(stream, &mut [IoSliceMut::new(bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((got.bytes, fds))
}

/// Reads from a terminal until a word appears or the other side hangs up.
pub fn read_until(terminal: &mut File, word: &str) -> Outcome<String> {
    let end = Instant::now() + Duration::from_secs(10);
    let mut text = Vec::new();
    let mut block = vec![0; 65_536];
    while Instant::now() < end {
        if !readable(&*terminal, Duration::from_millis(200))? {
            continue;
        }
        match terminal.read(&mut block) {
            // EIO: the last process with the terminal open is gone.
            Ok(0) | Err(_) => break,
            Ok(n) => text.extend_from_slice(&block[..n]),
        }
        if String::from_utf8_lossy(&text).contains(word) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    if text.contains(word) { Ok(text) } else { fail(format!("no {word:?} on the terminal: {text:?}")) }
}
