//! Seccomp: rows A182 to A196, A237.

use crate::console::Receiver;
use crate::outcome::{Outcome, check, same};
use crate::{Bed, Spec, Test, test};
use serde_json::{Value, json};

const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

pub(super) const TESTS: &[Test] = &[
    test("A182 A183", "SCMP_ACT_ERRNO answers EPERM without errnoRet, and errnoRet with it", |bed| {
        try_mkdir(bed, json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]))?.failed(&[1])?;
        try_mkdir(bed, json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]))?
            .failed(&[77])?;
        try_mkdir(bed, json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": 0}]))?
            .worked()
            .map(drop)
    }),
    test(
        "A182 A183",
        "SCMP_ACT_ERRNO as default with defaultErrnoRet, and SCMP_ACT_ALLOW for the rest",
        |bed| {
            let spec = Spec::new().set(
                "/linux/seccomp",
                json!({
                    "defaultAction": "SCMP_ACT_ERRNO",
                    "defaultErrnoRet": 88,
                    "syscalls": [{"names": allowed(), "action": "SCMP_ACT_ALLOW"}]
                }),
            );
            let answers = bed.tries(&spec, &[&["mkdir", "/x"], &["read", "/probe-that-is-not-there"]])?;
            answers[0].failed(&[88])?;
            answers[1].failed(&[2])
        },
    ),
    test("A182", "SCMP_ACT_KILL, KILL_PROCESS, KILL_THREAD and TRAP end the program with SIGSYS", |bed| {
        for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"] {
            let spec = rules(json!([{"names": MKDIR, "action": action}]));
            let called = bed.run(&crate::bed::script_spec(spec, &[&["mkdir", "/x"]]))?;
            same(action, called.code(), 159)?;
        }
        Ok(())
    }),
    test(
        "A182 A211",
        "a profile older than openat2, faccessat2 and close_range does not stop the runtime",
        |bed| {
            // As in runtime-tools' default profile, and without noNewPrivileges: whatever the runtime does between
            // loading the filter and execve has to get by with the calls of 2018.
            let newer = ["openat2", "faccessat2", "close_range", "clone3", "epoll_pwait2", "mount_setattr"];
            let spec = rules(json!([{"names": newer, "action": "SCMP_ACT_ERRNO"}]))
                .set("/process/noNewPrivileges", json!(false));
            bed.tries(&spec, &[&["read", "/probe-that-is-not-there"]])?[0].failed(&[2])
        },
    ),
    test("A182", "SCMP_ACT_LOG lets the call through", |bed| {
        try_mkdir(bed, json!([{"names": MKDIR, "action": "SCMP_ACT_LOG"}]))?.worked().map(drop)
    }),
    test("A182", "SCMP_ACT_TRACE without a tracer answers ENOSYS", |bed| {
        try_mkdir(bed, json!([{"names": MKDIR, "action": "SCMP_ACT_TRACE"}]))?.failed(&[38])
    }),
    test("A182", "an unknown action is refused", |bed| {
        bed.refuses(
            &rules(json!([{"names": MKDIR, "action": "SCMP_ACT_NONSENSE"}])),
            &["SCMP_ACT_NONSENSE", "action"],
        )
    }),
    test("A182", "a missing or unknown default action is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/seccomp", json!({"syscalls": []})),
            &["defaultAction", "default action", "action"],
        )?;
        bed.refuses(
            &Spec::new().set("/linux/seccomp", json!({"defaultAction": "NONSENSE"})),
            &["NONSENSE", "action"],
        )
    }),
    test("A184", "errnoRet on an action that takes none is refused", |bed| {
        bed.refuses(&rules(json!([{"names": MKDIR, "action": "SCMP_ACT_ALLOW", "errnoRet": 5}])), &["errno"])
    }),
    test("A184", "defaultErrnoRet with a default action that takes none is refused", |bed| {
        let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 5});
        bed.refuses(&Spec::new().set("/linux/seccomp", seccomp), &["errno"])
    }),
    test("A185", "all architectures of the specification are known", |bed| {
        let names = [
            "X86",
            "X86_64",
            "X32",
            "ARM",
            "AARCH64",
            "MIPS",
            "MIPS64",
            "MIPS64N32",
            "MIPSEL",
            "MIPSEL64",
            "MIPSEL64N32",
            "PPC",
            "PPC64",
            "PPC64LE",
            "S390",
            "S390X",
            "RISCV64",
            "PARISC",
            "PARISC64",
            "LOONGARCH64",
            "M68K",
            "SH",
            "SHEB",
        ];
        let mut unknown = Vec::new();
        for name in names {
            let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [format!("SCMP_ARCH_{name}")],
                                 "syscalls": [{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]});
            let called = bed.run(&Spec::new().set("/linux/seccomp", seccomp).args(&["/probe", "true"]))?;
            // One program cannot serve two byte orders; saying so shows that the runtime knows the name.
            let said = called.stderr.to_lowercase();
            if !called.status.success() && !said.contains("byte order") && !said.contains("endian") {
                unknown.push(name);
            }
        }
        check(unknown.is_empty(), || format!("refused: {}", unknown.join(" ")))
    }),
    test("A185", "an unknown architecture is refused", |bed| {
        let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NONSENSE"]});
        bed.refuses(&Spec::new().set("/linux/seccomp", seccomp), &["SCMP_ARCH_NONSENSE", "arch"])
    }),
    test("A186", "the flags TSYNC, LOG and SPEC_ALLOW are accepted", |bed| {
        for flag in ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
        {
            let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag], "syscalls": [{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]});
            let spec = Spec::new().set("/linux/seccomp", seccomp);
            bed.tries(&spec, &[&["mkdir", "/x"]])?[0].failed(&[1])?;
        }
        Ok(())
    }),
    test("A187", "an unknown flag is refused", |bed| {
        let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NONSENSE"], "syscalls": [{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]});
        bed.refuses(&Spec::new().set("/linux/seccomp", seccomp), &["SECCOMP_FILTER_FLAG_NONSENSE", "flag"])
    }),
    test("A188", "a rule without names is refused", |bed| {
        bed.refuses(&rules(json!([{"names": [], "action": "SCMP_ACT_ERRNO"}])), &["names"])?;
        bed.refuses(&rules(json!([{"action": "SCMP_ACT_ERRNO"}])), &["names"])
    }),
    test("A189", "an unknown system call is skipped", |bed| {
        let names = ["mkdir", "mkdirat", "a_call_of_the_future"];
        try_mkdir(bed, json!([{"names": names, "action": "SCMP_ACT_ERRNO"}]))?.failed(&[1])
    }),
    test("A189", "an annotation makes it an error, where the runtime says that it knows it", |bed| {
        const ANNOTATION: &str = "run.oci.seccomp_fail_unknown_syscall";
        super::features::lists_annotation(bed, ANNOTATION)?;
        let names = ["mkdir", "a_call_of_the_future"];
        let spec = |value: &str| {
            rules(json!([{"names": names, "action": "SCMP_ACT_ERRNO"}]))
                .set("/annotations", json!({ANNOTATION: value}))
        };
        bed.refuses(&spec("1"), &["a_call_of_the_future"])?;
        bed.run(&spec("0").args(&["/probe", "true"]))?.ok().map(drop)
    }),
    test("A190", "all seven operators compare arguments", operators),
    test("A190", "several conditions on different arguments must all hold", |bed| {
        // No process has these numbers, so kill returns ESRCH (3) if the filter lets it through.
        let rule = json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
            "args": [{"index": 0, "value": 999_999, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]}]);
        let answers = bed.tries(
            &rules(rule),
            &[&["kill", "999999", "0"], &["kill", "999998", "0"], &["kill", "999999", "1"]],
        )?;
        answers[0].failed(&[77])?;
        answers[1].failed(&[3])?;
        answers[2].failed(&[3])
    }),
    test("A190", "several conditions on one argument are alternatives", |bed| {
        let rule = json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
            "args": [{"index": 0, "value": 999_999, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 999_998, "op": "SCMP_CMP_EQ"}]}]);
        let answers = bed.tries(
            &rules(rule),
            &[&["kill", "999999", "0"], &["kill", "999998", "0"], &["kill", "999997", "0"]],
        )?;
        answers[0].failed(&[77])?;
        answers[1].failed(&[77])?;
        answers[2].failed(&[3])
    }),
    test("A190", "an unknown operator and an index above 5 are refused", |bed| {
        let with =
            |arg: Value| rules(json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [arg]}]));
        bed.refuses(
            &with(json!({"index": 0, "value": 1, "op": "SCMP_CMP_NONSENSE"})),
            &["SCMP_CMP_NONSENSE", "operator"],
        )?;
        bed.refuses(&with(json!({"index": 6, "value": 1, "op": "SCMP_CMP_EQ"})), &["index", "argument"])
    }),
    test("A190", "values of 64 bits are compared whole", |bed| {
        let rule = json!([{"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
            "args": [{"index": 1, "value": 4_294_967_298_u64, "op": "SCMP_CMP_EQ"}]}]);
        let number = lseek_number();
        let answers = bed.tries(
            &rules(rule),
            &[&["syscall", number, "99", "4294967298", "0"], &["syscall", number, "99", "2", "0"]],
        )?;
        answers[0].failed(&[77])?;
        answers[1].failed(&[9])
    }),
    test(
        "A191",
        "a listener gets one process state, its fds by name, and the end of the connection",
        |bed| listener(bed, Receiver::listen(bed.dir(), "seccomp")?),
    ),
    test("A191", "a listener may be at a path that is longer than the address of a socket", |bed| {
        listener(bed, Receiver::listen_far(bed.dir(), "listen")?)
    }),
    test("A192", "listenerMetadata without listenerPath is refused", |bed| {
        let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x", "syscalls": [{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]});
        bed.refuses(&Spec::new().set("/linux/seccomp", seccomp), &["listenerMetadata", "listenerPath"])
    }),
    test("A193", "SCMP_ACT_NOTIFY without listenerPath is refused", |bed| {
        bed.refuses(
            &rules(json!([{"names": MKDIR, "action": "SCMP_ACT_NOTIFY"}])),
            &["listenerPath", "notify", "listener"],
        )
    }),
    test("A193", "SCMP_ACT_NOTIFY for write is refused: a listener could not be handed over", |bed| {
        let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]});
        let words = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
        bed.refuses(&Spec::new().set("/linux/seccomp", seccomp), &[words])
    }),
    test("A194", "a listener that nobody serves is an error", |bed| {
        let path = bed.dir().join("nobody").to_string_lossy().into_owned();
        let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "syscalls": [{"names": MKDIR, "action": "SCMP_ACT_NOTIFY"}]});
        bed.refuses(&Spec::new().set("/linux/seccomp", seccomp), &[&path, "listener", "seccomp"])
    }),
    test("A195", "a call newer than the profile answers ENOSYS, one that it leaves out the default", |bed| {
        // No kernel has call 700 yet; it is newer than anything allowed here.
        let spec = Spec::new().set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "architectures": [if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" }],
                "syscalls": [{"names": allowed(), "action": "SCMP_ACT_ALLOW"}]
            }),
        );
        let answers = bed.tries(&spec, &[&["syscall", "700"], &["mkdir", "/x"]])?;
        answers[0].failed(&[38])?;
        answers[1].failed(&[1])
    }),
    test("A196", "the filter applies to exec'd processes", |bed| {
        let container =
            bed.waiting(&rules(json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": 77}])))?;
        container.tries(&[&["mkdir", "/x"]])?[0].failed(&[77])
    }),
    test("A237", "a configured filter is in force", |bed| {
        let seen = bed.report(&rules(json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}])))?;
        same("Seccomp", &seen["status"]["Seccomp"], "2")
    }),
    test(
        "A70",
        "a filter works with noNewPrivileges off, and forbids what the runtime needs before it",
        |bed| {
            // The runtime itself changes ids, directories and capabilities; the filter must not stop it.
            let names = [
                "setuid",
                "setgid",
                "setresuid",
                "setresgid",
                "setgroups",
                "capset",
                "chdir",
                "fchdir",
                "openat2",
                "mount",
            ];
            let spec = rules(json!([{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]));
            let spec = spec
                .set("/process/user", json!({"uid": 1000, "gid": 1000}))
                .set("/process/noNewPrivileges", true);
            same("uid", &bed.report(&spec)?["uid"], 1000)
        },
    ),
];

