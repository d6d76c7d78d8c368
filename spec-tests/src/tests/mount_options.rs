//! Mount option names: rows A28 to A40.

use super::mounts::Source;
use crate::observe::{mount_at, options};
use crate::outcome::{Outcome, check, same};
use crate::{Bed, Spec, Test, test};
use rustix::mount::MountFlags;
use std::os::unix::fs::PermissionsExt;

pub(super) const TESTS: &[Test] = &[
    test("A28", "ro nosuid nodev noexec noatime nodiratime relatime strictatime are set on a tmpfs", |bed| {
        each(
            bed,
            &[
                (&["ro"], &["ro"], &["rw"]),
                (&["nosuid"], &["nosuid"], &[]),
                (&["nodev"], &["nodev"], &[]),
                (&["noexec"], &["noexec"], &[]),
                (&["noatime"], &["noatime"], &["relatime"]),
                (&["nodiratime"], &["nodiratime"], &[]),
                (&["relatime"], &["relatime"], &["noatime"]),
                (&["strictatime"], &[], &["noatime", "relatime"]),
                (&["sync"], &["sync"], &[]),
            ],
        )
    }),
    test("A28", "the opposite of an option takes it back", |bed| {
        each(
            bed,
            &[
                (&["ro", "rw"], &["rw"], &["ro"]),
                (&["nosuid", "suid"], &[], &["nosuid"]),
                (&["nodev", "dev"], &[], &["nodev"]),
                (&["noexec", "exec"], &[], &["noexec"]),
                (&["noatime", "atime"], &[], &["noatime"]),
                (&["nodiratime", "diratime"], &[], &["nodiratime"]),
                (&["sync", "async"], &[], &["sync"]),
            ],
        )
    }),
    test("A28", "norelatime and nostrictatime are accepted", |bed| {
        each(bed, &[(&["norelatime"], &[], &[]), (&["nostrictatime"], &[], &[])])
    }),
    test("A28", "rbind takes submounts along and bind does not", rbind),
    test("A28", "rbind takes submounts along also when bind is said after it", |bed| {
        nested(bed, MountFlags::empty(), &["rbind", "bind"]).map(drop)
    }),
    test("A20 A28", "a word that no bind mount uses is a warning", |bed| {
        let source = bed.dir().to_string_lossy().into_owned();
        let spec = Spec::new().mount("/mnt", "bind", &source, &["rbind", "readonly"]);
        let called = bed.run(&spec.args(&["/probe", "true"]))?.ok()?;
        check(called.stderr.contains("readonly"), || format!("no warning: {:?}", called.stderr))
    }),
    test("A29", "defaults is accepted on a tmpfs", |bed| each(bed, &[(&["defaults"], &["rw"], &["nosuid"])])),
    test("A29", "defaults is accepted on a bind", |bed| {
        // Not /tmp: a bind in a user namespace must include any mounts there.
        let source = bed.dir().to_string_lossy().into_owned();
        let seen = bed.report(&Spec::new().mount("/mnt", "bind", &source, &["bind", "defaults"]))?;
        mount_at(&seen, "/mnt").map(drop)
    }),
    test("A30", "iversion and noiversion are accepted", |bed| accepted(bed, &["iversion", "noiversion"])),
    test("A31", "lazytime is set and nolazytime accepted", |bed| {
        each(bed, &[(&["lazytime"], &["lazytime"], &[]), (&["nolazytime"], &[], &["lazytime"])])
    }),
    test("A31", "lazytime is accepted on a bind", |bed| {
        let source = bed.dir().to_string_lossy().into_owned();
        let seen = bed.report(&Spec::new().mount("/mnt", "bind", &source, &["bind", "lazytime"]))?;
        mount_at(&seen, "/mnt").map(drop)
    }),
    test("A32", "silent and loud are accepted", |bed| accepted(bed, &["silent", "loud"])),
    test("A30 A32", "iversion and silent take no other option of a mount away", |bed| {
        each(
            bed,
            &[
                (&["silent", "ro", "nosuid", "mode=700"], &["ro", "nosuid", "mode=700"], &["noexec"]),
                (&["iversion", "noexec", "nodev", "size=1m"], &["noexec", "nodev", "size=1024k"], &["ro"]),
            ],
        )?;
        let spec = Spec::new().mount("/data", "tmpfs", "tmpfs", &["silent", "tmpcopyup"]);
        let bundle = bed.bundle(&crate::bed::script_spec(spec, &[&["read", "/data/file"]]))?;
        bundle.file("data/file", "from the image")?;
        same("file", bed.tries_in(&bundle)?[0].worked()?, "from the image")
    }),
    test("A33", "all propagation words are accepted", |bed| {
        accepted(
            bed,
            &["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"],
        )
    }),
    test("A34", "rro makes submounts read-only too, and ro does not", |bed| {
        recursive(bed, MountFlags::empty(), &["rbind", "rro"], &["ro"], &[])?;
        let (top, below) = nested(bed, MountFlags::empty(), &["rbind", "ro"])?;
        options(&top, &["ro"], &[])?;
        options(&below, &[], &["ro"])
    }),
    test("A34", "rnosuid rnodev rnoexec rnoatime reach submounts", |bed| {
        let words = &["rbind", "rnosuid", "rnodev", "rnoexec", "rnoatime"];
        recursive(bed, MountFlags::empty(), words, &["nosuid", "nodev", "noexec", "noatime"], &[])
    }),
    test("A34", "rsuid rdev rexec rrw clear the flags of submounts", |bed| {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        recursive(
            bed,
            flags,
            &["rbind", "rsuid", "rdev", "rexec", "rrw"],
            &[],
            &["nosuid", "nodev", "noexec", "ro"],
        )
    }),
    test(
        "A34",
        "rrelatime rstrictatime rnodiratime rdiratime rnorelatime rnostrictatime ratime are accepted",
        |bed| {
            let mut refused = Vec::new();
            for word in [
                "rrelatime",
                "rstrictatime",
                "rnodiratime",
                "rdiratime",
                "rnorelatime",
                "rnostrictatime",
                "ratime",
            ] {
                // The access times of host mounts are locked for a user.
                let spec = if bed.host.root {
                    Spec::new().mount("/mnt", "bind", "/tmp", &["rbind", word])
                } else {
                    Spec::new().mount("/mnt", "tmpfs", "tmpfs", &[word])
                };
                let called = bed.run(&spec)?;
                if !called.status.success() {
                    refused.push(word);
                }
            }
            check(refused.is_empty(), || format!("refused: {}", refused.join(" ")))
        },
    ),
    test("A35", "nosymfollow stops symlinks on its mount", |bed| {
        let spec = Spec::new().mount("/mnt", "tmpfs", "tmpfs", &["nosymfollow"]).mount(
            "/data",
            "tmpfs",
            "tmpfs",
            &["symfollow"],
        );
        let answers = bed.tries(
            &spec,
            &[
                &["symlink", "/probe", "/mnt/link"],
                &["open", "/mnt/link"],
                &["symlink", "/probe", "/data/link"],
                &["open", "/data/link"],
            ],
        )?;
        answers[0].worked()?;
        answers[1].failed(&[40])?;
        answers[3].worked().map(drop)
    }),
    test("A36", "rnosymfollow reaches submounts and rsymfollow takes it back", |bed| {
        recursive(bed, MountFlags::empty(), &["rbind", "rnosymfollow"], &["nosymfollow"], &[])?;
        recursive(bed, MountFlags::from_bits_retain(256), &["rbind", "rsymfollow"], &[], &["nosymfollow"])
    }),
    test("A39", "mand and nomand are accepted", |bed| accepted(bed, &["mand", "nomand"])),
    test("A40", "tmpcopyup fills the tmpfs with what the image has there", copy_up),
    test(
        "A40",
        "a tmpfs has the mode asked for, else that of the image's directory, else that of the kernel",
        modes,
    ),
];

