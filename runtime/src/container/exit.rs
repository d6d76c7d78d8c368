//! How a process ended.

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::sys::pidfd;

/// The end of a process.
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

    /// The exit code as shells and engines give it: 128 plus the number of a signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// Takes the status of one child that has ended, whichever; none if no child has.
///
/// For programs that are the parent of everything they deal with, such as subreapers: it takes also what others in this
/// process may wait for.
///
/// # Errors
///
/// The failure of `waitid(2)`; that there are no children is none.
pub fn reap() -> Result<Option<(i32, ExitStatus)>> {
    match pidfd::wait_any() {
        Ok(ended) => Ok(ended.map(|(pid, code, status)| (pid, ExitStatus::from_wait(code, status)))),
        Err(Errno::ECHILD) => Ok(None),
        Err(errno) => Err(Error::os(errno, "wait for children")),
    }
}
