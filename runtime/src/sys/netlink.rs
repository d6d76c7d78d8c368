//! Requests to routing netlink (rtnetlink(7)), one at a time, with their answers.
//!
//! Attributes are kept as bytes, so that all of them can be carried from one namespace to another, even those unknown
//! to this code.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, Nla, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::clone;

/// One attribute, as the kernel writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) kind: u16,
    pub(crate) value: Vec<u8>,
}

/// A message without its netlink header: a header of its kind, then attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Packet {
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

/// Why the kernel refused a request: the errno, and its own message if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) errno: Errno,
    pub(crate) words: Option<String>,
}

/// A socket to the routing netlink of one network namespace, which lives at least as long.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    namespace: OwnedFd,
    sequence: Cell<u32>,
}

impl Attribute {
    /// An attribute with a number.
    pub(crate) fn number(kind: u16, value: u32) -> Self {
        Self { kind, value: value.to_ne_bytes().to_vec() }
    }

    /// An attribute with a text, including the NUL that the kernel requires.
    pub(crate) fn text(kind: u16, text: &str) -> Self {
        Self { kind, value: text.bytes().chain([0]).collect() }
    }

    /// The text, without the NUL.
    pub(crate) fn as_text(&self) -> String {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        String::from_utf8_lossy(&self.value[..end]).into_owned()
    }

    /// The number, if it has 32 bits.
    pub(crate) fn as_number(&self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.value.as_slice().try_into().ok()?))
    }
}

impl Nla for Attribute {
    fn value_len(&self) -> usize {
        self.value.len()
    }

    fn kind(&self) -> u16 {
        self.kind
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.value);
    }
}

impl Packet {
    /// A message of a header and attributes.
    pub(crate) fn new(kind: u16, header: &impl Emitable, attributes: &[Attribute]) -> Self {
        let length = header.buffer_len();
        let mut body = vec![0; length + attributes.buffer_len()];
        header.emit(&mut body[..length]);
        attributes.emit(&mut body[length..]);
        Self { kind, body }
    }

    /// The attributes after a header of that length; malformed data ends the list.
    pub(crate) fn attributes(&self, header: usize) -> Vec<Attribute> {
        NlasIterator::new(self.body.get(header..).unwrap_or_default())
            .map_while(Result::ok)
            .map(|attribute| Attribute { kind: attribute.kind(), value: attribute.value().to_vec() })
            .collect()
    }
}

impl NetlinkSerializable for Packet {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.body);
    }
}

impl NetlinkDeserializable for Packet {
    type Error = std::convert::Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self { kind: header.message_type, body: payload.to_vec() })
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, words: None }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)).into()
    }
}

