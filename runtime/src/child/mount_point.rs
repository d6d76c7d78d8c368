//! Finds and makes mount points inside the root, whatever symbolic links the image has put in the way.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::message::Detail;
use super::{Child, Failure, NONE_MADE, Outcome, PathBuffer, split_last};
use crate::program::{Links, Slot, Text};
use crate::sys::mount_id;
use crate::sys::path::{self, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS};

/// The magic number of procfs (linux/magic.h).
pub(super) const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// As many symbolic links as the kernel follows in one path (`path_resolution(7)`).
const MOST_LINKS: u32 = 40;

/// No lookup goes through a link.
const STRICT: u64 = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/// What to make of the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Directory,
    File,
}

/// Finds and makes mount points below a root. It neither allocates nor panics, so the child can use it; a restore uses it
/// in the parent, since criu expects that mount points exist.
#[derive(Clone, Copy)]
pub(crate) struct MountPoints<'m> {
    /// The root of a mount.
    root: RawFd,
    /// Room for the directories that it makes, by device and inode.
    made: &'m [Cell<(u64, u64)>],
}

/// A descriptor that closes itself, with the raw call.
struct Held(RawFd);

impl Drop for Held {
    fn drop(&mut self) {
        path::close(self.0);
    }
}

impl Held {
    fn release(self) -> RawFd {
        std::mem::ManuallyDrop::new(self).0
    }
}

impl<'p> Child<'p> {
    /// Finds the mount point for the mount under construction, or makes it, and holds it in the slot. It is of the same kind
    /// as the mount in the slot `like`, or a directory.
    pub(super) fn target(&mut self, text: Text, like: Option<Slot>, links: Links) -> Outcome {
        let last = match like {
            Some(slot) if !is_directory(self.slot(slot))? => Last::File,
            _ => Last::Directory,
        };
        let fd = self.mount_points().target(self.cstr(text), last, links)?;
        self.fill(Slot::TARGET, fd);
        Ok(())
    }

    /// Opens a directory inside the root, making what is missing.
    pub(super) fn ensure_directory(&self, bytes: &[u8]) -> Outcome<RawFd> {
        let mut buffer = PathBuffer::new();
        buffer.push(b"/")?;
        buffer.push(bytes)?;
        match path::open_in_root(self.slot(Slot::ROOT), buffer.as_cstr(), libc::O_PATH | libc::O_DIRECTORY, 0)
        {
            Err(Errno::ENOENT) => self.mount_points().make(bytes, Last::Directory),
            other => Ok(other?),
        }
    }

    /// Whether this is the container's root directory, by whatever path it was found.
    pub(super) fn is_root(&self, fd: RawFd) -> Outcome<bool> {
        self.mount_points().is_root(fd)
    }

    fn mount_points(&self) -> MountPoints<'p> {
        MountPoints::new(self.slot(Slot::ROOT), self.made)
    }
}

impl<'m> MountPoints<'m> {
    /// `root` is the root of a mount.
    pub(crate) fn new(root: RawFd, made: &'m [Cell<(u64, u64)>]) -> Self {
        Self { root, made }
    }

    /// Finds or makes a mount point, and opens it.
    pub(crate) fn target(self, text: &CStr, last: Last, links: Links) -> Outcome<RawFd> {
        let (flags, resolve) = match links {
            Links::All => (0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS),
            Links::Inner => (libc::O_NOFOLLOW, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS),
            Links::None => (libc::O_DIRECTORY, STRICT),
        };
        let found = match path::openat2(self.root, text, libc::O_PATH | flags, 0, resolve) {
            Ok(fd) => Held(fd),
            Err(Errno::ENOENT) => Held(self.make(text.to_bytes(), last)?),
            Err(Errno::ELOOP) if links == Links::None => {
                return Err(Failure::with(Errno::ELOOP, Detail::WrongKind));
            }
            Err(errno) => return Err(errno.into()),
        };
        if links == Links::None {
            return Ok(found.release());
        }
        if is_directory(found.0)? != (last == Last::Directory) {
            // The kernel has one errno for a directory on a file and for a file on a directory. Engines look for its
            // words: they tell their users that one of the two paths is of the wrong kind.
            return Err(Failure::with(Errno::ENOTDIR, Detail::WrongKind));
        }
        self.refuse_astray(found, text)
    }

    /// Refuses a mount point that is in a procfs, or the root, if a link leads there: the configuration, which was checked,
    /// does not say so, and what is mounted on the root would cover it. Without a link it is as configured.
    fn refuse_astray(self, found: Held, text: &CStr) -> Outcome<RawFd> {
        if path::filesystem_magic(found.0)? != PROC_SUPER_MAGIC && !self.is_root(found.0)? {
            return Ok(found.release());
        }
        // The one that was found without links is used: the image may have changed in between.
        path::openat2(self.root, text, libc::O_PATH, 0, STRICT)
            .map_err(|_| Failure::with(Errno::ELOOP, Detail::LinkOnTheWay))
    }

    /// The root is always the root of a mount.
    fn is_root(self, fd: RawFd) -> Outcome<bool> {
        Ok(mount_id::is_same_root(fd, self.root)?)
    }

    /// Makes a mount point and its missing parents.
    fn make(self, bytes: &[u8], last: Last) -> Outcome<RawFd> {
        match self.make_last(bytes, last)? {
            Some(fd) => Ok(fd),
            None => self.walk(bytes, last),
        }
    }

