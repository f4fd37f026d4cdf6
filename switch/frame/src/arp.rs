//! ARP for IPv4 over Ethernet. Read first: RFC 826; RFC 5227 for probes and announcements.

use std::net::Ipv4Addr;

use crate::{MacAddr, Malformed, array, be16, put16};

/// Bytes of an Ethernet/IPv4 ARP packet.
pub const LEN: usize = 28;
/// Operation: who has the target address?
pub const REQUEST: u16 = 1;
/// Operation: the sender has it.
pub const REPLY: u16 = 2;

/// A view of an Ethernet/IPv4 ARP packet.
#[derive(Debug)]
pub struct Arp<T>(T);

impl<T: AsRef<[u8]>> Arp<T> {
    /// Checks length, hardware type (1), protocol type (IPv4) and both address lengths.
    ///
    /// # Errors
    /// For a shorter packet, and for ARP of another kind.
    pub fn parse(packet: T) -> Result<Self, Malformed> {
        let bytes = packet.as_ref();
        if bytes.len() < LEN {
            return Err(Malformed::Truncated("ARP"));
        }
        if bytes[..6] != [0, 1, 8, 0, 6, 4] {
            return Err(Malformed::Field("ARP", "hardware or protocol type"));
        }
        Ok(Arp(packet))
    }

    /// [`REQUEST`], [`REPLY`] or another operation.
    pub fn operation(&self) -> u16 {
        be16(self.0.as_ref(), 6)
    }

    /// The sender's hardware address.
    pub fn sender_mac(&self) -> MacAddr {
        MacAddr::new(array(self.0.as_ref(), 8))
    }

    /// The sender's protocol address; unspecified in an RFC 5227 probe.
    pub fn sender_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(array::<4>(self.0.as_ref(), 14))
    }

    /// The target's hardware address; without meaning in a request.
    pub fn target_mac(&self) -> MacAddr {
        MacAddr::new(array(self.0.as_ref(), 18))
    }

    /// The address that is asked for or answered to.
    pub fn target_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(array::<4>(self.0.as_ref(), 24))
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Arp<T> {
    /// Turns a request into the reply that says `mac` has the target address (RFC 826, "Packet Reception").
    pub fn answer(&mut self, mac: MacAddr) {
        let (asker_mac, asker_ip, target) = (self.sender_mac(), self.sender_ip(), self.target_ip());
        write(self.0.as_mut(), REPLY, (mac, target), (asker_mac, asker_ip));
    }
}

/// Writes an ARP packet into the first [`LEN`] bytes of `packet`: operation, then sender and target as (MAC, address).
///
/// # Panics
/// When `packet` is shorter than [`LEN`].
pub fn write(packet: &mut [u8], operation: u16, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) {
    packet[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
    put16(packet, 6, operation);
    packet[8..14].copy_from_slice(&sender.0.octets());
    packet[14..18].copy_from_slice(&sender.1.octets());
    packet[18..24].copy_from_slice(&target.0.octets());
    packet[24..28].copy_from_slice(&target.1.octets());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A who-has as tcpdump shows it, and the reply made in place.
    #[test]
    fn fixture_and_answer() {
        let mut bytes =
            [0, 1, 8, 0, 6, 4, 0, 1, 2, 0x42, 0xac, 0x11, 0, 2, 172, 17, 0, 2, 0, 0, 0, 0, 0, 0, 172, 17, 0, 1];
        let mut arp = Arp::parse(&mut bytes[..]).unwrap();
        assert_eq!(
            (arp.operation(), arp.sender_ip(), arp.target_ip()),
            (REQUEST, [172, 17, 0, 2].into(), [172, 17, 0, 1].into())
        );
        arp.answer(MacAddr::new([2, 0x42, 1, 2, 3, 4]));
        assert_eq!(
            bytes,
            [0, 1, 8, 0, 6, 4, 0, 2, 2, 0x42, 1, 2, 3, 4, 172, 17, 0, 1, 2, 0x42, 0xac, 0x11, 0, 2, 172, 17, 0, 2]
        );
    }

    proptest! {
        /// Every length and content either parses as the 28 bytes say or is refused; nothing panics.
        #[test]
        fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(arp) = Arp::parse(&bytes[..]) {
                prop_assert_eq!(&bytes[8..14], &arp.sender_mac().octets()[..]);
                prop_assert_eq!(&bytes[24..28], &arp.target_ip().octets()[..]);
            } else {
                prop_assert!(bytes.len() < LEN || bytes[..6] != [0, 1, 8, 0, 6, 4]);
            }
        }
    }
}
