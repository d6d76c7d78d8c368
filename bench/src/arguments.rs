//! The command line of the benchmark.

use lexopt::prelude::{Long, Short, Value, ValueExt as _};
use std::path::PathBuf;
use std::time::Duration;

/// How it is called.
pub const USAGE: &str = "\
bench NAME=PATH [NAME=PATH]... [OPTION]...

Measures OCI runtimes side by side; ratios are those of the first name. Needs root and a busybox that is linked
statically (Debian: busybox-static).

  --runs N       measurements of each row (20)
  --gap MS       pause before each measurement (100)
  --only GROUP   run, life, bursts, parallel, crowd, memory or counts; can be repeated
  --few N        at most N containers where a row has many, for a quick look
  --json FILE    every sample
  --chart FILE   a chart of the CPU times, SVG
  --into FILE    put the tables between the markers `bench` of this file; takes all rows
  --machine      also run the same program in a virtual machine (spec-tests/vm)
  --no-floor     without the bare system calls for comparison";

/// The options.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names and programs, in order.
    pub contestants: Vec<(String, String)>,
    /// Measurements of each row.
    pub runs: usize,
    /// Pause before a measurement.
    pub gap: Duration,
    /// Groups of rows; all if empty.
    pub only: Vec<String>,
    /// Where the samples go.
    pub json: Option<PathBuf>,
    /// Where the chart goes.
    pub chart: Option<PathBuf>,
    /// The file whose block `bench` is replaced.
    pub into: Option<PathBuf>,
    /// Measure a virtual machine too?
    pub machine: bool,
    /// Measure the bare system calls too?
    pub floor: bool,
    few: Option<usize>,
}

impl Options {
    /// Parses the arguments; none if help was wanted.
    ///
    /// # Errors
    ///
    /// Says what is wrong with them.
    pub fn parse(
        arguments: impl IntoIterator<Item = std::ffi::OsString>,
    ) -> Result<Option<Self>, lexopt::Error> {
        let mut this = Self {
            contestants: Vec::new(),
            runs: 20,
            gap: Duration::from_millis(100),
            only: Vec::new(),
            json: None,
            chart: None,
            into: None,
            machine: false,
            floor: true,
            few: None,
        };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("runs") => this.runs = parser.value()?.parse::<std::num::NonZeroUsize>()?.get(),
                Long("gap") => this.gap = Duration::from_millis(parser.value()?.parse()?),
                Long("only") => {
                    let word = parser.value()?.string()?;
                    if !super::rows::GROUPS.iter().any(|(name, _)| *name == word) {
                        return Err(format!("--only {word}: there is no such group").into());
                    }
                    this.only.push(word);
                }
                Long("few") => this.few = Some(parser.value()?.parse::<std::num::NonZeroUsize>()?.get()),
                Long("json") => this.json = Some(parser.value()?.into()),
                Long("chart") => this.chart = Some(parser.value()?.into()),
                Long("into") => this.into = Some(parser.value()?.into()),
                Long("machine") => this.machine = true,
                Long("no-floor") => this.floor = false,
                Long("help") | Short('h') => return Ok(None),
                Value(word) => {
                    let word = word.string()?;
                    let (name, path) =
                        word.split_once('=').ok_or_else(|| format!("{word:?} is not NAME=PATH"))?;
                    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                    if name.is_empty() || !name.chars().all(plain) {
                        return Err(format!("the name {name:?} is not letters, digits and -_.").into());
                    }
                    if this.contestants.iter().any(|(other, _)| other == name) {
                        return Err(format!("the name {name:?} is there twice").into());
                    }
                    this.contestants.push((name.to_owned(), path.to_owned()));
                }
                other => return Err(other.unexpected()),
            }
        }
        if this.contestants.is_empty() {
            return Err("no NAME=PATH".into());
        }
        if this.into.is_some() && (this.few.is_some() || !this.only.is_empty()) {
            return Err("--into takes all rows, so neither --only nor --few".into());
        }
        Ok(Some(this))
    }

    /// How many containers a row of `count` has.
    pub fn many(&self, count: usize) -> usize {
        self.few.map_or(count, |few| few.min(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Option<Options>, lexopt::Error> {
        Options::parse(words.split(' ').map(Into::into))
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(
            parse("a=/x b=/y --runs 3 --few 5").is_ok_and(|options| options.is_some_and(|o| o.many(50) == 5))
        );
        assert!(parse("-h").is_ok_and(|options| options.is_none()));
        for wrong in ["--runs 3", "a", "a/b=/x", "a=/x a=/y", "a=/x --runs 0", "a=/x --only all"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for part in ["--only run", "--few 3"] {
            assert!(parse(&format!("a=/x --into page.md {part}")).is_err(), "{part}");
        }
    }
}
