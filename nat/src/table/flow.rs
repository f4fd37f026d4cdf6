//! One tracked flow.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vswitch_frame::{NetworkIndex, Timestamp};

use super::accounts::Endpoint;
use super::tcp::{Connection, Seen, Segment, TcpSettings, TcpState, Tracked};
use super::timeouts::{Seconds, Timeouts};
use crate::tuple::{Protocol, Tuple};

/// Which way a packet of a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Direction {
    /// From the side that sent the first packet.
    #[default]
    Original,
    /// Towards it.
    Reply,
}

impl Direction {
    /// 0 or 1.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other way.
    #[inline]
    #[must_use]
    pub const fn opposite(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }
}

/// A side of the translator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leg {
    /// The gateway leg of a network.
    Inside(NetworkIndex),
    /// The uplink; of several the first.
    Uplink,
    /// A further uplink, numbered from 0.
    Further(u8),
    /// A network's own part of the uplink: by it comes and goes what is that network's alone.
    UplinkOf(NetworkIndex),
}

impl Leg {
    /// Whether it leads outside.
    #[inline]
    #[must_use]
    pub const fn is_uplink(self) -> bool {
        matches!(self, Leg::Uplink | Leg::Further(_) | Leg::UplinkOf(_))
    }
}

/// Why a flow exists, which says what is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKind {
    /// From the inside, its source replaced by an external address.
    Masquerade,
    /// From the uplink to a published port.
    Publish,
    /// From the inside to a published port: both ends are inside, and both addresses are replaced.
    Hairpin,
    /// From the inside, not translated.
    RoutedOut,
    /// From the uplink, not translated.
    RoutedIn,
    /// From one network to another that it is peered with, not translated.
    Peered,
    /// From the inside, or from what is trusted behind the uplink, to a backend of a service: its destination is replaced.
    Service,
    /// From one station of a network with a policy to another, not translated.
    Bridged,
}

impl FlowKind {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FlowKind::Masquerade => "masquerade",
            FlowKind::Publish => "publish",
            FlowKind::Hairpin => "hairpin",
            FlowKind::RoutedOut => "routed-out",
            FlowKind::RoutedIn => "routed-in",
            FlowKind::Peered => "peered",
            FlowKind::Service => "service",
            FlowKind::Bridged => "bridged",
        }
    }
}

impl std::fmt::Display for FlowKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A flow: its two tuples, which never change, and what packets have told of it so far.
#[derive(Debug)]
pub struct Flow {
    original: Tuple,
    reply: Tuple,
    /// Where packets of each direction leave.
    egress: [Leg; 2],
    kind: FlowKind,
    /// It holds a reference to its source's port mapping, to be released with it.
    pub(crate) holds_mapping: bool,
    dead: AtomicBool,
    /// By which rules it was judged last, and let pass.
    mark: AtomicU32,
    created: u32,
    expires: AtomicU64,
    tracking: Mutex<Tracking>,
}

#[derive(Debug, Clone)]
pub(super) struct Tracking {
    pub(super) protocol: ProtocolState,
    pub(super) replied: bool,
    pub(super) assured: bool,
    pub(super) traffic: [Traffic; 2],
}

#[derive(Debug, Clone)]
pub(super) enum ProtocolState {
    Tcp(Connection),
    /// UDP and whatever else has no states: since when it is tracked.
    Datagrams {
        since: Timestamp,
    },
}

/// The new timer that a segment gives its flow, if any, and whether the flow is assured now.
type Taken = (Option<Seconds>, bool);

/// What has passed in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets; a super-frame counts as one.
    pub packets: u64,
    /// Bytes of these packets, IP header included.
    pub bytes: u64,
}

/// What a packet is to the flow's tracking.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrackedPacket<'a> {
    pub(crate) direction: Direction,
    pub(crate) segment: Option<&'a Segment>,
    pub(crate) bytes: usize,
    pub(crate) now: Timestamp,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) tcp: TcpSettings,
}

