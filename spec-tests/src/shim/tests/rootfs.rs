//! The mounts of the root file system that a create makes, and what is left of them.

use crate::outcome::{Outcome, check, fail, same, skip};
use crate::shim::bed::{Bed, mount};
use crate::shim::client::{code, granted, refused};
use crate::shim::stdio::Streams;
use crate::shim::task::Task;
use crate::shim::{Test, test};
use crate::spec::Spec;
use crate::tests::mounts::Source;
use containerd_shim_protos::types::mount::Mount;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const TESTS: &[Test] = &[
    test("T19", "rootfs: a bind mount is there while the container is, and goes with it", bind_rootfs),
    test("T19", "rootfs: what is mounted in the source of a bind mount stays there", bind_of_shared),
    test("T20", "rootfs: an overlay with long options", overlay_rootfs),
    test("T21", "rootfs: a mount that fails is reported and those before it are undone", bad_rootfs),
    test("T22", "rootfs: what was mounted goes when the create fails", rootfs_of_failure),
    test("T29", "rootfs: a file system in a file, by a loop device that goes with it", loop_rootfs),
    test("T21", "rootfs: a link of the image does not lead a mount's target onto the host", |bed| {
        target_on_host(bed, false)
    }),
    test("T21", "rootfs: a link of the image does not lead a mapped mount's target onto the host", |bed| {
        target_on_host(bed, true)
    }),
    test("T19", "rootfs: a mount's target may be a link inside the image", |bed| target_by_link(bed, false)),
    test("T19", "rootfs: a mapped mount's target may be a link inside the image", |bed| {
        target_by_link(bed, true)
    }),
    test("T19", "rootfs: a mount below a plain root file system goes with the container", target_alone),
];

/// Moves the bundle's rootfs elsewhere, like an image's unpacked layer, and returns that path.
fn layer(bed: &Bed<'_>, task: &Task<'_, '_>) -> Outcome<PathBuf> {
    let layer = bed.dir().join(format!("layer-{}", task.id()));
    fs::rename(&task.bundle.rootfs, &layer)?;
    Ok(layer)
}

fn mounts_below(dir: &Path) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let dir = dir.to_string_lossy().into_owned();
    table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|target| target.starts_with(&dir)).count()
}

fn bind_rootfs(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new().args(&["/probe", "wait"]), Streams::output(bed.dir())?)?;
    let layer = layer(bed, &task)?;
    let pid = granted("Create", task.create(None, &[mount("bind", &layer, &["rbind", "rw"])]))?.pid;
    same("mounts", mounts_below(&task.bundle.dir), 1)?;
    task.begin()?;
    task.streams.borrow_mut().until("ready")?;
    let event = bed.daemon.wait_for("/tasks/create", task.id())?;
    let created: containerd_shim_protos::events::task::TaskCreate = event.parse()?;
    same("pid in the event", created.pid, pid)?;
    same("mounts in the event", created.rootfs.len(), 1)?;
    task.finish()?;
    same("mounts afterwards", mounts_below(&task.bundle.dir), 0)
}

/// Mounts are shared on every machine with systemd, and a bind mount is a peer of its source.
fn bind_of_shared(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new().args(&["/probe", "wait"]), Streams::output(bed.dir())?)?;
    let layer = layer(bed, &task)?;
    rustix::mount::mount_bind(&layer, &layer)?;
    let outer = Source(layer.clone());
    rustix::mount::mount_change(&layer, rustix::mount::MountPropagationFlags::SHARED)?;
    let inner = Source::tmpfs(&layer.join("inner"), rustix::mount::MountFlags::empty())?;
    granted("Create", task.create(None, &[mount("bind", &layer, &["rbind", "rw"])]))?;
    task.begin()?;
    task.streams.borrow_mut().until("ready")?;
    task.finish()?;
    same("mounts afterwards", mounts_below(&task.bundle.dir), 0)?;
    let there = mounts_below(&inner.0);
    drop(inner);
    drop(outer);
    check(there > 0, || "what was mounted in the source is gone".into())
}

