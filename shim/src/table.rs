//! Every verb, once: parsing, help, completions and manual pages follow this table. Each verb's entry is in its file.

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::verb;

/// An option.
#[derive(Debug)]
pub(crate) struct Opt {
    /// The name after `--` (or after `-`, from old callers).
    pub(crate) long: &'static str,
    /// The letter after `-`.
    pub(crate) short: Option<char>,
    /// What the help calls the value; `None` for a switch.
    pub(crate) value: Option<&'static str>,
    /// The possible values, if there are only a few.
    pub(crate) choices: &'static [&'static str],
    /// What it does.
    pub(crate) help: &'static str,
    /// Accepted for old callers, but not shown.
    pub(crate) hidden: bool,
}

impl Opt {
    pub(crate) const fn switch(long: &'static str, help: &'static str) -> Self {
        Self { long, short: None, value: None, choices: &[], help, hidden: false }
    }

    pub(crate) const fn value(long: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { long, short: None, value: Some(value), choices: &[], help, hidden: false }
    }

    pub(crate) const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }

    pub(crate) const fn choices(self, choices: &'static [&'static str]) -> Self {
        Self { choices, ..self }
    }

    pub(crate) const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }
}

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

/// A verb.
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

/// In the order of the help.
pub(crate) const VERBS: &[Verb] = &[
    verb::check::VERB,
    verb::checkpoint::VERB,
    verb::completion::VERB,
    verb::create::VERB,
    verb::delete::VERB,
    verb::events::VERB,
    verb::exec::VERB,
    verb::explain::VERB,
    verb::features::VERB,
    verb::kill::VERB,
    verb::list::VERB,
    verb::manual::VERB,
    verb::mounts::VERB,
    verb::pause::VERB,
    verb::ps::VERB,
    verb::restore::VERB,
    verb::resume::VERB,
    verb::run::VERB,
    verb::spec::VERB,
    verb::start::VERB,
    verb::state::VERB,
    verb::update::VERB,
];

/// The verb with that name.
pub(crate) fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::GLOBALS;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_sorted() {
        assert!(VERBS.is_sorted_by_key(|verb| verb.name));
        for options in VERBS.iter().map(|verb| verb.options).chain([GLOBALS]) {
            let longs: BTreeSet<_> = options.iter().map(|option| option.long).collect();
            assert_eq!(longs.len(), options.len());
            let letters: Vec<_> = options.iter().filter_map(|option| option.short).collect();
            assert_eq!(letters.iter().collect::<BTreeSet<_>>().len(), letters.len());
        }
    }

    #[test]
    fn no_cluster_of_letters_reads_like_a_long_option() {
        // `-no-subreaper` is a long option; so `-it` must not be the name of one.
        for verb in VERBS {
            let letters: Vec<_> = verb.options.iter().filter_map(|option| option.short).collect();
            for option in verb.options {
                assert!(!option.long.chars().all(|c| letters.contains(&c)), "{} -{}", verb.name, option.long);
            }
        }
    }
}
