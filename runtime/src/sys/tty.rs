//! Pseudo-terminals, by descriptor only: never by a path that an image could have replaced.

use std::os::fd::RawFd;

use super::{Result, check_fd, check_unit};

fn ioctl(fd: RawFd, request: u64, argument: usize) -> Result<libc::c_long> {
    // SAFETY: callers pass a number or the address of the structure that the request wants.
    super::check(unsafe { libc::syscall(libc::SYS_ioctl, fd, request, argument) })
}

/// Unlocks the other end of a pty master.
pub(crate) fn unlock(master: RawFd) -> Result<()> {
    let locked: libc::c_int = 0;
    ioctl(master, libc::TIOCSPTLCK as libc::c_ulong, (&raw const locked) as usize).map(drop)
}

/// The number N of /dev/pts/N.
pub(crate) fn number(master: RawFd) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    ioctl(master, libc::TIOCGPTN as libc::c_ulong, (&raw mut number) as usize)?;
    Ok(number)
}

/// Opens the other end of a pty master without looking up any path (Linux 4.13).
pub(crate) fn open_peer(master: RawFd) -> Result<RawFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the request takes flags by value.
    check_fd(unsafe { libc::syscall(libc::SYS_ioctl, master, libc::TIOCGPTPEER as libc::c_ulong, flags) })
}

/// Sets the size of the terminal in characters.
pub(crate) fn set_size(terminal: RawFd, rows: u16, columns: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    ioctl(terminal, libc::TIOCSWINSZ as libc::c_ulong, (&raw const size) as usize).map(drop)
}

/// The kernel's `struct termios` (asm-generic), which TCGETS and TCSETS use; C libraries have a larger one.
#[repr(C)]
#[derive(Default)]
struct KernelTermios {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [u8; 19],
    // Some architectures append two speeds.
    spare: [u32; 4],
}

/// Stops the terminal from turning `\n` into `\r\n`. Either end will do.
pub(crate) fn clear_onlcr(terminal: RawFd) -> Result<()> {
    let mut termios = KernelTermios::default();
    ioctl(terminal, libc::TCGETS as libc::c_ulong, (&raw mut termios) as usize)?;
    termios.output &= !(libc::ONLCR);
    ioctl(terminal, libc::TCSETS as libc::c_ulong, (&raw const termios) as usize).map(drop)
}

/// Makes the terminal the controlling one of the caller's session.
pub(crate) fn make_controlling(terminal: RawFd) -> Result<()> {
    // SAFETY: the request takes a number by value.
    check_unit(unsafe { libc::syscall(libc::SYS_ioctl, terminal, libc::TIOCSCTTY as libc::c_ulong, 0) })
}
