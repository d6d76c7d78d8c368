//! Pods without a container that holds them: the calls of the sandbox service.

use crate::network::Network;
use crate::outcome::{Outcome, check, fail, same};
use crate::shim::bed::Bed;
use crate::shim::client::{PATIENCE, code, granted, refused};
use crate::shim::launch::any;
use crate::shim::sandbox::{CONFIG, Config, SERVICE, Sandbox, mode};
use crate::shim::task::Task;
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::sandbox_api as rpc;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test("N1", "the life of a sandbox: states, pid, platform, waiters, the end of the shim", life),
    test("N6", "a holder that is killed makes the pod not ready, and wakes all waiters", holder_killed),
    test("N8", "what is wrong is refused with the code of containerd's controller, and nothing stays", wrong),
    test("N9", "calls out of order, and repeated ones", order),
    test("N11", "`delete` after the shim was killed leaves nothing of the sandbox", killed),
    test("N12", "`ShutdownSandbox` takes containers with it that are left", shutdown_with_containers),
    test("N13", "the metrics of a pod are those of its cgroup", metrics),
    test("N19", "after `ShutdownSandbox` it is the caller that closes the connection first", last_answer),
    test(
        "N20",
        "`StartSandbox` tells the paths of the pod's namespaces, for daemons that join by path",
        by_path,
    ),
];

pub(super) const JOINED: [&str; 3] = ["network", "ipc", "uts"];

pub(super) fn link(pid: u32, kind: &str) -> Outcome<PathBuf> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/{kind}"))?)
}

/// What operations of the probe in a container of the pod answer.
pub(super) fn tried(sandbox: &Sandbox<'_, '_>, spec: &Spec, script: &[&[&str]]) -> Outcome<Vec<Value>> {
    let mut words = vec!["/probe", "try"];
    for (index, operation) in script.iter().enumerate() {
        if index > 0 {
            words.push("--");
        }
        words.extend(*operation);
    }
    let task = sandbox.container(&spec.clone().args(&words))?;
    same("exit status", task.exit("")?, 0)?;
    let text = task.streams.borrow_mut().to_end()?.0;
    granted("Delete", task.delete(""))?;
    let answers: Vec<Value> = serde_json::from_str(&text)?;
    check(answers.iter().all(|answer| answer["errno"] != 9999), || format!("misspelt: {text}"))?;
    Ok(answers)
}

pub(super) fn value(answers: &[Value], index: usize) -> &str {
    answers[index]["value"].as_str().unwrap_or_default()
}

fn life(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::planned(bed)?;
    refused("an unknown sandbox", sandbox.status(), &[code::NOT_FOUND], &["not found"])?;
    granted("CreateSandbox", sandbox.create(&Config::new(), &network.path()))?;
    same(
        "state before the start",
        granted("SandboxStatus", sandbox.status())?.state.as_str(),
        "SANDBOX_NOTREADY",
    )?;
    let waiters: Vec<_> = (0..20).map(|_| sandbox.waits()).collect();
    let started = granted("StartSandbox", sandbox.start())?;
    let status = granted("SandboxStatus", sandbox.status())?;
    same("state", status.state.as_str(), "SANDBOX_READY")?;
    same("pid", status.pid, started.pid)?;
    same("the process is the shim", status.pid, sandbox.pod.pid)?;
    check(status.created_at.seconds > 0 && status.exited_at.seconds <= 0, || format!("{status:?}"))?;
    granted("PingSandbox", sandbox.ping())?;
    let request = rpc::PlatformRequest { sandbox_id: sandbox.id().into(), ..Default::default() };
    let platform: rpc::PlatformResponse = granted("Platform", sandbox.ask("Platform", &request))?;
    same("system", platform.platform.os.as_str(), "linux")?;
    check(["amd64", "arm64"].contains(&platform.platform.architecture.as_str()), || format!("{platform:?}"))?;
    let mount = sandbox.bundle.mounts();
    check(!mount.is_empty(), || "the pod has no shared memory".into())?;
    granted("StopSandbox", sandbox.stop())?;
    for waiter in waiters {
        let exit: rpc::WaitSandboxResponse = granted("WaitSandbox", waiter.answer(PATIENCE))?;
        check(exit.exit_status == 0 && exit.exited_at.seconds > 0, || format!("{exit:?}"))?;
    }
    let status = granted("SandboxStatus", sandbox.status())?;
    same("state after the stop", status.state.as_str(), "SANDBOX_NOTREADY")?;
    check(status.exited_at.seconds > 0, || format!("{status:?}"))?;
    same("mounts after the stop", sandbox.bundle.mounts(), Vec::<String>::new())?;
    same("the shim is back", link(sandbox.pod.pid, "ipc")?, link(std::process::id(), "ipc")?)?;
    granted("a wait after the end", sandbox.wait())?;
    granted("ShutdownSandbox", sandbox.shutdown())?;
    check(sandbox.pod.ends(Duration::from_secs(10))?, || "the shim stays".into())?;
    Ok(())
}

