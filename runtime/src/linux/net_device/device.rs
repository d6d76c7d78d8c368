//! One device as it is now, or was before its move.

use netlink_packet_core::Emitable as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressHeader;
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{DeviceRequest, address, route};
use crate::sys::ethtool;
use crate::sys::netlink::{Attribute, Netlink, Packet, Refusal};

/// `RTEXT_FILTER_SKIP_STATS`: without it, an answer is mostly counters.
const SKIP_STATS: u32 = libc::RTEXT_FILTER_SKIP_STATS as u32;

/// `IFLA_NETNS_IMMUTABLE` (`linux/if_link.h`), which libc does not have.
const NETNS_IMMUTABLE: u16 = 67;

/// What a namespace reports about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) up: bool,
    /// The link-layer address, if it has one.
    pub(super) hardware: Vec<u8>,
    /// The number of the bridge or bond that it is a port of.
    pub(super) master: Option<u32>,
    /// Whether it stays in its namespace, if netlink reports that (Linux 6.15).
    immutable: Option<bool>,
}

/// A device as it was on the host, with everything that a move removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) request: DeviceRequest,
    /// Its number on the host.
    pub(super) index: u32,
    /// Its number in the container, chosen before the move: that identifies it there, whatever its name.
    pub(super) index_inside: u32,
    pub(super) up: bool,
    pub(super) hardware: Vec<u8>,
    pub(super) master: Option<u32>,
    pub(super) addresses: Vec<Packet>,
    pub(super) routes: Vec<Packet>,
}

/// How to look up a device.
#[derive(Clone, Copy, Debug)]
pub(super) enum DeviceKey<'k> {
    Index(u32),
    Name(&'k str),
}

impl Link {
    pub(super) fn of(packet: &Packet) -> Option<Self> {
        let header = LinkHeader::parse(&packet.body).ok()?;
        let mut link = Self {
            index: header.index,
            name: String::new(),
            up: header.flags.contains(LinkFlags::Up),
            hardware: Vec::new(),
            master: None,
            immutable: None,
        };
        for attribute in packet.attributes(header.buffer_len()) {
            match attribute.kind {
                libc::IFLA_IFNAME => link.name = attribute.as_text(),
                libc::IFLA_ADDRESS => link.hardware = attribute.value,
                libc::IFLA_MASTER => link.master = attribute.as_number(),
                NETNS_IMMUTABLE => link.immutable = Some(attribute.value == [1]),
                _ => {}
            }
        }
        Some(link)
    }

    /// Whether the kernel will not move it. `self` is in the calling thread's namespace.
    pub(super) fn stays(&self) -> bool {
        // Before Linux 6.12 that was a feature; in between it was not reported anywhere.
        let feature = || ethtool::feature(&self.name, "netns-local");
        self.immutable.or_else(feature).unwrap_or(false)
    }

    /// The device, if the namespace has it. The name may be one of its alternative names.
    pub(super) fn find(netlink: &Netlink, key: DeviceKey<'_>) -> Result<Option<Self>, Refusal> {
        let (index, name) = match key {
            DeviceKey::Index(index) => (index, None),
            DeviceKey::Name(name) => (0, Some(Attribute::text(libc::IFLA_IFNAME, name))),
        };
        let attributes: Vec<_> =
            name.into_iter().chain([Attribute::number(libc::IFLA_EXT_MASK, SKIP_STATS)]).collect();
        let header = LinkHeader { index, ..LinkHeader::default() };
        match netlink.get(Packet::new(libc::RTM_GETLINK, &header, &attributes)) {
            Ok(packet) => Ok(Self::of(&packet)),
            Err(Refusal { errno: Errno::ENODEV, .. }) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Every device of the namespace.
    pub(super) fn all(netlink: &Netlink) -> Result<Vec<Self>, Refusal> {
        let attributes = [Attribute::number(libc::IFLA_EXT_MASK, SKIP_STATS)];
        let query = Packet::new(libc::RTM_GETLINK, &LinkHeader::default(), &attributes);
        Ok(netlink.dump(query)?.iter().filter_map(Self::of).collect())
    }

    /// Changes a device: attributes, and whether it is up, if that is given.
    pub(super) fn change(
        netlink: &Netlink,
        index: u32,
        up: Option<bool>,
        attributes: &[Attribute],
    ) -> Result<(), Refusal> {
        let header = LinkHeader {
            index,
            flags: if up == Some(true) { LinkFlags::Up } else { LinkFlags::empty() },
            change_mask: if up.is_some() { LinkFlags::Up } else { LinkFlags::empty() },
            ..LinkHeader::default()
        };
        netlink.change(Packet::new(libc::RTM_SETLINK, &header, attributes), 0)
    }
}

impl Device {
    /// Records what the move will remove.
    pub(super) fn look(netlink: &Netlink, request: &DeviceRequest, link: Link) -> Result<Self, Refusal> {
        let index = link.index;
        let header = AddressHeader { index, ..AddressHeader::default() };
        let addresses = netlink
            .dump(Packet::new(libc::RTM_GETADDR, &header, &[]))?
            .into_iter()
            .filter(|packet| address::is_of(packet, index))
            .collect();
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            match netlink.dump(route::query(family, index)) {
                Ok(found) => {
                    routes.extend(found.into_iter().filter(|packet| route::is_restored(packet, index)));
                }
                // A kernel without that family, or without a table for it.
                Err(Refusal { errno: Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::ENOENT, .. }) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(Self {
            request: request.clone(),
            index,
            index_inside: index,
            up: link.up,
            hardware: link.hardware,
            master: link.master,
            addresses,
            routes,
        })
    }

    /// Whether a link is this device, as far as can be found out without its number: its name is one that it may have
    /// now, and the link-layer address is the same.
    pub(super) fn may_be(&self, link: &Link) -> bool {
        link.hardware == self.hardware && matches_name(self.request.name_inside(), &link.name)
    }
}

/// Whether a name is the requested one, or one that the kernel makes from the template.
fn matches_name(wished: &str, name: &str) -> bool {
    match wished.split_once("%d") {
        None => wished == name,
        Some((head, tail)) => name
            .strip_prefix(head)
            .and_then(|rest| rest.strip_suffix(tail))
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())),
    }
}

#[cfg(test)]
mod tests {
    use super::matches_name;

    #[test]
    fn a_template_stands_for_its_numbers() {
        assert!(matches_name("eth0", "eth0"));
        assert!(!matches_name("eth0", "eth00"));
        assert!(matches_name("eth%d", "eth17"));
        assert!(matches_name("e%dx", "e0x"));
        for other in ["eth", "ethx", "eth1x", "fth1", "eth%d"] {
            assert!(!matches_name("eth%d", other), "{other}");
        }
    }
}
