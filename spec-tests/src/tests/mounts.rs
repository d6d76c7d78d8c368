//! Mount entries: rows A15 to A27.

use crate::observe::{has_flag, has_option, mount_at, options, strings};
use crate::outcome::{Outcome, check, fail, same, skip};
use crate::{Bed, Spec, Test, root, test};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const TESTS: &[Test] = &[
    test("A15", "mounts are made in the listed order", order),
    test("A16", "a relative destination counts from the root", |bed| {
        let seen = bed.report(&Spec::new().mount("mnt", "tmpfs", "tmpfs", &[]))?;
        mount_at(&seen, "/mnt").map(drop)
    }),
    test("A16 A27", "a destination may end with a slash or have two, also that of a file", |bed| {
        let file = bed.dir().join("file");
        fs::write(&file, "text")?;
        let source = file.to_string_lossy();
        let spec = Spec::new()
            .mount("/made/file/", "bind", &source, &["bind"])
            .mount("//mnt//./deep/", "tmpfs", "tmpfs", &[])
            .mount("/etc//there//", "bind", &source, &["bind"]);
        let script: &[&[&str]] =
            &[&["read", "/made/file"], &["read", "/etc/there"], &["mkdir", "/mnt/deep/directory"]];
        let bundle = bed.bundle(&crate::bed::script_spec(spec, script))?;
        bundle.file("etc/there", "image")?;
        let answers = bed.tries_in(&bundle)?;
        same("made", answers[0].worked()?, "text")?;
        same("of the image", answers[1].worked()?, "text")?;
        answers[2].worked().map(drop)
    }),
    test("A16", "a mount without destination is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/mounts/-", json!({"type": "tmpfs", "source": "tmpfs"})),
            &["destination", "mounts"],
        )
    }),
    test("A17", "a tmpfs needs no source", |bed| {
        let seen =
            bed.report(&Spec::new().set("/mounts/-", json!({"destination": "/mnt", "type": "tmpfs"})))?;
        same("type", &mount_at(&seen, "/mnt")?["type"], "tmpfs")
    }),
    test("A17", "a file system that is made in a user namespace shows its source", |bed| {
        let seen = bed.report(&Spec::new().user_namespace(100_000, 65_536))?;
        same("source of /sys", &mount_at(&seen, "/sys")?["source"], "sysfs")
    }),
    test("A17", "a bind without source is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/mounts/-", json!({"destination": "/mnt", "options": ["bind"]})),
            &["source", "/mnt"],
        )
    }),
    test("A18", "a relative bind source counts from the bundle", relative_source),
    test("A18", "a bind source that does not exist is refused", |bed| {
        bed.refuses(
            &Spec::new().mount("/mnt", "bind", "/nonexistent/source", &["bind"]),
            &["/nonexistent/source"],
        )
    }),
    test("A19", "a bind needs no type", |bed| bind_of_type(bed, None)),
    test("A19", "a bind may have type none", |bed| bind_of_type(bed, Some("none"))),
    test("A19", "a bind may have type bind", |bed| bind_of_type(bed, Some("bind"))),
    test("A19", "a file can be bound onto a file that does not exist", bind_file),
    test("A20", "options that are no flags reach the file system", |bed| {
        let seen = bed.report(&Spec::new().mount(
            "/mnt",
            "tmpfs",
            "tmpfs",
            &["size=1m", "mode=700", "nr_inodes=77"],
        ))?;
        options(mount_at(&seen, "/mnt")?, &["size=1024k", "mode=700", "nr_inodes=77"], &[])
    }),
    test("A20", "an option that the file system does not know is refused", |bed| {
        bed.refuses(&Spec::new().mount("/mnt", "tmpfs", "tmpfs", &["nonsense=1"]), &["nonsense", "/mnt"])
    }),
    test("A20", "an overlay has a hundred lower directories", |bed| {
        let answers = layered(bed, 100, 60)?;
        answers.iter().try_for_each(|answer| answer.worked().map(drop))
    }),
    test("A20", "an overlay has a lower directory with a path of a thousand bytes", |bed| {
        let answers = layered(bed, 5, 1000)?;
        answers.iter().try_for_each(|answer| answer.worked().map(drop))
    }),
    test("A20", "options longer than the kernel takes are refused, with their length", |bed| {
        let long = format!("mpol={}", "x".repeat(5000));
        bed.refuses(&Spec::new().mount("/mnt", "tmpfs", "tmpfs", &[&long]), &["5005 bytes", "/mounts"])
    }),
    test("A20", "an unknown file system type is refused", |bed| {
        bed.refuses(&Spec::new().mount("/mnt", "nonsensefs", "none", &[]), &["nonsensefs", "/mnt"])
    }),
    test("A21", "words that mount(8) keeps to itself do not reach the file system", |bed| {
        let words =
            &["auto", "noauto", "nofail", "_netdev", "x-systemd.automount", "X-mount.mkdir", "comment=hello"];
        let seen = bed.report(&Spec::new().mount("/mnt", "tmpfs", "tmpfs", words))?;
        mount_at(&seen, "/mnt").map(drop)
    }),
    test("A21", "user and owner mean nosuid and nodev, as in mount(8)", |bed| {
        let seen = bed.report(&Spec::new().mount("/mnt", "tmpfs", "tmpfs", &["owner"]).mount(
            "/data",
            "tmpfs",
            "tmpfs",
            &["user"],
        ))?;
        options(mount_at(&seen, "/mnt")?, &["nosuid", "nodev"], &[])?;
        options(mount_at(&seen, "/data")?, &["nosuid", "nodev", "noexec"], &[])
    }),
    test("A27", "copy-symlink makes the link that the source is", |bed| {
        let (link, _) = link_to_file(bed)?;
        let spec = Spec::new().mount("/made/link", "bind", &link, &["bind", "copy-symlink"]);
        let answers = bed.tries(&spec, &[&["stat", "/made/link"], &["read", "/made/link"]])?;
        same("target", &answers[0].worked()?["target"], "../the/target")?;
        answers[1].failed(&[2])
    }),
    test("A27", "src-nofollow and dest-nofollow mount a link on a link", |bed| {
        let (link, _) = link_to_file(bed)?;
        let spec = Spec::new().mount("/data/l", "bind", &link, &["bind", "src-nofollow", "dest-nofollow"]);
        let bundle = bed.bundle(&crate::bed::script_spec(spec, &[&["stat", "/data/l"]]))?;
        bundle.link("data/l", "elsewhere")?;
        same("target", &bed.tries_in(&bundle)?[0].worked()?["target"], "../the/target")
    }),
    test("A27", "dest-nofollow mounts a file on a link", |bed| {
        let (_, file) = link_to_file(bed)?;
        let spec = Spec::new().mount("/data/l", "bind", &file, &["bind", "dest-nofollow"]);
        let bundle =
            bed.bundle(&crate::bed::script_spec(spec, &[&["read", "/data/l"], &["read", "/data/else"]]))?;
        bundle.link("data/l", "else")?;
        bundle.file("data/else", "of the image")?;
        let answers = bed.tries_in(&bundle)?;
        same("file at the link", answers[0].worked()?, "of the host")?;
        same("file behind the link", answers[1].worked()?, "of the image")
    }),
    root("A15", "a mount below a procfs that is not at /proc is made", |bed| {
        let spec = Spec::new().mount("/mnt", "bind", "/proc", &["rbind"]).mount(
            "/mnt/bus",
            "tmpfs",
            "covering",
            &[],
        );
        same("source", mount_at(&bed.report(&spec)?, "/mnt/bus")?["source"].as_str(), Some("covering"))
    }),
    test("A15", "what is bound on the root is the root", |bed| {
        let other = bed.dir().join("other");
        fs::create_dir(&other)?;
        crate::bundle::write_program(&other.join("probe"))?;
        fs::write(other.join("marker"), "other")?;
        let other = other.to_string_lossy().into_owned();
        let root = json!([
            {"destination": "/", "type": "bind", "source": other, "options": ["rbind"]},
            {"destination": "/proc", "type": "proc", "source": "proc"}
        ]);
        let answers = bed.tries(&Spec::new().set("/mounts", root), &[&["read", "/marker"]])?;
        same("file", answers[0].worked()?, "other")
    }),
    test("A22", "a bind without flags keeps those of its source", keeps_flags),
    test("A22", "a read-only bind of a nosuid source keeps nosuid", keeps_other_flags),
    test("A23 A33", "a propagation option takes effect on its mount", propagation),
    test("A23 A33", "a slave bind of a shared mount receives from it", slave),
    test("A24", "rw suid dev exec clear what the source of a bind has", clears_flags),
    test("A25", "sync dirsync and lazytime are set on the file system", |bed| {
        let seen =
            bed.report(&Spec::new().mount("/mnt", "tmpfs", "tmpfs", &["sync", "dirsync", "lazytime"]))?;
        options(mount_at(&seen, "/mnt")?, &["sync", "dirsync", "lazytime"], &[])
    }),
    test("A26", "remount changes the mount that is there", remount),
    test("A27", "a symlink of the image does not lead a mount out of the rootfs", symlink_inside),
    test("A27", "dots in a destination do not lead out of the rootfs", |bed| {
        let seen = bed.report(&Spec::new().mount("/tmp/../../../../../mnt/deep", "tmpfs", "tmpfs", &[]))?;
        mount_at(&seen, "/mnt/deep").map(drop)
    }),
    test("A27", "missing directories of a destination are made", |bed| {
        let seen = bed.report(&Spec::new().mount("/a/b/c", "tmpfs", "tmpfs", &[]))?;
        mount_at(&seen, "/a/b/c").map(drop)
    }),
    test("A27", "a bind of the wrong kind is refused in the words that engines look for", |bed| {
        let file = bed.dir().join("file");
        fs::write(&file, "text")?;
        let bundle = bed.bundle(&Spec::new().mount("/etc", "bind", &file.to_string_lossy(), &["bind"]))?;
        bed.refuses_bundle_when_tried(&bundle, &["not a directory"])?;
        let bundle = bed.bundle(&Spec::new().mount("/etc/afile", "bind", "/tmp", &["bind"]))?;
        bundle.file("etc/afile", "text")?;
        bed.refuses_bundle_when_tried(&bundle, &["not a directory"])
    }),
    test("A27", "a directory bound onto a file is refused", |bed| {
        let bundle = bed.bundle(&Spec::new().mount("/etc/afile", "bind", "/tmp", &["bind"]))?;
        bundle.file("etc/afile", "text")?;
        bed.refuses_bundle(&bundle, &["/etc/afile", "etc/afile"])
    }),
];

