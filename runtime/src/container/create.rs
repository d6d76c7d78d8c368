//! Creating a container, and undoing a creation that fails.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::Spec;

use super::claims::Claims;
use super::gate;
use super::handle::Container;
use super::host_check::{hard_limit, refuse_host_sysctls};
use super::identity::ProcessIdentity;
use super::nodes;
use super::options::{Console, CreateOptions};
use super::record::Record;
use super::runtime::{Cgroups, layout};
use super::store::Directory;
use super::terminal::ConsoleSocket;
use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupLayout, CgroupPlan, Manager, Mode, Setting, V1Hierarchy};
use crate::check::finding::into_result;
use crate::check::rootless;
use crate::error::{Error, Kind, Result};
use crate::hook::{HookKind, HookPolicy, run_hooks};
use crate::host::Host;
use crate::id::ContainerId;
use crate::linux::idmap::IdMaps;
use crate::linux::lsm;
use crate::linux::mount::cgroup::{View, Views};
use crate::linux::namespace::Namespaces;
use crate::plan::{Explanation, Gate, ParentStep, Plan, Request, hooks::HookState};
use crate::spawn::{self, Resources, Spawned};
use crate::sys::mount;

/// The annotation that keeps the caller's supplementary groups.
pub(crate) const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// How long to wait for killed processes to leave their cgroups.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that is decided before the first side effect.
pub(super) struct Prepared {
    plan: Plan,
    pub(super) cgroup: CgroupPlan,
    pub(super) record: Record,
}

/// `made`: the cgroup that could be made, where it is not all that was planned.
pub(super) fn prepare(
    directory: &Directory,
    bundle: &Bundle,
    options: &CreateOptions,
    gate: Gate,
    made: Option<&Cgroup>,
    cgroups: Cgroups,
) -> Result<Prepared> {
    let (id, spec) = (directory.id(), bundle.spec());
    for warning in bundle.warnings().iter().chain(&into_result(crate::check::check(spec))?) {
        warning.log();
    }
    let host = Host::probe()?;
    let linux = spec.linux().as_ref();
    let root =
        spec.root().as_ref().ok_or_else(|| Error::new(Kind::InvalidSpec, "root is required").at("/root"))?;
    let rootfs = bundle.dir().join(root.path());
    match std::fs::metadata(&rootfs) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            return Err(Error::new(
                Kind::InvalidSpec,
                format!("the root file system {} is not a directory", rootfs.display()),
            )
            .at("/root/path"));
        }
        Err(error) => {
            return Err(
                Error::io(&error, format!("find the root file system {}", rootfs.display())).at("/root/path")
            );
        }
    }
    let namespaces = Namespaces::of(linux);
    refuse_host_sysctls(spec, &namespaces)?;
    lsm::refuse_absent(spec.process().as_ref(), "/process", linux)?;
    for warning in into_result(rootless::check(spec, host, hard_limit))? {
        warning.log();
    }
    let layout = layout(bundle)?;
    let cgroup = cgroups.plan(spec, id.as_str(), &layout, host.is_rootless())?;
    let planned = Cgroup::open(cgroup.planned_record());
    let made = made.unwrap_or(&planned);
    let tasks = made.tasks_files();
    let views = views(&layout, made);
    let renamed =
        if namespaces.user.is_own() || !host.makes_devices() { nodes::renamed(spec) } else { Vec::new() };
    let notify = options.notify_socket.then(|| directory.notify());
    let mut env = options.env.clone();
    if notify.is_some() {
        env.push(format!("NOTIFY_SOCKET={}", Directory::notify_socket_inside()));
    }
    let request = Request {
        id: id.as_str(),
        renamed: &renamed,
        bundle: bundle.dir(),
        rootfs: &rootfs,
        gate,
        no_pivot: options.no_pivot,
        new_keyring: !options.no_new_keyring,
        preserved: options.preserve_fds,
        notify: notify.as_deref(),
        env: &env,
        host,
        keep_groups: keeps_groups(spec),
        tasks: &tasks,
        views: &views,
        scope: cgroup.scope.as_ref().map(|scope| &*scope.record.unit),
    };
    let plan = crate::plan::create(spec, &request)?;
    let mut record = Record::intent(
        id.as_str(),
        spec,
        bundle.dir().to_owned(),
        rootfs.clone(),
        cgroup.intent(),
        namespaces.flags(),
    );
    record.new_keyring = request.new_keyring;
    record.preserved = request.preserved;
    Ok(Prepared { plan, cgroup, record })
}

