//! Namespaces by descriptor.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::{Result, check};

/// `_IO(0xb7, 3)` of linux/nsfs.h.
const NS_GET_NSTYPE: u32 = 0xb703;

/// The kind of a namespace, as its `CLONE_NEW*` flag (`ioctl_nsfs(2)`).
pub(crate) fn kind(fd: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: this request has no argument.
    check(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), NS_GET_NSTYPE) }).map(|kind| kind as i32)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    #[test]
    fn kinds_are_told_and_other_files_have_none() {
        let kind = |path: &str| super::kind(std::fs::File::open(path).unwrap().as_fd());
        assert_eq!(kind("/proc/self/ns/uts"), Ok(libc::CLONE_NEWUTS));
        assert_eq!(kind("/proc/self/ns/mnt"), Ok(libc::CLONE_NEWNS));
        assert!(kind("/proc/self/status").is_err());
    }
}
