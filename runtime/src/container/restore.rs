//! Restoring a container from the images of a checkpoint. A restore makes and forbids everything that a creation does:
//! what criu restores from the images is compared with the configuration before it may run.

mod inheritance;
mod inside;
mod mount_points;
mod restoration;
mod verify;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use oci_spec::runtime::Spec;

use super::cgroup_setup::connect;
use super::cgroups::layout;
use super::checkpoint::{
    HostMount, JOINS_PID, ManageCgroups, RestoreOptions, WorkDirectory, config_file, host_mounts,
    refuse_what_cannot_be_saved, refuse_without_root, with_log,
};
use super::creation::Creation;
use super::handle::Container;
use super::identity::wait_end;
use super::options::{CreateOptions, Stdio};
use super::prepare::{Prepared as Created, views};
use super::record::PATIENCE;
use super::runtime::Runtime;
use super::terminal::{Destination, has_terminal};
use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupPlan};
use crate::criu::image::ImageDirectory;
use crate::criu::message::CriuFeatures;
use crate::criu::program::{CriuProgram, CriuVersion};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::id::ContainerId;
use crate::linux::capability::Masks;
use crate::linux::namespace::{Namespaces, Origin};
use crate::plan::{Gate, mounts_of};
use crate::sys::pidfd;
use inheritance::Inheritance;
use restoration::Restoration;

/// The first version that can restore with another security label.
const CHANGES_LABEL: CriuVersion = CriuVersion(3, 16, 0);
const LOG: &str = "restore.log";

/// Everything that is known before the first side effect.
struct PreparedRestore<'b> {
    bundle: &'b Bundle,
    namespaces: Namespaces,
    program: CriuProgram,
    images: ImageDirectory,
    names: Vec<String>,
    host_mounts: Vec<HostMount>,
    seccomp: verify::ExpectedSeccomp,
    label: Option<String>,
    config_file: Option<String>,
    capabilities: Masks,
    streams: [OwnedFd; 3],
    inheritance: Inheritance,
}

impl Runtime {
    /// Restores a container from the images that [`Container::checkpoint`] wrote; it runs at once.
    ///
    /// The images say what the processes are and do; the configuration says what they may do. Before a process runs,
    /// its namespaces, mounts, cgroups, capabilities, ids, seccomp filters, `no_new_privs`, labels and open files are
    /// compared with the configuration, and its limits are set. `prestart` and `createRuntime` hooks run; those of
    /// other kinds do not.
    ///
    /// # Errors
    ///
    /// As [`Runtime::create`]; `ErrorKind::Unsupported` without criu, or if criu or this kernel rules it out;
    /// `ErrorKind::Corrupt` if the directory holds what no checkpoint contains; `ErrorKind::InvalidSpec` if the images describe
    /// something less confined than the configuration says. Nothing of the container is left then.
    pub fn restore(&self, id: &ContainerId, bundle: &Bundle, options: RestoreOptions) -> Result<Container> {
        let (options, directory) = (&options, self.directory(id));
        let spec = bundle.spec();
        let create_options = CreateOptions::new().console(options.console.clone());
        // Refuses all that a creation would refuse.
        let Created { cgroup: cgroup_plan, mut record, .. } =
            self.prepare(id, bundle, &create_options, Gate::Open, None)?;
        let prepared = prepare(id, bundle, options, &cgroup_plan)?;
        if !prepared.namespaces.cgroup.is_own() {
            record.namespaces &= !libc::CLONE_NEWCGROUP;
        }
        let terminal = has_terminal(spec.process().as_ref());
        let console = Destination::connect(terminal, &options.console)?;
        cgroup_plan.refuse_frozen()?;
        let manager = connect(&cgroup_plan, None)?;
        let work = WorkDirectory::make(&options.criu, &prepared.images, LOG)?;

        let rootfs = record.rootfs.clone();
        let mut creation = Creation::begin(&directory, bundle, record, &cgroup_plan, manager)?;
        creation.make_cgroup()?;
        mount_points::make(&mounts_of(spec), bundle.dir(), &rootfs)?;
        let mut restoration = Restoration {
            prepared: &prepared,
            options,
            creation: &mut creation,
            rootfs: &rootfs,
            terminal,
            console,
            kept_console: None,
            init: None,
            criu: 0,
            cgroups: String::new(),
            verified: false,
        };
        let done = restoration.run(&work);
        let Restoration { init, kept_console, .. } = restoration;
        match (done, init) {
            (Ok(()), Some((_, pidfd))) => Ok(creation.complete(pidfd, kept_console)),
            (Ok(()), None) => Err(Error::new(ErrorKind::System, "criu did not tell which process it made")),
            (Err(error), init) => {
                if let Some((_, pidfd)) = init {
                    end(&pidfd);
                }
                Err(with_log(error, &work, LOG))
            }
        }
    }
}

