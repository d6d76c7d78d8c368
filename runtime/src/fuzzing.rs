//! The pure half of the pipeline for fuzz targets: bytes in, no system call, and nothing may panic.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Arch, LinuxSeccomp, Spec};

use crate::cgroup::{CgroupPlan, Denial, DirRecord, examples};
use crate::check::document;
use crate::host::Host;
use crate::plan::mount::cgroup::Views;
use crate::plan::{Gate, Plan, Request};

/// Parses and checks a configuration; true if nothing is wrong with it.
pub fn config(bytes: &[u8]) -> bool {
    checked(bytes).is_some()
}

/// Parses and checks a configuration and plans the creation of its container, on two kinds of machines; returns the
/// number of plans.
pub fn plan(bytes: &[u8]) -> usize {
    plans(bytes, |plan| {
        // The words of a plan come from the same offsets that the child follows.
        drop(plan.explain("fuzz").to_string());
    })
}

/// The same without the words, for the benchmark.
pub fn plan_only(bytes: &[u8]) -> usize {
    plans(bytes, |plan| drop(std::hint::black_box(plan)))
}

fn plans(bytes: &[u8], each: impl Fn(Plan)) -> usize {
    let Some(spec) = checked(bytes) else { return 0 };
    let mut count = 0;
    let controllers = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma"];
    let hierarchies = ["cpu,cpuacct", "cpuset", "blkio", "memory", "pids", "devices", "freezer", "hugetlb"];
    for layout in [examples::v2(&controllers), examples::v1(&hierarchies)] {
        let Ok(cgroup) = CgroupPlan::new(spec.linux().as_ref(), "fuzz", &layout, Denial::Odd) else {
            continue;
        };
        let record = cgroup.planned_record();
        let tasks: Vec<PathBuf> = record.dirs.iter().map(|dir| dir.path().join("tasks")).collect();
        let views = Views::Unified {
            directory: record.dirs.first().map(DirRecord::path).unwrap_or_default(),
            is_own: true,
        };
        let request = Request {
            id: "fuzz",
            renamed: &[],
            links: &[],
            scope: None,
            bundle: Path::new("/bundle"),
            rootfs: Path::new("/bundle/rootfs"),
            gate: Gate::Socket,
            no_pivot: false,
            new_keyring: true,
            preserved: 0,
            notify: None,
            env: &[],
            host: Host::of_root(),
            keep_groups: false,
            tasks: &tasks,
            views: &views,
        };
        if let Ok(plan) = crate::plan::create(&spec, &request) {
            each(plan);
            count += 1;
        }
    }
    count
}

/// Compiles a `linux.seccomp` object for two machines.
pub fn seccomp(bytes: &[u8]) {
    let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(bytes) else { return };
    for native in [Arch::ScmpArchX86_64, Arch::ScmpArchAarch64] {
        if let Ok(filter) = crate::linux::seccomp::compile(&profile, native) {
            assert!((1..=4096).contains(&filter.instructions.len()), "a filter that the kernel cannot take");
        }
    }
}

fn checked(bytes: &[u8]) -> Option<Spec> {
    let (spec, findings) = document::read_config(bytes);
    let spec = spec?;
    let wrong = findings.iter().chain(&crate::check::check(&spec)).any(crate::Finding::is_error);
    (!wrong).then_some(spec)
}
