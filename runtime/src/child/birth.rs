//! The clone: what the parent prepares for it, and what the child does first.

use std::cell::Cell;
use std::ffi::c_char;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use super::{Child, Inherited, NONE_MADE};
use crate::program::{Op, Program, ProgramView};
use crate::sys::Result;
use crate::sys::clone::{self, Forked};
use crate::sys::{memory, process, socket};

/// Makes the child that walks the program; returns its pid and pidfd, in the parent only.
pub(crate) fn make(
    program: &Program,
    born_with: i32,
    inherited: Inherited<'_>,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<(i32, OwnedFd)> {
    // Everything that the child needs exists before it does.
    let view = program.view();
    if program.ops.contains(&Op::Emerge) {
        memory::Code::of_this_program();
    }
    let mut pointers: Vec<*const c_char> = program
        .entries()
        .iter()
        .map(|entry| entry.map_or(ptr::null(), |text| view.cstr(text).as_ptr()))
        .collect();
    let made = vec![Cell::new(NONE_MADE); most_made(program, view)];
    let mut held = vec![-1; program.held];
    let mut remembered = vec![-1; program.remembered];
    let mut child = Child::new(view, &mut pointers, &made, &mut held, &mut remembered, inherited);
    clone_with(born_with, cgroup, || child.run())
}

/// How many directories the child may make on the way to mount points, if a step needs to know which. Links on the way
/// may lead to more.
fn most_made(program: &Program, view: ProgramView<'_>) -> usize {
    const THROUGH_LINKS: usize = 64;
    if !program.ops.iter().any(|op| matches!(op, Op::KeepMode | Op::CopyUp { .. })) {
        return 0;
    }
    let names = |op: &Op| match op {
        Op::Target { path, .. } => view.bytes(*path).split(|byte| *byte == b'/').count(),
        _ => 0,
    };
    program.ops.iter().map(names).sum::<usize>() + THROUGH_LINKS
}

/// Makes a child that does nothing but hold a new user namespace until it is killed. With `announce` it lets its owner
/// inspect it, and then sends one byte.
pub(crate) fn hold_user_namespace(announce: Option<RawFd>) -> Result<(i32, OwnedFd)> {
    clone_with(libc::CLONE_NEWUSER, None, || {
        if let Some(socket) = announce {
            let _ = process::set_dumpable();
            let _ = socket::send(socket, &[0], -1);
        }
        loop {
            let _ = socket::wait_readable([-1], -1);
        }
    })
}

/// Clones with all signals blocked: no handler of the caller may run in the child before it has reset the actions.
pub(super) fn clone_with(
    flags: i32,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce(),
) -> Result<(i32, OwnedFd)> {
    let mask = clone::set_signal_mask(clone::ALL_SIGNALS)?;
    // SAFETY: the child runs the closure only, which makes system calls on memory that exists and never returns.
    let forked = unsafe { clone::fork_into(flags as u64, cgroup) };
    if matches!(forked, Ok(Forked::Child)) {
        child();
        clone::exit_now(1)
    }
    clone::set_signal_mask(mask)?;
    match forked? {
        Forked::Parent(pid, pidfd) => Ok((pid, pidfd)),
        Forked::Child => clone::exit_now(1),
    }
}
