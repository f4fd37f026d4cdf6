//! The bottleneck: what waits for the rate, and when it has passed.
//!
//! There is no bucket: a frame takes the time that its bits take, and the next one begins when it is through. The time of the
//! queue is exact also when it is looked at late, as everything that happened meanwhile is made up for in order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cast::wide;
use crate::impairment::{Overflow, Queue, Rate, Size};

/// Something that waits.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    item: T,
    /// Higher ones go first.
    class: u8,
    /// When it came.
    arrived: u64,
    /// Bytes that it is at the rate.
    weight: u64,
    /// Of these, what a trace has not let through yet.
    left: u64,
}

/// Something that comes.
#[derive(Debug)]
pub(crate) struct Arrival<T> {
    pub(crate) item: T,
    /// Bytes of the frame.
    pub(crate) length: usize,
    /// Higher ones go first; 0 where all are equal.
    pub(crate) class: u8,
}

/// A queue and the rate at its end. What waits is sorted by class, and in one class by when it came.
#[derive(Debug)]
pub(crate) struct Server<T> {
    waiting: VecDeque<Waiting<T>>,
    bytes: u64,
    /// When what passes is through.
    busy_until: u64,
    /// The moment of a trace up to which it was used, and what is left of its chance.
    trace: Position,
}

#[derive(Debug, Clone, Copy, Default)]
struct Position {
    /// When the trace began; nothing has come yet without it.
    start: Option<u64>,
    /// How many moments have been used, over all rounds.
    used: u64,
    /// When the last one of these was.
    at: u64,
    /// Bytes left of it.
    left: u64,
}

/// Nanoseconds of the queue when nothing is said.
pub(crate) const DEFAULT_TIME: u64 = 200_000_000;
/// Bytes that wait for a trace, whose rate nobody knows, or for a delay, when nothing is said.
pub(crate) const DEFAULT_BYTES: u64 = 64 << 20;

