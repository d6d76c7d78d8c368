//! The RPCs of a container: create, start, kill, wait, delete, and what each refuses.

use crate::outcome::{Outcome, check, fail, same};
use crate::shim::bed::Bed;
use crate::shim::client::{PATIENCE, code, granted, refused};
use crate::shim::stdio::Streams;
use crate::shim::task::{Task, process};
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::api::{ConnectResponse, Status, WaitResponse};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const TESTS: &[Test] = &[
    test("T1", "a life: created, running, stopped, and all that State tells of each", life),
    test("T2", "an unknown container is NotFound in every call but Connect and Shutdown", unknown_container),
    test("T3", "an unknown process is NotFound in every call that takes one", unknown_process),
    test("T4", "a second Start is refused", second_start),
    test("T5", "Delete of a running container is refused and changes nothing", delete_running),
    test("T6", "Delete of a created container removes it", delete_created),
    test("T7", "a second Delete is NotFound", delete_twice),
    test("T8", "death by a signal is 128 and its number", death_by_signal),
    test("T9", "Wait: twenty waiters on one connection, and other calls beside them", many_waiters),
    test("T10", "Wait after the end answers at once, as often as asked", late_wait),
    test("T11", "Kill of a stopped container is NotFound", kill_stopped),
    test("T12", "Kill reaches the first process only", kill_one),
    test("T13", "Kill with `all` reaches every process", kill_all),
    test("T14", "Kill ends a created container", kill_created),
    test("T15", "Start of a container that died before is refused", start_dead),
    test("T16", "a missing program: the error says so, nothing is left", missing_program),
    test("T17", "a second Create with the same id is refused and harms nothing", second_create),
    test("T18", "Create of a bundle that is no bundle is refused and leaves nothing", no_bundle),
    test("T23", "Connect names the shim and the first process", connect),
    test("T24", "Shutdown with a container changes nothing", shutdown_ignored),
    test(
        "T25",
        "the bundle has what `delete` needs: init.pid, options.json and runtime, not for others to read",
        files,
    ),
    test("T26", "a container that ends at once", quick_end),
    test("T27", "Checkpoint of a container that does not run is refused", checkpoint_created),
    test("T28", "an id with a slash, with dots or without letters is refused", bad_ids),
];

fn life(bed: &Bed<'_>) -> Outcome {
    let before = now();
    let task = bed.created(&Spec::new().args(&["/probe", "line", "exit", "7"]))?;
    drop(task.finish_created()?);
    let streams = Streams::all(bed.dir())?;
    let addresses = streams.addresses.clone();
    let task = bed.created_with(&Spec::new().args(&["/probe", "line", "exit", "7"]), streams)?;
    let state = granted("State", task.state(""))?;
    same("status", state.status.enum_value_or_default(), Status::CREATED)?;
    same("id", state.id.as_str(), task.id())?;
    same("bundle", state.bundle.as_str(), &*task.bundle.dir.to_string_lossy())?;
    same("pid", state.pid, task.pid)?;
    check(task.pid > 0 && Path::new(&format!("/proc/{}", task.pid)).exists(), || "no such process".into())?;
    same("stdin", state.stdin.as_str(), addresses.stdin.as_str())?;
    same("stdout", state.stdout.as_str(), addresses.stdout.as_str())?;
    same("stderr", state.stderr.as_str(), addresses.stderr.as_str())?;
    check(!state.terminal, || "it has a terminal".into())?;
    let started = granted("Start", task.start(""))?;
    same("pid from Start", started.pid, task.pid)?;
    let running = granted("State", task.state(""))?;
    same("status", running.status.enum_value_or_default(), Status::RUNNING)?;
    // January 1 of the year 1, which clients compare with: it has not ended.
    same("exited_at while it runs", running.exited_at.get_or_default().seconds, -62_135_596_800)?;
    task.streams.borrow_mut().write(b"go\n")?;
    let waited = granted("Wait", task.wait(""))?;
    same("exit status from Wait", waited.exit_status, 7)?;
    let state = granted("State", task.state(""))?;
    same("status", state.status.enum_value_or_default(), Status::STOPPED)?;
    same("exit status from State", state.exit_status, 7)?;
    let at = waited.exited_at.get_or_default().seconds;
    check((before..=now()).contains(&at), || format!("exited_at {at}, it is {}", now()))?;
    same("exited_at from State", state.exited_at.get_or_default().seconds, at)?;
    let deleted = granted("Delete", task.delete(""))?;
    same("exit status from Delete", deleted.exit_status, 7)?;
    same("pid from Delete", deleted.pid, task.pid)?;
    same("exited_at from Delete", deleted.exited_at.get_or_default().seconds, at)?;
    bed.until_gone(&task.bundle)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(0)
}

