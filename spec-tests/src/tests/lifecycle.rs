//! State, operations and errors: rows A205 to A222, A238.

use super::namespaces::with_owner;
use crate::outcome::{Outcome, check, same, skip};
use crate::{Bed, Spec, Test, test};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test("A205 A206", "the state has ociVersion, id, status, pid, bundle and annotations", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new().set("/annotations", json!({"a": "b"})))?)?;
        let state = container.state()?;
        let version = state["ociVersion"].as_str().unwrap_or_default();
        check(version.split('.').count() >= 3 && version.starts_with("1."), || {
            format!("ociVersion {version:?}")
        })?;
        same("id", &state["id"], container.id())?;
        same("status", &state["status"], "created")?;
        check(state["pid"].as_i64().is_some_and(|pid| pid > 0), || format!("pid {}", state["pid"]))?;
        same("bundle", state["bundle"].as_str(), Some(container.bundle.dir.to_string_lossy().as_ref()))?;
        same("annotations", &state["annotations"], &json!({"a": "b"}))
    }),
    test(
        "A206",
        "ociVersion of the state is that of the configuration or a newer one that is supported",
        |bed| {
            let container = bed.create(&bed.bundle(&Spec::new().set("/ociVersion", "1.0.2"))?)?;
            let state = container.state()?;
            let version = state["ociVersion"].as_str().unwrap_or_default();
            let numbers: Vec<u32> = version.split(['.', '-', '+']).map_while(|n| n.parse().ok()).collect();
            check(numbers.len() >= 3 && numbers >= vec![1, 0, 2], || format!("ociVersion {version:?}"))
        },
    ),
    test("A207", "status goes from created over running to stopped", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new().args(&["/probe", "wait"]))?)?;
        same("status", container.status()?, "created")?;
        container.start()?;
        same("status", container.status()?, "running")?;
        container.until_output("ready")?;
        container.kill("TERM")?;
        container.until_status("stopped")
    }),
    test("A207", "status of a paused container is paused", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["pause", container.id()])?.ok()?;
        same("status", container.status()?, "paused")?;
        bed.call(["resume", container.id()])?.ok()?;
        same("status", container.status()?, "running")
    }),
    test("A207", "an exec that waits in a paused container lets resume through", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["pause", container.id()])?.ok()?;
        let exec = bed.command(["exec", "--ignore-paused", container.id(), "/probe", "true"]).spawn()?;
        // The new process has arrived in the frozen cgroup; a runtime may have to wait for it there.
        container.until("the process of the exec", || {
            let pids = bed.call(["ps", "--format", "json", container.id()])?.ok()?.json()?;
            Ok(pids.as_array().is_some_and(|pids| pids.len() > 1).then_some(()))
        })?;
        // Longer than waits are usually silent. This one was asked for.
        check(!exec.has_ended(Duration::from_millis(1500))?, || "it did not wait".into())?;
        bed.call(["resume", container.id()])?.ok()?;
        same("what it said", exec.finish(Duration::from_secs(30))?.ok()?.stderr, "")
    }),
    test("A207", "a created container stays created when a harmless signal is sent", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new().args(&["/probe", "wait"]))?)?;
        container.kill("WINCH")?;
        container.kill("URG")?;
        same("status", container.status()?, "created")?;
        container.start().map(drop)
    }),
    test("A208", "a stopped container has no pid", |bed| {
        let container = bed.waiting(&Spec::new())?;
        container.stop()?;
        let pid = container.state()?["pid"].clone();
        check(pid.is_null() || pid == 0, || format!("pid {pid}"))
    }),
    test("A210", "an id that exists is refused, and that container lives on", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let called =
            bed.call(["create", "--bundle", &container.bundle.dir.to_string_lossy(), container.id()])?;
        called.refused(&["exist"])?;
        same("status", container.status()?, "running")
    }),
    test("A210", "invalid ids are refused, and nothing is made", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        for id in
            ["", ".", "..", "../escape", "a/b", "/abs", "with space", "semi;colon", "new\nline", "umläut"]
        {
            bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), "--", id])?.refused(&[])?;
        }
        let made = fs::read_dir(bed.root()).map_or(0, Iterator::count);
        same("entries of the state directory", made, 0)
    }),
    test("A210", "an id of letters, digits and _+-. is accepted", |bed| {
        let mut bundle = bed.bundle(&Spec::new())?;
        bundle.id = format!("Az09_+-.{}", bundle.id);
        let called = bed.run_bundle(&bundle)?.ok()?;
        same("pid", &called.json()?["pid"], 1)
    }),
    test("A210", "a created container can be found again under its id after delete", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "true"]))?;
        for _ in 0..3 {
            bed.run_bundle(&bundle)?.ok()?;
        }
        Ok(())
    }),
    test("A211", "create does not run the program", |bed| {
        let container =
            bed.create(&bed.bundle(&Spec::new().args(&["/probe", "try", "write", "/data/ran", "x"]))?)?;
        std::thread::sleep(Duration::from_millis(200));
        check(!container.bundle.rootfs.join("data/ran").exists(), || "the program ran before start".into())
    }),
    test("A211", "create applies the configuration before start", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new().set("/hostname", "early"))?)?;
        let pid = container.pid()?.as_raw_pid();
        let uts = fs::read_link(format!("/proc/{pid}/ns/uts"))?;
        check(uts != fs::read_link("/proc/self/ns/uts")?, || "no uts namespace yet".into())?;
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        check(mounts.contains(" /dev/shm "), || "no mounts yet".into())
    }),
    test("A212 A213", "when a mount fails nothing stays", |bed| {
        let spec = Spec::new().mount("/mnt", "nonsensefs", "none", &[]);
        for _ in 0..5 {
            bed.refuses(&spec, &[])?;
        }
        Ok(())
    }),
    test("A212 A213", "when run fails nothing stays", |bed| {
        let bundle = bed.bundle(&Spec::new().mount("/mnt", "nonsensefs", "none", &[]))?;
        bed.run_bundle(&bundle)?.refused(&[])?;
        let left = bed.leftovers(&bundle);
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
    }),
    test("A213", "a failed create leaves the id free", |bed| {
        let bundle = bed.bundle(&Spec::new().mount("/mnt", "nonsensefs", "none", &[]))?;
        bed.refuses_bundle(&bundle, &[])?;
        bundle.write_spec(&Spec::new())?;
        bed.run_bundle(&bundle)?.ok().map(drop)
    }),
    test("A214", "a second start is refused and has no effect", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["start", container.id()])?.refused(&[])?;
        same("status", container.status()?, "running")
    }),
    test("A214", "start of a stopped container is refused", |bed| {
        let container = bed.waiting(&Spec::new())?;
        container.stop()?;
        bed.call(["start", container.id()])?.refused(&["stopped"])
    }),
    test("A215", "start reports a program of an unknown format", |bed| {
        bad_program(bed, "garbage that is no program", "exec format")
    }),
    test("A215", "start reports a missing interpreter", |bed| {
        bad_program(bed, "#!/no/such/interpreter\n", "no such file")
    }),
    test("A215", "what start reports does not depend on the rights of its caller", |bed| {
        bed.host.needs_root()?;
        super::kernel::needs("setpriv")?;
        let bundle = bed.bundle(&Spec::new().args(&["/data/program"]))?;
        bundle.file("data/program", "#!/no/such/interpreter\n")?;
        fs::set_permissions(bundle.rootfs.join("data/program"), fs::Permissions::from_mode(0o755))?;
        let called = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
        if !called.status.success() {
            return skip("the runtime finds it at create");
        }
        // Without this right a container would be made in different steps.
        let start = bed.command(["start", &bundle.id]);
        start.under(&["setpriv", "--bounding-set=-mknod"]).call()?.refused(&["/data/program"])
    }),
    test("A215", "start of a container whose process was killed is refused", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new().args(&["/probe", "wait"]))?)?;
        container.kill("KILL")?;
        container.until_status("stopped")?;
        bed.call(["start", container.id()])?.refused(&[])
    }),
    test("A216", "kill reaches created and running containers", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new())?)?;
        container.kill("KILL")?;
        container.until_status("stopped")?;
        let container = bed.waiting(&Spec::new())?;
        container.kill("USR1")?;
        container.until_output("signal 10").map(drop)
    }),
    test("A216", "kill of a stopped container is refused with the text that engines look for", |bed| {
        let container = bed.waiting(&Spec::new())?;
        container.stop()?;
        bed.call(["kill", container.id(), "TERM"])?.refused(&["container not running"])
    }),
    test("A216", "signals are taken as SIGTERM, TERM and 15, and an unknown one is refused", |bed| {
        let container = bed.waiting(&Spec::new())?;
        for (word, number) in [("SIGUSR1", 10), ("USR2", 12), ("1", 1)] {
            container.kill(word)?;
            container.until_output(&format!("signal {number}\n"))?;
        }
        bed.call(["kill", container.id(), "SIGNONSENSE"])?.refused(&["signal"])?;
        bed.call(["kill", container.id(), "99"])?.refused(&[])
    }),
    test("A217", "delete of a running container is refused and has no effect", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["delete", container.id()])?.refused(&["running", "not stopped", "stopped"])?;
        same("status", container.status()?, "running")
    }),
    test("A217", "delete of a created container removes it, as all runtimes do", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new())?)?;
        container.delete()?;
        let left = bed.leftovers(&container.bundle);
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
    }),
    test("A217", "delete of a stopped container leaves nothing", |bed| {
        let container = bed.waiting(&Spec::new())?;
        container.stop()?;
        container.delete()?;
        let left = bed.leftovers(&container.bundle);
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
    }),
    test("A217", "delete --force of a running container leaves nothing", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["delete", "--force", container.id()])?.ok()?;
        let left = bed.leftovers(&container.bundle);
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
    }),
    test("A218", "delete leaves namespaces that were joined and files that were bound", |bed| {
        let first = bed.waiting(&Spec::new())?;
        let pid = first.pid()?.as_raw_pid();
        let spec = with_owner(bed, Spec::new(), pid);
        let second = bed.waiting(&spec.namespace("network", Some(&format!("/proc/{pid}/ns/net"))))?;
        bed.call(["delete", "--force", second.id()])?.ok()?;
        first.tries(&[&["list", "/sys/class/net"]])?[0].worked()?;
        same("status", first.status()?, "running")
    }),
    test("A219", "warnings change nothing of create, start, exec and delete", |bed| {
        let spec = Spec::new()
            .set("/ociVersion", "1.9.0")
            .set("/org.example.unknown", json!({"deep": [1]}))
            .set("/process/commandLine", "nothing")
            .capabilities(&["CAP_CHOWN", "CAP_NONSENSE"])
            .set("/process/capabilities/ambient", json!(["CAP_CHOWN"]))
            .set(
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                    {"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}]}),
            );
        let container = bed.waiting(&spec)?;
        same("status", container.status()?, "running")?;
        let seen = container.exec(&["/probe", "report"])?.ok()?.json()?;
        same("effective", crate::observe::capability_set(&seen, "CapEff")?, 1)?;
        let pid = container.pid()?;
        container.kill("TERM")?;
        same("exit code", container.end(pid)?, 0)?;
        container.until_status("stopped")?;
        container.delete().map(drop)
    }),
    test("A220", "every command refuses an unknown id", |bed| {
        for words in [&["state"][..], &["start"], &["kill"], &["delete"], &["ps"], &["pause"], &["resume"]] {
            let mut words = words.to_vec();
            words.push("suite-unknown");
            bed.call(words)?.refused(&["does not exist", "not exist", "suite-unknown"])?;
        }
        bed.call(["exec", "suite-unknown", "/probe"])?.refused(&[
            "does not exist",
            "not exist",
            "suite-unknown",
        ])
    }),
    test("A220", "the text for an unknown id is the one that engines look for", |bed| {
        bed.call(["state", "suite-unknown"])?.refused(&["does not exist"])
    }),
    test("A221", "a foreground run always ends, and with the right code", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "exit", "3"]))?;
        for round in 0..bed.rounds(30) {
            let called = bed.run_bundle(&bundle)?;
            same(&format!("exit code of round {round}"), called.code(), 3)?;
        }
        Ok(())
    }),
    test("A222", "a relative --root is taken from the working directory", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
        let call = |words: &[&str]| {
            crate::runtime::Invocation::new(&bed.runtime.path, bed.dir())
                .args(&bed.runtime.globals)
                .args(["--root", "root"])
                .args(words)
                .cwd(bed.dir())
                .call()
        };
        call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
        check(bed.state_dir(&bundle.id).is_dir(), || "the state is somewhere else".into())?;
        call(&["start", &bundle.id])?.ok()?;
        call(&["delete", "--force", &bundle.id])?.ok().map(drop)
    }),
    test("A238", "the exit code of a signalled program is 128 + its number", |bed| {
        let spec =
            Spec::new().no_namespace("pid").no_mount("/proc").mount("/proc", "bind", "/proc", &["rbind"]);
        for (signal, code) in [("9", 137), ("15", 143), ("6", 134)] {
            same(signal, bed.run(&spec.clone().args(&["/probe", "die", signal]))?.code(), code)?;
        }
        Ok(())
    }),
    test("A238", "the exit code of an exec'd program is its own, or 128 + its signal", |bed| {
        let container = bed.waiting(&Spec::new())?;
        same("exit code", container.exec(&["/probe", "exit", "42"])?.code(), 42)?;
        same("exit code", container.exec(&["/probe", "die", "9"])?.code(), 137)
    }),
    test("A238", "run gives the exit code of the program", |bed| {
        for code in ["0", "1", "42", "255"] {
            same(code, bed.run(&Spec::new().args(&["/probe", "exit", code]))?.code().to_string(), code)?;
        }
        Ok(())
    }),
];

fn bad_program(bed: &Bed<'_>, contents: &str, word: &str) -> Outcome {
    let bundle = bed.bundle(&Spec::new().args(&["/data/program"]))?;
    bundle.file("data/program", contents)?;
    fs::set_permissions(bundle.rootfs.join("data/program"), fs::Permissions::from_mode(0o755))?;
    crate::checks::finds(bed, &bundle, &[word])?;
    // Refusing it at create is just as good.
    let called = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
    let called = if called.status.success() { bed.call(["start", &bundle.id])? } else { called };
    called.refused(&[word])
}
