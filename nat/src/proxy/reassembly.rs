//! Real reassembly, for what ends in the switch itself. Read first: RFC 791 section 3.2, RFC 8200 section 4.5, RFC 5722.
//!
//! The translator passes fragments on in the sizes in which they came; a datagram that goes on over a host socket must be
//! whole. Fragments are taken in any order. One that overlaps another ends its datagram, as RFC 5722 demands for IPv6 and
//! as is the only safe thing for IPv4. What is kept is bounded in datagrams (of all and of one endpoint) and in bytes, those of
//! keeping account included; where something new finds no room, the oldest of whom holds most bytes goes.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use vswitch_frame::ipv4::{self, Ipv4};
use vswitch_frame::ipv6::{self, Ipv6, Walk};
use vswitch_frame::{Fragment, FrameBuf, L3, Offload, Packet, Timestamp, ethernet};

use super::shares::Owner;

/// How much is kept of datagrams that are not whole yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReassemblyLimits {
    /// Datagrams in all.
    pub datagrams: usize,
    /// Datagrams of one endpoint.
    pub per_endpoint: usize,
    /// Bytes in all.
    pub bytes: usize,
}

impl Default for ReassemblyLimits {
    fn default() -> Self {
        ReassemblyLimits { datagrams: 512, per_endpoint: 64, bytes: 8 << 20 }
    }
}

/// What has happened to fragments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReassemblyCounters {
    /// Datagrams that are waiting for their rest now.
    pub waiting: u64,
    /// Bytes that are kept now.
    pub bytes: u64,
    /// Datagrams that became whole.
    pub whole: u64,
    /// Datagrams that were given up: too late, overlapping, or to make room.
    pub given_up: u64,
}

impl ReassemblyCounters {
    /// Adds what another one counted.
    pub const fn add(&mut self, other: &ReassemblyCounters) {
        self.waiting += other.waiting;
        self.bytes += other.bytes;
        self.whole += other.whole;
        self.given_up += other.given_up;
    }
}

/// What became of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// It is kept until the rest comes.
    Waiting,
    /// It was the last that was missing: the datagram is in the buffer that was given, without options and extension
    /// headers, its L4 checksum as the sender made it.
    Whole,
    /// It contradicts itself or another one, or there is no room.
    Refused,
}

/// Datagrams that are not whole yet.
#[derive(Debug)]
pub struct Reassembly {
    limits: ReassemblyLimits,
    datagrams: BTreeMap<Key, Datagram>,
    /// In the order in which they began.
    order: VecDeque<(Timestamp, Key)>,
    /// What each owner holds.
    held: BTreeMap<Owner, Held>,
    /// Bytes that all of it takes.
    memory: usize,
    counters: ReassemblyCounters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    datagrams: usize,
    memory: usize,
}

/// What a part of a datagram takes beside its bytes: a place in a map and a block of its own.
const PART: usize = 96;

#[derive(Debug)]
struct Datagram {
    owner: Owner,
    began: Timestamp,
    /// What has come, by its first byte; never overlapping.
    parts: BTreeMap<usize, Vec<u8>>,
    bytes: usize,
    /// Its length, once the last fragment is there.
    length: Option<usize>,
    first: Option<First>,
}

/// What the first fragment alone says.
#[derive(Debug, Clone, Copy)]
struct First {
    ethernet: [u8; ethernet::HEADER_LEN],
    protocol: u8,
    /// Type of service or traffic class.
    tos: u8,
    hops: u8,
    dont_fragment: bool,
}

/// A fragment, looked at.
struct Piece<'f> {
    key: Key,
    span: Range<usize>,
    is_last: bool,
    payload: &'f [u8],
    first: Option<First>,
}

impl Reassembly {
    /// Nothing kept yet.
    #[must_use]
    pub fn new(limits: ReassemblyLimits) -> Self {
        let counters = ReassemblyCounters::default();
        let (datagrams, order, held) = (BTreeMap::new(), VecDeque::new(), BTreeMap::new());
        Reassembly { limits, datagrams, order, held, memory: 0, counters }
    }

    /// What has happened until now.
    #[must_use]
    pub const fn counters(&self) -> ReassemblyCounters {
        self.counters
    }

