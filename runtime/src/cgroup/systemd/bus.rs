//! A connection to a D-Bus peer: open, authenticate, call and wait for signals, all with one deadline.
//!
//! The crate `rustbus` encodes and decodes the messages. Its connection is not used: it waits for ever for a peer that
//! closes or is silent, leaves its socket open to children, and authenticates with the caller's id inside its user
//! namespace. Connections of other crates run threads, which a program that embeds this library may not want.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;
use rustbus::message_builder::{HeaderFlags, MarshalledMessage, MessageType};
use rustbus::wire::{marshal, unmarshal};

use super::endpoint::Endpoint;
use crate::sys::socket as raw;

/// Bytes before the header fields: the fixed header and the length of the fields (D-Bus specification, "Header").
const FIXED: usize = 16;

/// systemd's answers are small; a larger one is not from systemd.
const LARGEST: usize = 1 << 20;

/// Why a conversation failed.
#[derive(Debug)]
pub(super) enum BusError {
    /// The peer answered with an error: its name and its text.
    Refused { name: String, text: String },
    /// The deadline passed.
    Timeout,
    /// The caller cancelled it.
    Cancelled,
    /// The process that the conversation is about has ended.
    Gone,
    /// The connection broke, or the peer does not speak D-Bus.
    Broken(String),
}

