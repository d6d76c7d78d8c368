//! Files of procfs that are short enough for one read.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;

use super::{Result, path};

/// Reads a file whose text is not longer than `buffer`, with three system calls: procfs returns such a file whole. The
/// standard library does not know its size and grows a buffer from 32 bytes.
///
/// # Errors
///
/// The kernel's error; `ENAMETOOLONG` if the path does not fit into 64 bytes, `EFBIG` if the text fills the buffer.
pub(crate) fn read<'b>(name: &str, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
    let mut bytes = [0; 64];
    let room = bytes.get_mut(..name.len()).filter(|_| name.len() < 64).ok_or(Errno::ENAMETOOLONG)?;
    room.copy_from_slice(name.as_bytes());
    let name = std::ffi::CStr::from_bytes_until_nul(&bytes).map_err(|_| Errno::EINVAL)?;
    let file = path::openat(libc::AT_FDCWD, name, libc::O_RDONLY, 0)?;
    // SAFETY: it was just opened, and nothing else closes it.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    let length = path::read(file.as_raw_fd(), buffer)?;
    if length == buffer.len() { Err(Errno::EFBIG) } else { Ok(&buffer[..length]) }
}

/// /proc/PID/stat (`proc_pid_stat(5)`): 52 numbers and a name of at most 64 bytes.
pub(crate) fn stat(pid: i32, buffer: &mut [u8; 1536]) -> Result<&[u8]> {
    read(&format!("/proc/{pid}/stat"), buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let mut buffer = [0; 1536];
        let whole = stat(std::process::id() as i32, &mut buffer).expect("procfs").to_vec();
        assert!(whole.ends_with(b"\n") && whole.split(|byte| *byte == b' ').count() >= 52);
        assert_eq!(read("/proc/self/stat", &mut [0; 16]), Err(Errno::EFBIG));
        assert_eq!(read("/proc/0/stat", &mut buffer), Err(Errno::ENOENT));
        assert_eq!(read(&format!("/proc/{}", "x".repeat(64)), &mut buffer), Err(Errno::ENAMETOOLONG));
    }
}
