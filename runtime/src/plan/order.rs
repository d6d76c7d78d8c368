//! The order of a creation: the one place that knows it. Read it top-down; the reasons stand beside each step.

use std::path::{Component, Path};

use oci_spec::runtime::{Linux, Mount, Process, Spec};

use super::blame::{Blame, Place};
use super::process::{Circumstances, Moment, ProcessPlan, needs_proc, plan_keyring, plan_terminal};
use super::program::{Op, Program, Slot};
use super::{Gate, ParentStep, Plan, Request, hooks};
use crate::error::{Error, Kind, Result};
use crate::linux::idmap::IdMaps;
use crate::linux::mount::entry::{Entry, Reaches, Surroundings, propagation};
use crate::linux::mount::options::Propagation;
use crate::linux::namespace::Namespaces;
use crate::linux::{device, intel_rdt, lsm, memory_policy, net_device, sysctl, timens};

/// Where the directory of the notification socket is in the container.
pub(crate) const NOTIFY_DIRECTORY: &str = "/run/notify";

/// Plans a creation. The configuration was checked; what is still refused here only this code can know.
pub(super) fn create(spec: &Spec, request: &Request<'_>) -> Result<Plan> {
    let linux = spec.linux().as_ref();
    let namespaces = Namespaces::of(linux);
    let mut plan = Plan { program: Program::for_container(), ..Plan::default() };
    let maps = IdMaps::of(
        linux.and_then(|l| l.uid_mappings().as_ref()),
        linux.and_then(|l| l.gid_mappings().as_ref()),
    );
    let entries = entries(spec);

    let admin = request.host.is_admin();
    // A user namespace that is born with its process has nobody in it who could look, and its owner must be able to:
    // newuidmap(1) writes the maps as that user, and hooks and networks look for /proc/PID/ns.
    let visible = !admin && namespaces.user.is_new();
    let oom_score = spec.process().as_ref().and_then(Process::oom_score_adj).filter(|_| !admin);
    begin(&mut plan.program, request.preserved, oom_score, visible);
    plan.program.push_own(Op::NewSession, "start a new session");
    enter_namespaces(&mut plan, &namespaces, &maps, linux, spec.process().as_ref(), request);
    let Some(process) = spec.process().as_ref() else {
        fill_root(&mut plan, spec, &namespaces, &maps, &entries, None, request)?;
        finish_root(&mut plan, spec, &namespaces, &entries, request);
        plan.program.push_own(Op::LetGo, "close what was held of the root");
        plan_created(&mut plan.program, request.gate, visible);
        plan.program.push(Op::NoProcess, Blame::new("start the container", Place::of("/process")));
        return Ok(plan);
    };
    fill_root(&mut plan, spec, &namespaces, &maps, &entries, Some(process), request)?;
    finish_root(&mut plan, spec, &namespaces, &entries, request);
    plan_memory_policy(&mut plan.program, linux)?;
    let tail = ProcessPlan::plan(
        &mut plan,
        process,
        &Circumstances {
            seccomp: linux.and_then(|l| l.seccomp().as_ref()),
            personality: linux.and_then(|l| l.personality().as_ref()),
            in_user_namespace: namespaces.user.is_own(),
            host: request.host,
            keep_groups: request.keep_groups,
            env: request.env,
        },
    )?;
    tail.plan_filter(&mut plan.program, Moment::BeforeCreated);
    plan_created(&mut plan.program, request.gate, visible);
    let start = spec.hooks().as_ref().and_then(|all| all.start_container().as_ref());
    hooks::plan(
        &mut plan.program,
        spec,
        request,
        start,
        "/hooks/startContainer",
        "run the startContainer hooks",
    );
    // As late as possible, so that the filter need not allow what the steps before it do.
    tail.plan_filter(&mut plan.program, Moment::Last);
    let name = plan
        .program
        .text(process.args().as_ref().and_then(|args| args.first()).map(String::as_str).unwrap_or_default());
    plan.program.push(Op::Exec, Blame::new("exec", Place::of("/process/args")).on(name));
    Ok(plan)
}

