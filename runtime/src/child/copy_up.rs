//! tmpcopyup: fills a tmpfs with what the image has at its mount point.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;
use oci_spec::runtime::Capability;

use super::message::Detail;
use super::{Child, Failure, Outcome, PathBuffer};
use crate::linux::capability::number;
use crate::program::Slot;
use crate::sys::{path, process};

/// Deeper trees would need more stack than a thread may have.
const MOST_LEVELS: u32 = 48;
/// Offsets in `struct linux_dirent64` (getdents(2)).
const RECORD_LENGTH: usize = 16;
const RECORD_NAME: usize = 19;

/// The rights that a copy needs and its owner may lack: to read what exists, and to give the copy the same mode, owner
/// and kind.
const CAPABILITIES: u64 = 1 << number(Capability::Chown)
    | 1 << number(Capability::DacOverride)
    | 1 << number(Capability::DacReadSearch)
    | 1 << number(Capability::Fowner)
    | 1 << number(Capability::Fsetid)
    | 1 << number(Capability::Mknod);

impl Child<'_> {
    /// Copies the directory at the mount point into the detached mount: directories, files, links and nodes, with mode
    /// and owner. No link is followed on either side.
    ///
    /// In a running container, its processes may replace what is copied at any moment. So each entry is opened once,
    /// without side effects, and the opened object decides: only the content of a regular file is ever read, by a
    /// descriptor of that very file. Hence it does not matter that this process is outside the container's cgroup,
    /// where a pause would stop it halfway: device rules are about opening devices, and none is opened. A node is
    /// copied as a node, and those rules apply when a process of the container opens it. Rights of the runtime beyond
    /// those over files, such as reading kernel memory through a regular file of procfs, are dropped in the meantime.
    pub(super) fn copy_up(&self, mode: bool, uid: bool, gid: bool) -> Outcome {
        let all = process::capabilities()?;
        let few = all.effective & CAPABILITIES;
        process::set_capabilities(process::CapabilitySets { effective: few, ..all })?;
        let result = self.copy_to_mount(mode, uid, gid);
        process::set_capabilities(all)?;
        result
    }

    fn copy_to_mount(&self, mode: bool, uid: bool, gid: bool) -> Outcome {
        let own = self.slot(Slot::OWN_FDS);
        // If this process is creating the container, the procfs in reach is still the host's.
        let (own, opened) = if own < 0 {
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let fd = path::openat(libc::AT_FDCWD, c"/proc/self/fd", flags, 0)?;
            (fd, fd)
        } else {
            (own, -1)
        };
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let from = path::openat(self.slot(Slot::TARGET), c".", flags, 0);
        let to = path::openat(self.slot(Slot::MOUNT), c".", flags, 0);
        let result = match (from, to) {
            (Ok(from), Ok(to)) => {
                self.copy_attributes(from, to, mode, uid, gid).and_then(|()| copy_directory(own, from, to, 0))
            }
            (Err(errno), _) | (_, Err(errno)) => Err(errno.into()),
        };
        path::close(from.unwrap_or(-1));
        path::close(to.unwrap_or(-1));
        path::close(opened);
        result
    }

    /// Only for a directory of the image; one that the program made has no attributes to keep.
    fn copy_attributes(&self, from: RawFd, to: RawFd, mode: bool, uid: bool, gid: bool) -> Outcome {
        let stat = path::fstat(from)?;
        if self.has_made(&stat) {
            return Ok(());
        }
        let owner = |wanted, id| if wanted { id } else { u32::MAX };
        path::chown_at(to, c"", owner(uid, stat.st_uid), owner(gid, stat.st_gid))?;
        if mode {
            path::chmod_at(to, c".", stat.st_mode & 0o7777)?;
        }
        Ok(())
    }
}

#[inline(never)]
fn copy_directory(own: RawFd, from: RawFd, to: RawFd, level: u32) -> Outcome {
    if level > MOST_LEVELS {
        return Err(Failure::with(Errno::ELOOP, Detail::TooLarge));
    }
    let mut buffer = [0u8; 2048];
    loop {
        let filled = path::getdents(from, &mut buffer)?;
        if filled == 0 {
            return Ok(());
        }
        let mut at = 0;
        while at < filled {
            let record = buffer.get(at..filled).unwrap_or_default();
            let length = match record.get(RECORD_LENGTH..RECORD_LENGTH + 2) {
                Some(&[low, high]) => usize::from(u16::from_ne_bytes([low, high])),
                _ => return Err(Errno::EIO.into()),
            };
            let name =
                record.get(RECORD_NAME..length).and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok());
            let (Some(name), true) = (name, length > 0) else { return Err(Errno::EIO.into()) };
            if name != c"." && name != c".." {
                copy_entry(own, from, to, name, level)?;
            }
            at += length;
        }
    }
}

fn copy_entry(own: RawFd, from: RawFd, to: RawFd, name: &CStr, level: u32) -> Outcome {
    let held = path::openat(from, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let result = copy_held(own, held, to, name, level);
    path::close(held);
    result
}

/// Copies what a descriptor refers to under a name that does not exist in the copy yet.
#[inline(never)]
fn copy_held(own: RawFd, held: RawFd, to: RawFd, name: &CStr, level: u32) -> Outcome {
    let stat = path::fstat(held)?;
    let kind = stat.st_mode & libc::S_IFMT;
    match kind {
        libc::S_IFLNK => copy_link(held, to, name)?,
        libc::S_IFDIR => path::mkdirat(to, name, 0o700)?,
        libc::S_IFREG => copy_file(own, held, to, name)?,
        _ => path::mknodat(to, name, stat.st_mode, stat.st_rdev)?,
    }
    path::chown_at(to, name, stat.st_uid, stat.st_gid)?;
    if kind != libc::S_IFLNK {
        // After chown, which clears the set-user-ID bits.
        path::chmod_at(to, name, stat.st_mode & 0o7777)?;
    }
    if kind == libc::S_IFDIR {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let inner_from = path::openat(held, c".", flags, 0)?;
        let inner_to = path::openat(to, name, flags, 0);
        let result = inner_to
            .map_err(Into::into)
            .and_then(|inner_to| copy_directory(own, inner_from, inner_to, level + 1));
        path::close(inner_from);
        path::close(inner_to.unwrap_or(-1));
        result?;
    }
    Ok(())
}

#[inline(never)]
fn copy_link(held: RawFd, to: RawFd, name: &CStr) -> Outcome {
    let mut target = [0u8; libc::PATH_MAX as usize];
    path::readlinkat(held, c"", target.get_mut(..libc::PATH_MAX as usize - 1).unwrap_or_default())?;
    let target = CStr::from_bytes_until_nul(&target).unwrap_or_default();
    Ok(path::symlinkat(target, to, name)?)
}

/// The content of a regular file, which was opened as one.
#[inline(never)]
fn copy_file(own: RawFd, held: RawFd, to: RawFd, name: &CStr) -> Outcome {
    let mut number = PathBuffer::new();
    number.push_number(held as u32)?;
    let source = path::openat(own, number.as_cstr(), libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)?;
    let result =
        path::openat(to, name, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_NOFOLLOW, 0o600)
            .and_then(|copy| {
                let mut result = Ok(());
                loop {
                    match path::copy_bytes(source, copy, 1 << 20) {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(errno) => {
                            result = Err(errno);
                            break;
                        }
                    }
                }
                path::close(copy);
                result
            });
    path::close(source);
    Ok(result?)
}
