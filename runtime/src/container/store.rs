//! The state directory: `ROOT/ID/` with a few small files.
//!
//! | file | written | what |
//! |---|---|---|
//! | `lock` | first, before any other side effect | the intent: everything that a clean-up needs, and soon the process; locked by operations that change something |
//! | `config.json` | at creation | the configuration that counts from then on; locked, shared, by additions of mounts |
//! | `start.sock` | at creation | where the created process waits for `start` |
//! | `cgroup.json` | when the cgroup is there and found to be free, before the first process enters it | which directories were made, exactly |
//! | `netdevices.json` | before network devices are moved, gone when the creation is complete | what they were on the host |
//! | `mounts.json` | before each mount that is added to the running container, and when one is removed, by rename | the ids of those mounts |
//! | `notify/notify.sock` | at creation, on demand | where the container's process sends `sd_notify(3)` messages |
//! | `state.json` | when the creation is complete | the record of the container |
//!
//! No file is ever changed in place, except for a line that is added to the intent. So only something else can have
//! emptied or truncated one, and even then the intent and the kernel know enough to end the container.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{self, AT_FDCWD, OFlag};
use nix::sys::stat::Mode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::identity::ProcessIdentity;
use super::opened::hold;
use super::record::Record;
use crate::cgroup::CgroupRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::linux::net_device;
use crate::sys::file_lock::FileLock;
use crate::sys::regular_file;

pub(super) const LOCK: &str = "lock";
pub(super) const CONFIG: &str = "config.json";
const STATE: &str = "state.json";
const SOCKET: &str = "start.sock";
const CGROUP: &str = "cgroup.json";
const DEVICES: &str = "netdevices.json";
const MOUNTS: &str = "mounts.json";
const NOTIFY: &str = "notify";
const NOTIFY_SOCKET: &str = "notify.sock";

/// The directory of one container.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    id: ContainerId,
    path: PathBuf,
}

/// What is known about a container.
#[derive(Clone, Debug)]
pub(crate) enum Recorded {
    /// Its creation was completed.
    Complete(Record),
    /// Only the intent exists: a creation is in progress, or was interrupted.
    Intent(Record),
    /// The directory exists, and nothing in it can be parsed.
    Nothing,
}

impl Directory {
    /// The directory of a container, whether it exists or not.
    pub(crate) fn of(root: &Path, id: &ContainerId) -> Self {
        Self { id: id.clone(), path: root.join(id.as_str()) }
    }

    /// The id of the container.
    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the gate's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// The directory that a container with a notification socket gets.
    pub(crate) fn notify(&self) -> PathBuf {
        self.path.join(NOTIFY)
    }

