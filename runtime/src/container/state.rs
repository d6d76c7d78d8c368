//! The state of a container, as `state`, `list` and hooks report it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::gate;
use super::record::Record;
use super::store::{Directory, Recorded};
use crate::cgroup::Cgroup;
use crate::error::Result;

/// A container's status (runtime.md, State), with `paused` as the one addition that every runtime makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// Being created by another runtime process.
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

/// The state document, in runc's form and order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct State {
    /// The version of the runtime specification that the bundle names.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The pid of the init process in the caller's pid namespace; 0 if there is none.
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
    /// The user that created it.
    pub owner: String,
}

/// The state according to a directory, without the lock.
pub(super) fn state_of(directory: &Directory) -> Result<State> {
    match directory.read()? {
        Recorded::Complete(record) => {
            let now = status_of(directory, &record)?;
            Ok(describe(record, now))
        }
        Recorded::Intent(record) => {
            // If an operation holds the lock, the creation is in progress; otherwise it was interrupted.
            let status = if directory.is_busy() { Status::Creating } else { Status::Stopped };
            Ok(describe(record, (status, 0)))
        }
        Recorded::Nothing => Err(directory.record().err().unwrap_or_else(|| directory.unknown())),
    }
}

pub(super) fn describe(record: Record, (status, pid): (Status, i32)) -> State {
    State {
        oci_version: record.oci_version,
        id: record.id,
        pid,
        status,
        bundle: record.bundle,
        rootfs: record.rootfs,
        created: record.created,
        annotations: record.annotations,
        owner: name_of(record.owner),
    }
}

/// Status and pid of a complete container.
pub(super) fn status_of(directory: &Directory, record: &Record) -> Result<(Status, i32)> {
    let Some(init) = &record.init else { return Ok((Status::Stopped, 0)) };
    if init.open()?.is_none() {
        return Ok((Status::Stopped, 0));
    }
    let waits = directory.socket().exists() && gate::is_waiting(directory)?;
    let frozen = Cgroup::open(record.cgroup.clone()).frozen().unwrap_or(false);
    let status = match (frozen, waits) {
        (true, _) => Status::Paused,
        (false, true) => Status::Created,
        (false, false) => Status::Running,
    };
    Ok((status, init.pid))
}

/// The name of a host user, for the owner of a container.
fn name_of(uid: u32) -> String {
    if uid == 0 {
        return "root".to_owned();
    }
    match nix::unistd::User::from_uid(uid.into()) {
        Ok(Some(user)) => user.name,
        _ => format!("#{uid}"),
    }
}
