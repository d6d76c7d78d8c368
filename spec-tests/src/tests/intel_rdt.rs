//! Intel RDT: rows A166 to A175.
//!
//! Few machines have a processor for it. Where no resctrl file system is mounted, what is left to judge is that a runtime
//! refuses, and what it refuses for its own sake; the other rows say why they are skipped. (The library's own tests have
//! them all on a faked tree.)

use crate::outcome::{Outcome, check, fail, same, skip};
use crate::runtime::Called;
use crate::{Bed, Bundle, Spec, Test, test};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

pub(super) const TESTS: &[Test] = &[
    test("A166", "without intelRdt no file of a resctrl file system is opened for writing or made", |bed| {
        bed.host.needs_root_because("newuidmap has no privileges under strace")?;
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "true"]))?;
        let trace = bed.dir().join("trace");
        let called = traced(bed, &bundle, &trace)?;
        let text = fs::read_to_string(&trace).unwrap_or_default();
        if text.is_empty() {
            return skip("strace cannot trace here");
        }
        called.ok()?;
        check(text.contains(&bundle.id), || "the trace shows nothing of the runtime".to_owned())?;
        let touches = |line: &&str| {
            line.contains("resctrl")
                && ["O_WRONLY", "O_RDWR", "mkdir", "rmdir", "unlink", "rename"]
                    .iter()
                    .any(|word| line.contains(word))
        };
        match text.lines().find(touches) {
            None => Ok(()),
            Some(line) => fail(format!("it did: {line}")),
        }
    }),
    test("A167", "intelRdt without a mounted resctrl file system is refused", |bed| {
        if let Some(root) = root()? {
            return skip(format!("resctrl is mounted at {}", root.display()));
        }
        for rdt in [
            json!({}),
            json!({"closID": "suite"}),
            json!({"closID": "/"}),
            json!({"l3CacheSchema": "L3:0=f"}),
            json!({"memBwSchema": "MB:0=20"}),
            json!({"schemata": ["L3:0=f"]}),
            json!({"enableMonitoring": true}),
        ] {
            bed.refuses(&Spec::new().set("/linux/intelRdt", rdt), &["rdt", "resctrl"])?;
        }
        Ok(())
    }),
    test(
        "A168 A173",
        "the first process is in the tasks of a class with the container's id, which delete removes",
        |bed| {
            let root = needs_root()?;
            let container = bed.waiting(&Spec::new().set("/linux/intelRdt", json!({})))?;
            let group = root.join(container.id());
            has_task(&group, container.pid()?.as_raw_pid())?;
            container.stop()?;
            container.delete()?;
            check(!group.exists(), || format!("{} is left", group.display()))
        },
    ),
    test("A169", "closID / is the default class", |bed| {
        let root = needs_root()?;
        let container = bed.waiting(&Spec::new().set("/linux/intelRdt", json!({"closID": "/"})))?;
        has_task(&root, container.pid()?.as_raw_pid())
    }),
    test("A172", "closID alone needs a class that is there", |bed| {
        needs_root()?;
        let spec = Spec::new().set("/linux/intelRdt", json!({"closID": "suite-not-there"}));
        bed.refuses(&spec, &["suite-not-there", "closID", "clos"])
    }),
    test("A174", "a monitoring group is made, and gone after delete", |bed| {
        let root = needs_root()?;
        if !root.join("mon_groups").is_dir() {
            return skip("this processor cannot monitor");
        }
        let spec = Spec::new().set("/linux/intelRdt", json!({"closID": "/", "enableMonitoring": true}));
        let container = bed.waiting(&spec)?;
        let group = root.join("mon_groups").join(container.id());
        has_task(&group, container.pid()?.as_raw_pid())?;
        container.stop()?;
        container.delete()?;
        check(!group.exists(), || format!("{} is left", group.display()))
    }),
    test("A175", "a memBwSchema that does not start with MB: is refused", |bed| {
        refuses(bed, "memBwSchema", json!("L3:0=f"))?;
        refuses(bed, "memBwSchema", json!("0=20"))
    }),
    test("A175", "an l3CacheSchema that does not start with L3: is refused", |bed| {
        refuses(bed, "l3CacheSchema", json!("MB:0=20"))?;
        refuses(bed, "l3CacheSchema", json!("0=f"))
    }),
    test("A175", "a schema with a newline is refused", |bed| {
        refuses(bed, "memBwSchema", json!("MB:0=20\nL3:0=f"))?;
        refuses(bed, "l3CacheSchema", json!("L3:0=f\nMB:0=20"))?;
        refuses(bed, "schemata", json!(["L3:0=f\nMB:0=20"]))
    }),
];

/// The message must name the property, and must not be the one that a good value gets on this machine: such a refusal
/// would say nothing about the value.
fn refuses(bed: &Bed<'_>, property: &str, value: Value) -> Outcome {
    let good = match property {
        "memBwSchema" => json!("MB:0=20"),
        "l3CacheSchema" => json!("L3:0=f"),
        _ => json!(["L3:0=f"]),
    };
    let answer = |value: Value| -> Outcome<(Called, String)> {
        let bundle = bed.bundle(&Spec::new().set(&format!("/linux/intelRdt/{property}"), value))?;
        let called = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
        let left = if called.status.success() { Vec::new() } else { bed.leftovers(&bundle) };
        check(left.is_empty(), || format!("create failed and left {}", left.join(", ")))?;
        // What differs from call to call: the id, the directory, and the time of a log line.
        let words = called.stderr.replace(&bundle.id, "ID").replace(&*bundle.dir.to_string_lossy(), "DIR");
        let words = words.split(' ').filter(|word| !word.starts_with("time=")).collect::<Vec<_>>().join(" ");
        Ok((called, words))
    };
    let bad = Spec::new().set(&format!("/linux/intelRdt/{property}"), value.clone());
    crate::checks::finds(bed, &bed.bundle(&bad)?, &[property])?;
    let (called, words) = answer(value)?;
    called.refused(&[property])?;
    let (_, others) = answer(good)?;
    check(words != others, || format!("a good value is refused in the same words: {words}"))
}

/// Where resctrl is mounted.
fn root() -> Outcome<Option<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        (kind.split(' ').next() == Some("resctrl")).then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    }))
}

fn needs_root() -> Outcome<PathBuf> {
    root()?.map_or_else(|| skip("no resctrl file system is mounted (no Intel RDT or AMD QoS here)"), Ok)
}

fn has_task(group: &std::path::Path, pid: i32) -> Outcome {
    let tasks = fs::read_to_string(group.join("tasks"))?;
    let there = tasks.lines().any(|line| line == pid.to_string());
    same(&format!("{pid} is in {}", group.display()), there, true)
}

/// A run of the container, with every system call that names a file.
fn traced(bed: &Bed<'_>, bundle: &Bundle, trace: &std::path::Path) -> Outcome<Called> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&paths).any(|dir| dir.join("strace").is_file()) {
        return skip("needs the program strace");
    }
    let dir = bundle.dir.to_string_lossy().into_owned();
    let call = bed.command(["run", "--bundle", &dir, &bundle.id]);
    call.under(&["strace", "-f", "-qq", "-e", "trace=%file", "-o", &trace.to_string_lossy()]).call()
}
