//! The connection table: flows found by either of their tuples.
//!
//! A flow is one allocation with both of its tuples in it. Two slots of 16 bytes point to it, one under each tuple's
//! hash, in shards that each have a lock of their own; the key is compared where it lies, in the flow. A packet takes a
//! shard's read lock to find its flow and the flow's own lock to be tracked; only making and removing flows takes write
//! locks, of the two shards concerned, in ascending order.
//!
//! Bounds: a capacity for all flows and one for each endpoint. At the first, a flow that nobody would miss is dropped
//! early, but never one of an endpoint that holds fewer flows than the newcomer's (see `early_drop`); at the second
//! only the endpoint's own flows are looked at. So a flood pushes out nothing but itself.
//!
//! Expiry: a flow past its time is not found any more. [`Table::handle_timeout`] takes such flows out, an eighth of the
//! table a second; a slot remembers when its flow is to be looked at again, so that a sweep reads only slots.

mod accounts;
mod early_drop;
mod events;
mod filter;
mod flow;
mod listing;
pub(crate) mod mappings;
mod record;
mod shard;
pub mod tcp;
mod timeouts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use accounts::{Accounts, Endpoint};
pub(crate) use events::Events;
pub use events::{EventKind, FlowEvent};
pub use filter::FlowFilter;
pub(crate) use flow::DENIED;
pub use flow::{Direction, Flow, FlowKind, Leg, Traffic};
pub(crate) use flow::{NewFlow, TrackOutcome, TrackedPacket};
pub use listing::Restored;
use mappings::Mappings;
pub use record::FlowRecord;
use serde::{Deserialize, Serialize};
use shard::{Hash, Shards};
pub use timeouts::{Seconds, Timeouts};
use vswitch_frame::Timestamp;

use crate::tuple::{Tuple, Zone};

/// How much the table may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Flows in all.
    pub flows: usize,
    /// Flows of one endpoint.
    pub flows_per_endpoint: usize,
    /// Events kept for a listener that is slow.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { flows: 1 << 20, flows_per_endpoint: 1 << 18, events: 1 << 14 }
    }
}

/// What has happened in the table since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCounters {
    /// Flows that are in the table now.
    pub flows: u64,
    /// Flows made.
    pub created: u64,
    /// Flows whose time was up.
    pub expired: u64,
    /// Flows removed to make room.
    pub early_dropped: u64,
    /// Flows refused because the table was full.
    pub refused_full: u64,
    /// Flows refused because their endpoint held too many.
    pub refused_endpoint: u64,
}

#[derive(Debug, Default)]
struct Counters {
    created: AtomicU64,
    expired: AtomicU64,
    early_dropped: AtomicU64,
    refused_full: AtomicU64,
    refused_endpoint: AtomicU64,
}

/// The connection table. All methods take `&self`; workers share it.
#[derive(Debug)]
pub struct Table {
    shards: Shards,
    accounts: Accounts,
    pub(crate) mappings: Mappings,
    pub(crate) events: Events,
    limits: Limits,
    count: AtomicUsize,
    counters: Counters,
    sweep_due: AtomicU64,
    sweep_next: AtomicUsize,
}

/// Why a flow was not inserted.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Another packet of the same flow was faster; this is the flow.
    Exists(Arc<Flow>, Direction),
    /// The reply tuple belongs to another flow, so answers could not be told apart.
    ReplyTaken,
    /// The table is full and nothing in it may go.
    Full,
    /// The endpoint holds as many flows as it may.
    EndpointLimit,
}

