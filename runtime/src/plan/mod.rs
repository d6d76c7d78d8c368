//! The plan of a creation or an exec: pure functions from configuration and facts about the host to ordered steps.
//!
//! A [`Plan`] has two halves. The child's is a [`Program`]; wherever the child lacks a right or a view that
//! only the parent has, it asks the parent to do one of the [`ParentStep`]s. Nothing here makes a system call, so a
//! plan can be made, printed and tested anywhere; `order` is the one file that knows the order.

mod candidates;
mod enter;
mod environment;
mod exec;
mod explain;
pub(crate) mod hooks;
pub(crate) mod join;
pub(crate) mod mount;
mod mount_list;
pub(crate) mod mounts;
mod order;
mod process;
mod root;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::finding::Finding;
use crate::host::Host;
use crate::linux::idmap::IdMaps;
use crate::linux::intel_rdt;
use crate::linux::net_device::DeviceRequest;
use crate::program::blame::{Blame, Place};
use crate::program::{Op, Program, Slot};
use crate::sys::process::SchedAttr;
pub(crate) use candidates::candidates;
pub use explain::{ExplainedStep, Explanation};
use mount::cgroup::Views;
pub(crate) use mount_list::mounts_of;
#[cfg(feature = "criu")]
pub(crate) use process::NATIVE;

/// What the parent does on the child's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ParentStep {
    /// Have systemd make the container's scope, with the child in it.
    EnterScope(String),
    /// Write the id maps of the new user namespace.
    MapIds(IdMaps),
    /// Compare the id maps of the joined user namespace with the configured ones.
    CompareIdMaps(IdMaps),
    /// Write the offsets of the new time namespace.
    TimeOffsets(String),
    /// Set resource limits that the child, inside its user namespace, may not raise.
    Rlimits(Vec<(u32, u64, u64)>),
    /// Set the scheduler of a child whose user namespace may not.
    Scheduler(SchedAttr),
    /// Put the process into its class of service and its monitoring group.
    JoinRdt(intel_rdt::GroupRequest),
    /// Move devices of the host into the container's network namespace.
    MoveDevices(Vec<DeviceRequest>),
    /// Set an I/O priority that a child in a user namespace may not choose.
    IoPriority(i32),
    /// Give the standard streams to this user of the child's user namespace.
    OwnStreams(u32),
    /// Open a host directory that the child may not be able to reach.
    OpenDirectory(PathBuf),
    /// Run the prestart and createRuntime hooks.
    RuntimeHooks,
    /// Open the context of a procfs that shows the pid namespace with that number among those opened for the child.
    OpenProcfs(u8),
    /// Open a user namespace with the maps of a mount.
    OpenIdMap(MapSource),
    /// Clone a host mount (tree), change its propagation unless that is 0, and map ids if asked.
    OpenMount {
        source: PathBuf,
        recursive: bool,
        follow: bool,
        propagation: u32,
        id_map: Option<(MapSource, bool)>,
    },
    /// Clone a device node, after checking that it is that device.
    OpenDevice { path: PathBuf, mode: u32, device: u64 },
    /// Record the mount that the child shows, with this destination.
    NoteMount(PathBuf),
}

/// Where the id maps of a mount come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MapSource {
    /// The configuration.
    Maps(IdMaps),
    /// The user namespace that the container joins.
    Namespace(PathBuf),
}

impl fmt::Display for ParentStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnterScope(unit) => write!(f, "have systemd make the unit {unit}, and apply the limits"),
            Self::MapIds(_) => f.write_str("write the id maps of the user namespace"),
            Self::CompareIdMaps(_) => f.write_str("compare the id maps of the joined user namespace"),
            Self::IoPriority(_) => f.write_str("set the I/O priority"),
            Self::TimeOffsets(_) => f.write_str("write the offsets of the time namespace"),
            Self::Rlimits(_) => f.write_str("set the resource limits"),
            Self::Scheduler(_) => f.write_str("set the scheduler"),
            Self::JoinRdt(request) => request.fmt(f),
            Self::MoveDevices(requests) => {
                f.write_str("move into the network namespace: ")?;
                for (number, request) in requests.iter().enumerate() {
                    let joint = if number == 0 { "" } else { ", " };
                    write!(f, "{joint}{request}")?;
                }
                f.write_str("; restore their addresses and bring them up")
            }
            Self::OwnStreams(uid) => {
                write!(f, "give the standard streams to user {uid} of the user namespace")
            }
            Self::OpenDirectory(path) => write!(f, "open {}", path.display()),
            Self::RuntimeHooks => f.write_str("run the prestart and createRuntime hooks"),
            Self::OpenProcfs(_) => f.write_str("make a procfs of the pid namespace that is joined"),
            Self::OpenIdMap(_) => f.write_str("make a user namespace with the id maps of the mount"),
            Self::OpenMount { source, .. } => write!(f, "clone the mount at {}", source.display()),
            Self::OpenDevice { path, .. } => write!(f, "clone the device node {}", path.display()),
            Self::NoteMount(path) => write!(f, "write down the mount that goes on {}", path.display()),
        }
    }
}

