//! Id-mapped mounts for programs that build a container's root file system.

use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::LinuxIdMapping;

use crate::error::Result;
use crate::host::Host;
use crate::linux::idmap::IdMaps;
use crate::plan::MapSource;
use crate::spawn::{self, HostView};

/// Clones the mount of a directory, without the mounts below it, and maps the owners of its files as in a user
/// namespace with these maps (`mount_setattr(2)`). The clone is attached nowhere: `move_mount(2)` puts it in place. It
/// is a slave of the mount it was cloned from, so unmounting it, and anything mounted below it by then, does not
/// unmount anything there.
///
/// # Errors
///
/// If the kernel does not support id mapping on that file system, or refuses the maps.
pub fn id_mapped_mount(source: &Path, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd> {
    let maps = IdMaps { uids: uids.to_vec(), gids: gids.to_vec() };
    spawn::open_mount(
        source,
        (false, true),
        libc::MS_SLAVE as u32,
        Some(&(MapSource::Maps(maps), false)),
        Host::probe()?,
        HostView::Own,
    )
}

/// Clones the mount of a directory, with the mounts below it if `recursive`. As with [`id_mapped_mount`], the clone is
/// attached nowhere and is a slave: a bind mount with `mount(2)` would be a peer of a shared source.
///
/// # Errors
///
/// If nothing is at the path, or the caller may not clone mounts.
pub fn bind_mount(source: &Path, recursive: bool) -> Result<OwnedFd> {
    spawn::open_mount(source, (recursive, true), libc::MS_SLAVE as u32, None, Host::probe()?, HostView::Own)
}
