//! Descriptors in the event loop.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::signalfd::SignalFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An owner of its descriptor, which therefore cannot lose it while it is watched.
pub(crate) trait Owner: AsRawFd {}

impl Owner for OwnedFd {}
impl Owner for SignalFd {}

/// Starts watching a non-blocking descriptor.
pub(crate) fn watch<T: Owner>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // Its successor is unsafe, because some types give away descriptors that they do not own; these own theirs.
    #[allow(deprecated, reason = "sound for owners of descriptors")]
    AsyncFd::with_interest(owner, interest)
}
