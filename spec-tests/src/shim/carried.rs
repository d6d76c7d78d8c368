//! A stream over the shim's own socket, as containerd's CRI plugin opens it: one connection, one streaming call.
//!
//! Unlike containerd's, this client does nothing by itself: a test says when it reads, how much it takes and when it ends.

use super::client::{PATIENCE, Refusal, Reply, code, socket_path};
use super::pod::Pod;
use super::stdio::Streams;
use super::wire::{Frame, REQUEST, RESPONSE};
use crate::outcome::{Outcome, check, fail, skip};
use crate::runtime::readable;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{CodedInputStream, CodedOutputStream, Message};
use containerd_shim_protos::ttrpc::proto::{Request, Response};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The service.
pub const SERVICE: &str = "containerd.services.streaming.v1.Streaming";
/// The type of the first message.
pub const INIT: &str = "containerd.services.streaming.v1.StreamInit";
/// The type of data.
pub const DATA: &str = "containerd.types.transfer.Data";
/// The type of a change of the window.
pub const WINDOW: &str = "containerd.types.transfer.WindowUpdate";

/// A frame of a stream.
pub const PART: u8 = 3;
/// The sender has ended its half.
pub const LAST: u8 = 1;
/// The caller will send more.
const OPEN: u8 = 2;
/// The frame has no message.
pub const BARE: u8 = 4;

/// What comes from a shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// An empty message: the shim has the stream.
    Ready,
    /// Data.
    Data(Vec<u8>),
    /// So many more bytes may be sent.
    Window(i32),
    /// The shim has ended its half.
    End,
    /// The connection has ended.
    HungUp,
}

/// The client's end of a stream.
#[derive(Debug)]
pub struct Carried {
    socket: UnixStream,
    /// The number of the call on its connection.
    pub number: u32,
    /// What may still be sent.
    allowance: usize,
}

impl Carried {
    /// Begins the call, and sends nothing on it yet.
    pub fn begin(address: &str) -> io::Result<Self> {
        Self::begin_on(UnixStream::connect(socket_path(address))?, 1)
    }

    fn begin_on(mut socket: UnixStream, number: u32) -> io::Result<Self> {
        let request = Request { service: SERVICE.into(), method: "Stream".into(), ..Request::default() };
        let body = request.write_to_bytes().unwrap_or_default();
        Frame { stream: number, kind: REQUEST, flags: OPEN, body }.write(&mut socket)?;
        Ok(Self { socket, number, allowance: 0 })
    }

    /// Opens a stream, which the shim confirms.
    pub fn open(address: &str, id: &str) -> Reply<Self> {
        Self::begin(address).map_err(|_| Refusal::Closed)?.confirmed(id)
    }

    /// Opens another stream on the connection of this one; only one of them can be read.
    pub fn open_beside(&self, number: u32, id: &str) -> Reply<Self> {
        let socket = self.socket.try_clone().map_err(|_| Refusal::Closed)?;
        Self::begin_on(socket, number).map_err(|_| Refusal::Closed)?.confirmed(id)
    }

    fn confirmed(mut self, id: &str) -> Reply<Self> {
        self.part(INIT, &bytes(id.as_bytes())).map_err(|_| Refusal::Closed)?;
        match self.next(PATIENCE)? {
            Part::Ready => Ok(self),
            other => Err(Refusal::Garbled(format!("{other:?} in place of the confirmation"))),
        }
    }

    /// Sends a message of that type.
    pub fn part(&mut self, typ: &str, value: &[u8]) -> io::Result<()> {
        let any = Any { type_url: typ.into(), value: value.to_vec(), ..Any::default() };
        self.frame(0, any.write_to_bytes().unwrap_or_default())
    }

    /// Sends a frame of the stream.
    pub fn frame(&mut self, flags: u8, body: Vec<u8>) -> io::Result<()> {
        Frame { stream: self.number, kind: PART, flags, body }.write(&mut self.socket)
    }

    /// Sends bytes that need not be a frame.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Lets the shim send so many more bytes.
    pub fn grant(&mut self, update: i32) -> io::Result<()> {
        self.part(WINDOW, &varint(1, i64::from(update).cast_unsigned()))
    }

    /// Ends this half.
    pub fn end(&mut self) -> io::Result<()> {
        self.frame(LAST | BARE, Vec::new())
    }

    /// Sends data, whether it may or not.
    pub fn push(&mut self, data: &[u8]) -> io::Result<()> {
        self.part(DATA, &bytes(data))
    }

    /// Sends data as the shim lets it.
    pub fn write(&mut self, mut data: &[u8]) -> Outcome {
        while !data.is_empty() {
            while self.allowance == 0 {
                self.take_window(PATIENCE)?;
            }
            let (now, later) = data.split_at(data.len().min(self.allowance).min(32 << 10));
            self.push(now)?;
            self.allowance -= now.len();
            data = later;
        }
        Ok(())
    }

    /// Waits until more may be sent, and returns how much may be.
    pub fn take_window(&mut self, limit: Duration) -> Outcome<usize> {
        match self.next(limit) {
            Ok(Part::Window(update)) => {
                check(update > 0, || format!("the window changes by {update}"))?;
                self.allowance += update.unsigned_abs() as usize;
                Ok(self.allowance)
            }
            other => fail(format!("{other:?} in place of a window")),
        }
    }

