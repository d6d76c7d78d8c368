//! The fd-based mount API of Linux 5.2 (fsopen, fsconfig, fsmount, `open_tree`, `move_mount`) and 5.12 (`mount_setattr`).
//!
//! Mounts are made detached, get their attributes, and are attached last, by file descriptor: no path is looked up
//! twice, and no mount is ever visible with weaker attributes than it will have.

use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

use super::{Result, check_fd, check_unit};

pub(crate) const AT_RECURSIVE: u32 = 0x8000;
pub(crate) const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_SET_FD: u32 = 5;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
const FSPICK_CLOEXEC: u32 = 1;
const FSPICK_EMPTY_PATH: u32 = 8;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;

/// The attributes for the clone of a host device node: it can be read and written as usual, but its mode, owner and
/// times cannot be changed through it. Without `noexec`, which would forbid mapping the device as executable memory, as
/// `/dev/sgx_enclave` requires.
pub(crate) const HOST_NODE: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountAttr {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) userns_fd: u64,
}

/// Opens a new file system context.
pub(crate) fn fsopen(fs: &CStr) -> Result<RawFd> {
    // SAFETY: fs is a C string.
    check_fd(unsafe { libc::syscall(libc::SYS_fsopen, fs.as_ptr(), FSOPEN_CLOEXEC) })
}

/// Sets a `key=value` parameter of a file system context.
pub(crate) fn fsconfig_string(fs: RawFd, key: &CStr, value: &CStr) -> Result<()> {
    // SAFETY: C strings.
    check_unit(unsafe {
        libc::syscall(libc::SYS_fsconfig, fs, FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr(), 0)
    })
}

/// Sets a flag parameter of a file system context.
pub(crate) fn fsconfig_flag(fs: RawFd, key: &CStr) -> Result<()> {
    // SAFETY: a C string; the value is unused for flags.
    check_unit(unsafe {
        libc::syscall(libc::SYS_fsconfig, fs, FSCONFIG_SET_FLAG, key.as_ptr(), ptr::null::<u8>(), 0)
    })
}

/// Opens the context of a procfs that shows a pid namespace other than the caller's (Linux 6.18; before, `EINVAL`).
pub(crate) fn procfs_of(pid_namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    let fs = fsopen(c"proc")?;
    // SAFETY: fsopen has just returned the descriptor; nothing else owns it.
    let fs = unsafe { OwnedFd::from_raw_fd(fs) };
    let (context, key, namespace) = (fs.as_raw_fd(), c"pidns", pid_namespace.as_raw_fd());
    // SAFETY: a C string; the command takes no value but the descriptor.
    check_unit(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context,
            FSCONFIG_SET_FD,
            key.as_ptr(),
            ptr::null::<u8>(),
            namespace,
        )
    })?;
    Ok(fs)
}

/// Sets a parameter of a file system context to what a descriptor refers to.
pub(crate) fn fsconfig_fd(fs: RawFd, key: &CStr, fd: RawFd) -> Result<()> {
    // SAFETY: a C string; the value is unused for descriptors.
    check_unit(unsafe {
        libc::syscall(libc::SYS_fsconfig, fs, FSCONFIG_SET_FD, key.as_ptr(), ptr::null::<u8>(), fd)
    })
}

/// Makes the superblock of a file system context.
pub(crate) fn fsconfig_create(fs: RawFd) -> Result<()> {
    // SAFETY: the command takes no pointers.
    check_unit(unsafe {
        libc::syscall(libc::SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, ptr::null::<u8>(), ptr::null::<u8>(), 0)
    })
}

/// Applies the parameters of a picked context to its superblock.
pub(crate) fn fsconfig_reconfigure(fs: RawFd) -> Result<()> {
    // SAFETY: the command takes no pointers.
    check_unit(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs,
            FSCONFIG_CMD_RECONFIGURE,
            ptr::null::<u8>(),
            ptr::null::<u8>(),
            0,
        )
    })
}

/// Opens the superblock of an existing mount for reconfiguration.
pub(crate) fn fspick(mount: RawFd) -> Result<RawFd> {
    // SAFETY: an empty C string together with FSPICK_EMPTY_PATH.
    check_fd(unsafe {
        libc::syscall(libc::SYS_fspick, mount, c"".as_ptr(), FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)
    })
}

