//! Making a container of the images of a checkpoint. All that a creation makes and forbids, a restore does too: what
//! criu makes by the images is compared with the configuration before it may run.

mod mount_points;
mod verify;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use oci_spec::runtime::{Process, Spec};

use super::cgroup_setup::{delegate_cgroup, enter_scope};
use super::checkpoint::{
    HostMount, JOINS_PID, RestoreOptions, WorkDirectory, common_options, config_file, host_mounts, inherited,
    joined_namespaces, refuse_what_cannot_be_saved, refuse_without_root, with_log, words_for_restore,
};
use super::creation::{Creation, PATIENCE};
use super::handle::Container;
use super::identity::{ProcessIdentity, wait_end};
use super::opened::open_namespace;
use super::options::{CreateOptions, Stdio};
use super::prepare;
use super::runtime::{Cgroups, layout};
use super::store::Directory;
use super::terminal::ConsoleSocket;
use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupPlan, Manager};
use crate::criu::image::ImageDirectory;
use crate::criu::message::{
    CgroupMode, CgroupRoot, Features, InheritFd, JoinNamespace, Options, Request, RequestType,
};
use crate::criu::program::{Program, Version};
use crate::criu::session::{Launch, Session, failure};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::id::ContainerId;
use crate::linux::capability::Masks;
use crate::linux::namespace::{Namespaces, Origin};
use crate::plan::{Gate, mounts_of};
use crate::sys::{pidfd, tty};
use verify::{Policy, verify};

/// The first version that restores under another security label.
const CHANGES_LABEL: Version = Version(3, 16, 0);
const LOG: &str = "restore.log";

/// Everything that is known before the first side effect.
struct Prepared<'b> {
    bundle: &'b Bundle,
    namespaces: Namespaces,
    program: Program,
    images: ImageDirectory,
    names: Vec<String>,
    host_mounts: Vec<HostMount>,
    seccomp: verify::ExpectedSeccomp,
    label: Option<String>,
    config_file: Option<String>,
    capabilities: Masks,
    streams: [OwnedFd; 3],
}

