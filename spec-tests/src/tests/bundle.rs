//! Bundle, JSON and the top level: rows A1 to A11.

use crate::outcome::{Outcome, check, fail, same};
use crate::{Bed, Spec, Test, test};
use serde_json::json;
use std::fs;

pub(super) const TESTS: &[Test] = &[
    test("A1", "a bundle without config.json is refused", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        fs::remove_file(bundle.dir.join("config.json"))?;
        bed.refuses_bundle(&bundle, &["config.json"])
    }),
    test("A1", "a bundle that does not exist is refused", |bed| {
        bed.call(["create", "--bundle", "/nonexistent/bundle", "suite-nobundle"])?
            .refused(&["/nonexistent/bundle"])
    }),
    test(
        "A1",
        "a bundle whose path is not UTF-8 works whole, or is refused before anything is made",
        |bed| {
            use std::os::unix::ffi::OsStrExt as _;
            let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
            let other = bed.dir().join(std::ffi::OsStr::from_bytes(b"b\xff"));
            std::os::unix::fs::symlink(&bundle.dir, bed.dir().join("plain"))?;
            fs::rename(&bundle.dir, &other)?;
            let call = bed.command(["create", "--bundle"]).args([other.as_os_str()]).args([&bundle.id]);
            let called = call.call()?;
            let state = bed.call(["state", &bundle.id]);
            let made = bed.state_dir(&bundle.id).exists();
            let _gone = bed.call(["delete", "--force", &bundle.id]);
            fs::rename(&other, &bundle.dir)?;
            if called.status.success() {
                return state?.ok().map(drop);
            }
            check(!made, || "it is refused, and its state directory is there".into())?;
            called.refused(&["utf-8", "bundle"])
        },
    ),
    test("A1", "an empty config.json is refused", |bed| {
        raw(bed, |_| Vec::new(), &["json", "eof", "empty", "parse"])
    }),
    test("A1", "a config.json that is cut off is refused", |bed| {
        raw(bed, |text| text.as_bytes()[..text.len() / 2].to_vec(), &["json", "eof", "parse", "unexpected"])
    }),
    test("A1", "a config.json that is an array is refused", |bed| {
        raw(bed, |_| b"[]".to_vec(), &["json", "object", "array", "map", "type"])
    }),
    test("A2", "a repeated name at the top level is refused", |bed| {
        raw(bed, |text| begun_with(text, "\"hostname\":\"other\""), &["hostname"])
    }),
    test("A2", "a repeated name inside a map of strings is refused", |bed| {
        let twice = "\"annotations\":{\"twice\":\"1\",\"twice\":\"2\"}";
        raw(bed, |text| begun_with(text, twice), &["twice", "duplicate", "repeated"])
    }),
    test("A2", "a config.json that is not UTF-8 is refused", |bed| {
        let broken = |text: &str| {
            let at = text.find("suite").unwrap_or(0);
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = 0xff;
            bytes
        };
        raw(bed, broken, &["utf", "unicode", "invalid", "hostname"])
    }),
    test("A3", "a missing ociVersion is refused", |bed| {
        bed.refuses(&Spec::new().without("/ociVersion"), &["ociversion"])
    }),
    test("A3", "an ociVersion that is no version is refused", |bed| version_refused(bed, "banana")),
    test("A3", "an ociVersion of two numbers is refused", |bed| version_refused(bed, "1.0")),
    test("A3", "an empty ociVersion is refused", |bed| version_refused(bed, "")),
    test("A3", "an ociVersion with a leading zero is refused", |bed| version_refused(bed, "01.0.2")),
    test("A3", "an ociVersion with a pre-release part is accepted", |bed| version_accepted(bed, "1.0.2-dev")),
    test("A4", "another major ociVersion is refused", |bed| version_refused(bed, "2.0.0")),
    test("A4", "a newer minor ociVersion is accepted", |bed| version_accepted(bed, "1.9.0")),
    test("A5", "unknown properties are ignored at every level", unknown_properties),
    test("A6", "process.args that is a string is refused", |bed| {
        wrong(bed, "/process/args", json!("/probe"), "args")
    }),
    test("A6", "a negative uid is refused", |bed| wrong(bed, "/process/user/uid", json!(-1), "uid")),
    test("A6", "a uid of more than 32 bits is refused", |bed| {
        wrong(bed, "/process/user/uid", json!(4_294_967_296_u64), "uid")
    }),
    test("A6", "a fractional gid is refused", |bed| wrong(bed, "/process/user/gid", json!(1.5), "gid")),
    test("A6", "root.readonly that is a string is refused", |bed| {
        wrong(bed, "/root/readonly", json!("true"), "readonly")
    }),
    test("A6", "mounts that are an object are refused", |bed| wrong(bed, "/mounts", json!({}), "mounts")),
    test("A7", "edits of config.json after create have no effect on start", edits_before_start),
    test("A7", "edits of config.json after create have no effect on exec", edits_before_exec),
    test("A8", "a configuration without mounts runs", |bed| {
        let seen = bed.report(
            &Spec::new().without("/mounts").without("/linux/maskedPaths").without("/linux/readonlyPaths"),
        )?;
        same("pid", &seen["pid"], 1)
    }),
    test("A8", "an empty list of mounts runs", |bed| {
        let seen = bed.report(&Spec::new().set("/mounts", json!([])).set("/linux/maskedPaths", json!([])))?;
        same("pid", &seen["pid"], 1)
    }),
    test("A9", "a configuration without the linux section runs", |bed| {
        let bundle = bed.bundle(&Spec::new().without("/linux").without("/hostname"))?;
        let call =
            bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).private_mounts();
        let seen = call.call()?.ok()?.json()?;
        check(seen["pid"].is_number() && !seen["root"]["probe"].is_null(), || {
            format!("the probe saw {}", seen["root"])
        })
    }),
    test("A10", "create works without process", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new().without("/process"))?)?;
        same("status", container.status()?, "created")
    }),
    test("A10", "start without process is refused", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new().without("/process"))?)?;
        bed.call(["start", container.id()])?.refused(&["process"])
    }),
    test("A11", "a section of another platform is ignored, or refused by name", |bed| {
        for section in ["solaris", "zos"] {
            let called = bed.run(&Spec::new().set(&format!("/{section}"), json!({})))?;
            if called.status.success() {
                same("hostname", &called.json()?["hostname"], "suite")?;
            } else {
                called.refused(&[section])?;
            }
        }
        Ok(())
    }),
];

