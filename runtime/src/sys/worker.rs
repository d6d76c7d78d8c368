//! For programs with one thread: heavy work in short-lived copies of the program, and care for the processes that the
//! copies leave.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;

use super::{check, clone, path, process};
use crate::error::{Error, ErrorKind, Result};

/// Runs `work` in a copy of this process, which ends with the code that `work` returns. Returns the pid of the copy.
///
/// The copy has the default action for every signal and blocks none, so that whatever it executes starts as it should.
/// Of the descriptors from 3 up, it has only those in `keep`. The kernel kills it when its parent ends, so that no
/// half-finished work continues once another program has taken over. Whatever it allocates, leaks or changes in
/// itself goes away with it. Standard input, output and error stay.
///
/// `work` must not own a descriptor from 3 up that is not in `keep`. It is dropped in the parent without being called.
///
/// # Errors
///
/// `ErrorKind::WrongState` if this process has a second thread, since a lock that it holds would stay locked in the copy for
/// ever (`fork(2)`, pthreads(7)). Otherwise the failure of the system call.
pub fn fork(keep: &[RawFd], work: impl FnOnce() -> i32) -> Result<i32> {
    if threads()? != 1 {
        return Err(Error::new(ErrorKind::WrongState, "a process with several threads cannot be copied"));
    }
    let parent = process::pid();
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    let failed = |errno| Error::os(errno, "make a worker process");
    let mask = clone::set_signal_mask(clone::ALL_SIGNALS).map_err(failed)?;
    // SAFETY: this process has one thread, so in the child no lock of the C library or the allocator is held by anyone else.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // A panic must not unwind into the callers of this function: they belong to the parent.
        let end = EndProcess;
        let code = enter(parent, &keep).map_or(1, |()| work());
        std::mem::forget(end);
        clone::exit_now(code);
    }
    clone::set_signal_mask(mask).map_err(failed)?;
    Errno::result(pid).map_err(failed)
}

struct EndProcess;

impl Drop for EndProcess {
    fn drop(&mut self) {
        clone::exit_now(101);
    }
}

