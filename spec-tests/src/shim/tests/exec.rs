//! Processes added to a container.

use crate::outcome::{Outcome, check, same};
use crate::shim::bed::Bed;
use crate::shim::client::{PATIENCE, Pending, Reply, code, granted, refused};
use crate::shim::daemon::Event;
use crate::shim::launch::{any, service};
use crate::shim::stdio::Streams;
use crate::shim::task::{PROCESS, Task, process};
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::api::{StartRequest, StartResponse, Status};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::oci::ProcessDetails;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test("X1", "a life: added, started, ended, deleted", life),
    test("X2", "an id that is taken is AlreadyExists", taken),
    test("X3", "a missing program: Start says so, Wait ends, Delete works, nothing exits", missing),
    test("X4", "Delete of a running process is refused", delete_running),
    test("X5", "Kill of a process that is not started is FailedPrecondition, of an ended one NotFound", kill),
    test("X6", "a signal reaches only the process it is for", signal),
    test("X7", "user, environment, directory and limits are those of the spec", surroundings),
    test("X8", "twenty at once", many),
    test("X9", "the end of the first process ends the others", init_exit),
    test("X10", "Exec in a stopped container is refused", stopped),
    test("X11", "a spec that is no process is refused and its id stays free", bad_spec),
    test("X12", "Pids names them", pids),
    test("X13", "Delete before Start removes it", delete_added),
    test("X14", "a second Start is refused", second_start),
    test("X15", "its pid file goes with it", pid_file),
    test("X16", "ids with a slash or without letters are refused", bad_ids),
    test("X18", "a start that fails says why, twenty at once, again and again", reason),
    test("X17", "a process that leaves a child behind has ended", leaves_child),
];

fn life(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let mut streams = Streams::all(bed.dir())?;
    granted("Exec", task.add("e", &process(&["/probe", "line", "exit", "5"]), &streams))?;
    let state = granted("State", task.state("e"))?;
    same("status", state.status.enum_value_or_default(), Status::CREATED)?;
    same("pid before the start", state.pid, 0)?;
    same("stdout", state.stdout.as_str(), streams.addresses.stdout.as_str())?;
    let pid = granted("Start", task.start("e"))?.pid;
    check(pid > 0 && pid != task.pid, || format!("pid {pid}"))?;
    let state = granted("State", task.state("e"))?;
    same("status", state.status.enum_value_or_default(), Status::RUNNING)?;
    same("pid", state.pid, pid)?;
    streams.write(b"go\n")?;
    let waited = granted("Wait", task.wait("e"))?;
    same("exit status", waited.exit_status, 5)?;
    same("status", task.status("e")?, Status::STOPPED)?;
    let deleted = granted("Delete", task.delete("e"))?;
    same("exit status from Delete", deleted.exit_status, 5)?;
    same("pid from Delete", deleted.pid, pid)?;
    refused("State", task.state("e"), &[code::NOT_FOUND], &[])?;
    same("status of the container", task.status("")?, Status::RUNNING)?;
    task.finish()
}

fn taken(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let _streams = task.exec("e", &["/probe", "idle"])?;
    let answer = task.add("e", &process(&["/probe", "true"]), &Streams::none());
    refused("a second Exec", answer, &[code::ALREADY_EXISTS], &["e"])?;
    same("status of the first", task.status("e")?, Status::RUNNING)?;
    granted("Kill", task.kill("e", 9, false))?;
    same("exit status", task.exit("e")?, 137)?;
    granted("Delete", task.delete("e"))?;
    // Free again.
    let _streams = task.exec("e", &["/probe", "exit", "4"])?;
    same("exit status", task.exit("e")?, 4)?;
    granted("Delete", task.delete("e"))?;
    task.finish()
}

fn missing(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let streams = Streams::output(bed.dir())?;
    granted("Exec", task.add("e", &process(&["nope"]), &streams))?;
    let waiting = task.waits("e");
    refused("Start", task.start("e"), &[], &["executable file not found in $PATH"])?;
    let _answer: containerd_shim_protos::api::WaitResponse =
        granted("Wait", waiting.answer(Duration::from_secs(20)))?;
    granted("Delete", task.delete("e"))?;
    let _streams = task.exec("after", &["/probe", "true"])?;
    same("exit status of the next", task.exit("after")?, 0)?;
    bed.daemon.wait_for("/tasks/exit", "after")?;
    let exits = bed.daemon.about(task.id()).iter().filter(|event| event.topic == "/tasks/exit").count();
    same("exit events", exits, 1)?;
    granted("Delete", task.delete("after"))?;
    task.finish()
}

/// The process is gone when its failure is reported, and a shim that reaps it at once must still report the failure.
fn reason(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let mut spec = process(&["/probe", "true"]);
    spec["cwd"] = json!("/nonexist");
    spec["oomScoreAdj"] = json!(0);
    for round in 0..20 {
        let ids: Vec<String> = (0..20).map(|number| format!("e{round}-{number}")).collect();
        for id in &ids {
            granted("Exec", task.add(id, &spec, &Streams::none()))?;
        }
        for start in ids.iter().map(|id| begin_start(&task, id)).collect::<Vec<_>>() {
            let answer: Reply<StartResponse> = start.answer(PATIENCE);
            refused("Start", answer, &[], &["/nonexist"])?;
        }
        for id in &ids {
            granted("Delete", task.delete(id))?;
        }
    }
    task.finish()
}

