//! The mounts of a container without a mount namespace, which are among the host's own.

use std::ffi::CString;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::opened::hold;
use super::record::Record;
use crate::sys::{mount, mount_id};

/// Unmounts the mounts of a container without a mount namespace: all are below the clone of its root.
pub(super) fn unmount(record: &Record) {
    if !record.host_mounts {
        return;
    }
    // The creation did not get that far, or has been undone: what is mounted there is the caller's.
    if record.mount_before.is_some() && record.mount_before == mount_at(&record.rootfs) {
        return;
    }
    if let Ok(path) = CString::new(record.rootfs.as_os_str().as_bytes()) {
        // EINVAL: not a mount.
        let _ = mount::detach(&path);
    }
}

/// The id of the mount that a path is on now.
pub(super) fn mount_at(path: &Path) -> Option<u64> {
    let held = hold(path).ok()?;
    mount_id::current(held.as_raw_fd(), c"").ok()
}