/// The report that everything is in place, and the wait for `start`.
fn plan_created(program: &mut Program, gate: Gate, visible: bool) {
    if gate == Gate::Open {
        program.push_own(Op::Created, "report that the container is created");
        return;
    }
    if visible {
        program.push_own(Op::Dumpable, "let the owner of the container look at the process");
    }
    program.push_own(Op::Created, "report that the container is created");
    program.push_own(Op::Gate, "wait for start");
    if visible {
        // startContainer hooks are programs of the image.
        program.push_own(Op::NotDumpable, "make the process non-dumpable");
    }
}

/// The first steps of every child: nothing of the caller stays reachable, and nothing of its state stays in force.
///
/// `oom_score`: set by the child itself, since its parent may not. `visible`: stays dumpable.
pub(super) fn begin(program: &mut Program, preserved: u32, oom_score: Option<i32>, visible: bool) {
    // First of all: a process of the container must not be able to look into this one (CVE-2016-9962).
    if visible || oom_score.is_some() {
        program.push_own(Op::Dumpable, "let the owner of the container look at the process");
    } else {
        program.push_own(Op::NotDumpable, "make the process non-dumpable");
    }
    if let Some(score) = oom_score {
        // The file belongs to the user only while the process is dumpable; it is among the user's own processes yet.
        let (path, text) = (program.text("/proc/self/oom_score_adj"), program.text(score.to_string()));
        let blame = Blame::new("set the OOM score: write", Place::of("/process/oomScoreAdj"));
        program.push(Op::WriteHost { path, text }, blame.on(text).and("to", path));
        if !visible {
            program.push_own(Op::NotDumpable, "make the process non-dumpable");
        }
    }
    program.push_own(Op::CloseOthers, "close the caller's descriptors");
    program.push_own(Op::Streams, "set up the standard streams");
    program.push_own(Op::DefaultSignals, "reset signal actions, signal mask and umask");
    // Also of none: a failure of `start` is told by the number of its step, in a plan that was made anew.
    program.push_own(Op::Preserve { count: preserved }, "preserve descriptors");
}

fn entries(spec: &Spec) -> Vec<(Mount, usize)> {
    mounts_of(spec).into_iter().enumerate().map(|(index, mount)| (mount, index)).collect()
}

/// The mounts of a container: those listed, or the file systems that the spec promises where the configuration says
/// nothing about mounts at all (config-linux.md, Default Filesystems). A list that leaves one out is a decision of its
/// author.
pub(crate) fn mounts_of(spec: &Spec) -> Vec<Mount> {
    spec.mounts().clone().unwrap_or_else(default_mounts)
}

fn default_mounts() -> Vec<Mount> {
    let text = r#"[
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
    ]"#;
    serde_json::from_str(text).unwrap_or_default()
}

