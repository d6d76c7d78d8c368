//! What the parent sets for a child that may not do it itself.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::child::streams::give;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::process::{self, SchedAttr};

/// Writes the offsets of a child that unshared the time namespace.
pub(crate) fn write_time_offsets(pid: i32, text: &str) -> Result<()> {
    write_proc(pid, "timens_offsets", text)
}

/// Sets the score that the kernel's out-of-memory killer adds for the child.
pub(crate) fn set_oom_score(pid: i32, score: i32) -> Result<()> {
    write_proc(pid, "oom_score_adj", &score.to_string()).map_err(|error| {
        let error = error.at("/process/oomScoreAdj");
        match error.kind() {
            ErrorKind::Permission => error.with_hint("lowering the score needs CAP_SYS_RESOURCE"),
            _ => error,
        }
    })
}

/// Gives the streams of a child to a user of its user namespace.
pub(crate) fn own_streams(pid: i32, streams: [RawFd; 3], uid: u32) -> Result<()> {
    let map = format!("/proc/{pid}/uid_map");
    let text = fs::read_to_string(&map).map_err(|error| Error::io(&error, format!("read {map}")))?;
    // Refused earlier, if it is not mapped.
    let Some(uid) = outside(&text, uid) else { return Ok(()) };
    streams
        .into_iter()
        .try_for_each(|stream| give(stream, uid))
        .map_err(|errno| Error::os(errno, format!("give the standard streams to user {uid}")))
}

/// The outside value of an id, by a map as the kernel shows it.
fn outside(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, outside, size) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let offset = id.checked_sub(inside).filter(|offset| *offset < size)?;
        outside.checked_add(offset)
    })
}

pub(super) fn write_proc(pid: i32, name: &str, text: &str) -> Result<()> {
    let file = format!("/proc/{pid}/{name}");
    // One write: the kernel takes a map only as a whole.
    File::options()
        .write(true)
        .open(&file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .map_err(|error| Error::io(&error, format!("write {:?} to {file}", text.trim_end())))
}

/// Sets resource limits of the child from outside its user namespace.
pub(crate) fn set_rlimits(pid: i32, limits: &[(u32, u64, u64)]) -> Result<()> {
    for (index, (resource, soft, hard)) in limits.iter().enumerate() {
        process::set_rlimit(pid, *resource, *soft, *hard).map_err(|errno| {
            let error = Error::os(errno, format!("set resource limit {resource} to {soft}:{hard}"))
                .at(format!("/process/rlimits/{index}"));
            match errno {
                Errno::EPERM => error.with_hint("to raise a hard limit takes CAP_SYS_RESOURCE"),
                _ => error,
            }
        })?;
    }
    Ok(())
}

/// Sets the scheduler of the child from outside its user namespace.
pub(crate) fn set_scheduler(pid: i32, attr: &SchedAttr) -> Result<()> {
    process::set_scheduler(pid, attr).map_err(|errno| Error::os(errno, "set the scheduler"))
}

/// Sets the I/O priority of the child, which leads its process group, from outside its user namespace.
pub(crate) fn set_io_priority(pid: i32, value: i32) -> Result<()> {
    process::set_io_priority(pid, value).map_err(|errno| Error::os(errno, "set the I/O priority"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_the_map_of_the_kernel() {
        let map = "         0     100000       1000\n      1000       5000          1\n";
        assert_eq!(outside(map, 0), Some(100_000));
        assert_eq!(outside(map, 999), Some(100_999));
        assert_eq!(outside(map, 1000), Some(5000));
        assert_eq!(outside(map, 1001), None);
        assert_eq!(outside("0 4294967295 2", 1), None);
        assert_eq!(outside("", 0), None);
    }
}
