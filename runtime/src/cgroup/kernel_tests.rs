//! The kernel for real: every test makes cgroups of its own, puts `sleep` processes in them and removes all again.
//!
//! They run on version 1, hybrid and version 2 alike, and on a hybrid machine also against its version 1 alone; what a
//! machine cannot do is skipped with the reason.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::{Linux, LinuxResources};

use super::handle::Join;
use super::layout::Place;
use super::*;
use crate::error::{Kind, Result};

/// A made cgroup that removes itself, killing what is in it.
struct Made {
    cgroup: Cgroup,
    children: Vec<Child>,
}

impl Made {
    fn new(linux: &str, layout: &CgroupLayout) -> Result<Self> {
        let cgroup = plan(linux, layout)?.apply()?;
        Ok(Self { cgroup, children: Vec::new() })
    }

    fn spawn(&mut self, program: &str, args: &[&str]) -> i32 {
        let child =
            Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pid = child.id() as i32;
        enter(&self.cgroup, pid);
        self.children.push(child);
        pid
    }

    fn sleep(&mut self) -> i32 {
        self.spawn("sleep", &["1000"])
    }

    /// The signal that ended the child, waiting at most five seconds.
    fn ended_by(&mut self, index: usize) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if let Some(status) = self.children[index].try_wait().unwrap() {
                return status.signal();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        drop(self.cgroup.thaw_tree());
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
        drop(self.cgroup.kill(libc::SIGKILL));
        if let Err(error) = self.cgroup.remove(Duration::from_secs(5)) {
            eprintln!("left behind: {error}");
        }
    }
}

fn exists(cgroup: &Cgroup) -> bool {
    cgroup.record().dirs.iter().any(|dir| dir.path().exists())
}

fn enter(cgroup: &Cgroup, pid: i32) {
    for dir in &cgroup.record().dirs {
        enter_dir(&dir.path(), pid);
    }
}

fn enter_dir(dir: &Path, pid: i32) {
    std::fs::OpenOptions::new()
        .write(true)
        .open(dir.join("cgroup.procs"))
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .unwrap_or_else(|error| panic!("enter {}: {error}", dir.display()));
}

fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("wharf-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn plan(linux: &str, layout: &CgroupLayout) -> Result<CgroupPlan> {
    let linux: Linux = serde_json::from_str(linux).unwrap();
    CgroupPlan::new(Some(&linux), &name(), layout, Denial::Odd)
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// The machine as it is, and a hybrid one also as if it had version 1 only and as if it had version 2 only.
fn layouts() -> Vec<CgroupLayout> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: cgroups need root");
        return Vec::new();
    }
    let layout = CgroupLayout::probe(None).unwrap();
    let mut all = vec![layout.clone()];
    if layout.mode == Mode::Hybrid {
        all.push(CgroupLayout { mode: Mode::V1, v2: None, ..layout.clone() });
        let mut two = CgroupLayout { mode: Mode::V2, v1: Vec::new(), ..layout };
        // The unified root of a hybrid machine is not for a test to write to.
        two.v2.iter_mut().for_each(|v2| v2.controllers.clear());
        all.push(two);
    }
    let writable = all[0].places().all(|place| {
        let probe = all[0].mount(place).unwrap().join(name());
        std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe)).is_ok()
    });
    if !writable {
        eprintln!("skipped: cgroups cannot be made here");
        return Vec::new();
    }
    all
}

fn each(test: impl Fn(&CgroupLayout)) {
    for layout in layouts() {
        eprintln!("on {:?} with {} hierarchies", layout.mode, layout.places().count());
        test(&layout);
    }
}

