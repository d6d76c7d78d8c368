//! The caller's terminal.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// A terminal in raw mode until this value is dropped.
pub(crate) struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    /// Switches `terminal` to raw mode: every key goes into the container, including those that make signals. It still
    /// turns `\n` into `\r\n`, which the container's terminal leaves to it ([`wharf::Console::Relay`]), so this
    /// program's own messages have straight lines, too. `None` if it is not a terminal.
    pub(crate) fn enter(terminal: BorrowedFd<'a>) -> Result<Option<Self>, Failure> {
        if !terminal.is_terminal() {
            return Ok(None);
        }
        let failed =
            |errno: nix::errno::Errno| Failure::new(format!("switch the terminal to raw mode: {errno}"));
        let before = tcgetattr(terminal).map_err(failed)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        raw.output_flags |= OutputFlags::OPOST;
        tcsetattr(terminal, SetArg::TCSANOW, &raw).map_err(failed)?;
        Ok(Some(Self { terminal, before }))
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing to restore.
        tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before).ok();
    }
}

/// Gives the container's terminal the size of the caller's window, if there is one.
pub(crate) fn copy_size(to: BorrowedFd<'_>) {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let size = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
        .into_iter()
        .find_map(|terminal| wharf::terminal::window_size(terminal).ok());
    if let Some(size) = size
        && let Err(error) = wharf::terminal::set_window_size(to, size)
    {
        log::debug!("{error}");
    }
}

/// A reopened terminal, so that making it non-blocking does not affect the caller or other processes that share its
/// open file description. `None` if `fd` is not a terminal or may not be opened.
pub(crate) fn non_blocking(fd: BorrowedFd<'_>, read: bool) -> Option<OwnedFd> {
    if !fd.is_terminal() {
        return None;
    }
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new()
        .read(read)
        .write(!read)
        .custom_flags(flags.bits())
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    file.ok().map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::pty::openpty;
    use nix::sys::termios::LocalFlags;

    #[test]
    fn raw_mode_ends_with_its_value() {
        let pty = openpty(None, None).unwrap();
        let canonical =
            || tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ICANON | LocalFlags::ISIG);
        assert!(canonical());
        let raw = RawMode::enter(pty.slave.as_fd()).unwrap();
        assert!(raw.is_some() && !canonical());
        let output = tcgetattr(&pty.slave).unwrap().output_flags;
        assert!(output.contains(OutputFlags::OPOST | OutputFlags::ONLCR), "lines are not straight");
        drop(raw);
        assert!(canonical());
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(RawMode::enter(file.as_fd()).unwrap().is_none());
    }

    #[test]
    fn the_callers_own_descriptor_stays_blocking() {
        let pty = openpty(None, None).unwrap();
        let own = non_blocking(pty.slave.as_fd(), true).unwrap();
        let flags = |fd: &OwnedFd| OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap());
        assert!(flags(&own).contains(OFlag::O_NONBLOCK));
        assert!(!flags(&pty.slave).contains(OFlag::O_NONBLOCK));
    }
}
