//! A container's cgroup: its place, its limits, and the machine's CPUs and memory nodes.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::block_devices;
use crate::cgroup::{self, CgroupLayout};
use crate::check::list;
use crate::container::cgroups::Cgroups;
use crate::finding::Finding;

pub(super) fn check(
    spec: &Spec,
    cgroups: Cgroups,
    layout: &CgroupLayout,
    rootless: bool,
    findings: &mut Vec<Finding>,
) {
    let linux = spec.linux().as_ref();
    if let Some(resources) = linux.and_then(|linux| linux.resources().as_ref()) {
        super::add(findings, cgroup::check(resources, layout));
        super::add(findings, cgroup::missing_files(resources, layout));
        if let Some(block_io) = resources.block_io() {
            block_devices::check(block_io, layout, findings);
        }
        if let Some(cpu) = resources.cpu() {
            let at = "/linux/resources/cpu";
            present(cpu.cpus().as_deref(), &format!("{at}/cpus"), "CPU", "cpu", layout, findings);
            present(cpu.mems().as_deref(), &format!("{at}/mems"), "memory node", "node", layout, findings);
        }
    }
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let path = path.filter(|path| !path.as_os_str().is_empty());
    // The id is part of default paths, which are not checked.
    match cgroups.plan(spec, "check", layout, rootless) {
        Err(error) => super::add(findings, [error]),
        Ok(plan) => {
            let is_open =
                |path: &Path| plan.scope.is_some() && path.as_os_str().as_encoded_bytes().ends_with(b":");
            if path.is_some_and(|path| !is_open(path)) {
                super::add(findings, plan.check_free().and_then(|()| plan.refuse_frozen()).err());
            }
        }
    }
}

/// Reports the highest number in a list if the machine can never have it. Version 1's cpuset refuses such a list;
/// version 2's accepts some of them, without effect.
fn present(
    wanted: Option<&str>,
    at: &str,
    what: &str,
    kind: &str,
    layout: &CgroupLayout,
    findings: &mut Vec<Finding>,
) {
    let highest =
        |text: &str| Some(*list::parse(text).ok()?.iter().map(std::ops::RangeInclusive::end).max()?);
    let Some(wanted) = wanted.and_then(highest) else { return };
    let possible = std::fs::read_to_string(format!("/sys/devices/system/{kind}/possible"));
    // Without NUMA there is one node, and no directory for it.
    let Some(last) = possible.map_or((kind == "node").then_some(0), |text| highest(&text)) else { return };
    if wanted <= last {
        return;
    }
    let sentence = format!("this machine has no {what} {wanted}; the last one is {last}");
    let refused = layout.place("cpuset", "cpuset").is_some_and(|place| place != cgroup::Hierarchy::V2);
    findings.push(if refused { Finding::error(at, sentence) } else { Finding::warning(at, sentence) });
}