/// Makes a container of images.
pub(super) fn restore(
    root: &Path,
    id: &ContainerId,
    bundle: &Bundle,
    options: &RestoreOptions,
    cgroups: Cgroups,
) -> Result<Container> {
    let directory = Directory::of(root, id);
    let spec = bundle.spec();
    let create_options = CreateOptions::new().console(options.console.clone());
    // All that a creation would refuse. The container keeps the keyring that criu gives it.
    let prepare::Prepared { cgroup: cgroup_plan, mut record, .. } =
        prepare::prepare(&directory, bundle, &create_options, Gate::Open, None, cgroups)?;
    record.new_keyring = false;
    let prepared = prepare(bundle, options, &cgroup_plan)?;
    let terminal = spec.process().as_ref().and_then(Process::terminal).unwrap_or(false);
    let console = super::terminal::connect(terminal, &options.console)?;
    // Before the first side effect: there may be no systemd to talk to.
    let scope =
        cgroup_plan.scope.as_ref().map(|scope| Manager::connect(&scope.record.instance)).transpose()?;
    let work = WorkDirectory::make(&options.criu, &prepared.images, LOG)?;

    let lock = directory.begin(&record, bundle.config_bytes())?;
    let rootfs = record.rootfs.clone();
    let mut creation = Creation::new(&directory, spec, record);
    if scope.is_some() {
        cgroup_plan.check_free()?;
    } else {
        let cgroup = creation.cgroup.insert(cgroup_plan.apply()?);
        delegate_cgroup(spec, cgroup)?;
    }
    mount_points::make(&mounts_of(spec), bundle.dir(), &rootfs)?;
    let mut restoration = Restoration {
        prepared: &prepared,
        options,
        cgroup_plan: &cgroup_plan,
        creation: &mut creation,
        scope,
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
    let result = match (done, init) {
        (Ok(()), Some((_, pidfd))) => {
            creation.done = true;
            Ok(Container::made(directory.clone(), id.clone(), creation.record.clone(), pidfd, kept_console))
        }
        (Ok(()), None) => Err(Error::new(Kind::System, "criu did not tell which process it made")),
        (Err(error), init) => {
            if let Some((_, pidfd)) = init {
                end(&pidfd);
            }
            Err(with_log(error, &work, LOG))
        }
    };
    drop(creation);
    drop(lock);
    result
}

/// Ends and reaps the first process, which is a child of this one.
fn end(pidfd: &OwnedFd) {
    // ESRCH: criu ended it.
    let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
    if wait_end(pidfd.as_fd(), PATIENCE.as_millis() as i32) {
        let _ = pidfd::wait(pidfd.as_raw_fd(), libc::WNOHANG);
    }
}

/// Reads, compares and refuses; changes nothing.
fn prepare<'b>(bundle: &'b Bundle, options: &RestoreOptions, cgroup: &CgroupPlan) -> Result<Prepared<'b>> {
    let spec = bundle.spec();
    refuse_without_root()?;
    refuse_what_cannot_be_saved(spec)?;
    let program = Program::find(options.criu.program.as_deref())?;
    let namespaces = Namespaces::of(spec.linux().as_ref());
    if let Origin::Joined(_, index) = &namespaces.pid {
        let pointer = format!("/linux/namespaces/{index}/path");
        program.needs(JOINS_PID, "a joined pid namespace").map_err(|error| error.at(pointer))?;
    }
    let label = options.lsm_profile.clone().or_else(|| configured_label(spec));
    if label.is_some() || options.lsm_mount_context.is_some() {
        program.needs(CHANGES_LABEL, "another security label")?;
    }
    if let Some(label) = &label
        && !["apparmor:", "selinux:"].iter().any(|kind| label.len() > kind.len() && label.starts_with(kind))
    {
        let sentence = format!("invalid LSM profile {label:?}: it is apparmor:NAME or selinux:LABEL");
        return Err(Error::new(Kind::InvalidSpec, sentence));
    }
    program.examine_kernel(Features { mem_track: None, lazy_pages: Some(options.criu.lazy_pages) })?;
    let images = ImageDirectory::open(&options.criu.image)?;
    images.examine()?;
    let names = images.read_descriptors()?;
    let seccomp = verify::expected_seccomp(spec, &images)?;
    let host_mounts = host_mounts(
        spec,
        bundle.dir(),
        &prepare::views(&layout(bundle)?, &Cgroup::open(cgroup.planned_record())),
    );
    let sets = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let mut capabilities = Masks::of(sets);
    capabilities.limit(Host::probe()?.grantable);
    Ok(Prepared {
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
    })
}

/// criu takes one label for all processes; by itself it takes those of the images.
fn configured_label(spec: &Spec) -> Option<String> {
    let process = spec.process().as_ref()?;
    let label = |kind: &str, label: &Option<String>| {
        label.as_deref().filter(|label| !label.is_empty()).map(|label| format!("{kind}:{label}"))
    };
    label("apparmor", process.apparmor_profile()).or_else(|| label("selinux", process.selinux_label()))
}

/// Copies of the streams, with numbers that are not those of criu's own.
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

/// One restore under way.
struct Restoration<'r, 'c> {
    prepared: &'r Prepared<'r>,
    options: &'r RestoreOptions,
    cgroup_plan: &'r CgroupPlan,
    creation: &'r mut Creation<'c>,
    /// Where systemd makes the cgroup.
    scope: Option<Manager>,
    rootfs: &'r Path,
    terminal: bool,
    console: Option<ConsoleSocket>,
    kept_console: Option<OwnedFd>,
    /// The restored first process.
    init: Option<(i32, OwnedFd)>,
    /// The process id of criu, and its cgroups, which are the container's.
    criu: i32,
    cgroups: String,
    verified: bool,
}