/// From birth to the last namespace.
fn enter_namespaces(
    plan: &mut Plan,
    namespaces: &Namespaces,
    maps: &IdMaps,
    linux: Option<&Linux>,
    process: Option<&Process>,
    request: &Request<'_>,
) {
    let own_user = namespaces.user.is_own();
    let admin = request.host.is_admin();
    if namespaces.pid.is_new() && namespaces.user.joined().is_none() {
        plan.born_with |= libc::CLONE_NEWPID;
    }
    if let Some(path) = namespaces.pid.joined().filter(|_| admin) {
        plan.born_into = Some((path.to_owned(), Place::of("/linux/namespaces")));
    }
    if let Some(unit) = request.scope {
        // A scope cannot be made without a process. Nothing has happened yet that its limits should have bounded.
        plan.ask(
            ParentStep::EnterScope(unit.to_owned()),
            Slot::NONE,
            Blame::new("enter the systemd scope", Place::of("/linux/cgroupsPath")),
        );
    }
    if namespaces.user.is_new() {
        plan.born_with |= libc::CLONE_NEWUSER;
    }
    if !own_user {
        unshare(&mut plan.program, namespaces.unshared());
    }
    // With the host's ids still, and before the cgroup namespace, whose root is wherever the process is.
    for tasks in request.tasks {
        let path = plan.program.text(tasks.as_os_str().as_encoded_bytes());
        // "0" is the writing thread itself: a single thread moves without waiting for a grace period of the kernel,
        // which a write of a pid to cgroup.procs costs (10 ms after any idle time).
        let text = plan.program.text("0");
        plan.program.push(
            Op::WriteHost { path, text },
            Blame::new("join cgroup", Place::of("/linux/cgroupsPath")).on(path),
        );
    }
    if let Some(wish) = intel_rdt::Wish::of(linux, request.id) {
        // As the cgroups: whatever comes later inherits it, a process that is born again too.
        plan.ask(
            ParentStep::JoinRdt(wish),
            Slot::NONE,
            Blame::new("join the resctrl groups", Place::of("/linux/intelRdt")),
        );
    }
    // The host's own before the user namespace: afterwards there is no right to them.
    let (early, late): (Vec<_>, Vec<_>) =
        namespaces.joined().partition(|(.., kind)| own_user && admin && kind & Namespaces::HOST_OWNED != 0);
    for (path, index, kinds) in early {
        let place = Place::item("/linux/namespaces", index);
        if namespaces.user.is_new() {
            plan.born_joined.push((path.to_owned(), kinds, place));
        } else {
            plan.enter(path, kinds, place);
        }
    }
    let mut joined = late.into_iter().peekable();
    if let Some((path, index, kinds)) = joined.next_if(|(_, _, kind)| *kind == libc::CLONE_NEWUSER) {
        plan.enter(path, kinds, Place::item("/linux/namespaces", index));
        if !maps.is_empty() {
            plan.ask(
                ParentStep::CompareIdMaps(maps.clone()),
                Slot::NONE,
                Blame::new("compare the id maps of the user namespace", Place::of("/linux/uidMappings")),
            );
        }
        if namespaces.pid.is_new() {
            // A new pid namespace must belong to the user namespace, or it could not mount a procfs.
            plan_reborn(&mut plan.program, libc::CLONE_NEWPID, Place::of("/linux/namespaces"));
        }
        if let Some(path) = namespaces.pid.joined().filter(|_| !admin) {
            plan.enter(path, libc::CLONE_NEWPID, Place::of("/linux/namespaces"));
            plan_reborn(&mut plan.program, 0, Place::of("/linux/namespaces"));
        }
    }
    if namespaces.user.is_new() {
        plan.ask(
            ParentStep::MapIds(maps.clone()),
            Slot::NONE,
            Blame::new("map the ids of the user namespace", Place::of("/linux/uidMappings")),
        );
    }
    if own_user {
        let (uid, gid) = maps.root();
        plan.program.push(
            Op::RootIds { uid, gid, keep_groups: request.keep_groups },
            Blame::new("become root of the user namespace", Place::of("/linux/uidMappings")),
        );
        if !admin && namespaces.user.is_new() {
            plan.program.push_own(Op::Dumpable, "let the owner of the container look at the process");
        }
        unshare(&mut plan.program, namespaces.unshared());
    }
    for (path, index, kinds) in joined {
        plan.enter(path, kinds, Place::item("/linux/namespaces", index));
    }
    if namespaces.cgroup.is_new() {
        unshare(&mut plan.program, libc::CLONE_NEWCGROUP);
    }
    if let Some(offsets) = linux.and_then(|l| l.time_offsets().as_ref()).filter(|offsets| !offsets.is_empty())
    {
        let blame = Blame::new("set the time offsets", Place::of("/linux/timeOffsets"));
        if admin {
            // The file belongs to the host's root, since this process is not dumpable.
            plan.ask(ParentStep::TimeOffsets(timens::text(offsets)), Slot::NONE, blame);
        } else {
            let path = plan.program.text("/proc/self/timens_offsets");
            let text = plan.program.text(timens::text(offsets));
            plan.program.push(Op::WriteHost { path, text }, blame);
        }
    }
    if request.new_keyring {
        plan_keyring(&mut plan.program, request.id, process, "join a new session keyring");
    }
    if namespaces.network.is_new() {
        plan.program.push_own(Op::LoopbackUp, "bring the loopback interface up");
    }
    let devices = net_device::wishes(linux);
    if !devices.is_empty() {
        // As soon as there is a namespace to move them to: sysctls may name them, and hooks set up networks over them.
        plan.ask(
            ParentStep::MoveDevices(devices),
            Slot::NONE,
            Blame::new("move network devices into the container", Place::of("/linux/netDevices")),
        );
    }
}

