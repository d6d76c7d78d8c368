//! The benchmark's progress: a bar on a terminal, otherwise one line for each row.

use super::interrupt;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use wharf_spec_tests::outcome::{Outcome, fail};

/// Shows rows as they are measured.
pub struct Bar {
    bar: Option<ProgressBar>,
    group: String,
}

impl Bar {
    /// On standard error.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {elapsed} {msg}");
            ProgressBar::new(0)
                .with_style(style.map_or_else(|_| ProgressStyle::default_bar(), |s| s.progress_chars("##.")))
        });
        Self { bar, group: String::new() }
    }

    /// Group `number` of `count` begins.
    pub fn group(&mut self, number: usize, count: usize) {
        self.group = format!("[{number}/{count}]");
    }

    /// A row with this many steps begins.
    pub fn row(&self, title: &str, steps: usize) {
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(self.group.clone());
                bar.set_length(steps as u64);
                bar.set_position(0);
                bar.set_message(title.to_owned());
            }
            None => eprintln!("{} {title}", self.group),
        }
    }

    /// One more step is done.
    ///
    /// # Errors
    ///
    /// If the benchmark has to end early.
    pub fn step(&self) -> Outcome {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        if interrupt::came() { fail("interrupted") } else { Ok(()) }
    }

    /// Wipes the bar.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}
