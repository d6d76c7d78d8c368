//! What is shown while tests run, a bar on a terminal and lines elsewhere, and at the end.

use crate::format;
use crate::outcome::Fault;
use crate::runner::Verdict;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reports verdicts as they come.
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    failed: AtomicUsize,
}

impl Progress {
    /// With `lines`, prints one for each test. Above a bar, passed tests are left out.
    pub fn new(total: usize, lines: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
                bar.set_style(style.progress_chars("##."));
            }
            bar
        });
        Self { bar, lines, failed: AtomicUsize::new(0) }
    }

    /// One more verdict.
    pub fn report(&self, verdict: &Verdict) {
        let failed = matches!(verdict.outcome, Err(Fault::Failed(_)));
        let count = self.failed.fetch_add(usize::from(failed), Ordering::Relaxed) + usize::from(failed);
        let Some(bar) = &self.bar else {
            if self.lines {
                println!("{}", format::line(verdict));
            }
            return;
        };
        if self.lines && verdict.outcome.is_err() {
            bar.suspend(|| println!("{}", format::line(verdict)));
        }
        bar.set_message(format!("{count} failed"));
        bar.inc(1);
    }

    /// Wipes the bar.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The failures once more at the end, where they are read.
pub fn summary(verdicts: &[Verdict]) {
    let mut failed = verdicts.iter().filter(|v| matches!(v.outcome, Err(Fault::Failed(_)))).peekable();
    if failed.peek().is_some() {
        println!("\nfailures:");
        for verdict in failed {
            println!("{}", format::line(verdict));
        }
        println!();
    }
}
