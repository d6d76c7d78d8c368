//! The child's half of a plan: flat data that is complete before the child exists.
//!
//! The child can neither allocate nor look anything up in a map, so every decision is made here, in advance: a list of
//! operations without jumps, their texts in one arena of NUL-terminated strings, and for each operation the [`Blame`]
//! with which the parent words a failure.

use std::ffi::CStr;

pub(crate) mod blame;

use blame::{Blame, Place};

/// A NUL-terminated text (or bytes) in the arena of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    start: u32,
    length: u32,
}

/// A null-terminated array of texts, for `execve` and for choosing among candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List(pub(crate) u32);

/// The child's place for a file descriptor that one operation opens and later ones use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u8);

impl Slot {
    /// How many slots there are.
    pub(crate) const COUNT: usize = 11;
    /// Takes no descriptor.
    pub(crate) const NONE: Self = Self(0);
    /// The root of the container's file system.
    pub(crate) const ROOT: Self = Self(1);
    /// A procfs that no other process can see.
    pub(crate) const PROC: Self = Self(2);
    /// The file system context under construction.
    pub(crate) const FS: Self = Self(3);
    /// The detached mount under construction.
    pub(crate) const MOUNT: Self = Self(4);
    /// The place where the mount will be attached.
    pub(crate) const TARGET: Self = Self(5);
    /// A detached bind mount of the null device, the source of masks over files.
    pub(crate) const NULL_DEVICE: Self = Self(6);
    /// A detached, empty, read-only tmpfs, the source of masks over directories.
    pub(crate) const EMPTY: Self = Self(7);
    /// A user namespace with the id maps of a mount.
    pub(crate) const ID_MAP: Self = Self(8);
    /// The directory of the child's own descriptors in the host's procfs.
    pub(crate) const OWN_FDS: Self = Self(9);
    /// A mount namespace that shows the host's view, for a child that has joined the container's.
    pub(crate) const VIEW: Self = Self(10);
}

/// Which symbolic links on the way to a mount point are followed, each as if the root were "/".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    All,
    /// All but the last component of the path: a link there is the mount point itself.
    Inner,
    /// None; the mount point is a directory.
    None,
}

