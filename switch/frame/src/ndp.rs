//! Neighbor Discovery, the two messages that resolve an address. Read first: RFC 4861 sections 4.3, 4.4 and 7.2.

use std::net::Ipv6Addr;

use crate::icmp::{self, v6};
use crate::{MacAddr, Malformed, array, checksum, ipv4, ipv6, put16};

/// Bytes of a solicitation or advertisement before its options.
pub const HEADER_LEN: usize = 24;
/// Bytes of one with a link-layer address option.
pub const LEN_WITH_OPTION: usize = HEADER_LEN + 8;
/// Neighbor Discovery messages carry this hop limit, which shows that no router forwarded them (RFC 4861 7.1.1).
pub const HOP_LIMIT: u8 = 255;

/// Flags of an advertisement (RFC 4861 section 4.4).
const ROUTER: u32 = 0x8000_0000;
const SOLICITED: u32 = 0x4000_0000;
const OVERRIDE: u32 = 0x2000_0000;
const OPTION_SOURCE_LINK_LAYER: u8 = 1;
const OPTION_TARGET_LINK_LAYER: u8 = 2;

/// A view of a neighbor solicitation or advertisement.
#[derive(Debug)]
pub struct Neighbor<T>(T);

impl<T: AsRef<[u8]>> Neighbor<T> {
    /// Checks type, code and length. Hop limit and checksum are the caller's to check, as they lie outside the message.
    ///
    /// # Errors
    /// For another message and for a shorter one.
    pub fn parse(message: T) -> Result<Self, Malformed> {
        let bytes = message.as_ref();
        if bytes.len() < HEADER_LEN {
            return Err(Malformed::Truncated("neighbor discovery"));
        }
        if !matches!(bytes[0], v6::NEIGHBOR_SOLICITATION | v6::NEIGHBOR_ADVERTISEMENT) || bytes[1] != 0 {
            return Err(Malformed::Field("neighbor discovery", "type or code"));
        }
        Ok(Neighbor(message))
    }

    /// Whether this is a solicitation; otherwise it is an advertisement.
    pub fn is_solicitation(&self) -> bool {
        self.0.as_ref()[0] == v6::NEIGHBOR_SOLICITATION
    }

    /// The address that is asked for or advertised.
    pub fn target(&self) -> Ipv6Addr {
        Ipv6Addr::from(array::<16>(self.0.as_ref(), 8))
    }

    /// The link-layer address option: the source's in a solicitation, the target's in an advertisement.
    pub fn link_layer_address(&self) -> Option<MacAddr> {
        let wanted = if self.is_solicitation() { OPTION_SOURCE_LINK_LAYER } else { OPTION_TARGET_LINK_LAYER };
        let mut options = &self.0.as_ref()[HEADER_LEN..];
        while options.len() >= 8 {
            let length = usize::from(options[1]) * 8;
            // RFC 4861 4.6: nodes discard a message with a zero-length option.
            if length == 0 || length > options.len() {
                return None;
            }
            if options[0] == wanted {
                return Some(MacAddr::new(array(options, 2)));
            }
            options = &options[length..];
        }
        None
    }
}

/// Writes an IPv6 packet with a neighbor advertisement into `packet` and returns its length in bytes: `target` is at
/// `mac`, told to `destination`. `solicited` says whether it answers a solicitation (RFC 4861 section 7.2.4). The sender
/// is a router, so R is set; so is Override.
///
/// # Panics
/// When `packet` is shorter than 72 bytes.
pub fn write_advertisement(
    packet: &mut [u8],
    mac: MacAddr,
    target: Ipv6Addr,
    destination: Ipv6Addr,
    solicited: bool,
) -> usize {
    let flags = ROUTER | OVERRIDE | if solicited { SOLICITED } else { 0 };
    let (kind, option) = (v6::NEIGHBOR_ADVERTISEMENT, OPTION_TARGET_LINK_LAYER);
    write(packet, &Message { kind, flags, option, mac, target, source: target, destination })
}

/// The same for a station that is no router.
///
/// # Panics
/// When `packet` is shorter than 72 bytes.
pub fn write_host_advertisement(
    packet: &mut [u8],
    mac: MacAddr,
    target: Ipv6Addr,
    destination: Ipv6Addr,
    solicited: bool,
) -> usize {
    let flags = OVERRIDE | if solicited { SOLICITED } else { 0 };
    let (kind, option) = (v6::NEIGHBOR_ADVERTISEMENT, OPTION_TARGET_LINK_LAYER);
    write(packet, &Message { kind, flags, option, mac, target, source: target, destination })
}

