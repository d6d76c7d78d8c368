//! What a container does to the host's mounts, whose tree is shared on every machine with systemd.

use crate::bed::script_spec;
use crate::observe::mount_at;
use crate::outcome::{Outcome, check, fail, same, skip};
use crate::runtime::Called;
use crate::tests::mounts::Source;
use crate::{Bed, Bundle, Spec, Test, root};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(super) const TESTS: &[Test] = &[
    root("S60", "a root that is shared takes no mount of the host away", |bed| {
        for word in ["shared", "rshared"] {
            let volume = Volume::new(bed)?;
            bed.run(&sharing(word, &volume).args(&["/probe", "true"]))?.ok()?;
            volume.is_whole(word)?;
        }
        Ok(())
    }),
    root("S60", "the caller's mounts are what they were, whatever the propagation of the root", |bed| {
        let words = ["", "shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable"];

        for word in words {
            let spec = Spec::new().args(&["/probe", "true"]);
            let spec = if word.is_empty() { spec } else { spec.set("/linux/rootfsPropagation", word) };
            on_shared_host(bed, &bed.bundle(&spec)?, &[])?.ok()?;
        }
        Ok(())
    }),
    root("S60", "the caller's mounts are what they were without pivot_root, too", |bed| {
        if !bed.call(["run", "--help"])?.stdout.contains("--no-pivot") {
            return skip("the runtime has no --no-pivot");
        }
        for word in ["rslave", "rshared"] {
            let spec = Spec::new().args(&["/probe", "true"]).set("/linux/rootfsPropagation", word);
            on_shared_host(bed, &bed.bundle(&spec)?, &["--no-pivot"])?.ok()?;
        }
        Ok(())
    }),
    root(
        "S60 A197",
        "a volume that is shared in both directions gives the host what is mounted on it",
        |bed| {
            let volume = Volume::new(bed)?;
            let container = bed.waiting(&sharing("rshared", &volume).capabilities(&["CAP_SYS_ADMIN"]))?;
            container.tries(&[&["mount", "made", "/mnt/made", "tmpfs"]])?[0].worked()?;
            let made = volume.outer.0.join("made");
            let seen = is_mounted(&made.to_string_lossy());
            container.stop()?;
            container.delete()?;
            let _gone = unmount(&made, UnmountFlags::DETACH);
            check(seen?, || "what the container has mounted on the volume is not on the host".into())?;
            volume.is_whole("a volume that is shared in both directions")
        },
    ),
    root(
        "S60",
        "what mounts add has shared with the host goes without what the host has mounted there",
        |bed| {
            let volume = Volume::new(bed)?;
            let spec = Spec::new().set("/linux/rootfsPropagation", "rshared");
            let container = bed.waiting(&spec)?;
            if !bed.call(["--help"])?.stdout.contains("mounts") {
                return skip("the runtime has no `mounts` command");
            }
            let bind = json!({"destination": "/added", "type": "bind", "source": volume.outer.path(),
            "options": ["rbind", "rshared"]});
            let wrong = json!({"destination": "/wrong", "type": "nonsensefs", "source": "none"});
            let change = |verb: &str, mounts: Value| -> Outcome<Called> {
                let file = bed.dir().join("mounts.json");
                fs::write(&file, mounts.to_string())?;
                bed.call(["mounts", verb, container.id(), &file.to_string_lossy()])
            };
            change("add", json!([bind, wrong]))?.refused(&["nonsensefs"])?;
            volume.is_whole("an addition that is undone")?;
            change("add", json!([bind]))?.ok()?;
            change("remove", json!([{"destination": "/added"}]))?.ok()?;
            volume.is_whole("a removal")
        },
    ),
    root("S60", "a container without a mount namespace takes its own mounts away and no other", |bed| {
        let volume = Volume::new(bed)?;
        let spec = without_mount_namespace().args(&["/probe", "true"]).mount(
            "/mnt",
            "bind",
            &volume.outer.path(),
            &["rbind"],
        );
        let bundle = bed.bundle(&spec)?;
        // Mounts that are peers of the suite's own, in another namespace: what is unmounted here is unmounted there.
        let words = ["unshare", "--mount", "--propagation", "unchanged", "--"];
        bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])
            .under(&words)
            .call()?
            .ok()?;
        volume.is_whole("a container without a mount namespace")
    }),
    root(
        "S60",
        "a creation that fails leaves the mount of the root file system, which is its caller's",
        |bed| {
            let spec = without_mount_namespace()
                .args(&["/probe", "true"])
                .set("/linux/resources/cpu/cpus", "4000-4001");
            let bundle = bed.bundle(&spec)?;
            mount_bind(&bundle.rootfs, &bundle.rootfs)?;
            let rootfs = Source(bundle.rootfs.clone());
            let called = bed.call(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
            if called.status.success() {
                return fail("a container ran on processors that are not there");
            }
            check(is_mounted(&rootfs.path())?, || "the caller's mount is gone".into())
        },
    ),
    root("S60", "a mount namespace that is joined is no way to the mounts of the host", |bed| {
        let volume = Volume::new(bed)?;
        let other = Namespace::new()?;
        let path = format!("/proc/{}/ns/mnt", other.0.id());
        let spec =
            Spec::new().args(&["/probe", "true"]).no_namespace("mount").namespace("mount", Some(&path));
        bed.run(&spec)?.ok()?;
        volume.is_whole("a joined mount namespace")
    }),
    root(
        "S62",
        "a root of the caller that another mount covers is not what lies above the container's",
        |bed| {
            let (secret, bundle) = climber(bed, Spec::new())?;
            let dir = bundle.dir.to_string_lossy().into_owned();
            // Two of them; the shell, and what it becomes, stays in the root below.
            let cover = "mount --rbind / / && mount --bind / / && exec \"$0\" \"$@\"";
            let shell = ["unshare", "--mount", "--propagation", "private", "sh", "-c", cover];
            let called = bed.command(["run", "--bundle", &dir, &bundle.id]).under(&shell).call()?.ok()?;
            keeps_secret(&crate::bed::answers(&called)?, &secret)?;
            let create = bed.command(["create", "--bundle", &dir, &bundle.id]).under(&shell);
            create.call()?.ok()?;
            let container = bed.adopt(&bundle);
            let seen =
                container.tries(&[&["read", secret.as_str()], &["read", format!("/..{secret}").as_str()]]);
            container.kill("KILL")?;
            container.until_status("stopped")?;
            container.delete()?.ok()?;
            keeps_secret(&seen?, &secret)
        },
    ),
    root("S62", "nor is the host's root, where it is the container's and covered by a mount", |bed| {
        let other = bed.dir().join("other");
        fs::create_dir(&other)?;
        crate::bundle::write_program(&other.join("probe"))?;
        let root = json!([
            {"destination": "/", "type": "bind", "source": other, "options": ["rbind"]},
            {"destination": "/proc", "type": "proc", "source": "proc"}
        ]);
        let (secret, bundle) = climber(bed, Spec::new().set("/root/path", "/").set("/mounts", root))?;
        let called = bed.run_bundle(&bundle)?;
        if !called.status.success() {
            return Ok(());
        }
        keeps_secret(&crate::bed::answers(&called)?, &secret)
    }),
    root("S61", "what a container mounts over a device that is bound does not cover the host's", |bed| {
        let mine = bed.dir().join("mine");
        fs::write(&mine, "mine")?;
        let spec = Spec::new().user_namespace(100_000, 65_536).capabilities(&["CAP_SYS_ADMIN"]);
        let spec = spec.mount("/data/mine", "bind", &mine.to_string_lossy(), &["bind"]);
        // MS_BIND
        let spec = script_spec(spec, &[&["mount", "/data/mine", "/dev/null", "none", "4096"]]);
        let bundle = bed.bundle(&spec)?;
        // The namespace's root may not make anything in a root file system of the host's root.
        bundle.file("data/mine", "")?;
        let called = on_shared_host(bed, &bundle, &[])?.ok()?;
        crate::bed::answers(&called)?[0].worked().map(drop)
    }),
    root(
        "S60 A197",
        "what the host mounts on the root file system later appears only in a slave of it",
        |bed| {
            for (word, appears) in [("", false), ("private", false), ("shared", false), ("rslave", true)] {
                let spec = Spec::new().args(&["/probe", "wait"]);
                let spec = if word.is_empty() { spec } else { spec.set("/linux/rootfsPropagation", word) };
                let bundle = bed.bundle(&spec)?;
                mount_bind(&bundle.rootfs, &bundle.rootfs)?;
                let rootfs = Source(bundle.rootfs.clone());
                mount_change(&rootfs.0, MountPropagationFlags::SHARED)?;
                let container = bed.create(&bundle)?;
                container.start()?;
                container.until_output("ready")?;
                let later = Source::tmpfs(&rootfs.0.join("later"), MountFlags::empty())?;
                let seen = container.tries(&[&["mounts"]])?;
                let there = mount_at(seen[0].worked()?, "/later").is_ok();
                drop(later);
                container.stop()?;
                container.delete()?;
                same(&format!("with {word:?} it appears"), there, appears)?;
            }
            Ok(())
        },
    ),
];