/// Ends and reaps the first process, which is a child of this one.
fn end(pidfd: &OwnedFd) {
    // ESRCH: criu has ended it.
    let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
    if wait_end(pidfd.as_fd(), PATIENCE.as_millis() as i32) {
        let _ = pidfd::wait(pidfd.as_raw_fd(), libc::WNOHANG);
    }
}

/// Reads, compares and refuses; changes nothing.
fn prepare<'b>(
    id: &ContainerId,
    bundle: &'b Bundle,
    options: &RestoreOptions,
    cgroup: &CgroupPlan,
) -> Result<PreparedRestore<'b>> {
    let spec = bundle.spec();
    refuse_without_root()?;
    refuse_what_cannot_be_saved(spec)?;
    let program = CriuProgram::find(options.criu.program.as_deref())?;
    let mut namespaces = Namespaces::of(spec.linux().as_ref());
    if let Origin::Joined(_, index) = &namespaces.pid {
        let pointer = format!("/linux/namespaces/{index}/path");
        program.needs(JOINS_PID, "a joined pid namespace").map_err(|error| error.at(pointer))?;
    }
    if options.criu.cgroups == ManageCgroups::Ignore && namespaces.cgroup.is_new() {
        log::warn!(
            "criu makes no cgroup namespace when it is to ignore cgroups: the container gets the runtime's own, \
             in which it sees the paths of its cgroups"
        );
        namespaces.cgroup = Origin::Inherited;
    }
    let label = options.lsm_profile.clone().or_else(|| configured_label(spec));
    if label.is_some() || options.lsm_mount_context.is_some() {
        program.needs(CHANGES_LABEL, "another security label")?;
    }
    if let Some(label) = &label
        && !["apparmor:", "selinux:"].iter().any(|kind| label.len() > kind.len() && label.starts_with(kind))
    {
        let sentence = format!("invalid LSM profile {label:?}: it is apparmor:NAME or selinux:LABEL");
        return Err(Error::new(ErrorKind::InvalidSpec, sentence));
    }
    program.examine_kernel(CriuFeatures { mem_track: None, lazy_pages: Some(options.criu.lazy_pages) })?;
    let images = ImageDirectory::open(&options.criu.image)?;
    images.examine(options.criu.lazy_pages)?;
    let names = images.read_descriptors()?;
    let seccomp = verify::expected_seccomp(spec, &images)?;
    let host_mounts =
        host_mounts(spec, bundle.dir(), &views(&layout(bundle)?, &Cgroup::open(cgroup.planned_record())));
    let sets = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let mut capabilities = Masks::of(sets);
    capabilities.limit(Host::probe()?.grantable);
    Ok(PreparedRestore {
        bundle,
        namespaces,
        program,
        images,
        names,
        host_mounts,
        seccomp,
        label,
        config_file: config_file(spec)?,
        capabilities,
        streams: streams(&options.stdio)?,
        inheritance: Inheritance::of(spec, id)?,
    })
}

/// criu takes one label for all processes; by default it uses those of the images.
fn configured_label(spec: &Spec) -> Option<String> {
    let process = spec.process().as_ref()?;
    let label = |kind: &str, label: &Option<String>| {
        label.as_deref().filter(|label| !label.is_empty()).map(|label| format!("{kind}:{label}"))
    };
    label("apparmor", process.apparmor_profile()).or_else(|| label("selinux", process.selinux_label()))
}

/// Copies of the streams, with numbers that criu itself does not use.
fn streams(stdio: &Stdio) -> Result<[OwnedFd; 3]> {
    let copy = |fd: BorrowedFd<'_>| {
        fd.try_clone_to_owned().map_err(|error| Error::io(&error, "duplicate a standard stream"))
    };
    match stdio {
        Stdio::Inherit => Ok([
            copy(std::io::stdin().as_fd())?,
            copy(std::io::stdout().as_fd())?,
            copy(std::io::stderr().as_fd())?,
        ]),
        Stdio::Fds([input, output, error]) => {
            Ok([copy(input.as_fd())?, copy(output.as_fd())?, copy(error.as_fd())?])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_gives_the_label() {
        let with = |process: serde_json::Value| {
            let spec = serde_json::json!({"ociVersion": "1.2.0", "process": process});
            configured_label(&serde_json::from_value(spec).expect("valid"))
        };
        let base = |key: &str, value: &str| serde_json::json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}, key: value});
        assert_eq!(with(base("apparmorProfile", "p")).as_deref(), Some("apparmor:p"));
        assert_eq!(with(base("selinuxLabel", "l")).as_deref(), Some("selinux:l"));
        assert_eq!(with(base("apparmorProfile", "")), None);
    }
}
