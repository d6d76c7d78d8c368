//! Changes to a running container: update (C8), pause, resume and kill (C9).

use crate::outcome::{Outcome, check, same};
use crate::{Spec, Test, test};
use serde_json::json;
use std::fs;

pub(in crate::tests) const TESTS: &[Test] = &[
    test("C8", "update changes limits by options and by JSON", |bed| {
        crate::cgroup::hierarchy("pids")?;
        let container = bed.waiting(&Spec::new())?;
        bed.call(["update", "--pids-limit", "33", "--cpu-share", "300", container.id()])?.ok()?;
        crate::tests::cgroups::holds(&container, "pids", ("pids.max", "33"), ("pids.max", "33"))?;
        three_hundred_shares(&container)?;
        let mut update = json!({"pids": {"limit": 44}});
        let has_memory = crate::cgroup::hierarchy("memory").is_ok();
        if has_memory {
            update["memory"] = json!({"limit": 64 << 20});
        }
        let update = update.to_string();
        bed.command(["update", "--resources", "-", container.id()]).stdin(update.clone()).call()?.ok()?;
        crate::tests::cgroups::holds(&container, "pids", ("pids.max", "44"), ("pids.max", "44"))?;
        if has_memory {
            let files = (("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"));
            crate::tests::cgroups::holds(&container, "memory", files.0, files.1)?;
        }
        three_hundred_shares(&container)?;
        let path = bed.dir().join("resources.json");
        fs::write(&path, update.replace("44", "55"))?;
        bed.call(["update", &format!("--resources={}", path.display()), container.id()])?.ok()?;
        crate::tests::cgroups::holds(&container, "pids", ("pids.max", "55"), ("pids.max", "55"))
    }),
    test("C8", "update --memory takes a suffix", |bed| {
        crate::cgroup::hierarchy("memory")?;
        let container = bed.waiting(&Spec::new())?;
        bed.call(["update", "--memory", "64m", container.id()])?.ok()?;
        crate::tests::cgroups::holds(
            &container,
            "memory",
            ("memory.limit_in_bytes", "67108864"),
            ("memory.max", "67108864"),
        )
    }),
    test("C8", "update with broken JSON or a wrong number is refused", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.command(["update", "--resources", "-", container.id()])
            .stdin("{\"pids\":")
            .call()?
            .refused(&[])?;
        bed.call(["update", "--pids-limit", "many", container.id()])?.refused(&[])
    }),
    test("C9", "pause stops the processes and resume lets them go on", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["pause", container.id()])?.ok()?;
        container.kill("USR1")?;
        std::thread::sleep(std::time::Duration::from_millis(200));
        let early = container.output();
        bed.call(["resume", container.id()])?.ok()?;
        check(!early.contains("signal 10"), || "the program ran while paused".into())?;
        container.until_output("signal 10").map(drop)
    }),
    test("C9", "resume of a container that is not paused is refused", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["resume", container.id()])?.refused(&["paused"])
    }),
    test("C9", "kill KILL ends a paused container", |bed| {
        let container = bed.waiting(&Spec::new())?;
        bed.call(["pause", container.id()])?.ok()?;
        bed.call(["delete", "--force", container.id()])?.ok()?;
        let left = bed.leftovers(&container.bundle);
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
    }),
    test("C9", "kill --all reaches every process of a container without pid namespace", |bed| {
        let spec =
            Spec::new().no_namespace("pid").no_mount("/proc").mount("/proc", "bind", "/proc", &["rbind"]);
        let container = bed.waiting(&spec)?;
        container.exec_with(&["--detach"], &["/probe", "idle"])?.ok()?;
        check(container.bundle.processes().len() == 2, || "there are not two processes".into())?;
        bed.call(["kill", "--all", container.id(), "KILL"])?.ok()?;
        container.until("the end of both", || Ok(container.bundle.processes().is_empty().then_some(())))
    }),
];

/// On v2 as converted by either of the two formulas in use.
fn three_hundred_shares(container: &crate::Container<'_, '_>) -> Outcome {
    let place = crate::tests::cgroups::place(container, "cpu")?;
    if !place.v2 {
        return same("cpu.shares", place.read("cpu.shares")?, "300");
    }
    let weight = place.read("cpu.weight")?;
    check(["12", "39"].contains(&weight.as_str()), || format!("cpu.weight is {weight}"))
}
