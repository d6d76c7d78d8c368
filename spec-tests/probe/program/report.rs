//! Everything that a process can see of itself, as one JSON object.
//!
//! What /proc would tell is null when the container has no /proc.

use crate::json::{list, maybe, object, text, texts};
use crate::sys;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Names of the limits by their number on every architecture but MIPS, SPARC and Alpha.
const LIMITS: [&str; 16] = [
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE",
    "NICE", "RTPRIO", "RTTIME",
];

/// The report of the calling process, which was started with `args`.
pub fn everything(args: &[String]) -> String {
    let (uid, euid, gid, egid) = sys::ids();
    let pairs = |(key, value): (&str, String)| (key.to_owned(), value);
    object(
        [
            ("pid", std::process::id().to_string()),
            ("ppid", std::os::unix::process::parent_id().to_string()),
            ("pgrp", sys::group().to_string()),
            ("sid", sys::session().to_string()),
            ("args", texts(args.iter().map(String::as_str))),
            ("env", environment()),
            ("cwd", maybe(std::env::current_dir().ok().map(|dir| dir.display().to_string()))),
            ("uid", uid.to_string()),
            ("euid", euid.to_string()),
            ("gid", gid.to_string()),
            ("egid", egid.to_string()),
            ("groups", list(sys::groups().iter().map(ToString::to_string))),
            ("umask", text(&format!("{:04o}", sys::file_mask()))),
            ("hostname", maybe(sys::host_name())),
            ("domainname", maybe(sys::domain_name())),
            ("status", status()),
            ("rlimits", limits()),
            ("mounts", mounts()),
            ("fds", fds()),
            ("streams", list((0..3).map(|fd| told(fs::metadata(format!("/proc/self/fd/{fd}")), None)))),
            ("namespaces", namespaces()),
            ("oom_score_adj", file_number("/proc/self/oom_score_adj")),
            ("scheduler", scheduler()),
            ("ioprio", sys::raw(sys::number::IOPRIO_GET, [1, 0, 0, 0, 0, 0]).map_or("null".into(), |v| v.to_string())),
            ("mempolicy", memory_policy()),
            ("keyring", sys::session_keyring().map_or("null".into(), |(id, name)| object([
                ("id".into(), id.to_string()),
                ("name".into(), text(name.rsplit(';').next().unwrap_or(""))),
            ]))),
            ("personality", sys::persona().to_string()),
            ("securebits", control(27)),
            ("timerslack", control(30)),
            ("cgroup", lines("/proc/self/cgroup")),
            ("uid_map", lines("/proc/self/uid_map")),
            ("gid_map", lines("/proc/self/gid_map")),
            ("terminals", list((0..3).map(|fd| {
                sys::window(fd).map_or("null".into(), |(rows, columns)| format!("[{rows},{columns}]"))
            }))),
            ("monotonic", sys::clock(1).to_string()),
            ("boottime", sys::clock(7).to_string()),
            ("uptime", maybe(fs::read_to_string("/proc/uptime").ok())),
            ("dev", directory("/dev")),
            ("root", directory("/")),
        ]
        .map(pairs),
    )
}

/// What `lstat` tells of a path, or null.
pub fn node(path: &Path) -> String {
    told(fs::symlink_metadata(path), Some(path))
}

/// What a call of the `stat` family told, and where a link leads, or null.
fn told(meta: std::io::Result<fs::Metadata>, path: Option<&Path>) -> String {
    let Ok(meta) = meta else { return "null".into() };
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_symlink() => "link",
        () if kind.is_dir() => "dir",
        () if kind.is_file() => "file",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "unknown",
    };
    let device = meta.rdev();
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    let minor = (device & 0xff) | ((device >> 12) & !0xff);
    object([
        ("type".into(), text(kind)),
        ("mode".into(), text(&format!("{:04o}", meta.mode() & 0o7777))),
        ("uid".into(), meta.uid().to_string()),
        ("gid".into(), meta.gid().to_string()),
        ("size".into(), meta.size().to_string()),
        ("ino".into(), meta.ino().to_string()),
        ("fs".into(), meta.dev().to_string()),
        ("rdev".into(), text(&format!("{major}:{minor}"))),
        ("target".into(), maybe(path.and_then(|path| fs::read_link(path).ok()).map(|to| to.display().to_string()))),
    ])
}

