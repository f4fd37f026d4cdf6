//! The order in which a worker serves its sources: nobody waits for longer than the others' budgets. Pure; time is an
//! argument, in nanoseconds.
//!
//! Read first: deficit round robin (Shreedhar and Varghese, 1996); the class for sparse flows of RFC 8290.
//!
//! ```text
//!  event of the poll ──► light: was empty, and used little of the worker's time ──► first, each once between two polls
//!                   └──► heavy: used more of it                         ┐
//!  full receive     ──► heavy: is not empty                             ┴► deficit round robin, at least one between two polls
//!  short receive    ──► unsure: perhaps an error cut it short ──► looked at again when there is time
//! ```
//!
//! A budget is time, as what frames cost differs a hundredfold: a burst asks for as many frames as fitted into [`BUDGET`]
//! the last times. What a burst took beyond is owed: a heavy source waits until its budgets have paid for it. Time for which
//! somebody else had the core cannot be told from the source's own; so no burst is charged for more than [`MOST_CHARGED`].

use std::collections::VecDeque;

use vswitch_frame::PortId;

use crate::overlay::VtepId;
use crate::port::Left;
use crate::shared::wide;

/// Time that a burst should take.
pub(super) const BUDGET: u64 = 100_000;
/// How long a worker keeps a core while it always has something to do. Linux takes a core from a thread whose slice is over when it
/// looks: when somebody wakes up there who may come first, or at the tick, which is up to 4 ms away. Who has been waiting for the
/// core already wakes nobody.
const TENURE: u64 = BUDGET;
/// The most that a burst is charged for.
const MOST_CHARGED: u64 = 8 * BUDGET;
/// A source that uses less than one part in this of a worker's time is light.
const LIGHT_SHARE: u64 = 2;
/// How much it may use at once before.
const LIGHT_BURST: u64 = 4 * BUDGET;
/// The least number of frames asked for at once, as far as the budget allows it.
const MIN_BURST: usize = 8;
/// Receives of a source that may fail one after the other before it waits for the poll's next event.
const MOST_FAILURES: u8 = 8;

/// Where frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceId {
    Port(PortId),
    Vtep(VtepId),
}

/// How a source was served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    /// How many frames came.
    pub(super) frames: usize,
    /// What is left.
    pub(super) left: Left,
    /// From when.
    pub(super) start: u64,
    /// Until when.
    pub(super) now: u64,
}

/// For how long a worker has had a core.
#[derive(Debug, Default)]
pub(super) struct Tenure {
    since: u64,
}

impl Tenure {
    /// From now on: it slept or yielded just before.
    pub(super) fn begin(&mut self, now: u64) {
        self.since = now;
    }

    /// Whether it is somebody else's turn.
    pub(super) fn is_over(&self, now: u64) -> bool {
        now.saturating_sub(self.since) >= TENURE
    }
}

/// Queues of sources that may have frames.
#[derive(Debug)]
pub(super) struct Turns {
    /// Ports, then VTEPs.
    sources: [Vec<Source>; 2],
    light: VecDeque<SourceId>,
    heavy: VecDeque<SourceId>,
    unsure: VecDeque<SourceId>,
    /// Most frames of a burst.
    most: usize,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    queue: Queue,
    /// It is in `unsure`, and nobody found it empty since.
    unsure: bool,
    /// Frames that the next receive asks for: twice what came last, so that a lone frame costs little.
    asks: usize,
    /// Frames that fit into a budget.
    fits: usize,
    /// When the time that it used would be over if it had used no more than a light source's share.
    busy_until: u64,
    /// Time that it may use in its turn; below zero it owes some.
    deficit: i64,
    failures: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    None,
    Light,
    Heavy,
}

impl Turns {
    /// Nothing to serve, in bursts of at most `most` frames.
    pub(super) fn new(most: usize) -> Turns {
        let (light, heavy, unsure) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Turns { sources: [Vec::new(), Vec::new()], light, heavy, unsure, most }
    }

    /// Whether no source is known to have frames.
    pub(super) fn is_empty(&self) -> bool {
        self.light.is_empty() && self.heavy.is_empty()
    }

    /// The poll says that a source has frames.
    pub(super) fn arrived(&mut self, id: SourceId, now: u64) {
        let source = self.source(id);
        if source.queue != Queue::None {
            return;
        }
        if source.busy_until <= now.saturating_add(LIGHT_BURST) {
            source.queue = Queue::Light;
            self.light.push_back(id);
        } else {
            self.enqueue(id);
        }
    }

    /// How many light sources wait.
    pub(super) fn light(&self) -> usize {
        self.light.len()
    }

    /// The next light source, and how many frames to ask for.
    pub(super) fn next_light(&mut self) -> Option<(SourceId, usize)> {
        loop {
            let id = self.light.pop_front()?;
            let source = self.source(id);
            if source.queue == Queue::Light {
                source.queue = Queue::None;
                return Some((id, source.asks));
            }
        }
    }

