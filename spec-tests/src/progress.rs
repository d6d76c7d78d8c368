//! What is shown while tests run, and at the end.

use crate::format;
use crate::outcome::Fault;
use crate::runner::Verdict;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;

/// A bar on a terminal; elsewhere the lines alone.
pub struct Progress {
    total: usize,
    lines: bool,
    bar: bool,
    done: Mutex<(usize, usize)>,
}

impl Progress {
    /// For this many tests; `lines` prints each verdict.
    pub fn new(total: usize, lines: bool) -> Self {
        Self { total, lines, bar: std::io::stderr().is_terminal(), done: Mutex::new((0, 0)) }
    }

    /// One more verdict.
    pub fn report(&self, verdict: &Verdict) {
        let Ok(mut done) = self.done.lock() else { return };
        done.0 += 1;
        done.1 += usize::from(matches!(verdict.outcome, Err(Fault::Failed(_))));
        let mut err = std::io::stderr().lock();
        if self.bar {
            let _ignored = write!(err, "\r\x1b[K");
        }
        if self.lines {
            let _ignored = writeln!(std::io::stdout().lock(), "{}", format::line(verdict));
        }
        if self.bar {
            let filled = done.0 * 30 / self.total;
            let bar = format!("{}{}", "#".repeat(filled), ".".repeat(30 - filled));
            let _ignored = write!(err, "[{bar}] {}/{} {} failed", done.0, self.total, done.1);
            let _ignored = err.flush();
        }
    }

    /// Wipes the bar.
    pub fn end(&self) {
        if self.bar {
            eprint!("\r\x1b[K");
        }
    }
}

/// The failures again at the end, where they are read.
pub fn summary(verdicts: &[Verdict]) {
    let failed: Vec<_> = verdicts.iter().filter(|v| matches!(v.outcome, Err(Fault::Failed(_)))).collect();
    if !failed.is_empty() {
        println!("\nfailures:");
        for verdict in failed {
            println!("{}", format::line(verdict));
        }
        println!();
    }
}
