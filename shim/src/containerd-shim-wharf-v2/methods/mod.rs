//! The methods of the task service, and those of the sandbox service.

pub(crate) mod checkpoint;
pub(crate) mod control;
pub(crate) mod execs;
pub(crate) mod lifecycle;
pub(crate) mod queries;
pub(crate) mod sandbox;