    /// Takes a fragment that somebody sent; `out` holds the datagram when this says [`Joined::Whole`] and is untouched otherwise.
    pub fn take(&mut self, packet: &Packet<'_>, owner: Owner, now: Timestamp, out: &mut FrameBuf) -> Joined {
        let Some(piece) = Piece::of(packet) else { return Joined::Refused };
        if !self.datagrams.contains_key(&piece.key) && !self.make_room(piece.key, owner, now) {
            return Joined::Refused;
        }
        let length = piece.payload.len();
        while self.memory + length + PART > self.limits.bytes {
            if !self.drop_of_greatest(Some(piece.key)) {
                return Joined::Refused;
            }
        }
        let key = piece.key;
        let Some(datagram) = self.datagrams.get_mut(&key) else { return Joined::Refused };
        match datagram.add(&piece) {
            Added::Duplicate => Joined::Waiting,
            Added::Contradiction => {
                self.give_up(&key);
                Joined::Refused
            }
            Added::Kept => {
                self.counters.bytes += length as u64;
                self.memory += length + PART;
                if let Some(held) = self.held.get_mut(&datagram.owner) {
                    held.memory += length + PART;
                }
                self.finish(&key, out)
            }
        }
    }

    /// When the next datagram is given up.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.order.front().map(|(began, _)| *began + LIFETIME)
    }

    /// Gives up what has waited too long.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(began, _)| *began + LIFETIME <= now) {
            let Some((began, key)) = self.order.pop_front() else { break };
            self.end(began, key);
        }
    }

    fn make_room(&mut self, key: Key, owner: Owner, now: Timestamp) -> bool {
        if self.held.get(&owner).is_some_and(|held| held.datagrams >= self.limits.per_endpoint) {
            return false;
        }
        while self.datagrams.len() >= self.limits.datagrams {
            if !self.drop_of_greatest(None) {
                return false;
            }
        }
        let datagram = Datagram { owner, began: now, parts: BTreeMap::new(), bytes: 0, length: None, first: None };
        self.datagrams.insert(key, datagram);
        self.held.entry(owner).or_default().datagrams += 1;
        self.order.push_back((now, key));
        self.counters.waiting += 1;
        true
    }

    /// Gives up the oldest datagram of whom holds most bytes, but not `spared`; `false` when there is none else.
    fn drop_of_greatest(&mut self, spared: Option<Key>) -> bool {
        let most = self.held.iter().max_by_key(|(_, held)| held.memory).map(|(&owner, _)| owner);
        let others = |(_, key): &(Timestamp, Key)| Some(*key) != spared;
        let of_most = |key: &Key| self.datagrams.get(key).is_some_and(|datagram| Some(datagram.owner) == most);
        let at = self.order.iter().position(|entry| others(entry) && of_most(&entry.1));
        let at = at.or_else(|| self.order.iter().position(others));
        let Some((began, key)) = at.and_then(|at| self.order.remove(at)) else { return false };
        self.end(began, key);
        true
    }

    /// Gives up the datagram of an entry of the order. One that became whole and began anew under its key has another entry.
    fn end(&mut self, began: Timestamp, key: Key) {
        if self.datagrams.get(&key).is_some_and(|datagram| datagram.began == began) {
            self.give_up(&key);
        }
    }

    fn give_up(&mut self, key: &Key) {
        if self.forget(key).is_some() {
            self.counters.given_up += 1;
        }
    }

    fn forget(&mut self, key: &Key) -> Option<Datagram> {
        let datagram = self.datagrams.remove(key)?;
        self.order.retain(|(_, other)| other != key);
        self.counters.bytes -= datagram.bytes as u64;
        let memory = datagram.bytes + datagram.parts.len() * PART;
        self.memory -= memory;
        if let Some(held) = self.held.get_mut(&datagram.owner) {
            held.memory -= memory;
            held.datagrams -= 1;
            if held.datagrams == 0 {
                self.held.remove(&datagram.owner);
            }
        }
        self.counters.waiting -= 1;
        Some(datagram)
    }

    fn finish(&mut self, key: &Key, out: &mut FrameBuf) -> Joined {
        let whole = |datagram: &&Datagram| datagram.length == Some(datagram.bytes) && datagram.first.is_some();
        if self.datagrams.get(key).filter(whole).is_none() {
            return Joined::Waiting;
        }
        let Some(datagram) = self.forget(key) else { return Joined::Refused };
        if datagram.write(key, out) {
            self.counters.whole += 1;
            Joined::Whole
        } else {
            self.counters.given_up += 1;
            Joined::Refused
        }
    }
}

