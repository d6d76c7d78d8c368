//! The table of the command line: what each verb takes. Parsing, help, completions and manual pages follow it.

use crate::cli::call::Call;
use crate::cli::context::Context;
use crate::cli::options::Opt;
use crate::failure::Failure;

/// How many operands a verb takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// Exactly this many.
    Exactly(usize),
    /// At least this many.
    AtLeast(usize),
    /// At most this many.
    AtMost(usize),
    /// From the first to the second number.
    Between(usize, usize),
}

/// A verb: one line of the table.
#[derive(Debug)]
pub(crate) struct Verb {
    /// Its name.
    pub(crate) name: &'static str,
    /// What comes after the options.
    pub(crate) operands: &'static str,
    /// How many of these there may be.
    pub(crate) count: Count,
    /// Whether everything after the first operand is an operand, even if it begins with a dash.
    pub(crate) trailing: bool,
    /// One line.
    pub(crate) about: &'static str,
    /// More lines for `--help`.
    pub(crate) details: &'static str,
    /// Its options.
    pub(crate) options: &'static [Opt],
    /// Whether a process of this program will run inside a container, so that the program must be protected.
    pub(crate) enters_containers: bool,
    /// Performs it; the value is the exit code.
    pub(crate) run: fn(&Context, &Call) -> Result<u8, Failure>,
}

impl Verb {
    pub(crate) const fn new(
        name: &'static str,
        operands: &'static str,
        count: Count,
        about: &'static str,
        run: fn(&Context, &Call) -> Result<u8, Failure>,
    ) -> Self {
        let (details, options) = ("", &[]);
        Self {
            name,
            operands,
            count,
            trailing: false,
            about,
            details,
            options,
            enters_containers: false,
            run,
        }
    }

    pub(crate) const fn details(self, details: &'static str) -> Self {
        Self { details, ..self }
    }

    pub(crate) const fn options(self, options: &'static [Opt]) -> Self {
        Self { options, ..self }
    }

    pub(crate) const fn trailing(self) -> Self {
        Self { trailing: true, ..self }
    }

    pub(crate) const fn enters_containers(self) -> Self {
        Self { enters_containers: true, ..self }
    }
}

/// The verb with that name.
pub(crate) fn find(verbs: &'static [Verb], name: &str) -> Option<&'static Verb> {
    verbs.iter().find(|verb| verb.name == name)
}
