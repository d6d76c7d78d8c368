//! Mounts: what the options mean, and the steps that make one mount.

pub(crate) mod added;
pub(crate) mod attributes;
pub(crate) mod filesystem;
pub(crate) mod options;
pub(crate) mod propagation;
