//! Host namespaces and directories that a creation needs as descriptors.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{self, AT_FDCWD, OFlag};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::plan::Plan;

/// The namespaces that a plan names by path.
pub(super) struct OpenedNamespaces {
    /// Those that the runtime joins before the clone, with their kinds.
    pub(super) born_joined: Vec<(OwnedFd, i32)>,
    /// Those that the child joins itself.
    pub(super) joined: Vec<OwnedFd>,
}

impl OpenedNamespaces {
    /// Opens all of them; an error points to the property that named the path.
    pub(super) fn of(plan: &Plan) -> Result<Self> {
        let open = |path: &Path, place: &crate::program::blame::Place| {
            open_namespace(path).map_err(|error| error.at(place.pointer().unwrap_or_default()))
        };
        Ok(Self {
            born_joined: plan
                .born_joined
                .iter()
                .map(|(path, kind, place)| Ok((open(path, place)?, *kind)))
                .collect::<Result<_>>()?,
            joined: plan.namespaces.iter().map(|(path, place)| open(path, place)).collect::<Result<_>>()?,
        })
    }
}

pub(super) fn open_namespace(path: &Path) -> Result<OwnedFd> {
    crate::sys::namespace::open(path).map_err(|errno| {
        let error = Error::os(errno, format!("open namespace {}", path.display()));
        if errno == Errno::EINVAL {
            error.with_hint("it is not a namespace file, as in /proc/PID/ns")
        } else {
            error
        }
    })
}

pub(super) fn open_directory(path: &Path) -> Result<OwnedFd> {
    std::fs::File::open(path)
        .map(OwnedFd::from)
        .map_err(|error| Error::io(&error, format!("open {}", path.display())))
}

/// A directory as a descriptor that serves only to name it.
pub(super) fn hold(path: &Path) -> Result<OwnedFd> {
    // Not with `OpenOptions`: with musl, it takes O_PATH for a part of the access mode.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    fcntl::openat(AT_FDCWD, path, flags, Mode::empty())
        .map_err(|errno| Error::os(errno, format!("open {}", path.display())))
}

/// The ways into a container that exists, by the numbers of [`Join`](crate::plan::join::Join): its init process, and its
/// root if it has no mount namespace.
pub(super) fn ways_in(init: OwnedFd, pid: i32, namespaces: i32) -> Result<Vec<OwnedFd>> {
    let mut ways = vec![init];
    if namespaces & libc::CLONE_NEWNS == 0 {
        ways.push(hold(Path::new(&format!("/proc/{pid}/root")))?);
    }
    Ok(ways)
}
