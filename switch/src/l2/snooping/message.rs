//! What stations say of groups. Read first: RFC 3376 (IGMPv3) section 4, RFC 2236 (IGMPv2), RFC 3810 (MLDv2) section 5, RFC 2710
//! (MLDv1), RFC 4541 (what a snooping switch makes of it).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vswitch_frame::checksum::{fold, pseudo_header, sum};
use vswitch_frame::{Fragment, L3, MacAddr, Packet, ethernet, ipv4};

/// A message about groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// Who wants groups is to say so.
    Query {
        /// Who asks.
        querier: IpAddr,
        /// About one group; otherwise about all.
        group: Option<IpAddr>,
    },
    /// What the sender wants.
    Report(Vec<(IpAddr, Wish)>),
    /// A router for multicast says that it is there.
    Router,
}

/// Whether a station wants a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// From now on. Of which sources is its own business.
    Join,
    /// No more.
    Leave,
}

impl Message {
    /// Reads a message; `None`: it is none, or a broken one, which says nothing (RFC 3376 section 4.1.2).
    pub(super) fn read(packet: &Packet<'_>) -> Option<Message> {
        if packet.fragment() != Fragment::None {
            return None;
        }
        let body = packet.l4();
        match (packet.l3(), packet.protocol()) {
            (L3::Ipv4, IGMP) if fold(sum(body)) == 0xffff => igmp(body, packet.source_v4()),
            (L3::Ipv4 | L3::Ipv6, PIM) => (*body.first()? == PIM_HELLO).then_some(Message::Router),
            (L3::Ipv6, ipv4::protocol::ICMPV6) => {
                let message = mld(body, packet.source_v6())?;
                let (source, destination) = packet.ip_addresses();
                let pseudo = pseudo_header(source, destination, ipv4::protocol::ICMPV6, body.len())?;
                (fold(pseudo + sum(body)) == 0xffff).then_some(message)
            }
            _ => None,
        }
    }
}

fn igmp(body: &[u8], source: Ipv4Addr) -> Option<Message> {
    let group = |at: usize| Some(Ipv4Addr::from(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?)));
    let one = |wish| Some(Message::Report(vec![(group(4)?.into(), wish)]));
    match *body.first()? {
        0x11 => {
            let group = Some(group(4)?).filter(|group| !group.is_unspecified()).map(IpAddr::V4);
            Some(Message::Query { querier: source.into(), group })
        }
        0x12 | 0x16 => one(Wish::Join),
        0x17 => one(Wish::Leave),
        0x22 => records(body, 4, |bytes| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into())),
        _ => None,
    }
}

fn mld(body: &[u8], source: Ipv6Addr) -> Option<Message> {
    let group = || Some(Ipv6Addr::from(<[u8; 16]>::try_from(body.get(8..24)?).ok()?));
    let one = |wish| Some(Message::Report(vec![(group()?.into(), wish)]));
    match *body.first()? {
        130 => {
            let group = Some(group()?).filter(|group| !group.is_unspecified()).map(IpAddr::V6);
            Some(Message::Query { querier: source.into(), group })
        }
        131 => one(Wish::Join),
        132 => one(Wish::Leave),
        143 => records(body, 16, |bytes| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())),
        _ => None,
    }
}

/// The group records of a version 3 (or MLDv2) report, whose addresses have `length` bytes.
fn records(body: &[u8], length: usize, address: impl Fn(&[u8]) -> Option<IpAddr>) -> Option<Message> {
    let count = u16::from_be_bytes(body.get(6..8)?.try_into().ok()?);
    let mut rest = body.get(8..)?;
    let mut wishes = Vec::new();
    for _ in 0..count.min(MOST_RECORDS) {
        let [kind, aux, a, b, ..] = *rest else { return None };
        let sources = usize::from(u16::from_be_bytes([a, b]));
        let group = address(rest.get(4..4 + length)?)?;
        rest = rest.get(4 + length + sources * length + usize::from(aux) * 4..)?;
        match (kind, sources) {
            // Nothing is included (RFC 3376 4.2.12).
            (1 | 3, 0) => wishes.push((group, Wish::Leave)),
            (1..=5, _) => wishes.push((group, Wish::Join)),
            _ => {}
        }
    }
    wishes.retain(|(group, _)| group.is_multicast());
    Some(Message::Report(wishes))
}

