//! Makes processes and moves them between namespaces: clone3, setns, unshare, execve.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;

use super::{Result, check, check_unit};

/// `struct clone_args` of clone3(2), version 2 (Linux 5.7).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which process returns from [`fork_into`].
pub(crate) enum Forked {
    /// The caller, with the child's pid in its own pid namespace and a pidfd.
    Parent(i32, OwnedFd),
    /// The new process.
    Child,
}

/// Makes a copy-on-write child process with `clone3`.
///
/// `flags` are `CLONE_NEW*` flags and `CLONE_PARENT`. With `cgroup` the child is born in that cgroup (v2 directory).
///
/// # Safety
///
/// The child may only call async-signal-safe functions: it has one thread, and any lock may be held for ever.
pub(crate) unsafe fn fork_into(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: args outlives the call and has the size that is passed; no CLONE_VM, so the child has a stack of its own.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: CLONE_PIDFD stored a new descriptor that nothing else owns.
    Ok(Forked::Parent(pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Makes a child that shares the caller's memory and suspends the caller until the child has called `execve` or
/// `_exit` (`CLONE_VM | CLONE_VFORK`), for hooks. Returns the pid and a pidfd to the caller.
///
/// # Safety
///
/// `child` runs on `stack` in the caller's memory: it must not return normally into shared state, must only make system
/// calls, and must end with `_exit`.
pub(crate) unsafe fn vfork_with(
    stack: &mut [u8],
    child: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    argument: *mut libc::c_void,
) -> Result<(i32, RawFd)> {
    let mut pidfd: RawFd = -1;
    // clone(2) needs the highest address, aligned to 16 bytes (System V ABI; AArch64 requires the same).
    let top = (stack.as_mut_ptr() as usize + stack.len()) & !15;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: the stack is exclusively borrowed for the whole suspension; the C library's clone passes `argument` on.
    let pid = unsafe { libc::clone(child, top as *mut libc::c_void, flags, argument, &raw mut pidfd) };
    check(libc::c_long::from(pid)).map(|pid| (pid as i32, pidfd))
}

/// Makes a copy-on-write child that continues in `child`, on its own stack and thread area. Returns the pid and a pidfd
/// to the caller. `flags` are `CLONE_NEW*` flags and `CLONE_PARENT`.
///
/// Uses clone(2) and not clone3(2), which seccomp profiles tend to forbid.
///
/// # Safety
///
/// `child` never returns, only makes system calls, and finds everything that it uses in memory that the child has:
/// memory marked as not to be copied is missing. `stack_end` is the end of a mapping that is large enough, and
/// `thread_area` was prepared by [`super::memory::prepare_thread_area`].
pub(crate) unsafe fn fork_onto(
    flags: i32,
    stack_end: *mut u8,
    thread_area: *mut u8,
    child: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    argument: *mut libc::c_void,
) -> Result<(i32, RawFd)> {
    let mut pidfd: RawFd = -1;
    let top = (stack_end as usize & !15) as *mut u8;
    // A child of the caller's parent gets the caller's signal number.
    let signal = if flags & libc::CLONE_PARENT == 0 { libc::SIGCHLD } else { 0 };
    let flags = (flags | libc::CLONE_PIDFD | libc::CLONE_SETTLS | signal) as usize;
    // SAFETY: the caller's promise.
    let pid = unsafe { raw_clone(flags, top, &raw mut pidfd, thread_area, child, argument) };
    if pid < 0 { Err(Errno::from_raw(-pid as i32)) } else { Ok((pid as i32, pidfd)) }
}

/// clone(2) whose child calls a function on its new stack. Not every C library's wrapper accepts `CLONE_SETTLS` (musl
/// refuses it).
///
/// # Safety
///
/// As [`fork_onto`]; `stack` is aligned to 16 bytes.
unsafe fn raw_clone(
    flags: usize,
    stack: *mut u8,
    pidfd: *mut RawFd,
    thread_area: *mut u8,
    child: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    argument: *mut libc::c_void,
) -> isize {
    let result: isize;
    // SAFETY: the child starts after the system call with the same registers, except for the result, the stack and the
    // thread pointer, and never leaves the function that it calls.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") flags,
            in("rsi") stack,
            in("rdx") pidfd,
            in("r10") std::ptr::null_mut::<u8>(),
            in("r8") thread_area,
            in("r12") argument,
            in("r13") child,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x10",
            "blr x11",
            "brk #1",
            "2:",
            inlateout("x0") flags as isize => result,
            in("x1") stack,
            in("x2") pidfd,
            in("x3") thread_area,
            in("x4") std::ptr::null_mut::<u8>(),
            in("x8") libc::SYS_clone,
            in("x10") argument,
            in("x11") child,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "riscv64")]
    unsafe {
        std::arch::asm!(
            "ecall",
            "bnez a0, 2f",
            "mv a0, t3",
            "jalr t4",
            "ebreak",
            "2:",
            inlateout("a0") flags as isize => result,
            in("a1") stack,
            in("a2") pidfd,
            in("a3") thread_area,
            in("a4") std::ptr::null_mut::<u8>(),
            in("a7") libc::SYS_clone,
            in("t3") argument,
            in("t4") child,
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
    {
        let _ = (flags, stack, pidfd, thread_area, child, argument);
        result = -(Errno::ENOSYS as isize);
    }
    result
}

/// Moves the calling thread into a namespace (a namespace fd and one `CLONE_NEW*`) or several (a pidfd).
pub(crate) fn setns(fd: RawFd, kinds: i32) -> Result<()> {
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_setns, fd, kinds) })
}