/// One tmpfs for each row: its options, those that must show, those that must not.
fn each(bed: &Bed<'_>, rows: &[(&[&str], &[&str], &[&str])]) -> Outcome {
    let mut spec = Spec::new();
    for (i, (words, _, _)) in rows.iter().enumerate() {
        spec = spec.mount(&format!("/mnt/{i}"), "tmpfs", "tmpfs", words);
    }
    let seen = bed.report(&spec)?;
    rows.iter().enumerate().try_for_each(|(i, (_, with, without))| {
        options(mount_at(&seen, &format!("/mnt/{i}"))?, with, without)
    })
}

fn accepted(bed: &Bed<'_>, words: &[&str]) -> Outcome {
    let mut spec = Spec::new();
    for word in words {
        spec = spec.mount(&format!("/mnt/{word}"), "tmpfs", "tmpfs", &[word]);
    }
    let seen = bed.report(&spec)?;
    words.iter().try_for_each(|word| mount_at(&seen, &format!("/mnt/{word}")).map(drop))
}

/// Binds a source with a submount, and returns both mounts as the container sees them.
fn nested(
    bed: &Bed<'_>,
    flags: MountFlags,
    words: &[&str],
) -> Outcome<(serde_json::Value, serde_json::Value)> {
    let source = Source::tmpfs(&bed.dir().join("source"), flags)?;
    let below = Source::tmpfs(&source.0.join("below"), flags)?;
    let seen = bed.report(&Spec::new().mount("/mnt", "bind", &source.path(), words));
    drop(below);
    let seen = seen?;
    Ok((mount_at(&seen, "/mnt")?.clone(), mount_at(&seen, "/mnt/below")?.clone()))
}

