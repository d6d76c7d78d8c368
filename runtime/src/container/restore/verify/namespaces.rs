//! The namespaces of restored processes.

use std::os::unix::fs::MetadataExt as _;

use super::{Policy, read, refuse};
use crate::error::{Error, Result};
use crate::linux::idmap;
use crate::linux::namespace::{Namespaces, Origin};

/// All kinds, by their names below /proc/PID/ns and in the configuration.
fn kinds(namespaces: &Namespaces) -> [(&Origin, &'static str, &'static str); 7] {
    [
        (&namespaces.mount, "mnt", "mount"),
        (&namespaces.cgroup, "cgroup", "cgroup"),
        (&namespaces.uts, "uts", "uts"),
        (&namespaces.ipc, "ipc", "ipc"),
        (&namespaces.user, "user", "user"),
        (&namespaces.pid, "pid", "pid"),
        (&namespaces.network, "net", "network"),
    ]
}

fn inode(path: &str) -> Result<(u64, u64)> {
    let file =
        std::fs::metadata(path).map_err(|error| Error::io(&error, format!("find namespace {path}")))?;
    Ok((file.dev(), file.ino()))
}

/// Compares the first process: new namespaces must not be the runtime's, joined ones must be those, and the others must
/// be the runtime's.
///
/// The time namespace is not compared: criu gives every container one, to keep its clocks going.
pub(super) fn verify_init(init: i32, policy: &Policy<'_>) -> Result<()> {
    for (origin, name, word) in kinds(policy.namespaces) {
        let found = inode(&format!("/proc/{init}/ns/{name}"))?;
        let own = inode(&format!("/proc/self/ns/{name}"))?;
        let fits = match origin {
            Origin::New => found != own,
            Origin::Inherited => found == own,
            Origin::Joined(path, _) => found == inode(&path.to_string_lossy())?,
        };
        if !fits {
            let what = format!("the {word} namespace of process {init} is not as configured");
            return Err(refuse(what, "/linux/namespaces"));
        }
    }
    if policy.namespaces.user.is_new() {
        verify_maps(init, policy)?;
    }
    Ok(())
}

/// Compares another process: a namespace that is not the first process' may be one that the container made, but not the
/// host's. It must not have its own user namespace, as criu saves none, and its capabilities would mean something else.
pub(super) fn verify_process(init: i32, pid: i32, policy: &Policy<'_>) -> Result<()> {
    if pid == init {
        return Ok(());
    }
    for (origin, name, word) in kinds(policy.namespaces) {
        let found = inode(&format!("/proc/{pid}/ns/{name}"))?;
        if found == inode(&format!("/proc/{init}/ns/{name}"))? {
            continue;
        }
        let is_hosts = origin.is_own() && found == inode(&format!("/proc/self/ns/{name}"))?;
        if is_hosts || name == "user" {
            return Err(refuse(
                format_args!("its {word} namespace is not the container's"),
                "/linux/namespaces",
            ));
        }
    }
    Ok(())
}

fn verify_maps(init: i32, policy: &Policy<'_>) -> Result<()> {
    let linux = policy.spec.linux().as_ref();
    let configured = [
        ("uid_map", linux.and_then(|linux| linux.uid_mappings().as_deref()), "/linux/uidMappings"),
        ("gid_map", linux.and_then(|linux| linux.gid_mappings().as_deref()), "/linux/gidMappings"),
    ];
    for (name, mappings, pointer) in configured {
        let found = read(&format!("/proc/{init}/{name}"))?;
        if words(&found) != words(&idmap::text(mappings.unwrap_or_default())) {
            return Err(refuse(format_args!("{name} is {:?}", found.trim()), pointer));
        }
    }
    Ok(())
}

/// The kernel pads the numbers, and sorts long maps.
fn words(map: &str) -> Vec<Vec<&str>> {
    let mut lines: Vec<Vec<&str>> = map.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    lines.sort();
    lines
}
