//! A mount that was added to a running container.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::mount_id::MountId;

/// One mount with its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddedMount {
    /// The requested destination, from the container's root, without `.`, `..` and repeated slashes.
    pub(crate) destination: PathBuf,
    pub(crate) mount: MountId,
}
