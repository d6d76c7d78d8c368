//! What the parent opens for a child that may not do it itself.

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

use super::id_map;
use super::view::HostView;
use crate::child::procfs;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::plan::MapSource;
use crate::sys::mount::{self, MountAttr};
use crate::sys::{namespace, path};

/// Opens a directory for a child that may not be able to reach it.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd> {
    let text = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL);
    text.and_then(|text| path::hold_directory(&text))
        .map_err(|errno| Error::os(errno, format!("open {}", path.display())))
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
    view: HostView<'_>,
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
                .with_hint("its file system may not support id-mapped mounts")
        })?;
    }
    Ok(mount)
}

/// Clones the host's node of a device, after checking that it is that device.
pub(crate) fn open_device(node: &Path, mode: u32, device: u64) -> Result<OwnedFd> {
    let mount = HostView::Own.clone_of(node, false, true)?;
    // Whatever a container mounts over a node that is a peer of the host's would cover the host's, too.
    make_slave(&mount, node)?;
    let stat = path::fstat(mount.as_raw_fd())
        .map_err(|errno| Error::os(errno, format!("inspect {}", node.display())))?;
    if stat.st_mode & libc::S_IFMT != mode & libc::S_IFMT || stat.st_rdev != device {
        return Err(Error::new(
            ErrorKind::InvalidSpec,
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
