//! Attempts to make `mounts remove` remove a protection, or anything else that `mounts add` did not make.

use crate::bed::Container;
use crate::observe::{has_flag, mount_at};
use crate::outcome::{Outcome, check, fail, same, skip};
use crate::runtime::Called;
use crate::{Bed, Spec, Test, root, test};
use serde_json::{Value, json};
use std::fs;

pub(super) const TESTS: &[Test] = &[
    test(
        "S5 C11",
        "mounts remove takes away no mask, no read-only path and no mount of config.json",
        |bed| {
            let spec = Spec::new()
                .set("/linux/readonlyPaths", json!(["/proc/sys"]))
                .set("/linux/maskedPaths", json!(["/proc/keys", "/proc/scsi"]))
                .mount("/mnt", "tmpfs", "configured", &["ro"]);
            let container = running(bed, &spec)?;
            let before = mounts_of(&container)?;
            for place in ["/proc/sys", "/proc/keys", "/proc/scsi", "/mnt", "/proc", "/dev", "/sys"] {
                change(&container, "remove", &json!([{"destination": place}]))?.refused(&[place])?;
                same(place, mounts_of(&container)?, before.clone())?;
            }
            Ok(())
        },
    ),
    test("S5 C11", "nor one that comes to the path of a mount that was added", |bed| {
        let container = running(bed, &Spec::new().mount("/guard/x", "tmpfs", "guard", &["ro"]))?;
        let entries = tmpfs("/around/x");
        change(&container, "add", &entries)?.ok()?;
        container.tries(&[&["rename", "/around", "/gone"], &["rename", "/guard", "/around"]])?[1].worked()?;
        // It finds the added mount, or refuses.
        let removed = change(&container, "remove", &entries)?;
        let mounts = mounts_of(&container)?;
        check(has_flag(mount_at(&mounts, "/around/x")?, "ro"), || "the other mount is gone".into())?;
        check(mount_at(&mounts, "/gone/x").is_err() == removed.status.success(), || {
            format!("exit code {} and {mounts}", removed.code())
        })?;
        if !removed.status.success() {
            change(&container, "remove", &tmpfs("/gone/x"))?.ok()?;
        }
        // Both of its names are free again.
        change(&container, "remove", &entries)?.refused(&["/around/x"])?;
        change(&container, "remove", &tmpfs("/gone/x"))?.refused(&["/gone/x"])
    }),
    test("S5 C11", "nor one while directories are exchanged again and again", race),
    test("C11", "mounts remove leaves what a process of the container has mounted", |bed| {
        let container = running(bed, &Spec::new())?;
        let entries = tmpfs("/added");
        container.tries(&[&["mkdir", "/own"], &["mount", "inside", "/own", "tmpfs"]])?[1].worked()?;
        change(&container, "remove", &tmpfs("/own"))?.refused(&["/own"])?;
        change(&container, "add", &entries)?.ok()?;
        container.tries(&[&["mount", "inside", "/added", "tmpfs"]])?[0].worked()?;
        change(&container, "remove", &entries)?.refused(&["/added"])?;
        let places = places_of(&container, "inside")?;
        same("mounts of the container", places, vec!["/own".to_owned(), "/added".to_owned()])?;
        container.tries(&[&["umount", "/added"]])?[0].worked()?;
        change(&container, "remove", &entries)?.ok()?;
        none_at(&container, "/added")
    }),
    test(
        "C11",
        "mounts remove of a mount that the container has unmounted is refused and takes no other",
        |bed| {
            let container = running(bed, &Spec::new().mount("/added", "tmpfs", "configured", &[]))?;
            let entries = tmpfs("/added");
            change(&container, "add", &entries)?.ok()?;
            container.tries(&[&["umount", "/added"]])?[0].worked()?;
            for _ in 0..2 {
                change(&container, "remove", &entries)?.refused(&["/added"])?;
            }
            same("mounts", places_of(&container, "configured")?, vec!["/added".to_owned()])
        },
    ),
    test("C11", "of mounts that were added one over the other the latest goes first, each once", |bed| {
        let container = running(bed, &Spec::new())?;
        for name in ["first", "second"] {
            change(&container, "add", &named("/added", name))?.ok()?;
        }
        change(&container, "remove", &tmpfs("/added/../added/."))?.ok()?;
        same("second", places_of(&container, "second")?, Vec::<String>::new())?;
        same("first", places_of(&container, "first")?, vec!["/added".to_owned()])?;
        change(&container, "remove", &tmpfs("/added"))?.ok()?;
        none_at(&container, "/added")?;
        change(&container, "remove", &tmpfs("/added"))?.refused(&["/added"])
    }),
    test("C11", "a mount that was added is removed together with what was added below it", |bed| {
        let container = running(bed, &Spec::new())?;
        change(&container, "add", &tmpfs("/added"))?.ok()?;
        change(&container, "add", &tmpfs("/added/inner"))?.ok()?;
        change(&container, "remove", &tmpfs("/added"))?.ok()?;
        none_at(&container, "/added")?;
        change(&container, "remove", &tmpfs("/added/inner"))?.refused(&["/added/inner"])?;
        change(&container, "add", &tmpfs("/added/inner"))?.ok()?;
        change(&container, "remove", &tmpfs("/added/inner"))?.ok().map(drop)
    }),
    test("C11", "a mount that was added through a link of the image is removed by either path", |bed| {
        for name in ["/way/x", "/real/x"] {
            let container = running(bed, &Spec::new())?;
            container.tries(&[&["mkdir", "/real"], &["symlink", "/real", "/way"]])?[1].worked()?;
            change(&container, "add", &tmpfs("/way/x"))?.ok()?;
            let removed = change(&container, "remove", &tmpfs(name))?;
            if !removed.status.success() {
                // On kernels that cannot be asked for it.
                check(name == "/way/x", || removed.stderr.clone())?;
                change(&container, "remove", &tmpfs("/real/x"))?.ok()?;
            }
            none_at(&container, "/real/x")?;
        }
        Ok(())
    }),
    test("C11", "mounts that are added and removed at the same time are all known", |bed| {
        let container = running(bed, &Spec::new())?;
        let at_once = |verb: &str| -> Outcome<Vec<Called>> {
            let calls = (0..8).map(|number| {
                let file = bed.dir().join(format!("mounts{number}.json"));
                fs::write(&file, tmpfs(&format!("/added{}", number / 2)).to_string())?;
                bed.command(["mounts", verb, container.id(), &file.to_string_lossy()]).spawn()
            });
            let calls = calls.collect::<Outcome<Vec<_>>>()?;
            let done = calls.into_iter().map(|call| call.finish(crate::runtime::PATIENCE));
            done.collect::<Outcome<Vec<_>>>()
        };
        at_once("add")?.into_iter().try_for_each(|called| called.ok().map(drop))?;
        // Of two that want the same mount, one may come too late; then the other mount of that place is still known.
        for (number, called) in at_once("remove")?.iter().enumerate() {
            if !called.status.success() {
                change(&container, "remove", &tmpfs(&format!("/added{}", number / 2)))?.ok()?;
            }
        }
        (0..4).try_for_each(|number| {
            let place = format!("/added{number}");
            none_at(&container, &place)?;
            change(&container, "remove", &tmpfs(&place))?.refused(&[&place])
        })
    }),
    test(
        "C11 F1",
        "a mount of a mounts add that was killed at any moment is not there, or can be removed",
        killed,
    ),
    test("C11", "when the source of one entry of mounts add is missing, none stays", |bed| {
        let container = running(bed, &Spec::new())?;
        let before = mounts_of(&container)?;
        let entries = json!([
            {"destination": "/added/a", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/added/b", "type": "bind", "source": "/nonexistent", "options": ["bind"]}
        ]);
        change(&container, "add", &entries)?.refused(&["/nonexistent"])?;
        same("mounts", mounts_of(&container)?, before)
    }),
    root("C11", "mounts remove tells mounts apart without a mount namespace as well", |bed| {
        let spec = Spec::new()
            .no_namespace("mount")
            .without("/linux/maskedPaths")
            .without("/linux/readonlyPaths")
            .mount("/mnt", "tmpfs", "configured", &[]);
        let container = running(bed, &spec)?;
        let entries = tmpfs("/around/x");
        change(&container, "add", &entries)?.ok()?;
        change(&container, "remove", &tmpfs("/mnt"))?.refused(&["/mnt"])?;
        let rootfs = &container.bundle.rootfs;
        fs::rename(rootfs.join("around"), rootfs.join("moved"))?;
        let mut removed = change(&container, "remove", &entries)?;
        if !removed.status.success() {
            removed = change(&container, "remove", &tmpfs("/moved/x"))?;
        }
        removed.ok()?;
        let left = container.bundle.mounts();
        let has = |place: &str| left.iter().any(|point| point.ends_with(place));
        check(has("/rootfs/mnt") && !has("/moved/x"), || left.join(", "))
    }),
    test(
        "C11 F5",
        "with a damaged record of added mounts none is removed, and the container can be deleted",
        |bed| {
            let container = running(bed, &Spec::new().mount("/mnt", "tmpfs", "configured", &[]))?;
            change(&container, "add", &tmpfs("/added"))?.ok()?;
            let record = bed.state_dir(container.id()).join("mounts.json");
            if !record.exists() {
                return skip("the runtime keeps no record of added mounts in mounts.json");
            }
            let before = mounts_of(&container)?;
            let good = fs::read(&record)?;
            for bad in [&b""[..], b"{", b"[{}]", &good[..good.len() / 2], &[0; 512]] {
                fs::write(&record, bad)?;
                for verb in ["add", "remove"] {
                    change(&container, verb, &tmpfs("/added"))?.refused(&["mounts.json"])?;
                }
                same("status", container.status()?, "running")?;
            }
            fs::remove_file(&record)?;
            change(&container, "remove", &tmpfs("/added"))?.refused(&["/added"])?;
            same("mounts", mounts_of(&container)?, before)?;
            fs::write(&record, "{")?;
            bed.call(["delete", "--force", container.id()])?.ok()?;
            let left = bed.leftovers(&container.bundle);
            check(left.is_empty(), || format!("left: {}", left.join(", ")))
        },
    ),
];

/// A container that may mount, if the runtime has the command.
fn running<'b, 'a>(bed: &'b Bed<'a>, spec: &Spec) -> Outcome<Container<'b, 'a>> {
    if !bed.call(["--help"])?.ok()?.stdout.contains("mounts") {
        return skip("the runtime has no `mounts` command");
    }
    bed.waiting(&spec.clone().capabilities(&["CAP_SYS_ADMIN"]))
}

fn tmpfs(destination: &str) -> Value {
    named(destination, "added")
}

fn named(destination: &str, source: &str) -> Value {
    json!([{"destination": destination, "type": "tmpfs", "source": source}])
}

fn change(container: &Container<'_, '_>, verb: &str, entries: &Value) -> Outcome<Called> {
    let file = container.bed.dir().join("mounts.json");
    fs::write(&file, entries.to_string())?;
    container.bed.call(["mounts", verb, container.id(), &file.to_string_lossy()])
}

fn mounts_of(container: &Container<'_, '_>) -> Outcome<Value> {
    Ok(container.tries(&[&["mounts"]])?[0].worked()?.clone())
}

/// Where mounts with that source are.
fn places_of(container: &Container<'_, '_>, source: &str) -> Outcome<Vec<String>> {
    let mounts = mounts_of(container)?;
    let found = mounts.as_array().into_iter().flatten().filter(|mount| mount["source"] == source);
    Ok(found.map(|mount| mount["destination"].as_str().unwrap_or_default().to_owned()).collect())
}

fn none_at(container: &Container<'_, '_>, place: &str) -> Outcome {
    let mounts = mounts_of(container)?;
    check(mount_at(&mounts, place).is_err(), || format!("{place} is still mounted"))
}

/// Half of the time, the path of the mount leads to a mount of the configuration.
fn race(bed: &Bed<'_>) -> Outcome {
    let container = running(bed, &Spec::new().mount("/b/x", "tmpfs", "guard", &["ro"]))?;
    let rootfs = container.bundle.rootfs.clone();
    let mut removed = 0;
    for round in 0..20 {
        // The path that it is added to is known; the swapping begins then.
        change(&container, "add", &named("/a/x", &format!("added{round}")))?.ok()?;
        let stop = std::sync::atomic::AtomicBool::new(false);
        let called = std::thread::scope(|scope| {
            scope.spawn(|| {
                // An even number of times, so that everything is in its place at the end.
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    for _ in 0..2 {
                        super::mounts::exchange_once(&rootfs.join("a"), &rootfs.join("b"));
                    }
                }
            });
            let called = change(&container, "remove", &tmpfs("/a/x"));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            called
        })?;
        same("guards", places_of(&container, "guard")?.len(), 1)?;
        let left = places_of(&container, &format!("added{round}"))?.len();
        same("mounts that are left", left, usize::from(!called.status.success()))?;
        removed += usize::from(called.status.success());
        if left == 1 {
            let place = places_of(&container, &format!("added{round}"))?.remove(0);
            change(&container, "remove", &tmpfs(&place))?.ok()?;
        }
    }
    println!("  found {removed} of 20 mounts that moved");
    Ok(())
}