/// Mounts of each kind for a subdirectory of the root file system, with mapped owners or without.
fn mounts_at(bed: &Bed<'_>, target: &str, mapped: bool) -> Outcome<Vec<Mount>> {
    if mapped && bed.host.kernel < (6, 3) {
        return skip("id-mapped mounts of each file system need Linux 6.3");
    }
    let [source, upper, work] = ["source", "upper", "work"].map(|name| bed.dir().join(name));
    for dir in [&source, &upper, &work] {
        fs::create_dir_all(dir)?;
    }
    let overlay = [
        format!("lowerdir={}", source.display()),
        format!("upperdir={}", upper.display()),
        format!("workdir={}", work.display()),
    ];
    let overlay = overlay.each_ref().map(String::as_str);
    let map = ["uidmap=0:100000:65536", "gidmap=0:100000:65536"];
    let mut mounts = if mapped {
        vec![
            mount("bind", &source, &[&["bind"], &map[..]].concat()),
            mount("overlay", Path::new("overlay"), &[&overlay[..], &map[..]].concat()),
        ]
    } else {
        vec![
            mount("tmpfs", Path::new("tmpfs"), &["nosuid"]),
            mount("bind", &source, &["bind"]),
            mount("bind", &source, &["rbind", "ro"]),
            mount("overlay", Path::new("overlay"), &overlay),
        ]
    };
    for one in &mut mounts {
        target.clone_into(&mut one.target);
    }
    Ok(mounts)
}

/// A directory of the host that no mount may reach.
fn host_directory(bed: &Bed<'_>) -> Outcome<PathBuf> {
    let dir = bed.dir().join("host");
    fs::create_dir_all(dir.join("inner"))?;
    fs::write(dir.join("inner/file"), "")?;
    Ok(dir)
}

fn untouched(when: &str, host: &Path) -> Outcome {
    same(&format!("mounts on the host's directory {when}"), mounts_below(host), 0)?;
    let inner = fs::read_dir(host.join("inner"))?.filter_map(Result::ok).map(|entry| entry.file_name());
    same(&format!("the host's directory {when}"), inner.collect::<Vec<_>>(), ["file"])
}

/// Where the image has no such directory the target is missing, as it is for the container; where it has one, that is
/// the target.
fn target_on_host(bed: &Bed<'_>, mapped: bool) -> Outcome {
    let host = host_directory(bed)?;
    let kinds = [mounts_at(bed, "volume", mapped)?, mounts_at(bed, "volume/inner", mapped)?].concat();
    for (number, inner) in kinds.into_iter().enumerate() {
        let kind = format!("{} {:?} at {}", inner.type_, inner.options, inner.target);
        let task = bed.planned(&Spec::new().args(&["/probe", "wait"]), Streams::output(bed.dir())?)?;
        let layer = layer(bed, &task)?;
        symlink(&host, layer.join("volume"))?;
        let mounts = [mount("bind", &layer, &["rbind", "rw"]), inner];
        let answer = task.create(None, &mounts);
        untouched(&format!("after Create ({kind})"), &host)?;
        refused(&format!("Create ({kind})"), answer, &[], &["volume", "no such file"])?;
        same("mounts of a create that failed", mounts_below(&task.bundle.dir), 0)?;

        let twin = layer.join(host.strip_prefix("/").unwrap_or(&host));
        fs::create_dir_all(twin.join("inner"))?;
        granted("Create", task.create(None, &mounts))?;
        untouched(&format!("before the start ({kind})"), &host)?;
        task.begin()?;
        task.streams.borrow_mut().until("ready")?;
        untouched(&format!("while the container runs ({kind})"), &host)?;
        let place = task.bundle.rootfs.join(host.strip_prefix("/").unwrap_or(&host));
        same(&format!("mounts inside ({kind})"), mounts_below(&place), 1)?;
        if number == 0 && !mapped {
            let path = format!("{}/new", host.display());
            let (out, _) = task.exec("e", &["/probe", "try", "write", &path, "x"])?.to_end()?;
            check(out.contains("\"errno\":0"), || format!("the container cannot write there: {out}"))?;
            check(!twin.join("new").exists(), || "it wrote below the mount".into())?;
        }
        task.finish()?;
        untouched(&format!("after Delete ({kind})"), &host)?;
        same(&format!("mounts afterwards ({kind})"), mounts_below(&task.bundle.dir), 0)?;
    }
    Ok(())
}

