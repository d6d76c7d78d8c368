//! Builds paths without allocating.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use nix::errno::Errno;

use super::Outcome;

const SIZE: usize = libc::PATH_MAX as usize;

/// A path or name in a fixed buffer.
///
/// The buffer is not cleared: zeroing a page for each of some thirty short paths costs more than the system calls that
/// they are for. For the same reason it is built in place and never passed on by value.
pub(super) struct PathBuffer {
    bytes: [MaybeUninit<u8>; SIZE],
    /// Everything before it is written, and so is the byte at it: the NUL.
    length: usize,
}

impl PathBuffer {
    /// The empty path.
    pub(super) const fn new() -> Self {
        let mut bytes = [MaybeUninit::uninit(); SIZE];
        bytes[0] = MaybeUninit::new(0);
        Self { bytes, length: 0 }
    }

    /// Appends bytes; for a path that is too long, fails with the kernel's ENAMETOOLONG.
    pub(super) fn push(&mut self, part: &[u8]) -> Outcome {
        let end = self.length + part.len();
        // One byte stays for the NUL.
        let Some((last, places)) = self.bytes.get_mut(self.length..=end).and_then(<[_]>::split_last_mut)
        else {
            return Err(Errno::ENAMETOOLONG.into());
        };
        for (place, byte) in places.iter_mut().zip(part) {
            place.write(*byte);
        }
        last.write(0);
        self.length = end;
        Ok(())
    }

    /// Shortens the path to `length`.
    pub(super) fn truncate(&mut self, length: usize) {
        if length < self.length
            && let Some(end) = self.bytes.get_mut(length)
        {
            end.write(0);
            self.length = length;
        }
    }

    /// The path without its NUL.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.with_nul().split_last().map_or(&[], |(_, bytes)| bytes)
    }

    /// The path up to its first NUL.
    pub(super) fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(self.with_nul()).unwrap_or_default()
    }

    /// Appends a number in decimal.
    pub(super) fn push_number(&mut self, number: u32) -> Outcome {
        let mut digits = [0u8; 10];
        let mut left = number;
        let mut start = digits.len();
        loop {
            start -= 1;
            if let Some(digit) = digits.get_mut(start) {
                *digit = b'0' + (left % 10) as u8;
            }
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.push(digits.get(start..).unwrap_or_default())
    }

    /// The path up to its last slash, which becomes a NUL, and what follows it.
    pub(super) fn cut_last(&mut self) -> Option<(&CStr, &CStr)> {
        let at = self.as_bytes().iter().rposition(|byte| *byte == b'/')?;
        self.bytes.get_mut(at)?.write(0);
        let (above, last) = self.with_nul().split_at_checked(at + 1)?;
        Some((CStr::from_bytes_with_nul(above).ok()?, CStr::from_bytes_with_nul(last).ok()?))
    }

    fn with_nul(&self) -> &[u8] {
        let written = self.bytes.get(..=self.length).unwrap_or_default();
        // SAFETY: `new`, `push` and `truncate` write each byte up to the NUL at `length` before they move it, and a
        // written `MaybeUninit<u8>` is a `u8`.
        unsafe { std::slice::from_raw_parts(written.as_ptr().cast(), written.len()) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn grows_and_shrinks() {
        let mut path = PathBuffer::new();
        assert_eq!((path.as_bytes(), path.as_cstr()), (&b""[..], c""));
        path.push(b"/dev/").unwrap();
        path.push_number(0).unwrap();
        path.push_number(u32::MAX).unwrap();
        assert_eq!((path.as_bytes(), path.as_cstr()), (&b"/dev/04294967295"[..], c"/dev/04294967295"));
        path.truncate(4);
        assert_eq!(path.as_cstr(), c"/dev");
        path.truncate(9);
        assert_eq!(path.as_cstr(), c"/dev", "nothing but what was written is ever shown");
    }

    #[test]
    fn too_long_a_path_is_refused_and_changes_nothing() {
        let mut path = PathBuffer::new();
        path.push(&[b'a'; SIZE - 1]).unwrap();
        assert_eq!(path.push(b"b").unwrap_err().errno, Errno::ENAMETOOLONG as i32);
        path.push(b"").unwrap();
        assert_eq!(path.as_bytes(), [b'a'; SIZE - 1]);
        assert_eq!(PathBuffer::new().push(&[b'a'; SIZE]).unwrap_err().errno, Errno::ENAMETOOLONG as i32);
    }

    #[test]
    fn the_last_name_is_cut_off() {
        let mut path = PathBuffer::new();
        path.push(b"/a/b").unwrap();
        assert_eq!(path.cut_last(), Some((c"/a", c"b")));
        let mut path = PathBuffer::new();
        path.push(b"a").unwrap();
        assert_eq!(path.cut_last(), None);
        path.push(b"/").unwrap();
        assert_eq!(path.cut_last(), Some((c"a", c"")));
    }
}
