//! The result of a test, and ways to express it.

use crate::rootless::is_lack_of_privilege;
use std::fmt::Debug;

/// Why a test did not pass.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The runtime is wrong, or the test could not be carried out.
    Failed(String),
    /// This machine or this user cannot run the test, and why.
    Skipped(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(reason) => f.write_str(reason),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

/// Passed, or why not.
pub type Outcome<T = ()> = Result<T, Fault>;

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        if is_lack_of_privilege(error.raw_os_error()) {
            return Self::Skipped(format!("needs root: {error}"));
        }
        Self::Failed(format!("the test itself: {error}"))
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(error: rustix::io::Errno) -> Self {
        std::io::Error::from(error).into()
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(format!("not JSON: {error}"))
    }
}

/// Fails with this text.
pub fn fail<T>(text: impl Into<String>) -> Outcome<T> {
    Err(Fault::Failed(text.into()))
}

/// Skips with this reason.
pub fn skip<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(Fault::Skipped(reason.into()))
}

/// Passes if `condition` holds.
pub fn check(condition: bool, text: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { fail(text()) }
}

/// Passes if both are equal.
pub fn same<A: PartialEq<B> + Debug, B: Debug>(what: &str, seen: A, wanted: B) -> Outcome {
    if seen == wanted { Ok(()) } else { fail(format!("{what}: {seen:?}, wanted {wanted:?}")) }
}
