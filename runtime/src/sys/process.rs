//! The properties of the calling process that a container's configuration sets.

use std::ffi::CStr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;

use nix::errno::Errno;

use super::{Result, check, check_unit};

fn prctl(option: i32, a: u64, b: u64, c: u64, d: u64) -> Result<i64> {
    // SAFETY: the options used in this file take numbers only.
    #[allow(clippy::useless_conversion, reason = "c_long is 32 bits wide on some targets")]
    check(unsafe { libc::syscall(libc::SYS_prctl, option, a, b, c, d) }).map(i64::from)
}

/// Lets the user that owns the process look into its /proc/PID, and trace it.
pub(crate) fn set_dumpable() -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0).map(drop)
}

/// Restricts /proc/PID of the process, and ptrace on it, to privileged processes.
pub(crate) fn set_not_dumpable() -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0).map(drop)
}

/// Sets the name that a list of processes shows; the kernel keeps 15 bytes of it.
pub(crate) fn set_name(name: &CStr) -> Result<()> {
    // SAFETY: a C string that outlives the call.
    check_unit(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) })
}

/// Sets `no_new_privs`.
pub(crate) fn set_no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).map(drop)
}

/// Keeps the permitted capabilities when all uids change from 0.
pub(crate) fn keep_capabilities(keep: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep), 0, 0, 0).map(drop)
}

/// Drops a capability from the bounding set.
pub(crate) fn bounding_drop(capability: u32) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0, 0, 0).map(drop)
}

/// Whether a capability is in the bounding set.
pub(crate) fn bounding_has(capability: u32) -> Result<bool> {
    prctl(libc::PR_CAPBSET_READ, u64::from(capability), 0, 0, 0).map(|answer| answer != 0)
}

/// Empties the ambient set.
pub(crate) fn ambient_clear() -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0, 0, 0).map(drop)
}

/// Adds a capability to the ambient set.
pub(crate) fn ambient_raise(capability: u32) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(capability), 0, 0).map(drop)
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The effective, permitted and inheritable capabilities of the calling thread, as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CapabilitySets {
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
}

/// capget(2) of the calling thread.
pub(crate) fn capabilities() -> Result<CapabilitySets> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 fills two data structures.
    check_unit(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let [low, high] = data;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(CapabilitySets {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

/// capset(2) of the calling thread.
pub(crate) fn set_capabilities(sets: CapabilitySets) -> Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let part = |shift: u32| CapabilityData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [part(0), part(32)];
    // SAFETY: version 3 reads two data structures.
    check_unit(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
}

/// Sets the real, effective and saved user id.
pub(crate) fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: no pointers. The raw call changes this thread only; the child has no other.
    check_unit(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

/// Sets the real, effective and saved group id.
pub(crate) fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: as set_uid.
    check_unit(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })
}

/// Replaces the supplementary groups; `gids` is the kernel's array of 32-bit ids as bytes.
pub(crate) fn set_groups(gids: &[u8]) -> Result<()> {
    // SAFETY: the byte slice holds the number of 32-bit ids that is passed; the kernel copies bytewise.
    check_unit(unsafe { libc::syscall(libc::SYS_setgroups, gids.len() / 4, gids.as_ptr()) })
}

/// Sets the file mode creation mask; cannot fail.
pub(crate) fn set_umask(mask: u32) {
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_umask, mask) };
}

/// Makes the process the leader of a new session.
pub(crate) fn new_session() -> Result<()> {
    // SAFETY: no arguments.
    check_unit(unsafe { libc::syscall(libc::SYS_setsid) })
}

/// Makes the process the leader of a new process group.
pub(crate) fn new_process_group() -> Result<()> {
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_setpgid, 0, 0) })
}

/// The pid in the caller's pid namespace, from the kernel and not from a C library's cache.
pub(crate) fn pid() -> i32 {
    // SAFETY: no arguments.
    unsafe { libc::syscall(libc::SYS_getpid) as i32 }
}

/// Has the kernel kill the calling process when the thread that made it ends.
pub(crate) fn kill_with_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0, 0, 0).map(drop)
}

/// Puts the calling process' group into a core scheduling group of its own.
pub(crate) fn own_core_scheduling_group() -> Result<()> {
    const PR_SCHED_CORE: i32 = 62;
    const PR_SCHED_CORE_CREATE: u64 = 1;
    const SCOPE_PROCESS_GROUP: u64 = 2;
    prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, SCOPE_PROCESS_GROUP, 0).map(drop)
}

/// Marks all descriptors from `first` up as close-on-exec.
pub(crate) fn close_range_on_exec(first: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) })
}

/// Lets a command inherit nothing but its standard streams, whatever the caller has open without close-on-exec.
pub(crate) fn close_on_exec(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and makes one system call.
    unsafe {
        command.pre_exec(|| close_range_on_exec(3).map_err(std::io::Error::from));
    }
}

/// Lets a command inherit these descriptors with the same numbers, besides its standard streams, and nothing else.
#[cfg(feature = "criu")]
pub(crate) fn inherit_only(command: &mut Command, kept: Vec<std::os::fd::RawFd>) {
    close_on_exec(command);
    // SAFETY: the closure runs between fork and exec, after the one above, and makes system calls only.
    unsafe {
        command.pre_exec(move || {
            kept.iter()
                .try_for_each(|fd| super::path::set_close_on_exec(*fd, false))
                .map_err(std::io::Error::from)
        });
    }
}

