//! What is done in the namespaces of a restored process before it runs.

use std::os::fd::AsFd as _;
use std::path::Path;

use super::super::opened::open_namespace;
use crate::error::{Error, Result};
use crate::linux::mount::attributes::attr;
use crate::spawn::among;
use crate::sys::mount::{MountAttr, set_attributes_at};
use crate::sys::process;

/// criu leaves it down if it makes the network namespace.
pub(super) fn loopback_up(pid: i32) -> Result<()> {
    act(pid, ("net", libc::CLONE_NEWNET), "bring the loopback interface up", process::loopback_up)
}

/// criu makes the root writable in any case.
pub(super) fn make_root_read_only(pid: i32) -> Result<()> {
    act(pid, ("mnt", libc::CLONE_NEWNS), "make the root read-only", || {
        let read_only = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
        set_attributes_at(libc::AT_FDCWD, c"/", &read_only, false)
    })
}

/// Runs something in a namespace of a process.
fn act(
    pid: i32,
    (file, kind): (&str, i32),
    what: &str,
    act: impl FnOnce() -> crate::sys::Result<()> + Send,
) -> Result<()> {
    let namespace = open_namespace(Path::new(&format!("/proc/{pid}/ns/{file}")))?;
    among(namespace.as_fd(), kind, || act().map_err(|errno| Error::os(errno, what)))
}
