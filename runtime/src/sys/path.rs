//! Files by descriptor: openat2 that cannot leave the root, and calls that make, inspect and change what it found.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};

use nix::errno::Errno;

use super::{Result, check, check_fd, check_unit, retry};

/// `struct open_how` of openat2(2).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

pub(crate) const RESOLVE_NO_XDEV: u64 = 0x01;
pub(crate) const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
pub(crate) const RESOLVE_NO_SYMLINKS: u64 = 0x04;
pub(crate) const RESOLVE_BENEATH: u64 = 0x08;
pub(crate) const RESOLVE_IN_ROOT: u64 = 0x10;

/// How often to retry after EAGAIN: the kernel returns it when a rename or mount elsewhere raced with a `..` in the
/// walk, and an attacker can provoke that, so the number is bounded.
const AGAIN: u32 = 4096;

/// openat2(2); `O_CLOEXEC` is always added.
pub(crate) fn openat2(dir: RawFd, path: &CStr, flags: i32, mode: u32, resolve: u64) -> Result<RawFd> {
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: u64::from(mode), resolve };
    let mut tries = 0;
    loop {
        // SAFETY: how outlives the call and has the size that is passed.
        let result = check_fd(unsafe {
            libc::syscall(libc::SYS_openat2, dir, path.as_ptr(), &raw const how, size_of::<OpenHow>())
        });
        match result {
            Err(Errno::EAGAIN) if tries < AGAIN => tries += 1,
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Opens `path` as if `root` were the root directory of the process; magic links are refused.
pub(crate) fn open_in_root(root: RawFd, path: &CStr, flags: i32, mode: u32) -> Result<RawFd> {
    openat2(root, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Opens a regular file as if `root` were the root directory, for the parent; a pipe or device there is not opened. It is
/// looked at first: to open a device can set it going, and the rules for a container's devices do not bind the parent.
pub(crate) fn open_regular_in_root(root: &File, path: &str) -> Result<File> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let held = find_in_root(root, &path)?;
    if fstat(held.as_raw_fd())?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno::EINVAL);
    }
    // By the descriptor: another file may be at the path by now.
    let own = CString::new(format!("/proc/self/fd/{}", held.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
    let fd = openat(libc::AT_FDCWD, &own, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)?;
    // SAFETY: openat has just returned it; nothing else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Finds a place as if `root` were the root directory, for the parent: a descriptor that only refers to it.
pub(crate) fn find_in_root(root: impl std::os::fd::AsFd, path: &CStr) -> Result<std::os::fd::OwnedFd> {
    let fd = open_in_root(root.as_fd().as_raw_fd(), path, libc::O_PATH, 0)?;
    // SAFETY: openat2 has just returned it; nothing else owns it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

/// Finds a place below a directory, for the parent, following no links.
pub(crate) fn find_beneath(dir: impl std::os::fd::AsFd, path: &CStr) -> Result<std::os::fd::OwnedFd> {
    let strict = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    let fd = openat2(dir.as_fd().as_raw_fd(), path, libc::O_PATH | libc::O_NOFOLLOW, 0, strict)?;
    // SAFETY: openat2 has just returned it; nothing else owns it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

/// Takes hold of a directory by a path that the caller trusts.
pub(crate) fn hold_directory(path: &CStr) -> Result<std::os::fd::OwnedFd> {
    let fd = openat(libc::AT_FDCWD, path, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    // SAFETY: openat has just returned it; nothing else owns it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

/// Opens a path that the caller trusts, including magic links of procfs: a descriptor that only refers to it.
#[cfg(feature = "criu")]
pub(crate) fn open_path(path: &CStr) -> Result<std::os::fd::OwnedFd> {
    let fd = openat(libc::AT_FDCWD, path, libc::O_PATH, 0)?;
    // SAFETY: openat has just returned it; nothing else owns it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

/// openat(2) with `O_CLOEXEC`, for single names in a directory that the caller holds, and for trusted paths.
pub(crate) fn openat(dir: RawFd, path: &CStr, flags: i32, mode: u32) -> Result<RawFd> {
    retry(|| {
        // SAFETY: path is a C string.
        check_fd(unsafe {
            libc::syscall(libc::SYS_openat, dir, path.as_ptr(), flags | libc::O_CLOEXEC, mode)
        })
    })
}

/// close(2); the descriptor is closed whatever it returns.
pub(crate) fn close(fd: RawFd) {
    if fd >= 0 {
        // SAFETY: no pointers.
        unsafe { libc::syscall(libc::SYS_close, fd) };
    }
}

/// Closes the descriptors `first..=last`.
pub(crate) fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })
}

/// fstat(2).
pub(crate) fn fstat(fd: RawFd) -> Result<libc::stat> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the C library's fstat only makes the call and fills the buffer.
    check_unit(libc::c_long::from(unsafe { libc::fstat(fd, stat.as_mut_ptr()) }))?;
    // SAFETY: filled on success.
    Ok(unsafe { stat.assume_init() })
}

/// How a descriptor was opened: `O_RDONLY`, `O_WRONLY` or `O_RDWR`.
pub(crate) fn access_mode(fd: RawFd) -> Result<i32> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFL) })
        .map(|flags| flags as i32 & libc::O_ACCMODE)
}

/// The magic number of the file system that a descriptor is on.
pub(crate) fn filesystem_magic(fd: RawFd) -> Result<i64> {
    let mut buffer = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: as for fstat.
    check_unit(libc::c_long::from(unsafe { libc::fstatfs(fd, buffer.as_mut_ptr()) }))?;
    // SAFETY: filled on success.
    #[allow(clippy::unnecessary_cast, reason = "the field is i64 with glibc and u64 with musl")]
    Ok(unsafe { buffer.assume_init() }.f_type as i64)
}

/// The `ST_*` flags of the mount that a descriptor is on.
pub(crate) fn mount_flags(fd: RawFd) -> Result<u64> {
    let mut buffer = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: as for fstat.
    check_unit(libc::c_long::from(unsafe { libc::fstatvfs(fd, buffer.as_mut_ptr()) }))?;
    // SAFETY: filled on success.
    Ok(unsafe { buffer.assume_init() }.f_flag)
}

/// mkdirat(2).
pub(crate) fn mkdirat(dir: RawFd, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: a C string.
    check_unit(unsafe { libc::syscall(libc::SYS_mkdirat, dir, name.as_ptr(), mode) })
}

/// mknodat(2).
pub(crate) fn mknodat(dir: RawFd, name: &CStr, mode: u32, device: u64) -> Result<()> {
    // SAFETY: a C string.
    check_unit(unsafe { libc::syscall(libc::SYS_mknodat, dir, name.as_ptr(), mode, device) })
}

/// symlinkat(2).
pub(crate) fn symlinkat(target: &CStr, dir: RawFd, name: &CStr) -> Result<()> {
    // SAFETY: C strings.
    check_unit(unsafe { libc::syscall(libc::SYS_symlinkat, target.as_ptr(), dir, name.as_ptr()) })
}

/// unlinkat(2) of a file that is not a directory.
pub(crate) fn unlinkat(dir: RawFd, name: &CStr) -> Result<()> {
    // SAFETY: a C string.
    check_unit(unsafe { libc::syscall(libc::SYS_unlinkat, dir, name.as_ptr(), 0) })
}

/// readlinkat(2) into a buffer; returns the filled part.
pub(crate) fn readlinkat<'b>(dir: RawFd, name: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
    // SAFETY: the buffer has the length that is passed.
    let length = check(unsafe {
        libc::syscall(libc::SYS_readlinkat, dir, name.as_ptr(), buffer.as_mut_ptr(), buffer.len())
    })?;
    Ok(buffer.get(..length as usize).unwrap_or_default())
}