/// Writes a query into `frame` and returns its length: about `group`, or about all groups of its family, to be answered within
/// `response` tenths of a second. `address` is the querier's own, which may have none in IPv4.
pub(super) fn write_query(
    frame: &mut [u8; QUERY_LEN],
    mac: MacAddr,
    address: IpAddr,
    group: Option<IpAddr>,
    response: u8,
) -> usize {
    const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];
    frame.fill(0);
    let source = mac.octets();
    let (length, to) = match address {
        IpAddr::V4(address) => {
            let to = match group {
                Some(IpAddr::V4(group)) => group,
                _ => Ipv4Addr::new(224, 0, 0, 1),
            };
            let packet = &mut frame[ethernet::HEADER_LEN..ethernet::HEADER_LEN + 36];
            packet[..4].copy_from_slice(&[0x46, 0xc0, 0, 36]);
            packet[8..10].copy_from_slice(&[1, IGMP]);
            packet[12..16].copy_from_slice(&address.octets());
            packet[16..20].copy_from_slice(&to.octets());
            packet[20..24].copy_from_slice(&ROUTER_ALERT);
            let check = !fold(sum(&packet[..24]));
            packet[10..12].copy_from_slice(&check.to_be_bytes());
            packet[24..26].copy_from_slice(&[0x11, response]);
            if group.is_some() {
                packet[28..32].copy_from_slice(&to.octets());
            }
            packet[32..34].copy_from_slice(&ROBUSTNESS_AND_INTERVAL);
            let check = !fold(sum(&packet[24..36]));
            packet[26..28].copy_from_slice(&check.to_be_bytes());
            frame[12..14].copy_from_slice(&[0x08, 0x00]);
            let [_, b, c, d] = to.octets();
            (ethernet::HEADER_LEN + 36, [1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(address) => {
            let to = match group {
                Some(IpAddr::V6(group)) => group,
                _ => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            };
            let packet = &mut frame[ethernet::HEADER_LEN..ethernet::HEADER_LEN + 76];
            packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 36, 0, 1]);
            packet[8..24].copy_from_slice(&address.octets());
            packet[24..40].copy_from_slice(&to.octets());
            // Hop-by-hop: a router alert for MLD (RFC 2711), padded.
            packet[40..48].copy_from_slice(&[ipv4::protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0]);
            packet[48] = 130;
            packet[52..54].copy_from_slice(&(u16::from(response) * 100).to_be_bytes());
            if group.is_some() {
                packet[56..72].copy_from_slice(&to.octets());
            }
            packet[72..74].copy_from_slice(&ROBUSTNESS_AND_INTERVAL);
            let pseudo = pseudo_header(address.into(), to.into(), ipv4::protocol::ICMPV6, 28).unwrap_or_default();
            let check = !fold(pseudo + sum(&packet[48..76]));
            packet[50..52].copy_from_slice(&check.to_be_bytes());
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            (ethernet::HEADER_LEN + 76, MacAddr::ipv6_multicast(to).octets())
        }
    };
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&source);
    length
}

/// Bytes of the longest query.
pub(super) const QUERY_LEN: usize = ethernet::HEADER_LEN + 76;

/// IP protocol numbers.
const IGMP: u8 = 2;
const PIM: u8 = 103;
/// Version 2, type 0 (RFC 7761 section 4.9).
const PIM_HELLO: u8 = 0x20;
/// Robustness 2, 125 seconds between queries (RFC 3376 section 8).
const ROBUSTNESS_AND_INTERVAL: [u8; 2] = [2, 125];
/// Of one report; no packet of Linux's has more.
const MOST_RECORDS: u16 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// What this switch asks is understood by it, too, in both families, about all groups and about one; a flipped bit makes it
    /// nothing.
    #[test]
    fn queries_round_trip() {
        let mac = MacAddr::new([2, 0x42, 10, 0, 0, 1]);
        for (address, group) in
            [("10.0.0.1", None), ("0.0.0.0", Some("239.1.2.3")), ("fe80::1", None), ("fe80::1", Some("ff15::7"))]
        {
            let (querier, group): (IpAddr, Option<IpAddr>) =
                (address.parse().unwrap(), group.map(|g| g.parse().unwrap()));
            let mut frame = [0; QUERY_LEN];
            let length = write_query(&mut frame, mac, querier, group, 100);
            let packet = Packet::finished(&frame[..length]);
            assert!(packet.addresses().0.is_multicast());
            assert_eq!(Message::read(&packet), Some(Message::Query { querier, group }));
            frame[length - 1] ^= 1;
            assert_eq!(Message::read(&Packet::finished(&frame[..length])), None);
        }
    }

    /// Reports of every version and kind of record; what is cut short is nothing.
    #[test]
    fn reports() {
        let group = |text: &str| text.parse::<IpAddr>().unwrap();
        let v4 = |body: &[u8]| igmp(body, Ipv4Addr::LOCALHOST);
        let joined = |wish| Some(Message::Report(vec![(group("239.1.2.3"), wish)]));
        assert_eq!(v4(&[0x16, 0, 0, 0, 239, 1, 2, 3]), joined(Wish::Join));
        assert_eq!(v4(&[0x12, 0, 0, 0, 239, 1, 2, 3]), joined(Wish::Join));
        assert_eq!(v4(&[0x17, 0, 0, 0, 239, 1, 2, 3]), joined(Wish::Leave));
        assert_eq!(v4(&[0x16, 0, 0, 0, 239, 1, 2]), None);
        let record = |kind: u8, sources: u8| {
            let mut body = vec![0x22, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, sources, 239, 1, 2, 3];
            body.extend((0..sources).flat_map(|n| [10, 0, 0, n]));
            body
        };
        for (kind, sources, wish) in [(4, 0, Wish::Join), (2, 0, Wish::Join), (3, 0, Wish::Leave), (3, 2, Wish::Join)] {
            assert_eq!(v4(&record(kind, sources)), joined(wish), "{kind} {sources}");
        }
        assert_eq!(v4(&record(6, 1)), Some(Message::Report(Vec::new())));
        let whole = record(5, 3);
        for cut in 0..whole.len() {
            assert_eq!(v4(&whole[..cut]), None);
        }
        let mut v2 = vec![143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0];
        v2.extend(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 7).octets());
        assert_eq!(mld(&v2, Ipv6Addr::LOCALHOST), Some(Message::Report(vec![(group("ff15::7"), Wish::Join)])));
        let mut done = vec![132, 0, 0, 0, 0, 0, 0, 0];
        done.extend(&v2[12..]);
        assert_eq!(mld(&done, Ipv6Addr::LOCALHOST), Some(Message::Report(vec![(group("ff15::7"), Wish::Leave)])));
    }
}
