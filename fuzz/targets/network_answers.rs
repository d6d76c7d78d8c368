//! Any bytes as an answer of the kernel about network devices.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::network_answers(bytes);
});
