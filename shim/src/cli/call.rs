//! A call of a verb: its options and operands, as the caller gave them.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::str::FromStr;

use crate::cli::options::Opt;
use crate::failure::Failure;

/// A verb with its options and operands.
pub(crate) struct Call {
    /// The name of the verb.
    pub(crate) verb: &'static str,
    /// Its options.
    pub(crate) options: Given,
    /// Its operands; their number has been checked.
    pub(crate) operands: Vec<OsString>,
}

impl Call {
    /// The operand at `index`, if it is there.
    pub(crate) fn operand(&self, index: usize) -> Result<Option<&str>, Failure> {
        self.operands.get(index).map(|operand| utf8("operand", operand)).transpose()
    }

    /// The first operand as a container id.
    pub(crate) fn id(&self) -> Result<wharf::ContainerId, Failure> {
        self.id_at(0)
    }

    /// The operand at `index`, as a container id.
    pub(crate) fn id_at(&self, index: usize) -> Result<wharf::ContainerId, Failure> {
        Ok(wharf::ContainerId::new(self.operand(index)?.unwrap_or_default())?)
    }
}

/// The options that were given.
#[derive(Debug)]
pub(crate) struct Given {
    table: &'static [Opt],
    values: Vec<(&'static str, OsString)>,
}

impl Given {
    /// No options yet; `table` lists those that can be given.
    pub(super) fn new(table: &'static [Opt]) -> Self {
        Self { table, values: Vec::new() }
    }

    /// Adds an option of the table.
    pub(super) fn push(&mut self, option: &Opt, value: OsString) {
        self.values.push((option.long, value));
    }

    /// Whether a switch is on; its last occurrence counts.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.last(name).is_some_and(|value| value == "true")
    }

    /// The last value of an option.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        self.last(name).map(|value| utf8(&format!("value of --{name}"), value)).transpose()
    }

    /// The last value of an option that is a path.
    pub(crate) fn path(&self, name: &str) -> Result<Option<&Path>, Failure> {
        match self.last(name) {
            Some(value) if value.is_empty() => {
                Err(Failure::new(format!("--{name} needs a path, not an empty string")))
            }
            value => Ok(value.map(Path::new)),
        }
    }

    /// All values of an option, in order.
    pub(crate) fn all(&self, name: &str) -> Result<Vec<&str>, Failure> {
        self.check(name);
        let values = self.values.iter().filter(|(given, _)| *given == name);
        values.map(|(_, value)| utf8(&format!("value of --{name}"), value)).collect()
    }

    /// All values of an option, in order, whether they are text or not.
    pub(crate) fn all_raw(&self, name: &str) -> Vec<&OsStr> {
        self.check(name);
        self.values.iter().filter(|(given, _)| *given == name).map(|(_, value)| value.as_os_str()).collect()
    }

    /// The last value of an option that is a number.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure>
    where
        T::Err: std::fmt::Display,
    {
        let parse = |text: &str| {
            text.parse()
                .map_err(|error| Failure::new(format!("invalid value {text:?} for --{name}: {error}")))
        };
        self.text(name)?.map(parse).transpose()
    }

    /// The value of `--format`; the default is the first choice of the table.
    pub(crate) fn format(&self) -> Result<&str, Failure> {
        let option = self.table.iter().find(|option| option.long == "format");
        let choices = option.map_or(&[][..], |option| option.choices);
        let format = self.text("format")?.or(choices.first().copied()).unwrap_or_default();
        if choices.contains(&format) {
            return Ok(format);
        }
        Err(Failure::new(format!("invalid format option {format:?}: not {}", choices.join(" or "))))
    }

    /// Whether an option was given at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    /// The names of all options that were given.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.values.iter().map(|(name, _)| *name)
    }

    fn last(&self, name: &str) -> Option<&OsStr> {
        self.check(name);
        self.values.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_os_str())
    }

    /// Whether the verb has an option of that name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.table.iter().any(|option| option.long == name)
    }

    /// A verb would never see an option that its table lacks.
    fn check(&self, name: &str) {
        debug_assert!(self.knows(name), "--{name} is not in the table");
    }
}

fn utf8<'a>(what: &str, text: &'a OsStr) -> Result<&'a str, Failure> {
    text.to_str().ok_or_else(|| Failure::new(format!("{what} is not valid UTF-8: {}", text.display())))
}
