//! No command hangs, whatever the container, its creator or its surroundings do: every state with every command.
//!
//! A command may wait where a wait is meant, such as `start` for a process that is stopped; then it says what it waits for.

use super::freeze::Frozen;
use crate::outcome::{Fault, Outcome, check, fail};
use crate::runtime::{PATIENCE, Running, brief};
use crate::tests::hooks::Hooks;
use crate::{Bed, Bundle, Spec, Test, root, test};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

pub(super) const TESTS: &[Test] = &[
    test("F34", "no command hangs on a created container", |bed| {
        matrix(bed, &|bed| created(bed, &Spec::new()))
    }),
    test("F34", "no command hangs on a running container", |bed| {
        matrix(bed, &|bed| running(bed, &Spec::new()))
    }),
    test("F34", "no command hangs on a stopped container", |bed| {
        matrix(bed, &|bed| {
            let state = running(bed, &Spec::new())?;
            bed.call(["kill", &state.bundle.id, "KILL"])?.ok()?;
            bed.adopt(&state.bundle).until_status("stopped")?;
            Ok(state)
        })
    }),
    test("F34", "no command hangs on a created container that is paused", |bed| {
        matrix(bed, &|bed| paused(bed, created(bed, &Spec::new())?))
    }),
    test("F34", "no command hangs on a running container that is paused", |bed| {
        matrix(bed, &|bed| paused(bed, running(bed, &Spec::new())?))
    }),
    test("F34", "no command hangs on a created container whose process is stopped by a signal", |bed| {
        matrix(bed, &|bed| stopped_by_signal(bed, created(bed, &Spec::new())?))
    }),
    test("F34", "no command hangs on a running container whose process is stopped by a signal", |bed| {
        matrix(bed, &|bed| stopped_by_signal(bed, running(bed, &Spec::new())?))
    }),
    test("F34", "no command hangs while a createRuntime hook sleeps", |bed| {
        matrix(bed, &|bed| asleep(bed, "createRuntime", "create"))
    }),
    test("F34", "no command hangs while a createContainer hook sleeps", |bed| {
        matrix(bed, &|bed| asleep(bed, "createContainer", "create"))
    }),
    test("F34", "no command hangs while a startContainer hook sleeps", |bed| {
        matrix(bed, &|bed| asleep(bed, "startContainer", "start"))
    }),
    test("F34", "no command hangs while a poststart hook of start sleeps", |bed| {
        matrix(bed, &|bed| asleep(bed, "poststart", "start"))
    }),
    test("F34", "no command hangs while a poststart hook of run sleeps", |bed| {
        matrix(bed, &|bed| asleep(bed, "poststart", "run"))
    }),
    root("F34", "no command hangs on a created container below a frozen cgroup", |bed| {
        matrix(bed, &|bed| below_frozen(bed, created))
    }),
    root("F34", "no command hangs on a running container below a frozen cgroup", |bed| {
        matrix(bed, &|bed| below_frozen(bed, running))
    }),
    test("F34", "no command hangs while the caller of create is stopped", |bed| {
        matrix(bed, &|bed| {
            let state = asleep(bed, "createRuntime", "create")?;
            stop_caller(&state);
            Ok(state)
        })
    }),
    test("F34", "no command hangs while the caller of start is stopped", |bed| {
        matrix(bed, &|bed| {
            let state = asleep(bed, "startContainer", "start")?;
            stop_caller(&state);
            Ok(state)
        })
    }),
    test("F34", "no command hangs after the caller of create was killed in a hook", |bed| {
        matrix(bed, &|bed| {
            let mut state = asleep(bed, "createRuntime", "create")?;
            if let Some(caller) = state.caller.take() {
                caller.signal(Signal::KILL);
                caller.finish(PATIENCE)?;
            }
            Ok(state)
        })
    }),
    test("F34", "ten states of a container whose process is stopped hang neither state nor list", |bed| {
        let state = stopped_by_signal(bed, created(bed, &Spec::new())?)?;
        for _ in 0..12 {
            bed.command(["state", &state.bundle.id]).patience(LIMIT).call()?.ok()?;
        }
        bed.command(["list"]).patience(LIMIT).call()?.ok()?;
        release(&state);
        // It was asked, and still does what it is told.
        bed.call(["start", &state.bundle.id])?.ok().map(drop)
    }),
    test("F34", "a container that stops all its processes again and again is killed and deleted", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let pid = container.pid()?;
        let calls: Vec<Running> = (0..6)
            .map(|_| bed.command(["exec", container.id(), "/probe", "true"]).spawn())
            .collect::<Outcome<_>>()?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            for child in container.bundle.processes() {
                if child != pid {
                    let _gone = kill_process(child, Signal::STOP);
                }
            }
        }
        for words in [&["state"][..], &["pause"], &["resume"]] {
            let call = bed.command([words, &[container.id()]].concat()).patience(LIMIT).call()?;
            check(call.status.success() || !words.contains(&"state"), || call.stderr.clone())?;
        }
        bed.command(["delete", "--force", container.id()]).patience(LIMIT).call()?.ok()?;
        for call in calls {
            call.finish(PATIENCE)?;
        }
        Ok(())
    }),
    test("F8", "start of a container whose first process is killed before its execve is an error", |bed| {
        // The hook keeps it from going on until it is killed: the last moment that can be told apart for sure.
        let state = asleep(bed, "startContainer", "start")?;
        let container = bed.adopt(&state.bundle);
        kill_process(container.pid()?, Signal::KILL).map_err(std::io::Error::from)?;
        match state.caller {
            Some(caller) => caller.finish(LIMIT)?.refused(&[]),
            None => fail("no start"),
        }
    }),
    test("F8", "run of a container whose first process is killed before its execve is an error", |bed| {
        let bundle = Hooks::new(bed)?
            .program(&["/probe", "true"])
            .hook("startContainer", "slow", &["sleep=60000"])
            .write()?;
        let run = bed
            .command(["run", "--detach", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])
            .spawn()?;
        until_hook(&bundle)?;
        kill_process(bed.adopt(&bundle).pid()?, Signal::KILL).map_err(std::io::Error::from)?;
        run.finish(LIMIT)?.refused(&[])
    }),
    test("F29", "a signal ends create in a slow hook within a second, and nothing is left", |bed| {
        interrupted(bed, "createRuntime", "create", Signal::TERM, 143)?;
        interrupted(bed, "createRuntime", "create", Signal::INT, 130)?;
        interrupted(bed, "prestart", "run", Signal::TERM, 143)?;
        interrupted(bed, "createContainer", "create", Signal::TERM, 143)
    }),
    test("F29", "a signal ends run in a slow startContainer or poststart hook within a second", |bed| {
        interrupted(bed, "startContainer", "run", Signal::TERM, 143)?;
        interrupted(bed, "poststart", "run", Signal::TERM, 143)
    }),
    test("F29", "delete --force ends a creation that is in a slow hook, and nothing is left", |bed| {
        for kind in ["createRuntime", "createContainer"] {
            let state = asleep(bed, kind, "create")?;
            bed.command(["delete", "--force", &state.bundle.id]).patience(LIMIT).call()?.ok()?;
            if let Some(caller) = state.caller {
                caller.finish(LIMIT)?.refused(&[])?;
            }
            let left = bed.leftovers(&state.bundle);
            check(left.is_empty(), || format!("left: {}", left.join(", ")))?;
        }
        Ok(())
    }),
    test("F35", "kill TERM ends a created container, as its process is the runtime's own", |bed| {
        for signal in ["TERM", "INT", "QUIT"] {
            let container = bed.create(&bed.bundle(&Spec::new())?)?;
            container.kill(signal)?;
            container.until_status("stopped")?;
            container.delete()?;
        }
        Ok(())
    }),
    test("F35", "kill KILL ends what is left in a shared pid namespace after init is gone", |bed| {
        let spec =
            Spec::new().no_namespace("pid").no_mount("/proc").mount("/proc", "bind", "/proc", &["rbind"]);
        let container = bed.create(&bed.bundle(&spec.args(&["/probe", "leave"]))?)?;
        container.start()?;
        container.until("the first process to end", || {
            Ok((container.bundle.processes().len() == 1).then_some(()))
        })?;
        container.until_status("stopped")?;
        bed.call(["kill", container.id(), "TERM"])?.refused(&["not running"])?;
        container.kill("KILL")?;
        container.until("the end of the rest", || Ok(container.bundle.processes().is_empty().then_some(())))
    }),
];