fn target_by_link(bed: &Bed<'_>, mapped: bool) -> Outcome {
    for link in ["/real/deep", "real/deep", "../../real/deep"] {
        for inner in mounts_at(bed, "link", mapped)? {
            let kind = format!("{link}, {} {:?}", inner.type_, inner.options);
            // The container's root is no owner of what is mapped for a user namespace.
            let read_only = inner.options.contains(&"ro".to_owned()) || (mapped && inner.type_ == "bind");
            let task = bed.planned(&Spec::new().args(&["/probe", "wait"]), Streams::output(bed.dir())?)?;
            let layer = layer(bed, &task)?;
            fs::create_dir_all(layer.join("real/deep"))?;
            symlink(link, layer.join("link"))?;
            let mounts = [mount("bind", &layer, &["rbind", "rw"]), inner];
            granted(&format!("Create ({kind})"), task.create(None, &mounts))?;
            task.begin()?;
            task.streams.borrow_mut().until("ready")?;
            let place = task.bundle.rootfs.join("real/deep");
            same(&format!("mounts ({kind})"), mounts_below(&place), 1)?;
            let (out, _) = task.exec("e", &["/probe", "try", "write", "/link/new", "x"])?.to_end()?;
            check(out.contains("\"errno\":0") != read_only, || format!("a write ({kind}): {out}"))?;
            check(!layer.join("real/deep/new").exists(), || format!("it wrote below the mount ({kind})"))?;
            task.finish()?;
            same(&format!("mounts afterwards ({kind})"), mounts_below(&task.bundle.dir), 0)?;
        }
    }
    Ok(())
}

fn target_alone(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new().args(&["/probe", "wait"]), Streams::output(bed.dir())?)?;
    let [first, ..] = &mounts_at(bed, "data", false)?[..] else { return fail("no mounts to make") };
    let missing = Mount { target: "none".into(), ..first.clone() };
    refused("Create", task.create(None, &[first.clone(), missing]), &[], &["none", "no such file"])?;
    same("mounts of a create that failed", mounts_below(&task.bundle.dir), 0)?;
    granted("Create", task.create(None, std::slice::from_ref(first)))?;
    task.begin()?;
    task.streams.borrow_mut().until("ready")?;
    same("mounts", mounts_below(&task.bundle.rootfs.join("data")), 1)?;
    task.finish()?;
    same("mounts afterwards", mounts_below(&task.bundle.dir), 0)
}

