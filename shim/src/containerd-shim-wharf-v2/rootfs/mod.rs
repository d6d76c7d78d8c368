//! The root file system: mounts that the daemon wants below the bundle, and their removal.

mod id_mapped;
mod place;

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use containerd_shim_protos::types::mount::Mount;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};

use self::id_mapped::Maps;
use self::place::{Place, remount};
use crate::refusal::Refusal;

/// A page: the most that mount(2) takes as options.
const MOST_OPTIONS: usize = 4095;

/// The options of one mount, sorted by what interprets them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    flags: MsFlags,
    data: Vec<String>,
    /// The owners of files are mapped as in a user namespace.
    maps: Maps,
    /// The source is a file with a file system, to be attached to a block device.
    from_file: bool,
}

/// Makes the mounts in order, at `rootfs` and below; if one fails, none is left.
pub(crate) fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), Refusal> {
    if mounts.is_empty() {
        return Ok(());
    }
    let made = DirBuilder::new().mode(0o711).create(rootfs);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Refusal::io(format_args!("make {}", rootfs.display()), error));
        }
        _ => {}
    }
    let first = mounts.first().map_or("", |one| &one.target);
    let made = own(rootfs, first).and_then(|()| mounts.iter().try_for_each(|one| mount_one(one, rootfs)));
    made.map_err(|refusal| {
        if let Err(reason) = unmount(rootfs) {
            log::warn!("{reason}");
        }
        refusal.during("failed to mount rootfs component")
    })
}

/// Makes a mount of `rootfs` itself if the first mount goes below it: what unmounts `rootfs` then finds all of them.
fn own(rootfs: &Path, first: &str) -> Result<(), Refusal> {
    let place = Place::find(rootfs, first)?;
    if place.path == rootfs {
        return Ok(());
    }
    let what = || format!("mount {} on itself", rootfs.display());
    let clone =
        wharf::worker::bind_mount(rootfs, true).map_err(|error| Refusal::from(error).during(&what()))?;
    Place::find(rootfs, "")?.attach(&clone).map_err(|error| Refusal::io(what(), error))
}

fn mount_one(one: &Mount, rootfs: &Path) -> Result<(), Refusal> {
    let parsed = parse(&one.options).map_err(Refusal::precondition)?;
    let place = Place::find(rootfs, &one.target)?;
    let what = || format!("mount {} of type {:?} on {}", one.source, one.type_, place.path.display());
    let failed = |error: io::Error| Refusal::io(what(), error);
    if parsed.maps != Maps::default() {
        if parsed.from_file {
            return Err(
                Refusal::precondition("a loop device can have neither uidmap nor gidmap").during(&what())
            );
        }
        return mount_mapped(one, &parsed, rootfs, &place).map_err(|refusal| refusal.during(&what()));
    }
    let mut data = parsed.data.join(",");
    if data.len() > MOST_OPTIONS && one.type_ == "overlay" {
        data = shorten(&parsed.data).map_err(|error| Refusal::io(what(), error))?;
    }
    if data.len() > MOST_OPTIONS {
        return Err(Refusal::precondition(format!(
            "{}: its options have {} bytes, more than a page",
            what(),
            data.len()
        )));
    }
    let data = (!data.is_empty()).then_some(data.as_str());
    // The mount keeps the device, which goes away with the mount.
    let device = parsed
        .from_file
        .then(|| {
            let read_only = parsed.flags.contains(MsFlags::MS_RDONLY);
            wharf::worker::LoopDevice::attach(Path::new(&one.source), read_only)
        })
        .transpose()
        .map_err(|error| Refusal::from(error).during(&what()))?;
    let source = device.as_ref().map_or(Path::new(&one.source), |device| device.path());
    if parsed.flags.contains(MsFlags::MS_BIND) {
        // Not a peer of its source: unmounting it must not unmount anything there.
        let clone = wharf::worker::bind_mount(source, parsed.flags.contains(MsFlags::MS_REC))
            .map_err(|error| Refusal::from(error).during(&what()))?;
        attach(&clone, &place, parsed.flags).map_err(failed)
    } else {
        place.mount(source, &one.type_, parsed.flags, data).map_err(failed)
    }
}

/// Attaches a bind mount, and makes it read-only if it shall be.
fn attach(clone: &OwnedFd, place: &Place, flags: MsFlags) -> io::Result<()> {
    place.attach(clone)?;
    if flags.contains(MsFlags::MS_BIND | MsFlags::MS_RDONLY) { remount(clone, flags) } else { Ok(()) }
}

/// A mount whose files have mapped owners.
fn mount_mapped(one: &Mount, parsed: &Parsed, rootfs: &Path, place: &Place) -> Result<(), Refusal> {
    let detached = if parsed.flags.contains(MsFlags::MS_BIND) {
        id_mapped::directory(&one.source, &parsed.maps)?
    } else if one.type_ == "overlay" {
        id_mapped::overlay(&parsed.data, parsed.flags, &parsed.maps, rootfs)?
    } else {
        return Err(Refusal::precondition("only bind mounts and overlays can have uidmap and gidmap"));
    };
    attach(&detached, place, parsed.flags).map_err(|error| Refusal::io("attach it", error))
}

