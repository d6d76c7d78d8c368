//! The child half of a creation never touches the heap: an allocator that ends any process but the test's own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicI32, Ordering};

use serde_json::{Value, json};
use wharf::{Console, CreateOptions, Delete, ErrorKind, ExecOptions, ExitStatus, Stdio};

mod bed;
use bed::{Bed, config, process};

/// The exit status of a process that allocated and may not.
const ALLOCATED: i32 = 97;

/// The system's allocator for the process that used it first, death for every copy of it.
struct OneProcess;

static OWNER: AtomicI32 = AtomicI32::new(0);

#[global_allocator]
static ALLOCATOR: OneProcess = OneProcess;

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
mod allocator {
    use super::{ALLOCATED, AtomicI32, GlobalAlloc, Layout, OWNER, OneProcess, Ordering, System};

    /// Ends the process unless it is the one that allocated first.
    fn check(owner: &AtomicI32) {
        // SAFETY: getpid(2) has no arguments; the raw call, since a library might remember the parent's answer.
        let pid = unsafe { libc::syscall(libc::SYS_getpid) } as i32;
        if let Err(first) = owner.compare_exchange(0, pid, Ordering::Relaxed, Ordering::Relaxed)
            && first != pid
        {
            let text = b"the heap was used in a child\n";
            // SAFETY: the buffer has the length that is passed; exit_group(2) does not return.
            unsafe {
                libc::syscall(libc::SYS_write, 2, text.as_ptr(), text.len());
                libc::syscall(libc::SYS_exit_group, ALLOCATED);
            }
        }
    }

    // SAFETY: every call goes to the system's allocator unchanged.
    unsafe impl GlobalAlloc for OneProcess {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            check(&OWNER);
            // SAFETY: the caller's promises are those of the system's allocator.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            check(&OWNER);
            // SAFETY: as above.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            check(&OWNER);
            // SAFETY: as above.
            unsafe { System.realloc(block, layout, size) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            check(&OWNER);
            // SAFETY: as above.
            unsafe { System.dealloc(block, layout) }
        }
    }
}

/// Without this, the tests below could pass because nothing is watched.
#[test]
#[allow(unsafe_code, reason = "a copy of the process that does what it must not")]
fn the_allocator_notices() {
    // SAFETY: the child calls the allocator, which ends it before it takes any lock, and _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(std::hint::black_box(Box::new(1)));
        // SAFETY: ends the child without running anything of the test harness.
        unsafe { libc::_exit(0) };
    }
    let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).expect("wait");
    assert_eq!(
        status,
        nix::sys::wait::WaitStatus::Exited(nix::unistd::Pid::from_raw(pid), ALLOCATED),
        "the child was not noticed"
    );
}

fn null() -> Stdio {
    let open = || {
        OwnedFd::from(fs::File::options().read(true).write(true).open("/dev/null").expect("the null device"))
    };
    Stdio::Fds([open(), open(), open()])
}

const PAYLOAD: &[&str] = &["/bin/busybox", "sleep", "1000"];

/// Creates, starts, adds a process to, and deletes a container. `false` if the host cannot make it.
fn life(bed: &Bed, name: &str, config: Value) -> bool {
    let id = bed.id(name);
    let terminal = config["process"]["terminal"] == true;
    let options = || {
        let options = CreateOptions::new().stdio(null());
        if terminal { options.console(Console::Keep) } else { options }
    };
    let bundle = bed.bundle(&id, config);
    let mut container = match bed.runtime().create(&id, &bundle, options()) {
        Ok(container) => container,
        Err(error) if error.to_string().contains("may not support id-mapped mounts") => {
            println!("{name}: skipped: {error}");
            return false;
        }
        Err(error) => panic!("{name}: {error}"),
    };
    assert_eq!(container.take_console().is_some(), terminal, "{name}");
    container.start().unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut shell = process(&["busybox", "sh", "-c", "exit 7"]);
    shell.set_env(Some(vec!["PATH=/none:/bin".to_owned()]));
    for terminal in [false, true] {
        shell.set_terminal(Some(terminal));
        let options = ExecOptions::new().stdio(null());
        let options = if terminal { options.console(Console::Keep) } else { options };
        let probe = container.exec(&shell, options).unwrap_or_else(|error| panic!("{name}: exec: {error}"));
        assert_eq!(probe.wait().expect("wait"), ExitStatus::Exited(7), "{name}");
    }
    container.delete(Delete::Force).unwrap_or_else(|error| panic!("{name}: {error}"));
    // The same without the gate.
    let container =
        bed.runtime().run(&id, &bundle, options()).unwrap_or_else(|error| panic!("{name}: run: {error}"));
    container.delete(Delete::Force).unwrap_or_else(|error| panic!("{name}: {error}"));
    true
}