/// kill(2), for the child's own process group of a hook.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_kill, pid, signal) })
}

/// prlimit64(2); pid 0 is the caller.
pub(crate) fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    // SAFETY: struct rlimit64 is two 64-bit numbers.
    check_unit(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, limit.as_ptr(), ptr::null::<u64>())
    })
}

/// The soft and the hard limit of a process; pid 0 is the caller.
pub(crate) fn rlimit(pid: i32, resource: u32) -> Result<(u64, u64)> {
    let mut limit = [0u64; 2];
    // SAFETY: struct rlimit64 is two 64-bit numbers.
    check_unit(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, ptr::null::<u64>(), limit.as_mut_ptr())
    })?;
    let [soft, hard] = limit;
    Ok((soft, hard))
}

/// `struct sched_attr` of `sched_setattr(2)`, version 1 (with utilisation clamps, Linux 5.3).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SchedAttr {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
    pub(crate) util_min: u32,
    pub(crate) util_max: u32,
}

/// Sets scheduling policy and parameters of a process; pid 0 is the calling thread.
pub(crate) fn set_scheduler(pid: i32, attr: &SchedAttr) -> Result<()> {
    // SAFETY: attr carries its own size.
    check_unit(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, ptr::from_ref(attr), 0) })
}

/// `ioprio_set(2)` for a process group, as the spec says; 0 is the caller's.
pub(crate) fn set_io_priority(group: i32, value: i32) -> Result<()> {
    const IOPRIO_WHO_PGRP: i32 = 2;
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PGRP, group, value) })
}

/// The same for the calling thread.
#[cfg(feature = "criu")]
pub(crate) fn set_thread_io_priority(value: i32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })
}

/// `sched_setaffinity(2)` with a CPU mask of any length.
pub(crate) fn set_affinity(mask: &[u8]) -> Result<()> {
    // SAFETY: the slice has the length that is passed.
    check_unit(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, mask.len(), mask.as_ptr()) })
}

/// `set_mempolicy(2)` with a node mask of any length in bytes.
pub(crate) fn set_memory_policy(mode: i32, mask: &[u8]) -> Result<()> {
    let (pointer, bits) =
        if mask.is_empty() { (ptr::null(), 0) } else { (mask.as_ptr(), mask.len() * 8 + 1) };
    // SAFETY: the kernel reads bits - 1 bits, which is the whole slice.
    check_unit(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) })
}

/// personality(2).
pub(crate) fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: no pointers.
    check_unit(unsafe { libc::syscall(libc::SYS_personality, persona) })
}

/// sethostname(2).
pub(crate) fn set_hostname(name: &[u8]) -> Result<()> {
    // SAFETY: the slice has the length that is passed.
    check_unit(unsafe { libc::syscall(libc::SYS_sethostname, name.as_ptr(), name.len()) })
}

/// setdomainname(2).
pub(crate) fn set_domainname(name: &[u8]) -> Result<()> {
    // SAFETY: the slice has the length that is passed.
    check_unit(unsafe { libc::syscall(libc::SYS_setdomainname, name.as_ptr(), name.len()) })
}

/// Joins a session keyring with that name, or makes it (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`).
pub(crate) fn join_session_keyring(name: &CStr) -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: a C string.
    check_unit(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
}

/// Joins a new session keyring without a name.
pub(crate) fn join_new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: a null name means a keyring that no other process can join.
    check_unit(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<libc::c_char>())
    })
}

/// Loads a seccomp filter of `length` instructions at `instructions`; with `NEW_LISTENER`, returns the listener.
pub(crate) fn load_seccomp(instructions: &[u8], flags: u32) -> Result<i32> {
    #[repr(C)]
    struct SockFprog {
        length: u16,
        filter: *const u8,
    }
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    let Ok(length) = u16::try_from(instructions.len() / 8) else { return Err(Errno::E2BIG) };
    let program = SockFprog { length, filter: instructions.as_ptr() };
    // SAFETY: an instruction is 8 bytes; the kernel copies `length` of them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) })
        .map(|fd| fd as i32)
}

/// Brings the loopback interface of the caller's network namespace up.
pub(crate) fn loopback_up() -> Result<()> {
    #[repr(C)]
    struct InterfaceRequest {
        name: [u8; 16],
        flags: i16,
        rest: [u8; 22],
    }
    let mut request = InterfaceRequest { name: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0", flags: 0, rest: [0; 22] };
    // SAFETY: no pointers.
    let socket = super::check_fd(unsafe {
        libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    })?;
    // SAFETY: the request has the size of struct ifreq (40 bytes).
    let result =
        check_unit(unsafe { libc::syscall(libc::SYS_ioctl, socket, libc::SIOCGIFFLAGS, &raw mut request) })
            .and_then(|()| {
                request.flags |= libc::IFF_UP as i16;
                // SAFETY: as above.
                check_unit(unsafe {
                    libc::syscall(libc::SYS_ioctl, socket, libc::SIOCSIFFLAGS, &raw mut request)
                })
            });
    super::path::close(socket);
    result
}