/// One step of the child. Each is one sentence of the order table in the crate documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Make the process non-dumpable.
    NotDumpable,
    /// Let the owner of the process look into it.
    Dumpable,
    /// Close every inherited descriptor except those that the parent keeps open for this process.
    CloseOthers,
    /// Make the descriptors that the parent chose standard input, output and error.
    Streams,
    /// Let the descriptors from 3 up survive `execve`.
    Preserve { count: u32 },
    /// Give every signal its default action.
    DefaultSignals,
    /// Become a session leader.
    NewSession,
    /// Have the parent take its step of that number; its answer may include a descriptor.
    Ask { step: u16, into: Slot },
    /// Have the parent take its step of that number with the mount in its slot.
    Show { step: u16 },
    /// Write a text to a file of the host, before the container's first mount.
    WriteHost { path: Text, text: Text },
    /// Set the CPU affinity mask.
    Affinity(Text),
    /// Allow all CPUs of this mask, of which the kernel keeps those that the cgroup allows; goes on if that is not
    /// permitted.
    AllCpus(Text),
    /// Join namespaces through the descriptor of that number among those that the parent opened.
    Enter { namespace: u8, kinds: i32 },
    /// Hold the mount namespace of the process as the view of the host.
    HoldView,
    /// Go to the view of the host.
    EnterView,
    /// Unshare namespaces.
    Unshare { kinds: i32 },
    /// Continue in a child of our parent, so that a new pid namespace takes effect.
    Refork { kinds: i32 },
    /// Continue in a child of our parent that is in the joined pid namespace and has nothing of the caller.
    Emerge,
    /// Make the terminal the controlling one of the session.
    ControllingTerminal,
    /// Take the ids of the user namespace's root, and drop all groups unless the caller's are to be kept.
    RootIds { uid: u32, gid: u32, keep_groups: bool },
    /// Bring the loopback interface up.
    LoopbackUp,
    /// Join a session keyring without a name, charged to the current user.
    SpareKeyring,
    /// Join a new session keyring; if there is no room for one, but a spare one, keep that.
    SessionKeyring { name: Text, spare: bool },
    /// Set the host name.
    Hostname(Text),
    /// Set the NIS domain name.
    Domainname(Text),
    /// Set the propagation of a mount (tree), by a host path.
    PropagationAt { path: Text, kind: u32 },
    /// Make the directory in the target slot the working directory.
    EnterDirectory,
    /// Clone the root file system's mount tree over itself and hold its root. The clone first gets these propagation
    /// types: the whole tree, then its root alone; 0 leaves them.
    OpenRoot { path: Text, tree: u32, root: u32 },
    /// Hold the current root: that of the joined container.
    HoldCurrentRoot,
    /// Hold an inherited descriptor as the root.
    HoldInherited { namespace: u8 },
    /// Open a private procfs.
    OpenProc,
    /// Clone the host's null device, after checking that it is one.
    NullDevice,
    /// Open a file system context.
    NewFs(Text),
    /// Give the context a parameter.
    FsOption { key: Text, value: Option<Text> },
    /// Give the context a directory, by descriptor.
    FsDirectory { key: Text, path: Text },
    /// Make the superblock and a detached mount with these attributes.
    MakeMount { attributes: u32 },
    /// Make a file system with no options except its source or, if the kernel does not let a user namespace have its
    /// own, a read-only clone of the one that the host has mounted.
    MakeOrClone { fs: Text, source: Text, attributes: u32, host: Text },
    /// Clone a mount (tree) of the host as a detached one.
    CloneHost { path: Text, recursive: bool, follow: bool },
    /// Map the ids of the detached mount through the user namespace in a slot.
    IdMap { recursive: bool },
    /// Change attributes of the mount in a slot.
    Attributes { on: Slot, set: u32, clear: u32, propagation: u32, recursive: bool },
    /// Reconfigure the superblock under the mount in a slot, with the parameters of a list (key, value, key, value).
    Reconfigure { on: Slot, options: List },
    /// Let one slot take over another's descriptor.
    Adopt { from: Slot, to: Slot },
    /// Make a detached mount with mount(2), in a mount namespace that ends with the step: for what the newer calls
    /// cannot express.
    MountAside { source: Text, fs: Text, flags: u32, data: Text },
    /// Find the mount point inside the root, making what is missing: of the same kind as the mount in the slot `like`, or a
    /// directory.
    Target { path: Text, like: Option<Slot>, links: Links },
    /// Find a mount inside the root that this program did not make; no link leads to it.
    Foreign { path: Text },
    /// Make the symbolic link that is the source of a mount; an existing one must be the same.
    CopiedLink { target: Text, path: Text },
    /// Hold the mount in a slot, for a later step that changes it.
    Hold { mount: Slot, place: u16 },
    /// Put a held mount into a slot.
    Held { place: u16, into: Slot },
    /// Make a mount point directly inside a held mount.
    Inside { place: u16, name: Text },
    /// Make a symbolic link directly inside a held mount.
    LinkInside { place: u16, target: Text, name: Text },
    /// Give the detached mount the mode of the directory that it will cover, unless the program made that directory.
    KeepMode,
    /// Copy what the image has at the mount point into the detached mount, and the directory's own mode and owner as
    /// far as the configuration leaves them to the image.
    CopyUp { mode: bool, uid: bool, gid: bool },
    /// Attach the detached mount at the mount point, and remember it.
    Attach,
    /// Hold the directory of this process' descriptors, while the reachable procfs is still the host's.
    OwnDescriptors,
    /// Tell the parent which recorded mounts (packed ids) are gone.
    TellGone { known: Text },
    /// Find a recorded mount: the one at a path, or one of those with these numbers, wherever it is.
    FindAdded { path: Text, known: Text, own: Text },
    /// Mark the mount in the target slot for removal, if it can be removed.
    Condemn,
    /// Detach the mounts marked for removal, latest first.
    DetachCondemned,
    /// Make a directory inside the root unless it exists.
    EnsureDirectory(Text),
    /// Make a device node, or check that the one that exists is right.
    Device { path: Text, mode: u32, device: u64, uid: u32, gid: u32 },
    /// Find or make the place for a bound node; what exists there must be that device or an empty file.
    DevicePlace { path: Text, mode: u32, device: u64 },
    /// Clone the host's node of a device, after checking that it is that device.
    HostDevice { path: Text, mode: u32, device: u64 },
    /// Make a symbolic link, if `source` (inside the root) exists; `replace` what is in its way.
    Link { target: Text, path: Text, source: Option<Text>, replace: bool },
    /// Open a terminal in the container's devpts, send its master to the parent, and make it the standard streams.
    Terminal { rows: u16, columns: u16, uid: u32, console: Option<Text> },
    /// Let the container's user reopen the pipes and files that it gets as standard streams.
    OwnStreams { uid: u32 },
    /// Replace each standard stream that is the host's null device with the container's.
    NullStreams,
    /// Make the root the root of the mount namespace, and drop the host's.
    Pivot,
    /// The same with `MS_MOVE` and chroot, for hosts whose root is a ramfs.
    MoveRoot,
    /// Only chroot.
    ChangeRoot,
    /// Set the propagation of the container's root mount.
    RootPropagation { kind: u32, recursive: bool },
    /// Make a path inside the root read-only.
    ReadOnlyPath(Text),
    /// Make a path inside the root unreadable.
    MaskPath { path: Text, label: Option<Text> },
    /// Make the root mount read-only.
    ReadOnlyRoot,
    /// Write to a file below the private procfs.
    WriteProc { path: Text, text: Text },
    /// Write to a file of the process itself in the private procfs. If the effect is not needed, the file may be
    /// missing or refuse the text.
    WriteOwnProc { name: Text, text: Text, needed: bool },
    /// Run hooks inside the container; their state document is stored in two parts around the pid.
    Hooks { first: u16, count: u16, state: (Text, Text) },
    /// Set a resource limit.
    Rlimit { resource: u32, soft: u64, hard: u64 },
    /// Set the scheduler (the bytes of `struct sched_attr`).
    Scheduler(Text),
    /// Set the I/O priority.
    IoPriority(i32),
    /// Set the memory policy.
    MemoryPolicy { mode: i32, nodes: Text },
    /// Set the execution domain.
    Personality(u64),
    /// Set `no_new_privs`.
    NoNewPrivileges,
    /// Load the seccomp filter; send its listener to the parent if it has one.
    Seccomp { filter: Text, flags: u32, listener: bool },
    /// Set the supplementary groups (the kernel's array).
    Groups { gids: Text, optional: bool },
    /// Keep only these capabilities in the bounding set.
    BoundingSet(u64),
    /// Set user and group id, keeping permitted capabilities.
    Ids { uid: u32, gid: u32 },
    /// Set the effective, permitted and inheritable capabilities.
    Capabilities { effective: u64, permitted: u64, inheritable: u64 },
    /// Set the ambient capabilities.
    Ambient(u64),
    /// Set the capabilities again, now without those that only the runtime needed.
    KeepCapabilities { effective: u64, permitted: u64, inheritable: u64 },
    /// Set the file mode creation mask.
    Umask(u32),
    /// Close all that was held of the container's file system and namespaces.
    LetGo,
    /// Enter the working directory; the first try may lack the permission.
    WorkingDirectory { path: Text, last: bool },
    /// Add HOME to the environment from the container's passwd file.
    Home { uid: u32 },
    /// Choose the program: the first of the candidates that is an executable file.
    FindProgram { candidates: List, named: bool },
    /// Tell the parent that everything is in place, and wait until it has recorded that.
    Created,
    /// Wait for `start` on the listening socket.
    Gate,
    /// Fail: the configuration has no process.
    NoProcess,
    /// Become the container's program.
    Exec,
}