/// A mount of the suite's own; dropping this unmounts it.
pub(crate) struct Source(pub(crate) PathBuf);

impl Source {
    /// A tmpfs with these flags.
    pub(crate) fn tmpfs(path: &Path, flags: MountFlags) -> Outcome<Self> {
        fs::create_dir_all(path)?;
        mount("source", path, "tmpfs", flags, c"mode=755")?;
        Ok(Self(path.to_owned()))
    }

    /// Its path as text.
    pub(crate) fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _gone = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn order(bed: &Bed<'_>) -> Outcome {
    let spec = Spec::new()
        .mount("/mnt", "tmpfs", "first", &[])
        .mount("/mnt/inner", "tmpfs", "second", &[])
        .mount("/data", "tmpfs", "third", &[])
        .mount("/data", "tmpfs", "fourth", &[]);
    let seen = bed.report(&spec)?;
    let (outer, inner) = (mount_at(&seen, "/mnt")?, mount_at(&seen, "/mnt/inner")?);
    same("parent of the inner mount", &inner["parent"], &outer["id"])?;
    same("topmost mount", &mount_at(&seen, "/data")?["source"], "fourth")
}

fn relative_source(bed: &Bed<'_>) -> Outcome {
    let bundle = bed.bundle(&Spec::new().args(&["/probe", "try", "read", "/mnt/file"]).mount(
        "/mnt",
        "bind",
        "volume",
        &["bind"],
    ))?;
    fs::create_dir(bundle.dir.join("volume"))?;
    fs::write(bundle.dir.join("volume/file"), "from the bundle")?;
    let call =
        bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).cwd(Path::new("/"));
    let answers = crate::bed::answers(&call.call()?.ok()?)?;
    same("file", answers[0].worked()?, "from the bundle")
}