/// Whether the process keeps the supplementary groups of the caller, by the annotation of crun that Podman writes for
/// `--group-add keep-groups`: it may then use files of groups that have no id inside.
pub(super) fn keeps_groups(spec: &Spec) -> bool {
    spec.annotations().as_ref().is_some_and(|all| all.contains_key(KEEP_GROUPS))
}

/// What a cgroup mount of the container shows: its own cgroups, and where it has none, the runtime's.
pub(super) fn views(layout: &CgroupLayout, made: &Cgroup) -> Views {
    let dirs = &made.record().dirs;
    let shared = |mount: &Path, own: &Path| mount.join(own.strip_prefix("/").unwrap_or(own));
    if layout.mode == Mode::V2 {
        let own = made.v2_dir();
        let is_own = own.is_some();
        let shared = || layout.v2.as_ref().map(|v2| shared(&v2.mount, &v2.own));
        let directory = own.or_else(shared).unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"));
        return Views::Unified { directory, is_own };
    }
    let view = |hierarchy: &V1Hierarchy| {
        let named = hierarchy.controllers.iter().find_map(|controller| controller.strip_prefix("name="));
        let own = dirs.iter().find(|dir| dir.mount == hierarchy.mount);
        View {
            name: hierarchy
                .mount
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            controllers: named.map_or_else(|| hierarchy.controllers.clone(), |name| vec![name.to_owned()]),
            named: named.is_some(),
            directory: own
                .map_or_else(|| shared(&hierarchy.mount, &hierarchy.own), crate::cgroup::DirRecord::path),
            is_own: own.is_some(),
        }
    };
    Views::Split(layout.v1.iter().map(view).collect())
}

/// The plan of an existing container, made again from its saved configuration, to put a failure of it into words.
pub(super) fn plan_again(container: &Container) -> Result<Plan> {
    let (record, directory) = (&container.record, &container.directory);
    // All that adds steps: the process tells the number of the one that failed.
    let options = CreateOptions::new()
        .new_keyring(record.new_keyring)
        .preserve_fds(record.preserved)
        .notify_socket(directory.notify().is_dir());
    let cgroup = container.cgroup();
    let cgroups = Cgroups { driver: container.cgroup_driver(), trusted: true, rootless: None };
    prepare(directory, container.bundle()?, &options, Gate::Socket, Some(&cgroup), cgroups)
        .map(|prepared| prepared.plan)
}

/// The plan in words.
pub(super) fn explain(
    directory: &Directory,
    bundle: &Bundle,
    options: &CreateOptions,
    cgroups: Cgroups,
    resctrl: Option<&Path>,
) -> Result<Explanation> {
    let prepared = prepare(directory, bundle, options, Gate::Socket, None, cgroups)?;
    Claims::find(bundle.spec(), directory.id().as_str(), resctrl)?;
    Ok(prepared.plan.explain(directory.id().as_str()))
}

/// Creates a container; with an open gate it runs afterwards.
pub(super) fn create(
    root: &Path,
    id: &ContainerId,
    bundle: &Bundle,
    options: CreateOptions,
    gate: Gate,
    cgroups: Cgroups,
    resctrl: Option<&Path>,
) -> Result<Container> {
    let directory = Directory::of(root, id);
    let Prepared { mut plan, mut cgroup, mut record } =
        prepare(&directory, bundle, &options, gate, None, cgroups)?;
    plan.log();
    let spec = bundle.spec();
    let claims = Claims::find(spec, id.as_str(), resctrl)?;
    record.rdt = claims.membership();
    let console = console_socket(spec, &options.console)?;
    check_preserved(options.preserve_fds)?;
    // Before the first side effect: there may be no systemd to talk to.
    let mut manager =
        cgroup.scope.as_ref().map(|scope| Manager::connect(&scope.record.instance)).transpose()?;
    let lock = directory.begin(&record, bundle.config_bytes())?;
    let mut creation = Creation::new(&directory, spec, record);
    creation.late = cgroup.defer_birth_control();
    creation.claims = claims;
    if options.notify_socket {
        directory.make_notify()?;
    }
    if let Some(manager) = &mut manager {
        cgroup.check_free()?;
        let container = creation.spawn(&plan, &options, gate, console, id, Some((&cgroup, manager)))?;
        drop(lock);
        return Ok(container);
    }
    let planned = cgroup.planned_record();
    let cgroup = creation.cgroup.insert(cgroup.apply()?);
    delegate_cgroup(spec, cgroup)?;
    if cgroup.record().dirs != planned.dirs {
        // A hierarchy that may not be written, and from which nothing is needed, was left out.
        plan = prepare(&directory, bundle, &options, gate, Some(cgroup), cgroups)?.plan;
    }
    let container = creation.spawn(&plan, &options, gate, console, id, None)?;
    drop(lock);
    Ok(container)
}

