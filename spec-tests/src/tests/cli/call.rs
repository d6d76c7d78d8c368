//! Commands and help (C1), global options (C2), create and run (C3), sockets and terminals (C10).

use crate::console::{Receiver, read_until, terminal};
use crate::outcome::{Outcome, check, same, skip};
use crate::runtime::PATIENCE;
use crate::{Bed, Spec, Test, anyone, test};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub(in crate::tests) const TESTS: &[Test] = &[
    anyone("C1", "an unknown command is refused", |bed| bed.call(["nonsense"])?.refused(&[])),
    anyone("C1", "a missing argument is refused", |bed| {
        for command in
            ["create", "start", "state", "kill", "delete", "exec", "ps", "pause", "resume", "update"]
        {
            bed.call([command])?.refused(&[])?;
        }
        Ok(())
    }),
    anyone("C1", "an unknown option is refused and named", |bed| {
        bed.call(["list", "--nonsense"])?.refused(&["nonsense"])
    }),
    anyone("C1", "--help exits 0 and lists the commands", |bed| {
        let called = bed.call(["--help"])?.ok()?;
        for command in [
            "create", "start", "state", "kill", "delete", "run", "exec", "list", "ps", "pause", "resume",
            "update", "spec",
        ] {
            check(called.stdout.contains(command), || format!("--help does not mention {command}"))?;
        }
        Ok(())
    }),
    anyone("C2", "--version prints the lines that managers parse", |bed| {
        let called = bed.call(["--version"])?.ok()?;
        let first = called.stdout.lines().next().unwrap_or_default();
        check(first.split(' ').nth(1) == Some("version"), || format!("first line {first:?}"))?;
        check(called.stdout.lines().any(|line| line.starts_with("spec: ")), || "no line `spec: `".into())
    }),
    test("C2", "--root is made with a mode that shuts others out", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new())?)?;
        let dir = bed.state_dir(container.id());
        let mode = fs::metadata(&dir)?.permissions().mode() & 0o777;
        check(mode & 0o066 == 0, || format!("{} has mode {mode:o}", dir.display()))
    }),
    test("C2", "options may stand before and after the id, with and without =", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "true"]))?;
        bed.call(["run", &format!("--bundle={}", bundle.dir.display()), &bundle.id])?.ok()?;
        bed.call(["run", "-b", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
        let call = bed.command(["run", &bundle.id]).cwd(&bundle.dir);
        call.call()?.ok().map(drop)
    }),
    test("C3", "--pid-file holds the pid and no newline", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        let path = bed.dir().join("pid").to_string_lossy().into_owned();
        bed.call(["create", "--pid-file", &path, "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?
            .ok()?;
        let state = bed.call(["state", &bundle.id])?.ok()?.json()?;
        same("pid file", fs::read_to_string(&path)?, state["pid"].to_string())
    }),
    test("C3", "--preserve-fds hands on descriptors 3 and up, and no more", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        let call = bed.command([
            "run",
            "--preserve-fds",
            "2",
            "--bundle",
            &bundle.dir.to_string_lossy(),
            &bundle.id,
        ]);
        let seen = call.after("exec 3</dev/null 4</dev/zero 5</dev/full").call()?.ok()?.json()?;
        same("descriptors", crate::tests::process::descriptors(&seen), ["0", "1", "2", "3", "4"])?;
        let target = seen["fds"]["4"].as_str().unwrap_or_default();
        check(target.ends_with("/zero"), || format!("fd 4 is {target}"))
    }),
    test("C3", "--preserve-fds skips descriptors that are not open", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        let dir = bundle.dir.to_string_lossy();
        let call = bed.command(["run", "--preserve-fds", "7", "--bundle", &dir, &bundle.id]);
        // 3, 5 and all from 7 up are closed, whatever the shell and the suite have there.
        let shell = "exec 3<&- 5<&- 7<&- 8<&- 9<&- 4</dev/zero 6</dev/full";
        let seen = call.after(shell).call()?.ok()?.json()?;
        same("descriptors", crate::tests::process::descriptors(&seen), ["0", "1", "2", "4", "6"])?;
        for (fd, device) in [("4", "/zero"), ("6", "/full")] {
            let target = seen["fds"][fd].as_str().unwrap_or_default();
            check(target.ends_with(device), || format!("fd {fd} is {target}"))?;
        }
        Ok(())
    }),
    test("C3", "a restored count of descriptors does not matter to a start that fails", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/nonexistent"]))?;
        let dir = bundle.dir.to_string_lossy();
        let call = bed.command(["run", "--preserve-fds", "2", "--bundle", &dir, &bundle.id]);
        call.after("exec 3<&- 4</dev/zero").call()?.refused(&["nonexistent"])
    }),
    test("C3", "run --detach comes back while the program runs", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
        bed.call(["run", "--detach", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
        same("status", &bed.call(["state", &bundle.id])?.ok()?.json()?["status"], "running")
    }),
    test("C3", "run --keep leaves the stopped container", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "exit", "5"]))?;
        let called = bed.call(["run", "--keep", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
        same("exit code", called.code(), 5)?;
        same("status", &bed.call(["state", &bundle.id])?.ok()?.json()?["status"], "stopped")
    }),
    test("C3", "foreground run passes stdin, stdout and stderr", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "cat"]))?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        same("stdout", call.stdin("one\ntwo\n").call()?.ok()?.stdout, "one\ntwo\n")?;
        let called = bed.run(&Spec::new().args(&["/probe"]))?;
        check(called.stderr.contains("usage: probe"), || format!("stderr {:?}", called.stderr))
    }),
    test("C3", "foreground run forwards signals to the program", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
        let running = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).spawn()?;
        let container = crate::Container { bed, bundle: bundle.clone(), out: bed.dir().join("none") };
        container.until("the container to run", || {
            let called = bed.call(["state", &bundle.id])?;
            Ok((called.status.success() && called.stdout.contains("running")).then_some(()))
        })?;
        std::thread::sleep(std::time::Duration::from_millis(200));
        running.signal(rustix::process::Signal::USR1);
        std::thread::sleep(std::time::Duration::from_millis(200));
        running.signal(rustix::process::Signal::TERM);
        let called = running.finish(PATIENCE)?;
        same("stdout", called.stdout.as_str(), "ready\nsignal 10\nsignal 15\n")?;
        same("exit code", called.code(), 0)
    }),
    test("C3", "--no-pivot runs a container", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        let seen = bed
            .call(["run", "--no-pivot", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?
            .ok()?
            .json()?;
        same("pid", &seen["pid"], 1)?;
        check(!seen["root"]["probe"].is_null(), || "the root is not the container's".into())
    }),
    test(
        "C3",
        "each container has a session keyring of its own, and --no-new-keyring keeps the caller's",
        |bed| {
            let bundle = bed.bundle(&Spec::new())?;
            let seen = bed.run_bundle(&bundle)?.ok()?.json()?;
            let name = seen["keyring"]["name"].as_str().unwrap_or_default();
            check(name.ends_with(&bundle.id), || format!("keyring {name}"))?;
            let called =
                bed.call(["run", "--no-new-keyring", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
            let name = called.ok()?.json()?["keyring"]["name"].clone();
            check(!name.to_string().contains(&bundle.id), || format!("keyring {name}"))
        },
    ),
    test("C10", "--pidfd-socket sends a pidfd of the first process", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        let receiver = Receiver::listen(bed.dir(), "pidfd")?;
        let path = receiver.path.to_string_lossy().into_owned();
        bed.call(["create", "--pidfd-socket", &path, "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?
            .ok()?;
        let received = receiver.receive()?;
        same("file descriptors", received.fds.len(), 1)?;
        same("payload", String::from_utf8_lossy(&received.bytes).as_ref(), "standard")?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&received.fds[0]);
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
        let pid = bed.call(["state", &bundle.id])?.ok()?.json()?["pid"].to_string();
        check(info.lines().any(|line| line.split_whitespace().eq(["Pid:", pid.as_str()])), || info.clone())
    }),
    test(
        "C10",
        "so does the annotation run.oci.pidfd_receiver, where the runtime says that it knows it",
        |bed| {
            crate::tests::features::lists_annotation(bed, "run.oci.pidfd_receiver")?;
            let receiver = Receiver::listen(bed.dir(), "pidfd")?;
            let path = receiver.path.to_string_lossy().into_owned();
            let bundle =
                bed.bundle(&Spec::new().set("/annotations", json!({"run.oci.pidfd_receiver": path})))?;
            bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
            same("file descriptors", receiver.receive()?.fds.len(), 1)
        },
    ),
    test("C10", "a socket may be at a path that is longer than an address", |bed| {
        let bundle = bed.bundle(&Spec::new().set("/process/terminal", true))?;
        let (console, pidfd) =
            (Receiver::listen_far(bed.dir(), "console")?, Receiver::listen_far(bed.dir(), "pidfd")?);
        bed.call([
            "create",
            "--console-socket",
            &console.path.to_string_lossy(),
            "--pidfd-socket",
            &pidfd.path.to_string_lossy(),
            "--bundle",
            &bundle.dir.to_string_lossy(),
            &bundle.id,
        ])?
        .ok()?;
        same("descriptors over the console socket", console.receive()?.fds.len(), 1)?;
        same("descriptors over the pidfd socket", pidfd.receive()?.fds.len(), 1)
    }),
    test("C10", "the console socket gets one message with the master alone", |bed| {
        let bundle = bed.bundle(&Spec::new().set("/process/terminal", true))?;
        let receiver = Receiver::listen(bed.dir(), "console")?;
        bed.create_with_console(&bundle, &receiver)?.ok()?;
        let received = receiver.receive()?;
        same("file descriptors", received.fds.len(), 1)?;
        check(!received.bytes.is_empty(), || "no payload".into())?;
        check(received.closed, || "the connection stays open".into())?;
        let size = rustix::termios::tcgetwinsize(&received.fds[0]);
        check(size.is_ok(), || "the descriptor is no terminal".into())
    }),
    test(
        "C2",
        "with cgroups disabled the device rules that engines send are left out, and limits refused",
        |bed| {
            if !bed.call(["--help"])?.stdout.contains("--cgroup-manager") {
                return skip("the runtime has no --cgroup-manager");
            }
            if bed.runtime.systemd() {
                return skip("the two options for the cgroup driver exclude each other");
            }
            let run = |bundle: &crate::Bundle| {
                let dir = bundle.dir.to_string_lossy().into_owned();
                bed.call(["--cgroup-manager", "disabled", "run", "--bundle", &dir, &bundle.id])
            };
            let spec = Spec::new().args(&["/probe", "true"]);
            run(&bed.bundle(&spec)?)?.ok()?;
            run(&bed.bundle(&spec.set("/linux/resources/pids", json!({"limit": 9})))?)?.refused(&["pids"])
        },
    ),
    test(
        "C10",
        "a terminal that run copies to the caller's has straight lines, which the caller's makes",
        |bed| {
            let spec = Spec::new().set("/process/terminal", true).args(&["/probe", "say", "one", "two"]);
            let (first, second) = (bed.bundle(&spec)?, bed.bundle(&spec)?);
            in_foreground(
                bed,
                [&first, &second].map(|bundle| {
                    let dir = bundle.dir.to_string_lossy().into_owned();
                    ["run".into(), "--bundle".into(), dir, bundle.id.clone()].to_vec()
                }),
            )
        },
    ),
];

/// A call that prints the lines "one" and "two" on a terminal that it copies, made twice.
pub(super) fn foreground(bed: &Bed<'_>, words: &[&str]) -> Outcome {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    in_foreground(bed, [words.clone(), words])
}

/// The lines are straight on a terminal, and as the program wrote them in a file: no `\r` is added twice or needlessly.
fn in_foreground(bed: &Bed<'_>, [shown, kept]: [Vec<String>; 2]) -> Outcome {
    let (mut master, other) = terminal()?;
    let running = bed.command(shown.iter().map(String::as_str)).on_terminal(other, true).spawn()?;
    let text = read_until(&mut master, "two")?;
    running.finish(PATIENCE)?.ok()?;
    check(text.contains("one\r\ntwo"), || format!("on the terminal: {text:?}"))?;
    let (_master, other) = terminal()?;
    let called = bed.command(kept.iter().map(String::as_str)).on_terminal(other, false).call()?.ok()?;
    same("in the file", called.stdout.trim_end(), "one\ntwo")
}
