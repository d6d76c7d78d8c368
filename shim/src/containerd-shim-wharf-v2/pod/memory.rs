//! The watch on a container's memory.

use tokio::task::JoinHandle;
use wharf::OomWatch;

/// Counts out-of-memory kills.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    pub(super) kills: OomWatch,
    /// The task that waits for kills.
    pub(super) follower: Option<JoinHandle<()>>,
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        // Nothing else would ever wake it.
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}
