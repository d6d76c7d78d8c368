//! A container's mount points in its root file system, which a creation makes along the way and criu expects to find.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use oci_spec::runtime::Mount;

use crate::error::{Error, Result};
use crate::plan::mount::entry::Entry;
use crate::program::blame::Place;
use crate::sys::path;

/// As many symbolic links as the kernel follows in one path (`path_resolution(7)`).
const MOST_LINKS: u32 = 40;

/// Makes missing mount points. Below a file system that criu fills itself nothing is made; below a bind mount, they are
/// made in its source.
pub(super) fn make(mounts: &[Mount], bundle: &Path, rootfs: &Path) -> Result<()> {
    let entries: Vec<Entry<'_>> = mounts
        .iter()
        .enumerate()
        .filter_map(|(index, mount)| Entry::new(mount, Place::item("/mounts", index)).ok())
        .collect();
    for (index, entry) in entries.iter().enumerate() {
        if entry.options.remount {
            continue;
        }
        let source = |entry: &Entry<'_>| bundle.join(entry.mount.source().clone().unwrap_or_default());
        let above = entries
            .iter()
            .take(index)
            .rev()
            .filter(|other| !other.options.remount && other.destination != entry.destination)
            .find(|other| entry.destination.starts_with(&other.destination));
        let (base, relative) = match above {
            None => (rootfs.to_owned(), entry.destination.as_path()),
            Some(above) if above.is_bind() => (
                source(above),
                entry.destination.strip_prefix(&above.destination).unwrap_or(&entry.destination),
            ),
            Some(_) => continue,
        };
        let directory = !entry.is_bind() || source(entry).is_dir();
        let fail = |errno| {
            Error::os(
                errno,
                format!("prepare the mount point {} in {}", entry.destination.display(), base.display()),
            )
            .at(entry.place().property("/destination").pointer().unwrap_or_default())
        };
        let text = CString::new(base.as_os_str().as_bytes()).map_err(|_| fail(Errno::EINVAL))?;
        let root = path::open_path(&text).map_err(fail)?;
        ensure(&root, relative, directory).map_err(fail)?;
    }
    Ok(())
}

/// Walks a path as if `root` were "/", making what is missing, even behind dangling links: images have them.
///
/// `walked` holds real names only, so that each lookup can forbid links: a link that appears in the meantime is an
/// error.
fn ensure(root: &OwnedFd, wanted: &Path, directory: bool) -> crate::sys::Result<()> {
    let mut rest: VecDeque<OsString> = names(wanted);
    let mut walked = PathBuf::from(".");
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            if walked != Path::new(".") {
                walked.pop();
            }
            continue;
        }
        let here = path::find_beneath(root, &text(&walked)?)?;
        let next = walked.join(&name);
        match path::find_beneath(root, &text(&next)?) {
            Ok(found) if path::fstat(found.as_raw_fd())?.st_mode & libc::S_IFMT == libc::S_IFLNK => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = PathBuf::from(readlinkat(here.as_fd(), name.as_os_str())?);
                if target.is_absolute() {
                    walked = PathBuf::from(".");
                }
                for part in names(&target).into_iter().rev() {
                    rest.push_front(part);
                }
                continue;
            }
            Ok(_) => {}
            Err(Errno::ENOENT) => make_one(&here, &name, directory || !rest.is_empty())?,
            Err(errno) => return Err(errno),
        }
        walked = next;
    }
    Ok(())
}

fn make_one(here: &OwnedFd, name: &OsStr, directory: bool) -> crate::sys::Result<()> {
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    if directory {
        path::mkdirat(here.as_raw_fd(), &name, 0o755)
    } else {
        path::mknodat(here.as_raw_fd(), &name, libc::S_IFREG | 0o644, 0)
    }
}

/// The names of a path; `..` counts, since it may come from a link.
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

fn text(path: &Path) -> crate::sys::Result<CString> {
    CString::new(path.as_os_str().to_owned().into_vec()).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn mount_points_are_made_inside_whatever_links_say() {
        let dir = tempfile::tempdir().unwrap();
        let (rootfs, volume) = (dir.path().join("rootfs"), dir.path().join("volume"));
        std::fs::create_dir_all(rootfs.join("etc")).unwrap();
        std::fs::create_dir(&volume).unwrap();
        std::fs::write(dir.path().join("hosts"), "").unwrap();
        symlink("../run/made/resolv.conf", rootfs.join("etc/resolv.conf")).unwrap();
        symlink("../../../../../../outside", rootfs.join("etc/up")).unwrap();
        symlink("/away", rootfs.join("etc/absolute")).unwrap();
        let mounts: Vec<Mount> = serde_json::from_value(serde_json::json!([
            {"destination": "/proc", "type": "proc"},
            {"destination": "/proc/x", "type": "tmpfs"},
            {"destination": "/etc/resolv.conf", "type": "bind", "source": "hosts"},
            {"destination": "/etc/up/x", "type": "tmpfs"},
            {"destination": "/etc/absolute/y", "type": "tmpfs"},
            {"destination": "/vol", "type": "bind", "source": "volume"},
            {"destination": "/vol/inner/z", "type": "tmpfs"},
        ]))
        .unwrap();
        for _ in 0..2 {
            make(&mounts, dir.path(), &rootfs).unwrap();
        }
        assert!(rootfs.join("proc").is_dir() && !rootfs.join("proc/x").exists());
        assert!(rootfs.join("run/made/resolv.conf").is_file());
        assert!(rootfs.join("outside/x").is_dir() && rootfs.join("away/y").is_dir());
        assert!(
            volume.join("inner/z").is_dir()
                && rootfs.join("vol").is_dir()
                && !rootfs.join("vol/inner").exists()
        );
        symlink("loop", rootfs.join("loop")).unwrap();
        let looped: Vec<Mount> =
            serde_json::from_value(serde_json::json!([{"destination": "/loop/a", "type": "tmpfs"}])).unwrap();
        assert_eq!(make(&looped, dir.path(), &rootfs).unwrap_err().errno(), Some(libc::ELOOP));
    }
}
