//! All stations of a network with one MAC address on the LAN, the parent's own (`ipvlan`, mode l2). Read first: Linux
//! `Documentation/networking/ipvlan.rst`; RFC 826 (ARP); RFC 4861 section 4 (Neighbor Discovery's options).
//!
//! Inside, each has its own. What leaves has the parent's address in their place, also where ARP and Neighbor Discovery say it;
//! what comes in is told apart by the IP address that it is for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vswitch_frame::checksum::Update;
use vswitch_frame::icmp::v6;
use vswitch_frame::ipv4::protocol;
use vswitch_frame::{EtherType, MacAddr, ethernet};

/// What was in a frame before [`onto_lan`]: its source address, and all of it where more was replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    source: [u8; 6],
    whole: Option<Box<[u8]>>,
}

impl Replaced {
    pub(crate) fn put_back(self, frame: &mut [u8]) {
        match self.whole {
            Some(whole) if whole.len() == frame.len() => frame.copy_from_slice(&whole),
            _ => {
                if let Some(source) = frame.get_mut(6..12) {
                    source.copy_from_slice(&self.source);
                }
            }
        }
    }
}

/// Lets a frame be from `own`. `partial`: its checksum is only begun, and does not know what is behind the headers.
pub(crate) fn onto_lan(frame: &mut [u8], own: MacAddr, partial: bool) -> Replaced {
    let Some(source) = frame.get(6..12).and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) else {
        return Replaced { source: [0; 6], whole: None };
    };
    let said = said_at(frame).filter(|&(at, _)| frame[at..at + 6] == source);
    let whole = said.map(|_| frame.into());
    if let Some((at, checksum)) = said {
        if let Some(checksum) = checksum.filter(|_| !partial) {
            let old = u16::from_be_bytes([frame[checksum], frame[checksum + 1]]);
            let new = Update::new().bytes(&source, &own.octets()).finished(old);
            frame[checksum..checksum + 2].copy_from_slice(&new.to_be_bytes());
        }
        frame[at..at + 6].copy_from_slice(&own.octets());
    }
    frame[6..12].copy_from_slice(&own.octets());
    Replaced { source, whole }
}

