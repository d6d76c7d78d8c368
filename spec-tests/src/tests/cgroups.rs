//! cgroupsPath and who owns the cgroup: rows A136 to A142, and what create and delete do with cgroups.

use crate::cgroup::{self, Cgroup};
use crate::observe::strings;
use crate::outcome::{Outcome, check, fail, same, skip};
use crate::{Bed, Container, Spec, Test, root, test};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) const TESTS: &[Test] = &[
    root("A136", "a cgroup that was there, and was killed once, takes a container", killed_before),
    test("A136", "an absolute cgroupsPath counts from the mount of each hierarchy", |bed| {
        let container = cgroupfs(bed).and_then(|()| bed.create(&bed.bundle(&Spec::new())?))?;
        let path = container.bundle.spec()?["linux"]["cgroupsPath"].as_str().unwrap_or_default().to_owned();
        for controller in ["pids", "memory", "cpu", "devices"] {
            let Ok(place) = cgroup::of(container.pid()?, controller) else { continue };
            check(place.dir.ends_with(path.trim_start_matches('/')), || {
                format!("{controller}: it is in {}, not in {path}", place.dir.display())
            })?;
        }
        Ok(())
    }),
    test("A136", "a relative cgroupsPath gives one place for one value", |bed| {
        cgroupfs(bed)?;
        let name = format!("suite-relative-{}", std::process::id());
        let spec = Spec::new().set("/linux/cgroupsPath", name.as_str()).args(&["/probe", "wait"]);
        let place = |bed: &Bed<'_>| -> Outcome<String> {
            let container = bed.create(&bed.bundle(&spec)?)?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?.as_raw_pid()))?;
            bed.call(["delete", "--force", container.id()])?.ok()?;
            let found = text.lines().find(|line| line.contains(&name)).map(str::to_owned);
            found.map_or_else(|| fail(format!("no cgroup of that name: {text}")), Ok)
        };
        same("place", place(bed)?, place(bed)?)
    }),
    test("A136", "without cgroupsPath the container has a cgroup of its own", |bed| {
        let bundle = bed.bundle(&Spec::new())?;
        bundle.write_spec(&Spec::new())?;
        let container = bed.create(&bundle)?;
        let theirs = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?.as_raw_pid()))?;
        check(theirs.contains(container.id()), || format!("the id is in none of its cgroups: {theirs}"))
    }),
    test("A137", "a cgroupsPath with dots does not lead out of the hierarchy", |bed| {
        cgroupfs(bed)?;
        let outside = PathBuf::from(format!("/sys/fs/cgroup/suite-escape-{}", std::process::id()));
        let spec = Spec::new().set("/linux/cgroupsPath", format!("/../suite-escape-{}", std::process::id()));
        let called = bed.run(&spec.args(&["/probe", "true"]))?;
        let made = outside.exists();
        // A runtime that was led there has made plain directories and files, not cgroups.
        let _gone = fs::remove_dir_all(&outside);
        // On v2 the mount is the root of the hierarchy, and dots that end there are inside.
        check(!made || bed.host.cgroups == crate::host::CgroupMode::V2, || {
            format!("made {} ({})", outside.display(), called.code())
        })
    }),
    test("A138", "a cgroup that another container uses is refused, and that container lives on", |bed| {
        let first = bed.waiting(&Spec::new())?;
        let path = Spec(first.bundle.spec()?).0["linux"]["cgroupsPath"].clone();
        let second = bed.bundle(&Spec::new().set("/linux/cgroupsPath", path).args(&["/probe", "true"]))?;
        if !bed.runtime.systemd() {
            // The scope of a user without privileges would be elsewhere.
            crate::checks::finds(bed, &second, &["cgroup"])?;
        }
        let called = bed.call(["run", "--bundle", &second.dir.to_string_lossy(), &second.id])?;
        same("status of the first", first.status()?, "running")?;
        called.refused(&["cgroup", "unit"])
    }),
    test("A138", "a frozen cgroup is refused", |bed| {
        cgroupfs(bed)?;
        let (file, frozen, thawed) = match bed.host.v1("freezer") {
            Ok(_) => ("freezer.state", "FROZEN", "THAWED"),
            Err(_) => ("cgroup.freeze", "1", "0"),
        };
        let hierarchies = cgroup::Hierarchy::all();
        let top = hierarchies.iter().find(|one| one.has("freezer") || (one.v2 && file == "cgroup.freeze"));
        let Some(top) = top else { return skip("this host has no freezer") };
        let bundle = bed.bundle(&Spec::new())?;
        let dir = top.mount.join(bed.cgroups_path(&bundle.id).trim_start_matches('/'));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(file), frozen)?;
        let found = crate::checks::finds(bed, &bundle, &["frozen"]);
        let called = bed
            .command(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])
            .patience(std::time::Duration::from_secs(10))
            .call();
        // Releases a first process that was put in there.
        fs::write(dir.join(file), thawed)?;
        let refused = called.and_then(|called| called.refused(&["frozen", "freezer", "cgroup"]));
        let _deleted = bed.call(["delete", "--force", &bundle.id]);
        cgroup::remove(&dir);
        found.and(refused)
    }),
    test(
        "A139",
        "cgroup v1 directories and files keep the owner root, even when the container may write",
        |bed| {
            bed.host.v1("pids")?;
            let container = bed.create(&bed.bundle(&owned(&["rw"]))?)?;
            for controller in ["pids", "memory", "cpu", "devices", "freezer"] {
                if bed.host.v1(controller).is_ok() {
                    let dir = cgroup::of(container.pid()?, controller)?.dir;
                    let strange = owners(&dir)?.into_iter().find(|(_, uid)| *uid != 0);
                    check(strange.is_none(), || format!("{controller}: {strange:?} is not root's"))?;
                }
            }
            Ok(())
        },
    ),
    test(
        "A140",
        "cgroup v2 is handed to the user of a container that has it writable and a namespace of it",
        |bed| {
            bed.host
                .needs_root_because("the cgroup of a user is his already, and he can give it to nobody")?;
            let container = delegated(bed, &owned(&["rw"]))?;
            handed(&container, 100_005, &listed())
        },
    ),
    test(
        "A140",
        "cgroup v2 stays the caller's when the container mounts it read-only or has no namespace of it",
        |bed| {
            for spec in
                [owned(&["ro"]), owned(&["rw"]).no_namespace("cgroup"), owned(&[]).no_mount("/sys/fs/cgroup")]
            {
                let container = delegated(bed, &spec)?;
                handed(&container, rustix::process::geteuid().as_raw(), &[])?;
            }
            Ok(())
        },
    ),
    test("A141", "where the kernel does not list what can be handed over it is three files", |bed| {
        bed.host.needs_v2()?;
        bed.host.needs_path("/sys/kernel/cgroup/delegate")?;
        bed.host.needs_root_because("the file is covered by a mount")?;
        // A user namespace may not mount its own sysfs once a part of the host's is covered.
        let bundle = bed.bundle(&owned(&["rw"]).no_mount("/sys"))?;
        bundle.directory("sys/fs/cgroup")?;
        let call = bed.command(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).after(
            "exec unshare --mount --propagation private /bin/sh -c \
             'mount -t tmpfs tmpfs /sys/kernel/cgroup && exec \"$0\" \"$@\"' \"$0\" \"$@\"",
        );
        call.call()?.ok()?;
        let container = bed.adopt(&bundle);
        let three = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];
        handed(&container, 100_005, &three.map(str::to_owned))
    }),
    test("A142", "a host with v1 and v2 cgroups side by side is served", |bed| {
        if bed.host.refused_hybrid.contains(&bed.runtime.path) {
            return fail("it refused the host until the v2 hierarchy was hidden");
        }
        if bed.host.cgroups != crate::host::CgroupMode::Hybrid && bed.host.refused_hybrid.is_empty() {
            return skip(format!("this host has {:?}", bed.host.cgroups));
        }
        bed.report(&Spec::new()).map(drop)
    }),
    test("A211", "a cgroup mount shows the container's own cgroup", |bed| {
        let spec = Spec::new().mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        );
        let answers = bed.tries(
            &spec,
            &[
                &["list", "/sys/fs/cgroup"],
                &["mkdir", "/sys/fs/cgroup/pids/x"],
                &["mkdir", "/sys/fs/cgroup/x"],
            ],
        )?;
        let names = answers[0].worked()?;
        check(!strings(names).is_empty(), || "the cgroup mount is empty".into())?;
        answers[1].failed(&[])?;
        answers[2].failed(&[])
    }),
    test("A218", "delete leaves the cgroup's parent, which it did not make", |bed| {
        cgroupfs(bed)?;
        let tops = cgroup::Hierarchy::all();
        let Some(top) = tops.iter().find(|one| one.v2 || one.has("pids")) else {
            return skip("this host has no cgroups");
        };
        let parent = top.mount.join(cgroup::parent().trim_start_matches('/')).join("kept");
        fs::create_dir_all(&parent)?;
        let bundle = bed.bundle(&Spec::new())?;
        let path = format!("{}/kept/{}", cgroup::parent(), bundle.id);
        bundle.write_spec(&Spec::new().set("/linux/cgroupsPath", path).args(&["/probe", "true"]))?;
        bed.run_bundle(&bundle)?.ok()?;
        let kept = parent.is_dir();
        for hierarchy in &bed.host.hierarchies {
            cgroup::remove(&hierarchy.join(cgroup::parent().trim_start_matches('/')).join("kept"));
        }
        check(kept, || "the parent is gone".into())
    }),
];

