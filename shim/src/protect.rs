//! What the program does for its own safety before anything else.

use crate::failure::Failure;

/// Makes this process and its children, until their own `execve`, invisible to ptrace and `/proc/PID/{mem,fd,...}` of
/// processes inside containers.
pub(crate) fn forbid_inspection() {
    // prctl(2): PR_SET_DUMPABLE fails only for values other than 0 and 1.
    nix::sys::prctl::set_dumpable(false).ok();
}

/// Goes on from a copy of the program that no container can write to; see [`wharf::protect`].
pub(crate) fn own_binary() -> Result<(), Failure> {
    wharf::protect::reexec_read_only()?;
    // The name of a program that was executed by file descriptor is the number of the descriptor before Linux 6.14.
    nix::sys::prctl::set_name(c"wharf").ok();
    Ok(())
}
