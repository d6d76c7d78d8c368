//! Any bytes as a `config.json`, through checks and planning.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::plan(bytes);
});
