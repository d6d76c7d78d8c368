//! Answers of the kernel about network devices for fuzz targets.

use std::hint::black_box;

use super::device::Link;
use super::{address, route};
use crate::sys::netlink::{Packet, words};

/// A kind of message, and its body. What is asked for again must be understood again.
pub(crate) fn answers(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first_chunk::<2>() else { return };
    let packet = Packet { kind: u16::from_ne_bytes(*kind), body: body.to_vec() };
    black_box(Link::of(&packet));
    black_box(words(&packet.body));
    let packets = [packet];
    for packet in address::in_order(&packets) {
        let seen = (address::is_kept(packet), address::is_restored(packet), address::is_of(packet, 1));
        if let Some(request) = address::request(packet, 7, ("eth0", "a-longer-name0")) {
            assert!(address::is_of(&request, 7), "the request is for another device");
        } else {
            assert!(!seen.0 && !seen.1, "an address that is kept cannot be asked for");
        }
    }
    for packet in route::in_order(&packets) {
        let restored = route::is_restored(packet, 1);
        assert!(
            !restored || route::request(packet, 1).is_some(),
            "a route that is restored cannot be asked for"
        );
    }
}
