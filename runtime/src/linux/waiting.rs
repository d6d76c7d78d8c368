//! A wait that may be long logs, after a second, what it waits for.

use std::os::fd::RawFd;

use super::process_stat::doing;
use crate::sys::{Result, socket};

/// How many milliseconds a wait may last without a log message.
pub(crate) const UNTOLD: i32 = 1000;

/// Whether the wait has been logged.
#[derive(Debug, Default)]
pub(crate) struct WaitLog(bool);

impl WaitLog {
    /// Logs, the first time only, that it waits for process `pid`, and why that makes no progress.
    pub(crate) fn of_process(&mut self, pid: i32, what: &str) {
        if !std::mem::replace(&mut self.0, true) {
            log::warn!("waiting for process {pid} {what}: {}", doing(pid));
        }
    }

    /// Logs something the first time only.
    pub(crate) fn once(&mut self, words: impl FnOnce() -> String) {
        if !std::mem::replace(&mut self.0, true) {
            log::warn!("{}", words());
        }
    }
}

/// Waits until one of the descriptors is readable, however long it takes; after a second it logs that it waits for
/// process `pid`, `what` that process is to do, and why it makes no progress.
pub(crate) fn wait_readable<const N: usize>(fds: [RawFd; N], pid: i32, what: &str) -> Result<[bool; N]> {
    let answer = socket::wait_readable(fds, UNTOLD)?;
    if answer.contains(&true) {
        return Ok(answer);
    }
    WaitLog::default().of_process(pid, what);
    socket::wait_readable(fds, -1)
}