/// How long a command may take that does not say that it waits.
const LIMIT: Duration = Duration::from_secs(5);

/// Every command, with the arguments before and after the id.
const COMMANDS: [(&[&str], &[&str]); 16] = [
    (&["state"], &[]),
    (&["list", "--quiet"], &[]),
    (&["ps"], &[]),
    (&["kill"], &["TERM"]),
    (&["kill"], &["KILL"]),
    (&["kill", "--all"], &["KILL"]),
    (&["start"], &[]),
    (&["exec"], &["/probe", "true"]),
    (&["exec", "--detach"], &["/probe", "true"]),
    (&["pause"], &[]),
    (&["resume"], &[]),
    (&["update", "--pids-limit", "100"], &[]),
    (&["events", "--stats"], &[]),
    (&["delete"], &[]),
    (&["delete", "--force"], &[]),
    (&["create"], &[]),
];

/// A container in some state, and what has to be let go afterwards.
struct State {
    bundle: Bundle,
    /// The runtime, while it still works on the container.
    caller: Option<Running>,
    /// What is stopped by a signal.
    stopped: Option<Pid>,
    frozen: Option<Frozen>,
}

/// Lets a container in that state meet each command.
fn matrix(bed: &Bed<'_>, state: &dyn Fn(&Bed<'_>) -> Outcome<State>) -> Outcome {
    let mut calls = Vec::new();
    for (before, after) in COMMANDS {
        let state = state(bed)?;
        let (id, dir) = (state.bundle.id.clone(), state.bundle.dir.to_string_lossy().into_owned());
        let mut words = before.to_vec();
        if before == ["create"] {
            words.extend(["--bundle", &dir]);
        }
        if before[0] != "list" {
            words.push(&id);
        }
        words.extend(after);
        let call = bed.command(words.iter().copied()).spawn()?;
        calls.push((words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), call, state));
    }
    let end = Instant::now() + LIMIT;
    let mut hung = Vec::new();
    for (words, call, state) in calls {
        let said = call.stderr_so_far();
        let ended = call.has_ended(end.saturating_duration_since(Instant::now()))?;
        if !ended && !said.contains("waiting for") && !call.stderr_so_far().contains("waiting for") {
            hung.push(format!("`{}` ({})", words.join(" "), brief(&call.stderr_so_far())));
        }
        let bundle = state.bundle.clone();
        release(&state);
        if let Some(caller) = &state.caller {
            caller.signal(Signal::KILL);
        }
        call.signal(Signal::KILL);
        let deleted = bed.command(["delete", "--force", &bundle.id]).patience(LIMIT).call();
        match call.finish(PATIENCE) {
            Ok(_) | Err(Fault::Skipped(_)) => {}
            Err(Fault::Failed(text)) => hung.push(text),
        }
        if let Some(caller) = state.caller {
            caller.finish(PATIENCE)?;
        }
        if let Err(Fault::Failed(text)) = deleted.and_then(crate::Called::ok) {
            hung.push(format!("{text} (after `{}`)", words.join(" ")));
        }
    }
    // Hooks go on whose runtime was killed.
    let _orphans = bed.end_strays();
    check(hung.is_empty(), || format!("hung: {}", hung.join("; ")))
}

