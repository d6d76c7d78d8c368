//! What runtimes cost: side by side with others and with a floor, and ([`guard`]) compared with what they cost before.
//!
//! Contestants take turns in random order, so that any other load on the machine affects all of them alike. A row is
//! one operation on one bundle; each measurement of it is one call of a contestant, timed by the probe ([`stopwatch`]).

// An `Outcome`'s error is always the same: why there is no figure.
#![allow(clippy::missing_errors_doc)]

pub mod arguments;
pub mod bar;
pub mod bundle;
pub mod chart;
pub mod contestant;
mod filter;
pub mod guard;
pub mod interrupt;
pub mod machine;
pub mod mounted;
pub mod report;
pub mod rows;
pub mod stopwatch;
pub mod table;

/// A static program that writes the time of its first instruction into a file.
pub const FIRST: &[u8] = include_bytes!(env!("WHARF_FIRST"));

/// The floor, a static program: the bare system calls of a container's life.
pub const FLOOR: &[u8] = include_bytes!(env!("WHARF_FLOOR"));
