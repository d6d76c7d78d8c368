//! The options of the file systems that containers use most, for `check`: only the kernel knows for certain.

/// Options that security modules accept for every file system (selinux(8), smack).
const LABELS: [&str; 8] = [
    "context",
    "fscontext",
    "defcontext",
    "rootcontext",
    "seclabel",
    "smackfsdef",
    "smackfsroot",
    "smackfstransmute",
];

/// The options of Linux 6.18's file systems (mm/shmem.c, fs/proc/root.c, fs/devpts/inode.c); sysfs and mqueue have
/// none.
const OPTIONS: [(&str, &[&str]); 5] = [
    (
        "tmpfs",
        &[
            "size",
            "nr_blocks",
            "nr_inodes",
            "mode",
            "uid",
            "gid",
            "huge",
            "mpol",
            "inode32",
            "inode64",
            "noswap",
            "quota",
            "usrquota",
            "grpquota",
            "usrquota_block_hardlimit",
            "usrquota_inode_hardlimit",
            "grpquota_block_hardlimit",
            "grpquota_inode_hardlimit",
            "casefold",
            "strict_encoding",
        ],
    ),
    ("proc", &["gid", "hidepid", "subset", "pidns"]),
    ("devpts", &["uid", "gid", "mode", "ptmxmode", "max", "newinstance"]),
    ("sysfs", &[]),
    ("mqueue", &[]),
];

/// Whether a file system accepts an option; none if this list does not know the file system.
pub(crate) fn takes(typ: &str, option: &str) -> Option<bool> {
    let (_, options) = OPTIONS.iter().find(|(name, _)| *name == typ)?;
    Some(option == "source" || options.contains(&option) || LABELS.contains(&option))
}

#[cfg(test)]
mod tests {
    use super::takes;

    #[test]
    fn only_known_file_systems_are_judged() {
        assert_eq!(takes("tmpfs", "size"), Some(true));
        assert_eq!(takes("tmpfs", "nonsense"), Some(false));
        assert_eq!(takes("mqueue", "size"), Some(false));
        assert_eq!(takes("mqueue", "context"), Some(true));
        assert_eq!(takes("overlay", "nonsense"), None);
    }
}
