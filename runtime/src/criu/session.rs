//! One run of criu: started with a socket, given one request, answered while it asks back.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use prost::Message as _;

use super::image::ImageDirectory;
use super::log;
use super::message::{CriuRequest, Notification, RequestType, Response};
use crate::error::{Error, ErrorKind, Result};
use crate::linux::waiting;
use crate::sys::{process, socket};

/// Longer than any message of criu.
const LONGEST_MESSAGE: usize = 64 << 10;
/// Everything that criu's helpers (tar, ip, iptables) need; nothing of the caller's environment reaches them.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How criu is started.
#[derive(Debug, Default)]
pub(crate) struct CriuLaunch<'a> {
    /// The standard streams; without any, two null devices and a standard error that [`Session::end`] returns.
    pub(crate) streams: Option<[OwnedFd; 3]>,
    /// Descriptors that it gets with the same numbers, which are above the streams'.
    pub(crate) kept: &'a [BorrowedFd<'a>],
}

/// A running criu.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    socket: Option<OwnedFd>,
    said: Option<File>,
}

/// Answers a notification from criu, with its descriptor. An error makes criu stop.
pub(crate) type Notified<'a> = dyn FnMut(&str, Option<i32>, Option<OwnedFd>) -> Result<()> + 'a;

impl Session {
    /// Starts criu; it waits for a request.
    pub(crate) fn start(program: &Path, launch: CriuLaunch<'_>) -> Result<Self> {
        let fail = |errno| Error::os(errno, "make a socket for criu");
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(fail)?;
        // The copy's number is above those of the streams.
        let theirs = theirs
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::io(&error, "duplicate the socket for criu"))?;
        let mut command = Command::new(program);
        command
            .arg("swrk")
            .arg(theirs.as_raw_fd().to_string())
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/");
        let mut said = None;
        if let Some([input, output, error]) = launch.streams {
            command.stdin(input).stdout(output).stderr(error);
        } else {
            // A file, not a pipe: nothing has to read while criu writes.
            let file = memfd_create(c"criu", MFdFlags::MFD_CLOEXEC).map(File::from).map_err(fail)?;
            let copy = file.try_clone().map_err(|error| Error::io(&error, "duplicate a file for criu"))?;
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(copy);
            said = Some(file);
        }
        let kept = launch.kept.iter().copied().chain([theirs.as_fd()]).map(|fd| fd.as_raw_fd()).collect();
        process::inherit_only(&mut command, kept);
        let child =
            command.spawn().map_err(|error| Error::io(&error, format!("start {}", program.display())))?;
        Ok(Self { child, socket: Some(ours), said })
    }

    /// The same in a separate mount namespace, in which `root` is a mount point, as criu requires. Host mounts still
    /// appear there, and none go back. `dress` gives the starting thread what it should inherit.
    ///
    /// The directories are reopened in that namespace: criu takes them from this process by number, and could not mount
    /// anything in a directory of another namespace.
    pub(crate) fn start_apart(
        program: &Path,
        launch: CriuLaunch<'_>,
        root: &Path,
        directories: &[&ImageDirectory],
        dress: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<(Self, Vec<ImageDirectory>)> {
        let start = || {
            let fail = |errno| Error::os(errno, format!("make {} a mount point for criu", root.display()));
            let none = None::<&str>;
            unshare(CloneFlags::CLONE_NEWNS).map_err(fail)?;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).map_err(fail)?;
            mount(Some(root), root, none, MsFlags::MS_REC | MsFlags::MS_BIND, none).map_err(fail)?;
            let again = directories.iter().map(|directory| directory.reopen()).collect::<Result<Vec<_>>>()?;
            dress()?;
            Ok((Self::start(program, launch)?, again))
        };
        // Only a whole thread can be in another namespace; the namespace ends with it.
        std::thread::scope(|scope| scope.spawn(start).join())
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::System, "the thread that starts criu ended")))
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends the request and answers notifications until criu itself answers, or cannot any more.
    pub(crate) fn ask(&mut self, request: &CriuRequest, answer: &mut Notified<'_>) -> Result<Response> {
        let mut buffer = vec![0_u8; LONGEST_MESSAGE];
        let mut refusal = None;
        self.send(request)?;
        loop {
            let (length, fd) = match self.receive(&mut buffer) {
                Ok((0, _)) => {
                    return Err(refusal
                        .unwrap_or_else(|| Error::new(ErrorKind::System, "criu ended without an answer")));
                }
                Ok(received) => received,
                Err(errno) => return Err(refusal.unwrap_or_else(|| Error::os(errno, "hear from criu"))),
            };
            let response = Response::decode(buffer.get(..length).unwrap_or_default()).map_err(|error| {
                Error::new(ErrorKind::System, format!("criu sent a malformed message: {error}"))
            })?;
            if response.kind() != RequestType::Notify {
                return match refusal {
                    Some(error) => Err(error),
                    None => Ok(response),
                };
            }
            let Notification { script, pid } = response.notification.unwrap_or_default();
            let script = script.unwrap_or_default();
            ::log::debug!("criu: {script}");
            let answered = answer(&script, pid, fd);
            let mut reply = CriuRequest::new(RequestType::Notify);
            reply.notify_success = Some(answered.is_ok());
            if let Err(error) = answered {
                refusal.get_or_insert(error);
            }
            // The refusal may already have ended criu.
            self.send(&reply).map_err(|error| refusal.take().unwrap_or(error))?;
        }
    }

    fn send(&self, request: &CriuRequest) -> Result<()> {
        let socket = self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        socket::send(socket, &request.encode_to_vec(), -1).map_err(|errno| Error::os(errno, "talk to criu"))
    }

    fn receive(&self, buffer: &mut [u8]) -> crate::sys::Result<(usize, Option<OwnedFd>)> {
        let socket = self.socket.as_ref().ok_or(Errno::EBADF)?;
        waiting::wait_readable([socket.as_raw_fd()], self.pid(), "(criu)")?;
        socket::receive_owned(socket.as_fd(), buffer)
    }

    /// Hangs up and waits until criu has ended; returns its standard error, if that was kept.
    pub(crate) fn end(mut self) -> String {
        self.socket = None;
        self.child.wait().ok();
        let mut said = String::new();
        if let Some(mut file) = self.said.take() {
            // Never an obstacle: invalid text is left out.
            file.rewind().and_then(|()| file.take(8 << 10).read_to_string(&mut said)).ok();
        }
        said
    }
}

