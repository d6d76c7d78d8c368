//! A user of `exec --user`, and the passwd and group files of an image, with NULs between them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::users(bytes);
});
