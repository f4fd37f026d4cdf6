//! Connections by number, by their ends and by when they are due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use foldhash::quality::FixedState;
use vswitch_frame::Timestamp;

use super::flow::{Flow, Rank};
use super::wire::Ends;
use crate::proxy::shares::{Owner, Shares};

/// A connection's number; used again when it is over. Nobody keeps one for longer but as a hint to look at the connection that
/// has it then: its host socket is closed, and whatever it held is gone, in the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u32);

impl Slot {
    /// The number as it comes back from a poll; `None` for what cannot be one.
    #[must_use]
    pub fn new(index: usize) -> Option<Slot> {
        u32::try_from(index).ok().map(Slot)
    }

    /// The number.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub(super) struct Table {
    flows: Vec<Option<Box<Flow>>>,
    free: Vec<Slot>,
    /// Most connections at once since [`Table::shrink`].
    most: usize,
    by_ends: HashMap<Ends, Slot, FixedState>,
    /// Connections of each owner, the one that goes first at the beginning.
    shares: Shares<(Rank, Slot)>,
    /// May name a slot that is over, or due at another time: the flow itself knows.
    timers: BinaryHeap<Reverse<(Timestamp, Slot)>>,
}

impl Table {
    pub(super) fn new(seed: u64) -> Self {
        Table {
            flows: Vec::new(),
            free: Vec::new(),
            most: 0,
            by_ends: HashMap::with_hasher(FixedState::with_seed(seed)),
            shares: Shares::new(),
            timers: BinaryHeap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_ends.len()
    }

    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// How many connections somebody has.
    pub(super) fn of(&self, owner: Owner) -> usize {
        self.shares.of(owner)
    }

    /// Who has most.
    pub(super) fn greatest(&self) -> Option<Owner> {
        self.shares.greatest()
    }

    /// Which of somebody's connections goes first.
    pub(super) fn first(&self, owner: Owner) -> Option<(Rank, Slot)> {
        self.shares.first(owner)
    }

    pub(super) fn find(&self, ends: &Ends) -> Option<Slot> {
        self.by_ends.get(ends).copied()
    }

    pub(super) fn flow_mut(&mut self, slot: Slot) -> Option<&mut Flow> {
        self.flows.get_mut(slot.index())?.as_deref_mut()
    }

    pub(super) fn insert(&mut self, flow: Box<Flow>) -> Option<Slot> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = Slot::new(self.flows.len())?;
                self.flows.push(None);
                slot
            }
        };
        self.by_ends.insert(flow.ends, slot);
        self.most = self.most.max(self.by_ends.len());
        self.shares.insert(flow.owner, (flow.filed, slot));
        self.flows[slot.index()] = Some(flow);
        Some(slot)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Box<Flow>> {
        let flow = self.flows.get_mut(slot.index())?.take()?;
        self.by_ends.remove(&flow.ends);
        self.shares.remove(flow.owner, &(flow.filed, slot));
        self.free.push(slot);
        Some(flow)
    }

    /// Files a connection by what has become of it and when bytes moved last.
    pub(super) fn file(&mut self, slot: Slot) {
        let Some(flow) = self.flows.get_mut(slot.index()).and_then(Option::as_deref_mut) else { return };
        let (before, rank) = (flow.filed, flow.rank());
        if before != rank {
            flow.filed = rank;
            self.shares.renew(flow.owner, &(before, slot), (rank, slot));
        }
    }

    /// Makes what is beside the connections as small as their number allows.
    pub(super) fn shrink(&mut self) {
        self.most = self.by_ends.len();
        let used = self.flows.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.flows.truncate(used);
        self.flows.shrink_to_fit();
        self.free.retain(|slot| slot.index() < used);
        self.free.shrink_to_fit();
        self.by_ends.shrink_to_fit();
        self.sweep_timers();
        self.timers.shrink_to_fit();
    }

    fn sweep_timers(&mut self) {
        let flows = &self.flows;
        self.timers.retain(|Reverse((at, slot))| {
            let flow = flows.get(slot.index()).and_then(Option::as_deref);
            flow.is_some_and(|flow| flow.due == Some(*at))
        });
    }

    /// Lets [`Table::due`] name the flow at `at`, or earlier.
    pub(super) fn schedule(&mut self, slot: Slot, at: Timestamp) {
        let Some(flow) = self.flow_mut(slot) else { return };
        if flow.due.is_none_or(|due| at < due) {
            flow.due = Some(at);
            self.timers.push(Reverse((at, slot)));
            if self.timers.len() > 2 * self.by_ends.len() + SPARE_TIMERS {
                self.sweep_timers();
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// The next flow whose time has come.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<Slot> {
        while self.next_due().is_some_and(|at| at <= now) {
            let Some(Reverse((at, slot))) = self.timers.pop() else { break };
            if let Some(flow) = self.flow_mut(slot).filter(|flow| flow.due == Some(at)) {
                flow.due = None;
                return Some(slot);
            }
        }
        None
    }

    #[cfg(test)]
    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Flow)> {
        let flows = self.flows.iter().enumerate();
        flows.filter_map(|(index, flow)| Some((Slot::new(index)?, flow.as_deref()?)))
    }
}

/// Timers of connections that are over, or due earlier, that are not worth sweeping.
const SPARE_TIMERS: usize = 64;
