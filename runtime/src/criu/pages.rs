//! The memory in the images: each `pagemap-*.img` says how many pages are in its `pages-*.img`.
//!
//! If a pages file is shorter than that, criu reads it again and again without end (seen with 4.1.1), so a truncated
//! copy is detected here.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{SysconfVar, sysconf};
use prost::Message as _;

use super::message::{CoreEntry, PagemapEntry, PagemapHead, TreeEntry};
use crate::error::{Error, ErrorKind, Result};

/// The first two words of the image (criu/include/magic.h).
const MAGIC: [u32; 2] = [0x5456_4319, 0x5608_4025];
/// The page is in the parent images.
const IN_PARENT: u32 = 1;
/// The page is in the pages file (criu/include/pagemap.h).
const PRESENT: u32 = 1 << 2;
/// The states of a process that has ended and waits for its parent (criu/include/pstree.h).
const WITHOUT_MEMORY: [u32; 2] = [2, 6];
/// Longer than the map of any container: some ten bytes per run of pages.
const LONGEST: u64 = 256 << 20;

/// The owner of a map's memory, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The process with this id.
    Process(u32),
    /// A piece of shared memory.
    Shared,
}

/// Whether a file in the images is such a map.
pub(super) fn is_map(name: &str) -> bool {
    owner(name).is_some()
}

pub(super) fn owner(name: &str) -> Option<Owner> {
    let middle = name.strip_prefix("pagemap-")?.strip_suffix(".img")?;
    Some(middle.parse().map_or(Owner::Shared, Owner::Process))
}

/// Refuses maps, by their names, whose pages are not all there.
///
/// A directory that was used for two checkpoints may have maps of processes that had ended before the second. Nothing
/// reads those, and their pages file may have been rewritten for another process. So only the maps of processes in the
/// tree count, and those of shared memory whose file is not that of a process.
pub(super) fn examine(directory: &File, path: &Path, names: &[String]) -> Result<()> {
    // Only the last images of a series have a tree.
    let tree = read(directory, path, "pstree.img").ok().and_then(|bytes| parse_tree(&bytes));
    let has_memory = |pid: &u32| {
        let core = read(directory, path, &format!("core-{pid}.img")).ok();
        core.and_then(|bytes| parse_state(&bytes)).is_none_or(|state| !WITHOUT_MEMORY.contains(&state))
    };
    let pids = tree.map(|tree| tree.into_iter().filter(has_memory).collect::<Vec<u32>>());
    let lives = |name: &str| match (owner(name), &pids) {
        (Some(Owner::Process(pid)), Some(pids)) => pids.contains(&pid),
        _ => true,
    };
    let mut maps = Vec::new();
    for name in names.iter().filter(|name| lives(name)) {
        let map = parse(&read(directory, path, name)?).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("{} cannot be understood", path.join(name).display()))
        })?;
        maps.push((owner(name) == Some(Owner::Shared), map));
    }
    let of_processes: Vec<u32> = maps.iter().filter(|(shared, _)| !shared).map(|(_, map)| map.file).collect();
    let replaced = |file: u32| pids.is_some() && of_processes.contains(&file);
    maps.iter()
        .filter(|(shared, map)| !(*shared && replaced(map.file)))
        .try_for_each(|(_, map)| has_pages(directory, path, map))
}

fn has_pages(directory: &File, path: &Path, map: &PageMap) -> Result<()> {
    let corrupt = |sentence: String| Error::new(ErrorKind::Corrupt, sentence);
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
        .with_hint("copy the images again"))
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

/// What a map says about its file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageMap {
    /// The number in the file's name.
    file: u32,
    /// How many pages are in it.
    present: u64,
}

/// Two magic numbers, then messages, each after its length: which file, and runs of pages.
pub(super) fn parse(bytes: &[u8]) -> Option<PageMap> {
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
    Some(PageMap { file, present })
}

