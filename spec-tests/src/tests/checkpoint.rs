//! Checkpoint and restore: section 3.9 of the checklist, C15 as in `cli`.

use crate::console::{Receiver, read_until};
use crate::criu::{Counter, names};
use crate::network::{self, Network};
use crate::observe::{has_flag, mount_at};
use crate::outcome::{Outcome, check, same};
use crate::{Bed, Spec, Test, anyone, test};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    anyone("C15", "checkpoint --help and restore --help exit 0 and name their options", |bed| {
        for (command, options) in [
            ("checkpoint", &["--image-path", "--leave-running", "--pre-dump", "--manage-cgroups-mode"][..]),
            ("restore", &["--image-path", "--console-socket", "--lsm-profile", "--pid-file"][..]),
        ] {
            let called = bed.call([command, "--help"])?.ok()?;
            for option in options {
                check(called.stdout.contains(option), || format!("{command} --help does not tell {option}"))?;
            }
        }
        Ok(())
    }),
    test("C15", "a restored container goes on where it was, and is one like any other", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        counter.is_gone()?;
        let before = counter.counted()?;
        counter.restore(&[])?.ok()?;
        counter.runs()?;
        check(counter.counted()? > before, || "it does not count".into())?;
        let container = counter.container();
        same("exit code of an exec", container.exec(&["/probe", "exit", "5"])?.code(), 5)?;
        let listed = bed.call(["list", "--format", "json"])?.ok()?.json()?;
        same("status in the list", listed[0]["status"].as_str(), Some("running"))?;
        bed.call(["pause", counter.id()])?.ok()?;
        same("status", container.status()?, "paused")?;
        bed.call(["resume", counter.id()])?.ok()?;
        container.stop()?;
        container.delete()?;
        counter.is_gone()
    }),
    test("C15", "a container can be checkpointed again after a restore", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        for _ in 0..3 {
            counter.checkpoint(&[])?.ok()?;
            counter.restore_command(&["--detach"]).after("exec </dev/null >/dev/null 2>&1").call()?.ok()?;
            counter.runs()?;
        }
        Ok(())
    }),
    test("C15", "a read-only root is read-only after a restore", |bed| {
        let volume = |spec: Spec| spec.mount("/data", "bind", "rootfs/data", &["bind", "rw"]);
        let counter = Counter::start(bed, &volume(Spec::new().set("/root/readonly", true)))?;
        counter.checkpoint(&[])?.ok()?;
        counter.restore(&[])?.ok()?;
        counter.runs()?;
        let script: &[&[&str]] = &[&["write", "/etc/file", "x"], &["write", "/data/file", "x"]];
        let answers = counter.container().tries(script)?;
        answers[0].failed(&[30])?;
        answers[1].worked().map(drop)
    }),
    test(
        "C15",
        "a restore that ignores cgroups makes no cgroup namespace, and warns where one is asked for",
        |bed| {
            let ignoring = &["--manage-cgroups-mode", "ignore"];
            let counter = Counter::start(bed, &Spec::new().no_namespace("cgroup"))?;
            counter.checkpoint(ignoring)?.ok()?;
            counter.restore(ignoring)?.ok()?;
            counter.runs()?;
            let counter = Counter::start(bed, &Spec::new().no_namespace("cgroup").namespace("cgroup", None))?;
            counter.checkpoint(&[])?.ok()?;
            let restored = counter.restore(ignoring)?.ok()?;
            check(restored.stderr.contains("cgroup namespace"), || restored.stderr.clone())?;
            counter.runs()?;
            let container = counter.container();
            let own = fs::read_link("/proc/self/ns/cgroup")?;
            same("namespace", fs::read_link(format!("/proc/{}/ns/cgroup", container.pid()?))?, own)?;
            same("exit code of an exec", container.exec(&["/probe", "exit", "5"])?.code(), 5)
        },
    ),
    test("C15", "--leave-running lets the container go on", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        let pid = counter.container().pid()?;
        counter.checkpoint(&["--leave-running"])?.ok()?;
        counter.runs()?;
        same("pid", counter.container().pid()?, pid)?;
        counter.container().stop()?;
        counter.container().delete()?;
        counter.bundle.file("data/count", "")?;
        counter.restore(&[])?.ok()?;
        same("status", counter.container().status()?, "running")
    }),
    test(
        "C15",
        "of a directory of two checkpoints the last one counts, with fewer processes than the first",
        twice,
    ),
    test(
        "C15",
        "network devices that were moved into a namespace that is joined are there after a restore",
        devices,
    ),
    test("C15", "--work-path gets the logs and --image-path the images", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        counter.restore(&[])?.ok()?;
        let (images, work) = (names(&counter.images)?, names(&counter.work)?);
        for log in ["dump.log", "restore.log"] {
            check(work.iter().any(|name| name == log), || format!("no {log} in {work:?}"))?;
            check(images.iter().all(|name| name != log), || format!("{log} in {images:?}"))?;
        }
        for image in ["inventory.img", "descriptors.json"] {
            check(images.iter().any(|name| name == image), || format!("no {image} in {images:?}"))?;
        }
        Ok(())
    }),
    test("C15", "without --image-path the images are in ./checkpoint", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        counter.call(["checkpoint", counter.id()]).cwd(bed.dir()).call()?.ok()?;
        check(bed.dir().join("checkpoint/inventory.img").is_file(), || "no images there".into())?;
        let dir = counter.bundle.dir.to_string_lossy();
        let restore = ["restore", "-d", "-b", &dir, counter.id()];
        counter.call(restore).cwd(bed.dir()).call()?.ok()?;
        counter.runs()
    }),
    test("C15", "--pre-dump saves memory that a checkpoint with --parent-path builds on", |bed| {
        let mut counter = Counter::start(bed, &Spec::new())?;
        counter.images = bed.dir().join("pre");
        let called = counter.checkpoint(&["--pre-dump"])?;
        if called.stderr.contains("missing features") {
            return crate::outcome::skip(
                "this kernel does not track memory (criu check --feature mem_dirty_track)",
            );
        }
        called.ok()?;
        counter.runs()?;
        counter.images = bed.dir().join("images");
        counter.checkpoint(&["--parent-path", "../pre"])?.ok()?;
        check(counter.images.join("parent").symlink_metadata().is_ok(), || "no link to the parent".into())?;
        counter.restore(&[])?.ok()?;
        counter.runs()
    }),
    test("C15", "--parent-path must be relative, exist and be a directory", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        fs::write(bed.dir().join("file"), "")?;
        for bad in ["/tmp", "../none", "../file"] {
            counter.checkpoint(&["--parent-path", bad])?.refused(&["parent-path", "parent path"])?;
        }
        counter.runs()
    }),
    test("C15", "mounts of the host are there again, directories and files, with their options", mounts),
    test(
        "C15 C11",
        "a container with mounts that were added is not checkpointed until they are removed",
        |bed| {
            let counter = Counter::start(bed, &Spec::new())?;
            let file = bed.dir().join("list.json");
            fs::write(
                &file,
                json!([{"destination": "/added", "type": "tmpfs", "source": "tmpfs"}]).to_string(),
            )?;
            let change = |verb| bed.call(["mounts", verb, counter.id(), &file.to_string_lossy()]);
            if !change("add")?.status.success() {
                return crate::outcome::skip("the runtime cannot add mounts");
            }
            counter.checkpoint(&[])?.refused(&["/added"])?;
            counter.runs()?;
            change("remove")?.ok()?;
            counter.checkpoint(&[])?.ok()?;
            counter.restore(&[])?.ok()?;
            change("remove")?.refused(&["/added"])
        },
    ),
    test("C15", "masked and read-only paths are so again", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        counter.restore(&[])?.ok()?;
        let report = counter.container().exec(&["/probe", "report"])?.ok()?.json()?;
        for path in ["/proc/sys", "/proc/irq"] {
            check(has_flag(mount_at(&report, path)?, "ro"), || format!("{path} is writable"))?;
        }
        let masked = ["/proc/keys", "/proc/timer_list"].into_iter().filter(|path| Path::new(path).exists());
        for path in masked {
            let answers = counter.container().tries(&[&["read", path]])?;
            same(path, answers[0].worked()?.as_str(), Some(""))?;
        }
        counter.container().tries(&[&["write", "/proc/sysrq-trigger", ""]])?[0].failed(&[])
    }),
    test("C15", "a terminal comes back over --console-socket", terminal),
    test("C15", "what the container writes goes to the streams of restore", |bed| {
        let counter = Counter::prepare(bed, &Spec::new().args(&["/probe", "cat"]))?;
        let dir = counter.bundle.dir.to_string_lossy().into_owned();
        let container = counter.container();
        let run =
            |round: &str, command: crate::runtime::Invocation| -> Outcome<(crate::runtime::Running, File)> {
                let (input, output) =
                    (bed.dir().join(format!("in.{round}")), bed.dir().join(format!("out.{round}")));
                nix::unistd::mkfifo(&input, nix::sys::stat::Mode::S_IRWXU).map_err(std::io::Error::from)?;
                // A pipe on either side; the read end stays open until the writer is dropped.
                let pipes = format!(
                    "cat <{} | \"$0\" \"$@\" 2>&1 | cat >{} & wait; exit",
                    input.display(),
                    output.display()
                );
                let running = command.after(&pipes).spawn()?;
                let mut writer = File::options().write(true).open(&input)?;
                writer.write_all(round.as_bytes())?;
                writer.write_all(b"\n")?;
                container.until(&format!("{round} in {}", output.display()), || {
                    Ok(fs::read_to_string(&output).unwrap_or_default().contains(round).then_some(()))
                })?;
                Ok((running, writer))
            };
        let (first, _writer) =
            run("first", counter.call(["run", "--detach", "--bundle", &dir, counter.id()]))?;
        counter.checkpoint(&[])?.ok()?;
        let (second, _writer) = run("second", counter.restore_command(&["--detach"]))?;
        container.stop()?;
        for running in [first, second] {
            running.signal(rustix::process::Signal::KILL);
        }
        Ok(())
    }),
    test("C15", "restore in the foreground gives the exit code and leaves nothing", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        let running = counter.restore_command(&[]).spawn()?;
        counter.container().until("the container to run", || {
            Ok((counter.bed.call(["state", counter.id()])?.status.success()).then_some(()))
        })?;
        counter.runs()?;
        counter.tell_to_stop()?;
        same("exit code", running.finish(Duration::from_secs(30))?.code(), 7)?;
        counter.is_gone()
    }),
    test("C15", "restore --pid-file holds the pid", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        let file = bed.dir().join("pid").to_string_lossy().into_owned();
        counter.restore(&["--pid-file", &file])?.ok()?;
        same("pid file", fs::read_to_string(&file)?, counter.container().pid()?.as_raw_pid().to_string())
    }),
    test("C15", "limits after a restore are those of this configuration", |bed| {
        let spec = Spec::new().set("/linux/resources/pids", json!({"limit": 50}));
        let counter = Counter::start(bed, &spec)?;
        counter.checkpoint(&[])?.ok()?;
        let config = Spec(counter.bundle.spec()?).set("/linux/resources/pids/limit", 40);
        counter.bundle.write_spec(&config)?;
        counter.restore(&[])?.ok()?;
        counter.runs()?;
        let limit = crate::cgroup::of(counter.container().pid()?, "pids")?.read("pids.max")?;
        same("pids.max", limit.trim(), "40")
    }),
    test("C15", "hooks of the runtime run at a restore, while the namespaces are empty", |bed| {
        let log = bed.dir().join("hooks");
        let counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        let hook =
            json!({"path": counter.bundle.rootfs.join("probe"), "args": ["probe", "hook", log, "network"]});
        counter.bundle.write_spec(&Spec(counter.bundle.spec()?).hook("createRuntime", hook))?;
        counter.restore(&[])?.ok()?;
        let line: serde_json::Value = serde_json::from_str(fs::read_to_string(&log)?.trim())?;
        let state: serde_json::Value = serde_json::from_str(line["stdin"].as_str().unwrap_or("null"))?;
        same("id", state["id"].as_str(), Some(counter.id()))?;
        same("pid", state["pid"].as_i64(), Some(i64::from(counter.container().pid()?.as_raw_pid())))
    }),
    test("C15", "a paused container can be checkpointed, and stays paused", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        bed.call(["pause", counter.id()])?.ok()?;
        counter.checkpoint(&["--leave-running"])?.ok()?;
        same("status", counter.container().status()?, "paused")?;
        bed.call(["resume", counter.id()])?.ok()?;
        counter.runs()?;
        counter.container().stop()?;
        counter.container().delete()?;
        counter.bundle.file("data/count", "")?;
        counter.restore(&[])?.ok()?;
        same("status", counter.container().status()?, "running")
    }),
];

