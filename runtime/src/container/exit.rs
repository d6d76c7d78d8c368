//! How a process ended.

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::sys::pidfd;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It exited with this status.
    Exited(i32),
    /// It was killed by this signal.
    Signaled(i32),
}

impl ExitStatus {
    pub(super) fn from_wait(code: i32, status: i32) -> Self {
        if code == libc::CLD_EXITED { Self::Exited(status) } else { Self::Signaled(status) }
    }

    /// The exit code that shells and engines report: for a signal, 128 plus its number.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// Takes the status of any one child that has ended; none if no child has.
///
/// For programs that are the parent of everything they deal with, such as subreapers: it also takes statuses that other
/// code in this process may be waiting for.
///
/// # Errors
///
/// If `waitid(2)` fails; having no children is not an error.
pub fn reap() -> Result<Option<(i32, ExitStatus)>> {
    match pidfd::wait_any() {
        Ok(ended) => Ok(ended.map(|(pid, code, status)| (pid, ExitStatus::from_wait(code, status)))),
        Err(Errno::ECHILD) => Ok(None),
        Err(errno) => Err(Error::os(errno, "wait for children")),
    }
}
