//! Guards against regressions: a runtime's work must not grow unnoticed.
//!
//! System calls and instructions are counted, not time: both are the same however busy the machine is. The limits are
//! the counts from when they were last renewed, in a file beside the sources; [`limits`] says how much they may grow.

pub mod count;
pub mod limits;
pub mod steps;
