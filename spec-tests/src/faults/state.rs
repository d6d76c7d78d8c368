//! State that is missing, broken, stale, or not writable.

use crate::outcome::{Outcome, check, same};
use crate::tests::mounts::Source;
use crate::{Bed, Container, Spec, Test, test};
use rustix::mount::MountFlags;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub(super) const TESTS: &[Test] = &[
    test("F5", "delete --force ends a container whose state is empty", |bed| {
        broken(bed, |file| fs::write(file, ""))
    }),
    test("F5", "delete --force ends a container whose state is cut off", |bed| {
        broken(bed, |file| {
            let text = fs::read(file)?;
            fs::write(file, &text[..text.len() / 2])
        })
    }),
    test("F5", "delete --force ends a container whose state is gone", |bed| {
        broken(bed, |file| fs::remove_file(file))
    }),
    test("F5", "delete --force ends a container whose state is garbage", |bed| {
        broken(bed, |file| fs::write(file, "\0\0\0\0"))
    }),
    test("F5", "list still shows the others when one state is broken", |bed| {
        let good = bed.waiting(&Spec::new())?;
        let bad = bed.waiting(&Spec::new())?;
        let file = state_file(bed, &bad)?;
        let saved = fs::read(&file)?;
        fs::write(&file, "")?;
        let listed = bed.call(["list", "-q"]);
        fs::write(&file, saved)?;
        let listed = listed?.ok()?;
        check(listed.stdout.contains(good.id()), || {
            format!("list says {:?} {}", listed.stdout, listed.stderr)
        })
    }),
    test("F5", "an empty directory in the state directory does not disturb", |bed| {
        let good = bed.waiting(&Spec::new())?;
        fs::create_dir(bed.root().join("empty"))?;
        let listed = bed.call(["list", "-q"])?.ok()?;
        check(listed.stdout.contains(good.id()), || format!("list says {:?}", listed.stdout))?;
        bed.call(["delete", "--force", "empty"])?.ok()?;
        check(!bed.root().join("empty").exists(), || "the empty directory is still there".into())
    }),
    test("A209 F3", "a pid that now belongs to another process is neither running nor killed", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let pid = container.pid()?;
        let file = state_file(bed, &container)?;
        container.stop()?;
        // A process of ours takes the place of the dead one, as if the kernel had reused the pid.
        let mut stranger = crate::reaper::spawn(Command::new("sleep").arg("60"))?;
        let mut state: Value = serde_json::from_slice(&fs::read(&file)?)?;
        check(replace_pid(&mut state, pid.as_raw_pid().into(), stranger.id()), || {
            format!("no pid in {}", file.display())
        })?;
        fs::write(&file, state.to_string())?;
        let status = container.status();
        let _refused = bed.call(["kill", container.id(), "KILL"]);
        let deleted = bed.call(["delete", "--force", container.id()]);
        let alive = stranger.try_wait()?.is_none();
        stranger.kill()?;
        stranger.wait()?;
        crate::reaper::forget(&stranger);
        check(alive, || "the stranger was killed".into())?;
        same("status", status?, "stopped")?;
        deleted?.ok().map(drop)
    }),
    test(
        "F3",
        "a container of another boot is stopped, and what has its pid and cgroup now is left alone",
        |bed| of_another_boot(bed, false),
    ),
    test("F3", "so is one whose creation another boot interrupted", |bed| of_another_boot(bed, true)),
    test("F5", "with all records empty delete --force ends the container, or tells that it cannot", |bed| {
        bed.tolerate_leftovers();
        let container = bed.waiting(&Spec::new())?;
        let pid = container.pid()?;
        for entry in fs::read_dir(bed.state_dir(container.id()))?.flatten() {
            if entry.file_type()?.is_file() {
                fs::write(entry.path(), "")?;
            }
        }
        let called = bed.call(["delete", "--force", container.id()]);
        let alive = !container.bundle.processes().is_empty();
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        check(!(alive && called?.status.success()), || "it says that all is well, and init lives".into())
    }),
    test(
        "F5",
        "a directory without a word in it costs no namesake in another state directory its life",
        |bed| {
            let spec = Spec::new();
            let bundle = bed.bundle(&spec)?;
            // Its id alone tells where its cgroup is.
            bundle.write_spec(&spec.without("/linux/cgroupsPath"))?;
            let container = bed.create(&bundle)?;
            let other = bed.dir().join("other-root");
            fs::create_dir_all(other.join(container.id()))?;
            fs::write(other.join(container.id()).join("lock"), "")?;
            bed.call(["--root", &other.to_string_lossy(), "delete", "--force", container.id()])?.ok()?;
            check(!other.join(container.id()).exists(), || "the directory is still there".into())?;
            same("status", container.status()?, "created")
        },
    ),
    test(
        "F6",
        "a state directory without space makes create fail cleanly, and delete --force works",
        |bed| full(bed, c"size=4k,mode=755"),
    ),
    test("F6", "a state directory without inodes makes create fail cleanly", |bed| {
        full(bed, c"nr_inodes=3,mode=755")
    }),
    test("F6", "a container is deleted although its state directory is full", |bed| {
        let root = Source::tmpfs(&bed.root(), MountFlags::empty())?;
        let container = bed.waiting(&Spec::new())?;
        rustix::mount::mount_remount(&root.0, MountFlags::empty(), c"size=64k")?;
        let _full = fs::write(root.0.join("filler"), vec![1; 1 << 20]);
        let deleted = bed.call(["delete", "--force", container.id()])?;
        let left = bed.leftovers(&container.bundle);
        drop(root);
        deleted.ok()?;
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
    }),
    test("F6", "a read-only state directory makes create fail cleanly", |bed| {
        let root = Source::tmpfs(&bed.root(), MountFlags::empty())?;
        rustix::mount::mount_remount(&root.0, MountFlags::RDONLY, c"")?;
        let bundle = bed.bundle(&Spec::new())?;
        let called = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
        let left = bed.leftovers(&bundle);
        drop(root);
        called.refused(&["read-only", "state", "root"])?;
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
    }),
    test("F22", "a hundred containers are listed", |bed| {
        let first = bed.waiting(&Spec::new())?;
        let state = bed.state_dir(first.id());
        for i in 0..100 {
            let copy = bed.root().join(format!("copy-{i}"));
            fs::create_dir(&copy)?;
            for entry in
                fs::read_dir(&state)?.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_file()))
            {
                fs::copy(entry.path(), copy.join(entry.file_name()))?;
            }
        }
        let listed = bed.call(["list", "-q"])?.ok()?;
        for i in 0..100 {
            fs::remove_dir_all(bed.root().join(format!("copy-{i}")))?;
        }
        check(listed.stdout.lines().count() >= 100, || format!("{} lines", listed.stdout.lines().count()))
    }),
];

