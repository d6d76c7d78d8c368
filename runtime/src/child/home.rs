//! HOME from the container's passwd file, which runc supplies if the configuration does not.

use super::Child;
use crate::sys::path::{self, RESOLVE_NO_MAGICLINKS};

/// How much of a passwd file is read at most: it belongs to the image (CVE-2026-47262 is an unbounded read of it).
const MOST_BYTES: usize = 1 << 20;

impl Child<'_> {
    /// Adds `HOME=<directory of the uid>` to the environment, or `HOME=/`.
    pub(super) fn add_home(&mut self, uid: u32) {
        let Some(envp) = self.program.envp else { return };
        let found = self.find_home(uid);
        if !found {
            self.set_home(b"/");
        }
        let home = self.home.as_ptr().cast();
        let places = self.pointers.get_mut(envp.0 as usize..).unwrap_or_default();
        // The parent left one free place at the end of the list.
        if let Some(place) = places.iter_mut().find(|place| place.is_null()) {
            *place = home;
        }
    }

    fn set_home(&mut self, directory: &[u8]) -> bool {
        let text = b"HOME=".iter().chain(directory).chain(b"\0");
        let fits = directory.len() + 6 <= self.home.len();
        if fits {
            for (place, byte) in self.home.iter_mut().zip(text) {
                *place = *byte;
            }
        }
        fits
    }

    fn find_home(&mut self, uid: u32) -> bool {
        let read = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        // It is checked before it is opened, as to open a device can set it going, and again after, as it may be on a
        // volume where another container replaces it.
        for flags in [libc::O_PATH, read] {
            let Ok(fd) = path::openat2(libc::AT_FDCWD, c"/etc/passwd", flags, 0, RESOLVE_NO_MAGICLINKS)
            else {
                return false;
            };
            let regular = path::fstat(fd).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG);
            let found = regular && flags == read && self.scan(fd, uid);
            path::close(fd);
            if !regular || found {
                return found;
            }
        }
        false
    }

    /// Reads line by line through one small buffer; a line that does not fit is skipped.
    #[inline(never)]
    fn scan(&mut self, fd: i32, uid: u32) -> bool {
        let mut buffer = [0u8; 4096];
        let mut filled = 0;
        let mut total = 0;
        let mut skipping = false;
        while total < MOST_BYTES {
            let Ok(length) = path::read(fd, buffer.get_mut(filled..).unwrap_or_default()) else {
                return false;
            };
            total += length;
            filled += length;
            let at_end = length == 0;
            let mut start = 0;
            loop {
                let left = buffer.get(start..filled).unwrap_or_default();
                let end = match left.iter().position(|byte| *byte == b'\n') {
                    Some(end) => end,
                    None if at_end && !left.is_empty() => left.len(),
                    None => break,
                };
                let line = left.get(..end).unwrap_or_default();
                if !skipping && let Some(directory) = home_in(line, uid) {
                    return self.set_home(directory);
                }
                skipping = false;
                start = (start + end + 1).min(filled);
            }
            if at_end {
                return false;
            }
            buffer.copy_within(start..filled, 0);
            filled -= start;
            if filled == buffer.len() {
                skipping = true;
                filled = 0;
            }
        }
        false
    }
}

/// The directory field of a passwd line if its uid field is exactly the number.
fn home_in(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|byte| *byte == b':');
    let mut number = 0u32;
    let digits = fields.nth(2)?;
    if digits.is_empty() {
        return None;
    }
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?;
    }
    let directory = fields.nth(2)?;
    (number == uid && directory.first() == Some(&b'/')).then_some(directory)
}

#[cfg(test)]
mod tests {
    use super::home_in;

    #[test]
    fn only_the_exact_uid_counts() {
        assert_eq!(home_in(b"root:x:0:0:root:/root:/bin/sh", 0), Some(&b"/root"[..]));
        assert_eq!(home_in(b"a:x:10:0::/a:/bin/sh", 1), None);
        assert_eq!(home_in(b"1000:x:0:0::/evil:/bin/sh", 1000), None);
        assert_eq!(home_in(b"a:x:4294967296:0::/a:", 0), None);
        assert_eq!(home_in(b"a:x::0::/a:", 0), None);
        assert_eq!(home_in(b"short:x:5", 5), None);
    }
}