impl From<io::Error> for BusError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::UnexpectedEof => Self::Broken("the connection was closed".to_owned()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl From<Errno> for BusError {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// An authenticated connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    deadline: Instant,
    cancel: Option<OwnedFd>,
    process: Option<OwnedFd>,
    serial: u32,
    signals: VecDeque<MarshalledMessage>,
    /// Bytes read after the authentication: systemd sends signals unasked.
    early: VecDeque<u8>,
}

impl Connection {
    /// Connects and authenticates. Everything on this connection has to be done before the deadline.
    pub(super) fn open(
        endpoint: &Endpoint,
        deadline: Instant,
        cancel: Option<OwnedFd>,
    ) -> Result<Self, BusError> {
        let addresses = match endpoint {
            Endpoint::Direct(path) => vec![UnixAddr::new(path)?],
            Endpoint::Bus(text) => addresses(text),
        };
        let mut failure = BusError::Broken("the address is not understood".to_owned());
        for address in addresses {
            let cancel = cancel.as_ref().map(OwnedFd::try_clone).transpose()?;
            match Self::open_at(&address, deadline, cancel) {
                Ok(connection) => return Ok(connection),
                Err(BusError::Cancelled) => return Err(BusError::Cancelled),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// From now on, gives up when this becomes readable.
    pub(super) fn watch(&mut self, process: OwnedFd) {
        self.process = Some(process);
    }

    fn open_at(address: &UnixAddr, deadline: Instant, cancel: Option<OwnedFd>) -> Result<Self, BusError> {
        let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        let cancelled = || {
            cancel
                .as_ref()
                .is_some_and(|fd| raw::wait_readable([fd.as_raw_fd()], 0).is_ok_and(|[readable]| readable))
        };
        loop {
            // A peer with a full queue makes connect(2) wait as long as a send.
            set_send_timeout(&socket, remaining(deadline)?.min(Duration::from_millis(200)))?;
            match connect(socket.as_raw_fd(), address) {
                Ok(()) => break,
                Err(Errno::EAGAIN) if cancelled() => return Err(BusError::Cancelled),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut connection = Self {
            stream: socket.into(),
            deadline,
            cancel,
            process: None,
            serial: 0,
            signals: VecDeque::new(),
            early: VecDeque::new(),
        };
        connection.authenticate()?;
        Ok(connection)
    }

    /// `EXTERNAL` with an empty identity: the peer uses the ids that the kernel reports, which also works for a caller
    /// in a user namespace, which does not know them (D-Bus specification, "Authentication Mechanisms").
    ///
    /// `BEGIN` is sent with the rest, not with the first message: systemd overlooks a message that arrives together
    /// with it until another one comes (seen with version 257).
    fn authenticate(&mut self) -> Result<(), BusError> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let mut heard = Vec::new();
        let second_line = |heard: &[u8]| {
            let ends = (2..=heard.len()).filter(|&at| heard[..at].ends_with(b"\r\n"));
            ends.take(2).nth(1)
        };
        while second_line(&heard).is_none() && heard.len() <= 512 {
            let mut bytes = [0; 256];
            let count = self.receive_some(&mut bytes)?;
            heard.extend(&bytes[..count]);
        }
        let end = second_line(&heard).unwrap_or(heard.len());
        self.early = heard.split_off(end).into();
        if heard.starts_with(b"DATA\r\nOK") || heard.starts_with(b"DATA \r\nOK") {
            return Ok(());
        }
        let first = heard.split(|&byte| byte == b'\r').next().unwrap_or_default();
        Err(BusError::Broken(format!(
            "authentication failed: {:?}",
            String::from_utf8_lossy(&first[..first.len().min(80)])
        )))
    }

    /// Sends a call without waiting for an answer.
    pub(super) fn tell(&mut self, mut message: MarshalledMessage) -> Result<(), BusError> {
        HeaderFlags::NoReplyExpected.set(&mut message.flags);
        self.transmit(&message).map(drop)
    }

    /// Sends a call and waits for its answer; signals that arrive in the meantime are kept.
    pub(super) fn call(&mut self, message: &MarshalledMessage) -> Result<MarshalledMessage, BusError> {
        let serial = self.transmit(message)?;
        loop {
            let answer = self.next()?;
            match answer.typ {
                MessageType::Signal => self.signals.push_back(answer),
                MessageType::Reply if answer.dynheader.response_serial == Some(serial) => return Ok(answer),
                MessageType::Error if answer.dynheader.response_serial == Some(serial) => {
                    let text = answer.body.parser().get::<String>().unwrap_or_default();
                    let name = answer.dynheader.error_name.unwrap_or_default();
                    return Err(BusError::Refused { name, text });
                }
                _ => {}
            }
        }
    }

    /// The next signal, kept or still to come.
    pub(super) fn signal(&mut self) -> Result<MarshalledMessage, BusError> {
        if let Some(signal) = self.signals.pop_front() {
            return Ok(signal);
        }
        loop {
            let message = self.next()?;
            if message.typ == MessageType::Signal {
                return Ok(message);
            }
        }
    }

    fn transmit(&mut self, message: &MarshalledMessage) -> Result<u32, BusError> {
        self.serial += 1;
        let mut bytes = Vec::new();
        marshal::marshal(message, self.serial, &mut bytes)
            .map_err(|error| BusError::Broken(format!("cannot put the call into a message: {error}")))?;
        bytes.extend(message.get_buf());
        self.send(&bytes)?;
        Ok(self.serial)
    }

    fn next(&mut self) -> Result<MarshalledMessage, BusError> {
        let mut bytes = vec![0; FIXED];
        self.receive(&mut bytes)?;
        bytes.resize(length(&bytes)?, 0);
        self.receive_at(&mut bytes, FIXED)?;
        decode(&bytes)
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), BusError> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(remaining(self.deadline)?))?;
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8]) -> Result<(), BusError> {
        self.receive_at(into, 0)
    }

    fn receive_at(&mut self, into: &mut [u8], mut filled: usize) -> Result<(), BusError> {
        while filled < into.len() {
            filled += self.receive_some(&mut into[filled..])?;
        }
        Ok(())
    }

    fn receive_some(&mut self, into: &mut [u8]) -> Result<usize, BusError> {
        if !self.early.is_empty() {
            let count = into.len().min(self.early.len());
            for (to, from) in into.iter_mut().zip(self.early.drain(..count)) {
                *to = from;
            }
            return Ok(count);
        }
        loop {
            let number = |fd: &Option<OwnedFd>| fd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let fds = [self.stream.as_raw_fd(), number(&self.cancel), number(&self.process)];
            let left = remaining(self.deadline)?.as_millis().min(i32::MAX as u128) as i32;
            let [readable, cancelled, gone] = raw::wait_readable(fds, left + 1)?;
            if cancelled {
                return Err(BusError::Cancelled);
            }
            if gone {
                return Err(BusError::Gone);
            }
            if !readable {
                continue;
            }
            match self.stream.read(into) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn malformed(error: impl std::fmt::Display) -> BusError {
    BusError::Broken(format!("malformed message: {error}"))
}

/// The length of the message that begins with this header.
pub(super) fn length(header: &[u8]) -> Result<usize, BusError> {
    let (_, fixed) = unmarshal::unmarshal_header(header, 0).map_err(malformed)?;
    let word = header.get(12..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
    let fields = match fixed.byteorder {
        rustbus::ByteOrder::LittleEndian => u32::from_le_bytes(word),
        rustbus::ByteOrder::BigEndian => u32::from_be_bytes(word),
    };
    let total = FIXED
        .saturating_add((fields as usize).saturating_add(7) & !7)
        .saturating_add(fixed.body_len as usize);
    if total > LARGEST {
        return Err(malformed("it is too large"));
    }
    Ok(total)
}

/// Decodes a whole message.
pub(super) fn decode(bytes: &[u8]) -> Result<MarshalledMessage, BusError> {
    let (used, header) = unmarshal::unmarshal_header(bytes, 0).map_err(malformed)?;
    let (more, fields) = unmarshal::unmarshal_dynamic_header(&header, bytes, used).map_err(malformed)?;
    let (_, message) =
        unmarshal::unmarshal_next_message(&header, fields, bytes, used + more).map_err(malformed)?;
    Ok(message)
}

/// The time left; an error if there is none.
fn remaining(deadline: Instant) -> Result<Duration, BusError> {
    let left = deadline.saturating_duration_since(Instant::now());
    // A timeout of zero would mean none.
    if left < Duration::from_micros(1) { Err(BusError::Timeout) } else { Ok(left) }
}

fn set_send_timeout(socket: &OwnedFd, timeout: Duration) -> nix::Result<()> {
    let micros = i64::from(timeout.subsec_micros()).max(1);
    setsockopt(socket, sockopt::SendTimeout, &TimeVal::new(timeout.as_secs() as i64, micros))
}

/// The unix sockets in a list of addresses: `unix:path=/run/bus,guid=...;unix:abstract=...`.
pub(super) fn addresses(text: &str) -> Vec<UnixAddr> {
    let parts = text.split(';').filter_map(|address| address.strip_prefix("unix:"));
    let keys = parts.flat_map(|keys| keys.split(',').filter_map(|pair| pair.split_once('=')));
    keys.filter_map(|(key, value)| match key {
        "path" => UnixAddr::new(&PathBuf::from(unescape(value)?)).ok(),
        "abstract" => UnixAddr::new_abstract(unescape(value)?.as_bytes()).ok(),
        _ => None,
    })
    .collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A peer that answers each thing that it hears with the next of these, and then keeps or closes the connection.
    fn peer(says: &[&[u8]], closes: bool) -> (tempfile::TempDir, Endpoint) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let says: Vec<Vec<u8>> = says.iter().map(|part| part.to_vec()).collect();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for part in says {
                assert_ne!(stream.read(&mut [0; 4096]).unwrap(), 0);
                stream.write_all(&part).unwrap();
            }
            if closes {
                // What the other side sends is read; otherwise it would see a reset instead of an end.
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            }
            drop(io::copy(&mut stream, &mut io::sink()));
        });
        (dir, Endpoint::Direct(path))
    }

    const AUTHENTICATED: &[u8] = b"DATA\r\nOK 0\r\n";

    fn open(endpoint: &Endpoint, milliseconds: u64) -> Result<Connection, BusError> {
        Connection::open(endpoint, Instant::now() + Duration::from_millis(milliseconds), None)
    }

    fn call() -> MarshalledMessage {
        rustbus::MessageBuilder::new().call("Ping").on("/").with_interface("a.b").build()
    }

    #[test]
    fn a_peer_that_says_nothing_is_a_timeout() {
        let (_dir, endpoint) = peer(&[], false);
        assert!(matches!(open(&endpoint, 100), Err(BusError::Timeout)));
        let (_dir, endpoint) = peer(&[AUTHENTICATED], false);
        let mut connection = open(&endpoint, 60_000).unwrap();
        connection.deadline = Instant::now() + Duration::from_millis(100);
        assert!(matches!(connection.call(&call()), Err(BusError::Timeout)));
    }

    #[test]
    fn a_peer_that_goes_is_an_error_at_once() {
        let (_dir, endpoint) = peer(&[b"OK"], true);
        assert!(matches!(open(&endpoint, 60_000), Err(BusError::Broken(_))));
        let (_dir, endpoint) = peer(&[AUTHENTICATED], true);
        let mut connection = open(&endpoint, 60_000).unwrap();
        assert!(matches!(connection.call(&call()), Err(BusError::Broken(_))));
    }

    #[test]
    fn a_signal_that_comes_with_the_end_of_the_authentication_is_kept() {
        let signal = rustbus::MessageBuilder::new().signal("a.b", "Early", "/").to("x.y").build();
        let mut bytes = AUTHENTICATED.to_vec();
        let mut header = Vec::new();
        marshal::marshal(&signal, 1, &mut header).unwrap();
        bytes.extend(header);
        bytes.extend(signal.get_buf());
        let (_dir, endpoint) = peer(&[&bytes], false);
        let mut connection = open(&endpoint, 60_000).unwrap();
        assert_eq!(connection.signal().unwrap().dynheader.member.as_deref(), Some("Early"));
    }

    #[test]
    fn what_is_no_d_bus_is_said_so() {
        for says in
            [&b"REJECTED EXTERNAL\r\nREJECTED EXTERNAL\r\n"[..], &[b'x'; 2000], b"HTTP/1.1 400 Bad\r\n\r\n"]
        {
            let (_dir, endpoint) = peer(&[says], false);
            assert!(matches!(open(&endpoint, 60_000), Err(BusError::Broken(_))));
        }
        let huge = b"l\x02\x00\x01\xff\xff\xff\x7f\x01\x00\x00\x00\x00\x00\x00\x00";
        let (_dir, endpoint) = peer(&[AUTHENTICATED, huge], false);
        let mut connection = open(&endpoint, 60_000).unwrap();
        assert!(matches!(connection.call(&call()), Err(BusError::Broken(text)) if text.contains("large")));
    }

    #[test]
    fn addresses_are_unescaped() {
        let found = addresses("tcp:host=x;unix:path=/run/a%20b,guid=1;unix:abstract=/c");
        let expected = [UnixAddr::new("/run/a b").unwrap(), UnixAddr::new_abstract(b"/c").unwrap()];
        assert_eq!(found, expected);
        assert_eq!(addresses("unix:path=%zz"), []);
    }
}
