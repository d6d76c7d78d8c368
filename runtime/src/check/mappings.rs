//! Lists of id mappings, for the user namespace or for one mount.

use oci_spec::runtime::LinuxIdMapping;

use crate::finding::Report;

/// `user_namespaces(7)`: at most 340 lines in a map since Linux 4.15.
const MOST: usize = 340;

pub(super) fn check(mappings: Option<&[LinuxIdMapping]>, at: &str, report: &mut Report) {
    let mappings = mappings.unwrap_or_default();
    if mappings.len() > MOST {
        report.error(at, format!("{} mappings; the kernel takes at most {MOST}", mappings.len()));
        return;
    }
    for (index, mapping) in mappings.iter().enumerate() {
        let at = format!("{at}/{index}");
        if mapping.size() == 0 {
            report.error(format!("{at}/size"), "maps no id");
        }
        // The id 2^32-1 means "none" to the kernel, so no range may reach it.
        for (name, first) in [("containerID", mapping.container_id()), ("hostID", mapping.host_id())] {
            if u64::from(first) + u64::from(mapping.size()) > u64::from(u32::MAX) {
                report.error(format!("{at}/{name}"), "the range goes beyond the last id, 4294967294");
            }
        }
        for (other, earlier) in mappings[..index].iter().enumerate() {
            if overlap(mapping.container_id(), mapping.size(), earlier.container_id(), earlier.size()) {
                report.error(
                    format!("{at}/containerID"),
                    format!("the range overlaps with that of mapping {other}"),
                );
            }
            if overlap(mapping.host_id(), mapping.size(), earlier.host_id(), earlier.size()) {
                report.error(
                    format!("{at}/hostID"),
                    format!("the range overlaps with that of mapping {other}"),
                );
            }
        }
    }
}

/// Whether the mappings map this container id.
pub(super) fn contain(mappings: &[LinuxIdMapping], id: u32) -> bool {
    mappings
        .iter()
        .any(|mapping| id.checked_sub(mapping.container_id()).is_some_and(|offset| offset < mapping.size()))
}

fn overlap(first: u32, size: u32, other: u32, other_size: u32) -> bool {
    let (first, size, other, other_size) =
        (u64::from(first), u64::from(size), u64::from(other), u64::from(other_size));
    first < other + other_size && other < first + size
}
