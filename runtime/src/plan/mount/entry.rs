//! The steps for one entry of `mounts`: make the mount detached, set its attributes, find its place, attach it.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use super::context::{HostAccess, MountContext};
use super::overlay;
use crate::linux::idmap::IdMaps;
use crate::linux::lsm;
use crate::linux::mount::options::{self, LONGEST_VALUE, MountOptions, superblock};
use crate::linux::mount::propagation::{Propagation, PropagationType, Reach};
use crate::plan::{MapSource, ParentStep, Plan};
use crate::program::blame::{Blame, Place};
use crate::program::{Links, Op, Program, Slot, Text};

/// The kernel's own file systems: `ro` only concerns the mount, as their superblocks are shared or must stay writable
/// while the runtime fills them.
const PSEUDO: [&str; 9] =
    ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "bpf", "securityfs"];

/// One entry with its options parsed.
#[derive(Debug)]
pub(crate) struct Entry<'m> {
    pub(crate) mount: &'m Mount,
    place: Place,
    pub(crate) options: MountOptions,
    /// The absolute destination: on Linux a relative one is relative to "/" (spec 1.2).
    pub(crate) destination: PathBuf,
}

impl<'m> Entry<'m> {
    /// Parses an entry; the error is the index of the option and the reason.
    pub(crate) fn new(mount: &'m Mount, place: Place) -> Result<Self, (usize, String)> {
        let options = options::parse(mount.options().as_deref().unwrap_or_default())?;
        Ok(Self { mount, place, options, destination: plain(mount.destination()) })
    }

    /// The file system type; empty for bind mounts.
    pub(crate) fn fs(&self) -> &str {
        self.mount.typ().as_deref().unwrap_or_default()
    }

    /// Whether it binds something of the host.
    pub(crate) fn is_bind(&self) -> bool {
        self.options.bind.is_some() || self.fs() == "bind"
    }

    /// Whether it asks for the cgroup hierarchy, in whatever form the host has it.
    pub(crate) fn is_cgroup(&self) -> bool {
        !self.is_bind() && matches!(self.fs(), "cgroup" | "cgroup2")
    }

