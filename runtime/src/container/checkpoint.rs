//! Saving a container: its processes go into files, from which `restore` makes them again.

mod external;
mod options;
mod streams;

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

pub use options::{CheckpointOptions, CriuOptions, ManageCgroups, NetworkLock, RestoreOptions};

pub(super) use external::{HostMount, MountView, host_mounts, masked_paths, mount_id, words_for_restore};
pub(super) use streams::inherited;

use super::added;
use super::cgroups::layout;
use super::handle::Container;
use super::prepare::views;
use super::state::Status;
use crate::cgroup::{Cgroup, Mode};
use crate::criu::image::{ImageDirectory, check_parent};
use crate::criu::message::{Features, Options, PageServer, Request, RequestType};
use crate::criu::program::{Program, Version};
use crate::criu::session::{Launch, Session, failure};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::linux::mount::added::AddedMount;
use crate::linux::namespace::{Namespaces, Origin};
use crate::linux::seccomp::Listener;
use crate::plan::mount::entry::Entry;
use crate::program::blame::Place;

/// The first version that freezes with version 2 cgroups.
const FREEZES_V2: Version = Version(3, 14, 0);
/// The first version that supports a joined pid namespace, and that reports when pages are available.
pub(super) const JOINS_PID: Version = Version(3, 15, 0);
/// How much criu logs: everything except what helps only its developers.
pub(super) const LOG_LEVEL: i32 = 4;
const LOG: &str = "dump.log";

impl Container {
    /// Saves the container's processes with criu. Unless the options say otherwise, the container is stopped afterwards
    /// and still has to be deleted.
    ///
    /// Host mounts, joined network and pid namespaces, and pipe ends outside of the container are saved by name only;
    /// [`Runtime::restore`](super::Runtime::restore) replaces them with what its configuration says.
    ///
    /// # Errors
    ///
    /// `Kind::WrongState` unless the container is running or paused; `Kind::Unsupported` without criu, or if criu, this
    /// kernel or a property of the container rules it out. In these cases nothing was done. A failure of criu itself
    /// leaves the container running; the error has the end of its log.
    pub fn checkpoint(&self, options: &CheckpointOptions) -> Result<()> {
        let _lock = self.lock()?;
        let status = self.status()?;
        if !matches!(status, Status::Running | Status::Paused) {
            return Err(Error::new(
                Kind::WrongState,
                format!("container cannot be checkpointed in {status} state"),
            ));
        }
        let bundle = self.bundle()?;
        let spec = bundle.spec();
        refuse_without_root()?;
        refuse_what_cannot_be_saved(spec)?;
        if let Some(above) = self.cgroup().frozen_above() {
            // criu would wait for the frozen processes to stop.
            let sentence = format!("container cannot be checkpointed in {status} state");
            return Err(Error::new(Kind::WrongState, sentence)
                .hint(format!("cgroup {} above it is frozen", above.display())));
        }
        if !options.pre_dump {
            refuse_added_mounts(&added::read(&self.directory)?)?;
        }
        if let Some(parent) = &options.parent {
            check_parent(&options.criu.image, parent)?;
        }
        let program = Program::find(options.criu.program.as_deref())?;
        program.examine_kernel(Features {
            mem_track: Some(options.pre_dump || options.parent.is_some()),
            lazy_pages: Some(options.criu.lazy_pages),
        })?;
        let namespaces = Namespaces::of(spec.linux().as_ref());
        let mut external = external_namespaces(&namespaces, &program)?;
        let config_file = config_file(spec)?;

        let pid = self.pid().unwrap_or(0);
        let cgroup = self.cgroup();
        let mut names = Vec::new();
        if !options.pre_dump {
            let mounts = host_mounts(spec, bundle.dir(), &views(&layout(bundle)?, &cgroup));
            external.extend(external::words_for_dump(spec, &mounts, &MountView::of(&pid.to_string())?)?);
            let mut pids = cgroup.processes(true)?;
            pids.sort_by_key(|&other| (other != pid, other));
            let streams = streams::of_processes(&pids);
            external.extend(streams.external);
            names = streams.names;
        }
        let images = ImageDirectory::make(&options.criu.image)?;
        let work = WorkDirectory::make(&options.criu, &images, LOG)?;
        if !options.pre_dump {
            images.write_descriptors(&names)?;
        }

        let mut message = common_options(&options.criu, &images, work.own(), LOG);
        message.pid = Some(pid);
        message.root = self.record.rootfs.to_str().map(str::to_owned);
        message.external = external;
        message.config_file = config_file;
        message.leave_running = Some(options.leave_running);
        message.tcp_skip_in_flight = Some(options.tcp_skip_in_flight);
        message.link_remap = Some(options.link_remap);
        message.freeze_cgroup = freezer(&cgroup, &program);
        message.page_server = options.page_server.as_ref().map(|(address, port)| PageServer {
            address: Some(address.clone()),
            port: Some(i32::from(*port)),
        });
        if let Some(parent) = &options.parent {
            message.parent_img = parent.to_str().map(str::to_owned);
            message.track_mem = Some(true);
        }
        let kind = if options.pre_dump { RequestType::PreDump } else { RequestType::Dump };
        message.track_mem = message.track_mem.or(options.pre_dump.then_some(true));
        let mut request = Request::new(kind);
        request.options = Some(message);

        let result = dump(&program, &request, options.status_fd.as_ref(), &work, kind);
        if result.is_err()
            && status == Status::Running
            && let Err(error) = cgroup.thaw()
        {
            // criu resumes them unless it was killed first; the reason why there are no images says more than this
            // failure.
            log::warn!("{error}");
        }
        result
    }
}

