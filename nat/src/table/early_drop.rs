//! Which flow goes when there is no room for another.
//!
//! Some flows are looked at, starting from a place that the newcomer's tuple cannot choose (the hash is seeded). One may
//! go when it is not assured, or when its connection is over; one that was never answered goes before one that was. A
//! flow of an endpoint that holds fewer flows than the newcomer's endpoint never goes: the flooder pays.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vswitch_frame::Timestamp;

use super::accounts::Endpoint;
use super::flow::{Flow, ProtocolState};
use super::shard::Sampling;
use super::{Table, TableCounters};
use crate::tuple::{Protocol, Tuple};

/// How easily a flow is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// Never answered, or over.
    Nothing,
    /// Answered, but not established.
    Little,
    /// Not to be dropped.
    Assured,
}

impl Table {
    /// Makes room for a flow of `endpoint` in a full table.
    pub(super) fn early_drop_for(&self, endpoint: Endpoint, now: Timestamp) -> bool {
        let own = self.accounts.count(endpoint);
        self.early_drop(now, |flow| {
            let other = flow.endpoint_key();
            other == endpoint || self.accounts.count(other) >= own
        })
    }

    /// Makes room among the flows of `endpoint`.
    pub(super) fn early_drop_of(&self, endpoint: Endpoint, now: Timestamp) -> bool {
        self.early_drop(now, |flow| flow.endpoint_key() == endpoint)
    }

    fn early_drop(&self, now: Timestamp, may_go: impl Fn(&Flow) -> bool) -> bool {
        let mut victim: Option<Arc<Flow>> = None;
        // What was counted so far moves the start on, so that the same flows are not looked at again and again.
        let TableCounters { created, early_dropped, refused_full, refused_endpoint, .. } = self.counters();
        let round = created.wrapping_add(early_dropped).wrapping_add(refused_full).wrapping_add(refused_endpoint);
        let bits = u128::from(round);
        let (source, destination) = (Ipv6Addr::from_bits(bits), Ipv6Addr::from_bits(!bits));
        let start = self.shards.hash(&Tuple::addresses(Protocol(0), source.into(), destination.into()));
        self.shards.sample(start, SAMPLE, |flow| match worth(flow) {
            Worth::Nothing if may_go(flow) => {
                victim = Some(Arc::clone(flow));
                Sampling::Enough
            }
            Worth::Little if victim.is_none() && may_go(flow) => {
                victim = Some(Arc::clone(flow));
                Sampling::More
            }
            _ => Sampling::More,
        });
        let dropped = victim.is_some_and(|flow| self.remove(&flow, now));
        if dropped {
            self.counters.early_dropped.fetch_add(1, Ordering::Relaxed);
        }
        dropped
    }
}

fn worth(flow: &Flow) -> Worth {
    let tracking = flow.tracking();
    let over = matches!(&tracking.protocol, ProtocolState::Tcp(connection) if connection.state().is_over());
    match (tracking.replied, tracking.assured) {
        _ if over => Worth::Nothing,
        (_, true) => Worth::Assured,
        (false, _) => Worth::Nothing,
        (true, _) => Worth::Little,
    }
}

/// How many flows are looked at: enough to find one in a table where one in twenty may go, little enough not to make a
/// full table slow.
const SAMPLE: usize = 64;
