//! Tests against the real kernel: each makes its own cgroups, puts `sleep` processes in them and removes everything
//! again.
//!
//! They run on version 1, hybrid and version 2 alike, and on a hybrid machine also against its version 1 alone; what a
//! machine cannot do is skipped with the reason.

mod devices;
mod limits;
mod use_of;

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::{Linux, LinuxResources};

use super::handle::Join;
use super::layout::Hierarchy;
use super::*;
use crate::error::{ErrorKind, Result};

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

/// The machine as it is, and a hybrid one also as if it had only version 1, and as if it had only version 2.
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
        // A test must not write to the unified root of a hybrid machine.
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
