//! exec (C4).

use crate::console::{Receiver, read_until, straightens};
use crate::observe::strings;
use crate::outcome::{check, same};
use crate::tests::cli::call::foreground;
use crate::tests::defaults::report_from;
use crate::{Spec, Test, test};
use serde_json::json;
use std::fs::{self, File};

pub(in crate::tests) const TESTS: &[Test] = &[
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
    test("C4", "a terminal that exec gives to a console socket turns line feeds into line ends", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let receiver = Receiver::listen(bed.dir(), "console")?;
        let path = receiver.path.to_string_lossy().into_owned();
        let options = ["--tty", "--detach", "--console-socket", &path];
        container.exec_with(&options, &["/probe", "say", "one", "two"])?.ok()?;
        let mut master = File::from(receiver.receive()?.fds.remove(0));
        check(straightens(&master)?, || "its lines would be a staircase".into())?;
        read_until(&mut master, "one\r\n").map(drop)
    }),
    test(
        "C4",
        "a terminal that exec copies to the caller's has straight lines, which the caller's makes",
        |bed| {
            let container = bed.waiting(&Spec::new())?;
            foreground(bed, &["exec", "--tty", container.id(), "/probe", "say", "one", "two"])
        },
    ),
    test("C4", "exec of a missing program ends with 255 and the text that engines look for", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let called = container.exec(&["nope"])?;
        called.refused(&["executable file not found in $PATH"])?;
        same("exit code", called.code(), 255)
    }),
    test("C4", "exec ends with the text that engines look for, and nothing behind it", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let called = container.exec(&["nope"])?;
        let text = "executable file not found in $PATH";
        check(called.stderr.trim_end().trim_end_matches('"').ends_with(text), || called.stderr.clone())
    }),
    test("C4", "exec keeps the bytes of arguments and variables that are not text", |bed| {
        use std::os::unix::ffi::OsStrExt as _;
        let container = bed.waiting(&Spec::new())?;
        let (argument, variable) = (b"a\xffb".as_slice(), b"SUITE=\xfe".as_slice());
        let path = bed.dir().join("pid").to_string_lossy().into_owned();
        let bytes = std::ffi::OsStr::from_bytes;
        let call = bed.command(["exec", "--detach", "--pid-file", &path, "--env"]).args([bytes(variable)]);
        let call = call.args([container.id(), "/probe", "delay", "60000"]).args([bytes(argument)]);
        call.call()?.ok()?;
        let pid = fs::read_to_string(&path)?;
        for (file, text) in [("cmdline", argument), ("environ", variable)] {
            let found = fs::read(format!("/proc/{pid}/{file}"))?;
            check(found.split(|byte| *byte == 0).any(|one| one == text), || {
                format!("{file} is {:?}", String::from_utf8_lossy(&found))
            })?;
        }
        Ok(())
    }),
    test("C4", "exec --user by a name whose group in the image is no number is refused", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
        bundle.file("etc/passwd", "web:x:33:staff::/:/probe\nlist:x:38:38::/:/probe\n")?;
        bundle.file("etc/group", "logs:x:many:list\nstaff:x:50:\n")?;
        let container = bed.create(&bundle)?;
        container.start()?;
        container.until_output("ready")?;
        for user in ["web", "list", "web:logs"] {
            container
                .exec_with(&["--user", user], &["/probe", "report"])?
                .refused(&["not a number", "invalid"])?;
        }
        let seen = container.exec_with(&["--user", "web:staff"], &["/probe", "report"])?.ok()?.json()?;
        same("gid", &seen["gid"], &json!(50))
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
        same("descriptors", crate::tests::process::descriptors(&seen), ["0", "1", "2", "3"])
    }),
    test("C4", "exec in a paused container is refused, not stuck", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["pause", container.id()])?.ok()?;
        let called = container.exec(&["/probe", "true"]);
        bed.call(["resume", container.id()])?.ok()?;
        called?.refused(&["paused"])
    }),
];
