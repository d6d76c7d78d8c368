//! Which mount a descriptor is on, and where a mount is now (`statx(2)`, `statmount(2)`).
//!
//! The kernel reuses the number of a mount as soon as the mount is gone. Since Linux 6.8 each mount also has a unique
//! one, which no other mount gets as long as the machine runs; on older kernels the inode of the mount's root has to be
//! compared as well.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{Result, check_unit};

/// The same on every architecture except alpha, which Rust does not support.
const SYS_STATMOUNT: libc::c_long = 457;
const STATX_INO: u32 = 0x100;
const STATX_MNT_ID: u32 = 0x1000;
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
/// Do not wait for a file system's server.
const AT_STATX_DONT_SYNC: i32 = 0x4000;
const STATMOUNT_MNT_POINT: u64 = 0x10;
/// The offsets in `struct statmount` of the mask of filled members, and of the mount point's place among the texts.
const MASK: usize = 8;
const POINT: usize = 108;
/// The offset of the texts.
const TEXTS: usize = 512;

/// The identity of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum MountId {
    /// The id that no other mount has had since boot.
    Unique(u64),
    /// On a kernel without such ids: one that no other mount has at the same time, and its root.
    Reused { id: u64, device: (u32, u32), inode: u64 },
}

/// The size of a packed one.
pub(crate) const PACKED: usize = 32;

impl MountId {
    /// As bytes, for a process that cannot allocate.
    pub(crate) fn pack(self) -> [u8; PACKED] {
        let words = match self {
            Self::Unique(id) => [0, id, 0, 0],
            Self::Reused { id, device, inode } => {
                [1, id, u64::from(device.0) << 32 | u64::from(device.1), inode]
            }
        };
        let mut bytes = [0; PACKED];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// The one packed at that place in a list.
    pub(crate) fn unpack(list: &[u8], number: u32) -> Option<Self> {
        let bytes = list.chunks_exact(PACKED).nth(number as usize)?;
        let mut words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
        let [kind, id, device, inode] = [words.next()?, words.next()?, words.next()?, words.next()?];
        Some(match kind {
            0 => Self::Unique(id),
            _ => Self::Reused { id, device: ((device >> 32) as u32, device as u32), inode },
        })
    }
}

/// The mount that a descriptor is on, by the best id that the kernel has, and whether the descriptor is on its root.
pub(crate) fn of(fd: RawFd) -> Result<(MountId, bool)> {
    ask(fd, STATX_MNT_ID_UNIQUE)
}

/// Whether a descriptor is on the root of that mount.
pub(crate) fn is_root_of(fd: RawFd, mount: MountId) -> bool {
    let kind = match mount {
        MountId::Unique(_) => STATX_MNT_ID_UNIQUE,
        MountId::Reused { .. } => 0,
    };
    ask(fd, kind) == Ok((mount, true))
}

/// The id that no other mount has at the same time, of the mount that a path leads to; an empty path is the descriptor's.
pub(crate) fn current(dir: RawFd, path: &CStr) -> Result<u64> {
    statx(dir, path, STATX_MNT_ID).map(|stat| stat.stx_mnt_id)
}

/// Whether two descriptors are on the root of one mount.
pub(crate) fn is_same_root(one: RawFd, other: RawFd) -> Result<bool> {
    let is_root = |stat: &libc::statx| stat.stx_attributes & STATX_ATTR_MOUNT_ROOT != 0;
    let one = statx(one, c"", STATX_MNT_ID)?;
    // Most are on no root, and cost one call.
    Ok(is_root(&one) && {
        let other = statx(other, c"", STATX_MNT_ID)?;
        is_root(&other) && one.stx_mnt_id == other.stx_mnt_id
    })
}

/// `kind` is 0 for the id that is reused.
fn ask(fd: RawFd, kind: u32) -> Result<(MountId, bool)> {
    let stat = statx(fd, c"", STATX_MNT_ID | kind | STATX_INO)?;
    let id = if stat.stx_mask & STATX_MNT_ID_UNIQUE != 0 {
        MountId::Unique(stat.stx_mnt_id)
    } else {
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        MountId::Reused { id: stat.stx_mnt_id, device, inode: stat.stx_ino }
    };
    Ok((id, stat.stx_attributes & STATX_ATTR_MOUNT_ROOT != 0))
}

fn statx(dir: RawFd, path: &CStr, mask: u32) -> Result<libc::statx> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: a C string, and room for what the kernel writes.
    check_unit(unsafe {
        libc::syscall(
            libc::SYS_statx,
            dir,
            path.as_ptr(),
            libc::AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
            mask,
            stat.as_mut_ptr(),
        )
    })?;
    // SAFETY: all bits zero are a value of it, and the kernel has written the rest.
    Ok(unsafe { stat.assume_init() })
}

