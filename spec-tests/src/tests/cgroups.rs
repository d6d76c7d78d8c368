//! cgroupsPath and resources: rows A136 to A165.

use crate::host::cgroup_parent;
use crate::observe::strings;
use crate::outcome::{Outcome, check, fail, same};
use crate::{Bed, Container, Spec, Test, test};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

pub(super) const TESTS: &[Test] = &[
    test("A136", "an absolute cgroupsPath counts from the mount of each hierarchy", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new())?)?;
        for controller in ["pids", "memory", "cpu", "devices"] {
            if let Ok(dir) = directory(bed, &container, controller) {
                let pid = container.pid()?.as_raw_pid().to_string();
                let procs = fs::read_to_string(dir.join("cgroup.procs"))?;
                check(procs.lines().any(|line| line == pid), || {
                    format!("{pid} is not in {}", dir.display())
                })?;
            }
        }
        Ok(())
    }),
    test("A136", "a relative cgroupsPath gives one place for one value", |bed| {
        let name = format!("suite-relative-{}", std::process::id());
        let spec = Spec::new().set("/linux/cgroupsPath", name.as_str()).args(&["/probe", "wait"]);
        let place = |bed: &Bed<'_>| -> Outcome<String> {
            let container = bed.create(&bed.bundle(&spec)?)?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?.as_raw_pid()))?;
            bed.call(["delete", "--force", container.id()])?.ok()?;
            let found = text.lines().find(|line| line.contains(&name)).map(str::to_owned);
            found.map_or_else(|| fail(format!("no cgroup of that name: {text}")), Ok)
        };
        same("place", place(bed)?, place(bed)?)
    }),
    test("A136", "without cgroupsPath the container has a cgroup of its own", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        bundle.write_spec(&Spec::new())?;
        let container = bed.create(&bundle)?;
        let theirs = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?.as_raw_pid()))?;
        check(theirs.contains(container.id()), || format!("the id is in none of its cgroups: {theirs}"))
    }),
    test("A137", "a cgroupsPath with dots does not lead out of the hierarchy", |bed| {
        let outside = PathBuf::from(format!("/sys/fs/cgroup/suite-escape-{}", std::process::id()));
        let spec = Spec::new().set("/linux/cgroupsPath", format!("/../suite-escape-{}", std::process::id()));
        let called = bed.run(&spec.args(&["/probe", "true"]))?;
        let made = outside.exists();
        // A runtime that was led there made plain directories and files, not cgroups.
        let _gone = fs::remove_dir_all(&outside);
        check(!made, || format!("made {} ({})", outside.display(), called.code()))
    }),
    test("A138", "a cgroup that another container uses is refused, and that container lives on", |bed| {
        let first = bed.waiting(&Spec::new())?;
        let path = Spec(first.bundle.spec()?).0["linux"]["cgroupsPath"].clone();
        let second = bed.bundle(&Spec::new().set("/linux/cgroupsPath", path).args(&["/probe", "true"]))?;
        let called = bed.call(["run", "--bundle", &second.dir.to_string_lossy(), &second.id])?;
        same("status of the first", first.status()?, "running")?;
        called.refused(&["cgroup"])
    }),
    test("A139", "cgroup v1 directories keep the owner root", |bed| {
        let container =
            bed.create(&bed.bundle(&Spec::new().user_namespace(100_000, 65_536).namespace("cgroup", None))?)?;
        let dir = directory(bed, &container, "pids")?;
        same("owner", fs::metadata(&dir)?.uid(), 0)?;
        same("owner of cgroup.procs", fs::metadata(dir.join("cgroup.procs"))?.uid(), 0)
    }),
    test("A142", "a host with v1 and v2 cgroups side by side is served", |bed| {
        if bed.host.refused_hybrid.contains(&bed.runtime.path) {
            return fail("it refused the host until the v2 hierarchy was hidden");
        }
        if bed.host.cgroups != crate::host::CgroupMode::Hybrid && bed.host.refused_hybrid.is_empty() {
            return crate::outcome::skip(format!("this host has {:?}", bed.host.cgroups));
        }
        bed.report(&Spec::new()).map(drop)
    }),
    test("A144", "memory limit, reservation and swap are set", |bed| {
        let memory = json!({"limit": 64 << 20, "reservation": 32 << 20, "swap": 128 << 20});
        let container = with_resources(bed, "memory", memory)?;
        file(bed, &container, "memory", "memory.limit_in_bytes", "67108864")?;
        file(bed, &container, "memory", "memory.soft_limit_in_bytes", "33554432")?;
        file(bed, &container, "memory", "memory.memsw.limit_in_bytes", "134217728")
    }),
    test("A144", "a memory limit of -1 means none", |bed| {
        let container = with_resources(bed, "memory", json!({"limit": -1, "swap": -1}))?;
        let limit = read(bed, &container, "memory", "memory.limit_in_bytes")?;
        check(limit.len() > 15, || format!("limit {limit}"))
    }),
    test("A144", "a program that takes more than the memory limit is killed", |bed| {
        bed.host.v1("memory")?;
        let spec = Spec::new().set("/linux/resources/memory", json!({"limit": 16 << 20, "swap": 16 << 20}));
        let called = bed.run(&spec.args(&["/probe", "alloc", "64"]))?;
        same("exit code", called.code(), 137)
    }),
    test("A144", "swap below the limit is refused", |bed| {
        let spec = Spec::new().set("/linux/resources/memory", json!({"limit": 64 << 20, "swap": 32 << 20}));
        bed.refuses(&spec, &["swap", "memsw", "memory"])
    }),
    test("A145", "swappiness is set, 0 included", |bed| {
        let container = with_resources(bed, "memory", json!({"limit": 64 << 20, "swappiness": 33}))?;
        file(bed, &container, "memory", "memory.swappiness", "33")?;
        let container = with_resources(bed, "memory", json!({"swappiness": 0}))?;
        file(bed, &container, "memory", "memory.swappiness", "0")
    }),
    test("A145", "swappiness above 100 is refused", |bed| {
        bed.refuses(&Spec::new().set("/linux/resources/memory", json!({"swappiness": 101})), &["swappiness"])
    }),
    test("A147", "disableOOMKiller is set on cgroup v1", |bed| {
        let container = with_resources(bed, "memory", json!({"limit": 64 << 20, "disableOOMKiller": true}))?;
        let control = read(bed, &container, "memory", "memory.oom_control")?;
        check(control.contains("oom_kill_disable 1"), || control)
    }),
    test("A145 A147 A164", "memory settings of cgroup v1 are refused on v2", |bed| {
        bed.host.needs_v2()?;
        bed.refuses(&Spec::new().set("/linux/resources/memory", json!({"swappiness": 10})), &["swappiness"])?;
        bed.refuses(
            &Spec::new().set("/linux/resources/memory", json!({"disableOOMKiller": true})),
            &["disableOOMKiller", "oom"],
        )
    }),
    test("A149", "checkBeforeUpdate refuses an update below the usage", |bed| {
        bed.host.v1("memory")?;
        let spec = Spec::new()
            .set("/linux/resources/memory", json!({"limit": 128 << 20, "checkBeforeUpdate": true}));
        let container = bed.started(&spec.args(&["/probe", "wait"]))?;
        container.until_output("ready")?;
        let update = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}}).to_string();
        let called = bed.command(["update", "--resources", "-", container.id()]).stdin(update).call()?;
        called.refused(&["memory", "limit"])?;
        same("status", container.status()?, "running")
    }),
    test("A150", "cpu shares, quota and period are set", |bed| {
        let container =
            with_resources(bed, "cpu", json!({"shares": 512, "quota": 50_000, "period": 200_000}))?;
        file(bed, &container, "cpu", "cpu.shares", "512")?;
        file(bed, &container, "cpu", "cpu.cfs_quota_us", "50000")?;
        file(bed, &container, "cpu", "cpu.cfs_period_us", "200000")
    }),
    test("A150", "a cpu quota without period and a period without quota are set", |bed| {
        let container = with_resources(bed, "cpu", json!({"quota": 30_000}))?;
        file(bed, &container, "cpu", "cpu.cfs_quota_us", "30000")?;
        let container = with_resources(bed, "cpu", json!({"period": 50_000}))?;
        file(bed, &container, "cpu", "cpu.cfs_period_us", "50000")
    }),
    test("A150", "a cpu period that the kernel does not take is refused", |bed| {
        bed.host.v1("cpu")?;
        bed.refuses(
            &Spec::new().set("/linux/resources/cpu", json!({"period": 5, "quota": 5})),
            &["period", "cfs_period"],
        )
    }),
    test("A151", "cpu burst is set", |bed| {
        let dir = bed.host.v1("cpu")?;
        bed.host.needs_path(&dir.join("cpu.cfs_burst_us").to_string_lossy())?;
        let container =
            with_resources(bed, "cpu", json!({"quota": 50_000, "period": 100_000, "burst": 20_000}))?;
        file(bed, &container, "cpu", "cpu.cfs_burst_us", "20000")
    }),
    test("A151", "a cpu burst above the quota is refused", |bed| {
        bed.refuses(
            &Spec::new()
                .set("/linux/resources/cpu", json!({"quota": 10_000, "period": 100_000, "burst": 90_000})),
            &["burst"],
        )
    }),
    test("A153", "cpus and mems are set", |bed| {
        let container = with_resources(bed, "cpu", json!({"cpus": "0", "mems": "0"}))?;
        file(bed, &container, "cpuset", "cpuset.cpus", "0")?;
        file(bed, &container, "cpuset", "cpuset.mems", "0")?;
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid()?.as_raw_pid()))?;
        check(status.contains("Cpus_allowed_list:\t0\n"), || "the first process may use other CPUs".into())
    }),
    test("A153", "cpus that do not exist or are no list are refused", |bed| {
        bed.refuses(&Spec::new().set("/linux/resources/cpu", json!({"cpus": "4000-4001"})), &["cpus"])?;
        bed.refuses(&Spec::new().set("/linux/resources/cpu", json!({"cpus": "zero"})), &["cpus"])
    }),
    test("A154", "cpu idle is set", |bed| {
        let dir = bed.host.v1("cpu")?;
        bed.host.needs_path(&dir.join("cpu.idle").to_string_lossy())?;
        let container = with_resources(bed, "cpu", json!({"idle": 1}))?;
        file(bed, &container, "cpu", "cpu.idle", "1")
    }),
    test("A157", "blkio throttling is set", |bed| {
        bed.host.v1("blkio")?;
        let Some((major, minor)) = disk() else { return crate::outcome::skip("this machine has no disk") };
        let entry = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
        let block = json!({"throttleReadBpsDevice": entry(1 << 20), "throttleWriteBpsDevice": entry(2 << 20),
                           "throttleReadIOPSDevice": entry(100), "throttleWriteIOPSDevice": entry(200)});
        let container = with_resources(bed, "blockIO", block)?;
        let line = |rate: u64| format!("{major}:{minor} {rate}");
        file(bed, &container, "blkio", "blkio.throttle.read_bps_device", &line(1 << 20))?;
        file(bed, &container, "blkio", "blkio.throttle.write_bps_device", &line(2 << 20))?;
        file(bed, &container, "blkio", "blkio.throttle.read_iops_device", &line(100))?;
        file(bed, &container, "blkio", "blkio.throttle.write_iops_device", &line(200))
    }),
    test("A155 A156", "a weight that this kernel has no file for is refused", |bed| {
        let dir = bed.host.v1("blkio")?;
        // The weights are not in the root of the hierarchy; the statistics of the same schedulers are.
        let bfq = dir.join("blkio.bfq.io_serviced").exists();
        let cfq = dir.join("blkio.time").exists();
        for (key, known) in [("weight", bfq || cfq), ("leafWeight", cfq)] {
            if !known {
                let spec = Spec::new().set("/linux/resources/blockIO", json!({key: 300}));
                bed.refuses(&spec, &["weight"])?;
            }
        }
        Ok(())
    }),
    test("A159", "a pageSize that the kernel does not have is refused", |bed| {
        let limits = json!([{"pageSize": "3MB", "limit": 1 << 30}]);
        bed.refuses(
            &Spec::new().set("/linux/resources/hugepageLimits", limits),
            &["3MB", "hugetlb", "pageSize"],
        )
    }),
    test("A161", "the pids limit is set and holds", |bed| {
        let container = with_resources(bed, "pids", json!({"limit": 20}))?;
        file(bed, &container, "pids", "pids.max", "20")?;
        let spec = Spec::new().set("/linux/resources/pids", json!({"limit": 20})).args(&[
            "/probe",
            "fork-bomb",
            "60",
        ]);
        let seen = bed.report(&spec)?;
        check(seen["started"].as_u64().is_some_and(|n| n < 20) && seen["errno"] == 11, || format!("{seen}"))
    }),
    test("A161", "a pids limit of -1 means none", |bed| {
        let container = with_resources(bed, "pids", json!({"limit": -1}))?;
        file(bed, &container, "pids", "pids.max", "max")
    }),
    test("A161", "a pids limit of 0 is a limit since version 1.3", |bed| {
        bed.host.v1("pids")?;
        let spec = Spec::new().set("/ociVersion", "1.3.0").set("/linux/resources/pids", json!({"limit": 0}));
        let container = bed.create(&bed.bundle(&spec)?)?;
        let max = read(bed, &container, "pids", "pids.max")?;
        check(["0", "1"].contains(&max.as_str()), || format!("pids.max is {max}"))
    }),
    test("A160", "a network class that this kernel cannot set is refused", |bed| {
        if bed.host.v1("net_cls").is_ok() {
            return crate::outcome::skip("this machine has net_cls");
        }
        bed.refuses(
            &Spec::new().set("/linux/resources/network", json!({"classID": 1_048_577})),
            &["network", "net_cls", "classid"],
        )
    }),
    test("A162", "rdma limits without an rdma controller are refused", |bed| {
        if bed.host.v1("rdma").is_ok() || bed.host.cgroups == crate::host::CgroupMode::V2 {
            return crate::outcome::skip("this machine may have an rdma controller");
        }
        bed.refuses(
            &Spec::new().set("/linux/resources/rdma", json!({"mlx5_0": {"hcaHandles": 3}})),
            &["rdma"],
        )
    }),
    test("A163", "unified settings on a host without cgroup v2 are refused", |bed| {
        if bed.host.cgroups == crate::host::CgroupMode::V2 {
            return crate::outcome::skip("this host has cgroup v2");
        }
        bed.refuses(
            &Spec::new().set("/linux/resources/unified", json!({"memory.high": "10000000"})),
            &["unified", "memory.high"],
        )
    }),
    test("A163", "unified settings are written on cgroup v2", |bed| {
        bed.host.needs_v2()?;
        let spec =
            Spec::new().set("/linux/resources/unified", json!({"pids.max": "23"})).args(&["/probe", "wait"]);
        let container = bed.started(&spec)?;
        let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?.as_raw_pid()))?;
        let path = text.trim().rsplit(':').next().unwrap_or_default().trim_start_matches('/').to_owned();
        same(
            "pids.max",
            fs::read_to_string(PathBuf::from("/sys/fs/cgroup").join(path).join("pids.max"))?.trim(),
            "23",
        )
    }),
    test("A211", "a cgroup mount shows the container's own cgroup", |bed| {
        let spec = Spec::new().mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        );
        let answers = bed
            .tries(&spec, &[&["list", "/sys/fs/cgroup"], &["mkdir", "/sys/fs/cgroup/pids/x"], &["mounts"]])?;
        let names = answers[0].worked()?;
        check(!strings(names).is_empty(), || "the cgroup mount is empty".into())?;
        check(answers[1].errno != 0, || "a cgroup could be made through a read-only mount".into())
    }),
    test("A218", "delete leaves the cgroup's parent, which it did not make", |bed| {
        let dir = bed.host.v1("pids")?;
        let parent = dir.join(cgroup_parent().trim_start_matches('/')).join("kept");
        fs::create_dir_all(&parent)?;
        let bundle = bed.bundle(&Spec::new())?;
        let path = format!("{}/kept/{}", cgroup_parent(), bundle.id);
        bundle.write_spec(&Spec::new().set("/linux/cgroupsPath", path).args(&["/probe", "true"]))?;
        bed.run_bundle(&bundle)?.ok()?;
        let kept = parent.is_dir();
        crate::host::remove_cgroup(&parent);
        for hierarchy in &bed.host.hierarchies {
            crate::host::remove_cgroup(&hierarchy.join(cgroup_parent().trim_start_matches('/')).join("kept"));
        }
        check(kept, || "the parent is gone".into())
    }),
];

