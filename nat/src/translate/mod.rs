//! The translator: from an arriving frame to the frame that leaves.
//!
//! A frame takes two steps, so that the router between them sees it as it arrived and knows where it is going:
//! [`Nat::lookup`] finds or plans its flow and says where it leaves; the caller checks TTL, route and MTU, and may answer
//! with an ICMP error that quotes the frame unchanged; [`Nat::translate`] then makes the flow if it is new, tracks the
//! packet and rewrites it. A frame that is not translated after its lookup leaves no trace, but that a connection which is
//! over makes way for one that opens with the roles exchanged.

mod answered;
mod bridged;
mod create;
mod cut;
mod errors;
mod fragments;
mod lookup;
mod ports;
mod rebind;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use cut::{CutOff, ServedBy};
pub use fragments::{FragmentCounters, FragmentLimits, HeldFrame};
use fragments::{FragmentKey, Fragments};
pub use ports::PORT_DRAWS;
use rand::RngCore;
pub use rebind::Rebound;
use vswitch_frame::{NetworkIndex, PacketMut, Timestamp};

use crate::quotation::{Quotation, rewrite_addresses};
use crate::rewrite::rewrite;
use crate::rules::Target;
use crate::table::tcp::Segment;
use crate::table::{
    Direction, EventKind, Flow, FlowFilter, FlowKind, FlowRecord, Leg, Limits, Restored, Table, TrackOutcome,
    TrackedPacket,
};
use crate::tuple::Tuple;
use crate::{NatDrop, Rules};

/// The translator's state. All methods take `&self`; workers share it.
#[derive(Debug)]
pub struct Nat {
    table: Table,
    fragments: Mutex<Fragments>,
}

/// What a call needs beside the frame.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The snapshot in force.
    pub rules: &'a Rules,
    /// Where the frame came from.
    pub ingress: Leg,
    /// The time.
    pub now: Timestamp,
}

impl Context<'_> {
    /// Counts a packet on its way between two networks that are peered.
    fn count_peered(&self, egress: Leg, bytes: usize) {
        if let (Leg::Inside(from), Leg::Inside(to)) = (self.ingress, egress)
            && let Some(peering) = self.rules.peering(from, to)
        {
            peering.count(from, bytes);
        }
    }
}

/// What a lookup says of a frame that does not end there.
#[derive(Debug)]
pub enum Decision {
    /// It goes on, by way of [`Nat::translate`].
    Forward(NatPath),
    /// It is for the switch itself. The shell answers it, or drops it as [`NatDrop::Unsolicited`].
    ToSelf,
    /// It is a fragment whose first has not come yet. It was copied and comes back from [`Nat::released`].
    Held,
}

/// A frame's way through the translator, between lookup and translation.
#[derive(Debug)]
pub struct NatPath {
    kind: Kind,
    egress: Leg,
    destination: IpAddr,
    fragment: Option<FragmentKey>,
}

#[derive(Debug)]
enum Kind {
    /// Of a known flow.
    Known { flow: Arc<Flow>, direction: Direction, segment: Option<Segment> },
    /// To open a flow.
    New(Box<PlannedFlow>),
    /// An ICMP error about a packet of a flow.
    Error { flow: Arc<Flow>, direction: Direction, quotation: Quotation },
    /// A later fragment: its addresses now and then.
    Fragment { from: Tuple, to: Tuple },
    /// Routed and not tracked: within one network.
    Untracked,
}

/// A flow that is to be made.
#[derive(Debug, Clone, Copy)]
struct PlannedFlow {
    tuple: Tuple,
    segment: Option<Segment>,
    kind: FlowKind,
    egress: [Leg; 2],
    /// Where it really goes, if that is not where it was sent.
    target: Option<Target>,
    source: NewSource,
}

/// What becomes of a flow's source address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewSource {
    /// It stays.
    Kept,
    /// It is replaced by an uplink's.
    External(IpAddr),
    /// It is replaced by a gateway's.
    Gateway(IpAddr),
}

impl NewSource {
    const fn address(self) -> Option<IpAddr> {
        match self {
            NewSource::Kept => None,
            NewSource::External(address) | NewSource::Gateway(address) => Some(address),
        }
    }
}

impl NatPath {
    /// Where the frame leaves.
    #[must_use]
    pub const fn egress(&self) -> Leg {
        self.egress
    }

