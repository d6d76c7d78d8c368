//! The routes of a device on the host: the move removes them, and a returning device needs them again (rtnetlink(7),
//! `RTM_NEWROUTE`). A container gets none: they are up to whatever sets up its network.

use netlink_packet_core::Emitable as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteFlags, RouteHeader};

use crate::sys::netlink::{Attribute, Packet};

const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;

/// `RTNH_F_ONLINK`: the only flag of a route that can be requested.
const ONLINK: u32 = 4;
/// `RTPROT_RA`: learnt from a router, which the kernel asks again.
const ROUTER_ADVERTISEMENT: u8 = 9;

/// The query for a device's routes.
pub(super) fn query(family: AddressFamily, index: u32) -> Packet {
    let header = RouteHeader { address_family: family, ..RouteHeader::default() };
    Packet::new(libc::RTM_GETROUTE, &header, &[Attribute::number(RTA_OIF, index)])
}

/// Whether a route is to be added again: not one that comes with an address, with the device, or with a router's
/// message; nor one with further devices, which the kernel keeps.
pub(super) fn is_restored(packet: &Packet, index: u32) -> bool {
    let Ok(header) = RouteHeader::parse(&packet.body) else { return false };
    let attributes = packet.attributes(header.buffer_len());
    let has = |kind| attributes.iter().any(|attribute| attribute.kind == kind);
    packet.kind == libc::RTM_NEWROUTE
        && attributes
            .iter()
            .any(|attribute| attribute.kind == RTA_OIF && attribute.as_number() == Some(index))
        && header.table != libc::RT_TABLE_LOCAL
        && header.flags.bits() & libc::RTM_F_CLONED == 0
        && ![libc::RTPROT_KERNEL, ROUTER_ADVERTISEMENT].contains(&u8::from(header.protocol))
        && !has(RTA_MULTIPATH)
        && !has(RTA_NH_ID)
}

/// The request that adds the route to the device with this number.
pub(super) fn request(packet: &Packet, index: u32) -> Option<Packet> {
    let header = RouteHeader::parse(&packet.body).ok()?;
    let attributes: Vec<_> = packet
        .attributes(header.buffer_len())
        .into_iter()
        .filter_map(|attribute| match attribute.kind {
            RTA_CACHEINFO => None,
            RTA_OIF => Some(Attribute::number(RTA_OIF, index)),
            _ => Some(attribute),
        })
        .collect();
    let flags = RouteFlags::from_bits_retain(header.flags.bits() & ONLINK);
    Some(Packet::new(libc::RTM_NEWROUTE, &RouteHeader { flags, ..header }, &attributes))
}

/// Routes, direct ones first: a route's gateway must be reachable when it is added.
pub(super) fn in_order(routes: &[Packet]) -> impl Iterator<Item = &Packet> {
    let has_gateway = |packet: &&Packet| {
        RouteHeader::parse(&packet.body).is_ok_and(|header| {
            let attributes = packet.attributes(header.buffer_len());
            attributes.iter().any(|attribute| matches!(attribute.kind, RTA_GATEWAY | RTA_VIA))
        })
    };
    routes.iter().filter(move |packet| !has_gateway(packet)).chain(routes.iter().filter(has_gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(change: impl FnOnce(&mut RouteHeader), more: &[Attribute]) -> Packet {
        let mut header = RouteHeader {
            address_family: AddressFamily::Inet,
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: 3.into(),
            kind: 1.into(),
            ..RouteHeader::default()
        };
        change(&mut header);
        let attributes = [&[Attribute::number(RTA_OIF, 5)], more].concat();
        Packet::new(libc::RTM_NEWROUTE, &header, &attributes)
    }

    #[test]
    fn only_what_nobody_makes_anew_is_restored() {
        assert!(is_restored(&route(|_| (), &[]), 5));
        assert!(!is_restored(&route(|_| (), &[]), 6));
        assert!(!is_restored(&route(|header| header.table = 255, &[]), 5));
        assert!(!is_restored(&route(|header| header.protocol = 2.into(), &[]), 5));
        assert!(!is_restored(&route(|header| header.protocol = 9.into(), &[]), 5));
        assert!(!is_restored(&route(|_| (), &[Attribute { kind: RTA_MULTIPATH, value: vec![] }]), 5));
        assert!(!is_restored(&Packet { kind: libc::RTM_NEWROUTE, body: vec![0; 3] }, 5));
    }

    #[test]
    fn a_request_asks_only_for_what_was_asked_for_before() {
        let gateway = Attribute { kind: RTA_GATEWAY, value: vec![10, 0, 0, 1] };
        let told = route(
            |header| header.flags = RouteFlags::from_bits_retain(0x4014),
            &[gateway.clone(), Attribute { kind: RTA_CACHEINFO, value: vec![0; 32] }],
        );
        let made = request(&told, 9).expect("a route");
        assert_eq!(RouteHeader::parse(&made.body).expect("a header").flags.bits(), ONLINK);
        assert_eq!(made.attributes(12), [Attribute::number(RTA_OIF, 9), gateway.clone()]);
        let direct = route(|_| (), &[]);
        let all = [told.clone(), direct.clone()];
        assert_eq!(in_order(&all).collect::<Vec<_>>(), [&direct, &told]);
    }
}
