//! Times that a child records where its parent can read them.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use super::Result;

/// One time for each step, in memory that a child shares with its parent.
#[derive(Debug)]
pub(crate) struct Marks {
    memory: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: all that is shared are atomics, and the mapping belongs to the value alone.
unsafe impl Send for Marks {}
// SAFETY: as above.
unsafe impl Sync for Marks {}

impl Marks {
    /// Memory for that many steps, none of which has begun.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let memory = unsafe { libc::mmap(ptr::null_mut(), bytes(count), access, kind, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(memory.cast()).map(|memory| Self { memory, count }).ok_or(Errno::ENOMEM)
    }

    fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has room for so many, is aligned to a page, began as zeros, and lives as long as this.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.count) }
    }

    /// Records that a step begins. Does not allocate or, if the kernel provides the time without one, make a system
    /// call.
    pub(crate) fn set(&self, index: usize) {
        if let Some(mark) = self.all().get(index) {
            mark.store(now(), Ordering::Relaxed);
        }
    }

    /// When a step began, if it did.
    pub(crate) fn get(&self, index: usize) -> Option<u64> {
        let time = self.all().get(index)?.load(Ordering::Relaxed);
        (time != 0).then_some(time)
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing refers to it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), bytes(self.count)) };
    }
}

fn bytes(count: usize) -> usize {
    count.max(1) * size_of::<AtomicU64>()
}

/// The monotonic clock, in nanoseconds.
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time outlives the call; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_has_its_time() {
        let marks = Marks::new(3).unwrap();
        let before = now();
        marks.set(1);
        marks.set(3);
        let times: Vec<_> = (0..4).map(|index| marks.get(index)).collect();
        assert_eq!((times[0], times[2], times[3]), (None, None, None));
        assert!(times[1].is_some_and(|time| (before..=now()).contains(&time)));
        assert!(Marks::new(0).is_ok());
    }
}