/// What tracking says of a packet of a known flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrackOutcome {
    /// It belongs to the flow.
    Part,
    /// It is the flow's first packet.
    First,
    /// As `Part`, and listings show the flow differently now.
    Changed,
    /// It belongs to the flow and is its last packet.
    Last,
    /// It opened the connection of an old flow anew.
    Renewed,
    /// No packet of this flow looks like that.
    Invalid,
    /// It is out of the flow's window.
    OutOfWindow,
}

/// What a new flow is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewFlow {
    pub(crate) original: Tuple,
    pub(crate) reply: Tuple,
    pub(crate) egress: [Leg; 2],
    pub(crate) kind: FlowKind,
    pub(crate) holds_mapping: bool,
}

impl Flow {
    /// A flow without a packet yet; `None` when `segment` opens no connection.
    pub(crate) fn new(new: NewFlow, segment: Option<&Segment>, settings: TcpSettings, now: Timestamp) -> Option<Flow> {
        let protocol = match segment {
            Some(segment) => ProtocolState::Tcp(Connection::open(segment, settings)?),
            None => ProtocolState::Datagrams { since: now },
        };
        Some(Flow::with(new, protocol, now))
    }

    /// A flow that was kept over a restart.
    pub(crate) fn restored(new: NewFlow, state: Option<TcpState>, now: Timestamp) -> Flow {
        let protocol = match state {
            Some(state) => ProtocolState::Tcp(Connection::restored(state)),
            None => ProtocolState::Datagrams { since: now },
        };
        let flow = Flow::with(new, protocol, now);
        flow.set_mark(NEVER_JUDGED);
        flow
    }

    /// The same flow, whose answers come as `reply` from now on.
    pub(super) fn moved(&self, reply: Tuple, holds_mapping: bool) -> Flow {
        let tracking = self.tracking();
        Flow {
            original: self.original,
            reply,
            egress: self.egress,
            kind: self.kind,
            holds_mapping,
            dead: AtomicBool::new(false),
            mark: AtomicU32::new(self.mark()),
            created: self.created,
            expires: AtomicU64::new(self.expires.load(Ordering::Relaxed)),
            tracking: Mutex::new(tracking.clone()),
        }
    }

    fn with(new: NewFlow, protocol: ProtocolState, now: Timestamp) -> Flow {
        let NewFlow { original, reply, egress, kind, holds_mapping } = new;
        let tracking = Tracking { protocol, replied: false, assured: false, traffic: [Traffic::default(); 2] };
        Flow {
            original,
            reply,
            egress,
            kind,
            holds_mapping,
            dead: AtomicBool::new(false),
            mark: AtomicU32::new(0),
            created: now.as_secs(),
            expires: AtomicU64::new(now.as_millis()),
            tracking: Mutex::new(tracking),
        }
    }

    /// What packets from the opener look like when they arrive.
    #[inline]
    #[must_use]
    pub const fn original(&self) -> &Tuple {
        &self.original
    }

    /// What their answers look like when they arrive.
    #[inline]
    #[must_use]
    pub const fn reply(&self) -> &Tuple {
        &self.reply
    }

    /// What packets of `direction` look like when they arrive.
    #[inline]
    #[must_use]
    pub const fn arriving(&self, direction: Direction) -> &Tuple {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }

    /// What packets of `direction` look like when they leave, by a leg of this tuple's zone.
    #[inline]
    #[must_use]
    pub const fn leaving(&self, direction: Direction) -> Tuple {
        self.arriving(direction.opposite()).inverted()
    }

    /// Where packets of `direction` leave. Those of the other direction arrive there.
    #[inline]
    #[must_use]
    pub const fn egress(&self, direction: Direction) -> Leg {
        self.egress[direction.index()]
    }

    /// Why the flow exists.
    #[must_use]
    pub const fn kind(&self) -> FlowKind {
        self.kind
    }

    /// The address inside that the flow is accounted to.
    #[must_use]
    pub const fn endpoint(&self) -> IpAddr {
        self.endpoint_key().address.to_canonical()
    }

