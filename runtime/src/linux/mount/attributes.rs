//! The flags of one mount, as its options set and clear them.

/// The flags of one mount (`mount_setattr(2)`, `linux/mount.h`).
pub(crate) mod attr {
    pub(crate) const RDONLY: u64 = 0x1;
    pub(crate) const NOSUID: u64 = 0x2;
    pub(crate) const NODEV: u64 = 0x4;
    pub(crate) const NOEXEC: u64 = 0x8;
    /// The three access-time modes are one field of this mask; `RELATIME` is its zero.
    pub(crate) const ATIME: u64 = 0x70;
    pub(crate) const RELATIME: u64 = 0x0;
    pub(crate) const NOATIME: u64 = 0x10;
    pub(crate) const STRICTATIME: u64 = 0x20;
    pub(crate) const NODIRATIME: u64 = 0x80;
    pub(crate) const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// Flags to set and flags to clear. Any others stay as they are: a bind mount keeps the flags of its source unless an
/// option changes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Flags {
    pub(super) fn set(&mut self, flag: u64) {
        self.set |= flag;
        self.clear &= !flag;
    }

    pub(super) fn clear(&mut self, flag: u64) {
        self.set &= !flag;
        self.clear |= flag;
    }
}

/// The flags of a mount: the plain ones, and the access-time mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    flags: Flags,
    atime: Option<Atime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Atime {
    Relative,
    No,
    Strict,
}

impl Attributes {
    /// The value for `attr_set` of `mount_setattr(2)` and for the attributes of fsmount(2).
    pub(crate) fn to_set(self) -> u64 {
        self.flags.set
            | match self.atime {
                None | Some(Atime::Relative) => attr::RELATIME,
                Some(Atime::No) => attr::NOATIME,
                Some(Atime::Strict) => attr::STRICTATIME,
            }
    }

    /// The value for `attr_clr` of `mount_setattr(2)`, which needs the whole access-time field cleared to change it.
    pub(crate) fn to_clear(self) -> u64 {
        self.flags.clear | if self.atime.is_some() { attr::ATIME } else { 0 }
    }

    /// Whether no option concerns these flags.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Takes one word without its `r`; false if it is not about the flags of a mount.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let flags = &mut self.flags;
        match word {
            // A flag and its opposite, which undoes the flag that a bind mount inherits.
            "ro" => flags.set(attr::RDONLY),
            "rw" => flags.clear(attr::RDONLY),
            "nosuid" => flags.set(attr::NOSUID),
            "suid" => flags.clear(attr::NOSUID),
            "nodev" => flags.set(attr::NODEV),
            "dev" => flags.clear(attr::NODEV),
            "noexec" => flags.set(attr::NOEXEC),
            "exec" => flags.clear(attr::NOEXEC),
            "nodiratime" => flags.set(attr::NODIRATIME),
            "diratime" => flags.clear(attr::NODIRATIME),
            "nosymfollow" => flags.set(attr::NOSYMFOLLOW),
            "symfollow" => flags.clear(attr::NOSYMFOLLOW),
            // Access times: three modes of one field.
            "noatime" => self.atime = Some(Atime::No),
            "relatime" => self.atime = Some(Atime::Relative),
            "strictatime" => self.atime = Some(Atime::Strict),
            // The opposites only undo their own mode; the kernel's default is relative.
            "atime" if self.atime != Some(Atime::Strict) => self.atime = Some(Atime::Relative),
            "nostrictatime" if self.atime != Some(Atime::No) => self.atime = Some(Atime::Relative),
            "norelatime" if self.atime == Some(Atime::Relative) => self.atime = None,
            "atime" | "nostrictatime" | "norelatime" => {}
            _ => return false,
        }
        true
    }
}