/// Gives the container's user its cgroup (v2), where the configuration lets it see and write it: the rule of
/// config-linux.md, Cgroup ownership.
pub(super) fn delegate_cgroup(spec: &Spec, cgroup: &Cgroup) -> Result<()> {
    if cgroup.record().mode != Mode::V2 || !crate::cgroup::is_delegated(spec) {
        return Ok(());
    }
    let (Some(directory), Some(process)) = (cgroup.v2_dir(), spec.process()) else { return Ok(()) };
    let linux = spec.linux().as_ref();
    let maps = IdMaps::of(linux.and_then(|linux| linux.uid_mappings().as_ref()), None);
    let uid = process.user().uid();
    let host_uid = if maps.uids.is_empty() { Some(uid) } else { maps.host_uid(uid) };
    match host_uid.map_or(Ok(()), |uid| crate::cgroup::delegate(&directory, uid)) {
        // Who may not give files away is the user himself, and the cgroup is his already.
        Err(error) if error.kind() == Kind::Permission && Host::probe()?.is_rootless() => {
            log::debug!("{error}");
            Ok(())
        }
        other => other,
    }
}

/// Has systemd make the scope, with the waiting child in it, and completes its cgroup.
pub(super) fn enter_scope(
    spec: &Spec,
    plan: &CgroupPlan,
    manager: &mut Manager,
    cgroup: &mut Option<Cgroup>,
    pid: i32,
) -> Result<()> {
    let Some(scope) = &plan.scope else { return Ok(()) };
    scope.start(manager, pid)?;
    // From here on there is something to undo.
    let cgroup = cgroup.insert(Cgroup::open(plan.claimed_record()));
    plan.complete_scope(pid)?;
    delegate_cgroup(spec, cgroup)
}

/// A creation that undoes itself unless it is completed.
pub(super) struct Creation<'c> {
    pub(super) directory: &'c Directory,
    spec: &'c Spec,
    pub(super) record: Record,
    pub(super) cgroup: Option<Cgroup>,
    /// Settings of the cgroup that wait for the birth of the first process.
    late: Vec<Setting>,
    claims: Claims,
    /// Whether hooks ran, so that the poststop hooks have something to undo.
    hooked: bool,
    pub(super) done: bool,
}

/// Runs the hooks of the runtime's side.
fn run_runtime_hooks(spec: &Spec, id: &str, bundle: &Path, pid: i32) -> Result<()> {
    let bundle_text = bundle.to_string_lossy();
    let state = HookState::new(spec, id, &bundle_text, "creating", pid).json();
    let Some(hooks) = spec.hooks().as_ref() else { return Ok(()) };
    [HookKind::Prestart, HookKind::CreateRuntime]
        .into_iter()
        .try_for_each(|kind| run_hooks(kind, kind.of(hooks), &state, bundle, HookPolicy::StopAtFirst))
}

impl<'c> Creation<'c> {
    /// One of which only the state directory is there.
    pub(super) fn new(directory: &'c Directory, spec: &'c Spec, record: Record) -> Self {
        let (late, claims) = (Vec::new(), Claims::default());
        Self { directory, spec, record, cgroup: None, late, claims, hooked: false, done: false }
    }

    /// Runs the hooks of the runtime's side for a process that is there.
    #[cfg(feature = "criu")]
    pub(super) fn run_runtime_hooks(&mut self, pid: i32) -> Result<()> {
        self.hooked = true;
        run_runtime_hooks(self.spec, &self.record.id, &self.record.bundle, pid)
    }

