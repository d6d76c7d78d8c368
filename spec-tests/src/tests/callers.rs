//! What callers leave out, leave empty or repeat, if it cannot be misunderstood: rows of the properties in question.

use crate::outcome::{Outcome, check, same, skip};
use crate::{Bed, Spec, Test, root, test};
use serde_json::json;
use std::fs;
use std::path::Path;

pub(super) const TESTS: &[Test] = &[
    test("A55", "a user, a uid or a gid that is not given is 0", |bed| {
        let specs = [
            Spec::new().without("/process/user"),
            Spec::new().set("/process/user", json!({})),
            Spec::new().without("/process/user/gid"),
            Spec::new().without("/process/user/uid"),
        ];
        for spec in specs {
            let seen = bed.report(&spec)?;
            same("ids", (&seen["uid"], &seen["gid"]), (&json!(0), &json!(0)))?;
        }
        Ok(())
    }),
    test("A55", "the document of exec may leave its user out, too", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let file = bed.dir().join("process.json");
        fs::write(&file, json!({"cwd": "/", "args": ["/probe", "report"], "env": ["PATH=/"]}).to_string())?;
        let called = bed.call(["exec", "--process", &file.to_string_lossy(), container.id()])?;
        same("uid", &called.ok()?.json()?["uid"], 0)
    }),
    test("A75", "an I/O priority that is not given is the highest of its class", |bed| {
        let spec = Spec::new().set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE"}));
        same("priority", &bed.report(&spec)?["ioprio"], 2 << 13)
    }),
    test("A110", "a namespace whose path is empty is a new one", |bed| {
        let own = fs::read_link("/proc/self/ns/uts")?;
        let seen = bed.report(&Spec::new().namespace("uts", Some("")))?;
        check(seen["namespaces"]["uts"].as_str().is_some_and(|ns| Path::new(ns) != own), || {
            seen["namespaces"].to_string()
        })
    }),
    test("A78 A79 A179", "a sysctl that says what hostname or domainname says is no contradiction", |bed| {
        bed.host.needs_root_because("a user's container may have /proc/sys of the host")?;
        let spec = Spec::new()
            .set("/domainname", "example.org")
            .set("/linux/sysctl", json!({"kernel.domainname": "example.org", "kernel.hostname": "suite"}));
        let seen = bed.report(&spec)?;
        same("names", (&seen["hostname"], &seen["domainname"]), (&json!("suite"), &json!("example.org")))
    }),
    root(
        "A143",
        "letters that are there twice, or stand for no access, add nothing to a device rule",
        |bed| {
            for access in ["rr", "rwrwr", "rwx"] {
                let rules = json!([{"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 11, "access": access}]);
                let spec = Spec::new()
                    .set(
                        "/linux/devices",
                        json!([{"type": "c", "path": "/dev/log", "major": 1, "minor": 11}]),
                    )
                    .set("/linux/resources/devices", rules)
                    .capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
                let answers =
                    bed.tries(&spec, &[&["open", "/dev/log"], &["mknod", "/dev/other", "c", "1", "11"]])?;
                answers[0].worked()?;
            }
            Ok(())
        },
    ),
    test("A197", "an empty rootfsPropagation is none", |bed| {
        same("pid", &bed.report(&Spec::new().set("/linux/rootfsPropagation", ""))?["pid"], 1)
    }),
    test("A67", "the AppArmor profile unconfined is what a machine without AppArmor gives", |bed| {
        if fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|on| on.starts_with('Y')) {
            return skip("this machine has AppArmor");
        }
        let spec = Spec::new().set("/process/apparmorProfile", "unconfined");
        same("pid", &bed.report(&spec)?["pid"], 1)?;
        let container = bed.waiting(&spec)?;
        same("exit code of an exec", container.exec(&["/probe", "exit", "5"])?.code(), 5)
    }),
    test("A6", "half a character in a config.json is called that", half_a_character),
    root(
        "A179",
        "a ping_group_range with groups that the user namespace has not is refused with the group",
        |bed| {
            let spec = |range: &str| {
                Spec::new()
                    .user_namespace(100_000, 65_536)
                    .set("/linux/sysctl", json!({"net.ipv4.ping_group_range": range}))
            };
            bed.refuses(&spec("0 2147483647"), &["2147483647 has no mapping"])?;
            bed.report(&spec("0 65535")).map(drop)
        },
    ),
    test("C4", "an error in a document other than config.json names that document", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let file = bed.dir().join("other.json").to_string_lossy().into_owned();
        let says = |arguments: &[&str], text: &str, place: &str| {
            fs::write(&file, text)?;
            bed.call(arguments.iter().copied())?.refused(&[&format!("({file} {place})")])
        };
        let exec = ["exec", "--process", &file, container.id()];
        let user = r#""user":{"uid":0,"gid":0}"#;
        says(&exec, &format!(r#"{{"cwd":"x","args":["/probe"],{user}}}"#), "/cwd")?;
        says(&exec, &format!(r#"{{"cwd":"/","args":[],{user}}}"#), "/args")?;
        says(&["update", "--resources", &file, container.id()], r#"{"pids":{"limit":-7}}"#, "/pids/limit")
    }),
];

fn half_a_character(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new())?;
    let file = bundle.dir.join("config.json");
    let text = fs::read_to_string(&file)?;
    fs::write(&file, text.replacen("\"suite\"", "\"\\ud800suite\"", 1))?;
    let create = ["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id];
    let called = bed.call(create)?;
    // A runtime may put U+FFFD there, as Go's reader does; if it refuses, it must say why.
    if called.status.success() {
        return bed.call(["delete", "--force", &bundle.id])?.ok().map(drop);
    }
    called.refused(&["ud800"])
}
