//! Device nodes and device rules: rows A118 to A126, A143.

use crate::outcome::{Outcome, check, same};
use crate::{Spec, Test, test};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

pub(super) const TESTS: &[Test] = &[
    test("A118", "character, block, unbuffered and fifo nodes are made", |bed| {
        bed.host.needs_root_because(BOUND)?;
        let spec = devices(json!([
            {"type": "c", "path": "/dev/a-char", "major": 10, "minor": 229},
            {"type": "b", "path": "/dev/a-block", "major": 7, "minor": 300},
            {"type": "u", "path": "/dev/a-unbuffered", "major": 1, "minor": 3},
            {"type": "p", "path": "/dev/a-fifo"}
        ]));
        let dev = &bed.report(&spec)?["dev"];
        same("char", (&dev["a-char"]["type"], &dev["a-char"]["rdev"]), (&json!("char"), &json!("10:229")))?;
        same(
            "block",
            (&dev["a-block"]["type"], &dev["a-block"]["rdev"]),
            (&json!("block"), &json!("7:300")),
        )?;
        same(
            "unbuffered",
            (&dev["a-unbuffered"]["type"], &dev["a-unbuffered"]["rdev"]),
            (&json!("char"), &json!("1:3")),
        )?;
        same("fifo", &dev["a-fifo"]["type"], "fifo")
    }),
    test("A119", "an invalid type is refused", |bed| {
        bed.refuses(
            &devices(json!([{"type": "x", "path": "/dev/odd", "major": 1, "minor": 3}])),
            &["type", "/dev/odd"],
        )
    }),
    test("A119", "a missing type is refused", |bed| {
        bed.refuses(&devices(json!([{"path": "/dev/odd", "major": 1, "minor": 3}])), &["type", "/dev/odd"])
    }),
    test("A120", "a node may be anywhere", |bed| {
        let spec = devices(json!([{"type": "c", "path": "/opt/nodes/zero", "major": 1, "minor": 5}]));
        let answers = bed.tries(&spec, &[&["stat", "/opt/nodes/zero"]])?;
        same("numbers", &answers[0].worked()?["rdev"], "1:5")
    }),
    test("A118 A124", "the path of a node may end with a slash or have two", |bed| {
        let spec = devices(json!([
            {"type": "c", "path": "/dev//zero/", "major": 1, "minor": 5, "fileMode": 0o600},
            {"type": "c", "path": "/dev/./made//deep/node/", "major": 1, "minor": 3}
        ]));
        let answers = bed.tries(&spec, &[&["stat", "/dev/zero"], &["stat", "/dev/made/deep/node"]])?;
        if bed.host.root {
            same("mode", &answers[0].worked()?["mode"], "0600")?;
        }
        same("numbers", &answers[1].worked()?["rdev"], "1:3")
    }),
    test("A120", "a relative path is refused", |bed| {
        bed.refuses(
            &devices(json!([{"type": "c", "path": "dev/odd", "major": 1, "minor": 3}])),
            &["path", "dev/odd"],
        )
    }),
    test("A121", "a regular file at the place of a node is refused", |bed| {
        let bundle =
            bed.bundle(&devices(json!([{"type": "c", "path": "/opt/node", "major": 1, "minor": 3}])))?;
        bundle.file("opt/node", "text")?;
        bed.refuses_bundle(&bundle, &["/opt/node", "opt/node"])
    }),
    test("A121", "a node of other numbers at the place is refused", |bed| {
        let bundle =
            bed.bundle(&devices(json!([{"type": "c", "path": "/opt/node", "major": 1, "minor": 3}])))?;
        node(&bundle, "opt/node", 5)?;
        bed.refuses_bundle(&bundle, &["/opt/node", "opt/node"])
    }),
    test("A122", "a matching node at the place is fine", |bed| {
        let bundle =
            bed.bundle(&devices(json!([{"type": "c", "path": "/opt/node", "major": 1, "minor": 3}])))?;
        node(&bundle, "opt/node", 3)?;
        bed.run_bundle(&bundle)?.ok().map(drop)
    }),
    test("A123", "a character node without major and minor is refused", |bed| {
        bed.refuses(&devices(json!([{"type": "c", "path": "/dev/odd"}])), &["major", "minor", "/dev/odd"])
    }),
    test("A123", "a block node without minor is refused", |bed| {
        bed.refuses(&devices(json!([{"type": "b", "path": "/dev/odd", "major": 7}])), &["minor", "/dev/odd"])
    }),
    test("A124", "fileMode is applied whatever the umask, and 0666 without", |bed| {
        bed.host.needs_root_because(BOUND)?;
        let spec = devices(json!([
            {"type": "c", "path": "/dev/plain", "major": 1, "minor": 3},
            {"type": "c", "path": "/dev/strict", "major": 1, "minor": 3, "fileMode": 0o640},
            {"type": "c", "path": "/dev/open", "major": 1, "minor": 3, "fileMode": 0o777}
        ]));
        let bundle = bed.bundle(&spec)?;
        let call =
            bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).after("umask 0077");
        let dev = &call.call()?.ok()?.json()?["dev"];
        same(
            "modes",
            (&dev["plain"]["mode"], &dev["strict"]["mode"], &dev["open"]["mode"]),
            (&json!("0666"), &json!("0640"), &json!("0777")),
        )
    }),
    test("A125", "uid and gid are applied", |bed| {
        bed.host.needs_root_because(BOUND)?;
        let spec =
            devices(json!([{"type": "c", "path": "/dev/owned", "major": 1, "minor": 3, "uid": 5, "gid": 6}]));
        let node = &bed.report(&spec)?["dev"]["owned"];
        same("owner", (&node["uid"], &node["gid"]), (&json!(5), &json!(6)))
    }),
    test(
        "A124 A125",
        "in a user namespace mode and owner are applied, or it is told that they are not",
        |bed| {
            for (property, value, seen) in [("fileMode", 0o640, "mode"), ("uid", 5, "uid"), ("gid", 6, "gid")]
            {
                let mut node = json!({"type": "c", "path": "/dev/zero", "major": 1, "minor": 5});
                node[property] = json!(value);
                let spec = devices(json!([node])).user_namespace(100_000, 65_536);
                let called = bed.run(&spec)?.ok()?;
                let wanted = if property == "fileMode" { json!("0640") } else { json!(value) };
                let told = called.stderr.contains("/linux/devices/0") && called.stderr.contains(property);
                let found = called.json()?["dev"]["zero"][seen].clone();
                check(found == wanted || told, || {
                    format!("{property}: {found}, and not a word: {}", called.stderr)
                })?;
            }
            Ok(())
        },
    ),
    test("A121 A126", "in a user namespace a file with contents at the place of a node is refused", |bed| {
        let spec = devices(json!([{"type": "c", "path": "/opt/node", "major": 1, "minor": 3}]));
        let bundle = bed.bundle(&spec.user_namespace(100_000, 65_536))?;
        bundle.file("opt/node", "text")?;
        bed.refuses_bundle(&bundle, &["/opt/node", "opt/node"])
    }),
    test("A121 A126", "in a user namespace a link at the place of a node is refused", |bed| {
        let spec = devices(json!([{"type": "c", "path": "/opt/node", "major": 1, "minor": 3}]));
        let bundle = bed.bundle(&spec.user_namespace(100_000, 65_536))?;
        bundle.file("opt/other", "")?;
        bundle.link("opt/node", "other")?;
        bed.refuses_bundle(&bundle, &["/opt/node", "opt/node"])
    }),
    test("A126", "in a user namespace a bundle with a node outside of /dev runs twice", |bed| {
        let spec = devices(json!([{"type": "c", "path": "/tmp/node", "major": 1, "minor": 3}]));
        let bundle = bed.bundle(
            &crate::bed::script_spec(spec, &[&["stat", "/tmp/node"]]).user_namespace(100_000, 65_536),
        )?;
        bed.tries_in(&bundle)?[0].worked()?;
        same("numbers", &bed.tries_in(&bundle)?[0].worked()?["rdev"], "1:3")
    }),
    test("A125 A126", "a node of the configuration exists in a user namespace", |bed| {
        let spec = devices(json!([{"type": "c", "path": "/dev/extra", "major": 1, "minor": 3}]));
        let bundle = bed.bundle(&spec.user_namespace(100_000, 65_536))?;
        if !std::path::Path::new("/dev/extra").exists() {
            // Only a host node with that name can be bound, so the usual names are used instead.
            let spec = devices(json!([{"type": "c", "path": "/dev/zero", "major": 1, "minor": 5}]));
            let seen = bed.report(&spec.user_namespace(100_000, 65_536))?;
            return same("numbers", &seen["dev"]["zero"]["rdev"], "1:5");
        }
        bed.run_bundle(&bundle)?.ok().map(drop)
    }),
    test("A143", "a device that no rule allows cannot be opened, one that is allowed can", |bed| {
        let rules = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"}
        ]);
        let spec = devices(json!([
            {"type": "c", "path": "/dev/fuse2", "major": 10, "minor": 229},
            {"type": "c", "path": "/dev/kmsg2", "major": 1, "minor": 11}
        ]));
        let script: &[&[&str]] = &[
            &["open", "/dev/fuse2"],
            &["open-write", "/dev/fuse2"],
            &["open", "/dev/kmsg2"],
            &["open", "/dev/null"],
        ];
        let answers = bed.tries(&spec.set("/linux/resources/devices", rules), script)?;
        check(answers[0].errno != 1, || "the allowed device cannot be read".into())?;
        answers[1].failed(&[1])?;
        answers[2].failed(&[1])?;
        answers[3].worked().map(drop)
    }),
    test("A143", "later rules win over earlier ones", |bed| {
        let rules = json!([
            {"allow": true, "access": "rwm"},
            {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "r"}
        ]);
        let spec = devices(json!([{"type": "c", "path": "/dev/kmsg2", "major": 1, "minor": 11}]));
        let answers = bed.tries(
            &spec.set("/linux/resources/devices", rules),
            &[&["open", "/dev/kmsg2"], &["open-write", "/dev/kmsg2"]],
        )?;
        answers[0].failed(&[1])?;
        answers[1].worked().map(drop)
    }),
    test("A143", "-1 stands for any number", |bed| {
        let rules = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": -1, "access": "rw"}
        ]);
        let spec = devices(json!([{"type": "c", "path": "/dev/kmsg2", "major": 1, "minor": 11}]));
        let answers =
            bed.tries(&spec.set("/linux/resources/devices", rules), &[&["open-write", "/dev/kmsg2"]])?;
        answers[0].worked().map(drop)
    }),
    test("A143", "a rule that denies a default device is obeyed", |bed| {
        let rules = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "access": "rw"},
            {"allow": false, "type": "c", "major": 1, "minor": 7, "access": "rw"}
        ]);
        let spec = Spec::new().set("/linux/resources/devices", rules);
        // Version 1 keeps a list of exceptions to one default, which cannot express an exception from an exception:
        // refusing the rule is right there, dropping it is not.
        if bed.host.v1("devices").is_ok() && bed.refuses(&spec, &["devices"]).is_ok() {
            return Ok(());
        }
        let answers = bed.tries(&spec, &[&["open", "/dev/full"], &["open", "/dev/null"]])?;
        answers[0].failed(&[1])?;
        answers[1].worked().map(drop)
    }),
    test("A143", "mknod is allowed only by an m in access", |bed| {
        let rules = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "m"}]);
        let spec = Spec::new().capabilities(&["CAP_MKNOD"]).set("/linux/resources/devices", rules);
        let script: &[&[&str]] = &[&["mknod", "/dev/x", "c", "10", "229"], &["open", "/dev/x"]];
        let answers = bed.tries(&spec, script)?;
        answers[0].worked()?;
        answers[1].failed(&[1])
    }),
    test("A143", "an invalid type of a rule, or an access without a letter that counts, is refused", |bed| {
        let rule = |rule: Value| Spec::new().set("/linux/resources/devices/-", rule);
        bed.refuses(
            &rule(json!({"allow": true, "type": "x", "access": "rwm"})),
            &["type", "devices", "device"],
        )?;
        bed.refuses(
            &rule(json!({"allow": true, "type": "c", "access": "xyz"})),
            &["access", "permission", "devices"],
        )
    }),
    test("A143", "the default devices work without rules", |bed| {
        let spec = Spec::new().without("/linux/resources");
        let answers = bed.tries(&spec, &[&["open", "/dev/null"], &["open", "/dev/zero"]])?;
        answers.iter().try_for_each(|answer| answer.worked().map(drop))
    }),
];

/// Why a user cannot do it.
const BOUND: &str = "a user can make no device nodes, only bind those of the host";

fn devices(list: Value) -> Spec {
    Spec::new().set("/linux/devices", list)
}

/// Makes the node 1:minor in the rootfs.
fn node(bundle: &crate::Bundle, path: &str, minor: u32) -> Outcome {
    let path = bundle.rootfs.join(path);
    std::fs::create_dir_all(path.parent().unwrap_or(&bundle.rootfs))?;
    let kind = rustix::fs::FileType::CharacterDevice;
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, rustix::fs::makedev(1, minor))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    Ok(())
}