/// A hook that the child runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildHook {
    pub(crate) path: Text,
    pub(crate) argv: List,
    pub(crate) envp: List,
    /// Milliseconds, or -1 for no limit.
    pub(crate) timeout: i32,
    /// The seccomp filter that it loads before it becomes its program, with the flags.
    pub(crate) filter: Option<(Text, u32)>,
}

/// What the child needs from its program: slices, so that a child with its own memory can carry them over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramView<'p> {
    pub(crate) ops: &'p [Op],
    pub(crate) hooks: &'p [ChildHook],
    pub(crate) arena: &'p [u8],
    /// The texts of all lists; `None` ends a list.
    pub(crate) entries: &'p [Option<Text>],
    pub(crate) argv: Option<List>,
    pub(crate) envp: Option<List>,
    /// Whether a failure removes the remembered mounts again.
    pub(crate) undoes: bool,
    /// How much of the arena only the steps before the child's last birth need.
    pub(crate) passing: u32,
}

impl<'p> ProgramView<'p> {
    /// The text as bytes, without its NUL.
    pub(crate) fn bytes(&self, text: Text) -> &'p [u8] {
        let start = text.start as usize;
        self.arena.get(start..start + text.length as usize).unwrap_or_default()
    }

    /// The text as a C string: up to its first NUL.
    pub(crate) fn cstr(&self, text: Text) -> &'p CStr {
        let start = text.start as usize;
        let bytes = self.arena.get(start..=start + text.length as usize).unwrap_or(b"\0");
        CStr::from_bytes_until_nul(bytes).unwrap_or_default()
    }
}

