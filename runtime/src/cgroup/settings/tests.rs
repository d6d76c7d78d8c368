use proptest::prelude::*;

use super::super::layout::examples::{v1, v2};
use super::*;
use crate::error::ErrorKind;

const ALL_V1: [&str; 12] = [
    "cpuset",
    "cpu,cpuacct",
    "blkio",
    "memory",
    "devices",
    "freezer",
    "net_cls,net_prio",
    "perf_event",
    "hugetlb",
    "pids",
    "rdma",
    "name=systemd",
];
const ALL_V2: [&str; 8] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// The files and values, or the pointers of what is wrong.
fn on(layout: &CgroupLayout, json: &str, current: &Current) -> Result<Vec<(String, String)>, Vec<String>> {
    let (settings, errors) = translate(&resources(json), layout, current);
    if errors.is_empty() {
        Ok(settings.into_iter().map(|s| (s.file.into_owned(), s.value)).collect())
    } else {
        Err(errors.iter().map(|error| error.pointer().unwrap().to_owned()).collect())
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(file, value)| (file.to_owned(), value.to_owned())).collect()
}

/// `json`, what version 1 writes, what version 2 writes.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

#[test]
fn what_both_versions_write() {
    let cases: &[Case<'_>] = &[
        (
            r#"{"memory":{"limit":100,"reservation":50,"swap":300}}"#,
            &[
                ("memory.limit_in_bytes", "100"),
                ("memory.memsw.limit_in_bytes", "300"),
                ("memory.soft_limit_in_bytes", "50"),
            ],
            &[("memory.max", "100"), ("memory.swap.max", "200"), ("memory.low", "50")],
        ),
        (
            r#"{"memory":{"limit":-1,"swap":-1,"reservation":-1}}"#,
            &[
                ("memory.limit_in_bytes", "-1"),
                ("memory.memsw.limit_in_bytes", "-1"),
                ("memory.soft_limit_in_bytes", "-1"),
            ],
            &[("memory.max", "max"), ("memory.swap.max", "max"), ("memory.low", "max")],
        ),
        (
            r#"{"memory":{"limit":100,"swap":100}}"#,
            &[("memory.limit_in_bytes", "100"), ("memory.memsw.limit_in_bytes", "100")],
            &[("memory.max", "100"), ("memory.swap.max", "0")],
        ),
        (
            r#"{"memory":{"limit":0,"reservation":0,"swap":0,"kernel":0,"kernelTCP":-1,"disableOOMKiller":false,
                "useHierarchy":false,"swappiness":18446744073709551615},"network":{"classID":0,"priorities":[]},
                "cpu":{"shares":0,"quota":0,"period":0,"realtimeRuntime":0,"realtimePeriod":0,"cpus":"","mems":""},
                "blockIO":{"weight":0,"leafWeight":0}}"#,
            &[],
            &[],
        ),
        (
            r#"{"cpu":{"shares":1024,"quota":50000,"period":100000,"burst":1000}}"#,
            &[
                ("cpu.shares", "1024"),
                ("cpu.cfs_period_us", "100000"),
                ("cpu.cfs_quota_us", "50000"),
                ("cpu.cfs_burst_us", "1000"),
            ],
            &[("cpu.weight", "100"), ("cpu.max", "50000 100000"), ("cpu.max.burst", "1000")],
        ),
        (r#"{"cpu":{"quota":-1}}"#, &[("cpu.cfs_quota_us", "-1")], &[("cpu.max", "max")]),
        (r#"{"cpu":{"period":50000}}"#, &[("cpu.cfs_period_us", "50000")], &[("cpu.max", "max 50000")]),
        (
            r#"{"cpu":{"shares":2,"idle":1}}"#,
            &[("cpu.shares", "2"), ("cpu.idle", "1")],
            &[("cpu.weight", "1"), ("cpu.idle", "1")],
        ),
        (
            r#"{"cpu":{"shares":1024,"idle":0}}"#,
            &[("cpu.idle", "0"), ("cpu.shares", "1024")],
            &[("cpu.idle", "0"), ("cpu.weight", "100")],
        ),
        (
            r#"{"cpu":{"cpus":"0-1,3","mems":"0"}}"#,
            &[("cpuset.cpus", "0-1,3"), ("cpuset.mems", "0")],
            &[("cpuset.cpus", "0-1,3"), ("cpuset.mems", "0")],
        ),
        (r#"{"pids":{"limit":0}}"#, &[("pids.max", "0")], &[("pids.max", "0")]),
        (r#"{"pids":{"limit":-1}}"#, &[("pids.max", "max")], &[("pids.max", "max")]),
        (r#"{"pids":{"limit":64}}"#, &[("pids.max", "64")], &[("pids.max", "64")]),
        (
            r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":16,"weight":10}],
                "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}],
                "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]}}"#,
            &[
                ("blkio.bfq.weight", "500"),
                ("blkio.bfq.weight_device", "8:16 10"),
                ("blkio.throttle.read_bps_device", "8:0 7"),
                ("blkio.throttle.write_iops_device", "8:0 0"),
            ],
            &[
                ("io.bfq.weight", "500"),
                ("io.bfq.weight", "8:16 10"),
                ("io.max", "8:0 rbps=7"),
                ("io.max", "8:0 wiops=max"),
            ],
        ),
        (
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
            &[("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304")],
            &[("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")],
        ),
        (
            r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":9},"mlx4_0":{"hcaObjects":1}}}"#,
            &[("rdma.max", "mlx4_0 hca_object=1"), ("rdma.max", "mlx5_1 hca_handle=3 hca_object=9")],
            &[("rdma.max", "mlx4_0 hca_object=1"), ("rdma.max", "mlx5_1 hca_handle=3 hca_object=9")],
        ),
    ];
    for (json, one, two) in cases {
        assert_eq!(on(&v1(&ALL_V1), json, &Current::fresh()), Ok(pairs(one)), "version 1 {json}");
        assert_eq!(on(&v2(&ALL_V2), json, &Current::fresh()), Ok(pairs(two)), "version 2 {json}");
    }
}

/// `json`, what version 1 writes, the property that version 2 cannot honour.
type OneOnly<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn what_only_version_1_can() {
    let cases: &[OneOnly<'_>] = &[
        (r#"{"memory":{"swappiness":0}}"#, &[("memory.swappiness", "0")], "/memory/swappiness"),
        (
            r#"{"memory":{"disableOOMKiller":true}}"#,
            &[("memory.oom_control", "1")],
            "/memory/disableOOMKiller",
        ),
        (r#"{"memory":{"useHierarchy":true}}"#, &[], "/memory/useHierarchy"),
        (r#"{"memory":{"kernelTCP":9}}"#, &[("memory.kmem.tcp.limit_in_bytes", "9")], "/memory/kernelTCP"),
        (r#"{"cpu":{"realtimeRuntime":5}}"#, &[("cpu.rt_runtime_us", "5")], "/cpu/realtimeRuntime"),
        (r#"{"cpu":{"realtimePeriod":5}}"#, &[("cpu.rt_period_us", "5")], "/cpu/realtimePeriod"),
        (r#"{"network":{"classID":1048577}}"#, &[("net_cls.classid", "1048577")], "/network/classID"),
        (
            r#"{"network":{"priorities":[{"name":"eth0","priority":5}]}}"#,
            &[("net_prio.ifpriomap", "eth0 5")],
            "/network/priorities/0",
        ),
    ];
    for (json, one, pointer) in cases {
        assert_eq!(on(&v1(&ALL_V1), json, &Current::fresh()), Ok(pairs(one)), "{json}");
        let (_, errors) = translate(&resources(json), &v2(&ALL_V2), &Current::fresh());
        let seen: Vec<_> =
            errors.iter().map(|e| (e.pointer().unwrap(), e.kind() == ErrorKind::Unsupported)).collect();
        assert_eq!(seen, [(format!("{ROOT}{pointer}").as_str(), true)], "{json}");
    }
    // No supported kernel has the scheduler of these, whatever the version of cgroups.
    for (json, pointer) in [
        (r#"{"blockIO":{"leafWeight":20}}"#, "/blockIO/leafWeight"),
        (
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":20}]}}"#,
            "/blockIO/weightDevice/0/leafWeight",
        ),
    ] {
        for layout in [v1(&ALL_V1), v2(&ALL_V2)] {
            let (settings, errors) = translate(&resources(json), &layout, &Current::fresh());
            let seen: Vec<_> =
                errors.iter().map(|e| (e.pointer().unwrap(), e.kind() == ErrorKind::Unsupported)).collect();
            assert_eq!(seen, [(format!("{ROOT}{pointer}").as_str(), true)], "{json}");
            assert_eq!(settings, [], "{json}");
        }
    }
}

#[test]
fn what_no_machine_can() {
    let cases = [
        (r#"{"memory":{"limit":-2}}"#, "/memory/limit"),
        (r#"{"memory":{"limit":100,"swap":99}}"#, "/memory/swap"),
        (r#"{"memory":{"swap":99}}"#, "/memory/swap"),
        (r#"{"memory":{"limit":-1,"swap":99}}"#, "/memory/swap"),
        (r#"{"memory":{"kernel":1}}"#, "/memory/kernel"),
        (r#"{"cpu":{"quota":10,"burst":11}}"#, "/cpu/burst"),
        (r#"{"cpu":{"idle":2}}"#, "/cpu/idle"),
        (r#"{"cpu":{"cpus":"0 1"}}"#, "/cpu/cpus"),
        (r#"{"cpu":{"cpus":"3-1"}}"#, "/cpu/cpus"),
        (r#"{"cpu":{"mems":"0,"}}"#, "/cpu/mems"),
        (r#"{"cpu":{"mems":"0\n"}}"#, "/cpu/mems"),
        (r#"{"pids":{"limit":-2}}"#, "/pids/limit"),
        (r#"{"blockIO":{"weight":9}}"#, "/blockIO/weight"),
        (r#"{"blockIO":{"weight":1001}}"#, "/blockIO/weight"),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":-1,"minor":0,"rate":7}]}}"#,
            "/blockIO/throttleReadBpsDevice/0/major",
        ),
        (r#"{"hugepageLimits":[{"pageSize":"../../../foo","limit":1}]}"#, "/hugepageLimits/0/pageSize"),
        (r#"{"hugepageLimits":[{"pageSize":"2MB.x","limit":1}]}"#, "/hugepageLimits/0/pageSize"),
        (r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#, "/hugepageLimits/0/pageSize"),
        (r#"{"hugepageLimits":[{"pageSize":"2MB","limit":-1}]}"#, "/hugepageLimits/0/limit"),
        (r#"{"rdma":{"m":{}}}"#, "/rdma/m"),
        (r#"{"rdma":{"a/b c":{"hcaHandles":1}}}"#, "/rdma/a~1b c"),
        (r#"{"network":{"priorities":[{"name":"a b","priority":5}]}}"#, "/network/priorities/0/name"),
    ];
    for (json, pointer) in cases {
        for layout in [v1(&ALL_V1), v2(&ALL_V2)] {
            let found = on(&layout, json, &Current::fresh()).unwrap_err();
            assert!(found.contains(&format!("{ROOT}{pointer}")), "{json}: {found:?}");
        }
    }
    let swappiness = on(&v1(&ALL_V1), r#"{"memory":{"swappiness":101}}"#, &Current::fresh()).unwrap_err();
    assert_eq!(swappiness, ["/linux/resources/memory/swappiness"]);
    let shares = on(&v1(&ALL_V1), r#"{"cpu":{"shares":1}}"#, &Current::fresh()).unwrap_err();
    assert_eq!(shares, ["/linux/resources/cpu/shares"]);
}

#[test]
fn weights_have_a_second_file() {
    let (settings, _) =
        translate(&resources(r#"{"blockIO":{"weight":100}}"#), &v2(&ALL_V2), &Current::fresh());
    let Absent::Instead(other) = &settings[0].absent else { panic!("{settings:?}") };
    assert_eq!((&*other.file, other.value.as_str()), ("io.weight", "910"));
    let device = r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":1000}]}}"#;
    let (settings, _) = translate(&resources(device), &v2(&ALL_V2), &Current::fresh());
    let Absent::Instead(other) = &settings[0].absent else { panic!("{settings:?}") };
    assert_eq!((&*other.file, other.value.as_str()), ("io.weight", "8:0 10000"));
}

#[test]
fn a_missing_controller_is_told_once_with_a_pointer() {
    let json = r#"{"memory":{"limit":5,"reservation":6},"pids":{"limit":3},"cpu":{"shares":5}}"#;
    let found = on(&v2(&["cpu"]), json, &Current::fresh()).unwrap_err();
    assert_eq!(found, ["/linux/resources/memory/limit", "/linux/resources/pids/limit"]);
}

#[test]
fn a_hybrid_machine_has_each_controller_where_it_is() {
    let mut layout = v2(&["hugetlb"]);
    layout.v1 = v1(&["memory"]).v1;
    let json = r#"{"memory":{"limit":5},"hugepageLimits":[{"pageSize":"2MB","limit":0}],"unified":{"hugetlb.2MB.max":"9"}}"#;
    let (settings, errors) = translate(&resources(json), &layout, &Current::fresh());
    assert!(errors.is_empty(), "{errors:?}");
    let places: Vec<_> = settings.iter().map(|s| s.place).collect();
    assert_eq!(places, [Hierarchy::V1(0), Hierarchy::V2, Hierarchy::V2, Hierarchy::V2]);
    let found = on(&layout, r#"{"unified":{"memory.high":"9"}}"#, &Current::fresh()).unwrap_err();
    assert_eq!(found, ["/linux/resources/unified/memory.high"]);
}

#[test]
fn unified_keys_are_file_names_and_come_last() {
    let json = r#"{"unified":{"memory.high":"9","cgroup.max.depth":"2","io.max":"8:0 rbps=1\n8:16 rbps=2"},
        "memory":{"limit":1}}"#;
    let expected = [
        ("memory.max", "1"),
        ("cgroup.max.depth", "2"),
        ("io.max", "8:0 rbps=1\n8:16 rbps=2"),
        ("memory.high", "9"),
    ];
    assert_eq!(on(&v2(&ALL_V2), json, &Current::fresh()), Ok(pairs(&expected)));
    for key in [
        "",
        "../x",
        "a/b.c",
        "..",
        ".",
        "memory",
        "memory.",
        ".max",
        "../memory.max",
        "cgroup.procs",
        "a b.c",
    ] {
        let json = serde_json::json!({"unified": {key: "1"}}).to_string();
        on(&v2(&ALL_V2), &json, &Current::fresh()).unwrap_err();
    }
    on(&v2(&["cpu"]), r#"{"unified":{"memory.high":"9"}}"#, &Current::fresh()).unwrap_err();
    on(&v1(&ALL_V1), r#"{"unified":{"memory.high":"9"}}"#, &Current::fresh()).unwrap_err();
    assert_eq!(on(&v1(&ALL_V1), r#"{"unified":{}}"#, &Current::fresh()), Ok(Vec::new()));
}

#[test]
fn updates_keep_what_belongs_together() {
    let current = Current { update: true, memory_max: Some(100), swap_max: Some(50), cpu_quota: Some(7000) };
    let two = v2(&ALL_V2);
    let cases: &[(&str, &[(&str, &str)])] = &[
        (r#"{"memory":{"limit":120}}"#, &[("memory.max", "120"), ("memory.swap.max", "30")]),
        (r#"{"memory":{"limit":-1}}"#, &[("memory.max", "max"), ("memory.swap.max", "max")]),
        (r#"{"memory":{"swap":500}}"#, &[("memory.swap.max", "400")]),
        (r#"{"memory":{"swap":-1}}"#, &[("memory.swap.max", "max")]),
        (r#"{"cpu":{"period":5000}}"#, &[("cpu.max", "7000 5000")]),
        (r#"{"cpu":{"quota":5000}}"#, &[("cpu.max", "5000")]),
        (r#"{"pids":{"limit":0}}"#, &[]),
    ];
    for (json, expected) in cases {
        assert_eq!(on(&two, json, &current), Ok(pairs(expected)), "{json}");
    }
    on(&two, r#"{"memory":{"limit":151}}"#, &current).unwrap_err();
    let one = on(&v1(&ALL_V1), r#"{"memory":{"limit":-1,"disableOOMKiller":false}}"#, &current);
    let expected =
        [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1"), ("memory.oom_control", "0")];
    assert_eq!(one, Ok(pairs(&expected)));
}

proptest! {
    /// Whatever the configuration says, no file name leads out of the directory.
    #[test]
    fn no_text_becomes_a_path(key in "[a-z./\\\\ ]{0,10}", size in "[0-9A-Z./]{0,8}", name in "[a-z./ ]{0,6}") {
        let json = serde_json::json!({
            "unified": {&key: "1"},
            "hugepageLimits": [{"pageSize": &size, "limit": 1}],
            "rdma": {&name: {"hcaHandles": 1}},
        });
        let resources = resources(&json.to_string());
        for layout in [v1(&ALL_V1), v2(&ALL_V2)] {
            let (settings, _) = translate(&resources, &layout, &Current::fresh());
            for setting in settings {
                prop_assert!(!setting.file.contains('/') && setting.file != ".." && !setting.file.is_empty());
            }
        }
    }

    /// Either a finding or a setting, never silence and never a panic.
    #[test]
    fn any_memory_is_written_or_refused(limit in -3_i64..200, swap in -3_i64..200, reservation in -3_i64..200) {
        let json = format!(r#"{{"memory":{{"limit":{limit},"swap":{swap},"reservation":{reservation}}}}}"#);
        for layout in [v1(&ALL_V1), v2(&ALL_V2)] {
            let (settings, errors) = translate(&resources(&json), &layout, &Current::fresh());
            let asked = [limit, swap, reservation].iter().filter(|&&v| v != 0).count();
            prop_assert!(!errors.is_empty() || settings.len() == asked, "{} {:?}", json, settings);
        }
    }
}