/// Skips unless cgroupsPath is a path.
pub(crate) fn cgroupfs(bed: &Bed<'_>) -> Outcome {
    if bed.runtime.systemd() {
        skip("the systemd driver takes slice:prefix:name for cgroupsPath")
    } else {
        Ok(())
    }
}

/// A container of user 5 in a user namespace, with a cgroup namespace and a cgroup mount.
fn owned(options: &[&str]) -> Spec {
    Spec::new()
        .user_namespace(100_000, 65_536)
        .namespace("cgroup", None)
        .set("/process/user", json!({"uid": 5, "gid": 5}))
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", options)
}

fn delegated<'b, 'a>(bed: &'b Bed<'a>, spec: &Spec) -> Outcome<Container<'b, 'a>> {
    bed.host.needs_v2()?;
    bed.create(&bed.bundle(spec)?)
}

/// The files that may be handed over, according to the kernel.
fn listed() -> Vec<String> {
    let text = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The directory and these of its files must belong to the user, all others to the runtime's caller.
fn handed(container: &Container<'_, '_>, uid: u32, files: &[String]) -> Outcome {
    let dir = cgroup::unified_of(container.pid()?)?.dir;
    same("owner of the cgroup", fs::metadata(&dir)?.uid(), uid)?;
    for (name, owner) in owners(&dir)? {
        let wanted = if files.contains(&name) { uid } else { rustix::process::geteuid().as_raw() };
        same(&format!("owner of {name}"), owner, wanted)?;
    }
    Ok(())
}

/// The files of a directory and who owns each.
fn owners(dir: &Path) -> Outcome<Vec<(String, u32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.uid()));
    }
    Ok(found)
}

