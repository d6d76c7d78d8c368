//! What /proc/PID/stat says about a process' activity (`proc_pid_stat(5)`), in words.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;

use crate::sys::{pidfd, proc_file, socket};

/// `PF_FORKNOEXEC`: the process has not called execve(2) since it was made (linux/sched.h).
const NEVER_EXECUTED: u32 = 0x40;
/// `PF_EXITING`: it is exiting.
const EXITING: u32 = 0x4;

/// State and flags of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// The letter of field 3.
    state: char,
    /// The kernel's flags, field 9.
    flags: u32,
    /// How it ended, as for `waitpid(2)`: field 52, for readers with the right to it.
    end: Option<i32>,
}

/// What is known about a process whose close-on-exec descriptors are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Executed {
    /// It has become its program, and may have ended since.
    Yes,
    /// It lives, and has not so far.
    NotYet,
    /// It ended, or is about to, before it became its program.
    Never,
    /// It has ended, and its parent has taken its status: the kernel has forgotten.
    Forgotten,
}

/// Whether a process' execve(2) has succeeded. End of file on a close-on-exec descriptor does not prove it: the end of
/// the process closes the descriptor as well.
///
/// The kernel notes the first execve(2) in the flags of the process, before it closes the descriptors, and they can be
/// read until the parent takes the status.
pub(crate) fn has_executed(pid: i32, pidfd: BorrowedFd<'_>) -> Executed {
    let stat = read(pid);
    // Only now is it certain that the pid still belonged to this process: it does until the status is taken.
    let Some(stat) = stat else { return Executed::Forgotten };
    if pidfd::send_signal(pidfd, 0) == Err(Errno::ESRCH) {
        Executed::Forgotten
    } else if stat.flags & NEVER_EXECUTED == 0 {
        Executed::Yes
    } else if stat.flags & EXITING == 0 {
        Executed::NotYet
    } else {
        Executed::Never
    }
}

/// Whether a process whose close-on-exec descriptors are closed has become its program; if not, the signal that ended
/// it (0 if there was none, or it cannot be known).
pub(crate) fn became_program(pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), i32> {
    match has_executed(pid, pidfd) {
        Executed::Yes => Ok(()),
        Executed::NotYet | Executed::Never => {
            // Its end is reported a moment after its descriptors are closed.
            let _ = socket::wait_readable([pidfd.as_raw_fd()], 1000);
            // Its parent may take the status, and the number with it, before it is read.
            let told = read(pid).and_then(|stat| stat.end).map(|code| code & 0x7f);
            Err(told.or_else(|| pidfd::exit_signal(pidfd)).unwrap_or(0))
        }
        // A quick program with a quicker parent: these signals would have ended it before.
        Executed::Forgotten => match pidfd::exit_signal(pidfd) {
            Some(signal @ (libc::SIGKILL | libc::SIGSYS)) => Err(signal),
            _ => Ok(()),
        },
    }
}

/// Why a process makes no progress, as far as can be seen from outside.
pub(crate) fn doing(pid: i32) -> String {
    let Some(stat) = read(pid) else { return "it cannot be looked at".to_owned() };
    let place = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    let frozen = place.contains("freez") || place.contains("refrigerator");
    match stat.state {
        'T' => "it is stopped by a signal".to_owned(),
        't' => "it is stopped by a tracer".to_owned(),
        'Z' | 'X' => "it has ended".to_owned(),
        _ if frozen => "it is frozen with its cgroup".to_owned(),
        _ => match child(pid) {
            Some(child) => format!("it waits for its child {child} ({:?})", name(child)),
            None if stat.state == 'D' => format!("it hangs in the kernel ({place})"),
            None if stat.state == 'R' => "it is busy".to_owned(),
            None => "it sleeps".to_owned(),
        },
    }
}

/// The name of a process, for a message.
pub(crate) fn name(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned())
}

fn child(pid: i32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}

fn read(pid: i32) -> Option<ProcessStat> {
    parse(proc_file::stat(pid, &mut [0; 1536]).ok()?)
}

/// Fields are counted from the end of the command name, which can contain anything.
pub(super) fn parse(text: &[u8]) -> Option<ProcessStat> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let flags = fields.nth(5)?.parse().ok()?;
    // Fields 10 to 51 are between.
    let end = fields.nth(42).and_then(|field| field.parse().ok());
    Some(ProcessStat { state, flags, end })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let text = b"7 (a) R 1 (\xff) S 1 7 7 0 -1 4194368 114 0\n";
        assert_eq!(parse(text), Some(ProcessStat { state: 'S', flags: 4_194_368, end: None }));
        assert_eq!(parse(b"7 (a"), None);
        assert_eq!(parse(b"7 (a) S 1"), None);
        let own = read(std::process::id() as i32).expect("procfs");
        assert!(matches!(own.state, 'R' | 'S'), "{own:?}");
    }

    #[test]
    fn a_process_that_has_executed_is_known_until_its_status_is_taken() {
        let mut child = Command::new("true").spawn().expect("true");
        let pid = child.id() as i32;
        let pidfd = pidfd::open(pid).expect("a child of ours");
        assert_eq!(has_executed(pid, pidfd.as_fd()), Executed::Yes);
        socket::wait_readable([pidfd.as_raw_fd()], -1).expect("its end");
        assert_eq!(has_executed(pid, pidfd.as_fd()), Executed::Yes, "a zombie");
        assert_eq!(doing(pid), "it has ended");
        child.wait().expect("wait");
        assert_eq!(has_executed(pid, pidfd.as_fd()), Executed::Forgotten);
    }

    #[test]
    fn a_process_that_has_not_executed_is_known_too() {
        let (pid, pidfd) = match crate::child::birth::hold_user_namespace(None) {
            Ok(made) => made,
            Err(errno) => return println!("skipped: no user namespaces: {errno}"),
        };
        assert_eq!(has_executed(pid, pidfd.as_fd()), Executed::NotYet);
        pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL).expect("kill");
        socket::wait_readable([pidfd.as_raw_fd()], -1).expect("its end");
        assert_eq!(has_executed(pid, pidfd.as_fd()), Executed::Never, "a zombie");
        assert_eq!(became_program(pid, pidfd.as_fd()), Err(libc::SIGKILL));
        pidfd::wait(pidfd.as_raw_fd(), 0).expect("wait");
    }

    #[test]
    fn what_a_process_does_is_put_into_words() {
        let mut child = Command::new("sleep").arg("100").spawn().expect("sleep");
        let pid = child.id() as i32;
        let pidfd = pidfd::open(pid).expect("a child of ours");
        pidfd::send_signal(pidfd.as_fd(), libc::SIGSTOP).expect("stop");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while read(pid).is_none_or(|stat| stat.state != 'T') && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(doing(pid), "it is stopped by a signal");
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert_eq!(doing(pid), "it cannot be looked at");
    }
}
