//! CPU limits: rows A150 to A154.

use super::cgroups::{holds, limited, place};
use crate::outcome::{Outcome, check, same, skip};
use crate::{Spec, Test, cgroup, test};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

pub(super) const TESTS: &[Test] = &[
    test("A150", "cpu shares, quota and period are set, and converted on v2", |bed| {
        let container = limited(bed, "cpu", json!({"shares": 512, "quota": 50_000, "period": 200_000}))?;
        let place = place(&container, "cpu")?;
        if place.v2 {
            // Two formulas are in use: the linear one, and the one that keeps the default weight since 2025.
            let weight = place.read("cpu.weight")?;
            check(["20", "59"].contains(&weight.as_str()), || format!("cpu.weight is {weight}"))?;
            return same("cpu.max", place.read("cpu.max")?, "50000 200000");
        }
        same("cpu.shares", place.read("cpu.shares")?, "512")?;
        same("cpu.cfs_quota_us", place.read("cpu.cfs_quota_us")?, "50000")?;
        same("cpu.cfs_period_us", place.read("cpu.cfs_period_us")?, "200000")
    }),
    test("A150", "a cpu quota without period and a period without quota are set", |bed| {
        let container = limited(bed, "cpu", json!({"quota": 30_000}))?;
        holds(&container, "cpu", ("cpu.cfs_quota_us", "30000"), ("cpu.max", "30000 100000"))?;
        let container = limited(bed, "cpu", json!({"period": 50_000}))?;
        holds(&container, "cpu", ("cpu.cfs_period_us", "50000"), ("cpu.max", "max 50000"))
    }),
    test("A150", "a cpu period that the kernel does not take is refused", |bed| {
        cgroup::hierarchy("cpu")?;
        bed.refuses(&cpu(json!({"period": 5, "quota": 5})), &["period", "quota", "cpu.max"])
    }),
    test("A151", "cpu burst is set", |bed| {
        has_file("cpu.cfs_burst_us", "cpu.max.burst")?;
        let container = limited(bed, "cpu", json!({"quota": 50_000, "period": 100_000, "burst": 20_000}))?;
        holds(&container, "cpu", ("cpu.cfs_burst_us", "20000"), ("cpu.max.burst", "20000"))
    }),
    test("A151", "a cpu burst above the quota is refused", |bed| {
        cgroup::hierarchy("cpu")?;
        bed.refuses(&cpu(json!({"quota": 10_000, "period": 100_000, "burst": 90_000})), &["burst"])
    }),
    test("A152", "a real-time runtime and period are set on v1", |bed| {
        super::scheduling::grouped(bed)?;
        let _budget = super::scheduling::real_time_budget(bed)?;
        let container = limited(bed, "cpu", json!({"realtimeRuntime": 5_000, "realtimePeriod": 500_000}))?;
        let place = place(&container, "cpu")?;
        same("cpu.rt_runtime_us", place.read("cpu.rt_runtime_us")?, "5000")?;
        same("cpu.rt_period_us", place.read("cpu.rt_period_us")?, "500000")
    }),
    test("A152", "a real-time runtime is refused where cgroups have none", |bed| {
        if super::scheduling::grouped(bed).is_ok() {
            return skip("cgroups of this host have real-time runtimes");
        }
        cgroup::hierarchy("cpu")?;
        bed.refuses(
            &cpu(json!({"realtimeRuntime": 5_000, "realtimePeriod": 500_000})),
            &["realtime", "rt_runtime", "rt_period"],
        )
    }),
    test("A152", "a real-time runtime above its period is refused", |bed| {
        cgroup::hierarchy("cpu")?;
        bed.refuses(
            &cpu(json!({"realtimeRuntime": 900_000, "realtimePeriod": 500_000})),
            &["realtime", "rt_runtime", "rt_period"],
        )
    }),
    test("A153", "cpus and mems are set", |bed| {
        cgroup::hierarchy("cpuset")?;
        let container = bed.create(&bed.bundle(&cpu(json!({"cpus": "0", "mems": "0"})))?)?;
        holds(&container, "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0"))?;
        holds(&container, "cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0"))?;
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid()?.as_raw_pid()))?;
        check(status.contains("Cpus_allowed_list:\t0\n"), || "the first process may use other CPUs".into())
    }),
    test("A153", "cpus that do not exist or are no list are refused", |bed| {
        cgroup::hierarchy("cpuset")?;
        bed.refuses(&cpu(json!({"cpus": "4000-4001"})), &["cpus"])?;
        bed.refuses(&cpu(json!({"cpus": "zero"})), &["cpus"])
    }),
    test("A154", "cpu idle is set, and taken back by update", |bed| {
        has_file("cpu.idle", "cpu.idle")?;
        let container = limited(bed, "cpu", json!({"idle": 1}))?;
        holds(&container, "cpu", ("cpu.idle", "1"), ("cpu.idle", "1"))?;
        let update = json!({"cpu": {"idle": 0}}).to_string();
        bed.command(["update", "--resources", "-", container.id()]).stdin(update).call()?.ok()?;
        holds(&container, "cpu", ("cpu.idle", "0"), ("cpu.idle", "0"))
    }),
    test("A154", "a cpu idle that is neither 0 nor 1 is refused", |bed| {
        has_file("cpu.idle", "cpu.idle")?;
        bed.refuses(&cpu(json!({"idle": 2})), &["idle"])
    }),
];

fn cpu(value: Value) -> Spec {
    Spec::new().set("/linux/resources/cpu", value)
}

/// Skips unless cgroups of this host have a file.
fn has_file(v1: &str, v2: &str) -> Outcome {
    let top = cgroup::hierarchy("cpu")?;
    let (name, dir) = if top.v2 { (v2, below(&top.mount)) } else { (v1, Some(top.mount.clone())) };
    if dir.is_some_and(|dir| dir.join(name).exists()) {
        Ok(())
    } else {
        skip(format!("this kernel has no {name}"))
    }
}

/// Some cgroup that is not the root, which has few files on v2.
fn below(mount: &Path) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(mount).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.join("cpu.stat").exists() && path.is_dir())
}
