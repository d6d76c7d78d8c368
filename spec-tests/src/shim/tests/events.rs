//! What the daemon is told, in which order, and what happens while it is away.

use crate::outcome::{Outcome, check, fail, same};
use crate::shim::bed::Bed;
use crate::shim::client::{granted, refused};
use crate::shim::daemon::{Event, Manner};
use crate::shim::stdio::Streams;
use crate::shim::task::{Task, process};
use crate::shim::{Test, test};
use crate::spec::Spec;
use containerd_shim_protos::events::task as events;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const TESTS: &[Test] = &[
    test("E1", "the order of a life, each event once, each with its fields", life),
    test("E2", "a start comes before the exit of a process that ends at once", fast_exit),
    test("E3", "the same for an exec that ends at once", fast_exec),
    test("E4", "paused and resumed", paused),
    test("E5", "Delete of an exec is no event", exec_delete),
    test("E6", "a create that fails sends neither start, exit nor delete", failed_create),
    test("E7", "a start of an exec that fails sends neither exec-started nor exit", failed_exec),
    test("E8", "events of a time without a daemon come when it is back, in order", daemon_restart),
    test("E9", "a daemon that is silent does not hold up calls", silent_daemon),
    test("E10", "a daemon that refuses an event gets it again", refusing_daemon),
    test("E11", "out of memory is told", oom),
    test("E12", "out of memory is told before the exit that it caused", oom_order),
    test("E12", "out of memory of the first process is told before its exit, each time", oom_of_first),
    test("E12", "out of memory of an added process is told before its exit, each time", oom_of_execs),
    test("E13", "nothing but events is sent to the daemon", only_events),
    test("E14", "events that wait at Shutdown are sent first", flushed),
];

fn topics(list: &[Event]) -> Vec<String> {
    list.iter().map(|event| format!("{} {}", event.topic, event.process())).collect()
}

fn life(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let _streams = task.exec("e", &["/probe", "exit", "4"])?;
    task.exit("e")?;
    granted("Delete of the exec", task.delete("e"))?;
    task.finish()?;
    bed.daemon.wait_for("/tasks/delete", task.id())?;
    let seen = bed.daemon.about(task.id());
    let id = task.id();
    let wanted = vec![
        format!("/tasks/create {id}"),
        format!("/tasks/start {id}"),
        "/tasks/exec-added e".to_owned(),
        "/tasks/exec-started e".to_owned(),
        "/tasks/exit e".to_owned(),
        format!("/tasks/exit {id}"),
        format!("/tasks/delete {id}"),
    ];
    same("events", topics(&seen), wanted)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    for event in &seen {
        same("namespace", event.namespace.as_str(), bed.namespace.as_str())?;
        check((now - 60..=now).contains(&event.seconds), || format!("{event:?} has time {}", event.seconds))?;
    }
    let types: Vec<&str> = seen.iter().map(|event| event.type_url.rsplit('/').next().unwrap_or("")).collect();
    let wanted =
        ["TaskCreate", "TaskStart", "TaskExecAdded", "TaskExecStarted", "TaskExit", "TaskExit", "TaskDelete"];
    same("types", types, wanted.map(|name| format!("containerd.events.{name}")).to_vec())?;
    fields(&task, &seen)
}

fn fields(task: &Task<'_, '_>, seen: &[Event]) -> Outcome {
    let created: events::TaskCreate = seen[0].parse()?;
    same("bundle", created.bundle.as_str(), &*task.bundle.dir.to_string_lossy())?;
    same("pid", created.pid, task.pid)?;
    same("stdout", created.io.stdout.as_str(), task.streams.borrow().addresses.stdout.as_str())?;
    same("stderr", created.io.stderr.as_str(), task.streams.borrow().addresses.stderr.as_str())?;
    let started: events::TaskStart = seen[1].parse()?;
    same("pid", started.pid, task.pid)?;
    let exec: events::TaskExecStarted = seen[3].parse()?;
    check(exec.pid > 0, || "exec-started without a pid".into())?;
    let exit: events::TaskExit = seen[4].parse()?;
    same("exit of the exec", (exit.pid, exit.exit_status), (exec.pid, 4))?;
    let exit: events::TaskExit = seen[5].parse()?;
    same("exit", (exit.pid, exit.exit_status), (task.pid, 137))?;
    check(exit.exited_at.get_or_default().seconds > 0, || "exit without a time".into())?;
    let deleted: events::TaskDelete = seen[6].parse()?;
    same("delete", (deleted.pid, deleted.exit_status), (task.pid, 137))
}

fn before(seen: &[Event], first: (&str, &str), second: (&str, &str)) -> Outcome {
    let at = |(topic, process): (&str, &str)| {
        seen.iter().position(|event| event.topic == topic && event.process() == process)
    };
    match (at(first), at(second)) {
        (Some(one), Some(two)) if one < two => Ok(()),
        _ => fail(format!("{first:?} does not come before {second:?}: {seen:?}")),
    }
}

