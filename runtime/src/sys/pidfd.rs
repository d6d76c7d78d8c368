//! Process descriptors: the only way to signal or wait for a process that cannot hit another one with a reused pid.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;

use super::{Result, check_fd, check_unit, retry};

/// Opens a pidfd (close-on-exec by definition, Linux 5.3).
pub(crate) fn open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers; nothing else owns the new descriptor.
    let fd = check_fd(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal through a pidfd, so that a reused pid is never hit.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo means "as kill(2)".
    check_unit(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
}

/// Waits for a child by pidfd; `None` with `WNOHANG` while it runs. Returns `si_code` and `si_status`.
pub(crate) fn wait(pidfd: RawFd, flags: i32) -> Result<Option<(i32, i32)>> {
    Ok(wait_id(libc::P_PIDFD, pidfd, flags)?.map(|(_, code, status)| (code, status)))
}

/// Kills a child and takes its status. One that the kernel does not let this process kill would be waited for in vain.
pub(crate) fn end_child(pidfd: BorrowedFd<'_>) {
    let flags = match send_signal(pidfd, libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => 0,
        Err(_) => libc::WNOHANG,
    };
    let _ = wait(pidfd.as_raw_fd(), flags);
}

/// Takes the status of any child that has ended, however it was cloned: its pid, `si_code` and `si_status`.
pub(crate) fn wait_any() -> Result<Option<(i32, i32, i32)>> {
    wait_id(libc::P_ALL, 0, libc::WNOHANG | libc::__WALL)
}

fn wait_id(kind: libc::idtype_t, id: i32, flags: i32) -> Result<Option<(i32, i32, i32)>> {
    // SAFETY: siginfo_t is plain data for which zeroes are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    retry(|| {
        // SAFETY: info outlives the call.
        check_unit(unsafe {
            libc::syscall(
                libc::SYS_waitid,
                kind,
                id,
                &raw mut info,
                libc::WEXITED | flags,
                std::ptr::null::<libc::rusage>(),
            )
        })
    })?;
    // SAFETY: waitid filled the SIGCHLD part of the union, or left zeroes.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then_some((pid, info.si_code, status)))
}

/// The signal that ended a process whose status its parent has taken, if the kernel still knows (Linux 6.15); 0 if it
/// exited by itself.
pub(crate) fn exit_signal(pidfd: BorrowedFd<'_>) -> Option<i32> {
    /// `struct pidfd_info` of linux/pidfd.h, as far as it is written back.
    #[repr(C)]
    #[derive(Default)]
    struct PidfdInfo {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info)
    const GET_INFO: u64 = 0xc000_0000 | (size_of::<PidfdInfo>() as u64) << 16 | 0xff00 | 0x000b;
    let mut info = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the kernel writes as many bytes as the request says, which is the size of the structure.
    check_unit(unsafe { libc::syscall(libc::SYS_ioctl, pidfd.as_raw_fd(), GET_INFO, &raw mut info) }).ok()?;
    (info.mask & INFO_EXIT != 0).then_some(info.exit_code & 0x7f)
}
