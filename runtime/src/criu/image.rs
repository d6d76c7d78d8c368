//! The directory of a checkpoint. An attacker can choose everything in an archive, so nothing in it is followed, waited
//! for or read without limit.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use prost::Message as _;

use super::message::{SeccompEntry, SeccompFilter};
use super::pages;
use crate::error::{Error, ErrorKind, Result};

/// The names of the standard streams, in the order of their numbers, in runc's format.
const DESCRIPTORS: &str = "descriptors.json";
/// Longer than the names of three streams can be.
const LONGEST_DESCRIPTORS: u64 = 64 << 10;
/// Longer than all filters that a container can have.
const LONGEST_SECCOMP: u64 = 64 << 20;
/// How many checkpoints may build on one another.
const DEEPEST: usize = 64;
/// The first two words of an image file (criu/include/magic.h).
const COMMON_MAGIC: u32 = 0x5456_4319;
const SECCOMP_MAGIC: u32 = 0x6441_3049;

/// An open directory for or with images.
#[derive(Debug)]
pub(crate) struct ImageDirectory {
    path: PathBuf,
    dir: File,
}

impl ImageDirectory {
    /// Makes a directory for images, if it does not exist.
    pub(crate) fn make(path: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Error::io(&error, format!("make the directory {}", path.display())))?;
        Self::open(path)
    }

    /// Opens a directory that exists.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fail = |error: io::Error| Error::io(&error, format!("open the directory {}", path.display()));
        let path = std::path::absolute(path).map_err(fail)?;
        let dir = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(&path).map_err(fail)?;
        Ok(Self { path, dir })
    }

    /// Reopens it by its path, in the mount namespace of the calling thread.
    pub(crate) fn reopen(&self) -> Result<Self> {
        let again = Self::open(&self.path)?;
        let fail = |errno| Error::os(errno, format!("look at {}", self.path.display()));
        let (one, other) = (fstat(&self.dir).map_err(fail)?, fstat(&again.dir).map_err(fail)?);
        if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
            Ok(again)
        } else {
            Err(fail(Errno::ESTALE))
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Refuses a directory with anything in it that would make criu read or write elsewhere, or wait: links (except the
    /// one to the parent images), pipes, sockets, devices, truncated memory; and one that others can change while it is
    /// read. `lazy`: the server of memory pages, `criu lazy-pages`, has its socket in its working directory, which may
    /// be this one.
    pub(crate) fn examine(&self, lazy: bool) -> Result<()> {
        let mut directory =
            self.dir.try_clone().map_err(|error| Error::io(&error, "duplicate a descriptor"))?;
        let mut path = self.path.clone();
        for depth in 0..DEEPEST {
            examine_owner(&directory, &path)?;
            match examine_one(&directory, &path, lazy && depth == 0)? {
                None => return Ok(()),
                Some(parent) => (directory, path) = (parent, path.join("parent")),
            }
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            format!("{} has more than {DEEPEST} parents", self.path.display()),
        ))
    }

    /// Refuses an existing log file that is not a regular file.
    pub(crate) fn examine_file(&self, name: &str) -> Result<()> {
        match fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if kind(stat.st_mode) != SFlag::S_IFREG => Err(self.not_plain(name)),
            _ => Ok(()),
        }
    }

    fn not_plain(&self, name: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("{} is not a plain file", self.path.join(name).display()))
    }

    /// Writes the names of the standard streams.
    pub(crate) fn write_descriptors(&self, names: &[String]) -> Result<()> {
        let path = self.path.join(DESCRIPTORS);
        let fail = |errno| Error::os(errno, format!("write {}", path.display()));
        // A new file, whatever existed: neither a link nor another process' open descriptor of the old one matters
        // then.
        match unlinkat(&self.dir, DESCRIPTORS, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(fail(errno)),
        }
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, DESCRIPTORS, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(fail)?;
        let text = serde_json::to_vec(names)
            .map_err(|error| Error::new(ErrorKind::System, format!("write {}: {error}", path.display())))?;
        File::from(file)
            .write_all(&text)
            .map_err(|error| Error::io(&error, format!("write {}", path.display())))
    }

    /// Reads them.
    pub(crate) fn read_descriptors(&self) -> Result<Vec<String>> {
        let path = self.path.join(DESCRIPTORS);
        let bytes = self.read(DESCRIPTORS, LONGEST_DESCRIPTORS)?.ok_or_else(|| {
            Error::os(Errno::ENOENT, format!("open {}", path.display()))
                .with_hint("is this the directory of a checkpoint?")
        })?;
        parse_descriptors(&bytes)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("{} cannot be understood", path.display())))
    }

    /// The seccomp filters of all processes; none if no process has one.
    pub(crate) fn seccomp_filters(&self) -> Result<Vec<SeccompFilter>> {
        const NAME: &str = "seccomp.img";
        match self.read(NAME, LONGEST_SECCOMP)? {
            None => Ok(Vec::new()),
            Some(bytes) => parse_seccomp(&bytes).ok_or_else(|| {
                Error::new(
                    ErrorKind::Corrupt,
                    format!("{} cannot be understood", self.path.join(NAME).display()),
                )
            }),
        }
    }

    /// Reads a regular file that is not longer than `most`.
    fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let fail = |errno| Error::os(errno, format!("open {}", self.path.join(name).display()));
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::ENXIO) => return Err(self.not_plain(name)),
            Err(errno) => return Err(fail(errno)),
        };
        let stat = fstat(&file).map_err(fail)?;
        if kind(stat.st_mode) != SFlag::S_IFREG {
            return Err(self.not_plain(name));
        }
        let mut bytes = Vec::new();
        File::from(file)
            .take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io(&error, format!("read {}", self.path.join(name).display())))?;
        if bytes.len() as u64 > most {
            let sentence = format!("{} is longer than {most} bytes", self.path.join(name).display());
            return Err(Error::new(ErrorKind::Corrupt, sentence));
        }
        Ok(Some(bytes))
    }

    /// criu's log, for its end.
    pub(crate) fn open_log(&self, name: &str) -> Option<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(&self.dir, name, flags, Mode::empty()).ok().map(File::from)
    }
}

