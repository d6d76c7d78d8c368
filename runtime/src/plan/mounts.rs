//! The order of adding mounts to a running container, and of removing them.
//!
//! A child joins the container's namespaces and does there what it would have done at the creation. What the host owns
//! comes from the parent. Everything goes through one descriptor of the container's root, so that nothing that its
//! processes do in the meantime leads out of it.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};

use super::enter::plan_refork;
use super::join::Join;
use super::mount_list::understand;
use super::order::begin;
use super::root::host_propagation;
use super::{ParentStep, Plan};
use crate::error::Result;
use crate::linux::idmap::IdMaps;
use crate::linux::lsm;
use crate::linux::mount::added::AddedMount;
use crate::linux::namespace::Namespaces;
use crate::plan::mount::cgroup::Views;
use crate::plan::mount::context::{HostAccess, MountContext};
use crate::plan::mount::entry::{clean, plain};
use crate::program::blame::{Blame, Place};
use crate::program::{Op, Slot, Text};

/// Facts about the container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MountsRequest<'r> {
    pub(crate) spec: &'r Spec,
    pub(crate) bundle: &'r Path,
    pub(crate) join: Join,
    /// What a cgroup mount shows.
    pub(crate) views: &'r Views,
    /// Sources to copy as links: the path and its target.
    pub(crate) links: &'r [(PathBuf, PathBuf)],
    /// Whether the parent may enter namespaces and clone mounts.
    pub(crate) admin: bool,
    /// The mounts on record.
    pub(crate) known: &'r [AddedMount],
}

impl MountsRequest<'_> {
    /// Whether the child has to do everything by itself, with the rights of the container's user namespace.
    fn visits(&self) -> bool {
        !self.admin && self.join.has(libc::CLONE_NEWUSER) && self.join.has(libc::CLONE_NEWNS)
    }
}

/// Plans the addition of mounts, which have been checked.
pub(crate) fn add(mounts: &[Mount], request: &MountsRequest<'_>) -> Result<Plan> {
    let mut plan = Plan::default();
    enter(&mut plan, request, needs_pid_namespace(mounts, request.join.namespaces));
    plan_known(&mut plan, request);
    let linux = request.spec.linux().as_ref();
    let maps = IdMaps::of(
        linux.and_then(|l| l.uid_mappings().as_ref()),
        linux.and_then(|l| l.gid_mappings().as_ref()),
    );
    let joined = Namespaces::of(linux);
    let around = MountContext {
        bundle: request.bundle,
        host: if request.visits() { HostAccess::ByVisit(Join::INIT) } else { HostAccess::ByParent },
        propagation: if request.join.has(libc::CLONE_NEWNS) {
            host_propagation(linux)
        } else {
            libc::MS_SLAVE as u32
        },
        // The parent makes the clones, or they are made in a namespace that is a slave of the host's.
        among_the_hosts: false,
        in_user_namespace: false,
        own_pids: request.join.has(libc::CLONE_NEWPID),
        procfs: (request.admin && request.join.has(libc::CLONE_NEWPID)).then_some(Join::INIT),
        maps: &maps,
        joined_user: joined.user.joined(),
        label: lsm::mount_label(linux),
        links: request.links,
        remounts: &[],
    };
    let own_cgroup = request.join.has(libc::CLONE_NEWCGROUP);
    for (index, mount) in mounts.iter().enumerate() {
        let entry = understand(mount, index)?;
        let start = plan.program.ops.len();
        if entry.is_cgroup() {
            entry.plan_cgroup(&mut plan, &around, request.views, own_cgroup);
        } else {
            entry.plan(&mut plan, &around);
        }
        // Whatever an entry mounts below its first mount is removed with that.
        let step = plan.steps.len() as u16;
        let blame = Blame::new("write down the mount", entry.place());
        plan.steps.push((ParentStep::NoteMount(clean(&entry.destination)), blame));
        plan.program.push_before_attach(start, Op::Show { step }, blame);
        if entry.is_late_read_only() {
            let path = plan.program.text(entry.destination.as_os_str().as_encoded_bytes());
            let blame = Blame::new("make read-only", entry.place().property("/options")).on(path);
            let set = libc::MOUNT_ATTR_RDONLY as u32;
            plan.program.push(
                Op::Attributes { on: Slot::MOUNT, set, clear: 0, propagation: 0, recursive: false },
                blame,
            );
        }
    }
    let remembers = |op: &&Op| matches!(op, Op::Attach);
    plan.program.remembered = plan.program.ops.iter().filter(remembers).count();
    plan.program.undoes = true;
    plan.program.push_own(Op::Created, "report that the mounts are made");
    Ok(plan)
}

