//! IPv6 headers and the walk over extension headers. Read first: RFC 8200; RFC 5095 (routing header 0); RFC 7045.

use std::net::Ipv6Addr;

use crate::checksum::Update;
use crate::{Malformed, array, be16, be32, put16};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Bytes of a fragment extension header.
pub const FRAGMENT_HEADER_LEN: usize = 8;
/// How many extension headers are walked before a packet counts as having no L4 header.
pub const MAX_EXTENSION_HEADERS: usize = 8;
/// How many bytes of extension headers are walked.
pub const MAX_EXTENSION_BYTES: usize = 256;

/// Next-header numbers of extension headers (IANA).
pub mod next_header {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Fragment.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// No next header.
    pub const NONE: u8 = 59;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
    /// Mobility.
    pub const MOBILITY: u8 = 135;
}

/// A view of an IPv6 packet: version 6, a whole fixed header, and a payload length that the slice holds.
#[derive(Debug)]
pub struct Ipv6<T>(T);

impl<T: AsRef<[u8]>> Ipv6<T> {
    /// Checks version and payload length against the slice. Jumbograms (RFC 2675) are refused.
    ///
    /// # Errors
    /// When the slice is shorter than header and payload.
    #[inline]
    pub fn parse(packet: T) -> Result<Self, Malformed> {
        let this = Ipv6::parse_quoted(packet)?;
        if HEADER_LEN + this.payload_len() > this.0.as_ref().len() {
            return Err(Malformed::Field("IPv6", "payload length"));
        }
        Ok(this)
    }

    /// Checks what can be checked of the quotation in an ICMPv6 error: version and a whole fixed header.
    ///
    /// # Errors
    /// When the slice does not hold the header.
    pub fn parse_quoted(packet: T) -> Result<Self, Malformed> {
        let bytes = packet.as_ref();
        if bytes.len() < HEADER_LEN {
            return Err(Malformed::Truncated("IPv6"));
        }
        if bytes[0] >> 4 != 6 {
            return Err(Malformed::Field("IPv6", "version"));
        }
        Ok(Ipv6(packet))
    }

    /// Traffic class: DSCP and ECN.
    pub fn traffic_class(&self) -> u8 {
        let bytes = self.0.as_ref();
        bytes[0] << 4 | bytes[1] >> 4
    }

    /// Flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        be32(self.0.as_ref(), 0) & 0x000f_ffff
    }

    /// Length behind the fixed header in bytes, extension headers included.
    #[inline]
    pub fn payload_len(&self) -> usize {
        usize::from(be16(self.0.as_ref(), 4))
    }

    /// The number of the header that follows the fixed one.
    #[inline]
    pub fn next_header(&self) -> u8 {
        self.0.as_ref()[6]
    }

    /// Hop limit.
    pub fn hop_limit(&self) -> u8 {
        self.0.as_ref()[7]
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(array::<16>(self.0.as_ref(), 8))
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(array::<16>(self.0.as_ref(), 24))
    }

    /// The bytes behind the fixed header up to the payload length (of a quotation: to the end of the slice).
    pub fn payload(&self) -> &[u8] {
        let bytes = self.0.as_ref();
        &bytes[HEADER_LEN..(HEADER_LEN + self.payload_len()).min(bytes.len())]
    }

    /// Walks the extension headers; see [`walk`].
    #[inline]
    pub fn upper_layer(&self) -> Walk {
        walk(self.next_header(), self.payload())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv6<T> {
    /// Replaces the source address. Returns the change for the L4 checksum, whose pseudo-header covers the address.
    pub fn set_source(&mut self, address: Ipv6Addr) -> Update {
        self.set_address(8, address)
    }

    /// Replaces the destination address; as [`Ipv6::set_source`].
    pub fn set_destination(&mut self, address: Ipv6Addr) -> Update {
        self.set_address(24, address)
    }

    fn set_address(&mut self, at: usize, address: Ipv6Addr) -> Update {
        let field = &mut self.0.as_mut()[at..at + 16];
        let update = Update::new().bytes(field, &address.octets());
        field.copy_from_slice(&address.octets());
        update
    }

    /// Sets the hop limit.
    pub fn set_hop_limit(&mut self, hops: u8) {
        self.0.as_mut()[7] = hops;
    }

    /// Sets the payload length.
    pub fn set_payload_len(&mut self, length: u16) {
        put16(self.0.as_mut(), 4, length);
    }

    /// Sets the number of the header behind the fixed one.
    pub fn set_next_header(&mut self, number: u8) {
        self.0.as_mut()[6] = number;
    }
}

/// Writes a fixed header into the first [`HEADER_LEN`] bytes.
///
/// # Panics
/// When `packet` is shorter than [`HEADER_LEN`].
pub fn write(
    packet: &mut [u8],
    payload_len: u16,
    next_header: u8,
    hop_limit: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) {
    packet[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    put16(packet, 4, payload_len);
    packet[6] = next_header;
    packet[7] = hop_limit;
    packet[8..24].copy_from_slice(&source.octets());
    packet[24..40].copy_from_slice(&destination.octets());
}

/// What the walk over extension headers found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// An upper-layer header: its number and its offset behind the fixed header, with the fragment header before it,
    /// if there was one.
    Upper {
        /// The upper layer's protocol number.
        protocol: u8,
        /// Where its header starts, in bytes behind the fixed header. For a later fragment: where its payload starts.
        offset: usize,
        /// The fragment header on the way, if any.
        fragment: Option<FragmentHeader>,
    },
    /// A type 0 routing header, which every node drops (RFC 5095 section 3).
    RoutingZero,
    /// The chain is cut short or longer than the walk's bounds.
    Malformed,
}

/// The fields of a fragment extension header (RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentHeader {
    /// Where the fragment header itself starts, in bytes behind the fixed header.
    pub at: usize,
    /// Where this fragment's payload lies in the datagram, in bytes.
    pub offset: usize,
    /// Whether more fragments follow.
    pub more: bool,
    /// Groups the fragments of a datagram.
    pub identification: u32,
}

