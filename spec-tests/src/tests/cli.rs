//! The command line: sections 3.1 to 3.6 of the checklist, numbered C1 to C10 as in this file.
//!
//! C1 commands and help, C2 global options, C3 create and run, C4 exec, C5 state, list, ps and spec, C6 log,
//! C7 events, C8 update, C9 pause and resume, C10 sockets and terminals.

use super::defaults::report_from;
use crate::console::Receiver;
use crate::observe::strings;
use crate::outcome::{Outcome, check, fail, same, skip};
use crate::runtime::Called;
use crate::{Bed, Spec, Test, anyone, test};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

pub(super) const TESTS: &[Test] = &[
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
        same("descriptors", super::process::descriptors(&seen), ["0", "1", "2", "3", "4"])?;
        let target = seen["fds"]["4"].as_str().unwrap_or_default();
        check(target.ends_with("/zero"), || format!("fd 4 is {target}"))
    }),
    test("C3", "--preserve-fds with a descriptor that is not open is refused", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        let call = bed.command([
            "create",
            "--preserve-fds",
            "5",
            "--bundle",
            &bundle.dir.to_string_lossy(),
            &bundle.id,
        ]);
        call.call()?.refused(&[])?;
        let left = bed.leftovers(&bundle);
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
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
        let called = running.finish(crate::runtime::PATIENCE)?;
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
    test("C4", "exec runs in the namespaces of the container", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let pid = container.pid()?.as_raw_pid();
        let seen = container.exec(&["/probe", "report"])?.ok()?.json()?;
        for kind in ["uts", "ipc", "net", "pid", "mnt"] {
            let link = fs::read_link(format!("/proc/{pid}/ns/{kind}"))?.to_string_lossy().into_owned();
            same(kind, seen["namespaces"][kind].as_str(), Some(link.as_str()))?;
        }
        same("hostname", &seen["hostname"], "suite")
    }),
    test("C4", "exec runs in the cgroup of the container", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let first = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?.as_raw_pid()))?;
        let seen = container.exec(&["/probe", "report"])?.ok()?.json()?;
        same("cgroups", strings(&seen["cgroup"]).join("\n"), first.trim_end())
    }),
    test("C4", "exec inherits user, capabilities, no_new_privs and rlimits of the configuration", |bed| {
        let spec = Spec::new()
            .set("/process/user", json!({"uid": 1000, "gid": 1001, "additionalGids": [7]}))
            .set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 300, "hard": 400}]));
        let container = bed.waiting(&spec)?;
        let seen = container.exec(&["/probe", "report"])?.ok()?.json()?;
        same("ids", (&seen["uid"], &seen["gid"]), (&json!(1000), &json!(1001)))?;
        same("bounding", &seen["status"]["CapBnd"], "0000000020000420")?;
        same("NoNewPrivs", &seen["status"]["NoNewPrivs"], "1")?;
        same("RLIMIT_NOFILE", &seen["rlimits"]["RLIMIT_NOFILE"], &json!(["300", "400"]))
    }),
    test("C4", "exec --cwd, --env and --user are obeyed", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let options = ["--cwd", "/tmp", "--env", "ADDED=yes", "--env", "TERM=other", "--user", "1000:1001"];
        let seen = container.exec_with(&options, &["/probe", "report"])?.ok()?.json()?;
        same("cwd", &seen["cwd"], "/tmp")?;
        same("ids", (&seen["uid"], &seen["gid"]), (&json!(1000), &json!(1001)))?;
        let env = strings(&seen["env"]).join(" ");
        check(env.contains("ADDED=yes") && env.contains("TERM=other") && !env.contains("TERM=xterm"), || env)
    }),
    test("C4", "exec --process takes a whole process from a file", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let process = json!({"args": ["/probe", "report"], "cwd": "/tmp", "env": ["ONLY=1"], "user": {"uid": 5, "gid": 6}});
        let path = bed.dir().join("process.json");
        fs::write(&path, process.to_string())?;
        let seen = bed.call(["exec", "--process", &path.to_string_lossy(), container.id()])?.ok()?.json()?;
        same("ids", (&seen["uid"], &seen["gid"]), (&json!(5), &json!(6)))?;
        same("cwd", &seen["cwd"], "/tmp")?;
        check(strings(&seen["env"]).contains(&"ONLY=1"), || format!("{}", seen["env"]))
    }),
    test("C4", "exec --process with a broken file is refused", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let path = bed.dir().join("process.json");
        fs::write(&path, "{\"args\": [")?;
        bed.call(["exec", "--process", &path.to_string_lossy(), container.id()])?.refused(&[])
    }),
    test("C4", "exec --detach --pid-file comes back with the pid", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let path = bed.dir().join("pid").to_string_lossy().into_owned();
        container.exec_with(&["--detach", "--pid-file", &path], &["/probe", "idle"])?.ok()?;
        let pid = fs::read_to_string(&path)?;
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        same("command line", line.replace('\0', " ").trim(), "/probe idle")
    }),
    test("C4", "exec --tty gives a terminal by the console socket", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let receiver = Receiver::listen(bed.dir(), "console")?;
        let path = receiver.path.to_string_lossy().into_owned();
        container
            .exec_with(&["--tty", "--detach", "--console-socket", &path], &["/probe", "report"])?
            .ok()?;
        let mut received = receiver.receive()?;
        same("file descriptors", received.fds.len(), 1)?;
        let seen = report_from(&mut File::from(received.fds.remove(0)))?;
        check(!seen["terminals"][0].is_null(), || "stdin is no terminal".into())
    }),
    test("C4", "exec of a missing program ends with 255 and the text that engines look for", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let called = container.exec(&["nope"])?;
        called.refused(&["executable file not found in $PATH"])?;
        same("exit code", called.code(), 255)
    }),
    test("C4", "exec in a created and in a stopped container", |bed| {
        let container = bed.waiting(&Spec::new())?;
        container.stop()?;
        container.exec(&["/probe", "true"])?.refused(&["stopped", "not running"])
    }),
    test("C4", "exec --preserve-fds hands on descriptors", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let call = bed.command(["exec", "--preserve-fds", "1", container.id(), "/probe", "report"]);
        let seen = call.after("exec 3</dev/zero 4</dev/full").call()?.ok()?.json()?;
        same("descriptors", super::process::descriptors(&seen), ["0", "1", "2", "3"])
    }),
    test("C4", "exec in a paused container is refused, not stuck", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["pause", container.id()])?.ok()?;
        let called = container.exec(&["/probe", "true"]);
        bed.call(["resume", container.id()])?.ok()?;
        called?.refused(&["paused"])
    }),
    test("C5", "list prints a table with the columns that people and scripts know", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let called = bed.call(["list"])?.ok()?;
        let header = called.stdout.lines().next().unwrap_or_default().to_owned();
        let columns: Vec<_> = header.split_whitespace().collect();
        same("header", columns.join(" "), "ID PID STATUS BUNDLE CREATED OWNER")?;
        let row = called.stdout.lines().nth(1).unwrap_or_default();
        check(row.starts_with(container.id()) && row.contains("running"), || row.to_owned())
    }),
    test("C5", "list --format json is an array of states", |bed| {
        let container = bed.waiting(&Spec::new())?;
        for options in [&["--format=json"][..], &["-f", "json"], &["--format", "json"]] {
            let list = bed.call([&["list"], options].concat())?.ok()?.json()?;
            let entry = &list[0];
            same("id", &entry["id"], container.id())?;
            same("status", &entry["status"], "running")?;
            check(entry["pid"].is_number() && entry["bundle"].is_string(), || entry.to_string())?;
            check(entry["created"].as_str().is_some_and(|time| time.contains('T')), || entry.to_string())?;
            check(entry["owner"].is_string(), || entry.to_string())?;
        }
        Ok(())
    }),
    test("C5", "list of nothing works, as text and as JSON", |bed| {
        bed.call(["list"])?.ok()?;
        let value = bed.call(["list", "--format", "json"])?.ok()?.json()?;
        check(value.is_null() || value == json!([]), || value.to_string())?;
        same("list -q", bed.call(["list", "-q"])?.ok()?.stdout, "")
    }),
    test("C5", "list -q prints ids alone", |bed| {
        let container = bed.waiting(&Spec::new())?;
        same("ids", bed.call(["list", "-q"])?.ok()?.stdout.trim(), container.id())
    }),
    test("C5", "list with an unknown format is refused", |bed| {
        bed.call(["list", "--format", "yaml"])?.refused(&["format", "yaml"])
    }),
    test("C5", "ps --format json lists the pids of the container", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let pids = bed.call(["ps", "--format", "json", container.id()])?.ok()?.json()?;
        same("pids", &pids, &json!([container.pid()?.as_raw_pid()]))
    }),
    test("C5", "ps prints the lines of ps(1) for the container alone", |bed| {
        if !std::path::Path::new("/bin/ps").exists() && !std::path::Path::new("/usr/bin/ps").exists() {
            return skip("this machine has no ps");
        }
        let container = bed.waiting(&Spec::new())?;
        let called = bed.call(["ps", container.id()])?.ok()?;
        let lines: Vec<_> = called.stdout.lines().collect();
        same("lines", lines.len(), 2)?;
        check(lines[0].contains("PID") && lines[1].contains("/probe wait"), || called.stdout.clone())
    }),
    test(
        "C5",
        "spec writes a config.json that runs once its rootfs is there, and never overwrites one",
        |bed| {
            let dir = bed.dir().join("made");
            fs::create_dir(&dir)?;
            bed.command(["spec"]).cwd(&dir).call()?.ok()?;
            let value: Value = serde_json::from_slice(&fs::read(dir.join("config.json"))?)?;
            check(value["ociVersion"].is_string() && value["process"]["args"].is_array(), || {
                value.to_string()
            })?;
            check(
                value["process"]["capabilities"]["inheritable"].as_array().is_none_or(Vec::is_empty),
                || "inheritable capabilities".into(),
            )?;
            bed.command(["spec"]).cwd(&dir).call()?.refused(&["exist"])
        },
    ),
    test("C6", "--log FILE with --log-format json has one object with level, msg and time per line", |bed| {
        let bundle = bed.bundle(&Spec::new().mount("/mnt", "nonsensefs", "none", &[]))?;
        let log = bed.dir().join("log.json");
        fs::write(&log, "{\"level\":\"info\",\"msg\":\"first\",\"time\":\"2026-01-01T00:00:00Z\"}\n")?;
        logged(bed, &log, "json", &["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?
            .refused(&[])?;
        let text = fs::read_to_string(&log)?;
        let lines: Vec<Value> = match text.lines().map(serde_json::from_str).collect() {
            Ok(lines) => lines,
            Err(error) => return fail(format!("{error} in {text}")),
        };
        same("first line, which was there before", &lines[0]["msg"], "first")?;
        let Some(error) = lines.iter().rfind(|line| line["level"] == "error") else {
            return fail(format!("no error in {text}"));
        };
        check(
            error["msg"].as_str().is_some_and(|msg| msg.contains("/mnt") || msg.contains("nonsensefs")),
            || error.to_string(),
        )?;
        let time = error["time"].as_str().unwrap_or_default();
        check(time.len() >= 20 && time.as_bytes()[10] == b'T', || format!("time {time:?}"))
    }),
    test("C6", "--log FILE in text has level=error, and stderr has the error too", |bed| {
        let bundle = bed.bundle(&Spec::new().mount("/mnt", "nonsensefs", "none", &[]))?;
        let log = bed.dir().join("log.txt");
        let called =
            logged(bed, &log, "text", &["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
        let text = fs::read_to_string(&log)?;
        check(text.contains("level=error"), || text.clone())?;
        check(!called.stderr.trim().is_empty(), || "nothing on stderr".into())
    }),
    test("C6", "a command that works writes no error", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "true"]))?;
        let log = bed.dir().join("log.json");
        let called =
            logged(bed, &log, "json", &["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?
                .ok()?;
        let text = fs::read_to_string(&log).unwrap_or_default();
        check(!text.contains("error") && called.stderr.is_empty(), || format!("{text}{}", called.stderr))
    }),
    test("C7", "events --stats prints one object of type stats with cpu, memory and pids", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let called = bed.call(["events", "--stats", container.id()])?.ok()?;
        let event: Value = serde_json::from_str(called.stdout.lines().next().unwrap_or_default())?;
        same("type", &event["type"], "stats")?;
        same("id", &event["id"], container.id())?;
        let data = &event["data"];
        // A number that is 0 may be left out.
        check(data["cpu"]["usage"].is_object(), || data["cpu"].to_string())?;
        check(data["memory"]["usage"]["limit"].is_number(), || data["memory"].to_string())?;
        same("pids", &data["pids"]["current"], 1)
    }),
    test("C7", "events --interval prints objects again and again", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let running = bed.command(["events", "--interval", "100ms", container.id()]).spawn()?;
        std::thread::sleep(std::time::Duration::from_millis(1500));
        container.stop()?;
        std::thread::sleep(std::time::Duration::from_millis(300));
        running.signal(rustix::process::Signal::TERM);
        let called = running.finish(crate::runtime::PATIENCE)?;
        let count = called.stdout.lines().filter(|line| line.contains("\"stats\"")).count();
        check(count >= 2, || format!("{count} objects; {}", called.stderr))
    }),
    test("C8", "update changes limits by options and by JSON", |bed| {
        crate::cgroup::hierarchy("pids")?;
        let container = bed.waiting(&Spec::new())?;
        bed.call(["update", "--pids-limit", "33", "--cpu-share", "300", container.id()])?.ok()?;
        super::cgroups::holds(&container, "pids", ("pids.max", "33"), ("pids.max", "33"))?;
        three_hundred_shares(&container)?;
        let mut update = json!({"pids": {"limit": 44}});
        let has_memory = crate::cgroup::hierarchy("memory").is_ok();
        if has_memory {
            update["memory"] = json!({"limit": 64 << 20});
        }
        let update = update.to_string();
        bed.command(["update", "--resources", "-", container.id()]).stdin(update.clone()).call()?.ok()?;
        super::cgroups::holds(&container, "pids", ("pids.max", "44"), ("pids.max", "44"))?;
        if has_memory {
            let files = (("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"));
            super::cgroups::holds(&container, "memory", files.0, files.1)?;
        }
        three_hundred_shares(&container)?;
        let path = bed.dir().join("resources.json");
        fs::write(&path, update.replace("44", "55"))?;
        bed.call(["update", &format!("--resources={}", path.display()), container.id()])?.ok()?;
        super::cgroups::holds(&container, "pids", ("pids.max", "55"), ("pids.max", "55"))
    }),
    test("C8", "update --memory takes a suffix", |bed| {
        crate::cgroup::hierarchy("memory")?;
        let container = bed.waiting(&Spec::new())?;
        bed.call(["update", "--memory", "64m", container.id()])?.ok()?;
        super::cgroups::holds(
            &container,
            "memory",
            ("memory.limit_in_bytes", "67108864"),
            ("memory.max", "67108864"),
        )
    }),
    test("C8", "update with broken JSON or a wrong number is refused", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.command(["update", "--resources", "-", container.id()])
            .stdin("{\"pids\":")
            .call()?
            .refused(&[])?;
        bed.call(["update", "--pids-limit", "many", container.id()])?.refused(&[])
    }),
    test("C9", "pause stops the processes and resume lets them go on", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["pause", container.id()])?.ok()?;
        container.kill("USR1")?;
        std::thread::sleep(std::time::Duration::from_millis(200));
        let early = container.output();
        bed.call(["resume", container.id()])?.ok()?;
        check(!early.contains("signal 10"), || "the program ran while paused".into())?;
        container.until_output("signal 10").map(drop)
    }),
    test("C9", "resume of a container that is not paused is refused", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["resume", container.id()])?.refused(&["paused"])
    }),
    test("C9", "kill KILL ends a paused container", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["pause", container.id()])?.ok()?;
        bed.call(["delete", "--force", container.id()])?.ok()?;
        let left = bed.leftovers(&container.bundle);
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
    }),
    test("C9", "kill --all reaches every process of a container without pid namespace", |bed| {
        let spec =
            Spec::new().no_namespace("pid").no_mount("/proc").mount("/proc", "bind", "/proc", &["rbind"]);
        let container = bed.waiting(&spec)?;
        container.exec_with(&["--detach"], &["/probe", "idle"])?.ok()?;
        check(container.bundle.processes().len() == 2, || "there are not two processes".into())?;
        bed.call(["kill", "--all", container.id(), "KILL"])?.ok()?;
        container.until("the end of both", || Ok(container.bundle.processes().is_empty().then_some(())))
    }),
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
            super::features::lists_annotation(bed, "run.oci.pidfd_receiver")?;
            let receiver = Receiver::listen(bed.dir(), "pidfd")?;
            let path = receiver.path.to_string_lossy().into_owned();
            let bundle =
                bed.bundle(&Spec::new().set("/annotations", json!({"run.oci.pidfd_receiver": path})))?;
            bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
            same("file descriptors", receiver.receive()?.fds.len(), 1)
        },
    ),
    test("C10", "the console socket gets one message with the master alone", |bed| {
        let bundle = bed.bundle(&Spec::new().set("/process/terminal", true))?;
        let receiver = Receiver::listen(bed.dir(), "console")?;
        let path = receiver.path.to_string_lossy().into_owned();
        bed.call([
            "create",
            "--console-socket",
            &path,
            "--bundle",
            &bundle.dir.to_string_lossy(),
            &bundle.id,
        ])?
        .ok()?;
        let received = receiver.receive()?;
        same("file descriptors", received.fds.len(), 1)?;
        check(!received.bytes.is_empty(), || "no payload".into())?;
        check(received.closed, || "the connection stays open".into())?;
        let size = rustix::termios::tcgetwinsize(&received.fds[0]);
        check(size.is_ok(), || "the descriptor is no terminal".into())
    }),
];

/// A call with `--log`.
fn logged(bed: &Bed<'_>, log: &std::path::Path, format: &str, words: &[&str]) -> Outcome<Called> {
    crate::runtime::Invocation::new(&bed.runtime.path, bed.dir())
        .args(&bed.runtime.globals)
        .args([
            "--log",
            &log.to_string_lossy(),
            "--log-format",
            format,
            "--root",
            &bed.root().to_string_lossy(),
        ])
        .args(words)
        .call()
}

/// On v2 as one of the two formulas in use converts them.
fn three_hundred_shares(container: &crate::Container<'_, '_>) -> Outcome {
    let place = super::cgroups::place(container, "cpu")?;
    if !place.v2 {
        return same("cpu.shares", place.read("cpu.shares")?, "300");
    }
    let weight = place.read("cpu.weight")?;
    check(["12", "39"].contains(&weight.as_str()), || format!("cpu.weight is {weight}"))
}
