//! Which mounts of a container criu must not save: those of host files, which are mounted again at the restore.
//!
//! Each gets a name that goes into the images. The name is made from the destination in the *configuration*, with
//! everything but letters, digits and a few signs written as numbers. It is never made from a path inside the
//! container, as an image can have links there with brackets and colons that criu would read as part of its own syntax
//! (CVE-2026-119101, CVE-2026-115520).

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::runtime::Spec;

use crate::error::{Error, ErrorKind, Result};
use crate::linux::device;
use crate::linux::mount::propagation::Reach;
use crate::linux::mountinfo::{self, MountInfo};
use crate::linux::namespace::Namespaces;
use crate::plan::mount::cgroup::Views;
use crate::plan::mount::entry::Entry;
use crate::program::blame::Place;
use crate::sys::path;

/// The name of the null device on masked files.
pub(crate) const NULL: &str = "null";

/// A host file or directory that is mounted in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostMount {
    /// Its name in the images.
    pub(crate) key: String,
    /// Its configured destination.
    pub(crate) destination: PathBuf,
    /// What it is on the host.
    pub(crate) source: PathBuf,
    /// Includes everything mounted below it.
    pub(crate) recursive: bool,
    /// The entry of the configuration's mounts; none for a device.
    pub(crate) entry: Option<Place>,
    /// The property of the configuration.
    pub(crate) pointer: String,
}

/// The host mounts of a configuration, except for masked files.
pub(crate) fn host_mounts(spec: &Spec, bundle: &Path, views: &Views) -> Vec<HostMount> {
    let linux = spec.linux().as_ref();
    let namespaces = Namespaces::of(linux);
    let mut all: Vec<HostMount> = Vec::new();
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        // Whether it can be parsed was checked when the container was created.
        let Ok(entry) = Entry::new(mount, Place::item("/mounts", index)) else { continue };
        let (place, pointer) = (entry.place(), format!("/mounts/{index}/destination"));
        if entry.options.remount {
            continue;
        }
        if entry.is_bind() {
            all.push(HostMount {
                key: key("bind", &entry.destination),
                source: bundle.join(mount.source().clone().unwrap_or_default()),
                recursive: entry.options.bind != Some(Reach::One),
                destination: entry.destination,
                entry: Some(place),
                pointer,
            });
        } else if entry.is_cgroup() && !namespaces.cgroup.is_own() {
            let mut add = |destination: PathBuf, source: &Path| {
                all.push(HostMount {
                    key: key("cgroup", &destination),
                    destination,
                    source: source.to_owned(),
                    recursive: false,
                    entry: Some(place),
                    pointer: pointer.clone(),
                });
            };
            match views {
                Views::Unified { directory, .. } => add(entry.destination, directory),
                Views::Split(views) => {
                    for view in views {
                        add(entry.destination.join(&view.name), &view.directory);
                    }
                }
            }
        }
    }
    let bound_dev = all.iter().any(|mount| mount.destination == Path::new("/dev"));
    if namespaces.user.is_own() && !bound_dev {
        for node in device::nodes(linux.and_then(|linux| linux.devices().as_ref())) {
            if node.mode & libc::S_IFMT != libc::S_IFIFO {
                all.push(HostMount {
                    key: key("device", Path::new(&node.path)),
                    destination: PathBuf::from(&node.path),
                    source: PathBuf::from(&node.path),
                    recursive: false,
                    entry: None,
                    pointer: node.place.pointer().unwrap_or_else(|| "/linux/devices".to_owned()),
                });
            }
        }
    }
    all
}

/// The masked files and directories of a configuration.
pub(crate) fn masked_paths(spec: &Spec) -> &[String] {
    spec.linux().as_ref().and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default()
}

/// A name without any sign that criu could interpret.
fn key(kind: &str, path: &Path) -> String {
    let mut key = kind.to_owned();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_') {
            key.push(char::from(byte));
        } else {
            let _ = write!(key, "%{byte:02x}");
        }
    }
    key
}

/// The name of a mount that came with the one above it.
pub(crate) fn key_below(top: &HostMount, relative: &Path) -> String {
    key(&format!("{}+", top.key), relative)
}

/// The mounts of a process, and its root.
#[derive(Debug)]
pub(crate) struct MountView {
    pub(crate) table: Vec<MountInfo>,
    root: OwnedFd,
}