fn release(state: &State) {
    if let Some(frozen) = &state.frozen {
        frozen.thaw();
    }
    if let Some(caller) = &state.caller {
        caller.signal(Signal::CONT);
    }
    if let Some(pid) = state.stopped {
        let _gone = kill_process(pid, Signal::CONT);
    }
}

fn created(bed: &Bed<'_>, spec: &Spec) -> Outcome<State> {
    let bundle = bed.bundle(&spec.clone().args(&["/probe", "wait"]))?;
    bed.create(&bundle)?;
    Ok(State { bundle, caller: None, stopped: None, frozen: None })
}

fn running(bed: &Bed<'_>, spec: &Spec) -> Outcome<State> {
    let state = created(bed, spec)?;
    bed.call(["start", &state.bundle.id])?.ok()?;
    Ok(state)
}

fn paused(bed: &Bed<'_>, state: State) -> Outcome<State> {
    bed.call(["pause", &state.bundle.id])?.ok()?;
    Ok(state)
}

fn stopped_by_signal(bed: &Bed<'_>, mut state: State) -> Outcome<State> {
    let pid = bed.adopt(&state.bundle).pid()?;
    kill_process(pid, Signal::STOP).map_err(std::io::Error::from)?;
    state.stopped = Some(pid);
    Ok(state)
}

