//! Propagation of the root, masked and read-only paths: rows A197 to A202.

use crate::observe::{mount_at, strings};
use crate::outcome::{Outcome, check, same};
use crate::{Bed, Spec, Test, test};
use serde_json::json;

pub(super) const TESTS: &[Test] = &[
    test("A197", "rootfsPropagation private leaves the root private", |bed| propagation(bed, "private", "")),
    test("A197", "rootfsPropagation shared makes the root shared", |bed| {
        propagation(bed, "shared", "shared:")
    }),
    test("A197", "rootfsPropagation slave and rslave keep the root from sending", |bed| {
        for word in ["slave", "rslave"] {
            let seen = bed.report(&Spec::new().set("/linux/rootfsPropagation", word))?;
            let tags = strings(&mount_at(&seen, "/")?["propagation"]).join(" ");
            check(!tags.contains("shared:"), || format!("{word}: {tags}"))?;
        }
        Ok(())
    }),
    test("A197", "rootfsPropagation unbindable makes the root unbindable", |bed| {
        propagation(bed, "unbindable", "unbindable")
    }),
    test("A198", "an unknown rootfsPropagation is refused", |bed| {
        bed.refuses(&Spec::new().set("/linux/rootfsPropagation", "foo"), &["rootfsPropagation", "foo"])
    }),
    test("A199", "a masked file cannot be read", |bed| {
        let bundle = bed.bundle(&crate::bed::script_spec(
            Spec::new().set("/linux/maskedPaths", json!(["/data/secret", "/proc/kcore"])),
            &[
                &["read", "/data/secret"],
                &["overwrite", "/data/secret", "x"],
                &["read", "/data/secret"],
                &["head", "/proc/kcore", "4"],
            ],
        ))?;
        bundle.file("data/secret", "secret")?;
        let answers = bed.tries_in(&bundle)?;
        check(answers[0].errno != 0 || answers[0].value == "", || format!("read {}", answers[0].value))?;
        check(answers[2].errno != 0 || answers[2].value == "", || format!("read {}", answers[2].value))?;
        check(answers[3].errno != 0 || answers[3].value == json!([]), || "kcore was read".into())?;
        same("file on the host", std::fs::read_to_string(bundle.rootfs.join("data/secret"))?, "secret")
    }),
    test("A199 A201", "a masked or read-only path may end with a slash or have two", |bed| {
        let spec = Spec::new()
            .set("/linux/maskedPaths", json!(["/data//secret/", "/data/./other"]))
            .set("/linux/readonlyPaths", json!(["//data/kept/"]));
        let script: &[&[&str]] =
            &[&["read", "/data/secret"], &["read", "/data/other"], &["overwrite", "/data/kept", "x"]];
        let bundle = bed.bundle(&crate::bed::script_spec(spec, script))?;
        for name in ["secret", "other", "kept"] {
            bundle.file(&format!("data/{name}"), "text")?;
        }
        let answers = bed.tries_in(&bundle)?;
        for answer in &answers[..2] {
            check(answer.errno != 0 || answer.value == "", || format!("{}: {}", answer.op, answer.value))?;
        }
        answers[2].failed(&[30])
    }),
    test("A199", "a masked directory is empty and cannot be written", |bed| {
        let bundle = bed.bundle(&crate::bed::script_spec(
            Spec::new().set("/linux/maskedPaths", json!(["/data"])),
            &[&["list", "/data"], &["write", "/data/x", "x"]],
        ))?;
        bundle.file("data/secret", "secret")?;
        let answers = bed.tries_in(&bundle)?;
        same("entries", answers[0].worked()?, &json!([]))?;
        answers[1].failed(&[30])
    }),
    test("A199", "masked paths that do not exist are fine", |bed| {
        bed.report(&Spec::new().set("/linux/maskedPaths", json!(["/nonexistent/path", "/proc/nonexistent"])))
            .map(drop)
    }),
    test("A199", "without CAP_SYS_ADMIN a mask cannot be unmounted or bound away", |bed| {
        let bundle = bed.bundle(&crate::bed::script_spec(
            Spec::new().set("/linux/maskedPaths", json!(["/data"])).capabilities(&["CAP_CHOWN"]),
            &[&["umount", "/data"], &["mount", "/", "/mnt", "none", "4096"], &["list", "/data"]],
        ))?;
        bundle.file("data/secret", "secret")?;
        let answers = bed.tries_in(&bundle)?;
        answers[..2].iter().try_for_each(|answer| answer.failed(&[1]))?;
        same("entries", answers[2].worked()?, &json!([]))
    }),
    test("A200", "a relative masked path is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/maskedPaths", json!(["proc/kcore"])),
            &["maskedPaths", "masked path", "proc/kcore"],
        )
    }),
    test("A201", "a read-only path cannot be written, its contents can be read", |bed| {
        let bundle = bed.bundle(&crate::bed::script_spec(
            Spec::new().set("/linux/readonlyPaths", json!(["/data", "/proc/sys", "/etc/afile"])),
            &[
                &["read", "/data/file"],
                &["write", "/data/file", "x"],
                &["overwrite", "/proc/sys/kernel/hostname", "x"],
                &["overwrite", "/etc/afile", "x"],
                &["write", "/etc/other", "x"],
            ],
        ))?;
        bundle.file("data/file", "text")?;
        bundle.file("etc/afile", "text")?;
        let answers = bed.tries_in(&bundle)?;
        same("file", answers[0].worked()?, "text")?;
        // A user's container may not write to the host's sysctls in the first place, and gets that error.
        let allowed: &[i64] = if bed.host.root { &[30] } else { &[13, 30] };
        answers[1].failed(&[30])?;
        answers[2].failed(allowed)?;
        answers[3].failed(&[30])?;
        answers[4].worked().map(drop)
    }),
    test("A201", "a read-only path keeps nosuid nodev noexec of its mount", |bed| {
        let spec = Spec::new().set("/linux/readonlyPaths", json!(["/dev/shm"]));
        let seen = bed.report(&spec)?;
        crate::observe::options(mount_at(&seen, "/dev/shm")?, &["ro", "nosuid", "nodev", "noexec"], &[])
    }),
    test("A201", "read-only paths that do not exist are fine", |bed| {
        bed.report(&Spec::new().set("/linux/readonlyPaths", json!(["/nonexistent/path"]))).map(drop)
    }),
    test("A202", "a relative read-only path is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/readonlyPaths", json!(["proc/sys"])),
            &["readonlyPaths", "readonly path", "read-only path", "proc/sys"],
        )
    }),
];

fn propagation(bed: &Bed<'_>, word: &str, tag: &str) -> Outcome {
    let seen = bed.report(&Spec::new().set("/linux/rootfsPropagation", word))?;
    let tags = strings(&mount_at(&seen, "/")?["propagation"]).join(" ");
    check(if tag.is_empty() { tags.is_empty() } else { tags.contains(tag) }, || {
        format!("propagation of the root: {tags:?}")
    })
}
