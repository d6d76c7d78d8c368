//! How the ABIs differ: audit token, width, byte order, system call numbers, multiplexers.

use oci_spec::runtime::Arch;

use super::table::{N, TABLE};

/// The bit that marks a system call of the x32 ABI; the kernel reports x32 under the token of `x86_64`.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// `AUDIT_ARCH_X86_64` of linux/audit.h.
pub(super) const X86_64: u32 = 0xc000_003e;

/// ARM numbers its private calls from here on (`__ARM_NR_BASE`), far above the ordinary ones.
pub(super) const ARM_PRIVATE: u32 = 0xf_0000;

/// In linux/audit.h a token has this bit if the architecture is little-endian.
const LITTLE_ENDIAN: u32 = 0x4000_0000;

/// In linux/audit.h a token has this bit if the architecture is 64-bit (MIPS n32 included).
const WIDE: u32 = 0x8000_0000;

/// The columns of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Loongarch64,
    M68k,
    Mips,
    Mips64,
    Mips64n32,
    Parisc,
    Parisc64,
    Ppc,
    Ppc64,
    Riscv64,
    S390,
    S390x,
    Sh,
}

/// One ABI that a filter has a section for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abi {
    /// The value of `seccomp_data.arch`.
    pub(super) token: u32,
    /// Arguments are compared over 64 bits, not 32.
    pub(super) wide: bool,
    column: Column,
    /// The numbers of `socketcall` and `ipc`, if they carry calls that have their own numbers in other ABIs.
    multiplexers: Option<(u32, u32)>,
}

/// One way to make a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// By its number.
    Direct(u32),
    /// By the number of a multiplexer, with the call's own number as first argument.
    Multiplexed(u32, u32),
}

/// One row of the table: a name that at least one ABI knows.
pub(super) type Row = (&'static str, [u16; 18]);

/// Finds a system call by name.
pub(super) fn lookup(name: &str) -> Option<&'static Row> {
    lookup_from(0, name).map(|(_, row)| row)
}

/// Finds a system call by name, and its place in the table. `before` is the place of the previous one: profiles list
/// names alphabetically, so the next one is mostly a step or two further on.
pub(super) fn lookup_from(before: usize, name: &str) -> Option<(usize, &'static Row)> {
    // Names of different lengths are told apart without comparing them.
    let mut nearby = TABLE.iter().enumerate().skip(before).take(4);
    if let Some(found) = nearby.find(|(_, row)| row.0 == name) {
        return Some(found);
    }
    let found = TABLE.binary_search_by(|row| row.0.cmp(name)).ok()?;
    Some((found, &TABLE[found]))
}

impl Abi {
    /// The ABI of an architecture name; `Native` is the given one.
    pub(super) fn of(arch: Arch, native: Arch) -> Self {
        let arch = if arch == Arch::ScmpArchNative { native } else { arch };
        let (column, multiplexers) = match arch {
            Arch::ScmpArchX86 => (Column::X86, Some((102, 117))),
            // compile() refuses a `native` that is not a machine.
            Arch::ScmpArchNative | Arch::ScmpArchX86_64 => (Column::X86_64, None),
            Arch::ScmpArchX32 => (Column::X32, None),
            Arch::ScmpArchArm => (Column::Arm, None),
            Arch::ScmpArchAarch64 => (Column::Aarch64, None),
            Arch::ScmpArchMips | Arch::ScmpArchMipsel => (Column::Mips, Some((4102, 4117))),
            Arch::ScmpArchMips64 | Arch::ScmpArchMipsel64 => (Column::Mips64, None),
            Arch::ScmpArchMips64n32 | Arch::ScmpArchMipsel64n32 => (Column::Mips64n32, None),
            Arch::ScmpArchPpc => (Column::Ppc, Some((102, 117))),
            Arch::ScmpArchPpc64 | Arch::ScmpArchPpc64le => (Column::Ppc64, Some((102, 117))),
            Arch::ScmpArchS390 => (Column::S390, Some((102, 117))),
            Arch::ScmpArchS390x => (Column::S390x, Some((102, 117))),
            Arch::ScmpArchParisc => (Column::Parisc, None),
            Arch::ScmpArchParisc64 => (Column::Parisc64, None),
            Arch::ScmpArchRiscv64 => (Column::Riscv64, None),
            Arch::ScmpArchLoongarch64 => (Column::Loongarch64, None),
            Arch::ScmpArchM68k => (Column::M68k, Some((102, 117))),
            Arch::ScmpArchSh | Arch::ScmpArchSheb => (Column::Sh, Some((102, 117))),
        };
        // oci-spec gives each name the value of its audit token, except for the two that have none.
        let token = match arch {
            Arch::ScmpArchNative | Arch::ScmpArchX32 => X86_64,
            other => other as u32,
        };
        let narrow = matches!(column, Column::X32 | Column::Mips64n32);
        Self { token, wide: token & WIDE != 0 && !narrow, column, multiplexers }
    }

    /// Whether the upper half of an argument comes first in memory.
    pub(super) fn big_endian(self) -> bool {
        self.token & LITTLE_ENDIAN == 0
    }

    /// Whether this is x32, the second ABI of the `x86_64` token.
    pub(super) fn is_x32(self) -> bool {
        self.column == Column::X32
    }

    /// Whether there are calls from [`ARM_PRIVATE`] on.
    pub(super) fn has_private_calls(self) -> bool {
        self.column == Column::Arm
    }

