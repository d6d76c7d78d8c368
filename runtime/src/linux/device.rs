//! Device nodes and the links that programs expect below /dev.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use crate::program::blame::{Blame, Place};
use crate::program::{Op, Program};

/// The devices that every container has (config-linux.md, Default Devices).
pub(crate) const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The links that every container has, if their targets exist (runtime-linux.md, Dev symbolic links).
const LINKS: [(&str, &str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd", "/proc/self/fd"),
    ("/proc/self/fd/0", "/dev/stdin", "/proc/self/fd"),
    ("/proc/self/fd/1", "/dev/stdout", "/proc/self/fd"),
    ("/proc/self/fd/2", "/dev/stderr", "/proc/self/fd"),
];

/// The default mode of a device node.
pub(crate) const DEFAULT_MODE: u32 = 0o666;

/// One node to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) device: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) place: Place,
}

impl Node {
    /// A configured device. That its path is absolute and its numbers fit has been checked.
    pub(crate) fn of(device: &LinuxDevice, index: usize) -> Self {
        let kind = match device.typ() {
            LinuxDeviceType::B => libc::S_IFBLK,
            LinuxDeviceType::P => libc::S_IFIFO,
            LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::A => libc::S_IFCHR,
        };
        let number = if kind == libc::S_IFIFO {
            0
        } else {
            libc::makedev(device.major() as u32, device.minor() as u32)
        };
        Self {
            // Without what makes the same path look different: "//", "/." and a trailing slash.
            path: device.path().components().collect::<PathBuf>().to_string_lossy().into_owned(),
            mode: kind | device.file_mode().unwrap_or(DEFAULT_MODE) & 0o7777,
            device: number,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
            place: Place::item("/linux/devices", index),
        }
    }

    fn default(path: &str, major: u32, minor: u32) -> Self {
        Self {
            path: path.to_owned(),
            mode: libc::S_IFCHR | DEFAULT_MODE,
            device: libc::makedev(major, minor),
            uid: 0,
            gid: 0,
            place: Place::NONE,
        }
    }

    /// The step that makes the node.
    pub(crate) fn plan(&self, program: &mut Program) {
        let path = program.text(&self.path);
        let Self { mode, device, uid, gid, place, .. } = *self;
        program.push(Op::Device { path, mode, device, uid, gid }, Blame::new("make device", place).on(path));
    }
}

/// All nodes: the configured ones, and the default ones that are not configured.
pub(crate) fn nodes(configured: Option<&Vec<LinuxDevice>>) -> Vec<Node> {
    let configured: Vec<Node> =
        configured.into_iter().flatten().enumerate().map(|(index, device)| Node::of(device, index)).collect();
    let mut nodes: Vec<Node> = DEFAULT
        .into_iter()
        .filter(|(path, ..)| configured.iter().all(|node| node.path != *path))
        .map(|(path, major, minor)| Node::default(path, major, minor))
        .collect();
    nodes.extend(configured);
    nodes
}

/// The steps that make the links.
pub(crate) fn plan_links(program: &mut Program) {
    for (target, path, source) in LINKS {
        plan_link(program, target, path, Some(source), false);
    }
    // An image's own ptmx would belong to another devpts.
    plan_link(program, "pts/ptmx", "/dev/ptmx", None, true);
}

fn plan_link(program: &mut Program, target: &str, path: &str, source: Option<&str>, replace: bool) {
    let (target, path) = (program.text(target), program.text(path));
    let source = source.map(|source| program.text(source));
    program.push(
        Op::Link { target, path, source, replace },
        Blame::new("make link", Place::NONE).on(path).and("to", target),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_default_device_wins() {
        let devices: Vec<LinuxDevice> = serde_json::from_value(serde_json::json!([
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
            {"path": "/run/pipe", "type": "p"},
        ]))
        .expect("valid devices");
        let nodes = nodes(Some(&devices));
        assert_eq!(nodes.len(), DEFAULT.len() + 1);
        let null: Vec<_> = nodes.iter().filter(|node| node.path == "/dev/null").collect();
        assert_eq!(null.len(), 1);
        assert_eq!(null[0].mode, libc::S_IFCHR | 0o600);
        assert_eq!(nodes.last().map(|node| node.mode), Some(libc::S_IFIFO | 0o666));
    }
}
