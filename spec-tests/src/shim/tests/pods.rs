//! Several containers in one shim.

use crate::outcome::{Outcome, check, same};
use crate::shim::bed::Bed;
use crate::shim::client::{PATIENCE, granted};
use crate::shim::launch::service;
use crate::shim::stdio::Streams;
use crate::shim::task::Task;
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::api::{CreateTaskResponse, Status};
use containerd_shim_protos::protobuf::Message;
use serde_json::json;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(super) const TESTS: &[Test] = &[
    test("P1", "containers with the same group annotation share a shim", group),
    test("P2", "containers of the same CRI sandbox share a shim", sandbox),
    test("P3", "containers without either do not", apart),
    test("P4", "the end of one does not touch the other", one_ends),
    test("P5", "a shim goes only after its last container", shutdown),
    test("P6", "a slow create of one does not hold up calls for another", slow_create),
    test("P7", "a container in another's pid namespace: its end ends all that is its own", shared_pids),
    test("P8", "eight creates at once", at_once),
];

static SERIAL: AtomicU32 = AtomicU32::new(0);

fn annotated(key: &str) -> Spec {
    let group = format!("group-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
    Spec::new().set("/annotations", json!({key: group}))
}

/// Two running containers of one configuration.
fn two<'b, 'a>(bed: &'b Bed<'a>, spec: &Spec) -> Outcome<(Task<'b, 'a>, Task<'b, 'a>)> {
    Ok((bed.waiting(spec)?, bed.waiting(spec)?))
}

fn share(bed: &Bed<'_>, key: &str) -> Outcome {
    let (one, two) = two(bed, &annotated(key))?;
    check(Rc::ptr_eq(&one.pod, &two.pod), || {
        format!("{} and {}", one.pod.answer.address, two.pod.answer.address)
    })?;
    for task in [&one, &two] {
        let connected = granted("Connect", task.connect())?;
        same("pids", (connected.shim_pid, connected.task_pid), (one.pod.pid, task.pid))?;
    }
    check(one.pid != two.pid, || "they are one process".into())?;
    one.finish()?;
    two.finish()
}

fn group(bed: &Bed<'_>) -> Outcome {
    share(bed, "io.containerd.runc.v2.group")
}

fn sandbox(bed: &Bed<'_>) -> Outcome {
    share(bed, "io.kubernetes.cri.sandbox-id")
}

fn apart(bed: &Bed<'_>) -> Outcome {
    let (one, two) = two(bed, &Spec::new().set("/annotations", json!({"other": "same"})))?;
    check(one.pod.pid != two.pod.pid, || "they share a shim".into())?;
    one.finish()?;
    two.finish()
}

fn one_ends(bed: &Bed<'_>) -> Outcome {
    let (one, two) = two(bed, &annotated("io.containerd.runc.v2.group"))?;
    let _streams = two.exec("e", &["/probe", "idle"])?;
    one.finish()?;
    same("status of the other", two.status("")?, Status::RUNNING)?;
    same("status of its exec", two.status("e")?, Status::RUNNING)?;
    granted("Kill", two.kill("", 10, false))?;
    two.streams.borrow_mut().until("signal 10")?;
    granted("Kill", two.kill("e", 9, false))?;
    two.exit("e")?;
    granted("Delete", two.delete("e"))?;
    two.finish()
}

fn shutdown(bed: &Bed<'_>) -> Outcome {
    let (one, two) = two(bed, &annotated("io.containerd.runc.v2.group"))?;
    one.finish()?;
    granted("Shutdown with one left", two.pod.shutdown())?;
    granted("Kill", two.kill("", 10, false))?;
    two.streams.borrow_mut().until("signal 10")?;
    two.finish()?;
    let _closed = two.pod.shutdown();
    check(two.pod.ends(PATIENCE)?, || "the shim runs on".into())
}

fn slow_create(bed: &Bed<'_>) -> Outcome {
    let spec = annotated("io.containerd.runc.v2.group");
    let other = bed.waiting(&spec)?;
    let hook = json!({"path": "/bin/sleep", "args": ["sleep", "3"]});
    let bundle = bed.bundle(&spec.hook("createRuntime", hook))?;
    let pod = bed.pod(&bundle)?;
    let slow = Task::new(bed, pod, bundle, Streams::none());
    let request = crate::shim::bed::create_request(&slow.bundle, &Streams::none(), None, &[]);
    let bytes = request.write_to_bytes().unwrap_or_default();
    let pending = slow.pod.client.begin(service(slow.pod.answer.version), "Create", bytes);
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    same("status of the other", other.status("")?, Status::RUNNING)?;
    granted("Pids of the other", other.pids())?;
    let _streams = other.exec("e", &["/probe", "true"])?;
    other.exit("e")?;
    granted("Delete", other.delete("e"))?;
    other.finish()?;
    let took = begun.elapsed();
    let _pid: CreateTaskResponse = granted("Create", pending.answer(PATIENCE))?;
    check(took < Duration::from_millis(2400), || format!("the other's calls took {took:?}"))?;
    granted("Delete", slow.delete("")).map(drop)
}

fn shared_pids(bed: &Bed<'_>) -> Outcome {
    let spec = annotated("io.containerd.runc.v2.group");
    let host = bed.waiting(&spec)?;
    let path = format!("/proc/{}/ns/pid", host.pid);
    let guest = bed.started(&spec.namespace("pid", Some(&path)).args(&["/probe", "brood", "3"]))?;
    guest.streams.borrow_mut().until("ready")?;
    // Only the first process is killed; without a pid namespace of their own the kernel leaves the others alive.
    granted("Kill", guest.kill("", 9, false))?;
    same("exit status", guest.exit("")?, 137)?;
    bed.until("its children to be gone", || Ok(guest.bundle.processes().is_empty().then_some(())))?;
    same("status of the other", host.status("")?, Status::RUNNING)?;
    granted("Delete", guest.delete(""))?;
    host.finish()
}

fn at_once(bed: &Bed<'_>) -> Outcome {
    let spec = annotated("io.containerd.runc.v2.group").args(&["/probe", "wait"]);
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let bundle = bed.bundle(&spec)?;
        let pod = bed.pod(&bundle)?;
        let task = Task::new(bed, pod, bundle, Streams::output(bed.dir())?);
        let request = crate::shim::bed::create_request(&task.bundle, &task.streams.borrow(), None, &[]);
        let bytes = request.write_to_bytes().unwrap_or_default();
        let pending = task.pod.client.begin(service(task.pod.answer.version), "Create", bytes);
        tasks.push((task, pending));
    }
    for (task, pending) in &mut tasks {
        let created: CreateTaskResponse = granted("Create", pending.answer(PATIENCE))?;
        task.pid = created.pid;
    }
    for (task, _) in &tasks {
        task.begin()?;
        task.streams.borrow_mut().until("ready")?;
    }
    for (task, _) in &tasks {
        task.finish()?;
    }
    Ok(())
}