    /// Makes a mount point whose parent exists, as most do: three system calls. If it takes more, nothing is made or
    /// reported.
    #[inline(never)]
    fn make_last(self, bytes: &[u8], last: Last) -> Outcome<Option<RawFd>> {
        let mut whole = PathBuffer::new();
        whole.push(bytes)?;
        let Some((above, name)) = whole.cut_last() else { return Ok(None) };
        if above.is_empty() || matches!(name.to_bytes(), b"" | b"." | b"..") {
            return Ok(None);
        }
        let Ok(parent) = path::open_in_root(self.root, above, libc::O_PATH | libc::O_DIRECTORY, 0).map(Held)
        else {
            return Ok(None);
        };
        let Ok(made) = make_entry(parent.0, name, last).and_then(|()| open_entry(parent.0, name)) else {
            return Ok(None);
        };
        let stat = path::fstat(made.0)?;
        if stat.st_mode & libc::S_IFMT == libc::S_IFLNK {
            // It was replaced.
            return Ok(None);
        }
        self.note_made(&stat);
        Ok(Some(made.release()))
    }

    /// Walks a path component by component, following links as if the root were "/", and makes what is missing.
    ///
    /// The kernel creates nothing behind a dangling link, but images have them: /etc/resolv.conf often points to a
    /// place below /run that exists only on a booted system. `walked` holds real names only, so each lookup can forbid
    /// links altogether: a link that appears in the meantime is an error, never a way out.
    #[inline(never)]
    fn walk(self, bytes: &[u8], last: Last) -> Outcome<RawFd> {
        let mut walked = PathBuffer::new();
        walked.push(b".")?;
        let mut rest = PathBuffer::new();
        rest.push(bytes)?;
        // `rest` is done up to here.
        let mut at = 0;
        let mut links = 0;
        let mut here = self.reopen(&walked)?;
        loop {
            let mut name = PathBuffer::new();
            let (component, end) = component_from(rest.as_bytes(), at);
            name.push(component)?;
            at = end;
            let is_last = component_from(rest.as_bytes(), at).0.is_empty();
            match name.as_bytes() {
                b"" => return Ok(here.release()),
                b"." => continue,
                b".." => {
                    let (above, _) = split_last(walked.as_bytes());
                    let length = above.len().max(1);
                    walked.truncate(length);
                    here = self.reopen(&walked)?;
                    continue;
                }
                _ => {}
            }
            let mut is_made = false;
            let next = match open_entry(here.0, name.as_cstr()) {
                Err(Errno::ENOENT) => {
                    let kind = if is_last { last } else { Last::Directory };
                    match make_entry(here.0, name.as_cstr(), kind) {
                        Ok(()) => is_made = true,
                        Err(Errno::EEXIST) if kind == Last::Directory => {}
                        Err(errno) => return Err(errno.into()),
                    }
                    open_entry(here.0, name.as_cstr())?
                }
                other => other?,
            };
            let stat = path::fstat(next.0)?;
            let kind = stat.st_mode & libc::S_IFMT;
            if is_made {
                self.note_made(&stat);
            }
            if kind == libc::S_IFLNK {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                let mut target = [0u8; libc::PATH_MAX as usize];
                let target = path::readlinkat(next.0, c"", &mut target)?;
                let mut through = PathBuffer::new();
                through.push(target)?;
                through.push(b"/")?;
                through.push(rest.as_bytes().get(at..).unwrap_or_default())?;
                rest.truncate(0);
                rest.push(through.as_bytes())?;
                at = 0;
                if target.first() == Some(&b'/') {
                    walked.truncate(1);
                    here = self.reopen(&walked)?;
                }
                continue;
            }
            if kind != libc::S_IFDIR && !is_last {
                return Err(Errno::ENOTDIR.into());
            }
            walked.push(b"/")?;
            walked.push(name.as_bytes())?;
            here = next;
        }
    }

    /// Opens a directory that the walk has come through.
    fn reopen(self, walked: &PathBuffer) -> Outcome<Held> {
        let strict = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        Ok(Held(path::openat2(self.root, walked.as_cstr(), libc::O_PATH | libc::O_DIRECTORY, 0, strict)?))
    }

    /// Notes what it has made: what a later step finds there is not the image's.
    fn note_made(self, stat: &libc::stat) {
        if let Some(place) = self.made.iter().find(|place| place.get() == NONE_MADE) {
            place.set((stat.st_dev, stat.st_ino));
        }
    }
}

/// The next component of a path from `start` on, and where it ends; an empty one at the end of the path.
fn component_from(path: &[u8], start: usize) -> (&[u8], usize) {
    let left = path.get(start..).unwrap_or_default();
    let first = left.iter().position(|byte| *byte != b'/').unwrap_or(left.len());
    let left = left.get(first..).unwrap_or_default();
    let length = left.iter().position(|byte| *byte == b'/').unwrap_or(left.len());
    (left.get(..length).unwrap_or_default(), start + first + length)
}

/// Makes an empty directory or file.
fn make_entry(directory: RawFd, name: &CStr, last: Last) -> crate::sys::Result<()> {
    match last {
        Last::Directory => path::mkdirat(directory, name, 0o755),
        Last::File => {
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_WRONLY;
            path::openat(directory, name, flags, 0o644).map(path::close)
        }
    }
}

/// Opens one name in a directory: the link itself if it is one. Mounts on it are followed as in any lookup.
fn open_entry(directory: RawFd, name: &CStr) -> crate::sys::Result<Held> {
    path::openat(directory, name, libc::O_PATH | libc::O_NOFOLLOW, 0).map(Held)
}

/// Whether a descriptor refers to a directory.
fn is_directory(fd: RawFd) -> Outcome<bool> {
    Ok(path::fstat(fd)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test runs in the parent")]
mod tests;
