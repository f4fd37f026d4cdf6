//! One parse of a frame into header offsets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ethernet::HEADER_LEN;
use crate::ipv4::Ipv4;
use crate::ipv6::{self, Ipv6, Walk};
use crate::vlan::TAG_LEN;
use crate::{EtherType, MacAddr, Malformed, array, be16};

/// What a frame carries behind its Ethernet header and tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L3 {
    /// An IPv4 packet whose lengths the frame holds.
    Ipv4,
    /// An IPv6 packet whose lengths the frame holds.
    Ipv6,
    /// An ARP EtherType; the packet itself is not checked yet.
    Arp,
    /// Another protocol, opaque to the switch.
    Other,
    /// An IP EtherType over bytes that are not such a packet.
    Malformed,
}

/// Whether an IP packet is a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// A whole datagram.
    None,
    /// The first fragment, with the L4 header.
    First,
    /// A later fragment, without an L4 header.
    Later,
}

/// Where the headers of a frame lie. Made once per frame; the offsets are within the frame that was parsed.
#[derive(Debug, Clone, Copy)]
pub struct Headers {
    l3: L3,
    fragment: Fragment,
    protocol: u8,
    vlan_tci: Option<u16>,
    ether_type: EtherType,
    l3_offset: usize,
    l4_offset: usize,
    l3_end: usize,
}

/// How many VLAN tags are looked through.
const MAX_TAGS: usize = 2;

impl Headers {
    /// Parses a frame. Only a runt is refused: a frame with a broken packet in it still has addresses to switch by, and
    /// says [`L3::Malformed`].
    ///
    /// # Errors
    /// For a frame shorter than an Ethernet header.
    #[inline(always)]
    pub fn parse(frame: &[u8]) -> Result<Headers, Malformed> {
        if frame.len() < HEADER_LEN {
            return Err(Malformed::Truncated("Ethernet"));
        }
        let mut ether_type = EtherType(be16(frame, 12));
        let mut l3_offset = HEADER_LEN;
        let mut vlan_tci = None;
        for _ in 0..MAX_TAGS {
            if !ether_type.is_vlan_tag() || frame.len() < l3_offset + TAG_LEN {
                break;
            }
            vlan_tci = vlan_tci.or(Some(be16(frame, l3_offset)));
            ether_type = EtherType(be16(frame, l3_offset + 2));
            l3_offset += TAG_LEN;
        }
        let base = Headers {
            l3: L3::Other,
            fragment: Fragment::None,
            protocol: 0,
            vlan_tci,
            ether_type,
            l3_offset,
            l4_offset: frame.len(),
            l3_end: frame.len(),
        };
        Ok(match ether_type {
            EtherType::IPV4 => base.ipv4(frame),
            EtherType::IPV6 => base.ipv6(frame),
            EtherType::ARP => Headers { l3: L3::Arp, ..base },
            _ => base,
        })
    }

    /// Parses any bytes; a runt is opaque and has nothing in it.
    #[inline]
    pub(crate) fn of_any(frame: &[u8]) -> Headers {
        Headers::parse(frame).unwrap_or(Headers {
            l3: L3::Other,
            fragment: Fragment::None,
            protocol: 0,
            vlan_tci: None,
            ether_type: EtherType(0),
            l3_offset: frame.len(),
            l4_offset: frame.len(),
            l3_end: frame.len(),
        })
    }

    /// The same headers of a packet that ends at `l3_end`.
    pub(crate) const fn ending_at(self, l3_end: usize) -> Headers {
        Headers { l3_end, ..self }
    }

    #[inline]
    fn ipv4(self, frame: &[u8]) -> Headers {
        let Ok(packet) = Ipv4::parse(&frame[self.l3_offset..]) else {
            return Headers { l3: L3::Malformed, ..self };
        };
        let fragment = match (packet.fragment_offset(), packet.more_fragments()) {
            (0, false) => Fragment::None,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        };
        Headers {
            l3: L3::Ipv4,
            fragment,
            protocol: packet.protocol(),
            l4_offset: self.l3_offset + packet.header_len(),
            l3_end: self.l3_offset + packet.total_len(),
            ..self
        }
    }

