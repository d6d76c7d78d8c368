//! Scheduler, I/O priority, affinity, memory policy, personality: rows A73 to A77, A176 to A178, A203, A204.

use crate::outcome::{Outcome, check, same, skip};
use crate::{Bed, Spec, Test, cgroup, root, test};
use serde_json::{Value, json};
use std::path::Path;

pub(super) const TESTS: &[Test] = &[
    test("A73", "SCHED_BATCH with a nice value", |bed| {
        let seen = scheduled(bed, json!({"policy": "SCHED_BATCH", "nice": 5}))?;
        same("policy and nice", (&seen["policy"], &seen["nice"]), (&json!(3), &json!(5)))
    }),
    test("A73", "SCHED_OTHER and SCHED_IDLE, where numbers that are not given are 0", |bed| {
        for (policy, number) in [("SCHED_OTHER", 0), ("SCHED_IDLE", 5)] {
            let seen = scheduled(bed, json!({"policy": policy}))?;
            same(policy, (&seen["policy"], &seen["priority"]), (&json!(number), &json!(0)))?;
            // With SCHED_IDLE the kernel leaves the nice value unchanged (sched_setattr(2)).
            if policy == "SCHED_OTHER" {
                same("nice", &seen["nice"], 0)?;
            }
        }
        Ok(())
    }),
    root("A73", "SCHED_FIFO and SCHED_RR with a priority", |bed| {
        let budget = real_time_budget(bed)?;
        for (policy, priority, number) in [("SCHED_FIFO", 11, 1), ("SCHED_RR", 12, 2)] {
            let spec = Spec::new().set("/process/scheduler", json!({"policy": policy, "priority": priority}));
            let seen = bed.report(&budget.spend(spec))?["scheduler"].clone();
            same(policy, (&seen["policy"], &seen["priority"]), (&json!(number), &json!(priority)))?;
        }
        Ok(())
    }),
    test("A73", "a priority of a policy that has none is refused", |bed| {
        let wanted = json!({"policy": "SCHED_OTHER", "priority": 3});
        bed.refuses(&Spec::new().set("/process/scheduler", wanted), &["priority", "scheduler"])
    }),
    test("A73", "SCHED_DEADLINE with its three times", |bed| {
        bed.host.needs_root_because("it takes CAP_SYS_NICE on the host")?;
        let wanted = json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000, "period": 20_000_000});
        let seen = scheduled(bed, wanted)?;
        same("runtime", &seen["runtime"], 1_000_000)?;
        same("period", &seen["period"], 20_000_000)
    }),
    test("A73", "an unknown scheduler policy is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/process/scheduler", json!({"policy": "SCHED_NONSENSE"})),
            &["SCHED_NONSENSE", "scheduler"],
        )
    }),
    test("A73", "a scheduler without policy is refused", |bed| {
        bed.refuses(&Spec::new().set("/process/scheduler", json!({"nice": 3})), &["policy", "scheduler"])
    }),
    test("A73", "SCHED_ISO, which Linux does not have, is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/process/scheduler", json!({"policy": "SCHED_ISO"})),
            &["SCHED_ISO", "scheduler"],
        )
    }),
    test("A74", "SCHED_FLAG_RESET_ON_FORK is set", |bed| {
        let wanted = json!({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
        same("flags", &scheduled(bed, wanted)?["flags"], 1)
    }),
    test("A74", "an unknown scheduler flag is refused", |bed| {
        let wanted = json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NONSENSE"]});
        bed.refuses(
            &Spec::new().set("/process/scheduler", wanted),
            &["SCHED_FLAG_NONSENSE", "scheduler", "flag"],
        )
    }),
    test("A75", "ioPriority is set", |bed| {
        // The real-time class takes CAP_SYS_NICE on the host.
        let classes = [("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3), ("IOPRIO_CLASS_RT", 1)];
        for (class, number) in classes.into_iter().filter(|(_, number)| *number != 1 || bed.host.root) {
            let wanted = json!({"class": class, "priority": if number == 3 { 0 } else { 4 }});
            let seen = bed.report(&Spec::new().set("/process/ioPriority", wanted))?;
            same(class, seen["ioprio"].as_u64().map(|value| value >> 13), Some(number))?;
        }
        Ok(())
    }),
    test("A75", "an ioPriority out of range is refused", |bed| {
        let wanted = json!({"class": "IOPRIO_CLASS_BE", "priority": 8});
        bed.refuses(&Spec::new().set("/process/ioPriority", wanted), &["priority"])
    }),
    test("A75", "an unknown ioPriority class is refused", |bed| {
        let wanted = json!({"class": "IOPRIO_CLASS_NONSENSE", "priority": 1});
        bed.refuses(&Spec::new().set("/process/ioPriority", wanted), &["IOPRIO_CLASS_NONSENSE", "class"])
    }),
    test("A76 A77", "execCPUAffinity does not touch the first process and sets that of exec", affinity),
    test("A76", "an execCPUAffinity that is no list of CPUs is refused", |bed| {
        bed.refuses(&Spec::new().set("/process/execCPUAffinity", json!({"initial": "0-"})), &["affinity"])
    }),
    test("A176", "a memory policy is set", |bed| {
        numa(bed)?;
        let spec = Spec::new().set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"}));
        let seen = &bed.report(&spec)?["mempolicy"];
        same("mode and nodes", (&seen["mode"], &seen["nodes"]), (&json!(2), &json!(1)))
    }),
    test("A176", "all modes of the memory policy are known", |bed| {
        numa(bed)?;
        let modes = [
            ("MPOL_INTERLEAVE", "0", 3),
            ("MPOL_PREFERRED", "0", 1),
            ("MPOL_PREFERRED_MANY", "0", 5),
            ("MPOL_LOCAL", "", 4),
        ];
        for (mode, nodes, number) in modes {
            let spec = Spec::new().set("/linux/memoryPolicy", json!({"mode": mode, "nodes": nodes}));
            same(mode, &bed.report(&spec)?["mempolicy"]["mode"], number)?;
        }
        Ok(())
    }),
    test("A176", "an unknown mode of the memory policy is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/memoryPolicy", json!({"mode": "MPOL_NONSENSE", "nodes": "0"})),
            &["MPOL_NONSENSE"],
        )
    }),
    test("A177", "MPOL_F_STATIC_NODES is set", |bed| {
        numa(bed)?;
        let wanted = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
        same(
            "mode",
            &bed.report(&Spec::new().set("/linux/memoryPolicy", wanted))?["mempolicy"]["mode"],
            2 | 0x8000,
        )
    }),
    test("A177", "an unknown flag of the memory policy is refused", |bed| {
        let wanted = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NONSENSE"]});
        bed.refuses(&Spec::new().set("/linux/memoryPolicy", wanted), &["MPOL_F_NONSENSE"])
    }),
    test("A178", "MPOL_DEFAULT needs no nodes", |bed| {
        numa(bed)?;
        let seen = bed.report(&Spec::new().set("/linux/memoryPolicy", json!({"mode": "MPOL_DEFAULT"})))?;
        same("mode", &seen["mempolicy"]["mode"], 0)
    }),
    test("A178", "MPOL_BIND without nodes is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": ""})),
            &["memoryPolicy", "memory policy", "mempolicy", "nodes"],
        )
    }),
    test("A178", "nodes that are no list are refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "zero"})),
            &["nodes", "memory policy", "mempolicy"],
        )
    }),
    test("A176 A177 A178", "what is wrong with a memory policy is told in words that are known", |bed| {
        let known = [
            (json!({}), "invalid memory policy mode"),
            (json!({"nodes": "0-7"}), "invalid memory policy mode"),
            (json!({"mode": "INTERLEAVE", "nodes": "0"}), "invalid memory policy mode"),
            (
                json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES", "badflag"]}),
                "invalid memory policy flag",
            ),
            (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "mode requires 0 nodes but got 8"),
            (json!({"mode": "MPOL_BIND"}), "mode requires at least one node but got 0"),
            (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "invalid memory policy nodes"),
        ];
        for (policy, words) in known {
            bed.refuses(&Spec::new().set("/linux/memoryPolicy", policy), &[words])?;
        }
        Ok(())
    }),
    test("A203", "personality LINUX32 is set", |bed| {
        let seen = bed.report(&Spec::new().set("/linux/personality", json!({"domain": "LINUX32"})))?;
        same("personality", &seen["personality"], 8)
    }),
    test("A203", "personality LINUX is set", |bed| {
        let seen = bed.report(&Spec::new().set("/linux/personality", json!({"domain": "LINUX"})))?;
        same("personality", &seen["personality"], 0)
    }),
    test("A203", "an unknown personality is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/personality", json!({"domain": "WINDOWS"})),
            &["personality", "WINDOWS", "domain"],
        )
    }),
    test("A204", "flags of the personality are refused", |bed| {
        let wanted = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]});
        bed.refuses(&Spec::new().set("/linux/personality", wanted), &["flag", "personality"])
    }),
];

