//! Connections by number, by their ends and by when they are due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;

use foldhash::quality::FixedState;
use vswitch_frame::Timestamp;

use super::flow::Flow;
use super::wire::Ends;

/// A connection's number; used again when it is over.
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
    by_ends: HashMap<Ends, Slot, FixedState>,
    /// Connections of each address inside.
    endpoints: HashMap<IpAddr, usize, FixedState>,
    /// May name a slot that is over, or due at another time: the flow itself knows.
    timers: BinaryHeap<Reverse<(Timestamp, Slot)>>,
}

impl Table {
    pub(super) fn new(seed: u64) -> Self {
        let hasher = || FixedState::with_seed(seed);
        Table {
            flows: Vec::new(),
            free: Vec::new(),
            by_ends: HashMap::with_hasher(hasher()),
            endpoints: HashMap::with_hasher(hasher()),
            timers: BinaryHeap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_ends.len()
    }

    pub(super) fn of_endpoint(&self, address: IpAddr) -> usize {
        self.endpoints.get(&address).copied().unwrap_or(0)
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
        *self.endpoints.entry(flow.ends.inside.ip()).or_insert(0) += 1;
        self.flows[slot.index()] = Some(flow);
        Some(slot)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Box<Flow>> {
        let flow = self.flows.get_mut(slot.index())?.take()?;
        self.by_ends.remove(&flow.ends);
        let address = flow.ends.inside.ip();
        if let Some(count) = self.endpoints.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.endpoints.remove(&address);
            }
        }
        self.free.push(slot);
        Some(flow)
    }

    /// Lets [`Table::due`] name the flow at `at`, or earlier.
    pub(super) fn schedule(&mut self, slot: Slot, at: Timestamp) {
        let Some(flow) = self.flow_mut(slot) else { return };
        if flow.due.is_none_or(|due| at < due) {
            flow.due = Some(at);
            self.timers.push(Reverse((at, slot)));
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

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Flow)> {
        let flows = self.flows.iter().enumerate();
        flows.filter_map(|(index, flow)| Some((Slot::new(index)?, flow.as_deref()?)))
    }
}
