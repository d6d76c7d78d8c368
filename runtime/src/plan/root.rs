//! The root file system: filled while it is still below the host's, then entered, then closed.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, Mount, Process, Spec};

use super::enter::walks_to_root;
use super::mount_list::understand;
use super::process::{needs_proc, plan_null_streams, plan_terminal};
use super::{ParentStep, Plan, Request, hooks};
use crate::error::Result;
use crate::linux::idmap::IdMaps;
use crate::linux::mount::propagation::{Propagation, PropagationType};
use crate::linux::namespace::Namespaces;
use crate::linux::{device, lsm, sysctl};
use crate::plan::mount::context::{HostAccess, MountContext};
use crate::plan::mount::entry::{Entry, clean, plain, propagation};
use crate::program::blame::{Blame, Place};
use crate::program::{Op, Program, Slot, Text};

/// The directory of the notification socket in the container.
pub(crate) const NOTIFY_DIRECTORY: &str = "/run/notify";

/// The root file system with everything in it, still below the host's.
pub(super) fn fill_root(
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
    plan_host_propagation(&mut plan.program, linux, namespaces);
    let has_sysctl = linux.and_then(|l| l.sysctl().as_ref()).is_some_and(|all| !all.is_empty());
    if has_sysctl || process.is_some_and(needs_proc) {
        // Before the first mount that another process could influence.
        plan.program.push_own(Op::OpenProc, "open a private procfs");
    }
    let masked = linux.and_then(|l| l.masked_paths().as_deref()).unwrap_or_default();
    if !masked.is_empty() {
        plan.program.push(
            Op::NullDevice,
            Blame::new("take the null device of the host", Place::of("/linux/maskedPaths")),
        );
    }
    let at = if walks_to_root(namespaces, request) { plan.program.text(".") } else { rootfs };
    plan_open_root(&mut plan.program, linux, namespaces, rootfs, at);

    let joined_pids = namespaces.pid.joined().filter(|_| request.host.is_admin());
    let procfs = joined_pids.map(|path| plan.open(path, Place::of("/linux/namespaces")));
    let around = MountContext {
        bundle: request.bundle,
        host: host_access(linux, namespaces, request),
        propagation: if namespaces.mount.is_own() { host_propagation(linux) } else { libc::MS_SLAVE as u32 },
        among_the_hosts: !namespaces.mount.is_own(),
        in_user_namespace: namespaces.user.is_own() || request.host.is_rootless(),
        own_pids: namespaces.pid.is_own(),
        procfs,
        maps,
        joined_user: namespaces.user.joined(),
        label: lsm::mount_label(linux),
        links: request.links,
        remounts: &remounts(entries),
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
        if entry.is_late_read_only() {
            let path = plan.program.text(entry.destination.as_os_str().as_encoded_bytes());
            let blame = Blame::new("make read-only", entry.place().property("/options")).on(path);
            let place = plan.program.hold(Slot::MOUNT, blame);
            plan.late_read_only.push((place, blame));
        }
    }
    if let Some(directory) = request.notify {
        let mount = notify_mount(directory);
        if let Ok(entry) = Entry::new(&mount, Place::NONE) {
            entry.plan(plan, &around);
        }
    }
    if !bound_dev {
        // A host /dev that the configuration binds is not ours to change.
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
        } else {
            plan_null_streams(&mut plan.program);
        }
        plan_working_directory(&mut plan.program, process);
    }
    let create = spec.hooks().as_ref().and_then(|all| all.create_container().as_ref());
    hooks::plan(
        &mut plan.program,
        spec,
        request,
        create,
        "creating",
        ("/hooks/createContainer", "run the createContainer hooks"),
        hooks::HookContext::default(),
    );
    Ok(())
}

/// The destinations that entries change with `remount`.
fn remounts(entries: &[(Mount, usize)]) -> Vec<PathBuf> {
    let understood = entries.iter().filter_map(|(mount, index)| understand(mount, *index).ok());
    understood.filter(|entry| entry.options.remount).map(|entry| clean(&entry.destination)).collect()
}

/// The directory of the socket for `sd_notify(3)`. Read-only: the container may send to the socket, but not replace it.
fn notify_mount(directory: &Path) -> Mount {
    let mut mount = Mount::default();
    let options = ["bind", "nosuid", "noexec", "nodev", "ro", "private"].map(str::to_owned).to_vec();
    mount
        .set_destination(NOTIFY_DIRECTORY.into())
        .set_typ(None)
        .set_source(Some(directory.to_owned()))
        .set_options(Some(options));
    mount
}

/// None of our steps may mount, unmount or change anything on a mount that is a peer of a host mount: with the old
/// root, the host would lose everything that it has mounted. So the tree around the root is cut off first, even if
/// `rootfsPropagation` shares volumes with the host, and even in a joined mount namespace, which may have peers too.
fn plan_host_propagation(program: &mut Program, linux: Option<&Linux>, namespaces: &Namespaces) {
    if !namespaces.mount.is_own() {
        return;
    }
    let shared = libc::MS_SHARED as u32;
    let kind = Some(host_propagation(linux)).filter(|kind| *kind != shared).unwrap_or(libc::MS_SLAVE as u32);
    let slash = program.text("/");
    program.push(
        Op::PropagationAt { path: slash, kind },
        Blame::new("set the propagation of the host's mounts in", Place::of("/linux/rootfsPropagation"))
            .on(slash),
    );
}

