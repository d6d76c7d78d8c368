//! What a client sends on a stream. It is taken apart as it comes, so that nothing has to be kept of it: an id, a sum of
//! windows, or data that goes to where the process' input waits. So a client cannot make the shim keep more than it was
//! allowed to send.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::Code;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::{Bytes, DATA, INIT, StreamInit, WINDOW, WindowUpdate, decoded};
use crate::refusal::Refusal;
use crate::stdio::remote::Input;
use crate::wire::Frame;

/// The client's half of a stream.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    wanted: RefCell<Wanted>,
    /// The id, until it is looked at.
    id: RefCell<Option<String>>,
    /// How much the client takes.
    room: Cell<usize>,
    /// How much it may send.
    allowed: Cell<usize>,
    ended: Cell<bool>,
    /// What was wrong; nothing counts after that.
    fault: RefCell<Option<Refusal>>,
    changed: Notify,
}

/// What a client may send.
#[derive(Debug, Default)]
enum Wanted {
    #[default]
    Id,
    /// Windows, if it is to read; whether it is, the process will show.
    WindowsYet,
    Windows,
    Data(Rc<Input>),
}

impl Inbox {
    /// A frame of the stream has come.
    pub(crate) fn take(&self, frame: &Frame) {
        if self.ended.get() || self.fault.borrow().is_some() {
            return;
        }
        if !frame.is_bare {
            let taken = match &frame.payload {
                Some(payload) => self.take_message(payload),
                None => Err(Refusal::new(crate::wire::TOO_LONG, "the message is longer than 4 MiB")),
            };
            if let Err(refusal) = taken {
                *self.fault.borrow_mut() = Some(refusal);
            }
        }
        if frame.is_last {
            self.ended.set(true);
        }
        self.changed.notify_waiters();
    }

    fn take_message(&self, payload: &[u8]) -> Result<(), Refusal> {
        let any = Any::parse_from_bytes(payload)
            .map_err(|error| Refusal::invalid(format!("a part of the stream: {error}")))?;
        let mut wanted = self.wanted.borrow_mut();
        match &*wanted {
            Wanted::Id => {
                *self.id.borrow_mut() = Some(decoded::<StreamInit>(&any, INIT)?.id);
                *wanted = Wanted::WindowsYet;
            }
            Wanted::WindowsYet | Wanted::Windows => {
                let update = decoded::<WindowUpdate>(&any, WINDOW)?.update;
                let more = usize::try_from(update)
                    .map_err(|_| Refusal::invalid(format!("the window of the stream changes by {update}")))?;
                self.room.set(self.room.get().saturating_add(more));
            }
            Wanted::Data(input) => {
                let data = decoded::<Bytes>(&any, DATA)?.data;
                let Some(left) = self.allowed.get().checked_sub(data.len()) else {
                    let (length, allowed) = (data.len(), self.allowed.get());
                    let message = format!("{length} bytes came, and the window of the stream has {allowed}");
                    return Err(Refusal::new(Code::RESOURCE_EXHAUSTED, message));
                };
                self.allowed.set(left);
                input.put(&data);
            }
        }
        Ok(())
    }

    /// Waits for the next frame; to be called before what it may change is looked at.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Whether the client has ended its half.
    pub(super) fn has_ended(&self) -> Result<bool, Refusal> {
        match &*self.fault.borrow() {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(self.ended.get()),
        }
    }

    /// Waits until the client has ended its half.
    pub(super) async fn end(&self) -> Result<(), Refusal> {
        loop {
            let changed = self.changed();
            if self.has_ended()? {
                return Ok(());
            }
            changed.await;
        }
    }

    /// The id that the client asks for; none if it ends before.
    pub(super) async fn id(&self) -> Result<Option<String>, Refusal> {
        loop {
            let changed = self.changed();
            if let Some(id) = self.id.take() {
                return Ok(Some(id));
            }
            if self.has_ended()? {
                return Ok(None);
            }
            changed.await;
        }
    }

    /// The client reads.
    pub(super) fn expect_windows(&self) -> Result<(), Refusal> {
        *self.wanted.borrow_mut() = Wanted::Windows;
        self.has_ended().map(drop)
    }

    /// The client writes.
    pub(super) fn expect_data(&self, input: &Rc<Input>) -> Result<(), Refusal> {
        if self.room.get() > 0 {
            return Err(Refusal::invalid("the client wants to read the stream, which is input"));
        }
        *self.wanted.borrow_mut() = Wanted::Data(input.clone());
        self.has_ended().map(drop)
    }

    /// How much the client takes right now.
    pub(super) fn room(&self) -> usize {
        self.room.get()
    }

    /// So much has been sent to it.
    pub(super) fn used(&self, count: usize) {
        self.room.set(self.room.get().saturating_sub(count));
    }

    /// How much it may send right now.
    pub(super) fn allowed(&self) -> usize {
        self.allowed.get()
    }

    /// It may send more.
    pub(super) fn allow(&self, more: usize) {
        self.allowed.set(self.allowed.get() + more);
    }
}
