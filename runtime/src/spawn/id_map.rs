//! User namespaces that exist only as descriptors, to carry the id maps of a mount (`mount_setattr(2)`).

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use super::steps::map_ids;
use crate::child::birth;
use crate::error::{Error, Result};
use crate::linux::idmap::IdMaps;
use crate::sys::pidfd;

/// Makes a process in a new user namespace, maps its ids, opens the namespace and ends the process.
pub(crate) fn open(maps: &IdMaps) -> Result<OwnedFd> {
    let (pid, pidfd) = birth::hold_user_namespace()
        .map_err(|errno| Error::os(errno, "make a user namespace for id-mapped mounts"))?;
    let result = map_ids(pid, maps).and_then(|()| {
        let path = format!("/proc/{pid}/ns/user");
        File::open(&path).map(OwnedFd::from).map_err(|error| Error::io(&error, format!("open {path}")))
    });
    let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
    let _ = pidfd::wait(pidfd.as_raw_fd(), 0);
    result
}