    /// The address that it is for once it is translated: what a route is looked up for.
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        self.destination
    }

    /// The source that the frame has, or that is meant by it, once it is translated; it came from `arrived`.
    #[must_use]
    pub fn source(&self, arrived: IpAddr) -> IpAddr {
        match &self.kind {
            // An error is by anybody on the way, about what its flow's end was sent.
            Kind::Known { flow, direction, .. } | Kind::Error { flow, direction, .. } => {
                flow.leaving(*direction).source()
            }
            Kind::New(opening) => opening.source.address().unwrap_or(arrived),
            Kind::Fragment { to, .. } => to.source(),
            Kind::Untracked => arrived,
        }
    }

    /// Whether it is because of a published port that the frame goes where it goes: it was sent to one, or answers what was.
    #[must_use]
    pub fn is_by_published_port(&self, rules: &Rules) -> bool {
        match &self.kind {
            Kind::New(opening) => opening.kind == FlowKind::Service || rules.published(&opening.tuple).is_some(),
            Kind::Known { flow, .. } | Kind::Error { flow, .. } => {
                flow.kind() == FlowKind::Service || rules.published(flow.original()).is_some()
            }
            // The first of its datagram was asked about, or this one would not go on.
            Kind::Fragment { .. } => true,
            Kind::Untracked => false,
        }
    }
}

impl fmt::Display for NatPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Known { flow, direction, .. } => {
                let way = if *direction == Direction::Original { "original" } else { "reply" };
                write!(f, "known flow, {}, {way} direction: {}", flow.kind(), flow.arriving(*direction))
            }
            Kind::New(opening) => write!(f, "new flow, {}: {}", opening.kind, opening.tuple),
            Kind::Error { flow, .. } => write!(f, "an error about a flow, {}: {}", flow.kind(), flow.original()),
            Kind::Fragment { to, .. } => write!(f, "a later fragment, to {}", to.destination()),
            Kind::Untracked => write!(f, "within one network, not tracked"),
        }
    }
}

impl Nat {
    /// A translator without flows. `seed` makes its hashing unpredictable to those who choose ports and addresses.
    #[must_use]
    pub fn new(limits: Limits, fragments: FragmentLimits, seed: u64) -> Self {
        Nat { table: Table::new(limits, seed), fragments: Mutex::new(Fragments::new(fragments, seed.rotate_left(47))) }
    }

    /// The connection table, to list, flush and listen to.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// What has happened to fragments.
    #[must_use]
    pub fn fragment_counters(&self) -> FragmentCounters {
        self.fragments().counters()
    }

    /// Fragments that were held and may go on, in the order of their offsets: the shell looks each up again, as if it
    /// had just arrived. To be called after a frame that was a first fragment; cheap when there is nothing.
    #[must_use]
    pub fn released(&self) -> Vec<HeldFrame> {
        self.fragments().take_released()
    }

    /// Brings flows back from before a restart; see [`Table::restore`].
    pub fn restore(&self, records: &[FlowRecord], rules: &Rules, now: Timestamp) -> Restored {
        let there: Vec<FlowRecord> = records.iter().filter(|record| rules.has_uplinks_of(record)).cloned().collect();
        let mut restored = self.table.restore(&there, rules.settings().mapping, |leg| rules.zone(leg), now);
        restored.refused += records.len() - there.len();
        self.end_shadows(rules, now);
        self.end_forbidden(rules, now);
        restored
    }

    /// Ends the flows that may not pass any more. To be called when [`Rules::allow_as`] says that others may; until then each
    /// ends with its next packet.
    pub fn end_forbidden(&self, rules: &Rules, now: Timestamp) -> usize {
        let mut ended = 0;
        self.table.for_each(&FlowFilter::default(), now, |flow| {
            if flow.mark() != rules.mark() && self.judge_anew(rules, flow, now).is_err() {
                ended += 1;
            }
        });
        ended
    }

    /// Ends the flows whose replaced source is a port that is published now, so that the service gets what its clients
    /// send; returns how many. To be called when ports are published.
    pub fn end_shadows(&self, rules: &Rules, now: Timestamp) -> usize {
        let mut ended = 0;
        self.table.for_each(&FlowFilter::default(), now, |flow| {
            let takes = matches!(flow.kind(), FlowKind::Masquerade | FlowKind::Hairpin);
            if takes && rules.shadows(flow.original(), flow.reply()) {
                ended += usize::from(self.table.remove(flow, now));
            }
        });
        ended
    }

    /// Ends the flows of a network that goes, and forgets what is kept of its fragments, so that another one may have its index;
    /// returns how many flows there were.
    pub fn forget_network(&self, network: NetworkIndex, now: Timestamp) -> usize {
        let legs = [Leg::Inside(network), Leg::UplinkOf(network)];
        let mut ended = 0;
        self.table.for_each(&FlowFilter::default(), now, |flow| {
            if [Direction::Original, Direction::Reply].iter().any(|&direction| legs.contains(&flow.egress(direction))) {
                ended += usize::from(self.table.remove(flow, now));
            }
        });
        let mut fragments = self.fragments();
        legs.into_iter().for_each(|leg| fragments.forget_leg(leg));
        ended
    }

