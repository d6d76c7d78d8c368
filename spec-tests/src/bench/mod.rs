//! The benchmark: what a runtime costs, side by side with others and with a floor.
//!
//! Contestants take turns in random order, so that any other load on the machine affects all of them alike. A row is
//! one operation on one bundle; each measurement of it is one call of a contestant, timed by the probe ([`stopwatch`]).

pub mod arguments;
pub mod bar;
pub mod bundle;
pub mod chart;
pub mod contestant;
mod filter;
pub mod interrupt;
pub mod machine;
pub mod mounted;
pub mod report;
pub mod rows;
pub mod stopwatch;
pub mod table;
