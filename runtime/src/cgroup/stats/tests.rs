#![allow(clippy::unreadable_literal, reason = "JSON has no separators")]

use super::super::handle::{Cgroup, CgroupRecord, DirRecord};
use super::super::layout::Mode;
use super::*;

fn write(dir: &std::path::Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(dir).unwrap();
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

fn cgroup(mode: Mode, dirs: &[(&std::path::Path, &[&str])]) -> Cgroup {
    let dirs = dirs.iter().map(|(mount, controllers)| DirRecord {
        attached: controllers.iter().map(|&c| c.to_owned()).collect::<Vec<_>>().into(),
        mount: mount.to_path_buf(),
        inner: std::path::PathBuf::new(),
        scope: None,
    });
    Cgroup::open(CgroupRecord { mode, dirs: dirs.collect(), made: Vec::new(), scope: None })
}

const V2: [(&str, &str); 16] = [
    ("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n"),
    (
        "cpu.stat",
        "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 2\nthrottled_usec 7\n",
    ),
    (
        "cpu.pressure",
        "some avg10=1.50 avg60=0.25 avg300=0.00 total=99\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    ),
    ("cpuset.cpus.effective", "0-2,5\n"),
    ("cpuset.mems.effective", "0\n"),
    ("memory.stat", "anon 100\nfile 50\n"),
    ("memory.max", "1000\n"),
    ("memory.current", "150\n"),
    ("memory.peak", "200\n"),
    ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n"),
    ("memory.swap.max", "500\n"),
    ("memory.swap.current", "25\n"),
    ("pids.current", "3\n"),
    ("pids.max", "max\n"),
    ("io.stat", "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7\n"),
    ("hugetlb.2MB.max", "max\n"),
];

#[test]
fn version_2_in_the_json_of_runc() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &V2);
    write(dir.path(), &[("hugetlb.2MB.rsvd.max", "max\n"), ("hugetlb.2MB.rsvd.current", "4096\n")]);
    let stats = cgroup(Mode::V2, &[(dir.path(), &[])]).stats().unwrap();
    let expected = serde_json::json!({
        "cpu": {"usage": {"total": 30000, "kernel": 10000, "user": 20000}, "throttling": {"periods": 4, "throttledPeriods": 2, "throttledTime": 7000}, "psi": {"some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 99}, "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 5}}},
        "cpuset": {"cpus": [0, 1, 2, 5], "cpu_exclusive": 0, "mems": [0], "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0, "memory_spread_page": 0, "memory_spread_slab": 0, "memory_pressure": 0, "sched_load_balance": 0, "sched_relax_domain_level": 0},
        "memory": {"cache": 50, "usage": {"limit": 1000, "usage": 150, "max": 200, "failcnt": 3}, "swap": {"limit": 1500, "usage": 175, "failcnt": 0}, "kernel": {"limit": 0, "failcnt": 0}, "kernelTCP": {"limit": 0, "failcnt": 0}, "raw": {"anon": 100, "file": 50}},
        "pids": {"current": 3},
        "blkio": {"ioServiceBytesRecursive": [{"major": 8, "minor": 16, "op": "Read", "value": 1}, {"major": 8, "minor": 16, "op": "Write", "value": 2}, {"major": 8, "minor": 16, "op": "Discard", "value": 5}], "ioServicedRecursive": [{"major": 8, "minor": 16, "op": "Read", "value": 3}, {"major": 8, "minor": 16, "op": "Write", "value": 4}, {"major": 8, "minor": 16, "op": "Discard", "value": 6}]},
        "hugetlb": {"2MB": {"usage": 4096, "failcnt": 0}},
        "intel_rdt": {},
        "network_interfaces": null,
    });
    assert_eq!(serde_json::to_value(&stats).unwrap(), expected);
}

#[test]
fn limits_that_are_hit_are_counted_at_the_scope() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    write(&own, &V2);
    write(&own, &[("memory.events", "max 0\noom_kill 1\n"), ("memory.swap.events", "max 0\n")]);
    write(dir.path(), &[("memory.events", "max 3\noom_kill 1\n"), ("memory.swap.events", "max 2\n")]);
    let mut cgroup = cgroup(Mode::V2, &[(dir.path(), &[])]);
    (cgroup.record.dirs[0].inner, cgroup.record.dirs[0].scope) = ("own".into(), Some("".into()));
    let memory = cgroup.stats().unwrap().memory;
    assert_eq!([memory.usage.failcnt, memory.swap.failcnt, memory.usage.usage], [3, 2, 150]);
    assert_eq!(memory.events["max"], 3);
}

#[test]
fn version_1_in_the_json_of_runc() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write(
        &at("cpu"),
        &[
            ("cpuacct.usage", "123456\n"),
            ("cpuacct.usage_percpu", "100000 23456 \n"),
            ("cpuacct.usage_percpu_sys", "1 2\n"),
            ("cpuacct.usage_percpu_user", "3 4\n"),
            ("cpuacct.stat", "user 2\nsystem 1\n"),
            ("cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time 999\n"),
        ],
    );
    write(
        &at("memory"),
        &[
            ("memory.stat", "cache 10\nrss 20\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "30\n"),
            ("memory.max_usage_in_bytes", "40\n"),
            ("memory.failcnt", "2\n"),
            ("memory.memsw.limit_in_bytes", "50\n"),
        ],
    );
    write(&at("pids"), &[("pids.current", "1\n"), ("pids.max", "64\n")]);
    write(
        &at("blkio"),
        &[
            ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n"),
            ("blkio.throttle.io_serviced_recursive", "8:0 Read 1\nTotal 1\n"),
        ],
    );
    write(
        &at("cpuset"),
        &[("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n"), ("cpuset.sched_relax_domain_level", "-1\n")],
    );
    let cgroup = cgroup(
        Mode::V1,
        &[
            (&at("cpu"), &["cpu", "cpuacct"]),
            (&at("memory"), &["memory"]),
            (&at("pids"), &["pids"]),
            (&at("blkio"), &["blkio"]),
            (&at("cpuset"), &["cpuset"]),
        ],
    );
    let stats = cgroup.stats().unwrap();
    let expected = serde_json::json!({
        "cpu": {"usage": {"total": 123456, "percpu": [100000, 23456], "percpu_kernel": [1, 2], "percpu_user": [3, 4], "kernel": 10000000, "user": 20000000}, "throttling": {"periods": 5, "throttledPeriods": 1, "throttledTime": 999}},
        "cpuset": {"cpus": [0, 1], "cpu_exclusive": 0, "mems": [0], "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0, "memory_spread_page": 0, "memory_spread_slab": 0, "memory_pressure": 0, "sched_load_balance": 0, "sched_relax_domain_level": -1},
        "memory": {"cache": 10, "usage": {"limit": 9223372036854771712_u64, "usage": 30, "max": 40, "failcnt": 2}, "swap": {"limit": 50, "failcnt": 0}, "kernel": {"limit": 0, "failcnt": 0}, "kernelTCP": {"limit": 0, "failcnt": 0}, "raw": {"cache": 10, "rss": 20}},
        "pids": {"current": 1, "limit": 64},
        "blkio": {"ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 4096}, {"major": 8, "op": "Total", "value": 4096}], "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 1}]},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    });
    assert_eq!(serde_json::to_value(&stats).unwrap(), expected);
}

#[test]
fn lines_that_are_no_device() {
    assert_eq!(v1::blkio_line("Total 5"), None);
    assert_eq!(v1::blkio_line(""), None);
    assert_eq!(v1::blkio_line("8:1 17").unwrap().value, 17);
}
