//! tmpcopyup: filling a tmpfs with what the image has where it is going to be mounted.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::message::Detail;
use super::{Child, Failure, Outcome};
use crate::plan::program::Slot;
use crate::sys::path;

/// Deeper trees would need more stack than a thread may have.
const MOST_LEVELS: u32 = 48;
/// Offsets in `struct linux_dirent64` (getdents(2)).
const RECORD_LENGTH: usize = 16;
const RECORD_NAME: usize = 19;

impl Child<'_> {
    /// Copies the directory at the mount point into the detached mount: directories, files, links and nodes, with mode
    /// and owner. Nothing is followed on either side.
    pub(super) fn copy_up(&self) -> Outcome {
        let from = path::openat(self.slot(Slot::TARGET), c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
        let to = path::openat(self.slot(Slot::MOUNT), c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
        let result = copy_attributes(from, to).and_then(|()| copy_directory(from, to, 0));
        path::close(from);
        path::close(to);
        result
    }
}

fn copy_attributes(from: RawFd, to: RawFd) -> Outcome {
    let stat = path::fstat(from)?;
    path::chown_at(to, c"", stat.st_uid, stat.st_gid)?;
    Ok(path::chmod_at(to, c".", stat.st_mode & 0o7777)?)
}

#[inline(never)]
fn copy_directory(from: RawFd, to: RawFd, level: u32) -> Outcome {
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
                copy_entry(from, to, name, level)?;
            }
            at += length;
        }
    }
}

#[inline(never)]
fn copy_entry(from: RawFd, to: RawFd, name: &CStr, level: u32) -> Outcome {
    let held = path::openat(from, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let stat = path::fstat(held);
    let mut target = [0u8; libc::PATH_MAX as usize];
    let link = path::readlinkat(held, c"", target.get_mut(..libc::PATH_MAX as usize - 1).unwrap_or_default())
        .map(<[u8]>::len);
    path::close(held);
    let stat = stat?;
    let kind = stat.st_mode & libc::S_IFMT;
    match kind {
        libc::S_IFLNK => {
            link?;
            let target = CStr::from_bytes_until_nul(&target).unwrap_or_default();
            path::symlinkat(target, to, name)?;
        }
        libc::S_IFDIR => path::mkdirat(to, name, 0o700)?,
        libc::S_IFREG => copy_file(from, to, name)?,
        _ => path::mknodat(to, name, stat.st_mode, stat.st_rdev)?,
    }
    path::chown_at(to, name, stat.st_uid, stat.st_gid)?;
    if kind != libc::S_IFLNK {
        // After chown, which clears the set-user-ID bits.
        path::chmod_at(to, name, stat.st_mode & 0o7777)?;
    }
    if kind == libc::S_IFDIR {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let inner_from = path::openat(from, name, flags, 0)?;
        let inner_to = path::openat(to, name, flags, 0)?;
        let result = copy_directory(inner_from, inner_to, level + 1);
        path::close(inner_from);
        path::close(inner_to);
        result?;
    }
    Ok(())
}

fn copy_file(from: RawFd, to: RawFd, name: &CStr) -> Outcome {
    let source = path::openat(from, name, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0)?;
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