/// A container of which a command is in a hook that takes its time.
fn asleep(bed: &Bed<'_>, kind: &str, command: &str) -> Outcome<State> {
    let bundle =
        Hooks::new(bed)?.program(&["/probe", "wait"]).hook(kind, "slow", &["sleep=60000"]).write()?;
    let dir = bundle.dir.to_string_lossy().into_owned();
    let caller = match command {
        "start" => {
            bed.create(&bundle)?;
            bed.command(["start", &bundle.id]).spawn()?
        }
        "run" => bed.command(["run", "--detach", "--bundle", &dir, &bundle.id]).spawn()?,
        other => bed.command([other, "--bundle", &dir, &bundle.id]).spawn()?,
    };
    until_hook(&bundle)?;
    Ok(State { bundle, caller: Some(caller), stopped: None, frozen: None })
}

fn until_hook(bundle: &Bundle) -> Outcome {
    let end = Instant::now() + PATIENCE;
    while !bundle.rootfs.join("data/hooks.log").exists() {
        if Instant::now() > end {
            return fail("the hook did not start");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn stop_caller(state: &State) {
    if let Some(caller) = &state.caller {
        caller.signal(Signal::STOP);
    }
}

fn below_frozen(bed: &Bed<'_>, make: fn(&Bed<'_>, &Spec) -> Outcome<State>) -> Outcome<State> {
    let frozen = Frozen::place(bed)?;
    let mut state = make(bed, &Spec::new().set("/linux/cgroupsPath", frozen.below("deep/container")))?;
    frozen.freeze()?;
    state.frozen = Some(frozen);
    Ok(state)
}

/// A command that is in a slow hook gets a signal.
fn interrupted(bed: &Bed<'_>, kind: &str, command: &str, signal: Signal, code: i32) -> Outcome {
    let state = asleep(bed, kind, command)?;
    let Some(caller) = state.caller else { return fail("no caller") };
    let begun = Instant::now();
    caller.signal(signal);
    let called = caller.finish(LIMIT)?;
    let took = begun.elapsed();
    crate::outcome::same("exit code", called.code(), code)?;
    check(called.status.code().is_some(), || "it died of the signal".into())?;
    check(took < Duration::from_secs(1), || format!("it took {took:?}"))?;
    let left = bed.leftovers(&state.bundle);
    check(left.is_empty(), || format!("left after {kind} of {command}: {}", left.join(", ")))
}
