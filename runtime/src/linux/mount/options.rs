//! The words of `mounts[].options`: what each asks for, without doing any of it.
//!
//! The vocabulary is the table of config.md, "Linux mount options", plus the words of mount(8) that say how an fstab
//! line is handled; what is in neither is for the file system. A later word overrides an earlier one, as in mount(8).

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
    /// Flags of the superblock; not for bind mounts, whose superblock belongs to somebody else.
    pub(crate) superblock: Flags,
    /// Changes of the propagation type, in their order: `rslave` then `shared` is more than `shared`.
    pub(crate) propagation: Vec<Propagation>,
    /// `bind` or `rbind`; the type of the mount is then a dummy.
    pub(crate) bind: Option<Reach>,
    /// Change the mount that is there already.
    pub(crate) remount: bool,
    /// `idmap` or `ridmap`.
    pub(crate) idmap: Option<Reach>,
    /// Fill the new tmpfs with what the directory held before.
    pub(crate) tmpcopyup: bool,
    /// What the file system takes, in order, with quotes removed.
    pub(crate) data: Vec<(String, Option<String>)>,
}

/// One mount, or the whole tree below it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    One,
    Tree,
}

/// A propagation type of `mount_namespaces(7)`, and how far it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Propagation {
    pub(crate) typ: PropagationType,
    pub(crate) reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PropagationType {
    Private,
    Shared,
    Slave,
    Unbindable,
}

impl Propagation {
    /// The type that a word stands for, in `mounts[].options` and in `rootfsPropagation`.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        let (reach, name) = match word.strip_prefix('r') {
            Some(name) => (Reach::Tree, name),
            None => (Reach::One, word),
        };
        let typ = match name {
            "private" => PropagationType::Private,
            "shared" => PropagationType::Shared,
            "slave" => PropagationType::Slave,
            "unbindable" => PropagationType::Unbindable,
            _ => return None,
        };
        Some(Self { typ, reach })
    }
}

/// Flags to set and flags to clear. What is in neither stays as it is: a bind mount keeps the flags of its source
/// unless a word says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Flags {
    fn set(&mut self, flag: u64) {
        self.set |= flag;
        self.clear &= !flag;
    }

    fn clear(&mut self, flag: u64) {
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

    /// The value for `attr_clr` of `mount_setattr(2)`, which wants the whole access-time field cleared to change it.
    pub(crate) fn to_clear(self) -> u64 {
        self.flags.clear | if self.atime.is_some() { attr::ATIME } else { 0 }
    }

    /// Whether no word spoke about these flags.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Takes one word without its `r`; false when it is not about the flags of a mount.
    fn take(&mut self, word: &str) -> bool {
        let flags = &mut self.flags;
        match word {
            // A flag and its opposite. The opposite is what un-does the flag that a bind mount inherits.
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
            // The opposites only take their own mode back; the kernel's default is relative.
            "atime" if self.atime != Some(Atime::Strict) => self.atime = Some(Atime::Relative),
            "nostrictatime" if self.atime != Some(Atime::No) => self.atime = Some(Atime::Relative),
            "norelatime" if self.atime == Some(Atime::Relative) => self.atime = None,
            "atime" | "nostrictatime" | "norelatime" => {}
            _ => return false,
        }
        true
    }
}

/// Every word that means something to the runtime itself, for the `features` document; a test holds it against the
/// parser.
pub(crate) const WORDS: [&str; 62] = [
    "async",
    "atime",
    "bind",
    "defaults",
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
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// Reads the options of one mount. The error is the index of the option and what is wrong with it.
///
/// One option may hold several words with commas between them, as in an fstab line.
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
            // For a new file system, "read-only" is also a matter of its superblock.
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
            "bind" => self.bind = Some(Reach::One),
            "rbind" => self.bind = Some(Reach::Tree),
            "remount" => self.remount = true,
            "idmap" => self.idmap = Some(Reach::One),
            "ridmap" => self.idmap = Some(Reach::Tree),
            "tmpcopyup" => self.tmpcopyup = true,
            _ => match Propagation::parse(word) {
                Some(propagation) => self.propagation.push(propagation),
                None => return false,
            },
        }
        true
    }
}