/// The entries of a directory, each with its [`node`].
pub fn directory(path: &str) -> String {
    let Ok(entries) = fs::read_dir(path) else { return "null".into() };
    let mut entries: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    object(entries.iter().map(|path| {
        (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), node(path))
    }))
}

/// The environment as the kernel handed it over, in order and with repetitions, or as the C library has it.
pub fn environment() -> String {
    match fs::read("/proc/self/environ") {
        Ok(bytes) => list(
            bytes.split(|b| *b == 0).filter(|item| !item.is_empty()).map(|item| text(&String::from_utf8_lossy(item))),
        ),
        Err(_) => list(std::env::vars_os().map(|(key, value)| {
            text(&format!("{}={}", key.to_string_lossy(), value.to_string_lossy()))
        })),
    }
}

/// The links of /proc/self/ns.
pub fn namespaces() -> String {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    object(kinds.map(|kind| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok().map(|to| to.display().to_string());
        (kind.to_owned(), maybe(link))
    }))
}

/// Open file descriptors and what they point at; the one that reads the list is left out.
pub fn fds() -> String {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return "null".into() };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    object(names.iter().filter_map(|name| {
        let target = fs::read_link(Path::new("/proc/self/fd").join(name)).ok()?;
        Some((name.to_string_lossy().into_owned(), text(&target.display().to_string())))
    }))
}

/// Entries of /proc/self/mountinfo.
pub fn mounts() -> String {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return "null".into() };
    list(table.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        Some(object([
            ("id".into(), left.first()?.to_string()),
            ("parent".into(), left.get(1)?.to_string()),
            ("root".into(), text(left.get(3)?)),
            ("destination".into(), text(left.get(4)?)),
            ("options".into(), texts(left.get(5)?.split(','))),
            ("propagation".into(), texts(left.iter().skip(6).copied())),
            ("type".into(), text(right.first()?)),
            ("source".into(), text(right.get(1)?)),
            ("super".into(), texts(right.get(2)?.split(','))),
        ]))
    }))
}

/// What /proc tells of the process, line by line.
pub fn status() -> String {
    let Ok(table) = fs::read_to_string("/proc/self/status") else { return "null".into() };
    object(table.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        Some((key.to_owned(), text(value.trim())))
    }))
}

fn limits() -> String {
    object(LIMITS.iter().enumerate().map(|(number, name)| {
        let pair = sys::limit(i32::try_from(number).unwrap_or(0));
        // Numbers as text: 2^64-1 (no limit) does not survive readers that use doubles.
        let value = pair.map_or("null".into(), |(soft, hard)| format!("[\"{soft}\",\"{hard}\"]"));
        (format!("RLIMIT_{name}"), value)
    }))
}

fn scheduler() -> String {
    sys::scheduler().map_or("null".into(), |a| {
        let long = |i: usize| u64::from(a[i]) | (u64::from(a[i + 1]) << 32);
        object([
            ("policy".into(), a[1].to_string()),
            ("flags".into(), long(2).to_string()),
            ("nice".into(), a[4].cast_signed().to_string()),
            ("priority".into(), a[5].to_string()),
            ("runtime".into(), long(6).to_string()),
            ("deadline".into(), long(8).to_string()),
            ("period".into(), long(10).to_string()),
        ])
    })
}

/// What prctl(2) answers by its value.
fn control(question: i64) -> String {
    sys::raw(sys::number::PRCTL, [question, 0, 0, 0, 0, 0]).map_or("null".into(), |value| value.to_string())
}

fn memory_policy() -> String {
    sys::memory_policy().map_or("null".into(), |(mode, nodes)| {
        object([("mode".into(), mode.to_string()), ("nodes".into(), nodes.to_string())])
    })
}

fn lines(path: &str) -> String {
    fs::read_to_string(path).map_or("null".into(), |table| texts(table.lines()))
}

fn file_number(path: &str) -> String {
    fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<i64>().ok()).map_or("null".into(), |n| n.to_string())
}