    /// Which links on the way to its mount point are followed.
    pub(crate) fn links(&self) -> Links {
        match self.fs() {
            _ if self.is_bind() && self.options.dest_nofollow => Links::Inner,
            // They must be where their names say: behind a link into a volume, another container could replace what the
            // masks are put on (CVE-2019-19921).
            "proc" | "sysfs" if !self.is_bind() => Links::None,
            _ => Links::All,
        }
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The steps.
    pub(crate) fn plan(&self, plan: &mut Plan, around: &MountContext<'_>) {
        let destination = plan.program.text(self.destination.as_os_str().as_encoded_bytes());
        if self.options.remount {
            self.plan_remount(plan, destination);
        } else if self.is_bind() {
            if self.copied_link(around).is_some() {
                self.plan_copied_link(&mut plan.program, around, destination);
                return;
            }
            self.plan_bind(plan, around, destination);
        } else {
            self.plan_new(plan, around, destination);
        }
        self.plan_propagation(&mut plan.program, destination);
        if !self.options.remount {
            self.keep(plan, around.remounts, None);
            self.plan_root(&mut plan.program);
        }
    }

    /// A mount on the root becomes the root: otherwise it would stay behind, below the root that is entered.
    pub(super) fn plan_root(&self, program: &mut Program) {
        if clean(&self.destination) == Path::new("/") {
            let blame = Blame::new("make the mount the root", self.place().property("/destination"));
            program.push(Op::Adopt { from: Slot::MOUNT, to: Slot::ROOT }, blame);
        }
    }

    /// The target of the source link, if the link is to be copied.
    fn copied_link<'s>(&self, around: &MountContext<'s>) -> Option<&'s Path> {
        let source = around.bundle.join(self.mount.source().as_deref()?);
        let links = around.links.iter().filter(|_| self.options.copy_symlink);
        links.into_iter().find(|(link, _)| *link == source).map(|(_, target)| target.as_path())
    }

    fn plan_copied_link(&self, program: &mut Program, around: &MountContext<'_>, destination: Text) {
        let Some(target) = self.copied_link(around) else { return };
        let target = program.text(target.as_os_str().as_encoded_bytes());
        let blame = Blame::new("make the link", self.place().property("/destination"));
        program.push(Op::CopiedLink { target, path: destination }, blame.on(destination).and("to", target));
    }

    /// Holds the mount for the later entry that changes it: otherwise its place would be looked up again, and by then a
    /// container that shares a volume may have put another mount there. `held` is its place, if it is already held.
    pub(super) fn keep(&self, plan: &mut Plan, remounts: &[PathBuf], held: Option<u16>) {
        let destination = clean(&self.destination);
        // A mount covers those below it.
        plan.kept.retain(|(kept, _)| !kept.starts_with(&destination));
        if remounts.contains(&destination) {
            let blame = Blame::new("hold the mount for its remount", self.place());
            let place = held.unwrap_or_else(|| plan.program.hold(Slot::MOUNT, blame));
            plan.kept.push((destination, place));
        }
    }

    fn plan_remount(&self, plan: &mut Plan, destination: Text) {
        let blame = Blame::new("remount", self.place()).on(destination);
        let wanted = clean(&self.destination);
        let op = match plan.kept.iter().find(|(kept, _)| *kept == wanted) {
            Some((_, place)) => Op::Held { place: *place, into: Slot::TARGET },
            None => Op::Foreign { path: destination },
        };
        plan.program.push(op, blame);
        self.plan_attributes(&mut plan.program, Slot::TARGET, blame);
        if self.options.bind.is_none() {
            let mut options: Vec<String> = self
                .superblock_words()
                .map(|word| (word.to_owned(), String::new()))
                .flat_map(|(k, v)| [k, v])
                .collect();
            for (key, value) in &self.options.data {
                options.extend([key.clone(), value.clone().unwrap_or_default()]);
            }
            if !options.is_empty() {
                let options = plan.program.list(&options, 0);
                plan.program.push(Op::Reconfigure { on: Slot::TARGET, options }, blame);
            }
        }
        // The following steps (propagation) work on the mount slot.
        plan.program.push(Op::Adopt { from: Slot::TARGET, to: Slot::MOUNT }, blame);
    }

    fn plan_bind(&self, plan: &mut Plan, around: &MountContext<'_>, destination: Text) {
        let source = self.mount.source().clone().unwrap_or_default();
        let source = around.bundle.join(source);
        let recursive = self.options.bind != Some(Reach::One);
        let follow = !self.options.src_nofollow;
        let text = plan.program.text(source.as_os_str().as_encoded_bytes());
        let blame = Blame::new("bind", self.place().property("/source")).on(text).and("to", destination);
        let id_map = self.id_map(around);
        if around.host == HostAccess::ByParent {
            let step =
                ParentStep::OpenMount { source, recursive, follow, propagation: around.propagation, id_map };
            plan.ask(step, Slot::MOUNT, blame);
        } else {
            around.host.plan_leave(&mut plan.program, blame);
            plan.program.push(Op::CloneHost { path: text, recursive, follow }, blame);
            around.plan_cut(&mut plan.program, blame);
            around.host.plan_return(&mut plan.program, blame);
            self.plan_id_map(plan, id_map);
        }
        let blame =
            Blame::new("set the options of bind mount", self.place().property("/options")).on(destination);
        self.plan_attributes(&mut plan.program, Slot::MOUNT, blame);
        self.plan_attach(&mut plan.program, destination, Some(Slot::MOUNT), false);
    }

    fn plan_new(&self, plan: &mut Plan, around: &MountContext<'_>, destination: Text) {
        let fs = plan.program.text(self.fs());
        let blame = Blame::new("mount", self.place()).on(fs).and("on", destination);
        // mount(2) makes the procfs of the caller's own pid namespace.
        let fits = self.fs() != "proc" || around.procfs.is_none();
        let data = self.data_of_mount_call(self.label(around)).filter(|_| fits);
        if let (None, Some(host)) = (&data, self.host_instance(around)) {
            let host = plan.program.text(host);
            let attributes = self.options.mount.to_set() as u32;
            let source = self
                .mount
                .source()
                .as_ref()
                .map_or(fs, |source| plan.program.text(source.as_os_str().as_encoded_bytes()));
            plan.program.push(Op::MakeOrClone { fs, source, attributes, host }, blame);
            self.plan_attach(&mut plan.program, destination, None, false);
            return;
        }
        let program = &mut plan.program;
        // The kernel lets a user namespace have a new procfs or sysfs only if it can see an uncovered one.
        let visits = matches!(self.fs(), "proc" | "sysfs");
        if visits {
            around.host.plan_leave(program, blame);
        }
        let mut attributes = self.options.mount.to_set() as u32;
        // A tmpfs is filled, or given its mode, before it becomes read-only.
        let read_only = libc::MOUNT_ATTR_RDONLY as u32;
        let then_read_only = self.fs() == "tmpfs" && attributes & read_only != 0 && !self.is_late_read_only();
        if then_read_only || self.is_late_read_only() {
            attributes &= !read_only;
        }
        if let Some(data) = data {
            self.plan_mount_call(program, fs, &data, blame);
            let clear = self.options.mount.to_clear() as u32;
            program.push(
                Op::Attributes { on: Slot::MOUNT, set: attributes, clear, propagation: 0, recursive: false },
                blame,
            );
        } else {
            self.plan_context(plan, around, fs);
            plan.program.push(Op::MakeMount { attributes }, blame);
        }
        let program = &mut plan.program;
        if visits {
            around.host.plan_return(program, blame);
        }
        if !self.options.recursive.is_empty() {
            let (set, clear) =
                (self.options.recursive.to_set() as u32, self.options.recursive.to_clear() as u32);
            program
                .push(Op::Attributes { on: Slot::MOUNT, set, clear, propagation: 0, recursive: true }, blame);
        }
        let id_map = self.id_map(around);
        self.plan_id_map(plan, id_map);
        self.plan_attach(&mut plan.program, destination, None, then_read_only);
    }

    /// The host's instance of the file system, if it may stand in for the container's own. A procfs with pids other
    /// than the container's would be useless, and reveal other processes.
    fn host_instance(&self, around: &MountContext<'_>) -> Option<&'static str> {
        let plain =
            around.in_user_namespace && self.options.data.is_empty() && self.options.recursive.is_empty();
        match self.fs() {
            "sysfs" if plain => Some("/sys"),
            "proc" if plain && !around.own_pids => Some("/proc"),
            _ => None,
        }
    }

    /// Whether the mount stays writable until its contents are complete: /dev gets nodes, links and the console first.
    pub(crate) fn is_late_read_only(&self) -> bool {
        self.destination == Path::new("/dev")
            && self.options.mount.to_set() & libc::MOUNT_ATTR_RDONLY != 0
            && !self.is_bind()
    }

    /// The file system context, with its options.
    fn plan_context(&self, plan: &mut Plan, around: &MountContext<'_>, fs: Text) {
        let opened = Blame::new("open file system", self.place().property("/type")).on(fs);
        match around.procfs.filter(|_| self.fs() == "proc") {
            Some(pids) => plan.ask(ParentStep::OpenProcfs(pids), Slot::FS, opened),
            None => plan.program.push(Op::NewFs(fs), opened),
        }
        let program = &mut plan.program;
        if let Some(source) = self.mount.source() {
            let (key, value) = (program.text("source"), program.text(source.as_os_str().as_encoded_bytes()));
            program.push(
                Op::FsOption { key, value: Some(value) },
                Blame::new("mount from", self.place().property("/source")).on(value),
            );
        }
        for word in self.superblock_words() {
            self.plan_option(program, word, None);
        }
        for (key, value) in &self.options.data {
            match value {
                Some(value) if self.is_layered(key, value) => self.plan_layers(program, key, value),
                value => self.plan_option(program, key, value.as_deref()),
            }
        }
        if let Some(label) = self.label(around) {
            plan_label(program, label);
        }
    }

    /// The directories of an overlay, each by itself: by name, or by descriptor if even one name is too long.
    fn plan_layers(&self, program: &mut Program, key: &str, value: &str) {
        for (key, directory) in overlay::directories(key, value) {
            if directory.len() <= LONGEST_VALUE {
                self.plan_option(program, key, Some(&directory));
                continue;
            }
            let (key, path) = (program.text(key), program.text(&directory));
            let blame = Blame::new("set mount option", self.place().property("/options")).on(key);
            program.push(Op::FsDirectory { key, path }, blame.and("=", path));
        }
    }

    fn plan_option(&self, program: &mut Program, key: &str, value: Option<&str>) {
        let key = program.text(key);
        let value = value.map(|value| program.text(value));
        let blame = Blame::new("set mount option", self.place().property("/options")).on(key);
        let blame = value.map_or(blame, |value| blame.and("=", value));
        program.push(Op::FsOption { key, value }, blame);
    }

    /// Superblock flags by the names that fsconfig(2) takes.
    fn superblock_words(&self) -> impl Iterator<Item = &'static str> + use<'m> {
        let flags = self.options.superblock;
        let read_only = !PSEUDO.contains(&self.fs());
        let words = [
            (superblock::RDONLY, "ro", if self.options.remount { "rw" } else { "" }),
            (superblock::SYNCHRONOUS, "sync", "async"),
            (superblock::DIRSYNC, "dirsync", ""),
            (superblock::MANDLOCK, "mand", "nomand"),
            (superblock::LAZYTIME, "lazytime", "nolazytime"),
        ];
        words.into_iter().filter_map(move |(flag, on, off)| {
            if flag == superblock::RDONLY && !read_only {
                None
            } else if flags.set & flag != 0 {
                Some(on)
            } else if flags.clear & flag != 0 && !off.is_empty() {
                Some(off)
            } else {
                None
            }
        })
    }

    /// The SELinux context for the mount, unless its options choose one.
    fn label<'s>(&self, around: &MountContext<'s>) -> Option<&'s str> {
        let chosen = || self.options.data.iter().any(|(key, _)| lsm::CONTEXTS.contains(&key.as_str()));
        around.label.filter(|_| lsm::labels_mounts_of(self.fs()) && !chosen())
    }

    fn plan_mount_call(&self, program: &mut Program, fs: Text, data: &str, blame: Blame) {
        let source = self.mount.source().clone().unwrap_or_default();
        let source = program.text(source.as_os_str().as_encoded_bytes());
        let data = program.text(data);
        let mut flags = self.options.superblock.set;
        if PSEUDO.contains(&self.fs()) {
            flags &= !superblock::RDONLY;
        }
        program.push(Op::MountAside { source, fs, flags: flags as u32, data }, blame);
    }

    fn plan_attach(
        &self,
        program: &mut Program,
        destination: Text,
        like: Option<Slot>,
        then_read_only: bool,
    ) {
        let place = self.place().property("/destination");
        program.push(
            Op::Target { path: destination, like, links: self.links() },
            Blame::new("prepare mount point", place).on(destination),
        );
        if self.fs() == "tmpfs" && !self.is_bind() {
            let given = |name: &str| self.options.data.iter().any(|(key, _)| key == name);
            if self.options.tmpcopyup {
                program.push(
                    Op::CopyUp { mode: !given("mode"), uid: !given("uid"), gid: !given("gid") },
                    Blame::new("copy the image's files into the tmpfs on", self.place().property("/options"))
                        .on(destination),
                );
            } else if !given("mode") {
                program.push(Op::KeepMode, Blame::new("take over the mode of", place).on(destination));
            }
        }
        if then_read_only {
            let set = libc::MOUNT_ATTR_RDONLY as u32;
            let blame = Blame::new("make read-only", place).on(destination);
            program.push(
                Op::Attributes { on: Slot::MOUNT, set, clear: 0, propagation: 0, recursive: false },
                blame,
            );
        }
        program.push(Op::Attach, Blame::new("attach the mount on", place).on(destination));
    }

    fn plan_attributes(&self, program: &mut Program, on: Slot, blame: Blame) {
        for (attributes, recursive) in [(self.options.mount, false), (self.options.recursive, true)] {
            if !attributes.is_empty() {
                let (set, clear) = (attributes.to_set() as u32, attributes.to_clear() as u32);
                program.push(Op::Attributes { on, set, clear, propagation: 0, recursive }, blame);
            }
        }
    }

    fn plan_propagation(&self, program: &mut Program, destination: Text) {
        for one in &self.options.propagation {
            let blame =
                Blame::new("set the propagation of", self.place().property("/options")).on(destination);
            let (propagation, recursive) = propagation(*one);
            program.push(Op::Attributes { on: Slot::MOUNT, set: 0, clear: 0, propagation, recursive }, blame);
        }
    }

    /// The id maps that the entry asks for: its own, or else the container's.
    fn id_map(&self, around: &MountContext<'_>) -> Option<(MapSource, bool)> {
        let own = IdMaps::of(self.mount.uid_mappings().as_ref(), self.mount.gid_mappings().as_ref());
        let has_own = !own.uids.is_empty() || !own.gids.is_empty();
        let asked = self.options.idmap.is_some() || has_own;
        asked.then(|| {
            let source = match around.joined_user {
                _ if has_own => MapSource::Maps(own),
                Some(path) => MapSource::Namespace(path.to_owned()),
                None => MapSource::Maps(around.maps.clone()),
            };
            (source, self.options.idmap == Some(Reach::Tree))
        })
    }

    fn plan_id_map(&self, plan: &mut Plan, id_map: Option<(MapSource, bool)>) {
        if let Some((maps, recursive)) = id_map {
            let blame = Blame::new("map the ids of the mount", self.place());
            plan.ask(ParentStep::OpenIdMap(maps), Slot::ID_MAP, blame);
            plan.program.push(
                Op::IdMap { recursive },
                Blame::new(
                    "map the ids of the mount (does its file system support id-mapped mounts?)",
                    self.place(),
                ),
            );
        }
    }
}

/// A path in the container, from its root, without "//", "/." and a trailing slash, which a file cannot have.
pub(crate) fn plain(path: &Path) -> PathBuf {
    Path::new("/").join(path).components().collect()
}

/// A destination without `.`, `..` and repeated slashes, for comparison with others.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

/// The option that labels the file system under construction.
pub(super) fn plan_label(program: &mut Program, label: &str) {
    let (key, value) = (program.text(lsm::CONTEXT), program.text(label));
    program.push(
        Op::FsOption { key, value: Some(value) },
        Blame::new("label mount with", Place::of("/linux/mountLabel")).on(value),
    );
}

/// A propagation type for the kernel, and whether it applies to the whole tree.
pub(crate) fn propagation(propagation: Propagation) -> (u32, bool) {
    let kind = match propagation.typ {
        PropagationType::Private => libc::MS_PRIVATE,
        PropagationType::Shared => libc::MS_SHARED,
        PropagationType::Slave => libc::MS_SLAVE,
        PropagationType::Unbindable => libc::MS_UNBINDABLE,
    };
    (kind as u32, propagation.reach == Reach::Tree)
}
