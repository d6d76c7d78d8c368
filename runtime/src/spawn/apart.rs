//! What takes another namespace for a moment. setns(2) and unshare(2) change one thread, so a thread is made for it,
//! which ends right after: nothing else of the caller is affected.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::clone;

/// Runs something that changes the namespaces of its thread.
pub(super) fn apart<T: Send>(act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("wharf-join".to_owned())
            .spawn_scoped(scope, act)
            .map_err(|error| Error::io(&error, "make a thread to join namespaces"))?
            .join()
            .unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::System, "the thread that joins namespaces panicked"))
            })
    })
}

/// Runs something in another namespace: that of a process (a pidfd), or a descriptor of the namespace itself.
pub(crate) fn among<T: Send>(
    namespace: BorrowedFd<'_>,
    kind: i32,
    act: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    apart(|| {
        // A mount namespace comes with a root and a working directory, which threads otherwise share.
        let alone = if kind == libc::CLONE_NEWNS { clone::unshare(libc::CLONE_FS) } else { Ok(()) };
        alone
            .and_then(|()| clone::setns(namespace.as_raw_fd(), kind))
            .map_err(|errno| Error::os(errno, "join a namespace of the container's process"))?;
        act()
    })
}
