//! Mounts in a running container: removed again if a later step fails, and removed on request.
//!
//! A mount is detached through a descriptor of its root, never by its path: whatever the container's processes put in
//! the way cannot lead to another one. `umount(2)` only takes a path, so the descriptor is named through the host's
//! procfs, which was held before the container's mounts came into reach.

use nix::errno::Errno;

use super::message::{Detail, Message, MessageKind};
use super::{Child, Failure, Outcome, PathBuffer};
use crate::program::Slot;
use crate::sys::{clone, mount, path, socket};

impl Child<'_> {
    /// Holds the directory of this process' descriptors.
    pub(super) fn own_descriptors(&mut self) -> Outcome {
        let fd = path::openat(libc::AT_FDCWD, c"/proc/self/fd", libc::O_PATH | libc::O_DIRECTORY, 0)?;
        self.fill(Slot::OWN_FDS, fd);
        Ok(())
    }

    /// Notes the mount in a slot. A child that creates a container remembers nothing: its mounts end with their
    /// namespace.
    pub(super) fn remember(&mut self, slot: Slot) -> Outcome {
        let fd = self.slot(slot);
        if let Some(place) = self.remembered.iter_mut().find(|place| **place < 0) {
            *place = path::duplicate_above(fd, 3)?;
        }
        Ok(())
    }

    /// Takes hold of the mount in the target slot, if it can be unmounted.
    #[inline(never)]
    pub(super) fn condemn(&mut self) -> Outcome {
        let mut name = PathBuffer::new();
        self.enter_descriptors(self.slot(Slot::TARGET), &mut name)?;
        let can = mount::can_detach_held(name.as_cstr());
        path::change_directory_to(self.slot(Slot::ROOT))?;
        match can {
            Ok(()) => self.remember(Slot::TARGET),
            Err(Errno::EINVAL) => Err(Failure::with(Errno::EINVAL, Detail::NotRemovable)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Detaches everything condemned, latest first. If one was already detached together with the mount above it, that is
    /// no error. But if the first one is gone, another removal was faster, and there may be another mount to remove:
    /// nothing is detached.
    pub(super) fn detach_condemned(&self) -> Outcome {
        let mut result = Ok(());
        let mut begun = false;
        for fd in self.remembered.iter().rev().filter(|fd| **fd >= 0) {
            match self.detach(*fd) {
                Ok(false) if !begun => return Err(Failure::with(Errno::ENOENT, Detail::Unmounted)),
                Ok(_) => begun = true,
                Err(failure) => result = Err(failure),
            }
        }
        result
    }

    /// Detaches everything that was attached, latest first.
    fn detach_attached(&self) -> Outcome {
        let mut result = Ok(());
        for fd in self.remembered.iter().rev().filter(|fd| **fd >= 0) {
            if let Err(failure) = self.detach(*fd) {
                result = Err(failure);
            }
        }
        result
    }

    /// Detaches a mount; false if it was detached already.
    ///
    /// A bind mount that the host shares is its peer, and unmounting it would unmount what is below there too: it is
    /// cut off first, so that nothing of the host is unmounted.
    #[inline(never)]
    fn detach(&self, fd: i32) -> Outcome<bool> {
        let mut name = PathBuffer::new();
        self.enter_descriptors(fd, &mut name)?;
        // EINVAL: it is no longer a mount of this namespace.
        let detached = match mount::make_slave(fd) {
            Ok(()) => {
                super::peers::assert_none(fd, self.slot(Slot::OWN_FDS), c"../mountinfo")?;
                mount::detach_held(name.as_cstr())
            }
            Err(errno) => Err(errno),
        };
        path::change_directory_to(self.slot(Slot::ROOT))?;
        match detached {
            Ok(()) => Ok(true),
            Err(Errno::EINVAL) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// After a failed step: nothing that the program made may stay.
    pub(super) fn undo(&self) {
        if self.program.undoes {
            // Report the failure that led here.
            if self.come_back().and_then(|()| self.detach_attached()).is_ok() {
                let _ = socket::send(self.sync, &Message::new(MessageKind::Undone).encode(), -1);
            }
        }
    }

    /// Returns from a view of the host's mounts to the container's, if a step failed there.
    fn come_back(&self) -> Outcome {
        match self.inherited.namespaces.first() {
            Some(init) if self.slot(Slot::VIEW) >= 0 => Ok(clone::setns(*init, libc::CLONE_NEWNS)?),
            _ => Ok(()),
        }
    }

    /// Makes the directory of descriptors the working directory, and names one of them.
    fn enter_descriptors(&self, fd: i32, name: &mut PathBuffer) -> Outcome {
        name.push_number(fd as u32)?;
        Ok(path::change_directory_to(self.slot(Slot::OWN_FDS))?)
    }
}