impl<'f> Piece<'f> {
    /// `None` when it contradicts itself.
    fn of(packet: &Packet<'f>) -> Option<Piece<'f>> {
        let (source, destination) = packet.ip_addresses();
        let bytes = packet.ip_packet();
        let is_first = packet.fragment() == Fragment::First;
        let mut link = [0; ethernet::HEADER_LEN];
        link.copy_from_slice(packet.frame().get(..ethernet::HEADER_LEN)?);
        // Tags are not for the far side; what is joined has none.
        link[12..].copy_from_slice(&packet.ether_type().0.to_be_bytes());
        let (protocol, identification, offset, more, tos, hops, dont_fragment) = match packet.l3() {
            L3::Ipv4 => {
                let packet = Ipv4::parse(bytes).ok()?;
                let (offset, more) = (packet.fragment_offset(), packet.more_fragments());
                let identification = u32::from(packet.identification());
                let dont_fragment = packet.dont_fragment();
                (packet.protocol(), identification, offset, more, packet.tos(), packet.ttl(), dont_fragment)
            }
            L3::Ipv6 => {
                let packet = Ipv6::parse(bytes).ok()?;
                let Walk::Upper { protocol, fragment, offset } = packet.upper_layer() else { return None };
                let header = fragment?;
                // Extension headers behind the fragment header are not for a datagram that ends here.
                if header.at + ipv6::FRAGMENT_HEADER_LEN != offset {
                    return None;
                }
                let (tos, hops) = (packet.traffic_class(), packet.hop_limit());
                (protocol, header.identification, header.offset, header.more, tos, hops, true)
            }
            _ => return None,
        };
        let payload = packet.l4();
        let end = offset + payload.len();
        let whole_words = !more || payload.len().is_multiple_of(8);
        if payload.is_empty() || end > MAX_PAYLOAD || !whole_words {
            return None;
        }
        Some(Piece {
            // RFC 8200 section 4.5: the next header of later fragments may differ and does not count.
            key: Key { source, destination, protocol: if source.is_ipv4() { protocol } else { 0 }, identification },
            span: offset..end,
            is_last: !more,
            payload,
            first: is_first.then_some(First { ethernet: link, protocol, tos, hops, dont_fragment }),
        })
    }
}

enum Added {
    Kept,
    /// It has come before, just so.
    Duplicate,
    Contradiction,
}

impl Datagram {
    fn add(&mut self, piece: &Piece<'_>) -> Added {
        let Range { start, end } = piece.span.clone();
        if self.parts.get(&start).is_some_and(|part| part == piece.payload) {
            return Added::Duplicate;
        }
        let before = self.parts.range(..end).next_back();
        if before.is_some_and(|(at, part)| at + part.len() > start) {
            return Added::Contradiction;
        }
        let beyond = |length: usize| length < end || (piece.is_last && length != end);
        let after_last = piece.is_last && self.parts.last_key_value().is_some_and(|(at, part)| at + part.len() > end);
        if self.length.is_some_and(beyond) || after_last {
            return Added::Contradiction;
        }
        if piece.is_last {
            self.length = Some(end);
        }
        self.first = self.first.or(piece.first);
        self.bytes += piece.payload.len();
        self.parts.insert(start, piece.payload.to_vec());
        Added::Kept
    }

    /// `false` when headers and payload do not fit into one packet.
    fn write(&self, key: &Key, out: &mut FrameBuf) -> bool {
        let Some(first) = self.first else { return false };
        let area = out.receive_area();
        area[..ethernet::HEADER_LEN].copy_from_slice(&first.ethernet);
        let packet = &mut area[ethernet::HEADER_LEN..];
        let header_len = match (key.source, key.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let Ok(total) = u16::try_from(ipv4::MIN_HEADER_LEN + self.bytes) else { return false };
                ipv4::write(packet, first.tos, total, first.protocol, source, destination);
                if let Ok(mut packet) = Ipv4::parse(&mut packet[..usize::from(total)]) {
                    packet.set_fragment(first.dont_fragment, false, 0);
                    packet.set_ttl(first.hops);
                    packet.fill_checksum();
                }
                ipv4::MIN_HEADER_LEN
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let Ok(length) = u16::try_from(self.bytes) else { return false };
                if packet.len() < ipv6::HEADER_LEN + self.bytes {
                    return false;
                }
                ipv6::write(packet, length, first.protocol, first.hops, source, destination);
                packet[0] |= first.tos >> 4;
                packet[1] |= first.tos << 4;
                ipv6::HEADER_LEN
            }
            _ => return false,
        };
        for (at, part) in &self.parts {
            packet[header_len + at..header_len + at + part.len()].copy_from_slice(part);
        }
        out.received(ethernet::HEADER_LEN + header_len + self.bytes, Offload::NONE);
        true
    }
}

