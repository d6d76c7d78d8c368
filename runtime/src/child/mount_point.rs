//! Finds and makes mount points inside the root, whatever symbolic links the image has put in the way.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::message::Detail;
use super::{Child, Failure, Outcome, PathBuffer, split_last};
use crate::program::{Like, Slot, Text};
use crate::sys::mount_id;
use crate::sys::path::{self, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS};

/// The magic number of procfs (linux/magic.h).
pub(super) const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// As many symbolic links as the kernel follows in one path (`path_resolution(7)`).
const MOST_LINKS: u32 = 40;

/// What to make of the last component.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Directory,
    File,
}

impl Child<'_> {
    /// Finds the mount point for the mount under construction, or makes it, and holds it in the slot.
    pub(super) fn target(&mut self, text: Text, like: Like) -> Outcome {
        if like == Like::PlainDirectory {
            return self.plain_directory(text);
        }
        let last = match like {
            Like::Directory | Like::PlainDirectory => Last::Directory,
            Like::Slot(slot) | Like::Unfollowed(slot) if is_directory(self.slot(slot))? => Last::Directory,
            Like::Slot(_) | Like::Unfollowed(_) => Last::File,
        };
        let follow = if matches!(like, Like::Unfollowed(_)) { libc::O_NOFOLLOW } else { 0 };
        let fd = match path::open_in_root(self.slot(Slot::ROOT), self.cstr(text), libc::O_PATH | follow, 0) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => self.make(self.bytes(text), last)?,
            Err(errno) => return Err(errno.into()),
        };
        self.fill(Slot::TARGET, fd);
        match (is_directory(fd)?, last) {
            (true, Last::Directory) | (false, Last::File) => self.refuse_astray(fd, text),
            // The kernel has one errno for a directory on a file and for a file on a directory. Engines look for its
            // words: they tell their users that one of the two paths is of the wrong kind.
            _ => Err(Failure::with(Errno::ENOTDIR, Detail::WrongKind)),
        }
    }

    /// Refuses a mount point that is in a procfs, or the root, if a link leads there: the configuration, which was checked,
    /// does not say so, and what is mounted on the root would cover it. Without a link it is as configured.
    fn refuse_astray(&mut self, fd: RawFd, text: Text) -> Outcome {
        if path::filesystem_magic(fd)? != PROC_SUPER_MAGIC && !self.is_root(fd)? {
            return Ok(());
        }
        let strict = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        match path::openat2(self.slot(Slot::ROOT), self.cstr(text), libc::O_PATH, 0, strict) {
            // The one that was found without links is used: the image may have changed in between.
            Ok(found) => {
                self.fill(Slot::TARGET, found);
                Ok(())
            }
            Err(_) => Err(Failure::with(Errno::ELOOP, Detail::LinkOnTheWay)),
        }
    }

    /// Whether this is the container's root directory, by whatever path it was found. That is always the root of a mount.
    pub(super) fn is_root(&self, fd: RawFd) -> Outcome<bool> {
        Ok(mount_id::is_same_root(fd, self.slot(Slot::ROOT))?)
    }

    /// Holds a directory whose path has no links. procfs and sysfs must be where their names say: behind a link into a
    /// volume, another container could replace what the masks are put on (CVE-2019-19921).
    fn plain_directory(&mut self, text: Text) -> Outcome {
        let strict = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        let fd = match path::openat2(
            self.slot(Slot::ROOT),
            self.cstr(text),
            libc::O_PATH | libc::O_DIRECTORY,
            0,
            strict,
        ) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => self.make(self.bytes(text), Last::Directory)?,
            Err(Errno::ELOOP) => return Err(Failure::with(Errno::ELOOP, Detail::WrongKind)),
            Err(errno) => return Err(errno.into()),
        };
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
            Err(Errno::ENOENT) => self.make(bytes, Last::Directory),
            other => Ok(other?),
        }
    }

    /// Makes a mount point and its missing parents.
    fn make(&self, bytes: &[u8], last: Last) -> Outcome<RawFd> {
        match self.make_last(bytes, last)? {
            Some(fd) => Ok(fd),
            None => self.walk(bytes, last),
        }
    }

    /// Makes a mount point whose parent exists, as most do: three system calls. If it takes more, nothing is made or
    /// reported.
    #[inline(never)]
    fn make_last(&self, bytes: &[u8], last: Last) -> Outcome<Option<RawFd>> {
        let mut whole = PathBuffer::new();
        whole.push(bytes)?;
        let Some((above, name)) = whole.cut_last() else { return Ok(None) };
        if above.is_empty() || matches!(name.to_bytes(), b"" | b"." | b"..") {
            return Ok(None);
        }
        let root = self.slot(Slot::ROOT);
        let Ok(parent) = path::open_in_root(root, above, libc::O_PATH | libc::O_DIRECTORY, 0) else {
            return Ok(None);
        };
        let made = make_entry(parent, name, last).and_then(|()| open_entry(parent, name));
        path::close(parent);
        let Ok(fd) = made else { return Ok(None) };
        let stat = path::fstat(fd)?;
        if stat.st_mode & libc::S_IFMT == libc::S_IFLNK {
            // It was replaced.
            path::close(fd);
            return Ok(None);
        }
        self.note_made(&stat);
        Ok(Some(fd))
    }

    /// Walks a path component by component, following links as if the root were "/", and makes what is missing.
    ///
    /// The kernel creates nothing behind a dangling link, but images have them: /etc/resolv.conf often points to a
    /// place below /run that exists only on a booted system. `walked` holds real names only, so each lookup can forbid
    /// links altogether: a link that appears in the meantime is an error, never a way out.
    #[inline(never)]
    fn walk(&self, bytes: &[u8], last: Last) -> Outcome<RawFd> {
        let root = self.slot(Slot::ROOT);
        let strict = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        let mut walked = PathBuffer::new();
        walked.push(b".")?;
        let mut rest = PathBuffer::new();
        rest.push(bytes)?;
        // `rest` is done up to here.
        let mut at = 0;
        let mut links = 0;
        let mut fd = path::openat2(root, c".", libc::O_PATH | libc::O_DIRECTORY, 0, strict)?;
        loop {
            let mut name = PathBuffer::new();
            let (component, end) = component_from(rest.as_bytes(), at);
            name.push(component)?;
            at = end;
            let is_last = component_from(rest.as_bytes(), at).0.is_empty();
            match name.as_bytes() {
                b"" => return Ok(fd),
                b"." => continue,
                b".." => {
                    let (above, _) = split_last(walked.as_bytes());
                    let length = above.len().max(1);
                    walked.truncate(length);
                    path::close(fd);
                    fd = path::openat2(root, walked.as_cstr(), libc::O_PATH | libc::O_DIRECTORY, 0, strict)?;
                    continue;
                }
                _ => {}
            }
            let mut is_made = false;
            let next = match open_entry(fd, name.as_cstr()) {
                Err(Errno::ENOENT) => {
                    let kind = if is_last { last } else { Last::Directory };
                    match make_entry(fd, name.as_cstr(), kind) {
                        Ok(()) => is_made = true,
                        Err(Errno::EEXIST) if kind == Last::Directory => {}
                        Err(errno) => return Err(errno.into()),
                    }
                    open_entry(fd, name.as_cstr())?
                }
                other => other?,
            };
            let stat = path::fstat(next)?;
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
                let target = path::readlinkat(next, c"", &mut target)?;
                path::close(next);
                let mut through = PathBuffer::new();
                through.push(target)?;
                through.push(b"/")?;
                through.push(rest.as_bytes().get(at..).unwrap_or_default())?;
                rest.truncate(0);
                rest.push(through.as_bytes())?;
                at = 0;
                if target.first() == Some(&b'/') {
                    walked.truncate(1);
                    path::close(fd);
                    fd = path::openat2(root, c".", libc::O_PATH | libc::O_DIRECTORY, 0, strict)?;
                }
                continue;
            }
            if kind != libc::S_IFDIR && !is_last {
                return Err(Errno::ENOTDIR.into());
            }
            walked.push(b"/")?;
            walked.push(name.as_bytes())?;
            path::close(fd);
            fd = next;
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
fn open_entry(directory: RawFd, name: &CStr) -> crate::sys::Result<RawFd> {
    path::openat(directory, name, libc::O_PATH | libc::O_NOFOLLOW, 0)
}

/// Whether a descriptor refers to a directory.
fn is_directory(fd: RawFd) -> Outcome<bool> {
    Ok(path::fstat(fd)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}
