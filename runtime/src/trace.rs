//! What an operation did and when, for debug logs: each step with the time since the operation began.

use std::cell::Cell;
use std::fmt::Display;

use log::{Level, debug, log_enabled};

use crate::plan::Plan;
use crate::sys::marks::{Marks, now};

thread_local! {
    static BEGAN: Cell<u64> = const { Cell::new(0) };
}

/// Starts an operation on this thread.
pub(crate) fn begin() {
    BEGAN.set(now());
}

/// A step of the calling process is done.
pub(crate) fn done(step: impl Display) {
    if log_enabled!(Level::Debug) {
        debug!("{}: {step}", since(now()));
    }
}

/// Where the child records when its steps begin; none if the log level does not need it.
pub(crate) fn marks(plan: &Plan) -> Option<Marks> {
    let wanted = log_enabled!(Level::Debug);
    // Without memory for the times, the log has none.
    wanted.then(|| Marks::new(plan.program.ops.len()).ok()).flatten()
}

/// Logs the steps that the child has begun, from the given one on; returns the next one to log.
pub(crate) fn tell(plan: &Plan, marks: &Marks, from: usize) -> usize {
    let mut next = from;
    for (index, step) in plan.child_steps().enumerate().skip(from) {
        if let Some(time) = marks.get(index) {
            debug!("{}: {step}", since(time));
            next = index + 1;
        }
    }
    next
}

fn since(time: u64) -> String {
    let microseconds = time.saturating_sub(BEGAN.get()) / 1000;
    format!("{}.{:03} ms", microseconds / 1000, microseconds % 1000)
}