/// Checks that `parent`, relative to the directory of images, is a directory. The latter need not exist yet.
pub(crate) fn check_parent(images: &Path, parent: &Path) -> Result<()> {
    if parent.is_absolute() {
        return Err(Error::new(ErrorKind::InvalidSpec, "the parent path must be relative"));
    }
    let mut path = std::path::absolute(images)
        .map_err(|error| Error::io(&error, format!("find the directory {}", images.display())))?;
    for part in parent.components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            other => path.push(other),
        }
    }
    let problem = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => Errno::ENOTDIR,
        Err(error) => error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
    };
    Err(Error::os(problem, format!("invalid parent path: {}", path.display())))
}

fn kind(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode & libc::S_IFMT)
}

/// Refuses what others could write to: it could change between check and use.
fn examine_owner(directory: &File, path: &Path) -> Result<()> {
    let metadata =
        directory.metadata().map_err(|error| Error::io(&error, format!("look at {}", path.display())))?;
    let trusted = metadata.uid() == 0 || metadata.uid() == nix::unistd::geteuid().as_raw();
    if trusted && metadata.mode() & 0o002 == 0 {
        return Ok(());
    }
    let sentence = format!("others can change the images in {}", path.display());
    Err(Error::new(ErrorKind::Permission, sentence)
        .with_hint("give the directory to root, without write permission for others"))
}

/// Examines one directory; returns its parent.
fn examine_one(directory: &File, path: &Path, lazy: bool) -> Result<Option<File>> {
    let fail = |errno| Error::os(errno, format!("read the directory {}", path.display()));
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(directory, ".", flags, Mode::empty()).map_err(fail)?;
    let (mut parent, mut maps) = (None, Vec::new());
    for entry in listing.iter() {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(fail)?;
        match kind(stat.st_mode) {
            SFlag::S_IFREG => match name.to_str() {
                Ok(name) if pages::is_map(name) => maps.push(name.to_owned()),
                _ => {}
            },
            SFlag::S_IFDIR => {}
            SFlag::S_IFSOCK if lazy && name.to_bytes() == b"lazy-pages.socket" => {}
            SFlag::S_IFLNK if name.to_bytes() == b"parent" => {
                let file = openat(directory, name, flags, Mode::empty())
                    .map_err(|errno| Error::os(errno, format!("open {}", path.join("parent").display())))?;
                parent = Some(File::from(file));
            }
            _ => {
                let name = std::ffi::OsStr::from_bytes(name.to_bytes());
                let sentence = format!("{} is not a plain file", path.join(name).display());
                return Err(Error::new(ErrorKind::Corrupt, sentence)
                    .with_hint("a checkpoint consists of plain files"));
            }
        }
    }
    pages::examine(directory, path, &maps)?;
    Ok(parent)
}

/// The names of at most three streams.
pub(super) fn parse_descriptors(bytes: &[u8]) -> Option<Vec<String>> {
    let names: Vec<Option<String>> = serde_json::from_slice(bytes).ok()?;
    Some(names.into_iter().map(Option::unwrap_or_default).take(3).collect())
}