fn mounts(bed: &Bed<'_>) -> Outcome {
    let sources = bed.dir().join("sources");
    fs::create_dir_all(sources.join("tree/sub"))?;
    fs::write(sources.join("tree/sub/file"), "tree")?;
    fs::write(sources.join("hosts"), "hosts")?;
    fs::create_dir(sources.join("over"))?;
    fs::write(sources.join("over/file"), "over")?;
    let source = |name: &str| sources.join(name).to_string_lossy().into_owned();
    let spec = Spec::new()
        .mount("/etc/hosts", "bind", &source("hosts"), &["bind", "ro"])
        .mount("/vol", "bind", &source("tree"), &["rbind", "rprivate", "nosuid", "noexec", "nodev"])
        .mount("/vol/sub", "bind", &source("over"), &["bind", "ro"])
        .mount("/etc/link/deep", "bind", &source("hosts"), &["bind"])
        .args(&["/probe", "count", "/data/count"]);
    let counter = Counter::start_as(bed, &spec, |bundle| {
        bundle.directory("elsewhere")?;
        symlink("../elsewhere", bundle.rootfs.join("etc/link"))
    })?;
    counter.checkpoint(&[])?.ok()?;
    // Same names, different contents: the current ones count.
    fs::rename(sources.join("hosts"), sources.join("hosts.old"))?;
    fs::write(sources.join("hosts"), "hosts of now")?;
    counter.restore(&[])?.ok()?;
    counter.runs()?;
    let answers = counter.container().tries(&[
        &["read", "/etc/hosts"],
        &["read", "/vol/sub/file"],
        &["read", "/elsewhere/deep"],
        &["overwrite", "/etc/hosts", "x"],
        &["write", "/vol/sub/file", "x"],
        &["write", "/vol/new", "x"],
    ])?;
    for (answer, text) in answers.iter().zip(["hosts of now", "over", "hosts of now"]) {
        same(&answer.op, answer.worked()?.as_str(), Some(text))?;
    }
    answers[3].failed(&[30])?;
    answers[4].failed(&[30])?;
    answers[5].worked()?;
    let report = counter.container().exec(&["/probe", "report"])?.ok()?.json()?;
    for (place, flags) in [("/etc/hosts", &["ro"][..]), ("/vol", &["nosuid", "noexec", "nodev"])] {
        let mount = mount_at(&report, place)?;
        for flag in flags {
            check(has_flag(mount, flag), || format!("{place} is not {flag}: {mount}"))?;
        }
    }
    Ok(())
}