fn recursive(bed: &Bed<'_>, flags: MountFlags, words: &[&str], with: &[&str], without: &[&str]) -> Outcome {
    let (top, below) = nested(bed, flags, words)?;
    options(&top, with, without)?;
    options(&below, with, without)
}

fn rbind(bed: &Bed<'_>) -> Outcome {
    nested(bed, MountFlags::empty(), &["rbind"])?;
    let shallow = nested(bed, MountFlags::empty(), &["bind"]);
    check(shallow.is_err(), || "bind took the submount along".into())
}

/// Options, the mode of the image's directory if it has one, and what the tmpfs must have.
const MODES: [(&[&str], Option<u32>, &str); 8] = [
    (&[], None, "1777"),
    (&[], Some(0o750), "0750"),
    (&["mode=700"], None, "0700"),
    (&["mode=1777"], Some(0o700), "1777"),
    (&["tmpcopyup"], None, "1777"),
    (&["tmpcopyup"], Some(0o750), "0750"),
    (&["tmpcopyup", "mode=700"], None, "0700"),
    (&["tmpcopyup", "mode=1777"], Some(0o700), "1777"),
];

fn modes(bed: &Bed<'_>) -> Outcome {
    let mut spec = Spec::new();
    let mut places = Vec::new();
    for (number, (words, _, _)) in MODES.iter().enumerate() {
        let place = format!("/data/{number}");
        // What an earlier mount made is not the image's.
        if number == 0 {
            spec = spec.mount(&format!("{place}/inner"), "tmpfs", "tmpfs", &[]);
        }
        spec = spec.mount(&place, "tmpfs", "tmpfs", words);
        places.push(place);
    }
    let script: Vec<[&str; 2]> = places.iter().map(|place| ["stat", place.as_str()]).collect();
    let script: Vec<&[&str]> = script.iter().map(|words| &words[..]).collect();
    let bundle = bed.bundle(&crate::bed::script_spec(spec, &script))?;
    bundle.directory("data")?;
    for ((_, mode, _), place) in MODES.iter().zip(&places) {
        if let Some(mode) = mode {
            bundle.directory(&place[1..])?;
            std::fs::set_permissions(
                bundle.rootfs.join(&place[1..]),
                std::fs::Permissions::from_mode(*mode),
            )?;
        }
    }
    for ((words, there, wanted), answer) in MODES.iter().zip(bed.tries_in(&bundle)?) {
        same(&format!("mode with {words:?} on {there:?}"), &answer.worked()?["mode"], *wanted)?;
    }
    Ok(())
}

fn copy_up(bed: &Bed<'_>) -> Outcome {
    let spec = Spec::new().mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let bundle = bed.bundle(&crate::bed::script_spec(
        spec,
        &[
            &["read", "/data/file"],
            &["stat", "/data/dir"],
            &["stat", "/data/link"],
            &["write", "/data/new", "x"],
        ],
    ))?;
    bundle.file("data/file", "from the image")?;
    bundle.directory("data/dir")?;
    bundle.link("data/link", "file")?;
    std::fs::set_permissions(bundle.rootfs.join("data/dir"), std::fs::Permissions::from_mode(0o750))?;
    let answers = bed.tries_in(&bundle)?;
    same("file", answers[0].worked()?, "from the image")?;
    same("mode", &answers[1].worked()?["mode"], "0750")?;
    same("link", &answers[2].worked()?["target"], "file")?;
    answers[3].worked()?;
    check(!bundle.rootfs.join("data/new").exists(), || "a write went through to the image".into())?;
    Ok(())
}