/// Writes an IPv6 packet with a neighbor solicitation into `packet` and returns its length in bytes: who has `target`?
/// asked by (`mac`, `source`) of the target's solicited-node group.
///
/// # Panics
/// When `packet` is shorter than 72 bytes.
pub fn write_solicitation(packet: &mut [u8], mac: MacAddr, source: Ipv6Addr, target: Ipv6Addr) -> usize {
    let (kind, option) = (v6::NEIGHBOR_SOLICITATION, OPTION_SOURCE_LINK_LAYER);
    write(packet, &Message { kind, flags: 0, option, mac, target, source, destination: solicited_node(target) })
}

/// The solicited-node multicast group of an address (RFC 4291 section 2.7.1).
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let o = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | o[13] as u16, (o[14] as u16) << 8 | o[15] as u16)
}

/// A message with its option.
struct Message {
    kind: u8,
    flags: u32,
    option: u8,
    mac: MacAddr,
    target: Ipv6Addr,
    source: Ipv6Addr,
    destination: Ipv6Addr,
}

fn write(packet: &mut [u8], message: &Message) -> usize {
    let &Message { kind, flags, option, mac, target, source, destination } = message;
    const PAYLOAD: u16 = 32;
    ipv6::write(packet, PAYLOAD, ipv4::protocol::ICMPV6, HOP_LIMIT, source, destination);
    let message = &mut packet[ipv6::HEADER_LEN..ipv6::HEADER_LEN + LEN_WITH_OPTION];
    icmp::write_header(message, kind, 0, flags);
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&[option, 1]);
    message[26..32].copy_from_slice(&mac.octets());
    let pseudo = checksum::pseudo_header_v6(source, destination, ipv4::protocol::ICMPV6, message.len());
    let value = !checksum::fold(pseudo + checksum::sum(message));
    put16(message, icmp::CHECKSUM_OFFSET, value);
    ipv6::HEADER_LEN + LEN_WITH_OPTION
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written parses back, and etherparse, an independent implementation, finds the checksum right.
    #[test]
    fn round_trip() {
        let (mac, target) = (MacAddr::new([2, 0x42, 1, 2, 3, 4]), "fd00::1".parse::<Ipv6Addr>().unwrap());
        let asker = "fd00::2".parse::<Ipv6Addr>().unwrap();
        let mut packet = [0u8; 72];
        for (length, solicitation) in [
            (write_advertisement(&mut packet.clone(), mac, target, asker, true), false),
            (write_solicitation(&mut packet.clone(), mac, asker, target), true),
        ] {
            assert_eq!(length, 72);
            if solicitation {
                write_solicitation(&mut packet, mac, asker, target);
            } else {
                write_advertisement(&mut packet, mac, target, asker, true);
            }
            let view = Neighbor::parse(&packet[40..]).unwrap();
            assert_eq!((view.is_solicitation(), view.target()), (solicitation, target));
            assert_eq!(view.link_layer_address(), Some(mac));
            let ip = etherparse::Ipv6Slice::from_slice(&packet).unwrap();
            let message = etherparse::Icmpv6Slice::from_slice(ip.payload().payload).unwrap();
            assert!(message.is_checksum_valid(ip.header().source(), ip.header().destination()));
        }
    }

    /// The group of fd00::1:2345 is ff02::1:ff01:2345, the example's form in RFC 4291 2.7.1.
    #[test]
    fn solicited_node_group() {
        let address = "4037::01:800:200e:8c6c".parse().unwrap();
        assert_eq!(solicited_node(address), "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
    }

    /// A message with a zero-length or overlong option has no usable option, and cut messages are refused.
    #[test]
    fn bad_options() {
        let mut message = [0u8; 32];
        message[0] = v6::NEIGHBOR_SOLICITATION;
        assert_eq!(Neighbor::parse(&message[..]).unwrap().link_layer_address(), None);
        message[24..26].copy_from_slice(&[1, 2]);
        assert_eq!(Neighbor::parse(&message[..]).unwrap().link_layer_address(), None);
        for length in 0..HEADER_LEN {
            assert!(Neighbor::parse(&message[..length]).is_err());
        }
    }
}