fn delete_running(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let mut streams = task.exec("e", &["/probe", "wait"])?;
    streams.until("ready")?;
    refused("Delete", task.delete("e"), &[], &["running"])?;
    granted("Kill", task.kill("e", 10, false))?;
    streams.until("signal 10")?;
    granted("Kill", task.kill("e", 9, false))?;
    task.exit("e")?;
    granted("Delete", task.delete("e"))?;
    task.finish()
}

fn kill(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let streams = Streams::output(bed.dir())?;
    granted("Exec", task.add("e", &process(&["/probe", "true"]), &streams))?;
    refused(
        "Kill before the start",
        task.kill("e", 9, false),
        &[code::FAILED_PRECONDITION],
        &["not created"],
    )?;
    granted("Start", task.start("e"))?;
    same("exit status", task.exit("e")?, 0)?;
    refused("Kill after the end", task.kill("e", 9, false), &[code::NOT_FOUND], &["finished"])?;
    granted("Delete", task.delete("e"))?;
    task.finish()
}

fn signal(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let mut one = task.exec("one", &["/probe", "wait"])?;
    let mut two = task.exec("two", &["/probe", "wait"])?;
    one.until("ready")?;
    two.until("ready")?;
    granted("Kill", task.kill("one", 10, false))?;
    one.until("signal 10")?;
    granted("Kill", task.kill("two", 12, false))?;
    let two = two.until("signal 12")?;
    check(!two.contains("signal 10"), || format!("the other one got it too: {two}"))?;
    granted("Kill of one", task.kill("one", 9, false))?;
    granted("Kill of two", task.kill("two", 9, false))?;
    for id in ["one", "two"] {
        task.exit(id)?;
        granted("Delete", task.delete(id))?;
    }
    task.finish()
}

/// What the probe reports from an exec.
fn report(task: &Task<'_, '_>, id: &str, process: &Value) -> Outcome<Value> {
    let streams = Streams::output(task.bed.dir())?;
    let mut streams = task.exec_with(id, process, streams)?;
    let (out, err) = streams.to_end()?;
    same("exit status", task.exit(id)?, 0)?;
    granted("Delete", task.delete(id))?;
    same("stderr", err.as_str(), "")?;
    Ok(serde_json::from_str(&out)?)
}

fn surroundings(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let process = json!({
        "args": ["/probe", "report"], "cwd": "/tmp", "env": ["A=b c", "PATH=/"],
        "user": {"uid": 5, "gid": 6, "additionalGids": [7], "umask": 63},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
        "noNewPrivileges": true, "oomScoreAdj": 123,
    });
    let seen = report(&task, "e", &process)?;
    same("uid and gid", (&seen["uid"], &seen["gid"]), (&json!(5), &json!(6)))?;
    same("groups", &seen["groups"], &json!([7]))?;
    same("cwd", &seen["cwd"], &json!("/tmp"))?;
    let env = seen["env"].as_array().cloned().unwrap_or_default();
    check(env.contains(&json!("A=b c")), || format!("environment {env:?}"))?;
    check(!env.iter().any(|item| item.as_str().unwrap_or("").contains("TTRPC_ADDRESS")), || {
        format!("the shim's own environment shows: {env:?}")
    })?;
    same("RLIMIT_NOFILE", &seen["rlimits"]["RLIMIT_NOFILE"], &json!(["100", "200"]))?;
    same("NoNewPrivs", &seen["status"]["NoNewPrivs"], &json!("1"))?;
    let fds = seen["fds"].as_object().map_or(0, serde_json::Map::len);
    same("open file descriptors", fds, 3)?;
    task.finish()
}

/// A start without waiting.
fn begin_start(task: &Task<'_, '_>, id: &str) -> Pending {
    let request = StartRequest { id: task.id().into(), exec_id: id.into(), ..Default::default() };
    let service = service(task.pod.answer.version);
    task.pod.client.begin(service, "Start", request.write_to_bytes().unwrap_or_default())
}

fn many(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let mut streams = Vec::new();
    for number in 0..20 {
        let own = Streams::output(bed.dir())?;
        let args = ["/probe", "say", &format!("out {number}"), &format!("err {number}")];
        granted("Exec", task.add(&format!("e{number}"), &process(&args), &own))?;
        streams.push(own);
    }
    for start in (0..20).map(|number| begin_start(&task, &format!("e{number}"))).collect::<Vec<_>>() {
        let _pid: StartResponse = granted("Start", start.answer(PATIENCE))?;
    }
    for (number, streams) in streams.iter_mut().enumerate() {
        let id = format!("e{number}");
        same("exit status", task.exit(&id)?, 0)?;
        let (out, err) = streams.to_end()?;
        same("stdout", out, format!("out {number}\n"))?;
        same("stderr", err, format!("err {number}\n"))?;
        granted("Delete", task.delete(&id))?;
    }
    task.finish()
}