fn devices(bed: &Bed<'_>) -> Outcome {
    let (host, joined) = (Network::new()?, Network::new()?);
    host.veth("suite0", "peer0")?;
    let spec = Spec::new()
        .args(&["/probe", "count", "/data/count"])
        .set("/linux/netDevices", json!({"suite0": {}}))
        .namespace("network", Some(&joined.path()));
    let counter = Counter::prepare(bed, &spec)?;
    let dir = counter.bundle.dir.to_string_lossy().into_owned();
    let run = counter.call(["run", "--detach", "--bundle", &dir, counter.id()]).in_network(&host.path());
    run.after("exec </dev/null >/dev/null 2>&1").call()?.ok()?;
    counter.goes_on()?;
    counter.checkpoint(&[])?.ok()?;
    counter.restore(&[])?.ok()?;
    counter.runs()?;
    same("names there", network::names(&network::of(counter.container().pid()?))?, ["lo", "suite0"])
}

/// What engines do that first keep the container going and save it again at the end.
fn twice(bed: &Bed<'_>) -> Outcome {
    // The images of the first two processes to end are the largest: those of smaller ones replace their pages.
    let sizes = [12, 9, 2, 1];
    let spec = Spec::new().args(&["/probe", "family", "12", "9", "2", "1"]);
    let counter = Counter::start_as(bed, &spec, |_| Ok(()))?;
    let container = counter.container();
    let children = || -> Outcome<Vec<(u32, u64)>> {
        let pid = container.pid()?.as_raw_nonzero();
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let held = |pid: u32| {
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
            statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) / 256
        };
        Ok(list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(|pid| (pid, held(pid))).collect())
    };
    let until = |sizes: &[u64]| {
        container.until(&format!("children with {sizes:?} MiB"), || {
            let now = children()?;
            let whole =
                now.len() == sizes.len() && now.iter().zip(sizes).all(|(child, size)| child.1 >= *size);
            Ok(whole.then_some(now))
        })
    };
    let mut alive = until(&sizes)?;
    for round in 1..sizes.len() {
        counter.checkpoint(&["--leave-running"])?.ok()?;
        let (pid, _) = alive.remove(0);
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)
                .map_err(std::io::Error::from)?;
        }
        until(&sizes[round..])?;
    }
    counter.checkpoint(&[])?.ok()?;
    counter.restore(&[])?.ok()?;
    same("status", container.status()?, "running")?;
    until(&sizes[3..])?;
    container.stop()
}

