//! Frames of elsewhere, made fit for where they are sent again: other addresses, and checksums that were never finished.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vswitch_frame::checksum::{Update, checksum, fold, pseudo_header, sum};
use vswitch_frame::ipv4::protocol;
use vswitch_frame::{Fragment, L3, MacAddr, Packet};

/// What becomes of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    macs: BTreeMap<MacAddr, MacAddr>,
    addresses: BTreeMap<IpAddr, IpAddr>,
    /// Whose MAC address frames from and to an address, as it is in the file, have.
    stations: BTreeMap<IpAddr, MacAddr>,
    /// Checksums of IPv4 headers, TCP, UDP and `ICMPv6` are made anew.
    pub fix_checksums: bool,
}

/// Who sent a frame, by either address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// By its MAC address.
    Mac(MacAddr),
    /// By its IP address, in ARP, too.
    Address(IpAddr),
}

/// Where an Ethernet header has its addresses, and ARP its two pairs, MAC address first.
const DESTINATION: usize = 0;
const SOURCE: usize = 6;
const ARP_SENDER: usize = 8;
const ARP_TARGET: usize = 18;
const MAC_LEN: usize = 6;

impl Mapping {
    /// One MAC address stands for another one.
    pub fn mac(&mut self, old: MacAddr, new: MacAddr) {
        self.macs.insert(old, new);
    }

    /// One address stands for another one of its family; anything else is left as it is.
    pub fn address(&mut self, old: IpAddr, new: IpAddr) {
        if old.is_ipv4() == new.is_ipv4() {
            self.addresses.insert(old, new);
        }
    }

    /// Frames from and to an address are from and to this station.
    pub fn station(&mut self, old: IpAddr, mac: MacAddr) {
        self.stations.insert(old, mac);
    }

    /// Whether nothing would ever be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.macs.is_empty() && self.addresses.is_empty() && self.stations.is_empty() && !self.fix_checksums
    }

    /// Changes a frame. One that is too short for what it says it is stays as it is from there on.
    pub fn apply(&self, frame: &mut [u8]) {
        let view = Packet::finished(frame);
        let (l3, at, l4_at) = (view.l3(), view.l3_offset(), view.l4_offset());
        let (kind, fragment, end) = (view.protocol(), view.fragment(), view.l3_end());
        let whom = ends(&view);
        self.ethernet(frame, whom);
        match l3 {
            L3::Arp => {
                for (pair, address) in [(ARP_SENDER, whom.0), (ARP_TARGET, whom.1)] {
                    self.replace_mac(frame, at + pair, address);
                    self.replace_address(frame, at + pair + MAC_LEN, address);
                }
            }
            L3::Ipv4 | L3::Ipv6 => {
                let v4 = l3 == L3::Ipv4;
                let (source, length) = if v4 { (12, 4) } else { (8, 16) };
                let update = self.replace_address(frame, at + source, whom.0).and(self.replace_address(
                    frame,
                    at + source + length,
                    whom.1,
                ));
                if v4 {
                    finish(frame, at + 10, update);
                }
                if let (Some(place), false) = (checksum_at(kind, v4), fragment == Fragment::Later) {
                    let unused = kind == protocol::UDP && frame.get(l4_at + place..l4_at + place + 2) == Some(&[0, 0]);
                    if !unused {
                        finish(frame, l4_at + place, update);
                    }
                }
                if self.fix_checksums {
                    fix(frame, v4.then_some(at..l4_at), (fragment == Fragment::None).then_some((kind, l4_at, end)));
                }
            }
            L3::Other | L3::Malformed => {}
        }
    }

    fn ethernet(&self, frame: &mut [u8], (from, to): (Option<IpAddr>, Option<IpAddr>)) {
        for (place, address) in [(DESTINATION, to), (SOURCE, from)] {
            let group = frame.get(place).is_some_and(|first| first & 1 == 1);
            self.replace_mac(frame, place, address.filter(|_| !group));
        }
    }

    fn replace_mac(&self, frame: &mut [u8], at: usize, of: Option<IpAddr>) {
        let Some(place) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<MAC_LEN>()) else { return };
        // A question has none yet.
        let station = of.and_then(|address| self.stations.get(&address)).filter(|_| *place != [0; MAC_LEN]);
        if let Some(new) = station.or_else(|| self.macs.get(&MacAddr::new(*place))) {
            *place = new.octets();
        }
    }

    fn replace_address(&self, frame: &mut [u8], at: usize, address: Option<IpAddr>) -> Update {
        let Some(new) = address.and_then(|address| self.addresses.get(&address)) else { return Update::new() };
        let bytes = match new {
            IpAddr::V4(new) => new.octets().to_vec(),
            IpAddr::V6(new) => new.octets().to_vec(),
        };
        let Some(place) = frame.get_mut(at..at + bytes.len()) else { return Update::new() };
        let update = Update::new().bytes(place, &bytes);
        place.copy_from_slice(&bytes);
        update
    }
}