fn bind_of_type(bed: &Bed<'_>, kind: Option<&str>) -> Outcome {
    let source = bed.dir().join("volume");
    fs::create_dir(&source)?;
    let mut entry =
        json!({"destination": "/mnt", "source": source.to_string_lossy(), "options": ["rbind", "ro"]});
    if let Some(kind) = kind {
        entry["type"] = json!(kind);
    }
    let seen = bed.report(&Spec::new().set("/mounts/-", entry))?;
    options(mount_at(&seen, "/mnt")?, &["ro"], &[])
}

fn bind_file(bed: &Bed<'_>) -> Outcome {
    let source = bed.dir().join("file");
    fs::write(&source, "contents")?;
    let spec = Spec::new().mount("/new/place", "bind", &source.to_string_lossy(), &["bind"]);
    let answers = bed.tries(&spec, &[&["read", "/new/place"]])?;
    same("file", answers[0].worked()?, "contents")
}

fn keeps_flags(bed: &Bed<'_>) -> Outcome {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let source = Source::tmpfs(&bed.dir().join("source"), flags)?;
    let seen = bed.report(&Spec::new().mount("/mnt", "bind", &source.path(), &["bind"]))?;
    options(mount_at(&seen, "/mnt")?, &["nosuid", "nodev", "noexec"], &[])
}

