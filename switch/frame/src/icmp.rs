//! ICMP and ICMPv6 messages. Read first: RFC 792 and RFC 4443; RFC 1191 and RFC 8201 for packet-too-big.
//!
//! Both families share type, code, checksum and four bytes whose meaning depends on the type, so one view serves both.
//! They differ in the checksum: ICMPv6's covers a pseudo-header, ICMP's does not.

use crate::{Malformed, be16, be32, put16};

/// Bytes of the common header.
pub const HEADER_LEN: usize = 8;
/// Where the checksum field lies in the header.
pub const CHECKSUM_OFFSET: usize = 2;

/// ICMP message types (RFC 792).
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// ICMPv6 message types (RFC 4443, RFC 4861).
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbor solicitation.
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Neighbor advertisement.
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
}

/// A view of an ICMP or ICMPv6 message with a whole common header.
#[derive(Debug)]
pub struct Icmp<T>(T);

impl<T: AsRef<[u8]>> Icmp<T> {
    /// Checks the length.
    ///
    /// # Errors
    /// For less than [`HEADER_LEN`] bytes.
    pub fn parse(message: T) -> Result<Self, Malformed> {
        if message.as_ref().len() < HEADER_LEN { Err(Malformed::Truncated("ICMP")) } else { Ok(Icmp(message)) }
    }

    /// Message type; see [`v4`] and [`v6`].
    pub fn kind(&self) -> u8 {
        self.0.as_ref()[0]
    }

    /// Code, whose meaning depends on the type.
    pub fn code(&self) -> u8 {
        self.0.as_ref()[1]
    }

    /// The checksum field as it stands.
    pub fn checksum(&self) -> u16 {
        be16(self.0.as_ref(), CHECKSUM_OFFSET)
    }

    /// Identifier of a query.
    pub fn identifier(&self) -> u16 {
        be16(self.0.as_ref(), 4)
    }

    /// Sequence number of a query.
    pub fn sequence(&self) -> u16 {
        be16(self.0.as_ref(), 6)
    }

    /// The four bytes behind the checksum: unused, pointer, gateway or MTU, as the type says.
    pub fn rest(&self) -> u32 {
        be32(self.0.as_ref(), 4)
    }

    /// The bytes behind the common header: a query's data or an error's quotation.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Icmp<T> {
    /// Sets the type, without touching the checksum.
    pub fn set_kind(&mut self, kind: u8) {
        self.0.as_mut()[0] = kind;
    }

    /// Sets the identifier, without touching the checksum.
    pub fn set_identifier(&mut self, identifier: u16) {
        put16(self.0.as_mut(), 4, identifier);
    }

    /// Sets the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put16(self.0.as_mut(), CHECKSUM_OFFSET, checksum);
    }
}

/// Writes a message's common header into the first [`HEADER_LEN`] bytes, the checksum zero.
///
/// # Panics
/// When `message` is shorter than [`HEADER_LEN`].
pub fn write_header(message: &mut [u8], kind: u8, code: u8, rest: u32) {
    message[0] = kind;
    message[1] = code;
    put16(message, CHECKSUM_OFFSET, 0);
    message[4..8].copy_from_slice(&rest.to_be_bytes());
}

/// Whether an ICMPv4 type is an error, which quotes a packet and must not be answered by an error (RFC 1122 3.2.2).
#[must_use]
pub const fn is_error_v4(kind: u8) -> bool {
    matches!(kind, v4::UNREACHABLE | v4::SOURCE_QUENCH | v4::REDIRECT | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM)
}

/// Whether an ICMPv6 type is an error: the types below 128 (RFC 4443 section 2.1).
#[must_use]
pub const fn is_error_v6(kind: u8) -> bool {
    kind < 128
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo request's fields are where RFC 792 puts them.
    #[test]
    fn fixture() {
        let bytes = [8, 0, 0xf7, 0xf5, 0x00, 0x05, 0x00, 0x05, 0xaa];
        let message = Icmp::parse(&bytes[..]).unwrap();
        assert_eq!((message.kind(), message.code(), message.checksum()), (v4::ECHO_REQUEST, 0, 0xf7f5));
        assert_eq!((message.identifier(), message.sequence(), message.payload()), (5, 5, &[0xaa][..]));
        assert!(Icmp::parse(&bytes[..7]).is_err());
        assert!(!is_error_v4(message.kind()) && is_error_v4(v4::TIME_EXCEEDED) && is_error_v6(v6::PACKET_TOO_BIG));
    }
}