impl Task<'_, '_> {
    /// Deletes a created container.
    fn finish_created(self) -> Outcome<containerd_shim_protos::api::DeleteResponse> {
        granted("Delete of a created container", self.delete(""))
    }
}

fn unknown_container(bed: &Bed<'_>) -> Outcome {
    let none = bed.planned(&Spec::new(), Streams::none())?;
    let not_found = [code::NOT_FOUND];
    refused("State", none.state(""), &not_found, &[])?;
    refused("Start", none.start(""), &not_found, &[])?;
    refused("Delete", none.delete(""), &not_found, &[])?;
    refused("Pids", none.pids(), &not_found, &[])?;
    refused("Pause", none.pause(), &not_found, &[])?;
    refused("Resume", none.resume(), &not_found, &[])?;
    refused("Checkpoint", none.checkpoint("/nowhere"), &not_found, &[])?;
    refused("Kill", none.kill("", 9, false), &not_found, &[])?;
    refused("Exec", none.add("x", &process(&["/probe", "true"]), &Streams::none()), &not_found, &[])?;
    refused("ResizePty", none.resize("", 80, 25), &not_found, &[])?;
    refused("CloseIO", none.close_stdin(""), &not_found, &[])?;
    refused("Update", none.update(&json!({})), &not_found, &[])?;
    refused("Wait", none.wait(""), &not_found, &[])?;
    refused("Stats", none.stats(), &not_found, &[])?;
    let connected = granted("Connect", none.connect())?;
    same("pid of the task", connected.task_pid, 0)
}

fn unknown_process(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let not_found = [code::NOT_FOUND];
    refused("State", task.state("ghost"), &not_found, &[])?;
    refused("Start", task.start("ghost"), &not_found, &[])?;
    refused("Delete", task.delete("ghost"), &not_found, &[])?;
    refused("Kill", task.kill("ghost", 9, false), &not_found, &[])?;
    refused("ResizePty", task.resize("ghost", 80, 25), &not_found, &[])?;
    // containerd's own shim loses the code here and keeps the message.
    refused("CloseIO", task.close_stdin("ghost"), &[code::NOT_FOUND, code::UNKNOWN], &["does not exist"])?;
    refused("Wait", task.wait("ghost"), &not_found, &[])?;
    task.finish()
}

fn second_start(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    refused("a second Start", task.start(""), &[], &["running"])?;
    same("status", task.status("")?, Status::RUNNING)?;
    task.finish()
}

fn delete_running(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    refused("Delete", task.delete(""), &[], &["running"])?;
    same("status", task.status("")?, Status::RUNNING)?;
    granted("Kill", task.kill("", 10, false))?;
    task.streams.borrow_mut().until("signal 10")?;
    task.finish()
}

fn delete_created(bed: &Bed<'_>) -> Outcome {
    let task = bed.created(&Spec::new())?;
    let deleted = granted("Delete", task.delete(""))?;
    same("pid", deleted.pid, task.pid)?;
    check(task.until_dead()?, || "its process lives".into())?;
    refused("State", task.state(""), &[code::NOT_FOUND], &[])?;
    bed.until_gone(&task.bundle)
}

fn delete_twice(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    task.finish()?;
    refused("a second Delete", task.delete(""), &[code::NOT_FOUND], &[])
}

fn death_by_signal(bed: &Bed<'_>) -> Outcome {
    for signal in [9, 6, 15] {
        // The first process of a pid namespace ignores all signals without a handler except KILL, so use none.
        let task = bed.started(&host_pids().args(&["/probe", "idle"]))?;
        task.streams.borrow_mut().until("ready")?;
        granted("Kill", task.kill("", signal, false))?;
        same("exit status", task.exit("")?, 128 + signal)?;
        granted("Delete", task.delete(""))?;
    }
    Ok(())
}

