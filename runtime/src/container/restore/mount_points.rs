//! A container's mount points in its root file system, which a creation makes along the way and criu expects to find.

use std::ffi::CString;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use oci_spec::runtime::Mount;

use crate::child::message::Detail;
use crate::child::mount_point::{Last, MountPoints};
use crate::child::{Failure, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::mount::entry::Entry;
use crate::program::Links;
use crate::program::blame::Place;
use crate::sys::{mount, path};

/// Makes missing mount points. Below a file system that criu fills itself nothing is made; below a bind mount, they are
/// made in its source.
pub(super) fn make(mounts: &[Mount], bundle: &Path, rootfs: &Path) -> Result<()> {
    let entries: Vec<Entry<'_>> = mounts
        .iter()
        .enumerate()
        .filter_map(|(index, mount)| Entry::new(mount, Place::item("/mounts", index)).ok())
        .collect();
    for (index, entry) in entries.iter().enumerate() {
        let source = |entry: &Entry<'_>| bundle.join(entry.mount.source().clone().unwrap_or_default());
        // A link that is copied is no mount.
        if entry.options.remount || (entry.options.copy_symlink && source(entry).is_symlink()) {
            continue;
        }
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
        let is_file = entry.is_bind() && !source(entry).is_dir();
        let last = if is_file { Last::File } else { Last::Directory };
        let sentence =
            format!("prepare the mount point {} in {}", entry.destination.display(), base.display());
        let fail = |failure: Failure| {
            let errno = Errno::from_raw(failure.errno);
            let error = match failure.detail {
                Detail::LinkOnTheWay | Detail::WrongKind if errno == Errno::ELOOP => {
                    Error::new(ErrorKind::InvalidSpec, sentence.clone())
                        .with_hint("there is a symbolic link in the path; write the path that it leads to")
                }
                _ => Error::os(errno, sentence.clone()),
            };
            error.at(entry.place().property("/destination").pointer().unwrap_or_default())
        };
        make_one(&base, relative, last, entry.links()).map_err(fail)?;
    }
    Ok(())
}

/// Finds or makes a mount point below `base`, as a creation would.
fn make_one(base: &Path, relative: &Path, last: Last, links: Links) -> Outcome {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL);
    // A clone is the root of a mount even if `base` is not.
    let root = mount::clone_source_owned(&text(base)?, true, true)?;
    let found = MountPoints::new(root.as_raw_fd(), &[]).target(&text(relative)?, last, links)?;
    path::close(found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn mount_points_are_made_inside_whatever_links_say() {
        let dir = tempfile::tempdir().unwrap();
        if mount::clone_source_owned(c"/", false, true).is_err() {
            return println!("skipped: cloning a mount needs CAP_SYS_ADMIN");
        }
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
        symlink("..", rootfs.join("etc/root")).unwrap();
        std::fs::write(rootfs.join("file"), "").unwrap();
        let refusal = |destination: &str, fs: &str| {
            let mounts = serde_json::json!([{"destination": destination, "type": fs}]);
            let mounts: Vec<Mount> = serde_json::from_value(mounts).unwrap();
            let error = make(&mounts, dir.path(), &rootfs).unwrap_err();
            assert_eq!(error.pointer(), Some("/mounts/0/destination"));
            (error.kind(), error.errno())
        };
        assert_eq!(refusal("/loop/a", "tmpfs"), (ErrorKind::System, Some(libc::ELOOP)));
        assert_eq!(refusal("/file", "tmpfs"), (ErrorKind::System, Some(libc::ENOTDIR)));
        assert_eq!(refusal("/etc/absolute", "proc"), (ErrorKind::InvalidSpec, None));
        assert_eq!(refusal("/etc/root", "tmpfs"), (ErrorKind::InvalidSpec, None), "a link leads to the root");
    }
}
