//! The command line of the benchmark.

use lexopt::prelude::{Long, Short, Value, ValueExt as _};
use std::path::PathBuf;
use std::time::Duration;

/// How it is called.
pub const USAGE: &str = "\
bench NAME=PATH [NAME=PATH]... [OPTION]...

Measures OCI runtimes side by side; ratios are those of the first name. Needs root and a busybox that is linked
statically (Debian: busybox-static).

  --runs N       measurements of each row (30)
  --gap MS       pause before each measurement (100)
  --only GROUP   run, life, bursts, list, parallel, crowd, memory or counts; can be repeated
  --few N        at most N containers where a row has many, for a quick look
  --json FILE    every sample
  --svg FILE     a chart of the CPU times
  --no-floor     without the bare system calls for comparison";

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names and programs, in order.
    pub contestants: Vec<(String, String)>,
    /// Measurements of each row.
    pub runs: usize,
    /// Pause before a measurement.
    pub gap: Duration,
    /// Groups of rows; all when empty.
    pub only: Vec<String>,
    /// Where the samples go.
    pub json: Option<PathBuf>,
    /// Where the chart goes.
    pub svg: Option<PathBuf>,
    /// Measure the bare system calls too?
    pub floor: bool,
    few: Option<usize>,
}

impl Options {
    /// Reads the arguments; nothing when help was wanted.
    ///
    /// # Errors
    ///
    /// With what is wrong about them.
    pub fn parse(
        arguments: impl IntoIterator<Item = std::ffi::OsString>,
    ) -> Result<Option<Self>, lexopt::Error> {
        let mut this = Self {
            contestants: Vec::new(),
            runs: 30,
            gap: Duration::from_millis(100),
            only: Vec::new(),
            json: None,
            svg: None,
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
                Long("svg") => this.svg = Some(parser.value()?.into()),
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
                    this.contestants.push((name.to_owned(), path.to_owned()));
                }
                other => return Err(other.unexpected()),
            }
        }
        if this.contestants.is_empty() {
            return Err("no NAME=PATH".into());
        }
        Ok(Some(this))
    }

    /// How many containers a row of `count` has.
    pub fn many(&self, count: usize) -> usize {
        self.few.map_or(count, |few| few.min(count))
    }
}