impl Netlink {
    /// Opens the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, Refusal> {
        let namespace = File::open("/proc/thread-self/ns/net")?.into();
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        // An error comes with the kernel's message and without a copy of the request.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // Dumps honour the filters in their requests.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self { socket, namespace, sequence: Cell::new(0) })
    }

    /// Opens another namespace: that of a process (a pidfd), or a descriptor of the namespace itself.
    ///
    /// setns(2) moves one thread: one is made for it, and ends right after. A netlink socket stays in the namespace
    /// that it was made in.
    pub(crate) fn open_in(namespace: BorrowedFd<'_>) -> Result<Self, Refusal> {
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("wharf-net".to_owned())
                .spawn_scoped(scope, || {
                    clone::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET)?;
                    Self::open()
                })?
                .join()
                .unwrap_or(Err(Errno::EIO.into()))
        })
    }

    /// The namespace.
    pub(crate) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// Asks the kernel to change something.
    pub(crate) fn change(&self, packet: Packet, flags: u16) -> Result<(), Refusal> {
        self.exchange(packet, NLM_F_ACK | flags).map(drop)
    }

    /// Asks for one object.
    pub(crate) fn get(&self, packet: Packet) -> Result<Packet, Refusal> {
        self.exchange(packet, NLM_F_ACK)?.pop().ok_or_else(|| Errno::ENOENT.into())
    }

    /// Asks for all objects of a kind.
    pub(crate) fn dump(&self, packet: Packet) -> Result<Vec<Packet>, Refusal> {
        /// A table that changes all the time is better read inconsistently than not at all.
        const TRIES: u32 = 8;
        for _ in 1..TRIES {
            match self.exchange(packet.clone(), NLM_F_DUMP) {
                Err(Refusal { errno: Errno::EINTR, .. }) => {}
                done => return done,
            }
        }
        self.exchange(packet, NLM_F_DUMP)
    }

    fn exchange(&self, packet: Packet, flags: u16) -> Result<Vec<Packet>, Refusal> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(packet));
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        retried(|| self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0))?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            let (datagram, from) = retried(|| self.socket.recv_from_full())?;
            // Other processes may send to the socket too, if they are privileged.
            if from.port_number() != 0 {
                continue;
            }
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message =
                    NetlinkMessage::<Packet>::deserialize(rest).map_err(|_| Refusal::from(Errno::EBADMSG))?;
                let length = message.header.length as usize;
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                if message.header.sequence_number != sequence {
                    continue;
                }
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Done(_) if interrupted => return Err(Errno::EINTR.into()),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(Errno::from_raw(-done.code).into());
                    }
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.raw_code() == 0 => return Ok(answers),
                    NetlinkPayload::Error(error) => {
                        return Err(Refusal {
                            errno: Errno::from_raw(-error.raw_code()),
                            words: (message.header.flags & NLM_F_ACK_TLVS != 0)
                                .then(|| words(&error.header))
                                .flatten(),
                        });
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The kernel's message in an extended acknowledgement: after the header of the request (linux/netlink.h).
pub(crate) fn words(payload: &[u8]) -> Option<String> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    const REQUEST_HEADER: usize = 16;
    let packet = Packet { kind: 0, body: payload.to_vec() };
    let attribute = packet
        .attributes(REQUEST_HEADER)
        .into_iter()
        .find(|attribute| attribute.kind == NLMSGERR_ATTR_MSG)?;
    Some(attribute.as_text())
}

fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkHeader;

    use super::*;

    fn link(index: u32, attributes: &[Attribute]) -> Packet {
        let header = LinkHeader { index, ..LinkHeader::default() };
        Packet::new(libc::RTM_GETLINK, &header, attributes)
    }

    #[test]
    fn the_loopback_device_is_found_by_number_and_by_name() {
        let netlink = Netlink::open().expect("a socket");
        let by_number = netlink.get(link(1, &[])).expect("the first link");
        let by_name = netlink.get(link(0, &[Attribute::text(libc::IFLA_IFNAME, "lo")])).expect("the link lo");
        for found in [by_number, by_name] {
            let header = LinkHeader::parse(&found.body).expect("a header");
            assert_eq!(header.index, 1);
            let attributes = found.attributes(header.buffer_len());
            let name = attributes.iter().find(|attribute| attribute.kind == libc::IFLA_IFNAME);
            assert_eq!(name.map(Attribute::as_text).as_deref(), Some("lo"));
        }
        let all = netlink.dump(link(0, &[])).expect("all links");
        assert!(all.iter().any(|found| LinkHeader::parse(&found.body).is_ok_and(|header| header.index == 1)));
    }

    #[test]
    fn a_refusal_has_its_errno() {
        let netlink = Netlink::open().expect("a socket");
        let refusal = netlink.get(link(i32::MAX as u32, &[])).expect_err("no such link");
        assert_eq!(refusal.errno, Errno::ENODEV);
    }

    #[test]
    fn malformed_attributes_end_the_list() {
        let whole =
            Packet::new(0, &LinkHeader::default(), &[Attribute::number(7, 9), Attribute::text(8, "abc")]);
        assert_eq!(whole.attributes(16).len(), 2);
        assert_eq!(whole.attributes(16)[0].as_number(), Some(9));
        for cut in 16..whole.body.len() {
            let packet = Packet { kind: 0, body: whole.body[..cut].to_vec() };
            assert!(packet.attributes(16).len() < 2, "{cut}");
        }
        assert_eq!(whole.attributes(1000), []);
    }
}
