//! Memory limits: rows A144 to A149.

use super::cgroups::{holds, limited, place};
use crate::host::CgroupMode;
use crate::outcome::{Outcome, check, same, skip};
use crate::{Bed, Spec, Test, cgroup, test};
use serde_json::{Value, json};

pub(super) const TESTS: &[Test] = &[
    test("A144", "memory limit, reservation and swap are set, and converted on v2", |bed| {
        let memory = json!({"limit": 64 << 20, "reservation": 32 << 20, "swap": 128 << 20});
        let container = limited(bed, "memory", memory)?;
        let one = |v1: (&str, &str), v2: (&str, &str)| holds(&container, "memory", v1, v2);
        one(("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"))?;
        one(("memory.soft_limit_in_bytes", "33554432"), ("memory.low", "33554432"))?;
        one(("memory.memsw.limit_in_bytes", "134217728"), ("memory.swap.max", "67108864"))
    }),
    test("A144", "a memory limit of -1 means none", |bed| {
        let container = limited(bed, "memory", json!({"limit": -1, "swap": -1}))?;
        let place = place(&container, "memory")?;
        if place.v2 {
            return same("memory.max", place.read("memory.max")?, "max");
        }
        let limit = place.read("memory.limit_in_bytes")?;
        check(limit.len() > 15, || format!("limit {limit}"))
    }),
    test("A144", "a program that takes more than the memory limit is killed", |bed| {
        cgroup::hierarchy("memory")?;
        let called =
            bed.run(&memory(json!({"limit": 16 << 20, "swap": 16 << 20})).args(&["/probe", "alloc", "64"]))?;
        same("exit code", called.code(), 137)
    }),
    test("A144", "swap below the limit is refused", |bed| {
        cgroup::hierarchy("memory")?;
        bed.refuses(&memory(json!({"limit": 64 << 20, "swap": 32 << 20})), &["swap", "memsw", "memory"])
    }),
    test("A145", "swappiness is set on v1, 0 included", |bed| {
        bed.host.v1("memory")?;
        for value in ["33", "0"] {
            let number: u64 = value.parse().unwrap_or(0);
            let container = limited(bed, "memory", json!({"swappiness": number}))?;
            same("memory.swappiness", place(&container, "memory")?.read("memory.swappiness")?, value)?;
        }
        Ok(())
    }),
    test("A145", "swappiness above 100 is refused", |bed| {
        bed.refuses(&memory(json!({"swappiness": 101})), &["swappiness"])
    }),
    test("A145", "swappiness is refused on v2, which has none", |bed| {
        v2_refuses(bed, json!({"swappiness": 10}), &["swappiness"])
    }),
    test("A146", "a limit of kernel memory, which Linux dropped, is refused", |bed| {
        cgroup::hierarchy("memory")?;
        bed.refuses(&memory(json!({"kernel": 32 << 20})), &["kernel", "kmem"])
    }),
    test("A146", "kernelTCP is set on v1 and refused on v2", |bed| {
        if bed.host.cgroups == CgroupMode::V2 {
            return v2_refuses(bed, json!({"kernelTCP": 1 << 20}), &["kernelTCP", "tcp"]);
        }
        let top = bed.host.v1("memory")?;
        bed.host.needs_path(&top.join("memory.kmem.tcp.limit_in_bytes").to_string_lossy())?;
        let container = limited(bed, "memory", json!({"kernelTCP": 1 << 20}))?;
        let name = "memory.kmem.tcp.limit_in_bytes";
        same(name, place(&container, "memory")?.read(name)?, "1048576")
    }),
    test("A147", "disableOOMKiller is set on v1", |bed| {
        bed.host.v1("memory")?;
        let container = limited(bed, "memory", json!({"limit": 64 << 20, "disableOOMKiller": true}))?;
        let control = place(&container, "memory")?.read("memory.oom_control")?;
        check(control.contains("oom_kill_disable 1"), || control)
    }),
    test("A147", "disableOOMKiller is refused on v2, which always has the killer", |bed| {
        v2_refuses(bed, json!({"limit": 64 << 20, "disableOOMKiller": true}), &["disableOOMKiller", "oom"])
    }),
    test("A148", "useHierarchy holds on v1 and is refused on v2", |bed| {
        if bed.host.cgroups == CgroupMode::V2 {
            return v2_refuses(bed, json!({"useHierarchy": true}), &["useHierarchy", "hierarchy"]);
        }
        bed.host.v1("memory")?;
        let container = limited(bed, "memory", json!({"useHierarchy": true}))?;
        same("memory.use_hierarchy", place(&container, "memory")?.read("memory.use_hierarchy")?, "1")
    }),
    test("A149", "checkBeforeUpdate refuses a limit below the usage", |bed| {
        cgroup::hierarchy("memory")?;
        let spec = memory(json!({"limit": 128 << 20, "checkBeforeUpdate": true}));
        let container = bed.started(&spec.args(&["/probe", "wait"]))?;
        container.until_output("ready")?;
        let update = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}}).to_string();
        let called = bed.command(["update", "--resources", "-", container.id()]).stdin(update).call()?;
        called.refused(&["memory", "limit"])?;
        same("status", container.status()?, "running")?;
        holds(&container, "memory", ("memory.limit_in_bytes", "134217728"), ("memory.max", "134217728"))
    }),
    test("A149", "update --reclaim lowers the memory limit, or leaves it if that would kill", |bed| {
        cgroup::hierarchy("memory")?;
        let spec = memory(json!({"limit": 128 << 20}));
        let container = bed.started(&spec.args(&["/probe", "wait"]))?;
        container.until_output("ready")?;
        let update =
            |limit: &str| bed.call(["update", "--memory", limit, "--reclaim", "300ms", container.id()]);
        let called = update("4096")?;
        called.refused(&["memory", "limit"])?;
        check(called.stderr.contains("4096 ") || called.stderr.contains("4096:"), || called.stderr.clone())?;
        same("status", container.status()?, "running")?;
        holds(&container, "memory", ("memory.limit_in_bytes", "134217728"), ("memory.max", "134217728"))?;
        let place = place(&container, "memory")?;
        if place.v2 {
            same("memory.high", place.read("memory.high")?, "max")?;
        }
        update("64m")?.ok()?;
        same("status", container.status()?, "running")?;
        holds(&container, "memory", ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"))
    }),
    test("A149", "update --check-before-update refuses a limit below the usage", |bed| {
        cgroup::hierarchy("memory")?;
        let container = bed.started(&memory(json!({"limit": 128 << 20})).args(&["/probe", "wait"]))?;
        container.until_output("ready")?;
        let words = ["update", "--memory", "4096", "--check-before-update", container.id()];
        let called = bed.call(words)?;
        called.refused(&["limit of 4096"])?;
        called.refused(&["usage of"])?;
        same("status", container.status()?, "running")?;
        holds(&container, "memory", ("memory.limit_in_bytes", "134217728"), ("memory.max", "134217728"))
    }),
];

fn memory(value: Value) -> Spec {
    Spec::new().set("/linux/resources/memory", value)
}

fn v2_refuses(bed: &Bed<'_>, value: Value, words: &[&str]) -> Outcome {
    if bed.host.cgroups != CgroupMode::V2 {
        return skip(format!("needs cgroup v2 alone, this host has {:?}", bed.host.cgroups));
    }
    cgroup::hierarchy("memory")?;
    bed.refuses(&memory(value), words)
}