/// A criu whose connection is closed ends by itself, and leaves the processes that it had stopped as they were.
impl Drop for Session {
    fn drop(&mut self) {
        self.socket = None;
        self.child.wait().ok();
    }
}

/// The error for an unexpected answer, with the reason from criu's log.
pub(crate) fn failure(what: &str, response: &Response, log: Option<&mut File>, log_path: &Path) -> Error {
    let mut reason = log.map(log::tail).unwrap_or_default();
    if reason.is_empty() {
        response.message.as_deref().unwrap_or_default().trim().clone_into(&mut reason);
    }
    if let Some(complaint) = of_other_size(&reason) {
        let sentence = format!("{what}: a standard stream is not the file that it was: {complaint}");
        let hint = format!("open the same file again, with what was in it; see {}", log_path.display());
        return Error::new(ErrorKind::System, sentence).with_hint(hint);
    }
    let errno = response.errno.filter(|&errno| errno != 0).map(|errno| format!(" errno {errno}"));
    let mut sentence = format!("{what}: criu failed{}", errno.unwrap_or_default());
    if !reason.is_empty() {
        sentence = format!("{sentence}: {reason}");
    }
    Error::new(ErrorKind::System, sentence).with_hint(format!("see {}", log_path.display()))
}

/// criu's error about an inherited stream, a file, with a size other than at the checkpoint.
fn of_other_size(reason: &str) -> Option<&str> {
    let (_, rest) = reason.split_at(reason.find("File fd/")?);
    let complaint = rest.split(';').next()?;
    complaint.contains("has bad size").then_some(complaint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_another_file_has_a_way_out() {
        let mut log = tempfile::tempfile().unwrap();
        let lines = "(00.2)   1: Error (criu/files-reg.c:2175): File fd/1 has bad size 0 (expect 223)\n\
            (00.3)   1: Error (criu/files.c:1221): Unable to open fd=1 id=0x3\n";
        std::io::Write::write_all(&mut log, lines.as_bytes()).unwrap();
        let error = failure("restore", &Response::default(), Some(&mut log), Path::new("/w/restore.log"));
        assert_eq!(
            error.to_string(),
            "restore: a standard stream is not the file that it was: File fd/1 has bad size 0 (expect 223); open the same \
             file again, with what was in it; see /w/restore.log"
        );
        let other = failure("restore", &Response::default(), None, Path::new("/w/restore.log"));
        assert_eq!(other.to_string(), "restore: criu failed; see /w/restore.log");
    }
}
