//! Any bytes as the documents of `exec --process`, `update` and `mounts`, with their checks, and limits translated.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::documents(bytes);
});
