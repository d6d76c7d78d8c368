//! Reports: state, list, ps and spec (C5), the log (C6), events (C7).

use crate::outcome::{Outcome, check, fail, same, skip};
use crate::runtime::{Called, PATIENCE};
use crate::{Bed, Spec, Test, test};
use serde_json::{Value, json};
use std::fs;

pub(in crate::tests) const TESTS: &[Test] = &[
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
        fs::create_dir(bed.root())?;
        bed.call(["list"])?.ok()?;
        let value = bed.call(["list", "--format", "json"])?.ok()?.json()?;
        check(value.is_null() || value == json!([]), || value.to_string())?;
        same("list -q", bed.call(["list", "-q"])?.ok()?.stdout, "")
    }),
    test("C5", "list with a --root that is not there is refused, and does not make it", |bed| {
        bed.call(["list"])?.refused(&["no such file or directory"])?;
        bed.call(["list", "--quiet"])?.refused(&["no such file or directory"])?;
        check(!bed.root().exists(), || "it was made".into())
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
    test("C6", "--debug logs the steps of a creation and of an exec, each with level, msg and time", |bed| {
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
        let dir = bundle.dir.to_string_lossy();
        let create = ["--debug", "create", "--bundle", &dir, &bundle.id];
        let exec = ["--debug", "exec", &bundle.id, "/probe", "true"];
        let log = bed.dir().join("steps.json");
        for (words, steps) in [(&create[..], 10), (&["start", &bundle.id], 0), (&exec, 3)] {
            let _first = fs::remove_file(&log);
            // A created container keeps the streams of the call.
            let streams = "exec </dev/null >/dev/null 2>&1";
            let called = logging(bed, &log, "json", words).after(streams).call();
            let called = called.map(|called| called.status.success())?;
            let text = fs::read_to_string(&log).unwrap_or_default();
            check(called, || text.clone())?;
            let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
            let Ok(lines) = lines else { return fail(text) };
            let debug = |line: &&Value| {
                line["level"] == "debug" && line["msg"].is_string() && line["time"].is_string()
            };
            let found = lines.iter().filter(debug).count();
            check(found >= steps, || format!("{found} steps of {words:?}: {text}"))?;
        }
        bed.call(["delete", "--force", &bundle.id])?.ok().map(drop)
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
        let called = running.finish(PATIENCE)?;
        let count = called.stdout.lines().filter(|line| line.contains("\"stats\"")).count();
        check(count >= 2, || format!("{count} objects; {}", called.stderr))
    }),
];

/// A call with `--log`.
fn logged(bed: &Bed<'_>, log: &std::path::Path, format: &str, words: &[&str]) -> Outcome<Called> {
    logging(bed, log, format, words).call()
}

fn logging(bed: &Bed<'_>, log: &std::path::Path, format: &str, words: &[&str]) -> crate::runtime::Invocation {
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
}
