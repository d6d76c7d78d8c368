//! Input on its way from a client to a process.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use rustix::io::Errno;

use super::Line;
use crate::stdio::copy::Watched;

/// How much may wait for the process.
pub(crate) const ROOM: usize = 64 << 10;

/// What clients have sent and the process has not read.
#[derive(Debug, Default)]
pub(crate) struct Input {
    waiting: RefCell<VecDeque<u8>>,
    /// The client has sent everything.
    ended: Cell<bool>,
    /// Nothing follows what the client that is there sends.
    closing: Cell<bool>,
    /// Nothing reads it any more: it has ended, or the process has.
    broken: Cell<bool>,
}

impl Input {
    /// How much more may be sent.
    pub(crate) fn space(&self) -> usize {
        ROOM.saturating_sub(self.waiting.borrow().len())
    }

    /// A client has sent something. What nothing reads is thrown away: a client that had to wait would wait for ever.
    pub(crate) fn put(&self, data: &[u8]) {
        if !self.broken.get() && !self.ended.get() {
            self.waiting.borrow_mut().extend(data);
        }
    }

    /// The client has sent everything.
    pub(crate) fn end(&self) {
        self.ended.set(true);
    }

    pub(super) fn close(&self) {
        self.closing.set(true);
    }

    pub(super) fn break_off(&self) {
        self.broken.set(true);
        *self.waiting.borrow_mut() = VecDeque::new();
    }

    /// The process has got so much.
    fn taken(&self, count: usize) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.drain(..count);
        if waiting.is_empty() {
            // Most input comes rarely.
            *waiting = VecDeque::new();
        }
    }

    #[cfg(test)]
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }
}

/// Writes what clients send to the pipe, until the input ends or the process does. Then the pipe is closed.
pub(super) async fn feed(line: Rc<Line>, input: Rc<Input>, pipe: Watched) {
    loop {
        let changed = line.changed.notified();
        let is_empty = input.waiting.borrow().is_empty();
        if input.broken.get() || is_empty && (input.ended.get() || input.closing.get() && !line.client.get())
        {
            break;
        }
        if is_empty {
            changed.await;
            continue;
        }
        let Ok(mut writable) = pipe.writable().await else { break };
        let written = rustix::io::write(pipe.get_ref(), input.waiting.borrow().as_slices().0);
        match written {
            Ok(count) => {
                input.taken(count);
                line.changed.notify_waiters();
            }
            Err(Errno::AGAIN) => writable.clear_ready(),
            Err(Errno::INTR) => {}
            // The process has closed its end.
            Err(_) => break,
        }
    }
    input.break_off();
    line.changed.notify_waiters();
}
