//! Every parser of bytes that the library does not trust, for fuzz targets: bytes in, no change of the machine, and
//! nothing may panic. What must hold of the result stands beside the parsers, in their modules' `fuzz.rs`.

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

fn plans(bytes: &[u8], mut each: impl FnMut(Plan)) -> usize {
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

/// Parses the documents of `exec --process`, `update` and `mounts`, checks them, and translates limits for two kinds of
/// machines.
pub fn documents(bytes: &[u8]) {
    if let Ok((process, _)) = document::read_process(bytes) {
        drop(crate::check::check_process(&process));
    }
    if let Ok((resources, _)) = document::read_resources(bytes) {
        drop(crate::check::check_resources(&resources));
        crate::cgroup::fuzz::limits(&resources);
    }
    if let Ok((mounts, _)) = document::read_mounts(bytes) {
        drop(crate::check::check_added_mounts(&mounts, &Spec::default()));
        drop(crate::check::check_removed_mounts(&mounts));
    }
}

/// Parses the files of the state directory.
pub fn records(bytes: &[u8]) {
    crate::container::fuzz::records(bytes);
}

/// Looks up a user in the files of an image: the name, `/etc/passwd` and `/etc/group` with a NUL between them.
pub fn users(bytes: &[u8]) {
    crate::container::fuzz::users(bytes);
}

/// Parses files of `/proc`.
pub fn proc_files(bytes: &[u8]) {
    crate::linux::fuzz::proc_files(bytes);
}

/// Parses the options of a mount, one a line.
pub fn mount_options(bytes: &[u8]) {
    crate::linux::fuzz::mount_options(bytes);
}

/// Parses an answer of the kernel about network devices: a kind of message and its body.
pub fn network_answers(bytes: &[u8]) {
    crate::linux::net_device::fuzz::answers(bytes);
}

/// Parses files of a cgroup.
pub fn cgroup_files(bytes: &[u8]) {
    crate::cgroup::fuzz::files(bytes);
}

/// Parses cgroup paths, names of systemd units, and values of annotations for systemd.
pub fn cgroup_names(bytes: &[u8]) {
    crate::cgroup::fuzz::names(bytes);
}

/// Parses a D-Bus message.
pub fn bus_messages(bytes: &[u8]) {
    crate::cgroup::fuzz::bus(bytes);
}

/// Parses the images of a checkpoint that are read before a restore.
pub fn checkpoint_images(bytes: &[u8]) {
    crate::criu::fuzz::images(bytes);
}

/// Parses an answer of criu and its log.
pub fn criu_answers(bytes: &[u8]) {
    crate::criu::fuzz::answers(bytes);
}

/// Words a message of a child about the plan of an example.
pub fn child_messages(bytes: &[u8]) {
    static EXAMPLE: std::sync::LazyLock<(Spec, Plan)> = std::sync::LazyLock::new(|| {
        let spec = Spec::default();
        let bytes = serde_json::to_vec(&spec).expect("a configuration is JSON");
        let mut first = None;
        plans(&bytes, |plan| {
            first.get_or_insert(plan);
        });
        (spec, first.expect("the example can be planned"))
    });
    let (spec, plan) = &*EXAMPLE;
    crate::spawn::fuzz::message(bytes, &plan.program, spec);
}
