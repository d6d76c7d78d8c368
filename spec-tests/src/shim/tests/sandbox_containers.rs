//! The containers of a pod without a pause container: what they share, and what they get.

use super::sandboxes::{JOINED, link, status_of, tried, until_gone, value};
use crate::network::Network;
use crate::outcome::{Outcome, check, same};
use crate::shim::bed::Bed;
use crate::shim::client::granted;
use crate::shim::sandbox::{Config, Sandbox, mode};
use crate::shim::stdio::Streams;
use crate::shim::{Test, test};
use crate::spec::Spec;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub(super) const TESTS: &[Test] = &[
    test("N2", "containers of a pod share network, IPC, host name and /dev/shm, and have its files", shared),
    test("N3", "sysctls of a pod are set in its namespaces alone", sysctls),
    test("N4", "a pod in the network, IPC and pid namespaces of the host", host),
    test("N5", "a shared pid namespace: its first process reaps, and has nothing of the shim", shared_pids),
    test("N7", "a pod with a user namespace", users),
    test("N10", "hooks of a pod's containers run in the namespaces of the host", hooks),
    test("N14", "a container that starts 20 times in its pod", restarts),
    test("N15", "a container's own files stay where its configuration has them", own_files),
    test(
        "N16",
        "a privileged process in the pod's pid namespace finds nothing in the holder, and cannot end it",
        hostile,
    ),
    test("N17", "loggers of a pod's containers run in the namespaces of the host", loggers),
    test("N18", "a pod whose network belongs to its user namespace", owned_network),
];

fn shared(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let config = Config {
        dns: Some([text(&["10.0.0.10", "1.1.1.1"]), text(&["a.svc", "b"]), text(&["ndots:5"])]),
        ..Config::new()
    };
    let sandbox = Sandbox::running(bed, &config, &network.path())?;
    // As containerd writes it: with shared memory of the container's own, which stands for the pod's.
    let plain = Spec::new()
        .no_mount("/dev/shm")
        .mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"])
        .without("/hostname");
    let spec = sandbox.joined(&plain, &JOINED)?;
    let first = sandbox.container(&spec.clone().args(&["/probe", "wait"]))?;
    first.streams.borrow_mut().until("ready")?;
    for kind in ["net", "ipc", "uts"] {
        same(kind, link(first.pid, kind)?, link(sandbox.pod.pid, kind)?)?;
        check(link(first.pid, kind)? != link(std::process::id(), kind)?, || format!("{kind} is the host's"))?;
    }
    tried(&sandbox, &spec, &[&["write", "/dev/shm/from-first", "hello"]])?;
    let answers = tried(
        &sandbox,
        &spec,
        &[
            &["read", "/dev/shm/from-first"],
            &["read", "/etc/hostname"],
            &["read", "/etc/resolv.conf"],
            &["read", "/proc/sys/kernel/hostname"],
            &["read", "/etc/hosts"],
        ],
    )?;
    same("shared memory", value(&answers, 0), "hello")?;
    same("/etc/hostname", value(&answers, 1), "blue\n")?;
    let resolver = "search a.svc b\nnameserver 10.0.0.10\nnameserver 1.1.1.1\noptions ndots:5\n";
    same("/etc/resolv.conf", value(&answers, 2), resolver)?;
    same("host name", value(&answers, 3), "blue\n")?;
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    same("/etc/hosts", value(&answers, 4), hosts.as_str())?;
    first.finish()?;
    sandbox.finish()
}

fn sysctls(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let before = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    let (own_net, own_ipc) =
        (before("net/ipv4/ip_unprivileged_port_start"), before("kernel/shm_rmid_forced"));
    let config = Config::new()
        .sysctl("net.ipv4.ip_unprivileged_port_start", "0")
        .sysctl("kernel.shm_rmid_forced", "1");
    let sandbox = Sandbox::running(bed, &config, &network.path())?;
    let spec = sandbox.joined(&Spec::new(), &JOINED)?;
    let names = ["/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shm_rmid_forced"];
    let answers = tried(&sandbox, &spec, &[&["read", names[0]], &["read", names[1]]])?;
    same("ports", value(&answers, 0).trim(), "0")?;
    same("shared memory", value(&answers, 1).trim(), "1")?;
    same("the host's ports", before("net/ipv4/ip_unprivileged_port_start"), own_net)?;
    same("the host's shared memory", before("kernel/shm_rmid_forced"), own_ipc)?;
    sandbox.finish()
}

fn host(bed: &Bed<'_>) -> Outcome {
    let config = Config::new().mode(0, mode::NODE).mode(1, mode::NODE).mode(2, mode::NODE);
    let sandbox = Sandbox::running(bed, &config, "")?;
    let pid = granted("SandboxStatus", sandbox.status())?.pid;
    for kind in ["net", "ipc", "uts", "pid"] {
        same(kind, link(pid, kind)?, link(std::process::id(), kind)?)?;
    }
    let spec = JOINED.iter().fold(Spec::new(), |spec, kind| spec.no_namespace(kind)).without("/hostname");
    let answers = tried(&sandbox, &spec, &[&["read", "/etc/hostname"]])?;
    let own = fs::read_to_string("/proc/sys/kernel/hostname")?;
    // Without a name of its own, the pod has the host's; here it has been given one, which only its file shows.
    same("/etc/hostname", value(&answers, 0), "blue\n")?;
    check(own != "blue\n", || "the host was renamed".into())?;
    sandbox.finish()
}

