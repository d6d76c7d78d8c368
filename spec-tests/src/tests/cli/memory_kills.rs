//! What `events` reports about processes that the kernel kills for lack of memory (C7).
//!
//! `WHARF_ROUNDS` is how often each kind of kill is tried: notices are lost in races.

use crate::outcome::{Outcome, check, same};
use crate::runtime::{Called, PATIENCE, Running};
use crate::tests::cgroups::place;
use crate::{Bed, Container, Spec, Test, cgroup, rounds, test};
use serde_json::{Value, json};
use std::fs;

pub(in crate::tests) const TESTS: &[Test] = &[
    test("C7", "events tells of every process that is killed for lack of memory", |bed| {
        let container = bed.started(&tight()?.args(&["/probe", "brood", "60"]))?;
        container.until_output("ready")?;
        // With many processes, the kernel takes long from the notice to choosing one of them.
        of_execs(&container, rounds(20))
    }),
    test("C7", "events tells of the kill of the first process, too", |bed| of_first(bed, &tight()?)),
    test("C7", "also where memory is reserved, whose notices come through the same file", |bed| {
        of_first(bed, &tight()?.set("/linux/resources/memory/reservation", 16 << 20))
    }),
    test("C7", "also where one kill takes the whole group", |bed| {
        let group = json!({"memory.oom.group": "1"});
        if !cgroup::hierarchy("memory")?.v2 {
            return crate::outcome::skip(
                "memory is in a hierarchy of version 1, which has no memory.oom.group",
            );
        }
        of_first(bed, &tight()?.set("/linux/resources/unified", group))
    }),
    test("C7", "also where the container is deleted as soon as it has ended", |bed| {
        let spec = tight()?.args(&["/probe", "delay", "700", "alloc", "200"]);
        for round in 0..rounds(5) {
            let bundle = bed.bundle(&spec)?;
            let run = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).spawn()?;
            let container = bed.adopt(&bundle);
            container.until("a running container", || {
                let called = bed.call(["state", container.id()])?;
                Ok((called.status.success() && called.json()?["status"] == "running").then_some(()))
            })?;
            let events = watch(&container, "20ms")?;
            same("exit code", run.finish(PATIENCE)?.code(), 137)?;
            told(&events.finish(PATIENCE)?.ok()?, 1, round)?;
        }
        Ok(())
    }),
    test("C7", "events goes on and ends well when statistics can no longer be read", |bed| {
        let spec = tight()?;
        for _ in 0..rounds(5) {
            let container = bed.waiting(&spec)?;
            let events = watch(&container, "1ms")?;
            container.stop()?;
            container.delete()?;
            let called = events.finish(PATIENCE)?.ok()?;
            same("what it complains of", called.stderr.trim(), "")?;
            let objects =
                called.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
            let whole = |object: &&Value| object["data"]["memory"]["usage"]["limit"] == 80 << 20;
            same("whole objects", objects.iter().filter(whole).count(), objects.len())?;
        }
        Ok(())
    }),
];

/// A container with room for 80 MiB.
fn tight() -> Outcome<Spec> {
    cgroup::hierarchy("memory")?;
    let limits = json!({"limit": 80 << 20, "swap": 80 << 20});
    Ok(Spec::new().set("/linux/resources/memory", limits))
}

/// Starts watching, and waits until the watch is set up.
fn watch(container: &Container<'_, '_>, interval: &str) -> Outcome<Running> {
    let events = container.bed.command(["events", "--interval", interval, container.id()]).spawn()?;
    container.until("the first statistics", || Ok(events.said().contains("stats").then_some(())))?;
    Ok(events)
}

fn notices(text: &str) -> usize {
    text.lines().filter(|line| line.contains("\"oom\"")).count()
}

fn told(called: &Called, wanted: usize, round: u32) -> Outcome {
    let last = called.stdout.lines().last().unwrap_or_default();
    check(notices(&called.stdout) >= wanted, || format!("round {round}: no notice; {} {last}", called.stderr))
}

/// As many notices as the kernel has counted kills.
fn of_execs(container: &Container<'_, '_>, rounds: u32) -> Outcome {
    let events = watch(container, "50ms")?;
    for _ in 0..rounds {
        container.exec(&["/probe", "alloc", "200"])?;
    }
    let memory = place(container, "memory")?;
    let file = if memory.v2 { "memory.events" } else { "memory.oom_control" };
    let text = memory.read(file)?;
    let counted = text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|n| n.parse().ok());
    let killed: usize = counted.unwrap_or(0);
    check(killed * 2 > rounds as usize, || format!("only {killed} were killed in {rounds} rounds"))?;
    let all = container.until("a notice of each", || Ok((notices(&events.said()) >= killed).then_some(())));
    container.stop()?;
    let called = events.finish(PATIENCE)?.ok()?;
    check(all.is_ok(), || format!("{} notices of {killed} kills", notices(&called.stdout)))?;
    same("notices", notices(&called.stdout), killed)
}

/// With constant statistics, so that the end comes while they are read.
fn of_first(bed: &Bed<'_>, spec: &Spec) -> Outcome {
    for round in 0..rounds(5) {
        let container = bed.create(&bed.bundle(&spec.clone().args(&["/probe", "alloc", "200"]))?)?;
        let pid = container.pid()?;
        let events = watch(&container, "5ms")?;
        container.start()?;
        // It ends with the container, which may take long on a busy machine.
        let called = events.finish(PATIENCE)?.ok()?;
        same("exit code", container.end(pid)?, 137)?;
        told(&called, 1, round)?;
        container.delete()?;
        fs::remove_dir_all(&container.bundle.dir)?;
    }
    Ok(())
}