pub(crate) fn parse(options: &[String]) -> Result<Parsed, String> {
    let mut parsed =
        Parsed { flags: MsFlags::empty(), data: Vec::new(), maps: Maps::default(), from_file: false };
    for option in options {
        let (set, flags) = match option.as_str() {
            "defaults" => continue,
            "async" => (false, MsFlags::MS_SYNCHRONOUS),
            "atime" => (false, MsFlags::MS_NOATIME),
            "bind" => (true, MsFlags::MS_BIND),
            "dev" => (false, MsFlags::MS_NODEV),
            "diratime" => (false, MsFlags::MS_NODIRATIME),
            "dirsync" => (true, MsFlags::MS_DIRSYNC),
            "exec" => (false, MsFlags::MS_NOEXEC),
            "mand" => (true, MsFlags::MS_MANDLOCK),
            "noatime" => (true, MsFlags::MS_NOATIME),
            "nodev" => (true, MsFlags::MS_NODEV),
            "nodiratime" => (true, MsFlags::MS_NODIRATIME),
            "noexec" => (true, MsFlags::MS_NOEXEC),
            "nomand" => (false, MsFlags::MS_MANDLOCK),
            "norelatime" => (false, MsFlags::MS_RELATIME),
            "nostrictatime" => (false, MsFlags::MS_STRICTATIME),
            "nosuid" => (true, MsFlags::MS_NOSUID),
            "rbind" => (true, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
            "relatime" => (true, MsFlags::MS_RELATIME),
            "remount" => (true, MsFlags::MS_REMOUNT),
            "ro" => (true, MsFlags::MS_RDONLY),
            "rw" => (false, MsFlags::MS_RDONLY),
            "strictatime" => (true, MsFlags::MS_STRICTATIME),
            "suid" => (false, MsFlags::MS_NOSUID),
            "sync" => (true, MsFlags::MS_SYNCHRONOUS),
            "loop" => {
                parsed.from_file = true;
                continue;
            }
            // The daemon's notes to itself.
            option if option.starts_with("X-containerd.") => continue,
            option => {
                if let Some(map) = option.strip_prefix("uidmap=") {
                    parsed.maps.uids = id_mapped::parse(map)?;
                } else if let Some(map) = option.strip_prefix("gidmap=") {
                    parsed.maps.gids = id_mapped::parse(map)?;
                } else {
                    parsed.data.push(option.to_owned());
                }
                continue;
            }
        };
        parsed.flags.set(flags, set);
    }
    Ok(parsed)
}

/// Makes the layers of an overlay relative to a directory that they share, and makes that the working directory.
#[allow(
    clippy::disallowed_methods,
    reason = "this runs in a worker, which has its working directory for itself"
)]
fn shorten(data: &[String]) -> io::Result<String> {
    const LOWER: &str = "lowerdir=";
    let layers: Vec<&Path> = data
        .iter()
        .filter_map(|option| option.strip_prefix(LOWER))
        .flat_map(|layers| layers.split(':'))
        .map(Path::new)
        .collect();
    let shared = shared_directory(&layers);
    std::env::set_current_dir(&shared)?;
    let short: Vec<OsString> =
        layers.iter().filter_map(|layer| layer.strip_prefix(&shared).ok()).map(OsString::from).collect();
    let short: Vec<_> = short.iter().map(|layer| layer.to_string_lossy()).collect();
    let rest = data.iter().filter(|option| !option.starts_with(LOWER)).cloned();
    Ok(rest.chain([format!("{LOWER}{}", short.join(":"))]).collect::<Vec<_>>().join(","))
}

fn shared_directory(paths: &[&Path]) -> PathBuf {
    let mut parents = paths.iter().filter_map(|path| path.parent());
    let mut shared = parents.next().unwrap_or(Path::new("/")).to_owned();
    for parent in parents {
        while !parent.starts_with(&shared) && shared.pop() {}
    }
    shared
}

/// Unmounts everything at `rootfs` and below; succeeds if there is nothing.
pub(crate) fn unmount(rootfs: &Path) -> Result<(), String> {
    loop {
        let flags = MntFlags::UMOUNT_NOFOLLOW;
        match umount2(rootfs, flags) {
            Ok(()) => {}
            // EINVAL: nothing is mounted there.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            // Something is mounted below, or a process that is about to end still uses it.
            Err(Errno::EBUSY) => match umount2(rootfs, flags | MntFlags::MNT_DETACH) {
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(errno) => return Err(format!("unmount {}: {errno}", rootfs.display())),
            },
            Err(errno) => return Err(format!("unmount {}: {errno}", rootfs.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &str) -> Vec<String> {
        words.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_are_sorted_by_their_reader() {
        let parsed =
            parse(&options("rbind ro nosuid X-containerd.x=1 lowerdir=/a:/b index=off suid")).unwrap();
        assert_eq!(parsed.flags, MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY);
        assert_eq!(parsed.data, ["lowerdir=/a:/b", "index=off"]);
        assert!(parse(&options("loop ro")).unwrap().from_file && !parsed.from_file);
        assert!(parse(&options("uidmap=0:1")).is_err());
        let mapped = parse(&options("uidmap=0:1:2 gidmap=0:3:4 lowerdir=/a")).unwrap();
        assert_eq!((mapped.maps.uids.len(), mapped.maps.gids.len(), mapped.data.len()), (1, 1, 1));
    }

    #[test]
    fn layers_share_a_directory() {
        let layers =
            ["/var/lib/snapshots/1/fs", "/var/lib/snapshots/22/fs", "/var/lib/other/fs"].map(Path::new);
        assert_eq!(shared_directory(&layers[..2]), Path::new("/var/lib/snapshots"));
        assert_eq!(shared_directory(&layers), Path::new("/var/lib"));
        assert_eq!(shared_directory(&layers[..1]), Path::new("/var/lib/snapshots/1"));
    }

    #[test]
    fn nothing_to_unmount_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(unmount(dir.path()), Ok(()));
        assert_eq!(unmount(&dir.path().join("none")), Ok(()));
    }
}
