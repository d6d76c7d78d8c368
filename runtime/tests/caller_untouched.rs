//! An audit of the caller's process: what the library does to containers, it does not do to its caller.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};
use wharf::{Console, CreateOptions, Delete, ExecOptions, ExitStatus, Stdio};

mod bed;
use bed::{Bed, config, process};

/// Everything about this process and thread that a runtime could be tempted to change.
#[allow(unsafe_code, reason = "some of it has no safe getter")]
fn picture(bed: &Bed) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut note = |name: &str, value: String| all.push((name.to_owned(), value));
    note("cwd", format!("{:?}", fs::read_link("/proc/self/cwd")));
    note("root", format!("{:?}", fs::read_link("/proc/self/root")));
    note("environment", format!("{:?}", std::env::vars_os().collect::<Vec<_>>()));
    for file in [
        "oom_score_adj",
        "cgroup",
        "limits",
        "personality",
        "timens_offsets",
        "uid_map",
        "setgroups",
        "sessionid",
        "loginuid",
        "coredump_filter",
        "comm",
    ] {
        let read = |path: String| fs::read_to_string(&path).unwrap_or_default();
        note(file, read(format!("/proc/self/{file}")));
        note(&format!("thread {file}"), read(format!("/proc/thread-self/{file}")));
    }
    // Others on this machine may mount as well: only what has to do with this test counts.
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    let ours = bed.path().to_string_lossy();
    note("mounts", mounts.lines().filter(|line| line.contains(&*ours)).collect());
    // Umask, ids, groups, capabilities, signal mask and dispositions, affinity, seccomp, no_new_privs.
    let volatile = ["Vm", "Rss", "Hugetlb", "voluntary", "nonvoluntary", "Threads", "State", "SigQ"];
    let status = fs::read_to_string("/proc/thread-self/status").expect("status");
    for line in status.lines().filter(|line| !volatile.iter().any(|name| line.starts_with(name))) {
        note("status", line.to_owned());
    }
    for base in ["/proc/self/ns", "/proc/thread-self/ns", "/proc/self/fd"] {
        // The descriptor that reads the list is in it.
        let mut links: Vec<_> = fs::read_dir(base)
            .expect(base)
            .flatten()
            .filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?)))
            .filter(|(_, target)| !target.to_string_lossy().ends_with("/fd"))
            .map(|(name, target)| format!("{} {}", name.display(), target.display()))
            .collect();
        links.sort();
        note(base, links.join("\n"));
    }
    for resource in [Resource::RLIMIT_NOFILE, Resource::RLIMIT_CORE, Resource::RLIMIT_STACK] {
        note("limit", format!("{resource:?} {:?}", getrlimit(resource)));
    }
    let mut children: Vec<_> = fs::read_dir("/proc/self/task")
        .expect("task")
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default())
        .filter(|list| !list.is_empty())
        .collect();
    children.sort();
    note("children", children.join("\n"));
    // SAFETY: getters without pointers; KEYCTL_GET_KEYRING_ID without creation.
    unsafe {
        note("dumpable", libc::prctl(libc::PR_GET_DUMPABLE).to_string());
        note("subreaper session group", format!("{} {}", libc::getsid(0), libc::getpgrp()));
        note("nice", libc::getpriority(libc::PRIO_PROCESS, 0).to_string());
        note("scheduler", libc::sched_getscheduler(0).to_string());
        note("io priority", libc::syscall(libc::SYS_ioprio_get, 1, 0).to_string());
        note("securebits", libc::prctl(libc::PR_GET_SECUREBITS).to_string());
        note("session keyring", libc::syscall(libc::SYS_keyctl, 0, -3, 0).to_string());
        note("parent death signal", {
            let mut signal = 0i32;
            libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal);
            signal.to_string()
        });
    }
    all
}

#[track_caller]
fn unchanged(bed: &Bed, before: &[(String, String)], after_what: &str) {
    let after = picture(bed);
    let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert!(changed.is_empty(), "{after_what} changed {changed:#?}");
    assert_eq!(before.len(), after.len());
}

fn null() -> Stdio {
    let open = || {
        OwnedFd::from(fs::File::options().read(true).write(true).open("/dev/null").expect("the null device"))
    };
    Stdio::Fds([open(), open(), open()])
}

/// A configuration that asks for a change of everything that the picture has.
fn demanding() -> Value {
    let mut config = config(&["/bin/busybox", "sleep", "1000"]);
    config["hostname"] = "box".into();
    let process = &mut config["process"];
    process["user"] = json!({"uid": 33, "gid": 33, "additionalGids": [5], "umask": 0o77});
    process["cwd"] = "/work".into();
    process["oomScoreAdj"] = 500.into();
    process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    process["noNewPrivileges"] = true.into();
    process["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 19});
    process["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
    process["terminal"] = true.into();
    config["linux"]["personality"] = json!({"domain": "LINUX"});
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]});
    config["linux"]["maskedPaths"] = json!(["/proc/kcore"]);
    config["linux"]["namespaces"].as_array_mut().expect("a list").extend([
        json!({"type": "cgroup"}),
        json!({"type": "network"}),
        json!({"type": "time"}),
        json!({"type": "user"}),
    ]);
    config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 10, "nanosecs": 0}});
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    config["linux"]["uidMappings"] = maps.clone();
    config["linux"]["gidMappings"] = maps;
    config
}