fn keeps_other_flags(bed: &Bed<'_>) -> Outcome {
    let source = Source::tmpfs(&bed.dir().join("source"), MountFlags::NOSUID | MountFlags::NODEV)?;
    let seen = bed.report(&Spec::new().mount("/mnt", "bind", &source.path(), &["bind", "ro"]))?;
    options(mount_at(&seen, "/mnt")?, &["ro", "nosuid", "nodev"], &[])
}

fn propagation(bed: &Bed<'_>) -> Outcome {
    let spec = Spec::new()
        .mount("/mnt/shared", "tmpfs", "tmpfs", &["shared"])
        .mount("/mnt/rshared", "tmpfs", "tmpfs", &["rshared"])
        .mount("/mnt/private", "tmpfs", "tmpfs", &["private"])
        .mount("/mnt/unbindable", "tmpfs", "tmpfs", &["unbindable"]);
    let seen = bed.report(&spec)?;
    let tags = |place: &str| mount_at(&seen, place).map(|mount| strings(&mount["propagation"]).join(" "));
    for place in ["/mnt/shared", "/mnt/rshared"] {
        check(tags(place)?.contains("shared:"), || format!("{place} is not shared"))?;
    }
    same("tags of the private mount", tags("/mnt/private")?, "")?;
    same("tags of the unbindable mount", tags("/mnt/unbindable")?, "unbindable")
}

fn slave(bed: &Bed<'_>) -> Outcome {
    let source = Source::tmpfs(&bed.dir().join("source"), MountFlags::empty())?;
    mount_change(&source.0, MountPropagationFlags::SHARED)?;
    // The root's own propagation must not cut off the volume first.
    let spec = Spec::new().set("/linux/rootfsPropagation", "rslave").mount(
        "/mnt",
        "bind",
        &source.path(),
        &["rbind", "rslave"],
    );
    let container = bed.waiting(&spec)?;
    let later = Source::tmpfs(&source.0.join("later"), MountFlags::empty())?;
    let answers = container.tries(&[&["mounts"]])?;
    let seen = mount_at(answers[0].worked()?, "/mnt/later").map(drop);
    drop(later);
    seen
}

