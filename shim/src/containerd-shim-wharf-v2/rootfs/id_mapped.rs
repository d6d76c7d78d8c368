//! Root file systems with mapped owners, for containers with a user namespace.
//!
//! Overlayfs maps nothing itself: its lower layers are id-mapped mounts. They are only needed to make the overlay, and
//! must never be left below the bundle, where removing the bundle would remove the image's files. So they are made in
//! the worker's own mount namespace, and only the finished overlay leaves it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::refusal::Refusal;

const LOWER: &str = "lowerdir=";

/// The maps of a user namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Maps {
    pub(super) uids: Vec<LinuxIdMapping>,
    pub(super) gids: Vec<LinuxIdMapping>,
}

/// Reads `CONTAINER:HOST:SIZE[,...]`.
pub(super) fn parse(text: &str) -> Result<Vec<LinuxIdMapping>, String> {
    let broken = || format!("{text:?} is not a map of ids: CONTAINER:HOST:SIZE");
    text.split(',')
        .map(|range| {
            let mut numbers = range.splitn(3, ':').map(|number| number.parse::<u32>().ok());
            let mut number = || numbers.next().flatten().ok_or_else(broken);
            LinuxIdMappingBuilder::default()
                .container_id(number()?)
                .host_id(number()?)
                .size(number()?)
                .build()
                .map_err(|_| broken())
        })
        .collect()
}

/// A directory with mapped owners, attached nowhere.
pub(super) fn directory(source: &str, maps: &Maps) -> Result<OwnedFd, Refusal> {
    Ok(wharf::worker::id_mapped_mount(Path::new(source), &maps.uids, &maps.gids)?)
}

/// An overlay whose lower layers have mapped owners, attached nowhere. `stage` may be any directory whose
/// path the daemon names.
pub(super) fn overlay(
    data: &[String],
    flags: MsFlags,
    maps: &Maps,
    stage: &Path,
) -> Result<OwnedFd, Refusal> {
    let failed = |error: io::Error| Refusal::io("make a mount namespace for the layers", error);
    let home = File::open("/proc/thread-self/ns/mnt").map_err(failed)?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| failed(errno.into()))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let made = mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|errno| failed(errno.into()))
        .and_then(|()| assemble(data, flags, maps, stage));
    setns(home, CloneFlags::CLONE_NEWNS).map_err(|errno| failed(errno.into()))?;
    made
}

#[allow(
    clippy::disallowed_methods,
    reason = "this runs in a worker, which has its working directory for itself"
)]
fn assemble(data: &[String], flags: MsFlags, maps: &Maps, stage: &Path) -> Result<OwnedFd, Refusal> {
    let failed =
        |what: &str, error: io::Error| Refusal::io(format_args!("{what} in {}", stage.display()), error);
    mount(Some("layers"), stage, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))
        .map_err(|errno| failed("mount a tmpfs for the layers", errno.into()))?;
    // Short names: all options together have at most a page.
    std::env::set_current_dir(stage).map_err(|error| failed("change to the layers", error))?;
    let layers = data.iter().filter_map(|option| option.strip_prefix(LOWER)).flat_map(|all| all.split(':'));
    let mut names = Vec::new();
    for (index, layer) in layers.enumerate() {
        let name = index.to_string();
        std::fs::create_dir(&name).map_err(|error| failed("make a directory", error))?;
        attach(&directory(layer, maps)?, Path::new(&name))
            .map_err(|error| failed("attach a layer", error))?;
        names.push(name);
    }
    let rest = data.iter().filter(|option| !option.starts_with(LOWER)).cloned();
    let options = rest.chain([format!("{LOWER}{}", names.join(":"))]).collect::<Vec<_>>().join(",");
    std::fs::create_dir("whole").map_err(|error| failed("make a directory", error))?;
    mount(Some("overlay"), "whole", Some("overlay"), flags, Some(options.as_str()))
        .map_err(|errno| failed(&format!("mount an overlay ({options})"), errno.into()))?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, "whole", clone).map_err(|errno| failed("detach the overlay", errno.into()))
}

/// Attaches a detached mount at a path that the caller trusts.
fn attach(mount: &impl AsFd, target: &Path) -> io::Result<()> {
    Ok(move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_three_numbers_each() {
        let maps = parse("0:100000:65536,65536:5:1").unwrap();
        let numbers: Vec<_> =
            maps.iter().map(|map| (map.container_id(), map.host_id(), map.size())).collect();
        assert_eq!(numbers, [(0, 100_000, 65536), (65536, 5, 1)]);
        for text in ["", "0:1", "0:x:1", "0:1:2:3", "0:1:-1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_overlay_shows_mapped_owners() {
        use std::os::unix::fs::MetadataExt as _;
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: mounting needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        // In a thread with its own mounts: nothing of this is visible elsewhere.
        std::thread::scope(|scope| {
            let tested = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
                let base = dir.path();
                mount(Some("t"), base, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
                for name in ["a", "b", "upper", "work", "rootfs"] {
                    std::fs::create_dir(base.join(name)).unwrap();
                }
                std::fs::write(base.join("a/file"), "").unwrap();
                std::fs::write(base.join("b/other"), "").unwrap();
                let at = |name: &str| base.join(name).display().to_string();
                let data = [
                    format!("lowerdir={}:{}", at("a"), at("b")),
                    format!("upperdir={}", at("upper")),
                    format!("workdir={}", at("work")),
                ];
                let map = || parse("0:100000:65536").unwrap();
                let maps = Maps { uids: map(), gids: map() };
                if let Err(refusal) = directory(&at("a"), &maps) {
                    return println!("skipped: {refusal}");
                }
                let whole = overlay(&data, MsFlags::empty(), &maps, &base.join("rootfs")).unwrap();
                attach(&whole, &base.join("rootfs")).unwrap();
                for name in ["rootfs/file", "rootfs/other"] {
                    let owner = std::fs::metadata(base.join(name)).unwrap();
                    assert_eq!((owner.uid(), owner.gid()), (100_000, 100_000), "{name}");
                }
                assert_eq!(std::fs::metadata(base.join("a/file")).unwrap().uid(), 0);
            });
            tested.join().unwrap();
        });
    }
}
