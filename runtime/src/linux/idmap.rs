//! Id maps of user namespaces (`user_namespaces(7)`).

use std::fmt::Write as _;

use oci_spec::runtime::LinuxIdMapping;

/// The text of /`proc/PID/uid_map` or `gid_map`: "inside outside length" per line.
pub(crate) fn text(mappings: &[LinuxIdMapping]) -> String {
    mappings.iter().fold(String::new(), |mut text, one| {
        let _ = writeln!(text, "{} {} {}", one.container_id(), one.host_id(), one.size());
        text
    })
}

/// The two maps of a user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) uids: Vec<LinuxIdMapping>,
    pub(crate) gids: Vec<LinuxIdMapping>,
}

impl IdMaps {
    /// The maps of two optional properties.
    pub(crate) fn of(uids: Option<&Vec<LinuxIdMapping>>, gids: Option<&Vec<LinuxIdMapping>>) -> Self {
        Self { uids: uids.cloned().unwrap_or_default(), gids: gids.cloned().unwrap_or_default() }
    }

    /// The id of the host for a user of the container.
    pub(crate) fn host_uid(&self, uid: u32) -> Option<u32> {
        outside(&self.uids, uid)
    }
}

fn outside(mappings: &[LinuxIdMapping], id: u32) -> Option<u32> {
    mappings.iter().find_map(|one| {
        let offset = id.checked_sub(one.container_id())?;
        (offset < one.size()).then(|| one.host_id().checked_add(offset)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_written_and_followed() {
        let maps: Vec<LinuxIdMapping> = serde_json::from_value(serde_json::json!([
            {"containerID": 0, "hostID": 100_000, "size": 1000}, {"containerID": 1000, "hostID": 5, "size": 1},
        ]))
        .expect("valid mappings");
        assert_eq!(text(&maps), "0 100000 1000\n1000 5 1\n");
        let maps = IdMaps { uids: maps, gids: Vec::new() };
        assert_eq!(
            (maps.host_uid(7), maps.host_uid(1000), maps.host_uid(1001)),
            (Some(100_007), Some(5), None)
        );
    }
}
