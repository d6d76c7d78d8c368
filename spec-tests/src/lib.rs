//! A conformance suite that judges any OCI runtime binary.
//!
//! A [`Runtime`] is a program with the common command line (`create`, `start`, `state`, `kill`, `delete`, `run`,
//! `exec`). Each [`Test`] gets a [`Bed`]: a directory of its own, a fresh `--root`, and ways to make bundles whose
//! payload is the static probe. After the test the bed deletes what the test left and reports leaks (state, cgroups,
//! mounts, processes), and what no test may change must be unchanged ([`untouched`]). Call [`session::prepare`] first;
//! it moves this process into a private mount namespace.
// An `Outcome`'s error is always the same: why the test does not pass.
#![allow(clippy::missing_errors_doc)]

pub mod attacks;
pub mod bed;
pub mod bundle;
pub mod cgroup;
mod checks;
pub mod console;
pub mod criu;
pub mod devices;
pub mod faults;
pub mod format;
pub mod host;
pub mod inject;
pub mod markers;
pub mod matrix;
pub mod network;
pub mod observe;
pub mod outcome;
#[cfg(test)]
mod pages;
pub mod program;
pub mod progress;
mod reaper;
pub mod rootless;
pub mod rows;
pub mod runner;
pub mod runtime;
pub mod session;
pub mod shim;
pub mod spec;
pub mod tests;
pub mod untouched;
pub mod variation;

pub use bed::{Bed, Container};
pub use bundle::Bundle;
pub use host::Host;
pub use outcome::{Fault, Outcome};
pub use runtime::{Called, Runtime};
pub use spec::Spec;
pub use wharf_probe::PROBE;

/// How often a race is tried: `WHARF_ROUNDS`, or as often as is enough to see that nothing is broken.
pub(crate) fn rounds(usual: u32) -> u32 {
    std::env::var("WHARF_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Who can run a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Any user: it makes no container.
    Anyone,
    /// A user who may make user namespaces.
    User,
    /// Only root.
    Root,
}

/// One thing that a runtime must do.
#[derive(Clone, Copy)]
pub struct Test {
    /// Rows that it covers, such as `A24 A28`; attacks start with S, faults with F, command line with C.
    pub rows: &'static str,
    /// The requirement, as one sentence.
    pub sentence: &'static str,
    /// Who can run it.
    pub who: Who,
    /// The test itself.
    pub run: fn(&Bed<'_>) -> Outcome,
}

impl Test {
    /// The name under which it is printed and filtered.
    pub fn name(&self) -> String {
        format!("{} {}", self.rows, self.sentence)
    }
}

/// A test for the tables of the area files. Root runs it with the configuration as it is, and any other user with the
/// one that [`rootless::adapt`] makes from it.
pub const fn test(rows: &'static str, sentence: &'static str, run: fn(&Bed<'_>) -> Outcome) -> Test {
    Test { rows, sentence, who: Who::User, run }
}

/// A test that only root can run.
pub const fn root(rows: &'static str, sentence: &'static str, run: fn(&Bed<'_>) -> Outcome) -> Test {
    Test { rows, sentence, who: Who::Root, run }
}

/// A test that makes no container, so any user can run it.
pub const fn anyone(rows: &'static str, sentence: &'static str, run: fn(&Bed<'_>) -> Outcome) -> Test {
    Test { rows, sentence, who: Who::Anyone, run }
}

/// Every test of the suite, in the order of the checklist.
pub fn all() -> Vec<Test> {
    [tests::AREAS, attacks::AREAS, faults::AREAS].concat().into_iter().flatten().copied().collect()
}
