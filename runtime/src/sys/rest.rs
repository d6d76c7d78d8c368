//! Memory that a process can do without while it waits, and that comes back by itself.
//!
//! Of a daemon of which there is one for each pod, most of what is resident is code that was needed once, to start. The
//! page cache has it for the next process that needs it; what a waiting process keeps mapped of it counts as in use.

use std::ffi::c_void;

use super::memory::{page_size, visit_segments};

/// Of the stack below the caller, this much is let go of: the first part of a thread's stack that the kernel maps.
const STACK: usize = 128 << 10;
/// What the calls made here may use themselves.
const OWN_STACK: usize = 2 << 10;

/// Lets go of memory that this process does not need while it waits: the pages of its code and constants, which the
/// kernel maps again from the page cache when they are used, and the unused part of the first thread's stack.
///
/// It takes some tens of microseconds, and the next work some more, so call it after a while without work. Breakpoints
/// that a debugger has set are lost.
pub fn rest() {
    let segments = Segments::loaded();
    for (start, end) in segments.never_written() {
        // SAFETY: these are pages of files that are mapped without the right to write, so the file has the same content.
        unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) };
    }
    // Not gettid(3): the standard library refers to it weakly, and with musl the linker then resolves neither.
    // SAFETY: no pointers.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    if thread == super::process::pid() {
        drop_unused_stack();
    }
}

/// Lets go of the first thread's stack below this call.
#[inline(never)]
fn drop_unused_stack() {
    let here = 0_u8;
    let end = (&raw const here as usize - OWN_STACK) & !(page_size() - 1);
    // SAFETY: no frame of this thread is down there but those of the calls made here, which take less than is left to
    // them. The kernel keeps other mappings a megabyte away from a stack that grows (mmap(2), `MAP_GROWSDOWN`), so what is
    // there and not the stack is not mapped; that makes the call fail after it has done the rest.
    unsafe { libc::madvise((end - STACK) as *mut c_void, STACK, libc::MADV_DONTNEED) };
}

/// The segments of all loaded objects, as whole pages: start and end.
#[derive(Debug, Default)]
struct Segments {
    read_only: Vec<(usize, usize)>,
    written: Vec<(usize, usize)>,
}

impl Segments {
    fn loaded() -> Self {
        let mut segments = Self::default();
        let page = page_size();
        visit_segments(&mut |kind, flags, start, end| {
            if kind == libc::PT_LOAD {
                // Code into which the loader writes (`DT_TEXTREL`) is in a segment that can be written to.
                let writable = flags & libc::PF_W != 0;
                let pages = (start & !(page - 1), end.next_multiple_of(page));
                (if writable { &mut segments.written } else { &mut segments.read_only }).push(pages);
            }
        });
        segments
    }

    /// The pages that nothing was ever written to, not even by the loader.
    fn never_written(&self) -> impl Iterator<Item = (usize, usize)> {
        // A page that belongs to segments of both kinds is mapped as the later one says.
        let apart =
            |&(start, end): &(usize, usize)| !self.written.iter().any(|one| one.0 < end && start < one.1);
        self.read_only.iter().copied().filter(apart)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn what_was_written_to_stays() {
        let segments = Segments {
            read_only: vec![(0x1000, 0x3000), (0x3000, 0x5000), (0x8000, 0x9000)],
            written: vec![(0x4000, 0x6000)],
        };
        let all: Vec<_> = segments.never_written().collect();
        assert_eq!(all, [(0x1000, 0x3000), (0x8000, 0x9000)]);
    }

    /// How many pages of a constant this process has mapped (`Documentation/admin-guide/mm/pagemap.rst` of Linux).
    fn mapped(constant: &[u8]) -> Option<usize> {
        let mut entries = vec![0; constant.len() / page_size() * 8];
        let pagemap = std::fs::File::open("/proc/self/pagemap").ok()?;
        pagemap.read_exact_at(&mut entries, (constant.as_ptr() as usize / page_size() * 8) as u64).ok()?;
        Some(entries.chunks_exact(8).filter(|entry| entry[7] & 0x80 != 0).count())
    }

    #[test]
    fn a_process_that_rests_has_less_and_goes_on() {
        // Pages come back by dozens, so there are many.
        static CONSTANT: [u8; 8 << 20] = [1; 8 << 20];
        static mut WRITTEN: [u8; 3] = [1; 3];
        let is_whole = || std::hint::black_box(&CONSTANT).iter().step_by(512).all(|&byte| byte == 1);
        // In a copy, which has the first thread alone: others would use the code in the meantime.
        // SAFETY: the copy calls what needs no lock of another thread but the allocator's, which the C library frees in it.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: one thread.
            unsafe { WRITTEN[1] = 7 };
            let (whole, before) = (is_whole(), mapped(&CONSTANT));
            rest();
            let after = mapped(&CONSTANT);
            let less = before.zip(after).is_some_and(|(before, after)| after < before / 2);
            if !less {
                eprintln!("{before:?} pages, then {after:?}");
            }
            // SAFETY: one thread.
            let kept = whole && is_whole() && unsafe { WRITTEN } == [1, 7, 1];
            super::super::clone::exit_now(i32::from(!(less && kept)));
        }
        let mut status = 0;
        // SAFETY: a local variable.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
    }
}
