//! Descriptors in the event loop.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::signalfd::SignalFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What owns its descriptor, and so cannot lose it while it is watched.
pub(crate) trait Owner: AsRawFd {}

impl Owner for OwnedFd {}
impl Owner for SignalFd {}

/// Begins to watch a descriptor that does not block.
pub(crate) fn watch<T: Owner>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // Its successor is unsafe, because some types give away descriptors that they do not own; these two own them.
    #[allow(deprecated, reason = "sound for owners of descriptors")]
    AsyncFd::with_interest(owner, interest)
}