fn dump(
    program: &Program,
    request: &Request,
    status: Option<&OwnedFd>,
    work: &WorkDirectory<'_>,
    kind: RequestType,
) -> Result<()> {
    let mut session = Session::start(program.path(), Launch::default())?;
    let answer = session.ask(request, &mut |script, _, _| {
        if let ("status-ready", Some(fd)) = (script, status) {
            let told = fd.try_clone().map(File::from).and_then(|mut file| file.write_all(&[0]));
            told.map_err(|error| Error::io(&error, "write to the status descriptor"))?;
        }
        Ok(())
    });
    session.end();
    match answer {
        Ok(response) if response.success && response.kind() == kind => Ok(()),
        Ok(response) => Err(failure("checkpoint", &response, work.log(LOG).as_mut(), &work.log_path(LOG))),
        Err(error) => Err(with_log(error.during("checkpoint"), work, LOG)),
    }
}

/// Adds the path of criu's log.
pub(super) fn with_log(error: Error, work: &WorkDirectory<'_>, log: &str) -> Error {
    error.hint(format!("see {}", work.log_path(log).display()))
}

/// criu makes processes with arbitrary ids and inspects all of them.
pub(super) fn refuse_without_root() -> Result<()> {
    if Host::probe()?.is_rootless() {
        return Err(Error::new(Kind::Unsupported, "checkpoint and restore need root of the host"));
    }
    Ok(())
}

/// A restore makes only the configuration's mounts, and takes no others from the images.
fn refuse_added_mounts(added: &[AddedMount]) -> Result<()> {
    let Some(mount) = added.first() else { return Ok(()) };
    let sentence = format!("a mount was added on {} in the container", mount.destination.display());
    Err(Error::new(Kind::Unsupported, format!("{sentence}, which a restore would not bring back"))
        .hint("remove it first"))
}