    /// The next part, or why there is none.
    pub fn next(&mut self, limit: Duration) -> Reply<Part> {
        if !readable(&self.socket, limit).unwrap_or(true) {
            return Err(Refusal::Silence);
        }
        let garbled = |what: String| Refusal::Garbled(what);
        let frame = match Frame::read(&mut self.socket) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Part::HungUp),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Part::HungUp),
            Err(error) => return Err(garbled(error.to_string())),
        };
        if frame.kind == RESPONSE {
            let response =
                Response::parse_from_bytes(&frame.body).map_err(|error| garbled(error.to_string()))?;
            let status = response.status.get_or_default();
            return Err(Refusal::Status { code: status.code.value(), message: status.message.clone() });
        }
        if (frame.kind, frame.stream) != (PART, self.number) {
            return Err(garbled(format!("a frame of kind {} for stream {}", frame.kind, frame.stream)));
        }
        if frame.flags & LAST != 0 {
            return if frame.body.is_empty() {
                Ok(Part::End)
            } else {
                Err(garbled("an end with data".into()))
            };
        }
        let any = Any::parse_from_bytes(&frame.body).map_err(|error| garbled(error.to_string()))?;
        let mut input = CodedInputStream::from_bytes(&any.value);
        let mut field = || -> containerd_shim_protos::protobuf::Result<_> {
            Ok(match (any.type_url.as_str(), input.read_raw_tag_or_eof()?) {
                ("google.protobuf.Empty", None) => Some(Part::Ready),
                (DATA, Some(10)) => Some(Part::Data(input.read_bytes()?)),
                (WINDOW, Some(8)) => Some(Part::Window(input.read_int32()?)),
                _ => None,
            })
        };
        match field() {
            Ok(Some(part)) => Ok(part),
            _ => Err(garbled(format!("{} {:?}", any.type_url, any.value))),
        }
    }

    /// Reads exactly so many bytes, granting them in this many at once.
    pub fn read(&mut self, length: usize, window: usize) -> Outcome<Vec<u8>> {
        let (mut all, mut granted) = (Vec::new(), 0);
        while all.len() < length {
            if granted == all.len() {
                let more = window.min(length - granted);
                self.grant(i32::try_from(more).unwrap_or(i32::MAX))?;
                granted += more;
            }
            match self.next(PATIENCE) {
                Ok(Part::Data(data)) => all.extend(data),
                other => return fail(format!("{other:?} after {} of {length} bytes", all.len())),
            }
            check(all.len() <= granted, || format!("{} bytes came, {granted} were granted", all.len()))?;
        }
        Ok(all)
    }

    /// Reads to the end with containerd's window, and ends this half, too.
    pub fn read_to_end(&mut self) -> Outcome<Vec<u8>> {
        let mut all = Vec::new();
        self.grant(1 << 16)?;
        loop {
            match self.next(PATIENCE) {
                Ok(Part::Data(data)) => {
                    all.extend(&data);
                    self.grant(i32::try_from(data.len()).unwrap_or(i32::MAX))?;
                }
                Ok(Part::End) => break,
                other => return fail(format!("{other:?} after {} bytes", all.len())),
            }
        }
        self.end()?;
        Ok(all)
    }

    /// Reads until a word has come, granting little.
    pub fn until(&mut self, word: &str) -> Outcome<String> {
        let mut text = String::new();
        self.grant(1 << 12)?;
        while !text.contains(word) {
            match self.next(PATIENCE) {
                Ok(Part::Data(data)) => text.push_str(&String::from_utf8_lossy(&data)),
                other => return fail(format!("{other:?} after {text:?}, no {word:?}")),
            }
        }
        Ok(text)
    }

    /// Waits until the shim closes the connection.
    pub fn hung_up(&mut self) -> Outcome {
        match self.next(PATIENCE) {
            Ok(Part::HungUp) => Ok(()),
            other => fail(format!("{other:?} in place of the end of the connection")),
        }
    }
}

/// The address of a stream of a shim, as containerd puts it into a request.
pub fn url(pod: &Pod, id: &str) -> String {
    format!("ttrpc+{}?streaming_id={id}", pod.answer.address)
}

/// Addresses of three streams whose ids begin with this; those that are not wanted stay empty.
pub fn addresses(pod: &Pod, id: &str, stdin: bool, terminal: bool) -> Streams {
    let at = |wanted: bool, name: &str| {
        if wanted { url(pod, &format!("{id}-{name}")) } else { String::new() }
    };
    let mut streams = Streams::at(&at(stdin, "stdin"), &at(true, "stdout"), &at(!terminal, "stderr"));
    streams.addresses.terminal = terminal;
    streams
}

/// Skips for a shim that does not have the service.
pub fn needed(pod: &Pod) -> Outcome {
    match Carried::open(&pod.answer.address, "is there a service") {
        Err(Refusal::Status { code: code::UNIMPLEMENTED, .. }) => skip("the shim has no streaming service"),
        _ => Ok(()),
    }
}

/// Field 1 with bytes.
pub fn bytes(value: &[u8]) -> Vec<u8> {
    written(|output| output.write_bytes(1, value))
}

fn varint(number: u32, value: u64) -> Vec<u8> {
    written(|output| output.write_uint64(number, value))
}

fn written(
    write: impl FnOnce(&mut CodedOutputStream<'_>) -> containerd_shim_protos::protobuf::Result<()>,
) -> Vec<u8> {
    let mut all = Vec::new();
    let mut output = CodedOutputStream::vec(&mut all);
    // Writing to memory cannot fail.
    let _done = write(&mut output).and_then(|()| output.flush());
    drop(output);
    all
}