/// Parent and child are killed at each call with which they attach, record, and notify each other.
fn killed(bed: &Bed<'_>) -> Outcome {
    bed.host.needs_root_because("newuidmap has no privileges under strace")?;
    crate::tests::kernel::needs("strace")?;
    let container = running(bed, &Spec::new())?;
    let file = bed.dir().join("list.json");
    let both = json!([
        {"destination": "/added/a", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/added/b", "type": "tmpfs", "source": "tmpfs"}
    ]);
    fs::write(&file, both.to_string())?;
    let file = file.to_string_lossy().into_owned();
    let (mut moments, mut stayed) = (0, 0);
    // strace counts each call by itself.
    'calls: for calls in ["/^move_mount$", "/^rename", "/^sendmsg$", "/^recvmsg$"] {
        for moment in 1..40 {
            let (trace, inject) =
                (format!("trace={calls}"), format!("inject={calls}:signal=KILL:when={moment}"));
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let call = bed.command(["mounts", "add", container.id(), &file]).under(&strace).call()?;
            let killed = !call.status.success();
            for place in ["/added/b", "/added/a"] {
                if mount_at(&mounts_of(&container)?, place).is_ok() {
                    stayed += usize::from(killed);
                    change(&container, "remove", &tmpfs(place))?.ok()?;
                }
                none_at(&container, place)?;
            }
            if !killed {
                continue 'calls;
            }
            moments += 1;
        }
        return fail(format!("it makes no end of calls {calls}"));
    }
    println!("  killed at {moments} moments; {stayed} mounts were there");
    check(moments > 8, || format!("killed at {moments} moments only"))
}