fn rules(list: Value) -> Spec {
    Spec::new().set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list}))
}

fn try_mkdir(bed: &Bed<'_>, list: Value) -> Outcome<crate::bed::Answer> {
    let answers = bed.tries(&rules(list), &[&["mkdir", "/x"]])?;
    Ok(answers[0].clone())
}

/// Calls that runtimes and the probe need after a filter is in force.
fn allowed() -> Value {
    json!([
        "access",
        "arch_prctl",
        "brk",
        "capget",
        "capset",
        "chdir",
        "clock_gettime",
        "clone",
        "clone3",
        "close",
        "close_range",
        "connect",
        "dup",
        "dup2",
        "dup3",
        "epoll_create1",
        "epoll_ctl",
        "epoll_pwait",
        "epoll_wait",
        "execve",
        "execveat",
        "exit",
        "exit_group",
        "faccessat",
        "faccessat2",
        "fchdir",
        "fchown",
        "fcntl",
        "fstat",
        "fstatfs",
        "futex",
        "getcwd",
        "getdents64",
        "getegid",
        "geteuid",
        "getgid",
        "getgroups",
        "getpid",
        "getppid",
        "getrandom",
        "gettid",
        "getuid",
        "ioctl",
        "lseek",
        "lstat",
        "madvise",
        "mmap",
        "mprotect",
        "mremap",
        "munmap",
        "nanosleep",
        "newfstatat",
        "open",
        "openat",
        "openat2",
        "pipe2",
        "poll",
        "ppoll",
        "prctl",
        "pread64",
        "prlimit64",
        "pwrite64",
        "read",
        "readlink",
        "readlinkat",
        "readv",
        "recvmsg",
        "restart_syscall",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sched_getaffinity",
        "sched_yield",
        "seccomp",
        "sendmsg",
        "set_robust_list",
        "set_tid_address",
        "setgid",
        "setgroups",
        "setresgid",
        "setresuid",
        "setuid",
        "sigaltstack",
        "socket",
        "stat",
        "statfs",
        "statx",
        "tgkill",
        "umask",
        "uname",
        "wait4",
        "write",
        "writev"
    ])
}

