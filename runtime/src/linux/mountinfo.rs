//! A process' table of mounts: /proc/PID/mountinfo (`proc_pid_mountinfo(5)`).

use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::mount::attributes::attr;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountInfo {
    pub(crate) id: u64,
    /// Major and minor number of the file system, as "8:1".
    pub(crate) device: String,
    /// The directory or file of the file system that is mounted.
    pub(crate) root: PathBuf,
    /// The mount point, seen from the root of the process.
    pub(crate) point: PathBuf,
    /// The restricting flags of the mount, as bits of `mount_setattr(2)`.
    pub(crate) attributes: u64,
    pub(crate) fs: String,
}

/// Parses a table; malformed lines are left out.
pub(crate) fn parse(table: &[u8]) -> Vec<MountInfo> {
    table.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|byte| *byte == b' ');
    let text = |field: &[u8]| std::str::from_utf8(field).ok().map(str::to_owned);
    let id = text(fields.next()?)?.parse().ok()?;
    let _parent = fields.next()?;
    let device = text(fields.next()?)?;
    let (root, point) = (path(fields.next()?), path(fields.next()?));
    let attributes = text(fields.next()?)?.split(',').map(attribute).fold(0, |all, one| all | one);
    // Optional fields, then a lone hyphen.
    let fs = text(fields.skip_while(|field| *field != b"-").nth(1)?)?;
    Some(MountInfo { id, device, root, point, attributes, fs })
}

fn attribute(word: &str) -> u64 {
    match word {
        "ro" => attr::RDONLY,
        "nosuid" => attr::NOSUID,
        "nodev" => attr::NODEV,
        "noexec" => attr::NOEXEC,
        "nosymfollow" => attr::NOSYMFOLLOW,
        _ => 0,
    }
}

/// Space, tab, newline and backslash are written as three octal digits.
fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits =
            tail.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        if let Some(digits) = digits {
            bytes.push(digits.iter().fold(0_u8, |all, digit| all.wrapping_mul(8).wrapping_add(digit - b'0')));
            rest = tail.get(3..).unwrap_or_default();
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_understood() {
        let table = b"29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            31 29 0:28 /sub\\040dir /mnt/a\\134b ro,nosuid,nodev,noexec,relatime master:2 propagate_from:1 - tmpfs tmpfs rw,size=1k\n\
            nonsense\n";
        let all = parse(table);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].id, all[0].fs.as_str(), all[0].attributes), (29, "ext4", 0));
        assert_eq!(all[1].root, PathBuf::from("/sub dir"));
        assert_eq!(all[1].point, PathBuf::from("/mnt/a\\b"));
        assert_eq!(all[1].attributes, attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC);
        assert_eq!((all[1].fs.as_str(), all[1].device.as_str()), ("tmpfs", "0:28"));
        for cut in 0..table.len() {
            parse(&table[..cut]);
        }
    }
}