    #[inline]
    fn ipv6(self, frame: &[u8]) -> Headers {
        let malformed = Headers { l3: L3::Malformed, ..self };
        let Ok(packet) = Ipv6::parse(&frame[self.l3_offset..]) else {
            return malformed;
        };
        let Walk::Upper { protocol, offset, fragment } = packet.upper_layer() else {
            return malformed;
        };
        let fragment = match fragment {
            // RFC 6946: an "atomic" fragment is a whole datagram.
            None => Fragment::None,
            Some(header) if header.offset == 0 && !header.more => Fragment::None,
            Some(header) if header.offset == 0 => Fragment::First,
            Some(_) => Fragment::Later,
        };
        Headers {
            l3: L3::Ipv6,
            fragment,
            protocol,
            l4_offset: self.l3_offset + ipv6::HEADER_LEN + offset,
            l3_end: self.l3_offset + ipv6::HEADER_LEN + packet.payload_len(),
            ..self
        }
    }

    /// What the frame carries.
    #[inline]
    #[must_use]
    pub const fn l3(&self) -> L3 {
        self.l3
    }

    /// The EtherType behind the tags.
    #[inline]
    #[must_use]
    pub const fn ether_type(&self) -> EtherType {
        self.ether_type
    }

    /// The outer tag's control information, if the frame is tagged.
    #[inline]
    #[must_use]
    pub const fn vlan_tci(&self) -> Option<u16> {
        self.vlan_tci
    }

    /// Whether the packet is a fragment.
    #[inline]
    #[must_use]
    pub const fn fragment(&self) -> Fragment {
        self.fragment
    }

    /// The L4 protocol number; 0 when there is no IP packet.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Where the packet starts, in bytes from the frame's first.
    #[inline]
    #[must_use]
    pub const fn l3_offset(&self) -> usize {
        self.l3_offset
    }

    /// Where the L4 header starts (of a later fragment: its payload); the frame's end when there is no IP packet.
    #[inline]
    #[must_use]
    pub const fn l4_offset(&self) -> usize {
        self.l4_offset
    }

    /// Where the packet ends; what lies behind it in the frame is padding.
    #[inline]
    #[must_use]
    pub const fn l3_end(&self) -> usize {
        self.l3_end
    }

    /// The L4 header and payload of `frame`, the frame that was parsed.
    #[inline]
    #[must_use]
    pub fn l4<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        &frame[self.l4_offset..self.l3_end]
    }

    /// The packet in `frame`, without padding.
    #[inline]
    #[must_use]
    pub fn packet<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        &frame[self.l3_offset..self.l3_end]
    }

    /// Source address of an IPv4 packet. Meaningful only for [`L3::Ipv4`].
    #[inline]
    #[must_use]
    pub fn source_v4(&self, frame: &[u8]) -> Ipv4Addr {
        Ipv4Addr::from(array::<4>(frame, self.l3_offset + 12))
    }

    /// Destination address of an IPv4 packet. Meaningful only for [`L3::Ipv4`].
    #[inline]
    #[must_use]
    pub fn destination_v4(&self, frame: &[u8]) -> Ipv4Addr {
        Ipv4Addr::from(array::<4>(frame, self.l3_offset + 16))
    }

    /// Source address of an IPv6 packet. Meaningful only for [`L3::Ipv6`].
    #[inline]
    #[must_use]
    pub fn source_v6(&self, frame: &[u8]) -> Ipv6Addr {
        Ipv6Addr::from(array::<16>(frame, self.l3_offset + 8))
    }

    /// Destination address of an IPv6 packet. Meaningful only for [`L3::Ipv6`].
    #[inline]
    #[must_use]
    pub fn destination_v6(&self, frame: &[u8]) -> Ipv6Addr {
        Ipv6Addr::from(array::<16>(frame, self.l3_offset + 24))
    }

    /// Source and destination address of an IP packet. Meaningful only for [`L3::Ipv4`] and [`L3::Ipv6`].
    #[inline]
    #[must_use]
    pub fn ip_addresses(&self, frame: &[u8]) -> (IpAddr, IpAddr) {
        if self.l3 == L3::Ipv4 {
            (self.source_v4(frame).into(), self.destination_v4(frame).into())
        } else {
            (self.source_v6(frame).into(), self.destination_v6(frame).into())
        }
    }
}

