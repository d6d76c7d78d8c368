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

    /// Whether both are empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// User and group that set up the container: root or, if root is not mapped, the lowest mapped ids.
    pub(crate) fn root(&self) -> (u32, u32) {
        (first(&self.uids), first(&self.gids))
    }

    /// The host id of a container user.
    pub(crate) fn host_uid(&self, uid: u32) -> Option<u32> {
        outside(&self.uids, uid)
    }

    /// The same for a group.
    #[cfg(feature = "criu")]
    pub(crate) fn host_gid(&self, gid: u32) -> Option<u32> {
        outside(&self.gids, gid)
    }
}

fn first(mappings: &[LinuxIdMapping]) -> u32 {
    // A range that includes 0 starts with it.
    mappings.iter().map(LinuxIdMapping::container_id).min().unwrap_or(0)
}

/// Whether the map is one that every user may write: just the user's own id (`user_namespaces(7)`).
pub(crate) fn is_own_id(mappings: &[LinuxIdMapping], own: u32) -> bool {
    matches!(mappings, [only] if only.size() == 1 && only.host_id() == own)
}

/// What `/proc/PID/uid_map` or `gid_map` shows, as lines of inside, outside and length.
pub(crate) fn parse(text: &str) -> Vec<[u32; 3]> {
    let mut lines: Vec<[u32; 3]> = text
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(|word| word.parse().ok());
            Some([numbers.next()??, numbers.next()??, numbers.next()??])
        })
        .collect();
    lines.sort_unstable();
    lines
}

/// Whether the mappings equal what the kernel shows, in any order.
pub(crate) fn is_map(mappings: &[LinuxIdMapping], shown: &str) -> bool {
    let mut ours: Vec<[u32; 3]> =
        mappings.iter().map(|one| [one.container_id(), one.host_id(), one.size()]).collect();
    ours.sort_unstable();
    ours == parse(shown)
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
        assert!(is_map(&maps, "      1000          5          1\n         0     100000       1000\n"));
        assert!(!is_map(&maps, "         0     100000       1000\n"));
        let maps = IdMaps { uids: maps, gids: Vec::new() };
        assert_eq!(maps.root(), (0, 0));
        assert_eq!(
            (maps.host_uid(7), maps.host_uid(1000), maps.host_uid(1001)),
            (Some(100_007), Some(5), None)
        );
    }
}
