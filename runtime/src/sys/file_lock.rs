//! A lock on a file (flock(2)) that ends with the process that took it, whatever copies of the process exist.
//!
//! A lock belongs to an open file, and a cloned child has all open files of its parent: a child that is frozen or
//! stopped before it could close them would keep the lock after the parent's death. So a mapping that no clone inherits
//! holds the open file, and the descriptor is closed.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::ptr;

use nix::errno::Errno;

use super::{Result, check_unit, retry};

/// One page is the smallest possible mapping; it is never touched.
const LENGTH: usize = 1;

/// How often it is tried to remove the mapping: the kernel needs memory of its own for that, which may be short for a
/// moment.
const RELEASES: u32 = 100;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    #[cfg_attr(not(test), expect(dead_code, reason = "held, not read"))]
    mapping: Option<Mapping>,
    /// Held instead if the file system cannot map files.
    _file: Option<File>,
}

impl FileLock {
    /// Takes the lock of a file, shared or exclusive; none if it is already taken. `prepare` may use the file while it
    /// is locked, and before its descriptor is closed.
    pub(crate) fn try_take<T>(
        file: File,
        shared: bool,
        prepare: impl FnOnce(&File) -> T,
    ) -> Result<Option<(Self, T)>> {
        let kind = if shared { libc::LOCK_SH } else { libc::LOCK_EX };
        let fd = file.as_raw_fd();
        let mapping = Mapping::new(fd).ok();
        // SAFETY: no pointers.
        match retry(|| check_unit(unsafe { libc::syscall(libc::SYS_flock, fd, kind | libc::LOCK_NB) })) {
            Ok(()) => {}
            Err(Errno::EWOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let prepared = prepare(&file);
        let file = mapping.is_none().then_some(file);
        Ok(Some((Self { mapping, _file: file }, prepared)))
    }

    /// Whether no child can have it.
    #[cfg(test)]
    pub(crate) fn is_private(&self) -> bool {
        self.mapping.is_some()
    }
}

/// Holds a file open at an address that is never touched.
#[derive(Debug)]
struct Mapping(usize);

impl Mapping {
    fn new(fd: i32) -> Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), LENGTH, libc::PROT_NONE, libc::MAP_SHARED, fd, 0) };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let mapping = Self(address as usize);
        // SAFETY: the mapping was made above.
        check_unit(unsafe { libc::madvise(address, LENGTH, libc::MADV_DONTFORK) }.into())?;
        Ok(mapping)
    }
}

impl Drop for Mapping {
    /// A mapping that stayed would keep the lock, and this process might wait for it without end.
    fn drop(&mut self) {
        for _ in 0..RELEASES {
            // SAFETY: the mapping is this value's own, and no reference into it exists.
            if unsafe { libc::munmap(self.0 as *mut libc::c_void, LENGTH) } == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(path: &std::path::Path, shared: bool) -> Option<FileLock> {
        let file = File::options().read(true).write(true).open(path).expect("the file");
        FileLock::try_take(file, shared, |_| ()).expect("lock").map(|(lock, ())| lock)
    }

    #[test]
    fn a_lock_is_held_without_a_descriptor_and_let_go_at_once() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let first = take(file.path(), false).expect("free");
        assert!(first.is_private());
        assert!(take(file.path(), false).is_none());
        assert!(take(file.path(), true).is_none());
        drop(first);
        let (one, two) = (take(file.path(), true), take(file.path(), true));
        assert!(one.is_some() && two.is_some() && take(file.path(), false).is_none());
        drop((one, two));
        assert!(take(file.path(), false).is_some());
    }

    #[test]
    fn a_child_never_has_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let lock = take(file.path(), false).expect("free");
        // It is a copy of this process, and sleeps before it closes anything.
        let (_, child) = crate::child::birth::hold_user_namespace(None).expect("a child");
        drop(lock);
        let again = take(file.path(), false);
        super::super::pidfd::send_signal(std::os::fd::AsFd::as_fd(&child), libc::SIGKILL).expect("kill");
        super::super::pidfd::wait(child.as_raw_fd(), 0).expect("wait");
        assert!(again.is_some(), "the child has the lock");
    }
}
