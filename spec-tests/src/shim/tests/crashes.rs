//! What is left when a shim dies, and that `delete` can clean it up.

use crate::outcome::{Outcome, check, fail, same, skip};
use crate::runtime::{Invocation, brief};
use crate::shim::bed::{Bed, STATE_ROOT};
use crate::shim::client::{Client, PATIENCE, granted, socket_path};
use crate::shim::launch::Ran;
use crate::shim::stdio::Streams;
use crate::shim::task::Task;
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::api::{DeleteResponse, Status};
use containerd_shim_protos::protobuf::Message;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const TESTS: &[Test] = &[
    test("K1", "`delete` after the shim was killed ends the container and tells how", delete_running),
    test("K2", "`delete` of a created container whose shim was killed", delete_created),
    test("K3", "`delete` of a paused container whose shim was killed", delete_paused),
    test("K4", "`delete` ends execs and children too", delete_family),
    test("K5", "`delete` unmounts the root file system", delete_mounts),
    test("K6", "`delete` again is no error and quiet", delete_again),
    test("K7", "`delete` goes by the id, not by its working directory", delete_elsewhere),
    test("K8", "a container outlives its shim, the streams too", outlives),
    test("K9", "SIGTERM leaves containers alone", terminated),
    test("K10", "after a crash and `delete` the same id serves again", again),
    test("K11", "a killed shim in the middle of a create: `delete` removes what there is", killed_in_create),
    test("K12", "a member of a pod is deleted, the others stay", pod_member),
    test("K14", "no command of the command line hangs on a container whose shim was killed", commands),
    test("K15", "`delete` removes the socket of a shim that was killed, and no other", socket),
    test("K13", "a shim without a container whose daemon is gone for good ends by itself", deserted),
];

fn crash(task: &Task<'_, '_>) -> Outcome<Ran> {
    task.pod.crash()?;
    let ran = task.bed.call(&task.bundle).delete()?.ok("delete")?;
    check(ran.took < Duration::from_secs(5), || format!("`delete` took {:?}", ran.took))?;
    Ok(ran)
}

fn response(ran: &Ran) -> Outcome<DeleteResponse> {
    DeleteResponse::parse_from_bytes(&ran.output)
        .or_else(|error| fail(format!("no DeleteResponse: {error}: {}", brief(&ran.text()))))
}

fn judge(task: &Task<'_, '_>, ran: &Ran) -> Outcome {
    let answer = response(ran)?;
    same("pid", answer.pid, task.pid)?;
    same("exit status", answer.exit_status, 137)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    let at = answer.exited_at.get_or_default().seconds;
    check((now - 30..=now + 1).contains(&at), || format!("exited_at {at}, it is {now}"))?;
    check(task.until_dead()?, || "its process lives".into())?;
    task.bed.until_gone(&task.bundle)
}

fn delete_running(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let ran = crash(&task)?;
    judge(&task, &ran)
}

fn delete_created(bed: &Bed<'_>) -> Outcome {
    let task = bed.created(&Spec::new())?;
    let ran = crash(&task)?;
    judge(&task, &ran)
}

fn delete_paused(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    granted("Pause", task.pause())?;
    let ran = crash(&task)?;
    judge(&task, &ran)
}

fn socket(bed: &Bed<'_>) -> Outcome {
    let dead = bed.waiting(&Spec::new())?;
    let path = socket_path(&dead.pod.answer.address);
    check(path.exists(), || format!("no socket {}", path.display()))?;
    crash(&dead)?;
    check(!path.exists(), || format!("the socket {} is left", path.display()))?;
    let alive = bed.waiting(&Spec::new())?;
    bed.call(&alive.bundle).delete()?;
    let reached = Client::connect(&alive.pod.answer.address);
    check(reached.is_ok(), || "the socket of a living shim is gone".into())
}

fn delete_family(bed: &Bed<'_>) -> Outcome {
    let task = bed.started(&super::lifecycle::host_pids().args(&["/probe", "brood", "3"]))?;
    task.streams.borrow_mut().until("ready")?;
    let mut streams = task.exec("e", &["/probe", "idle"])?;
    streams.until("ready")?;
    let ran = crash(&task)?;
    judge(&task, &ran)
}

fn delete_mounts(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new().args(&["/probe", "wait"]), Streams::output(bed.dir())?)?;
    let layer = bed.dir().join("layer");
    fs::rename(&task.bundle.rootfs, &layer)?;
    granted("Create", task.create(None, &[crate::shim::bed::mount("bind", &layer, &["rbind"])]))?;
    task.begin()?;
    task.streams.borrow_mut().until("ready")?;
    crash(&task)?;
    bed.until_gone(&task.bundle)
}