/// The file with the pid in it: state.json, or whatever the runtime calls it.
fn state_file(bed: &Bed<'_>, container: &Container<'_, '_>) -> Outcome<PathBuf> {
    let dir = bed.state_dir(container.id());
    for name in ["state.json", "status"] {
        if dir.join(name).is_file() {
            return Ok(dir.join(name));
        }
    }
    crate::outcome::skip("no state.json or status in the state directory")
}

/// Makes the records of a running container those of another boot: its process is then another one with the same
/// numbers.
fn of_another_boot(bed: &Bed<'_>, interrupted: bool) -> Outcome {
    bed.tolerate_leftovers();
    let container = bed.waiting(&Spec::new())?;
    let pid = container.pid()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let mut found = false;
    for entry in fs::read_dir(bed.state_dir(container.id()))?.flatten() {
        if let Ok(text) = fs::read_to_string(entry.path()) {
            found |= text.contains(boot.trim());
            fs::write(entry.path(), text.replace(boot.trim(), "12345678-9abc-4def-8123-456789abcdef"))?;
        }
    }
    if interrupted {
        fs::remove_file(state_file(bed, &container)?)?;
    }
    let status = container.status();
    let _refused = bed.call(["kill", container.id(), "KILL"]);
    let deleted = bed.call(["delete", "--force", container.id()]);
    let alive = container.bundle.processes().contains(&pid);
    let cgroup = crate::cgroup::of(pid, "memory").is_ok_and(|place| place.dir.is_dir());
    let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    check(found, || "no record tells of which boot it is".into())?;
    check(alive, || "the process that has its pid now was killed".into())?;
    check(cgroup, || "the cgroup that has its path now was removed".into())?;
    if !interrupted {
        same("status", status?, "stopped")?;
    }
    deleted?.ok()?;
    check(!bed.state_dir(container.id()).exists(), || "its state directory is still there".into())
}

/// Replaces the pid in every member with a name for a pid; other numbers may be equal to it by chance.
fn replace_pid(value: &mut Value, old: i64, new: u32) -> bool {
    let mut found = false;
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key.ends_with("pid") && value.as_i64() == Some(old) {
                    *value = new.into();
                    found = true;
                }
                found |= replace_pid(value, old, new);
            }
        }
        Value::Array(list) => {
            for value in list {
                found |= replace_pid(value, old, new);
            }
        }
        _ => {}
    }
    found
}

fn broken(bed: &Bed<'_>, damage: fn(&PathBuf) -> std::io::Result<()>) -> Outcome {
    bed.tolerate_leftovers();
    let container = bed.waiting(&Spec::new())?;
    let file = state_file(bed, &container)?;
    damage(&file)?;
    let called = bed.call(["delete", "--force", container.id()])?;
    let mut left = bed.leftovers(&container.bundle);
    for _ in 0..50 {
        if left.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        left = bed.leftovers(&container.bundle);
    }
    check(left.is_empty(), || {
        format!("delete --force ended with {} and left {}", called.code(), left.join(", "))
    })?;
    called.ok().map(drop)
}

/// Creates in a state directory on a tiny file system.
fn full(bed: &Bed<'_>, options: &std::ffi::CStr) -> Outcome {
    fs::create_dir_all(bed.root())?;
    rustix::mount::mount("tiny", bed.root(), "tmpfs", MountFlags::empty(), options)?;
    let root = Source(bed.root());
    let spec = Spec::new().set("/annotations", serde_json::json!({"filler": "x".repeat(20_000)}));
    let bundle = bed.bundle(&spec)?;
    let called = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
    let deleted = bed.call(["delete", "--force", &bundle.id])?;
    let left = bed.leftovers(&bundle);
    drop(root);
    called.refused(&[])?;
    deleted.ok()?;
    check(left.is_empty(), || format!("left: {}", left.join(", ")))
}