impl MountView {
    /// Looks at a process.
    pub(crate) fn of(process: &str) -> Result<Self> {
        let file = format!("/proc/{process}/mountinfo");
        let table = std::fs::read(&file).map_err(|error| Error::io(&error, format!("read {file}")))?;
        let link = CString::new(format!("/proc/{process}/root")).unwrap_or_default();
        let root = path::open_path(&link)
            .map_err(|errno| Error::os(errno, format!("open the root of process {process}")))?;
        Ok(Self { table: mountinfo::parse(&table), root })
    }

    /// Opens a path as the process sees it, following the image's links inside; none if it does not exist.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<OwnedFd>> {
        // A trailing slash would ask for a directory.
        let path: PathBuf = path.components().collect();
        let Ok(text) = CString::new(path.as_os_str().as_bytes()) else { return Ok(None) };
        match path::find_in_root(&self.root, &text) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => Ok(None),
            Err(errno) => Err(Error::os(errno, format!("find {} in the container", path.display()))),
        }
    }

    /// The mount that a descriptor is on, if it is one of these.
    pub(crate) fn mount_of(&self, fd: &OwnedFd) -> Result<Option<&MountInfo>> {
        let id = mount_id(&format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        Ok(self.table.iter().find(|mount| Some(mount.id) == id))
    }

    /// The topmost mount whose mount point is this path.
    pub(crate) fn mounted_on(&self, path: &Path) -> Result<Option<&MountInfo>> {
        let Some(fd) = self.find(path)? else { return Ok(None) };
        let Some(mount) = self.mount_of(&fd)? else { return Ok(None) };
        // Otherwise it is a path inside of the mount.
        let Some(top) = self.find(&mount.point)? else { return Ok(None) };
        let inode = |fd: &OwnedFd| path::fstat(fd.as_raw_fd()).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        Ok((inode(&fd) == inode(&top)).then_some(mount))
    }
}

/// The id of the mount that a descriptor is on, from its fdinfo.
pub(crate) fn mount_id(fdinfo: &str) -> Result<Option<u64>> {
    let text =
        std::fs::read_to_string(fdinfo).map_err(|error| Error::io(&error, format!("read {fdinfo}")))?;
    Ok(text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok()))
}

/// The mounts below the source of a recursive bind: relative path and host mount.
pub(crate) fn below<'t>(host: &'t [MountInfo], source: &Path) -> Vec<(PathBuf, &'t MountInfo)> {
    let Ok(source) = source.canonicalize() else { return Vec::new() };
    host.iter()
        .filter_map(|mount| {
            let relative = mount.point.strip_prefix(&source).ok()?;
            (!relative.as_os_str().is_empty()).then(|| (relative.to_owned(), mount))
        })
        .collect()
}

/// The values of criu's option `external` at a checkpoint: `mnt[MOUNT POINT]:NAME`.
pub(crate) fn words_for_dump(spec: &Spec, mounts: &[HostMount], view: &MountView) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut add = |mount: &MountInfo, key: &str, pointer: &str| -> Result<()> {
        if view.table.iter().filter(|other| other.point == mount.point).count() > 1 {
            let sentence = format!("more than one mount is on {} in the container", mount.point.display());
            return Err(Error::new(ErrorKind::Unsupported, sentence)
                .at(pointer)
                .with_hint("criu knows mounts by their mount points"));
        }
        let point = mount.point.to_str().filter(|point| !point.contains("]:"));
        let Some(point) = point else {
            let sentence =
                format!("criu cannot be told of the mount point {} in the container", mount.point.display());
            return Err(Error::new(ErrorKind::Unsupported, sentence).at(pointer));
        };
        words.push(format!("mnt[{point}]:{key}"));
        Ok(())
    };
    let host = mountinfo::parse(
        &std::fs::read("/proc/self/mountinfo")
            .map_err(|error| Error::io(&error, "read /proc/self/mountinfo"))?,
    );
    let mut seen = Vec::new();
    for mount in mounts {
        // A mount that the container has unmounted may be missing.
        let Some(found) = view.mounted_on(&mount.destination)? else { continue };
        if found.point == Path::new("/") || seen.contains(&found.id) {
            continue;
        }
        seen.push(found.id);
        add(found, &mount.key, &mount.pointer)?;
        if !mount.recursive {
            continue;
        }
        for (relative, original) in below(&host, &mount.source) {
            let point = found.point.join(&relative);
            let copy = view
                .table
                .iter()
                .find(|one| one.point == point && one.device == original.device && one.root == original.root);
            if let Some(copy) = copy.filter(|copy| !seen.contains(&copy.id)) {
                seen.push(copy.id);
                add(copy, &key_below(mount, &relative), &mount.pointer)?;
            }
        }
    }
    for (index, path) in masked_paths(spec).iter().enumerate() {
        let Some(fd) = view.find(Path::new(path))? else { continue };
        let is_null = path::fstat(fd.as_raw_fd()).is_ok_and(|stat| {
            stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3)
        });
        if let Some(found) = view.mount_of(&fd)?.filter(|found| is_null && !seen.contains(&found.id)) {
            seen.push(found.id);
            add(found, NULL, &format!("/linux/maskedPaths/{index}"))?;
        }
    }
    Ok(words)
}