/// fchownat(2) on the name itself, never through a symbolic link.
pub(crate) fn chown_at(dir: RawFd, name: &CStr, uid: u32, gid: u32) -> Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: a C string.
    check_unit(unsafe { libc::syscall(libc::SYS_fchownat, dir, name.as_ptr(), uid, gid, flags) })
}

/// fchmodat(2) on a name that the caller has just made in a directory that it holds.
pub(crate) fn chmod_at(dir: RawFd, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: a C string.
    check_unit(unsafe { libc::syscall(libc::SYS_fchmodat, dir, name.as_ptr(), mode) })
}

/// faccessat2(2) with the effective ids (Linux 5.8).
pub(crate) fn may_execute(path: &CStr) -> Result<()> {
    // SAFETY: a C string.
    check_unit(unsafe {
        libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS)
    })
}

/// write(2) of the whole text in one call, as files of /proc and cgroups require.
pub(crate) fn write_once(fd: RawFd, text: &[u8]) -> Result<()> {
    // SAFETY: the slice has the length that is passed.
    let written = retry(|| check(unsafe { libc::syscall(libc::SYS_write, fd, text.as_ptr(), text.len()) }))?;
    if written as usize == text.len() { Ok(()) } else { Err(Errno::EIO) }
}

/// Opens, writes once, closes.
pub(crate) fn write_file(path: &CStr, text: &[u8]) -> Result<()> {
    let fd = openat(libc::AT_FDCWD, path, libc::O_WRONLY | libc::O_NOCTTY, 0)?;
    let result = write_once(fd, text);
    close(fd);
    result
}

