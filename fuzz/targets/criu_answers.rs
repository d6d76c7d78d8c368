//! Any bytes as an answer of criu, and as its log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::criu_answers(bytes);
});
