//! A low-level OCI container runtime for Linux, as a library.
//!
//! ```no_run
//! use wharf::{Bundle, ContainerId, CreateOptions, Delete, Runtime};
//!
//! fn main() -> wharf::Result<()> {
//!     wharf::protect::reexec_read_only()?;
//!     let runtime = Runtime::builder().root("/run/example").build()?;
//!     let bundle = Bundle::open("/bundles/web")?;
//!     for finding in runtime.check(&bundle) {
//!         eprintln!("{finding}");
//!     }
//!     let web = runtime.create(&ContainerId::new("web")?, &bundle, CreateOptions::new())?;
//!     // Its namespaces are there, and its program does not run yet: connect a network now.
//!     web.start()?;
//!     println!("web ended with {}", web.wait()?.code());
//!     web.delete(Delete::Stopped)
//! }
//! ```
//!
//! wharf turns a *bundle* (a directory with a `config.json` of the [OCI runtime specification] and a root file system) into
//! a contained process, and keeps track of that process until it is deleted. It pulls no images, sets up no networks,
//! supervises nothing and runs no daemon: that is the job of the programs that embed it.
//!
//! * [`manual`] shows each task in a few lines: check, create, exec, measure, limit, terminals, clean-up.
//! * [`architecture`] explains the design: the pipeline, the processes, the order of a creation, the state on disk.
//! * The directory `examples` of the crate has whole programs, such as a sandbox without an image and an event loop over many
//!   containers.
//!
//! [OCI runtime specification]: https://github.com/opencontainers/runtime-spec
//!
//! # Where to begin
//!
//! | type | what it is |
//! |---|---|
//! | [`Runtime`] | where containers live: creates, opens, lists and deletes them |
//! | [`Bundle`] | a configuration, from a directory or from memory |
//! | [`Container`] | the handle of one container: start, exec, signals, limits, statistics |
//! | [`CreateOptions`], [`ExecOptions`] | what a caller can choose besides `config.json` |
//! | [`ExecProcess`] | a process that was added to a container |
//! | [`pod::PodNamespaces`] | the namespaces of a pod, without a container that holds them |
//! | [`Finding`] | one mistake in a bundle, with its place |
//! | [`Error`] | what failed, why, where in `config.json`, and what to do |
//!
//! # What the library promises
//!
//! * Your process stays as it was: working directory, umask, environment, limits, signal mask, descriptors, namespaces,
//!   cgroup and dumpable flag do not change. You may call every function from any thread.
//! * A bundle with mistakes is refused before anything on the host changes.
//! * [`Container::start`] returns once the program runs, or with the reason why it does not.
//! * After a crash at any moment, [`Runtime::delete`] with [`Delete::Force`] needs only the id.
//!
//! # What your program should do itself
//!
//! These belong to the whole process, which is yours:
//!
//! * **Call [`protect::reexec_read_only`] first in `main`.** Otherwise containers can reach your binary through
//!   `/proc/PID/exe` and write to it (CVE-2019-5736). They can read it in any case, so it should hold no secret.
//! * **Be non-dumpable** (`prctl(PR_SET_DUMPABLE, 0)`) from the start if containers share *your* pid namespace. They
//!   can see you, and every child from its first instant, before the child's first step clears the flag.
//! * **Be a child subreaper** (`prctl(PR_SET_CHILD_SUBREAPER)`) if processes that init leaves behind should become your
//!   children. Then reap them, but leave the pids of [`Container`] and [`ExecProcess`] to their `wait`.
//! * **Do not ignore `SIGCHLD`.** The kernel would reap children before [`Container::wait`] does.
//! * **Keep large memory out of the copies.** Each creation and each exec copies the page tables of your process. With
//!   200 megabytes of dirty memory, this costs more than everything else together, and pages that you write to while
//!   the child prepares are copied too. Any one of these makes it as cheap as from a small program (`embedder` in
//!   `bench` measures all of them): `madvise(MADV_DONTFORK)` on caches and buffers, which the child never looks
//!   at; huge pages for them (`MADV_HUGEPAGE`), which need a five-hundredth of the tables; or a worker
//!   ([`worker::fork`]) that is forked in `main`, before there are threads and a heap, and creates containers on
//!   request. The library does not share its memory with the child instead (`CLONE_VM`): the child would be dumpable
//!   whenever you are, and a container's process could reach your memory.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `criu` | checkpoint and restore through the program criu |
//! | `systemd` | [`CgroupDriver::Systemd`]: cgroups that systemd makes |

pub mod architecture;
mod bundle;
mod cgroup;
mod check;
#[allow(unsafe_code, reason = "one of the two places that may: see its documentation")]
mod child;
mod container;
#[cfg(feature = "criu")]
mod criu;
mod error;
mod features;
mod finding;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hook;
mod host;
mod id;
mod linux;
pub mod manual;
mod plan;
pub mod pod;
mod program;
mod spawn;
#[allow(unsafe_code, reason = "one of the two places that may: see its documentation")]
mod sys;
mod trace;

pub use bundle::Bundle;
pub use cgroup::{OomWatch, Stats};
pub use container::{
    CgroupDriver, Console, Container, CreateOptions, Delete, ExecOptions, ExecProcess, ExecUser, ExitStatus,
    Listed, Runtime, RuntimeBuilder, State, Status, Stdio,
};
#[cfg(feature = "criu")]
pub use container::{CheckpointOptions, CriuOptions, ManageCgroups, NetworkLock, RestoreOptions};
pub use error::{Error, ErrorKind, Result};
pub use features::{Features, features};
pub use finding::{Finding, Severity};
pub use id::ContainerId;
pub use plan::{ExplainedStep, Explanation};

/// Parts of a configuration that come in documents of their own.
pub mod document {
    pub use crate::check::document::{read_mounts, read_process, read_resources};
}

/// The parts of [`Stats`].
pub mod stats {
    pub use crate::cgroup::{
        BlkioEntry, BlkioStats, CpuStats, CpuUsage, CpusetStats, HugetlbStats, MemoryEntry, MemoryStats,
        PidsStats, Pressure, PressureLine, RdmaStats, Throttling,
    };
    pub use crate::linux::intel_rdt::{
        CacheOccupancy, IntelRdtStats, L3CacheInfo, MemoryBandwidth, MemoryBandwidthInfo,
    };
}

/// What a program that creates containers should do in its `main`. The library never does it on its own.
pub mod protect {
    pub use crate::sys::own_binary::reexec_read_only;
}

/// For programs that look after many containers with one thread and an event loop.
///
/// Operations such as [`Runtime::create`] may take long: they run hooks, wait for cgroups and talk to systemd. Such a
/// program runs each in a copy of itself ([`worker::fork`]) and goes on. The container processes that the copy creates
/// as its *siblings* ([`CreateOptions::sibling`], [`ExecOptions::sibling`]) are children of the program itself, which
/// gets their exit statuses with [`worker::reap`].
pub mod worker {
    pub use crate::container::{bind_mount, id_mapped_mount, reap};
    pub use crate::sys::loop_device::LoopDevice;
    pub use crate::sys::rest::rest;
    pub use crate::sys::worker::{
        core_scheduling_group, fork, keep_exit_statuses, pass_descriptors, signal_child,
    };
}

/// For programs that hold the master of a container's terminal.
pub mod terminal {
    pub use crate::sys::window::{WindowSize, set_window_size, window_size};
}