    /// The heavy source that has not used up its budget, or the next one whose budgets have paid for what it used; and how many
    /// frames to ask for.
    pub(super) fn next_heavy(&mut self) -> Option<(SourceId, usize)> {
        loop {
            let id = self.heavy.pop_front()?;
            let alone = self.heavy.is_empty();
            let source = self.source(id);
            if source.queue != Queue::Heavy {
                continue;
            }
            if source.deficit <= 0 {
                source.deficit += signed(BUDGET);
                if alone {
                    // It has taken nothing from anybody.
                    source.deficit = source.deficit.max(0);
                } else if source.deficit <= 0 {
                    self.heavy.push_back(id);
                    continue;
                }
            }
            source.queue = Queue::None;
            return Some((id, source.asks));
        }
    }

    /// The next source of which it is not sure that it was emptied.
    pub(super) fn next_unsure(&mut self) -> Option<(SourceId, usize)> {
        loop {
            let id = self.unsure.pop_front()?;
            let source = self.source(id);
            if std::mem::take(&mut source.unsure) && source.queue == Queue::None {
                return Some((id, source.asks));
            }
        }
    }

    /// A source was served.
    pub(super) fn served(&mut self, id: SourceId, Served { frames, left, start, now }: Served) {
        let most = self.most;
        let source = self.source(id);
        if frames > 0 {
            source.failures = 0;
            source.charge(frames, most, start, now);
        }
        match left {
            Left::Nothing => {
                source.deficit = 0;
                source.unsure = false;
            }
            Left::Unknown => {
                source.deficit = 0;
                if !std::mem::replace(&mut source.unsure, true) {
                    self.unsure.push_back(id);
                }
            }
            Left::More => self.enqueue(id),
        }
    }

    /// A source could not be served. What waits behind the error is asked for in a later turn, but not for ever.
    pub(super) fn failed(&mut self, id: SourceId) {
        let source = self.source(id);
        source.failures += 1;
        if source.failures < MOST_FAILURES {
            self.enqueue(id);
        } else {
            source.failures = 0;
        }
    }

    /// A source is gone; another one may get its index.
    pub(super) fn forget(&mut self, id: SourceId) {
        *self.source(id) = Source::new(self.most);
    }

    fn enqueue(&mut self, id: SourceId) {
        let source = self.source(id);
        source.queue = Queue::Heavy;
        if source.deficit > 0 { self.heavy.push_front(id) } else { self.heavy.push_back(id) }
    }

    fn source(&mut self, id: SourceId) -> &mut Source {
        let (kind, index) = match id {
            SourceId::Port(port) => (0, port.index()),
            SourceId::Vtep(vtep) => (1, vtep.index()),
        };
        let sources = &mut self.sources[kind];
        if sources.len() <= index {
            sources.resize(index + 1, Source::new(self.most));
        }
        &mut sources[index]
    }
}

impl Source {
    fn new(most: usize) -> Source {
        let asks = MIN_BURST.min(most);
        Source { queue: Queue::None, unsure: false, asks, fits: most, busy_until: 0, deficit: 0, failures: 0 }
    }

    #[inline]
    fn charge(&mut self, frames: usize, most: usize, start: u64, now: u64) {
        let took = now.saturating_sub(start);
        let charged = took.min(MOST_CHARGED);
        self.busy_until = self.busy_until.max(start) + LIGHT_SHARE * charged;
        self.deficit -= signed(charged);
        // One odd burst changes it by no more than a factor of two.
        let fits = usize::try_from(BUDGET * wide(frames) / took.max(1)).unwrap_or(usize::MAX);
        self.fits = fits.clamp(self.fits / 2, self.fits * 2).clamp(1, most);
        self.asks = (2 * frames).clamp(MIN_BURST.min(self.fits), self.fits);
    }
}

