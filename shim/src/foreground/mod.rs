//! Stands in for a process of a container: passes signals on, relays its terminal, returns its exit code.

mod relay;
mod terminal;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGURG, SIGWINCH};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use wharf::Container;

use crate::announce::notify::Readiness;
use crate::failure::Failure;
use relay::Relay;
use terminal::RawMode;

/// All signals of this process, held back from the moment this is made, so that none is lost.
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Holds signals back until the program ends.
    pub(crate) fn hold() -> Result<Self, Failure> {
        let failed = |errno: Errno| Failure::new(format!("block signals: {errno}"));
        let all = SigSet::all();
        all.thread_block().map_err(failed)?;
        SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Self).map_err(failed)
    }

    /// The next signal from another process. Signals that this program causes itself come from writes to a closed pipe:
    /// a blocked signal stays pending even if it is ignored.
    fn next(&self) -> Option<i32> {
        loop {
            let info = self.0.read_signal().ok().flatten()?;
            if info.ssi_pid != std::process::id() {
                return Some(info.ssi_signo as i32);
            }
        }
    }
}

/// The process to wait for.
pub(crate) struct Job<'a> {
    /// Its pid.
    pub(crate) pid: i32,
    /// Readable when it has ended.
    pub(crate) pidfd: BorrowedFd<'a>,
    /// Sends it a signal.
    pub(crate) kill: &'a dyn Fn(i32) -> wharf::Result<()>,
    /// Collects its exit status.
    pub(crate) wait: &'a dyn Fn() -> wharf::Result<wharf::ExitStatus>,
    /// The master end of its terminal.
    pub(crate) console: Option<OwnedFd>,
    /// Tells a service manager when it is ready. This program stays the main process of the service.
    pub(crate) readiness: Option<Readiness>,
}

/// Waits for the first process of a container that was just started, and returns its exit code.
pub(crate) fn supervise_container(
    signals: &Signals,
    container: &mut Container,
    readiness: Option<Readiness>,
) -> Result<u8, Failure> {
    let console = container.take_console();
    let pid = pid(container.pid())?.as_raw();
    let pidfd = container.pidfd().ok_or_else(|| Failure::new("the container has no pidfd to wait on"))?;
    let (kill, wait) = (|signal| container.kill(signal), || container.wait());
    supervise(signals, Job { pid, pidfd, kill: &kill, wait: &wait, console, readiness })
}

/// Waits for the end of a job and returns its exit code.
pub(crate) fn supervise(signals: &Signals, job: Job<'_>) -> Result<u8, Failure> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let raw_mode;
    let mut relay = None;
    if let Some(console) = job.console {
        terminal::copy_size(console.as_fd());
        relay = Some(Relay::new(console, stdin.as_fd(), stdout.as_fd())?);
        raw_mode = RawMode::enter(stdin.as_fd())?;
    } else {
        raw_mode = None;
    }
    loop {
        let ready = wait_for(signals, Some(job.pidfd), relay.as_ref(), job.readiness.as_ref())?;
        if ready.signal {
            while let Some(signal) = signals.next() {
                match signal {
                    SIGCHLD => reap_adopted(job.pid),
                    // Go programs send it to themselves; it is never meant for the container.
                    SIGURG => {}
                    SIGWINCH if relay.is_some() => {
                        if let Some(relay) = &relay {
                            terminal::copy_size(relay.console());
                        }
                    }
                    signal => {
                        // It may have ended just now.
                        if let Err(error) = (job.kill)(signal) {
                            log::debug!("forward signal {signal}: {error}");
                        }
                    }
                }
            }
        }
        if let Some(relay) = &mut relay {
            relay.advance(ready.relay);
        }
        if let Some(readiness) = &job.readiness
            && ready.notified
        {
            readiness.pass_on(std::process::id());
        }
        if ready.ended {
            break;
        }
    }
    let status = (job.wait)()?;
    if let Some(relay) = &mut relay {
        flush(signals, relay)?;
    }
    drop(raw_mode);
    Ok(exit_code(status.code()))
}

/// Writes what the process printed last; a signal that asks this program to end also ends the wait for a stuck reader.
fn flush(signals: &Signals, relay: &mut Relay<'_>) -> Result<(), Failure> {
    while relay.finish() {
        let ready = wait_for(signals, None, Some(relay), None)?;
        relay.advance(ready.relay);
        if ready.signal {
            while let Some(signal) = signals.next() {
                if matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What a wait has found.
#[derive(Debug, Default)]
struct Ready {
    signal: bool,
    ended: bool,
    relay: [bool; 3],
    notified: bool,
}

fn wait_for(
    signals: &Signals,
    pidfd: Option<BorrowedFd<'_>>,
    relay: Option<&Relay<'_>>,
    readiness: Option<&Readiness>,
) -> Result<Ready, Failure> {
    let [input, console, output] = relay.map(Relay::interests).unwrap_or_default();
    let interests = [
        Some(PollFd::new(signals.0.as_fd(), PollFlags::POLLIN)),
        pidfd.map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
        input,
        console,
        output,
        readiness.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)),
    ];
    let mut fds: Vec<_> = interests.iter().flatten().cloned().collect();
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::new(format!("wait for the process: {errno}"))),
            Ok(_) => break,
        }
    }
    // Descriptors that were not polled are missing from the answer.
    let mut answers = fds.iter().map(|fd| fd.any().unwrap_or(true));
    let mut answer = |interest: &Option<PollFd<'_>>| interest.is_some() && answers.next().unwrap_or(false);
    let [signal, ended, input, console, output, notified] = interests.each_ref().map(&mut answer);
    Ok(Ready { signal, ended, relay: [input, console, output], notified })
}

/// Reaps orphans of the container that this process got as their subreaper, but never the job itself.
fn reap_adopted(job: i32) {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, peek).map(|status| status.pid()) {
            Ok(Some(pid)) if pid.as_raw() != job => {
                if matches!(waitpid(pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Exit codes have eight bits.
pub(crate) fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Makes this process the parent of orphans in its containers, so that they do not go to the host's init.
pub(crate) fn adopt_orphans() -> Result<(), Failure> {
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| Failure::new(format!("become a subreaper: {errno}")))
}

/// The pid of a child that is known to exist.
fn pid(pid: Option<i32>) -> Result<Pid, Failure> {
    pid.filter(|pid| *pid > 0).map(Pid::from_raw).ok_or_else(|| {
        Failure::new("the process of the container was gone before its exit status could be collected")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keep_their_eight_bits() {
        assert_eq!(exit_code(0), 0);
        assert_eq!(exit_code(137), 137);
        assert_eq!(exit_code(255), 255);
        assert_eq!(exit_code(-1), 255);
        assert!(pid(None).is_err() && pid(Some(0)).is_err());
    }

    #[test]
    fn a_broken_pipe_of_this_program_is_no_signal_for_the_container() {
        let signals = Signals::hold().unwrap();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        assert_eq!(nix::unistd::write(&writer, b"x"), Err(Errno::EPIPE));
        let ready = wait_for(&signals, Some(writer.as_fd()), None, None).unwrap();
        assert!(ready.signal, "the signal was not kept, so this test shows nothing");
        assert_eq!(signals.next(), None);
    }

    #[test]
    fn only_what_was_asked_for_is_reported() {
        let signals = Signals::hold().unwrap();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(writer);
        let ready = wait_for(&signals, Some(reader.as_fd()), None, None).unwrap();
        assert!(ready.ended && !ready.signal && ready.relay == [false; 3]);
    }
}
