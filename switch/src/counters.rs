//! What a worker counts on a port.
//!
//! Every worker has cells of its own on every port, so that counting is a plain load and store that no other core
//! touches; a reader sums over the workers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;
use vswitch_frame::DropReason;
use vswitch_frame::reason::Tally;

use crate::Counters;

/// One worker's cells on one port.
#[derive(Debug)]
pub struct Cells {
    in_frames: AtomicU64,
    in_bytes: AtomicU64,
    out_frames: AtomicU64,
    out_bytes: AtomicU64,
    forwarded: AtomicU64,
    flooded: AtomicU64,
    consumed: AtomicU64,
    drops: [AtomicU64; DropReason::COUNT],
}

/// All workers' cells on one port.
#[derive(Debug)]
pub struct PortCounters(Box<[CachePadded<Cells>]>);

impl PortCounters {
    /// Cells for `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        PortCounters((0..workers).map(|_| CachePadded::default()).collect())
    }

    /// The cells that only worker `worker` writes.
    #[inline]
    #[must_use]
    pub fn of(&self, worker: usize) -> &Cells {
        &self.0[worker]
    }

    /// The sum over the workers.
    #[must_use]
    pub fn sum(&self) -> Counters {
        let mut sum = Counters::default();
        for cells in &self.0 {
            sum.add(&cells.read());
        }
        sum
    }
}

impl Default for Cells {
    fn default() -> Self {
        let cell = || AtomicU64::new(0);
        Cells {
            in_frames: cell(),
            in_bytes: cell(),
            out_frames: cell(),
            out_bytes: cell(),
            forwarded: cell(),
            flooded: cell(),
            consumed: cell(),
            drops: [const { AtomicU64::new(0) }; DropReason::COUNT],
        }
    }
}

/// Adds to a cell that has one writer.
#[inline]
fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
}

impl Cells {
    /// Frames and bytes came in.
    #[inline]
    pub fn received(&self, frames: u64, bytes: u64) {
        bump(&self.in_frames, frames);
        bump(&self.in_bytes, bytes);
    }

    /// Frames and bytes went out.
    #[inline]
    pub fn sent(&self, frames: u64, bytes: u64) {
        bump(&self.out_frames, frames);
        bump(&self.out_bytes, bytes);
    }

    /// Received frames went to one other port each.
    #[inline]
    pub fn forwarded(&self, frames: u64) {
        bump(&self.forwarded, frames);
    }

    /// A received frame went to all ports.
    #[inline]
    pub fn flooded(&self) {
        bump(&self.flooded, 1);
    }

    /// The switch took a frame.
    #[inline]
    pub fn consumed(&self) {
        bump(&self.consumed, 1);
    }

    /// Frames were dropped.
    #[inline]
    pub fn dropped(&self, reason: DropReason, frames: u64) {
        bump(&self.drops[reason.index()], frames);
    }

    fn read(&self) -> Counters {
        let mut drops = Tally::default();
        for reason in DropReason::ALL {
            drops.add(reason, self.drops[reason.index()].load(Relaxed));
        }
        Counters {
            in_frames: self.in_frames.load(Relaxed),
            in_bytes: self.in_bytes.load(Relaxed),
            out_frames: self.out_frames.load(Relaxed),
            out_bytes: self.out_bytes.load(Relaxed),
            forwarded: self.forwarded.load(Relaxed),
            flooded: self.flooded.load(Relaxed),
            consumed: self.consumed.load(Relaxed),
            drops,
        }
    }
}
