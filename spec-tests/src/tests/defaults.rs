//! Annotations, default file systems, devices and links, terminal: rows A47, A48, A99 to A107.

use crate::console::{Receiver, read_until, straightens};
use crate::observe::{mount_at, options};
use crate::outcome::{Outcome, check, fail, same};
use crate::{Bed, Spec, Test, test};
use serde_json::{Value, json};
use std::fs::File;

pub(super) const TESTS: &[Test] = &[
    test(
        "A47 A105",
        "a terminal is the container's stdio, its controlling terminal and /dev/console",
        terminal,
    ),
    test("A47", "without terminal stdio is what the caller gave", |bed| {
        let seen = bed.report(&Spec::new())?;
        same("terminals", &seen["terminals"], &json!([null, null, null]))?;
        check(mount_at(&seen, "/dev/console").is_err(), || "there is a /dev/console".into())
    }),
    test("A47", "what is typed reaches the program", |bed| {
        let (mut master, _container) =
            with_terminal(bed, Spec::new().set("/process/terminal", true).args(&["/probe", "cat"]))?;
        std::io::Write::write_all(&mut master, b"hello\n")?;
        read_until(&mut master, "hello").map(drop)
    }),
    test("A47", "a terminal given to a console socket turns line feeds into line ends", |bed| {
        let spec = Spec::new().set("/process/terminal", true).args(&["/probe", "say", "one", "two"]);
        let (mut master, _container) = with_terminal(bed, spec)?;
        check(straightens(&master)?, || "its lines would be a staircase".into())?;
        read_until(&mut master, "one\r\n").map(drop)
    }),
    test("A48", "consoleSize is the size of the terminal", |bed| {
        let spec = Spec::new()
            .set("/process/terminal", true)
            .set("/process/consoleSize", json!({"height": 33, "width": 111}));
        let (mut master, _container) = with_terminal(bed, spec)?;
        let seen = report_from(&mut master)?;
        same("rows and columns", &seen["terminals"][0], &json!([33, 111]))
    }),
    test("A48", "consoleSize without terminal is ignored", |bed| {
        let spec = Spec::new().set("/process/consoleSize", json!({"height": 33, "width": 111}));
        same("terminals", &bed.report(&spec)?["terminals"], &json!([null, null, null]))
    }),
    test("A47", "a detached terminal without --console-socket is refused", |bed| {
        let spec = Spec::new().set("/process/terminal", true);
        bed.refuses_call(&spec, &[], &["console"])
    }),
    test("A47", "--console-socket without terminal is refused", |bed| {
        let receiver = Receiver::listen(bed.dir(), "console")?;
        let path = receiver.path.to_string_lossy().into_owned();
        bed.refuses_call(&Spec::new(), &["--console-socket", &path], &["console", "terminal"])
    }),
    test("A47", "a --console-socket where nobody listens is refused, and nothing stays", |bed| {
        let path = bed.dir().join("nobody").to_string_lossy().into_owned();
        let spec = Spec::new().set("/process/terminal", true);
        bed.refuses_call(&spec, &["--console-socket", &path], &["console", &path])
    }),
    test("A99", "an empty annotation key is refused", |bed| {
        bed.refuses(&Spec::new().set("/annotations", json!({"": "value"})), &["annotation"])
    }),
    test("A99", "an annotation that is no string is refused", |bed| {
        bed.refuses(&Spec::new().set("/annotations", json!({"key": 1})), &["annotation"])
    }),
    test("A100", "annotations are part of the state", |bed| {
        let container = bed.create(
            &bed.bundle(&Spec::new().set("/annotations", json!({"org.example.key": "a \"value\"\n"})))?,
        )?;
        same("annotation", &container.state()?["annotations"]["org.example.key"], "a \"value\"\n")
    }),
    test(
        "A101",
        "kill without a signal sends TERM, and leaves the stop signal of the image to engines",
        |bed| {
            let annotation = json!({"org.opencontainers.image.stopSignal": "SIGUSR1"});
            let container = bed.waiting(&Spec::new().set("/annotations", annotation))?;
            bed.call(["kill", container.id()])?.ok()?;
            container.until_output("signal 15").map(drop)
        },
    ),
    test("A102", "an annotation called bundle does not disturb the state", |bed| {
        let container =
            bed.create(&bed.bundle(&Spec::new().set("/annotations", json!({"bundle": "mine"})))?)?;
        let state = container.state()?;
        same("annotation", &state["annotations"]["bundle"], "mine")?;
        same("bundle", state["bundle"].as_str(), Some(container.bundle.dir.to_string_lossy().as_ref()))
    }),
    test("A103", "/proc /sys /dev /dev/pts /dev/shm are there when no mounts are configured", |bed| {
        let spec =
            Spec::new().without("/mounts").without("/linux/maskedPaths").without("/linux/readonlyPaths");
        let seen = bed.report(&spec)?;
        for (place, kind) in
            [("/proc", "proc"), ("/sys", "sysfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs")]
        {
            same(place, &mount_at(&seen, place)?["type"], kind)?;
        }
        Ok(())
    }),
    test("A103", "a list of mounts that leaves one out is kept as it is", |bed| {
        let seen = bed.report(&Spec::new().no_mount("/dev/shm").no_mount("/dev/mqueue"))?;
        check(mount_at(&seen, "/dev/shm").is_err(), || "/dev/shm was added".into())
    }),
    test("A104", "null zero full random urandom tty are supplied with their numbers and modes", |bed| {
        let seen = bed.report(&Spec::new())?;
        for (name, numbers) in [
            ("null", "1:3"),
            ("zero", "1:5"),
            ("full", "1:7"),
            ("random", "1:8"),
            ("urandom", "1:9"),
            ("tty", "5:0"),
        ] {
            let node = &seen["dev"][name];
            same(
                name,
                (&node["type"], &node["rdev"], &node["mode"]),
                (&json!("char"), &json!(numbers), &json!("0666")),
            )?;
        }
        Ok(())
    }),
    test("A104", "the default devices work", |bed| {
        let answers = bed.tries(
            &Spec::new(),
            &[
                &["head", "/dev/zero", "2"],
                &["overwrite", "/dev/null", "x"],
                &["overwrite", "/dev/full", "x"],
                &["head", "/dev/urandom", "4"],
            ],
        )?;
        same("zero", answers[0].worked()?, &json!([0, 0]))?;
        answers[1].worked()?;
        answers[2].failed(&[28])?;
        answers[3].worked().map(drop)
    }),
    test("A104", "the default devices are supplied in a user namespace", |bed| {
        let seen = bed.report(&Spec::new().user_namespace(100_000, 65_536))?;
        for (name, numbers) in [
            ("null", "1:3"),
            ("zero", "1:5"),
            ("full", "1:7"),
            ("random", "1:8"),
            ("urandom", "1:9"),
            ("tty", "5:0"),
        ] {
            same(name, &seen["dev"][name]["rdev"], numbers)?;
        }
        Ok(())
    }),
    test("A106", "/dev/ptmx leads to pts/ptmx, and a terminal can be opened", |bed| {
        let seen = bed.report(&Spec::new())?;
        let target = seen["dev"]["ptmx"]["target"].as_str().unwrap_or_default();
        check(["pts/ptmx", "/dev/pts/ptmx"].contains(&target), || format!("ptmx: {}", seen["dev"]["ptmx"]))?;
        bed.tries(&Spec::new(), &[&["open", "/dev/ptmx"]])?[0].worked().map(drop)
    }),
    test("A107", "/dev/fd stdin stdout stderr are links into /proc", |bed| {
        let seen = bed.report(&Spec::new())?;
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            same(name, &seen["dev"][name]["target"], target)?;
        }
        Ok(())
    }),
    test("A107", "without /proc there are no links into it", |bed| {
        let spec =
            Spec::new().no_mount("/proc").without("/linux/maskedPaths").without("/linux/readonlyPaths");
        let answers =
            bed.tries(&spec, &[&["stat", "/dev/fd"], &["stat", "/dev/stdin"], &["stat", "/dev/null"]])?;
        answers[0].failed(&[2])?;
        answers[1].failed(&[2])?;
        answers[2].worked().map(drop)
    }),
    test("A104", "a /dev that is bound from the host gets nothing from the runtime", |bed| {
        let source = bed.dir().join("dev");
        std::fs::create_dir(&source)?;
        let spec =
            Spec::new().no_mount("/dev").no_mount("/dev/pts").no_mount("/dev/shm").no_mount("/dev/mqueue");
        let bundle = bed.bundle(&spec.mount("/dev", "bind", &source.to_string_lossy(), &["bind"]))?;
        bed.run_bundle(&bundle)?;
        let made = std::fs::read_dir(&source)?.count();
        same("entries made on the host", made, 0)
    }),
];

