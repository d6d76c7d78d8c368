//! From the birth of the child to its last namespace.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, Process};

use super::process::{Emergence, plan_keyring, plan_spare_keyring};
use super::{ParentStep, Plan, Request};
use crate::linux::idmap::IdMaps;
use crate::linux::namespace::Namespaces;
use crate::linux::{affinity, intel_rdt, net_device, timens};
use crate::program::blame::{Blame, Place};
use crate::program::{Op, Program, Slot};

/// From birth to the last namespace.
pub(super) fn enter_namespaces(
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
    // A child that joins a pid namespace of the host must do so before it gives up its rights over the host.
    let early_pid = namespaces.pid.joined().filter(|_| admin && own_user);
    let unshares_user = namespaces.user.is_new() && early_pid.is_some();
    // A scope cannot be made without a process. Nothing has happened yet that its limits should have bounded.
    enter_scope(plan, request.scope, Place::of("/linux/cgroupsPath"));
    if namespaces.user.is_new() && !unshares_user {
        plan.born_with |= libc::CLONE_NEWUSER;
    }
    if !own_user {
        unshare(&mut plan.program, namespaces.unshared());
    }
    // Still with the host's ids, and before the cgroup namespace, whose root is wherever the process is.
    join_cgroups(&mut plan.program, request.tasks, Place::of("/linux/cgroupsPath"));
    plan_all_cpus(&mut plan.program);
    if let Some(group) = intel_rdt::GroupRequest::of(linux, request.id) {
        // Like the cgroups: everything later inherits it, including a process that is forked again.
        plan.ask(
            ParentStep::JoinRdt(group),
            Slot::NONE,
            Blame::new("join the resctrl groups", Place::of("/linux/intelRdt")),
        );
    }
    if own_user && admin && request.new_keyring {
        plan_spare_keyring(&mut plan.program);
    }
    // The host's own namespaces before the user namespace: afterwards there is no right to them.
    let (early, late): (Vec<_>, Vec<_>) =
        namespaces.joined().partition(|(.., kind)| own_user && admin && kind & Namespaces::HOST_OWNED != 0);
    for (path, index, kinds) in early {
        let place = Place::item("/linux/namespaces", index);
        if namespaces.user.is_new() && !unshares_user {
            plan.born_joined.push((path.to_owned(), kinds, place));
        } else {
            plan.enter(path, kinds, place);
        }
    }
    if let Some(path) = early_pid {
        plan.enter(path, libc::CLONE_NEWPID, Place::of("/linux/namespaces"));
    }
    if unshares_user {
        unshare(&mut plan.program, libc::CLONE_NEWUSER);
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
            plan_refork(&mut plan.program, libc::CLONE_NEWPID, Place::of("/linux/namespaces"));
        }
        if let Some(path) = namespaces.pid.joined().filter(|_| !admin) {
            plan.enter(path, libc::CLONE_NEWPID, Place::of("/linux/namespaces"));
            plan_refork(&mut plan.program, 0, Place::of("/linux/namespaces"));
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
        if walks_to_root(namespaces, request) {
            // As the working directory, it moves to the new mount namespace, where no path needs to lead to it.
            let rootfs = plan.program.text(request.rootfs.as_os_str().as_encoded_bytes());
            let blame = Blame::new("enter the root file system", Place::of("/root/path")).on(rootfs);
            plan.ask(ParentStep::OpenDirectory(request.rootfs.to_owned()), Slot::TARGET, blame);
            plan.program.push(Op::EnterDirectory, blame);
        }
        unshare(&mut plan.program, namespaces.unshared());
    }
    for (path, index, kinds) in joined {
        plan.enter(path, kinds, Place::item("/linux/namespaces", index));
    }
    if namespaces.cgroup.is_new() {
        unshare(&mut plan.program, libc::CLONE_NEWCGROUP);
    }
    fill_namespaces(plan, namespaces, linux, process, request);
}

