//! The runtime, the caller or the first process dies at a bad moment.

use crate::outcome::{Outcome, check, fail, same};
use crate::runtime::PATIENCE;
use crate::{Bed, Bundle, Container, Spec, Test, test};
use rustix::process::Signal;
use std::time::{Duration, Instant};

pub(super) const TESTS: &[Test] = &[
    test("F1", "delete --force cleans up after a create that was killed at any moment", |bed| {
        killed(bed, "create", &[])
    }),
    test("F1", "delete --force cleans up after a run that was killed at any moment", |bed| {
        killed(bed, "run", &[])
    }),
    test("F1", "the id can be used again after a create that was killed", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "true"]))?;
        for wait in [2, 8, 15, 25] {
            interrupt(bed, &bundle, "create", wait)?;
            bed.call(["delete", "--force", &bundle.id])?.ok()?;
            bed.run_bundle(&bundle)?.ok()?;
        }
        Ok(())
    }),
    test(
        "F1",
        "delete --force of a create that was killed over a cgroup in use does not touch who uses it",
        |bed| {
            bed.host.needs_root_because("newuidmap has no privileges under strace")?;
            crate::tests::kernel::needs("strace")?;
            let neighbour = bed.waiting(&Spec::new())?;
            let path = neighbour.bundle.spec()?.pointer("/linux/cgroupsPath").cloned().unwrap_or_default();
            // At each directory that it makes: the state directory, then the cgroups, where it checks for processes.
            for moment in 1..40 {
                let bundle = bed.bundle(&Spec::new().set("/linux/cgroupsPath", path.clone()))?;
                let inject = format!("inject=/^mkdir:signal=KILL:when={moment}");
                let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=/^mkdir", "-e", &inject];
                let dir = bundle.dir.to_string_lossy();
                let call = bed.command(["create", "--bundle", &dir, &bundle.id]).under(&strace).call()?;
                bed.call(["delete", "--force", &bundle.id])?.ok()?;
                let status = neighbour.status()?;
                check(status == "running", || {
                    format!("the neighbour is {status} after a kill at the directory number {moment}")
                })?;
                same("processes", neighbour.bundle.processes().len(), 1)?;
                check(!bed.state_dir(&bundle.id).exists(), || "its state directory is still there".into())?;
                if call.status.code().is_some_and(|code| code < 128) {
                    return call.refused(&["not empty", "in use", "exist"]);
                }
            }
            fail("it makes no end of directories")
        },
    ),
    test("F1", "a create that is refused leaves what its caller mounted at the root file system", |bed| {
        let neighbour = bed.waiting(&Spec::new())?;
        let path = neighbour.bundle.spec()?.pointer("/linux/cgroupsPath").cloned().unwrap_or_default();
        let spec =
            Spec::new().no_namespace("mount").without("/linux/maskedPaths").without("/linux/readonlyPaths");
        let bundle = bed.bundle(&spec.set("/linux/cgroupsPath", path))?;
        let _mounted =
            crate::tests::mounts::Source::tmpfs(&bundle.rootfs, rustix::mount::MountFlags::empty())?;
        let call = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
        call.refused(&[])?;
        bed.call(["delete", "--force", &bundle.id])?.ok()?;
        let own = bundle.rootfs.to_string_lossy().into_owned();
        check(bundle.mounts().contains(&own), || format!("{own} was unmounted"))
    }),
    test("F2", "delete of an unknown id is an error, delete --force of one is not", |bed| {
        bed.call(["delete", "suite-unknown"])?.refused(&["suite-unknown", "not exist"])?;
        bed.call(["delete", "--force", "suite-unknown"])?.ok().map(drop)
    }),
    test("F2", "a second delete --force is not an error", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new())?)?;
        bed.call(["delete", "--force", container.id()])?.ok()?;
        bed.call(["delete", "--force", container.id()])?.ok().map(drop)
    }),
    test("F4", "of two creates with one id exactly one wins", |bed| {
        for _ in 0..5 {
            let bundle = bed.bundle(&Spec::new())?;
            let dir = bundle.dir.to_string_lossy().into_owned();
            let calls: Vec<_> = (0..4)
                .map(|_| bed.command(["create", "--bundle", &dir, &bundle.id]).spawn())
                .collect::<Outcome<_>>()?;
            let mut won = 0;
            for call in calls {
                won += usize::from(call.finish(PATIENCE)?.status.success());
            }
            same("creates that worked", won, 1)?;
            same("status", &bed.call(["state", &bundle.id])?.ok()?.json()?["status"], "created")?;
            bed.call(["delete", "--force", &bundle.id])?.ok()?;
            let left = bed.leftovers(&bundle);
            check(left.is_empty(), || format!("left: {}", left.join(", ")))?;
        }
        Ok(())
    }),
    test("F4", "start, kill, state and delete at the same time leave nothing and hang nowhere", |bed| {
        for _ in 0..5 {
            let container = bed.create(&bed.bundle(&Spec::new().args(&["/probe", "wait"]))?)?;
            let calls: Vec<_> = [&["start"][..], &["state"], &["kill"], &["delete", "--force"], &["state"]]
                .into_iter()
                .map(|words| bed.command([words, &[container.id()]].concat()).spawn())
                .collect::<Outcome<_>>()?;
            for call in calls {
                call.finish(PATIENCE)?;
            }
            bed.call(["delete", "--force", container.id()])?.ok()?;
            gone(bed, &container)?;
        }
        Ok(())
    }),
    test(
        "F8",
        "start of a container whose first process was killed by others is an error and does not hang",
        |bed| {
            let container = bed.create(&bed.bundle(&Spec::new().args(&["/probe", "wait"]))?)?;
            rustix::process::kill_process(container.pid()?, Signal::KILL)?;
            let called = bed.call(["start", container.id()])?;
            called.refused(&[])
        },
    ),
    test("F8", "a first process that is killed at random around start never hangs start", |bed| {
        for wait in [0, 1, 2, 4, 8] {
            let container = bed.create(&bed.bundle(&Spec::new().args(&["/probe", "wait"]))?)?;
            let pid = container.pid()?;
            let start = bed.command(["start", container.id()]).spawn()?;
            std::thread::sleep(Duration::from_millis(wait));
            let _gone = rustix::process::kill_process(pid, Signal::KILL);
            start.finish(PATIENCE)?;
            container.until_status("stopped")?;
        }
        Ok(())
    }),
    test("F9", "start and delete work after the caller of create is gone", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        // A shell in between, which ends before anything else happens.
        let call = bed.command(["create", "--bundle", &dir, &bundle.id]).after("trap '' HUP");
        call.call()?.ok()?;
        bed.call(["start", &bundle.id])?.ok()?;
        bed.call(["delete", "--force", &bundle.id])?.ok().map(drop)
    }),
    test("F11", "programs that end at once never make run or exec hang", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "true"]))?;
        for _ in 0..bed.rounds(40) {
            bed.run_bundle(&bundle)?.ok()?;
        }
        let container = bed.waiting(&Spec::new())?;
        for _ in 0..bed.rounds(40) {
            container.exec(&["/probe", "true"])?.ok()?;
        }
        Ok(())
    }),
    test("F14", "a frozen container is deleted by delete --force", |bed| {
        let container = bed.waiting(&Spec::new())?;
        container.exec_with(&["--detach"], &["/probe", "idle"])?.ok()?;
        bed.call(["pause", container.id()])?.ok()?;
        let called = bed.call(["delete", "--force", container.id()])?.ok()?;
        check(called.took < Duration::from_secs(8), || format!("it took {:?}", called.took))?;
        gone(bed, &container)
    }),
    test(
        "F15",
        "a container without pid namespace whose first process is gone is deleted with all its processes",
        |bed| {
            let spec =
                Spec::new().no_namespace("pid").no_mount("/proc").mount("/proc", "bind", "/proc", &["rbind"]);
            let container = bed.create(&bed.bundle(&spec.args(&["/probe", "leave"]))?)?;
            container.start()?;
            container.until("the first process to end", || {
                Ok((container.bundle.processes().len() == 1).then_some(()))
            })?;
            bed.call(["delete", "--force", container.id()])?.ok()?;
            gone(bed, &container)
        },
    ),
    test("F16", "a cgroup that somebody else removed does not stop delete", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let pid = container.pid()?;
        let places = ["pids", "memory", "freezer"].map(|controller| crate::cgroup::of(pid, controller));
        container.stop()?;
        for place in places.into_iter().flatten() {
            crate::cgroup::remove(&place.dir);
        }
        container.delete().map(drop)
    }),
    test("F29", "a hook that hangs can be interrupted, and delete --force cleans up", |bed| {
        let bundle =
            // Without the caller's environment it is not taken for a process of the runtime, which a hook is not.
            crate::tests::hooks::Hooks::new(bed)?
                .env(Some(&[]))
                .hook("createRuntime", "slow", &["sleep=60000"])
                .write()?;
        let running =
            bed.command(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).spawn()?;
        let end = Instant::now() + Duration::from_secs(10);
        while !bundle.rootfs.join("data/hooks.log").exists() {
            if Instant::now() > end {
                return fail("the hook did not start");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        running.signal(Signal::KILL);
        running.finish(PATIENCE)?;
        bed.call(["delete", "--force", &bundle.id])?.ok()?;
        let left = settled(bed, &bundle);
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
    }),
];

/// Kills a call after this many milliseconds, if it still runs then.
fn interrupt(bed: &Bed<'_>, bundle: &Bundle, command: &str, wait: u64) -> Outcome {
    let running = bed.command([command, "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).spawn()?;
    std::thread::sleep(Duration::from_millis(wait));
    running.signal(Signal::KILL);
    running.finish(PATIENCE).map(drop)
}

fn killed(bed: &Bed<'_>, command: &str, options: &[&str]) -> Outcome {
    for wait in [1, 2, 3, 5, 7, 9, 11, 13, 15, 18, 21, 25, 30, 40, 60] {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
        interrupt(bed, &bundle, command, wait)?;
        let mut words = vec!["delete", "--force"];
        words.extend_from_slice(options);
        words.push(&bundle.id);
        bed.call(words)?.ok()?;
        let left = settled(bed, &bundle);
        check(left.is_empty(), || {
            format!("killed after {wait} ms, then delete --force left {}", left.join(", "))
        })?;
    }
    Ok(())
}

/// What is left once the dead have been reaped.
fn settled(bed: &Bed<'_>, bundle: &Bundle) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        let left = bed.leftovers(bundle);
        if left.is_empty() || Instant::now() > end {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn gone(bed: &Bed<'_>, container: &Container<'_, '_>) -> Outcome {
    let left = settled(bed, &container.bundle);
    check(left.is_empty(), || format!("left: {}", left.join(", ")))
}
