//! What an option is, the options before the verb, and those that several verbs share.

/// An option.
#[derive(Debug)]
pub(crate) struct Opt {
    /// The name after `--` (or after `-`, from old callers).
    pub(crate) long: &'static str,
    /// The letter after `-`.
    pub(crate) short: Option<char>,
    /// What the help calls the value; `None` for a switch.
    pub(crate) value: Option<&'static str>,
    /// The possible values, if there are only a few.
    pub(crate) choices: &'static [&'static str],
    /// What it does.
    pub(crate) help: &'static str,
    /// Accepted for old callers, but not shown.
    pub(crate) hidden: bool,
}

impl Opt {
    pub(crate) const fn switch(long: &'static str, help: &'static str) -> Self {
        Self { long, short: None, value: None, choices: &[], help, hidden: false }
    }

    pub(crate) const fn value(long: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { long, short: None, value: Some(value), choices: &[], help, hidden: false }
    }

    pub(crate) const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }

    pub(crate) const fn choices(self, choices: &'static [&'static str]) -> Self {
        Self { choices, ..self }
    }

    pub(crate) const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }
}

/// Options before the verb.
pub(crate) const GLOBALS: &[Opt] = &[
    Opt::switch("debug", "log every step at level debug"),
    Opt::value(
        "log",
        "TARGET",
        "log to [file:]PATH, journald:[IDENTIFIER] or syslog:[IDENTIFIER] (default: standard error)",
    ),
    Opt::value("log-format", "FORMAT", "format of the log: text or json (default: text)")
        .choices(&["text", "json"]),
    Opt::value("log-level", "LEVEL", "lowest level to log: error, warning, info or debug (default: info)")
        .choices(&["error", "warning", "info", "debug"]),
    Opt::value(
        "root",
        "DIR",
        "directory for the state of containers (default: /run/wharf, or $XDG_RUNTIME_DIR/wharf without privileges)",
    ),
    Opt::switch("systemd-cgroup", "let systemd manage cgroups; cgroupsPath has the form slice:prefix:name"),
    Opt::value(
        "cgroup-manager",
        "MANAGER",
        "cgroup driver: cgroupfs, systemd or disabled (default: cgroupfs)",
    )
    .choices(&["cgroupfs", "systemd", "disabled"]),
    Opt::switch(
        "systemd-annotations",
        "apply every org.systemd.property.* annotation, even one that affects the whole machine",
    ),
    Opt::value("rootless", "WHEN", "ignore cgroup permission errors: true, false or auto (default: auto)")
        .choices(&["true", "false", "auto"]),
    Opt::value("criu", "FILE", "program used by checkpoint and restore").hidden(),
    Opt::switch("version", "print the version").short('v'),
    HELP,
];

/// Understood everywhere.
pub(crate) const HELP: Opt = Opt::switch("help", "print this help").short('h');

pub(crate) const BUNDLE: Opt =
    Opt::value("bundle", "DIR", "directory of the bundle (default: the current directory)").short('b');
pub(crate) const CONFIG: Opt =
    Opt::value("config", "FILE", "configuration (default: config.json in the bundle)").short('f');
pub(crate) const CONSOLE_SOCKET: Opt =
    Opt::value("console-socket", "SOCKET", "Unix socket that receives the master end of the terminal");
pub(crate) const PIDFD_SOCKET: Opt =
    Opt::value("pidfd-socket", "SOCKET", "Unix socket that receives a pidfd of the process");
pub(crate) const PID_FILE: Opt = Opt::value("pid-file", "FILE", "write the process id to FILE");
pub(crate) const NO_PIVOT: Opt = Opt::switch(
    "no-pivot",
    "move the root mount instead of calling pivot_root(2), for a root file system on a ramdisk",
);
pub(crate) const NO_NEW_KEYRING: Opt = Opt::switch("no-new-keyring", "keep the caller's session keyring");
pub(crate) const PRESERVE_FDS: Opt = Opt::value(
    "preserve-fds",
    "N",
    "pass N extra file descriptors, after the standard streams and $LISTEN_FDS (default: 0)",
);
pub(crate) const DETACH: Opt = Opt::switch("detach", "do not wait for the process").short('d');
pub(crate) const NO_SUBREAPER: Opt =
    Opt::switch("no-subreaper", "do not adopt orphaned processes of the container");
pub(crate) const FORMAT: Opt =
    Opt::value("format", "FORMAT", "table or json (default: table)").short('f').choices(&["table", "json"]);
pub(crate) const TEXT_FORMAT: Opt =
    Opt::value("format", "FORMAT", "text or json (default: text)").short('f').choices(&["text", "json"]);

pub(crate) const REGEX: Opt =
    Opt::switch("regex", "treat the container id as a regular expression and act on every match").short('r');

pub(crate) const IMAGE_PATH: Opt =
    Opt::value("image-path", "DIR", "directory of the checkpoint images (default: checkpoint)");
pub(crate) const WORK_PATH: Opt =
    Opt::value("work-path", "DIR", "directory for criu's log (default: the image directory)");
pub(crate) const TCP_ESTABLISHED: Opt = Opt::switch("tcp-established", "allow established TCP connections");
pub(crate) const EXT_UNIX_SK: Opt =
    Opt::switch("ext-unix-sk", "allow Unix sockets that are connected outside the container");
pub(crate) const SHELL_JOB: Opt = Opt::switch("shell-job", "allow a terminal that belongs to the host");
pub(crate) const FILE_LOCKS: Opt = Opt::switch("file-locks", "allow file locks");
pub(crate) const MANAGE_CGROUPS_MODE: Opt = Opt::value(
    "manage-cgroups-mode",
    "MODE",
    "how criu handles cgroups: soft, full, strict or ignore (default: soft)",
);
pub(crate) const NETWORK_LOCK: Opt = Opt::value(
    "network-lock",
    "HOW",
    "how criu blocks network connections: iptables, nftables or skip (default: criu's choice)",
);
pub(crate) const EMPTY_NS: Opt = Opt::value(
    "empty-ns",
    "NAMESPACE",
    "do not save the contents of a namespace: network, which is never saved anyway (repeatable)",
);
pub(crate) const AUTO_DEDUP: Opt =
    Opt::switch("auto-dedup", "remove memory pages from parent images that newer images replace");

pub(crate) const ID: &str = "<container-id>";