/// The longest payload of an IP packet, headers not counted.
const MAX_PAYLOAD: usize = 65_535;
/// Linux's `ipfrag_time`.
const LIFETIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vswitch_frame::MacAddr;

    use super::*;
    use crate::proxy::datagram::wire::{self, Link, Meta};

    const LINK: Link = Link { own: MacAddr::new([2, 0, 0, 0, 0, 1]), peer: MacAddr::new([2, 0, 0, 0, 0, 2]) };
    const ONE: Owner = Owner::Endpoint(1);
    const OTHER: Owner = Owner::Endpoint(2);

    fn datagram(ipv6: bool, payload: &[u8]) -> FrameBuf {
        let (from, to) = match ipv6 {
            false => ("10.0.0.2:4000", "192.0.2.1:53"),
            true => ("[fd00::2]:4000", "[2001:db8::1]:53"),
        };
        let mut out = FrameBuf::new();
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let at = wire::udp_header_len(ipv6);
        out.receive_area()[at..at + payload.len()].copy_from_slice(payload);
        assert!(wire::write_udp(&mut out, LINK, from, to, payload.len(), None, Meta::default()));
        out
    }

    fn cut(frame: &FrameBuf, mtu: u16) -> Vec<Vec<u8>> {
        wire::fragments(&frame.packet(), mtu, 77)
    }

    fn parsed(frame: &[u8]) -> Packet<'_> {
        Packet::finished(frame)
    }

    proptest! {
        /// Fragments in any order, some of them twice, become the datagram that was cut, of either family.
        #[test]
        fn joins_what_was_cut(
            ipv6: bool, payload in proptest::collection::vec(any::<u8>(), 1..8000), mtu in 1280u16..1600, seed: u64,
        ) {
            let frame = datagram(ipv6, &payload);
            let mut pieces = cut(&frame, mtu);
            prop_assume!(pieces.len() > 1);
            let mut state = seed | 1;
            for at in (1..pieces.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                pieces.swap(at, usize::try_from(state >> 33).unwrap() % (at + 1));
            }
            let mut reassembly = Reassembly::new(ReassemblyLimits::default());
            let mut out = FrameBuf::new();
            let last = pieces.len() - 1;
            for (at, piece) in pieces.iter().enumerate() {
                let joined = reassembly.take(&parsed(piece), ONE, Timestamp::ZERO, &mut out);
                prop_assert_eq!(joined, if at == last { Joined::Whole } else { Joined::Waiting });
                if at < last {
                    prop_assert_eq!(reassembly.take(&parsed(piece), ONE, Timestamp::ZERO, &mut out), Joined::Waiting);
                }
            }
            let headers = parsed(out.frame());
            prop_assert_eq!(headers.fragment(), Fragment::None);
            prop_assert_eq!(&headers.l4()[8..], &payload[..]);
            let counters = reassembly.counters();
            prop_assert_eq!((counters.waiting, counters.bytes, counters.whole), (0, 0, 1));
        }

        /// Noise that looks like fragments is taken or refused, keeps within the bounds and never panics.
        #[test]
        fn noise(
            pieces in proptest::collection::vec((0u16..20, 0usize..40, any::<bool>(), 0u32..4, any::<bool>()), 1..200)
        ) {
            let limits = ReassemblyLimits { datagrams: 3, per_endpoint: 3, bytes: 200 };
            let mut reassembly = Reassembly::new(limits);
            let mut out = FrameBuf::new();
            for (offset, length, more, identification, ipv6) in pieces {
                let mut frame = datagram(ipv6, &vec![7; length]);
                let piece = if ipv6 {
                    let header = [17, 0, u8::try_from(offset >> 5).unwrap(), u8::try_from((offset & 31) << 3).unwrap() | u8::from(more)];
                    let mut bytes = frame.frame()[..54].to_vec();
                    bytes[20] = ipv6::next_header::FRAGMENT;
                    let total = u16::try_from(length + 16).unwrap();
                    bytes[18..20].copy_from_slice(&total.to_be_bytes());
                    bytes.extend(header);
                    bytes.extend(identification.to_be_bytes());
                    bytes.extend(&frame.frame()[54..]);
                    bytes
                } else {
                    let mut packet = Ipv4::parse(&mut frame.frame_mut()[14..]).unwrap();
                    packet.set_fragment(false, more, offset * 8);
                    packet.set_identification(u16::try_from(identification).unwrap());
                    packet.fill_checksum();
                    frame.frame().to_vec()
                };
                let headers = parsed(&piece);
                if headers.fragment() != Fragment::None {
                    reassembly.take(&headers, ONE, Timestamp::ZERO, &mut out);
                }
                let counters = reassembly.counters();
                prop_assert!(counters.waiting <= 3 && counters.bytes <= 200 + 48);
            }
        }
    }

    /// An overlapping fragment ends its datagram, and one that stays incomplete is given up after its time.
    #[test]
    fn overlaps_and_time() {
        let frame = datagram(false, &[1; 4000]);
        let pieces = cut(&frame, 1500);
        let mut reassembly = Reassembly::new(ReassemblyLimits::default());
        let mut out = FrameBuf::new();
        let mut take = |piece: &[u8], now| reassembly.take(&parsed(piece), ONE, Timestamp::from_millis(now), &mut out);
        assert_eq!(take(&pieces[0], 0), Joined::Waiting);
        let mut overlapping = pieces[1].clone();
        let mut packet = Ipv4::parse(&mut overlapping[14..]).unwrap();
        packet.set_fragment(false, true, 8);
        packet.fill_checksum();
        assert_eq!(take(&overlapping, 0), Joined::Refused);
        assert_eq!(take(&pieces[1], 1000), Joined::Waiting);
        assert_eq!(reassembly.counters().given_up, 1);
        assert_eq!(reassembly.next_timeout(), Some(Timestamp::from_millis(31_000)));
        reassembly.handle_timeout(Timestamp::from_millis(31_000));
        let counters = reassembly.counters();
        assert_eq!((counters.given_up, counters.waiting, counters.bytes), (2, 0, 0));
    }

    /// Very small fragments cost more than their bytes, and whoever fills the memory with them gives up its own datagrams first.
    #[test]
    fn small_fragments() {
        let limits = ReassemblyLimits { bytes: 64 << 10, ..ReassemblyLimits::default() };
        let (mut reassembly, mut out) = (Reassembly::new(limits), FrameBuf::new());
        let modest = cut(&datagram(true, &[1; 4000]), 1500).swap_remove(0);
        assert_eq!(reassembly.take(&parsed(&modest), OTHER, Timestamp::ZERO, &mut out), Joined::Waiting);
        let small = datagram(false, &[]);
        for (identification, offset) in (0..60).flat_map(|number| (0..50).map(move |offset| (number, offset))) {
            let mut piece = small.frame().to_vec();
            let mut packet = Ipv4::parse(&mut piece[14..]).unwrap();
            packet.set_fragment(false, true, offset * 8);
            packet.set_identification(identification);
            packet.fill_checksum();
            let joined = reassembly.take(&parsed(&piece), ONE, Timestamp::ZERO, &mut out);
            assert_eq!(joined, Joined::Waiting);
            assert!(reassembly.memory <= limits.bytes);
        }
        let parts: usize = reassembly.datagrams.values().map(|datagram| datagram.parts.len()).sum();
        assert!(parts <= limits.bytes / PART, "{parts} parts");
        assert_eq!(reassembly.held[&OTHER].datagrams, 1, "others keep theirs");
    }

    /// Where there is no room the oldest goes, and one endpoint takes no more than its share.
    #[test]
    fn bounds() {
        let limits = ReassemblyLimits { datagrams: 2, per_endpoint: 2, bytes: 1 << 20 };
        let mut reassembly = Reassembly::new(limits);
        let mut out = FrameBuf::new();
        for identification in 0..3u16 {
            let mut piece = cut(&datagram(false, &[1; 4000]), 1500).swap_remove(0);
            let mut packet = Ipv4::parse(&mut piece[14..]).unwrap();
            packet.set_identification(identification);
            packet.fill_checksum();
            let joined = reassembly.take(&parsed(&piece), ONE, Timestamp::ZERO, &mut out);
            assert_eq!(joined, if identification < 2 { Joined::Waiting } else { Joined::Refused });
        }
        let other = cut(&datagram(true, &[1; 4000]), 1500).swap_remove(0);
        assert_eq!(reassembly.take(&parsed(&other), OTHER, Timestamp::ZERO, &mut out), Joined::Waiting);
        assert_eq!((reassembly.counters().waiting, reassembly.counters().given_up), (2, 1));
    }
}
