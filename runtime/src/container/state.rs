//! The state of a container, as `state`, `list` and hooks tell it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// The life of a container (runtime.md, State), with `paused` as the one addition that every runtime makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// Being made: another runtime process is at it, or was interrupted.
    Creating,
    /// Complete, waiting for `start`.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its init process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// The state document, in the form and order of runc's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct State {
    /// The version of the runtime specification that the bundle names.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The init process in the caller's pid namespace; 0 when there is none.
    pub pid: i32,
    /// Where the container is in its life.
    pub status: Status,
    /// The bundle directory, absolute.
    pub bundle: PathBuf,
    /// The root file system, absolute.
    pub rootfs: PathBuf,
    /// When it was created (RFC 3339, UTC, nanoseconds).
    pub created: String,
    /// The annotations of its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The user who created it.
    pub owner: String,
}
