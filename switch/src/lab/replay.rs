//! Frames that are sent again as a file has them, by the clock: each at the start of the replay and its distance from the first frame,
//! never so long after the one before, so that what is late once makes nothing else late.
//!
//! Who reads the file pushes frames ahead of time into a bounded queue; the thread of the [`super::departures`] sends them when they are
//! due, and notes how late that was.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use vswitch_frame::PortId;

use super::wires::{Direction, Wires};
use crate::shared::lock;
use crate::{Switch, SwitchError};

/// The reading end of a replay: dropping it ends the replay.
#[derive(Debug)]
pub struct Replay {
    running: Arc<Running>,
    wires: Arc<Wires>,
    first: Option<u64>,
    pace: Pace,
}

/// How fast time goes in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// So many thousandths of how fast it went.
    Thousandths(u64),
    /// Each frame follows the one before at once.
    AtOnce,
}

/// What came of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Frames that were sent.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From the first to the last, in nanoseconds.
    pub time: u64,
    /// How late they were: so many nanoseconds at most were half of them, 99 %, 99.9 % and all.
    pub late: [u64; 4],
    /// Its port went before the end.
    pub gone: bool,
}

/// Ends a replay from elsewhere.
#[derive(Debug, Clone)]
pub struct ReplayStop(Arc<Running>);

/// A replay, for who sends.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) port: PortId,
    pub(super) direction: Direction,
    queue: Mutex<Queue>,
    /// Frames were taken, or it is over.
    moved: Condvar,
    over: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    /// When they are due, and what they are.
    frames: VecDeque<(u64, Box<[u8]>)>,
    bytes: usize,
    /// When the first frame is due.
    start: Option<u64>,
    /// Frames that were taken and are being sent.
    leaving: usize,
    last: u64,
    sent: Replayed,
    lateness: Lateness,
}

/// Most replays at a time.
const MOST_REPLAYS: usize = 16;
/// What waits for its time, of each.
const MOST_BYTES: usize = 4 << 20;
const MOST_FRAMES: usize = 1 << 14;
/// The first frame is due so much later than it is known, so that the next ones are known in time.
const LEAD: u64 = 20_000_000;
/// How often who waits for room looks whether anybody still sends.
const LOOK: Duration = Duration::from_secs(1);

impl Switch {
    /// Begins to send frames again, as if the endpoint behind a port had sent them, or towards it.
    ///
    /// # Errors
    /// When there is no such port, no thread is left, or as many replays run as can.
    pub fn replay(&self, port: PortId, direction: Direction, pace: Pace) -> Result<Replay, SwitchError> {
        if self.datapath.snapshot().port(port).is_none() {
            return Err(SwitchError::UnknownPort(port));
        }
        self.start_departures()?;
        let wires = Arc::clone(self.datapath.wires());
        let running = Arc::new(Running {
            port,
            direction,
            queue: Mutex::default(),
            moved: Condvar::new(),
            over: AtomicBool::new(false),
        });
        {
            let mut replays = lock(&wires.replays);
            if replays.len() >= MOST_REPLAYS {
                return Err(SwitchError::TooManyReplays);
            }
            replays.push(Arc::clone(&running));
        }
        Ok(Replay { running, wires, first: None, pace })
    }
}

impl Replay {
    /// Lets a frame be sent at its time, in nanoseconds on the clock of its file; one that is earlier than the one before goes
    /// with it. Waits while much is to be sent before it. Returns whether anything will be sent at all.
    #[must_use]
    pub fn push(&mut self, frame: &[u8], nanos: u64) -> bool {
        let first = *self.first.get_or_insert(nanos);
        let distance = match self.pace {
            Pace::AtOnce => 0,
            Pace::Thousandths(speed) => scaled(nanos.saturating_sub(first), speed),
        };
        let mut queue = lock(&self.running.queue);
        while queue.bytes > MOST_BYTES || queue.frames.len() >= MOST_FRAMES {
            if self.running.is_over() {
                return false;
            }
            queue = self.running.wait(queue);
        }
        if self.running.is_over() {
            return false;
        }
        let now = self.wires.now();
        let start = *queue.start.get_or_insert(now + LEAD);
        let due = start.saturating_add(distance).max(queue.frames.back().map_or(0, |(due, _)| *due));
        queue.bytes += frame.len();
        queue.frames.push_back((due, frame.into()));
        let first = queue.frames.len() == 1;
        drop(queue);
        if first {
            self.wires.due(due);
        }
        true
    }

    /// Waits until everything is sent, and says what came of it.
    #[must_use]
    pub fn finish(self) -> Replayed {
        let mut queue = lock(&self.running.queue);
        while !self.running.is_over() && (!queue.frames.is_empty() || queue.leaving > 0) {
            queue = self.running.wait(queue);
        }
        let late = [500, 990, 999, 1000].map(|share| queue.lateness.quantile(share));
        Replayed { late, ..queue.sent }
    }

