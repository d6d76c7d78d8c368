//! Names of system calls, and which of them can fail.

use nix::errno::Errno;
use nix::libc;

macro_rules! table {
    ($($name:ident)*) => { &[$((libc::$name as i64, stringify!($name))),*] };
}

/// Those that every processor has.
const COMMON: &[(i64, &str)] = table!(
    SYS_accept4 SYS_add_key SYS_bind SYS_bpf SYS_brk SYS_capget SYS_capset SYS_chdir SYS_chroot SYS_clock_gettime
    SYS_clock_nanosleep SYS_clone SYS_clone3 SYS_close SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3
    SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group
    SYS_faccessat SYS_faccessat2 SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync
    SYS_fgetxattr SYS_flock SYS_fsconfig SYS_fsetxattr SYS_fsmount SYS_fsopen SYS_fspick SYS_fstat SYS_fstatfs SYS_fsync
    SYS_ftruncate SYS_futex SYS_get_robust_list SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid
    SYS_getgroups SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid
    SYS_getresuid SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_getuid SYS_getxattr SYS_inotify_add_watch
    SYS_inotify_init1 SYS_ioctl SYS_ioprio_get SYS_ioprio_set SYS_kcmp SYS_keyctl SYS_kill SYS_lgetxattr SYS_linkat
    SYS_listen SYS_listxattr SYS_lseek SYS_madvise SYS_membarrier SYS_memfd_create SYS_mkdirat SYS_mknodat SYS_mmap
    SYS_mount SYS_mount_setattr SYS_move_mount SYS_mprotect SYS_mremap SYS_munmap SYS_nanosleep SYS_newfstatat
    SYS_open_tree SYS_openat SYS_openat2 SYS_personality SYS_pidfd_getfd SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2
    SYS_pivot_root SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_prlimit64 SYS_process_madvise SYS_pselect6 SYS_ptrace
    SYS_pwrite64 SYS_read SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmsg SYS_renameat SYS_renameat2 SYS_request_key
    SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigreturn
    SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam
    SYS_sched_getscheduler SYS_sched_setaffinity SYS_sched_setattr SYS_sched_yield SYS_seccomp SYS_sendfile
    SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_mempolicy SYS_set_robust_list SYS_set_tid_address SYS_setdomainname
    SYS_setgid SYS_setgroups SYS_sethostname SYS_setitimer SYS_setns SYS_setpgid SYS_setpriority SYS_setregid
    SYS_setresgid SYS_setresuid SYS_setreuid SYS_setsid SYS_setsockopt SYS_setuid SYS_setxattr SYS_shutdown
    SYS_sigaltstack SYS_signalfd4 SYS_socket SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync
    SYS_syncfs SYS_sysinfo SYS_tgkill SYS_timerfd_create SYS_timerfd_settime SYS_tkill SYS_truncate SYS_umask
    SYS_umount2 SYS_uname SYS_unlinkat SYS_unshare SYS_utimensat SYS_wait4 SYS_waitid SYS_write SYS_writev
);

/// Older ones that this processor still has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[(i64, &str)] = table!(
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_wait SYS_fork
    SYS_getpgrp SYS_getrlimit SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_open SYS_pause SYS_pipe SYS_poll
    SYS_readlink SYS_rename SYS_rmdir SYS_select SYS_setrlimit SYS_stat SYS_symlink SYS_time SYS_unlink SYS_vfork
);

/// Older ones that this processor still has.
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[(i64, &str)] = &[];

/// These have no errors but for wrong arguments, and programs do not look for any. (A pid of -1 would be everyone to
/// kill(2).)
const WITHOUT_ERRORS: &[&str] = &[
    "arch_prctl",
    "exit",
    "exit_group",
    "getegid",
    "geteuid",
    "getgid",
    "getpgrp",
    "getpid",
    "getppid",
    "gettid",
    "getuid",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "umask",
];

/// These wait for what is open already, so there is nothing to permit.
const PERMITTED: &[&str] = &["epoll_pwait", "epoll_wait", "futex", "poll", "ppoll"];

/// With right arguments, these fail only when a signal interrupts them. (`close` also reports what a device could not
/// write, which is none of these errors.)
const INTERRUPTED: &[&str] = &["close", "getrandom"];

/// The name of a call, or its number.
pub(super) fn name(number: i64) -> String {
    let found = COMMON.iter().chain(OLDER).find(|(known, _)| *known == number);
    found.map_or_else(|| format!("call-{number}"), |(_, name)| name.trim_start_matches("SYS_").to_owned())
}

/// Whether the kernel never reports this error of this call.
pub(super) fn cannot_fail(number: i64, errno: Errno) -> bool {
    let name = name(number);
    let has = |list: &[&str]| list.contains(&name.as_str());
    has(WITHOUT_ERRORS)
        || errno == Errno::EPERM && has(PERMITTED)
        || errno != Errno::EINTR && has(INTERRUPTED)
}

/// Whether it may read what another process has sent.
pub(super) fn is_read(number: i64) -> bool {
    [libc::SYS_read, libc::SYS_recvfrom].contains(&number)
}

/// Whether the kernel does what is asked before it reports an error: a descriptor is closed in any case.
pub(super) fn is_done_anyway(number: i64) -> bool {
    number == libc::SYS_close
}

/// Whether a program without this call has no memory, and may end by a signal for that reason.
pub(super) fn is_about_memory(number: i64) -> bool {
    ["brk", "madvise", "mmap", "mprotect", "mremap", "munmap"].contains(&name(number).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_names() {
        assert_eq!(name(libc::SYS_openat), "openat");
        assert_eq!(name(99_999), "call-99999");
        assert!(cannot_fail(libc::SYS_getpid, Errno::EPERM) && !cannot_fail(libc::SYS_mount, Errno::EPERM));
        for call in [libc::SYS_ppoll, libc::SYS_getrandom] {
            assert!(cannot_fail(call, Errno::EPERM) && !cannot_fail(call, Errno::EINTR));
        }
        assert!(is_about_memory(libc::SYS_mmap) && !is_about_memory(libc::SYS_read));
    }

    #[test]
    fn each_call_that_cannot_fail_has_a_number() {
        let known: Vec<String> = COMMON.iter().chain(OLDER).map(|(number, _)| name(*number)).collect();
        let older = ["epoll_wait", "getpgrp", "poll"];
        for call in
            WITHOUT_ERRORS.iter().chain(PERMITTED).chain(INTERRUPTED).filter(|call| !older.contains(call))
        {
            assert!(known.iter().any(|name| name == call), "{call}");
        }
    }
}