/// The root mount. A clone is a peer of its source, and the tree around it is cut off only in a mount namespace of the
/// container's own. What the host mounts on the root file system later appears inside if that is asked for. `at` is a
/// path through which the child can reach it.
fn plan_open_root(
    program: &mut Program,
    linux: Option<&Linux>,
    namespaces: &Namespaces,
    rootfs: Text,
    at: Text,
) {
    let asked = linux.and_then(|l| l.rootfs_propagation().as_deref()).and_then(Propagation::parse);
    let follows = asked.is_some_and(|asked| asked.typ == PropagationType::Slave);
    let tree = if namespaces.mount.is_own() { 0 } else { libc::MS_SLAVE as u32 };
    let root = if follows { 0 } else { libc::MS_PRIVATE as u32 };
    program.push(
        Op::OpenRoot { path: at, tree, root },
        Blame::new("bind the root file system", Place::of("/root/path")).on(rootfs),
    );
}

/// Who clones host mounts. Volumes that are shared with the host must be clones of its own mounts: the child's
/// surrounding ones are cut off.
fn host_access(linux: Option<&Linux>, namespaces: &Namespaces, request: &Request<'_>) -> HostAccess {
    let shares = namespaces.mount.is_new() && u64::from(host_propagation(linux)) == libc::MS_SHARED;
    if (namespaces.user.is_own() || shares) && request.host.is_admin() {
        HostAccess::ByParent
    } else {
        HostAccess::Itself
    }
}

/// The propagation of host mounts that are bound into a mount namespace of the container's own.
pub(super) fn host_propagation(linux: Option<&Linux>) -> u32 {
    let asked = linux.and_then(|l| l.rootfs_propagation().as_deref()).and_then(Propagation::parse);
    let kind = asked.map_or(libc::MS_SLAVE as u32, |asked| propagation(asked).0);
    // An unbindable mount could not be cloned for the container.
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

/// Images may lack the working directory; runc makes it, and callers rely on that. Everything that the kernel looks up
/// later is made: for `/a/../b`, that includes `/a`.
fn plan_working_directory(program: &mut Program, process: &Process) {
    let clean: PathBuf = process
        .cwd()
        .components()
        .filter(|part| matches!(part, Component::RootDir | Component::ParentDir | Component::Normal(_)))
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
pub(super) fn finish_root(plan: &mut Plan, spec: &Spec, namespaces: &Namespaces, request: &Request<'_>) {
    let linux = spec.linux().as_ref();
    let program = &mut plan.program;
    if !namespaces.mount.is_own() {
        program.push_own(Op::ChangeRoot, "change the root");
    } else if request.no_pivot {
        program.push_own(Op::MoveRoot, "move the root");
    } else {
        program.push_own(Op::Pivot, "pivot the root");
    }
    let asked = linux.and_then(|l| l.rootfs_propagation().as_deref()).and_then(Propagation::parse);
    // The root sends nothing from the beginning; a mount that the configuration shares stays shared.
    if let Some(asked) =
        asked.filter(|asked| !matches!(asked.typ, PropagationType::Private | PropagationType::Slave))
    {
        let (kind, recursive) = propagation(asked);
        let blame = Blame::new("set the propagation of the root", Place::of("/linux/rootfsPropagation"));
        program.push(Op::RootPropagation { kind, recursive }, blame);
    }
    plan_sysctls(program, linux);
    for (place, blame) in plan.late_read_only.drain(..) {
        program.push(Op::Held { place, into: Slot::TARGET }, blame);
        let set = libc::MOUNT_ATTR_RDONLY as u32;
        program.push(
            Op::Attributes { on: Slot::TARGET, set, clear: 0, propagation: 0, recursive: false },
            blame,
        );
    }
    if spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)) {
        program.push(Op::ReadOnlyRoot, Blame::new("make the root read-only", Place::of("/root/readonly")));
    }
    for (index, path) in
        linux.and_then(|l| l.readonly_paths().as_deref()).unwrap_or_default().iter().enumerate()
    {
        let path = program.text(plain(Path::new(path)).as_os_str().as_encoded_bytes());
        program.push(
            Op::ReadOnlyPath(path),
            Blame::new("make read-only", Place::item("/linux/readonlyPaths", index)).on(path),
        );
    }
    let label = lsm::mount_label(linux).map(|label| program.text(label));
    // After the read-only paths: the clone of a read-only path above a mask must not cover the mask.
    let masked = linux.and_then(|l| l.masked_paths().as_deref()).unwrap_or_default();
    for (index, path) in masked.iter().enumerate() {
        // Engines add their list to the caller's. This path is already masked.
        if masked.iter().take(index).any(|earlier| earlier == path) {
            continue;
        }
        let path = program.text(plain(Path::new(path)).as_os_str().as_encoded_bytes());
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
        // The key has been checked.
        let Some(path) = sysctl::path(key) else { continue };
        let (path, text) = (program.text(format!("sys/{path}")), program.text(value));
        program.push(
            Op::WriteProc { path, text },
            Blame::new("set sysctl", Place::of("/linux/sysctl")).on(path).and("to", text),
        );
    }
}
