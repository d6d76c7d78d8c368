//! The rule that no mount is unmounted while it is a peer of one outside: a debug build checks first.
//!
//! Unmounting what is mounted on a member of a peer group unmounts it from its peers in every mount namespace. So the
//! tree is cut off first, and then nothing in it may be shared, except the roots of volumes below the container's root,
//! which stay.

use std::ffi::CStr;
use std::os::fd::RawFd;

use super::Outcome;

/// Fails if the mount of the descriptor, or one below it, is shared. `mountinfo` is the path of this process' file in a
/// procfs of the host, relative to the directory; if it does not exist, nothing is checked.
#[cfg(debug_assertions)]
pub(super) fn assert_none(mount: RawFd, directory: RawFd, mountinfo: &CStr) -> Outcome {
    use super::message::Detail;
    use crate::sys::path;
    use nix::errno::Errno;

    let top = crate::sys::mount_id::current(mount, c"")?;
    let Ok(fd) = path::openat(directory, mountinfo, libc::O_RDONLY, 0) else { return Ok(()) };
    let mut table = look::Table::new();
    let mut buffer = [0; 4096];
    loop {
        let length = path::read(fd, &mut buffer)?;
        if length == 0 {
            break;
        }
        for byte in buffer.get(..length).unwrap_or_default() {
            table.take(*byte);
        }
    }
    path::close(fd);
    if table.is_shared_below(top as u32) {
        return Err(super::Failure::with(Errno::ENOTRECOVERABLE, Detail::SharedOutside));
    }
    Ok(())
}

#[cfg(not(debug_assertions))]
#[allow(clippy::unnecessary_wraps, reason = "a debug build has something to do here")]
pub(super) fn assert_none(_: RawFd, _: RawFd, _: &CStr) -> Outcome {
    Ok(())
}

#[cfg(debug_assertions)]
mod look {
    /// How many mounts are checked: the space is fixed, since nothing may allocate.
    const MOST: usize = 1024;
    const SHARED: &[u8] = b"shared:";

    #[derive(Clone, Copy, Default)]
    struct MountLine {
        id: u32,
        parent: u32,
        shared: bool,
        /// Whether it is the mount in question or below it.
        below: bool,
    }

    /// Parses the mounts of /proc/PID/mountinfo byte by byte.
    pub(super) struct Table {
        entries: [MountLine; MOST],
        count: usize,
        current: MountLine,
        /// How many fields of the line are complete, and how many bytes of the next.
        field: usize,
        length: usize,
        /// Whether the field so far matches the tag of a peer group.
        tag: bool,
        /// Whether the optional fields are over.
        over: bool,
    }

    impl Table {
        pub(super) fn new() -> Self {
            Self {
                entries: [MountLine::default(); MOST],
                count: 0,
                current: MountLine::default(),
                field: 0,
                length: 0,
                tag: true,
                over: false,
            }
        }

        pub(super) fn take(&mut self, byte: u8) {
            match byte {
                b' ' | b'\n' => {
                    if self.field >= 6 && !self.over {
                        self.current.shared |= self.tag && self.length >= SHARED.len();
                    }
                    self.field += 1;
                    (self.length, self.tag) = (0, true);
                    if byte == b'\n' {
                        if let Some(place) = self.entries.get_mut(self.count) {
                            *place = self.current;
                            self.count += 1;
                        }
                        (self.current, self.field, self.over) = (MountLine::default(), 0, false);
                    }
                }
                _ => {
                    match self.field {
                        0 => self.current.id = digit(self.current.id, byte),
                        1 => self.current.parent = digit(self.current.parent, byte),
                        _ => {
                            self.tag &= SHARED.get(self.length).is_none_or(|wanted| *wanted == byte);
                            self.over |= self.field >= 6 && self.length == 0 && byte == b'-';
                        }
                    }
                    self.length += 1;
                }
            }
        }

        pub(super) fn is_shared_below(&mut self, top: u32) -> bool {
            let entries = self.entries.get_mut(..self.count).unwrap_or_default();
            let mut marked = Some(top);
            // Until no mount is on a marked one; they come in no order.
            while marked.is_some() {
                marked = None;
                for index in 0..entries.len() {
                    let Some(entry) = entries.get(index).copied().filter(|entry| !entry.below) else {
                        continue;
                    };
                    let on_one = entries.iter().any(|other| other.below && other.id == entry.parent);
                    if (entry.id == top || on_one)
                        && let Some(entry) = entries.get_mut(index)
                    {
                        entry.below = true;
                        marked = Some(entry.id);
                    }
                }
            }
            entries.iter().any(|entry| entry.below && entry.shared)
        }
    }

    fn digit(number: u32, byte: u8) -> u32 {
        number.wrapping_mul(10).wrapping_add(u32::from(byte.wrapping_sub(b'0')))
    }
}

#[cfg(test)]
mod tests {
    use super::look::Table;

    const MOUNTS: &str = "\
30 25 0:26 / / rw - tmpfs tmpfs rw
24 25 0:22 / /x rw shared:7 - proc shared:1 rw
25 1 8:1 / / rw,shared:1 master:3 - ext4 /dev/shared:2 rw
41 40 0:5 / /z/deep rw master:2 propagate_from:1 shared:12 - tmpfs x rw
40 30 0:4 / /z rw - tmpfs x rw
";

    fn is_shared_below(top: u32) -> bool {
        let mut table = Table::new();
        MOUNTS.bytes().for_each(|byte| table.take(byte));
        table.is_shared_below(top)
    }

    #[test]
    fn shared_mounts_are_found_below_a_mount_and_nowhere_else() {
        assert!(
            is_shared_below(30) && is_shared_below(40) && is_shared_below(41),
            "the last is on the others"
        );
        assert!(is_shared_below(25) && is_shared_below(24));
        assert!(!is_shared_below(99), "no such mount");
    }
}
