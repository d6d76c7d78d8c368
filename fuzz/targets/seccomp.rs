//! Any bytes as a `linux.seccomp` object, through the compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::seccomp(bytes);
});
