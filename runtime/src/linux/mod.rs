//! One file per kernel facility: how a property of `config.json` becomes steps. They do not know of each other; `plan/`
//! decides the order.

pub(crate) mod affinity;
pub(crate) mod capability;
pub(crate) mod device;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
pub(crate) mod idmap;
pub(crate) mod intel_rdt;
pub(crate) mod ioprio;
pub(crate) mod lsm;
pub(crate) mod memory_policy;
pub(crate) mod mount;
#[cfg(feature = "criu")]
pub(crate) mod mountinfo;
pub(crate) mod namespace;
pub(crate) mod net_device;
pub(crate) mod personality;
pub(crate) mod process_stat;
#[cfg(feature = "criu")]
pub(crate) mod process_status;
pub(crate) mod rlimit;
pub(crate) mod scheduler;
pub(crate) mod seccomp;
pub(crate) mod sysctl;
pub(crate) mod timens;
pub(crate) mod user;
pub(crate) mod waiting;