/// In the host's pid namespace.
pub(super) fn host_pids() -> Spec {
    let spec = Spec::new().no_namespace("pid").no_mount("/proc").mount("/proc", "bind", "/proc", &["rbind"]);
    spec.without("/linux/maskedPaths").without("/linux/readonlyPaths")
}

fn many_waiters(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let waiting: Vec<_> = (0..20).map(|_| task.waits("")).collect();
    let other = crate::shim::client::Client::connect(&task.pod.answer.address)?;
    for _ in 0..20 {
        same("status while others wait", task.status("")?, Status::RUNNING)?;
    }
    let _streams = task.exec("beside", &["/probe", "true"])?;
    same("exit status of an exec", task.exit("beside")?, 0)?;
    granted("Delete of the exec", task.delete("beside"))?;
    let request = containerd_shim_protos::api::ConnectRequest { id: task.id().into(), ..Default::default() };
    let service = crate::shim::launch::service(task.pod.answer.version);
    let _answer: ConnectResponse =
        granted("Connect on another connection", other.call(service, "Connect", &request))?;
    granted("Kill", task.kill("", 9, false))?;
    for pending in waiting {
        let answer: WaitResponse = granted("Wait", pending.answer(PATIENCE))?;
        same("exit status", answer.exit_status, 137)?;
    }
    granted("Delete", task.delete("")).map(drop)
}

fn late_wait(bed: &Bed<'_>) -> Outcome {
    let task = bed.started(&Spec::new().args(&["/probe", "exit", "3"]))?;
    let first = granted("Wait", task.wait(""))?;
    for _ in 0..3 {
        let again: WaitResponse = granted("Wait again", task.waits("").answer(Duration::from_secs(10)))?;
        same("the answer", &again, &first)?;
    }
    granted("Delete", task.delete("")).map(drop)
}

fn kill_stopped(bed: &Bed<'_>) -> Outcome {
    let task = bed.started(&Spec::new().args(&["/probe", "true"]))?;
    same("exit status", task.exit("")?, 0)?;
    refused("Kill", task.kill("", 9, false), &[code::NOT_FOUND], &[])?;
    granted("Delete", task.delete("")).map(drop)
}

fn kill_one(bed: &Bed<'_>) -> Outcome {
    let task = bed.started(&Spec::new().args(&["/probe", "brood", "2"]))?;
    task.streams.borrow_mut().until("ready")?;
    granted("Kill", task.kill("", 12, false))?;
    task.streams.borrow_mut().until("signal 12")?;
    let pids = granted("Pids", task.pids())?.processes.len();
    same("processes", pids, 3)?;
    task.finish()
}

fn kill_all(bed: &Bed<'_>) -> Outcome {
    // In the host's pid namespace the children outlive their parent unless they are killed too.
    let task = bed.started(&host_pids().args(&["/probe", "brood", "3"]))?;
    task.streams.borrow_mut().until("ready")?;
    same("processes", granted("Pids", task.pids())?.processes.len(), 4)?;
    granted("Kill", task.kill("", 9, true))?;
    same("exit status", task.exit("")?, 137)?;
    bed.until("all of them to be gone", || Ok(task.bundle.processes().is_empty().then_some(())))?;
    granted("Delete", task.delete("")).map(drop)
}

fn kill_created(bed: &Bed<'_>) -> Outcome {
    let task = bed.created(&Spec::new())?;
    granted("Kill", task.kill("", 9, false))?;
    same("exit status", task.exit("")?, 137)?;
    same("status", task.status("")?, Status::STOPPED)?;
    granted("Delete", task.delete("")).map(drop)
}

fn start_dead(bed: &Bed<'_>) -> Outcome {
    let task = bed.created(&Spec::new())?;
    granted("Kill", task.kill("", 9, false))?;
    task.exit("")?;
    refused("Start", task.start(""), &[], &["stopped", "not running", "process"])?;
    granted("Delete", task.delete("")).map(drop)
}

fn missing_program(bed: &Bed<'_>) -> Outcome {
    let cases = [("nope", "executable file not found in $PATH"), ("/nope", "no such file or directory")];
    for (program, text) in cases {
        let task = bed.planned(&Spec::new().args(&[program]), Streams::output(bed.dir())?)?;
        // Either call may be the one to find out; a daemon handles both alike.
        match task.create(None, &[]) {
            Ok(_) => {
                refused(&format!("Start of {program}"), task.start(""), &[], &[text])?;
                granted("Delete", task.delete(""))?;
            }
            answer => refused(&format!("Create with {program}"), answer, &[], &[text])?,
        }
        refused("State", task.state(""), &[code::NOT_FOUND], &[])?;
        bed.until_gone(&task.bundle)?;
    }
    Ok(())
}

