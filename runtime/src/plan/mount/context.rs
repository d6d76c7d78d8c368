//! What the steps of a mount depend on besides its entry: the container around it, and how it gets at host mounts.

use std::path::{Path, PathBuf};

use crate::linux::idmap::IdMaps;
use crate::program::blame::Blame;
use crate::program::{Op, Program, Slot};

/// How a child gets at host mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostAccess {
    /// They are around it, and it has the right to clone them.
    Itself,
    /// It cannot, as it is in a user namespace or among the mounts of a running container: the parent does it.
    ByParent,
    /// The parent may not either: the child holds a mount namespace with the host's view, and goes there from the
    /// container's (the number of the inherited descriptor) and back.
    ByVisit(u8),
}

impl HostAccess {
    /// Goes to the host's mounts.
    pub(crate) fn plan_leave(self, program: &mut Program, blame: Blame) {
        if let Self::ByVisit(_) = self {
            program.push(Op::EnterView, blame);
        }
    }

    /// Returns to the container's.
    pub(crate) fn plan_return(self, program: &mut Program, blame: Blame) {
        if let Self::ByVisit(namespace) = self {
            program.push(Op::Enter { namespace, kinds: libc::CLONE_NEWNS }, blame);
        }
    }
}

/// What the steps of a mount depend on besides its entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MountContext<'s> {
    /// The directory that relative bind sources are relative to.
    pub(crate) bundle: &'s Path,
    /// How the child gets at what the host owns.
    pub(crate) host: HostAccess,
    /// The propagation of host mounts in the container. The child's change to its own copies does not affect what the
    /// parent opens.
    pub(crate) propagation: u32,
    /// The mounts around the child are the host's own, so its clones are peers of them, too.
    pub(crate) among_the_hosts: bool,
    /// The container may not be able to have its own sysfs and procfs.
    pub(crate) in_user_namespace: bool,
    /// The container has a pid namespace of its own.
    pub(crate) own_pids: bool,
    /// The number of the pid namespace that a procfs shows, if that is not the child's: the parent opens it.
    pub(crate) procfs: Option<u8>,
    /// The id maps of its user namespace, for entries that want mapped ids without naming maps.
    pub(crate) maps: &'s IdMaps,
    /// The user namespace that it joins.
    pub(crate) joined_user: Option<&'s Path>,
    /// The SELinux context of every mount that can have one.
    pub(crate) label: Option<&'s str>,
    /// Sources to copy as links: the path and its target.
    pub(crate) links: &'s [(PathBuf, PathBuf)],
    /// What later entries change with `remount`, by destination.
    pub(crate) remounts: &'s [PathBuf],
}

impl MountContext<'_> {
    /// Cuts the clone of a host mount off from its source, unless everything around the child was cut off before.
    pub(crate) fn plan_cut(&self, program: &mut Program, blame: Blame) {
        if self.among_the_hosts {
            let propagation = self.propagation;
            program.push(
                Op::Attributes { on: Slot::MOUNT, set: 0, clear: 0, propagation, recursive: true },
                blame,
            );
        }
    }
}
