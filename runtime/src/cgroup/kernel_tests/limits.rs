//! Limits in force, updated, and reached.

use super::*;

#[test]
fn limits_are_in_force() {
    each(|layout| {
        let has = |v1: &str, v2: &str| layout.place(v1, v2);
        let cases: &[Limit<'_>] = &[
            (
                "memory",
                "memory",
                r#""memory":{"limit":33554432}"#,
                [("memory.limit_in_bytes", "33554432"), ("memory.max", "33554432")],
            ),
            ("pids", "pids", r#""pids":{"limit":0}"#, [("pids.max", "0"), ("pids.max", "0")]),
            (
                "cpu",
                "cpu",
                r#""cpu":{"shares":512,"quota":20000,"period":50000}"#,
                [("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 50000")],
            ),
            ("cpu", "cpu", r#""cpu":{"shares":512}"#, [("cpu.shares", "512"), ("cpu.weight", "59")]),
            (
                "cpu",
                "cpu",
                r#""cpu":{"quota":20000,"burst":10000}"#,
                [("cpu.cfs_burst_us", "10000"), ("cpu.max.burst", "10000")],
            ),
            ("cpu", "cpu", r#""cpu":{"idle":1}"#, [("cpu.idle", "1"), ("cpu.idle", "1")]),
            (
                "cpuset",
                "cpuset",
                r#""cpu":{"cpus":"0","mems":"0"}"#,
                [("cpuset.cpus", "0"), ("cpuset.cpus", "0")],
            ),
        ];
        for (v1, v2, json, expected) in cases {
            let Some(place) = has(v1, v2) else {
                eprintln!("skipped: no controller {v2} here");
                continue;
            };
            let made = Made::new(&format!(r#"{{"resources":{{{json}}}}}"#), layout).unwrap();
            let (dir, (file, value)) = match place {
                Hierarchy::V2 => (made.cgroup.v2_dir().unwrap(), expected[1]),
                Hierarchy::V1(_) => (made.cgroup.v1_dir(v1).unwrap(), expected[0]),
            };
            assert_eq!(std::fs::read_to_string(dir.join(file)).unwrap().trim(), value, "{json}");
        }
    });
}

#[test]
fn a_failure_leaves_nothing() {
    each(|layout| {
        let Some(_) = layout.place("cpuset", "cpuset").or(layout.place("cpu", "cpu")) else { return };
        let before = plan("{}", layout).unwrap();
        let json = if layout.place("cpuset", "cpuset").is_some() {
            r#"{"resources":{"cpu":{"cpus":"4095"}}}"#
        } else {
            r#"{"resources":{"cpu":{"quota":1}}}"#
        };
        let plan = plan(json, layout).unwrap();
        let error = plan.apply().unwrap_err();
        assert!(error.pointer().unwrap().starts_with("/linux/resources/cpu/"), "{error}");
        assert!(plan.dirs.iter().all(|dir| !dir.mount.join(&dir.inner).exists()));
        drop(before);
    });
}

#[test]
fn updates_rise_and_fall_and_are_taken_back() {
    each(|layout| {
        let Some(place) = layout.place("memory", "memory") else {
            eprintln!("skipped: no memory controller here");
            return;
        };
        let mib = 1 << 20;
        let limits =
            |limit: i64, swap: i64| format!(r#""memory":{{"limit":{},"swap":{}}}"#, limit * mib, swap * mib);
        let json = format!(r#"{{"resources":{{{},"pids":{{"limit":7}}}}}}"#, limits(64, 64));
        let made = match Made::new(&json, layout) {
            Err(error) if error.to_string().contains("memsw") => return eprintln!("skipped: {error}"),
            other => other.unwrap(),
        };
        let (dir, file) = match place {
            Hierarchy::V2 => (made.cgroup.v2_dir().unwrap(), "memory.max"),
            Hierarchy::V1(_) => (made.cgroup.v1_dir("memory").unwrap(), "memory.limit_in_bytes"),
        };
        let number =
            |file: &str| std::fs::read_to_string(dir.join(file)).unwrap().trim().parse::<i64>().unwrap();
        let limit = || number(file);
        assert_eq!(limit(), 64 * mib);
        for (memory, swap) in [(128, 256), (32, 32), (512, 512), (40, 80)] {
            made.cgroup.update(&resources(&format!("{{{}}}", limits(memory, swap)))).unwrap();
            assert_eq!(limit(), memory * mib, "{memory} {swap}");
        }
        // The second half fails, and the first is reverted. (A weight of a disk that does not exist.)
        if layout.place("blkio", "io").is_some() {
            let throttle = r#""blockIO":{"throttleReadBpsDevice":[{"major":4000,"minor":1,"rate":9}]}"#;
            // One below the old one, one above: version 1 reverts the two files in different orders.
            for (memory, swap) in [(50, 90), (300, 400), (20, 30)] {
                let both = format!("{{{},{throttle}}}", limits(memory, swap));
                let error = made.cgroup.update(&resources(&both)).unwrap_err();
                assert_eq!(
                    error.pointer(),
                    Some("/linux/resources/blockIO/throttleReadBpsDevice/0"),
                    "{error}"
                );
                assert_eq!(limit(), 40 * mib);
                if let Hierarchy::V1(_) = place {
                    assert_eq!(number("memory.memsw.limit_in_bytes"), 80 * mib, "{memory} {swap}");
                }
            }
        }
        made.cgroup.update(&resources(r#"{"pids":{"limit":0}}"#)).unwrap();
        made.cgroup.update(&resources(r#"{"memory":{"limit":-1}}"#)).unwrap();
        if place == Hierarchy::V2 {
            assert_eq!(std::fs::read_to_string(dir.join(file)).unwrap().trim(), "max");
        } else {
            assert!(limit() > i64::MAX / 2);
        }
    });
}

#[test]
fn a_limit_below_the_usage_is_rejected_when_checked() {
    each(|layout| {
        if layout.place("memory", "memory").is_none() {
            eprintln!("skipped: no memory controller here");
            return;
        }
        let mut made = Made::new("{}", layout).unwrap();
        fill_memory(&mut made, 30);
        let used = made.cgroup.stats().unwrap().memory.usage.usage;
        assert!(used > 20 << 20, "{used}");
        let error = made
            .cgroup
            .update(&resources(r#"{"memory":{"limit":1048576,"checkBeforeUpdate":true}}"#))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongState);
        assert!(
            error.to_string().starts_with("rejecting memory limit of 1048576 (lower than current usage"),
            "{error}"
        );
        assert!(made.children[0].try_wait().unwrap().is_none());
    });
}

#[test]
fn a_limit_that_cannot_be_reached_leaves_the_old_ones_and_one_that_can_is_set() {
    each(|layout| {
        if layout.place("memory", "memory").is_none() {
            eprintln!("skipped: no memory controller here");
            return;
        }
        let mut made = Made::new(r#"{"resources":{"memory":{"limit":134217728}}}"#, layout).unwrap();
        fill_memory(&mut made, 30);
        let patience = Duration::from_millis(300);
        let wanted = r#"{"memory":{"limit":16777216,"swap":16777216},"pids":{"limit":77}}"#;
        let error = made.cgroup.update_within(&resources(wanted), patience).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let stats = made.cgroup.stats().unwrap();
        assert_eq!(stats.memory.usage.limit, 134_217_728);
        assert_ne!(stats.pids.limit, 77);
        assert!(made.children[0].try_wait().unwrap().is_none());
        made.cgroup.update_within(&resources(r#"{"memory":{"limit":67108864}}"#), patience).unwrap();
        assert_eq!(made.cgroup.stats().unwrap().memory.usage.limit, 67_108_864);
        assert!(made.children[0].try_wait().unwrap().is_none());
    });
}

/// Starts a shell in the cgroup and makes it hold this many MiB.
fn fill_memory(made: &mut Made, mib: usize) -> i32 {
    let script = format!("read x; y=$(head -c {} /dev/zero | tr '\\0' x); echo ready >&2; read x", mib << 20);
    let child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id() as i32;
    enter(&made.cgroup, pid);
    made.children.push(child);
    let child = made.children.last_mut().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    // There is nothing to read if the kernel has killed it.
    child.stderr.as_mut().unwrap().read_exact(&mut [0; 1]).ok();
    pid
}

#[test]
fn out_of_memory_is_heard() {
    each(|layout| {
        if layout.place("memory", "memory").is_none() {
            eprintln!("skipped: no memory controller here");
            return;
        }
        let json = r#"{"resources":{"memory":{"limit":16777216,"swap":16777216}}}"#;
        let mut made = match Made::new(json, layout) {
            Err(error) if error.to_string().contains("memsw") => return eprintln!("skipped: {error}"),
            other => other.unwrap(),
        };
        let mut watch = made.cgroup.watch_oom().unwrap();
        assert_eq!(watch.read().unwrap(), Some(0));
        fill_memory(&mut made, 64);
        let mut killed = 0;
        let end = Instant::now() + Duration::from_secs(10);
        while killed == 0 && Instant::now() < end {
            let ready =
                poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5000_u16))
                    .unwrap();
            assert_eq!(ready, 1, "no event");
            killed += watch.read().unwrap().unwrap();
        }
        assert!(killed > 0);
        made.cgroup.kill(libc::SIGKILL).unwrap();
        made.ended_by(0);
        made.cgroup.remove(Duration::from_secs(5)).unwrap();
        if let Some(Hierarchy::V1(_)) = layout.place("memory", "memory") {
            let ready =
                poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5000_u16));
            assert_eq!(ready, Ok(1), "the end of the cgroup is an event too");
        }
        let mut last = watch.read().unwrap();
        while last == Some(0) && watch.is_undecided() {
            let ready =
                poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5000_u16));
            assert_eq!(ready, Ok(1), "it is decided in the end");
            last = watch.read().unwrap();
        }
        assert_eq!(last, None);
    });
}