/// Destination and source address of a frame that [`Headers::parse`] accepted.
#[inline]
#[must_use]
pub fn addresses(frame: &[u8]) -> (MacAddr, MacAddr) {
    (MacAddr::new(array(frame, 0)), MacAddr::new(array(frame, 6)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn udp_frame() -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1, 2)
            .write(&mut bytes, &[7; 10])
            .unwrap();
        bytes
    }

    /// Offsets of an untagged, a tagged and a double-tagged frame are where etherparse put the headers.
    #[test]
    fn offsets_behind_tags() {
        let plain = udp_frame();
        let headers = Headers::parse(&plain).unwrap();
        assert_eq!((headers.l3(), headers.l3_offset(), headers.l4_offset(), headers.l3_end()), (L3::Ipv4, 14, 34, 52));
        assert_eq!((headers.protocol(), headers.vlan_tci()), (17, None));
        for (tag, tci, offset) in
            [(&[0x81, 0, 0xa0, 100][..], 0xa064, 18), (&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8][..], 7, 22)]
        {
            let mut tagged = plain[..12].to_vec();
            tagged.extend_from_slice(tag);
            tagged.extend_from_slice(&plain[12..]);
            let headers = Headers::parse(&tagged).unwrap();
            assert_eq!((headers.l3(), headers.l3_offset(), headers.vlan_tci()), (L3::Ipv4, offset, Some(tci)));
            assert_eq!(headers.l4(&tagged), Headers::parse(&plain).unwrap().l4(&plain));
        }
    }

    /// Only runts are refused; a frame with a cut packet says so and keeps its addresses.
    #[test]
    fn cut_frames() {
        let frame = udp_frame();
        for length in 0..frame.len() {
            match Headers::parse(&frame[..length]) {
                Ok(headers) => assert_eq!((length >= 14, headers.l3()), (true, L3::Malformed), "cut to {length}"),
                Err(_) => assert!(length < 14, "cut to {length}"),
            }
        }
    }

    proptest! {
        /// Agreement with etherparse's lax slicer on noise behind a valid Ethernet header: where both see an IP packet,
        /// they see the same protocol and payload.
        #[test]
        fn agrees_with_etherparse(
            kind in 0usize..3, mut bytes in proptest::collection::vec(any::<u8>(), 14..300), first: u8,
        ) {
            let (ether_type, version) = [(0x0800u16, 0x45), (0x86dd, 0x60), (0x0806, 0)][kind];
            bytes[12..14].copy_from_slice(&ether_type.to_be_bytes());
            if bytes.len() > 14 { bytes[14] = if first < 200 { version } else { first }; }
            let headers = Headers::parse(&bytes).unwrap();
            prop_assert!(headers.l3_offset() <= headers.l4_offset() && headers.l4_offset() <= headers.l3_end());
            prop_assert!(headers.l3_end() <= bytes.len());
            if let (L3::Ipv4 | L3::Ipv6, Ok(sliced)) = (headers.l3(), etherparse::SlicedPacket::from_ethernet(&bytes))
                && let Some(payload) = sliced.ip_payload()
                && headers.fragment() == Fragment::None
            {
                prop_assert_eq!(payload.ip_number.0, headers.protocol());
                prop_assert_eq!(payload.payload, headers.l4(&bytes));
            }
        }
    }
}
