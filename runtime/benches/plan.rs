//! What happens between `config.json` and the plan of a creation, without a system call:
//! `cargo bench -p wharf --features fuzzing`.
//!
//! The configurations are those that managers wrote, from the corpus of the tests. `plan` is all of it, for two kinds of
//! hosts (cgroup v1 and v2), so that one creation costs `check` and half of the rest.

use divan::{Bencher, black_box};
use std::fs;

fn main() {
    divan::main();
}

const CORPUS: [&str; 4] = ["runc-spec", "docker-default", "podman-default", "ctr-default"];

fn config(name: &str) -> Vec<u8> {
    let path = format!("{}/../spec-tests/corpus/{name}.json", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[divan::bench(args = CORPUS)]
fn check(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = config(name);
    assert!(wharf::fuzzing::config(&bytes), "{name} is refused");
    bencher.bench_local(|| wharf::fuzzing::config(black_box(&bytes)));
}

#[divan::bench(args = CORPUS)]
fn plan(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = config(name);
    assert_eq!(wharf::fuzzing::plan_only(&bytes), 2, "{name} cannot be planned");
    bencher.bench_local(|| wharf::fuzzing::plan_only(black_box(&bytes)));
}

#[divan::bench(args = CORPUS)]
fn filter(bencher: Bencher<'_, '_>, name: &str) {
    let spec: serde_json::Value = serde_json::from_slice(&config(name)).expect("the corpus is JSON");
    let profile = spec["linux"]["seccomp"].to_string();
    bencher.bench_local(|| wharf::fuzzing::seccomp(black_box(profile.as_bytes())));
}
