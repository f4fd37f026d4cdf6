//! IPv4 headers. Read first: RFC 791; RFC 6864 for the identification field; RFC 1812 for what a router changes.

use std::net::Ipv4Addr;

use crate::checksum::{self, Update};
use crate::{Malformed, array, be16, put16};

/// The longest packet that the total length field can say, in bytes.
pub const MAX_PACKET_LEN: usize = 65_535;

/// Bytes of a header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// Protocol numbers (IANA) that the switch knows.
pub mod protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// Stream Control Transmission Protocol.
    pub const SCTP: u8 = 132;
}

const FLAG_DF: u16 = 0x4000;
const FLAG_MF: u16 = 0x2000;

/// A view of an IPv4 packet: version 4, a whole header, and a total length that the slice holds.
#[derive(Debug)]
pub struct Ipv4<T>(T);

impl<T: AsRef<[u8]>> Ipv4<T> {
    /// Checks version, header length and total length against the slice. The header checksum is not verified here; see
    /// [`Ipv4::checksum_ok`]. Bytes beyond the total length (Ethernet padding) are allowed and not part of the payload.
    ///
    /// # Errors
    /// When the slice is shorter than the header or than the total length, or a length contradicts another.
    #[inline]
    pub fn parse(packet: T) -> Result<Self, Malformed> {
        let bytes = packet.as_ref();
        if bytes.len() < MIN_HEADER_LEN {
            return Err(Malformed::Truncated("IPv4"));
        }
        if bytes[0] >> 4 != 4 {
            return Err(Malformed::Field("IPv4", "version"));
        }
        let header_len = usize::from(bytes[0] & 0xf) * 4;
        let total_len = total_len(bytes);
        if header_len < MIN_HEADER_LEN || header_len > total_len {
            return Err(Malformed::Field("IPv4", "header length"));
        }
        if total_len > bytes.len() {
            return Err(Malformed::Field("IPv4", "total length"));
        }
        Ok(Ipv4(packet))
    }

    /// Checks what can be checked of the quotation in an ICMP error, which ends long before its total length: version
    /// and a whole header.
    ///
    /// # Errors
    /// When the slice does not hold the header.
    pub fn parse_quoted(packet: T) -> Result<Self, Malformed> {
        let bytes = packet.as_ref();
        if bytes.len() < MIN_HEADER_LEN {
            return Err(Malformed::Truncated("IPv4"));
        }
        let header_len = usize::from(bytes[0] & 0xf) * 4;
        if bytes[0] >> 4 != 4 || header_len < MIN_HEADER_LEN || header_len > bytes.len() {
            return Err(Malformed::Field("IPv4", "version or header length"));
        }
        Ok(Ipv4(packet))
    }

