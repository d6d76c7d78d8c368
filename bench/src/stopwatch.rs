//! One measured call.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wharf_spec_tests::outcome::{Outcome, fail};
use wharf_spec_tests::runtime::{Invocation, brief};

/// The cost of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// From the start to the end, microseconds.
    pub wall: f64,
    /// User and system time of the program and of its descendants, microseconds.
    pub cpu: f64,
    /// The largest resident set of them, KiB.
    pub rss: f64,
}

/// The probe as a stopwatch, installed on the host.
#[derive(Debug, Clone)]
pub struct Stopwatch {
    probe: PathBuf,
    dir: PathBuf,
}

impl Stopwatch {
    /// The probe at a path; output goes into files under `dir`.
    pub fn new(probe: &Path, dir: &Path) -> Self {
        Self { probe: probe.to_owned(), dir: dir.to_owned() }
    }

    /// A prepared call; [`Self::read`] parses what it prints.
    pub fn prepare<T: AsRef<OsStr>>(&self, program: &Path, args: impl IntoIterator<Item = T>) -> Invocation {
        Invocation::new(&self.probe, &self.dir)
            .args([OsStr::new("measure"), program.as_os_str()])
            .args(args)
            .patience(Duration::from_secs(60))
    }

    /// Makes a call and returns its cost.
    ///
    /// # Errors
    ///
    /// If the program cannot be started, ends with a code other than 0, or hangs.
    pub fn call<T: AsRef<OsStr>>(&self, program: &Path, args: impl IntoIterator<Item = T>) -> Outcome<Cost> {
        Self::read(&self.prepare(program, args).call()?)
    }

    /// The cost that a finished call of [`Self::prepare`] printed.
    ///
    /// # Errors
    ///
    /// As [`Self::call`].
    pub fn read(called: &wharf_spec_tests::Called) -> Outcome<Cost> {
        let answer = called.json()?;
        let number = |name: &str| answer[name].as_f64();
        match (number("status"), number("wall_us"), number("cpu_us"), number("rss_kib")) {
            (Some(0.0), Some(wall), Some(cpu), Some(rss)) => Ok(Cost { wall, cpu, rss }),
            _ => fail(format!("`{}`: {answer} {}", called.line, brief(&called.stderr))),
        }
    }
}
