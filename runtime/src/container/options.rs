//! What a caller can choose besides `config.json`.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use crate::host::Host;
use crate::spawn::Resources;

/// Who manages the cgroups of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CgroupDriver {
    /// The runtime itself, through the cgroup file systems.
    #[default]
    Cgroupfs,
    /// systemd makes a transient scope for each container; for callers other than root, the user's instance does. Needs
    /// the feature `systemd`. `linux.cgroupsPath` is then `slice:prefix:name`.
    Systemd,
    /// Decided by the form of `linux.cgroupsPath`: systemd if it is `slice:prefix:name`, the runtime itself otherwise.
    /// For callers whose manager writes the path and says nothing else.
    ByPath,
    /// None: the container stays in the caller's cgroup. A configuration with limits is refused; device rules, which
    /// engines send with every container, are left out.
    Disabled,
}

/// The standard streams of a container process without a terminal.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// The caller's own descriptors 0, 1 and 2.
    #[default]
    Inherit,
    /// These: input, output, error.
    Fds([OwnedFd; 3]),
}

impl Stdio {
    pub(super) fn numbers(&self) -> [RawFd; 3] {
        match self {
            Self::Inherit => [0, 1, 2],
            Self::Fds(fds) => fds.each_ref().map(AsRawFd::as_raw_fd),
        }
    }
}

/// Where the master of a container's terminal goes if `process.terminal` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Console {
    /// The process has no terminal.
    #[default]
    None,
    /// To the unix socket at this path: one message with the descriptor.
    Socket(PathBuf),
    /// To the caller, which takes it from the handle. The terminal has the kernel's settings, as with
    /// [`Console::Socket`]: a caller that copies its output to a terminal should make that terminal raw.
    Keep,
    /// As [`Console::Keep`], for a caller that copies the output to a terminal that itself turns `\n` into `\r\n`: the
    /// container's terminal does not, from before its program runs.
    Relay,
}

/// Methods of options: each sets the field of its name, or the one named after `=>`.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident $(=> $part:ident)?: $type:ty,)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.$($part.)?$name = $name;
            self
        }
    )*};
}
#[cfg(feature = "criu")]
pub(super) use setters;

/// What every new process gets, by the options of its creation or exec.
#[derive(Debug, Default)]
pub(super) struct ChildOptions {
    stdio: Stdio,
    pub(super) console: Console,
    pub(super) preserve_fds: u32,
    pub(super) absent_fds: Vec<RawFd>,
    sibling: bool,
    cancel: Option<OwnedFd>,
}

impl ChildOptions {
    /// The resources of the process; `namespaces` are for its program.
    pub(super) fn resources<'r>(&'r self, host: Host, namespaces: &'r [OwnedFd]) -> Resources<'r> {
        Resources {
            streams: self.stdio.numbers(),
            preserved: self.preserve_fds,
            absent: &self.absent_fds,
            sibling: self.sibling,
            cancel: self.cancel(),
            ..Resources::new(host, namespaces)
        }
    }

    /// What becomes readable when the caller cancels.
    pub(super) fn cancel(&self) -> Option<BorrowedFd<'_>> {
        self.cancel.as_ref().map(OwnedFd::as_fd)
    }
}

/// Gives the options of an operation those of its new process.
macro_rules! child_options {
    ($options:ty) => {
        impl $options {
            /// The defaults: the caller's streams, no terminal, no extra descriptors.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            setters! {
                /// Sets the standard streams.
                stdio => child: Stdio,
                /// Sets where the terminal goes.
                console => child: Console,
                /// Passes on this many descriptors from 3 up, besides the standard streams.
                preserve_fds => child: u32,
            }

            /// Names descriptors in that range that are not open. They are not passed on, even if the library or another
            /// thread opens something under their numbers in the meantime.
            #[must_use]
            pub fn absent_fds(mut self, numbers: impl IntoIterator<Item = RawFd>) -> Self {
                self.child.absent_fds = numbers.into_iter().collect();
                self
            }

            setters! {
                /// Makes the process a child of the caller's parent, not of the caller (`CLONE_PARENT`): for a short-lived
                /// caller whose parent looks after containers; see [`worker`](crate::worker). The parent then has to wait
                /// for it: `wait` of its handle cannot.
                sibling => child: bool,
            }

            /// Cancels and undoes the operation if this descriptor becomes readable before it is complete: a pipe, an
            /// eventfd, a signalfd. The error is then `ErrorKind::Cancelled`; nothing is read from the descriptor.
            #[must_use]
            pub fn cancel(mut self, cancel: OwnedFd) -> Self {
                self.child.cancel = Some(cancel);
                self
            }
        }
    };
}

/// How to create a container.
///
/// As all options, they are consumed by the operation, which closes the descriptors in them when it returns. Questions such
/// as [`Runtime::explain`](crate::Runtime::explain) borrow them instead, so that the operation can follow.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CreateOptions {
    pub(super) child: ChildOptions,
    pub(super) no_pivot: bool,
    pub(super) no_new_keyring: bool,
    pub(super) env: Vec<String>,
    pub(super) notify_socket: bool,
}

child_options!(CreateOptions);

impl CreateOptions {
    setters! {
        /// Moves the root mount instead of pivoting, for hosts whose root is a ramfs. Less safe: the host's tree stays
        /// mounted below the container's.
        no_pivot: bool,
    }

    /// Gives the container its own session keyring (the default), or leaves it the caller's.
    #[must_use]
    pub fn new_keyring(mut self, new_keyring: bool) -> Self {
        self.no_new_keyring = !new_keyring;
        self
    }

    /// Adds a variable (`NAME=VALUE`) to the environment of the init process only, after those of `process.env`.
    #[must_use]
    pub fn env(mut self, variable: impl Into<String>) -> Self {
        self.env.push(variable.into());
        self
    }

    setters! {
        /// Lets the container's process speak the protocol of `sd_notify(3)`: it gets `NOTIFY_SOCKET`, and a read-only
        /// directory for that socket at /run/notify. To receive the messages, call
        /// [`Container::bind_notify_socket`](super::Container::bind_notify_socket) before the start.
        notify_socket: bool,
    }
}

/// How to run another process in a container.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ExecOptions {
    pub(super) child: ChildOptions,
    pub(super) cgroups: Vec<String>,
    pub(super) ignore_paused: bool,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<OsString>,
}

child_options!(ExecOptions);

impl ExecOptions {
    /// Runs the process in a cgroup below the container's: `[CONTROLLER[,CONTROLLER]:]PATH`. May be given once for each
    /// hierarchy.
    #[must_use]
    pub fn cgroup(mut self, path: impl Into<String>) -> Self {
        self.cgroups.push(path.into());
        self
    }

    /// Replaces the arguments of the process object, which as JSON cannot hold bytes that are not text.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a variable, `NAME=VALUE`, after those of the process object; it need not be valid text.
    #[must_use]
    pub fn env(mut self, variable: impl Into<OsString>) -> Self {
        self.env.push(variable.into());
        self
    }

    setters! {
        /// Allows the exec in a paused container; the new process then waits frozen.
        ignore_paused: bool,
    }
}

/// Which containers `delete` removes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delete {
    /// Stopped ones, and created ones, which are killed first (as every runtime does and callers expect).
    #[default]
    Stopped,
    /// Any, killing what runs, and also the remains of an interrupted creation. Succeeds if there is none.
    Force,
    /// Stopped ones only, by the letter of the runtime specification.
    Strict,
}
