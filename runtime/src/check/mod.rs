//! Pure validation: no system call, no file system, no host.
//!
//! Two stages. `scan` compares the bytes of a document with the tables in `schema` and reports every malformed value; a
//! document that passes becomes a value of the spec's types (`document`). Then one module for each object of the spec
//! reports what this value contradicts: itself, the spec, or every Linux kernel. All findings of a stage come at once,
//! in a fixed order, each with its JSON pointer.

mod annotations;
mod capabilities;
mod devices;
pub(crate) mod document;
mod execution;
mod hooks;
mod intel_rdt;
pub(crate) mod list;
mod mappings;
mod mounts;
mod namespaces;
mod net_devices;
mod process;
mod repair;
mod resources;
mod root;
pub(crate) mod rootless;
mod scan;
mod scheduling;
pub(crate) mod schema;
mod shape;
mod sysctl;
#[cfg(test)]
mod tests;
mod version;

use oci_spec::runtime::{LinuxIntelRdt, LinuxResources, Mount, Process, Spec};

use crate::finding::{Finding, Report};
use crate::linux::namespace::Namespaces;

/// Everything that is wrong with a configuration on any host.
pub(crate) fn check(spec: &Spec) -> Vec<Finding> {
    let mut report = Report::default();
    let namespaces = Namespaces::of(spec.linux().as_ref());
    version::check(spec, &mut report);
    root::check(spec, &mut report);
    mounts::check(spec, &namespaces, &mut report);
    if let Some(process) = spec.process() {
        check_process_at(process, "/process", &mut report);
    }
    hooks::check(spec, &mut report);
    annotations::check(spec, &mut report);
    namespaces::check(spec, &namespaces, &mut report);
    let Some(linux) = spec.linux() else { return report.into_findings() };
    if namespaces.user.is_new() {
        let [uids, gids] =
            [linux.uid_mappings(), linux.gid_mappings()].map(|list| list.as_deref().unwrap_or_default());
        if let Some(process) = spec.process() {
            process::check_mapped(process, uids, gids, &mut report);
        }
        mounts::check_mapped(spec, uids, gids, &mut report);
    }
    devices::check(linux, &mut report);
    net_devices::check(linux, &namespaces, &mut report);
    sysctl::check(spec, linux, &namespaces, &mut report);
    if let Some(resources) = linux.resources() {
        resources::check(resources, "/linux/resources", &mut report);
    }
    execution::check(linux, &mut report);
    if let Some(rdt) = linux.intel_rdt() {
        intel_rdt::check(rdt, "/linux/intelRdt", &mut report);
    }
    report.into_findings()
}

/// The same for the process of an `exec`; pointers are relative to its own document.
pub(crate) fn check_process(process: &Process) -> Vec<Finding> {
    found(|report| check_process_at(process, "", report))
}

/// The same for mounts to be added to a running container with this configuration.
pub(crate) fn check_added_mounts(mounts: &[Mount], spec: &Spec) -> Vec<Finding> {
    found(|report| mounts::check_added(mounts, &Namespaces::of(spec.linux().as_ref()), report))
}

/// The same for destinations whose mounts are to be removed.
pub(crate) fn check_removed_mounts(mounts: &[Mount]) -> Vec<Finding> {
    found(|report| mounts::check_removed(mounts, report))
}

/// The same for the resources of an `update`; pointers are relative to its own document.
pub(crate) fn check_resources(resources: &LinuxResources) -> Vec<Finding> {
    found(|report| resources::check(resources, "", report))
}

/// The same for an update of `intelRdt`; pointers are relative to its own object.
pub(crate) fn check_intel_rdt(rdt: &LinuxIntelRdt) -> Vec<Finding> {
    found(|report| intel_rdt::check(rdt, "", report))
}

fn found(check: impl FnOnce(&mut Report)) -> Vec<Finding> {
    let mut report = Report::default();
    check(&mut report);
    report.into_findings()
}

fn check_process_at(process: &Process, at: &str, report: &mut Report) {
    process::check(process, at, report);
    capabilities::check(process, at, report);
    scheduling::check(process, at, report);
}