fn fast_exit(bed: &Bed<'_>) -> Outcome {
    for _ in 0..10 {
        let task = bed.started(&Spec::new().args(&["/probe", "true"]))?;
        bed.daemon.wait_for("/tasks/exit", task.id())?;
        let seen = bed.daemon.about(task.id());
        before(&seen, ("/tasks/create", task.id()), ("/tasks/start", task.id()))?;
        before(&seen, ("/tasks/start", task.id()), ("/tasks/exit", task.id()))?;
        granted("Delete", task.delete(""))?;
    }
    Ok(())
}

fn fast_exec(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    for number in 0..20 {
        let id = format!("e{number}");
        let _streams = task.exec(&id, &["/probe", "true"])?;
        bed.daemon.wait_for("/tasks/exit", &id)?;
        before(&bed.daemon.about(task.id()), ("/tasks/exec-started", &id), ("/tasks/exit", &id))?;
        granted("Delete", task.delete(&id))?;
    }
    task.finish()
}

fn paused(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    granted("Pause", task.pause())?;
    bed.daemon.wait_for("/tasks/paused", task.id())?;
    granted("Resume", task.resume())?;
    bed.daemon.wait_for("/tasks/resumed", task.id())?;
    task.finish()
}

fn exec_delete(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let _streams = task.exec("e", &["/probe", "true"])?;
    task.exit("e")?;
    granted("Delete", task.delete("e"))?;
    task.finish()?;
    bed.daemon.wait_for("/tasks/delete", task.id())?;
    let deletes = bed.daemon.about(task.id()).iter().filter(|event| event.topic == "/tasks/delete").count();
    same("delete events", deletes, 1)
}

/// Waits until everything sent before has arrived, by an event sent afterwards.
fn settle(bed: &Bed<'_>, task: &Task<'_, '_>) -> Outcome {
    granted("Pause", task.pause())?;
    bed.daemon.wait_for("/tasks/paused", task.id())?;
    granted("Resume", task.resume())?;
    bed.daemon.wait_for("/tasks/resumed", task.id()).map(drop)
}

fn failed_create(bed: &Bed<'_>) -> Outcome {
    // A pod, so that another container's events show that nothing is still on its way.
    let group = serde_json::json!({"io.containerd.runc.v2.group": format!("group-{}", std::process::id())});
    let spec = Spec::new().set("/annotations", group);
    let other = bed.waiting(&spec)?;
    let bundle =
        bed.bundle(&spec.set("/mounts/0/source", "/no/such/source").set("/mounts/0/type", "bind"))?;
    let pod = bed.pod(&bundle)?;
    let bad = Task::new(bed, pod, bundle, Streams::none());
    refused("Create", bad.create(None, &[]), &[], &[])?;
    settle(bed, &other)?;
    let seen = bed.daemon.about(bad.id());
    check(seen.iter().all(|event| event.topic == "/tasks/create"), || format!("{seen:?}"))?;
    other.finish()
}

fn failed_exec(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let streams = Streams::output(bed.dir())?;
    granted("Exec", task.add("e", &process(&["nope"]), &streams))?;
    refused("Start", task.start("e"), &[], &[])?;
    granted("Delete", task.delete("e"))?;
    settle(bed, &task)?;
    let seen: Vec<Event> =
        bed.daemon.about(task.id()).into_iter().filter(|event| event.process() == "e").collect();
    same("events about the exec", topics(&seen), vec!["/tasks/exec-added e".to_owned()])?;
    task.finish()
}

fn daemon_restart(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    bed.daemon.wait_for("/tasks/start", task.id())?;
    bed.daemon.down()?;
    let _streams = task.exec("away", &["/probe", "exit", "6"])?;
    same("exit status", task.exit("away")?, 6)?;
    task.stop()?;
    granted("Delete of the exec", task.delete("away"))?;
    granted("Delete", task.delete(""))?;
    // The time that a service manager takes to restart a daemon.
    std::thread::sleep(Duration::from_secs(1));
    bed.daemon.up()?;
    for (topic, process) in [
        ("/tasks/exec-added", "away"),
        ("/tasks/exec-started", "away"),
        ("/tasks/exit", "away"),
        ("/tasks/exit", task.id()),
        ("/tasks/delete", task.id()),
    ] {
        bed.daemon.wait_for(topic, process)?;
    }
    let seen = bed.daemon.about(task.id());
    before(&seen, ("/tasks/exec-added", "away"), ("/tasks/exec-started", "away"))?;
    before(&seen, ("/tasks/exec-started", "away"), ("/tasks/exit", "away"))?;
    before(&seen, ("/tasks/exit", "away"), ("/tasks/exit", task.id()))?;
    before(&seen, ("/tasks/exit", task.id()), ("/tasks/delete", task.id()))
}

