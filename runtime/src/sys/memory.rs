//! What a process passes on of its memory to its children. A child that must have nothing of the caller gets the
//! program's code, and what was put into a region of its own.
//!
//! In a foreign pid namespace, any process with `CAP_SYS_PTRACE` can read such a child: all its memory, its environment
//! and its arguments. So its maker first marks everything that it has, except the code, as not to be copied
//! (`MADV_DONTFORK`, madvise(2)). What is never copied need not be wiped, and costs nothing.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::sync::OnceLock;

use nix::errno::Errno;

use super::{Result, check, check_unit};

/// Whether this build can give a child its own thread area; otherwise it is an ordinary copy.
pub(crate) const SEPARABLE: bool =
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"));

/// Unmaps and maps whole pages of this size or of a divisor (getpagesize(2): 4, 16 or 64 kilobytes).
pub(crate) const LARGEST_PAGE: usize = 64 << 10;

/// `RSEQ_FLAG_UNREGISTER` and the signature that C libraries register with (rseq(2)).
const RSEQ_UNREGISTER: c_int = 1;
const RSEQ_SIGNATURE: u32 = if cfg!(target_arch = "aarch64") {
    0xd428_bc00
} else if cfg!(target_arch = "riscv64") {
    0xf140_1073
} else {
    0x5305_3053
};
/// The registered length, unless the kernel has more features (`AT_RSEQ_FEATURE_SIZE`, `AT_RSEQ_ALIGN`).
const RSEQ_LENGTHS: [usize; 3] = [32, 64, 20];

/// Facts about the program that its copies need, collected before the first of them is made.
#[derive(Debug)]
pub(crate) struct Code {
    /// The parts of the program and its libraries that are never written to: start and length.
    ranges: Vec<(usize, usize)>,
    /// The offset of `errno` from the thread pointer.
    errno: isize,
    /// The offset of the C library's restartable sequences area from the thread pointer, if it has registered one.
    rseq: Option<isize>,
}

impl Code {
    /// Collects them once; the program's own code is loaded by then.
    pub(crate) fn of_this_program() -> &'static Self {
        static CODE: OnceLock<Code> = OnceLock::new();
        CODE.get_or_init(|| {
            // SAFETY: it has no preconditions.
            let errno = unsafe { libc::__errno_location() } as isize;
            Self { ranges: loaded_code(), errno: errno - thread_pointer() as isize, rseq: rseq_offset() }
        })
    }

    /// How much room a thread area needs: before the thread pointer, and after it.
    pub(crate) fn thread_area(&self) -> (usize, usize) {
        // More than any C library's structure at the pointer.
        const STRUCTURE: usize = 8 << 10;
        let distance = self.errno.unsigned_abs() + 64;
        let round = |length: usize| length.next_multiple_of(64).max(STRUCTURE);
        if self.errno < 0 { (round(distance), STRUCTURE) } else { (STRUCTURE, round(distance)) }
    }

    /// Marks everything that this process has as not to be copied, except for the code and the region. Does not
    /// allocate, and does not change what this process itself sees.
    pub(crate) fn keep_only(&self, region: (usize, usize)) -> Result<()> {
        self.leave_rseq()?;
        // ENOMEM: parts of the range are not mapped, which is the normal case; the mapped ones are marked.
        match advise((0, ADDRESSES), libc::MADV_DONTFORK) {
            Ok(()) | Err(Errno::ENOMEM) => {}
            Err(errno) => return Err(errno),
        }
        for range in &self.ranges {
            // A part that may not be marked is not ours.
            let _ = advise(*range, libc::MADV_DOFORK);
        }
        advise(region, libc::MADV_DOFORK)
    }

    /// The kernel writes to the registered area whenever the thread is scheduled; a copy inherits the registration, and
    /// would be killed because the area is missing.
    fn leave_rseq(&self) -> Result<()> {
        let Some(offset) = self.rseq else { return Ok(()) };
        let area = thread_pointer().wrapping_add_signed(offset);
        for length in RSEQ_LENGTHS {
            // SAFETY: the area is that of this thread, according to the C library; it is only forgotten.
            let left = check_unit(unsafe {
                libc::syscall(libc::SYS_rseq, area, length, RSEQ_UNREGISTER, RSEQ_SIGNATURE)
            });
            match left {
                // Not this length, or nothing is registered.
                Err(Errno::EINVAL) => {}
                other => return other,
            }
        }
        Ok(())
    }
}

/// More than any process can map with four levels of page tables; five are used only on request.
const ADDRESSES: usize =
    if cfg!(target_pointer_width = "64") { (1 << 56) - LARGEST_PAGE } else { 0xffff_0000 };

fn advise((start, length): (usize, usize), advice: c_int) -> Result<()> {
    // SAFETY: neither advice changes what this process itself sees of its memory.
    check_unit(unsafe { libc::syscall(libc::SYS_madvise, start, length, advice) })
}

