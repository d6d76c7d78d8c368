//! What a caller can choose for a checkpoint and a restore.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::container::options::{Console, Stdio, setters};
use crate::criu::message;

/// What criu does with cgroups (criu(8), `--manage-cgroups`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManageCgroups {
    /// criu's default: [`ManageCgroups::Soft`].
    #[default]
    Default,
    /// Neither saves nor restores them: the processes are in the cgroup of the new configuration.
    Ignore,
    /// Restores the properties of cgroups that it made itself.
    Soft,
    /// Restores the properties of all cgroups, whether it made them or not.
    Full,
    /// Fails if a cgroup already exists.
    Strict,
}

impl ManageCgroups {
    pub(crate) fn message(self) -> message::CgroupMode {
        match self {
            Self::Default => message::CgroupMode::Default,
            Self::Ignore => message::CgroupMode::Ignore,
            Self::Soft => message::CgroupMode::Soft,
            Self::Full => message::CgroupMode::Full,
            Self::Strict => message::CgroupMode::Strict,
        }
    }
}

/// How criu freezes connections while it saves them (criu(8), `--network-lock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkLock {
    /// With iptables rules.
    Iptables,
    /// With nftables rules.
    Nftables,
    /// Not at all.
    Skip,
}

impl NetworkLock {
    pub(crate) fn message(self) -> message::NetworkLockMethod {
        match self {
            Self::Iptables => message::NetworkLockMethod::Iptables,
            Self::Nftables => message::NetworkLockMethod::Nftables,
            Self::Skip => message::NetworkLockMethod::Skip,
        }
    }
}

/// Options that a checkpoint and the restore from it share, and mostly must agree on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CriuOptions {
    pub(crate) image: PathBuf,
    pub(crate) work: Option<PathBuf>,
    pub(crate) program: Option<PathBuf>,
    pub(crate) tcp_established: bool,
    pub(crate) ext_unix_sk: bool,
    pub(crate) shell_job: bool,
    pub(crate) file_locks: bool,
    pub(crate) auto_dedup: bool,
    pub(crate) lazy_pages: bool,
    pub(crate) cgroups: ManageCgroups,
    pub(crate) network_lock: Option<NetworkLock>,
}

impl CriuOptions {
    /// The defaults, with the directory of the images.
    pub fn new(image: impl Into<PathBuf>) -> Self {
        Self { image: image.into(), ..Self::default() }
    }

    /// Sets the directory of criu's log and notes (default: that of the images).
    #[must_use]
    pub fn work_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.work = Some(path.into());
        self
    }

    /// Sets the program (default: `criu` in PATH).
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    setters! {
        /// Allows established TCP connections.
        tcp_established: bool,
        /// Allows unix sockets whose other end is outside of the container.
        ext_unix_sk: bool,
        /// Allows a terminal that is not the container's own.
        shell_job: bool,
        /// Allows file locks.
        file_locks: bool,
        /// Removes from the parent images what newer images hold.
        auto_dedup: bool,
        /// Leaves memory behind until it is used: needs `criu lazy-pages` at the time of the restore.
        lazy_pages: bool,
    }

    /// Sets what becomes of cgroups.
    #[must_use]
    pub fn manage_cgroups(mut self, mode: ManageCgroups) -> Self {
        self.cgroups = mode;
        self
    }

    /// Sets how connections are frozen (default: criu's).
    #[must_use]
    pub fn network_lock(mut self, lock: NetworkLock) -> Self {
        self.network_lock = Some(lock);
        self
    }
}

/// How to save a container.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckpointOptions {
    pub(crate) criu: CriuOptions,
    pub(crate) parent: Option<PathBuf>,
    pub(crate) leave_running: bool,
    pub(crate) pre_dump: bool,
    pub(crate) tcp_skip_in_flight: bool,
    pub(crate) link_remap: bool,
    pub(crate) page_server: Option<(String, u16)>,
    pub(crate) status_fd: Option<OwnedFd>,
}

impl CheckpointOptions {
    /// Saves everything; the container is stopped afterwards.
    pub fn new(criu: CriuOptions) -> Self {
        Self {
            criu,
            parent: None,
            leave_running: false,
            pre_dump: false,
            tcp_skip_in_flight: false,
            link_remap: false,
            page_server: None,
            status_fd: None,
        }
    }

    /// Saves only the memory that changed since an earlier checkpoint or pre-dump, whose directory is given relative to
    /// that of the images.
    #[must_use]
    pub fn parent_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.parent = Some(path.into());
        self
    }

    setters! {
        /// Lets the container go on afterwards.
        leave_running: bool,
        /// Saves memory only, for a later checkpoint that names this one as its parent; the container goes on.
        pre_dump: bool,
        /// Leaves out TCP connections that are still being established.
        tcp_skip_in_flight: bool,
        /// Gives files that were deleted while open a name again, if that is possible.
        link_remap: bool,
    }

    /// Sends the memory to a page server, or with [`CriuOptions::lazy_pages`] is one.
    #[must_use]
    pub fn page_server(mut self, address: impl Into<String>, port: u16) -> Self {
        self.page_server = Some((address.into(), port));
        self
    }

    /// A descriptor to which one zero byte is written when pages are available, with [`CriuOptions::lazy_pages`].
    #[must_use]
    pub fn status_fd(mut self, fd: OwnedFd) -> Self {
        self.status_fd = Some(fd);
        self
    }
}

/// How to restore a container from images.
#[derive(Debug)]
#[non_exhaustive]
pub struct RestoreOptions {
    pub(crate) criu: CriuOptions,
    pub(crate) stdio: Stdio,
    pub(crate) console: Console,
    pub(crate) tcp_close: bool,
    pub(crate) lsm_profile: Option<String>,
    pub(crate) lsm_mount_context: Option<String>,
}

impl RestoreOptions {
    /// The defaults: the caller's streams, no terminal.
    pub fn new(criu: CriuOptions) -> Self {
        Self {
            criu,
            stdio: Stdio::Inherit,
            console: Console::None,
            tcp_close: false,
            lsm_profile: None,
            lsm_mount_context: None,
        }
    }

    setters! {
        /// Sets the standard streams, which replace those that the container had.
        stdio: Stdio,
        /// Sets where the terminal goes.
        console: Console,
        /// Restores established TCP connections as closed ones.
        tcp_close: bool,
    }

    /// Sets the profile of the processes, as `apparmor:NAME` or `selinux:LABEL` (default: the configuration's).
    #[must_use]
    pub fn lsm_profile(mut self, profile: impl Into<String>) -> Self {
        self.lsm_profile = Some(profile.into());
        self
    }

    /// Replaces the `SELinux` context of mounts that have one.
    #[must_use]
    pub fn lsm_mount_context(mut self, context: impl Into<String>) -> Self {
        self.lsm_mount_context = Some(context.into());
        self
    }
}