/// The command line that stands beside the shim, in each state that a dead shim can leave a container in. The last command
/// deletes it.
fn commands(bed: &Bed<'_>) -> Outcome {
    let program = bed.subject.path.with_file_name("wharf");
    if !program.exists() {
        return skip(format!("needs the command line {}", program.display()));
    }
    let words: [&[&str]; 14] = [
        &["state", "ID"],
        &["list"],
        &["ps", "ID"],
        &["events", "--stats", "ID"],
        &["update", "--pids-limit", "100", "ID"],
        &["exec", "ID", "/probe", "true"],
        &["pause", "ID"],
        &["exec", "ID", "/probe", "true"],
        &["kill", "ID", "USR1"],
        &["resume", "ID"],
        &["start", "ID"],
        &["kill", "ID", "KILL"],
        &["delete", "ID"],
        &["delete", "--force", "ID"],
    ];
    let states: [fn(&Task<'_, '_>) -> Outcome; 4] = [
        |_| Ok(()),
        |task| granted("Start", task.start("")).map(drop),
        |task| {
            granted("Start", task.start(""))?;
            granted("Pause", task.pause()).map(drop)
        },
        |task| {
            granted("Start", task.start(""))?;
            let stopped = Pid::from_raw(task.pid as i32).map(|pid| kill_process(pid, Signal::STOP));
            stopped.transpose()?;
            Ok(())
        },
    ];
    for state in states {
        let task = bed.created(&Spec::new().args(&["/probe", "wait"]))?;
        state(&task)?;
        task.pod.crash()?;
        let root = Path::new(STATE_ROOT).join(&bed.namespace);
        for line in words {
            let line = line.iter().map(|word| if *word == "ID" { &*task.bundle.id } else { word });
            let call = Invocation::new(&program, bed.dir()).args(["--root".as_ref(), root.as_os_str()]);
            // It may refuse; it may not hang.
            call.args(line).patience(Duration::from_secs(5)).call()?;
        }
        bed.call(&task.bundle).delete()?.ok("delete")?;
        check(task.until_dead()?, || "its process lives".into())?;
        bed.until_gone(&task.bundle)?;
    }
    Ok(())
}

fn delete_again(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    task.finish()?;
    for _ in 0..2 {
        let ran = bed.call(&task.bundle).delete()?.ok("delete")?;
        response(&ran)?;
        let loud = ran.stderr.lines().find(|line| line.contains("level=error") || line.contains("panic"));
        check(loud.is_none(), || format!("it said {loud:?}"))?;
    }
    Ok(())
}

fn delete_elsewhere(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let other = bed.bundle(&Spec::new())?;
    task.pod.crash()?;
    // A pod's shim has another container's bundle as its working directory.
    bed.call(&task.bundle).delete_in(&other.dir)?.ok("delete")?;
    check(task.until_dead()?, || "its process lives".into())?;
    bed.until_gone(&task.bundle)
}

fn outlives(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    task.pod.crash()?;
    check(task.lives(), || "the container ended with its shim".into())?;
    bed.call(&task.bundle).delete()?.ok("delete")?;
    check(task.until_dead()?, || "its process lives".into())
}

fn terminated(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    task.pod.kill(Signal::TERM);
    // Shims that end do so at once; those that stay must continue to serve.
    if !task.pod.ends(Duration::from_secs(2))? {
        same("status", task.status("")?, Status::RUNNING)?;
        return task.finish();
    }
    check(task.lives(), || "the container ended with its shim".into())?;
    bed.call(&task.bundle).delete()?.ok("delete")?;
    let _left = fs::remove_file(socket_path(&task.pod.answer.address));
    check(task.until_dead()?, || "its process lives".into())
}

fn again(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    crash(&task)?;
    bed.until_gone(&task.bundle)?;
    let pod = bed.pod(&task.bundle)?;
    let again = bed.create_in(&pod, task.bundle.clone(), Streams::output(bed.dir())?)?;
    again.begin()?;
    again.streams.borrow_mut().until("ready")?;
    again.finish()
}

fn killed_in_create(bed: &Bed<'_>) -> Outcome {
    let marker = bed.dir().join("marker");
    let script = format!("echo >{}; exec sleep 20", marker.display());
    let hook = serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let task = bed.planned(&Spec::new().hook("createRuntime", hook), Streams::none())?;
    let request = crate::shim::bed::create_request(&task.bundle, &Streams::none(), None, &[]);
    let service = crate::shim::launch::service(task.pod.answer.version);
    let pending = task.pod.client.begin(service, "Create", request.write_to_bytes().unwrap_or_default());
    bed.until("the hook", || Ok(marker.exists().then_some(())))?;
    task.pod.crash()?;
    let answer: Result<DeleteResponse, _> = pending.answer(PATIENCE);
    check(answer.is_err(), || "an answer came from a dead shim".into())?;
    bed.call(&task.bundle).delete()?.ok("delete")?;
    bed.until_gone(&task.bundle)
}

fn pod_member(bed: &Bed<'_>) -> Outcome {
    let group = format!("crash-{}", std::process::id());
    let spec = Spec::new().set("/annotations", serde_json::json!({"io.containerd.runc.v2.group": group}));
    let (one, two) = (bed.waiting(&spec)?, bed.waiting(&spec)?);
    one.pod.crash()?;
    bed.call(&one.bundle).delete()?.ok("delete")?;
    check(one.until_dead()?, || "its process lives".into())?;
    check(two.lives(), || "the other one was killed with it".into())?;
    bed.call(&two.bundle).delete()?.ok("delete")?;
    check(two.until_dead()?, || "the other's process lives".into())
}

fn deserted(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    bed.daemon.down()?;
    task.finish()?;
    task.pod.client.hang_up();
    check(task.pod.ends(Duration::from_secs(90))?, || "it is still there after a minute and a half".into())?;
    let socket = socket_path(&task.pod.answer.address);
    check(!socket.exists(), || format!("{} is left", socket.display()))
}
