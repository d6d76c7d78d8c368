//! The steps that make one mount.

pub(crate) mod cgroup;
pub(crate) mod data;
pub(crate) mod entry;
mod overlay;
pub(crate) mod surroundings;
