//! Any lines as the options of a mount.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::mount_options(bytes);
});
