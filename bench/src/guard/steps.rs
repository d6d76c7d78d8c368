//! Counts the instructions that a program takes in user space, by stepping through it with ptrace(2).
//!
//! That needs neither the processor's counters, which virtual machines often lack, nor another program. A repeated
//! string instruction counts once for each repetition.

use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::time::{Duration, Instant};
use wharf_spec_tests::outcome::{Outcome, fail};
use wharf_spec_tests::runtime::{Invocation, brief};

const PATIENCE: Duration = Duration::from_secs(120);

/// Steps through a call to its end. Programs that it starts are not counted.
///
/// # Errors
///
/// If it fails, or takes more than two minutes.
pub fn count(call: Invocation) -> Outcome<u64> {
    // The shell stops itself, is attached to, and becomes the program: counting begins after its execve.
    let running = call.after("kill -STOP $$").spawn()?;
    let pid = Pid::from_raw(running.pid().cast_signed());
    let steps = step_through(pid);
    if steps.is_err() {
        let _gone = nix::sys::signal::kill(pid, Signal::SIGKILL);
    }
    let (line, said) = running.was_waited_for();
    match steps {
        Ok((steps, 0)) => Ok(steps),
        Ok((_, code)) => fail(format!("`{line}` ended with {code}: {}", brief(&said))),
        Err(error) => fail(format!("stepping through `{line}`: {error}; {}", brief(&said))),
    }
}

/// Steps and exit code.
fn step_through(pid: Pid) -> nix::Result<(u64, i32)> {
    waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
    ptrace::seize(pid, Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL)?;
    nix::sys::signal::kill(pid, Signal::SIGCONT)?;
    let (mut counting, mut steps) = (false, 0);
    let end = Instant::now() + PATIENCE;
    loop {
        let deliver = match waitpid(pid, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Exited(_, code) => return Ok((steps, code)),
            WaitStatus::Signaled(_, signal, _) => return Ok((steps, 128 + signal as i32)),
            WaitStatus::PtraceEvent(_, _, event) => {
                counting |= event == Event::PTRACE_EVENT_EXEC as i32;
                None
            }
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                steps += u64::from(counting);
                None
            }
            WaitStatus::Stopped(_, signal) => Some(signal),
            _ => None,
        };
        if steps % 4096 == 0 && Instant::now() > end {
            return Err(nix::errno::Errno::ETIMEDOUT);
        }
        if counting { ptrace::step(pid, deliver)? } else { ptrace::cont(pid, deliver)? }
    }
}
