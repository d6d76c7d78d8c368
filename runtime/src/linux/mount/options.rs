//! Parses `mounts[].options`: what each word asks for, without doing any of it.
//!
//! The vocabulary is the table of config.md, "Linux mount options", plus mount(8)'s words about the handling of an
//! fstab line, and crun's about links; any other word is for the file system. A later word overrides an earlier one, as
//! in mount(8).

use super::attributes::{Attributes, Flags};
use super::propagation::{Propagation, Reach};

/// Longer values do not fit through fsconfig(2); only mount(2) takes them.
pub(crate) const LONGEST_VALUE: usize = 255;

/// mount(2) takes a page with all options and the NUL, and cuts off the rest without a word. Pages may be larger than
/// this; what a configuration means must not depend on it.
pub(crate) const LONGEST_DATA: usize = 4095;

/// The flags of a superblock, as mount(2) numbers them (linux/mount.h). fsconfig(2) takes `RDONLY`, `SYNCHRONOUS`,
/// `DIRSYNC`, `MANDLOCK` and `LAZYTIME` by the names ro, sync, dirsync, mand and lazytime; `I_VERSION` and `SILENT` can
/// only be given to mount(2).
pub(crate) mod superblock {
    pub(crate) const RDONLY: u64 = 0x1;
    pub(crate) const SYNCHRONOUS: u64 = 0x10;
    pub(crate) const MANDLOCK: u64 = 0x40;
    pub(crate) const DIRSYNC: u64 = 0x80;
    pub(crate) const SILENT: u64 = 0x8000;
    pub(crate) const I_VERSION: u64 = 0x80_0000;
    pub(crate) const LAZYTIME: u64 = 0x200_0000;
}

/// What the options of one mount ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// Flags of this mount.
    pub(crate) mount: Attributes,
    /// Flags of this mount and everything below it, from the words that start with `r`.
    pub(crate) recursive: Attributes,
    /// Flags of the superblock; not for bind mounts, which do not own their superblock.
    pub(crate) superblock: Flags,
    /// Changes of the propagation type, in order: `rslave` then `shared` is more than `shared`.
    pub(crate) propagation: Vec<Propagation>,
    /// `bind` or `rbind`; the type of the mount is then a dummy.
    pub(crate) bind: Option<Reach>,
    /// Change the existing mount.
    pub(crate) remount: bool,
    /// `idmap` or `ridmap`.
    pub(crate) idmap: Option<Reach>,
    /// Fill the new tmpfs with what the directory held before.
    pub(crate) tmpcopyup: bool,
    /// Copy the link that is the source of a bind, instead of binding its target.
    pub(crate) copy_symlink: bool,
    /// Bind the source itself if it is a link.
    pub(crate) src_nofollow: bool,
    /// Mount on the destination itself if it is a link.
    pub(crate) dest_nofollow: bool,
    /// Options for the file system, in order, with quotes removed.
    pub(crate) data: Vec<(String, Option<String>)>,
}