/// A shared file system with another mounted in it, as hosts have many.
struct Volume {
    inner: Source,
    outer: Source,
}

impl Volume {
    fn new(bed: &Bed<'_>) -> Outcome<Self> {
        let outer = Source::tmpfs(&bed.dir().join("volume"), MountFlags::empty())?;
        mount_change(&outer.0, MountPropagationFlags::SHARED)?;
        fs::create_dir_all(outer.0.join("made"))?;
        let inner = Source::tmpfs(&outer.0.join("inner"), MountFlags::empty())?;
        Ok(Self { inner, outer })
    }

    fn is_whole(&self, after: &str) -> Outcome {
        check(is_mounted(&self.inner.path())?, || format!("{after}: a mount of the host is gone"))
    }
}

/// A mount namespace whose mounts are peers of the suite's own, as long as this value lives.
struct Namespace(Child);

impl Namespace {
    fn new() -> Outcome<Self> {
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "unchanged", "--", "sh", "-c", "echo ready; read -r end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        same("answer of unshare", line.trim(), "ready")?;
        Ok(Self(child))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // End of file on its standard input ends it.
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

fn sharing(word: &str, volume: &Volume) -> Spec {
    Spec::new().set("/linux/rootfsPropagation", word).mount(
        "/mnt",
        "bind",
        &volume.outer.path(),
        &["rbind", "rshared"],
    )
}

fn without_mount_namespace() -> Spec {
    Spec::new().no_namespace("mount").without("/linux/maskedPaths").without("/linux/readonlyPaths")
}

fn is_mounted(path: &str) -> Outcome<bool> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().any(|line| line.split(' ').nth(4) == Some(path)))
}