impl Restoration<'_, '_> {
    fn run(&mut self, work: &WorkDirectory<'_>) -> Result<()> {
        let Prepared { program, images, names, streams, namespaces, .. } = self.prepared;
        let mut kept = Vec::new();
        let mut inherit_fds = inherited(names, streams, &mut kept);
        let opened = open_joined(namespaces)?;
        for (key, fd) in &opened {
            kept.push(fd.as_fd());
            inherit_fds.push(InheritFd { key: (*key).to_owned(), fd: fd.as_raw_fd() });
        }
        let copies = [streams[0].as_fd(), streams[1].as_fd(), streams[2].as_fd()];
        let [input, output, error] = copies.map(|fd| {
            fd.try_clone_to_owned().map_err(|error| Error::io(&error, "duplicate a standard stream"))
        });
        let launch = Launch { streams: Some([input?, output?, error?]), kept: &kept };
        let directories: Vec<_> = [images].into_iter().chain(work.own()).collect();
        let (mut session, directories) =
            Session::start_apart(program.path(), launch, self.rootfs, &directories)?;
        // The processes are born in the cgroups of criu, so no limit comes late.
        if let Some(manager) = &mut self.scope {
            let spec = self.prepared.bundle.spec();
            let cgroup = &mut self.creation.cgroup;
            enter_scope(spec, self.cgroup_plan, manager, cgroup, session.pid())?;
        } else if let Some(cgroup) = &self.creation.cgroup {
            cgroup.take_in(session.pid())?;
        }
        self.criu = session.pid();
        let file = format!("/proc/{}/cgroup", self.criu);
        self.cgroups =
            std::fs::read_to_string(&file).map_err(|error| Error::io(&error, format!("read {file}")))?;

        let mut message = common_options(
            &self.options.criu,
            directories.first().unwrap_or(images),
            directories.get(1),
            LOG,
        );
        self.complete(&mut message, inherit_fds)?;
        let mut request = Request::new(RequestType::Restore);
        request.options = Some(message);
        let answer = session.ask(&request, &mut |script, pid, fd| self.notified(script, pid, fd));
        session.end();
        let response = answer?;
        if !response.success || response.kind() != RequestType::Restore {
            return Err(failure("restore", &response, work.log(LOG).as_mut(), &work.log_path(LOG)));
        }
        if !self.verified {
            let sentence = "criu let the processes go before they could be compared with the configuration";
            return Err(Error::new(Kind::Unsupported, sentence).hint("a newer criu is needed"));
        }
        Ok(())
    }

    fn complete(&self, message: &mut Options, inherit_fds: Vec<InheritFd>) -> Result<()> {
        let Prepared { namespaces, host_mounts, label, config_file, .. } = self.prepared;
        message.root = Some(self.rootfs.to_str().map(str::to_owned).ok_or_else(|| {
            Error::new(Kind::Unsupported, format!("{} is not UTF-8", self.rootfs.display())).at("/root/path")
        })?);
        message.external = words_for_restore(host_mounts)?;
        message.inherit_fds = inherit_fds;
        message.evasive_devices = Some(true);
        message.restore_sibling = Some(true);
        message.orphan_pts_master = Some(self.terminal);
        message.tcp_close = Some(self.options.tcp_close);
        message.lsm_profile.clone_from(label);
        message.lsm_mount_context.clone_from(&self.options.lsm_mount_context);
        message.config_file.clone_from(config_file);
        message.cgroup_roots = cgroup_roots(&self.cgroups);
        for (origin, kind) in [(&namespaces.uts, "uts"), (&namespaces.ipc, "ipc")] {
            if let Origin::Joined(path, _) = origin {
                let file = path.to_string_lossy().into_owned();
                message.join_namespaces.push(JoinNamespace { kind: kind.to_owned(), file });
            }
        }
        Ok(())
    }

    fn notified(&mut self, script: &str, pid: Option<i32>, fd: Option<OwnedFd>) -> Result<()> {
        match script {
            "setup-namespaces" | "post-restore" => {
                let Some(pid) = pid else { return Ok(()) };
                if self.init.is_none() {
                    let pidfd =
                        pidfd::open(pid).map_err(|errno| Error::os(errno, format!("open process {pid}")))?;
                    self.init = Some((pid, pidfd));
                }
                if script == "setup-namespaces" { self.set_up_namespaces(pid) } else { Ok(()) }
            }
            "orphan-pts-master" => match fd {
                Some(master) => self.hand_over(master),
                None => Ok(()),
            },
            "pre-resume" => self.examine(),
            _ => Ok(()),
        }
    }

    /// The namespaces are there and nothing is in them: the time of the hooks that attach a network.
    fn set_up_namespaces(&mut self, pid: i32) -> Result<()> {
        if self.prepared.namespaces.network.is_new() {
            loopback_up(pid)?;
        }
        self.creation.run_runtime_hooks(pid)
    }

    fn hand_over(&mut self, master: OwnedFd) -> Result<()> {
        if let Some(socket) = &self.console {
            let number = tty::number(master.as_raw_fd())
                .map_err(|errno| Error::os(errno, "ask for the number of the terminal"))?;
            return socket.send(master, number);
        }
        self.kept_console = Some(master);
        Ok(())
    }

