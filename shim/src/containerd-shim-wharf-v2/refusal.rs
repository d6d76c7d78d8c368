//! Why a call fails: a gRPC status, by which containerd and its clients decide, and a message.

use std::fmt;

use containerd_shim_protos::ttrpc::Code;
use wharf::ErrorKind;

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status code, one of gRPC's.
    pub(crate) code: i32,
    /// The message.
    pub(crate) message: String,
    /// Whether a worker ended in the middle of its work, so that how far it came is unknown.
    pub(crate) cut_short: bool,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code as i32, message: message.into(), cut_short: false }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::INVALID_ARGUMENT, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NOT_FOUND, message)
    }

    pub(crate) fn exists(message: impl Into<String>) -> Self {
        Self::new(Code::ALREADY_EXISTS, message)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FAILED_PRECONDITION, message)
    }

    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self::new(Code::UNKNOWN, message)
    }

    /// A worker was killed or crashed.
    pub(crate) fn cut_short() -> Self {
        Self { cut_short: true, ..Self::unknown("the worker process ended without an answer") }
    }

    /// A failed system operation.
    pub(crate) fn io(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self::unknown(format!("{what}: {error}"))
    }

    /// Puts the larger operation in front, in the words that engines search for.
    pub(crate) fn during(mut self, operation: &str) -> Self {
        self.message = format!("{operation}: {}", self.message);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<wharf::Error> for Refusal {
    fn from(error: wharf::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidId | ErrorKind::InvalidSpec => Code::INVALID_ARGUMENT,
            ErrorKind::Exists => Code::ALREADY_EXISTS,
            ErrorKind::NotFound => Code::NOT_FOUND,
            ErrorKind::WrongState | ErrorKind::Unsupported => Code::FAILED_PRECONDITION,
            ErrorKind::Permission => Code::PERMISSION_DENIED,
            ErrorKind::Timeout => Code::DEADLINE_EXCEEDED,
            // containerd's own shim has no code for these either.
            _ => Code::UNKNOWN,
        };
        Self::new(code, error.to_string())
    }
}