/// Runs a bundle as on a host whose `/` is shared: in a mount namespace that is made so. Everything mounted there must
/// still be mounted afterwards, byte for byte.
fn on_shared_host(bed: &Bed<'_>, bundle: &Bundle, options: &[&str]) -> Outcome<Called> {
    // The files are opened first: with a runtime that unmounts everything, no path leads to them any more.
    const SCRIPT: &str = "mount --make-rshared / || exit 99
        exec 3</proc/self/mountinfo 4>\"$0.before\" 5>\"$0.after\"
        cat /proc/self/mountinfo >&4
        \"$@\" 3<&- 4>&- 5>&-
        code=$?
        cat <&3 >&5
        exit $code";
    let table = bed.dir().join("table").to_string_lossy().into_owned();
    let dir = bundle.dir.to_string_lossy();
    let called = bed
        .command([&["run"], options, &["--bundle", &dir, &bundle.id]].concat())
        .under(&["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", SCRIPT, &table])
        .call()?;
    // Removing another test's directory removes its mounts, in every namespace.
    let beds = bed.dir().parent().unwrap_or(bed.dir());
    let is_others = |line: &&str| {
        let point = Path::new(line.split(' ').nth(4).unwrap_or_default());
        point.starts_with(beds) && !point.starts_with(bed.dir())
    };
    let read = |end: &str| -> Outcome<Vec<String>> {
        let text = fs::read_to_string(format!("{table}.{end}"))?;
        Ok(text.lines().filter(|line| !is_others(line)).map(str::to_owned).collect())
    };
    let (before, after) = (read("before")?, read("after")?);
    let missing = |from: &[String], other: &[String]| -> Vec<String> {
        from.iter().filter(|line| !other.contains(line)).cloned().collect()
    };
    let (lost, new) = (missing(&before, &after), missing(&after, &before));
    check(before == after && !before.is_empty(), || {
        format!(
            "the mounts of the host changed: {} of {} are gone, new: {new:?}, gone: {:?}",
            lost.len(),
            before.len(),
            lost.iter().take(3).collect::<Vec<_>>()
        )
    })?;
    Ok(called)
}

/// A bundle whose program looks for a file of the host above its root.
fn climber(bed: &Bed<'_>, spec: Spec) -> Outcome<(String, Bundle)> {
    let secret = bed.dir().join("secret");
    fs::write(&secret, "of the host")?;
    let secret = secret.to_string_lossy().into_owned();
    let climbing = format!("/..{secret}");
    let bundle = bed.bundle(&script_spec(spec, &[&["read", &climbing], &["read", &secret]]))?;
    Ok((secret, bundle))
}

fn keeps_secret(answers: &[crate::bed::Answer], secret: &str) -> Outcome {
    for answer in answers {
        check(answer.errno != 0, || format!("the container reads {secret} of the host: {}", answer.value))?;
    }
    Ok(())
}
