//! The standard streams: put in place, given to the container's user, and separated from the host's null device.

use std::os::fd::RawFd;

use nix::errno::Errno;

use super::{Child, Outcome};
use crate::program::Slot;
use crate::sys::path::{self, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS};
use crate::sys::{Result, mount};

/// Major and minor number of the null device (Documentation/admin-guide/devices.txt).
const NULL_DEVICE: (u32, u32) = (1, 3);

impl Child<'_> {
    /// Replaces each stream that is the host's null device with the container's own: through /proc/self/fd/0, root in
    /// the container could change mode and owner of the host's node.
    ///
    /// A container without a null device, or with something else in its place, gets a node of its own. If that cannot
    /// be made, in a user namespace, no process inside has rights over the host's node, and the stream stays.
    pub(super) fn null_streams(&mut self) -> Outcome {
        let mut own = -1;
        for stream in 0..3 {
            match path::fstat(stream) {
                Ok(stat) if is_null_device(&stat) => {}
                Ok(_) | Err(Errno::EBADF) => continue,
                Err(errno) => return Err(errno.into()),
            }
            if own < 0 {
                own = match self.open_null().or_else(|_| make_null()) {
                    Err(Errno::EPERM | Errno::EACCES) => return Ok(()),
                    other => other?,
                };
            }
            path::duplicate_to(own, stream)?;
        }
        path::close(own);
        Ok(())
    }

    /// Opens the container's null device. It is checked before it is opened, and again after, as it may be on a volume
    /// where another container replaces it.
    fn open_null(&self) -> Result<RawFd> {
        let strict = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
        for flags in [libc::O_PATH, libc::O_RDWR | libc::O_NOCTTY] {
            let fd = path::openat2(self.slot(Slot::ROOT), c"dev/null", flags, 0, strict)?;
            if !path::fstat(fd).is_ok_and(|stat| is_null_device(&stat)) {
                path::close(fd);
                return Err(Errno::ENODEV);
            }
            if flags != libc::O_PATH {
                return Ok(fd);
            }
            path::close(fd);
        }
        Err(Errno::ENODEV)
    }
}

/// Opens a new node of the null device, on a file system that ends with its last descriptor.
fn make_null() -> Result<RawFd> {
    let fs = mount::fsopen(c"tmpfs")?;
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    let made = mount::fsconfig_create(fs).and_then(|()| mount::fsmount(fs, attributes as u32));
    path::close(fs);
    let directory = made?;
    let (major, minor) = NULL_DEVICE;
    let opened = path::mknodat(directory, c"null", libc::S_IFCHR | 0o666, libc::makedev(major, minor))
        .and_then(|()| path::openat(directory, c"null", libc::O_RDWR | libc::O_NOCTTY, 0));
    path::close(directory);
    opened
}

/// Whether this is the null device, whatever its name.
pub(super) fn is_null_device(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR
        && (libc::major(stat.st_rdev), libc::minor(stat.st_rdev)) == NULL_DEVICE
}

/// Makes three descriptors the standard streams, whatever their numbers are.
pub(super) fn streams(fds: [i32; 3]) -> Outcome {
    // First away from 0..2, so that no copy overwrites another's source.
    let mut away = [-1; 3];
    for ((place, fd), to) in away.iter_mut().zip(fds).zip(0..) {
        if fd != to {
            *place = path::duplicate_above(fd, 3)?;
        }
    }
    for (fd, to) in away.into_iter().zip(0..) {
        if fd >= 0 {
            path::duplicate_to(fd, to)?;
            path::close(fd);
        } else {
            path::set_close_on_exec(to, false)?;
        }
    }
    Ok(())
}

/// Gives a stream to the container's user, so that the user can reopen it through /dev/stdout: a pipe, or a file that
/// is written to. What is only read stays its owner's, and so do sockets, terminals and other devices.
pub(crate) fn give(stream: RawFd, uid: u32) -> Result<()> {
    let stat = match path::fstat(stream) {
        Err(Errno::EBADF) => return Ok(()),
        other => other?,
    };
    let gives = match stat.st_mode & libc::S_IFMT {
        libc::S_IFIFO => true,
        libc::S_IFREG => path::access_mode(stream)? != libc::O_RDONLY,
        _ => false,
    };
    if !gives || stat.st_uid == uid {
        return Ok(());
    }
    match path::chown_at(stream, c"", uid, u32::MAX) {
        // Not ours to give away: the process can still write to the open stream.
        Err(Errno::EPERM | Errno::EACCES | Errno::EROFS | Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(()),
        other => other,
    }
}