/// Going on in a second process, where a pid namespace takes effect only for those that are born later.
pub(super) fn plan_reborn(program: &mut Program, kinds: i32, place: Place) {
    program.push(Op::Reborn { kinds }, Blame::new("make a process in the pid namespace", place));
    program.push_own(Op::NewSession, "start a new session");
}

fn unshare(program: &mut Program, kinds: i32) {
    if kinds != 0 {
        program.push(Op::Unshare { kinds }, Blame::new("unshare namespaces", Place::of("/linux/namespaces")));
    }
}

/// The root file system with everything in it, still below the host's.
fn fill_root(
    plan: &mut Plan,
    spec: &Spec,
    namespaces: &Namespaces,
    maps: &IdMaps,
    entries: &[(Mount, usize)],
    process: Option<&Process>,
    request: &Request<'_>,
) -> Result<()> {
    let linux = spec.linux().as_ref();
    for (name, op, place, verb) in [
        (spec.hostname(), Op::Hostname as fn(_) -> _, "/hostname", "set the host name to"),
        (spec.domainname(), Op::Domainname as fn(_) -> _, "/domainname", "set the domain name to"),
    ] {
        if let Some(name) = name {
            let name = plan.program.text(name);
            plan.program.push(op(name), Blame::new(verb, Place::of(place)).on(name));
        }
    }
    let rootfs = plan.program.text(request.rootfs.as_os_str().as_encoded_bytes());
    let root_place = Place::of("/root/path");
    plan_host_propagation(&mut plan.program, linux, namespaces, rootfs);
    let has_sysctl = linux.and_then(|l| l.sysctl().as_ref()).is_some_and(|all| !all.is_empty());
    if has_sysctl || process.is_some_and(needs_proc) {
        // Before the first mount that anybody else could influence.
        plan.program.push_own(Op::OpenProc, "open a private procfs");
    }
    let masked = linux.and_then(|l| l.masked_paths().as_deref()).unwrap_or_default();
    if !masked.is_empty() {
        plan.program.push(
            Op::NullDevice,
            Blame::new("take the null device of the host", Place::of("/linux/maskedPaths")),
        );
    }
    plan.program.push(Op::OpenRoot(rootfs), Blame::new("bind the root file system", root_place).on(rootfs));

    let around = Surroundings {
        bundle: request.bundle,
        host: if namespaces.user.is_own() && request.host.is_admin() {
            Reaches::ByParent
        } else {
            Reaches::Itself
        },
        propagation: if namespaces.mount.is_new() { host_propagation(linux) } else { 0 },
        in_user_namespace: namespaces.user.is_own() || request.host.is_rootless(),
        own_pids: namespaces.pid.is_own(),
        maps,
        joined_user: namespaces.user.joined(),
        label: lsm::mount_label(linux),
    };
    let mut bound_dev = false;
    for (mount, index) in entries {
        let entry = understand(mount, *index)?;
        if entry.is_cgroup() {
            entry.plan_cgroup(plan, &around, request.views, namespaces.cgroup.is_own());
        } else {
            entry.plan(plan, &around);
        }
        bound_dev |= entry.is_bind() && entry.destination == Path::new("/dev");
    }
    if let Some(directory) = request.notify {
        let mount = notify_mount(directory);
        if let Ok(entry) = Entry::new(&mount, Place::NONE) {
            entry.plan(plan, &around);
        }
    }
    if !bound_dev {
        // A /dev of the host, bound by the configuration, is not ours to change.
        plan_devices(plan, linux, namespaces, request);
        device::plan_links(&mut plan.program);
    }
    if has_runtime_hooks(spec) {
        plan.ask(
            ParentStep::RuntimeHooks,
            Slot::NONE,
            Blame::new("run the createRuntime hooks", Place::of("/hooks")),
        );
    }
    if let Some(process) = process {
        if process.terminal().unwrap_or(false) {
            plan_terminal(&mut plan.program, process, !bound_dev);
        }
        plan_working_directory(&mut plan.program, process);
    }
    let create = spec.hooks().as_ref().and_then(|all| all.create_container().as_ref());
    hooks::plan(
        &mut plan.program,
        spec,
        request,
        create,
        "/hooks/createContainer",
        "run the createContainer hooks",
    );
    Ok(())
}

