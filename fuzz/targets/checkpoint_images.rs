//! Any bytes as the images of a checkpoint that are read before a restore.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::checkpoint_images(bytes);
});
