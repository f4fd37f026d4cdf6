//! Virtual reassembly. Read first: RFC 4787 section 11, RFC 5722 (overlaps), RFC 1858 (tiny fragments).
//!
//! Only a datagram's first fragment shows its ports. What became of it is kept under the datagram's addresses and
//! identification and applied to the later ones as they come; the L4 checksum, which the first carries, is corrected
//! there. Later fragments that come before the first are copied and held. Nothing is ever joined, so fragments leave in
//! the sizes in which they came (F2), with their identification (F1).
//!
//! Bounds, each with a counter: datagrams in all and of one source, bytes held, fragments of one datagram. Where a new
//! datagram finds no room the oldest goes.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use vswitch_frame::ipv4::{Ipv4, protocol};
use vswitch_frame::ipv6::{self, Ipv6, Walk};
use vswitch_frame::{Fragment, L3, OwnedPacket, Packet, Timestamp};

use crate::NatDrop;
use crate::table::Leg;
use crate::tuple::Tuple;

/// How much is kept of datagrams that come in fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FragmentLimits {
    /// Datagrams in all.
    pub datagrams: usize,
    /// Datagrams of one source.
    pub datagrams_per_source: usize,
    /// Bytes held in all.
    pub held_bytes: usize,
    /// Fragments of one datagram, held or not.
    pub fragments_per_datagram: usize,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        FragmentLimits { datagrams: 4096, datagrams_per_source: 512, held_bytes: 4 << 20, fragments_per_datagram: 128 }
    }
}

/// What has happened to fragments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentCounters {
    /// Datagrams that are kept now.
    pub datagrams: u64,
    /// Bytes that are held now.
    pub held_bytes: u64,
    /// Fragments that were held since the start.
    pub held: u64,
    /// Datagrams forgotten to make room.
    pub evicted: u64,
}

/// A fragment that was held until its first came.
#[derive(Debug, Clone)]
pub struct HeldFrame {
    /// Where it came from.
    pub ingress: Leg,
    /// The frame, as it came.
    pub packet: OwnedPacket,
}

/// What groups the fragments of a datagram (RFC 791, RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FragmentKey {
    ingress: Leg,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

/// Who sends fragments, and by which leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source {
    ingress: Leg,
    address: IpAddr,
}

/// Which part of its datagram a fragment is.
#[derive(Debug, Clone)]
pub(super) struct Span {
    bytes: Range<usize>,
    is_first: bool,
    is_last: bool,
}

/// What became of a datagram's first fragment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Route {
    Forward { from: Tuple, to: Tuple, egress: Leg },
    ToSelf,
}

/// What is known when a fragment comes.
#[derive(Debug)]
pub(super) enum Noted {
    /// Its first has come before.
    Known(Route),
    /// It is the first.
    First,
    /// It is held.
    Held,
}

#[derive(Debug)]
struct Datagram {
    /// When it is forgotten.
    end: Timestamp,
    /// Its length, once the last fragment was seen.
    length: Option<usize>,
    /// All of it has gone on; the next fragment with this key begins another datagram.
    is_complete: bool,
    route: Option<Result<Route, NatDrop>>,
    /// The parts that have gone on, sorted.
    seen: Vec<Range<usize>>,
    held: Vec<(usize, HeldFrame)>,
}

#[derive(Debug)]
pub(super) struct Fragments {
    limits: FragmentLimits,
    datagrams: HashMap<FragmentKey, Datagram, FixedState>,
    per_source: HashMap<Source, usize, FixedState>,
    /// Datagrams by their end, of IPv4 and of IPv6, whose times differ.
    ends: [VecDeque<(Timestamp, FragmentKey)>; 2],
    released: Vec<HeldFrame>,
    counters: FragmentCounters,
}

impl FragmentKey {
    /// The key and the part of a frame that is a fragment; `None` when it contradicts itself.
    pub(super) fn of(ingress: Leg, packet: &Packet<'_>) -> Option<(FragmentKey, Span)> {
        let (source, destination) = packet.ip_addresses();
        let (length, is_first) = (packet.l4().len(), packet.fragment() == Fragment::First);
        let bytes = packet.ip_packet();
        let (protocol, identification, offset, more) = if packet.l3() == L3::Ipv4 {
            let packet = Ipv4::parse(bytes).ok()?;
            let identification = u32::from(packet.identification());
            (packet.protocol(), identification, packet.fragment_offset(), packet.more_fragments())
        } else {
            let Walk::Upper { fragment, protocol, offset } = Ipv6::parse(bytes).ok()?.upper_layer() else {
                return None;
            };
            let header = fragment?;
            // What is fragmented starts right behind the fragment header, be it further extension headers.
            let behind = ipv6::HEADER_LEN + header.at + ipv6::FRAGMENT_HEADER_LEN;
            if behind != ipv6::HEADER_LEN + offset && header.offset != 0 {
                return None;
            }
            (protocol, header.identification, header.offset, header.more)
        };
        let end = offset + length;
        // RFC 8200 section 4.5: all but the last are multiples of eight bytes, and none ends beyond 65,535.
        if length == 0 || end > usize::from(u16::MAX) || more && !length.is_multiple_of(8) {
            return None;
        }
        let key = FragmentKey { ingress, source, destination, protocol, identification };
        Some((key, Span { bytes: offset..end, is_first, is_last: !more }))
    }

