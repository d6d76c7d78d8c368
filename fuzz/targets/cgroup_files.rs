//! Any bytes as files of a cgroup and `/proc/PID/cgroup`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wharf::fuzzing::cgroup_files(bytes);
});
