//! Where a mount of the root file system goes: a directory or file in it, held by a descriptor.
//!
//! The target that the daemon names is a path in the image, and links of the image may lead anywhere. The kernel
//! resolves it as if the root file system were `/`, once; all later calls take the descriptor and resolve nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MsFlags, mount};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use crate::refusal::Refusal;

/// How often to retry after EAGAIN: the kernel returns it when a rename or mount elsewhere raced with a `..` of a link.
const AGAIN: u32 = 4096;

/// A target of a mount.
#[derive(Debug)]
pub(super) struct Place {
    held: OwnedFd,
    /// Its name in messages: the path before any link is followed.
    pub(super) path: PathBuf,
}

impl Place {
    /// Finds `target` in the root file system, on top of what is mounted there.
    pub(super) fn find(rootfs: &Path, target: &str) -> Result<Self, Refusal> {
        let relative = inside(target)?;
        let failed = |path: &Path, errno: Errno| {
            Refusal::io(format_args!("find the mount target {}", path.display()), io::Error::from(errno))
        };
        let root = open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed(rootfs, errno))?;
        if relative.as_os_str().is_empty() {
            return Ok(Self { held: root, path: rootfs.to_owned() });
        }
        let path = rootfs.join(&relative);
        let held = find_in_root(&root, &relative).map_err(|errno| failed(&path, errno))?;
        Ok(Self { held, path })
    }

    /// Mounts a file system there, as mount(2) does.
    pub(super) fn mount(
        &self,
        source: &Path,
        kind: &str,
        flags: MsFlags,
        data: Option<&str>,
    ) -> io::Result<()> {
        Ok(mount(Some(source), &by_descriptor(&self.held), Some(kind), flags, data)?)
    }

    /// Attaches a detached mount there.
    pub(super) fn attach(&self, detached: &OwnedFd) -> io::Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        Ok(move_mount(detached, "", &self.held, "", flags)?)
    }
}

/// Gives an attached mount these flags. `attached` was its descriptor when it was detached, and still leads to it.
pub(super) fn remount(attached: &OwnedFd, flags: MsFlags) -> io::Result<()> {
    let flags = (flags - MsFlags::MS_REC) | MsFlags::MS_REMOUNT;
    Ok(mount(None::<&str>, &by_descriptor(attached), None::<&str>, flags, None::<&str>)?)
}

/// A path that leads to what the descriptor refers to, for system calls that only take paths.
fn by_descriptor(held: &OwnedFd) -> PathBuf {
    format!("/proc/thread-self/fd/{}", held.as_raw_fd()).into()
}

/// Resolves a path as if `root` were the root directory: a link leads to the same place as in the container.
fn find_in_root(root: &impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries < AGAIN => tries += 1,
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// The path below the root file system, as the daemon names it; never one that says it leads out.
fn inside(target: &str) -> Result<PathBuf, Refusal> {
    let relative: PathBuf = Path::new(target)
        .components()
        .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
        .collect();
    if relative.components().any(|component| component == Component::ParentDir) {
        return Err(Refusal::invalid(format!(
            "the mount target {target:?} leads out of the root file system"
        )));
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, read_link, write};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn targets_stay_inside() {
        for target in ["", "/", "."] {
            assert_eq!(inside(target).unwrap(), Path::new(""));
        }
        assert_eq!(inside("/data/x").unwrap(), Path::new("data/x"));
        assert!(inside("a/../../x").is_err());
    }

    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().canonicalize().unwrap().join("rootfs");
        create_dir_all(rootfs.join("real/deep")).unwrap();
        create_dir_all(dir.path().join("host")).unwrap();
        write(rootfs.join("file"), "").unwrap();
        for (link, to) in [
            ("absolute", "/real"),
            ("upward", "../../../../real/deep/.."),
            ("real/up", "/absolute"),
            ("root", ".."),
            ("to-file", "file"),
            ("out", &*dir.path().join("host").to_string_lossy()),
            ("sideways", "../host"),
            ("loop", "loop"),
        ] {
            symlink(to, rootfs.join(link)).unwrap();
        }
        for (target, place) in [
            ("", ""),
            ("real", "real"),
            ("absolute", "real"),
            ("/absolute/deep", "real/deep"),
            ("upward", "real"),
            ("real/up/deep", "real/deep"),
            ("to-file", "file"),
        ] {
            let found = Place::find(&rootfs, target).unwrap();
            assert_eq!(read_link(by_descriptor(&found.held)).unwrap(), rootfs.join(place), "{target}");
        }
        let root = Place::find(&rootfs, "root").unwrap();
        assert_eq!(read_link(by_descriptor(&root.held)).unwrap(), rootfs);
        for target in ["out", "sideways", "loop", "none", "file/x"] {
            let refusal = Place::find(&rootfs, target).unwrap_err();
            assert!(refusal.message.contains(&format!("rootfs/{target}: ")), "{refusal}");
        }
        assert!(Place::find(&rootfs.join("none"), "").is_err());
    }

    #[test]
    fn magic_links_are_not_followed() {
        let refusal = Place::find(Path::new("/proc"), "self/root").unwrap_err();
        assert!(refusal.message.contains("/proc/self/root: "), "{refusal}");
    }
}