fn enter(parent: i32, keep: &[RawFd]) -> super::Result<()> {
    process::kill_with_parent()?;
    // It may have ended before the call.
    // SAFETY: no arguments.
    if unsafe { libc::getppid() } != parent {
        return Err(Errno::ESRCH);
    }
    clone::default_signals()?;
    clone::set_signal_mask(0)?;
    let mut from = 3;
    for fd in keep.iter().map(|fd| *fd as u32) {
        if fd > from {
            path::close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    path::close_range(from, u32::MAX)
}

/// `proc(5)`: /proc/PID/task has one link for each thread, and two like every directory.
fn threads() -> Result<u64> {
    let task = std::fs::metadata("/proc/self/task")
        .map_err(|error| Error::io(&error, "look for threads in /proc/self/task"))?;
    Ok(task.nlink().saturating_sub(2))
}

/// Sends a signal, including real-time ones, to a child that has not been waited for: until then, no other process can
/// have its pid.
///
/// # Errors
///
/// `ErrorKind::NotFound` if there is no such process, `ErrorKind::InvalidSpec` for a number that is not a valid pid or signal,
/// otherwise the failure of `kill(2)`.
pub fn signal_child(pid: i32, signal: i32) -> Result<()> {
    let what = || format!("send signal {signal} to process {pid}");
    if pid <= 0 || !(0..=64).contains(&signal) {
        return Err(Error::os(Errno::EINVAL, what()).with_kind(ErrorKind::InvalidSpec));
    }
    // SAFETY: no pointers.
    match check(unsafe { libc::syscall(libc::SYS_kill, pid, signal) }) {
        Ok(_) => Ok(()),
        Err(Errno::ESRCH) => Err(Error::os(Errno::ESRCH, what()).with_kind(ErrorKind::NotFound)),
        Err(errno) => Err(Error::os(errno, what())),
    }
}

/// Resets SIGCHLD to its default action, for a program to call when it starts.
///
/// A program inherits an ignored SIGCHLD; the kernel then discards the exit statuses of its children, and the program
/// cannot wait for a hook or a container (`sigaction(2)`, `SA_NOCLDWAIT`).
pub fn keep_exit_statuses() {
    // The kernel refuses this for no signal but SIGKILL and SIGSTOP.
    let _done = clone::default_signal(libc::SIGCHLD);
}

/// Lets a command inherit these descriptors as 3, 4 and so on, and no others but its standard streams. The command
/// starts with the default action for every signal and none blocked, whatever the caller does with them.
///
/// # Panics
///
/// If there are more than 16.
pub fn pass_descriptors(command: &mut Command, descriptors: Vec<OwnedFd>) {
    assert!(descriptors.len() <= 16, "at most 16 descriptors can be passed");
    let count = descriptors.len() as RawFd;
    // SAFETY: the closure runs between fork and exec and makes system calls on memory that exists.
    unsafe {
        command.pre_exec(move || {
            clone::default_signals()?;
            clone::set_signal_mask(0).map_err(std::io::Error::from)?;
            // First move them out of the way of the targets, then onto them.
            let mut raised = [-1; 16];
            for (slot, fd) in raised.iter_mut().zip(&descriptors) {
                *slot = Errno::result(libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3 + count))?;
            }
            for (number, fd) in (3..3 + count).zip(raised) {
                Errno::result(libc::dup3(fd, number, 0))?;
            }
            process::close_range_on_exec(3 + count as u32).map_err(std::io::Error::from)
        });
    }
}

/// Lets a command start in other namespaces: each descriptor with its `CLONE_NEW*` flag.
pub(crate) fn join_on_exec(command: &mut Command, namespaces: Vec<(OwnedFd, i32)>) {
    // SAFETY: the closure runs between fork and exec and makes system calls on memory that exists.
    unsafe {
        command.pre_exec(move || {
            namespaces
                .iter()
                .try_for_each(|(namespace, flag)| clone::setns(namespace.as_raw_fd(), *flag))
                .map_err(std::io::Error::from)
        });
    }
}

/// Puts the caller's process group into a core scheduling group of its own (`PR_SCHED_CORE` of prctl(2), Linux 5.14).
///
/// # Errors
///
/// If the kernel or the processor does not support it.
pub fn core_scheduling_group() -> Result<()> {
    process::own_core_scheduling_group()
        .map_err(|errno| Error::os(errno, "make a core scheduling group of the process group"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_copied() {
        // The test harness runs this in a thread beside the main one.
        let error = fork(&[], || 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongState);
    }

    #[test]
    fn only_one_process_can_be_meant() {
        for (pid, signal) in [(0, 9), (-1, 9), (1, 65), (1, -1)] {
            assert_eq!(signal_child(pid, signal).unwrap_err().kind(), ErrorKind::InvalidSpec);
        }
        assert_eq!(signal_child(i32::MAX, 0).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn descriptors_arrive_in_order_and_alone() {
        let (mut commands, mut fds) = (Command::new("/bin/sh"), Vec::new());
        let mut ends = Vec::new();
        for _ in 0..2 {
            let (reader, writer) = nix::unistd::pipe().expect("a pipe");
            ends.push(std::fs::File::from(reader));
            fds.push(writer);
        }
        commands.args(["-c", "echo first >&3; echo second >&4; ls /proc/self/fd | wc -l"]);
        pass_descriptors(&mut commands, fds);
        let output = commands.output().expect("sh");
        drop(commands);
        let texts: Vec<String> =
            ends.into_iter().map(|end| std::io::read_to_string(end).expect("read")).collect();
        assert_eq!(texts, ["first\n", "second\n"]);
        // 0, 1, 2, 3, 4, and the directory that `ls` reads.
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "6");
    }
}
