//! Writes the time of its own first instruction, CLOCK_MONOTONIC as `struct timespec`, into the file that its first
//! argument names. There is no C library that would do anything before. With a second argument it stays until it is killed.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "mov rdi, rsp", "and rsp, -16", "call {begin}", begin = sym begin);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x0, sp", "bl {begin}", begin = sym begin);

#[cfg(target_arch = "x86_64")]
mod number {
    pub const CLOCK_GETTIME: usize = 228;
    pub const OPENAT: usize = 257;
    pub const WRITE: usize = 1;
    pub const PPOLL: usize = 271;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const CLOCK_GETTIME: usize = 113;
    pub const OPENAT: usize = 56;
    pub const WRITE: usize = 64;
    pub const PPOLL: usize = 73;
    pub const EXIT_GROUP: usize = 94;
}

/// # Safety
///
/// Pointers among the arguments are as the system call wants them.
unsafe fn call(number: usize, arguments: [usize; 4]) -> isize {
    let [a, b, c, d] = arguments;
    let answer: isize;
    // SAFETY: the system call convention of the processor; what the kernel overwrites is named.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => answer, in("x1") b, in("x2") c, in("x3") d,
            options(nostack));
    }
    answer
}

/// # Safety
///
/// `stack` is the stack that the kernel starts a program with: the number of arguments, then pointers to them.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    const MONOTONIC: usize = 1;
    const HERE: usize = -100_isize as usize;
    const WRITE_CREATE_TRUNCATE: usize = 0o1 | 0o100 | 0o1000;
    let mut now = [0_i64; 2];
    // SAFETY: `now` is a struct timespec; the second argument is a C string, or null, with which openat fails.
    unsafe {
        call(number::CLOCK_GETTIME, [MONOTONIC, now.as_mut_ptr() as usize, 0, 0]);
        let path = if *stack > 1 { *stack.add(2) } else { 0 };
        let file = call(number::OPENAT, [HERE, path, WRITE_CREATE_TRUNCATE, 0o644]);
        let written = call(number::WRITE, [file as usize, now.as_ptr() as usize, size_of_val(&now), 0]);
        while *stack > 2 && written == 16 {
            call(number::PPOLL, [0; 4]);
        }
        call(number::EXIT_GROUP, [usize::from(written != 16), 0, 0, 0]);
    }
    loop {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