/// A created container with one kind of resources; skips if no controller of this host can limit that.
pub(crate) fn limited<'b, 'a>(bed: &'b Bed<'a>, kind: &str, value: Value) -> Outcome<Container<'b, 'a>> {
    let controller = match kind {
        "blockIO" => "blkio",
        "hugepageLimits" => "hugetlb",
        kind => kind,
    };
    cgroup::hierarchy(controller)?;
    bed.create(&bed.bundle(&Spec::new().set(&format!("/linux/resources/{kind}"), value))?)
}

/// The container's cgroup with a controller, given by its v1 name.
pub(crate) fn place(container: &Container<'_, '_>, controller: &str) -> Outcome<Cgroup> {
    cgroup::of(container.pid()?, controller)
}

/// A (file, value) of cgroup v1 or v2 must hold, whichever version has the controller here.
pub(crate) fn holds(
    container: &Container<'_, '_>,
    controller: &str,
    v1: (&str, &str),
    v2: (&str, &str),
) -> Outcome {
    let place = place(container, controller)?;
    let (name, wanted) = if place.v2 { v2 } else { v1 };
    same(name, place.read(name)?, wanted)
}

/// Newer kernels remember the kill for as long as the cgroup exists, and kill whatever is born into it.
fn killed_before(bed: &Bed<'_>) -> Outcome {
    cgroupfs(bed)?;
    let Some(v2) = cgroup::Hierarchy::all().into_iter().find(|one| one.v2) else {
        return skip("no cgroup v2 is mounted");
    };
    let name = format!("suite-killed-{}", std::process::id());
    let dir = v2.mount.join(&name);
    fs::create_dir(&dir)?;
    let run = || {
        if fs::write(dir.join("cgroup.kill"), "1").is_err() {
            return skip("the kernel has no cgroup.kill");
        }
        let spec = Spec::new().set("/linux/cgroupsPath", format!("/{name}"));
        for _ in 0..2 {
            same("pid", &bed.report(&spec)?["pid"], 1)?;
            fs::create_dir_all(&dir)?;
        }
        let container = bed.waiting(&spec)?;
        let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?.as_raw_pid()))?;
        check(text.lines().all(|line| line.ends_with(&name)), || text.clone())?;
        same("exit code of an exec", container.exec(&["/probe", "exit", "5"])?.code(), 5)
    };
    let done = run();
    let _gone = fs::remove_dir(&dir);
    done
}