    /// Makes it, accessible to every user of the container.
    pub(crate) fn make_notify(&self) -> Result<()> {
        let path = self.notify();
        DirBuilder::new()
            .create(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(|error| Error::io(&error, format!("make {}", path.display())))
    }

    /// The path of the notification socket in the container.
    pub(crate) fn notify_socket_inside() -> String {
        format!("{}/{NOTIFY_SOCKET}", crate::plan::NOTIFY_DIRECTORY)
    }

    /// Binds the notification socket, writable for every user of the container; none if it has no directory.
    pub(crate) fn bind_notify(&self) -> Result<Option<UnixDatagram>> {
        let path = self.notify().join(NOTIFY_SOCKET);
        let context = |error: io::Error| Error::io(&error, format!("bind {}", path.display()));
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let directory = match File::options().read(true).custom_flags(flags).open(self.notify()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(context)?,
        };
        // Through a descriptor, for paths longer than a socket address.
        let short = format!("/proc/self/fd/{}/{NOTIFY_SOCKET}", directory.as_raw_fd());
        // Left by an earlier start that failed.
        fs::remove_file(&short).ok();
        let socket = UnixDatagram::bind(&short).map_err(context)?;
        fs::set_permissions(&short, fs::Permissions::from_mode(0o777)).map_err(context)?;
        Ok(Some(socket))
    }

    /// Makes the directory with the intent and the configuration, and takes the lock.
    pub(crate) fn begin(&self, intent: &Record, config: &[u8]) -> Result<FileLock> {
        let intent = intent.to_json()?;
        let root = self.path.parent().unwrap_or(Path::new("/"));
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        let mut made = builder.create(&self.path);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root)
                .map_err(|error| Error::io(&error, format!("make the state directory {}", root.display())))?;
            made = builder.create(&self.path);
        }
        made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::new(
                ErrorKind::Exists,
                format!("container with id {} already exists: given ID already exists", self.id),
            )
            .with_hint(format!("{} exists", self.path.display())),
            _ => Error::io(&error, format!("make the state directory {}", self.path.display())),
        })?;
        self.fill(&intent, config).inspect_err(|_| self.remove_files())
    }

    fn fill(&self, intent: &[u8], config: &[u8]) -> Result<FileLock> {
        let file = self.create_file(LOCK)?;
        // Nothing else can know of the file yet, except an operation that waits for it, which will find the intent.
        let taken = FileLock::try_take(file, false, |file| self.write(file, LOCK, intent));
        let context = |errno| Error::os(errno, format!("lock {}", self.path.join(LOCK).display()));
        let (lock, written) = taken.and_then(|taken| taken.ok_or(Errno::EWOULDBLOCK)).map_err(context)?;
        written?;
        let copy = self.create_file(CONFIG)?;
        self.write(&copy, CONFIG, config)?;
        Ok(lock)
    }

    /// Adds the process that the creation made to the intent, so that `delete --force` can end it.
    pub(crate) fn note_init(&self, init: &ProcessIdentity) -> Result<()> {
        let path = self.path.join(LOCK);
        let context = |error: io::Error| Error::io(&error, format!("write {}", path.display()));
        let mut line = serde_json::to_vec(init)
            .map_err(|error| Error::new(ErrorKind::System, format!("write {}: {error}", path.display())))?;
        line.insert(0, b'\n');
        let mut file = File::options().append(true).open(&path).map_err(context)?;
        // One call: a reader sees all of it or nothing.
        file.write_all(&line).map_err(context)
    }

    fn create_file(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Error::io(&error, format!("make {}", path.display())))
    }

    fn write(&self, mut file: &File, name: &str, bytes: &[u8]) -> Result<()> {
        file.write_all(bytes)
            .map_err(|error| Error::io(&error, format!("write {}", self.path.join(name).display())))
    }

    /// Records that the creation is complete, atomically for other processes.
    pub(crate) fn complete(&self, record: &Record) -> Result<()> {
        self.put(STATE, "state.json.new", &record.to_json()?)
    }

    /// Replaces the record of a complete creation, also atomically.
    pub(crate) fn replace(&self, record: &Record) -> Result<()> {
        // Left by an operation that was killed at this point.
        fs::remove_file(self.path.join("state.json.new")).ok();
        self.complete(record)
    }

    /// Puts a file in place, by a rename.
    fn put(&self, name: &str, new: &str, bytes: &[u8]) -> Result<()> {
        self.write(&self.create_file(new)?, new, bytes)?;
        let (from, to) = (self.path.join(new), self.path.join(name));
        fs::rename(&from, &to)
            .map_err(|error| Error::io(&error, format!("rename {} to {}", from.display(), to.display())))
    }

    /// Writes a new file for a later clean-up.
    fn note(&self, name: &str, what: &impl Serialize) -> Result<()> {
        let file = self.create_file(name)?;
        let bytes = serde_json::to_vec(what)
            .map_err(|error| Error::new(ErrorKind::System, format!("write {name}: {error}")))?;
        self.write(&file, name, &bytes)
    }

    /// What was noted, if it can be parsed.
    fn noted<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.read_file(name).ok().flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    /// Records the cgroup, which exists and holds no other container's processes: from here on, the processes in it are
    /// the container's.
    pub(crate) fn note_cgroup(&self, cgroup: &CgroupRecord) -> Result<()> {
        self.note(CGROUP, cgroup)
    }

    /// The cgroup that a creation has entered, if it was recorded and can be parsed.
    pub(crate) fn noted_cgroup(&self) -> Option<CgroupRecord> {
        self.noted(CGROUP)
    }

    /// Whether the creation has entered its cgroup. The names of the files show it, whatever became of their contents.
    pub(crate) fn has_entered_cgroup(&self) -> bool {
        [CGROUP, STATE].iter().any(|name| self.path.join(name).symlink_metadata().is_ok())
    }

    /// Records which network devices are about to be moved.
    pub(crate) fn note_devices(&self, intent: &net_device::Intent) -> Result<()> {
        self.note(DEVICES, intent)
    }

    /// Which network devices an interrupted creation may have moved.
    pub(crate) fn noted_devices(&self) -> Option<net_device::Intent> {
        self.noted(DEVICES)
    }

    /// Forgets them: they now belong to the container for good.
    pub(crate) fn forget_devices(&self) {
        fs::remove_file(self.path.join(DEVICES)).ok();
    }

    /// Records the mounts that were added, atomically for other processes. The lock is held.
    pub(crate) fn note_mounts(&self, bytes: &[u8]) -> Result<()> {
        // Left by an operation that was killed at this point.
        fs::remove_file(self.path.join("mounts.json.new")).ok();
        self.put(MOUNTS, "mounts.json.new", bytes)
    }

    /// The recorded mounts, if there are any.
    pub(crate) fn noted_mounts(&self) -> Result<Option<Vec<u8>>> {
        self.read_file(MOUNTS)
    }

    /// The file that records them.
    pub(crate) fn mounts_file(&self) -> PathBuf {
        self.path.join(MOUNTS)
    }

    /// The error for an id without a container.
    pub(crate) fn unknown(&self) -> Error {
        Error::new(ErrorKind::NotFound, format!("container {:?} does not exist", self.id.as_str()))
            .with_hint(format!("{} is not there", self.path.display()))
    }

    /// Whether the record of a complete container exists.
    pub(crate) fn is_complete(&self) -> bool {
        self.path.join(STATE).exists()
    }

    /// Reads what is known.
    pub(crate) fn read(&self) -> Result<Recorded> {
        if let Some(record) = self.read_file(STATE)?.as_deref().and_then(Record::parse) {
            return Ok(Recorded::Complete(record));
        }
        match self.read_file(LOCK)?.as_deref().and_then(parse_intent) {
            Some(record) => Ok(Recorded::Intent(record)),
            None if self.path.is_dir() => Ok(Recorded::Nothing),
            None => Err(self.unknown()),
        }
    }

    /// Reads the record of a complete container, for operations that need one.
    pub(crate) fn record(&self) -> Result<Record> {
        match self.read()? {
            Recorded::Complete(record) => Ok(record),
            Recorded::Intent(_) if self.is_complete() => Err(Error::new(
                ErrorKind::Corrupt,
                format!("{} cannot be understood", self.path.join(STATE).display()),
            )
            .with_hint("a forced deletion ends the container and removes what is left of it")),
            Recorded::Intent(_) => Err(Error::new(
                ErrorKind::WrongState,
                format!("container {:?} is still being created", self.id.as_str()),
            )
            .with_hint("if its creation was interrupted, a forced deletion removes what is left of it")),
            Recorded::Nothing => Err(Error::new(
                ErrorKind::Corrupt,
                format!("no file in {} can be understood", self.path.display()),
            )
            .with_hint("a forced deletion removes it")),
        }
    }

    fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        /// A record is a few kilobytes, mostly annotations.
        const MOST: u64 = 64 << 20;
        let path = self.path.join(name);
        // Not with open(3): musl's sets the close-on-exec flag with a second call.
        let file = match fcntl::openat(AT_FDCWD, &path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(errno) => return Err(Error::os(errno, format!("open {}", path.display()))),
        };
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let bytes = regular_file::read(&file, size, MOST)
            .map_err(|error| Error::io(&error, format!("read {}", path.display())))?;
        Ok(Some(bytes))
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Result<Vec<u8>> {
        self.read_file(CONFIG)?.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("{} is missing", self.path.join(CONFIG).display()))
        })
    }

    /// Removes the directory; the lock file goes last but one, so that an operation that waits for it finds it gone.
    pub(crate) fn remove(&self) -> Result<()> {
        self.remove_files();
        match fs::remove_dir(&self.path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Something that is not ours was put there.
            Err(_) => fs::remove_dir_all(&self.path)
                .map_err(|error| Error::io(&error, format!("remove {}", self.path.display()))),
        }
    }

    fn remove_files(&self) {
        fs::remove_dir_all(self.notify()).ok();
        let mounts = [MOUNTS, "mounts.json.new"];
        for name in mounts.into_iter().chain([SOCKET, STATE, "state.json.new", CGROUP, DEVICES, CONFIG, LOCK])
        {
            fs::remove_file(self.path.join(name)).ok();
        }
        fs::remove_dir(&self.path).ok();
    }

    /// The directory as a descriptor, for socket paths longer than a socket address.
    pub(crate) fn open(&self) -> Result<OwnedFd> {
        hold(&self.path)
    }

    /// A path of the gate's socket that always fits into a socket address; valid while `directory` is open.
    pub(crate) fn short_socket(directory: &OwnedFd) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_fd().as_raw_fd()))
    }
}

/// Parses the intent, and the processes that the creation made, on further lines: the last one counts.
pub(super) fn parse_intent(bytes: &[u8]) -> Option<Record> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut record = Record::parse(lines.next()?)?;
    // A pid of another boot belongs to an unrelated process.
    if !record.is_of_another_boot() {
        record.init = lines.filter_map(|line| serde_json::from_slice(line).ok()).next_back().or(record.init);
    }
    Some(record)
}