/// The words of mount(8) about the handling of an fstab line: who may mount, when, and what other programs note there.
/// The kernel knows none of them. Four of them imply flags, which later words can take back.
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
mod tests {
    use super::*;

    fn of(options: &[&str]) -> MountOptions {
        parse(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    /// The parser takes every listed word for its own, and takes every word for its own that is built like them.
    #[test]
    fn the_listed_words_are_those_of_the_parser() {
        let own = |word: &str| {
            let mut parsed = MountOptions::default();
            parsed.mount_flag(word) || parsed.superblock_flag(word) || parsed.action(word)
        };
        for word in WORDS.into_iter().filter(|word| *word != "defaults") {
            assert!(own(word), "{word} is listed and not understood");
        }
        let stems = WORDS.iter().map(|word| word.trim_start_matches('r').trim_start_matches("no"));
        for stem in stems {
            for word in ["", "r", "no", "rno"].map(|prefix| format!("{prefix}{stem}")) {
                assert!(!own(&word) || WORDS.contains(&word.as_str()), "{word} is understood and not listed");
            }
        }
    }

    #[test]
    fn every_flag_and_its_opposite() {
        use attr::*;
        for (on, off, flag) in [
            ("ro", "rw", RDONLY),
            ("nosuid", "suid", NOSUID),
            ("nodev", "dev", NODEV),
            ("noexec", "exec", NOEXEC),
            ("nodiratime", "diratime", NODIRATIME),
            ("nosymfollow", "symfollow", NOSYMFOLLOW),
        ] {
            for (options, set, clear) in [
                (vec![on], flag, 0),
                (vec![off], 0, flag),
                (vec![on, off], 0, flag),
                (vec![off, on], flag, 0),
            ] {
                let plain = of(&options);
                assert_eq!((plain.mount.to_set(), plain.mount.to_clear()), (set, clear), "{options:?}");
                assert!(plain.recursive.is_empty() && plain.data.is_empty());
                let options: Vec<_> = options.iter().map(|word| format!("r{word}")).collect();
                let tree = of(&options.iter().map(String::as_str).collect::<Vec<_>>());
                assert_eq!((tree.recursive.to_set(), tree.recursive.to_clear()), (set, clear), "{options:?}");
                assert!(tree.mount.is_empty() && tree.data.is_empty() && tree.superblock == Flags::default());
            }
        }
    }

    #[test]
    fn access_times_are_one_field() {
        use attr::*;
        for (options, set, clear) in [
            (&["noatime"][..], NOATIME, ATIME),
            (&["strictatime"], STRICTATIME, ATIME),
            (&["relatime"], RELATIME, ATIME),
            (&["atime"], RELATIME, ATIME),
            (&["nostrictatime"], RELATIME, ATIME),
            (&["norelatime"], 0, 0),
            (&["noatime", "atime"], RELATIME, ATIME),
            (&["strictatime", "atime"], STRICTATIME, ATIME),
            (&["strictatime", "nostrictatime"], RELATIME, ATIME),
            (&["noatime", "nostrictatime"], NOATIME, ATIME),
            (&["relatime", "norelatime"], 0, 0),
            (&["noatime", "norelatime"], NOATIME, ATIME),
            (&["noatime", "strictatime"], STRICTATIME, ATIME),
            (&["noatime", "nodiratime", "ro"], NOATIME | NODIRATIME | RDONLY, ATIME),
        ] {
            let mount = of(options).mount;
            assert_eq!((mount.to_set(), mount.to_clear()), (set, clear), "{options:?}");
        }
        assert_eq!(of(&["rnoatime"]).recursive.to_set(), NOATIME);
        for word in ["rrelatime", "rnorelatime", "ratime", "rstrictatime", "rnostrictatime"] {
            assert!(of(&[word]).data.is_empty(), "{word}");
        }
    }

    #[test]
    fn superblock_flags() {
        use superblock::*;
        for (option, set, clear) in [
            ("ro", RDONLY, 0),
            ("rw", 0, RDONLY),
            ("sync", SYNCHRONOUS, 0),
            ("async", 0, SYNCHRONOUS),
            ("dirsync", DIRSYNC, 0),
            ("mand", MANDLOCK, 0),
            ("nomand", 0, MANDLOCK),
            ("lazytime", LAZYTIME, 0),
            ("nolazytime", 0, LAZYTIME),
            ("iversion", I_VERSION, 0),
            ("noiversion", 0, I_VERSION),
            ("silent", SILENT, 0),
            ("loud", 0, SILENT),
        ] {
            let options = of(&[option]);
            assert_eq!(options.superblock, Flags { set, clear }, "{option}");
            assert!(options.data.is_empty());
        }
    }

    #[test]
    fn actions() {
        let options = of(&["rbind", "rprivate", "shared", "ridmap", "remount", "tmpcopyup"]);
        assert_eq!(options.bind, Some(Reach::Tree));
        assert_eq!(options.idmap, Some(Reach::Tree));
        assert!(options.remount && options.tmpcopyup && options.data.is_empty());
        assert_eq!(
            options.propagation,
            [
                Propagation { typ: PropagationType::Private, reach: Reach::Tree },
                Propagation { typ: PropagationType::Shared, reach: Reach::One }
            ]
        );
        assert_eq!(of(&["bind", "idmap"]).bind, Some(Reach::One));
        for word in
            ["private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable"]
        {
            assert_eq!(of(&[word]).propagation.len(), 1, "{word}");
        }
    }

    #[test]
    fn fstab_words_do_not_reach_the_file_system() {
        for word in [
            "defaults",
            "auto",
            "noauto",
            "nouser",
            "_netdev",
            "nofail",
            "comment=hi",
            "x-systemd.automount",
            "X-mount.mkdir=0755",
            "",
        ] {
            assert_eq!(of(&[word]), MountOptions::default(), "{word}");
        }
        assert_eq!(of(&["user", "exec"]).mount.to_set(), attr::NOSUID | attr::NODEV);
        assert_eq!(of(&["owner"]).mount.to_set(), attr::NOSUID | attr::NODEV);
        assert_eq!(of(&["users"]).mount.to_set(), attr::NOSUID | attr::NODEV | attr::NOEXEC);
    }

    #[test]
    fn the_rest_is_for_the_file_system() {
        let data = |options: &[&str]| of(options).data;
        let pair = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        assert_eq!(
            data(&["mode=755", "size=65536k"]),
            [pair("mode", Some("755")), pair("size", Some("65536k"))]
        );
        assert_eq!(
            data(&["nr_inodes=0,newinstance"]),
            [pair("nr_inodes", Some("0")), pair("newinstance", None)]
        );
        assert_eq!(
            data(&["lowerdir=/a\\,b:/c,x=y=z"]),
            [pair("lowerdir", Some("/a\\,b:/c")), pair("x", Some("y=z"))]
        );
        assert_eq!(
            data(&["context=\"u:r:t:s0:c1,c2\",uid=0"]),
            [pair("context", Some("u:r:t:s0:c1,c2")), pair("uid", Some("0"))]
        );
        assert_eq!(data(&["mode="]), [pair("mode", Some(""))]);
        // Words that only look like ours.
        assert_eq!(data(&["errors=remount-ro", "r", "rr", "rro2", "ruser"]).len(), 5);
        assert_eq!(of(&["ro,nosuid"]).mount.to_set(), attr::RDONLY | attr::NOSUID);
    }

    #[test]
    fn refused_words_are_named() {
        let parse =
            |options: &[&str]| parse(&options.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        for word in ["=x", "loop", "loop=/dev/loop0", "idmap=uids=0-1-2", "ridmap="] {
            let (index, message) = parse(&["ro", word]).unwrap_err();
            assert_eq!(index, 1, "{word}");
            assert!(!message.is_empty());
        }
    }
}
