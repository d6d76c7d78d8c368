//! cgroups of version 1, version 2 and both together, by writing to cgroupfs.
//!
//! [`CgroupLayout`] says what the machine has, [`CgroupPlan`] what will be done for a container (both are plain data,
//! and the plan is a pure function of the configuration and the layout), and [`Cgroup`] is what exists in the end.
//!
//! | step | pure | makes system calls |
//! |---|---|---|
//! | what is here | | `layout` |
//! | where | `path` | |
//! | which files | `settings`, `convert` | `present` (for `check`) |
//! | which devices | `devices`, `bpf` | |
//! | make | `create` (plan), `device_plan` | `make`, `tree`, `controller`, `write`, `device_plan` |
//! | use | | `process`, `freezer`, `update`, `reclaim`, `device_update`, `stats`, `oom`, `delegate` |
//! | end | | `remove` |
//! | where systemd does it | `systemd` | `systemd` |
//!
//! Order: the cgroup is made and limited completely before a process enters it, so nothing ever runs without its
//! limits. The process is born in its version 2 cgroup and moves itself into those of version 1, see [`Join`].

mod bpf;
mod controller;
mod convert;
mod create;
mod delegate;
mod device_plan;
mod device_update;
mod devices;
mod file;
mod freezer;
mod frozen;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod handle;
mod layout;
mod make;
pub(crate) mod named;
mod oom;
mod oom_notices;
mod path;
mod present;
mod process;
mod reclaim;
mod remove;
mod settings;
mod stats;
mod systemd;
mod tree;
mod update;
mod write;

pub(crate) use self::create::{CgroupPlan, Denial};
pub(crate) use self::delegate::{delegate, is_delegated};
pub(crate) use self::device_update::same_rules;
pub(crate) use self::handle::{Cgroup, CgroupRecord, DirRecord, no_cgroup};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::layout::examples;
pub(crate) use self::layout::{CgroupLayout, Hierarchy, Mode, V1Hierarchy};
pub use self::oom::OomWatch;
pub(crate) use self::path::{SubCgroup, names_scope};
pub(crate) use self::present::missing_files;
pub(crate) use self::settings::{Setting, check};
pub use self::stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, CpusetStats, HugetlbStats, MemoryEntry, MemoryStats,
    PidsStats, Pressure, PressureLine, RdmaStats, Stats, Throttling,
};
pub(crate) use self::systemd::sub_group::ANNOTATION as SUB_GROUP_ANNOTATION;
pub(crate) use self::systemd::{ANNOTATION_PREFIX, Instance, Manager};

#[cfg(test)]
mod kernel_tests;
