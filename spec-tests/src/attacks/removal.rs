//! Attempts to make `mounts remove` remove a protection, or anything else that `mounts add` did not make.

use crate::bed::Container;
use crate::observe::{has_flag, mount_at};
use crate::outcome::{Outcome, check, same, skip};
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
pub(super) fn running<'b, 'a>(bed: &'b Bed<'a>, spec: &Spec) -> Outcome<Container<'b, 'a>> {
    if !bed.call(["--help"])?.ok()?.stdout.contains("mounts") {
        return skip("the runtime has no `mounts` command");
    }
    bed.waiting(&spec.clone().capabilities(&["CAP_SYS_ADMIN"]))
}

pub(super) fn tmpfs(destination: &str) -> Value {
    named(destination, "added")
}

pub(super) fn named(destination: &str, source: &str) -> Value {
    json!([{"destination": destination, "type": "tmpfs", "source": source}])
}

pub(super) fn change(container: &Container<'_, '_>, verb: &str, entries: &Value) -> Outcome<Called> {
    let file = container.bed.dir().join("mounts.json");
    fs::write(&file, entries.to_string())?;
    container.bed.call(["mounts", verb, container.id(), &file.to_string_lossy()])
}

pub(super) fn mounts_of(container: &Container<'_, '_>) -> Outcome<Value> {
    Ok(container.tries(&[&["mounts"]])?[0].worked()?.clone())
}

/// Where mounts with that source are.
pub(super) fn places_of(container: &Container<'_, '_>, source: &str) -> Outcome<Vec<String>> {
    let mounts = mounts_of(container)?;
    let found = mounts.as_array().into_iter().flatten().filter(|mount| mount["source"] == source);
    Ok(found.map(|mount| mount["destination"].as_str().unwrap_or_default().to_owned()).collect())
}

pub(super) fn none_at(container: &Container<'_, '_>, place: &str) -> Outcome {
    let mounts = mounts_of(container)?;
    check(mount_at(&mounts, place).is_err(), || format!("{place} is still mounted"))
}
