//! Runs tests in parallel and collects the results.

use crate::bed::Bed;
use crate::host::Host;
use crate::outcome::{Fault, Outcome, check};
use crate::runtime::Runtime;
use crate::untouched::Untouched;
use crate::{Test, Who};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The result of one test.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// Passed, failed or skipped.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// How many there are of each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

impl Totals {
    /// Counts.
    pub fn of(verdicts: &[Verdict]) -> Self {
        let mut totals = Self::default();
        for verdict in verdicts {
            match verdict.outcome {
                Ok(()) => totals.passed += 1,
                Err(Fault::Failed(_)) => totals.failed += 1,
                Err(Fault::Skipped(_)) => totals.skipped += 1,
            }
        }
        totals
    }
}

/// Runs one test in its own bed. A leak fails a test that otherwise passed.
pub fn run_one(test: &Test, runtime: &Runtime, host: &Host, work: &Path) -> Verdict {
    let begun = Instant::now();
    let outcome = Bed::new(runtime, host, work).and_then(|bed| {
        if test.who == Who::Root {
            host.needs_root()?;
        }
        let before = Untouched::now(work, bed.dir());
        let answer = catch_unwind(AssertUnwindSafe(|| (test.run)(&bed)))
            .unwrap_or_else(|_| Err(Fault::Failed("the test itself panicked".into())));
        let clean = bed.clean_up().and_then(|()| untouched(&before, work, bed.dir()));
        let answer = answer.and(clean);
        match answer {
            Err(Fault::Failed(reason)) if runtime.keep => {
                Err(Fault::Failed(format!("{reason} [in {}]", bed.keep().display())))
            }
            other => other,
        }
    });
    Verdict { name: test.name(), outcome, took: begun.elapsed() }
}

/// Fails if what no test may change has changed.
pub fn untouched(before: &Untouched, work: &Path, own: &Path) -> Outcome {
    let changes = before.changes(work, own);
    check(changes.is_empty(), || format!("it changed the caller's surroundings: {}", changes.join("; ")))
}

/// Runs the tests on `jobs` threads; `progress` gets each verdict as it arrives, and the result is in the tests' order.
pub fn run_all(
    tests: &[Test],
    runtime: &Runtime,
    host: &Host,
    work: &Path,
    jobs: usize,
    progress: &(dyn Fn(&Verdict) + Sync),
) -> Vec<Verdict> {
    side_by_side(tests, jobs, &|test| run_one(test, runtime, host, work), progress)
}

/// Judges each item on one of `jobs` threads.
pub fn side_by_side<T: Sync>(
    items: &[T],
    jobs: usize,
    judge: &(dyn Fn(&T) -> Verdict + Sync),
    progress: &(dyn Fn(&Verdict) + Sync),
) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Verdict>>> = Mutex::new(vec![None; items.len()]);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let verdict = judge(item);
                    progress(&verdict);
                    if let Ok(mut results) = results.lock() {
                        results[index] = Some(verdict);
                    }
                }
            });
        }
    });
    results.into_inner().map(|results| results.into_iter().flatten().collect()).unwrap_or_default()
}