#[test]
fn make_use_and_remove() {
    each(|layout| {
        let mut made = Made::new("{}", layout).unwrap();
        let paths: Vec<PathBuf> = made.cgroup.record().dirs.iter().map(DirRecord::path).collect();
        assert_eq!(made.cgroup.record().made, paths);
        assert_eq!(paths.len(), layout.places().count());
        assert!(paths.iter().all(|path| path.is_dir()));
        let (one, two) = (made.sleep(), made.sleep());
        let mut expected = vec![one, two];
        expected.sort_unstable();
        assert_eq!(made.cgroup.processes(false).unwrap(), expected);
        let busy = made.cgroup.remove(Duration::from_millis(30)).unwrap_err();
        assert!(busy.to_string().contains("2 process(es) are in it"), "{busy}");
        assert!(busy.to_string().contains(&format!("{one} (sleep)")), "{busy}");
        made.cgroup.kill(libc::SIGKILL).unwrap();
        assert_eq!((made.ended_by(0), made.ended_by(1)), (Some(9), Some(9)));
        made.cgroup.remove(Duration::from_secs(5)).unwrap();
        assert!(paths.iter().all(|path| !path.exists()));
        assert!(!exists(&made.cgroup));
        made.cgroup.remove(Duration::ZERO).unwrap();
        assert_eq!(made.cgroup.processes(true).unwrap(), Vec::<i32>::new());
    });
}

