//! Properties that the spec has and this version does not implement: refused, because dropping them would be worse.

use oci_spec::runtime::Linux;

use super::finding::Report;

pub(super) fn check(linux: &Linux, report: &mut Report) {
    let devices = linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty());
    for (property, used) in [("netDevices", devices), ("intelRdt", linux.intel_rdt().is_some())] {
        if used {
            report.error(format!("/linux/{property}"), "not supported by this version");
        }
    }
}
