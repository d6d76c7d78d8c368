//! Every verb and every option, once: parsing, help, completions and manual pages follow this table.

use crate::args::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::verb;

/// An option.
#[derive(Debug)]
pub(crate) struct Opt {
    /// The name after `--` (or, from old callers, after `-`).
    pub(crate) long: &'static str,
    /// The letter after `-`.
    pub(crate) short: Option<char>,
    /// What the value is called in the help; `None` for a switch.
    pub(crate) value: Option<&'static str>,
    /// The words that the value may be, where these are few.
    #[cfg_attr(not(test), allow(dead_code, reason = "only completions know them in advance"))]
    pub(crate) choices: &'static [&'static str],
    /// What it does.
    pub(crate) help: &'static str,
    /// Accepted for the sake of old callers, but not shown.
    pub(crate) hidden: bool,
}

impl Opt {
    const fn switch(long: &'static str, help: &'static str) -> Self {
        Self { long, short: None, value: None, choices: &[], help, hidden: false }
    }

    const fn value(long: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { long, short: None, value: Some(value), choices: &[], help, hidden: false }
    }

    const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }

    const fn choices(self, choices: &'static [&'static str]) -> Self {
        Self { choices, ..self }
    }

    const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }
}

/// How many operands a verb takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// Neither more nor fewer.
    Exactly(usize),
    /// As many or more.
    AtLeast(usize),
    /// As many or fewer.
    AtMost(usize),
    /// From the first to the second number.
    Between(usize, usize),
}

/// A verb.
#[derive(Debug)]
pub(crate) struct Verb {
    /// Its name.
    pub(crate) name: &'static str,
    /// What stands behind the options.
    pub(crate) operands: &'static str,
    /// How many of these there may be.
    pub(crate) count: Count,
    /// Whether everything behind the first operand is an operand, even if it begins with a dash.
    pub(crate) trailing: bool,
    /// One line.
    pub(crate) about: &'static str,
    /// More lines for `--help`.
    pub(crate) details: &'static str,
    /// Its options.
    pub(crate) options: &'static [Opt],
    /// Whether a process of this program comes to run inside a container, so that the program must be protected.
    pub(crate) enters_containers: bool,
    /// Performs it; the value is the exit code.
    pub(crate) run: fn(&Context, &Call) -> Result<u8, Failure>,
}

/// The verb of that name.
pub(crate) fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// Options that stand before the verb.
pub(crate) const GLOBALS: &[Opt] = &[
    Opt::switch("debug", "log what is done, at level debug"),
    Opt::value(
        "log",
        "TARGET",
        "log to [file:]PATH, journald:[IDENTIFIER] or syslog:[IDENTIFIER] (default: standard error)",
    ),
    Opt::value("log-format", "FORMAT", "format of the log: text or json (default: text)")
        .choices(&["text", "json"]),
    Opt::value("log-level", "LEVEL", "log nothing below error, warning, info or debug (default: info)")
        .choices(&["error", "warning", "info", "debug"]),
    Opt::value(
        "root",
        "DIR",
        "directory of the state of containers (default: /run/wharf, or $XDG_RUNTIME_DIR/wharf without privileges)",
    ),
    Opt::switch("systemd-cgroup", "manage cgroups through systemd; cgroupsPath is slice:prefix:name"),
    Opt::value(
        "cgroup-manager",
        "MANAGER",
        "who manages cgroups: cgroupfs, systemd or disabled (default: cgroupfs)",
    )
    .choices(&["cgroupfs", "systemd", "disabled"]),
    Opt::switch(
        "systemd-annotations",
        "honour every annotation org.systemd.property.*, also those that act on the whole machine",
    ),
    Opt::value("rootless", "WHEN", "ignore cgroup permission errors: true, false or auto (default: auto)")
        .choices(&["true", "false", "auto"]),
    Opt::value("criu", "FILE", "program used by checkpoint and restore").hidden(),
    Opt::switch("version", "print the version").short('v'),
    HELP,
];

/// Understood everywhere.
pub(crate) const HELP: Opt = Opt::switch("help", "print this help").short('h');

const BUNDLE: Opt =
    Opt::value("bundle", "DIR", "directory of the bundle (default: the current directory)").short('b');
const CONFIG: Opt =
    Opt::value("config", "FILE", "configuration (default: config.json in the bundle)").short('f');
