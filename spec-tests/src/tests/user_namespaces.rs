//! What a container in a user namespace gets from a host whose root it is not: mounts, streams, keys, access to its
//! bundle.

use crate::bed::{answers, script_args, script_spec};
use crate::outcome::{Outcome, check, same};
use crate::{Bed, Spec, Test, reaper, root};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The first id of the containers on the host.
const FIRST: u32 = 700_000;

/// That of the containers whose quota is used up, which no other test uses.
const POOR: u32 = 800_000;

pub(super) const TESTS: &[Test] = &[
    root("A18 A114", "a bind shows the earlier mount that its source lies on", |bed| {
        let source = bed.dir().join("source");
        fs::create_dir_all(source.join("deep"))?;
        fs::write(source.join("deep/file"), "mounted")?;
        for spec in [Spec::new(), users()] {
            // Relative to the bundle.
            let spec = spec
                .mount("/first", "bind", &source.to_string_lossy(), &["bind"])
                .mount("/second", "bind", "rootfs/first", &["bind"])
                .mount("/third", "bind", "rootfs/first/deep", &["rbind", "ro"])
                .mount("/fourth", "bind", "rootfs/third/file", &["bind"]);
            let script: &[&[&str]] = &[
                &["read", "/second/deep/file"],
                &["read", "/third/file"],
                &["read", "/fourth"],
                &["write", "/third/new", ""],
            ];
            let bundle = bed.bundle(&script_spec(spec, script))?;
            // Root of the namespace could make nothing in a directory of the host's root.
            for name in ["first", "second", "third"] {
                bundle.directory(name)?;
            }
            bundle.file("fourth", "")?;
            let seen = bed.tries_in(&bundle)?;
            for answer in &seen[..3] {
                same(&answer.op, answer.worked()?, "mounted")?;
            }
            seen[3].failed(&[30])?;
        }
        Ok(())
    }),
    root("A55 A114", "a user can open its standard streams again, file and fifo", |bed| {
        for spec in [Spec::new(), users()] {
            for uid in [0, 101] {
                for streams in ["", "mkfifo -m 600 fifo$0; exec 2<>fifo$0"] {
                    let script: &[&[&str]] = &[&["overwrite", "/dev/stderr", ""]];
                    let user = json!({"uid": uid, "gid": uid});
                    let bundle = bed.bundle(&script_spec(spec.clone().set("/process/user", user), script))?;
                    let streams = streams.replace("$0", &bundle.id);
                    let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
                    let called =
                        call.after(&format!("cd {}; {streams}", bed.dir().display())).call()?.ok()?;
                    answers(&called)?[0].worked()?;
                }
            }
        }
        Ok(())
    }),
    root("A55 A114", "a user of an exec can open its standard streams again", |bed| {
        for spec in [Spec::new(), users()] {
            let container = bed.waiting(&spec)?;
            let call = bed.command(["exec", "--user", "101:101", container.id()]);
            let seen = answers(&call.args(script_args(&[&["overwrite", "/dev/stderr", ""]])).call()?.ok()?)?;
            seen[0].worked()?;
            container.stop()?;
        }
        Ok(())
    }),
    root("A55 A114", "what is only read from stays with its owner", |bed| {
        let file = bed.dir().join("input");
        fs::write(&file, "text")?;
        for spec in [Spec::new(), users()] {
            let spec = spec.set("/process/user", json!({"uid": 101, "gid": 101}));
            let bundle = bed.bundle(&spec.args(&["/probe", "cat"]))?;
            let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
            let called = call.after(&format!("exec <{}", file.display())).call()?.ok()?;
            same("output", called.stdout.as_str(), "text")?;
            same("owner", fs::metadata(&file)?.uid(), 0)?;
        }
        Ok(())
    }),
    root("A114", "a mapping whose quota of keys is used up takes further containers", |bed| {
        let program = bed.dir().join("probe");
        crate::bundle::write_program(&program)?;
        let mut hoarder = reaper::spawn(
            Command::new(&program)
                .arg("hoard-keys")
                .uid(POOR)
                .gid(POOR)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )?;
        let mut line = String::new();
        if let Some(out) = hoarder.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let judged =
            if line == "ready\n" { without_keys(bed) } else { crate::outcome::fail("no keys were made") };
        drop(hoarder.stdin.take());
        hoarder.wait()?;
        reaper::forget(&hoarder);
        judged
    }),
    root("A13 A114", "the way to the bundle may be closed to the container's root", |bed| {
        for owner in [0, FIRST + 3] {
            let closed = bed.dir().join(format!("closed{owner}"));
            fs::DirBuilder::new().mode(0o700).create(&closed)?;
            std::os::unix::fs::chown(&closed, Some(owner), Some(owner))?;
            let source = closed.join("source");
            fs::create_dir(&source)?;
            fs::write(source.join("file"), "text")?;
            let spec = users().mount("/bound", "bind", &source.to_string_lossy(), &["bind"]);
            let made = bed.bundle(&script_spec(spec, &[&["read", "/bound/file"]]))?;
            made.directory("bound")?;
            let moved = closed.join("bundle");
            fs::rename(&made.dir, &moved)?;
            let mut bundle = made.clone();
            bundle.rootfs = moved.join("rootfs");
            bundle.dir = moved;
            fs::set_permissions(&bundle.rootfs, fs::Permissions::from_mode(0o755))?;
            let seen = bed.tries_in(&bundle)?;
            same("file", seen[0].worked()?, "text")?;
        }
        Ok(())
    }),
];

fn users() -> Spec {
    Spec::new().user_namespace(FIRST, 65_536)
}

/// The container's root may have no more keys: it runs, gives a warning, and is not left with the caller's keyring.
fn without_keys(bed: &Bed<'_>) -> Outcome {
    let users = || Spec::new().user_namespace(POOR, 65_536);
    let bundle = bed.bundle(&users())?;
    let called = bed.run_bundle(&bundle)?.ok()?;
    let keyring = called.json()?["keyring"].clone();
    let own = bed.bundle(&Spec::new())?;
    let call = ["run", "--no-new-keyring", "--bundle", &own.dir.to_string_lossy(), &own.id];
    let callers = bed.call(call)?.ok()?.json()?["keyring"].clone();
    check(keyring != callers, || format!("it has the keyring of the caller: {keyring}"))?;
    let container = bed.waiting(&users())?;
    let seen = container.exec(&["/probe", "report"])?.ok()?.json()?;
    check(seen["keyring"] != callers, || format!("an exec has the keyring of the caller: {callers}"))
}
