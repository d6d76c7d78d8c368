//! Block devices, huge pages, network, pids, rdma, unified: rows A155 to A165.

use super::cgroups::{holds, limited, place};
use crate::host::CgroupMode;
use crate::outcome::{Outcome, check, same, skip};
use crate::{Bed, Spec, Test, cgroup, test};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

pub(super) const TESTS: &[Test] = &[
    test("A155", "a block weight is set, or refused where the kernel has no file for it", |bed| {
        cgroup::hierarchy("blkio")?;
        let bundle = bed.bundle(&resource("blockIO", json!({"weight": 300})))?;
        let called = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
        if !called.status.success() {
            called.refused(&["weight"])?;
            crate::checks::finds(bed, &bundle, &["weight"])?;
            let left = bed.leftovers(&bundle);
            return check(left.is_empty(), || format!("create failed and left {}", left.join(", ")));
        }
        let place = place(&bed.adopt(&bundle), "blkio")?;
        // v2 counts from 1 to 10000: 300 of 10 to 1000 is 2930. BFQ kept the old numbers in its own file.
        let files = [
            ("blkio.bfq.weight", "300"),
            ("blkio.weight", "300"),
            ("io.bfq.weight", "default 300"),
            ("io.bfq.weight", "300"),
            ("io.weight", "default 2930"),
        ];
        let set = files.iter().any(|(name, value)| place.read(name).is_ok_and(|text| text == *value));
        check(set, || format!("no file of {} has the weight", place.dir.display()))
    }),
    test("A155", "a block weight out of range is refused", |bed| {
        cgroup::hierarchy("blkio")?;
        bed.refuses(&resource("blockIO", json!({"weight": 5})), &["weight"])?;
        bed.refuses(&resource("blockIO", json!({"weight": 1001})), &["weight"])
    }),
    test("A155", "a weight of a device is set, or refused where the kernel has no file for it", |bed| {
        cgroup::hierarchy("blkio")?;
        let Some((major, minor)) = disk() else { return skip("this machine has no disk") };
        let block = json!({"weightDevice": [{"major": major, "minor": minor, "weight": 300}]});
        let bundle = bed.bundle(&resource("blockIO", block).args(&["/probe", "true"]))?;
        let called = bed.run_bundle(&bundle)?;
        if called.status.success() {
            return Ok(());
        }
        called.refused(&["weight"])?;
        crate::checks::finds(bed, &bundle, &["weight"])
    }),
    test("A156", "a leaf weight, which only the CFQ scheduler of v1 had, is refused", |bed| {
        let top = cgroup::hierarchy("blkio")?;
        // The root of the hierarchy has no weights, but has the statistics of the same scheduler.
        if !top.v2 && top.mount.join("blkio.time").exists() {
            return skip("this kernel has the CFQ scheduler");
        }
        bed.refuses(&resource("blockIO", json!({"leafWeight": 300})), &["leafWeight"])?;
        let Some((major, minor)) = disk() else { return Ok(()) };
        let block = json!({"weightDevice": [{"major": major, "minor": minor, "leafWeight": 300}]});
        bed.refuses(&resource("blockIO", block), &["leafWeight"])
    }),
    test("A157", "block throttling is set", throttles),
    test("A155 A157", "weights and rates of a block device that does not exist are refused", |bed| {
        cgroup::hierarchy("blkio")?;
        // A number that the kernel reserves for experiments.
        let block = |property: &str, value: &str| {
            let mut device = json!({"major": 120, "minor": 77});
            device[value] = json!(100);
            resource("blockIO", json!({property: [device]}))
        };
        if Path::new("/sys/dev/block/120:77").exists() {
            return skip("this machine has a block device 120:77");
        }
        bed.refuses(&block("weightDevice", "weight"), &["120:77", "weight"])?;
        bed.refuses(&block("throttleWriteBpsDevice", "rate"), &["120:77", "throttle"])
    }),
    test("A158", "a limit of huge pages counts reservations where the kernel can, else usage", |bed| {
        cgroup::hierarchy("hugetlb")?;
        let Some(size) = page_size() else { return skip("this kernel has no huge pages") };
        let container = limited(bed, "hugepageLimits", json!([{"pageSize": size, "limit": 4 << 20}]))?;
        let place = place(&container, "hugetlb")?;
        let suffix = if place.v2 { "max" } else { "limit_in_bytes" };
        let reserved = format!("hugetlb.{size}.rsvd.{suffix}");
        if place.dir.join(&reserved).exists() {
            return same(&reserved, place.read(&reserved)?, "4194304");
        }
        let used = format!("hugetlb.{size}.{suffix}");
        same(&used, place.read(&used)?, "4194304")
    }),
    test("A158", "a limit of huge pages is refused where no controller counts them", |bed| {
        if cgroup::hierarchy("hugetlb").is_ok() {
            return skip("this host has the hugetlb controller");
        }
        let size = page_size().unwrap_or_else(|| "2MB".into());
        bed.refuses(
            &resource("hugepageLimits", json!([{"pageSize": size, "limit": 4 << 20}])),
            &["hugetlb", "hugepage", "huge pages", "pageSize"],
        )
    }),
    test("A159", "a pageSize that the kernel does not have is refused", |bed| {
        let limits = json!([{"pageSize": "3MB", "limit": 1 << 30}]);
        bed.refuses(&resource("hugepageLimits", limits), &["3MB", "hugetlb", "pageSize"])
    }),
    test(
        "A160",
        "a network class and priorities are set on v1, refused where there is no controller",
        |bed| {
            let class = resource("network", json!({"classID": 1_048_577}));
            if bed.host.v1("net_cls").is_ok() {
                let container = bed.create(&bed.bundle(&class)?)?;
                same("classid", place(&container, "net_cls")?.read("net_cls.classid")?, "1048577")?;
            } else {
                bed.refuses(&class, &["network", "net_cls", "classid"])?;
            }
            let priorities = resource("network", json!({"priorities": [{"name": "lo", "priority": 7}]}));
            if bed.host.v1("net_prio").is_ok() {
                let container = bed.create(&bed.bundle(&priorities)?)?;
                let map = place(&container, "net_prio")?.read("net_prio.ifpriomap")?;
                check(map.lines().any(|line| line == "lo 7"), || map.clone())
            } else {
                bed.refuses(&priorities, &["network", "net_prio", "priorities"])
            }
        },
    ),
    test("A161", "the pids limit is set and holds", |bed| {
        let container = limited(bed, "pids", json!({"limit": 20}))?;
        holds(&container, "pids", ("pids.max", "20"), ("pids.max", "20"))?;
        let seen =
            bed.report(&resource("pids", json!({"limit": 20})).args(&["/probe", "fork-bomb", "60"]))?;
        check(seen["started"].as_u64().is_some_and(|n| n < 20) && seen["errno"] == 11, || format!("{seen}"))
    }),
    test("A161", "a pids limit of -1 means none", |bed| {
        let container = limited(bed, "pids", json!({"limit": -1}))?;
        holds(&container, "pids", ("pids.max", "max"), ("pids.max", "max"))
    }),
    test("A161", "an update with --pids-limit 0 lets no process be made", |bed| {
        let container = limited(bed, "pids", json!({"limit": 20}))?;
        bed.call(["update", "--pids-limit", "0", container.id()])?.ok()?;
        let max = place(&container, "pids")?.read("pids.max")?;
        check(["0", "1"].contains(&max.as_str()), || format!("pids.max is {max}"))
    }),
    test("A161", "a pids limit of 0 is a limit since version 1.3", |bed| {
        cgroup::hierarchy("pids")?;
        let spec = resource("pids", json!({"limit": 0})).set("/ociVersion", "1.3.0");
        let container = bed.create(&bed.bundle(&spec)?)?;
        let max = place(&container, "pids")?.read("pids.max")?;
        check(["0", "1"].contains(&max.as_str()), || format!("pids.max is {max}"))
    }),
    test("A162", "rdma limits without an rdma controller are refused", |bed| {
        if cgroup::hierarchy("rdma").is_ok() {
            return skip("this host has the rdma controller");
        }
        bed.refuses(&resource("rdma", json!({"mlx5_0": {"hcaHandles": 3}})), &["rdma"])
    }),
    test("A162", "an rdma entry without any limit is refused", |bed| {
        bed.refuses(&resource("rdma", json!({"mlx5_0": {}})), &["rdma"])
    }),
    test("A162", "rdma limits of a device that does not exist are refused", |bed| {
        cgroup::hierarchy("rdma")?;
        bed.refuses(&resource("rdma", json!({"nosuch0": {"hcaHandles": 3}})), &["rdma"])
    }),
    test("A163", "unified settings on a host without cgroup v2 controllers are refused", |bed| {
        if bed.host.cgroups == CgroupMode::V2 {
            return skip("this host has cgroup v2");
        }
        if cgroup::Hierarchy::all().iter().any(|one| one.v2 && one.has("memory")) {
            return skip("the v2 hierarchy of this host has the controller");
        }
        bed.refuses(&resource("unified", json!({"memory.high": "10000000"})), &["unified", "memory.high"])
    }),
    test("A163", "unified settings are written, and their controllers enabled first", |bed| {
        bed.host.needs_v2()?;
        let unified = json!({"pids.max": "23", "memory.high": "104857600", "cgroup.max.depth": "3"});
        let container = bed.create(&bed.bundle(&resource("unified", unified))?)?;
        let place = cgroup::unified_of(container.pid()?)?;
        same("pids.max", place.read("pids.max")?, "23")?;
        same("memory.high", place.read("memory.high")?, "104857600")?;
        same("cgroup.max.depth", place.read("cgroup.max.depth")?, "3")
    }),
    test("A163", "a unified key that is no file of the kernel is refused", |bed| {
        bed.host.needs_v2()?;
        bed.refuses(&resource("unified", json!({"memory.nonsense": "1"})), &["memory.nonsense"])
    }),
    test("A163", "a unified key of a controller that the host does not have is refused", |bed| {
        bed.host.needs_v2()?;
        bed.refuses(&resource("unified", json!({"nonsense.max": "1"})), &["nonsense"])
    }),
    test("A163", "a unified value that the kernel does not take is refused", |bed| {
        bed.host.needs_v2()?;
        bed.refuses(&resource("unified", json!({"pids.max": "many"})), &["pids.max"])
    }),
    test("A164", "every setting that v2 cannot express is refused there", |bed| {
        bed.host.needs_v2()?;
        for (kind, value, word) in v1_only() {
            bed.refuses(&resource(kind, value), &[word, kind])?;
        }
        Ok(())
    }),
    test("A164", "the values of such settings that ask for nothing are no error", |bed| {
        bed.host.needs_v2()?;
        let spec = resource(
            "memory",
            json!({"disableOOMKiller": false, "useHierarchy": false, "kernelTCP": 0, "kernel": 0}),
        )
        .set("/linux/resources/cpu", json!({"realtimeRuntime": 0, "realtimePeriod": 0}))
        .set("/linux/resources/blockIO", json!({"leafWeight": 0}))
        .set("/linux/resources/network", json!({"priorities": []}));
        same("pid", &bed.report(&spec)?["pid"], 1)
    }),
    test("A165", "without a cgroup to write to a container runs, unless it asks for limits", |bed| {
        if bed.host.root || cgroup::delegated().is_some() {
            return skip("needs a user who may not write to any cgroup");
        }
        same("pid", &bed.report(&Spec::new())?["pid"], 1)?;
        let bundle = bed.bundle(&Spec::new())?;
        let mut limits = Spec(bundle.spec()?);
        limits = limits.set("/linux/resources", json!({"pids": {"limit": 20}}));
        bundle.write_raw(&limits)?;
        bed.refuses_bundle(&bundle, &["cgroup", "pids", "rootless"])
    }),
];

