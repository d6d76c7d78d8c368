//! `linux.intelRdt`: names of groups, and lines of their schemata.

use oci_spec::runtime::LinuxIntelRdt;

use crate::finding::Report;
use crate::linux::intel_rdt::check_name;
use crate::linux::intel_rdt::schema::Line;

pub(super) fn check(rdt: &LinuxIntelRdt, at: &str, report: &mut Report) {
    if let Some(name) = rdt.clos_id().as_deref().filter(|name| !matches!(*name, "" | "/"))
        && let Err(why) = check_name(name)
    {
        report.error(format!("{at}/closID"), why);
    }
    schema(rdt.l3_cache_schema().as_deref(), &format!("{at}/l3CacheSchema"), "L3:", report);
    schema(rdt.mem_bw_schema().as_deref(), &format!("{at}/memBwSchema"), "MB:", report);
    for (index, line) in rdt.schemata().iter().flatten().enumerate() {
        let at = format!("{at}/schemata/{index}");
        if line.contains('\n') {
            report.error(at, "has a newline; each element is one line");
        } else if !line.contains(':') {
            report.error(at, format!("{line:?} is not a line of a schemata file, such as \"L3:0=7f0;1=1f\""));
        }
    }
}

/// A line for a particular resource. Empty means none, as callers write it.
fn schema(text: Option<&str>, at: &str, prefix: &str, report: &mut Report) {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return };
    // With code and data prioritization the L3 cache has two resources (resctrl.rst).
    let prioritized = prefix == "L3:" && (text.starts_with("L3CODE:") || text.starts_with("L3DATA:"));
    if text.contains('\n') {
        report.error(at, "has a newline; it is one line");
    } else if !text.starts_with(prefix) && !prioritized {
        report.error(at, format!("{text:?} does not start with {prefix:?}"));
    } else if Line::parse(text).is_none() {
        report.error(at, format!("{text:?} is not of the form {prefix}NUMBER=VALUE;NUMBER=VALUE..."));
    } else if prioritized {
        report.warning(at, format!("should start with {prefix:?}"));
    }
}