/// A configuration that this user can run, changed as text, must be refused.
fn raw(bed: &Bed<'_>, change: impl Fn(&str) -> Vec<u8>, words: &[&str]) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    let file = bundle.dir.join("config.json");
    fs::write(&file, change(&fs::read_to_string(&file)?))?;
    bed.refuses_bundle(&bundle, words)
}

/// An object with one more property in front.
fn begun_with(text: &str, property: &str) -> Vec<u8> {
    text.replacen('{', &format!("{{{property},"), 1).into_bytes()
}

fn version_refused(bed: &Bed<'_>, version: &str) -> Outcome {
    bed.refuses(&Spec::new().set("/ociVersion", version), &["ociversion", "version"])
}

fn version_accepted(bed: &Bed<'_>, version: &str) -> Outcome {
    same("pid", &bed.report(&Spec::new().set("/ociVersion", version))?["pid"], 1)
}

fn wrong(bed: &Bed<'_>, pointer: &str, value: serde_json::Value, word: &str) -> Outcome {
    bed.refuses(&Spec::new().set(pointer, value), &[word])
}

fn unknown_properties(bed: &Bed<'_>) -> Outcome {
    let odd = || json!({"deep": [1, null, {"er": true}]});
    let spec = Spec::new()
        .set("/org.example.unknown", odd())
        .set("/process/org.example.unknown", odd())
        .set("/process/user/org.example.unknown", odd())
        .set("/process/capabilities/org.example.unknown", odd())
        .set("/root/org.example.unknown", odd())
        .set("/mounts/0/org.example.unknown", odd())
        .set("/hooks/org.example.unknown", odd())
        .set("/linux/org.example.unknown", odd())
        .set("/linux/resources/org.example.unknown", odd())
        .set("/linux/resources/memory/org.example.unknown", odd())
        .set("/linux/namespaces/0/org.example.unknown", odd());
    same("pid", &bed.report(&spec)?["pid"], 1)
}

fn edits_before_start(bed: &Bed<'_>) -> Outcome {
    let container = bed.create(&bed.bundle(&Spec::new().args(&["/probe", "exit", "7"]))?)?;
    container.bundle.write_spec(&Spec::new().args(&["/probe", "exit", "8"]))?;
    let pid = container.pid()?;
    container.start()?;
    same("exit code", container.end(pid)?, 7)
}

fn edits_before_exec(bed: &Bed<'_>) -> Outcome {
    let container = bed.waiting(&Spec::new().set("/process/env", json!(["PATH=/", "WHO=first"])))?;
    container.bundle.write_spec(&Spec::new().set("/process/env", json!(["PATH=/", "WHO=second"])))?;
    let seen = container.exec(&["/probe", "report"])?.ok()?.json()?;
    let env = crate::observe::strings(&seen["env"]).join(" ");
    if env.contains("WHO=first") { Ok(()) } else { fail(format!("exec saw {env}")) }
}
