//! What the parent does for a child that may not do it itself.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

use super::id_map;
use super::view::View;
use crate::child::procfs;
use crate::child::streams::give;
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::plan::MapSource;
use crate::sys::mount::{self, MountAttr};
use crate::sys::process::SchedAttr;
use crate::sys::{namespace, path, process};

/// Writes the offsets of a child that unshared the time namespace.
pub(crate) fn write_time_offsets(pid: i32, text: &str) -> Result<()> {
    write_proc(pid, "timens_offsets", text)
}

/// Sets the score that the kernel's out-of-memory killer adds for the child.
pub(crate) fn set_oom_score(pid: i32, score: i32) -> Result<()> {
    write_proc(pid, "oom_score_adj", &score.to_string()).map_err(|error| {
        let error = error.at("/process/oomScoreAdj");
        match error.kind() {
            Kind::Permission => error.hint("lowering the score needs CAP_SYS_RESOURCE"),
            _ => error,
        }
    })
}

/// Gives the streams of a child to a user of its user namespace.
pub(crate) fn own_streams(pid: i32, streams: [RawFd; 3], uid: u32) -> Result<()> {
    let map = format!("/proc/{pid}/uid_map");
    let text = fs::read_to_string(&map).map_err(|error| Error::io(&error, format!("read {map}")))?;
    // Refused earlier, if it is not mapped.
    let Some(uid) = outside(&text, uid) else { return Ok(()) };
    streams
        .into_iter()
        .try_for_each(|stream| give(stream, uid))
        .map_err(|errno| Error::os(errno, format!("give the standard streams to user {uid}")))
}

/// The outside value of an id, by a map as the kernel shows it.
fn outside(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, outside, size) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let offset = id.checked_sub(inside).filter(|offset| *offset < size)?;
        outside.checked_add(offset)
    })
}

/// Opens a directory for a child that may not be able to reach it.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd> {
    let text = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL);
    text.and_then(|text| path::hold_directory(&text))
        .map_err(|errno| Error::os(errno, format!("open {}", path.display())))
}