/// The values at a restore: `mnt[NAME]:SOURCE`.
pub(crate) fn words_for_restore(mounts: &[HostMount]) -> Result<Vec<String>> {
    let host = mountinfo::parse(
        &std::fs::read("/proc/self/mountinfo")
            .map_err(|error| Error::io(&error, "read /proc/self/mountinfo"))?,
    );
    let mut words = vec![format!("mnt[{NULL}]:/dev/null")];
    for mount in mounts {
        let fail = |error: std::io::Error| {
            Error::io(&error, format!("find the mount source {}", mount.source.display())).at(&mount.pointer)
        };
        let source = mount.source.canonicalize().map_err(fail)?;
        let mut add = |key: &str, source: &Path| match source.to_str() {
            Some(source) => {
                words.push(format!("mnt[{key}]:{source}"));
                Ok(())
            }
            None => Err(Error::new(ErrorKind::Unsupported, format!("{} is not UTF-8", source.display()))
                .at(&mount.pointer)),
        };
        add(&mount.key, &source)?;
        if mount.recursive {
            for (relative, _) in below(&host, &source) {
                add(&key_below(mount, &relative), &source.join(&relative))?;
            }
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: serde_json::Value) -> Spec {
        serde_json::from_value(text).expect("a valid configuration")
    }

    #[test]
    fn names_have_no_sign_of_criu_and_no_two_paths_share_one() {
        let spec = spec(serde_json::json!({"ociVersion": "1.2.0", "mounts": [
            {"destination": "/a]:b", "type": "bind", "source": "x", "options": ["bind"]},
            {"destination": "/a%5d%3ab", "type": "none", "source": "/y", "options": ["rbind", "ro"]},
            {"destination": "rel ative", "type": "bind", "source": "/z"},
            {"destination": "/tmp", "type": "tmpfs"},
            {"destination": "/sys/fs/cgroup", "type": "cgroup"},
        ], "linux": {"namespaces": [{"type": "mount"}]}}));
        let all = host_mounts(
            &spec,
            Path::new("/bundle"),
            &Views::Unified { directory: "/sys/fs/cgroup/c".into(), is_own: true },
        );
        let keys: Vec<_> = all.iter().map(|mount| mount.key.as_str()).collect();
        assert_eq!(keys, ["bind/a%5d%3ab", "bind/a%255d%253ab", "bind/rel%20ative", "cgroup/sys/fs/cgroup"]);
        assert_eq!(all[0].source, Path::new("/bundle/x"));
        assert_eq!(all.iter().map(|mount| mount.recursive).collect::<Vec<_>>(), [false, true, true, false]);
        assert_eq!(all[2].destination, Path::new("/rel ative"));
        assert_eq!(key_below(&all[0], Path::new("s:b")), "bind/a%5d%3ab+s%3ab");
    }

    #[test]
    fn devices_are_the_hosts_in_a_user_namespace_only() {
        let with = |namespaces: serde_json::Value| {
            let spec = spec(serde_json::json!({"ociVersion": "1.2.0", "linux": {"namespaces": namespaces}}));
            host_mounts(&spec, Path::new("/"), &Views::Split(Vec::new())).len()
        };
        assert_eq!(with(serde_json::json!([{"type": "mount"}])), 0);
        assert_eq!(with(serde_json::json!([{"type": "mount"}, {"type": "user"}])), device::DEFAULT.len());
    }
}
