//! How much may be in progress at once. A client can send any number of calls before the first is answered, and each
//! takes memory until then.

use std::cell::Cell;
use std::rc::Rc;

use containerd_shim_protos::ttrpc::Code;

use crate::refusal::Refusal;

/// How many calls may wait for processes to end: these take almost no time, but last as long as the processes live.
const MOST_WAITS: usize = 2048;
/// How many other calls may be in progress. They have a limit of their own, so that a process can be killed however
/// many calls wait for its end.
const MOST_OTHERS: usize = 512;
/// How many bytes the messages of all calls may have together; a single one has at most 4 MiB.
const MOST_BYTES: usize = 16 << 20;

/// What is in progress.
#[derive(Debug, Default)]
pub(crate) struct Load {
    waits: Cell<usize>,
    others: Cell<usize>,
    bytes: Cell<usize>,
    /// All calls that are not completely answered.
    unanswered: Cell<usize>,
}

/// A call that may be performed; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    load: Rc<Load>,
    waits: bool,
    bytes: usize,
    /// Whether it is done, and only its answer is still being sent.
    done: Cell<bool>,
}

impl Load {
    /// How many calls are in progress, up to the last byte of their answers.
    pub(crate) fn calls(&self) -> usize {
        self.unanswered.get()
    }

    /// Admits a call with a message of that size, unless too much is in progress.
    pub(crate) fn admit(self: &Rc<Self>, waits: bool, bytes: usize) -> Result<Admission, Refusal> {
        let most = if waits { MOST_WAITS } else { MOST_OTHERS };
        let count = self.count(waits);
        if count.get() >= most {
            return Err(exhausted(format!("{most} calls of this kind are in progress")));
        }
        if self.bytes.get().saturating_add(bytes) > MOST_BYTES {
            return Err(exhausted("the messages of the calls in progress are too long in total".to_owned()));
        }
        count.set(count.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
        self.unanswered.set(self.unanswered.get() + 1);
        Ok(Admission { load: self.clone(), waits, bytes, done: Cell::new(false) })
    }

    fn count(&self, waits: bool) -> &Cell<usize> {
        if waits { &self.waits } else { &self.others }
    }
}

impl Admission {
    /// Whether the call only waits.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// The call is done: it makes room for others, however long its caller takes to read the answer.
    pub(crate) fn done(&self) {
        if !self.done.replace(true) {
            let count = self.load.count(self.waits);
            count.set(count.get() - 1);
            self.load.bytes.set(self.load.bytes.get() - self.bytes);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.done();
        self.load.unanswered.set(self.load.unanswered.get() - 1);
    }
}

fn exhausted(message: String) -> Refusal {
    Refusal::new(Code::RESOURCE_EXHAUSTED, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_leave_room_for_other_calls_and_each_call_for_the_next() {
        let load = Rc::new(Load::default());
        let waits: Vec<_> = (0..MOST_WAITS).map(|_| load.admit(true, 10).unwrap()).collect();
        let refusal = load.admit(true, 10).unwrap_err();
        assert_eq!(refusal.code, Code::RESOURCE_EXHAUSTED as i32);
        assert!(load.admit(false, 10).is_ok());
        assert_eq!(load.calls(), MOST_WAITS);
        drop(waits);
        assert_eq!((load.calls(), load.bytes.get()), (0, 0));
        let answered: Vec<_> = (0..MOST_OTHERS).map(|_| load.admit(false, 10).unwrap()).collect();
        answered.iter().for_each(Admission::done);
        assert!(load.admit(false, 10).is_ok(), "an unread answer does not count as a call");
        assert_eq!(load.calls(), MOST_OTHERS);
        drop(answered);
        let others: Vec<_> = (0..MOST_OTHERS).map(|_| load.admit(false, 10).unwrap()).collect();
        assert!(load.admit(false, 10).is_err() && load.admit(true, 10).is_ok());
        drop(others);
    }

    #[test]
    fn all_messages_share_one_limit() {
        let load = Rc::new(Load::default());
        let large: Vec<_> = (0..4).map(|_| load.admit(false, 4 << 20).unwrap()).collect();
        assert!(load.admit(false, 1).is_err());
        drop(large);
        assert!(load.admit(false, 1).is_ok());
    }
}