    pub(crate) const fn endpoint_key(&self) -> Endpoint {
        let from_endpoint = match self.kind {
            FlowKind::Masquerade | FlowKind::Hairpin | FlowKind::RoutedOut | FlowKind::Peered | FlowKind::Bridged => {
                &self.original
            }
            FlowKind::Publish | FlowKind::RoutedIn | FlowKind::Service => &self.reply,
        };
        Endpoint { zone: from_endpoint.zone(), address: from_endpoint.source_key() }
    }

    /// By which rules it was judged last, and let pass.
    #[inline]
    pub(crate) fn mark(&self) -> u32 {
        self.mark.load(Ordering::Relaxed)
    }

    /// Whether the rules of the day refuse its packets: it is kept so that they do, and shown to nobody.
    pub(crate) fn is_denied(&self) -> bool {
        self.mark() & DENIED != 0 && self.mark() != NEVER_JUDGED
    }

    /// The port towards which it was opened, where it really goes; of an ICMP query type and code.
    pub(crate) const fn destination_port(&self) -> u16 {
        if self.original.protocol().has_ports() { self.reply.source_port() } else { self.original.destination_port() }
    }

    pub(crate) fn set_mark(&self, mark: u32) {
        self.mark.store(mark, Ordering::Relaxed);
    }

    /// When the flow was made, in seconds of the engine's clock.
    pub(super) const fn created(&self) -> u32 {
        self.created
    }

    /// When the flow ends unless a packet comes.
    #[inline]
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_millis(self.expires.load(Ordering::Relaxed))
    }

    pub(crate) fn set_expires(&self, at: Timestamp) {
        self.expires.store(at.as_millis(), Ordering::Relaxed);
    }

    /// Marks the flow as gone; true for the one caller that is to take it out of the table.
    pub(super) fn bury(&self) -> bool {
        !self.dead.swap(true, Ordering::AcqRel)
    }

    #[inline]
    pub(super) fn tracking(&self) -> MutexGuard<'_, Tracking> {
        // A panic elsewhere leaves numbers that are at worst a packet old.
        self.tracking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sequence number that the opener of a TCP connection expects next, and what it has sent; `None`: nobody knows, or
    /// the connection is over.
    pub(crate) fn expected_by_opener(&self) -> Option<(u32, u32)> {
        match &self.tracking().protocol {
            ProtocolState::Tcp(connection) => connection.expected_by_opener(),
            _ => None,
        }
    }

    /// Whether the connection is over and a SYN with `sequence` may take over its ports.
    pub(crate) fn is_outrun_by(&self, sequence: u32) -> bool {
        match &self.tracking().protocol {
            ProtocolState::Tcp(connection) => {
                connection.state() == TcpState::TimeWait && connection.is_outrun_by(sequence)
            }
            ProtocolState::Datagrams { .. } => false,
        }
    }

    /// Whether a packet of the reply direction opens another connection in this one's place.
    pub(crate) fn is_reopened_by_reply(&self, segment: &Segment) -> bool {
        // Asked of every packet, so cheap for all but the few that open something.
        segment.is_syn()
            && !segment.is_ack()
            && matches!(&self.tracking().protocol,
                ProtocolState::Tcp(connection) if connection.is_reopened_by_reply(segment))
    }

    /// Takes note of a packet.
    #[inline]
    pub(crate) fn track(&self, packet: TrackedPacket<'_>) -> TrackOutcome {
        let TrackedPacket { direction, segment, bytes, now, timeouts, tcp } = packet;
        let mut tracking = self.tracking();
        let is_first = tracking.traffic == [Traffic::default(); 2];
        let mut outcome = TrackOutcome::Part;
        let (timeout, confirmed) = match (&mut tracking.protocol, segment) {
            (ProtocolState::Tcp(_), Some(segment)) => {
                match tracking.take(direction, segment, tcp, timeouts, &mut outcome) {
                    Ok(Some(taken)) => taken,
                    Ok(None) => return outcome,
                    Err((refused, at_most)) => {
                        if let Some(at_most) = at_most {
                            self.set_expires(self.expires().min(now + at_most.into()));
                        }
                        return refused;
                    }
                }
            }
            (ProtocolState::Tcp(_), None) => return TrackOutcome::Invalid,
            (ProtocolState::Datagrams { since }, _) => {
                let since = *since;
                let (timeout, confirmed) = self.datagram(&tracking, direction, since, now, timeouts);
                (Some(timeout), confirmed)
            }
        };
        if direction == Direction::Reply && !tracking.replied {
            tracking.replied = true;
            outcome = changed(outcome);
        }
        if confirmed && !tracking.assured {
            tracking.assured = true;
            outcome = changed(outcome);
        }
        let traffic = &mut tracking.traffic[direction.index()];
        traffic.packets += 1;
        traffic.bytes += bytes as u64;
        if let Some(timeout) = timeout {
            self.set_expires(now + timeout.into());
        }
        if is_first { TrackOutcome::First } else { outcome }
    }

    fn datagram(
        &self,
        tracking: &Tracking,
        direction: Direction,
        since: Timestamp,
        now: Timestamp,
        timeouts: &Timeouts,
    ) -> (Seconds, bool) {
        let replied = tracking.replied || direction == Direction::Reply;
        match self.original.protocol() {
            Protocol::UDP => {
                let is_stream = replied && now > since + STREAM_AGE;
                (if is_stream { timeouts.udp_stream } else { timeouts.udp }, is_stream)
            }
            Protocol::ICMP | Protocol::ICMPV6 => (timeouts.icmp, false),
            Protocol::SCTP => (timeouts.sctp, replied),
            _ => (timeouts.generic, replied),
        }
    }
}