impl Side {
    /// Whether it sent this frame.
    #[must_use]
    pub fn sent(self, frame: &[u8]) -> bool {
        let view = Packet::finished(frame);
        match self {
            Side::Mac(mac) => view.addresses().1 == mac,
            Side::Address(address) => ends(&view).0 == Some(address),
        }
    }
}

/// From whom to whom, where there are such addresses.
fn ends(view: &Packet<'_>) -> (Option<IpAddr>, Option<IpAddr>) {
    match view.l3() {
        L3::Ipv4 | L3::Ipv6 => {
            let (from, to) = view.ip_addresses();
            (Some(from), Some(to))
        }
        L3::Arp => {
            let address = |at: usize| {
                let bytes = view.frame().get(view.l3_offset() + at..)?.first_chunk::<4>()?;
                Some(IpAddr::from(*bytes))
            };
            (address(ARP_SENDER + MAC_LEN), address(ARP_TARGET + MAC_LEN))
        }
        L3::Other | L3::Malformed => (None, None),
    }
}

/// Where an L4 header has a checksum that covers the addresses.
const fn checksum_at(kind: u8, v4: bool) -> Option<usize> {
    match kind {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        protocol::ICMPV6 if !v4 => Some(2),
        _ => None,
    }
}

fn finish(frame: &mut [u8], at: usize, update: Update) {
    let Some(place) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return };
    if update != Update::new() {
        *place = update.finished(u16::from_be_bytes(*place)).to_be_bytes();
    }
}

