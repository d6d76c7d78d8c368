//! The part of `bpf(2)` that a device filter of cgroup v2 needs: load, attach, replace, detach, list.
//!
//! Every call passes a zeroed attribute of 256 bytes, though the kernel is told only the used size: Linux 6.17 to 7.2
//! write the `revision` of a `BPF_PROG_QUERY` even beyond the size that a shorter caller declared.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// One instruction in the layout of `struct bpf_insn` (linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Insn {
    /// The operation.
    pub(crate) code: u8,
    /// Destination and source register, four bits each, in the bit order of the machine; see [`Insn::new`].
    regs: u8,
    /// The jump distance or memory offset.
    pub(crate) off: i16,
    /// The immediate operand.
    pub(crate) imm: i32,
}

impl Insn {
    /// Puts the two register numbers where this machine's C compiler puts the bit fields.
    pub(crate) const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        let regs = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
        Self { code, regs, off, imm }
    }

    /// The destination register.
    #[cfg(test)]
    pub(crate) fn dst(self) -> usize {
        usize::from(if cfg!(target_endian = "little") { self.regs & 15 } else { self.regs >> 4 })
    }

    /// The source register.
    #[cfg(test)]
    pub(crate) fn src(self) -> usize {
        usize::from(if cfg!(target_endian = "little") { self.regs >> 4 } else { self.regs & 15 })
    }
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

/// The name of every program of ours: letters, digits, '_' and '.', at most 15.
const NAME: &[u8; 13] = b"wharf_devices";

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// `union bpf_attr`, with room for anything that a kernel may write back.
#[repr(C, align(8))]
struct Attr([u8; 256]);

impl Attr {
    const fn zeroed() -> Self {
        Self([0; 256])
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn put_u64(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }

    fn u32_at(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[at..at + 4]);
        u32::from_ne_bytes(bytes)
    }

    /// Makes the call; the kernel is told to use `used` bytes.
    ///
    /// # Safety
    /// Every pointer in the attribute must be valid for what `command` reads or writes through it.
    unsafe fn call(&mut self, command: libc::c_int, used: libc::c_uint) -> nix::Result<libc::c_long> {
        loop {
            // SAFETY: the attribute is 256 bytes, more than any kernel writes; the caller guarantees its pointers.
            match Errno::result(unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), used) }) {
                // The verifier returns EAGAIN on signals (bpf(2)).
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return other,
            }
        }
    }
}

fn fd_word(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: called only with a descriptor that the kernel has just returned to us.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`; the descriptor is close-on-exec.
pub(crate) fn load_device_program(program: &[Insn]) -> nix::Result<OwnedFd> {
    let count = u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let licence = c"Apache-2.0";
    let mut attr = Attr::zeroed();
    attr.put_u32(0, PROG_TYPE_CGROUP_DEVICE);
    attr.put_u32(4, count);
    attr.put_u64(8, program.as_ptr() as u64);
    attr.put_u64(16, licence.as_ptr() as u64);
    attr.0[48..48 + NAME.len()].copy_from_slice(NAME); // prog_name
    // SAFETY: both pointers outlive the call, `count` is the number of instructions behind the first and the licence
    // ends with NUL.
    unsafe { attr.call(PROG_LOAD, 72) }.map(owned)
}

/// Attaches a device program to a cgroup, beside others or instead of `replaced`.
pub(crate) fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> nix::Result<()> {
    let mut attr = Attr::zeroed();
    attr.put_u32(0, fd_word(cgroup));
    attr.put_u32(4, fd_word(program));
    attr.put_u32(8, ATTACH_CGROUP_DEVICE);
    attr.put_u32(12, F_ALLOW_MULTI);
    if let Some(old) = replaced {
        attr.put_u32(12, F_ALLOW_MULTI | F_REPLACE);
        attr.put_u32(16, fd_word(old));
    }
    // SAFETY: the attribute holds integers only.
    unsafe { attr.call(PROG_ATTACH, 20) }.map(drop)
}

/// Detaches one device program from a cgroup.
pub(crate) fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> nix::Result<()> {
    let mut attr = Attr::zeroed();
    attr.put_u32(0, fd_word(cgroup));
    attr.put_u32(4, fd_word(program));
    attr.put_u32(8, ATTACH_CGROUP_DEVICE);
    // SAFETY: the attribute holds integers only.
    unsafe { attr.call(PROG_DETACH, 20) }.map(drop)
}

/// Whether [`load_device_program`] loaded a program, judging by its name.
pub(crate) fn is_own(program: BorrowedFd<'_>) -> nix::Result<bool> {
    const NAME_AT: usize = 64; // in `struct bpf_prog_info`
    let mut info = [0_u8; 256];
    let mut attr = Attr::zeroed();
    attr.put_u32(0, fd_word(program));
    attr.put_u32(4, 80); // up to the end of the name, which Linux 4.15 added
    attr.put_u64(8, info.as_mut_ptr() as u64);
    // SAFETY: `info` outlives the call and is longer than the attribute says. Its counts of instructions and maps are 0, so the
    // kernel writes through none of the pointers in it.
    unsafe { attr.call(OBJ_GET_INFO_BY_FD, 16) }?;
    Ok(info[NAME_AT..].starts_with(NAME) && info[NAME_AT + NAME.len()] == 0)
}

/// The device programs attached to this very cgroup, opened.
pub(crate) fn device_programs(cgroup: BorrowedFd<'_>) -> nix::Result<Vec<OwnedFd>> {
    let mut ids = vec![0_u32; 64]; // BPF_CGROUP_MAX_PROGS
    let mut attr = Attr::zeroed();
    attr.put_u32(0, fd_word(cgroup));
    attr.put_u32(4, ATTACH_CGROUP_DEVICE);
    attr.put_u64(16, ids.as_mut_ptr() as u64);
    attr.put_u32(24, ids.len() as u32);
    // SAFETY: `ids` outlives the call and has the number of elements that the attribute states.
    unsafe { attr.call(PROG_QUERY, 64) }?;
    let count = attr.u32_at(24) as usize;
    ids.truncate(count);
    ids.into_iter()
        .map(|id| {
            let mut attr = Attr::zeroed();
            attr.put_u32(0, id);
            // SAFETY: the attribute holds integers only.
            unsafe { attr.call(PROG_GET_FD_BY_ID, 12) }.map(owned)
        })
        .collect()
}