/// A complete plan.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The child's half.
    pub(crate) program: Program,
    /// The parent's half: what the child may ask for, with the properties to blame.
    pub(crate) steps: Vec<(ParentStep, Blame)>,
    /// `CLONE_NEW*` flags of the child's clone.
    pub(crate) born_with: i32,
    /// What the parent does, unasked, to the process that emerges in a pid namespace: that process asks for nothing,
    /// since others can see it.
    pub(crate) emerged: Vec<(ParentStep, Blame)>,
    /// Namespaces that the child is born into although its user namespace is new: joining them takes the runtime's
    /// rights, which the child never has.
    pub(crate) born_joined: Vec<(PathBuf, i32, Place)>,
    /// Namespaces to open for the child, in the order of the numbers that it uses.
    pub(crate) namespaces: Vec<(PathBuf, Place)>,
    /// Mounts that the child holds, by destination, for entries that change them.
    pub(crate) kept: Vec<(PathBuf, u16)>,
    /// Mounts that the child holds and that become read-only once they are filled.
    pub(crate) late_read_only: Vec<(u16, Blame)>,
    /// What is worth knowing, for the log.
    pub(crate) findings: Vec<Finding>,
}

impl Plan {
    /// Appends a step of the parent and the child's request for it.
    pub(crate) fn ask(&mut self, step: ParentStep, into: Slot, blame: Blame) {
        let number = self.steps.len() as u16;
        self.steps.push((step, blame));
        self.program.push(Op::Ask { step: number, into }, blame);
    }

    /// Logs the findings.
    pub(crate) fn log(&self) {
        self.findings.iter().for_each(Finding::log);
        for op in &self.program.ops {
            if let Op::Seccomp { flags, .. } = op {
                // runc's line.
                log::debug!("seccomp filter flags: {flags}");
            }
        }
    }

    /// Appends a join of the namespace at a path.
    fn enter(&mut self, path: &Path, kinds: i32, place: Place) {
        let namespace = self.open(path, place);
        let text = self.program.text(path.as_os_str().as_encoded_bytes());
        self.program.push(Op::Enter { namespace, kinds }, Blame::new("join namespace", place).on(text));
    }

    /// Has the namespace at a path opened for the child, once, and returns its number.
    fn open(&mut self, path: &Path, place: Place) -> u8 {
        let known = self.namespaces.iter().position(|(known, _)| known == path);
        known.unwrap_or_else(|| {
            self.namespaces.push((path.to_owned(), place));
            self.namespaces.len() - 1
        }) as u8
    }
}

/// How a created container waits for `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// On the socket in its state directory: `create`.
    Socket,
    /// It does not: `run`.
    Open,
}

/// Facts and options of a creation that are not in `config.json`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'r> {
    pub(crate) id: &'r str,
    pub(crate) bundle: &'r Path,
    /// The root file system, absolute.
    pub(crate) rootfs: &'r Path,
    pub(crate) gate: Gate,
    pub(crate) no_pivot: bool,
    pub(crate) new_keyring: bool,
    pub(crate) preserved: u32,
    /// The directory in the container's state that its process gets for a notification socket.
    pub(crate) notify: Option<&'r Path>,
    /// Variables for the process, after its own.
    pub(crate) env: &'r [std::ffi::OsString],
    /// Devices that the host has under another name: the container's path and the host's.
    pub(crate) renamed: &'r [(String, PathBuf)],
    /// Sources of mounts that are copied as links: the path and its target.
    pub(crate) links: &'r [(PathBuf, PathBuf)],
    /// What the runtime may do.
    pub(crate) host: Host,
    /// Keep the caller's supplementary groups.
    pub(crate) keep_groups: bool,
    /// The `tasks` files of the container's version 1 cgroups, if the host has them.
    pub(crate) tasks: &'r [PathBuf],
    /// What a cgroup mount shows.
    pub(crate) views: &'r Views,
    /// The unit in which systemd puts the container, if systemd manages its cgroup.
    pub(crate) scope: Option<&'r str>,
}

/// Makes the plan of a creation from a checked configuration.
pub(crate) fn create(spec: &Spec, request: &Request<'_>) -> crate::Result<Plan> {
    order::create(spec, request)
}

pub(crate) use exec::{ExecRequest, exec};
pub(crate) use root::NOTIFY_DIRECTORY;

#[cfg(test)]
mod label_tests;
