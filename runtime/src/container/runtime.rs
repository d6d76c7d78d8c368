//! The entry point: a state directory and a cgroup driver.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroups::Cgroups;
use super::delete;
use super::handle::Container;
use super::options::{CgroupDriver, Delete};
use super::state::State;
use super::store::Directory;
use crate::error::{Error, Result};
use crate::id::ContainerId;

/// Makes and finds containers under one state directory.
#[derive(Clone, Debug)]
pub struct Runtime {
    root: PathBuf,
    cgroups: Cgroups,
    resctrl: Option<PathBuf>,
}

/// Configures a [`Runtime`].
#[derive(Clone, Debug, Default)]
pub struct RuntimeBuilder {
    root: Option<PathBuf>,
    cgroups: Cgroups,
    resctrl: Option<PathBuf>,
}

/// One entry of [`Runtime::list`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Listed {
    /// The container's id: the name of its directory.
    pub id: String,
    /// Its state, or why it cannot be read; other entries are not affected.
    pub state: Result<State>,
}

impl RuntimeBuilder {
    /// Sets the state directory (default `/run/wharf`), which is made with the first container.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Sets where the resctrl file system is mounted, for containers with `linux.intelRdt`. By default it is searched
    /// for, at `/sys/fs/resctrl` first, when such a container is created.
    #[must_use]
    pub fn resctrl(mut self, mount: impl Into<PathBuf>) -> Self {
        self.resctrl = Some(mount.into());
        self
    }

    /// Sets who manages cgroups.
    #[must_use]
    pub fn cgroup_driver(mut self, driver: CgroupDriver) -> Self {
        self.cgroups.driver = driver;
        self
    }

    /// Honours every `org.systemd.property.*` annotation (default: only those that say how the container's own unit
    /// ends). The author of a configuration can then have systemd run programs as root, or power the machine off.
    #[must_use]
    pub fn systemd_annotations(mut self, trusted: bool) -> Self {
        self.cgroups.trusted = trusted;
        self
    }

    /// Sets what happens if the caller may not make a container's cgroup, or filter its devices. `true` goes on
    /// without, as long as nothing is limited, and puts cgroups that no configuration names below the caller's own;
    /// `false` makes it an error. By default a caller without privileges over the machine goes on without, and any
    /// other gets a warning.
    ///
    /// A limit that cannot be set is always an error.
    #[must_use]
    pub fn rootless_cgroups(mut self, rootless: bool) -> Self {
        self.cgroups.rootless = Some(rootless);
        self
    }

    /// Builds the runtime. Touches nothing.
    ///
    /// # Errors
    ///
    /// If the state directory is a relative path and the working directory is gone.
    pub fn build(self) -> Result<Runtime> {
        let root = self.root.unwrap_or_else(|| PathBuf::from("/run/wharf"));
        let root = std::path::absolute(&root)
            .map_err(|error| Error::io(&error, format!("find the state directory {}", root.display())))?;
        Ok(Runtime { root, cgroups: self.cgroups, resctrl: self.resctrl })
    }
}

impl Runtime {
    /// Starts configuring a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// The state directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Who makes cgroups.
    pub(super) fn cgroups(&self) -> Cgroups {
        self.cgroups
    }

    /// Where the resctrl file system is mounted, if the caller knows.
    pub(super) fn resctrl(&self) -> Option<&Path> {
        self.resctrl.as_deref()
    }

    /// The directory of a container, whether it exists or not.
    pub(super) fn directory(&self, id: &ContainerId) -> Directory {
        Directory::of(&self.root, id)
    }

    /// Opens an existing container, whichever process created it.
    ///
    /// # Errors
    ///
    /// `ErrorKind::NotFound` if there is none, `ErrorKind::WrongState` if it is still being created, `ErrorKind::Corrupt` if its state
    /// cannot be parsed.
    pub fn open(&self, id: &ContainerId) -> Result<Container> {
        Container::open(self.directory(id))
    }

    /// All containers, sorted by id.
    ///
    /// # Errors
    ///
    /// Only if the state directory exists and cannot be read; a broken container is an entry with an error.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let context = |error: std::io::Error| {
            Error::io(&error, format!("read the state directory {}", self.root.display()))
        };
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(context)?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let name = entry.map_err(context)?.file_name();
            // A name that is not a valid id is no container of ours.
            let Some(id) = name.to_str().and_then(|name| ContainerId::new(name).ok()) else { continue };
            let directory = self.directory(&id);
            if !directory.path().is_dir() {
                continue;
            }
            let state = super::state::state_of(&directory);
            listed.push(Listed { id: id.as_str().to_owned(), state });
        }
        listed.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(listed)
    }

    /// Deletes a container by its id alone, even if its state files are damaged or its creation was interrupted.
    ///
    /// # Errors
    ///
    /// `ErrorKind::NotFound` (not with [`Delete::Force`]), `ErrorKind::WrongState` if it runs and may not be killed, or the
    /// failure of a system call, after which `delete` can be called again.
    pub fn delete(&self, id: &ContainerId, how: Delete) -> Result<()> {
        delete::delete(&self.directory(id), how)
    }
}