fn silent_daemon(bed: &Bed<'_>) -> Outcome {
    bed.daemon.manner(Manner::Silent);
    let begun = std::time::Instant::now();
    let task = bed.waiting(&Spec::new())?;
    let _streams = task.exec("e", &["/probe", "true"])?;
    task.exit("e")?;
    granted("Delete", task.delete("e"))?;
    task.finish()?;
    // Each unanswered event takes five seconds; the seven of this life together would take longer than this.
    check(begun.elapsed() < Duration::from_secs(20), || format!("it took {:?}", begun.elapsed()))?;
    bed.daemon.manner(Manner::Takes);
    Ok(())
}

fn refusing_daemon(bed: &Bed<'_>) -> Outcome {
    bed.daemon.manner(Manner::Refuses);
    let task = bed.waiting(&Spec::new())?;
    std::thread::sleep(Duration::from_millis(500));
    bed.daemon.manner(Manner::Takes);
    bed.daemon.wait_for("/tasks/create", task.id())?;
    bed.daemon.wait_for("/tasks/start", task.id())?;
    task.finish()
}

/// A container that ran out of memory at once, and has ended.
fn starved<'b, 'a>(bed: &'b Bed<'a>) -> Outcome<Task<'b, 'a>> {
    let spec =
        Spec::new().set("/linux/resources/memory", serde_json::json!({"limit": 32 << 20, "swap": 32 << 20}));
    // The kernel may spare a container's first process for a while; its child is killed at once.
    let task = bed.started(&spec.args(&["/probe", "try", "exec", "/probe", "alloc", "256"]))?;
    task.exit("")?;
    let (out, err) = task.streams.borrow_mut().to_end()?;
    check(out.contains("\"code\":null") || out.is_empty(), || format!("it did not starve: {out} {err}"))?;
    Ok(task)
}

fn oom(bed: &Bed<'_>) -> Outcome {
    let task = starved(bed)?;
    let event = bed.daemon.wait_for("/tasks/oom", task.id())?;
    let oom: events::TaskOOM = event.parse()?;
    same("container", oom.container_id.as_str(), task.id())?;
    granted("Delete", task.delete("")).map(drop)
}

fn oom_order(bed: &Bed<'_>) -> Outcome {
    let task = starved(bed)?;
    bed.daemon.wait_for("/tasks/exit", task.id())?;
    bed.daemon.wait_for("/tasks/oom", task.id())?;
    before(&bed.daemon.about(task.id()), ("/tasks/oom", task.id()), ("/tasks/exit", task.id()))?;
    granted("Delete", task.delete("")).map(drop)
}

fn oom_of_first(bed: &Bed<'_>) -> Outcome {
    let limits = serde_json::json!({"limit": 80 << 20, "swap": 80 << 20});
    let spec = Spec::new().set("/linux/resources/memory", limits).args(&["/probe", "alloc", "200"]);
    for _ in 0..crate::rounds(5) {
        let task = bed.started(&spec)?;
        same("exit status", task.exit("")?, 137)?;
        bed.daemon.wait_for("/tasks/exit", task.id())?;
        before(&bed.daemon.about(task.id()), ("/tasks/oom", task.id()), ("/tasks/exit", task.id()))?;
        granted("Delete", task.delete(""))?;
    }
    Ok(())
}

fn oom_of_execs(bed: &Bed<'_>) -> Outcome {
    let limits = serde_json::json!({"limit": 80 << 20, "swap": 80 << 20});
    let spec = Spec::new().set("/linux/resources/memory", limits).args(&["/probe", "brood", "60"]);
    let task = bed.started(&spec)?;
    task.streams.borrow_mut().until("ready")?;
    for round in 0..crate::rounds(20) as usize {
        let id = format!("e{round}");
        let _streams = task.exec(&id, &["/probe", "alloc", "200"])?;
        same("exit status", task.exit(&id)?, 137)?;
        bed.daemon.wait_for("/tasks/exit", &id)?;
        let about = bed.daemon.about(task.id());
        let told = about.iter().filter(|event| event.topic == "/tasks/oom").count();
        check(told > round, || format!("{told} notices of {} kills", round + 1))?;
        granted("Delete", task.delete(&id))?;
    }
    task.finish()
}

fn only_events(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    let _streams = task.exec("e", &["/probe", "true"])?;
    task.exit("e")?;
    granted("Delete", task.delete("e"))?;
    task.finish()?;
    bed.daemon.wait_for("/tasks/delete", task.id())?;
    same("strays", bed.daemon.strays(), Vec::<String>::new())?;
    check(bed.daemon.connections() <= 2, || format!("{} connections for one shim", bed.daemon.connections()))
}

fn flushed(bed: &Bed<'_>) -> Outcome {
    let task = bed.waiting(&Spec::new())?;
    task.finish()?;
    let _closed = task.pod.shutdown();
    check(task.pod.ends(crate::shim::client::PATIENCE)?, || "the shim runs on".into())?;
    let seen = topics(&bed.daemon.about(task.id()));
    check(seen.iter().any(|line| line.starts_with("/tasks/delete")), || format!("only {seen:?} came"))
}
