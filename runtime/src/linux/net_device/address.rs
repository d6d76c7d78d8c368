//! Which addresses a device takes along, and how they are added again (rtnetlink(7), `RTM_NEWADDR`).

use netlink_packet_core::Emitable as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressFlags, AddressHeader, AddressHeaderFlags, AddressScope};

use crate::sys::netlink::{Attribute, Packet};

const IFA_LABEL: u16 = 3;
const IFA_FLAGS: u16 = 8;
const IFA_TARGET_NETNSID: u16 = 10;
const IFA_PROTO: u16 = 11;

/// `IFAPROT_KERNEL_LL`: the link-local address that the kernel adds when a device comes up.
const KERNEL_LINK_LOCAL: u8 = 3;

/// The longest label, as the longest device name: `IFNAMSIZ` without the NUL (netdevice(7)).
const MOST_LABEL: usize = 15;

/// Flags that the kernel accepts in a request; it sets the others itself.
fn settable() -> AddressFlags {
    AddressFlags::Nodad
        | AddressFlags::Optimistic
        | AddressFlags::Homeaddress
        | AddressFlags::Managetempaddr
        | AddressFlags::Noprefixroute
        | AddressFlags::Mcautojoin
}

/// An address as the kernel reported it.
struct KernelAddress {
    header: AddressHeader,
    attributes: Vec<Attribute>,
    flags: AddressFlags,
}

impl KernelAddress {
    fn of(packet: &Packet) -> Option<Self> {
        let header = AddressHeader::parse(&packet.body).ok()?;
        let attributes = packet.attributes(header.buffer_len());
        // The header has room for only eight flags.
        let flags = attributes
            .iter()
            .find(|attribute| attribute.kind == IFA_FLAGS)
            .and_then(Attribute::as_number)
            .unwrap_or_else(|| u32::from(header.flags.bits()));
        Some(Self { header, attributes, flags: AddressFlags::from_bits_retain(flags) })
    }

    /// The same bit means `secondary` for IPv4, which the kernel works out, and `temporary` for IPv6 (RFC 8981).
    fn is_temporary(&self) -> bool {
        self.header.family == AddressFamily::Inet6 && self.flags.contains(AddressFlags::Secondary)
    }

    fn is_kernel_link_local(&self) -> bool {
        self.attributes
            .iter()
            .any(|attribute| attribute.kind == IFA_PROTO && attribute.value == [KERNEL_LINK_LOCAL])
    }
}

/// Whether an address belongs to the device with this number.
pub(super) fn is_of(packet: &Packet, index: u32) -> bool {
    packet.kind == libc::RTM_NEWADDR
        && AddressHeader::parse(&packet.body).is_ok_and(|header| header.index == index)
}

/// Whether the container gets the address: permanent and of global scope, of any family.
pub(super) fn is_kept(packet: &Packet) -> bool {
    KernelAddress::of(packet).is_some_and(|told| {
        told.flags.contains(AddressFlags::Permanent)
            && told.header.scope == AddressScope::Universe
            && !told.is_temporary()
    })
}

/// Whether the host gets the address again when the device comes back: all except those that the kernel makes itself.
pub(super) fn is_restored(packet: &Packet) -> bool {
    KernelAddress::of(packet).is_some_and(|told| !told.is_temporary() && !told.is_kernel_link_local())
}

/// The order in which to add them so that they end up in the same order: the kernel puts an IPv6 address before the
/// others of its scope, and an IPv4 address after, which makes it secondary to one of the same network.
pub(super) fn in_order(addresses: &[Packet]) -> impl Iterator<Item = &Packet> {
    let is_v6 = |packet: &&Packet| {
        AddressHeader::parse(&packet.body).is_ok_and(|header| header.family == AddressFamily::Inet6)
    };
    addresses.iter().filter(move |packet| !is_v6(packet)).chain(addresses.iter().rev().filter(is_v6))
}

/// The request that adds the address to the device with this number. `rename` has the device's old and new names.
pub(super) fn request(packet: &Packet, index: u32, rename: (&str, &str)) -> Option<Packet> {
    let KernelAddress { header, attributes, flags } = KernelAddress::of(packet)?;
    let flags = flags & settable();
    let header =
        AddressHeader { index, flags: AddressHeaderFlags::from_bits_retain(flags.bits() as u8), ..header };
    let attributes: Vec<_> = attributes
        .into_iter()
        .filter_map(|attribute| match attribute.kind {
            IFA_TARGET_NETNSID | IFA_FLAGS => None,
            IFA_LABEL => Some(Attribute::text(IFA_LABEL, &relabel(&attribute.as_text(), rename))),
            _ => Some(attribute),
        })
        .chain([Attribute::number(IFA_FLAGS, flags.bits())])
        .collect();
    Some(Packet::new(libc::RTM_NEWADDR, &header, &attributes))
}

