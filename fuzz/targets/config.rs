//! Any bytes as a `config.json`: findings or a value, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::config(bytes);
});
