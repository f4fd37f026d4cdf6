//! The table as a whole: listing, flushing, listening, and carrying it over a restart.

use std::sync::Arc;

use vswitch_frame::Timestamp;

use super::tcp::TcpState;
use super::{Direction, EventKind, Flow, FlowEvent, FlowFilter, FlowKind, FlowRecord, Leg, NewFlow, Table};
use crate::rules::Mapping;
use crate::tuple::{Protocol, Tuple, Zone};

/// What became of the records that were to be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Flows that live again.
    pub restored: usize,
    /// Records whose time is up, whose tuples are taken, or for which there is no room.
    pub refused: usize,
}

impl Table {
    /// Calls `visit` for every live flow that matches, a shard at a time, in no particular order. No lock is held while
    /// `visit` runs; flows that come and go meanwhile may be missed.
    pub fn for_each(&self, filter: &FlowFilter, now: Timestamp, mut visit: impl FnMut(&Arc<Flow>)) {
        for index in 0..self.shards.count() {
            for flow in self.shards.flows(index) {
                if flow.expires() > now && filter.matches(&flow) {
                    visit(&flow);
                }
            }
        }
    }

    /// Every live flow that matches.
    #[must_use]
    pub fn list(&self, filter: &FlowFilter, now: Timestamp) -> Vec<FlowRecord> {
        let mut records = Vec::new();
        self.for_each(filter, now, |flow| {
            if !flow.is_denied() {
                records.push(FlowRecord::of(flow, now));
            }
        });
        records
    }

    /// Removes every flow that matches and returns how many they were.
    pub fn flush(&self, filter: &FlowFilter, now: Timestamp) -> usize {
        let mut removed = 0;
        self.for_each(filter, now, |flow| removed += usize::from(self.remove(flow, now)));
        removed
    }

    /// Takes a flow and its mapping from everybody else; false when somebody else has done so. [`Table::replace`] must follow: until
    /// then it is still found.
    pub(crate) fn take(&self, flow: &Arc<Flow>) -> bool {
        let taken = flow.bury();
        if taken && flow.holds_mapping {
            self.mappings.release(flow);
        }
        taken
    }

    /// Puts a flow that was taken back, with other answers; false when that could not be, and it is gone.
    pub(crate) fn replace(&self, flow: &Arc<Flow>, reply: Tuple, mapping: Mapping, now: Timestamp) -> bool {
        let held = self.mappings.hold(flow.original(), &reply, mapping);
        let moved = held.map(|held| Arc::new(flow.moved(reply, held)));
        let hashes = [flow.original(), flow.reply(), &reply].map(|tuple| self.shards.hash(tuple));
        let replaced = moved.as_ref().is_some_and(|moved| self.shards.replace(flow, moved, hashes));
        self.tell(EventKind::Destroy, flow, now);
        match moved {
            Some(moved) if replaced => self.tell(EventKind::New, &moved, now),
            moved => {
                if moved.is_some_and(|moved| moved.holds_mapping) {
                    self.mappings.forget(flow.original(), &reply);
                }
                self.unlink(flow);
            }
        }
        replaced
    }

    /// Starts keeping events for [`Table::take_events`].
    pub fn listen(&self) {
        self.events.enable(true);
    }

    /// Stops keeping events, and forgets those that were not taken.
    pub fn stop_listening(&self) {
        self.events.enable(false);
    }

    /// Takes the events since the last call, and how many were lost because there were too many.
    #[must_use]
    pub fn take_events(&self) -> (Vec<FlowEvent>, u64) {
        self.events.take()
    }

    /// Brings flows back that [`Table::list`] gave before a restart. What is not in a record, the windows of TCP
    /// connections, is unknown from then on: their segments are not judged by them. `zone` says whose addresses a leg's are.
    pub fn restore(
        &self,
        records: &[FlowRecord],
        mapping: Mapping,
        zone: impl Fn(Leg) -> Zone,
        now: Timestamp,
    ) -> Restored {
        let mut outcome = Restored::default();
        for record in records {
            let [egress, ingress] = record.egress;
            let (original, reply) = (record.original.in_zone(zone(ingress)), record.reply.in_zone(zone(egress)));
            let record = FlowRecord { original, reply, ..record.clone() };
            if self.restore_one(&record, mapping, now) { outcome.restored += 1 } else { outcome.refused += 1 }
        }
        outcome
    }

    fn restore_one(&self, record: &FlowRecord, mapping: Mapping, now: Timestamp) -> bool {
        let FlowRecord { original, reply, kind, state, egress, .. } = *record;
        let same_kind = original.protocol() == reply.protocol() && original.is_ipv4() == reply.is_ipv4();
        let state = match (original.protocol(), state) {
            (Protocol::TCP, Some(TcpState::None)) => return false,
            (Protocol::TCP, Some(state)) => Some(state),
            (Protocol::TCP, None) => return false,
            _ => None,
        };
        if !same_kind || original == reply || record.timeout.0 == 0 {
            return false;
        }
        let masqueraded = matches!(kind, FlowKind::Masquerade | FlowKind::Hairpin);
        let held = if masqueraded { self.mappings.hold(&original, &reply, mapping) } else { Some(false) };
        let Some(holds_mapping) = held else { return false };
        let new = NewFlow { original, reply, egress, kind, holds_mapping };
        let flow = Flow::restored(new, state, now);
        {
            let mut tracking = flow.tracking();
            tracking.replied = record.replied;
            tracking.assured = record.assured;
            tracking.traffic = record.traffic;
        }
        match self.insert(flow, now) {
            Ok(flow) => {
                flow.set_expires(now + record.timeout.into());
                self.tell(EventKind::New, &flow, now);
                true
            }
            Err(_) => {
                if holds_mapping {
                    self.mappings.forget(&original, &reply);
                }
                false
            }
        }
    }
}

impl Flow {
    /// Whether a packet has come back.
    #[must_use]
    pub fn is_replied(&self) -> bool {
        self.tracking().replied
    }

    /// The TCP state, if this is a TCP connection.
    #[must_use]
    pub fn tcp_state(&self) -> Option<TcpState> {
        match &self.tracking().protocol {
            super::flow::ProtocolState::Tcp(connection) => Some(connection.state()),
            super::flow::ProtocolState::Datagrams { .. } => None,
        }
    }

    /// The tuple that packets of `direction` have when they leave, as text for logs.
    #[must_use]
    pub fn describe(&self, direction: Direction) -> String {
        format!("{} {} -> {}", self.original().protocol(), self.arriving(direction), self.leaving(direction))
    }
}
