//! Guards against regressions: what a runtime does may not grow unnoticed.
//!
//! System calls and instructions are counted, not time: both are the same however busy the machine is. The limits are what
//! was counted when they were last renewed, in a file beside the sources; what they may grow by is in [`limits`].

pub mod count;
pub mod limits;
pub mod steps;