/// A time of the order of a budget.
fn signed(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn briefly(frames: usize, left: Left) -> Served {
        Served { frames, left, start: 0, now: 1 }
    }

    const MOST: usize = 64;

    fn port(index: u32) -> SourceId {
        SourceId::Port(PortId::new(index))
    }

    /// A worker in miniature: sources that always have frames, of which each costs a fixed time, beside sources that have one
    /// now and then.
    struct World {
        turns: Turns,
        now: u64,
        /// By port: what a frame costs, of those that always have some.
        floods: Vec<u64>,
        /// Time used by each.
        used: Vec<u64>,
        /// Longest time from one look at the poll to the next.
        longest: u64,
    }

    impl World {
        fn new(floods: Vec<u64>) -> World {
            let mut turns = Turns::new(MOST);
            for index in 0..floods.len() {
                turns.arrived(port(u32::try_from(index).unwrap()), 0);
            }
            World { turns, now: 0, used: vec![0; floods.len()], floods, longest: 0 }
        }

        /// What happens between two looks at the poll.
        fn round(&mut self) {
            let polled = self.now;
            for _ in 0..self.turns.light() {
                let turn = self.turns.next_light();
                self.serve(turn);
            }
            loop {
                let turn = self.turns.next_heavy();
                if !self.serve(turn) || self.now - polled >= BUDGET {
                    break;
                }
            }
            self.longest = self.longest.max(self.now - polled);
        }

        fn serve(&mut self, turn: Option<(SourceId, usize)>) -> bool {
            let Some((id, asks)) = turn else { return false };
            let SourceId::Port(index) = id else { return false };
            let start = self.now;
            let (frames, left) = match self.floods.get(index.index()) {
                Some(cost) => {
                    self.now += 1_000 + cost * wide(asks);
                    self.used[index.index()] += self.now - start;
                    (asks, Left::More)
                }
                None => {
                    self.now += 5_000;
                    (1, Left::Nothing)
                }
            };
            let now = self.now;
            self.turns.served(id, Served { frames, left, start, now });
            true
        }
    }

    proptest! {
        /// Whatever frames cost, floods get equal times, and between two looks at the poll there are no more than two budgets,
        /// once their costs are known.
        #[test]
        fn floods_share_time(costs in prop::collection::vec(200u64..50_000, 1..6)) {
            let mut world = World::new(costs);
            (0..200).for_each(|_| world.round());
            world.longest = 0;
            world.used.fill(0);
            (0..2_000).for_each(|_| world.round());
            prop_assert!(world.longest <= 2 * BUDGET + 51_000, "{}", world.longest);
            let (least, most) = (world.used.iter().min().unwrap(), world.used.iter().max().unwrap());
            prop_assert!(most - least <= most / 10 + 2 * MOST_CHARGED, "{:?} of {:?}", world.used, world.floods);
        }
    }

    /// A source that has a frame now and then is served before all floods, in the round after its event.
    #[test]
    fn light_ones_go_first() {
        let mut world = World::new(vec![1_000, 20_000, 50_000]);
        (0..100).for_each(|_| world.round());
        for _ in 0..100 {
            let victim = port(9);
            world.turns.arrived(victim, world.now);
            assert_eq!(world.turns.light(), 1);
            let turn = world.turns.next_light();
            assert_eq!(turn.map(|(id, _)| id), Some(victim));
            world.serve(turn);
            (0..4).for_each(|_| world.round());
        }
    }

    /// Who uses more than its share is heavy although it is emptied each time, and light again after a rest.
    #[test]
    fn heavy_by_use() {
        let mut turns = Turns::new(MOST);
        let mut now = 0;
        for _ in 0..100 {
            turns.arrived(port(1), now);
            let turn = turns.next_light().or_else(|| turns.next_heavy()).unwrap();
            turns.served(turn.0, Served { frames: MOST, left: Left::Nothing, start: now, now: now + 60_000 });
            now += 70_000;
        }
        turns.arrived(port(1), now);
        assert_eq!((turns.light(), turns.next_heavy().is_some()), (0, true));
        now += 10_000_000;
        turns.arrived(port(1), now);
        assert_eq!(turns.light(), 1);
    }

    /// An error in the way is passed by: the source is asked again, eight times at most while it only fails.
    #[test]
    fn errors() {
        let mut turns = Turns::new(MOST);
        turns.arrived(port(1), 0);
        let mut asked = 0;
        while let Some((id, _)) = turns.next_light().or_else(|| turns.next_heavy()) {
            asked += 1;
            turns.failed(id);
        }
        assert_eq!(asked, u32::from(MOST_FAILURES));
        turns.arrived(port(1), 0);
        assert!(turns.next_light().is_some());
        turns.failed(port(1));
        let (id, _) = turns.next_heavy().unwrap();
        turns.served(id, briefly(1, Left::Nothing));
        assert!(turns.is_empty());
    }

    /// A short receive is looked at once more, unless the source was found empty or has its turn anyway.
    #[test]
    fn unsure() {
        let mut turns = Turns::new(MOST);
        for (after, again) in [(None, true), (Some(Left::Nothing), false), (Some(Left::More), false)] {
            turns.served(port(1), briefly(3, Left::Unknown));
            turns.served(port(1), briefly(3, Left::Unknown));
            assert!(turns.is_empty());
            if let Some(left) = after {
                turns.served(port(1), briefly(0, left));
            }
            assert_eq!(turns.next_unsure().is_some(), again, "{after:?}");
            assert_eq!(turns.next_unsure(), None);
        }
    }

    /// A worker that is never idle yields once in a budget, and one that slept has a whole one before it.
    #[test]
    fn tenures() {
        let mut tenure = Tenure::default();
        let (mut yields, times) = (0, 1_000);
        for time in 0..times {
            let now = 7_000_000 + time * BUDGET / 10;
            if time == 0 {
                tenure.begin(now);
            }
            if tenure.is_over(now) {
                yields += 1;
                tenure.begin(now);
            }
        }
        assert_eq!(yields, (times - 1) / 10);
    }

    /// What is gone leaves nothing to whoever gets its index.
    #[test]
    fn forgotten() {
        let mut turns = Turns::new(MOST);
        let vtep = SourceId::Vtep(VtepId::new(3));
        for id in [port(1), vtep] {
            turns.served(id, Served { frames: MOST, left: Left::More, start: 0, now: 50_000_000 });
            turns.forget(id);
        }
        assert_eq!((turns.next_light(), turns.next_heavy()), (None, None));
        turns.arrived(vtep, 0);
        assert_eq!(turns.next_light(), Some((vtep, MIN_BURST)));
        assert_eq!(turns.next_light(), None);
    }
}