/// Refuses what criu could not save, or could not restore as it was.
pub(super) fn refuse_what_cannot_be_saved(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let namespaces = Namespaces::of(linux);
    let refuse = |what: &str, pointer: &str| {
        Err(Error::new(Kind::Unsupported, format!("a container {what} cannot be checkpointed or restored"))
            .at(pointer))
    };
    if !namespaces.mount.is_new() {
        return refuse("without a mount namespace of its own", "/linux/namespaces");
    }
    for (origin, name) in
        [(&namespaces.user, "user"), (&namespaces.cgroup, "cgroup"), (&namespaces.time, "time")]
    {
        if let Origin::Joined(_, index) = origin {
            return refuse(&format!("that joined a {name} namespace"), &format!("/linux/namespaces/{index}"));
        }
    }
    // In a joined namespace they stay where they are, whatever becomes of the container.
    let stay = matches!(namespaces.network, Origin::Joined(..));
    if !stay
        && linux.and_then(|linux| linux.net_devices().as_ref()).is_some_and(|devices| !devices.is_empty())
    {
        return refuse(
            "with network devices of the host in a network namespace of its own",
            "/linux/netDevices",
        );
    }
    if linux.is_some_and(|linux| linux.intel_rdt().is_some()) {
        return refuse("in a resctrl group", "/linux/intelRdt");
    }
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        // criu would mount them without the map.
        let maps = [mount.uid_mappings(), mount.gid_mappings()];
        let mapped =
            Entry::new(mount, Place::item("/mounts", index)).is_ok_and(|entry| entry.options.idmap.is_some());
        if mapped || maps.into_iter().flatten().any(|map| !map.is_empty()) {
            return refuse("with an id-mapped mount", &format!("/mounts/{index}"));
        }
    }
    let seccomp = linux.and_then(|linux| linux.seccomp().as_ref());
    if seccomp.is_some_and(|seccomp| Listener::of(seccomp).is_some()) {
        return refuse("with a seccomp listener", "/linux/seccomp/listenerPath");
    }
    Ok(())
}

/// Namespaces that exist without the container: the configuration names them again at a restore.
fn external_namespaces(namespaces: &Namespaces, program: &Program) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for (origin, kind, key) in joined_namespaces(namespaces) {
        let Origin::Joined(path, index) = origin else { continue };
        if kind == "pid" {
            program.needs(JOINS_PID, "a joined pid namespace").map_err(|error| error.at(pointer(*index)))?;
        }
        let inode = std::fs::metadata(path)
            .map_err(|error| {
                Error::io(&error, format!("find namespace {}", path.display())).at(pointer(*index))
            })?
            .ino();
        words.push(format!("{kind}[{inode}]:{key}"));
    }
    Ok(words)
}

fn pointer(index: usize) -> String {
    format!("/linux/namespaces/{index}/path")
}

/// The kinds of namespaces that criu can leave to others, with their names in the images.
pub(super) fn joined_namespaces(namespaces: &Namespaces) -> [(&Origin, &'static str, &'static str); 2] {
    [(&namespaces.network, "net", "extRootNetNS"), (&namespaces.pid, "pid", "extRootPidNS")]
}

/// The options that a checkpoint and a restore share.
pub(super) fn common_options(
    options: &CriuOptions,
    images: &ImageDirectory,
    work: Option<&ImageDirectory>,
    log: &str,
) -> Options {
    Options {
        images_dir_fd: images.fd().as_raw_fd(),
        work_dir_fd: work.map(|work| work.fd().as_raw_fd()),
        log_level: Some(LOG_LEVEL),
        log_file: Some(log.to_owned()),
        notify_scripts: Some(true),
        manage_cgroups: Some(true),
        manage_cgroups_mode: Some(options.cgroups.message() as i32),
        tcp_established: Some(options.tcp_established),
        ext_unix_sk: Some(options.ext_unix_sk),
        shell_job: Some(options.shell_job),
        file_locks: Some(options.file_locks),
        auto_dedup: Some(options.auto_dedup),
        lazy_pages: Some(options.lazy_pages),
        orphan_pts_master: Some(true),
        // A hook, or the owner of the network namespace, makes the interfaces.
        empty_ns: Some(libc::CLONE_NEWNET as u32),
        network_lock: options.network_lock.map(|lock| lock.message() as i32),
        ..Options::default()
    }
}

/// The cgroup with which criu stops the processes; without one it stops them one by one.
fn freezer(cgroup: &Cgroup, program: &Program) -> Option<String> {
    let dir = match cgroup.record().mode {
        Mode::V2 if program.has(FREEZES_V2) => cgroup.v2_dir(),
        Mode::V2 => None,
        // A container that was paused through the other freezer would not go on, and criu would wait for ever.
        Mode::Hybrid if program.has(FREEZES_V2) && cgroup.v2_dir().is_some() => cgroup.v2_dir(),
        Mode::V1 | Mode::Hybrid => cgroup.v1_dir("freezer"),
    };
    dir.and_then(|dir| dir.to_str().map(str::to_owned))
}

