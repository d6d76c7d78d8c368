//! Any bytes as files of `/proc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::proc_files(bytes);
});
