//! A dirty heap, as in programs that have worked for a while.
#![allow(unsafe_code, reason = "madvise(2) has no other form")]

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// What the kernel is told about the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advised {
    /// Nothing.
    Not,
    /// Children do not get it: `MADV_DONTFORK`.
    NotForChildren,
    /// It may consist of huge pages: `MADV_HUGEPAGE`.
    Huge,
}

/// Allocates this many bytes until the end of the process, and writes to each page of them.
pub(crate) fn take(bytes: usize, advised: Advised) -> rustix::io::Result<()> {
    // SAFETY: a new mapping at a place that the kernel chooses.
    let memory = unsafe {
        mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
    };
    let advice = match advised {
        Advised::Not => Advice::LinuxNoHugepage,
        Advised::NotForChildren => Advice::LinuxDontFork,
        Advised::Huge => Advice::LinuxHugepage,
    };
    // SAFETY: the whole of the mapping above, which nothing refers to yet.
    unsafe { madvise(memory, bytes, advice)? };
    for at in (0..bytes).step_by(4096) {
        // SAFETY: inside the mapping; nothing else knows of it.
        unsafe { memory.cast::<u8>().add(at).write(1) };
    }
    Ok(())
}