    const fn source(&self) -> Source {
        Source { ingress: self.ingress, address: self.source }
    }

    fn lifetime(&self) -> (usize, Duration) {
        if self.source.is_ipv4() { (0, LIFETIME_V4) } else { (1, LIFETIME_V6) }
    }
}

impl Fragments {
    /// Whether the first of a datagram has gone on.
    pub(super) fn is_forwarded(&self, key: &FragmentKey) -> bool {
        let datagram = self.datagrams.get(key);
        datagram.is_some_and(|datagram| matches!(datagram.route, Some(Ok(Route::Forward { .. }))))
    }

    pub(super) fn new(limits: FragmentLimits, seed: u64) -> Self {
        let state = FixedState::with_seed(seed);
        Fragments {
            limits,
            datagrams: HashMap::with_hasher(state.clone()),
            per_source: HashMap::with_hasher(state),
            ends: [VecDeque::new(), VecDeque::new()],
            released: Vec::new(),
            counters: FragmentCounters::default(),
        }
    }

    /// Takes note of a fragment, and a copy of it if its first has not come yet.
    pub(super) fn note(
        &mut self,
        key: FragmentKey,
        span: &Span,
        packet: &Packet<'_>,
        now: Timestamp,
    ) -> Result<Noted, NatDrop> {
        // RFC 3128: a TCP header's flags lie in bytes 8 to 15; no honest sender cuts there.
        if !span.is_first && span.bytes.start == 8 && key.protocol == protocol::TCP {
            return Err(NatDrop::FragmentTiny);
        }
        let (family, lifetime) = key.lifetime();
        match self.datagrams.get_mut(&key) {
            Some(datagram) if datagram.is_complete => {
                *self.per_source.entry(key.source()).or_insert(0) += 1;
                *datagram = Datagram::new(now + lifetime);
            }
            Some(_) => {}
            None => {
                self.make_room(&key)?;
                self.ends[family].push_back((now + lifetime, key));
                *self.per_source.entry(key.source()).or_insert(0) += 1;
                self.datagrams.insert(key, Datagram::new(now + lifetime));
            }
        }
        let Some(datagram) = self.datagrams.get_mut(&key) else { return Err(NatDrop::FragmentOverflow) };
        if datagram.seen.len() + datagram.held.len() >= self.limits.fragments_per_datagram {
            return Err(NatDrop::FragmentOverflow);
        }
        if span.is_first {
            datagram.add(span)?;
            return Ok(Noted::First);
        }
        match datagram.route {
            Some(Ok(route)) => {
                datagram.add(span)?;
                if datagram.is_complete {
                    release_source(&mut self.per_source, key.source());
                }
                Ok(Noted::Known(route))
            }
            Some(Err(reason)) => Err(reason),
            None => {
                if self.counters.held_bytes + packet.frame().len() as u64 > self.limits.held_bytes as u64 {
                    return Err(NatDrop::FragmentOverflow);
                }
                self.counters.held_bytes += packet.frame().len() as u64;
                self.counters.held += 1;
                datagram.held.push((span.bytes.start, HeldFrame { ingress: key.ingress, packet: packet.keep() }));
                Ok(Noted::Held)
            }
        }
    }

    /// Notes what became of a first fragment, and lets go those that waited for it.
    pub(super) fn establish(&mut self, key: FragmentKey, route: Result<Route, NatDrop>) {
        let Some(datagram) = self.datagrams.get_mut(&key) else { return };
        if let Some(Err(NatDrop::FragmentOverlap)) = datagram.route {
            return;
        }
        datagram.route = Some(route);
        let mut held = std::mem::take(&mut datagram.held);
        held.sort_by_key(|(offset, _)| *offset);
        for (_, frame) in held {
            self.counters.held_bytes -= frame.packet.view().frame().len() as u64;
            self.released.push(frame);
        }
    }

    pub(super) fn take_released(&mut self) -> Vec<HeldFrame> {
        std::mem::take(&mut self.released)
    }