    fn spawn(
        &mut self,
        plan: &Plan,
        options: &CreateOptions,
        gate: Gate,
        console: Option<ConsoleSocket>,
        id: &ContainerId,
        mut scope: Option<(&CgroupPlan, &mut Manager)>,
    ) -> Result<Container> {
        let listener = (gate == Gate::Socket).then(|| gate::make(self.directory)).transpose()?;
        let born_into = plan
            .born_into
            .as_ref()
            .map(|(path, place)| {
                open_namespace(path).map_err(|error| error.at(place.pointer().unwrap_or_default()))
            })
            .transpose()?;
        let namespaces = plan
            .namespaces
            .iter()
            .map(|(path, place)| {
                open_namespace(path).map_err(|error| error.at(place.pointer().unwrap_or_default()))
            })
            .collect::<Result<Vec<_>>>()?;
        let cgroup_dir =
            self.cgroup.as_ref().and_then(Cgroup::v2_dir).map(|path| open_directory(&path)).transpose()?;
        let born_joined = plan
            .born_joined
            .iter()
            .map(|(path, kind, place)| match open_namespace(path) {
                Ok(namespace) => Ok((namespace, *kind)),
                Err(error) => Err(error.at(place.pointer().unwrap_or_default())),
            })
            .collect::<Result<Vec<_>>>()?;
        let host = Host::probe()?;
        let resources = Resources {
            streams: options.stdio.numbers(),
            preserved: options.preserve_fds,
            listener: listener.as_ref().map(|fd| fd.as_fd()),
            cgroup: cgroup_dir.as_ref().map(|fd| fd.as_fd()),
            cgroup_optional: false,
            born_into: born_into.as_ref().map(|fd| fd.as_fd()),
            may_return: host.initial_user_namespace,
            born_joined: &born_joined,
            namespaces: &namespaces,
            sibling: options.sibling,
        };
        let oom_score = self.spec.process().as_ref().and_then(oci_spec::runtime::Process::oom_score_adj);
        let (late, late_for) = (std::mem::take(&mut self.late), self.cgroup.clone());
        let mut born = |pid| {
            if let Some(cgroup) = late_for.as_ref().filter(|_| !late.is_empty()) {
                cgroup.set(&late)?;
            }
            match oom_score.filter(|_| host.is_admin()) {
                Some(score) => spawn::set_oom_score(pid, score),
                None => Ok(()),
            }
        };
        let (spec, bundle, id_text) = (self.spec, self.record.bundle.clone(), self.record.id.clone());
        let hooked = &mut self.hooked;
        let (claims, directory) = (&mut self.claims, self.directory);
        let cgroup = &mut self.cgroup;
        let mut serve = |step: &ParentStep, child: &Spawned| match step {
            ParentStep::EnterScope(_) => {
                if let Some((plan, manager)) = &mut scope {
                    enter_scope(spec, plan, manager, cgroup, child.pid)?;
                }
                Ok(None)
            }
            ParentStep::MapIds(maps) => spawn::map_ids(child.pid, maps, host).map(|()| None),
            ParentStep::CompareIdMaps(maps) => spawn::compare_id_maps(child.pid, maps).map(|()| None),
            ParentStep::IoPriority(value) => spawn::set_io_priority(child.pid, *value).map(|()| None),
            ParentStep::TimeOffsets(text) => spawn::write_time_offsets(child.pid, text).map(|()| None),
            ParentStep::Rlimits(limits) => spawn::set_rlimits(child.pid, limits).map(|()| None),
            ParentStep::Scheduler(attr) => spawn::set_scheduler(child.pid, attr).map(|()| None),
            ParentStep::OpenIdMap(maps) => spawn::open_id_map(maps, host).map(Some),
            ParentStep::OpenMount { source, recursive, propagation, id_map } => {
                spawn::open_mount(source, *recursive, *propagation, id_map.as_ref(), host).map(Some)
            }
            ParentStep::OpenDevice { path, mode, device } => {
                spawn::open_device(path, *mode, *device).map(Some)
            }
            ParentStep::JoinRdt(_) => claims.join_rdt(child.pid).map(|()| None),
            ParentStep::MoveDevices(_) => {
                claims.move_devices(spec, directory, child.pidfd.as_fd()).map(|()| None)
            }
            ParentStep::RuntimeHooks => {
                *hooked = true;
                run_runtime_hooks(spec, &id_text, &bundle, child.pid)?;
                Ok(None)
            }
        };
        let spawned = spawn::spawn(plan, &resources, &mut born, &mut serve);
        let mut spawned = match spawned {
            Ok(spawned) => spawned,
            Err(error) => {
                self.hooked |= error.kind() == Kind::Hook;
                return Err(self.explain_end(error, options.sibling));
            }
        };
        drop(listener);
        let kept = match (spawned.console.take(), console) {
            (Some((master, number)), Some(socket)) => {
                socket.send(master, number)?;
                None
            }
            (console, _) => console.map(|(master, _)| master),
        };
        self.send_listener(&mut spawned)?;
        self.record.init = Some(ProcessIdentity::of(spawned.pid, spawned.pidfd.as_fd())?);
        if let Some(cgroup) = &self.cgroup {
            self.record.cgroup = cgroup.record().clone();
        }
        self.record.rdt = self.claims.membership();
        self.directory.complete(&self.record)?;
        spawned.go()?;
        if gate == Gate::Open {
            if let Err(error) = spawned.await_exec(plan) {
                self.hooked |= error.kind() == Kind::Hook;
                return Err(error);
            }
            if self.record.poststart {
                self.hooked = true;
                super::start::run_poststart(&self.record, self.spec)?;
            }
        }
        self.done = true;
        self.claims.keep(self.directory);
        Ok(Container::made(
            self.directory.clone(),
            id.clone(),
            self.record.clone(),
            spawned.into_pidfd()?,
            kept,
        ))
    }

