//! The streaming service, `containerd.services.streaming.v1.Streaming`: the streams of processes over the server's socket.
//!
//! A client sends the id of a stream and gets an empty message as an answer. Then the receiver of the data says how many
//! bytes it takes, and the sender sends no more than that (`containerd.types.transfer`). The side that has nothing more to send
//! ends its half: a client that has read everything, too, which is how the shim knows that nothing was lost.

mod inbox;

use std::future::pending;
use std::rc::Rc;

use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use prost::Message;
use rustix::io::Errno;
use tokio::io::AsyncWrite;
use tokio::sync::Mutex;

use super::answer::write_answer;
use crate::race::{First, first};
use crate::refusal::Refusal;
use crate::stdio::Watched;
use crate::stdio::remote::{Client, Input, Remotes, Stage};
use crate::wire;
pub(crate) use inbox::Inbox;

/// The service and its method.
pub(super) const METHOD: [&str; 2] = ["containerd.services.streaming.v1.Streaming", "Stream"];

const INIT: &str = "containerd.services.streaming.v1.StreamInit";
const DATA: &str = "containerd.types.transfer.Data";
const WINDOW: &str = "containerd.types.transfer.WindowUpdate";
const EMPTY: &str = "google.protobuf.Empty";

/// How much is read and sent at once, and how much must be free before a client hears of it.
const PORTION: usize = 32 << 10;

#[derive(Clone, PartialEq, Message)]
struct StreamInit {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct WindowUpdate {
    #[prost(int32, tag = "1")]
    update: i32,
}

/// One stream of a connection.
pub(super) struct Stream<W> {
    pub(super) number: u32,
    pub(super) inbox: Rc<Inbox>,
    pub(super) writer: Rc<Mutex<W>>,
}

impl<W: AsyncWrite + Unpin> Stream<W> {
    /// Carries the stream until both halves have ended. Dropped with the connection, it leaves the line for another client.
    pub(super) async fn serve(self, remotes: &Remotes) {
        if let Err(refusal) = self.carry(remotes).await {
            log::debug!("a stream ends: {refusal}");
            write_answer(&self.writer, self.number, Err(refusal)).await;
        }
    }

    async fn carry(&self, remotes: &Remotes) -> Result<(), Refusal> {
        let Some(id) = self.inbox.id().await? else { return self.end().await };
        let client = remotes.connect(&id).await?;
        self.send(EMPTY, Vec::new()).await?;
        match self.process(&client).await? {
            Some(Stage::Output(pipe)) => self.deliver(&client, &pipe).await?,
            Some(Stage::Input(input)) => self.receive(&client, &input).await?,
            _ => {}
        }
        self.end().await?;
        // The client holds the line until it has everything; what it says wrong after the end does not matter.
        self.inbox.end().await.ok();
        drop(client);
        Ok(())
    }

    /// Waits for the process; none if the client ends the stream before.
    async fn process(&self, client: &Client) -> Result<Option<Stage>, Refusal> {
        loop {
            let changed = client.changed();
            match client.stage() {
                Stage::Expected => {}
                other => return Ok(Some(other)),
            }
            match first(self.inbox.end(), changed).await {
                First::One(ended) => return ended.map(|()| None),
                First::Other(()) => {}
            }
        }
    }

    /// From the process to the client.
    async fn deliver(&self, client: &Client, pipe: &Watched) -> Result<(), Refusal> {
        let mut portion = Vec::new();
        self.inbox.expect_windows()?;
        loop {
            let (heard, changed) = (self.inbox.changed(), client.changed());
            if self.inbox.has_ended()? || matches!(client.stage(), Stage::Over) {
                return Ok(());
            }
            let room = self.inbox.room().min(PORTION);
            let readable = async { if room == 0 { pending().await } else { pipe.readable().await } };
            let First::One(readable) = first(readable, first(heard, changed)).await else { continue };
            let mut readable =
                readable.map_err(|error| Refusal::io("watch the output of a process", error))?;
            portion.resize(room, 0);
            match rustix::io::read(pipe.get_ref(), &mut portion[..]) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.inbox.used(count);
                    portion.truncate(count);
                    let message = Bytes { data: std::mem::take(&mut portion) };
                    self.send(DATA, message.encode_to_vec()).await?;
                }
                Err(Errno::AGAIN) => readable.clear_ready(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Refusal::io("read the output of a process", errno)),
            }
        }
    }

    /// From the client to the process. What no process reads is taken as well.
    async fn receive(&self, client: &Client, input: &Rc<Input>) -> Result<(), Refusal> {
        self.inbox.expect_data(input)?;
        loop {
            let (heard, changed) = (self.inbox.changed(), client.changed());
            if self.inbox.has_ended()? {
                input.end();
                client.tell();
                return Ok(());
            }
            let free = input.space().saturating_sub(self.inbox.allowed());
            if free >= PORTION {
                self.inbox.allow(free);
                self.send(WINDOW, WindowUpdate { update: free as i32 }.encode_to_vec()).await?;
                continue;
            }
            if let First::One(()) = first(heard, changed).await {
                // It may have sent something for the process.
                client.tell();
            }
        }
    }

    async fn send(&self, typ: &str, value: Vec<u8>) -> Result<(), Refusal> {
        let mut any = Any::new();
        typ.clone_into(&mut any.type_url);
        any.value = value;
        let bytes = any.write_to_bytes().map_err(|error| Refusal::io("encode a part of a stream", error))?;
        wire::write_data(&mut *self.writer.lock().await, self.number, &bytes)
            .await
            .map_err(|error| Refusal::io("send a part of a stream", error))
    }

    /// Nothing more will be sent.
    async fn end(&self) -> Result<(), Refusal> {
        wire::write_end(&mut *self.writer.lock().await, self.number)
            .await
            .map_err(|error| Refusal::io("send the end of a stream", error))
    }
}

/// The message in an `Any`, which must be of this type.
fn decoded<M: Message + Default>(any: &Any, typ: &str) -> Result<M, Refusal> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    if name != typ {
        return Err(Refusal::invalid(format!("a part of the stream is of type {name:?}, not {typ}")));
    }
    M::decode(&*any.value).map_err(|error| Refusal::invalid(format!("a part of the stream: {error}")))
}