    /// Ends a network's flows by an uplink that it has left; returns how many there were.
    pub fn end_by(&self, uplink: Leg, network: NetworkIndex, now: Timestamp) -> usize {
        let filter = FlowFilter { network: Some(network), ..FlowFilter::default() };
        let mut ended = 0;
        self.table.for_each(&filter, now, |flow| {
            if [Direction::Original, Direction::Reply].iter().any(|&direction| flow.egress(direction) == uplink) {
                ended += usize::from(self.table.remove(flow, now));
            }
        });
        ended
    }

    /// When [`Nat::handle_timeout`] is to be called next; never while there is neither flow nor fragment.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let fragments = self.fragments().next_timeout();
        [self.table.next_timeout(), fragments].into_iter().flatten().min()
    }

    /// Forgets what has outlived its time, and returns how many fragments were lost with it ([`NatDrop::FragmentTimeout`]). Any
    /// worker may call it, at any time.
    pub fn handle_timeout(&self, now: Timestamp) -> u64 {
        self.table.handle_timeout(now);
        self.fragments().handle_timeout(now)
    }

    fn fragments(&self) -> MutexGuard<'_, Fragments> {
        self.fragments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tracks and rewrites a frame that [`Nat::lookup`] let through, in place; no length changes. The packet is that of
    /// the lookup, but for the TTL, which the router may have changed.
    ///
    /// # Errors
    /// Why the frame goes nowhere; it is as it was then.
    pub fn translate(
        &self,
        context: &Context<'_>,
        path: NatPath,
        packet: &mut PacketMut<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), NatDrop> {
        let bytes = packet.l3_end() - packet.l3_offset();
        let NatPath { kind, egress, fragment, .. } = path;
        let between = |kind| match kind {
            FlowKind::Peered => true,
            FlowKind::Service => egress != context.ingress,
            _ => false,
        };
        let is_peered = match &kind {
            Kind::Known { flow, .. } => between(flow.kind()),
            Kind::New(opening) => between(opening.kind),
            Kind::Fragment { from, to } => from == to,
            Kind::Error { .. } | Kind::Untracked => false,
        };
        let result = match kind {
            Kind::Known { flow, direction, segment } => self
                .track(context, &flow, direction, segment.as_ref(), bytes)
                .map(|()| (*flow.arriving(direction), flow.leaving(direction))),
            Kind::New(opening) => self.create(context, &opening, rng).and_then(|(flow, direction)| {
                flow.set_mark(context.rules.mark());
                self.track(context, &flow, direction, opening.segment.as_ref(), bytes)?;
                Ok((*flow.arriving(direction), flow.leaving(direction)))
            }),
            Kind::Error { flow, direction, quotation } => {
                errors::rewrite(packet, &flow, direction, &quotation);
                return Ok(());
            }
            Kind::Fragment { from, to } => {
                rewrite_addresses(packet.ip_packet_mut(), &from, &to);
                if is_peered {
                    context.count_peered(egress, bytes);
                }
                return Ok(());
            }
            Kind::Untracked => return Ok(()),
        };
        if let Some(key) = fragment {
            self.fragments().establish(key, result.map(|(from, to)| fragments::Route::Forward { from, to, egress }));
        }
        let (from, to) = result?;
        rewrite(packet, &from, &to);
        if is_peered {
            context.count_peered(egress, bytes);
        }
        Ok(())
    }

    /// Lets the flow take note of a packet.
    #[inline]
    fn track(
        &self,
        context: &Context<'_>,
        flow: &Arc<Flow>,
        direction: Direction,
        segment: Option<&Segment>,
        bytes: usize,
    ) -> Result<(), NatDrop> {
        let settings = context.rules.settings();
        let now = context.now;
        let timeouts = context.rules.timeouts(flow);
        let packet = TrackedPacket { direction, segment, bytes, now, timeouts, tcp: settings.tcp };
        match flow.track(packet) {
            TrackOutcome::Part => {}
            TrackOutcome::First => self.table.tell(EventKind::New, flow, now),
            TrackOutcome::Changed => self.table.tell(EventKind::Update, flow, now),
            TrackOutcome::Renewed => {
                self.table.tell(EventKind::Destroy, flow, now);
                self.table.tell(EventKind::New, flow, now);
            }
            TrackOutcome::Last => {
                self.table.remove(flow, now);
            }
            TrackOutcome::Invalid => return Err(NatDrop::InvalidSegment),
            TrackOutcome::OutOfWindow => return Err(NatDrop::OutOfWindow),
        }
        Ok(())
    }
}