fn second_create(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let again = Task::new(bed, task.pod.clone(), task.bundle.clone(), Streams::none());
    refused("a second Create", again.create(None, &[]), &[], &["exist"])?;
    granted("Kill", task.kill("", 10, false))?;
    task.streams.borrow_mut().until("signal 10")?;
    task.finish()
}

fn no_bundle(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new(), Streams::none())?;
    fs::write(task.bundle.dir.join("config.json"), "{\"ociVersion\": 7}")?;
    refused("Create", task.create(None, &[]), &[], &[])?;
    refused("State", task.state(""), &[code::NOT_FOUND], &[])?;
    bed.until_gone(&task.bundle)
}

fn connect(bed: &Bed<'_>) -> Outcome {
    let task = bed.created(&Spec::new())?;
    let answer = granted("Connect", task.connect())?;
    same("pid of the task", answer.task_pid, task.pid)?;
    same("pid of the shim", answer.shim_pid, task.pod.pid)?;
    let exe = format!("/proc/{}/exe", answer.shim_pid);
    let (runs, program) = (fs::metadata(&exe)?, fs::metadata(&bed.subject.path)?);
    let name = fs::read_link(&exe)?;
    // A shim may run from a private mount, where it has no path, or as a sealed copy of itself.
    let same_file = (runs.dev(), runs.ino()) == (program.dev(), program.ino());
    check(same_file || name.to_string_lossy().contains("memfd"), || {
        format!("process {} runs {}", answer.shim_pid, name.display())
    })?;
    granted("Delete", task.delete("")).map(drop)
}

fn shutdown_ignored(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    granted("Shutdown", task.pod.shutdown())?;
    granted("Kill", task.kill("", 10, false))?;
    task.streams.borrow_mut().until("signal 10")?;
    check(task.pod.alive(), || "the shim ended".into())?;
    task.finish()?;
    let _closed = task.pod.shutdown();
    check(task.pod.ends(PATIENCE)?, || "the shim runs on without a container".into())
}

fn files(bed: &Bed<'_>) -> Outcome {
    let task = bed.created(&Spec::new())?;
    let pid = fs::read_to_string(task.bundle.dir.join("init.pid"))?;
    same("init.pid", pid.trim(), task.pid.to_string().as_str())?;
    let options: serde_json::Value =
        serde_json::from_slice(&fs::read(task.bundle.dir.join("options.json"))?)?;
    check(options.is_object(), || format!("options.json is {options}"))?;
    for name in ["options.json", "runtime"] {
        let mode = fs::metadata(task.bundle.dir.join(name))?.permissions().mode() & 0o777;
        check(mode & 0o022 == 0, || format!("{name} has mode {mode:o}"))?;
    }
    granted("Delete", task.delete("")).map(drop)
}

fn quick_end(bed: &Bed<'_>) -> Outcome {
    for _ in 0..5 {
        let task = bed.started(&Spec::new().args(&["/probe", "true"]))?;
        same("exit status", task.exit("")?, 0)?;
        granted("Delete", task.delete(""))?;
    }
    Ok(())
}

fn checkpoint_created(bed: &Bed<'_>) -> Outcome {
    let task = bed.created(&Spec::new())?;
    let images = bed.dir().join("images");
    refused("Checkpoint", task.checkpoint(&images.to_string_lossy()), &[], &[])?;
    same("status", task.status("")?, Status::CREATED)?;
    granted("Delete", task.delete("")).map(drop)
}

fn bad_ids(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    for id in ["../escape", "a/b", "", "."] {
        let mut bundle = task.bundle.clone();
        bundle.id = id.into();
        let bad = Task::new(bed, task.pod.clone(), bundle, Streams::none());
        if bad.create(None, &[]).is_ok() {
            let _gone = bad.delete("");
            return fail(format!("a container with the id {id:?} was made"));
        }
    }
    granted("Kill", task.kill("", 10, false))?;
    task.streams.borrow_mut().until("signal 10")?;
    task.finish()
}