    /// What ends it from elsewhere.
    #[must_use]
    pub fn stop(&self) -> ReplayStop {
        ReplayStop(Arc::clone(&self.running))
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.running.end();
        lock(&self.wires.replays).retain(|running| !Arc::ptr_eq(running, &self.running));
    }
}

impl ReplayStop {
    /// Ends it: what was not sent is not sent any more.
    pub fn stop(&self) {
        self.0.end();
    }
}

impl Running {
    fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Nothing is sent any more.
    pub(super) fn end(&self) {
        self.over.store(true, SeqCst);
        // Who waits has looked, or is told.
        drop(lock(&self.queue));
        self.moved.notify_all();
    }

    /// Its port is gone.
    pub(super) fn gone(&self) {
        lock(&self.queue).sent.gone = true;
        self.end();
    }

    fn wait<'q>(&self, queue: std::sync::MutexGuard<'q, Queue>) -> std::sync::MutexGuard<'q, Queue> {
        self.moved.wait_timeout(queue, LOOK).unwrap_or_else(PoisonError::into_inner).0
    }

    /// When its next frame is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        if self.is_over() {
            return None;
        }
        lock(&self.queue).frames.front().map(|(due, _)| *due)
    }

    /// Frames that are due, at most `most`.
    pub(super) fn take(&self, now: u64, most: usize) -> Vec<(u64, Box<[u8]>)> {
        let mut queue = lock(&self.queue);
        let due = queue.frames.iter().take(most).take_while(|(due, _)| *due <= now && !self.is_over()).count();
        let taken: Vec<_> = queue.frames.drain(..due).collect();
        queue.bytes -= taken.iter().map(|(_, frame)| frame.len()).sum::<usize>();
        queue.leaving = taken.len();
        taken
    }

    /// Those that were taken are on their way.
    pub(super) fn sent(&self, frames: &[(u64, Box<[u8]>)], now: u64) {
        let mut queue = lock(&self.queue);
        let first = queue.start.unwrap_or(now);
        for (due, frame) in frames {
            queue.sent.frames += 1;
            queue.sent.bytes += frame.len() as u64;
            queue.lateness.note(now.saturating_sub(*due));
        }
        queue.last = now;
        queue.sent.time = now.saturating_sub(first);
        queue.leaving = 0;
        drop(queue);
        self.moved.notify_all();
    }
}

/// `nanos` in a time that goes faster.
fn scaled(nanos: u64, thousandths: u64) -> u64 {
    let scaled = u128::from(nanos) * 1000 / u128::from(thousandths.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Times in classes of which each is a sixteenth of its power of two wide.
#[derive(Debug)]
struct Lateness {
    counts: Box<[u64]>,
    most: u64,
}

/// Classes of each power of two.
const CLASSES: u32 = 16;

impl Default for Lateness {
    fn default() -> Self {
        Lateness { counts: vec![0; (u64::BITS * CLASSES) as usize].into(), most: 0 }
    }
}

impl Lateness {
    fn note(&mut self, nanos: u64) {
        self.most = self.most.max(nanos);
        if let Some(count) = self.counts.get_mut(class(nanos)) {
            *count += 1;
        }
    }

    /// What `share` of a thousand are not above, or a sixteenth more.
    fn quantile(&self, share: u64) -> u64 {
        let all: u64 = self.counts.iter().sum();
        let wanted = (all * share).div_ceil(1000);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        place.map_or(0, |class| upper(class).min(self.most))
    }
}

/// The class of a time.
fn class(nanos: u64) -> usize {
    let power = nanos.checked_ilog2().unwrap_or(0);
    let part = if power < 4 { 0 } else { (nanos >> (power - 4)) & 15 };
    power as usize * CLASSES as usize + usize::try_from(part).unwrap_or(0)
}

/// The longest time of a class.
fn upper(class: usize) -> u64 {
    let (power, part) = (class / CLASSES as usize, class as u64 % u64::from(CLASSES));
    if power < 4 {
        return (2 << power) - 1;
    }
    let step = 1_u64 << (power - 4);
    (step * (16 + part)).saturating_add(step - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles are right within a sixteenth, for any times.
    #[test]
    fn quantiles() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.quantile(500), 0);
        (1..=1000).for_each(|micro| lateness.note(micro * 1000));
        for (share, nanos) in [(500, 500_000), (990, 990_000), (999, 999_000)] {
            let found = lateness.quantile(share);
            assert!(found >= nanos && found <= nanos + nanos / 16, "{share}: {found}");
        }
        assert_eq!(lateness.quantile(1000), 1_000_000);
        for nanos in [0, 1, 15, 16, 17, 1 << 40, u64::MAX] {
            assert!(upper(class(nanos)) >= nanos, "{nanos}");
        }
    }

    /// Time goes as fast as asked.
    #[test]
    fn pace() {
        assert_eq!((scaled(1000, 2000), scaled(1000, 500), scaled(u64::MAX, 1)), (500, 2000, u64::MAX));
    }
}
