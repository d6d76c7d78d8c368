//! A process that has nothing of the host: how it loses the host's files, and how a child of it is born without its memory.
//!
//! Processes of containers may see such a child and, with `CAP_SYS_PTRACE`, read everything that it has.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::birth::clone_with;
use crate::sys::memory::{self, Code, LARGEST_PAGE};
use crate::sys::mount::{self, MountAttr};
use crate::sys::{Result, clone, path, pidfd, socket};

/// Room for a few calls.
const STACK: usize = 64 << 10;
/// How many milliseconds a process may take that others can stop.
const PATIENCE: i32 = 10_000;

/// Has a process do something in a mount namespace of its own, and send a number that is not negative with a descriptor
/// through the socket that it gets. Then it ends.
pub(super) fn have(act: impl FnOnce(RawFd) -> Result<()>) -> Result<(i32, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let told = theirs.as_raw_fd();
    let (_, maker) = clone_with(libc::CLONE_NEWNS, None, || {
        if let Err(errno) = act(told) {
            refuse(told, errno);
        }
    })?;
    drop(theirs);
    let mut packet = [0u8; 4];
    let received = match socket::wait_readable([ours.as_raw_fd()], PATIENCE) {
        Ok([true]) => socket::receive_owned(&ours, &mut packet),
        Ok([false]) => Err(Errno::ETIMEDOUT),
        Err(errno) => Err(errno),
    };
    // It may wait for a process that it made; one that was stopped where others see it is left behind.
    if matches!(socket::wait_readable([maker.as_raw_fd()], PATIENCE), Ok([true])) {
        let _ = pidfd::wait(maker.as_raw_fd(), 0);
    } else {
        pidfd::end_child(maker.as_fd());
    }
    match (received?, i32::from_ne_bytes(packet)) {
        ((4, Some(descriptor)), number) if number >= 0 => Ok((number, descriptor)),
        ((4, None), errno) if errno < 0 => Err(Errno::from_raw(-errno)),
        _ => Err(Errno::ESRCH),
    }
}

/// Sends why there is no descriptor.
pub(super) fn refuse(socket: RawFd, errno: Errno) {
    let _ = socket::send(socket, &(-(errno as i32)).to_ne_bytes(), -1);
}

/// Puts the calling process, which has a mount namespace of its own, into an empty root directory: nothing else is mounted
/// there.
pub(super) fn enter_empty_root() -> Result<()> {
    // What is unmounted here must not be unmounted from the host.
    let slave = MountAttr { propagation: libc::MS_SLAVE, ..MountAttr::default() };
    mount::set_attributes_at(libc::AT_FDCWD, c"/", &slave, true)?;
    let fs = mount::fsopen(c"tmpfs")?;
    mount::fsconfig_create(fs)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let empty = mount::fsmount(fs, attributes as u32)?;
    mount::attach_at(empty, c"/")?;
    path::change_directory_to(empty)?;
    mount::pivot_here()?;
    mount::detach(c".")?;
    path::change_directory(c"/")
}

/// Closes all descriptors but one, which is not 0.
pub(super) fn keep_only(kept: RawFd, from: u32) -> Result<()> {
    let kept = kept as u32;
    if kept > from {
        path::close_range(from, kept - 1)?;
    }
    path::close_range(kept + 1, u32::MAX)
}

/// Makes a child that begins in `child` with nothing in its memory but the code and a stack; returns its pid and a pidfd.
///
/// # Safety
///
/// `child` never returns, and uses nothing but the code, the stack and its argument, which is no pointer.
pub(super) unsafe fn bear(
    code: &Code,
    flags: i32,
    child: extern "C" fn(*mut c_void) -> c_int,
    argument: RawFd,
) -> Result<(i32, RawFd)> {
    if !memory::SEPARABLE {
        return Err(Errno::ENOSYS);
    }
    let (below, above) = code.thread_area();
    let length = (LARGEST_PAGE + STACK + below + above).next_multiple_of(LARGEST_PAGE);
    let start = memory::map(length)?;
    let stack_end = start.wrapping_add(LARGEST_PAGE + STACK);
    let thread_area = stack_end.wrapping_add(below);
    // SAFETY: the area is part of the mapping just made, and has the requested size.
    unsafe { memory::prepare_thread_area(thread_area) };
    code.keep_only((start as usize, length))?;
    let argument = argument as usize as *mut c_void;
    // SAFETY: the caller's promise; stack and thread area are of the mapping just made.
    unsafe { clone::fork_onto(flags, stack_end, thread_area, child, argument) }
}
