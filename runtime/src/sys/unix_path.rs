//! Unix sockets behind paths of any length: an address holds 107 bytes (`unix(7)`).

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::{Result, path};

/// How many seconds a peer with a full queue may take to accept or read: one that does neither does not count.
const PATIENCE: i64 = 10;

/// Connects a stream to the socket at a path. Neither this nor sending over it waits for ever.
pub(crate) fn connect_stream(to: &Path) -> Result<OwnedFd> {
    let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&stream, SendTimeout, &TimeVal::seconds(PATIENCE))?;
    match UnixAddr::new(to) {
        Ok(address) => connect(stream.as_raw_fd(), &address)?,
        Err(Errno::ENAMETOOLONG) => {
            let text = CString::new(to.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
            let fd = path::openat(libc::AT_FDCWD, &text, libc::O_PATH, 0)?;
            // SAFETY: openat has just returned it; nothing else owns it.
            let held = unsafe { OwnedFd::from_raw_fd(fd) };
            let short = format!("/proc/self/fd/{}", held.as_raw_fd());
            connect(stream.as_raw_fd(), &UnixAddr::new(short.as_str())?)?;
        }
        Err(errno) => return Err(errno),
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_long_path_leads_to_its_socket_and_to_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("d".repeat(200));
        std::fs::create_dir(&long).unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        std::fs::rename(dir.path().join("socket"), long.join("s".repeat(200))).unwrap();
        drop(connect_stream(&long.join("s".repeat(200))).unwrap());
        listener.accept().unwrap();
        std::fs::write(long.join("file"), "").unwrap();
        assert_eq!(connect_stream(&long.join("file")).unwrap_err(), Errno::ECONNREFUSED);
        assert_eq!(connect_stream(&long.join("absent")).unwrap_err(), Errno::ENOENT);
    }
}