/// Walks the extension headers of `payload`, of which `first` numbers the first (RFC 8200 section 4), within
/// [`MAX_EXTENSION_HEADERS`] and [`MAX_EXTENSION_BYTES`]. Behind the header of a later fragment there is no L4 header;
/// the walk ends there.
#[inline]
#[must_use]
pub fn walk(first: u8, payload: &[u8]) -> Walk {
    use next_header::{AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, MOBILITY, ROUTING};
    let mut number = first;
    let mut offset = 0;
    let mut fragment = None;
    for _ in 0..=MAX_EXTENSION_HEADERS {
        if !matches!(number, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | MOBILITY) {
            return Walk::Upper { protocol: number, offset, fragment };
        }
        if offset + 8 > payload.len() || offset > MAX_EXTENSION_BYTES {
            return Walk::Malformed;
        }
        let header = &payload[offset..];
        let length = match number {
            FRAGMENT => FRAGMENT_HEADER_LEN,
            // RFC 4302 section 2.2: the AH's length counts 32-bit words, less two.
            AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        if length > header.len() {
            return Walk::Malformed;
        }
        if number == ROUTING && header[2] == 0 {
            return Walk::RoutingZero;
        }
        let next = header[0];
        if number == FRAGMENT {
            let word = be16(header, 2);
            let found = FragmentHeader {
                at: offset,
                offset: usize::from(word & 0xfff8),
                more: word & 1 != 0,
                identification: be32(header, 4),
            };
            fragment = Some(found);
            if found.offset != 0 {
                return Walk::Upper { protocol: next, offset: offset + length, fragment };
            }
        }
        number = next;
        offset += length;
    }
    Walk::Malformed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let source = "fd00::2".parse::<Ipv6Addr>().unwrap().octets();
        let destination = "fd00::3".parse::<Ipv6Addr>().unwrap().octets();
        let mut bytes = Vec::new();
        etherparse::PacketBuilder::ipv6(source, destination, 64).udp(1, 2).write(&mut bytes, &[9; 4]).unwrap();
        bytes
    }

    /// The fields of a packet made by etherparse are read as it wrote them.
    #[test]
    fn fixture() {
        let bytes = sample();
        let packet = Ipv6::parse(&bytes[..]).unwrap();
        assert_eq!((packet.payload_len(), packet.next_header(), packet.hop_limit()), (12, 17, 64));
        assert_eq!(packet.source(), "fd00::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!(packet.upper_layer(), Walk::Upper { protocol: 17, offset: 0, fragment: None });
        for length in 0..bytes.len() {
            assert!(Ipv6::parse(&bytes[..length]).is_err(), "cut to {length}");
        }
    }

    /// The walk passes options, reports a fragment header, stops at a later fragment, and refuses routing header 0.
    #[test]
    fn walks_extension_headers() {
        let chain = [44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 7, 0xaa];
        let fragment = FragmentHeader { at: 8, offset: 0, more: true, identification: 7 };
        assert_eq!(walk(60, &chain), Walk::Upper { protocol: 17, offset: 16, fragment: Some(fragment) });
        let later = [6, 0, 0, 16, 0, 0, 0, 9, 1, 2, 3];
        let fragment = FragmentHeader { at: 0, offset: 16, more: false, identification: 9 };
        assert_eq!(walk(44, &later), Walk::Upper { protocol: 6, offset: 8, fragment: Some(fragment) });
        assert_eq!(walk(43, &[17, 0, 0, 1, 0, 0, 0, 0]), Walk::RoutingZero);
        assert_eq!(walk(43, &[17, 0, 4, 1, 0, 0, 0, 0]), Walk::Upper { protocol: 17, offset: 8, fragment: None });
        assert_eq!(walk(60, &[17, 1, 0, 0, 0, 0, 0, 0]), Walk::Malformed);
        assert_eq!(walk(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(20)), Walk::Malformed);
    }

    proptest! {
        /// The walk ends within the slice whatever the bytes are.
        #[test]
        fn noise(first: u8, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Walk::Upper { offset, .. } = walk(first, &bytes) {
                prop_assert!(offset <= bytes.len());
            }
            if let Ok(packet) = Ipv6::parse(&bytes[..]) {
                let _ = packet.upper_layer();
            }
        }
    }
}