const CONSOLE_SOCKET: Opt =
    Opt::value("console-socket", "SOCKET", "unix socket that receives the master end of the terminal");
const PIDFD_SOCKET: Opt =
    Opt::value("pidfd-socket", "SOCKET", "unix socket that receives a pidfd of the process");
const PID_FILE: Opt = Opt::value("pid-file", "FILE", "write the process id to FILE");
const NO_PIVOT: Opt = Opt::switch(
    "no-pivot",
    "move the root mount instead of pivot_root(2), for a root file system on the initial ram disk",
);
const NO_NEW_KEYRING: Opt = Opt::switch("no-new-keyring", "keep the caller's session keyring");
const PRESERVE_FDS: Opt = Opt::value(
    "preserve-fds",
    "N",
    "pass N more file descriptors, those behind the standard three and $LISTEN_FDS (default: 0)",
);
const DETACH: Opt = Opt::switch("detach", "do not wait for the process").short('d');
const NO_SUBREAPER: Opt = Opt::switch("no-subreaper", "do not adopt orphaned processes of the container");
const FORMAT: Opt =
    Opt::value("format", "FORMAT", "table or json (default: table)").short('f').choices(&["table", "json"]);
const TEXT_FORMAT: Opt =
    Opt::value("format", "FORMAT", "text or json (default: text)").short('f').choices(&["text", "json"]);

const REGEX: Opt =
    Opt::switch("regex", "take the container id for a regular expression: all that match").short('r');

const IMAGE_PATH: Opt = Opt::value("image-path", "DIR", "directory of the images (default: checkpoint)");
const WORK_PATH: Opt =
    Opt::value("work-path", "DIR", "directory of the log of criu (default: that of the images)");
const TCP_ESTABLISHED: Opt = Opt::switch("tcp-established", "allow established TCP connections");
const EXT_UNIX_SK: Opt =
    Opt::switch("ext-unix-sk", "allow unix sockets connected to outside of the container");
const SHELL_JOB: Opt = Opt::switch("shell-job", "allow a terminal that is not the container's own");
const FILE_LOCKS: Opt = Opt::switch("file-locks", "allow file locks");
const MANAGE_CGROUPS_MODE: Opt = Opt::value(
    "manage-cgroups-mode",
    "MODE",
    "what criu does about cgroups: soft, full, strict or ignore (default: soft)",
);
const NETWORK_LOCK: Opt = Opt::value(
    "network-lock",
    "HOW",
    "how criu keeps connections still: iptables, nftables or skip (default: criu's)",
);
const EMPTY_NS: Opt = Opt::value(
    "empty-ns",
    "NAMESPACE",
    "leave out the contents of a namespace: network, which is always left out (repeatable)",
);
const AUTO_DEDUP: Opt = Opt::switch("auto-dedup", "take out of parent images what newer ones hold");

const ID: &str = "<container-id>";

