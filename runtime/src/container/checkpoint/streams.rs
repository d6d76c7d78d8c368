//! The standard streams of a container, described so that a restore can replace them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;

use super::external::mount_id;
use crate::criu::message::InheritFd;
use crate::error::Result;
use crate::linux::mountinfo;

/// The standard streams of a container as criu knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    /// One name for each stream: that of a pipe whose other end is outside, that of a host file, or otherwise just what
    /// the kernel calls it.
    pub(crate) names: Vec<String>,
    /// The host files among them, for criu's option `external`.
    pub(crate) external: Vec<String>,
}

/// How a pipe is held inside of the container.
#[derive(Default)]
struct Ends {
    read: bool,
    written: bool,
}

/// One open descriptor of a process.
struct Open {
    number: usize,
    name: String,
    /// Only if the file is on a mount that the process does not see.
    foreign: Option<String>,
}

/// Looks at the descriptors of all processes; the first is init.
pub(crate) fn of_processes(pids: &[i32]) -> Streams {
    let mut pipes = BTreeMap::<String, Ends>::new();
    let mut all = Vec::new();
    for &pid in pids {
        // A process that has ended in the meantime has no streams.
        all.extend(descriptors(pid, &mut pipes).unwrap_or_default());
    }
    let has_end_outside = |name: &str| pipes.get(name).is_some_and(|ends| ends.read != ends.written);
    let mut streams = Streams::default();
    let mut external = BTreeSet::new();
    for number in 0..3 {
        let of_number = || all.iter().filter(|open| open.number == number);
        let outside = of_number().find(|open| open.foreign.is_some() || has_end_outside(&open.name));
        let name = match outside.or_else(|| of_number().next()) {
            Some(Open { foreign: Some(file), .. }) => {
                external.insert(file.clone());
                file.clone()
            }
            Some(open) => open.name.clone(),
            None => String::new(),
        };
        streams.names.push(name);
    }
    streams.external.extend(external);
    streams
}

fn descriptors(pid: i32, pipes: &mut BTreeMap<String, Ends>) -> Result<Vec<Open>> {
    let table = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let seen: BTreeSet<u64> = mountinfo::parse(&table).iter().map(|mount| mount.id).collect();
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<usize>().ok()) else {
            continue;
        };
        let Ok(name) = fs::read_link(entry.path()) else { continue };
        let name = name.to_string_lossy().into_owned();
        let fdinfo = format!("/proc/{pid}/fdinfo/{number}");
        if name.starts_with("pipe:") {
            let ends = pipes.entry(name.clone()).or_default();
            let mode = fs::read_to_string(&fdinfo).ok().and_then(|text| access_mode(&text));
            ends.read |= mode.is_some_and(|mode| mode != libc::O_WRONLY);
            ends.written |= mode.is_some_and(|mode| mode != libc::O_RDONLY);
        }
        let foreign = (name.starts_with('/') && number < 3)
            .then(|| foreign_file(&seen, &fdinfo, &entry.path()))
            .transpose()?
            .flatten();
        all.push(Open { number, name, foreign });
    }
    all.sort_by_key(|open| open.number);
    Ok(all)
}

fn access_mode(fdinfo: &str) -> Option<i32> {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(flags.trim(), 8).ok().map(|flags| flags & libc::O_ACCMODE)
}

/// criu's name for a file on a mount that is not the container's; none for terminals, which criu treats separately.
fn foreign_file(seen: &BTreeSet<u64>, fdinfo: &str, link: &std::path::Path) -> Result<Option<String>> {
    let Some(mount) = mount_id(fdinfo)?.filter(|id| !seen.contains(id)) else { return Ok(None) };
    let Ok(metadata) = fs::metadata(link) else { return Ok(None) };
    let is_terminal = metadata.mode() & libc::S_IFMT == libc::S_IFCHR
        && matches!(libc::major(metadata.rdev()), 4 | 5 | 136..=143);
    Ok((!is_terminal).then(|| format!("file[{mount:x}:{:x}]", metadata.ino())))
}

/// Which descriptors of the restore replace which streams.
///
/// Of the names, which come from the images, only those of pipes and host files count: any other name could be that of
/// a file inside the container.
pub(crate) fn inherited<'f>(
    names: &[String],
    streams: &'f [std::os::fd::OwnedFd; 3],
    kept: &mut Vec<BorrowedFd<'f>>,
) -> Vec<InheritFd> {
    let mut all = Vec::<InheritFd>::new();
    for (name, stream) in names.iter().zip(streams) {
        let known = ["pipe:[", "file["].iter().any(|kind| name.starts_with(kind)) && name.ends_with(']');
        if known && all.iter().all(|other| other.key != *name) {
            kept.push(stream.as_fd());
            all.push(InheritFd { key: name.clone(), fd: std::os::fd::AsRawFd::as_raw_fd(stream) });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_pipe_that_leads_out_is_told_from_one_inside() {
        // The inner `cat` reads from a pipe with both ends in these processes.
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "(read x; echo $x) | (echo ready >&2; cat)"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut ready = String::new();
        let mut error = std::io::BufReader::new(shell.stderr.take().expect("a pipe"));
        std::io::BufRead::read_line(&mut error, &mut ready).expect("output");
        let pid = shell.id() as i32;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let pids: Vec<i32> = std::iter::once(pid)
            .chain(children.split_whitespace().map(|pid| pid.parse().expect("a pid")))
            .collect();
        let name =
            |fd: i32| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap().to_string_lossy().into_owned();
        let input = name(shell.stdin.as_ref().expect("a pipe").as_raw_fd());
        let output = name(shell.stdout.as_ref().expect("a pipe").as_raw_fd());
        let found = of_processes(&pids);
        assert_eq!(found.names[..2], [input, output]);
        assert!(found.external.is_empty());
        drop(shell.stdin.take());
        shell.wait().expect("the end");
    }

    #[test]
    fn only_names_that_cannot_be_paths_are_replaced() {
        let open = || OwnedFd::from(fs::File::open("/dev/null").expect("the null device"));
        let streams = [open(), open(), open()];
        let mut kept = Vec::new();
        let names = ["/etc/shadow", "pipe:[7]", "pipe:[7]"].map(str::to_owned);
        let all = inherited(&names, &streams, &mut kept);
        assert_eq!(all, [InheritFd { key: "pipe:[7]".into(), fd: streams[1].as_raw_fd() }]);
        assert_eq!(kept.len(), 1);
    }

    #[test]
    fn the_access_mode_is_octal() {
        assert_eq!(access_mode("pos:\t0\nflags:\t0100001\nmnt_id:\t9\n"), Some(libc::O_WRONLY));
        assert_eq!(access_mode("pos:\t0\n"), None);
    }
}
