//! The methods of the task service.

pub(crate) mod checkpoint;
pub(crate) mod control;
pub(crate) mod execs;
pub(crate) mod lifecycle;
pub(crate) mod queries;