/// Maps zeroed memory, readable and writable, with an inaccessible page at its start.
pub(crate) fn map(length: usize) -> Result<*mut u8> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = check(unsafe {
        libc::syscall(libc::SYS_mmap, 0usize, length, protection, flags, -1 as RawFd, 0usize)
    })?;
    // SAFETY: the page is of the mapping just made, and nothing is in it.
    check_unit(unsafe { libc::syscall(libc::SYS_mprotect, start, LARGEST_PAGE, libc::PROT_NONE) })?;
    Ok(start as *mut u8)
}

/// Prepares a zeroed thread area around a thread pointer.
///
/// # Safety
///
/// Around the pointer there is as much room as [`Code::thread_area`] says, and nothing else uses it.
pub(crate) unsafe fn prepare_thread_area(pointer: *mut u8) {
    // On x86-64 the pointer is found by reading it (System V ABI, thread-local storage); C libraries have a second copy
    // 16 bytes further on. On other architectures it is in a register.
    if cfg!(target_arch = "x86_64") {
        // SAFETY: the caller's promise.
        unsafe {
            pointer.cast::<*mut u8>().write_unaligned(pointer);
            pointer.add(16).cast::<*mut u8>().write_unaligned(pointer);
        }
    }
}

/// The thread pointer of the calling thread.
fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register, or the word that holds the pointer itself.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, nomem));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "riscv64")]
    unsafe {
        std::arch::asm!("mv {}, tp", out(reg) pointer, options(nostack, preserves_flags, nomem));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
    {
        pointer = 0;
    }
    pointer
}

/// glibc says where its area is (`__rseq_offset`, since 2.35); musl registers none.
#[cfg(target_env = "gnu")]
fn rseq_offset() -> Option<isize> {
    // SAFETY: the names are C strings; the symbols, where they exist, are an unsigned int and a ptrdiff_t that never
    // change after the program has started.
    unsafe {
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()).cast::<u32>();
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
        (!size.is_null() && !offset.is_null() && *size != 0).then(|| *offset)
    }
}

#[cfg(not(target_env = "gnu"))]
fn rseq_offset() -> Option<isize> {
    None
}

/// Everything loaded that is never written to: code, constants, and what the loader has made read-only.
fn loaded_code() -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let page = page_size();
    visit_segments(&mut |kind, flags, start, end| match kind {
        libc::PT_LOAD if flags & libc::PF_W == 0 => {
            let start = start & !(page - 1);
            ranges.push((start, end.next_multiple_of(page) - start));
        }
        // Only whole pages become read-only.
        libc::PT_GNU_RELRO => {
            let (start, end) = (start & !(page - 1), end & !(page - 1));
            ranges.push((start, end.saturating_sub(start)));
        }
        _ => {}
    });
    ranges.sort_unstable();
    ranges.dedup_by(|later, earlier| {
        // Neighbours become one range: one call each time.
        let joined = later.0 <= earlier.0 + earlier.1;
        if joined {
            earlier.1 = earlier.1.max(later.0 + later.1 - earlier.0);
        }
        joined
    });
    ranges
}

/// What looks at a segment: its type and flags (elf(5)), and the addresses of its start and end.
type Visitor<'v> = dyn FnMut(u32, u32, usize, usize) + 'v;

/// Shows all segments of all loaded objects.
pub(super) fn visit_segments(mut visitor: &mut Visitor<'_>) {
    // SAFETY: the callback gets the visitor and runs during this call only.
    unsafe { libc::dl_iterate_phdr(Some(visit_object), (&raw mut visitor).cast()) };
}

unsafe extern "C" fn visit_object(object: *mut libc::dl_phdr_info, _: usize, visitor: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr(3) passes a valid structure and our visitor, which nothing else uses in the meantime.
    let (object, visitor) = unsafe { (&*object, &mut *visitor.cast::<&mut Visitor<'_>>()) };
    if object.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the object has this many program headers there.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    for header in headers {
        let start = (object.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        visitor(header.p_type, header.p_flags, start, start.wrapping_add(header.p_memsz as usize));
    }
    0
}

pub(super) fn page_size() -> usize {
    // SAFETY: no pointers.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_this_test_is_found_and_its_data_is_not() {
        static CHANGED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        CHANGED.store(7, std::sync::atomic::Ordering::Relaxed);
        let code = Code::of_this_program();
        let holds = |address: usize| {
            code.ranges.iter().any(|(start, length)| (*start..start + length).contains(&address))
        };
        assert!(holds(page_size as *const () as usize), "this very function");
        assert!(holds(c"a constant".as_ptr() as usize));
        assert!(!holds((&raw const CHANGED) as usize), "a variable is the caller's");
        let boxed = Box::new(1u8);
        assert!(!holds((&raw const *boxed) as usize) && !holds((&raw const code) as usize), "heap and stack");
    }

    #[test]
    fn errno_has_room_in_the_thread_area() {
        let code = Code::of_this_program();
        let (before, after) = code.thread_area();
        assert!(-(before as isize) < code.errno && code.errno + 4 < after as isize, "{code:?}");
    }
}