fn lseek_number() -> &'static str {
    if cfg!(target_arch = "x86_64") { "8" } else { "62" }
}

fn operators(bed: &Bed<'_>) -> Outcome {
    // (operator, value, valueTwo, an argument that matches, one that does not)
    let cases = [
        ("SCMP_CMP_NE", 1_000_005, 0, "1000006", "1000005"),
        ("SCMP_CMP_LT", 1_000_005, 0, "1000004", "1000005"),
        ("SCMP_CMP_LE", 1_000_005, 0, "1000005", "1000006"),
        ("SCMP_CMP_EQ", 1_000_005, 0, "1000005", "1000006"),
        ("SCMP_CMP_GE", 1_000_005, 0, "1000005", "1000004"),
        ("SCMP_CMP_GT", 1_000_005, 0, "1000006", "1000005"),
        ("SCMP_CMP_MASKED_EQ", 0xf0, 0x40, "1000000", "1000016"),
    ];
    for (op, value, value_two, hit, miss) in cases {
        let rule = json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
            "args": [{"index": 0, "value": value, "valueTwo": value_two, "op": op}]}]);
        // No process has these numbers, so kill returns ESRCH if the filter lets it through.
        let answers = bed.tries(&rules(rule), &[&["kill", hit, "0"], &["kill", miss, "0"]])?;
        answers[0].failed(&[77])?;
        answers[1].failed(&[3])?;
    }
    Ok(())
}

fn listener(bed: &Bed<'_>, receiver: Receiver) -> Outcome {
    let path = receiver.path.to_string_lossy().into_owned();
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "the-metadata",
                         "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"}]});
    let spec = Spec::new().set("/linux/seccomp", seccomp).args(&["/probe", "wait"]);
    let container = bed.started(&spec)?;
    let received = receiver.receive()?;
    let state: Value = serde_json::from_slice(&received.bytes)?;
    same("file descriptors", received.fds.len(), 1)?;
    same("names of the descriptors", &state["fds"], &json!(["seccompFd"]))?;
    same("metadata", &state["metadata"], "the-metadata")?;
    same("pid", state["pid"].as_i64(), Some(i64::from(container.pid()?.as_raw_pid())))?;
    same("id", &state["state"]["id"], container.id())?;
    let version = state["ociVersion"].as_str().unwrap_or_default();
    check(version.starts_with("1.") && version.split('.').count() >= 3, || {
        format!("ociVersion {version:?}")
    })?;
    check(received.closed, || "the connection stays open".into())
}