fn hook(name: &str) -> Value {
    // Host paths and container paths: busybox is at the same place in both, where Debian has it.
    json!([{"path": name, "args": ["busybox", "true"], "env": ["A=b"], "timeout": 60}])
}

#[test]
fn ordinary_containers() {
    let Some(bed) = Bed::new("alloc") else { return };
    life(&bed, "plain", config(PAYLOAD));

    let mut full = config(PAYLOAD);
    full["hostname"] = "box".into();
    full["domainname"] = "example.org".into();
    let host = bed.path().join("rootfs/bin/busybox").display().to_string();
    full["hooks"] = json!({
        "createRuntime": hook(&host), "createContainer": hook(&host), "startContainer": hook("/bin/busybox"),
        "poststart": hook(&host), "poststop": hook(&host),
    });
    full["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    full["process"]["oomScoreAdj"] = 100.into();
    full["process"]["user"] = json!({"uid": 33, "gid": 33, "additionalGids": [5, 6], "umask": 7});
    full["process"]["cwd"] = "/srv/made/now".into();
    full["process"]["noNewPrivileges"] = true.into();
    full["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 5});
    full["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 3});
    full["process"]["capabilities"] = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
    });
    full["linux"]["personality"] = json!({"domain": "LINUX"});
    full["linux"]["sysctl"] = json!({"kernel.msgmax": "9000", "net.ipv4.ip_forward": "1"});
    full["linux"]["maskedPaths"] = json!(["/proc/kcore", "/proc/acpi", "/data", "/proc/keys", "/missing"]);
    full["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/bus", "/missing"]);
    full["linux"]["rootfsPropagation"] = "private".into();
    full["linux"]["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229,
        "fileMode": 0o600, "uid": 0, "gid": 0}, {"path": "/dev/pipe", "type": "p"}]);
    let namespaces = full["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.extend([json!({"type": "network"}), json!({"type": "cgroup"})]);
    let mounts = full["mounts"].as_array_mut().expect("a list");
    mounts.extend([
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=1m"]}),
        json!({"destination": "/mnt/made/here", "source": bed.path(), "options": ["rbind", "rro", "rslave"]}),
        json!({"destination": "/mnt/file", "source": host, "options": ["bind", "ro"]}),
    ]);
    life(&bed, "full", full);

    let mut read_only = config(PAYLOAD);
    read_only["root"]["readonly"] = true.into();
    read_only["process"]["cwd"] = "/work".into();
    life(&bed, "read-only", read_only);

    let mut time = config(PAYLOAD);
    time["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "time"}));
    time["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 100, "nanosecs": 0}});
    life(&bed, "time", time);
    assert_eq!(bed.leftovers(), [""; 0]);
}

#[test]
fn copied_and_mapped_mounts() {
    let Some(bed) = Bed::new("alloc-mount") else { return };
    let data = bed.path().join("rootfs/data");
    for n in 0..5 {
        fs::create_dir_all(data.join(format!("dir{n}/sub"))).expect("mkdir");
        fs::write(data.join(format!("dir{n}/sub/file")), vec![b'x'; 300_000]).expect("write");
    }
    std::os::unix::fs::symlink("dir0", data.join("link")).expect("symlink");
    let mut copied = config(PAYLOAD);
    let mounts = copied["mounts"].as_array_mut().expect("a list");
    mounts.push(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs",
        "options": ["tmpcopyup", "mode=755"]}));
    life(&bed, "copy", copied);

    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    let mut mapped = config(PAYLOAD);
    let mounts = mapped["mounts"].as_array_mut().expect("a list");
    mounts.push(json!({"destination": "/mnt", "source": data, "options": ["rbind", "ridmap"],
        "uidMappings": maps, "gidMappings": maps}));
    mounts.push(json!({"destination": "/work", "type": "tmpfs", "source": "tmpfs", "options": ["idmap"],
        "uidMappings": maps, "gidMappings": maps}));
    life(&bed, "mapped", mapped);
    assert_eq!(bed.leftovers(), [""; 0]);
}

#[test]
fn terminals() {
    let Some(bed) = Bed::new("alloc-tty") else { return };
    let mut config = config(PAYLOAD);
    config["process"]["terminal"] = true.into();
    config["process"]["consoleSize"] = json!({"height": 30, "width": 90});
    life(&bed, "tty", config);
    assert_eq!(bed.leftovers(), [""; 0]);
}