fn scheduled(bed: &Bed<'_>, wanted: Value) -> Outcome<Value> {
    let seen = bed.report(&Spec::new().set("/process/scheduler", wanted))?;
    Ok(seen["scheduler"].clone())
}

/// The right to real-time scheduling, of which the suite's own cgroup has some on v1.
pub(super) struct RealTimeBudget {
    grouped: bool,
}

impl RealTimeBudget {
    /// A configuration that takes its share, if cgroups have one.
    fn spend(&self, spec: Spec) -> Spec {
        if !self.grouped {
            return spec;
        }
        spec.set("/linux/resources/cpu", json!({"realtimeRuntime": 2_000, "realtimePeriod": 1_000_000}))
    }
}

/// The v1 hierarchy, if cgroups have a real-time runtime.
pub(super) fn grouped(bed: &Bed<'_>) -> Outcome<std::path::PathBuf> {
    let top = bed.host.v1("cpu")?;
    if top.join("cpu.rt_runtime_us").exists() {
        Ok(top)
    } else {
        skip("cgroups of this host have no real-time runtime")
    }
}

/// Skips if no process may schedule in real time.
pub(super) fn real_time_budget(bed: &Bed<'_>) -> Outcome<RealTimeBudget> {
    let Ok(top) = grouped(bed) else {
        // Not allowed below the root of a v2 hierarchy whose kernel counts real-time runtime by group.
        let allowed = std::process::Command::new("chrt").args(["-f", "1", "true"]).output();
        return match allowed {
            Ok(answer) if answer.status.success() => Ok(RealTimeBudget { grouped: false }),
            Ok(answer) => skip(format!(
                "no real-time scheduling here: {}",
                String::from_utf8_lossy(&answer.stderr).trim()
            )),
            Err(error) => skip(format!("cannot try real-time scheduling: chrt: {error}")),
        };
    };
    super::cgroups::cgroupfs(bed)?;
    // A new cgroup has none, and can give its children no more than it has.
    let parent = top.join(cgroup::parent().trim_start_matches('/'));
    std::fs::create_dir_all(&parent)?;
    match std::fs::write(parent.join("cpu.rt_runtime_us"), "20000") {
        Ok(()) => Ok(RealTimeBudget { grouped: true }),
        Err(error) => skip(format!("no real-time runtime is left for a cgroup of the suite: {error}")),
    }
}

/// Skips if the kernel has no memory policies.
fn numa(bed: &Bed<'_>) -> Outcome {
    bed.host.needs_path("/proc/self/numa_maps")
}

fn affinity(bed: &Bed<'_>) -> Outcome {
    if !Path::new("/sys/devices/system/cpu/cpu1").exists() {
        return skip("needs two CPUs");
    }
    let spec = Spec::new().set("/process/execCPUAffinity", json!({"initial": "0", "final": "1"}));
    let container = bed.waiting(&spec)?;
    let pid = container.pid()?.as_raw_pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    check(!status.contains("Cpus_allowed_list:\t1\n"), || "the first process was bound to CPU 1".into())?;
    let seen = container.exec(&["/probe", "report"])?.ok()?.json()?;
    same("CPUs of exec", &seen["status"]["Cpus_allowed_list"], "1")
}