    /// Whether the kernel shows calls with unknown numbers as number 0 (the old `setup`).
    pub(super) fn unknown_is_zero(self) -> bool {
        matches!(self.column, Column::S390 | Column::S390x)
    }

    /// How a process of this ABI makes the call: by number, through a multiplexer, both, or not at all.
    pub(super) fn targets(self, row: &Row) -> [Option<Target>; 2] {
        let direct = match row.1[self.column as usize] {
            N => None,
            number if number >= 0xf000 => Some(ARM_PRIVATE + u32::from(number & 0xfff)),
            number if self.is_x32() => Some(u32::from(number) | X32_BIT),
            number => Some(u32::from(number)),
        };
        let multiplexed = self.multiplexers.and_then(|(socketcall, ipc)| {
            let (family, call) = multiplexed_call(row.0)?;
            Some(match family {
                Family::Socket => Target::Multiplexed(socketcall, call),
                Family::Ipc => Target::Multiplexed(ipc, call),
            })
        });
        [direct.map(Target::Direct), multiplexed]
    }
}

enum Family {
    Socket,
    Ipc,
}

/// The first argument that selects the call: `SYS_*` of linux/net.h for socketcall(2), `SEMOP` and the others of
/// linux/ipc.h for ipc(2).
fn multiplexed_call(name: &str) -> Option<(Family, u32)> {
    let socket = |call| Some((Family::Socket, call));
    let ipc = |call| Some((Family::Ipc, call));
    match name {
        "socket" => socket(1),
        "bind" => socket(2),
        "connect" => socket(3),
        "listen" => socket(4),
        "accept" => socket(5),
        "getsockname" => socket(6),
        "getpeername" => socket(7),
        "socketpair" => socket(8),
        "send" => socket(9),
        "recv" => socket(10),
        "sendto" => socket(11),
        "recvfrom" => socket(12),
        "shutdown" => socket(13),
        "setsockopt" => socket(14),
        "getsockopt" => socket(15),
        "sendmsg" => socket(16),
        "recvmsg" => socket(17),
        "accept4" => socket(18),
        "recvmmsg" => socket(19),
        "sendmmsg" => socket(20),
        "semop" => ipc(1),
        "semget" => ipc(2),
        "semctl" => ipc(3),
        "semtimedop" => ipc(4),
        "msgsnd" => ipc(11),
        "msgrcv" => ipc(12),
        "msgget" => ipc(13),
        "msgctl" => ipc(14),
        "shmat" => ipc(21),
        "shmdt" => ipc(22),
        "shmget" => ipc(23),
        "shmctl" => ipc(24),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_known_once() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(TABLE.iter().all(|row| row.1.iter().any(|number| *number != N)));
        for before in 0..TABLE.len() {
            for (at, row) in TABLE.iter().enumerate() {
                assert_eq!(
                    lookup_from(before, row.0).map(|found| found.0),
                    Some(at),
                    "{} from {before}",
                    row.0
                );
            }
            for unknown in ["", "no_such_call", "zzz"] {
                assert!(lookup_from(before, unknown).is_none());
            }
        }
    }

    #[test]
    fn numbers_are_those_of_the_manual() {
        let number = |arch, name| Abi::of(arch, arch).targets(lookup(name).unwrap());
        assert_eq!(number(Arch::ScmpArchX86_64, "clone3"), [Some(Target::Direct(435)), None]);
        assert_eq!(number(Arch::ScmpArchX32, "read"), [Some(Target::Direct(0x4000_0000)), None]);
        assert_eq!(number(Arch::ScmpArchX32, "ioctl"), [Some(Target::Direct(0x4000_0202)), None]);
        assert_eq!(
            number(Arch::ScmpArchX86, "socket"),
            [Some(Target::Direct(359)), Some(Target::Multiplexed(102, 1))]
        );
        assert_eq!(number(Arch::ScmpArchX86, "accept"), [None, Some(Target::Multiplexed(102, 5))]);
        assert_eq!(number(Arch::ScmpArchS390x, "msgctl")[1], Some(Target::Multiplexed(117, 14)));
        assert_eq!(number(Arch::ScmpArchArm, "set_tls"), [Some(Target::Direct(0xf_0005)), None]);
        assert_eq!(number(Arch::ScmpArchAarch64, "openat"), [Some(Target::Direct(56)), None]);
        assert_eq!(number(Arch::ScmpArchAarch64, "open"), [None, None]);
        assert_eq!(number(Arch::ScmpArchMipsel64, "mseal"), [Some(Target::Direct(5462)), None]);
    }

    #[test]
    fn width_and_byte_order_follow_the_token() {
        let abi = |arch| Abi::of(arch, Arch::ScmpArchX86_64);
        assert!(abi(Arch::ScmpArchS390x).wide && abi(Arch::ScmpArchS390x).big_endian());
        assert!(!abi(Arch::ScmpArchMips64n32).wide && abi(Arch::ScmpArchMips64n32).big_endian());
        assert!(!abi(Arch::ScmpArchX32).wide && !abi(Arch::ScmpArchX32).big_endian());
        assert!(abi(Arch::ScmpArchPpc64le).wide && !abi(Arch::ScmpArchPpc64le).big_endian());
        assert_eq!(abi(Arch::ScmpArchNative), abi(Arch::ScmpArchX86_64));
    }
}
