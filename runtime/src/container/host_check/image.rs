//! What is at a path of the image, as far as the container will see it there.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use oci_spec::runtime::Spec;

use crate::plan::mounts_of;
use crate::sys::path::{find_beneath, find_in_root, fstat};

/// The root file system of a bundle, and what will be mounted over it.
pub(super) struct Image {
    root: File,
    /// The root, by the kernel's name for it.
    name: PathBuf,
    /// Destinations of the mounts, without dots, in order.
    mounts: Vec<PathBuf>,
}

/// What is at a path.
pub(super) enum Lookup {
    /// This entry, reached by following links inside the image.
    Here(ImageEntry),
    /// Certainly nothing.
    Missing,
    /// It will be covered, or cannot be looked at.
    Unknown,
}

/// An entry of the image.
pub(super) struct ImageEntry {
    /// Only refers to the entry.
    pub(super) fd: OwnedFd,
    /// Type and permissions.
    pub(super) mode: u32,
    /// The number of a device node.
    pub(super) device: u64,
    /// In bytes.
    pub(super) size: u64,
}

impl ImageEntry {
    pub(super) fn is(&self, kind: u32) -> bool {
        self.mode & libc::S_IFMT == kind
    }

    fn of(fd: OwnedFd) -> Option<Self> {
        let stat = fstat(fd.as_raw_fd()).ok()?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        Some(Self { fd, mode: stat.st_mode, device: stat.st_rdev, size })
    }
}

impl Image {
    pub(super) fn open(rootfs: &Path, spec: &Spec) -> Option<Self> {
        let root = File::open(rootfs).ok()?;
        let name = name_of(root.as_fd())?;
        let mounts = mounts_of(spec).iter().map(|mount| plain(mount.destination())).collect();
        Some(Self { root, name, mounts })
    }

    /// The host's files, as the runtime sees them.
    pub(super) fn of_host() -> Option<Self> {
        Some(Self { root: File::open("/").ok()?, name: "/".into(), mounts: Vec::new() })
    }

    /// What a path leads to once everything is mounted.
    pub(super) fn find(&self, path: &Path) -> Lookup {
        self.find_below(path, self.mounts.len())
    }

    /// What is at a path once everything is mounted, even if it is a symbolic link.
    pub(super) fn find_itself(&self, path: &Path) -> Lookup {
        let wanted = plain(path);
        let (Some(above), Some(name)) = (wanted.parent(), wanted.file_name()) else { return Lookup::Unknown };
        let directory = match self.find(above) {
            Lookup::Here(directory) => directory,
            other => return other,
        };
        // For a path below a mount that links lead to, only the name counts.
        if self.mounts.iter().any(|mount| wanted.starts_with(mount)) || self.has_link(above) {
            return Lookup::Unknown;
        }
        let Ok(name) = CString::new(name.as_bytes()) else { return Lookup::Unknown };
        match find_beneath(&directory.fd, &name) {
            Ok(fd) => ImageEntry::of(fd).map_or(Lookup::Unknown, Lookup::Here),
            Err(Errno::ENOENT) => Lookup::Missing,
            Err(_) => Lookup::Unknown,
        }
    }

    /// What a path leads to once the first `mounted` mounts exist.
    pub(super) fn find_below(&self, path: &Path, mounted: usize) -> Lookup {
        let wanted = plain(path);
        let mounts = self.mounts.get(..mounted).unwrap_or_default();
        let covered = |path: &Path| mounts.iter().any(|mount| path.starts_with(mount));
        if covered(&wanted) {
            return Lookup::Unknown;
        }
        let Ok(text) = CString::new(wanted.as_os_str().as_bytes()) else { return Lookup::Unknown };
        match find_in_root(&self.root, &text) {
            Ok(fd) => {
                let inside =
                    name_of(fd.as_fd()).and_then(|name| Some(name.strip_prefix(&self.name).ok()?.to_owned()));
                match (inside, ImageEntry::of(fd)) {
                    (Some(inside), Some(entry)) if !covered(&Path::new("/").join(&inside)) => {
                        Lookup::Here(entry)
                    }
                    _ => Lookup::Unknown,
                }
            }
            // A link may lead to a later mount: only a path without links certainly ends here.
            Err(Errno::ENOENT | Errno::ENOTDIR) if !self.has_link(&wanted) => Lookup::Missing,
            Err(_) => Lookup::Unknown,
        }
    }

    /// Whether a part of the path is a symbolic link, as far as the parts exist.
    pub(super) fn has_link(&self, path: &Path) -> bool {
        let Ok(inside) = path.strip_prefix("/") else { return true };
        inside.ancestors().any(|part| {
            let Ok(text) = CString::new(part.as_os_str().as_bytes()) else { return true };
            let found = if text.is_empty() { return false } else { find_beneath(&self.root, &text) };
            match found {
                Ok(fd) => {
                    fstat(fd.as_raw_fd()).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFLNK)
                }
                Err(errno) => errno == Errno::ELOOP,
            }
        })
    }
}

/// The path without dots, from the root.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

fn name_of(fd: std::os::fd::BorrowedFd<'_>) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_stays_visible_is_certain() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for directory in ["bin", "usr/lib", "data", "vol"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        std::fs::write(at("bin/sh"), "").unwrap();
        symlink("/bin/sh", at("usr/lib/abs")).unwrap();
        symlink("../vol/x", at("data/dangling")).unwrap();
        symlink("/vol", at("data/vol")).unwrap();
        symlink("../../../../../../../etc/passwd", at("data/out")).unwrap();
        let spec = serde_json::from_value(json!({
            "ociVersion": "1.2.0", "mounts": [{"destination": "/vol", "type": "tmpfs"}, {"destination": "usr/../late"}]
        }))
        .unwrap();
        let image = Image::open(dir.path(), &spec).unwrap();
        let find = |path: &str| match image.find(Path::new(path)) {
            Lookup::Here(entry) if entry.is(libc::S_IFREG) => "file",
            Lookup::Here(_) => "other",
            Lookup::Missing => "missing",
            Lookup::Unknown => "unknown",
        };
        for (path, expected) in [
            ("/bin/sh", "file"),
            ("/../bin/./sh", "file"),
            ("/usr/lib/abs", "file"),
            ("/bin", "other"),
            ("/bin/none", "missing"),
            ("/none/none", "missing"),
            ("/bin/sh/below", "missing"),
            ("/vol", "unknown"),
            ("/vol/x", "unknown"),
            ("/volume", "missing"),
            ("/data/dangling", "unknown"),
            ("/data/vol/x", "unknown"),
            ("/data/vol", "unknown"),
            ("/data/out", "unknown"),
            ("/late", "unknown"),
        ] {
            assert_eq!(find(path), expected, "{path}");
        }
        let link = |path: &str| matches!(image.find_itself(Path::new(path)), Lookup::Here(entry) if entry.is(libc::S_IFLNK));
        assert!(link("/usr/lib/abs") && link("/data/dangling") && !link("/bin/sh") && !link("/vol/x"));
        assert!(matches!(image.find_itself(Path::new("/bin/none")), Lookup::Missing));
        assert!(matches!(image.find_itself(Path::new("/data/vol/x")), Lookup::Unknown));
        assert!(matches!(image.find_below(Path::new("/late"), 1), Lookup::Missing));
        assert!(matches!(image.find_below(Path::new("/vol"), 0), Lookup::Here(_)));
    }
}