/// Lets a frame from the LAN be for the station that it is for; `false`: for none here.
pub(crate) fn into_network(frame: &mut [u8], own: MacAddr, stations: &BTreeMap<IpAddr, MacAddr>) -> bool {
    if frame.len() < ethernet::HEADER_LEN {
        return false;
    }
    if frame[0] & 1 != 0 {
        return true;
    }
    let four = |at: usize| frame.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let address = match ethertype(frame) {
        EtherType::IPV4 => four(30).map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        EtherType::ARP => four(38).map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        EtherType::IPV6 => {
            let octets = frame.get(38..54).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            octets.map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    };
    let station = address.and_then(|address| stations.get(&address));
    let Some(station) = station.filter(|_| frame[..6] == own.octets()) else { return false };
    if ethertype(frame) == EtherType::ARP && frame[32..38] == own.octets() {
        frame[32..38].copy_from_slice(&station.octets());
    }
    frame[..6].copy_from_slice(&station.octets());
    true
}

fn ethertype(frame: &[u8]) -> EtherType {
    EtherType(u16::from_be_bytes([frame[12], frame[13]]))
}

/// Where a frame says its sender's MAC address once more, and where the checksum over that is.
fn said_at(frame: &[u8]) -> Option<(usize, Option<usize>)> {
    /// Of an IPv6 packet without further headers.
    const MESSAGE: usize = ethernet::HEADER_LEN + 40;
    if frame.len() < ethernet::HEADER_LEN {
        return None;
    }
    match ethertype(frame) {
        EtherType::ARP if frame.len() >= 42 => Some((22, None)),
        EtherType::IPV6 if frame.len() > MESSAGE + 8 && frame[20] == protocol::ICMPV6 => {
            let mut at = MESSAGE
                + match frame[MESSAGE] {
                    v6::ROUTER_SOLICITATION => 8,
                    v6::ROUTER_ADVERTISEMENT => 16,
                    v6::NEIGHBOR_SOLICITATION | v6::NEIGHBOR_ADVERTISEMENT => 24,
                    _ => return None,
                };
            loop {
                match frame.get(at..at + 8)? {
                    // Source or target link-layer address.
                    [1 | 2, 1, ..] => return Some((at + 2, Some(MESSAGE + 2))),
                    [_, 0, ..] => return None,
                    [_, length, ..] => at += 8 * usize::from(*length),
                    _ => return None,
                }
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_frame::{arp, checksum, ndp};

    const STATION: MacAddr = MacAddr::new([2, 0x42, 10, 0, 0, 7]);
    const PARENT: MacAddr = MacAddr::new([6, 0, 0, 0, 0, 1]);
    const PEER: MacAddr = MacAddr::new([6, 0, 0, 0, 0, 2]);

    fn frame(destination: MacAddr, source: MacAddr, kind: u16, packet: &[u8]) -> Vec<u8> {
        [&destination.octets()[..], &source.octets(), &kind.to_be_bytes(), packet].concat()
    }

    fn here() -> BTreeMap<IpAddr, MacAddr> {
        [("10.0.0.7", STATION), ("fd00::7", STATION)].map(|(address, mac)| (address.parse().unwrap(), mac)).into()
    }

    /// A question by ARP leaves with the parent's address wherever it had the station's, and is afterwards what it was; the
    /// answer comes to the station.
    #[test]
    fn arp() {
        let (own, peer) = ("10.0.0.7".parse().unwrap(), "10.0.0.9".parse().unwrap());
        let mut packet = [0; arp::LEN];
        arp::write(&mut packet, arp::REQUEST, (STATION, own), (MacAddr::ZERO, peer));
        let asked = frame(MacAddr::BROADCAST, STATION, 0x0806, &packet);
        let mut sent = asked.clone();
        let replaced = onto_lan(&mut sent, PARENT, false);
        arp::write(&mut packet, arp::REQUEST, (PARENT, own), (MacAddr::ZERO, peer));
        assert_eq!(sent, frame(MacAddr::BROADCAST, PARENT, 0x0806, &packet));
        replaced.put_back(&mut sent);
        assert_eq!(sent, asked);
        arp::write(&mut packet, arp::REPLY, (PEER, peer), (PARENT, own));
        let mut answer = frame(PARENT, PEER, 0x0806, &packet);
        assert!(into_network(&mut answer, PARENT, &here()));
        arp::write(&mut packet, arp::REPLY, (PEER, peer), (STATION, own));
        assert_eq!(answer, frame(STATION, PEER, 0x0806, &packet));
    }

    /// Neighbor Discovery's options name the parent, with a true checksum.
    #[test]
    fn neighbor_discovery() {
        let mut packet = [0; 128];
        let (own, peer) = ("fd00::7".parse().unwrap(), "fd00::9".parse().unwrap());
        let length = ndp::write_solicitation(&mut packet, STATION, own, peer);
        let asked = frame(MacAddr::ipv6_multicast(ndp::solicited_node(peer)), STATION, 0x86dd, &packet[..length]);
        let mut sent = asked.clone();
        let replaced = onto_lan(&mut sent, PARENT, false);
        let message = &sent[54..];
        let pseudo = checksum::pseudo_header_v6(own, ndp::solicited_node(peer), protocol::ICMPV6, message.len());
        assert_eq!(checksum::fold(pseudo + checksum::sum(message)), 0xffff);
        assert_eq!(ndp::Neighbor::parse(message).unwrap().link_layer_address(), Some(PARENT));
        replaced.put_back(&mut sent);
        assert_eq!(sent, asked);
    }

    /// Only what is for an address of a station here, at the parent's MAC address or a group, comes in; nothing panics.
    #[test]
    fn strangers() {
        let packet = |last: u8| [&[0x45, 0, 0, 20][..], &[0; 12], &[10, 0, 0, last]].concat();
        let of = |to, last| into_network(&mut frame(to, PEER, 0x0800, &packet(last)), PARENT, &here());
        assert_eq!([of(PARENT, 7), of(PARENT, 8), of(PEER, 7), of(MacAddr::BROADCAST, 8)], [true, false, false, true]);
        let whole = frame(PARENT, STATION, 0x86dd, &[58; 100]);
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            into_network(&mut cut.clone(), PARENT, &here());
            onto_lan(&mut cut, PARENT, false).put_back(&mut cut);
            assert_eq!(cut, whole[..length]);
        }
    }
}