/// Makes the checksum of an IPv4 header anew, and that of an L4 header that is here as a whole.
fn fix(frame: &mut [u8], header: Option<std::ops::Range<usize>>, l4: Option<(u8, usize, usize)>) {
    let v4 = header.is_some();
    if let Some(header) = header.and_then(|range| frame.get_mut(range)).filter(|header| header.len() >= 20) {
        header[10..12].fill(0);
        let value = checksum(header);
        header[10..12].copy_from_slice(&value.to_be_bytes());
    }
    let Some((kind, at, end)) = l4 else { return };
    let (from, to) = Packet::finished(frame).ip_addresses();
    let Some(place) = checksum_at(kind, v4) else { return };
    let Some(l4) = frame.get_mut(at..end).filter(|l4| l4.len() >= place + 2) else { return };
    let Some(pseudo) = pseudo_header(from, to, kind, l4.len()) else { return };
    l4[place..place + 2].fill(0);
    let value = match !fold(pseudo + sum(l4)) {
        // RFC 768: zero would say that there is none.
        0 if kind == protocol::UDP => 0xffff,
        value => value,
    };
    l4[place..place + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;

    const OLD: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);
    const NEW: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 9]);

    fn datagram() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(OLD.octets(), PEER.octets()).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let mut frame = Vec::new();
        builder.udp(4000, 53).write(&mut frame, b"hello").unwrap();
        frame
    }

    fn segment_v6() -> Vec<u8> {
        let (from, to) =
            ([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        let builder = PacketBuilder::ethernet2(OLD.octets(), PEER.octets()).ipv6(from, to, 64);
        let mut frame = Vec::new();
        builder.tcp(4000, 80, 7, 100).syn().write(&mut frame, b"").unwrap();
        frame
    }

    /// All checksums are right, says etherparse.
    fn is_sound(frame: &[u8]) -> bool {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        let (net, transport) = (sliced.net.unwrap(), sliced.transport.unwrap());
        match (net, transport) {
            (etherparse::NetSlice::Ipv4(net), TransportSlice::Udp(udp)) => {
                let header = net.header().to_header();
                let wanted = udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap();
                header.calc_header_checksum() == header.header_checksum && wanted == udp.checksum()
            }
            (etherparse::NetSlice::Ipv6(net), TransportSlice::Tcp(tcp)) => {
                let wanted = tcp.to_header().calc_checksum_ipv6(&net.header().to_header(), tcp.payload()).unwrap();
                wanted == tcp.checksum()
            }
            _ => panic!("it is something else now"),
        }
    }

    /// Addresses are replaced, and checksums stay right; who is not named stays.
    #[test]
    fn addresses() {
        let mut mapping = Mapping::default();
        mapping.address("10.0.0.1".parse().unwrap(), "192.0.2.7".parse().unwrap());
        mapping.address("fd00::2".parse().unwrap(), "fd00::77".parse().unwrap());
        mapping.station("10.0.0.1".parse().unwrap(), NEW);
        mapping.mac(PEER, NEW);
        let (mut v4, mut v6) = (datagram(), segment_v6());
        mapping.apply(&mut v4);
        mapping.apply(&mut v6);
        assert!(is_sound(&v4) && is_sound(&v6), "{v4:02x?} {v6:02x?}");
        let (to, from) = vswitch_frame::addresses(&v4);
        assert_eq!((from, to, &v4[26..30]), (NEW, NEW, &[192, 0, 2, 7][..]));
        assert_eq!((vswitch_frame::addresses(&v6).1, v6[53]), (OLD, 0x77));
        assert_eq!(&datagram()[30..34], &v4[30..34]);
    }

    /// ARP says addresses in its own place; the zeros of a question stay.
    #[test]
    fn arp() {
        let mut frame = vec![0; 42];
        frame[..12].copy_from_slice(&[[0xff; 6], OLD.octets()].concat());
        frame[12..14].copy_from_slice(&[8, 6]);
        let addresses = |last| "10.0.0.1".parse().map(|_: IpAddr| std::net::Ipv4Addr::new(10, 0, 0, last)).unwrap();
        vswitch_frame::arp::write(&mut frame[14..], 1, (OLD, addresses(1)), (MacAddr::ZERO, addresses(2)));
        let mut mapping = Mapping::default();
        for (old, new) in [("10.0.0.1", "10.9.0.1"), ("10.0.0.2", "10.9.0.2")] {
            mapping.address(old.parse().unwrap(), new.parse().unwrap());
            mapping.station(old.parse().unwrap(), NEW);
        }
        assert!(Side::Address("10.0.0.1".parse().unwrap()).sent(&frame) && Side::Mac(OLD).sent(&frame));
        assert!(!Side::Address("10.0.0.2".parse().unwrap()).sent(&frame));
        mapping.apply(&mut frame);
        assert_eq!(frame[..12], [[0xff; 6], NEW.octets()].concat());
        assert_eq!(frame[22..42], [&NEW.octets()[..], &[10, 9, 0, 1], &[0; 6], &[10, 9, 0, 2]].concat());
    }

    /// What a sender left to its interface is finished if that is wanted, and only then.
    #[test]
    fn checksums() {
        for mut frame in [datagram(), segment_v6()] {
            let at = if frame[12] == 8 { 40 } else { 70 };
            frame[at] ^= 0x55;
            if at == 40 {
                frame[24] ^= 0x55;
            }
            Mapping::default().apply(&mut frame);
            assert!(!is_sound(&frame));
            Mapping { fix_checksums: true, ..Mapping::default() }.apply(&mut frame);
            assert!(is_sound(&frame));
        }
    }

    proptest::proptest! {
        /// Noise is never more than left as it is.
        #[test]
        fn noise(mut frame in proptest::collection::vec(proptest::num::u8::ANY, 0..120), kind in 0..4usize) {
            if let Some(place) = frame.get_mut(12..15) {
                place.copy_from_slice(&[[8, 0, 0x45], [8, 6, 0], [0x86, 0xdd, 0x60], [0x81, 0, 0]][kind]);
            }
            let length = frame.len();
            let mut mapping = Mapping { fix_checksums: true, ..Mapping::default() };
            mapping.address("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
            mapping.apply(&mut frame);
            proptest::prop_assert_eq!(frame.len(), length);
        }
    }
}
