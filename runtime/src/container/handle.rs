//! The handle of a container: its record, and a hold on its init process if this process created it.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use oci_spec::runtime::Spec;

use super::delete;
use super::exit::ExitStatus;
use super::identity;
use super::options::Delete;
use super::record::Record;
use super::state::{State, Status, describe, status_of};
use super::store::Directory;
use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, OomWatch};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::sys::file_lock::FileLock;
use crate::sys::pidfd;

/// A container. Every operation asks the kernel for the current state, and takes the container's lock if it changes
/// something, so any number of processes may hold handles of one container.
#[derive(Debug)]
pub struct Container {
    pub(super) directory: Directory,
    /// The record as it was when this was opened. Its device rules may have changed since; the rest never does.
    pub(super) record: Record,
    /// The init process, if it is a child of this process.
    child: Option<OwnedFd>,
    console: Option<OwnedFd>,
    /// The saved configuration, once it was needed.
    bundle: OnceLock<Bundle>,
}

impl Container {
    pub(super) fn made(
        directory: Directory,
        record: Record,
        child: OwnedFd,
        console: Option<OwnedFd>,
    ) -> Self {
        Self { directory, record, child: Some(child), console, bundle: OnceLock::new() }
    }

    pub(super) fn open(directory: Directory) -> Result<Self> {
        let record = directory.record()?;
        Ok(Self { directory, record, child: None, console: None, bundle: OnceLock::new() })
    }

    /// The container's id.
    pub fn id(&self) -> &ContainerId {
        self.directory.id()
    }

    /// The container's current state, as the kernel has it.
    ///
    /// # Errors
    ///
    /// `ErrorKind::NotFound` if the container has been deleted.
    pub fn state(&self) -> Result<State> {
        // The recorded part of a state never changes, but the record may be gone.
        if !self.directory.is_complete() {
            return Err(self.directory.unknown());
        }
        let now = status_of(&self.directory, &self.record)?;
        Ok(describe(self.record.clone(), now))
    }

    /// The pid of the init process in the caller's pid namespace, whether it still runs or not.
    pub fn pid(&self) -> Option<i32> {
        self.record.init.map(|init| init.pid)
    }

    /// The pidfd of the init process, if this process created the container: it becomes readable when init ends.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref().map(OwnedFd::as_fd)
    }

    /// Opens a pidfd of the init process, even if another process created the container; none if init has ended.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn open_init(&self) -> Result<Option<OwnedFd>> {
        self.init()
    }

    /// The master of the terminal, once, if the caller chose [`Console::Keep`](super::Console::Keep).
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// Waits until the init process has ended, and takes its status.
    ///
    /// # Errors
    ///
    /// If init is not a child of this process, or its status was already taken elsewhere.
    pub fn wait(&self) -> Result<ExitStatus> {
        let child = self.child.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::WrongState,
                format!(
                    "container {:?} was created by another process, which alone gets its exit status",
                    self.id().as_str()
                ),
            )
        })?;
        wait_child(child, self.pid().unwrap_or(0))
    }

    /// The configuration as it was when the container was created.
    ///
    /// # Errors
    ///
    /// If the saved copy cannot be read.
    pub fn spec(&self) -> Result<&Spec> {
        Ok(self.bundle()?.spec())
    }

    /// The saved configuration with the bundle directory.
    pub(super) fn bundle(&self) -> Result<&Bundle> {
        if let Some(bundle) = self.bundle.get() {
            return Ok(bundle);
        }
        let bundle = Bundle::saved(self.directory.config()?, self.record.bundle.clone())?;
        Ok(self.bundle.get_or_init(|| bundle))
    }

    /// Binds the socket to which the container's process sends `sd_notify(3)` messages, replacing an earlier one. None
    /// if the container was created without [`CreateOptions::notify_socket`](super::CreateOptions::notify_socket).
    ///
    /// The messages come from the container: do not forward them unchecked.
    ///
    /// # Errors
    ///
    /// If the state directory is not writable.
    pub fn bind_notify_socket(&self) -> Result<Option<UnixDatagram>> {
        self.directory.bind_notify()
    }

    /// A watch for out-of-memory kills in the container.
    ///
    /// # Errors
    ///
    /// If the container has no memory cgroup.
    pub fn oom_watch(&self) -> Result<OomWatch> {
        self.cgroup().watch_oom()
    }

    /// Deletes the container; see [`Runtime::delete`](super::Runtime::delete).
    ///
    /// # Errors
    ///
    /// As [`Runtime::delete`](super::Runtime::delete). The handle is consumed; open the container again to retry.
    pub fn delete(self, how: Delete) -> Result<()> {
        if let Some(child) = &self.child {
            // Until it is reaped, a zombie of this process would keep its pid.
            let _ = pidfd::wait(child.as_raw_fd(), libc::WNOHANG);
        }
        let result = delete::delete_own(&self.directory, &self.record, how);
        if let Some(child) = &self.child {
            let _ = pidfd::wait(child.as_raw_fd(), libc::WNOHANG);
        }
        result
    }

    pub(super) fn cgroup(&self) -> Cgroup {
        Cgroup::open(self.record.cgroup.clone())
    }

    /// Takes the lock; the state cannot change until it is dropped.
    pub(super) fn lock(&self) -> Result<FileLock> {
        self.directory.lock(false)
    }

    /// The status, for operations that need a particular one.
    pub(super) fn status(&self) -> Result<Status> {
        Ok(status_of(&self.directory, &self.record)?.0)
    }

    /// The init process as a verified pidfd; none if it has ended.
    pub(super) fn init(&self) -> Result<Option<OwnedFd>> {
        self.record.init.as_ref().map_or(Ok(None), identity::ProcessIdentity::open)
    }

    pub(super) fn not_running(&self) -> Error {
        Error::new(ErrorKind::WrongState, format!("container not running: {}", self.id().as_str()))
    }
}

/// Waits for a child of this process.
pub(super) fn wait_child(pidfd: &OwnedFd, pid: i32) -> Result<ExitStatus> {
    match pidfd::wait(pidfd.as_raw_fd(), 0) {
        Ok(Some((code, status))) => Ok(ExitStatus::from_wait(code, status)),
        Ok(None) => Err(Error::new(ErrorKind::System, format!("wait for process {pid}: it has not ended"))),
        Err(errno) => Err(Error::os(errno, format!("wait for process {pid}")).explain_no_child()),
    }
}