/// Room for what the kernel says about a mount.
#[repr(C, align(8))]
pub(crate) struct MountReply([u8; TEXTS + libc::PATH_MAX as usize]);

impl MountReply {
    pub(crate) fn new() -> Self {
        Self([0; TEXTS + libc::PATH_MAX as usize])
    }

    fn word<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }
}

/// `struct mnt_id_req` in its first version.
#[repr(C)]
struct Wanted {
    size: u32,
    namespace: u32,
    id: u64,
    what: u64,
}

/// Where a mount of the caller's mount namespace is, from the caller's root. `ENOENT`: there is no such mount.
pub(crate) fn point_of(id: u64, room: &mut MountReply) -> Result<&CStr> {
    let size = size_of::<Wanted>() as u32;
    let wanted = Wanted { size, namespace: 0, id, what: STATMOUNT_MNT_POINT };
    // SAFETY: both outlive the call and have the sizes that are passed.
    check_unit(unsafe {
        libc::syscall(SYS_STATMOUNT, ptr::from_ref(&wanted), room.0.as_mut_ptr(), room.0.len(), 0)
    })?;
    if u64::from_ne_bytes(room.word(MASK)) & STATMOUNT_MNT_POINT == 0 {
        return Err(Errno::ENODATA);
    }
    let start = TEXTS + u32::from_ne_bytes(room.word(POINT)) as usize;
    let text = room.0.get(start..).unwrap_or_default();
    CStr::from_bytes_until_nul(text).map_err(|_| Errno::EOVERFLOW)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_packed_list_gives_each_back() {
        let all = [
            MountId::Unique(u64::MAX - 3),
            MountId::Reused { id: 31, device: (u32::MAX, 7), inode: u64::MAX },
            MountId::Unique(1 << 31),
        ];
        let list: Vec<u8> = all.iter().flat_map(|id| id.pack()).collect();
        for (number, id) in (0..).zip(all) {
            assert_eq!(MountId::unpack(&list, number), Some(id));
        }
        assert_eq!(MountId::unpack(&list, 3), None);
        assert_eq!(MountId::unpack(&[], 0), None);
    }

    #[test]
    fn the_mount_of_proc_is_found_where_it_is() {
        let root = std::fs::File::open("/proc").expect("/proc");
        let inside = std::fs::File::open("/proc/self/status").expect("a file in /proc");
        let (id, is_root) = of(root.as_raw_fd()).expect("statx");
        assert!(is_root, "{id:?}");
        let (same, inside_is_root) = of(inside.as_raw_fd()).expect("statx");
        assert!(!inside_is_root);
        let (reused, _) = ask(root.as_raw_fd(), 0).expect("statx");
        assert!(matches!(reused, MountId::Reused { .. }), "{reused:?}");
        assert!(is_root_of(root.as_raw_fd(), id) && is_root_of(root.as_raw_fd(), reused));
        assert!(!is_root_of(inside.as_raw_fd(), id) && !is_root_of(inside.as_raw_fd(), reused));
        // On a kernel without unique ids the inode is that of the file.
        let MountId::Unique(unique) = id else { return };
        assert_eq!(id, same);
        let mut room = MountReply::new();
        match point_of(unique, &mut room) {
            Ok(point) => assert_eq!(point, c"/proc"),
            // A sandbox around the tests may not allow the call.
            Err(errno) => assert!(matches!(errno, Errno::ENOSYS | Errno::EPERM), "{errno}"),
        }
        if !matches!(point_of(unique, &mut room), Err(Errno::ENOSYS | Errno::EPERM)) {
            assert_eq!(point_of(u64::MAX - 1, &mut room), Err(Errno::ENOENT));
        }
    }
}