    fn send_listener(&self, spawned: &mut Spawned) -> Result<()> {
        let Some(fd) = spawned.listener.take() else { return Ok(()) };
        let Some(seccomp) = self.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
            return Ok(());
        };
        super::notify::send(
            seccomp,
            fd,
            spawned.pid,
            &self.record,
            oci_spec::runtime::ContainerState::Creating,
        )
    }

    /// A child that was killed while being set up mostly met its own memory limit.
    fn explain_end(&self, error: Error, sibling: bool) -> Error {
        let limited = self
            .spec
            .linux()
            .as_ref()
            .and_then(|l| l.resources().as_ref())
            .and_then(|r| r.memory().as_ref())
            .and_then(oci_spec::runtime::LinuxMemory::limit);
        match limited {
            Some(limit) if limit > 0 && may_be_killed(&error.to_string(), sibling) => error
                .at("/linux/resources/memory/limit")
                .hint(format!("the memory limit of {limit} bytes may be too low to start a process")),
            _ => error,
        }
    }
}

impl Drop for Creation<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The child is gone: what made it ended it and waited for it. Its network namespace is held.
        self.claims.undo();
        if let Some(cgroup) = &self.cgroup
            && let Err(error) = cgroup.destroy(PATIENCE)
        {
            log::warn!("{error}");
        }
        unmount(&self.record);
        if let Err(error) = self.directory.remove() {
            log::warn!("{error}");
        }
        if self.hooked
            && let Err(error) = super::delete::run_poststop(&self.record, self.spec)
        {
            log::warn!("{error}");
        }
    }
}

/// How a sibling ended, only its parent can know.
fn may_be_killed(error: &str, sibling: bool) -> bool {
    error.contains("killed by signal 9") || (sibling && error.ends_with("it stopped talking"))
}

/// Takes the mounts of a container without a mount namespace away: all are below the clone of its root.
pub(super) fn unmount(record: &Record) {
    if record.host_mounts
        && let Ok(path) = CString::new(record.rootfs.as_os_str().as_bytes())
    {
        // EINVAL: no mount, since the creation did not come that far.
        let _ = mount::detach(&path);
    }
}

fn console_socket(spec: &Spec, console: &Console) -> Result<Option<ConsoleSocket>> {
    let terminal = spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false));
    super::terminal::connect(terminal, console)
}

fn check_preserved(count: u32) -> Result<()> {
    for fd in 3..count.saturating_add(3) {
        let number = fd as i32;
        if !Path::new(&format!("/proc/self/fd/{number}")).exists() {
            return Err(Error::new(
                Kind::System,
                format!("cannot preserve descriptor {number}: it is not open"),
            ));
        }
    }
    Ok(())
}

pub(super) fn open_namespace(path: &Path) -> Result<OwnedFd> {
    std::fs::File::open(path)
        .map(OwnedFd::from)
        .map_err(|error| Error::io(&error, format!("open namespace {}", path.display())))
}

pub(super) fn open_directory(path: &Path) -> Result<OwnedFd> {
    std::fs::File::open(path)
        .map(OwnedFd::from)
        .map_err(|error| Error::io(&error, format!("open {}", path.display())))
}