fn overlay_rootfs(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(
        &Spec::new().args(&["/probe", "try", "write", "/here", "x", "--", "list", "/"]),
        Streams::output(bed.dir())?,
    )?;
    // Enough layers to make the options longer than a page, the most that mount(2) takes.
    let deep = bed.dir().join("l".repeat(200));
    fs::create_dir(&deep)?;
    let layer = deep.join("layer");
    fs::rename(&task.bundle.rootfs, &layer)?;
    let mut lower = vec![layer.to_string_lossy().into_owned()];
    for number in 0..30 {
        let dir = deep.join(number.to_string());
        fs::create_dir_all(dir.join(format!("dir{number}")))?;
        lower.push(dir.to_string_lossy().into_owned());
    }
    let (upper, work) = (bed.dir().join("upper"), bed.dir().join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options = [
        format!("lowerdir={}", lower.join(":")),
        format!("upperdir={}", upper.display()),
        format!("workdir={}", work.display()),
    ];
    check(options[0].len() > 4096, || "the options are too short for this test".into())?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    granted("Create", task.create(None, &[mount("overlay", Path::new("overlay"), &options)]))?;
    task.begin()?;
    same("exit status", task.exit("")?, 0)?;
    let (out, _) = task.streams.borrow_mut().to_end()?;
    check(out.contains("dir29"), || format!("the lowest layer does not show: {out}"))?;
    check(upper.join("here").exists(), || "the upper layer was not written".into())?;
    granted("Delete", task.delete(""))?;
    same("mounts afterwards", mounts_below(&task.bundle.dir), 0)
}

fn bad_rootfs(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new(), Streams::output(bed.dir())?)?;
    let layer = layer(bed, &task)?;
    let missing = bed.dir().join("missing");
    let mounts = [mount("bind", &layer, &["rbind"]), mount("bind", &missing, &["rbind"])];
    refused("Create", task.create(None, &mounts), &[], &["missing", "no such file"])?;
    same("mounts afterwards", mounts_below(&task.bundle.dir), 0)?;
    refused("State", task.state(""), &[code::NOT_FOUND], &[])
}

fn rootfs_of_failure(bed: &Bed<'_>) -> Outcome {
    let task = bed.planned(&Spec::new().args(&["nope"]), Streams::output(bed.dir())?)?;
    let layer = layer(bed, &task)?;
    match task.create(None, &[mount("bind", &layer, &["rbind"])]) {
        Ok(_) => {
            refused("Start", task.start(""), &[], &["executable file not found"])?;
            granted("Delete", task.delete(""))?;
        }
        answer => refused("Create", answer, &[], &["executable file not found"])?,
    }
    same("mounts afterwards", mounts_below(&task.bundle.dir), 0)
}

/// A file with an ext4 file system that has a directory's contents.
fn file_system(bed: &Bed<'_>, dir: &Path) -> Outcome<PathBuf> {
    if !Path::new("/dev/loop-control").exists() {
        return skip("there is no /dev/loop-control");
    }
    let image = bed.dir().join("image");
    File::create(&image)?.set_len(32 << 20)?;
    let made = Command::new("mkfs.ext4").arg("-q").arg("-d").arg(dir).arg(&image).output();
    match made {
        Ok(output) if output.status.success() => Ok(image),
        Ok(output) => fail(format!("mkfs.ext4: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => skip(format!("mkfs.ext4: {error}")),
    }
}

/// The loop devices of a file.
fn devices_of(image: &Path) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    for device in fs::read_dir("/sys/block")? {
        let name = device?.file_name().to_string_lossy().into_owned();
        let backing = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).unwrap_or_default();
        // The kernel names it by its path in the mount namespace of the process that made the device.
        if backing.trim_end().ends_with(&*image.to_string_lossy()) {
            found.push(name);
        }
    }
    Ok(found)
}

fn loop_rootfs(bed: &Bed<'_>) -> Outcome {
    for options in [&["loop"][..], &["loop", "ro"]] {
        let task = bed.planned(
            &Spec::new().set("/root/readonly", options.contains(&"ro")).args(&["/probe", "wait"]),
            Streams::output(bed.dir())?,
        )?;
        let layer = layer(bed, &task)?;
        // Mount points cannot be made in a read-only file system.
        for place in ["proc", "dev", "sys"] {
            fs::create_dir_all(layer.join(place))?;
        }
        let image = file_system(bed, &layer)?;
        granted("Create", task.create(None, &[mount("ext4", &image, options)]))?;
        same("loop devices", devices_of(&image)?.len(), 1)?;
        task.begin()?;
        task.streams.borrow_mut().until("ready")?;
        task.finish()?;
        same("mounts afterwards", mounts_below(&task.bundle.dir), 0)?;
        bed.until("the loop device to be gone", || Ok(devices_of(&image)?.is_empty().then_some(())))?;
        let missing = bed.dir().join("missing");
        refused("Create", task.create(None, &[mount("ext4", &missing, options)]), &[], &["missing"])?;
    }
    Ok(())
}
