//! Callers with closed descriptors, low limits, long names and many mounts.

use crate::outcome::{Outcome, check, same};
use crate::tests::hooks::{Hooks, records};
use crate::{Spec, Test, test};
use serde_json::json;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test("F33", "a caller with closed stdin, stdout and stderr gets its container", |bed| {
        for closed in ["exec <&-", "exec >&-", "exec 2>&-", "exec <&- >&- 2>&-"] {
            let bundle = bed.bundle(&Spec::new().args(&["/probe", "exit", "7"]))?;
            let call =
                bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).after(closed);
            same(closed, call.call()?.code(), 7)?;
        }
        Ok(())
    }),
    test("F33", "a caller that ignores SIGCHLD gets the exit code, and its hooks run", |bed| {
        let bundle = Hooks::new(bed)?
            .program(&["/probe", "exit", "7"])
            .hook("createRuntime", "early", &[])
            .hook("poststop", "late", &[])
            .write()?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        same("exit code", call.under(&["env", "--ignore-signal=CHLD"]).call()?.code(), 7)?;
        same("hooks", records(&bundle)?.len(), 2)
    }),
    test("F20", "a caller with 64 descriptors can make a container with 100 mounts", |bed| {
        let mut spec = Spec::new();
        let volume = bed.dir().join("volume");
        std::fs::create_dir(&volume)?;
        for i in 0..100 {
            spec = spec.mount(&format!("/mnt/{i}"), "bind", &volume.to_string_lossy(), &["rbind", "ro"]);
        }
        let bundle = bed.bundle(&spec.args(&["/probe", "true"]).set("/process/rlimits", json!([])))?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        call.after("ulimit -n 64").call()?.ok().map(drop)
    }),
    test("F19", "1,000 bind mounts take less than five seconds", |bed| {
        let (mut spec, source) = (Spec::new(), bed.dir().to_string_lossy().into_owned());
        for i in 0..1000 {
            spec = spec.mount(&format!("/mnt/{i}"), "bind", &source, &["bind"]);
        }
        let called = bed.run(&spec.args(&["/probe", "true"]))?.ok()?;
        check(called.took < Duration::from_secs(5), || format!("{:?}", called.took))
    }),
    test("F19", "large arguments and environments reach the program", |bed| {
        let long = "x".repeat(100_000);
        let spec = Spec::new().set("/process/env", json!(["PATH=/", format!("LONG={long}")]));
        let seen = bed.report(&spec.args(&["/probe", "report"]))?;
        let env = crate::observe::strings(&seen["env"]);
        check(env.iter().any(|item| item.len() == 100_005), || "the variable is not whole".into())
    }),
    test("F19", "a --root with a path longer than a socket address can hold works", |bed| {
        let root = bed.dir().join("r".repeat(100)).join("s".repeat(100));
        std::fs::create_dir_all(&root)?;
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "wait"]))?;
        let call = |words: &[&str]| {
            crate::runtime::Invocation::new(&bed.runtime.path, bed.dir())
                .args(&bed.runtime.globals)
                .args(["--root".as_ref(), root.as_os_str()])
                .args(words)
                .call()
        };
        call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?.ok()?;
        let started = call(&["start", &bundle.id])?;
        let deleted = call(&["delete", "--force", &bundle.id])?;
        started.ok()?;
        deleted.ok().map(drop)
    }),
    test("F7", "with too little memory create fails with a message, or the container runs", |bed| {
        crate::cgroup::hierarchy("memory")?;
        for limit in [64 << 10, 256 << 10, 1 << 20, 4 << 20] {
            let memory = json!({"limit": limit, "swap": limit});
            let bundle =
                bed.bundle(&Spec::new().set("/linux/resources/memory", memory).args(&["/probe", "true"]))?;
            let called = bed.run_bundle(&bundle)?;
            if !called.status.success() {
                check(called.code() == 137 || !called.stderr.trim().is_empty(), || {
                    format!("{limit}: no message, exit code {}", called.code())
                })?;
            }
            bed.call(["delete", "--force", &bundle.id])?.ok()?;
            let left = bed.leftovers(&bundle);
            check(left.is_empty(), || format!("{limit}: left {}", left.join(", ")))?;
        }
        Ok(())
    }),
    test("F23", "a container full of zombies and orphans is deleted", |bed| {
        let container = bed.started(&Spec::new().args(&["/probe", "zombies", "50"]))?;
        container.until_output("ready")?;
        for _ in 0..5 {
            container.exec(&["/probe", "leave"])?.ok()?;
        }
        bed.call(["delete", "--force", container.id()])?.ok().map(drop)
    }),
    test("F21", "failing creates do not fill the host", |bed| {
        let spec = Spec::new().mount("/mnt", "nonsensefs", "none", &[]);
        let before = mounts()?;
        for _ in 0..bed.rounds(20) {
            bed.refuses(&spec, &[])?;
        }
        same("mounts of the host", mounts()?, before)
    }),
];

fn mounts() -> Outcome<usize> {
    Ok(std::fs::read_to_string("/proc/self/mountinfo")?
        .lines()
        .filter(|line| line.contains("/bundle"))
        .count())
}
