//! The memory among the images: each `pagemap-*.img` tells how many pages are in its `pages-*.img`.
//!
//! criu reads a file of pages that is shorter than that again and again, without end (seen with 4.1.1), so a copy
//! that was cut off is found here.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{SysconfVar, sysconf};
use prost::Message as _;

use super::message::{PagemapEntry, PagemapHead};
use crate::error::{Error, Kind, Result};

/// The first two words of the image (criu/include/magic.h).
const MAGIC: [u32; 2] = [0x5456_4319, 0x5608_4025];
/// The page is in the parent images.
const IN_PARENT: u32 = 1;
/// The page is in the file of pages (criu/include/pagemap.h).
const PRESENT: u32 = 1 << 2;
/// Longer than the map of any container: some ten bytes for each run of pages.
const LONGEST: u64 = 256 << 20;

/// Whether a file among the images is such a map.
pub(super) fn is_map(name: &str) -> bool {
    name.strip_prefix("pagemap-").and_then(|rest| rest.strip_suffix(".img")).is_some()
}

/// Refuses a map whose pages are not all there.
pub(super) fn examine(directory: &File, path: &Path, name: &str) -> Result<()> {
    let bytes = read(directory, path, name)?;
    let corrupt = |sentence: String| Error::new(Kind::Corrupt, sentence);
    let map = parse(&bytes)
        .ok_or_else(|| corrupt(format!("{} cannot be understood", path.join(name).display())))?;
    let pages = format!("pages-{}.img", map.file);
    let size = match fstatat(directory, pages.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => u64::try_from(stat.st_size).unwrap_or(0),
        Err(Errno::ENOENT) => 0,
        Err(errno) => return Err(Error::os(errno, format!("look at {}", path.join(pages).display()))),
    };
    let wanted = map.present.saturating_mul(page_size());
    if size >= wanted {
        return Ok(());
    }
    Err(corrupt(format!("{} is cut off: it has {size} of {wanted} bytes", path.join(pages).display()))
        .hint("copy the images again"))
}

fn read(directory: &File, path: &Path, name: &str) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file: OwnedFd = openat(directory.as_fd(), name, flags, Mode::empty())
        .map_err(|errno| Error::os(errno, format!("open {}", path.join(name).display())))?;
    let mut bytes = Vec::new();
    File::from(file)
        .take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(&error, format!("read {}", path.join(name).display())))?;
    Ok(bytes)
}

fn page_size() -> u64 {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

/// What a map says of its file.
#[derive(Debug, PartialEq, Eq)]
struct Map {
    /// The number in the file's name.
    file: u32,
    /// How many pages are in it.
    present: u64,
}

/// Two magic numbers, then messages, each after its length: which file, and runs of pages.
fn parse(bytes: &[u8]) -> Option<Map> {
    let mut rest = bytes;
    for magic in MAGIC {
        if word(&mut rest)? != magic {
            return None;
        }
    }
    let file = PagemapHead::decode(message(&mut rest)?).ok()?.pages;
    let mut present = 0_u64;
    while !rest.is_empty() {
        let entry = PagemapEntry::decode(message(&mut rest)?).ok()?;
        let flags = match (entry.in_parent, entry.flags) {
            (Some(true), flags) => flags.unwrap_or(0) | IN_PARENT,
            // Images of criu before 3.0 have no flags.
            (_, None | Some(0)) => PRESENT,
            (_, Some(flags)) => flags,
        };
        if flags & PRESENT != 0 && flags & IN_PARENT == 0 {
            present = present.saturating_add(entry.pages.unwrap_or(u64::from(entry.few_pages)));
        }
    }
    Some(Map { file, present })
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    let (word, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_le_bytes(*word))
}

fn message<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(word(rest)?).ok()?;
    let (message, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(
        few_pages: u32,
        in_parent: Option<bool>,
        flags: Option<u32>,
        pages: Option<u64>,
    ) -> PagemapEntry {
        PagemapEntry { address: 0x1000, few_pages, in_parent, flags, pages }
    }

    fn map(entries: &[PagemapEntry]) -> Vec<u8> {
        let head = PagemapHead { pages: 7 }.encode_to_vec();
        let messages = [head].into_iter().chain(entries.iter().map(prost::Message::encode_to_vec));
        let mut bytes: Vec<u8> = MAGIC.iter().flat_map(|word| word.to_le_bytes()).collect();
        for message in messages {
            bytes.extend((message.len() as u32).to_le_bytes());
            bytes.extend(message);
        }
        bytes
    }

    #[test]
    fn the_pages_in_the_file_are_counted_and_no_others() {
        let entries = [
            entry(2, None, Some(PRESENT), None),
            entry(4, None, Some(PRESENT | 2), None),
            // Fetched when it is used; in the parent; without flags; more than 32 bits can count.
            entry(8, None, Some(2), None),
            entry(16, Some(true), None, None),
            entry(32, None, Some(IN_PARENT), None),
            entry(64, None, None, None),
            entry(0, None, Some(PRESENT), Some(1 << 33)),
        ];
        assert_eq!(parse(&map(&entries)), Some(Map { file: 7, present: 2 + 4 + 64 + (1 << 33) }));
        assert_eq!(parse(&map(&[])), Some(Map { file: 7, present: 0 }));
    }

    #[test]
    fn a_map_that_is_cut_within_a_message_is_not_understood() {
        let whole = map(&[entry(2, None, Some(PRESENT), None)]);
        let head = map(&[]).len();
        for length in (0..whole.len()).filter(|length| *length != head) {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn pages_that_are_not_there_are_missed() {
        let dir = tempfile::tempdir().unwrap();
        let directory = File::open(dir.path()).unwrap();
        let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let examine = || examine(&directory, dir.path(), "pagemap-1.img");
        put("pagemap-1.img", &map(&[entry(2, None, Some(PRESENT), None)]));
        assert!(examine().unwrap_err().to_string().contains("pages-7.img is cut off: it has 0 of"));
        put("pages-7.img", &vec![0; page_size() as usize * 2 - 1]);
        assert_eq!(examine().unwrap_err().kind(), Kind::Corrupt);
        put("pages-7.img", &vec![0; page_size() as usize * 2]);
        examine().unwrap();
        put("pagemap-1.img", b"nonsense");
        assert_eq!(examine().unwrap_err().kind(), Kind::Corrupt);
    }
}
