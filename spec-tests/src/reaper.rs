//! Reaps the dead whose parent is gone: containers outlive the call that made them, and the suite is their subreaper.
//!
//! An unreaped zombie stays in its cgroup, and every runtime would fail to remove that.

use rustix::process::{Pid, WaitOptions, waitpid};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

#[derive(Default)]
struct Known {
    /// Our own children, which are waited for where they were started.
    ours: HashSet<u32>,
    /// Exit codes of orphans.
    ended: HashMap<i32, i32>,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// Starts a child that the reaper leaves alone until [`forget`].
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    // The lock is held during the spawn, so the reaper cannot see the child before it is known.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    known.ours.insert(child.id());
    Ok(child)
}

/// The child has been waited for.
pub(crate) fn forget(child: &Child) {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).ours.remove(&child.id());
}

/// Runs a child to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    let child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let id = child.id();
    let done = child.wait_with_output();
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).ours.remove(&id);
    done
}

/// The exit code of a reaped orphan, 128 + signal for a signal.
pub(crate) fn exit_code(pid: Pid) -> Option<i32> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).ended.remove(&pid.as_raw_pid())
}

/// Reaps orphans until the process ends.
///
/// The kernel cannot wait for all children except some, so the list is checked every few milliseconds.
pub(crate) fn start() {
    std::thread::spawn(|| {
        // Orphans are reparented to the main thread; children of other threads are in lists of their own.
        let list = format!("/proc/self/task/{}/children", std::process::id());
        loop {
            let pids = fs::read_to_string(&list).unwrap_or_default();
            for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                collect(pid);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

fn collect(raw: i32) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(pid) = Pid::from_raw(raw).filter(|_| !known.ours.contains(&raw.cast_unsigned())) else { return };
    if let Ok(Some((_, status))) = waitpid(Some(pid), WaitOptions::NOHANG) {
        let code = status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0));
        known.ended.insert(raw, code);
    }
}