/// Plans the removal of recorded mounts by destination. All are checked to be removable before the first is removed.
pub(crate) fn remove(mounts: &[Mount], request: &MountsRequest<'_>) -> Plan {
    let mut plan = Plan::default();
    enter(&mut plan, request, false);
    let known = plan_known(&mut plan, request);
    let mut last = Blame::new("unmount", Place::item("/mounts", 0));
    for (index, mount) in mounts.iter().enumerate() {
        let destination = plain(mount.destination());
        let path = plan.program.text(destination.as_os_str().as_encoded_bytes());
        let blame = Blame::new("unmount", Place::item("/mounts", index).property("/destination")).on(path);
        let destination = clean(mount.destination());
        let own = (0u32..).zip(request.known).filter(|(_, one)| one.destination == destination);
        let mut own: Vec<[u8; 4]> = own.map(|(number, _)| number.to_ne_bytes()).collect();
        // Latest first.
        own.reverse();
        let own = plan.program.text(own.concat());
        plan.program.push(Op::FindAdded { path, known, own }, blame);
        plan.program.push(Op::Condemn, blame);
        last = blame;
    }
    plan.program.remembered = mounts.len();
    // The last one is the first to be detached, and nothing else can be found gone.
    plan.program.push(Op::DetachCondemned, last);
    plan.program.push_own(Op::Created, "report that the mounts are gone");
    plan
}

/// Has the child report recorded mounts that are gone; returns the list.
fn plan_known(plan: &mut Plan, request: &MountsRequest<'_>) -> Text {
    let known: Vec<u8> = request.known.iter().flat_map(|one| one.mount.pack()).collect();
    let known = plan.program.text(known);
    plan.program.push_own(Op::TellGone { known }, "look for the mounts that were added before");
    known
}

/// Whether a mount shows the container's pid namespace. A parent with privileges opens it; otherwise the child must be
/// in the namespace, where no process of the container can have rights over it.
fn needs_pid_namespace(mounts: &[Mount], namespaces: i32) -> bool {
    namespaces & libc::CLONE_NEWPID != 0 && mounts.iter().any(|mount| mount.typ().as_deref() == Some("proc"))
}