/// A label that begins with the device's name follows a change of it, as when a device is renamed in place.
fn relabel(label: &str, (before, now): (&str, &str)) -> String {
    match label.strip_prefix(before) {
        Some(rest) if rest.is_empty() || rest.starts_with(':') => {
            let mut room = MOST_LABEL.saturating_sub(rest.len()).min(now.len());
            while !now.is_char_boundary(room) {
                room -= 1;
            }
            format!("{}{rest}", &now[..room])
        }
        _ => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IFA_LOCAL: u16 = 2;
    const FUTURE: u16 = 99;

    fn address(family: AddressFamily, flags: u32, scope: u8, more: &[Attribute]) -> Packet {
        let header = AddressHeader {
            family,
            prefix_len: 24,
            flags: AddressHeaderFlags::from_bits_retain(flags as u8),
            scope: scope.into(),
            index: 3,
        };
        let attributes = [more, &[Attribute::number(IFA_FLAGS, flags)]].concat();
        Packet::new(libc::RTM_NEWADDR, &header, &attributes)
    }

    #[test]
    fn permanent_global_addresses_are_kept() {
        use AddressFamily::{Inet, Inet6};
        const PERMANENT: u32 = 0x80;
        for (family, flags, scope, kept) in [
            (Inet, PERMANENT, 0, true),
            (Inet, PERMANENT | 1, 0, true), // secondary
            (Inet, 0, 0, false),            // with a lifetime
            (Inet, PERMANENT, 253, false),  // of the link
            (Inet, PERMANENT, 254, false),  // of the host
            (Inet6, PERMANENT, 0, true),
            (Inet6, PERMANENT | 0x200, 0, true), // no prefix route
            (Inet6, PERMANENT | 1, 0, false),    // temporary
            (Inet6, PERMANENT, 200, false),      // of the site
            (AddressFamily::Mctp, PERMANENT, 0, true),
        ] {
            assert_eq!(is_kept(&address(family, flags, scope, &[])), kept, "{family:?} {flags:x} {scope}");
        }
    }

    #[test]
    fn the_host_gets_back_what_the_kernel_does_not_make() {
        use AddressFamily::{Inet, Inet6};
        assert!(is_restored(&address(Inet, 0, 0, &[])));
        assert!(is_restored(&address(Inet, 1, 253, &[])));
        assert!(is_restored(&address(Inet6, 0x80, 253, &[])));
        assert!(!is_restored(&address(Inet6, 1, 0, &[])));
        let by_kernel = Attribute { kind: IFA_PROTO, value: vec![KERNEL_LINK_LOCAL] };
        assert!(!is_restored(&address(Inet6, 0x80, 253, &[by_kernel])));
    }

    #[test]
    fn a_request_has_every_attribute_of_the_address() {
        let own = [
            Attribute { kind: IFA_LOCAL, value: vec![10, 0, 0, 1] },
            Attribute::text(IFA_LABEL, "eth0:web"),
            Attribute { kind: FUTURE, value: vec![1, 2, 3, 4, 5] },
            Attribute::number(IFA_TARGET_NETNSID, 1),
        ];
        let made = request(&address(AddressFamily::Inet, 0x81 | 0x200, 0, &own), 7, ("eth0", "web0"))
            .expect("an address");
        let header = AddressHeader::parse(&made.body).expect("a header");
        assert_eq!((header.index, header.prefix_len, header.flags.bits()), (7, 24, 0));
        assert_eq!(
            made.attributes(8),
            [
                own[0].clone(),
                Attribute::text(IFA_LABEL, "web0:web"),
                own[2].clone(),
                Attribute::number(IFA_FLAGS, 0x200)
            ]
        );
        assert!(is_of(&made, 7) && !is_of(&made, 3));
    }

    #[test]
    fn labels_follow_the_name() {
        assert_eq!(relabel("eth0", ("eth0", "web")), "web");
        assert_eq!(relabel("eth0:1", ("eth0", "web")), "web:1");
        assert_eq!(relabel("eth01", ("eth0", "web")), "eth01");
        assert_eq!(relabel("other", ("eth0", "web")), "other");
        assert_eq!(relabel("e:12345678", ("e", "abcdefghijklmno")), "abcdef:12345678");
    }

    #[test]
    fn ipv6_addresses_are_added_last_first() {
        let packets: Vec<_> =
            [AddressFamily::Inet, AddressFamily::Inet6, AddressFamily::Inet, AddressFamily::Inet6]
                .into_iter()
                .enumerate()
                .map(|(number, family)| address(family, 0, 0, &[Attribute::number(IFA_LOCAL, number as u32)]))
                .collect();
        let order: Vec<_> =
            in_order(&packets).map(|packet| packet.attributes(8)[0].as_number().unwrap_or(9)).collect();
        assert_eq!(order, [0, 2, 3, 1]);
    }

    proptest! {
        #[test]
        fn no_message_is_too_odd(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let packet = Packet { kind: libc::RTM_NEWADDR, body };
            let made = request(&packet, 1, ("a", "b"));
            prop_assert_eq!(made.is_some(), packet.body.len() >= 8);
            prop_assert!(!is_kept(&packet) || is_restored(&packet) || packet.attributes(8).iter().any(|a| a.kind == IFA_PROTO));
        }

        #[test]
        fn a_label_is_never_too_long(name in "[a-zé]{1,15}", rest in "(:[a-z0-9]{0,8})?") {
            let label = relabel(&format!("eth0{rest}"), ("eth0", &name));
            prop_assert!(label.len() <= MOST_LABEL);
            prop_assert!(label.ends_with(&rest));
        }
    }
}