/// Configurations whose creation fails: before any side effect, in the parent, and at various steps of the child.
fn failing() -> Vec<(&'static str, Value)> {
    let with = |change: fn(&mut Value)| {
        let mut config = demanding();
        change(&mut config);
        config
    };
    vec![
        ("a contradiction", with(|c| c["process"]["cwd"] = "relative".into())),
        ("no root", with(|c| c["root"]["path"] = "missing".into())),
        ("no program", with(|c| c["process"]["args"] = json!(["missing"]))),
        (
            "no file system",
            with(|c| {
                c["mounts"]
                    .as_array_mut()
                    .expect("a list")
                    .push(json!({"destination": "/mnt", "type": "no-such"}));
            }),
        ),
        ("no namespace", with(|c| c["linux"]["namespaces"][0]["path"] = "/missing".into())),
        ("a file as a namespace", with(|c| c["linux"]["namespaces"][0]["path"] = "/etc/passwd".into())),
        (
            "a failing hook of the parent",
            with(|c| {
                c["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
            }),
        ),
        (
            "a failing hook of the child",
            with(|c| {
                c["hooks"] = json!({"createContainer": [{"path": "/missing"}]});
            }),
        ),
        (
            "a missing bind source",
            with(|c| {
                c["mounts"]
                    .as_array_mut()
                    .expect("a list")
                    .push(json!({"destination": "/mnt", "source": "/missing", "options": ["bind"]}));
            }),
        ),
        ("an unknown sysctl", with(|c| c["linux"]["sysctl"] = json!({"kernel.msgmax": "no number"}))),
    ]
}

/// One test at a time: a picture shows the whole process.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn no_operation_changes_the_caller() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(bed) = Bed::new("untouched") else { return };
    let bed = &bed;
    let id = bed.id("one");
    // What is made once for the whole life of a process would be no change by the operation.
    let warm = bed.create(&id, config(&["/bin/busybox", "true"]), CreateOptions::new().stdio(null()));
    warm.delete(Delete::Force).expect("delete");

    let before = picture(bed);
    let leak = fs::File::open("/dev/null").expect("the null device");
    assert_ne!(before, picture(bed), "the picture has the descriptors");
    drop(leak);
    let bundle = bed.bundle(&id, demanding());
    let created =
        bed.runtime().create(&id, &bundle, CreateOptions::new().stdio(null()).console(Console::Keep));
    let mut container = created.expect("create");
    container.start().expect("start");
    let mut shell = process(&["busybox", "sh", "-c", "exit 3"]);
    shell.set_oom_score_adj(Some(600));
    shell.set_terminal(Some(true));
    let options = ExecOptions::new().stdio(null()).console(Console::Keep);
    let probe = container.exec(&shell, options).expect("exec");
    assert_eq!(probe.wait().expect("wait"), ExitStatus::Exited(3));
    drop(probe);
    container.pause().expect("pause");
    container.resume().expect("resume");
    container.stats().expect("stats");
    drop(container.take_console());
    container.delete(Delete::Force).expect("delete");
    unchanged(bed, &before, "the life of a container");

    for (what, config) in failing() {
        let bundle = bed.bundle(&id, config);
        let options = CreateOptions::new().stdio(null()).console(Console::Keep);
        let error = bed.runtime().create(&id, &bundle, options).expect_err(what);
        unchanged(bed, &before, &format!("{what} ({error})"));
        assert_eq!(bed.leftovers(), [""; 0], "{what}");
    }
    // A descriptor or child that leaks once in a while shows in many tries.
    let all: Vec<_> = failing().into_iter().map(|(_, config)| bed.bundle(&id, config)).collect();
    for bundle in all.iter().cycle().take(200) {
        let options = CreateOptions::new().stdio(null()).console(Console::Keep);
        bed.runtime().create(&id, bundle, options).expect_err("a failing creation");
    }
    unchanged(bed, &before, "200 failing creations");
    assert_eq!(bed.leftovers(), [""; 0]);
}

/// The host of these devices is the network namespace of the calling thread.
#[test]
fn moving_network_devices_changes_no_thread_of_the_caller() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(bed) = Bed::new("devices") else { return };
    let caller = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let ip = |words: &str| {
            Command::new("ip").args(words.split(' ')).status().is_ok_and(|status| status.success())
        };
        if !ip("link add wharf0 type veth peer wharf1") {
            println!("skipped: no veth devices here, or no program ip");
            return;
        }
        let id = bed.id("device");
        let mut config = config(&["/bin/busybox", "sleep", "1000"]);
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.push(json!({"type": "network"}));
        config["linux"]["netDevices"] = json!({"wharf0": {"name": "eth%d"}});
        let before = picture(&bed);

        let mut failing = config.clone();
        failing["hooks"] = json!({"createContainer": [{"path": "/missing"}]});
        let failing = bed.bundle(&id, failing);
        for _ in 0..20 {
            let options = CreateOptions::new().stdio(null());
            bed.runtime().create(&id, &failing, options).expect_err("a hook that is not there");
        }
        unchanged(&bed, &before, "20 failing creations");
        assert!(ip("link show wharf0"), "the device is back");

        let container = bed.create(&id, config, CreateOptions::new().stdio(null()));
        assert!(!ip("link show wharf0"), "the device is the container's");
        assert!(!bed.runtime().root().join(id.as_str()).join("netdevices.json").exists());
        container.delete(Delete::Force).expect("delete");
        unchanged(&bed, &before, "a container with a network device");
        assert_eq!(bed.leftovers(), [""; 0]);
    });
    caller.join().expect("the thread that calls");
}
