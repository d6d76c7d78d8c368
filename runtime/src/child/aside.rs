//! Calls mount(2) aside: in a separate mount namespace, where no path of the container leads.
//!
//! mount(2) needs an attached place, and its mount has to be found again by that place. In the container's tree, a
//! process that shares a volume could have put another mount there by then, which would get the attributes. So the
//! place is in a namespace with no other process, and what goes on from here is a detached clone, as with all other
//! mounts.

use std::os::fd::RawFd;

use nix::errno::Errno;

use super::{Child, Outcome, PathBuffer};
use crate::linux::mount::options::LONGEST_DATA;
use crate::program::{Slot, Text};
use crate::sys::mount::{self, MountAttr};
use crate::sys::{clone, path};

/// The way back.
struct Way {
    namespace: RawFd,
    root: RawFd,
    directory: RawFd,
}

impl Child<'_> {
    /// Mounts, and holds a detached clone in the mount slot. Whether that works or not, the process ends up where it
    /// was: undoing earlier steps relies on it.
    pub(super) fn mount_aside(&mut self, source: Text, fs: Text, flags: u32, data: Text) -> Outcome {
        let way = self.way_back()?;
        let made = self.mount_in_new_namespace(source, fs, flags, data);
        let back = way.go();
        let fd = made?;
        self.fill(Slot::MOUNT, fd);
        back
    }

    fn way_back(&self) -> Outcome<Way> {
        let own = self.slot(Slot::OWN_FDS);
        let namespace = if own < 0 {
            // Before the container's mounts are in reach, the procfs is the host's.
            path::openat(libc::AT_FDCWD, c"/proc/self/ns/mnt", libc::O_RDONLY, 0)?
        } else {
            path::openat(own, c"../ns/mnt", libc::O_RDONLY, 0)?
        };
        let hold = |name| path::openat(libc::AT_FDCWD, name, libc::O_PATH | libc::O_DIRECTORY, 0);
        let root = hold(c"/").inspect_err(|_| path::close(namespace))?;
        let directory = hold(c".").inspect_err(|_| {
            path::close(namespace);
            path::close(root);
        })?;
        Ok(Way { namespace, root, directory })
    }

    /// The paths among the options are looked up from the same root, in copies of the same mounts.
    #[inline(never)]
    fn mount_in_new_namespace(&self, source: Text, fs: Text, flags: u32, data: Text) -> Outcome<RawFd> {
        clone::unshare(libc::CLONE_NEWNS)?;
        // The copy of a shared mount is its peer: what is attached to it would appear outside.
        let private = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
        mount::set_attributes_at(libc::AT_FDCWD, c"/", &private, false)?;
        let stage = empty_tmpfs()?;
        let result = mount::attach_at(stage, c"/")
            .and_then(|()| path::mkdirat(stage, c"m", 0o700))
            .map_err(Into::into)
            .and_then(|()| self.call(stage, source, fs, flags, data))
            .and_then(|()| Ok(mount::clone_tree(stage, c"m", false)?));
        path::close(stage);
        result
    }

    fn call(&self, stage: RawFd, source: Text, fs: Text, flags: u32, data: Text) -> Outcome {
        let mut target = PathBuffer::new();
        let own = self.slot(Slot::OWN_FDS);
        if own < 0 {
            target.push(b"/proc/self/fd/")?;
        } else {
            path::change_directory_to(own)?;
        }
        target.push_number(stage as u32)?;
        target.push(b"/m")?;
        if self.bytes(data).len() > LONGEST_DATA {
            return Err(Errno::E2BIG.into());
        }
        let (source, fs, data) = (self.cstr(source), self.cstr(fs), self.cstr(data));
        Ok(mount::mount(source, target.as_cstr(), fs, u64::from(flags), data)?)
    }
}

impl Way {
    /// Joining a mount namespace changes the root of the process to the namespace's, so the old root is restored.
    fn go(self) -> Outcome {
        let result = clone::setns(self.namespace, libc::CLONE_NEWNS)
            .and_then(|()| path::change_directory_to(self.root))
            .and_then(|()| path::change_root(c"."))
            .and_then(|()| path::change_directory_to(self.directory));
        for fd in [self.namespace, self.root, self.directory] {
            path::close(fd);
        }
        Ok(result?)
    }
}

fn empty_tmpfs() -> crate::sys::Result<RawFd> {
    let fs = mount::fsopen(c"tmpfs")?;
    let result = mount::fsconfig_create(fs).and_then(|()| mount::fsmount(fs, 0));
    path::close(fs);
    result
}