fn with_resources<'b, 'a>(bed: &'b Bed<'a>, kind: &str, value: Value) -> Outcome<Container<'b, 'a>> {
    let controller = if kind == "blockIO" { "blkio" } else { kind };
    bed.host.v1(controller)?;
    bed.create(&bed.bundle(&Spec::new().set(&format!("/linux/resources/{kind}"), value))?)
}

/// The container's directory in the v1 hierarchy of a controller.
pub(crate) fn directory(bed: &Bed<'_>, container: &Container<'_, '_>, controller: &str) -> Outcome<PathBuf> {
    let top = bed.host.v1(controller)?;
    let path = container.bundle.spec()?["linux"]["cgroupsPath"]
        .as_str()
        .unwrap_or_default()
        .trim_start_matches('/')
        .to_owned();
    Ok(top.join(path))
}

/// A file of the container's cgroup, without the newline.
pub(crate) fn read(
    bed: &Bed<'_>,
    container: &Container<'_, '_>,
    controller: &str,
    name: &str,
) -> Outcome<String> {
    let path = directory(bed, container, controller)?.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => fail(format!("{}: {error}", path.display())),
    }
}

pub(crate) fn file(
    bed: &Bed<'_>,
    container: &Container<'_, '_>,
    controller: &str,
    name: &str,
    wanted: &str,
) -> Outcome {
    same(name, read(bed, container, controller, name)?, wanted)
}

/// Numbers of a whole disk.
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
