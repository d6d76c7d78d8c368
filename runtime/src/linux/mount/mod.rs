//! Mounts: what the options mean, and the steps that make one mount.

pub(crate) mod added;
pub(crate) mod attributes;
pub(crate) mod cgroup;
pub(crate) mod data;
pub(crate) mod entry;
pub(crate) mod filesystem;
pub(crate) mod options;
mod overlay;
pub(crate) mod propagation;
pub(crate) mod surroundings;
