//! The container's terminal: made in the container's own devpts, passed to the parent, bound to /dev/console.

use nix::errno::Errno;

use super::message::{Detail, MessageKind};
use super::{Child, Failure, Outcome};
use crate::program::{Links, Slot, Text};
use crate::sys::path::{self, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS};
use crate::sys::{mount, tty};

/// Magic number of devpts (statfs(2)).
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

impl Child<'_> {
    /// Opens a pty, sends its master to the parent and makes the other end the standard streams. The other end is
    /// opened through the master (TIOCGPTPEER), never by name (CVE-2025-52565).
    pub(super) fn terminal(&mut self, rows: u16, columns: u16, uid: u32, console: Option<Text>) -> Outcome {
        let strict = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
        let master =
            path::openat2(self.slot(Slot::ROOT), c"dev/pts/ptmx", libc::O_RDWR | libc::O_NOCTTY, 0, strict)?;
        if path::filesystem_magic(master)? != DEVPTS_SUPER_MAGIC {
            return Err(Failure::with(Errno::ENOTTY, Detail::WrongFilesystem));
        }
        tty::unlock(master)?;
        let number = tty::number(master)?;
        let peer = tty::open_peer(master)?;
        if rows != 0 && columns != 0 {
            tty::set_size(peer, rows, columns)?;
        }
        // The terminal is new and ours: the container's user must be able to open it by name.
        path::chown_at(peer, c"", uid, u32::MAX)?;
        self.hand_over(MessageKind::Console, number, master)?;
        path::close(master);
        if let Some(console) = console {
            let clone = mount::clone_tree(peer, c"", false)?;
            self.fill(Slot::MOUNT, clone);
            self.target(console, Some(Slot::MOUNT), Links::All)?;
            mount::attach(clone, self.slot(Slot::TARGET))?;
            self.fill(Slot::TARGET, -1);
        }
        for stream in 0..3 {
            path::duplicate_to(peer, stream)?;
        }
        path::close(peer);
        Ok(())
    }
}
