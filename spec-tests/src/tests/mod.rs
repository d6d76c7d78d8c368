//! The rows of the specification, one file per area.

use crate::Test;

mod bundle;
mod callers;
pub(crate) mod cgroups;
mod checkpoint;
mod cli;
mod cpu;
mod defaults;
mod device_updates;
mod devices;
mod features;
pub(crate) mod hooks;
mod idmap;
mod inheritance;
mod intel_rdt;
pub(crate) mod kernel;
mod labels;
mod lifecycle;
mod limits;
mod memory;
mod mount_options;
pub(crate) mod mounts;
mod names;
mod namespaces;
mod net_devices;
mod notify;
mod paths;
mod privileges;
pub(crate) mod process;
mod refused_checkpoints;
mod resources;
mod root;
mod rootless;
mod running_mounts;
mod scheduling;
mod scopes;
mod seccomp;
mod user_namespaces;

/// All areas, in the order of the checklist.
pub const AREAS: &[&[Test]] = &[
    bundle::TESTS,
    callers::TESTS,
    root::TESTS,
    mounts::TESTS,
    mount_options::TESTS,
    idmap::TESTS,
    process::TESTS,
    limits::TESTS,
    privileges::TESTS,
    labels::TESTS,
    scheduling::TESTS,
    names::TESTS,
    hooks::TESTS,
    inheritance::TESTS,
    defaults::TESTS,
    namespaces::TESTS,
    devices::TESTS,
    net_devices::TESTS,
    paths::TESTS,
    cgroups::TESTS,
    scopes::TESTS,
    intel_rdt::TESTS,
    memory::TESTS,
    cpu::TESTS,
    resources::TESTS,
    seccomp::TESTS,
    lifecycle::TESTS,
    features::TESTS,
    cli::call::TESTS,
    cli::exec::TESTS,
    cli::telling::TESTS,
    cli::memory_kills::TESTS,
    cli::changing::TESTS,
    rootless::TESTS,
    kernel::TESTS,
    device_updates::TESTS,
    checkpoint::TESTS,
    refused_checkpoints::TESTS,
    running_mounts::TESTS,
    notify::TESTS,
    user_namespaces::TESTS,
];
