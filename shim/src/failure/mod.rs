//! Why a command failed, in words that callers know, and with which exit code.

pub(crate) mod hints;
pub(crate) mod texts;

use wharf::{Container, Error, ErrorKind, Status};

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
    usage: Option<Usage>,
}

/// The help that is shown with the message of a wrong use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// That of the program.
    Program,
    /// That of the verb with this name.
    Verb(&'static str),
}

impl Failure {
    /// A failure of the operation itself: exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1, usage: None }
    }

    /// Wrong use of the command line: the help goes to standard output, as callers of runc expect.
    pub(crate) fn usage(verb: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { usage: Some(verb.map_or(Usage::Program, Usage::Verb)), ..Self::new(message) }
    }

    /// Changes the exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Sets this exit code, unless the failure has one of its own.
    pub(crate) fn or_code(self, code: u8) -> Self {
        if self.code == 1 { self.with_code(code) } else { self }
    }

    /// Puts the larger operation in front of the message.
    pub(crate) fn during(mut self, operation: &str) -> Self {
        self.message = format!("{operation}: {}", self.message);
        self
    }

    /// The message for the caller.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says what the caller can do on the command line.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.message = format!("{}; {hint}", self.message);
        self
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// The help to show, if the command line was wrong.
    pub(crate) fn wrong_use(&self) -> Option<Usage> {
        self.usage
    }
}

/// A failed operation of the library, with the words that callers look for in front of its message.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::new(format!("{}: {error}", texts::DOES_NOT_EXIST)),
            // With a pointer it is something else that exists.
            ErrorKind::Exists if error.pointer().is_none() => {
                Self::new(format!("{}: {error}", texts::EXISTS))
            }
            _ => Self::new(error.to_string()),
        }
    }
}

/// Turns a refusal because of the container's state into runc's words for that state; other errors pass through.
pub(crate) fn refused(
    container: &Container,
    error: Error,
    words: impl FnOnce(Status) -> Option<String>,
) -> Failure {
    if error.kind() == ErrorKind::WrongState
        && let Ok(state) = container.state()
        && let Some(words) = words(state.status)
    {
        let failure = Failure::new(words);
        return match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        };
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_stands_in_front_and_the_code_is_kept() {
        let failure = Failure::new("no such thing").with_code(255).during("exec failed");
        assert_eq!((failure.message(), failure.code), ("exec failed: no such thing", 255));
    }

    #[test]
    fn a_missing_container_is_reported_in_the_words_that_callers_know() {
        let id = wharf::ContainerId::new("no-such-container-of-this-test").unwrap();
        let root = tempfile::tempdir().unwrap();
        let runtime = wharf::Runtime::builder().root(root.path().to_owned()).build().unwrap();
        let Err(error) = runtime.open(&id) else { panic!("opened a container that was never made") };
        assert!(Failure::from(error).message().contains("container does not exist"));
    }
}
