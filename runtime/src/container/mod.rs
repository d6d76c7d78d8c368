//! Containers: their state on disk, and the operations on them.

mod added;
mod answers;
mod boot;
mod cgroup_setup;
mod cgroups;
#[cfg(feature = "criu")]
mod checkpoint;
mod claims;
mod create;
mod creation;
mod delete;
mod exec;
mod exit;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gate;
mod handle;
mod hooks;
mod host_check;
mod host_mounts;
mod id_mapped;
mod identity;
mod links;
mod lock;
mod mounts;
mod nodes;
mod notify;
mod opened;
mod options;
mod prepare;
mod processes;
mod record;
mod resources;
#[cfg(feature = "criu")]
mod restore;
mod runtime;
mod signal;
mod start;
mod state;
mod store;
mod terminal;
mod users;

#[cfg(feature = "criu")]
pub use checkpoint::{CheckpointOptions, CriuOptions, ManageCgroups, NetworkLock, RestoreOptions};

pub use exec::ExecProcess;
pub use exit::{ExitStatus, reap};
pub use handle::Container;
pub use id_mapped::{bind_mount, id_mapped_mount};
pub use options::{CgroupDriver, Console, CreateOptions, Delete, ExecOptions, Stdio};
pub(crate) use prepare::KEEP_GROUPS;
pub use runtime::{Listed, Runtime, RuntimeBuilder};
pub use state::{State, Status};
pub use users::ExecUser;