/// An image: two magic numbers, then for each entry its length and itself; this one has one entry.
pub(super) fn parse_seccomp(bytes: &[u8]) -> Option<Vec<SeccompFilter>> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    // Images of criu before 2.0 begin with the second number.
    if word(0)? != COMMON_MAGIC || word(4)? != SECCOMP_MAGIC {
        return None;
    }
    let length = word(8)? as usize;
    let entry = bytes.get(12..)?;
    if entry.len() != length {
        return None;
    }
    SeccompEntry::decode(entry).ok().map(|entry| entry.filters)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn directory() -> (tempfile::TempDir, ImageDirectory) {
        let dir = tempfile::tempdir().unwrap();
        let images = ImageDirectory::make(&dir.path().join("a/images")).unwrap();
        (dir, images)
    }

    #[test]
    fn descriptors_come_back_and_nothing_else_passes_for_them() {
        let (_keep, images) = directory();
        let missing = images.read_descriptors().unwrap_err();
        assert_eq!(missing.errno(), Some(libc::ENOENT));
        let names = ["pipe:[1]".to_owned(), "/dev/null".to_owned(), String::new()];
        images.write_descriptors(&names).unwrap();
        images.write_descriptors(&names).unwrap();
        assert_eq!(images.read_descriptors().unwrap(), names);
        let file = images.path().join(DESCRIPTORS);
        let replaced = |make: &dyn Fn()| {
            std::fs::remove_file(&file).unwrap();
            make();
            images.read_descriptors().unwrap_err().kind()
        };
        assert_eq!(replaced(&|| symlink("/etc/passwd", &file).unwrap()), ErrorKind::Corrupt);
        assert_eq!(
            replaced(&|| nix::unistd::mkfifo(&file, Mode::S_IRWXU).unwrap()),
            ErrorKind::Corrupt,
            "and no hang"
        );
        assert_eq!(replaced(&|| std::fs::write(&file, vec![b' '; 1 << 20]).unwrap()), ErrorKind::Corrupt);
        assert_eq!(replaced(&|| std::fs::write(&file, "{}").unwrap()), ErrorKind::Corrupt);
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let (_keep, images) = directory();
        std::fs::write(images.path().join("pages-1.img"), "x").unwrap();
        images.examine(false).unwrap();
        let bad = images.path().join("restore.log");
        symlink("/etc/hostname", &bad).unwrap();
        let error = images.examine(false).unwrap_err();
        assert!(error.to_string().contains("restore.log"), "{error}");
        images.examine_file("restore.log").unwrap_err();
        std::fs::remove_file(&bad).unwrap();
        nix::unistd::mkfifo(&bad, Mode::S_IRWXU).unwrap();
        images.examine(false).unwrap_err();
        std::fs::remove_file(&bad).unwrap();
        let _server =
            std::os::unix::net::UnixListener::bind(images.path().join("lazy-pages.socket")).unwrap();
        images.examine(true).unwrap();
        images.examine(false).unwrap_err();
        std::fs::remove_file(images.path().join("lazy-pages.socket")).unwrap();
        // Parents are followed and examined; a cycle of them ends.
        std::fs::create_dir(images.path().join("../pre")).unwrap();
        symlink("../pre", images.path().join("parent")).unwrap();
        images.examine(false).unwrap();
        symlink("/etc/hostname", images.path().join("../pre/core-1.img")).unwrap();
        images.examine(false).unwrap_err();
        std::fs::remove_file(images.path().join("../pre/core-1.img")).unwrap();
        symlink("../images", images.path().join("../pre/parent")).unwrap();
        assert!(images.examine(false).unwrap_err().to_string().contains("parents"));
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let (_keep, images) = directory();
        images.examine(false).unwrap();
        std::fs::set_permissions(images.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(images.examine(false).unwrap_err().kind(), ErrorKind::Permission);
    }

    #[test]
    fn the_parent_must_be_a_directory_next_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let check = |parent: &str| check_parent(&dir.path().join("none/images"), Path::new(parent));
        assert!(check("/x").unwrap_err().to_string().contains("must be relative"));
        assert_eq!(check("../../pre").unwrap_err().errno(), Some(libc::ENOENT));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(check("../../file").unwrap_err().errno(), Some(libc::ENOTDIR));
        std::fs::create_dir(dir.path().join("pre")).unwrap();
        check("../../pre").unwrap();
    }

    #[test]
    fn filters_are_read_and_a_cut_image_is_not() {
        let entry = SeccompEntry {
            filters: vec![SeccompFilter { filter: vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f], previous: None }],
        };
        let body = entry.encode_to_vec();
        let mut bytes =
            [COMMON_MAGIC.to_le_bytes(), SECCOMP_MAGIC.to_le_bytes(), (body.len() as u32).to_le_bytes()]
                .concat();
        bytes.extend(&body);
        assert_eq!(parse_seccomp(&bytes), Some(entry.filters));
        for length in 0..bytes.len() {
            assert_eq!(parse_seccomp(&bytes[..length]), None, "{length}");
        }
    }
}
