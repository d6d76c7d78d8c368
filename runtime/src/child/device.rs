//! Device nodes and links below /dev.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::message::Detail;
use super::{Child, Failure, Outcome, split_last};
use crate::program::{Slot, Text};
use crate::sys::mount::{self, MountAttr};
use crate::sys::path;

impl<'p> Child<'p> {
    /// Opens the directory of a path inside the root, making it if needed, and returns the last name.
    fn directory_of(&self, text: Text) -> Outcome<(RawFd, &'p CStr)> {
        let whole = self.cstr(text).to_bytes_with_nul();
        let (above, last) = split_last(whole);
        let name = CStr::from_bytes_with_nul(last).unwrap_or_default();
        Ok((self.ensure_directory(above)?, name))
    }

    /// Makes a device node. An existing one must be the same device; its owner and mode are up to the image.
    pub(super) fn device(&self, text: Text, mode: u32, device: u64, uid: u32, gid: u32) -> Outcome {
        let (directory, name) = self.directory_of(text)?;
        let result = match path::mknodat(directory, name, mode, device) {
            Ok(()) if uid == 0 && gid == 0 => Ok(()),
            Ok(()) => path::chown_at(directory, name, uid, gid).map_err(Failure::from),
            Err(Errno::EEXIST) => same_device(directory, name, mode, device),
            Err(errno) => Err(errno.into()),
        };
        path::close(directory);
        result
    }

    /// Holds the place where a host node will be bound. An empty file is what an earlier container with this root file
    /// system needed for the same purpose; anything else that is not the device belongs to the image.
    pub(super) fn device_place(&mut self, text: Text, mode: u32, device: u64) -> Outcome {
        let (directory, name) = self.directory_of(text)?;
        let result = open_place(directory, name, mode, device);
        path::close(directory);
        self.fill(Slot::TARGET, result?);
        Ok(())
    }

    /// Clones a host node. The path is from the configuration, so what it leads to must be the device that it names.
    pub(super) fn host_device(&mut self, text: Text, mode: u32, device: u64) -> Outcome {
        let fd = mount::clone_tree(libc::AT_FDCWD, self.cstr(text), false)?;
        self.fill(Slot::MOUNT, fd);
        let stat = path::fstat(fd)?;
        if stat.st_mode & libc::S_IFMT != mode & libc::S_IFMT || stat.st_rdev != device {
            return Err(Failure::with(Errno::ENODEV, Detail::OtherDevice));
        }
        let attr = MountAttr { set: mount::HOST_NODE, ..MountAttr::default() };
        Ok(mount::set_attributes(fd, &attr, false)?)
    }

    /// Makes a symbolic link for a mount whose source is one. What already exists must be that link.
    #[inline(never)]
    pub(super) fn copied_link(&self, target: Text, text: Text) -> Outcome {
        let (directory, name) = self.directory_of(text)?;
        let target = self.cstr(target);
        let result = match path::symlinkat(target, directory, name) {
            Err(Errno::EEXIST) => same_link(directory, name, target),
            other => other.map_err(Failure::from),
        };
        path::close(directory);
        result
    }

    /// Makes a symbolic link, unless its target does not exist.
    pub(super) fn link(&self, target: Text, text: Text, source: Option<Text>, replace: bool) -> Outcome {
        if let Some(source) = source {
            match path::open_in_root(
                self.slot(Slot::ROOT),
                self.cstr(source),
                libc::O_PATH | libc::O_NOFOLLOW,
                0,
            ) {
                Ok(fd) => path::close(fd),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        let (directory, name) = self.directory_of(text)?;
        let mut result = path::symlinkat(self.cstr(target), directory, name);
        if result == Err(Errno::EEXIST) {
            result = if replace {
                path::unlinkat(directory, name)
                    .and_then(|()| path::symlinkat(self.cstr(target), directory, name))
            } else {
                // What the image has there serves its programs; runc keeps it as well.
                Ok(())
            };
        }
        path::close(directory);
        Ok(result?)
    }
}

fn same_link(directory: RawFd, name: &CStr, target: &CStr) -> Outcome {
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    match path::readlinkat(directory, name, &mut buffer) {
        Ok(found) if found == target.to_bytes() => Ok(()),
        _ => Err(Failure::with(Errno::EEXIST, Detail::WrongKind)),
    }
}

fn same_device(directory: RawFd, name: &CStr, mode: u32, device: u64) -> Outcome {
    let fd = path::openat(directory, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let stat = path::fstat(fd);
    path::close(fd);
    if is_device(&stat?, mode, device) { Ok(()) } else { Err(other_device()) }
}

fn open_place(directory: RawFd, name: &CStr, mode: u32, device: u64) -> Outcome<RawFd> {
    let make = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_WRONLY;
    match path::openat(directory, name, make, 0o644) {
        Ok(made) => path::close(made),
        // Whatever exists shows below; the file system may also be read-only.
        Err(Errno::EEXIST | Errno::EROFS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let fd = path::openat(directory, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let fits = path::fstat(fd).map(|stat| {
        let empty = stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_size == 0;
        empty || is_device(&stat, mode, device)
    });
    match fits {
        Ok(true) => Ok(fd),
        other => {
            path::close(fd);
            Err(other.map_or_else(Failure::from, |_| other_device()))
        }
    }
}

fn is_device(stat: &libc::stat, mode: u32, device: u64) -> bool {
    let kind = mode & libc::S_IFMT;
    stat.st_mode & libc::S_IFMT == kind && (kind == libc::S_IFIFO || stat.st_rdev == device)
}

fn other_device() -> Failure {
    Failure::with(Errno::EEXIST, Detail::OtherDevice)
}