fn resource(kind: &str, value: Value) -> Spec {
    Spec::new().set(&format!("/linux/resources/{kind}"), value)
}

/// What cgroup v1 has and v2 does not, with the word that an error must have.
fn v1_only() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("memory", json!({"swappiness": 10}), "swappiness"),
        ("memory", json!({"disableOOMKiller": true}), "oom"),
        ("memory", json!({"kernelTCP": 1 << 20}), "tcp"),
        ("memory", json!({"useHierarchy": true}), "hierarchy"),
        ("cpu", json!({"realtimeRuntime": 5000, "realtimePeriod": 500_000}), "realtime"),
        ("blockIO", json!({"leafWeight": 300}), "weight"),
        ("network", json!({"classID": 1_048_577}), "class"),
        ("network", json!({"priorities": [{"name": "lo", "priority": 7}]}), "priorities"),
    ]
}

fn throttles(bed: &Bed<'_>) -> Outcome {
    cgroup::hierarchy("blkio")?;
    let Some((major, minor)) = disk() else { return skip("this machine has no disk") };
    let entry = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let block = json!({"throttleReadBpsDevice": entry(1 << 20), "throttleWriteBpsDevice": entry(2 << 20),
                       "throttleReadIOPSDevice": entry(100), "throttleWriteIOPSDevice": entry(200)});
    let place = place(&limited(bed, "blockIO", block)?, "blkio")?;
    if place.v2 {
        let wanted = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=100 wiops=200");
        return same("io.max", place.read("io.max")?, wanted);
    }
    for (name, rate) in [
        ("blkio.throttle.read_bps_device", 1 << 20),
        ("blkio.throttle.write_bps_device", 2 << 20),
        ("blkio.throttle.read_iops_device", 100),
        ("blkio.throttle.write_iops_device", 200),
    ] {
        same(name, place.read(name)?, format!("{major}:{minor} {rate}"))?;
    }
    Ok(())
}

/// The numbers of a whole disk.
fn disk() -> Option<(u32, u32)> {
    let entries = fs::read_dir("/sys/block").ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("loop") || name.starts_with("ram") {
            return None;
        }
        let text = fs::read_to_string(entry.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

/// A huge page size of this kernel, spelled as in its cgroup files.
fn page_size() -> Option<String> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages").ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some(match kib {
            kib if kib >= 1 << 20 => format!("{}GB", kib >> 20),
            kib if kib >= 1 << 10 => format!("{}MB", kib >> 10),
            kib => format!("{kib}KB"),
        })
    })
}
