//! What is done in the namespaces of a restored process before it runs.

use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

use super::super::opened::open_namespace;
use crate::error::{Error, Kind, Result};
use crate::linux::mount::attributes::attr;
use crate::sys::mount::{MountAttr, set_attributes_at};
use crate::sys::process;

/// criu leaves it down if it makes the network namespace.
pub(super) fn loopback_up(pid: i32) -> Result<()> {
    act(pid, ("net", CloneFlags::CLONE_NEWNET), "bring the loopback interface up", process::loopback_up)
}

/// criu makes the root writable in any case.
pub(super) fn make_root_read_only(pid: i32) -> Result<()> {
    act(pid, ("mnt", CloneFlags::CLONE_NEWNS), "make the root read-only", || {
        let read_only = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
        set_attributes_at(libc::AT_FDCWD, c"/", &read_only, false)
    })
}

/// Runs something in a namespace of a process, on a short-lived thread, as only a whole thread can be there.
fn act(
    pid: i32,
    (file, kind): (&str, CloneFlags),
    what: &str,
    act: impl FnOnce() -> crate::sys::Result<()> + Send + 'static,
) -> Result<()> {
    let namespace = open_namespace(Path::new(&format!("/proc/{pid}/ns/{file}")))?;
    let done = std::thread::spawn(move || {
        if kind == CloneFlags::CLONE_NEWNS {
            // A mount namespace comes with a root and a working directory, which threads otherwise share.
            unshare(CloneFlags::CLONE_FS)?;
        }
        setns(&namespace, kind)?;
        act()
    });
    match done.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(errno)) => Err(Error::os(errno, what)),
        Err(_) => Err(Error::new(Kind::System, format!("{what}: the thread ended"))),
    }
}
