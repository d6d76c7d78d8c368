//! Block devices that limits name: whether the machine has them, and can weight them.

use std::path::Path;

use oci_spec::runtime::LinuxBlockIo;

use crate::cgroup::{CgroupLayout, Hierarchy};
use crate::finding::Finding;

pub(super) fn check(block_io: &LinuxBlockIo, layout: &CgroupLayout, findings: &mut Vec<Finding>) {
    let v1 = matches!(layout.place("blkio", "io"), Some(Hierarchy::V1(_)));
    check_in(Path::new("/sys/dev/block"), block_io, v1, findings);
}

/// `devices` has a directory for each device that the kernel knows, named after its numbers (sysfs(5)).
fn check_in(devices: &Path, block_io: &LinuxBlockIo, v1: bool, findings: &mut Vec<Finding>) {
    if !devices.is_dir() {
        return;
    }
    let weights = block_io.weight_device().iter().flatten().enumerate();
    let weights = weights.filter(|(_, device)| device.weight().is_some_and(|weight| weight != 0));
    let weights = weights.map(|(index, device)| ("weightDevice", index, device.major(), device.minor()));
    let throttles = [
        ("throttleReadBpsDevice", block_io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", block_io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", block_io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", block_io.throttle_write_iops_device()),
    ];
    let throttles = throttles.into_iter().flat_map(|(property, list)| {
        let list = list.iter().flatten().enumerate();
        list.map(move |(index, device)| (property, index, device.major(), device.minor()))
    });
    for (property, index, major, minor) in weights.chain(throttles) {
        let (at, number) =
            (format!("/linux/resources/blockIO/{property}/{index}"), format!("{major}:{minor}"));
        let device = devices.join(&number);
        if !device.exists() {
            findings.push(Finding::error(at, format!("this machine has no block device {number}")));
        } else if v1 && property == "weightDevice" {
            // CFQ, the other scheduler with weights, was removed before the oldest kernel that wharf runs on.
            let schedulers = std::fs::read_to_string(device.join("queue/scheduler")).unwrap_or_default();
            if !schedulers.contains("[bfq]") {
                let what =
                    format!("block device {number} has not the I/O scheduler bfq, and only that weighs");
                findings.push(Finding::error(format!("{at}/weight"), what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn devices_are_looked_up_by_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        for (number, scheduler) in [("8:0", "none [bfq]\n"), ("8:16", "[none] bfq\n")] {
            std::fs::create_dir_all(dir.path().join(number).join("queue")).unwrap();
            std::fs::write(dir.path().join(number).join("queue/scheduler"), scheduler).unwrap();
        }
        let weight = |minor: u32| json!({"major": 8, "minor": minor, "weight": 300});
        let block_io = serde_json::from_value(json!({
            "weightDevice": [weight(0), weight(16), weight(32), {"major": 9, "minor": 9, "weight": 0}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 9}, {"major": 8, "minor": 1, "rate": 9}],
        }))
        .unwrap();
        let found = |v1, devices: &Path| {
            let mut findings = Vec::new();
            check_in(devices, &block_io, v1, &mut findings);
            findings.into_iter().map(|finding| finding.pointer).collect::<Vec<_>>()
        };
        let (unweighed, missing) =
            ("/weightDevice/1/weight", ["/weightDevice/2", "/throttleWriteIOPSDevice/1"]);
        let at = |pointer: &str| format!("/linux/resources/blockIO{pointer}");
        assert_eq!(found(true, dir.path()), [unweighed, missing[0], missing[1]].map(at));
        assert_eq!(found(false, dir.path()), missing.map(at));
        assert_eq!(found(true, Path::new("/nonexistent")), [""; 0]);
    }
}