/// Every word with a meaning for the runtime itself, for the `features` document; a test compares it with the parser.
pub(crate) const WORDS: [&str; 65] = [
    "async",
    "atime",
    "bind",
    "copy-symlink",
    "defaults",
    "dest-nofollow",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "src-nofollow",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// Parses the options of one mount. The error is the index of the option and what is wrong with it.
///
/// One option may have several words, separated by commas, as in an fstab line.
pub(crate) fn parse(options: &[String]) -> Result<MountOptions, (usize, String)> {
    let mut parsed = MountOptions::default();
    for (index, option) in options.iter().enumerate() {
        for word in words(option) {
            parsed.take(word).map_err(|message| (index, message))?;
        }
    }
    Ok(parsed)
}

impl MountOptions {
    fn take(&mut self, word: &str) -> Result<(), String> {
        // An empty word asks for nothing; engines produce it from "a,,b".
        if word.is_empty() || self.mount_flag(word) || self.superblock_flag(word) || self.action(word) {
            return Ok(());
        }
        if let Some(implied) = fstab_word(word) {
            for flag in implied {
                self.mount.take(flag);
            }
            return Ok(());
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match name {
            "" => return Err(format!("the option {word:?} has no name")),
            // mount(8) sets up a loop device for these; a runtime does not, and the kernel cannot.
            "loop" => {
                return Err(format!(
                    "the option {word:?} needs a loop device, which the runtime does not set up"
                ));
            }
            "idmap" | "ridmap" => {
                return Err(format!("the option {name} takes no value; use uidMappings and gidMappings"));
            }
            _ => {}
        }
        self.data.push((name.to_owned(), value.map(|value| unquote(value).to_owned())));
        Ok(())
    }

    /// Flags of a mount, plain (`nosuid`) and recursive (`rnosuid`).
    fn mount_flag(&mut self, word: &str) -> bool {
        if self.mount.take(word) {
            // For a new file system, "read-only" also concerns its superblock.
            match word {
                "ro" => self.superblock.set(superblock::RDONLY),
                "rw" => self.superblock.clear(superblock::RDONLY),
                _ => {}
            }
            return true;
        }
        word.strip_prefix('r').is_some_and(|word| self.recursive.take(word))
    }

    /// Flags of the superblock: how it writes, and what it keeps.
    fn superblock_flag(&mut self, word: &str) -> bool {
        let flags = &mut self.superblock;
        match word {
            "sync" => flags.set(superblock::SYNCHRONOUS),
            "async" => flags.clear(superblock::SYNCHRONOUS),
            "dirsync" => flags.set(superblock::DIRSYNC),
            "mand" => flags.set(superblock::MANDLOCK),
            "nomand" => flags.clear(superblock::MANDLOCK),
            "lazytime" => flags.set(superblock::LAZYTIME),
            "nolazytime" => flags.clear(superblock::LAZYTIME),
            "iversion" => flags.set(superblock::I_VERSION),
            "noiversion" => flags.clear(superblock::I_VERSION),
            "silent" => flags.set(superblock::SILENT),
            "loud" => flags.clear(superblock::SILENT),
            _ => return false,
        }
        true
    }

    /// What kind of operation this is, and what the runtime does around it.
    fn action(&mut self, word: &str) -> bool {
        match word {
            // Like the flags of mount(2), the two add up.
            "bind" => self.bind = self.bind.or(Some(Reach::One)),
            "rbind" => self.bind = Some(Reach::Tree),
            "remount" => self.remount = true,
            "idmap" => self.idmap = Some(Reach::One),
            "ridmap" => self.idmap = Some(Reach::Tree),
            "tmpcopyup" => self.tmpcopyup = true,
            "copy-symlink" => self.copy_symlink = true,
            "src-nofollow" => self.src_nofollow = true,
            "dest-nofollow" => self.dest_nofollow = true,
            _ => match Propagation::parse(word) {
                Some(propagation) => self.propagation.push(propagation),
                None => return false,
            },
        }
        true
    }
}

/// mount(8)'s words about the handling of an fstab line: who may mount, when, and what other programs note there. The
/// kernel knows none of them. Four of them imply flags, which later words can undo.
fn fstab_word(word: &str) -> Option<&'static [&'static str]> {
    match word {
        "defaults" | "auto" | "noauto" | "nouser" | "nousers" | "noowner" | "nogroup" | "_netdev"
        | "nofail" => Some(&[]),
        "user" | "users" => Some(&["noexec", "nosuid", "nodev"]),
        "owner" | "group" => Some(&["nosuid", "nodev"]),
        _ => ["comment=", "user=", "x-", "X-"].iter().any(|prefix| word.starts_with(prefix)).then_some(&[]),
    }
}

/// Splits at commas, except inside quotes (SELinux contexts have commas) and after a backslash (overlayfs paths).
fn words(option: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    option.split(move |c| {
        let splits = c == ',' && !quoted && !escaped;
        quoted ^= c == '"';
        escaped = c == '\\' && !escaped;
        splits
    })
}

/// mount(2) takes a quoted value and its parser removes the quotes; fsconfig(2) takes the value itself.
fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests;