#[test]
fn seccomp_filters() {
    let Some(bed) = Bed::new("alloc-seccomp") else { return };
    for no_new_privileges in [false, true] {
        let mut plain = config(PAYLOAD);
        plain["process"]["noNewPrivileges"] = no_new_privileges.into();
        plain["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mount", "swapon"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
        life(&bed, "filter", plain);

        let socket = bed.path().join("agent");
        let agent = UnixListener::bind(&socket).expect("listen");
        let mut notifying = config(PAYLOAD);
        notifying["process"]["noNewPrivileges"] = no_new_privileges.into();
        notifying["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket,
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"}]});
        let id = bed.id("notify");
        let container = bed.create(&id, notifying, CreateOptions::new().stdio(null()));
        let (_connection, _) = agent.accept().expect("the listener arrives");
        container.start().expect("start");
        container.delete(Delete::Force).expect("delete");
        fs::remove_file(&socket).expect("unlink");
    }
    assert_eq!(bed.leftovers(), [""; 0]);
}

#[test]
fn user_namespaces_and_joined_ones() {
    let Some(bed) = Bed::new("alloc-user") else { return };
    let mut own = config(PAYLOAD);
    own["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "user"}));
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    own["linux"]["uidMappings"] = maps.clone();
    own["linux"]["gidMappings"] = maps;
    own["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    life(&bed, "user", own.clone());

    let holder = bed.id("holder");
    let container = bed.create(&holder, own, CreateOptions::new().stdio(null()));
    container.start().expect("start");
    let pid = container.pid().expect("a pid");
    let at = |name: &str| format!("/proc/{pid}/ns/{name}");
    // A new pid namespace below a joined user namespace: the only case with a second process.
    let mut reforked = config(PAYLOAD);
    reforked["linux"]["namespaces"] = json!([
        {"type": "user", "path": at("user")}, {"type": "pid"}, {"type": "mount"},
        {"type": "ipc", "path": at("ipc")}, {"type": "uts", "path": at("uts")},
    ]);
    life(&bed, "reforked", reforked);
    let mut joined = config(PAYLOAD);
    joined["linux"]["namespaces"] = json!([
        {"type": "pid", "path": at("pid")}, {"type": "mount"}, {"type": "user", "path": at("user")},
        {"type": "ipc", "path": at("ipc")},
    ]);
    life(&bed, "joined", joined);
    container.delete(Delete::Force).expect("delete");
    assert_eq!(bed.leftovers(), [""; 0]);
}

/// A failure is told without the heap, too.
#[test]
fn failures() {
    let Some(bed) = Bed::new("alloc-fail") else { return };
    let id = bed.id("one");
    let fails = |config: Value, kind: ErrorKind, words: &str| {
        let bundle = bed.bundle(&id, config);
        let result = bed.runtime().create(&id, &bundle, CreateOptions::new().stdio(null()));
        let error = match result {
            Err(error) => error,
            Ok(container) => {
                let error = container.start().expect_err(words);
                bed.runtime().delete(&id, Delete::Force).expect("delete");
                error
            }
        };
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error} has not {words}");
    };
    fails(config(&["missing"]), ErrorKind::Exec, "executable file not found in $PATH");
    fails(config(&["/etc"]), ErrorKind::Exec, "is a directory");
    let rootfs = bed.path().join("rootfs");
    let script = rootfs.join("bin/script");
    for (text, words) in [("#!/no/such\n", "does not"), ("nothing", "neither a program")] {
        fs::write(&script, text).expect("write");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&script, mode).expect("chmod");
        fails(config(&["/bin/script"]), ErrorKind::Exec, words);
    }
    for (args, timeout, words) in [
        (json!(["busybox", "sh", "-c", "echo why; exit 3"]), 60, "exit status 3, output: why (config.json"),
        (json!(["busybox", "sleep", "100"]), 1, "timeout"),
        (json!(["busybox", "sh", "-c", "kill -9 $$"]), 60, "signal: killed"),
    ] {
        for kind in ["createContainer", "startContainer"] {
            let path = rootfs.join("bin/busybox");
            let path = if kind == "createContainer" { path } else { "/bin/busybox".into() };
            let mut hooked = config(PAYLOAD);
            // What the hook before it printed is no part of the failure.
            let before = json!(["busybox", "echo", "a long line of another hook"]);
            hooked["hooks"][kind] =
                json!([{"path": path, "args": before}, {"path": path, "args": args, "timeout": timeout}]);
            fails(hooked, ErrorKind::Hook, words);
        }
    }
    let mut unknown = config(PAYLOAD);
    unknown["mounts"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"destination": "/mnt", "type": "no-such-fs"}));
    fails(unknown, ErrorKind::System, "no-such-fs");
    assert_eq!(bed.leftovers(), [""; 0]);
}