    pub(super) fn counters(&self) -> FragmentCounters {
        FragmentCounters { datagrams: self.datagrams.len() as u64, ..self.counters }
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.ends.iter().filter_map(|queue| queue.front()).map(|(end, _)| *end).min()
    }

    /// Forgets datagrams whose time is up and returns how many held fragments went with them.
    pub(super) fn handle_timeout(&mut self, now: Timestamp) -> u64 {
        let mut lost = 0;
        for family in 0..2 {
            while let Some(&(_, key)) = self.ends[family].front().filter(|(end, _)| *end <= now) {
                self.ends[family].pop_front();
                match self.datagrams.get(&key).map(|datagram| datagram.end) {
                    // Another datagram came under the same key meanwhile.
                    Some(end) if end > now => self.ends[family].push_back((end, key)),
                    _ => lost += self.forget(&key),
                }
            }
        }
        lost
    }

    /// Forgets the datagrams that came by a leg, and those that would leave by it.
    pub(super) fn forget_leg(&mut self, leg: Leg) {
        let leaves =
            |datagram: &Datagram| matches!(&datagram.route, Some(Ok(Route::Forward { egress, .. })) if *egress == leg);
        let gone = |(key, datagram): &(&FragmentKey, &Datagram)| key.ingress == leg || leaves(datagram);
        let gone: Vec<FragmentKey> = self.datagrams.iter().filter(gone).map(|(key, _)| *key).collect();
        for key in gone {
            self.forget(&key);
        }
        self.released.retain(|held| held.ingress != leg);
    }

    fn make_room(&mut self, key: &FragmentKey) -> Result<(), NatDrop> {
        let own = self.per_source.get(&key.source()).copied().unwrap_or(0);
        if own >= self.limits.datagrams_per_source {
            return Err(NatDrop::FragmentOverflow);
        }
        if self.datagrams.len() >= self.limits.datagrams {
            let oldest =
                (0..2).filter(|&at| !self.ends[at].is_empty()).min_by_key(|&at| self.ends[at].front().map(|e| e.0));
            let oldest = oldest.and_then(|family| self.ends[family].pop_front());
            let Some((_, oldest)) = oldest else { return Err(NatDrop::FragmentOverflow) };
            self.forget(&oldest);
            self.counters.evicted += 1;
        }
        Ok(())
    }

    fn forget(&mut self, key: &FragmentKey) -> u64 {
        let Some(datagram) = self.datagrams.remove(key) else { return 0 };
        if !datagram.is_complete {
            release_source(&mut self.per_source, key.source());
        }
        for (_, held) in &datagram.held {
            self.counters.held_bytes -= held.packet.view().frame().len() as u64;
        }
        datagram.held.len() as u64
    }
}

impl Datagram {
    const fn new(end: Timestamp) -> Self {
        Datagram { end, length: None, is_complete: false, route: None, seen: Vec::new(), held: Vec::new() }
    }

    /// Adds a part that goes on. One that overlaps another spoils the whole datagram (RFC 5722; Linux does so for IPv4,
    /// too); an exact repeat is dropped alone.
    fn add(&mut self, span: &Span) -> Result<(), NatDrop> {
        if let Some(Err(reason)) = self.route {
            return Err(reason);
        }
        let part = span.bytes.clone();
        let at = self.seen.partition_point(|seen| seen.start < part.start);
        if self.seen.get(at) == Some(&part) {
            return Err(NatDrop::FragmentOverlap);
        }
        let before = at > 0 && self.seen[at - 1].end > part.start;
        let behind = self.seen.get(at).is_some_and(|next| next.start < part.end);
        let beyond = self.length.is_some_and(|length| part.end > length || span.is_last);
        if before || behind || beyond {
            self.route = Some(Err(NatDrop::FragmentOverlap));
            return Err(NatDrop::FragmentOverlap);
        }
        if span.is_last {
            self.length = Some(part.end);
        }
        self.seen.insert(at, part);
        let covered = self.seen.iter().try_fold(0, |end, part| (part.start == end).then_some(part.end));
        self.is_complete = self.length.is_some() && covered == self.length;
        Ok(())
    }
}

fn release_source(per_source: &mut HashMap<Source, usize, FixedState>, source: Source) {
    if let Some(count) = per_source.get_mut(&source) {
        *count -= 1;
        if *count == 0 {
            per_source.remove(&source);
        }
    }
}

/// How long the fragments of a datagram may take (Linux `ipfrag_time`; RFC 8200 section 4.5 for IPv6).
const LIFETIME_V4: Duration = Duration::from_secs(30);
const LIFETIME_V6: Duration = Duration::from_secs(60);