/// The directory of the socket for `sd_notify(3)`. Read-only: the container may send to the socket, not exchange it.
fn notify_mount(directory: &Path) -> Mount {
    let mut mount = Mount::default();
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    mount
        .set_destination(NOTIFY_DIRECTORY.into())
        .set_typ(None)
        .set_source(Some(directory.to_owned()))
        .set_options(Some(options));
    mount
}

pub(super) fn understand(mount: &Mount, index: usize) -> Result<Entry<'_>> {
    let place = Place::item("/mounts", index);
    Entry::new(mount, place).map_err(|(option, message)| {
        let pointer = place.element("/options", option).pointer().unwrap_or_default();
        Error::new(Kind::InvalidSpec, message).at(pointer)
    })
}

/// Nothing that the container mounts may reach the host, unless `rootfsPropagation` asks for it.
fn plan_host_propagation(
    program: &mut Program,
    linux: Option<&Linux>,
    namespaces: &Namespaces,
    rootfs: super::program::Text,
) {
    if !namespaces.mount.is_new() {
        return;
    }
    let kind = host_propagation(linux);
    let slash = program.text("/");
    program.push(
        Op::PropagationAt { path: slash, kind },
        Blame::new("set the propagation of the host's mounts in", Place::of("/linux/rootfsPropagation"))
            .on(slash),
    );
    if u64::from(kind) == libc::MS_SHARED {
        program.push(
            Op::HolderPrivate(rootfs),
            Blame::new("make private the mount that holds", Place::of("/root/path")).on(rootfs),
        );
    }
}

/// What the propagation of the host's mounts becomes in a new mount namespace.
pub(super) fn host_propagation(linux: Option<&Linux>) -> u32 {
    let asked = linux.and_then(|l| l.rootfs_propagation().as_deref()).and_then(Propagation::parse);
    let kind = asked.map_or(libc::MS_SLAVE as u32, |asked| propagation(asked).0);
    // What is unbindable could not be cloned for the container.
    if u64::from(kind) == libc::MS_UNBINDABLE { libc::MS_PRIVATE as u32 } else { kind }
}

fn plan_devices(plan: &mut Plan, linux: Option<&Linux>, namespaces: &Namespaces, request: &Request<'_>) {
    let host = request.host;
    let own_user = namespaces.user.is_own();
    for node in device::nodes(linux.and_then(|l| l.devices().as_ref())) {
        let (mode, device) = (node.mode, node.device);
        if (own_user || !host.makes_devices()) && mode & libc::S_IFMT != libc::S_IFIFO {
            // mknod(2) of devices is refused in user namespaces: the host's node is bound instead.
            let path = plan.program.text(&node.path);
            let blame = Blame::new("bind device", node.place).on(path);
            let renamed = request.renamed.iter().find(|(inside, _)| *inside == node.path);
            let source = renamed.map_or_else(|| node.path.clone().into(), |(_, outside)| outside.clone());
            if own_user && host.is_admin() {
                plan.ask(ParentStep::OpenDevice { path: source, mode, device }, Slot::MOUNT, blame);
            } else {
                let source = plan.program.text(source.as_os_str().as_encoded_bytes());
                plan.program.push(Op::HostDevice { path: source, mode, device }, blame);
            }
            let place = Blame::new("make device", node.place).on(path);
            plan.program.push(Op::DevicePlace { path, mode, device }, place);
            plan.program.push(Op::Attach, blame);
        } else {
            node.plan(&mut plan.program);
        }
    }
}

fn has_runtime_hooks(spec: &Spec) -> bool {
    #[allow(deprecated, reason = "prestart hooks are deprecated in the spec, but engines use them")]
    spec.hooks().as_ref().is_some_and(|all| {
        [all.prestart(), all.create_runtime()].into_iter().flatten().any(|hooks| !hooks.is_empty())
    })
}

