//! The identity of a container's init process, so that a reused pid is never taken for it.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sys::{path, pidfd, proc_file, socket};

/// Magic number of pidfs (Linux 6.9), whose inode numbers are not reused as long as the machine runs.
const PIDFS_MAGIC: i64 = 0x5049_4446;

/// A process: its pid, and what distinguishes it from other holders of that pid in the same boot. The record says which
/// boot that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    pub(crate) pid: i32,
    /// The inode of its pidfd if the kernel has pidfs, otherwise 0.
    inode: u64,
    /// Its start time in clock ticks since boot; 0 in records that older versions wrote on kernels with pidfs.
    start_time: u64,
}

impl ProcessIdentity {
    /// The identity of a process whose pidfd the caller holds.
    pub(crate) fn of(pid: i32, pidfd: BorrowedFd<'_>) -> Result<Self> {
        match pidfs_inode(pidfd) {
            Some(inode) => Ok(Self { pid, inode, start_time: start_time(pid).unwrap_or(0) }),
            None => Ok(Self { pid, inode: 0, start_time: start_time(pid)? }),
        }
    }

    /// Opens the process if it still exists: verified after opening, so the descriptor refers to this very process. A
    /// process that has ended but is not reaped yet counts as gone.
    pub(crate) fn open(&self) -> Result<Option<OwnedFd>> {
        let pidfd = match pidfd::open(self.pid) {
            Ok(pidfd) => pidfd,
            // EINVAL: the pid now belongs to a thread.
            Err(Errno::ESRCH | Errno::EINVAL) => return Ok(None),
            Err(errno) => return Err(Error::os(errno, format!("open process {}", self.pid))),
        };
        let same = match self.inode {
            0 => start_time(self.pid).is_ok_and(|time| time == self.start_time),
            inode => pidfs_inode(pidfd.as_fd()) == Some(inode) && self.may_have_started(),
        };
        Ok((same && !has_ended(pidfd.as_fd())).then_some(pidfd))
    }

    /// Whether nothing contradicts the recorded start time. A machine that was restored from a snapshot, or does not
    /// say which boot this is, can assign inode numbers twice. Inside a time namespace all times are shifted, so only
    /// the inode counts there, and also if /proc hides the process (`hidepid`).
    fn may_have_started(&self) -> bool {
        self.start_time == 0
            || start_time(self.pid).map_or(true, |time| time == self.start_time)
            || has_moved_clock()
    }
}

/// Whether the process has ended: its pidfd is then readable.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    socket::wait_readable([pidfd.as_raw_fd()], 0).is_ok_and(|[ended]| ended)
}

/// Waits for the process to end, at most that long; returns whether it has.
pub(crate) fn wait_end(pidfd: BorrowedFd<'_>, milliseconds: i32) -> bool {
    socket::wait_readable([pidfd.as_raw_fd()], milliseconds).is_ok_and(|[ended]| ended)
}

fn pidfs_inode(pidfd: BorrowedFd<'_>) -> Option<u64> {
    let fd = pidfd.as_raw_fd();
    (path::filesystem_magic(fd).ok()? == PIDFS_MAGIC)
        .then(|| path::fstat(fd).ok())
        .flatten()
        .map(|stat| stat.st_ino)
}

/// Whether this process' clocks differ from the machine's (`time_namespaces(7)`).
fn has_moved_clock() -> bool {
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    offsets.split_ascii_whitespace().filter_map(|word| word.parse::<i64>().ok()).any(|offset| offset != 0)
}

/// Field 22 of /proc/PID/stat (`proc_pid_stat(5)`), counted from the end of the command name, which can contain
/// anything.
fn start_time(pid: i32) -> Result<u64> {
    let mut buffer = [0; 1536];
    let text = proc_file::stat(pid, &mut buffer)
        .map_err(|errno| Error::os(errno, format!("read /proc/{pid}/stat")))?;
    let fields = text.rsplit(|byte| *byte == b')').next().unwrap_or_default();
    std::str::from_utf8(fields)
        .ok()
        .and_then(|fields| fields.split_ascii_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| Error::new(crate::ErrorKind::System, format!("/proc/{pid}/stat has no start time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_until_it_ends_and_never_after() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().expect("sleep");
        let pid = child.id() as i32;
        let pidfd = pidfd::open(pid).expect("a child of ours");
        let identity = ProcessIdentity::of(pid, pidfd.as_fd()).expect("identity");
        assert!(identity.open().expect("open").is_some());
        let other_inode = ProcessIdentity { inode: identity.inode.wrapping_add(1), ..identity };
        let other_time = ProcessIdentity { start_time: identity.start_time.wrapping_add(1), ..identity };
        for stranger in [other_inode, other_time] {
            assert!(stranger.open().expect("open").is_none(), "{stranger:?}");
        }
        // As older versions wrote it on kernels with pidfs.
        let old = ProcessIdentity { start_time: 0, ..identity };
        assert_eq!(old.open().expect("open").is_some(), old.inode != 0);
        child.kill().expect("kill");
        assert!(wait_end(pidfd.as_fd(), 5000));
        assert!(identity.open().expect("open").is_none(), "a zombie is not running");
        child.wait().expect("wait");
        assert!(identity.open().expect("open").is_none());
    }
}
