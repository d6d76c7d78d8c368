//! From a 16-byte message to an error that an operator can act on.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use oci_spec::runtime::Spec;

use crate::child::message::{Detail, Late, Message};
use crate::error::{Error, ErrorKind, errno_text, signal_text};
use crate::program::blame::{Blame, Place};
use crate::program::{Op, Program};

/// The property that makes a process write its own score.
const OOM_SCORE: Place = Place::of("/process/oomScoreAdj");

/// How much of a hook's output goes into the error.
const MOST_OUTPUT: i64 = 4096;

/// Words the failure of an operation.
pub(super) fn describe(program: &Program, message: Message, output: Option<OwnedFd>) -> Error {
    let index = message.a as usize;
    let (Some(op), Some(blame)) = (program.ops.get(index), program.blames.get(index)) else {
        return Error::new(ErrorKind::System, "the container's process failed in an unknown step");
    };
    let (detail, hook) = Detail::decode(message.c);
    let errno = Errno::from_raw(message.b);
    let error = match op {
        Op::FindProgram { named, .. } => program_not_found(program, blame, errno, detail, *named),
        Op::Exec => exec_failed(&blame.operand(program), errno, detail),
        Op::Hooks { .. } => {
            hook_failed(&blame.place.pointer().unwrap_or_default(), message.b, detail, hook, output)
        }
        _ => step_failed(program, op, blame, errno, detail),
    };
    match blame.place.pointer() {
        Some(pointer) => error.at(pointer),
        None => error,
    }
}

/// Words the failure of a process after its start, without the plan of its creation.
pub(crate) fn describe_late(spec: &Spec, message: Message, output: Option<OwnedFd>) -> Error {
    const HOOKS: &str = "/hooks/startContainer";
    let (detail, hook) = Detail::decode(message.c);
    let errno = Errno::from_raw(message.b);
    let process = spec.process().as_ref();
    match Late::decode(message.a) {
        Late::Hooks => hook_failed(HOOKS, message.b, detail, hook, output).at(HOOKS),
        Late::Filter => Error::os(errno, "load the seccomp filter").at("/linux/seccomp"),
        Late::Capabilities => Error::os(errno, "set the capabilities").at("/process/capabilities"),
        Late::Exec => {
            let name = process.and_then(|process| process.args().as_ref()?.first());
            exec_failed(name.map(String::as_str).unwrap_or_default(), errno, detail).at("/process/args")
        }
        Late::NoProcess => exec_failed("", errno, Detail::NoProcess).at("/process"),
        Late::Other => Error::os(errno, "become the container's program"),
    }
}

/// Words a warning.
pub(super) fn warning(program: &Program, message: Message) -> String {
    let error = describe(program, message, None);
    let instead = match program.ops.get(message.a as usize) {
        Some(Op::SessionKeyring { .. }) => {
            "the process has one that no other process of the container can join"
        }
        _ => "the container starts without it",
    };
    format!("{error}; {instead}")
}

/// Words the unexpected end of a process that was being created.
pub(super) fn ended(code_and_status: Option<(i32, i32)>) -> Error {
    let how = match code_and_status {
        Some((libc::CLD_EXITED, code)) => format!("it exited with status {code}"),
        Some((_, signal)) => format!("it was killed by signal {signal}"),
        None => "it stopped talking".to_owned(),
    };
    let sentence = format!("the container's process ended before the container was created: {how}");
    let error = Error::new(ErrorKind::System, sentence);
    match code_and_status {
        Some((code, signal @ (libc::SIGSYS | libc::SIGILL | libc::SIGTRAP))) if code != libc::CLD_EXITED => {
            error.with_hint(ended_by(signal))
        }
        _ => error,
    }
}

/// Words the end of a process between its report that it is complete and its program.
pub(super) fn not_executed(signal: i32) -> Error {
    let how = match signal {
        0 => "it ended".to_owned(),
        signal => format!("it was killed by signal {signal}"),
    };
    Error::new(ErrorKind::System, format!("the container's process did not become its program: {how}"))
        .with_hint(ended_by(signal))
}

/// Why a signal may have ended a process before it became its program.
pub(crate) fn ended_by(signal: i32) -> &'static str {
    match signal {
        libc::SIGSYS => {
            "the seccomp profile ends it for a system call that every process makes on the way to its program: execve, \
             and without noNewPrivileges capset as well"
        }
        // A process ends this way if a filter denies every other.
        libc::SIGILL | libc::SIGTRAP => {
            "the seccomp profile denies a system call that every process makes on the way to its program, such as \
             execve, and those by which it could tell and end (sendmsg, exit_group)"
        }
        libc::SIGKILL => "it was killed before it became its program, or it met the memory limit",
        _ => "it was ended before it became its program",
    }
}