pub(super) fn status_of(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// Waits for the end of a holder.
pub(super) fn until_gone(bed: &Bed<'_>, pid: u32) -> Outcome {
    bed.until("the holder to be gone", || {
        let state = status_of(pid, "State");
        Ok((state.is_empty() || state.starts_with('Z')).then_some(()))
    })
}

fn holder_killed(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::running(bed, &Config::new().mode(1, mode::POD), &network.path())?;
    let pid = granted("SandboxStatus", sandbox.status())?.pid;
    let waiters: Vec<_> = (0..3).map(|_| sandbox.waits()).collect();
    let Some(holder) = Pid::from_raw(pid.cast_signed()) else { return fail("no pid") };
    kill_process(holder, Signal::KILL)?;
    for waiter in waiters {
        let exit: rpc::WaitSandboxResponse = granted("WaitSandbox", waiter.answer(PATIENCE))?;
        same("exit status", exit.exit_status, 137)?;
    }
    same("state", granted("SandboxStatus", sandbox.status())?.state.as_str(), "SANDBOX_NOTREADY")?;
    sandbox.finish()
}

fn wrong(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::planned(bed)?;
    let invalid = [code::INVALID_ARGUMENT];
    let mut unknown_mode = Config::new();
    unknown_mode.modes[0] = 7;
    let plain = Config::new();
    let cut = any(CONFIG, plain.encode()[..9].to_vec());
    let path = network.path();
    for (what, reply) in [
        ("a missing namespace", sandbox.create(&plain, "/nonexistent/net")),
        ("a file that is no namespace", sandbox.create(&plain, "/proc/self/status")),
        ("a namespace of another kind", sandbox.create(&plain, "/proc/self/ns/uts")),
        ("no namespace", sandbox.create(&plain, "")),
        ("another type", sandbox.create_with(any("runtime.v1.ContainerConfig", plain.encode()), &path)),
        ("a cut message", sandbox.create_with(cut, &path)),
        ("an unknown mode", sandbox.create(&unknown_mode, &path)),
        ("a sysctl of the host", sandbox.create(&plain.clone().sysctl("vm.swappiness", "1"), &path)),
        ("a long name", sandbox.create(&Config { hostname: "x".repeat(65), ..plain.clone() }, &path)),
    ] {
        refused(what, reply, &invalid, &[])?;
        refused("it is not there", sandbox.status(), &[code::NOT_FOUND], &[])?;
        same(what, sandbox.bundle.mounts(), Vec::<String>::new())?;
        check(!sandbox.bundle.dir.join("pod").exists(), || format!("{what}: files stay"))?;
        same(what, link(sandbox.pod.pid, "uts")?, link(std::process::id(), "uts")?)?;
    }
    let users = Config { users: Some((100_000, 65536)), ..plain.clone() };
    let reply = sandbox.create(&users, &path);
    refused(
        "a network of the host with users of the pod",
        reply,
        &invalid,
        &["belongs to the user namespace of the host"],
    )?;
    let request = rpc::CreateSandboxRequest {
        sandbox_id: sandbox.id().into(),
        bundle_path: "relative".into(),
        options: Some(any(CONFIG, plain.encode())).into(),
        netns_path: path.clone(),
        ..Default::default()
    };
    let reply = sandbox.ask::<_, rpc::CreateSandboxResponse>("CreateSandbox", &request);
    refused("a relative bundle", reply, &invalid, &["not absolute"])?;
    same("mounts", sandbox.bundle.mounts(), Vec::<String>::new())?;
    check(!sandbox.bundle.dir.join("pod").exists(), || "files stay".into())?;
    // What only the kernel refuses.
    let late = plain.clone().sysctl("kernel.shmmni", "many");
    refused("a value that is no number", sandbox.create(&late, &path), &[], &["shmmni"])?;
    same("mounts", sandbox.bundle.mounts(), Vec::<String>::new())?;
    same("the shim is back", link(sandbox.pod.pid, "ipc")?, link(std::process::id(), "ipc")?)?;
    refused("the same with a holder", sandbox.create(&late.mode(1, mode::POD), &path), &[], &["shmmni"])?;
    granted("after all that", sandbox.create(&plain, &path))?;
    sandbox.finish()
}

fn order(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::planned(bed)?;
    refused("a start before the creation", sandbox.start(), &[code::NOT_FOUND], &[])?;
    refused("a stop before it", sandbox.stop(), &[code::NOT_FOUND], &[])?;
    granted("CreateSandbox", sandbox.create(&Config::new(), &network.path()))?;
    let again = sandbox.create(&Config::new(), &network.path());
    refused("a second creation", again, &[code::ALREADY_EXISTS], &["already exists"])?;
    granted("StartSandbox", sandbox.start())?;
    refused("a second start", sandbox.start(), &[code::FAILED_PRECONDITION], &[])?;
    let other = rpc::StopSandboxRequest { sandbox_id: "other".into(), ..Default::default() };
    let reply = sandbox.ask::<_, rpc::StopSandboxResponse>("StopSandbox", &other);
    refused("another sandbox", reply, &[code::NOT_FOUND], &["not found"])?;
    let reply = sandbox.pod.client.call::<_, rpc::PingResponse>(SERVICE, "Nonsense", &other);
    refused("an unknown method", reply, &[code::UNIMPLEMENTED], &[])?;
    for _ in 0..3 {
        granted("StopSandbox", sandbox.stop())?;
    }
    refused("a start after the end", sandbox.start(), &[code::FAILED_PRECONDITION], &[])?;
    // The daemon ends containers of their own with this; a sandbox keeps its shim.
    granted("Shutdown", sandbox.pod.shutdown())?;
    granted("PingSandbox", sandbox.ping())?;
    granted("ShutdownSandbox", sandbox.shutdown()).map(drop)
}

fn killed(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    for pids in [mode::CONTAINER, mode::POD] {
        let sandbox = Sandbox::running(bed, &Config::new().mode(1, pids), &network.path())?;
        let pid = granted("SandboxStatus", sandbox.status())?.pid;
        sandbox.pod.crash()?;
        bed.call(&sandbox.bundle).delete()?.ok("delete")?;
        same("mounts", sandbox.bundle.mounts(), Vec::<String>::new())?;
        check(!sandbox.bundle.dir.join("pod").exists(), || "its files stay".into())?;
        until_gone(bed, pid)?;
        bed.call(&sandbox.bundle).delete()?.ok("delete again")?;
    }
    Ok(())
}

fn shutdown_with_containers(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::running(bed, &Config::new(), &network.path())?;
    let spec = sandbox.joined(&Spec::new(), &JOINED)?.args(&["/probe", "wait"]);
    let task: Task<'_, '_> = sandbox.container(&spec)?;
    task.streams.borrow_mut().until("ready")?;
    granted("ShutdownSandbox", sandbox.shutdown())?;
    check(sandbox.pod.ends(Duration::from_secs(10))?, || "the shim stays".into())?;
    check(task.until_dead()?, || "the container lives".into())?;
    bed.until_gone(&task.bundle)?;
    same("mounts", sandbox.bundle.mounts(), Vec::<String>::new())
}

/// A client in Go may take the end of the connection for a failure of the call, although the answer came before.
fn last_answer(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let sandbox = Sandbox::running(bed, &Config::new(), &network.path())?;
    granted("StopSandbox", sandbox.stop())?;
    granted("ShutdownSandbox", sandbox.shutdown())?;
    let hurried = sandbox.pod.ends(Duration::from_millis(300))? || sandbox.pod.client.ended();
    check(!hurried, || "the shim closes the connection right after the answer".into())?;
    sandbox.pod.client.hang_up();
    check(sandbox.pod.ends(Duration::from_secs(10))?, || "the shim stays".into())
}

fn metrics(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let cgroup = format!("{}/{}", crate::cgroup::parent(), "pod-metrics");
    let config = Config { cgroup: cgroup.clone(), ..Config::new() };
    let sandbox = Sandbox::running(bed, &config, &network.path())?;
    let request = || rpc::SandboxMetricsRequest { sandbox_id: sandbox.id().into(), ..Default::default() };
    let ask = || sandbox.ask::<_, rpc::SandboxMetricsResponse>("SandboxMetrics", &request());
    refused("a cgroup that nobody made", ask(), &[code::NOT_FOUND], &[])?;
    let spec = sandbox.joined(&Spec::new(), &JOINED)?;
    let spec = spec.set("/linux/cgroupsPath", format!("{cgroup}/inner")).args(&["/probe", "wait"]);
    let task = sandbox.container(&spec)?;
    task.streams.borrow_mut().until("ready")?;
    let answer = granted("SandboxMetrics", ask())?;
    let metric = answer.metrics.get_or_default();
    same("id", metric.id.as_str(), sandbox.id())?;
    let data = metric.data.get_or_default();
    check(data.type_url.contains("cgroups.v") && !data.value.is_empty(), || format!("{answer:?}"))?;
    task.finish()?;
    sandbox.finish()
}

/// Type and path.
type Namespace = (String, Option<String>);

/// The configuration that `StartSandbox` answers with, and type and path of each of its namespaces.
fn told(answer: &rpc::StartSandboxResponse) -> Outcome<(Value, Vec<Namespace>)> {
    let Some(spec) = answer.spec.as_ref() else { return fail("StartSandbox tells no configuration") };
    same("type", spec.type_url.as_str(), "types.containerd.io/opencontainers/runtime-spec/1/Spec")?;
    let document: Value = serde_json::from_slice(&spec.value)?;
    let entries = document["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut all: Vec<_> = entries
        .iter()
        .map(|entry| (text(&entry["type"]).unwrap_or_default(), text(&entry["path"])))
        .collect();
    all.sort();
    Ok((document, all))
}

fn by_path(bed: &Bed<'_>) -> Outcome {
    let network = Network::new()?;
    let own = |pid: u32, kind: &str| (kind.to_owned(), Some(format!("/proc/{pid}/ns/{kind}")));
    let started = |config: &Config, network: &str| -> Outcome<_> {
        let sandbox = Sandbox::planned(bed)?;
        granted("CreateSandbox", sandbox.create(config, network))?;
        let answer = granted("StartSandbox", sandbox.start())?;
        Ok((sandbox, answer))
    };
    let (sandbox, answer) = started(&Config::new().sysctl("kernel.shm_rmid_forced", "1"), &network.path())?;
    let (document, namespaces) = told(&answer)?;
    let net = ("network".to_owned(), Some(network.path()));
    let each = ("pid".to_owned(), None);
    let wanted = vec![own(answer.pid, "ipc"), net.clone(), each, own(answer.pid, "uts")];
    same("namespaces", &namespaces, &wanted)?;
    same("host name", document["hostname"].as_str(), Some("blue"))?;
    same("sysctls", &document["linux"]["sysctl"], &json!({"kernel.shm_rmid_forced": "1"}))?;
    // As a daemon does that takes the paths and not the pid.
    let joined = |spec: Spec, (kind, path): &Namespace| spec.namespace(kind, path.as_deref());
    let spec = namespaces.iter().fold(Spec::new().without("/hostname"), joined);
    let answers = tried(&sandbox, &spec, &[&["read", "/proc/sys/kernel/hostname"]])?;
    same("host name of a container", value(&answers, 0), "blue\n")?;
    sandbox.finish()?;

    let (sandbox, answer) = started(&Config::new().mode(1, mode::POD), &network.path())?;
    let wanted = vec![own(answer.pid, "ipc"), net, own(answer.pid, "pid"), own(answer.pid, "uts")];
    same("with a pid namespace of the pod", &told(&answer)?.1, &wanted)?;
    sandbox.finish()?;

    let host = Config::new().mode(0, mode::NODE).mode(1, mode::NODE).mode(2, mode::NODE);
    let (sandbox, answer) = started(&host, "")?;
    check(told(&answer)?.1.is_empty(), || "a namespace of the host is told".into())?;
    sandbox.finish()
}