pub(super) fn write_proc(pid: i32, name: &str, text: &str) -> Result<()> {
    let file = format!("/proc/{pid}/{name}");
    // One write: the kernel takes a map only as a whole.
    File::options()
        .write(true)
        .open(&file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .map_err(|error| Error::io(&error, format!("write {:?} to {file}", text.trim_end())))
}

/// Sets resource limits of the child from outside its user namespace.
pub(crate) fn set_rlimits(pid: i32, limits: &[(u32, u64, u64)]) -> Result<()> {
    for (index, (resource, soft, hard)) in limits.iter().enumerate() {
        process::set_rlimit(pid, *resource, *soft, *hard).map_err(|errno| {
            let error = Error::os(errno, format!("set resource limit {resource} to {soft}:{hard}"))
                .at(format!("/process/rlimits/{index}"));
            match errno {
                Errno::EPERM => error.hint("to raise a hard limit takes CAP_SYS_RESOURCE"),
                _ => error,
            }
        })?;
    }
    Ok(())
}

/// Sets the scheduler of the child from outside its user namespace.
pub(crate) fn set_scheduler(pid: i32, attr: &SchedAttr) -> Result<()> {
    process::set_scheduler(pid, attr).map_err(|errno| Error::os(errno, "set the scheduler"))
}

/// Sets the I/O priority of the child, which leads its process group, from outside its user namespace.
pub(crate) fn set_io_priority(pid: i32, value: i32) -> Result<()> {
    process::set_io_priority(pid, value).map_err(|errno| Error::os(errno, "set the I/O priority"))
}

/// Opens the context of a procfs that shows another pid namespace: mounting it needs no process in there.
pub(crate) fn open_procfs(pid_namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    let context = |errno| Error::os(errno, "make a procfs of the container's pid namespace");
    match mount::procfs_of(pid_namespace) {
        // Linux before 6.18 has no such option.
        Err(Errno::EINVAL) => procfs::open_in(pid_namespace).map_err(context),
        other => other.map_err(context),
    }
}

/// Opens a user namespace that has these maps.
pub(crate) fn open_id_map(maps: &MapSource, host: Host) -> Result<OwnedFd> {
    match maps {
        MapSource::Maps(maps) => id_map::open(maps, host),
        MapSource::Namespace(path) => namespace::open(path)
            .map_err(|errno| Error::os(errno, format!("open the user namespace {}", path.display()))),
    }
}

/// Clones a mount (tree) of the host, with another propagation and mapped ids if asked. The pair says whether the
/// mounts below come along, and whether a link at the end of the path is followed.
pub(crate) fn open_mount(
    source: &Path,
    (recursive, follow): (bool, bool),
    propagation: u32,
    id_map: Option<&(MapSource, bool)>,
    host: Host,
    view: View<'_>,
) -> Result<OwnedFd> {
    let mount = view.clone_of(source, recursive, follow)?;
    if propagation != 0 {
        // A clone of a shared mount is its peer: what the container mounts on it would appear on the host.
        let attr = MountAttr { propagation: u64::from(propagation), ..MountAttr::default() };
        mount::set_attributes(mount.as_raw_fd(), &attr, true).map_err(|errno| {
            Error::os(errno, format!("set the propagation of the mount at {}", source.display()))
        })?;
    }
    if let Some((maps, whole_tree)) = id_map {
        let namespace = open_id_map(maps, host)?;
        let attr = MountAttr {
            set: libc::MOUNT_ATTR_IDMAP,
            userns_fd: namespace.as_raw_fd() as u64,
            ..MountAttr::default()
        };
        mount::set_attributes(mount.as_raw_fd(), &attr, *whole_tree).map_err(|errno| {
            Error::os(errno, format!("map the ids of the mount at {}", source.display()))
                .hint("its file system may not support id-mapped mounts")
        })?;
    }
    Ok(mount)
}

/// Clones the host's node of a device, after checking that it is that device.
pub(crate) fn open_device(node: &Path, mode: u32, device: u64) -> Result<OwnedFd> {
    let mount = View::Own.clone_of(node, false, true)?;
    // Whatever a container mounts over a node that is a peer of the host's would cover the host's, too.
    make_slave(&mount, node)?;
    let stat = path::fstat(mount.as_raw_fd())
        .map_err(|errno| Error::os(errno, format!("inspect {}", node.display())))?;
    if stat.st_mode & libc::S_IFMT != mode & libc::S_IFMT || stat.st_rdev != device {
        return Err(Error::new(
            Kind::InvalidSpec,
            format!(
                "the host's {} is not device {}:{}, and a user namespace cannot make device nodes",
                node.display(),
                libc::major(device),
                libc::minor(device)
            ),
        ));
    }
    let attr = MountAttr { set: mount::HOST_NODE, ..MountAttr::default() };
    mount::set_attributes(mount.as_raw_fd(), &attr, false)
        .map_err(|errno| Error::os(errno, format!("make the clone of {} read-only", node.display())))?;
    Ok(mount)
}

/// Makes a clone independent of its source.
fn make_slave(clone: &OwnedFd, source: &Path) -> Result<()> {
    mount::make_slave(clone.as_raw_fd()).map_err(|errno| {
        Error::os(errno, format!("set the propagation of the mount at {}", source.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_the_map_of_the_kernel() {
        let map = "         0     100000       1000\n      1000       5000          1\n";
        assert_eq!(outside(map, 0), Some(100_000));
        assert_eq!(outside(map, 999), Some(100_999));
        assert_eq!(outside(map, 1000), Some(5000));
        assert_eq!(outside(map, 1001), None);
        assert_eq!(outside("0 4294967295 2", 1), None);
        assert_eq!(outside("", 0), None);
    }
}
