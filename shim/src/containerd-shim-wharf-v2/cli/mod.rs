//! The command line that containerd uses, and what can be done without a server.

mod address;
pub(crate) mod args;
mod bootstrap;
pub(crate) mod cleanup;
pub(crate) mod info;
pub(crate) mod start;