/// `pids` means that a new mount shows the pid namespace.
fn enter(plan: &mut Plan, request: &MountsRequest<'_>, pids: bool) {
    begin(&mut plan.program, 0, None, false);
    plan.program.push_own(Op::NewSession, "start a new session");
    let mut kinds = request.join.namespaces & !libc::CLONE_NEWPID;
    if request.visits() {
        let early = libc::CLONE_NEWUSER | if pids { libc::CLONE_NEWPID } else { 0 };
        kinds &= !early;
        Join::enter_some(&mut plan.program, early, "join the container's user namespace");
        if pids {
            plan_refork(&mut plan.program, 0, Place::NONE);
        }
        request.join.become_root(&mut plan.program);
        let op = Op::Unshare { kinds: libc::CLONE_NEWNS };
        plan.program.push_own(op, "take a view of the host's mounts");
        plan.program.push_own(Op::HoldView, "hold the view of the host's mounts");
    }
    plan.program.push_own(Op::OwnDescriptors, "hold the directory of own descriptors");
    request.join.enter(&mut plan.program, kinds);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan_of(mounts: &serde_json::Value, namespaces: i32, admin: bool) -> Plan {
        let mounts: Vec<Mount> = serde_json::from_value(mounts.clone()).unwrap();
        let spec = Spec::default();
        let views = Views::Unified { directory: "/sys/fs/cgroup/web".into(), is_own: true };
        let bundle = Path::new("/bundle");
        let join = Join::of(None, namespaces, false);
        let request =
            MountsRequest { spec: &spec, bundle, join, views: &views, links: &[], admin, known: &[] };
        add(&mounts, &request).unwrap()
    }

    #[test]
    fn every_attachment_can_be_remembered_and_nothing_of_the_host_is_opened_inside() {
        let long = "a".repeat(300);
        let plan = plan_of(
            &json!([
                {"destination": "/a", "source": "volume", "options": ["bind"]},
                {"destination": "/b", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/c", "type": "overlay", "source": "overlay", "options": [format!("lowerdir={long}")]},
                {"destination": "/d", "type": "cgroup", "source": "cgroup"}
            ]),
            libc::CLONE_NEWNS,
            true,
        );
        assert_eq!(plan.program.remembered, 4);
        assert!(!plan.program.ops.iter().any(|op| matches!(op, Op::CloneHost { .. })));
        let noted = plan.steps.iter().filter(|(step, _)| matches!(step, ParentStep::NoteMount(_))).count();
        assert_eq!((noted, plan.steps.len()), (4, 6));
        let held = plan.program.ops.iter().position(|op| *op == Op::OwnDescriptors);
        let entered = plan.program.ops.iter().position(|op| matches!(op, Op::Enter { .. }));
        assert!(held < entered, "the procfs must be the host's");
    }

    #[test]
    fn without_privileges_the_child_visits_the_hosts_mounts_and_comes_back() {
        let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNET;
        let mounts = json!([{"destination": "/a", "source": "volume", "options": ["bind"]}, {"destination": "/b", "type": "proc"}]);
        let plan = plan_of(&mounts, namespaces, false);
        assert!(plan.steps.iter().all(|(step, _)| matches!(step, ParentStep::NoteMount(_))));
        let mut visiting = false;
        let mut visits = 0;
        for op in &plan.program.ops {
            match op {
                Op::EnterView => (visiting, visits) = (true, visits + 1),
                Op::Enter { kinds, .. } if kinds & libc::CLONE_NEWNS != 0 => visiting = false,
                Op::CloneHost { .. } | Op::MakeMount { .. } => assert!(visiting),
                Op::Target { .. } | Op::Attach | Op::HoldCurrentRoot => assert!(!visiting),
                _ => {}
            }
        }
        assert_eq!(visits, 2);
        let at = |wanted: fn(&Op) -> bool| plan.program.ops.iter().position(wanted);
        assert!(
            at(|op| matches!(op, Op::Refork { .. })) < at(|op| *op == Op::OwnDescriptors),
            "they must be the child's"
        );
    }

    #[test]
    fn each_entry_is_written_down_once_before_it_is_attached() {
        let mounts =
            json!([{"destination": "/a/../b", "type": "tmpfs"}, {"destination": "/c", "type": "tmpfs"}]);
        let plan = plan_of(&mounts, libc::CLONE_NEWNS, true);
        let mut shown = 0;
        let mut attached = 0;
        for op in &plan.program.ops {
            match op {
                Op::Show { step } => {
                    assert_eq!(shown, attached);
                    shown += 1;
                    let wanted = ["/b", "/c"][attached];
                    assert_eq!(plan.steps[usize::from(*step)].0, ParentStep::NoteMount(wanted.into()));
                }
                Op::Attach => {
                    attached += 1;
                    assert_eq!(shown, attached);
                }
                _ => {}
            }
        }
        assert_eq!(attached, 2);
    }

    #[test]
    fn only_a_procfs_needs_the_pid_namespace() {
        let mounts = |kind: &str| -> Vec<Mount> {
            serde_json::from_value(json!([{"destination": "/a", "type": kind}])).unwrap()
        };
        assert!(needs_pid_namespace(&mounts("proc"), libc::CLONE_NEWPID | libc::CLONE_NEWNS));
        assert!(!needs_pid_namespace(&mounts("proc"), libc::CLONE_NEWNS));
        assert!(!needs_pid_namespace(&mounts("tmpfs"), libc::CLONE_NEWPID));
    }
}
