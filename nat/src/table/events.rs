//! What listeners are told of flows: a bounded ring, filled only while somebody listens.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::record::FlowRecord;

/// What happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// It was made.
    New,
    /// Its state, or what a listing shows beside it, changed.
    Update,
    /// It is gone.
    Destroy,
}

/// One event, with the flow as it was then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowEvent {
    /// What happened.
    pub event: EventKind,
    /// To which flow.
    #[serde(flatten)]
    pub flow: FlowRecord,
}

/// As `conntrack -E` prints one.
impl std::fmt::Display for FlowEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.event {
            EventKind::New => "[NEW]",
            EventKind::Update => "[UPDATE]",
            EventKind::Destroy => "[DESTROY]",
        };
        write!(f, "{name:>9} {}", self.flow)
    }
}

/// The ring. When it is full, the oldest event goes and is counted as lost.
#[derive(Debug)]
pub(crate) struct Events {
    enabled: AtomicBool,
    capacity: usize,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<FlowEvent>,
    lost: u64,
}

impl Events {
    pub(crate) fn new(capacity: usize) -> Self {
        Events { enabled: AtomicBool::new(false), capacity: capacity.max(1), ring: Mutex::default() }
    }

    /// Whether anybody listens; asked before a record is made.
    #[inline]
    pub(crate) fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    pub(crate) fn enable(&self, on: bool) {
        self.enabled.store(on, Ordering::Relaxed);
        if !on {
            *self.ring() = Ring::default();
        }
    }

    pub(crate) fn push(&self, event: EventKind, flow: FlowRecord) {
        let mut ring = self.ring();
        if ring.events.len() >= self.capacity {
            ring.events.pop_front();
            ring.lost += 1;
        }
        ring.events.push_back(FlowEvent { event, flow });
    }

    /// Takes all events, and how many were lost before them.
    pub(crate) fn take(&self) -> (Vec<FlowEvent>, u64) {
        let mut ring = self.ring();
        let lost = std::mem::take(&mut ring.lost);
        (ring.events.drain(..).collect(), lost)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