/// Gives the calling process new namespaces.
pub(crate) fn unshare(kinds: i32) -> Result<()> {
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_unshare, kinds) })
}

/// Ends the calling process at once, without exit handlers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: neither returns, unless a seccomp filter denies it.
    unsafe {
        libc::syscall(libc::SYS_exit_group, code);
        libc::syscall(libc::SYS_exit, code);
    }
    fault()
}

/// Ends the calling process by a fault, which no filter can prevent.
fn fault() -> ! {
    // SAFETY: an instruction that the processor refuses; without a handler, the kernel ends the process.
    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    unsafe {
        std::arch::asm!("ud2", options(noreturn, nomem, nostack))
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("brk #1", options(noreturn, nomem, nostack))
    }
    // SAFETY: as above.
    #[cfg(any(target_arch = "riscv64", target_arch = "riscv32"))]
    unsafe {
        std::arch::asm!("unimp", options(noreturn, nomem, nostack))
    }
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "riscv32"
    )))]
    loop {
        // SAFETY: no pointers. A waiting parent eventually kills this process.
        unsafe { libc::syscall(libc::SYS_kill, libc::syscall(libc::SYS_getpid), libc::SIGKILL) };
    }
}

/// Replaces the program of the calling process; returns only on failure.
///
/// # Safety
///
/// `argv` and `envp` are null-terminated arrays of pointers to C strings.
pub(crate) unsafe fn execve(
    path: *const libc::c_char,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> Errno {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_execve, path, argv, envp) };
    Errno::last()
}

/// The set of all signals that can be blocked, as the kernel's 64-bit mask.
pub(crate) const ALL_SIGNALS: u64 = !0;

/// Replaces the calling thread's signal mask and returns the old one (kernel masks of 64 bits).
pub(crate) fn set_signal_mask(mask: u64) -> Result<u64> {
    let mut old = 0u64;
    // SAFETY: both masks are 8 bytes, as the last argument says.
    check_unit(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut old, 8)
    })?;
    Ok(old)
}

/// Resets every signal to its default action; Rust's start-up code ignores SIGPIPE, and an embedder may ignore more.
pub(crate) fn default_signals() -> Result<()> {
    let mut others = (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal));
    others.try_for_each(default_signal)
}

/// Resets one signal to its default action.
pub(crate) fn default_signal(signal: i32) -> Result<()> {
    set_action(signal, libc::SIG_DFL)
}

/// Ignores a signal. An ignored SIGCHLD lets the kernel reap the children (`sigaction(2)`).
pub(crate) fn ignore_signal(signal: i32) -> Result<()> {
    set_action(signal, libc::SIG_IGN)
}

/// Lets a signal end this process even if it is the first in a pid namespace, which the kernel spares without a handler
/// (`pid_namespaces(7)`). Until execve(2).
pub(crate) fn end_by_signal(signal: i32) -> Result<()> {
    extern "C" fn end(signal: libc::c_int) {
        exit_now(128 + signal)
    }
    set_action(signal, end as *const () as usize)
}

fn set_action(signal: i32, handler: usize) -> Result<()> {
    #[repr(C)]
    struct KernelSigaction {
        handler: usize,
        flags: libc::c_ulong,
        restorer: usize,
        mask: u64,
    }
    let mut action = KernelSigaction { handler, flags: 0, restorer: 0, mask: 0 };
    if cfg!(any(target_arch = "x86_64", target_arch = "x86"))
        && !matches!(handler, libc::SIG_DFL | libc::SIG_IGN)
    {
        // On these ports a handler without a restorer cannot return; this one never does.
        const SA_RESTORER: libc::c_ulong = 0x0400_0000;
        (action.flags, action.restorer) = (SA_RESTORER, handler);
    }
    // SAFETY: the structure is the kernel's sigaction on x86-64; if a port has no restorer field the remaining bytes
    // are zero as well, which is the empty mask. A handler ends the process, and touches no memory.
    check_unit(unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, std::ptr::null::<u8>(), 8)
    })
}
