//! The namespaces of a pod without a container, in real namespaces.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use wharf::pod::PodNamespaces;

/// Whether the tests can run; prints why not.
fn possible() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: making namespaces needs root");
    }
    root
}

/// What depends on a thread ends with it.
fn in_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(work).join().expect("the thread")
}

fn link(process: &str, name: &str) -> PathBuf {
    fs::read_link(format!("/proc/{process}/ns/{name}")).expect("a namespace")
}

/// A network namespace that a thread of the test is in, and its path.
fn network() -> (OwnedFd, String) {
    let namespace = in_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
        fs::File::open("/proc/thread-self/ns/net").expect("the namespace")
    });
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&namespace));
    (namespace.into(), path)
}

fn sysctl(name: &str) -> String {
    fs::read_to_string(format!("/proc/sys/{name}")).expect("a sysctl").trim().to_owned()
}

#[test]
fn the_caller_enters_and_goes_back() {
    if !possible() {
        return;
    }
    let (_network, path) = network();
    in_a_thread(move || {
        let here = |name: &str| link("thread-self", name);
        let before = ["net", "ipc", "uts", "mnt", "pid", "user"].map(here);
        let pod = PodNamespaces::new().network(path).ipc(true).uts(true).hostname("blue");
        let pod =
            pod.sysctl("kernel.shm_rmid_forced", "1").sysctl("net.ipv4.ip_unprivileged_port_start", "0");
        let home = pod.enter().expect("enter");
        let inside = ["net", "ipc", "uts", "mnt", "pid", "user"].map(here);
        for (index, differs) in [true, true, true, false, false, false].into_iter().enumerate() {
            assert_eq!(before[index] != inside[index], differs, "{:?}", inside[index]);
        }
        let values = ["kernel/hostname", "kernel/shm_rmid_forced", "net/ipv4/ip_unprivileged_port_start"];
        assert_eq!(values.map(sysctl), ["blue", "1", "0"]);
        home.go_back().expect("go back");
        assert_eq!(before, ["net", "ipc", "uts", "mnt", "pid", "user"].map(here));
    });
}

#[test]
fn a_failure_leaves_the_caller_where_it_was() {
    if !possible() {
        return;
    }
    in_a_thread(|| {
        let before = link("thread-self", "ipc");
        let pod = PodNamespaces::new().ipc(true).sysctl("kernel.shmmni", "many");
        let error = pod.enter().expect_err("no number");
        assert_eq!(error.to_string(), "set sysctl kernel/shmmni to \"many\": invalid argument");
        assert_eq!(before, link("thread-self", "ipc"));
        pod.clone().pid(true).enter().expect_err("a pid namespace");
    });
}

/// The holder, and the end of the pipe that keeps it.
fn held(pod: PodNamespaces) -> (i32, OwnedFd) {
    let (theirs, ours) = nix::unistd::pipe().expect("a pipe");
    // The thread ends up in the namespaces.
    let pid = in_a_thread(move || pod.hold(theirs.as_fd()).expect("a holder").pid());
    (pid, ours)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::yield_now();
    }
}

fn status(pid: i32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn the_holder_has_nothing_and_ends_with_its_pipe() {
    if !possible() {
        return;
    }
    let (_network, path) = network();
    let pod = PodNamespaces::new().network(path).ipc(true).uts(true).pid(true).hostname("green");
    let (pid, life) = held(pod.sysctl("kernel.shm_rmid_forced", "1"));
    until("it has given up everything", || status(pid, "Seccomp") == "2");
    for name in ["net", "ipc", "uts", "mnt"] {
        assert_ne!(link(&pid.to_string(), name), link("self", name));
    }
    assert_eq!(status(pid, "NSpid"), format!("{pid}\t1"));
    for field in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(status(pid, field), "0000000000000000", "{field}");
    }
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    let descriptors: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").flatten().collect();
    assert_eq!(descriptors.len(), 1, "{descriptors:?}");
    assert_eq!(fs::read_dir(format!("/proc/{pid}/root")).expect("root").count(), 0, "an empty root");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).expect("environ"), b"", "no memory of the caller");
    // What others leave to it is gone as soon as it ends.
    let namespace = fs::File::open(format!("/proc/{pid}/ns/pid")).expect("its pid namespace");
    let orphan = in_a_thread(move || {
        setns(namespace, CloneFlags::CLONE_NEWPID).expect("setns");
        let output = Command::new("sh").args(["-c", "(exit 3) & exec readlink /proc/self"]).output();
        output.expect("sh")
    });
    assert!(orphan.status.success(), "{orphan:?}");
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    until("no child stays", || children().is_empty());
    drop(life);
    until("it ends with the pipe", || matches!(status(pid, "State").chars().next(), None | Some('Z')));
}

#[test]
fn a_wrong_parameter_leaves_no_holder() {
    if !possible() {
        return;
    }
    let (theirs, _ours) = nix::unistd::pipe().expect("a pipe");
    let pod = PodNamespaces::new().ipc(true).pid(true).sysctl("kernel.shmmni", "many");
    in_a_thread(move || pod.hold(theirs.as_fd()).expect_err("no number"));
    assert!(Path::new("/proc/self").exists());
    let names = fs::read_dir("/proc").expect("proc").flatten();
    let parent = nix::unistd::getpid().as_raw();
    let holders = names.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let left = holders.filter(|pid| {
        status(*pid, "Name") == "wharf-pod"
            && status(*pid, "PPid") == parent.to_string()
            && !status(*pid, "State").starts_with('Z')
    });
    assert_eq!(left.collect::<Vec<_>>(), [0; 0]);
}
