//! Any text as a cgroup path, names of systemd units, and values of annotations for systemd.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::cgroup_names(bytes);
});
