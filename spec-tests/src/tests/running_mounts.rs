//! `mounts add` and `mounts remove`: C11, for runtimes that have the command.

use super::mounts::Source;
use crate::bed::Container;
use crate::observe::{mount_at, options};
use crate::outcome::{Outcome, check, same, skip};
use crate::runtime::Called;
use crate::{Bed, Spec, Test, test};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_change};
use serde_json::{Value, json};
use std::fs;

pub(super) const TESTS: &[Test] = &[
    test("C11", "mounts add gives a running container a tmpfs with its options", |bed| {
        let container = running(bed, &Spec::new())?;
        let entry = json!({"destination": "/added/tmp", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "noexec", "size=1m"]});
        change(&container, "add", &json!([entry]))?.ok()?;
        let mounts = mounts_of(&container)?;
        options(mount_at(&mounts, "/added/tmp")?, &["nosuid", "noexec", "size=1024k"], &["nodev"])
    }),
    test("C11", "mounts add binds a directory and a file of the host", binds),
    test("C11", "a relative bind source of mounts add counts from the bundle", |bed| {
        let container = running(bed, &Spec::new())?;
        fs::create_dir(container.bundle.dir.join("volume"))?;
        fs::write(container.bundle.dir.join("volume/file"), "from the bundle")?;
        let entry =
            json!({"destination": "/added", "type": "bind", "source": "volume", "options": ["rbind"]});
        change(&container, "add", &json!([entry]))?.ok()?;
        same("file", container.tries(&[&["read", "/added/file"]])?[0].worked()?, "from the bundle")
    }),
    test("C11", "mounts add makes a procfs of the container's pid namespace", |bed| {
        let container = running(bed, &Spec::new())?;
        let entry = json!({"destination": "/added", "type": "proc", "source": "proc"});
        change(&container, "add", &json!([entry]))?.ok()?;
        let words = container.tries(&[&["read", "/added/1/cmdline"]])?[0].worked()?.clone();
        check(words.as_str().is_some_and(|text| text.starts_with("/probe")), || format!("pid 1 is {words}"))
    }),
    test("C11", "mounts add makes file systems of the container's other namespaces", |bed| {
        let container = running(bed, &Spec::new())?;
        let entries = json!([
            {"destination": "/added/mqueue", "type": "mqueue", "source": "mqueue"},
            {"destination": "/added/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/added/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]}
        ]);
        change(&container, "add", &entries)?.ok()?;
        let answers = container.tries(&[&["mounts"], &["list", "/added/sys/class/net"]])?;
        for (place, kind) in [("/added/mqueue", "mqueue"), ("/added/sys", "sysfs"), ("/added/pts", "devpts")]
        {
            same("type", &mount_at(answers[0].worked()?, place)?["type"], kind)?;
        }
        same("network devices", answers[1].worked()?, &json!(["lo"]))
    }),
    test("C11", "mounts add works in a user namespace", |bed| {
        let container = running(bed, &Spec::new().user_namespace(200_000, 65536))?;
        let volume = bed.dir().join("volume");
        fs::create_dir(&volume)?;
        let entries = json!([
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
            {"destination": "/mnt", "type": "bind", "source": volume, "options": ["bind", "ro"]}
        ]);
        change(&container, "add", &entries)?.ok()?;
        let mounts = mounts_of(&container)?;
        same("type", &mount_at(&mounts, "/tmp")?["type"], "tmpfs")?;
        options(mount_at(&mounts, "/mnt")?, &["ro"], &[])?;
        change(&container, "remove", &json!([{"destination": "/mnt"}, {"destination": "/tmp"}]))?.ok()?;
        let mounts = mounts_of(&container)?;
        check(mount_at(&mounts, "/mnt").is_err() && mount_at(&mounts, "/tmp").is_err(), || {
            "still mounted".into()
        })
    }),
    test("C11", "mounts add works in a container that is only created, and in a paused one", |bed| {
        let entries = json!([{"destination": "/added", "type": "tmpfs", "source": "tmpfs"}]);
        let container = bed.create(&bed.bundle(&Spec::new().args(&["/probe", "wait"]))?)?;
        if !knows_mounts(&container)? {
            return skip("the runtime has no `mounts` command");
        }
        change(&container, "add", &entries)?.ok()?;
        container.start()?;
        mount_at(&mounts_of(&container)?, "/added").map(drop)?;
        bed.call(["pause", container.id()])?.ok()?;
        let paused = change(&container, "remove", &entries)?;
        bed.call(["resume", container.id()])?.ok()?;
        paused.ok()?;
        check(mount_at(&mounts_of(&container)?, "/added").is_err(), || "still mounted".into())
    }),
    test("C11", "mounts remove takes what mounts add made, in any order", |bed| {
        let container = running(bed, &Spec::new())?;
        let entries = json!([
            {"destination": "/added", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/added/inner", "type": "tmpfs", "source": "tmpfs"}
        ]);
        change(&container, "add", &entries)?.ok()?;
        let gone = json!([{"destination": "/added"}, {"destination": "/added/inner"}]);
        change(&container, "remove", &gone)?.ok()?;
        let mounts = mounts_of(&container)?;
        for place in ["/added", "/added/inner"] {
            check(mount_at(&mounts, place).is_err(), || format!("{place} is still mounted"))?;
        }
        Ok(())
    }),
    test("C11", "mounts remove of something that is no mount point is refused and removes nothing", |bed| {
        let container = running(bed, &Spec::new())?;
        change(&container, "add", &json!([{"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}]))?
            .ok()?;
        let entries = json!([{"destination": "/mnt"}, {"destination": "/etc"}]);
        change(&container, "remove", &entries)?.refused(&["/etc"])?;
        mount_at(&mounts_of(&container)?, "/mnt").map(drop)
    }),
    test("S5 C11", "no link leads mounts remove to a protection", |bed| {
        let spec = Spec::new().set("/linux/readonlyPaths", json!(["/proc/sys"]));
        let container = running(bed, &spec)?;
        let entries = json!([{"destination": "/around/x", "type": "tmpfs", "source": "tmpfs"}]);
        change(&container, "add", &entries)?.ok()?;
        // Root in the container can do this as well.
        let rootfs = &container.bundle.rootfs;
        fs::rename(rootfs.join("around"), rootfs.join("moved"))?;
        fs::create_dir(rootfs.join("around"))?;
        std::os::unix::fs::symlink("/proc/sys", rootfs.join("around/x"))?;
        // It may find the added mount, or refuse.
        change(&container, "remove", &entries)?;
        options(mount_at(&mounts_of(&container)?, "/proc/sys")?, &["ro"], &[])
    }),
    test("C11", "when one entry of mounts add fails, none stays", |bed| {
        let container = running(bed, &Spec::new())?;
        let before = mounts_of(&container)?;
        let entries = json!([
            {"destination": "/added/a", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/added/a/b", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
            {"destination": "/added/c", "type": "tmpfs", "source": "tmpfs", "options": ["iversion"]},
            {"destination": "/added/d", "type": "tmpfs", "source": "tmpfs", "options": ["nonsense=1"]}
        ]);
        change(&container, "add", &entries)?.refused(&["nonsense", "/added/d"])?;
        same("mounts", mounts_of(&container)?, before)
    }),
    test("C11", "a mount that config.json could not have is refused by mounts add", |bed| {
        let container = running(bed, &Spec::new())?;
        let before = mounts_of(&container)?;
        let good = json!({"destination": "/added", "type": "tmpfs", "source": "tmpfs"});
        for (bad, words) in [
            (json!({"type": "tmpfs"}), &["destination"][..]),
            (json!({"destination": "/mnt", "options": ["bind"]}), &["source"]),
            (json!({"destination": "/mnt", "type": "tmpfs", "options": [3]}), &["options", "string"]),
            (json!({"destination": "/proc/self", "type": "tmpfs"}), &["/proc"]),
        ] {
            change(&container, "add", &json!([good, bad]))?.refused(words)?;
        }
        same("mounts", mounts_of(&container)?, before)
    }),
    test("C11", "mounts add follows a link of the container only inside its root", |bed| {
        let container = running(bed, &Spec::new())?;
        let outside = bed.dir().join("outside");
        fs::create_dir(&outside)?;
        let target = outside.to_string_lossy().into_owned();
        container.tries(&[&["symlink", &target, "/way"], &["symlink", "/../../../../..", "/up"]])?;
        let entries = json!([
            {"destination": "/way/in", "type": "tmpfs", "source": "tmpfs"},
            {"destination": format!("/up{target}"), "type": "tmpfs", "source": "tmpfs"}
        ]);
        change(&container, "add", &entries)?.ok()?;
        check(fs::read_dir(&outside)?.next().is_none(), || "something was made outside".into())?;
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        check(!table.contains(&target), || "something was mounted outside".into())
    }),
    test("C11", "a bind that mounts add makes of a shared directory sends nothing back to the host", |bed| {
        nothing_comes_back(bed, &Spec::new())
    }),
    test("C11", "nor does one in a user namespace", |bed| {
        nothing_comes_back(bed, &Spec::new().user_namespace(200_000, 65536))
    }),
    test("A23", "a bind of a shared directory in config.json sends nothing back to the host", |bed| {
        bound_at_creation(bed, &Spec::new())
    }),
    test("A23", "nor does one of a container in a user namespace", |bed| {
        bound_at_creation(bed, &Spec::new().user_namespace(200_000, 65536))
    }),
    test("C11", "mounts of a stopped container are refused", |bed| {
        let container = running(bed, &Spec::new())?;
        container.stop()?;
        let entries = json!([{"destination": "/added", "type": "tmpfs", "source": "tmpfs"}]);
        change(&container, "add", &entries)?.refused(&["not running", "stopped"])?;
        change(&container, "remove", &entries)?.refused(&["not running", "stopped"])
    }),
    test("C11", "mounts without an action, an id or a file, or with another action, are refused", |bed| {
        let container = running(bed, &Spec::new())?;
        for words in [
            &["mounts"][..],
            &["mounts", "add", container.id()],
            &["mounts", "sub", container.id(), "/dev/null"],
        ] {
            bed.call(words.iter().copied())?.refused(&[])?;
        }
        bed.call(["mounts", "add", container.id(), "/nonexistent"])?.refused(&["/nonexistent"])
    }),
];

/// A container that waits, if the runtime has the command at all.
fn running<'b, 'a>(bed: &'b Bed<'a>, spec: &Spec) -> Outcome<Container<'b, 'a>> {
    let container = bed.waiting(&spec.clone().capabilities(&["CAP_SYS_ADMIN"]))?;
    if knows_mounts(&container)? { Ok(container) } else { skip("the runtime has no `mounts` command") }
}

fn knows_mounts(container: &Container<'_, '_>) -> Outcome<bool> {
    Ok(container.bed.call(["--help"])?.ok()?.stdout.contains("mounts"))
}

fn change(container: &Container<'_, '_>, action: &str, entries: &Value) -> Outcome<Called> {
    let file = container.bed.dir().join("mounts.json");
    fs::write(&file, entries.to_string())?;
    container.bed.call(["mounts", action, container.id(), &file.to_string_lossy()])
}

fn mounts_of(container: &Container<'_, '_>) -> Outcome<Value> {
    Ok(container.tries(&[&["mounts"]])?[0].worked()?.clone())
}

fn binds(bed: &Bed<'_>) -> Outcome {
    let container = running(bed, &Spec::new())?;
    let source = Source::tmpfs(&bed.dir().join("source"), MountFlags::NOSUID)?;
    let file = bed.dir().join("a-file");
    fs::write(&file, "contents")?;
    let entries = json!([
        {"destination": "/added/dir", "type": "bind", "source": source.path(), "options": ["bind", "ro"]},
        {"destination": "/added/file", "source": file, "options": ["bind"]}
    ]);
    change(&container, "add", &entries)?.ok()?;
    let answers = container.tries(&[&["mounts"], &["read", "/added/file"], &["mkdir", "/added/dir/x"]])?;
    options(mount_at(answers[0].worked()?, "/added/dir")?, &["ro", "nosuid"], &[])?;
    same("file", answers[1].worked()?, "contents")?;
    answers[2].failed(&[30])?;
    change(&container, "remove", &entries)?.ok()?;
    let mounts = mounts_of(&container)?;
    check(mount_at(&mounts, "/added/dir").is_err() && mount_at(&mounts, "/added/file").is_err(), || {
        "still mounted".into()
    })
}

/// A mount inside the bound directory must not appear on the host, whose mounts are shared on most machines.
fn nothing_comes_back(bed: &Bed<'_>, spec: &Spec) -> Outcome {
    let source = shared(bed)?;
    let container = running(bed, spec)?;
    change(&container, "add", &json!([bind_on_mnt(&source)]))?.ok()?;
    container.tries(&[&["mount", "inner", "/mnt/inner", "tmpfs"]])?[0].worked()?;
    not_on_host(&source)
}

fn bound_at_creation(bed: &Bed<'_>, spec: &Spec) -> Outcome {
    let source = shared(bed)?;
    let spec = spec.clone().capabilities(&["CAP_SYS_ADMIN"]).set("/mounts/-", bind_on_mnt(&source));
    bed.tries(&spec, &[&["mount", "inner", "/mnt/inner", "tmpfs"]])?[0].worked()?;
    not_on_host(&source)
}

fn shared(bed: &Bed<'_>) -> Outcome<Source> {
    let source = Source::tmpfs(&bed.dir().join("source"), MountFlags::empty())?;
    fs::create_dir(source.0.join("inner"))?;
    mount_change(&source.0, MountPropagationFlags::SHARED)?;
    Ok(source)
}

fn bind_on_mnt(source: &Source) -> Value {
    json!({"destination": "/mnt", "type": "bind", "source": source.path(), "options": ["rbind"]})
}

fn not_on_host(source: &Source) -> Outcome {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let inner = source.0.join("inner").to_string_lossy().into_owned();
    check(!table.contains(&inner), || "the container's mount appeared on the host".into())
}