/// A started container with a terminal, and the terminal's other end.
pub(crate) fn with_terminal<'b, 'a>(
    bed: &'b Bed<'a>,
    spec: Spec,
) -> Outcome<(File, crate::Container<'b, 'a>)> {
    let bundle = bed.bundle(&spec)?;
    let receiver = Receiver::listen(bed.dir(), "console")?;
    let called = bed.create_with_console(&bundle, &receiver)?.ok()?;
    let mut received = receiver.receive()?;
    same("file descriptors on the console socket", received.fds.len(), 1)?;
    let master = File::from(received.fds.remove(0));
    let container = crate::Container { bed, bundle, out: called.out };
    container.start()?;
    Ok((master, container))
}

/// The report that a probe prints on a terminal.
pub(crate) fn report_from(master: &mut File) -> Outcome<Value> {
    let text = read_until(master, "\n")?;
    match serde_json::from_str(text.trim()) {
        Ok(report) => Ok(report),
        Err(error) => fail(format!("no report on the terminal ({error}): {}", crate::runtime::brief(&text))),
    }
}

fn terminal(bed: &Bed<'_>) -> Outcome {
    let (mut master, _container) = with_terminal(bed, Spec::new().set("/process/terminal", true))?;
    let seen = report_from(&mut master)?;
    for fd in ["0", "1", "2"] {
        let target = seen["fds"][fd].as_str().unwrap_or_default();
        check(["/dev/pts/0", "/dev/console"].contains(&target), || format!("fd {fd} is {target}"))?;
    }
    same("session", &seen["sid"], &seen["pid"])?;
    check(seen["dev"]["console"]["type"] == "char", || {
        format!("/dev/console is {}", seen["dev"]["console"])
    })?;
    options(mount_at(&seen, "/dev/console")?, &[], &[])
}