/// runc's wording, which Docker and Podman search to choose between the exit codes 126 and 127.
fn program_not_found(program: &Program, blame: &Blame, errno: Errno, detail: Detail, named: bool) -> Error {
    let name = blame.operand(program);
    let quoted = format!("exec: {name:?}");
    let text = match detail {
        Detail::NotInPath if !named => format!("{quoted}: executable file not found in $PATH"),
        Detail::IsDirectory => format!("{quoted}: is a directory: permission denied"),
        _ if errno == Errno::ENOENT => format!("{quoted}: stat {name}: {}", errno_text(errno)),
        _ => format!("{quoted}: {}", errno_text(errno)),
    };
    let error = Error::new(ErrorKind::Exec, text);
    match errno {
        Errno::EACCES => error.with_hint(
            "the file needs the x permission for the container's user, and every directory above it too",
        ),
        Errno::ELOOP => {
            error.with_hint("a program is not executed through a link of /proc/PID, such as /proc/self/exe")
        }
        _ => error,
    }
}

fn exec_failed(name: &str, errno: Errno, detail: Detail) -> Error {
    if detail == Detail::NoProcess {
        return Error::new(ErrorKind::InvalidSpec, "cannot start a container without a process");
    }
    let error = Error::os(errno, format!("exec {name}")).with_kind(ErrorKind::Exec);
    match detail {
        Detail::NoScriptInterpreter => {
            error.with_hint("the file exists; the interpreter named in its first line (#!) does not")
        }
        Detail::NoElfInterpreter => error.with_hint(
            "the file exists; the dynamic loader that it asks for does not (was it built for another libc?)",
        ),
        Detail::UnknownFormat => {
            error.with_hint("it is neither a program for this architecture nor a script with a #! line")
        }
        Detail::NoExecMount => error.with_hint("its file system is mounted noexec"),
        _ => error,
    }
}

/// `place` is that of the list of hooks in the configuration.
fn hook_failed(place: &str, number: i32, detail: Detail, hook: u16, output: Option<OwnedFd>) -> Error {
    let kind = place.rsplit('/').next().unwrap_or_default();
    let reason = match detail {
        Detail::HookExit => format!("exit status {number}"),
        Detail::HookSignal => signal_text(number),
        Detail::HookTimeout => "hook ran past its timeout and was killed".to_owned(),
        _ => errno_text(Errno::from_raw(number)),
    };
    let output = output.map(last_output).unwrap_or_default();
    Error::new(ErrorKind::Hook, format!("error running {kind} hook #{hook}: {reason}, output: {output}"))
}

fn last_output(fd: OwnedFd) -> String {
    let mut file = File::from(fd);
    // What the process sends may be anything: only of a file is it known that reading does not wait.
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return String::new();
    }
    let mut text = Vec::new();
    let length = file.seek(SeekFrom::End(0)).map_or(0, |length| length as i64);
    let start = (length - MOST_OUTPUT).max(0) as u64;
    if file.seek(SeekFrom::Start(start)).is_ok() {
        file.take(MOST_OUTPUT as u64).read_to_end(&mut text).ok();
    }
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

fn step_failed(program: &Program, op: &Op, blame: &Blame, errno: Errno, detail: Detail) -> Error {
    let sentence = blame.sentence(program);
    match detail {
        Detail::WrongKind if errno == Errno::ELOOP => Error::new(
            ErrorKind::InvalidSpec,
            format!("{sentence}: it must be mounted on ordinary directory, and there is a symbolic link"),
        ),
        Detail::WrongKind => Error::os(errno, sentence)
            .with_hint("the mount point in the image is of another kind than what is mounted on it"),
        Detail::OtherDevice => {
            Error::new(ErrorKind::System, format!("{sentence}: the file that is there is not that device"))
        }
        Detail::WrongFilesystem => {
            Error::new(ErrorKind::System, format!("{sentence}: it is not on the file system that it must be on"))
        }
        Detail::Unreachable => Error::new(
            ErrorKind::InvalidSpec,
            format!("{sentence}: current working directory is outside of container mount namespace root"),
        ),
        Detail::PeerGone => Error::new(ErrorKind::System, format!("{sentence}: the other side went away")),
        Detail::NoProcess => Error::new(ErrorKind::InvalidSpec, "cannot start a container without a process"),
        Detail::TooLarge => Error::os(errno, sentence).with_hint("the directory tree is too deep"),
        Detail::SharedOutside => Error::new(
            ErrorKind::System,
            format!(
                "{sentence}: a mount that would be taken away is still shared with another mount namespace"
            ),
        ),
        Detail::NotRemovable => Error::os(errno, sentence).with_hint(
            "nothing is mounted there, or the mount came with a more privileged namespace and is locked",
        ),
        Detail::LinkOnTheWay => Error::new(
            ErrorKind::InvalidSpec,
            format!("{sentence}: there is a symbolic link in the path; write the path that it leads to"),
        ),
        Detail::NotAdded => Error::new(
            ErrorKind::InvalidSpec,
            format!("{sentence}: no mount was added there, and nothing else is removed"),
        ),
        Detail::Unmounted => Error::new(
            ErrorKind::InvalidSpec,
            format!("{sentence}: the mount that was added there is gone"),
        )
        .with_hint("another removal took it, or a process of the container unmounted it or removed the directory that it was on"),
        Detail::OutOfReach => Error::new(
            ErrorKind::InvalidSpec,
            format!("{sentence}: the mount that was added there is out of reach"),
        )
        .with_hint("a process of the container has mounted something over it, or it is somewhere else now: name that path"),
        _ => hinted(Error::os(errno, sentence), program, op, blame, errno),
    }
}

