//! The entry point: a state directory and a cgroup driver.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroups::Cgroups;
use super::create;
use super::delete;
use super::handle::Container;
use super::host_check;
use super::options::{CgroupDriver, CreateOptions, Delete};
use super::prepare;
use super::state::State;
use super::store::Directory;
use crate::bundle::Bundle;
use crate::check::finding::Finding;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::plan::{Explanation, Gate};

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

    /// Everything that is wrong with a bundle, and everything that deserves a warning, before any side effect.
    ///
    /// It needs no privilege. Things that the caller may not look at, and those that only an attempt would show, are
    /// left out; missing rights of the caller are reported.
    pub fn check(&self, bundle: &Bundle) -> Vec<Finding> {
        let mut findings = bundle.warnings().to_vec();
        findings.extend(crate::check::check(bundle.spec()));
        host_check::check(bundle, self.cgroups, self.resctrl.as_deref(), &mut findings);
        findings
    }

    /// As [`Runtime::check`], and also reports what is wrong with these options: where the terminal goes.
    pub fn check_with(&self, bundle: &Bundle, options: &CreateOptions) -> Vec<Finding> {
        let mut findings = self.check(bundle);
        host_check::check_console(bundle.spec(), &options.console, &mut findings);
        findings
    }

    /// The ordered steps that [`Runtime::create`] would take, without taking them.
    ///
    /// # Errors
    ///
    /// As [`Runtime::create`], for everything that it refuses before its first side effect.
    pub fn explain(&self, id: &ContainerId, bundle: &Bundle, options: &CreateOptions) -> Result<Explanation> {
        prepare::explain(
            &Directory::of(&self.root, id),
            bundle,
            options,
            self.cgroups,
            self.resctrl.as_deref(),
        )
    }

    /// Creates a container: afterwards everything but its program is in place, and its first process waits for
    /// [`Container::start`].
    ///
    /// # Errors
    ///
    /// A malformed or contradictory configuration (`Kind::InvalidSpec`) and an id in use (`Kind::Exists`) end it before
    /// any side effect. Any later failure leaves the host as it was.
    pub fn create(&self, id: &ContainerId, bundle: &Bundle, options: CreateOptions) -> Result<Container> {
        create::create(&self.root, id, bundle, options, Gate::Socket, self.cgroups, self.resctrl.as_deref())
    }

    /// Creates a container and starts it at once, which is faster than [`Runtime::create`] and [`Container::start`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::create`] and [`Container::start`]; nothing of the container is left.
    pub fn run(&self, id: &ContainerId, bundle: &Bundle, options: CreateOptions) -> Result<Container> {
        create::create(&self.root, id, bundle, options, Gate::Open, self.cgroups, self.resctrl.as_deref())
    }

    /// Restores a container from the images that [`Container::checkpoint`] wrote; it runs at once.
    ///
    /// The images say what the processes are and do; the configuration says what they may do. Before a process runs,
    /// its namespaces, mounts, cgroups, capabilities, ids, seccomp filters, `no_new_privs`, labels and open files are
    /// compared with the configuration, and its limits are set. `prestart` and `createRuntime` hooks run; those of
    /// other kinds do not.
    ///
    /// # Errors
    ///
    /// As [`Runtime::create`]; `Kind::Unsupported` without criu, or if criu or this kernel rules it out;
    /// `Kind::Corrupt` if the directory holds what no checkpoint contains; `Kind::InvalidSpec` if the images describe
    /// something less confined than the configuration says. Nothing of the container is left then.
    #[cfg(feature = "criu")]
    pub fn restore(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        options: &super::RestoreOptions,
    ) -> Result<Container> {
        super::restore::restore(&self.root, id, bundle, options, self.cgroups)
    }

    /// Opens an existing container, whichever process created it.
    ///
    /// # Errors
    ///
    /// `Kind::NotFound` if there is none, `Kind::WrongState` if it is still being created, `Kind::Corrupt` if its state
    /// cannot be parsed.
    pub fn open(&self, id: &ContainerId) -> Result<Container> {
        Container::open(Directory::of(&self.root, id), id)
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
            let directory = Directory::of(&self.root, &id);
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
    /// `Kind::NotFound` (not with [`Delete::Force`]), `Kind::WrongState` if it runs and may not be killed, or the
    /// failure of a system call, after which `delete` can be called again.
    pub fn delete(&self, id: &ContainerId, how: Delete) -> Result<()> {
        delete::delete(&Directory::of(&self.root, id), how)
    }
}
