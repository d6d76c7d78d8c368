//! The window size of a terminal: `ioctl_tty(2)`, TIOCGWINSZ and TIOCSWINSZ.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

use crate::error::{Error, Result};

/// The size of a terminal window in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// The number of lines.
    pub rows: u16,
    /// The number of characters per line.
    pub columns: u16,
}

mod ioctl {
    #![allow(missing_docs)]
    nix::ioctl_read_bad!(tiocgwinsz, libc::TIOCGWINSZ, libc::winsize);
    nix::ioctl_write_ptr_bad!(tiocswinsz, libc::TIOCSWINSZ, libc::winsize);
}

/// The size of the window of `terminal`.
///
/// # Errors
///
/// If `terminal` is not a terminal.
pub fn window_size(terminal: impl AsFd) -> Result<WindowSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one winsize, which size is.
    unsafe { ioctl::tiocgwinsz(terminal.as_fd().as_raw_fd(), &raw mut size) }
        .map_err(|errno| Error::os(errno, "query the window size of the terminal"))?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Changes the size of the window of `terminal`, either end of a pseudo-terminal; its foreground processes get
/// SIGWINCH.
///
/// # Errors
///
/// If `terminal` is not a terminal.
pub fn set_window_size(terminal: impl AsFd, size: WindowSize) -> Result<()> {
    let value = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one winsize, which value is.
    unsafe { ioctl::tiocswinsz(terminal.as_fd().as_raw_fd(), &raw const value) }
        .map_err(|errno: Errno| Error::os(errno, "set the window size of the terminal"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use nix::pty::{grantpt, posix_openpt, unlockpt};

    #[test]
    fn a_size_that_is_set_is_read_back() {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = WindowSize { rows: 33, columns: 121 };
        set_window_size(&master, size).unwrap();
        assert_eq!(window_size(&master).unwrap(), size);
    }

    #[test]
    fn a_file_has_no_window() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(window_size(&file).unwrap_err().errno(), Some(libc::ENOTTY));
    }
}
