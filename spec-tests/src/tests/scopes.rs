//! Cgroups that systemd makes: what `slice:prefix:name` means, and where in the scope the container is.

use super::cgroups::place;
use super::features::lists_annotation;
use crate::host::CgroupMode;
use crate::outcome::{Outcome, check, same, skip};
use crate::{Bed, Container, Spec, Test, test};
use serde_json::json;
use std::fs;

const SUB_GROUP: &str = "run.oci.systemd.subgroup";

pub(super) const TESTS: &[Test] = &[
    test("A136", "slice:prefix:name is the scope prefix-name of that slice with the systemd driver", |bed| {
        systemd(bed)?;
        let container = bed.create(&bed.bundle(&Spec::new())?)?;
        in_scope(&container, &format!("{}/suite-{}.scope", bed.slice(), container.id()))
    }),
    test("A136", "a slice with dashes is below the slices that its name lists", |bed| {
        systemd(bed)?;
        let bundle = bed.bundle(&Spec::new())?;
        let spec = Spec::new().set("/linux/cgroupsPath", format!("suite-deep.slice:suite:{}", bundle.id));
        bundle.write_spec(&spec)?;
        let container = bed.create(&bundle)?;
        in_scope(&container, &format!("suite.slice/suite-deep.slice/suite-{}.scope", container.id()))
    }),
    test(
        "A136",
        "an annotation names the group below the scope, or has none, where the runtime knows it",
        |bed| {
            systemd(bed)?;
            lists_annotation(bed, SUB_GROUP)?;
            // If systemd does not manage the whole tree, the scope is the container's cgroup.
            let v2 = bed.host.cgroups == CgroupMode::V2;
            for (name, below) in [("payload", "/payload"), ("", "")] {
                let container = bed.waiting(&Spec::new().set("/annotations", json!({ SUB_GROUP: name })))?;
                let below = if v2 { below } else { "" };
                ends(&container, &format!("/suite-{}.scope{below}", container.id()))?;
                container.exec(&["/probe", "true"])?.ok()?;
                container.stop()?;
                container.delete()?.ok()?;
            }
            Ok(())
        },
    ),
    test("A137", "a group below the scope must be one, where the runtime knows the annotation", |bed| {
        systemd(bed)?;
        bed.host.needs_v2()?;
        lists_annotation(bed, SUB_GROUP)?;
        for name in ["..", "a/b", "memory.max"] {
            bed.refuses(&Spec::new().set("/annotations", json!({ SUB_GROUP: name })), &["cgroup", name])?;
        }
        Ok(())
    }),
    test("A137", "the systemd driver refuses a cgroupsPath that is not slice:prefix:name", |bed| {
        systemd(bed)?;
        for path in ["/suite/x", "system.slice:x", "system.slice:a:b:c", "noslice:suite:x"] {
            bed.refuses(
                &Spec::new().set("/linux/cgroupsPath", path),
                &["cgroupsPath", "slice", "format", path],
            )?;
        }
        Ok(())
    }),
    test("A210", "every allowed character of an id can be in the name of a unit", |bed| {
        systemd(bed)?;
        let mut bundle = bed.bundle(&Spec::new())?;
        bundle.id = format!("Az09_+-.{}", bundle.id);
        bundle.write_spec(&Spec::new())?;
        same("pid", &bed.run_bundle(&bundle)?.ok()?.json()?["pid"], 1)
    }),
    test(
        "A144",
        "memory.events of a container in a scope of v2 tells of a kill, and of nothing else",
        |bed| {
            let container = limited(bed, 16)?;
            let place = place(&container, "memory")?;
            same("exit code", container.exec(&["/probe", "alloc", "64"])?.code(), 137)?;
            // conmon and others take the first notice for the kill. Had the limit been hit here, that would be the
            // first.
            let events = place.read("memory.events")?;
            for wanted in ["max 0", "oom 0", "oom_kill 1"] {
                check(events.lines().any(|line| line == wanted), || format!("no {wanted:?} in {events:?}"))?;
            }
            Ok(())
        },
    ),
    test(
        "A144",
        "the limits of a container in a scope of v2 hold for the scope, also those of an update",
        |bed| {
            let container = limited(bed, 64)?;
            let own = place(&container, "memory")?.dir;
            let scope = own.ancestors().find(|dir| dir.extension().is_some_and(|end| end == "scope"));
            let limits = |wanted: &str| -> Outcome {
                for dir in [Some(own.as_path()), scope].into_iter().flatten() {
                    let path = dir.join("memory.max");
                    same(&path.to_string_lossy(), fs::read_to_string(&path)?.trim(), wanted)?;
                }
                Ok(())
            };
            limits("67108864")?;
            bed.call(["update", "--memory", "50331648", container.id()])?.ok()?;
            limits("50331648")
        },
    ),
    test("C9", "an update that fails leaves the limits of scope, unit and container as they were", |bed| {
        bed.host.needs_root_because("systemctl asks the systemd of the system")?;
        let container = limited(bed, 64)?;
        let limits = || -> Outcome<Vec<String>> {
            let own = place(&container, "memory")?.dir;
            let mut found = vec![unit_limit(&container)?];
            for dir in own.ancestors().take(2) {
                found.push(fs::read_to_string(dir.join("memory.max"))?.trim().to_owned());
            }
            Ok(found)
        };
        let before = limits()?;
        let wrong =
            json!({"memory": {"limit": 48 << 20, "swap": 48 << 20}, "unified": {"memory.nonsense": "1"}});
        let call =
            bed.command(["update", "--resources", "-", container.id()]).stdin(wrong.to_string()).call()?;
        call.refused(&["memory.nonsense"])?;
        same("limits", limits()?, before)
    }),
];

/// Skips unless cgroupsPath names a unit of systemd.
fn systemd(bed: &Bed<'_>) -> Outcome {
    if bed.runtime.systemd() { Ok(()) } else { skip("needs --systemd-cgroup") }
}

/// A container in a v2 scope with a memory limit of this many MiB.
fn limited<'b, 'a>(bed: &'b Bed<'a>, mib: u64) -> Outcome<Container<'b, 'a>> {
    systemd(bed)?;
    bed.host.needs_v2()?;
    let memory = json!({"limit": mib << 20, "swap": mib << 20});
    bed.waiting(&Spec::new().set("/linux/resources/memory", memory))
}

/// The property `MemoryMax` of its unit.
fn unit_limit(container: &Container<'_, '_>) -> Outcome<String> {
    let unit = format!("suite-{}.scope", container.id());
    let shown = std::process::Command::new("systemctl").args(["show", "-P", "MemoryMax", &unit]).output()?;
    Ok(String::from_utf8_lossy(&shown.stdout).trim().to_owned())
}

/// It must be in this scope, or in a group below it.
fn in_scope(container: &Container<'_, '_>, wanted: &str) -> Outcome {
    let text = memberships(container)?;
    let found = text.lines().any(|line| line.ends_with(wanted) || line.contains(&format!("{wanted}/")));
    check(found, || format!("not in {wanted}: {text}"))
}

fn ends(container: &Container<'_, '_>, wanted: &str) -> Outcome {
    let text = memberships(container)?;
    check(text.lines().any(|line| line.ends_with(wanted)), || format!("not in {wanted}: {text}"))
}

fn memberships(container: &Container<'_, '_>) -> Outcome<String> {
    Ok(fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?.as_raw_pid()))?)
}
