//! How a process ended.

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
