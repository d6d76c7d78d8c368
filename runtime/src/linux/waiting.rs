//! A wait that may last says, after a second, what it waits for.

use std::os::fd::RawFd;

use super::process_stat::doing;
use crate::sys::{Result, socket};

/// How many milliseconds a wait may last without a word.
pub(crate) const UNTOLD: i32 = 1000;

/// Whether the wait has been spoken of.
#[derive(Debug, Default)]
pub(crate) struct Told(bool);

impl Told {
    /// Says, the first time, that process `pid` is waited for, and why it does not get on.
    pub(crate) fn of_process(&mut self, pid: i32, what: &str) {
        if !std::mem::replace(&mut self.0, true) {
            log::warn!("waiting for process {pid} {what}: {}", doing(pid));
        }
    }

    /// Says something the first time.
    pub(crate) fn once(&mut self, words: impl FnOnce() -> String) {
        if !std::mem::replace(&mut self.0, true) {
            log::warn!("{}", words());
        }
    }
}

/// Waits until one of the descriptors is readable, as long as it takes; after a second it says that process `pid` is
/// waited for, `what` it is to do, and why it does not get on.
pub(crate) fn wait_readable<const N: usize>(fds: [RawFd; N], pid: i32, what: &str) -> Result<[bool; N]> {
    let answer = socket::wait_readable(fds, UNTOLD)?;
    if answer.contains(&true) {
        return Ok(answer);
    }
    Told::default().of_process(pid, what);
    socket::wait_readable(fds, -1)
}
