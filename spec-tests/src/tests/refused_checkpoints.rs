//! Checkpoints and restores that are refused or fail: each says why and leaves nothing behind.

use crate::criu::{Counter, names};
use crate::outcome::check;
use crate::{Spec, Test, test};
use std::fs;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    test("C15", "only a running container can be checkpointed", |bed| {
        let counter = Counter::prepare(bed, &Spec::new().args(&["/probe", "idle"]))?;
        counter.checkpoint(&[])?.refused(&["does not exist"])?;
        let container = bed.create(&counter.bundle)?;
        counter.checkpoint(&[])?.refused(&["cannot be checkpointed in created state"])?;
        container.start()?;
        container.stop()?;
        counter.checkpoint(&[])?.refused(&["cannot be checkpointed in stopped state"])?;
        check(!counter.images.join("inventory.img").exists(), || "it wrote images".into())
    }),
    test("C15", "wrong options are refused, and the container goes on", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        for (option, value, word) in [
            ("--manage-cgroups-mode", "loose", &["manage-cgroups-mode", "manage cgroups mode"][..]),
            ("--empty-ns", "pid", &["pid"]),
            ("--page-server", "nowhere", &["page-server"]),
        ] {
            counter.checkpoint(&[option, value])?.refused(word)?;
        }
        counter.runs()
    }),
    test("C15", "without criu a checkpoint is refused, and nothing is made", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        let images = counter.images.to_string_lossy().into_owned();
        let call =
            bed.command(["checkpoint", "--image-path", &images, counter.id()]).env("PATH", "/nonexistent");
        call.call()?.refused(&["criu"])?;
        counter.runs()?;
        check(names(&counter.images).is_ok_and(|names| names.is_empty()) || !counter.images.exists(), || {
            "it wrote images".into()
        })
    }),
    test("C15", "a checkpoint that fails tells why, and the container goes on", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        // Nothing listens there.
        let called = counter.checkpoint(&["--page-server", "127.0.0.1:1"])?;
        called.refused(&["criu failed"])?;
        check(called.stderr.contains("Error (") && called.stderr.contains("onnect"), || {
            format!("the reason in criu's log is not told: {}", called.stderr)
        })?;
        counter.runs()?;
        counter.checkpoint(&[])?.ok()?;
        counter.restore(&[])?.ok()?;
        counter.runs()
    }),
    test("C15", "a restore that fails tells why and leaves nothing", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        let saved = bed.dir().join("saved");
        for image in ["pstree.img", "core-1.img", "files.img"] {
            let path = counter.images.join(image);
            fs::rename(&path, &saved)?;
            fs::write(&path, "")?;
            let called = counter.restore(&[])?;
            called.refused(&["criu failed"]).map_err(|fault| match fault {
                crate::Fault::Failed(text) => crate::Fault::Failed(format!("{image}: {text}")),
                skipped @ crate::Fault::Skipped(_) => skipped,
            })?;
            counter.is_gone()?;
            fs::rename(&saved, &path)?;
        }
        counter.restore(&[])?.ok()?;
        counter.runs()
    }),
    test("C15", "memory that is cut off is refused, and nothing waits for the rest", |bed| {
        let counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&[])?.ok()?;
        for name in names(&counter.images)?.iter().filter(|name| name.starts_with("pages-")) {
            let path = counter.images.join(name);
            let whole = fs::read(&path)?;
            for left in [0, whole.len() / 2, whole.len() - 1] {
                fs::write(&path, &whole[..left])?;
                let call = counter.restore_command(&["--detach"]).patience(Duration::from_secs(20)).call()?;
                call.refused(&["pages"])?;
                counter.is_gone()?;
            }
            fs::write(&path, &whole)?;
        }
        counter.restore(&[])?.ok()?;
        counter.runs()
    }),
    test("C15", "a restore without images, or over an existing container, is refused", |bed| {
        let mut counter = Counter::start(bed, &Spec::new())?;
        counter.checkpoint(&["--leave-running"])?.ok()?;
        counter.restore(&[])?.refused(&["exist"])?;
        counter.runs()?;
        counter.container().stop()?;
        counter.container().delete()?;
        counter.images = bed.dir().join("none");
        counter.restore(&[])?.refused(&["none"])?;
        counter.is_gone()
    }),
];
