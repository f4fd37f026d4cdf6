//! Ethernet II frames. Read first: IEEE 802.3 clause 3, RFC 894.

use crate::{MacAddr, Malformed, array, be16, put16};

/// Bytes of an untagged Ethernet header; a shorter frame is a runt.
pub const HEADER_LEN: usize = 14;

/// An EtherType, the protocol of a frame's payload (IEEE 802 numbers registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// Internet Protocol version 4.
    pub const IPV4: EtherType = EtherType(0x0800);
    /// Address Resolution Protocol.
    pub const ARP: EtherType = EtherType(0x0806);
    /// IEEE 802.1Q customer VLAN tag.
    pub const VLAN: EtherType = EtherType(0x8100);
    /// Internet Protocol version 6.
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// IEEE 802.1ad service VLAN tag.
    pub const SERVICE_VLAN: EtherType = EtherType(0x88a8);

    /// Whether a VLAN tag follows.
    #[inline]
    #[must_use]
    pub const fn is_vlan_tag(self) -> bool {
        self.0 == EtherType::VLAN.0 || self.0 == EtherType::SERVICE_VLAN.0
    }
}

/// A view of an Ethernet frame of at least [`HEADER_LEN`] bytes.
#[derive(Debug)]
pub struct Ethernet<T>(T);

impl<T: AsRef<[u8]>> Ethernet<T> {
    /// Checks the length.
    ///
    /// # Errors
    /// For a frame of less than [`HEADER_LEN`] bytes.
    #[inline]
    pub fn parse(frame: T) -> Result<Self, Malformed> {
        if frame.as_ref().len() < HEADER_LEN { Err(Malformed::Truncated("Ethernet")) } else { Ok(Ethernet(frame)) }
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn destination(&self) -> MacAddr {
        MacAddr::new(array(self.0.as_ref(), 0))
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn source(&self) -> MacAddr {
        MacAddr::new(array(self.0.as_ref(), 6))
    }

    /// The type field right behind the addresses; a VLAN tag's TPID if there is one.
    #[inline]
    #[must_use]
    pub fn ether_type(&self) -> EtherType {
        EtherType(be16(self.0.as_ref(), 12))
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ethernet<T> {
    /// Sets the destination address.
    #[inline]
    pub fn set_destination(&mut self, mac: MacAddr) {
        self.0.as_mut()[..6].copy_from_slice(&mac.octets());
    }

    /// Sets the source address.
    #[inline]
    pub fn set_source(&mut self, mac: MacAddr) {
        self.0.as_mut()[6..12].copy_from_slice(&mac.octets());
    }

    /// Sets the type field right behind the addresses.
    #[inline]
    pub fn set_ether_type(&mut self, ether_type: EtherType) {
        put16(self.0.as_mut(), 12, ether_type.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a captured frame are read and written where 802.3 puts them.
    #[test]
    fn fixture() {
        let mut bytes = [0u8; 14];
        let mut frame = Ethernet::parse(&mut bytes[..]).unwrap();
        frame.set_destination("02:42:ac:11:00:02".parse().unwrap());
        frame.set_source("02:42:ac:11:00:03".parse().unwrap());
        frame.set_ether_type(EtherType::IPV6);
        assert_eq!(frame.destination().to_string(), "02:42:ac:11:00:02");
        assert_eq!(frame.source().to_string(), "02:42:ac:11:00:03");
        assert_eq!(frame.ether_type(), EtherType::IPV6);
        assert_eq!(bytes, [2, 0x42, 0xac, 0x11, 0, 2, 2, 0x42, 0xac, 0x11, 0, 3, 0x86, 0xdd]);
        assert_eq!(Ethernet::parse(&bytes[..13]).unwrap_err(), Malformed::Truncated("Ethernet"));
    }
}
