//! Any bytes as a message of the process that becomes the container.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::child_messages(bytes);
});