/// What only a process in the new namespaces can set.
fn fill_namespaces(
    plan: &mut Plan,
    namespaces: &Namespaces,
    linux: Option<&Linux>,
    process: Option<&Process>,
    request: &Request<'_>,
) {
    let (own_user, admin) = (namespaces.user.is_own(), request.host.is_admin());
    if let Some(offsets) = linux.and_then(|l| l.time_offsets().as_ref()).filter(|offsets| !offsets.is_empty())
    {
        let blame = Blame::new("set the time offsets", Place::of("/linux/timeOffsets"));
        if admin {
            // The host's root owns the file, since this process is not dumpable.
            plan.ask(ParentStep::TimeOffsets(timens::text(offsets)), Slot::NONE, blame);
        } else {
            let path = plan.program.text("/proc/self/timens_offsets");
            let text = plan.program.text(timens::text(offsets));
            plan.program.push(Op::WriteHost { path, text }, blame);
        }
    }
    if request.new_keyring {
        plan_keyring(&mut plan.program, request.id, process, "join a new session keyring", own_user && admin);
    }
    if namespaces.network.is_new() {
        plan.program.push_own(Op::LoopbackUp, "bring the loopback interface up");
    }
    let devices = net_device::requests(linux);
    if !devices.is_empty() {
        // As soon as there is a namespace to move them to: sysctls may name them, and hooks set up networks over them.
        plan.ask(
            ParentStep::MoveDevices(devices),
            Slot::NONE,
            Blame::new("move network devices into the container", Place::of("/linux/netDevices")),
        );
    }
}

/// Has systemd put the process into a scope, if there is one.
pub(super) fn enter_scope(plan: &mut Plan, scope: Option<&str>, place: Place) {
    if let Some(unit) = scope {
        let blame = Blame::new("enter the systemd scope", place);
        plan.ask(ParentStep::EnterScope(unit.to_owned()), Slot::NONE, blame);
    }
}

/// Joins cgroups by their files.
pub(super) fn join_cgroups(program: &mut Program, tasks: &[PathBuf], place: Place) {
    for tasks in tasks {
        let path = program.text(tasks.as_os_str().as_encoded_bytes());
        // "0" is the writing thread itself: a single thread moves without waiting for a grace period of the kernel,
        // which writing a pid to cgroup.procs costs (10 ms after any idle time).
        let text = program.text("0");
        program.push(Op::WriteHost { path, text }, Blame::new("join cgroup", place).on(path));
    }
}

/// Joins an existing pid namespace for the process that is born last, unless that has already happened: after the
/// hooks, which must not be visible in it with the host's root directory.
pub(super) fn enter_pid_namespace(plan: &mut Plan, namespaces: &Namespaces, request: &Request<'_>) {
    if let Some(path) = namespaces.pid.joined()
        && request.host.is_admin()
        && !namespaces.user.is_own()
    {
        plan.enter(path, libc::CLONE_NEWPID, Place::of("/linux/namespaces"));
    }
}

/// What can see the process when it emerges in its pid namespace; none if the namespace is empty.
pub(super) fn emergence(namespaces: &Namespaces, request: &Request<'_>) -> Option<Emergence> {
    // Without privileges it was entered at the start: no process in there can have rights over a process of the caller.
    let emerges = namespaces.pid.joined().is_some() && request.host.is_admin();
    // The processes in there are unknown, but rights of a user namespace do not reach out of it.
    let seen = if namespaces.user.is_own() { Emergence::Unwatched } else { Emergence::Watched };
    emerges.then_some(seen)
}

/// Whether the child makes its root file system its working directory: root of a user namespace may not be allowed to
/// pass through the host directories above it.
pub(super) fn walks_to_root(namespaces: &Namespaces, request: &Request<'_>) -> bool {
    namespaces.user.is_own() && namespaces.mount.is_new() && request.host.is_admin()
}

/// Continues in a second process, if a pid namespace takes effect only for processes born later.
pub(super) fn plan_refork(program: &mut Program, kinds: i32, place: Place) {
    program.push(Op::Refork { kinds }, Blame::new("make a process in the pid namespace", place));
    program.push_own(Op::NewSession, "start a new session");
}

fn unshare(program: &mut Program, kinds: i32) {
    if kinds != 0 {
        program.push(Op::Unshare { kinds }, Blame::new("unshare namespaces", Place::of("/linux/namespaces")));
    }
}

/// The caller's CPU affinity must not restrict the container, which has a cgroup for that. Kernels from 6.2 on remember
/// the affinity through every change of the cgroup's CPUs, unless it is reset.
pub(super) fn plan_all_cpus(program: &mut Program) {
    let mask = program.text(affinity::ALL_CPUS);
    program.push_own(Op::AllCpus(mask), "reset the CPU affinity to the CPUs of the cgroup");
}
