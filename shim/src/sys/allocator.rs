//! The heap of the program: dlmalloc behind a lock of one word.
//!
//! musl's own allocator asks the kernel for pages again and again and gives them back each time: more than a hundred
//! system calls for one `run`, and each page that comes back is cleared and faulted in once more. The lock that comes
//! with the crate is a `pthread_mutex_t`, which takes longer than the work that it guards; here there is almost never a
//! second thread.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use dlmalloc::Dlmalloc;

/// A heap for all threads of the program.
pub(crate) struct Allocator {
    is_taken: AtomicBool,
    heap: UnsafeCell<Dlmalloc>,
}

// SAFETY: the heap is only reached through `with`, by one thread at a time.
unsafe impl Sync for Allocator {}

impl Allocator {
    /// An empty heap, which asks the kernel for memory when it is first used.
    pub(crate) const fn new() -> Self {
        Self { is_taken: AtomicBool::new(false), heap: UnsafeCell::new(Dlmalloc::new()) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Dlmalloc) -> T) -> T {
        while self.is_taken.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            std::thread::yield_now();
        }
        // SAFETY: the thread that set the flag has exclusive access until it clears it. `work` is a call of dlmalloc,
        // which neither panics nor calls anything that allocates.
        let result = work(unsafe { &mut *self.heap.get() });
        self.is_taken.store(false, Ordering::Release);
        result
    }
}

// SAFETY: dlmalloc keeps the contract of GlobalAlloc: blocks are distinct, aligned and large enough, and keep their place
// until they are freed; null means that there is no memory.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a layout that is not empty.
        self.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        self.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller promises a block of this allocator, with the layout that it was allocated with.
        self.with(|heap| unsafe { heap.free(block, layout.size(), layout.align()) });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above, and the new size is not null.
        self.with(|heap| unsafe { heap.realloc(block, layout.size(), layout.align(), size) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static HEAP: Allocator = Allocator::new();

    /// Each thread finds its own pattern in its own blocks, whatever the others do.
    #[test]
    fn threads_do_not_meet() {
        std::thread::scope(|scope| {
            for pattern in 1..=4_u8 {
                scope.spawn(move || {
                    for size in 1..400 {
                        let layout = Layout::from_size_align(size, 8).unwrap();
                        // SAFETY: the layout is not empty; the block is used within its size and freed with its layout.
                        unsafe {
                            let block = HEAP.alloc(layout);
                            block.write_bytes(pattern, size);
                            let block = HEAP.realloc(block, layout, size * 3);
                            for at in 0..size {
                                assert_eq!(block.add(at).read(), pattern);
                            }
                            HEAP.dealloc(block, Layout::from_size_align(size * 3, 8).unwrap());
                            let block = HEAP.alloc_zeroed(layout);
                            assert_eq!(block.add(size - 1).read(), 0);
                            HEAP.dealloc(block, layout);
                        }
                    }
                });
            }
        });
    }
}