/// Images need not have the working directory; runc makes it, and callers rely on that.
fn plan_working_directory(program: &mut Program, process: &Process) {
    let clean: std::path::PathBuf = process
        .cwd()
        .components()
        .filter(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        .collect();
    if clean != Path::new("/") {
        let path = program.text(clean.as_os_str().as_encoded_bytes());
        program.push(
            Op::EnsureDirectory(path),
            Blame::new("make the working directory", Place::of("/process/cwd")).on(path),
        );
    }
}

/// From the host's root to the container's, and what can only be done there or must come last.
fn finish_root(
    plan: &mut Plan,
    spec: &Spec,
    namespaces: &Namespaces,
    entries: &[(Mount, usize)],
    request: &Request<'_>,
) {
    let linux = spec.linux().as_ref();
    let program = &mut plan.program;
    if !namespaces.mount.is_own() {
        program.push_own(Op::ChangeRoot, "change the root");
    } else if request.no_pivot {
        program.push_own(Op::MoveRoot, "move the root");
    } else {
        program.push_own(Op::Pivot, "pivot the root");
    }
    if let Some(asked) = linux.and_then(|l| l.rootfs_propagation().as_deref()).and_then(Propagation::parse) {
        let (kind, recursive) = propagation(asked);
        let blame = Blame::new("set the propagation of the root", Place::of("/linux/rootfsPropagation"));
        program.push(Op::RootPropagation { kind, recursive }, blame);
    }
    plan_sysctls(program, linux);
    for (mount, index) in entries {
        // Understood before, or the plan had ended there.
        if let Ok(entry) = understand(mount, *index)
            && entry.is_late_read_only()
        {
            let path = program.text(entry.destination.as_os_str().as_encoded_bytes());
            let blame = Blame::new("make read-only", entry.place().property("/options")).on(path);
            program.push(Op::Existing { path }, blame);
            let set = libc::MOUNT_ATTR_RDONLY as u32;
            program.push(
                Op::Attributes { on: Slot::TARGET, set, clear: 0, propagation: 0, recursive: false },
                blame,
            );
        }
    }
    if spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)) {
        program.push(Op::ReadOnlyRoot, Blame::new("make the root read-only", Place::of("/root/readonly")));
    }
    for (index, path) in
        linux.and_then(|l| l.readonly_paths().as_deref()).unwrap_or_default().iter().enumerate()
    {
        let path = program.text(path);
        program.push(
            Op::ReadOnlyPath(path),
            Blame::new("make read-only", Place::item("/linux/readonlyPaths", index)).on(path),
        );
    }
    let label = lsm::mount_label(linux).map(|label| program.text(label));
    // After the read-only paths: a mask below one of them must not be covered by its clone.
    for (index, path) in
        linux.and_then(|l| l.masked_paths().as_deref()).unwrap_or_default().iter().enumerate()
    {
        let path = program.text(path);
        program.push(
            Op::MaskPath { path, label },
            Blame::new("mask", Place::item("/linux/maskedPaths", index)).on(path),
        );
    }
}

fn plan_sysctls(program: &mut Program, linux: Option<&Linux>) {
    let Some(all) = linux.and_then(|l| l.sysctl().as_ref()) else { return };
    let mut all: Vec<_> = all.iter().collect();
    all.sort();
    for (key, value) in all {
        // That the key is one was checked.
        let Some(path) = sysctl::path(key) else { continue };
        let (path, text) = (program.text(format!("sys/{path}")), program.text(value));
        program.push(
            Op::WriteProc { path, text },
            Blame::new("set sysctl", Place::of("/linux/sysctl")).on(path).and("to", text),
        );
    }
}

fn plan_memory_policy(program: &mut Program, linux: Option<&Linux>) -> Result<()> {
    let Some(policy) = linux.and_then(|l| l.memory_policy().as_ref()) else { return Ok(()) };
    let nodes = memory_policy::nodes(policy).ok_or_else(|| {
        Error::new(Kind::InvalidSpec, "the memory nodes are not a list of numbers and ranges")
            .at("/linux/memoryPolicy/nodes")
    })?;
    let nodes = program.text(nodes);
    program.push(
        Op::MemoryPolicy { mode: memory_policy::mode(policy), nodes },
        Blame::new("set the memory policy", Place::of("/linux/memoryPolicy")),
    );
    Ok(())
}