/// read(2).
pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer has the length that is passed.
    retry(|| check(unsafe { libc::syscall(libc::SYS_read, fd, buffer.as_mut_ptr(), buffer.len()) }))
        .map(|length| length as usize)
}

/// getdents64(2) into a buffer; 0 at the end.
pub(crate) fn getdents(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer has the length that is passed.
    check(unsafe { libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), buffer.len()) })
        .map(|length| length as usize)
}

/// Copies up to `length` bytes between two files at their positions (sendfile(2)); 0 at the end.
pub(crate) fn copy_bytes(from: RawFd, to: RawFd, length: usize) -> Result<usize> {
    // SAFETY: a null offset means "at the position".
    retry(|| check(unsafe { libc::syscall(libc::SYS_sendfile, to, from, std::ptr::null::<i64>(), length) }))
        .map(|n| n as usize)
}

/// Duplicates to a free descriptor of at least `lowest`, close-on-exec.
pub(crate) fn duplicate_above(fd: RawFd, lowest: RawFd) -> Result<RawFd> {
    // SAFETY: no pointers.
    check_fd(unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, lowest) })
}

/// dup3(2) onto a number, without close-on-exec.
pub(crate) fn duplicate_to(fd: RawFd, to: RawFd) -> Result<()> {
    // SAFETY: no pointers.
    retry(|| check_unit(unsafe { libc::syscall(libc::SYS_dup3, fd, to, 0) }))
}

/// Sets or clears close-on-exec.
pub(crate) fn set_close_on_exec(fd: RawFd, on: bool) -> Result<()> {
    // SAFETY: no pointers.
    check_unit(unsafe {
        libc::syscall(libc::SYS_fcntl, fd, libc::F_SETFD, if on { libc::FD_CLOEXEC } else { 0 })
    })
}

/// A pipe, close-on-exec: the read end and the write end.
pub(crate) fn pipe() -> Result<[RawFd; 2]> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    check_unit(unsafe { libc::syscall(libc::SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok(ends)
}

/// An anonymous file in memory, close-on-exec.
pub(crate) fn memfd(name: &CStr) -> Result<RawFd> {
    // SAFETY: a C string.
    check_fd(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), libc::MFD_CLOEXEC) })
}

/// lseek(2) to an absolute position.
pub(crate) fn seek(fd: RawFd, position: i64) -> Result<()> {
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_lseek, fd, position, libc::SEEK_SET) })
}

/// chdir(2), for the child only.
pub(crate) fn change_directory(path: &CStr) -> Result<()> {
    // SAFETY: a C string.
    check_unit(unsafe { libc::syscall(libc::SYS_chdir, path.as_ptr()) })
}

/// fchdir(2), for the child only.
pub(crate) fn change_directory_to(fd: RawFd) -> Result<()> {
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_fchdir, fd) })
}

/// chroot(2), for the child only.
pub(crate) fn change_root(path: &CStr) -> Result<()> {
    // SAFETY: a C string.
    check_unit(unsafe { libc::syscall(libc::SYS_chroot, path.as_ptr()) })
}

/// Whether the kernel can name the working directory from the root; if not, it returns "(unreachable)...".
pub(crate) fn working_directory_is_reachable() -> Result<bool> {
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer has the length that is passed.
    check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    Ok(buffer.first() == Some(&b'/'))
}