/// Adds hints to common mistakes whose errno says little.
fn hinted(error: Error, program: &Program, op: &Op, blame: &Blame, errno: Errno) -> Error {
    match (op, errno) {
        (_, Errno::ENODEV) => error.with_hint(format!(
            "this kernel has no file system {:?}, or its module is not loaded",
            blame.operand(program)
        )),
        (Op::FsOption { key, .. }, Errno::EINVAL)
            if matches!(&*program.show(*key), "lowerdir+" | "datadir+") =>
        {
            error.with_hint(
                "the directories of the overlay do not fit into the 4095 bytes of one mount(2), and this kernel does \
                 not take them one by one (Linux 6.8 does)",
            )
        }
        (Op::FsDirectory { .. }, Errno::EINVAL) => error.with_hint(
            "the options do not fit into the 4095 bytes of one mount(2), and this kernel takes no directory of an \
             overlay with a path of more than 255 bytes (Linux 6.13 does)",
        ),
        (Op::CloneHost { recursive: false, .. }, Errno::EINVAL) => error.with_hint(
            "in a user namespace a bind mount must take along what is mounted below its source (rbind): it could \
             uncover what that hides",
        ),
        (Op::Attributes { .. }, Errno::EPERM) => error.with_hint(
            "in a user namespace ro, nosuid, nodev, noexec and the access-time options of a mount of the host cannot \
             be taken away",
        ),
        (Op::MakeMount { .. }, Errno::EPERM) if blame.operand(program) == "proc" => error.with_hint(
            "parts of the /proc that the runtime sees are covered, and a user namespace may then mount no new one: \
             the container around this one must not mask /proc, or this one must share its pid namespace",
        ),
        (Op::NewFs(_) | Op::MakeMount { .. }, Errno::EPERM) => error.with_hint(
            "a user namespace may mount it only for namespaces (ipc, network, cgroup) that it owns; bind the host's \
             instead",
        ),
        (Op::Groups { .. }, Errno::EPERM) => {
            error.with_hint("the user namespace denies setgroups(2), as its groups were mapped without privileges")
        }
        (Op::SpareKeyring | Op::SessionKeyring { .. }, Errno::EDQUOT) => error.with_hint(
            "its user has as many keys as /proc/sys/kernel/keys/maxkeys allows, counting every container with the same \
             mapping; raise that, or start the container without a session keyring of its own (--no-new-keyring)",
        ),
        (Op::Rlimit { .. }, Errno::EPERM) => error.with_hint("to raise a hard limit takes CAP_SYS_RESOURCE"),
        // sched_setattr(2); the last words are runc's.
        (Op::Scheduler(_), Errno::EPERM) => error.with_hint(
            "it takes CAP_SYS_NICE in the initial user namespace, and SCHED_DEADLINE takes every CPU of the system: with \
             /linux/resources/cpu/cpus, process scheduler can't be used together with AllowedCPUs",
        ),
        (Op::IoPriority(_), Errno::EPERM) => error.with_hint("it takes CAP_SYS_NICE in the initial user namespace"),
        (Op::WriteHost { .. }, Errno::EACCES) if blame.place == OOM_SCORE => {
            error.with_hint("lowering the OOM score takes CAP_SYS_RESOURCE")
        }
        (Op::Enter { .. }, Errno::EPERM) => error.with_hint(
            "the namespace belongs to a user namespace in which the caller has no rights; the user namespace that owns \
             it must be joined too",
        ),
        _ => error,
    }
}
