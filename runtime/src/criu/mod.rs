//! The program criu, which writes the processes of a container to files and makes processes from the files again.
//!
//! It is driven by the messages of its service protocol over a socket that it inherits (`criu swrk`), so that nothing
//! is guessed from its output. `container/` decides what the messages say.
//!
//! The messages are declared here with `prost`, as far as they are used. The crate `rust-criu` is not used: it cannot
//! express what a container needs (joined namespaces, security labels, cgroup roots, feature checks), its notifications
//! cannot carry state, and it starts criu with the caller's environment and descriptors.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
pub(crate) mod image;
mod log;
pub(crate) mod message;
mod pages;
pub(crate) mod program;
pub(crate) mod session;