impl Tracking {
    /// Takes a TCP segment: the new timer, if it gets one, and whether the flow is assured now; nothing when it leaves no
    /// trace; or why it is refused, and how long the flow may live at most from now on.
    fn take(
        &mut self,
        direction: Direction,
        segment: &Segment,
        settings: TcpSettings,
        timeouts: &Timeouts,
        outcome: &mut TrackOutcome,
    ) -> Result<Option<Taken>, (TrackOutcome, Option<Seconds>)> {
        let seen = Seen { reply: self.replied, assured: self.assured };
        let ProtocolState::Tcp(connection) = &mut self.protocol else { return Err((TrackOutcome::Invalid, None)) };
        let before = connection.state();
        let mut tracked = connection.track(direction, segment, seen, settings, timeouts);
        if tracked == Tracked::Reopened {
            let Some(new) = Connection::open(segment, settings) else { return Err((TrackOutcome::Invalid, None)) };
            *connection = new;
            let fresh = Seen { reply: false, assured: false };
            tracked = connection.track(direction, segment, fresh, settings, timeouts);
            (self.replied, self.assured) = (false, false);
            *outcome = TrackOutcome::Renewed;
        } else if connection.state() != before {
            *outcome = TrackOutcome::Changed;
        }
        match tracked {
            Tracked::Accepted { timeout, confirmed } => Ok(Some((timeout, confirmed))),
            Tracked::Ignored => Ok(None),
            Tracked::Finished => {
                *outcome = TrackOutcome::Last;
                Ok(None)
            }
            Tracked::Invalid | Tracked::Reopened => Err((TrackOutcome::Invalid, None)),
            Tracked::OutOfWindow { at_most } => Err((TrackOutcome::OutOfWindow, at_most)),
        }
    }
}

fn changed(outcome: TrackOutcome) -> TrackOutcome {
    if outcome == TrackOutcome::Part { TrackOutcome::Changed } else { outcome }
}

/// Part of the mark of a flow that was judged and must not pass.
pub(crate) const DENIED: u32 = 1 << 31;

/// The mark of a flow that no rules have judged.
const NEVER_JUDGED: u32 = u32::MAX;

/// A UDP flow with packets both ways is a stream once it is older than this (as in Linux).
const STREAM_AGE: std::time::Duration = std::time::Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// A flow with the counters of its allocation stays within its share of the 384 bytes that one may take in all.
    #[test]
    fn a_flow_is_small() {
        assert!(size_of::<Flow>() <= 256, "{}", size_of::<Flow>());
    }
}
