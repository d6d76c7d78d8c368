//! Namespaces by descriptor.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::sys::stat::Mode;

use super::{Result, check, path};

/// Magic number of the file system of namespaces (linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// `_IO(0xb7, 1)` and `_IO(0xb7, 3)` of linux/nsfs.h.
const NS_GET_USERNS: u32 = 0xb701;
const NS_GET_NSTYPE: u32 = 0xb703;

/// The kind of a namespace, as its `CLONE_NEW*` flag (`ioctl_nsfs(2)`).
pub(crate) fn kind(fd: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: this request has no argument.
    check(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), NS_GET_NSTYPE) }).map(|kind| kind as i32)
}

/// The user namespace that owns a namespace (`ioctl_nsfs(2)`).
pub(crate) fn owner(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: this request has no argument; it returns a new descriptor that nothing else owns.
    unsafe {
        check(libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), NS_GET_USERNS))
            .map(|owner| OwnedFd::from_raw_fd(owner as RawFd))
    }
}

/// Whether a user namespace is that of the calling process.
pub(crate) fn is_own_user_namespace(fd: BorrowedFd<'_>) -> Result<bool> {
    let own = open(Path::new("/proc/self/ns/user"))?;
    let identity = |fd: RawFd| path::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    Ok(identity(own.as_raw_fd())? == identity(fd.as_raw_fd())?)
}

/// Opens a namespace by path. Anything else there is only inspected: opening a fifo would block, and opening some
/// devices has side effects. `EINVAL` if it is not a namespace.
pub(crate) fn open(name: &Path) -> Result<OwnedFd> {
    let held = fcntl::open(name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    if path::filesystem_magic(held.as_raw_fd())? != NSFS_MAGIC {
        return Err(Errno::EINVAL);
    }
    let held = format!("/proc/self/fd/{}", held.as_raw_fd());
    fcntl::open(held.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    #[test]
    fn only_namespaces_are_opened_and_a_fifo_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [fifo.as_path(), dir.path(), std::path::Path::new("/proc/self/status")] {
            assert_eq!(super::open(path).err(), Some(nix::errno::Errno::EINVAL), "{}", path.display());
        }
        let opened = super::open(std::path::Path::new("/proc/self/ns/uts")).unwrap();
        assert_eq!(super::kind(opened.as_fd()), Ok(libc::CLONE_NEWUTS));
    }

    #[test]
    fn kinds_are_told_and_other_files_have_none() {
        let kind = |path: &str| super::kind(std::fs::File::open(path).unwrap().as_fd());
        assert_eq!(kind("/proc/self/ns/uts"), Ok(libc::CLONE_NEWUTS));
        assert_eq!(kind("/proc/self/ns/mnt"), Ok(libc::CLONE_NEWNS));
        assert!(kind("/proc/self/status").is_err());
    }
}