#[test]
fn parents_are_removed_unless_shared() {
    each(|layout| {
        let parent = name();
        let path = |leaf: &str| format!(r#"{{"cgroupsPath":"/{parent}/{leaf}"}}"#);
        let first = Made::new(&path("a/b"), layout).unwrap();
        let second = Made::new(&path("c"), layout).unwrap();
        let root = layout.mount(layout.places().next().unwrap()).unwrap().join(&parent);
        first.cgroup.remove(Duration::from_secs(1)).unwrap();
        assert!(root.join("c").is_dir() && !root.join("a").exists());
        second.cgroup.remove(Duration::from_secs(1)).unwrap();
        assert!(root.is_dir(), "the second container did not make the parent");
        for place in layout.places() {
            std::fs::remove_dir(layout.mount(place).unwrap().join(&parent)).unwrap();
        }
    });
}

#[test]
fn a_cgroup_in_use_or_frozen_is_refused() {
    each(|layout| {
        let path = format!(r#"{{"cgroupsPath":"/{}"}}"#, name());
        let mut first = Made::new(&path, layout).unwrap();
        let again = plan(&path, layout).unwrap();
        assert_eq!(again.intent().made, [] as [PathBuf; 0]);
        again.apply().unwrap(); // empty: may be used
        first.sleep();
        let error = again.apply().unwrap_err();
        assert!(
            error.to_string().starts_with("container's cgroup is not empty: 1 process(es) found"),
            "{error}"
        );
        first.cgroup.kill(libc::SIGKILL).unwrap();
        first.ended_by(0);
        if layout.v2.is_some() || first.cgroup.v1_dir("freezer").is_some() {
            first.cgroup.freeze().unwrap();
            let error = again.apply().unwrap_err();
            assert!(error.to_string().starts_with("container's cgroup unexpectedly frozen"), "{error}");
            first.cgroup.thaw().unwrap();
        }
        assert!(exists(&first.cgroup), "a refusal leaves the other's cgroup alone");
    });
}

#[test]
fn freezing_stops_and_killing_thaws() {
    each(|layout| {
        let mut made = Made::new("{}", layout).unwrap();
        if made.cgroup.v2_dir().is_none() && made.cgroup.v1_dir("freezer").is_none() {
            eprintln!("skipped: no freezer");
            return;
        }
        made.spawn("sh", &["-c", "trap 'exit 7' TERM; echo; while :; do sleep 0.01; done"]);
        made.children[0].stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
        assert!(!made.cgroup.frozen().unwrap());
        made.cgroup.freeze().unwrap();
        assert!(made.cgroup.frozen().unwrap());
        // A handled TERM waits while the container is paused.
        made.cgroup.kill(libc::SIGTERM).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        assert!(made.children[0].try_wait().unwrap().is_none());
        assert!(made.cgroup.frozen().unwrap());
        made.cgroup.thaw().unwrap();
        assert_eq!(made.children[0].wait().unwrap().code(), Some(7));
        assert!(!made.cgroup.frozen().unwrap());
        made.sleep();
        made.cgroup.freeze().unwrap();
        made.cgroup.kill(libc::SIGKILL).unwrap();
        assert_eq!(made.ended_by(1), Some(9), "KILL reaches a frozen container");
    });
}

#[test]
fn killing_reaches_frozen_sub_cgroups_and_forks() {
    each(|layout| {
        let mut made = Made::new("{}", layout).unwrap();
        let pid = made.sleep();
        // A shell that keeps forking.
        made.spawn("sh", &["-c", "while :; do sleep 0.01 & done"]);
        let subs: Vec<PathBuf> =
            made.cgroup.record().dirs.iter().map(|d| d.path().join("x").join("y")).collect();
        for sub in &subs {
            std::fs::create_dir_all(sub).unwrap();
            if sub.starts_with(
                layout.v1.iter().find(|h| h.controllers == ["cpuset"]).map_or(Path::new("-"), |h| &h.mount),
            ) {
                continue; // cpusets of version 1 start without CPUs
            }
            enter_dir(sub, pid);
            for (file, value) in [("cgroup.freeze", "1"), ("freezer.state", "FROZEN")] {
                if sub.join(file).exists() {
                    std::fs::write(sub.join(file), value).unwrap();
                }
            }
        }
        let all = made.cgroup.processes(true).unwrap();
        assert!(all.contains(&pid), "{all:?}");
        made.cgroup.kill(libc::SIGKILL).unwrap();
        assert_eq!((made.ended_by(0), made.ended_by(1)), (Some(9), Some(9)));
        made.cgroup.remove(Duration::from_secs(10)).unwrap();
        assert!(subs.iter().all(|sub| !sub.parent().unwrap().parent().unwrap().exists()));
    });
}

#[test]
fn a_deep_nest_is_removed() {
    each(|layout| {
        let made = Made::new("{}", layout).unwrap();
        let mut deep = made.cgroup.record().dirs.last().unwrap().path();
        for _ in 0..150 {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).unwrap();
        made.cgroup.remove(Duration::from_secs(5)).unwrap();
        assert!(!exists(&made.cgroup));
    });
}

#[test]
fn removal_waits_for_the_last_process() {
    each(|layout| {
        let mut made = Made::new("{}", layout).unwrap();
        made.spawn("sleep", &["0.3"]);
        let begin = Instant::now();
        made.cgroup.remove(Duration::from_secs(5)).unwrap();
        let took = begin.elapsed();
        assert!(took > Duration::from_millis(150) && took < Duration::from_secs(3), "{took:?}");
    });
}

/// The controller's two names, the resources, and what the file of each version then has.
type Limit<'a> = (&'a str, &'a str, &'a str, [(&'a str, &'a str); 2]);

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
                Place::V2 => (made.cgroup.v2_dir().unwrap(), expected[1]),
                Place::V1(_) => (made.cgroup.v1_dir(v1).unwrap(), expected[0]),
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
            Place::V2 => (made.cgroup.v2_dir().unwrap(), "memory.max"),
            Place::V1(_) => (made.cgroup.v1_dir("memory").unwrap(), "memory.limit_in_bytes"),
        };
        let limit = || std::fs::read_to_string(dir.join(file)).unwrap().trim().parse::<i64>().unwrap();
        assert_eq!(limit(), 64 * mib);
        for (memory, swap) in [(128, 256), (32, 32), (512, 512), (40, 80)] {
            made.cgroup.update(&resources(&format!("{{{}}}", limits(memory, swap)))).unwrap();
            assert_eq!(limit(), memory * mib, "{memory} {swap}");
        }
        // The second half fails, the first is taken back. (A weight of a disk that does not exist.)
        if layout.place("blkio", "io").is_some() {
            let throttle = r#""blockIO":{"throttleReadBpsDevice":[{"major":4000,"minor":1,"rate":9}]}"#;
            let error =
                made.cgroup.update(&resources(&format!("{{{},{throttle}}}", limits(50, 90)))).unwrap_err();
            assert_eq!(error.pointer(), Some("/linux/resources/blockIO/throttleReadBpsDevice/0"), "{error}");
            assert_eq!(limit(), 40 * mib);
        }
        made.cgroup.update(&resources(r#"{"pids":{"limit":0}}"#)).unwrap();
        made.cgroup.update(&resources(r#"{"memory":{"limit":-1}}"#)).unwrap();
        if place == Place::V2 {
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
        assert_eq!(error.kind(), Kind::WrongState);
        assert!(
            error.to_string().starts_with("rejecting memory limit of 1048576 (lower than current usage"),
            "{error}"
        );
        assert!(made.children[0].try_wait().unwrap().is_none());
    });
}

/// Starts a shell in the cgroup and has it hold so many MiB.
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
    // Nothing is read where the kernel has killed it meanwhile.
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
        if let Some(Place::V1(_)) = layout.place("memory", "memory") {
            let ready =
                poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5000_u16));
            assert_eq!(ready, Ok(1), "the end of the cgroup is an event too");
        }
        assert_eq!(watch.read().unwrap(), None);
    });
}