/// Turns a created file system context into a detached mount with the given `MOUNT_ATTR_*`.
pub(crate) fn fsmount(fs: RawFd, attributes: u32) -> Result<RawFd> {
    // SAFETY: no pointers.
    check_fd(unsafe { libc::syscall(libc::SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes) })
}

/// Clones the mount (tree) at `path`, or at `dir` itself if `path` is empty, as a detached one.
pub(crate) fn clone_tree(dir: RawFd, path: &CStr, recursive: bool) -> Result<RawFd> {
    let mut flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: path is a C string.
    check_fd(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// The same for a host path; a link at its end is followed only if asked.
pub(crate) fn clone_source(path: &CStr, recursive: bool, follow: bool) -> Result<RawFd> {
    let mut flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    if !follow {
        flags |= libc::AT_SYMLINK_NOFOLLOW as u32;
    }
    // SAFETY: path is a C string.
    check_fd(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// The same for the parent: a descriptor that closes itself.
pub(crate) fn clone_source_owned(path: &CStr, recursive: bool, follow: bool) -> Result<OwnedFd> {
    // SAFETY: open_tree has just returned the descriptor; nothing else owns it.
    clone_source(path, recursive, follow).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a detached mount at the place that `target` refers to.
pub(crate) fn attach(mount: RawFd, target: RawFd) -> Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: empty C strings together with the two EMPTY_PATH flags.
    check_unit(unsafe {
        libc::syscall(libc::SYS_move_mount, mount, c"".as_ptr(), target, c"".as_ptr(), flags)
    })
}

/// Attaches a detached mount at a path that the caller trusts.
pub(crate) fn attach_at(mount: RawFd, path: &CStr) -> Result<()> {
    // SAFETY: C strings.
    check_unit(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount,
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
}

/// Changes attributes of the mount that `mount` (its root) refers to.
pub(crate) fn set_attributes(mount: RawFd, attr: &MountAttr, recursive: bool) -> Result<()> {
    set_attributes_at(mount, c"", attr, recursive)
}

/// The same for a path that the caller trusts.
pub(crate) fn set_attributes_at(dir: RawFd, path: &CStr, attr: &MountAttr, recursive: bool) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH as u32 | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: attr outlives the call and has the size that is passed.
    check_unit(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            flags,
            ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })
}

/// Cuts a mount tree off from its peers: from here on, what happens to it happens to nothing else. It still receives
/// what they get, which keeps nothing of theirs busy.
pub(crate) fn make_slave(mount: RawFd) -> Result<()> {
    set_attributes(mount, &MountAttr { propagation: libc::MS_SLAVE, ..MountAttr::default() }, true)
}

/// mount(2), for the few requests that the calls above cannot express.
pub(crate) fn mount(source: &CStr, target: &CStr, fs: &CStr, flags: u64, data: &CStr) -> Result<()> {
    // SAFETY: C strings.
    check_unit(unsafe {
        libc::syscall(libc::SYS_mount, source.as_ptr(), target.as_ptr(), fs.as_ptr(), flags, data.as_ptr())
    })
}

/// Makes the working directory the root of the mount namespace and stacks the old root over it: `pivot_root(2)`, NOTES.
pub(crate) fn pivot_here() -> Result<()> {
    // SAFETY: C strings.
    check_unit(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })
}

/// Detaches the mount at a path, lazily.
pub(crate) fn detach(path: &CStr) -> Result<()> {
    // SAFETY: a C string.
    check_unit(unsafe { libc::syscall(libc::SYS_umount2, path.as_ptr(), libc::MNT_DETACH) })
}

/// Lazily detaches the mount whose root is open as the descriptor with that name in the working directory, which is a
/// `/proc/PID/fd`.
pub(crate) fn detach_held(name: &CStr) -> Result<()> {
    detach(name)
}

/// Whether the mount whose root is open as the descriptor with that name could be unmounted, without unmounting it:
/// `MNT_EXPIRE` unmounts nothing that is in use (`umount(2)`), and the descriptor uses it.
pub(crate) fn can_detach_held(name: &CStr) -> Result<()> {
    // SAFETY: a C string.
    match check_unit(unsafe { libc::syscall(libc::SYS_umount2, name.as_ptr(), libc::MNT_EXPIRE) }) {
        Err(Errno::EBUSY | Errno::EAGAIN) => Ok(()),
        other => other,
    }
}