fn init_exit(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let mut streams = task.exec("e", &["/probe", "idle"])?;
    streams.until("ready")?;
    task.stop()?;
    same("exit status of the exec", task.exit("e")?, 137)?;
    bed.daemon.wait_for("/tasks/exit", task.id())?;
    let seen = bed.daemon.about(task.id());
    let exits: Vec<String> = seen.iter().filter(|e| e.topic == "/tasks/exit").map(Event::process).collect();
    same("order of the exits", exits, vec!["e".to_owned(), task.id().to_owned()])?;
    granted("Delete of the exec", task.delete("e"))?;
    granted("Delete", task.delete("")).map(drop)
}

fn stopped(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    task.stop()?;
    let answer = task.add("e", &process(&["/probe", "true"]), &Streams::none());
    match answer {
        Ok(_) => refused("Start", task.start("e"), &[], &[])?,
        refusal => refused("Exec", refusal, &[], &["stopped", "not running"])?,
    }
    granted("Delete", task.delete("")).map(drop)
}

fn bad_spec(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    for bytes in [&b"{"[..], b"[1]"] {
        let streams = Streams::output(bed.dir())?;
        match task.add_any("e", any(PROCESS, bytes.to_vec()), &streams) {
            Ok(_) => {
                refused("Start", task.start("e"), &[], &[])?;
                granted("Delete", task.delete("e"))?;
            }
            refusal => refused("Exec", refusal, &[], &[])?,
        }
    }
    let _streams = task.exec("e", &["/probe", "true"])?;
    same("exit status", task.exit("e")?, 0)?;
    granted("Delete", task.delete("e"))?;
    task.finish()
}

fn pids(bed: &Bed<'_>) -> Outcome {
    let task = bed.started(&Spec::new().args(&["/probe", "brood", "2"]))?;
    task.streams.borrow_mut().until("ready")?;
    let mut streams = task.exec("e", &["/probe", "idle"])?;
    streams.until("ready")?;
    let exec = granted("State", task.state("e"))?.pid;
    let listed = granted("Pids", task.pids())?.processes;
    same("processes", listed.len(), 4)?;
    check(listed.iter().any(|process| process.pid == task.pid), || "the first process is missing".into())?;
    for process in &listed {
        check(std::path::Path::new(&format!("/proc/{}", process.pid)).exists(), || {
            format!("{} is no process here", process.pid)
        })?;
        let Some(info) = process.info.as_ref() else {
            check(process.pid != exec, || "the exec has no details".into())?;
            continue;
        };
        same("process with details", process.pid, exec)?;
        check(info.type_url.ends_with("containerd.runc.v1.ProcessDetails"), || info.type_url.clone())?;
        let details = ProcessDetails::parse_from_bytes(&info.value).unwrap_or_default();
        same("exec id", details.exec_id.as_str(), "e")?;
    }
    granted("Kill", task.kill("e", 9, false))?;
    task.exit("e")?;
    granted("Delete", task.delete("e"))?;
    task.finish()
}

fn delete_added(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let streams = Streams::output(bed.dir())?;
    granted("Exec", task.add("e", &process(&["/probe", "true"]), &streams))?;
    granted("Delete", task.delete("e"))?;
    refused("State", task.state("e"), &[code::NOT_FOUND], &[])?;
    task.finish()
}

fn second_start(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let mut streams = task.exec("e", &["/probe", "idle"])?;
    streams.until("ready")?;
    refused("a second Start", task.start("e"), &[], &["running"])?;
    granted("Kill", task.kill("e", 9, false))?;
    task.exit("e")?;
    refused("Start after the end", task.start("e"), &[], &[])?;
    granted("Delete", task.delete("e"))?;
    task.finish()
}

fn pid_file(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let _streams = task.exec("e", &["/probe", "true"])?;
    task.exit("e")?;
    granted("Delete", task.delete("e"))?;
    check(!task.bundle.dir.join("e.pid").exists(), || "e.pid is left in the bundle".into())?;
    let names: Vec<String> = fs::read_dir(&task.bundle.dir)?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    check(!names.iter().any(|name| name.contains("pipe") || name.contains("console")), || {
        format!("{names:?}")
    })?;
    task.finish()
}

fn bad_ids(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let outside = bed.dir().join("escaped.pid");
    for id in ["../../escaped", "a/b", ".."] {
        let streams = Streams::output(bed.dir())?;
        if task.add(id, &process(&["/probe", "true"]), &streams).is_ok() {
            let _answer = task.start(id);
            let _answer = task.delete(id);
            check(!outside.exists(), || format!("the id {id} wrote {}", outside.display()))?;
            return crate::outcome::fail(format!("an exec with the id {id} was added"));
        }
    }
    task.finish()
}

fn leaves_child(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let _streams = task.exec("e", &["/probe", "leave"])?;
    same("exit status", task.exit("e")?, 0)?;
    granted("Delete", task.delete("e"))?;
    same("processes", granted("Pids", task.pids())?.processes.len(), 2)?;
    task.finish()
}