#[test]
fn device_rules_are_in_force() {
    each(|layout| {
        let json = r#"{"resources":{"devices":[{"allow":false,"access":"rwm"},
            {"allow":true,"type":"c","major":1,"minor":5,"access":"r"},
            {"allow":false,"type":"c","major":1,"minor":7,"access":"w"}]}}"#;
        let mut made = Made::new(json, layout).unwrap();
        // Each line is one attempt of a shell inside; the exit status has one bit per success.
        let script = "read x; s=0
            : >/dev/null && s=$((s+1))
            (: </dev/zero) 2>/dev/null && s=$((s+2))
            (: >/dev/full) 2>/dev/null && s=$((s+4))
            (: </dev/full) 2>/dev/null && s=$((s+8))
            (: </dev/kmsg) 2>/dev/null && s=$((s+16))
            exit $s";
        let mut child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        enter(&made.cgroup, child.id() as i32);
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let code = child.wait().unwrap().code().unwrap();
        assert_eq!(code & !16, 1 + 2 + 8, "null and zero can be opened, full only for reading");
        assert_eq!(code & 16, 0, "a device that no rule allows stays closed");
        made.sleep();
    });
}

#[test]
fn everything_is_allowed_on_request() {
    each(|layout| {
        let json = r#"{"resources":{"devices":[{"allow":true,"access":"rwm"}]}}"#;
        let made = Made::new(json, layout).unwrap();
        let Some(dir) = made.cgroup.v1_dir("devices") else { return };
        assert_eq!(std::fs::read_to_string(dir.join("devices.list")).unwrap().trim(), "a *:* rwm");
    });
}

#[test]
fn a_second_program_takes_the_place_of_the_first() {
    each(|layout| {
        if layout.place("devices", "-").is_some() || layout.v2.is_none() {
            return;
        }
        let path = name();
        let json = |allow: bool| {
            format!(
                r#"{{"cgroupsPath":"/{path}","resources":{{"devices":[
                {{"allow":{allow},"type":"c","major":1,"minor":11,"access":"r"}}]}}}}"#
            )
        };
        let made = Made::new(&json(true), layout).unwrap();
        let dir = file::open_dir(&made.cgroup.v2_dir().unwrap()).unwrap();
        assert_eq!(crate::sys::bpf::device_programs(dir.as_fd()).unwrap().len(), 1);
        plan(&json(false), layout).unwrap().apply().unwrap();
        assert_eq!(crate::sys::bpf::device_programs(dir.as_fd()).unwrap().len(), 1);
    });
}

