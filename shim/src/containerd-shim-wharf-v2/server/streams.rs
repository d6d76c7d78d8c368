//! The streams of one connection, which last no longer than it.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use containerd_shim_protos::ttrpc::Code;
use tokio::io::AsyncWrite;
use tokio::sync::{Mutex, Notify};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use super::streaming::{Inbox, Stream};
use crate::refusal::Refusal;
use crate::stdio::remote::Remotes;
use crate::wire::Frame;

/// How many streams a connection may have at once; containerd makes a connection for each.
const MOST: usize = 64;
/// How long a connection stays after its last stream: containerd before 2.3 never closes it.
const REST: Duration = Duration::from_secs(1);

/// The streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: HashMap<u32, (Rc<Inbox>, AbortHandle)>,
    /// Wakes when one ends.
    ended: Rc<Notify>,
    /// Whether there has been any.
    begun: Cell<bool>,
}

impl Streams {
    /// A call begins a stream.
    pub(super) fn begin<W: AsyncWrite + Unpin + 'static>(
        &mut self,
        remotes: &Remotes,
        number: u32,
        payload: &[u8],
        is_last: bool,
        writer: &Rc<Mutex<W>>,
    ) -> Result<(), Refusal> {
        self.all.retain(|_, (_, task)| !task.is_finished());
        if self.all.len() >= MOST {
            return Err(Refusal::new(
                Code::RESOURCE_EXHAUSTED,
                format!("a connection has at most {MOST} streams"),
            ));
        }
        if self.all.contains_key(&number) {
            return Err(Refusal::invalid(format!("the connection has a stream with the number {number}")));
        }
        let inbox = Rc::<Inbox>::default();
        // A call may have its first message with it.
        let first = Frame { is_bare: payload.is_empty(), is_last, ..Frame::data(number, payload) };
        inbox.take(&first);
        let stream = Stream { number, inbox: inbox.clone(), writer: writer.clone() };
        let (remotes, ended) = (remotes.clone(), self.ended.clone());
        let task = spawn_local(async move {
            stream.serve(&remotes).await;
            // A task that hears of it runs after this one, and finds it finished.
            ended.notify_waiters();
        });
        self.all.insert(number, (inbox, task.abort_handle()));
        self.begun.set(true);
        Ok(())
    }

    /// A part of a stream has come. What comes after the end of its stream means nothing.
    pub(super) fn take(&self, frame: &Frame) {
        if let Some((inbox, _)) = self.all.get(&frame.stream) {
            inbox.take(frame);
        }
    }

    /// Waits until all streams have been over for a while.
    pub(super) async fn rest(&self) {
        if !self.begun.get() {
            pending::<()>().await;
        }
        loop {
            let ended = self.ended.notified();
            if self.all.values().all(|(_, task)| task.is_finished()) {
                break;
            }
            ended.await;
        }
        sleep(REST).await;
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for (_, task) in self.all.values() {
            task.abort();
        }
    }
}
