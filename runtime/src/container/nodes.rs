//! Where the host keeps devices that a container cannot make itself and gets bound.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::linux::device::Node;

/// For each configured device that the host has only under another name: the container's path and the host's.
///
/// The kernel names each device that it knows in sysfs, and devtmpfs has it under that name.
pub(super) fn renamed(spec: &Spec) -> Vec<(String, PathBuf)> {
    let devices = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let nodes = devices.iter().enumerate().map(|(index, device)| Node::of(device, index));
    nodes
        .filter(|node| !is_node(Path::new(&node.path), node))
        .filter_map(|node| {
            let name = name_in_sysfs(&node)?;
            let path = Path::new("/dev").join(name);
            is_node(&path, &node).then_some((node.path, path))
        })
        .collect()
}

fn is_node(path: &Path, node: &Node) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| {
        found.mode() & libc::S_IFMT == node.mode & libc::S_IFMT && found.rdev() == node.device
    })
}

/// The name below /dev, which may include directories ("snd/timer").
fn name_in_sysfs(node: &Node) -> Option<String> {
    let kind = match node.mode & libc::S_IFMT {
        libc::S_IFCHR => "char",
        libc::S_IFBLK => "block",
        _ => return None,
    };
    let (major, minor) = (libc::major(node.device), libc::minor(node.device));
    let text = std::fs::read_to_string(format!("/sys/dev/{kind}/{major}:{minor}/uevent")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_of_another_name_is_found_by_its_numbers() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.2.0",
            "linux": {"devices": [
                {"type": "c", "path": "/dev/null", "major": 1, "minor": 3},
                {"type": "c", "path": "/opt/zero", "major": 1, "minor": 5},
                {"type": "c", "path": "/opt/none", "major": 511, "minor": 77},
                {"type": "p", "path": "/opt/fifo"},
            ]},
        }))
        .unwrap();
        assert_eq!(renamed(&spec), [("/opt/zero".to_owned(), PathBuf::from("/dev/zero"))]);
    }
}