/// The child's whole program.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) ops: Vec<Op>,
    pub(crate) blames: Vec<Blame>,
    pub(crate) hooks: Vec<ChildHook>,
    pub(crate) argv: Option<List>,
    pub(crate) envp: Option<List>,
    /// How many mounts the child holds for later steps.
    pub(crate) held: usize,
    /// How many mounts the child can remember, for one that works in a running container.
    pub(crate) remembered: usize,
    /// Whether a failure removes the remembered mounts again.
    pub(crate) undoes: bool,
    passing: u32,
    arena: Vec<u8>,
    /// The texts of all lists; `None` ends a list.
    entries: Vec<Option<Text>>,
}

impl Program {
    /// An empty program with room for what a container manager asks for: growing would copy its contents again and
    /// again.
    pub(crate) fn for_container() -> Self {
        Self {
            ops: Vec::with_capacity(256),
            blames: Vec::with_capacity(256),
            arena: Vec::with_capacity(16 << 10),
            entries: Vec::with_capacity(256),
            ..Self::default()
        }
    }

    /// Appends a step.
    pub(crate) fn push(&mut self, op: Op, blame: Blame) {
        self.ops.push(op);
        self.blames.push(blame);
    }

    /// Inserts a step before the first one from `start` on that attaches a mount, if there is one.
    pub(crate) fn push_before_attach(&mut self, start: usize, op: Op, blame: Blame) {
        let after = self.ops.iter().skip(start).position(|op| matches!(op, Op::Attach));
        if let Some(at) = after {
            self.ops.insert(start + at, op);
            self.blames.insert(start + at, blame);
        }
    }

    /// Appends a step that holds the mount in a slot; returns its place.
    pub(crate) fn hold(&mut self, mount: Slot, blame: Blame) -> u16 {
        let place = self.held as u16;
        self.held += 1;
        self.push(Op::Hold { mount, place }, blame);
        place
    }

    /// Appends a step that no property of `config.json` asked for.
    pub(crate) fn push_own(&mut self, op: Op, verb: &'static str) {
        self.push(op, Blame::new(verb, Place::NONE));
    }

    /// Stores bytes; a NUL in them is the caller's responsibility.
    pub(crate) fn text(&mut self, bytes: impl AsRef<[u8]>) -> Text {
        let bytes = bytes.as_ref();
        let text = Text { start: self.arena.len() as u32, length: bytes.len() as u32 };
        self.arena.extend_from_slice(bytes);
        self.arena.push(0);
        text
    }

    /// Stores an array of texts, with `spare` empty places at its end.
    pub(crate) fn list<T: AsRef<[u8]>>(&mut self, texts: impl IntoIterator<Item = T>, spare: usize) -> List {
        let list = List(self.entries.len() as u32);
        let texts: Vec<Text> = texts.into_iter().map(|text| self.text(text)).collect();
        self.entries.extend(texts.into_iter().map(Some));
        self.entries.extend(std::iter::repeat_n(None, spare + 1));
        list
    }

    /// The child's view of it.
    pub(crate) fn view(&self) -> ProgramView<'_> {
        ProgramView {
            ops: &self.ops,
            hooks: &self.hooks,
            arena: &self.arena,
            entries: &self.entries,
            argv: self.argv,
            envp: self.envp,
            undoes: self.undoes,
            passing: self.passing,
        }
    }

    /// Says that only the steps so far need the texts so far: a process that is born in sight of others goes without.
    pub(crate) fn let_texts_pass(&mut self) {
        self.passing = self.arena.len() as u32;
    }

    /// The text for people.
    pub(crate) fn show(&self, text: Text) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.view().bytes(text))
    }

    /// The entries of all lists, which the parent turns into pointers before it makes the child.
    pub(crate) fn entries(&self) -> &[Option<Text>] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_lists_come_back_as_stored() {
        let mut program = Program::default();
        let text = program.text("/dev/null");
        let list = program.list(["a", "bc"], 1);
        assert_eq!(program.view().cstr(text), c"/dev/null");
        let stored: Vec<_> = program.entries()[list.0 as usize..]
            .iter()
            .map(|e| e.map(|t| program.show(t).into_owned()))
            .collect();
        assert_eq!(stored, [Some("a".to_owned()), Some("bc".to_owned()), None, None]);
    }
}
