//! The values of options and operands, and how callers write them.

pub(crate) mod duration;
pub(crate) mod input;
pub(crate) mod signal;
pub(crate) mod size;
pub(crate) mod user;