fn shared_pids(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::running(bed, &Config::new().mode(1, mode::POD), &network.path())?;
    let pid = granted("SandboxStatus", sandbox.status())?.pid;
    check(pid != sandbox.pod.pid, || "the shim is in the pod's pid namespace".into())?;
    let spec = sandbox.joined(&Spec::new(), &["network", "ipc", "uts", "pid"])?;
    bed.until("the holder to give up its rights", || Ok((status_of(pid, "Seccomp") == "2").then_some(())))?;
    for field in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        same(field, status_of(pid, field).trim_start_matches('0'), "")?;
    }
    same("descriptors", fs::read_dir(format!("/proc/{pid}/fd"))?.count(), 1)?;
    same("its root", fs::read_dir(format!("/proc/{pid}/root"))?.count(), 0)?;
    same("its environment", fs::read(format!("/proc/{pid}/environ"))?, Vec::<u8>::new())?;
    for kind in ["mnt", "net", "ipc", "uts", "pid"] {
        check(link(pid, kind)? != link(std::process::id(), kind)?, || format!("{kind} is the host's"))?;
    }
    // Orphans become the holder's children, and are gone when they end.
    let task = sandbox.container(&spec.clone().args(&["/probe", "leave"]))?;
    task.exit("")?;
    granted("Delete", task.delete(""))?;
    let waiting = sandbox.container(&spec.clone().args(&["/probe", "wait"]))?;
    waiting.streams.borrow_mut().until("ready")?;
    let seen =
        tried(&sandbox, &spec, &[&["list", "/proc"], &["read", "/proc/1/comm"], &["list", "/proc/1/root"]])?;
    same("the first process", value(&seen, 1), "wharf-pod\n")?;
    let listed = seen[0]["value"].as_array().cloned().unwrap_or_default();
    let pids = listed.iter().filter(|name| name.as_str().is_some_and(|name| name.parse::<u32>().is_ok()));
    same("processes: the holder, the one that waits, this one", pids.count(), 3)?;
    check(seen[2]["errno"] != 0 || seen[2]["value"] == json!([]), || {
        format!("the root of pid 1: {}", seen[2])
    })?;
    waiting.finish()?;
    sandbox.finish()?;
    until_gone(bed, pid)
}

fn users(bed: &Bed<'_>) -> Outcome {
    let config = Config { users: Some((100_000, 65536)), ..Config::new().mode(0, mode::NODE) };
    let sandbox = Sandbox::running(bed, &config, "")?;
    let pid = granted("SandboxStatus", sandbox.status())?.pid;
    same(
        "map",
        fs::read_to_string(format!("/proc/{pid}/uid_map"))?.split_whitespace().collect::<Vec<_>>(),
        vec!["0", "100000", "65536"],
    )?;
    let owner = status_of(pid, "Uid");
    same("user", owner.split_whitespace().next().unwrap_or_default(), "100000")?;
    let spec = sandbox.joined(&Spec::new().user_namespace(100_000, 65536), &["ipc", "user"])?;
    let spec = spec.no_namespace("network").no_namespace("uts").without("/hostname").no_mount("/sys");
    let spec = spec.no_mount("/dev/shm");
    let answers = tried(
        &sandbox,
        &spec,
        &[&["stat", "/etc/hostname"], &["write", "/dev/shm/x", "1"], &["stat", "/dev/shm"]],
    )?;
    for index in [0, 2] {
        same("owner", &answers[index]["value"]["uid"], &json!(0))?;
    }
    same("written", &answers[1]["errno"], &json!(0))?;
    sandbox.finish()
}

