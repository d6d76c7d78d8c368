//! What is wrong with resources, and whether another machine could do it.

use crate::error::{Error, Kind};

/// A finding about the resources: what is wrong, where, and whether another machine could do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The RFC 6901 pointer of the property.
    pub(crate) pointer: String,
    /// One sentence.
    pub(crate) message: String,
    /// What the operator can do.
    pub(crate) remedy: Option<&'static str>,
    /// The value makes sense, but not on this machine.
    pub(crate) unsupported: bool,
}

impl Problem {
    /// A value that no machine can honour.
    pub(crate) fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), remedy: None, unsupported: false }
    }

    /// A value that this machine cannot honour.
    pub(crate) fn unsupported(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { unsupported: true, ..Self::invalid(pointer, message) }
    }

    /// Says what the operator can do.
    #[must_use]
    pub(crate) fn hint(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let kind = if problem.unsupported { Kind::Unsupported } else { Kind::InvalidSpec };
        let mut error = Self::new(kind, problem.message);
        if !problem.pointer.is_empty() {
            error = error.at(problem.pointer);
        }
        match problem.remedy {
            Some(remedy) => error.hint(remedy),
            None => error,
        }
    }
}