fn clears_flags(bed: &Bed<'_>) -> Outcome {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    let source = Source::tmpfs(&bed.dir().join("source"), MountFlags::empty())?;
    let bound = bed.dir().join("bound");
    fs::create_dir(&bound)?;
    rustix::mount::mount_bind(&source.0, &bound)?;
    let bound = Source(bound);
    rustix::mount::mount_remount(&bound.0, MountFlags::BIND | flags, c"")?;
    let spec = Spec::new()
        .mount("/mnt", "bind", &bound.path(), &["bind", "rw", "suid", "dev", "exec"])
        .mount("/data", "bind", &bound.path(), &["bind", "exec"]);
    let seen = bed.report(&spec)?;
    options(mount_at(&seen, "/mnt")?, &[], &["ro", "nosuid", "nodev", "noexec"])?;
    options(mount_at(&seen, "/data")?, &["ro", "nosuid", "nodev"], &["noexec"])
}

fn remount(bed: &Bed<'_>) -> Outcome {
    let spec = Spec::new().mount("/mnt", "tmpfs", "once", &["size=1m"]).mount(
        "/mnt",
        "tmpfs",
        "once",
        &["remount", "ro", "size=2m"],
    );
    let seen = bed.report(&spec)?;
    let count =
        seen["mounts"].as_array().map_or(0, |all| all.iter().filter(|m| m["destination"] == "/mnt").count());
    same("mounts at /mnt", count, 1)?;
    let mount = mount_at(&seen, "/mnt")?;
    check(has_option(mount, "ro") && has_option(mount, "size=2048k"), || format!("{mount}"))?;
    check(!has_flag(mount, "nosuid"), || format!("{mount}"))
}

/// A dangling link and a file, both of the host.
fn link_to_file(bed: &Bed<'_>) -> Outcome<(String, String)> {
    let (link, file) = (bed.dir().join("link"), bed.dir().join("a-file"));
    std::os::unix::fs::symlink("../the/target", &link)?;
    fs::write(&file, "of the host")?;
    Ok((link.to_string_lossy().into_owned(), file.to_string_lossy().into_owned()))
}

/// An overlay of this many directories with paths of about that length. Each has its own file, and each answer is about
/// one.
fn layered(bed: &Bed<'_>, count: usize, length: usize) -> Outcome<Vec<crate::bed::Answer>> {
    let needed = if length > 255 { (6, 13) } else { (6, 8) };
    if bed.host.kernel < needed {
        return skip(format!("the kernel is older than {}.{}", needed.0, needed.1));
    }
    let mut layers = Vec::new();
    let mut script = Vec::new();
    for number in 0..count {
        let mut layer = bed.dir().join(format!("layer{number}"));
        while layer.as_os_str().len() < length {
            layer.push("x".repeat(200.min(length)));
        }
        fs::create_dir_all(&layer)?;
        fs::write(layer.join(format!("file{number}")), "")?;
        layers.push(layer.to_string_lossy().into_owned());
        script.push(format!("/mnt/file{number}"));
    }
    let option = format!("lowerdir={}", layers.join(":"));
    let spec = Spec::new().mount("/mnt", "overlay", "overlay", &[&option, "ro"]);
    let script: Vec<[&str; 2]> = script.iter().map(|path| ["read", path.as_str()]).collect();
    let script: Vec<&[&str]> = script.iter().map(|words| &words[..]).collect();
    bed.tries(&spec, &script)
}

fn symlink_inside(bed: &Bed<'_>) -> Outcome {
    let outside = bed.dir().join("outside");
    fs::create_dir(&outside)?;
    let bundle = bed.bundle(&Spec::new().mount("/escape/made", "tmpfs", "tmpfs", &[]))?;
    bundle.link("escape", &outside)?;
    // Refusing such an image is as good as staying inside.
    bed.run_bundle(&bundle)?;
    let made = fs::read_dir(&outside)?.count();
    if made == 0 {
        Ok(())
    } else {
        fail("the runtime followed a symlink of the image and made a directory on the host")
    }
}
