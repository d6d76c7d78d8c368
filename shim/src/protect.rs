//! What the program does for its own safety before anything else.

use crate::failure::Failure;

/// Hides this process and its children, until their own `execve`, from ptrace and `/proc/PID/{mem,fd,...}` of processes
/// inside containers.
pub(crate) fn forbid_inspection() {
    // prctl(2): PR_SET_DUMPABLE fails only for values other than 0 and 1.
    nix::sys::prctl::set_dumpable(false).ok();
}

/// Continues from a copy of the program that no container can write to; see [`wharf::protect`].
pub(crate) fn own_binary() -> Result<(), Failure> {
    wharf::protect::reexec_read_only()?;
    // Before Linux 6.14, the name of a program that was executed by descriptor is the number of the descriptor.
    nix::sys::prctl::set_name(c"wharf").ok();
    Ok(())
}
