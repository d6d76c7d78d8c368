//! The record of mounts added to a running container: `mounts.json`.
//!
//! A mount is recorded before it is attached, so every mount can be removed, no matter when the runtime is killed. The
//! next change of mounts forgets records of mounts that were never attached or are gone. For some time a mount is
//! recorded and not yet attached: during that time its addition holds a lock ([`Directory::announce_addition`]), and
//! other changes forget only what they have removed themselves.

use super::record::Record;
use super::store::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::linux::mount::added::AddedMount;
use crate::sys::file_lock::FileLock;
use crate::sys::mount_id::MountId;

/// The recorded mounts, oldest first.
pub(super) fn read(directory: &Directory) -> Result<Vec<AddedMount>> {
    let Some(bytes) = directory.noted_mounts()? else { return Ok(Vec::new()) };
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(
            ErrorKind::Corrupt,
            format!("{} cannot be understood: {error}", directory.mounts_file().display()),
        )
        .with_hint("without that file mounts can be added again; those that it stood for stay until the container ends")
    })
}

/// Records a mount that is about to be attached. The container's lock is held no longer than that takes, the returned
/// one until the mount is attached.
pub(super) fn note(directory: &Directory, own: &Record, mount: AddedMount) -> Result<FileLock> {
    let Some(_lock) = directory.lock_own(own)? else { return Err(directory.unknown()) };
    let announced = directory.announce_addition()?;
    let mut all = read(directory)?;
    all.push(mount);
    write(directory, &all)?;
    Ok(announced)
}

/// Forgets mounts that are gone.
pub(super) fn forget(directory: &Directory, own: &Record, gone: &[MountId]) -> Result<()> {
    // The record went away with the container.
    let Some(_lock) = directory.lock_own(own)? else { return Ok(()) };
    let mut all = read(directory)?;
    all.retain(|mount| !gone.contains(&mount.mount));
    write(directory, &all)
}

fn write(directory: &Directory, all: &[AddedMount]) -> Result<()> {
    let bytes = serde_json::to_vec(all).map_err(|error| {
        Error::new(ErrorKind::System, format!("write {}: {error}", directory.mounts_file().display()))
    })?;
    directory.note_mounts(&bytes)
}
