//! Any bytes as the files of the state directory.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::records(bytes);
});