    /// All is restored, and no process has run.
    fn examine(&mut self) -> Result<()> {
        let Some((pid, pidfd)) = &self.init else {
            return Err(Error::new(Kind::System, "criu did not tell which process it made"));
        };
        let (pid, identity) = (*pid, ProcessIdentity::of(*pid, pidfd.as_fd())?);
        self.compare(pid).inspect_err(|_| {
            // criu only notes the refusal at this point, and would let them run.
            let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
            if let Some(cgroup) = &self.creation.cgroup {
                cgroup.kill(libc::SIGKILL).ok();
            }
        })?;
        if let Some(cgroup) = &self.creation.cgroup {
            self.creation.record.cgroup = cgroup.record().clone();
        }
        self.creation.record.init = Some(identity);
        if has_own_time(pid) {
            // criu makes one for every container, to keep its clocks going on.
            self.creation.record.namespaces |= libc::CLONE_NEWTIME;
        }
        self.creation.directory.complete(&self.creation.record)?;
        self.verified = true;
        Ok(())
    }

    fn compare(&self, pid: i32) -> Result<()> {
        let Prepared { bundle, namespaces, capabilities, host_mounts, seccomp, label, streams, .. } =
            self.prepared;
        let mode = self.options.criu.cgroups.message();
        if let Some(cgroup) = &self.creation.cgroup {
            let devices = matches!(mode, CgroupMode::Full | CgroupMode::Strict);
            self.cgroup_plan.apply_again(cgroup, devices)?;
        }
        let mut known = Vec::new();
        for stream in streams {
            let file = std::fs::File::from(
                stream.try_clone().map_err(|error| Error::io(&error, "duplicate a standard stream"))?,
            );
            known.extend(file.metadata().map(|file| (file.dev(), file.ino())));
        }
        let policy = Policy {
            spec: bundle.spec(),
            namespaces,
            capabilities: *capabilities,
            rootfs: self.rootfs,
            host_mounts,
            seccomp: *seccomp,
            cgroups: &self.cgroups,
            criu: &self.criu.to_string(),
            label: label.as_deref(),
            streams: &known,
        };
        verify(pid, &policy)
    }
}

/// The namespaces of others that the images name.
fn open_joined(namespaces: &Namespaces) -> Result<Vec<(&'static str, OwnedFd)>> {
    let mut opened = Vec::new();
    for (origin, _, key) in joined_namespaces(namespaces) {
        if let Origin::Joined(path, index) = origin {
            let pointer = format!("/linux/namespaces/{index}/path");
            opened.push((key, open_namespace(path).map_err(|error| error.at(pointer))?));
        }
    }
    Ok(opened)
}

/// The cgroups of a process, one for each controller.
fn cgroup_roots(text: &str) -> Vec<CgroupRoot> {
    let mut roots = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (fields.next(), fields.next()) {
            roots.extend(controllers.split(',').map(|controller| CgroupRoot {
                controller: Some(controller.to_owned()),
                path: path.to_owned(),
            }));
        }
    }
    roots
}

fn has_own_time(pid: i32) -> bool {
    let link = |path: String| std::fs::read_link(path).ok();
    let (theirs, ours) = (link(format!("/proc/{pid}/ns/time")), link("/proc/self/ns/time".to_owned()));
    theirs.is_some() && theirs != ours
}

/// By a thread that ends right after, as only a whole thread can be in another namespace.
fn loopback_up(pid: i32) -> Result<()> {
    let namespace = open_namespace(Path::new(&format!("/proc/{pid}/ns/net")))?;
    let up = std::thread::spawn(move || {
        nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        crate::sys::process::loopback_up()
    });
    match up.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(errno)) => Err(Error::os(errno, "bring the loopback interface up")),
        Err(_) => Err(Error::new(Kind::System, "bring the loopback interface up: the thread ended")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_gets_its_root() {
        let roots = cgroup_roots("4:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/u\n");
        let plain: Vec<_> = roots
            .iter()
            .map(|root| (root.controller.as_deref().unwrap_or("none"), root.path.as_str()))
            .collect();
        assert_eq!(plain, [("cpu", "/a:b"), ("cpuacct", "/a:b"), ("name=systemd", "/s"), ("", "/u")]);
    }

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
