//! System calls and kernel structures, as thin safe functions that neither allocate nor lock.
//!
//! Both halves of a creation use them: the parent, and the child between `clone3` and `execve`, where the heap may be
//! locked by a thread that does not exist there. Hence raw `syscall(2)` with borrowed C strings throughout; only
//! `ethtool`, `file_lock`, `loop_device`, `netlink`, `own_binary`, `regular_file`, `rest` and `unix_path` are for the parent
//! alone. With `child/`, this is the only place where `unsafe` is allowed.

pub(crate) mod bpf;
pub(crate) mod clone;
pub(crate) mod ethtool;
pub(crate) mod file_lock;
pub(crate) mod loop_device;
pub(crate) mod marks;
pub(crate) mod memory;
pub(crate) mod mount;
pub(crate) mod mount_id;
pub(crate) mod namespace;
pub(crate) mod netlink;
pub(crate) mod own_binary;
pub(crate) mod path;
pub(crate) mod pidfd;
pub(crate) mod proc_file;
pub(crate) mod process;
pub(crate) mod regular_file;
pub(crate) mod rest;
pub(crate) mod socket;
pub(crate) mod timer;
pub(crate) mod tty;
pub(crate) mod unix_path;
pub(crate) mod window;
pub(crate) mod worker;

use std::os::fd::RawFd;

use nix::errno::Errno;

/// The result of a system call: a value or the errno.
pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// Turns the return value of `syscall(2)` into a result.
fn check(value: libc::c_long) -> Result<libc::c_long> {
    if value == -1 { Err(Errno::last()) } else { Ok(value) }
}

/// The same for calls that return a file descriptor.
fn check_fd(value: libc::c_long) -> Result<RawFd> {
    check(value).map(|fd| fd as RawFd)
}

/// The same for calls that return nothing.
fn check_unit(value: libc::c_long) -> Result<()> {
    check(value).map(|_| ())
}

/// Repeats the call while a signal interrupts it.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}
