//! The end of a command that failed: what is written where, and the exit code.

use std::io::Write;

use wharf::Kind;

use crate::help;
use crate::logger;
use crate::table::Verb;
use crate::texts;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
    usage: Usage,
}

/// Whose help is shown with the message.
#[derive(Clone, Copy, Debug)]
enum Usage {
    None,
    Program,
    Verb(&'static Verb),
}

impl Failure {
    /// A failure of the operation itself: exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1, usage: Usage::None }
    }

    /// Wrong use of the command line: the help goes to standard output, as callers of runc expect.
    pub(crate) fn usage(verb: Option<&'static Verb>, message: impl Into<String>) -> Self {
        Self { usage: verb.map_or(Usage::Program, Usage::Verb), ..Self::new(message) }
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

    /// What the caller is told.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Writes the log line, the message and the help, and returns the exit code.
    pub(crate) fn report(self) -> u8 {
        let help = match self.usage {
            Usage::None => None,
            Usage::Program => Some(help::text(None)),
            Usage::Verb(verb) => Some(help::text(Some(verb))),
        };
        // There is no way left to report that the output is closed.
        if let Some(help) = help {
            std::io::stdout()
                .write_all(format!("Incorrect Usage: {}\n\n{help}", self.message).as_bytes())
                .ok();
        }
        logger::error(&self.message);
        self.code
    }
}

/// A failed operation of the library; the words that callers look for are there, whatever the library's message says.
impl From<wharf::Error> for Failure {
    fn from(error: wharf::Error) -> Self {
        let sentence = error.to_string();
        let expected = match error.kind() {
            Kind::NotFound => texts::DOES_NOT_EXIST,
            Kind::Exists => texts::EXISTS,
            _ => return Self::new(sentence),
        };
        if sentence.contains(expected) {
            Self::new(sentence)
        } else {
            Self::new(format!("{expected}: {sentence}"))
        }
    }
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
    fn a_missing_container_is_told_in_the_words_that_callers_know() {
        let id = wharf::ContainerId::new("no-such-container-of-this-test").unwrap();
        let root = tempfile::tempdir().unwrap();
        let runtime = wharf::Runtime::builder().root(root.path().to_owned()).build().unwrap();
        let Err(error) = runtime.open(&id) else { panic!("opened a container that was never made") };
        assert!(Failure::from(error).message().contains("container does not exist"));
    }
}
