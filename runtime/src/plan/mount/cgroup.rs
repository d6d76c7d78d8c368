//! A mount of type `cgroup`: the container's own cgroups, in the host's form.

use std::path::Path;

use super::context::{HostAccess, MountContext};
use super::entry::{Entry, plan_label};
use crate::plan::{ParentStep, Plan};
use crate::program::blame::Blame;
use crate::program::{Links, Op, Slot};

/// One hierarchy that the container can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupView {
    /// The name of its directory below the mount: "memory", "cpu,cpuacct", "systemd".
    pub(crate) name: String,
    /// The controllers, or the name of a named hierarchy.
    pub(crate) controllers: Vec<String>,
    pub(crate) named: bool,
    /// The container's cgroup on the host.
    pub(crate) directory: std::path::PathBuf,
    /// Whether it is the container's own; the runtime's is read-only for the container.
    pub(crate) is_own: bool,
}

/// The part of the cgroup file systems that the container can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Views {
    /// The unified hierarchy: the fields are those of a [`CgroupView`].
    Unified { directory: std::path::PathBuf, is_own: bool },
    /// Version 1, one directory per hierarchy.
    Split(Vec<CgroupView>),
}

impl Entry<'_> {
    /// The steps. With its own cgroup namespace the container gets new mounts, which show its own cgroup as the root.
    /// Without one it gets bind mounts of its cgroups: a new cgroup2 mount would show the host's tree, and could change
    /// the host's mount options.
    pub(crate) fn plan_cgroup(
        &self,
        plan: &mut Plan,
        around: &MountContext<'_>,
        views: &Views,
        own_namespace: bool,
    ) {
        let program = &mut plan.program;
        let destination = program.text(self.destination.as_os_str().as_encoded_bytes());
        let blame = Blame::new("mount cgroup on", self.place()).on(destination);
        match views {
            Views::Unified { directory, is_own } => {
                if own_namespace {
                    let fs = program.text("cgroup2");
                    program.push(Op::NewFs(fs), blame);
                    program.push(Op::MakeMount { attributes: self.cgroup_attributes(*is_own) }, blame);
                } else {
                    self.plan_bound(plan, around, directory, blame, *is_own);
                }
                let program = &mut plan.program;
                program.push(Op::Target { path: destination, like: None, links: Links::All }, blame);
                program.push(Op::Attach, blame);
                self.keep(plan, around.remounts, None);
            }
            Views::Split(views) => {
                let read_only = libc::MOUNT_ATTR_RDONLY as u32;
                let fs = program.text("tmpfs");
                program.push(Op::NewFs(fs), blame);
                for (key, value) in [("source", "tmpfs"), ("mode", "755")] {
                    let (key, value) = (program.text(key), program.text(value));
                    program.push(Op::FsOption { key, value: Some(value) }, blame);
                }
                if let Some(label) = around.label {
                    plan_label(program, label);
                }
                program.push(
                    Op::MakeMount { attributes: self.options.mount.to_set() as u32 & !read_only },
                    blame,
                );
                program.push(Op::Target { path: destination, like: None, links: Links::All }, blame);
                program.push(Op::Attach, blame);
                // The mounts in it are never looked up by a path of the container.
                let place = program.hold(Slot::MOUNT, blame);
                self.keep(plan, around.remounts, Some(place));
                for view in views {
                    self.plan_view(plan, around, view, own_namespace, place);
                }
                let program = &mut plan.program;
                if self.options.mount.to_set() as u32 & read_only != 0 {
                    program.push(Op::Held { place, into: Slot::TARGET }, blame);
                    program.push(
                        Op::Attributes {
                            on: Slot::TARGET,
                            set: read_only,
                            clear: 0,
                            propagation: 0,
                            recursive: false,
                        },
                        blame,
                    );
                }
            }
        }
    }

    fn plan_view(
        &self,
        plan: &mut Plan,
        around: &MountContext<'_>,
        view: &CgroupView,
        own_namespace: bool,
        place: u16,
    ) {
        let program = &mut plan.program;
        let path = program.text(self.destination.join(&view.name).as_os_str().as_encoded_bytes());
        let blame = Blame::new("mount cgroup hierarchy on", self.place()).on(path);
        if own_namespace {
            let fs = program.text("cgroup");
            program.push(Op::NewFs(fs), blame);
            let source = (program.text("source"), program.text("cgroup"));
            program.push(Op::FsOption { key: source.0, value: Some(source.1) }, blame);
            for controller in &view.controllers {
                let key = program.text(if view.named { "name" } else { controller });
                let value = view.named.then(|| program.text(controller));
                program.push(Op::FsOption { key, value }, blame);
            }
            if view.named {
                let none = program.text("none");
                program.push(Op::FsOption { key: none, value: None }, blame);
            }
            program.push(Op::MakeMount { attributes: self.cgroup_attributes(view.is_own) }, blame);
        } else {
            self.plan_bound(plan, around, &view.directory, blame, view.is_own);
        }
        let program = &mut plan.program;
        let name = program.text(&view.name);
        program.push(Op::Inside { place, name }, blame);
        program.push(Op::Attach, blame);
        // "cpu,cpuacct" is available under both names.
        if view.controllers.len() > 1 {
            for controller in &view.controllers {
                let link = program.text(controller);
                program.push(Op::LinkInside { place, target: name, name: link }, blame);
            }
        }
    }

    /// The requested attributes. A cgroup that the container shares with its runtime is read-only: if it is delegated
    /// to a user, the user could otherwise change the user's own limits, and those of the user's other processes, from
    /// inside.
    fn cgroup_attributes(&self, is_own: bool) -> u32 {
        let read_only = if is_own { 0 } else { libc::MOUNT_ATTR_RDONLY as u32 };
        self.options.mount.to_set() as u32 | read_only
    }

    fn plan_bound(
        &self,
        plan: &mut Plan,
        around: &MountContext<'_>,
        directory: &Path,
        blame: Blame,
        is_own: bool,
    ) {
        if around.host == HostAccess::ByParent {
            let source = directory.to_owned();
            // Cgroups are not shared with the host like volumes.
            let shared = u64::from(around.propagation) == libc::MS_SHARED;
            let propagation = if shared { libc::MS_SLAVE as u32 } else { around.propagation };
            let step =
                ParentStep::OpenMount { source, recursive: false, follow: true, propagation, id_map: None };
            plan.ask(step, Slot::MOUNT, blame);
        } else {
            let path = plan.program.text(directory.as_os_str().as_encoded_bytes());
            around.host.plan_leave(&mut plan.program, blame);
            plan.program.push(Op::CloneHost { path, recursive: false, follow: true }, blame);
            around.plan_cut(&mut plan.program, blame);
            around.host.plan_return(&mut plan.program, blame);
        }
        let set = self.cgroup_attributes(is_own);
        let clear = self.options.mount.to_clear() as u32 & !set;
        let program = &mut plan.program;
        program.push(Op::Attributes { on: Slot::MOUNT, set, clear, propagation: 0, recursive: false }, blame);
    }
}
