//! Any bytes as a D-Bus message.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::bus_messages(bytes);
});