/// In the order of the help.
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "check",
        operands: "[bundle]",
        count: Count::AtMost(1),
        trailing: false,
        about: "examine a bundle and print everything that is wrong with it",
        details: "Nothing is changed on the host. The exit code is 0 when there are no findings and 1 otherwise.\n\
            Each finding names the property of config.json as a JSON pointer.",
        options: &[
            BUNDLE,
            CONFIG,
            Opt {
                help: "examine a call of create or run --detach, too: where does a terminal go?",
                ..DETACH
            },
            Opt {
                help: "the same, with this socket for the terminal, which is not connected to",
                ..CONSOLE_SOCKET
            },
            Opt { short: None, ..TEXT_FORMAT },
        ],
        enters_containers: false,
        run: verb::check::run,
    },
    Verb {
        name: "checkpoint",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "save the processes of a running container with criu",
        details: "Unless it is left running, the container is deleted. Mounts of the host, joined network and pid\n\
            namespaces and pipes to the outside are saved by name only. The annotation org.criu.config names a\n\
            file with more options for criu (default: /etc/criu/wharf.conf, else /etc/criu/runc.conf).",
        options: &[
            IMAGE_PATH,
            WORK_PATH,
            Opt::value(
                "parent-path",
                "DIR",
                "directory of earlier images, relative to --image-path: save only what changed since",
            ),
            Opt::switch("leave-running", "let the container go on"),
            TCP_ESTABLISHED,
            Opt::switch("tcp-skip-in-flight", "leave out TCP connections that are being made"),
            Opt::switch("link-remap", "give deleted files that are open a name again, where possible"),
            EXT_UNIX_SK,
            SHELL_JOB,
            Opt::switch("lazy-pages", "serve the memory to criu lazy-pages instead of saving it"),
            Opt::value("status-fd", "FD", "write a zero byte to FD when --lazy-pages serves"),
            Opt::value("page-server", "ADDRESS:PORT", "send the memory to a page server, or serve it there"),
            FILE_LOCKS,
            Opt::switch("pre-dump", "save memory only, as the parent of a later checkpoint, and go on"),
            MANAGE_CGROUPS_MODE,
            NETWORK_LOCK,
            EMPTY_NS,
            AUTO_DEDUP,
        ],
        enters_containers: false,
        run: verb::checkpoint::run,
    },
    Verb {
        name: "completion",
        operands: "bash|fish|zsh",
        count: Count::Exactly(1),
        trailing: false,
        about: "print the script that lets a shell complete the command line",
        details: "For bash: source <(wharf completion bash). For fish: wharf completion fish | source. For zsh: put it into a\n\
            file _wharf in a directory of $fpath.",
        options: &[],
        enters_containers: false,
        run: verb::completion::run,
    },
    Verb {
        name: "create",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "create a container from a bundle",
        details: "The container is set up completely and waits for start. If $LISTEN_PID is the id of this process,\n\
            the $LISTEN_FDS descriptors from 3 on are passed to the container with LISTEN_PID=1.\n\
            If $NOTIFY_SOCKET is set, the process gets a socket for sd_notify(3) of its own; see start.",
        options: &[
            BUNDLE,
            CONFIG,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            PID_FILE,
            NO_PIVOT,
            NO_NEW_KEYRING,
            PRESERVE_FDS,
        ],
        enters_containers: true,
        run: verb::create::run,
    },
    Verb {
        name: "delete",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "delete a stopped container and everything that create made",
        details: "A container that is created but not started is killed and deleted as well.",
        options: &[
            Opt::switch("force", "kill the container first; no error if it does not exist").short('f'),
            Opt::switch(
                "strict",
                "refuse a container that is created but not started, as the specification wants",
            ),
            REGEX,
        ],
        enters_containers: false,
        run: verb::delete::run,
    },
    Verb {
        name: "events",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "print statistics and out-of-memory events of a container as lines of JSON",
        details: "",
        options: &[
            Opt::value(
                "interval",
                "DURATION",
                "time between two statistics, for example 1m30s (default: 5s)",
            ),
            Opt::switch("stats", "print the statistics once and end"),
        ],
        enters_containers: false,
        run: verb::events::run,
    },
    Verb {
        name: "exec",
        operands: "<container-id> [command [argument ...]]",
        count: Count::AtLeast(1),
        trailing: true,
        about: "start another process in a container",
        details: "Without --process, the process is the one of the container's config.json with the command and the\n\
            options put in. The exit code is that of the process, 128+N if signal N ended it, and 255 if it\n\
            could not be started.",
        options: &[
            Opt::value("process", "FILE", "JSON file with the process object to start").short('p'),
            Opt::value("cwd", "DIR", "working directory inside the container"),
            Opt::value("env", "NAME=VALUE", "set an environment variable (repeatable)").short('e'),
            Opt::value("user", "USER[:GROUP]", "user and group, by number or by name in the container")
                .short('u'),
            Opt::value("additional-gids", "GID", "add a group, by number (repeatable)").short('g'),
            Opt::value("cap", "NAME", "add a capability (repeatable)").short('c'),
            Opt::switch("tty", "allocate a terminal").short('t'),
            DETACH,
            PID_FILE,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            Opt::value("apparmor", "PROFILE", "AppArmor profile of the process"),
            Opt::value("process-label", "LABEL", "SELinux label of the process"),
            Opt::switch("no-new-privs", "set no_new_privs for the process"),
            Opt::value(
                "cgroup",
                "[CONTROLLER,...:]PATH",
                "existing cgroup below the container's (repeatable)",
            ),
            Opt::switch("ignore-paused", "start the process even in a paused container"),
            PRESERVE_FDS,
            Opt { hidden: true, ..NO_SUBREAPER },
        ],
        enters_containers: true,
        run: verb::exec::run,
    },
    Verb {
        name: "explain",
        operands: "[bundle]",
        count: Count::AtMost(1),
        trailing: false,
        about: "print what create would do with a bundle, step by step",
        details: "Nothing is changed on the host.",
        options: &[
            BUNDLE,
            CONFIG,
            Opt { short: None, ..TEXT_FORMAT },
            Opt::value("id", "ID", "container id to plan for (default: the name of the bundle's directory)"),
            NO_PIVOT,
            NO_NEW_KEYRING,
            PRESERVE_FDS,
        ],
        enters_containers: false,
        run: verb::explain::run,
    },
    Verb {
        name: "features",
        operands: "",
        count: Count::Exactly(0),
        trailing: false,
        about: "print what this build supports, as the features document of the specification",
        details: "",
        options: &[],
        enters_containers: false,
        run: verb::features::run,
    },
    Verb {
        name: "kill",
        operands: "<container-id> [signal]",
        count: Count::Between(1, 2),
        trailing: false,
        about: "send a signal to the first process of a container (default: TERM)",
        details: "The signal is a number or a name, with or without SIG.",
        options: &[Opt::switch("all", "send it to all processes of the container").short('a'), REGEX],
        enters_containers: false,
        run: verb::kill::run,
    },
    Verb {
        name: "list",
        operands: "",
        count: Count::Exactly(0),
        trailing: false,
        about: "list the containers of a state directory",
        details: "",
        options: &[FORMAT, Opt::switch("quiet", "print only the ids").short('q')],
        enters_containers: false,
        run: verb::list::run,
    },
    Verb {
        name: "mounts",
        operands: "add|remove <container-id> <file>",
        count: Count::Exactly(3),
        trailing: false,
        about: "add mounts to a running container, or remove them",
        details: "The file is a JSON object with the list mounts of config.json, or that list alone; - reads standard\n\
            input. To remove a mount, only its destination is looked at. If one entry fails, none takes effect.",
        options: &[],
        enters_containers: true,
        run: verb::mounts::run,
    },
    Verb {
        name: "pause",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "suspend all processes of a container",
        details: "",
        options: &[],
        enters_containers: false,
        run: verb::pause::run,
    },
    Verb {
        name: "ps",
        operands: "<container-id> [argument of ps ...]",
        count: Count::AtLeast(1),
        trailing: true,
        about: "print the processes of a container",
        details: "The table is that of ps(1) on the host, with the arguments given (default: -ef), which must print a\n\
            PID column.",
        options: &[FORMAT],
        enters_containers: false,
        run: verb::ps::run,
    },
    Verb {
        name: "restore",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "make a container of the images of a checkpoint",
        details: "The bundle is that of the container or one like it: what the images describe is compared with its\n\
            config.json before it may run, and refused if it is less confined. The exit code is that of the\n\
            container's first process, or 128+N if signal N ended it.",
        options: &[
            BUNDLE,
            CONFIG,
            CONSOLE_SOCKET,
            IMAGE_PATH,
            WORK_PATH,
            TCP_ESTABLISHED,
            Opt::switch("tcp-close", "restore established TCP connections as closed ones"),
            EXT_UNIX_SK,
            SHELL_JOB,
            FILE_LOCKS,
            MANAGE_CGROUPS_MODE,
            NETWORK_LOCK,
            DETACH,
            PID_FILE,
            NO_SUBREAPER,
            Opt::switch("no-pivot", "without effect: criu makes the mounts"),
            EMPTY_NS,
            AUTO_DEDUP,
            Opt::switch("lazy-pages", "get the memory from criu lazy-pages when it is used"),
            Opt::value(
                "lsm-profile",
                "TYPE:LABEL",
                "apparmor or selinux label (default: the configuration's)",
            ),
            Opt::value("lsm-mount-context", "CONTEXT", "SELinux context for mounts that have one"),
        ],
        enters_containers: false,
        run: verb::restore::run,
    },
    Verb {
        name: "resume",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "continue the processes of a paused container",
        details: "",
        options: &[],
        enters_containers: false,
        run: verb::resume::run,
    },
    Verb {
        name: "run",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "create, start, await and delete a container",
        details: "The exit code is that of the container's first process, or 128+N if signal N ended it. Signals are\n\
            passed on to it. $LISTEN_FDS and $NOTIFY_SOCKET are treated as by create and start.",
        options: &[
            BUNDLE,
            CONFIG,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            PID_FILE,
            DETACH,
            Opt::switch("keep", "do not delete the container when it ends"),
            NO_SUBREAPER,
            NO_PIVOT,
            NO_NEW_KEYRING,
            PRESERVE_FDS,
        ],
        enters_containers: true,
        run: verb::run::run,
    },
    Verb {
        name: "spec",
        operands: "",
        count: Count::Exactly(0),
        trailing: false,
        about: "write a config.json to begin with",
        details: "An existing file is not overwritten.",
        options: &[
            BUNDLE,
            Opt::value("file", "FILE", "write FILE instead of config.json in the bundle").short('f'),
            Opt::switch("rootless", "for a container without privileges on the host"),
        ],
        enters_containers: false,
        run: verb::spec::run,
    },
    Verb {
        name: "start",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "start the process of a created container",
        details: "If $NOTIFY_SOCKET is set, as it was for create, this returns when the process has sent READY=1 to its own\n\
            socket or has ended, and passes the readiness on together with MAINPID and BARRIER=1.",
        options: &[],
        enters_containers: false,
        run: verb::start::run,
    },
    Verb {
        name: "state",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "print the state of a container as JSON",
        details: "",
        options: &[],
        enters_containers: false,
        run: verb::state::run,
    },
    Verb {
        name: "update",
        operands: ID,
        count: Count::Exactly(1),
        trailing: false,
        about: "change the resource limits of a container",
        details: "Limits that are not named keep their value. Sizes take the suffixes k, m, g, t and p.",
        options: &[
            Opt::value("resources", "FILE", "JSON file with a resources object, or - for standard input")
                .short('r'),
            Opt::value("blkio-weight", "WEIGHT", "relative weight of block I/O, 10 to 1000"),
            Opt::value("cpu-period", "USEC", "period of the CPU limit"),
            Opt::value("cpu-quota", "USEC", "CPU time allowed in a period"),
            Opt::value("cpu-burst", "USEC", "CPU time that may be saved up"),
            Opt::value("cpu-share", "SHARES", "relative weight of CPU time"),
            Opt::value("cpu-rt-period", "USEC", "period of the real-time CPU limit"),
            Opt::value("cpu-rt-runtime", "USEC", "real-time CPU time allowed in a period"),
            Opt::value("cpu-idle", "N", "1: schedule only when nothing else wants to run"),
            Opt::value("cpuset-cpus", "LIST", "CPUs to use"),
            Opt::value("cpuset-mems", "LIST", "memory nodes to use"),
            Opt::value("memory", "SIZE", "memory limit"),
            Opt::value("memory-reservation", "SIZE", "memory that is reclaimed last"),
            Opt::value("memory-swap", "SIZE", "limit of memory and swap together; -1 for no limit"),
            Opt::value("pids-limit", "N", "number of processes; -1 for no limit"),
            Opt::value(
                "l3-cache-schema",
                "SCHEMA",
                "shares of the L3 cache (Intel RDT), such as L3:0=7f0;1=1f",
            ),
            Opt::value("mem-bw-schema", "SCHEMA", "memory bandwidth (Intel RDT), such as MB:0=20;1=70"),
            Opt::value("kernel-memory", "SIZE", "obsolete, without effect").hidden(),
            Opt::value("kernel-memory-tcp", "SIZE", "obsolete, without effect").hidden(),
        ],
        enters_containers: false,
        run: verb::update::run,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_sorted() {
        assert!(VERBS.is_sorted_by_key(|verb| verb.name));
        for options in VERBS.iter().map(|verb| verb.options).chain([GLOBALS]) {
            let longs: BTreeSet<_> = options.iter().map(|option| option.long).collect();
            assert_eq!(longs.len(), options.len());
            let letters: Vec<_> = options.iter().filter_map(|option| option.short).collect();
            assert_eq!(letters.iter().collect::<BTreeSet<_>>().len(), letters.len());
        }
    }

    #[test]
    fn no_cluster_of_letters_reads_like_a_long_option() {
        // `-no-subreaper` is a long option; so `-it` must not be the name of one.
        for verb in VERBS {
            let letters: Vec<_> = verb.options.iter().filter_map(|option| option.short).collect();
            for option in verb.options {
                assert!(!option.long.chars().all(|c| letters.contains(&c)), "{} -{}", verb.name, option.long);
            }
        }
    }
}