/// The ids of the processes in `pstree.img`: two magic numbers, then messages, each after its length.
pub(super) fn parse_tree(bytes: &[u8]) -> Option<Vec<u32>> {
    let mut rest = bytes;
    if word(&mut rest)? != MAGIC[0] {
        return None;
    }
    word(&mut rest)?;
    let mut pids = Vec::new();
    while !rest.is_empty() {
        pids.push(TreeEntry::decode(message(&mut rest)?).ok()?.pid);
    }
    Some(pids)
}

/// The state of a process in its `core-*.img`.
pub(super) fn parse_state(bytes: &[u8]) -> Option<u32> {
    let mut rest = bytes;
    if word(&mut rest)? != MAGIC[0] {
        return None;
    }
    word(&mut rest)?;
    CoreEntry::decode(message(&mut rest)?).ok()?.task?.state
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
    use super::super::message::TaskCore;
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
            // Fetched lazily; in the parent; without flags; more than fits into 32 bits.
            entry(8, None, Some(2), None),
            entry(16, Some(true), None, None),
            entry(32, None, Some(IN_PARENT), None),
            entry(64, None, None, None),
            entry(0, None, Some(PRESENT), Some(1 << 33)),
        ];
        assert_eq!(parse(&map(&entries)), Some(PageMap { file: 7, present: 2 + 4 + 64 + (1 << 33) }));
        assert_eq!(parse(&map(&[])), Some(PageMap { file: 7, present: 0 }));
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
        let names = ["pagemap-1.img".to_owned()];
        let examine = || examine(&directory, dir.path(), &names);
        put("pagemap-1.img", &map(&[entry(2, None, Some(PRESENT), None)]));
        assert!(examine().unwrap_err().to_string().contains("pages-7.img is cut off: it has 0 of"));
        put("pages-7.img", &vec![0; page_size() as usize * 2 - 1]);
        assert_eq!(examine().unwrap_err().kind(), ErrorKind::Corrupt);
        put("pages-7.img", &vec![0; page_size() as usize * 2]);
        examine().unwrap();
        put("pagemap-1.img", b"nonsense");
        assert_eq!(examine().unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn what_is_left_of_processes_that_are_not_in_the_tree_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let directory = File::open(dir.path()).unwrap();
        let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let names = ["pagemap-1.img", "pagemap-9.img", "pagemap-shmem-33.img"].map(str::to_owned);
        let examine = || examine(&directory, dir.path(), &names);
        let tree = |pids: &[u32]| {
            let mut bytes: Vec<u8> = [MAGIC[0], 1].iter().flat_map(|word| word.to_le_bytes()).collect();
            for pid in pids {
                let entry = TreeEntry { pid: *pid }.encode_to_vec();
                bytes.extend((entry.len() as u32).to_le_bytes());
                bytes.extend(entry);
            }
            bytes
        };
        put("pages-7.img", &vec![0; page_size() as usize * 2]);
        put("pagemap-1.img", &map(&[entry(2, None, Some(PRESENT), None)]));
        put("pagemap-9.img", &map(&[entry(3, None, Some(PRESENT), None)]));
        put("pagemap-shmem-33.img", &map(&[entry(4, None, Some(PRESENT), None)]));
        examine().unwrap_err();
        put("pstree.img", &tree(&[1]));
        examine().unwrap();
        put("pstree.img", &tree(&[1, 9]));
        examine().unwrap_err();
        // A process that has ended and only waits for its parent has none.
        let task = TaskCore { state: Some(6) };
        let core = CoreEntry { task: Some(task) }.encode_to_vec();
        let head = [MAGIC[0], 1, core.len() as u32];
        let mut bytes: Vec<u8> = head.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(core);
        put("core-9.img", &bytes);
        examine().unwrap();
        // With a truncated tree, nothing passes.
        let whole = tree(&[1]);
        put("pstree.img", &whole[..whole.len() - 1]);
        examine().unwrap_err();
    }
}
