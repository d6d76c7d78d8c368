//! A mount of ours that is unmounted with its owner, so that its directory can be removed.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};

/// A mount point with everything mounted below it.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a tmpfs on a directory.
    ///
    /// # Errors
    ///
    /// Those of mount(2).
    pub fn tmpfs(dir: &Path) -> std::io::Result<Self> {
        mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        Ok(Self(dir.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _busy = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
