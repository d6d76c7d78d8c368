//! In which mount namespace the parent opens what it clones for a child.

use std::ffi::CString;
use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

use super::apart::among;
use crate::error::{Error, Result};
use crate::sys::mount;

/// A view of the host's files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HostView<'v> {
    /// The runtime's.
    Own,
    /// That of the process behind a pidfd, which has the mounts of the container so far.
    Of(BorrowedFd<'v>),
}

impl<'v> HostView<'v> {
    /// The child's for paths in the container's root: there, an earlier mount of the container may cover what the
    /// runtime sees, and the configuration means that mount. Otherwise the runtime's own, since in a user namespace the
    /// mounts of the host are locked together.
    pub(crate) fn for_source(source: &Path, rootfs: &Path, child: BorrowedFd<'v>) -> Self {
        // Paths inside an earlier mount do not exist here.
        let found = source.ancestors().find_map(|above| fs::canonicalize(above).ok());
        match (found, fs::canonicalize(rootfs)) {
            (Some(found), Ok(rootfs)) if found.starts_with(&rootfs) => Self::Of(child),
            _ => Self::Own,
        }
    }

    /// Clones the mount (tree) at a path as a detached one. `follow` follows a link at the end of the path.
    pub(crate) fn clone_of(self, source: &Path, recursive: bool, follow: bool) -> Result<OwnedFd> {
        let context = |errno| Error::os(errno, format!("open the mount source {}", source.display()));
        let text = CString::new(source.as_os_str().as_bytes()).map_err(|_| context(Errno::EINVAL))?;
        let Self::Of(process) = self else {
            return mount::clone_source_owned(&text, recursive, follow).map_err(context);
        };
        among(process, libc::CLONE_NEWNS, || {
            mount::clone_source_owned(&text, recursive, follow).map_err(context)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn only_what_is_in_the_root_is_looked_for_in_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().join("rootfs");
        fs::create_dir_all(rootfs.join("there")).unwrap();
        std::os::unix::fs::symlink(&rootfs, dir.path().join("link")).unwrap();
        let file = fs::File::open("/").unwrap();
        let inside = |path: &str| {
            matches!(HostView::for_source(&dir.path().join(path), &rootfs, file.as_fd()), HostView::Of(_))
        };
        assert!(
            inside("rootfs")
                && inside("rootfs/there")
                && inside("rootfs/absent/deep")
                && inside("link/there")
        );
        assert!(!inside("") && !inside("rootfs2") && !inside("other/rootfs") && !inside("rootfs/../x"));
    }
}
