//! A stand-in containerd that judges any containerd shim binary.
//!
//! It calls the shim's program as the generations of containerd do ([`launch`]), takes its events ([`daemon`]), speaks
//! the task API over its socket ([`client`], [`task`]) and holds the far ends of its streams ([`stdio`]). Each test
//! gets a [`Bed`], which afterwards ends what the test left and reports leaks: processes, cgroups, mounts, state,
//! sockets.

pub mod bed;
pub mod carried;
pub mod client;
pub mod daemon;
pub mod launch;
pub mod pod;
pub mod sandbox;
pub mod stdio;
pub mod task;
pub mod tests;
pub mod wire;

pub use bed::Bed;
pub use pod::Pod;
pub use stdio::Streams;
pub use task::Task;

use crate::host::Host;
use crate::outcome::{Fault, Outcome, skip};
use crate::runner::{Verdict, untouched};
use crate::untouched::Untouched;
use launch::Era;
use nix::mount::{MsFlags, mount};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The shim under test.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Absolute path of its program.
    pub path: PathBuf,
    /// The containerd that calls it, if a test does not choose.
    pub era: Era,
    /// How often leak tests repeat their work, in per cent of the full count.
    pub effort: u32,
}

impl Subject {
    /// The first line of what `-v` prints.
    pub fn version(&self) -> String {
        let answer = Command::new(&self.path).arg("-v").output();
        answer.map_or_else(
            |error| error.to_string(),
            |answer| {
                let text = String::from_utf8_lossy(&answer.stdout).into_owned();
                text.lines().map(str::trim).take(2).collect::<Vec<_>>().join(" ")
            },
        )
    }

    /// Skips what no containerd of this era uses.
    pub fn needs(&self, era: Era) -> Outcome {
        if self.era >= era { Ok(()) } else { skip(format!("no containerd before {era:?} does this")) }
    }
}

/// One thing that a shim must do.
#[derive(Clone, Copy)]
pub struct Test {
    /// The row: B bootstrap, T task, X exec, I streams, R resources, O options, E events, P pods,
    /// C checkpoints, K crashes, W wire, L leaks.
    pub row: &'static str,
    /// The requirement, as one sentence.
    pub sentence: &'static str,
    /// The test itself.
    pub run: fn(&Bed<'_>) -> Outcome,
}

impl Test {
    /// The name under which it is printed and filtered.
    pub fn name(&self) -> String {
        format!("{} {}", self.row, self.sentence)
    }
}

/// A test for the tables of the area files.
pub const fn test(row: &'static str, sentence: &'static str, run: fn(&Bed<'_>) -> Outcome) -> Test {
    Test { row, sentence, run }
}

/// Every test.
pub fn all() -> Vec<Test> {
    tests::AREAS.concat()
}

/// Hides this machine's /run from this process and its children: shims put sockets and state in fixed places there.
///
/// The private mount namespace must exist.
pub fn private_run() -> std::io::Result<()> {
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))?;
    std::fs::create_dir("/run/containerd")
}

/// Runs one test in its own bed. A leak fails a test that otherwise passed.
pub fn run_one(test: &Test, subject: &Subject, host: &Host, work: &Path) -> Verdict {
    let begun = Instant::now();
    let outcome = host.needs_root().and_then(|()| Bed::new(subject, host, work)).and_then(|bed| {
        let (own, before) = (bed.dir().to_owned(), Untouched::now(work, bed.dir()));
        let answer = catch_unwind(AssertUnwindSafe(|| (test.run)(&bed)))
            .unwrap_or_else(|_| Err(Fault::Failed("the test itself panicked".into())));
        let logs = bed.logs();
        let clean = bed.clean_up().and_then(|()| untouched(&before, work, &own));
        answer.and(clean).map_err(|fault| match fault {
            Fault::Failed(reason) if !logs.is_empty() => {
                Fault::Failed(format!("{reason}; its log: {}", crate::runtime::brief(&logs)))
            }
            other => other,
        })
    });
    Verdict { name: test.name(), outcome, took: begun.elapsed() }
}
