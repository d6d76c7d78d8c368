//! A timer as a descriptor, for event loops (`timerfd_create(2)`).

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;
use std::time::Duration;

use super::{Result, check_fd, check_unit};

/// Readable once its time is over.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// A timer that is not set.
    pub(crate) fn new() -> Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: the call takes numbers by value.
        let fd = check_fd(unsafe { libc::syscall(libc::SYS_timerfd_create, libc::CLOCK_MONOTONIC, flags) })?;
        // SAFETY: the descriptor is new, and nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sets it; none disarms it, and clears anything to be read.
    pub(crate) fn set(&self, after: Option<Duration>) -> Result<()> {
        let after = after.unwrap_or_default();
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = libc::timespec { tv_sec: after.as_secs() as _, tv_nsec: after.subsec_nanos().into() };
        let setting = libc::itimerspec { it_interval: zero, it_value: value };
        let (fd, none) = (self.0.as_raw_fd(), ptr::null::<libc::itimerspec>());
        // SAFETY: the setting outlives the call, which only reads it, and the old one is not asked for.
        check_unit(unsafe { libc::syscall(libc::SYS_timerfd_settime, fd, 0, &raw const setting, none) })
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::wait_readable;

    #[test]
    fn it_is_readable_when_its_time_is_over_and_not_once_it_is_set_again() {
        let timer = Timer::new().unwrap();
        let fd = timer.as_fd().as_raw_fd();
        assert_eq!(wait_readable([fd], 0), Ok([false]));
        timer.set(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(wait_readable([fd], 10_000), Ok([true]));
        timer.set(None).unwrap();
        assert_eq!(wait_readable([fd], 0), Ok([false]));
    }
}