impl<T> Server<T> {
    pub(crate) const fn new() -> Server<T> {
        Server {
            waiting: VecDeque::new(),
            bytes: 0,
            busy_until: 0,
            trace: Position { start: None, used: 0, at: 0, left: 0 },
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes that one frame is at the rate.
    fn weight(rate: &Rate, frame_len: usize) -> u64 {
        match *rate {
            Rate::Steady { overhead, cell, cell_overhead, .. } => {
                let length = wide(frame_len).saturating_add_signed(i64::from(overhead)).max(1);
                let (cell, more) = (u64::from(cell), u64::from(cell_overhead));
                if cell == 0 { length } else { length.div_ceil(cell) * (cell + more) }
            }
            // A trace speaks of packets.
            Rate::Trace(_) => wide(frame_len).saturating_sub(wide(vswitch_frame::ethernet::HEADER_LEN)).max(1),
        }
    }

    /// Whether the queue is longer than `size`, were there so many bytes more.
    fn exceeds(&self, size: Size, rate: &Rate, more: u64) -> bool {
        let bytes = self.bytes + more;
        match (size, rate) {
            (Size::Bytes(most), _) => bytes > most,
            (Size::Packets(most), _) => wide(self.waiting.len()) + u64::from(more > 0) > most,
            (Size::Time(most), Rate::Steady { bits, .. }) => time(bytes, *bits) > most,
            (Size::Time(_), Rate::Trace(_)) => bytes > DEFAULT_BYTES,
        }
    }

    /// Whether what comes now is to be marked.
    pub(crate) fn marks(&self, queue: Option<Queue>, rate: &Rate) -> bool {
        queue.and_then(|queue| queue.ecn_above).is_some_and(|above| self.exceeds(above, rate, 0))
    }

    /// Lets something wait, and hands out what there is no room for. What finds nobody waiting always has room, be the queue
    /// ever so short.
    pub(crate) fn push(&mut self, arrival: Arrival<T>, now: u64, (rate, queue): (&Rate, Option<Queue>)) -> Vec<T> {
        let Arrival { item, length, class } = arrival;
        let weight = Self::weight(rate, length);
        let queue = queue.unwrap_or(Queue::of(Size::Time(DEFAULT_TIME)));
        let mut lost = Vec::new();
        let idle = self.waiting.is_empty() && (self.busy_until <= now || !matches!(queue.size, Size::Packets(_)));
        while !idle && self.exceeds(queue.size, rate, weight) {
            let (head, lowest) = (queue.overflow == Overflow::Head, self.waiting.back().map(|last| last.class));
            let victim = match lowest {
                None if head => break,
                Some(lowest) if head && lowest <= class => self.waiting.partition_point(|one| one.class > lowest),
                Some(lowest) if lowest < class => self.waiting.len() - 1,
                _ => {
                    lost.push(item);
                    return lost;
                }
            };
            let Some(victim) = self.waiting.remove(victim) else { break };
            self.bytes -= victim.weight;
            lost.push(victim.item);
        }
        self.bytes += weight;
        // What a trace has begun to let through is not held up any more.
        let begun = self.waiting.front().is_some_and(|first| first.left < first.weight);
        let place = self.waiting.partition_point(|one| one.class >= class).max(usize::from(begun));
        self.waiting.insert(place, Waiting { item, class, arrived: now, weight, left: weight });
        lost
    }

    /// When something will have passed next, or begin to.
    pub(crate) fn next(&self, rate: &Rate) -> Option<u64> {
        let head = self.waiting.front()?;
        match rate {
            Rate::Steady { .. } => Some(self.busy_until.max(head.arrived)),
            Rate::Trace(moments) => {
                let mut position = self.trace;
                if position.left == 0 || position.at < head.arrived {
                    position.advance(moments, head.arrived);
                }
                Some(position.at)
            }
        }
    }

    /// What begins to pass by `now`, and when it is through.
    pub(crate) fn pop(&mut self, rate: &Rate, now: u64) -> Option<(T, u64)> {
        let arrived = self.waiting.front()?.arrived;
        let through = match rate {
            Rate::Steady { bits, .. } => {
                let begins = self.busy_until.max(arrived);
                if begins > now {
                    return None;
                }
                begins + time(self.waiting.front()?.weight, *bits)
            }
            Rate::Trace(moments) => self.take_chances(moments, now)?,
        };
        self.busy_until = through;
        let head = self.waiting.pop_front()?;
        self.bytes -= head.weight;
        Some((head.item, through))
    }

    /// Uses a trace's chances up to `now` for the first that waits; when it is through, if it is.
    fn take_chances(&mut self, moments: &Arc<[u64]>, now: u64) -> Option<u64> {
        let head = self.waiting.front_mut()?;
        loop {
            // What came after a chance cannot use it.
            if self.trace.left == 0 || self.trace.start.is_none() || self.trace.at < head.arrived {
                let mut next = self.trace;
                next.advance(moments, head.arrived);
                if next.at > now {
                    return None;
                }
                self.trace = next;
            }
            let taken = head.left.min(self.trace.left);
            head.left -= taken;
            self.trace.left -= taken;
            if head.left == 0 {
                return Some(self.trace.at);
            }
        }
    }

    /// Everything that waits, without waiting any more.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.bytes = 0;
        self.busy_until = 0;
        self.trace = Position::default();
        self.waiting.drain(..).map(|waiting| waiting.item)
    }
}

impl Position {
    /// Goes to the first moment that was not used and is not before `from`.
    fn advance(&mut self, moments: &[u64], from: u64) {
        const MILLI: u64 = 1_000_000;
        let start = *self.start.get_or_insert(from);
        let period = moments.last().copied().unwrap_or(1).max(1);
        let count = wide(moments.len());
        // Whole rounds before `from` hold nothing that could be used.
        let rounds = from.saturating_sub(start) / (period * MILLI);
        self.used = self.used.max(rounds.saturating_sub(1) * count);
        loop {
            let within = usize::try_from(self.used % count).unwrap_or(0);
            let at = start + (self.used / count * period + moments[within]) * MILLI;
            self.used += 1;
            if at >= from {
                self.at = at;
                self.left = Rate::CHANCE;
                return;
            }
        }
    }
}

/// Nanoseconds that so many bytes take.
fn time(bytes: u64, bits: u64) -> u64 {
    let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(bits);
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
