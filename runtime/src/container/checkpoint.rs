//! Saving a container: its processes go into files, from which `restore` makes them again.

mod external;
mod options;
mod refusal;
mod streams;
mod work;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

pub use options::{CheckpointOptions, CriuOptions, ManageCgroups, NetworkLock, RestoreOptions};

pub(super) use external::{HostMount, MountView, host_mounts, masked_paths, mount_id, words_for_restore};
pub(super) use refusal::{refuse_what_cannot_be_saved, refuse_without_root};
pub(super) use streams::inherited;
pub(super) use work::{WorkDirectory, config_file, with_log};

use super::added;
use super::cgroups::layout;
use super::handle::Container;
use super::prepare::views;
use super::state::Status;
use crate::cgroup::{Cgroup, Mode};
use crate::criu::image::{ImageDirectory, check_parent};
use crate::criu::message::{CriuFeatures, CriuRequest, Options, PageServer, RequestType};
use crate::criu::program::{CriuProgram, CriuVersion};
use crate::criu::session::{CriuLaunch, Session, failure};
use crate::error::{Error, ErrorKind, Result};
use crate::linux::namespace::{Namespaces, Origin};
use refusal::refuse_added_mounts;

/// The first version that freezes with version 2 cgroups.
const FREEZES_V2: CriuVersion = CriuVersion(3, 14, 0);
/// The first version that supports a joined pid namespace, and that reports when pages are available.
pub(super) const JOINS_PID: CriuVersion = CriuVersion(3, 15, 0);
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
    /// `ErrorKind::WrongState` unless the container is running or paused; `ErrorKind::Unsupported` without criu, or if criu, this
    /// kernel or a property of the container rules it out. In these cases nothing was done. A failure of criu itself
    /// leaves the container running; the error has the end of its log.
    pub fn checkpoint(&self, options: CheckpointOptions) -> Result<()> {
        let _lock = self.lock()?;
        let status = self.status()?;
        if !matches!(status, Status::Running | Status::Paused) {
            return Err(Error::new(
                ErrorKind::WrongState,
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
            return Err(Error::new(ErrorKind::WrongState, sentence)
                .with_hint(format!("cgroup {} above it is frozen", above.display())));
        }
        if !options.pre_dump {
            refuse_added_mounts(&added::read(&self.directory)?)?;
        }
        if let Some(parent) = &options.parent {
            check_parent(&options.criu.image, parent)?;
        }
        let program = CriuProgram::find(options.criu.program.as_deref())?;
        program.examine_kernel(CriuFeatures {
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
        let mut request = CriuRequest::new(kind);
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
    program: &CriuProgram,
    request: &CriuRequest,
    status: Option<&OwnedFd>,
    work: &WorkDirectory<'_>,
    kind: RequestType,
) -> Result<()> {
    let mut session = Session::start(program.path(), CriuLaunch::default())?;
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

/// Namespaces that exist without the container: the configuration names them again at a restore.
fn external_namespaces(namespaces: &Namespaces, program: &CriuProgram) -> Result<Vec<String>> {
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
fn freezer(cgroup: &Cgroup, program: &CriuProgram) -> Option<String> {
    let dir = match cgroup.record().mode {
        Mode::V2 if program.has(FREEZES_V2) => cgroup.v2_dir(),
        Mode::V2 => None,
        // A container that was paused through the other freezer would not go on, and criu would wait for ever.
        Mode::Hybrid if program.has(FREEZES_V2) && cgroup.v2_dir().is_some() => cgroup.v2_dir(),
        Mode::V1 | Mode::Hybrid => cgroup.v1_dir("freezer"),
    };
    dir.and_then(|dir| dir.to_str().map(str::to_owned))
}
