//! Properties that the spec has and this version does not implement: refused, because dropping them would be worse.

use oci_spec::runtime::Linux;

use super::finding::Report;

pub(super) fn check(linux: &Linux, report: &mut Report) {
    if linux.intel_rdt().is_some() {
        report.error("/linux/intelRdt", "not supported by this version");
    }
}