/// A file with more options for criu: the annotation `org.criu.config`, or else the host's file for runtimes. An empty
/// annotation means none.
///
/// Such a file can name scripts, so root must own it.
pub(super) fn config_file(spec: &Spec) -> Result<Option<String>> {
    let annotation = spec.annotations().as_ref().and_then(|all| all.get("org.criu.config"));
    let pointer = "/annotations/org.criu.config";
    let path = match annotation.map(String::as_str) {
        Some("") => return Ok(None),
        Some(path) if !path.starts_with('/') => {
            return Err(
                Error::new(Kind::InvalidSpec, format!("{path:?} is not an absolute path")).at(pointer)
            );
        }
        Some(path) => path,
        None => match ["/etc/criu/wharf.conf", "/etc/criu/runc.conf"]
            .into_iter()
            .find(|path| Path::new(path).exists())
        {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    match std::fs::metadata(path) {
        Err(error) => Err(Error::io(&error, format!("find criu's configuration file {path}")).at(pointer)),
        Ok(file) if file.is_file() && file.uid() == 0 && file.mode() & 0o022 == 0 => {
            Ok(Some(path.to_owned()))
        }
        Ok(_) => {
            let sentence = format!("criu's configuration file {path} is not root's alone to write");
            Err(Error::new(Kind::Permission, sentence).at(pointer))
        }
    }
}

/// Where criu logs: a directory of its own, or that of the images.
pub(super) struct WorkDirectory<'i> {
    images: &'i ImageDirectory,
    own: Option<ImageDirectory>,
}

impl<'i> WorkDirectory<'i> {
    /// Makes the directory if it does not exist. A file with the name of the log must not lead elsewhere.
    pub(super) fn make(options: &CriuOptions, images: &'i ImageDirectory, log: &str) -> Result<Self> {
        let own = options.work.as_deref().map(make_work).transpose()?;
        let all = Self { images, own };
        all.directory().examine_file(log)?;
        Ok(all)
    }

    /// The directory, if it is not that of the images.
    pub(super) fn own(&self) -> Option<&ImageDirectory> {
        self.own.as_ref()
    }

    fn directory(&self) -> &ImageDirectory {
        self.own.as_ref().unwrap_or(self.images)
    }

    /// The log, opened for reading.
    pub(super) fn log(&self, name: &str) -> Option<File> {
        self.directory().open_log(name)
    }

    /// The path of the log.
    pub(super) fn log_path(&self, name: &str) -> PathBuf {
        self.directory().path().join(name)
    }
}

fn make_work(path: &Path) -> Result<ImageDirectory> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io(&error, format!("make the directory {}", path.display())))
        }
        _ => ImageDirectory::open(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(linux: serde_json::Value) -> Option<String> {
        let spec: Spec = serde_json::from_value(serde_json::json!({"ociVersion": "1.2.0", "linux": linux}))
            .expect("valid");
        refuse_what_cannot_be_saved(&spec).err().and_then(|error| error.pointer().map(str::to_owned))
    }

    #[test]
    fn what_criu_cannot_bring_back_is_refused_by_name() {
        let mount = serde_json::json!({"type": "mount"});
        assert_eq!(refused(serde_json::json!({})).as_deref(), Some("/linux/namespaces"));
        assert_eq!(refused(serde_json::json!({"namespaces": [mount]})), None);
        let joined = serde_json::json!({"namespaces": [mount, {"type": "user", "path": "/u"}]});
        assert_eq!(refused(joined).as_deref(), Some("/linux/namespaces/1"));
        let network = serde_json::json!({"namespaces": [mount, {"type": "network", "path": "/n"}]});
        assert_eq!(refused(network), None);
    }

    #[test]
    fn a_configuration_file_of_criu_must_be_roots() {
        let with = |path: &str| {
            let spec = serde_json::json!({"ociVersion": "1.2.0", "annotations": {"org.criu.config": path}});
            config_file(&serde_json::from_value(spec).expect("valid"))
        };
        assert_eq!(with("").expect("none"), None);
        assert_eq!(with("relative").unwrap_err().kind(), Kind::InvalidSpec);
        assert_eq!(with("/nonexistent/criu.conf").unwrap_err().errno(), Some(libc::ENOENT));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("criu.conf");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!(with(file.to_str().unwrap()).unwrap_err().kind(), Kind::Permission);
    }
}
