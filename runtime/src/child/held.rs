//! Mounts that the child holds, so that no later step has to look for them by a path of the container.

use nix::errno::Errno;

use super::message::Detail;
use super::{Child, Failure, Outcome};
use crate::program::{Slot, Text};
use crate::sys::path::{
    self, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV,
};

impl Child<'_> {
    /// Holds the mount in a slot.
    pub(super) fn hold(&mut self, mount: Slot, place: u16) -> Outcome {
        let fd = path::duplicate_above(self.slot(mount), 3)?;
        match self.held.get_mut(usize::from(place)) {
            Some(held) => *held = fd,
            None => path::close(fd),
        }
        Ok(())
    }

    /// Puts a held mount into a slot.
    pub(super) fn use_held(&mut self, place: u16, into: Slot) -> Outcome {
        let fd = path::duplicate_above(self.held_at(place), 3)?;
        self.fill(into, fd);
        Ok(())
    }

    /// Makes a directory in a held mount the mount point. Nothing that a process may have put there is followed.
    pub(super) fn inside(&mut self, place: u16, name: Text) -> Outcome {
        let (held, name) = (self.held_at(place), self.cstr(name));
        match path::mkdirat(held, name, 0o755) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let strict = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        let fd = path::openat2(held, name, libc::O_PATH | libc::O_DIRECTORY, 0, strict)?;
        self.fill(Slot::TARGET, fd);
        Ok(())
    }

    /// Makes a symbolic link in a held mount.
    pub(super) fn link_inside(&self, place: u16, target: Text, name: Text) -> Outcome {
        match path::symlinkat(self.cstr(target), self.held_at(place), self.cstr(name)) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Finds, by its path, a mount that no step of this program made. If a link on the way were followed, a process
    /// that can write there could choose what is changed.
    pub(super) fn foreign(&mut self, text: Text) -> Outcome {
        let strict = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        match path::openat2(self.slot(Slot::ROOT), self.cstr(text), libc::O_PATH, 0, strict) {
            Ok(fd) => self.fill(Slot::TARGET, fd),
            Err(Errno::ELOOP) => return Err(Failure::with(Errno::ELOOP, Detail::LinkOnTheWay)),
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    /// Closes all that is held.
    pub(super) fn let_go_of_held(&mut self) {
        for place in &mut *self.held {
            path::close(*place);
            *place = -1;
        }
    }

    fn held_at(&self, place: u16) -> i32 {
        self.held.get(usize::from(place)).copied().unwrap_or(-1)
    }
}
