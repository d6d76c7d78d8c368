//! User namespaces that exist only as descriptors, to carry the id maps of a mount (`mount_setattr(2)`).

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::mapping::map_ids;
use crate::child::birth;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::linux::idmap::IdMaps;
use crate::sys::{pidfd, socket};

/// Makes a process in a new user namespace, maps its ids, opens the namespace and ends the process.
pub(crate) fn open(maps: &IdMaps, host: Host) -> Result<OwnedFd> {
    let context = |errno| Error::os(errno, "make a user namespace for id-mapped mounts");
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(context)?;
    // Only a privileged owner can do without a process that lets itself be inspected.
    let (pid, pidfd) =
        birth::hold_user_namespace((!host.is_admin()).then_some(theirs.as_raw_fd())).map_err(context)?;
    drop(theirs);
    let ready = || {
        if host.is_admin() {
            return Ok(());
        }
        socket::receive(ours.as_raw_fd(), &mut [0]).map(drop).map_err(context)
    };
    let result = ready().and_then(|()| map_ids(pid, maps, host)).and_then(|()| {
        let path = format!("/proc/{pid}/ns/user");
        File::open(&path).map(OwnedFd::from).map_err(|error| Error::io(&error, format!("open {path}")))
    });
    pidfd::end_child(pidfd.as_fd());
    result
}