#[test]
fn numbers_of_a_running_container() {
    each(|layout| {
        let mut made = Made::new("{}", layout).unwrap();
        made.spawn("sh", &["-c", "while :; do :; done"]);
        std::thread::sleep(Duration::from_millis(150));
        let stats = made.cgroup.stats().unwrap();
        assert!(stats.cpu.usage.total > 5_000_000, "{:?}", stats.cpu);
        if layout.place("pids", "pids").is_some() {
            assert_eq!((stats.pids.current, stats.pids.limit), (1, 0));
        }
        if layout.place("memory", "memory").is_some() {
            assert!(stats.memory.usage.limit > 1 << 40 && !stats.memory.raw.is_empty());
        }
        if layout.place("cpuset", "cpuset").is_some() {
            assert!(!stats.cpuset.cpus.is_empty());
        }
    });
}

#[test]
fn a_further_process_finds_its_place() {
    each(|layout| {
        let mut made = Made::new("{}", layout).unwrap();
        let pid = made.sleep();
        assert_eq!(
            made.cgroup.join_further(&[], pid).unwrap(),
            Join { tasks: made.cgroup.tasks_files(), v2_dir: made.cgroup.v2_dir() }
        );
        let Some(top) = made.cgroup.v2_dir() else { return };
        // The container moves its init down and enables controllers, if it has any, for its children.
        let sub = top.join("init");
        std::fs::create_dir(&sub).unwrap();
        enter_dir(&sub, pid);
        let available = std::fs::read_to_string(top.join("cgroup.controllers")).unwrap();
        let Some(first) = available.split_whitespace().next() else {
            eprintln!("skipped: no controllers to hand out here");
            return;
        };
        std::fs::write(top.join("cgroup.subtree_control"), format!("+{first}")).unwrap();
        assert_eq!(made.cgroup.join_further(&[], pid).unwrap().v2_dir, Some(sub));
    });
}

#[test]
fn controllers_reach_a_deep_cgroup_and_a_populated_parent_is_told() {
    each(|layout| {
        if layout.mode != Mode::V2 || layout.place("-", "memory").is_none() {
            eprintln!("skipped: needs version 2 with a memory controller");
            return;
        }
        let parent = name();
        let json = |leaf: &str| {
            format!(r#"{{"cgroupsPath":"/{parent}/{leaf}","resources":{{"memory":{{"limit":33554432}}}}}}"#)
        };
        let deep = Made::new(&json("a/b/c"), layout).unwrap();
        let file = deep.cgroup.v2_dir().unwrap().join("memory.max");
        assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "33554432");
        deep.cgroup.remove(Duration::from_secs(2)).unwrap();
        let mut holder = Made::new(&format!(r#"{{"cgroupsPath":"/{parent}"}}"#), layout).unwrap();
        holder.sleep();
        let error = Made::new(&json("x"), layout).err().unwrap();
        assert!(error.to_string().contains("enable the cgroup controller memory"), "{error}");
        assert_eq!(error.pointer(), Some("/linux/resources/memory/limit"));
        assert!(error.remedy().unwrap().contains("processes of its own"));
    });
}

#[test]
fn the_cgroup_changes_hands() {
    each(|layout| {
        use std::os::unix::fs::MetadataExt;
        let made = Made::new("{}", layout).unwrap();
        let Some(dir) = made.cgroup.v2_dir() else { return };
        delegate(&dir, 4242).unwrap();
        let uid = |name: &str| std::fs::metadata(dir.join(name)).unwrap().uid();
        assert_eq!(
            [uid(""), uid("cgroup.procs"), uid("cgroup.subtree_control"), uid("cgroup.threads")],
            [4242; 4]
        );
        assert_eq!(uid("cgroup.freeze"), 0);
    });
}