    /// Header length in bytes, 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.0.as_ref()[0] & 0xf) * 4
    }

    /// Type of service: DSCP and ECN.
    pub fn tos(&self) -> u8 {
        self.0.as_ref()[1]
    }

    /// Length of header and payload in bytes: of a super-frame beyond [`MAX_PACKET_LEN`], whose field says zero, that of the
    /// slice.
    #[inline]
    pub fn total_len(&self) -> usize {
        total_len(self.0.as_ref())
    }

    /// Identification, which groups fragments.
    pub fn identification(&self) -> u16 {
        be16(self.0.as_ref(), 4)
    }

    /// Whether fragmentation is forbidden (DF).
    pub fn dont_fragment(&self) -> bool {
        be16(self.0.as_ref(), 6) & FLAG_DF != 0
    }

    /// Whether more fragments follow (MF).
    #[inline]
    pub fn more_fragments(&self) -> bool {
        be16(self.0.as_ref(), 6) & FLAG_MF != 0
    }

    /// Where in the datagram this fragment's payload starts, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> usize {
        usize::from(be16(self.0.as_ref(), 6) & 0x1fff) * 8
    }

    /// Time to live, in hops.
    pub fn ttl(&self) -> u8 {
        self.0.as_ref()[8]
    }

    /// The payload's protocol number; see [`protocol`].
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.0.as_ref()[9]
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(array::<4>(self.0.as_ref(), 12))
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(array::<4>(self.0.as_ref(), 16))
    }

    /// The header's options, possibly none.
    pub fn options(&self) -> &[u8] {
        &self.0.as_ref()[MIN_HEADER_LEN..self.header_len()]
    }

    /// The bytes behind the header up to the total length (of a quotation: to the end of the slice).
    pub fn payload(&self) -> &[u8] {
        let bytes = self.0.as_ref();
        &bytes[self.header_len()..self.total_len().clamp(self.header_len(), bytes.len())]
    }

    /// Whether the header checksum verifies.
    #[inline]
    pub fn checksum_ok(&self) -> bool {
        checksum::checksum(&self.0.as_ref()[..self.header_len()]) == 0
    }

    /// The header checksum as it stands.
    pub fn header_checksum(&self) -> u16 {
        be16(self.0.as_ref(), 10)
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv4<T> {
    /// Replaces the source address and corrects the header checksum. Returns the change for the L4 checksum, whose
    /// pseudo-header covers the address.
    #[inline]
    pub fn set_source(&mut self, address: Ipv4Addr) -> Update {
        self.set_address(12, address)
    }

    /// Replaces the destination address; as [`Ipv4::set_source`].
    #[inline]
    pub fn set_destination(&mut self, address: Ipv4Addr) -> Update {
        self.set_address(16, address)
    }

    fn set_address(&mut self, at: usize, address: Ipv4Addr) -> Update {
        let bytes = self.0.as_mut();
        let update = Update::new().bytes(&bytes[at..at + 4], &address.octets());
        bytes[at..at + 4].copy_from_slice(&address.octets());
        put16(bytes, 10, update.finished(be16(bytes, 10)));
        update
    }

    /// Takes one from the time to live and corrects the header checksum. The caller has checked that it is above zero.
    pub fn decrement_ttl(&mut self) {
        let bytes = self.0.as_mut();
        let old = be16(bytes, 8);
        let new = old.wrapping_sub(0x0100);
        put16(bytes, 8, new);
        put16(bytes, 10, Update::new().word(old, new).finished(be16(bytes, 10)));
    }

    /// Sets the time to live and corrects the header checksum.
    pub fn set_ttl(&mut self, ttl: u8) {
        let bytes = self.0.as_mut();
        let old = be16(bytes, 8);
        let new = u16::from(ttl) << 8 | (old & 0xff);
        put16(bytes, 8, new);
        put16(bytes, 10, Update::new().word(old, new).finished(be16(bytes, 10)));
    }

    /// Sets the total length, without touching the checksum; [`Ipv4::fill_checksum`] ends the change.
    pub fn set_total_len(&mut self, length: u16) {
        put16(self.0.as_mut(), 2, length);
    }

    /// Sets the identification, without touching the checksum.
    pub fn set_identification(&mut self, identification: u16) {
        put16(self.0.as_mut(), 4, identification);
    }

    /// Sets DF, MF and the fragment offset (bytes, a multiple of 8 below 65,536), without touching the checksum.
    pub fn set_fragment(&mut self, dont_fragment: bool, more: bool, offset: u16) {
        let flags = if dont_fragment { FLAG_DF } else { 0 } | if more { FLAG_MF } else { 0 };
        put16(self.0.as_mut(), 6, flags | offset >> 3);
    }

    /// Computes the header checksum anew.
    pub fn fill_checksum(&mut self) {
        let header_len = self.header_len();
        let bytes = self.0.as_mut();
        put16(bytes, 10, 0);
        let value = checksum::checksum(&bytes[..header_len]);
        put16(bytes, 10, value);
    }
}

/// Length of header and payload. The field has no room for the length of a TCP super-frame beyond [`MAX_PACKET_LEN`]; Linux
/// writes zero there (`iph_totlen` of `include/linux/ip.h`), and nothing else may.
#[inline]
fn total_len(packet: &[u8]) -> usize {
    match usize::from(be16(packet, 2)) {
        0 if packet.len() > MAX_PACKET_LEN && packet[9] == protocol::TCP => packet.len(),
        length => length,
    }
}

/// Writes a header without options into the first [`MIN_HEADER_LEN`] bytes, checksum included. `total_len` covers
/// header and payload; identification is zero and DF is set, so that RFC 6864 asks nothing of the identification.
///
/// # Panics
/// When `packet` is shorter than [`MIN_HEADER_LEN`].
pub fn write(packet: &mut [u8], tos: u8, total_len: u16, protocol: u8, source: Ipv4Addr, destination: Ipv4Addr) {
    packet[..MIN_HEADER_LEN].fill(0);
    packet[0] = 0x45;
    packet[1] = tos;
    put16(packet, 2, total_len);
    put16(packet, 6, FLAG_DF);
    packet[8] = DEFAULT_TTL;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    let value = checksum::checksum(&packet[..MIN_HEADER_LEN]);
    put16(packet, 10, value);
}

/// The time to live of packets that the switch itself makes (RFC 1700, "IP TIME TO LIVE PARAMETER").
pub const DEFAULT_TTL: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let builder = etherparse::PacketBuilder::ipv4([172, 17, 0, 2], [172, 17, 0, 3], 64).udp(5000, 7000);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &[1, 2, 3, 4, 5]).unwrap();
        bytes
    }

    /// The fields of a packet made by etherparse, an independent implementation, are read as it wrote them.
    #[test]
    fn fixture() {
        let bytes = sample();
        let packet = Ipv4::parse(&bytes[..]).unwrap();
        assert_eq!((packet.header_len(), packet.total_len(), packet.ttl()), (20, 33, 64));
        assert_eq!((packet.source(), packet.destination()), ([172, 17, 0, 2].into(), [172, 17, 0, 3].into()));
        assert_eq!((packet.protocol(), packet.payload().len()), (protocol::UDP, 13));
        assert!(packet.checksum_ok() && packet.dont_fragment() && !packet.more_fragments());
    }

    /// Linux's super-frames of over 64 KiB say zero, and end with the slice; nothing shorter may say so.
    #[test]
    fn longer_than_the_field_says() {
        let mut bytes = sample();
        bytes[2..4].copy_from_slice(&[0, 0]);
        bytes.resize(150_000, 7);
        assert!(Ipv4::parse(&bytes[..]).is_err(), "UDP");
        bytes[9] = protocol::TCP;
        assert!(Ipv4::parse(&bytes[..MAX_PACKET_LEN]).is_err());
        let packet = Ipv4::parse(&bytes[..]).unwrap();
        assert_eq!((packet.total_len(), packet.payload().len()), (150_000, 149_980));
    }

    /// Ethernet padding behind the total length is not payload (G3).
    #[test]
    fn padding_is_not_payload() {
        let mut bytes = sample();
        bytes.extend([0xee; 13]);
        assert_eq!(Ipv4::parse(&bytes[..]).unwrap().payload().len(), 13);
    }

    /// Lengths that contradict each other or the slice are refused (G2).
    #[test]
    fn impossible_lengths() {
        let good = sample();
        for (at, value) in [(0, 0x44), (0, 0x65), (0, 0x4f), (2, 1), (3, 19), (3, 34)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert!(Ipv4::parse(&bytes[..]).is_err(), "byte {at} = {value:#x}");
        }
        for length in 0..good.len() {
            assert!(Ipv4::parse(&good[..length]).is_err(), "cut to {length}");
        }
    }

    proptest! {
        /// Rewriting addresses and TTL keeps the header checksum right, and the inverse restores the bytes.
        #[test]
        fn rewriting_keeps_the_checksum(source: [u8; 4], destination: [u8; 4], ttl in 1u8..) {
            let original = sample();
            let mut bytes = original.clone();
            let mut packet = Ipv4::parse(&mut bytes[..]).unwrap();
            packet.set_source(source.into());
            packet.set_destination(destination.into());
            packet.set_ttl(ttl);
            packet.decrement_ttl();
            prop_assert!(packet.checksum_ok());
            prop_assert_eq!((packet.source(), packet.destination(), packet.ttl()), (source.into(), destination.into(), ttl - 1));
            packet.set_source([172, 17, 0, 2].into());
            packet.set_destination([172, 17, 0, 3].into());
            packet.set_ttl(64);
            prop_assert_eq!(bytes, original);
        }

        /// No noise makes a checked accessor panic.
        #[test]
        fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for packet in [Ipv4::parse(&bytes[..]), Ipv4::parse_quoted(&bytes[..])].into_iter().flatten() {
                prop_assert!(packet.payload().len() <= bytes.len());
                let _ = (packet.options(), packet.checksum_ok(), packet.fragment_offset());
            }
        }
    }
}
