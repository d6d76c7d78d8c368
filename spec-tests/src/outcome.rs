//! What a test answers, and the words to say it with.

use std::fmt::Debug;

/// Why a test did not pass.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The runtime is wrong, or the test could not be carried out.
    Failed(String),
    /// This machine or this user cannot run the test, and why.
    Skipped(String),
}

/// Passed, or why not.
pub type Outcome<T = ()> = Result<T, Fault>;

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(format!("the test itself: {error}"))
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Failed(format!("the test itself: {error}"))
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

/// Passes when `condition` holds.
pub fn check(condition: bool, text: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { fail(text()) }
}

/// Passes when both are equal.
pub fn same<A: PartialEq<B> + Debug, B: Debug>(what: &str, seen: A, wanted: B) -> Outcome {
    if seen == wanted { Ok(()) } else { fail(format!("{what}: {seen:?}, wanted {wanted:?}")) }
}
