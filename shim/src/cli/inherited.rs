//! The caller's descriptors that are passed into a container: `$LISTEN_FDS` (`sd_listen_fds(3)`) and `--preserve-fds`.

use std::fs;
use std::os::fd::{IntoRawFd as _, RawFd};
use std::os::unix::net::UnixDatagram;

use crate::cli::call::Call;
use crate::failure::{Failure, texts};

/// Descriptors from 3 up that belong to the container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// How many numbers there are, from 3 to the last.
    pub(crate) count: u32,
    /// Those among them that are not open.
    pub(crate) absent: Vec<RawFd>,
    /// Variables that tell init about them.
    pub(crate) variables: Vec<String>,
}

/// Counts the descriptors and finds out which are open. Some of those for `--preserve-fds` may be missing: callers name
/// the last one that they have. A socket that `$LISTEN_FDS` counts is open.
///
/// Call this before the program opens any file: a free number would go to one of its own files, which would then be
/// taken for the caller's and end up in the container. So the free numbers are filled.
pub(crate) fn claim(call: &Call) -> Result<Inherited, Failure> {
    if call.options.knows("status-fd")
        && let Some(fd) = call.options.number::<u32>("status-fd")?
        && fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_err()
    {
        return Err(Failure::new(format!("invalid --status-fd argument {fd}: it is not open")));
    }
    if !call.options.knows("preserve-fds") {
        return Ok(Inherited::default());
    }
    let preserved = call.options.number("preserve-fds")?.unwrap_or(0);
    // The sockets are meant for the service, not for a process that joins it.
    let listening = if call.verb == "exec" { Listening::default() } else { listening(std::process::id())? };
    let sockets = listening.count;
    let mut inherited = add_up(listening, preserved)?;
    let is_open = |fd: &u32| fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
    if let Some(fd) = (3..3 + sockets).find(|fd| !is_open(fd)) {
        return Err(Failure::new(texts::preserved_fd_missing(fd, inherited.count)));
    }
    let open: Vec<u32> = (3..3 + inherited.count).filter(is_open).collect();
    let end = open.last().map_or(3, |last| last + 1);
    inherited.count = end - 3;
    inherited.absent = (3..end).filter(|fd| open.binary_search(fd).is_err()).map(|fd| fd as RawFd).collect();
    fill(&inherited.absent)?;
    Ok(inherited)
}

/// Takes these numbers, the lowest free ones, for as long as the program runs.
fn fill(numbers: &[RawFd]) -> Result<(), Failure> {
    for number in numbers {
        let filler = UnixDatagram::unbound()
            .map_err(|error| Failure::new(format!("fill descriptor {number}: {error}")))?;
        if filler.into_raw_fd() != *number {
            return Err(Failure::new(format!("descriptor {number} cannot be filled")));
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Listening {
    count: u32,
    names: Option<String>,
}

/// The variables count only if they are meant for this very process, not for an ancestor.
fn listening(own_pid: u32) -> Result<Listening, Failure> {
    let variable = |name: &str| std::env::var_os(name);
    if variable("LISTEN_PID").and_then(|pid| pid.to_str()?.parse().ok()) != Some(own_pid) {
        return Ok(Listening::default());
    }
    let Some(count) = variable("LISTEN_FDS") else { return Ok(Listening::default()) };
    let count = count
        .to_str()
        .and_then(|count| count.parse().ok())
        .ok_or_else(|| Failure::new(format!("invalid number in $LISTEN_FDS: {}", count.display())))?;
    Ok(Listening { count, names: variable("LISTEN_FDNAMES").and_then(|names| names.into_string().ok()) })
}

fn add_up(listening: Listening, preserved: u32) -> Result<Inherited, Failure> {
    let count = listening
        .count
        .checked_add(preserved)
        .filter(|count| *count <= 1 << 20)
        .ok_or_else(|| Failure::new("cannot preserve more file descriptors than a process can have"))?;
    let mut variables = Vec::new();
    if listening.count > 0 {
        variables.extend([format!("LISTEN_FDS={}", listening.count), "LISTEN_PID=1".to_owned()]);
        variables.extend(listening.names.map(|names| format!("LISTEN_FDNAMES={names}")));
    }
    Ok(Inherited { count, absent: Vec::new(), variables })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_come_first_and_init_learns_of_them() {
        let listening = Listening { count: 2, names: Some("a:b".to_owned()) };
        let inherited = add_up(listening, 3).unwrap();
        assert_eq!(inherited.count, 5);
        assert_eq!(inherited.variables, ["LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_FDNAMES=a:b"]);
        let one = Inherited { count: 1, ..Inherited::default() };
        assert_eq!(add_up(Listening::default(), 1).unwrap(), one);
        assert!(add_up(Listening { count: u32::MAX, names: None }, 1).is_err());
    }

    #[test]
    fn sockets_of_another_process_are_left_alone() {
        // The test runner was not started by socket activation.
        assert_eq!(listening(std::process::id()).unwrap().count, 0);
    }
}
