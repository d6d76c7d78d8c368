//! The objects of runtime-spec 1.3 for Linux, as tables.
//!
//! "Required" follows the text of the spec, not its JSON schema, if they differ: the text is the standard (config.md,
//! "The canonical schema is defined in this document").

use super::shape::Shape::{Bool, Capability, CpuList, Int, List, Map, NamedWord, Text, TextOrNone, Word};
use super::shape::{
    Field, I32, I64, Need, Object, Shape, TEXTS, U16, U32, U64, assumed, foreign, optional, required,
};

macro_rules! object {
    ($(#[$doc:meta])* $name:ident: $($field:expr),+ $(,)?) => {
        $(#[$doc])*
        pub(crate) static $name: Object = Object { fields: &[$($field),+] };
    };
}

object! {
    /// `config.json` (config.md).
    CONFIG:
    required("ociVersion", Text),
    // REQUIRED on all platforms except Windows.
    required("root", Shape::Object(&ROOT)),
    optional("mounts", List(&Shape::Object(&MOUNT))),
    optional("process", Shape::Object(&PROCESS)),
    optional("hostname", Text),
    optional("domainname", Text),
    optional("hooks", Shape::Object(&HOOKS)),
    optional("annotations", Map(&Text)),
    optional("linux", Shape::Object(&LINUX)),
    foreign("solaris", "Solaris"),
    foreign("windows", "Windows"),
    foreign("freebsd", "FreeBSD"),
    foreign("vm", "virtual machines"),
    foreign("zos", "z/OS"),
}

object! { ROOT: required("path", Text), optional("readonly", Bool) }

object! {
    /// The document that lists mounts for a running container.
    MOUNTS:
    required("mounts", List(&Shape::Object(&MOUNT))),
}

object! { MOUNT:
    required("destination", Text),
    optional("type", Text),
    optional("source", Text),
    optional("options", TEXTS),
    optional("uidMappings", List(&Shape::Object(&ID_MAPPING))),
    optional("gidMappings", List(&Shape::Object(&ID_MAPPING))),
}

object! { ID_MAPPING: required("containerID", U32), required("hostID", U32), required("size", U32) }

object! {
    /// `process`, and the document that `exec --process` reads.
    PROCESS:
    optional("terminal", Bool),
    optional("consoleSize", Shape::Object(&CONSOLE_SIZE)),
    required("cwd", Text),
    optional("env", TEXTS),
    optional("args", TEXTS),
    optional("commandLine", Text),
    // Required by the text of the spec, not by its schema; without it, or without one of its ids, other runtimes take
    // 0.
    assumed("user", Shape::Object(&USER), "{}"),
    optional("rlimits", List(&Shape::Object(&RLIMIT))),
    optional("apparmorProfile", Text),
    optional("capabilities", Shape::Object(&CAPABILITIES)),
    optional("noNewPrivileges", Bool),
    optional("oomScoreAdj", I32),
    optional("scheduler", Shape::Object(&SCHEDULER)),
    optional("selinuxLabel", Text),
    optional("ioPriority", Shape::Object(&IO_PRIORITY)),
    optional("execCPUAffinity", Shape::Object(&EXEC_AFFINITY)),
}

object! { CONSOLE_SIZE: required("height", U64), required("width", U64) }

object! { USER:
    optional("uid", U32),
    optional("gid", U32),
    optional("umask", U32),
    optional("additionalGids", List(&U32)),
    optional("username", Text),
}

object! { RLIMIT: required("type", Word(RLIMIT_TYPES)), required("soft", U64), required("hard", U64) }

/// getrlimit(2); all that Linux has.
pub(crate) const RLIMIT_TYPES: &[&str] = &[
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
];

object! { CAPABILITIES:
    optional("bounding", List(&Capability)),
    optional("effective", List(&Capability)),
    optional("inheritable", List(&Capability)),
    optional("permitted", List(&Capability)),
    optional("ambient", List(&Capability)),
}

/// capabilities(7); all of Linux 5.9 to 6.18.
pub(crate) const CAPABILITY_NAMES: &[&str] = &[
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

object! { SCHEDULER:
    required("policy", Word(&[
        "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE",
    ])),
    optional("nice", I32),
    optional("priority", I32),
    optional("flags", List(&Word(SCHEDULER_FLAGS))),
    optional("runtime", U64),
    optional("deadline", U64),
    optional("period", U64),
}

pub(crate) const SCHEDULER_FLAGS: &[&str] = &[
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
];

object! { IO_PRIORITY:
    required("class", Word(&["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"])),
    // By default the highest of the class, as in the spec's Go types.
    optional("priority", I32),
}

object! { EXEC_AFFINITY: optional("initial", CpuList), optional("final", CpuList) }

object! { HOOKS:
    optional("prestart", List(&Shape::Object(&HOOK))),
    optional("createRuntime", List(&Shape::Object(&HOOK))),
    optional("createContainer", List(&Shape::Object(&HOOK))),
    optional("startContainer", List(&Shape::Object(&HOOK))),
    optional("poststart", List(&Shape::Object(&HOOK))),
    optional("poststop", List(&Shape::Object(&HOOK))),
}

object! { HOOK:
    required("path", Text),
    optional("args", TEXTS),
    optional("env", TEXTS),
    optional("timeout", I64),
}

object! {
    /// `linux` (config-linux.md).
    LINUX:
    optional("namespaces", List(&Shape::Object(&NAMESPACE))),
    optional("uidMappings", List(&Shape::Object(&ID_MAPPING))),
    optional("gidMappings", List(&Shape::Object(&ID_MAPPING))),
    optional("timeOffsets", Map(&Shape::Object(&TIME_OFFSET))),
    optional("devices", List(&Shape::Object(&DEVICE))),
    optional("netDevices", Map(&Shape::Object(&NET_DEVICE))),
    optional("cgroupsPath", Text),
    optional("resources", Shape::Object(&RESOURCES)),
    optional("intelRdt", Shape::Object(&INTEL_RDT)),
    optional("memoryPolicy", Shape::Object(&MEMORY_POLICY)),
    optional("sysctl", Map(&Text)),
    optional("seccomp", Shape::Object(&SECCOMP)),
    optional("rootfsPropagation", TextOrNone),
    optional("maskedPaths", TEXTS),
    optional("readonlyPaths", TEXTS),
    optional("mountLabel", Text),
    optional("personality", Shape::Object(&PERSONALITY)),
}

object! { NAMESPACE:
    required("type", Word(&["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"])),
    optional("path", TextOrNone),
}

object! { TIME_OFFSET: optional("secs", I64), optional("nanosecs", U32) }

object! { DEVICE:
    required("type", Word(&["c", "b", "u", "p"])),
    required("path", Text),
    Field { name: "major", shape: I64, need: Need::UnlessType("p") },
    Field { name: "minor", shape: I64, need: Need::UnlessType("p") },
    optional("fileMode", U32),
    optional("uid", U32),
    optional("gid", U32),
}

object! { NET_DEVICE: optional("name", Text) }

object! {
    /// `linux.resources`, and the document that `update --resources` reads.
    RESOURCES:
    optional("devices", List(&Shape::Object(&DEVICE_RULE))),
    optional("memory", Shape::Object(&MEMORY)),
    optional("cpu", Shape::Object(&CPU)),
    optional("pids", Shape::Object(&PIDS)),
    optional("blockIO", Shape::Object(&BLOCK_IO)),
    optional("hugepageLimits", List(&Shape::Object(&HUGEPAGE_LIMIT))),
    optional("network", Shape::Object(&NETWORK)),
    optional("rdma", Map(&Shape::Object(&RDMA))),
    optional("unified", Map(&Text)),
}

object! { DEVICE_RULE:
    required("allow", Bool),
    optional("type", Word(&["a", "c", "b"])),
    optional("major", I64),
    optional("minor", I64),
    optional("access", Text),
}

object! { MEMORY:
    optional("limit", I64),
    optional("reservation", I64),
    optional("swap", I64),
    optional("kernel", I64),
    optional("kernelTCP", I64),
    optional("swappiness", U64),
    optional("disableOOMKiller", Bool),
    optional("useHierarchy", Bool),
    optional("checkBeforeUpdate", Bool),
}

object! { CPU:
    optional("shares", U64),
    optional("quota", I64),
    optional("burst", U64),
    optional("period", U64),
    optional("realtimeRuntime", I64),
    optional("realtimePeriod", U64),
    optional("cpus", Text),
    optional("mems", Text),
    optional("idle", I64),
}

object! { PIDS: Field { name: "limit", shape: I64, need: Need::ElseDrop } }

object! { BLOCK_IO:
    optional("weight", U16),
    optional("leafWeight", U16),
    optional("weightDevice", List(&Shape::Object(&WEIGHT_DEVICE))),
    optional("throttleReadBpsDevice", List(&Shape::Object(&THROTTLE_DEVICE))),
    optional("throttleWriteBpsDevice", List(&Shape::Object(&THROTTLE_DEVICE))),
    optional("throttleReadIOPSDevice", List(&Shape::Object(&THROTTLE_DEVICE))),
    optional("throttleWriteIOPSDevice", List(&Shape::Object(&THROTTLE_DEVICE))),
}

object! { WEIGHT_DEVICE:
    required("major", I64),
    required("minor", I64),
    optional("weight", U16),
    optional("leafWeight", U16),
}

object! { THROTTLE_DEVICE: required("major", I64), required("minor", I64), required("rate", U64) }

object! { HUGEPAGE_LIMIT: required("pageSize", Text), required("limit", U64) }

object! { NETWORK:
    optional("classID", U32),
    optional("priorities", List(&Shape::Object(&INTERFACE_PRIORITY))),
}

object! { INTERFACE_PRIORITY: required("name", Text), required("priority", U32) }

object! { RDMA: optional("hcaHandles", U32), optional("hcaObjects", U32) }

object! { INTEL_RDT:
    optional("closID", Text),
    optional("schemata", TEXTS),
    optional("l3CacheSchema", Text),
    optional("memBwSchema", Text),
    // enableCMT and enableMBM of 1.1 and 1.2 had no defined meaning and were dropped in 1.3: ignored with a warning,
    // like everything that is not in the specification.
    optional("enableMonitoring", Bool),
}

object! { MEMORY_POLICY:
    required("mode", NamedWord("memory policy mode", &[
        "MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED",
        "MPOL_PREFERRED_MANY", "MPOL_LOCAL",
    ])),
    optional("nodes", Text),
    optional("flags", List(&NamedWord("memory policy flag", &[
        "MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES",
    ]))),
}

object! { SECCOMP:
    required("defaultAction", Word(SECCOMP_ACTIONS)),
    optional("defaultErrnoRet", U32),
    optional("architectures", List(&Word(SECCOMP_ARCHITECTURES))),
    optional("flags", List(&Word(&[
        "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ]))),
    optional("listenerPath", Text),
    optional("listenerMetadata", Text),
    optional("syscalls", List(&Shape::Object(&SYSCALL))),
}

pub(crate) const SECCOMP_ACTIONS: &[&str] = &[
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
];

pub(crate) const SECCOMP_ARCHITECTURES: &[&str] = &[
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
];

object! { SYSCALL:
    required("names", TEXTS),
    required("action", Word(SECCOMP_ACTIONS)),
    optional("errnoRet", U32),
    optional("args", List(&Shape::Object(&SYSCALL_ARG))),
}

object! { SYSCALL_ARG:
    // A system call has six arguments.
    required("index", Int(0, 5)),
    required("value", U64),
    optional("valueTwo", U64),
    required("op", Word(&[
        "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ])),
}

object! { PERSONALITY: required("domain", Word(&["LINUX", "LINUX32"])), optional("flags", TEXTS) }
