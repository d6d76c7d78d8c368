//! The steps that make one mount.

pub(crate) mod cgroup;
mod data;
pub(crate) mod entry;
mod overlay;
pub(crate) mod surroundings;
