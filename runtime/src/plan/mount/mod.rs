//! The steps that make one mount.

pub(crate) mod cgroup;
pub(crate) mod context;
mod data;
pub(crate) mod entry;
mod overlay;
