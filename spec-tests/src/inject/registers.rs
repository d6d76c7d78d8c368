//! The registers of a process that is stopped at a system call. Processors differ in which they are.

use nix::libc::user_regs_struct;
use nix::sys::ptrace::{getregs, setregs};
use nix::unistd::Pid;

/// A system call that a process is about to make.
#[derive(Clone, Copy)]
pub(super) struct Call(user_regs_struct);

impl Call {
    /// The call at whose entry the process stands.
    pub(super) fn of(pid: Pid) -> nix::Result<Self> {
        getregs(pid).map(Self)
    }
}

#[cfg(target_arch = "x86_64")]
impl Call {
    pub(super) fn number(&self) -> i64 {
        self.0.orig_rax.cast_signed()
    }

    pub(super) fn first_argument(&self) -> u64 {
        self.0.rdi
    }

    /// Lets the kernel do nothing for it.
    pub(super) fn prevent(&self, pid: Pid) -> nix::Result<()> {
        let mut registers = self.0;
        registers.orig_rax = u64::MAX;
        setregs(pid, registers)
    }

    /// Its result, once the process stands at its exit.
    #[expect(clippy::unused_self, reason = "other machines need it")]
    pub(super) fn answer(&self, pid: Pid, errno: i32) -> nix::Result<()> {
        let mut registers = getregs(pid)?;
        registers.rax = i64::from(-errno).cast_unsigned();
        setregs(pid, registers)
    }
}

// The kernel has read the number already and no wrapper can write it, so the call gets arguments which nothing takes:
// they are no descriptor, address, set of flags or id. Only calls without arguments are made all the same.
#[cfg(target_arch = "aarch64")]
impl Call {
    pub(super) fn number(&self) -> i64 {
        self.0.regs[8].cast_signed()
    }

    pub(super) fn first_argument(&self) -> u64 {
        self.0.regs[0]
    }

    /// Lets the kernel do nothing for it.
    pub(super) fn prevent(&self, pid: Pid) -> nix::Result<()> {
        let mut registers = self.0;
        registers.regs[..6].fill(u64::MAX);
        setregs(pid, registers)
    }

    /// Its result, once the process stands at its exit.
    pub(super) fn answer(&self, pid: Pid, errno: i32) -> nix::Result<()> {
        let mut registers = getregs(pid)?;
        registers.regs[1..6].copy_from_slice(&self.0.regs[1..6]);
        registers.regs[0] = i64::from(-errno).cast_unsigned();
        setregs(pid, registers)
    }
}
