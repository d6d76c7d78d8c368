//! The notices of version 1's `cgroup.event_control`.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::file;
use crate::sys::timer::Timer;

/// The first pause before reading the counter again; each is twice as long as the one before.
const FIRST: Duration = Duration::from_millis(1);
/// The last: if nothing is killed for a second after a notice, memory was found after all.
const LAST: Duration = Duration::from_millis(512);

/// How long the notice of a removal takes at most: the kernel gives it after a grace period, from a queue of work.
const REMOVAL: Duration = Duration::from_secs(1);

/// Notices that memory has run out. Each comes *before* the kernel has chosen a process, killed it and counted that. So
/// a notice stays pending until the counter follows.
#[derive(Debug)]
pub(super) struct Notices {
    event: EventFd,
    timer: Timer,
    /// Readable when either of the two is.
    either: Epoll,
    /// How long the next pause is, while a notice waits for the counter.
    pause: Option<Duration>,
    /// Whether exactly one notice had arrived when they were taken last, and no other was waiting for its kill.
    lone: bool,
    /// Until when the notice of the removal is waited for.
    removal_until: Option<Instant>,
}

impl Notices {
    /// Asks the kernel for the notices.
    pub(super) fn of(dir: &OwnedFd, counter: &OwnedFd) -> nix::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let timer = Timer::new()?;
        let either = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        either.add(&event, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        either.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        let line = format!("{} {}", event.as_raw_fd(), counter.as_raw_fd());
        file::write_at(dir, "cgroup.event_control", &line)?;
        Ok(Self { event, timer, either, pause: None, lone: false, removal_until: None })
    }

    /// Takes the notices that have arrived. Call it before reading the counter, and [`Notices::counted`] after that.
    ///
    /// Returns whether there are more than the one that the removal of the cgroup gives.
    pub(super) fn take(&mut self) -> nix::Result<bool> {
        let waiting = self.pause.is_some();
        let came = match self.event.read() {
            Ok(came) => came,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(errno) => return Err(errno),
        };
        if came > 0 {
            self.pause = Some(FIRST);
        }
        self.timer.set(None)?;
        self.lone = came == 1 && !waiting;
        // The earlier one was not of the removal.
        let second = self.removal_until.is_some() && came > 0;
        Ok(waiting || came > 1 || second)
    }

    /// Whether it is still open if the one notice that arrived was of the removal of the cgroup, which is gone: if
    /// another follows, it was not. It will be known when the descriptor becomes readable again.
    pub(super) fn awaits_removal(&mut self) -> nix::Result<bool> {
        self.pause = None;
        let now = Instant::now();
        if self.lone && self.removal_until.is_none() {
            self.removal_until = Some(now + REMOVAL);
        }
        let rest = self.removal_until.and_then(|until| until.checked_duration_since(now));
        let rest = rest.filter(|rest| !rest.is_zero());
        self.timer.set(rest)?;
        Ok(rest.is_some())
    }

    /// Takes note of a reading of the counter. If a notice still lacks its kill, the counter is to be read again after
    /// a pause.
    pub(super) fn counted(&mut self, kills: u64) -> nix::Result<()> {
        let pause = self.pause.take().filter(|pause| kills == 0 && *pause <= LAST);
        self.pause = pause.map(|pause| pause * 2);
        self.timer.set(pause)
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.either.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::wait_readable;

    fn notices() -> Notices {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
        let timer = Timer::new().unwrap();
        let either = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        either.add(&event, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
        either.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
        Notices { event, timer, either, pause: None, lone: false, removal_until: None }
    }

    fn readable(notices: &Notices, milliseconds: i32) -> bool {
        let [readable] = wait_readable([notices.as_fd().as_raw_fd()], milliseconds).unwrap();
        readable
    }

    #[test]
    fn a_notice_stays_one_until_the_counter_follows() {
        let mut notices = notices();
        assert!(!readable(&notices, 0));
        notices.event.write(1).unwrap();
        for _ in 0..3 {
            assert!(readable(&notices, 10_000));
            notices.take().unwrap();
            notices.counted(0).unwrap();
        }
        assert!(readable(&notices, 10_000));
        notices.take().unwrap();
        notices.counted(1).unwrap();
        assert!(!readable(&notices, 50));
    }

    #[test]
    fn the_removal_gives_one_notice() {
        let mut notices = notices();
        assert!(!notices.take().unwrap());
        notices.event.write(1).unwrap();
        assert!(!notices.take().unwrap());
        notices.counted(0).unwrap();
        // That notice was about memory, as the cgroup still existed.
        assert!(notices.take().unwrap());
        notices.counted(1).unwrap();
        notices.event.write(2).unwrap();
        assert!(notices.take().unwrap());
    }

    #[test]
    fn one_notice_of_a_cgroup_that_is_gone_is_decided_by_a_second() {
        for second in [true, false] {
            let mut notices = notices();
            notices.event.write(1).unwrap();
            assert!(!notices.take().unwrap());
            assert!(notices.awaits_removal().unwrap());
            assert!(!notices.take().unwrap(), "asked too early");
            assert!(notices.awaits_removal().unwrap());
            if second {
                notices.event.write(1).unwrap();
            }
            assert!(readable(&notices, 10_000));
            assert_eq!(notices.take().unwrap(), second);
            assert!(second || !notices.awaits_removal().unwrap());
        }
        let mut notices = notices();
        assert!(!notices.take().unwrap() && !notices.awaits_removal().unwrap(), "no notice at all");
    }

    #[test]
    fn a_notice_without_a_kill_is_given_up() {
        let mut notices = notices();
        notices.event.write(1).unwrap();
        let mut looks = 0;
        while readable(&notices, 2_000) {
            notices.take().unwrap();
            notices.counted(0).unwrap();
            looks += 1;
            assert!(looks < 20, "it goes on for ever");
        }
        assert!(looks > 5, "given up after {looks}");
    }
}
