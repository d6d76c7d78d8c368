//! The process that holds the namespaces of a pod where no other process can: the first one of its pid namespace, or the
//! one in its user namespace.
//!
//! The pod's processes can see it and, with `CAP_SYS_PTRACE`, read it. So it is born in an empty root directory, without
//! the caller's memory, with one descriptor, and it gives up all rights before it waits. It only waits: the kernel reaps
//! its children, because it ignores SIGCHLD (`sigaction(2)`), and the end of the caller ends it, because the descriptor
//! is a pipe whose other end the caller has.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::bare;
use crate::sys::memory::Code;
use crate::sys::process::CapabilitySets;
use crate::sys::{Result, clone, path, process, socket};

/// Its name in a list of processes.
const NAME: &std::ffi::CStr = c"wharf-pod";

/// What the holder is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held<'f> {
    /// The `CLONE_NEW*` flags of the namespaces that are made for it.
    pub(crate) new: i32,
    /// The network namespace that it joins.
    pub(crate) network: Option<BorrowedFd<'f>>,
    /// The user namespace that it joins, and that owns the new ones; with the user and group that are root in it.
    pub(crate) user: Option<(BorrowedFd<'f>, [u32; 2])>,
    /// The reading end of the pipe whose other end keeps the holder alive.
    pub(crate) life: BorrowedFd<'f>,
}

/// Makes the holder; returns its pid and a pidfd. It becomes a child of the next subreaper above the caller.
pub(crate) fn make(held: &Held<'_>) -> Result<(i32, OwnedFd)> {
    let code = Code::of_this_program();
    bare::have(|told| prepare(held, told).and_then(|()| bear(code, held.new, told)))
}

/// Drops everything of the host except for the rights, and joins the namespaces. Standard input becomes the pipe; of the
/// other descriptors only the socket stays.
fn prepare(held: &Held<'_>, told: RawFd) -> Result<()> {
    process::set_not_dumpable()?;
    bare::enter_empty_root()?;
    if let Some(network) = held.network {
        // First: with a user namespace, it may belong to the host.
        clone::setns(network.as_raw_fd(), libc::CLONE_NEWNET)?;
    }
    match process::set_groups(&[]) {
        // In a user namespace that denies it (`user_namespaces(7)`), they are of no use to anyone.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    if let Some((user, [uid, gid])) = held.user {
        clone::setns(user.as_raw_fd(), libc::CLONE_NEWUSER)?;
        process::set_gid(gid)?;
        process::set_uid(uid)?;
        process::set_not_dumpable()?;
    }
    process::new_session()?;
    // The standard streams are open, so that neither has their numbers.
    path::duplicate_to(held.life.as_raw_fd(), 0)?;
    bare::keep_only(told, 1)
}

/// Makes the holder and reports it.
fn bear(code: &Code, new: i32, told: RawFd) -> Result<()> {
    // SAFETY: `hold` never returns, and has no use for its argument.
    let (pid, pidfd) = unsafe { bare::bear(code, new, hold, 0) }?;
    socket::send(told, &pid.to_ne_bytes(), pidfd)
}

/// Waits until the other end of the pipe is closed.
extern "C" fn hold(_: *mut c_void) -> c_int {
    let alone = || -> Result<()> {
        path::close_range(1, u32::MAX)?;
        process::set_name(NAME)?;
        // Its children, also those that other processes leave to it, are gone as soon as they end.
        clone::ignore_signal(libc::SIGCHLD)?;
        process::set_no_new_privileges()?;
        process::set_capabilities(CapabilitySets::default())?;
        process::load_seccomp(&FILTER, 0).map(drop)
    };
    if alone().is_err() {
        clone::exit_now(1);
    }
    let mut byte = [0];
    loop {
        match path::read(0, &mut byte) {
            Err(Errno::EINTR) => {}
            _ => clone::exit_now(0),
        }
    }
}

/// Of all system calls, those that the holder makes: to wait and to end.
static FILTER: [u8; 8 * 5] = filter();

#[allow(clippy::indexing_slicing, reason = "the compiler evaluates it")]
const fn filter() -> [u8; 8 * 5] {
    // struct sock_filter of linux/filter.h; `nr` is the first word of struct seccomp_data.
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const KILL: u32 = 0x8000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let program: [(u16, u8, u32); 5] = [
        (LOAD, 0, 0),
        (JUMP_IF_EQUAL, 2, libc::SYS_read as u32),
        (JUMP_IF_EQUAL, 1, libc::SYS_exit_group as u32),
        (RETURN, 0, KILL),
        (RETURN, 0, ALLOW),
    ];
    let mut bytes = [0; 8 * 5];
    let mut index = 0;
    while index < program.len() {
        let (code, jump, value) = program[index];
        let (code, value) = (code.to_ne_bytes(), value.to_ne_bytes());
        bytes[8 * index] = code[0];
        bytes[8 * index + 1] = code[1];
        bytes[8 * index + 2] = jump;
        let mut part = 0;
        while part < 4 {
            bytes[8 * index + 4 + part] = value[part];
            part += 1;
        }
        index += 1;
    }
    bytes
}