impl Table {
    /// An empty table. `seed` makes its hashing unpredictable to those who choose ports and addresses.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        Table {
            shards: Shards::new(seed),
            accounts: Accounts::new(seed.rotate_left(17)),
            mappings: Mappings::new(seed.rotate_left(31)),
            events: Events::new(limits.events),
            limits,
            count: AtomicUsize::new(0),
            counters: Counters::default(),
            sweep_due: AtomicU64::new(0),
            sweep_next: AtomicUsize::new(0),
        }
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many flows the endpoint with this address holds.
    #[must_use]
    pub fn flows_of(&self, zone: Zone, address: std::net::IpAddr) -> usize {
        self.accounts.count(Endpoint { zone, address: crate::tuple::mapped(address) })
    }

    /// What has happened since the table was made.
    #[must_use]
    pub fn counters(&self) -> TableCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TableCounters {
            flows: self.len() as u64,
            created: read(&self.counters.created),
            expired: read(&self.counters.expired),
            early_dropped: read(&self.counters.early_dropped),
            refused_full: read(&self.counters.refused_full),
            refused_endpoint: read(&self.counters.refused_endpoint),
        }
    }

    /// The live flow that a packet with this tuple belongs to, and which way the packet goes.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, tuple: &Tuple, now: Timestamp) -> Option<(Arc<Flow>, Direction)> {
        let (flow, direction) = self.shards.find(self.shards.hash(tuple), tuple)?;
        if flow.expires() > now {
            return Some((flow, direction));
        }
        self.expire(&flow, now);
        None
    }

    /// Puts a new flow in. It has no time to live until its first packet is sighted, which the caller does next.
    pub(crate) fn insert(&self, flow: Flow, now: Timestamp) -> Result<Arc<Flow>, Refused> {
        let endpoint = flow.endpoint_key();
        self.make_room(endpoint, now)?;
        // Long enough for the caller to sight the first packet, which sets the real time.
        flow.set_expires(now + Duration::from_secs(1));
        let keys =
            [(self.shards.hash(flow.original()), *flow.original()), (self.shards.hash(flow.reply()), *flow.reply())];
        let flow = Arc::new(flow);
        match self.link(&flow, keys, now) {
            Ok(()) => {
                self.counters.created.fetch_add(1, Ordering::Relaxed);
                Ok(flow)
            }
            Err(refused) => {
                self.accounts.close(endpoint);
                self.count.fetch_sub(1, Ordering::Relaxed);
                Err(refused)
            }
        }
    }

    fn link(&self, flow: &Arc<Flow>, keys: [(Hash, Tuple); 2], now: Timestamp) -> Result<(), Refused> {
        // An expired flow under either key is taken out first; between that and the insertion another may come, which
        // then simply wins.
        for (_, tuple) in &keys {
            let _ = self.find(tuple, now);
        }
        self.shards.link(flow, keys).map_err(|(taken_by, direction, key)| match key {
            Direction::Original => Refused::Exists(taken_by, direction),
            Direction::Reply => Refused::ReplyTaken,
        })
    }

    /// Counts the newcomer in, against its endpoint and against all.
    fn make_room(&self, endpoint: Endpoint, now: Timestamp) -> Result<(), Refused> {
        let own_limit = self.limits.flows_per_endpoint.max(1);
        if self.accounts.open(endpoint, own_limit).is_err() {
            let made = self.early_drop_of(endpoint, now) && self.accounts.open(endpoint, own_limit).is_ok();
            if !made {
                self.counters.refused_endpoint.fetch_add(1, Ordering::Relaxed);
                return Err(Refused::EndpointLimit);
            }
        }
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.limits.flows && !self.early_drop_for(endpoint, now) {
            self.count.fetch_sub(1, Ordering::Relaxed);
            self.accounts.close(endpoint);
            self.counters.refused_full.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// Takes a flow out; false when somebody else already did.
    pub(crate) fn remove(&self, flow: &Arc<Flow>, now: Timestamp) -> bool {
        if !flow.bury() {
            return false;
        }
        if flow.holds_mapping {
            self.mappings.release(flow);
        }
        self.unlink(flow);
        self.tell(EventKind::Destroy, flow, now);
        true
    }

    /// Nobody finds it any more.
    fn unlink(&self, flow: &Arc<Flow>) {
        for tuple in [flow.original(), flow.reply()] {
            self.shards.unlink(self.shards.hash(tuple), flow);
        }
        self.accounts.close(flow.endpoint_key());
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    fn expire(&self, flow: &Arc<Flow>, now: Timestamp) {
        if self.remove(flow, now) {
            self.counters.expired.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells listeners, if there are any.
    pub(crate) fn tell(&self, event: EventKind, flow: &Flow, now: Timestamp) {
        if self.events.enabled() {
            self.events.push(event, FlowRecord::of(flow, now));
        }
    }

    /// When [`Table::handle_timeout`] is to be called next; never while the table is empty.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        (!self.is_empty()).then(|| Timestamp::from_millis(self.sweep_due.load(Ordering::Relaxed)))
    }

    /// Takes out flows whose time was up, in the next part of the table. Any worker may call it; it does nothing before
    /// it is due.
    pub fn handle_timeout(&self, now: Timestamp) {
        let due = self.sweep_due.load(Ordering::Relaxed);
        let next = (now + SWEEP_INTERVAL).as_millis();
        if now.as_millis() < due
            || self.sweep_due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let step = self.shards.count() / SWEEPS_FOR_ALL;
        let first = self.sweep_next.fetch_add(step, Ordering::Relaxed);
        self.sweep(first..first + step, now);
    }

    /// Takes out every flow whose time was up, at once.
    pub fn expire_all(&self, now: Timestamp) {
        self.sweep(0..self.shards.count(), now);
    }

    fn sweep(&self, shards: std::ops::Range<usize>, now: Timestamp) {
        for index in shards {
            for flow in self.shards.overdue(index, now) {
                self.expire(&flow, now);
            }
        }
    }
}

/// How often a part of the table is swept, and how many parts make it whole.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEPS_FOR_ALL: usize = 8;