fn terminal(bed: &Bed<'_>) -> Outcome {
    let spec = Spec::new().args(&["/probe", "cat"]).set("/process/terminal", true);
    let counter = Counter::prepare(bed, &spec)?;
    let receiver = Receiver::listen(bed.dir(), "console")?;
    let socket = receiver.path.to_string_lossy().into_owned();
    let dir = counter.bundle.dir.to_string_lossy().into_owned();
    counter
        .call(["run", "--detach", "--console-socket", &socket, "--bundle", &dir, counter.id()])
        .call()?
        .ok()?;
    let mut master = File::from(receiver.receive()?.fds.remove(0));
    master.write_all(b"one\n")?;
    echoed(&mut master, "one")?;
    counter.checkpoint(&[])?.ok()?;
    drop(master);
    fs::remove_file(&receiver.path)?;
    let receiver = Receiver::listen(bed.dir(), "console")?;
    counter.restore(&["--console-socket", &socket])?.ok()?;
    let mut master = File::from(receiver.receive()?.fds.remove(0));
    master.write_all(b"two\n")?;
    echoed(&mut master, "two")?;
    let report = counter.container().exec(&["/probe", "report"])?.ok()?.json()?;
    mount_at(&report, "/dev/console")?;
    counter.container().stop()
}

/// Waits for a word twice: once as the echo of the terminal, once from the program.
fn echoed(master: &mut File, word: &str) -> Outcome {
    let text = read_until(master, word)?;
    if text.matches(word).count() < 2 {
        read_until(master, word)?;
    }
    Ok(())
}
