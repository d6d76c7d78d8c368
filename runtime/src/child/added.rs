//! Finds mounts that were added to a running container, for their removal.
//!
//! A path of the container says nothing about what is mounted there: its processes rename directories and, if they may,
//! mount and move mounts. So a mount is identified by its id, which was recorded before it was attached, and the path
//! is only where to look first.

use std::os::fd::RawFd;

use nix::errno::Errno;

use super::message::{Detail, Message, MessageKind};
use super::{Child, Failure, Outcome};
use crate::program::{Slot, Text};
use crate::sys::mount_id::{self, MountId, MountReply};
use crate::sys::path::{self, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS};
use crate::sys::socket;

/// How often to look for a mount that is somewhere else each time.
const TRIES: u32 = 64;

/// A mounted link is what is meant; one on the way is not followed.
const FLAGS: i32 = libc::O_PATH | libc::O_NOFOLLOW;
const STRICT: u64 = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

impl Child<'_> {
    /// Finds a mount among the `known` ones: the one on top at the path, or else the latest of those added with this
    /// destination (`own`, numbers among the known ones), wherever it is now.
    #[inline(never)]
    pub(super) fn find_added(&mut self, path: Text, known: Text, own: Text) -> Outcome {
        let (known, own) = (self.bytes(known), self.bytes(own));
        let there = path::openat2(self.slot(Slot::ROOT), self.cstr(path), FLAGS, 0, STRICT | RESOLVE_IN_ROOT);
        if let Ok(fd) = there {
            if let Some(number) = number_of(fd, known) {
                return self.found(fd, number);
            }
            path::close(fd);
        }
        if own.is_empty() {
            return Err(match there {
                Err(Errno::ELOOP) => Failure::with(Errno::ELOOP, Detail::LinkOnTheWay),
                Err(errno) => errno.into(),
                Ok(_) => Failure::with(Errno::EINVAL, Detail::NotAdded),
            });
        }
        for _ in 0..TRIES {
            let mut is_gone = true;
            for number in numbers(own) {
                let mut room = MountReply::new();
                match point_of(known, number, &mut room) {
                    Err(Errno::ENOENT) => {}
                    Err(_) => is_gone = false,
                    Ok(point) => {
                        is_gone = false;
                        // From the root of this process, which is that of the container's mount namespace.
                        let Ok(fd) = path::openat2(libc::AT_FDCWD, point, FLAGS, 0, STRICT) else { continue };
                        match number_of(fd, known).filter(|found| numbers(own).any(|one| one == *found)) {
                            Some(found) => return self.found(fd, found),
                            None => path::close(fd),
                        }
                    }
                }
            }
            if is_gone {
                return Err(Failure::with(Errno::ENOENT, Detail::Unmounted));
            }
        }
        Err(Failure::with(Errno::EBUSY, Detail::OutOfReach))
    }

    fn found(&mut self, fd: RawFd, number: u32) -> Outcome {
        self.fill(Slot::TARGET, fd);
        Ok(socket::send(self.sync, &Message::about(MessageKind::Found, number).encode(), -1)?)
    }

    /// Tells the parent which of the known mounts are gone. If the kernel cannot be asked, none is reported.
    #[inline(never)]
    pub(super) fn tell_gone(&self, known: Text) -> Outcome {
        let known = self.bytes(known);
        let mut number = 0;
        while MountId::unpack(known, number).is_some() {
            if point_of(known, number, &mut MountReply::new()) == Err(Errno::ENOENT) {
                socket::send(self.sync, &Message::about(MessageKind::Gone, number).encode(), -1)?;
            }
            number += 1;
        }
        Ok(())
    }
}

/// Where a known mount is now.
fn point_of<'r>(known: &[u8], number: u32, room: &'r mut MountReply) -> Result<&'r std::ffi::CStr, Errno> {
    match MountId::unpack(known, number) {
        Some(MountId::Unique(id)) => mount_id::point_of(id, room),
        _ => Err(Errno::ENOSYS),
    }
}

/// The number of the mount whose root the descriptor refers to.
fn number_of(fd: RawFd, known: &[u8]) -> Option<u32> {
    let mut number = 0;
    loop {
        if mount_id::is_root_of(fd, MountId::unpack(known, number)?) {
            return Some(number);
        }
        number += 1;
    }
}

fn numbers(list: &[u8]) -> impl Iterator<Item = u32> + '_ {
    list.chunks_exact(4).map(|bytes| bytes.try_into().map_or(0, u32::from_ne_bytes))
}