fn hooks(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::running(bed, &Config::new(), &network.path())?;
    let told = bed.dir().join("namespaces");
    let script =
        format!("readlink /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/ipc > {}", told.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let spec = sandbox.joined(&Spec::new().hook("createRuntime", hook), &JOINED)?;
    tried(&sandbox, &spec, &[&["env", "PATH"]])?;
    let own = |kind: &str| link(std::process::id(), kind).map(|link| link.display().to_string());
    let text = fs::read_to_string(&told)?;
    same(
        "namespaces of the hook",
        text.lines().map(str::to_owned).collect::<Vec<_>>(),
        vec![own("net")?, own("uts")?, own("ipc")?],
    )?;
    sandbox.finish()
}

fn restarts(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::running(bed, &Config::new(), &network.path())?;
    let spec = sandbox.joined(&Spec::new().without("/hostname"), &JOINED)?;
    for _ in 0..20 {
        let answers = tried(&sandbox, &spec, &[&["read", "/proc/sys/kernel/hostname"]])?;
        same("host name", value(&answers, 0), "blue\n")?;
    }
    sandbox.finish()
}

fn own_files(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::running(bed, &Config::new(), &network.path())?;
    let hosts = bed.dir().join("hosts");
    fs::write(&hosts, "kubelet's\n")?;
    let own = Spec::new().mount("/etc/hosts", "bind", &hosts.to_string_lossy(), &["rbind", "rprivate"]);
    let spec = sandbox.joined(&own, &JOINED)?;
    let answers = tried(&sandbox, &spec, &[&["read", "/etc/hosts"], &["read", "/etc/hostname"]])?;
    same("/etc/hosts", value(&answers, 0), "kubelet's\n")?;
    same("/etc/hostname", value(&answers, 1), "blue\n")?;
    sandbox.finish()
}

fn hostile(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::running(bed, &Config::new().mode(1, mode::POD), &network.path())?;
    let pid = granted("SandboxStatus", sandbox.status())?.pid;
    bed.until("the holder to give up its rights", || Ok((status_of(pid, "Seccomp") == "2").then_some(())))?;
    let all =
        ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_KILL", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SYS_CHROOT"];
    let spec = sandbox.joined(&Spec::new().capabilities(&all), &["network", "ipc", "uts", "pid"])?;
    let answers = tried(
        &sandbox,
        &spec,
        &[
            &["list", "/proc/1/root"],
            &["list", "/proc/1/cwd"],
            &["list", "/proc/1/fd"],
            &["read", "/proc/1/environ"],
            &["read", "/proc/1/mountinfo"],
            &["kill", "1", "9"],
            &["kill", "1", "19"],
        ],
    )?;
    // It may look, and there is nothing to see: not even an environment.
    for (index, wanted) in [json!([]), json!([]), json!(["0"]), json!("")].iter().enumerate() {
        same(answers[index]["op"].as_str().unwrap_or_default(), &answers[index]["value"], wanted)?;
    }
    same("mounts of the holder", value(&answers, 4).lines().count(), 1)?;
    same("the holder lives", status_of(pid, "State").chars().next(), Some('S'))?;
    same("state", granted("SandboxStatus", sandbox.status())?.state.as_str(), "SANDBOX_READY")?;
    sandbox.finish()
}

fn loggers(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::running(bed, &Config::new(), &network.path())?;
    let (script, told) = (bed.dir().join("logger.sh"), bed.dir().join("logger.out"));
    let links = "/proc/self/ns/net /proc/self/ns/uts /proc/self/ns/ipc";
    let text = format!("#!/bin/sh\nreadlink {links} >{}\nexec 5>&-\ncat <&3 >/dev/null\n", told.display());
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let address = format!("binary://{}", script.display());
    let bundle = bed.bundle(&sandbox.joined(&Spec::new(), &JOINED)?.args(&["/probe", "true"]))?;
    let task = bed.create_in(&sandbox.pod, bundle, Streams::at("", &address, &address))?;
    task.begin()?;
    same("exit status", task.exit("")?, 0)?;
    granted("Delete", task.delete(""))?;
    let own = |kind: &str| link(std::process::id(), kind).map(|link| link.display().to_string());
    let text = fs::read_to_string(&told)?;
    same(
        "namespaces of the logger",
        text.lines().collect::<Vec<_>>(),
        vec![own("net")?, own("uts")?, own("ipc")?],
    )?;
    sandbox.finish()
}

fn owned_network(bed: &Bed<'_>) -> Outcome {
    // As the CRI makes it: in a user namespace that exists already, here that of another container.
    let owner = bed.waiting(&Spec::new().user_namespace(100_000, 65536))?;
    let path = format!("/proc/{}/ns/net", owner.pid);
    let config = Config { users: Some((100_000, 65536)), ..Config::new() };
    let config =
        config.sysctl("net.ipv4.ip_unprivileged_port_start", "80").sysctl("kernel.shm_rmid_forced", "1");
    let sandbox = Sandbox::running(bed, &config, &path)?;
    let pid = granted("SandboxStatus", sandbox.status())?.pid;
    for kind in ["user", "net"] {
        same(kind, link(pid, kind)?, link(owner.pid, kind)?)?;
    }
    let spec =
        sandbox.joined(&Spec::new().user_namespace(100_000, 65536), &["network", "ipc", "uts", "user"])?;
    let spec = spec.without("/hostname").no_mount("/dev/shm");
    let names = ["/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shm_rmid_forced"];
    let answers = tried(
        &sandbox,
        &spec,
        &[&["read", names[0]], &["read", names[1]], &["read", "/proc/sys/kernel/hostname"]],
    )?;
    same("ports", value(&answers, 0).trim(), "80")?;
    same("shared memory", value(&answers, 1).trim(), "1")?;
    same("host name", value(&answers, 2), "blue\n")?;
    sandbox.finish()?;
    owner.finish()
}
