//! No command hangs, whatever the container, its creator or its surroundings do: every state with every command.
//!
//! A command may wait if that is its purpose, such as `start` for a stopped process; it then says what it waits for.

use super::freeze::Frozen;
use crate::outcome::{Fault, Outcome, check, fail, skip};
use crate::runtime::{PATIENCE, Running, brief};
use crate::tests::hooks::Hooks;
use crate::{Bed, Bundle, Spec, Test, root, test};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

pub(super) const TESTS: &[Test] = &[
    test("F34", "no command hangs on a created container", |bed| matrix(bed, &creating, &done)),
    test("F34", "no command hangs on a running container", |bed| matrix(bed, &launching, &done)),
    test("F34", "no command hangs on a stopped container", |bed| {
        matrix(bed, &launching, &|bed, state| {
            let state = done(bed, state)?;
            bed.call(["kill", &state.bundle.id, "KILL"])?.ok()?;
            bed.adopt(&state.bundle).until_status("stopped")?;
            Ok(state)
        })
    }),
    test("F34", "no command hangs on a created container that is paused", |bed| {
        matrix(bed, &creating, &paused)
    }),
    test("F34", "no command hangs on a running container that is paused", |bed| {
        matrix(bed, &launching, &paused)
    }),
    test("F34", "no command hangs on a created container whose process is stopped by a signal", |bed| {
        matrix(bed, &creating, &stopped_by_signal)
    }),
    test("F34", "no command hangs on a running container whose process is stopped by a signal", |bed| {
        matrix(bed, &launching, &stopped_by_signal)
    }),
    test("F34", "no command hangs while a createRuntime hook sleeps", |bed| {
        matrix(bed, &|bed| hooked(bed, "createRuntime", "create"), &in_hook)
    }),
    test("F34", "no command hangs while a createContainer hook sleeps", |bed| {
        matrix(bed, &|bed| hooked(bed, "createContainer", "create"), &in_hook)
    }),
    test("F34", "no command hangs while a startContainer hook sleeps", |bed| {
        matrix(bed, &|bed| hooked(bed, "startContainer", "create"), &in_hook_of_start)
    }),
    test("F34", "no command hangs while a poststart hook of start sleeps", |bed| {
        matrix(bed, &|bed| hooked(bed, "poststart", "create"), &in_hook_of_start)
    }),
    test("F34", "no command hangs while a poststart hook of run sleeps", |bed| {
        matrix(bed, &|bed| hooked(bed, "poststart", "run"), &in_hook)
    }),
    root("F34", "no command hangs on a created container below a frozen cgroup", |bed| {
        matrix(bed, &|bed| below_frozen(bed, creating_with), &frozen)
    }),
    root("F34", "no command hangs on a running container below a frozen cgroup", |bed| {
        matrix(bed, &|bed| below_frozen(bed, launching_with), &frozen)
    }),
    test("F34", "no command hangs while the caller of create is stopped", |bed| {
        matrix(bed, &|bed| hooked(bed, "createRuntime", "create"), &|bed, state| {
            Ok(stop_caller(in_hook(bed, state)?))
        })
    }),
    test("F34", "no command hangs while the caller of start is stopped", |bed| {
        matrix(bed, &|bed| hooked(bed, "startContainer", "create"), &|bed, state| {
            Ok(stop_caller(in_hook_of_start(bed, state)?))
        })
    }),
    test("F34", "no command hangs after the caller of create was killed in a hook", |bed| {
        matrix(bed, &|bed| hooked(bed, "createRuntime", "create"), &|bed, state| {
            let mut state = in_hook(bed, state)?;
            if let Some(caller) = state.caller.take() {
                caller.signal(Signal::KILL);
                caller.finish(PATIENCE)?;
            }
            Ok(state)
        })
    }),
    test("F34", "no command hangs on a running container whose caller was killed", |bed| {
        matrix(
            bed,
            &|bed| {
                let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
                calling(bed, bundle, &["run"])
            },
            &orphaned,
        )
    }),
    test("F34", "ten states of a container whose process is stopped hang neither state nor list", |bed| {
        let state = stopped_by_signal(bed, creating(bed)?)?;
        for _ in 0..12 {
            bed.command(["state", &state.bundle.id]).patience(LIMIT).call()?.ok()?;
        }
        bed.command(["list"]).patience(LIMIT).call()?.ok()?;
        release(&state);
        // After all these questions, `start` still works.
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
        // The hook keeps it from going on until it is killed: the last moment that can be distinguished reliably.
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
        interrupted(bed, "prestart", "run", Signal::TERM, 143)?;
        interrupted(bed, "createContainer", "create", Signal::TERM, 143)
    }),
    test("F29", "SIGINT ends create in a slow hook, too", |bed| {
        // As does everything that a job in the background starts.
        if is_ignored(Signal::INT)? {
            return skip("this process was started with SIGINT ignored");
        }
        interrupted(bed, "createRuntime", "create", Signal::INT, 130)
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

/// How long a command may take if it does not say that it waits.
const LIMIT: Duration = Duration::from_secs(5);

/// A command: the arguments before and after the id. Some words are replaced for each container.
type Words = (&'static [&'static str], &'static [&'static str]);

/// Every command. Those of a group meet one container together: those that do not change it, those that find its id
/// taken or it not paused, those that enter it, and those that kill it. Each of the others gets its own container.
const COMMANDS: [&[Words]; 10] = [
    &[
        (&["state"], &[]),
        (&["list", "--quiet"], &[]),
        (&["ps"], &[]),
        (&["events", "--stats"], &[]),
        (&["update", "--pids-limit", "100"], &[]),
    ],
    &[(&["exec"], &["/probe", "true"]), (&["exec", "--detach"], &["/probe", "true"]), MOUNT, UNMOUNT],
    &[(&["kill"], &["KILL"]), (&["kill", "--all"], &["KILL"])],
    &[(&["start"], &[])],
    &[(&["pause"], &[])],
    &[(&["delete", "--force"], &[])],
    &[(&["create", "--bundle", BUNDLE], &[]), (&["run", "--bundle", BUNDLE], &[]), (&["resume"], &[])],
    &[(&["checkpoint", "--image-path", IMAGES], &[])],
    &[(&["kill"], &["TERM"])],
    &[(&["delete"], &[])],
];
/// How many of the groups a quick run tries: those whose commands have to wait for the container's process or for the
/// lock, or to break in.
const SELECTED: usize = 6;
const MOUNT: Words = (&["mounts", "add"], &[MOUNTS]);
const UNMOUNT: Words = (&["mounts", "remove"], &[MOUNTS]);
const BUNDLE: &str = "BUNDLE";
const MOUNTS: &str = "MOUNTS";
const IMAGES: &str = "IMAGES";

/// The commands of this run.
fn commands(bed: &Bed<'_>) -> &'static [&'static [Words]] {
    COMMANDS.get(..if bed.runtime.quick { SELECTED } else { COMMANDS.len() }).unwrap_or_default()
}

/// A container in some state, and what has to be released afterwards.
struct State {
    bundle: Bundle,
    /// The runtime, while it still works on the container.
    caller: Option<Running>,
    /// The process that is stopped by a signal.
    stopped: Option<Pid>,
    frozen: Option<Frozen>,
}

/// Lets a container in some state meet each command. The state is reached in two steps, the first of which calls the
/// runtime and waits for nothing, so that as much as possible runs in parallel.
fn matrix(
    bed: &Bed<'_>,
    begin: &dyn Fn(&Bed<'_>) -> Outcome<State>,
    complete: &dyn Fn(&Bed<'_>, State) -> Outcome<State>,
) -> Outcome {
    let mounts = bed.dir().join("list.json");
    let entry = serde_json::json!([{"destination": "/data/added", "type": "tmpfs", "source": "tmpfs"}]);
    std::fs::write(&mounts, entry.to_string())?;
    let begun = commands(bed).iter().map(|_| begin(bed)).collect::<Outcome<Vec<_>>>()?;
    let states = begun.into_iter().map(|state| complete(bed, state)).collect::<Outcome<Vec<_>>>()?;
    let mut calls = Vec::new();
    for (group, state) in commands(bed).iter().zip(&states) {
        for (before, after) in *group {
            let words = words_of(&state.bundle, &mounts.to_string_lossy(), before, after);
            calls.push((words.join(" "), bed.command(words.iter().map(String::as_str)).spawn()?));
        }
    }
    let mut hung = Vec::new();
    let end = Instant::now() + LIMIT;
    for (words, call) in &calls {
        while !call.has_ended(Duration::from_millis(20))? && !call.stderr_so_far().contains("waiting for") {
            if Instant::now() > end {
                hung.push(format!("`{words}` ({})", brief(&call.stderr_so_far())));
                break;
            }
        }
    }
    for state in &states {
        release(state);
        if let Some(caller) = &state.caller {
            caller.signal(Signal::KILL);
        }
    }
    for (_, call) in &calls {
        call.signal(Signal::KILL);
    }
    let delete = |state: &State| bed.command(["delete", "--force", &state.bundle.id]).spawn();
    let deletes = states.iter().map(delete).collect::<Outcome<Vec<_>>>()?;
    for delete in deletes {
        if let Err(Fault::Failed(text)) = delete.finish(LIMIT).and_then(crate::Called::ok) {
            hung.push(text);
        }
    }
    let callers = states.into_iter().filter_map(|state| state.caller);
    for call in calls.into_iter().map(|(_, call)| call).chain(callers) {
        if let Err(Fault::Failed(text)) = call.finish(PATIENCE) {
            hung.push(text);
        }
    }
    // Hooks go on after their runtime is killed.
    let _orphans = bed.end_strays_after(Duration::from_millis(50));
    check(hung.is_empty(), || format!("hung: {}", hung.join("; ")))
}

/// A command for a container.
fn words_of(bundle: &Bundle, mounts: &str, before: &[&str], after: &[&str]) -> Vec<String> {
    let id = (before[0] != "list").then_some(&*bundle.id);
    let all = before.iter().copied().chain(id).chain(after.iter().copied());
    let own = all.map(|word| match word {
        BUNDLE => bundle.dir.to_string_lossy().into_owned(),
        IMAGES => bundle.dir.join("images").to_string_lossy().into_owned(),
        MOUNTS => mounts.to_owned(),
        word => word.to_owned(),
    });
    own.collect()
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

/// Calls the runtime for a container without waiting.
fn calling(bed: &Bed<'_>, bundle: Bundle, words: &[&str]) -> Outcome<State> {
    let dir = bundle.dir.to_string_lossy();
    let own = ["--bundle", &dir, &bundle.id];
    let caller = bed.command(words.iter().copied().chain(own)).spawn()?;
    Ok(State { bundle, caller: Some(caller), stopped: None, frozen: None })
}

fn creating_with(bed: &Bed<'_>, spec: &Spec) -> Outcome<State> {
    calling(bed, bed.bundle(&spec.clone().args(&["/probe", "wait"]))?, &["create"])
}

fn launching_with(bed: &Bed<'_>, spec: &Spec) -> Outcome<State> {
    calling(bed, bed.bundle(&spec.clone().args(&["/probe", "wait"]))?, &["run", "--detach"])
}

fn creating(bed: &Bed<'_>) -> Outcome<State> {
    creating_with(bed, &Spec::new())
}

fn launching(bed: &Bed<'_>) -> Outcome<State> {
    launching_with(bed, &Spec::new())
}

/// The call has made the container.
fn done(_: &Bed<'_>, mut state: State) -> Outcome<State> {
    match state.caller.take() {
        Some(caller) => caller.finish(PATIENCE)?.ok().map(|_| state),
        None => Ok(state),
    }
}

/// A container whose supervisor is gone: its streams have no other ends.
fn orphaned(_: &Bed<'_>, mut state: State) -> Outcome<State> {
    let Some(run) = state.caller.take() else { return Ok(state) };
    let end = Instant::now() + PATIENCE;
    while !run.said().contains("ready") {
        if Instant::now() > end {
            return fail("the container did not start");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    run.signal(Signal::KILL);
    run.finish(PATIENCE)?;
    Ok(state)
}

fn paused(bed: &Bed<'_>, state: State) -> Outcome<State> {
    let state = done(bed, state)?;
    bed.call(["pause", &state.bundle.id])?.ok()?;
    Ok(state)
}

fn stopped_by_signal(bed: &Bed<'_>, state: State) -> Outcome<State> {
    let mut state = done(bed, state)?;
    let pid = bed.adopt(&state.bundle).pid()?;
    kill_process(pid, Signal::STOP).map_err(std::io::Error::from)?;
    state.stopped = Some(pid);
    Ok(state)
}

/// A call for a container with a slow hook.
fn hooked(bed: &Bed<'_>, kind: &str, command: &str) -> Outcome<State> {
    let bundle =
        Hooks::new(bed)?.program(&["/probe", "wait"]).hook(kind, "slow", &["sleep=60000"]).write()?;
    calling(bed, bundle, if command == "run" { &["run", "--detach"] } else { &["create"] })
}

/// The hook has begun.
fn in_hook(_: &Bed<'_>, state: State) -> Outcome<State> {
    until_hook(&state.bundle)?;
    Ok(state)
}

/// The container has been created, is being started, and the hook has begun.
fn in_hook_of_start(bed: &Bed<'_>, state: State) -> Outcome<State> {
    let mut state = done(bed, state)?;
    state.caller = Some(bed.command(["start", &state.bundle.id]).spawn()?);
    in_hook(bed, state)
}

/// A container whose command is in a slow hook.
fn asleep(bed: &Bed<'_>, kind: &str, command: &str) -> Outcome<State> {
    let state = hooked(bed, kind, command)?;
    if command == "start" { in_hook_of_start(bed, state) } else { in_hook(bed, state) }
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

fn stop_caller(state: State) -> State {
    if let Some(caller) = &state.caller {
        caller.signal(Signal::STOP);
    }
    state
}

fn below_frozen(bed: &Bed<'_>, make: fn(&Bed<'_>, &Spec) -> Outcome<State>) -> Outcome<State> {
    let frozen = Frozen::place(bed)?;
    let mut state = make(bed, &Spec::new().set("/linux/cgroupsPath", frozen.below("deep/container")))?;
    state.frozen = Some(frozen);
    Ok(state)
}

fn frozen(bed: &Bed<'_>, state: State) -> Outcome<State> {
    let state = done(bed, state)?;
    if let Some(frozen) = &state.frozen {
        frozen.freeze()?;
    }
    Ok(state)
}

/// A command that is in a slow hook gets a signal.
/// Whether this process ignores a signal.
fn is_ignored(signal: Signal) -> Outcome<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    Ok(mask >> (signal.as_raw() - 1) & 1 == 1)
}

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
