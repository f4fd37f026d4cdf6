//! Wires between endpoints and their ports that are as bad as somebody wants them ([`vswitch_wire`]).
//!
//! Frames are offered to a wire where they come from a port, before anything is decided, and where they leave by one, behind
//! everything; what a wire loses was never there for the switch, or has left it. A wire has a lock for each direction, which is held for
//! one burst's look. What waits is delivered by [`super::departures`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use mio::Waker;
use vswitch_frame::{FrameBuf, Packet, PortId};
use vswitch_nat::route::{IcmpError, Sender as IcmpSender};
use vswitch_wire::{Counters, Held, Impairment, Memory, Offered, Sender, Told, Wire, WireSeed};

use super::replay::Running;
use super::{Shared, Story};
use crate::clock::Clock;
use crate::port::Port;
use crate::shared::lock;

/// Along a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the endpoint to the switch.
    Up,
    /// From the switch to the endpoint.
    Down,
}

/// One direction of a wire, as it is now.
#[derive(Debug, Clone)]
pub struct WireReport {
    /// The port at its end.
    pub port: PortId,
    /// What the port is called.
    pub name: String,
    /// Which direction.
    pub direction: Direction,
    /// What happens on it.
    pub impairment: Impairment,
    /// The ports that its endpoint does not hear.
    pub cuts: Vec<PortId>,
    /// What happened.
    pub counters: Counters,
}

/// What the wires of a switch have in common.
#[derive(Debug)]
pub struct Wires {
    clock: Clock,
    /// The time of tests, in nanoseconds.
    manual: OnceLock<Arc<AtomicU64>>,
    memory: Arc<Memory>,
    seed: AtomicU64,
    /// When departures wake up by themselves.
    pub(super) armed: AtomicU64,
    pub(super) waker: OnceLock<Waker>,
    /// All that there were since their ports came, also while nothing happens on them.
    pub(super) known: Mutex<BTreeMap<PortId, Arc<PortWire>>>,
    pub(super) due_back: Mutex<Vec<DueBack>>,
    /// Numbers for frames, so that one can be followed from place to place.
    pub(super) numbers: Arc<AtomicU64>,
    /// Frames that somebody wants to be there.
    pub(super) injections: Mutex<VecDeque<Injection>>,
    /// Files that are sent again.
    pub(super) replays: Mutex<Vec<Arc<Running>>>,
    /// How many there were whose story is told.
    pub(super) injected: AtomicU64,
    /// The latest ones, by which it was.
    pub(super) stories: Mutex<VecDeque<(u64, Story)>>,
}

/// A frame that somebody wants to be there.
#[derive(Debug)]
pub(super) struct Injection {
    pub(super) port: PortId,
    pub(super) direction: Direction,
    pub(super) frame: Box<[u8]>,
    /// Who follows it.
    pub(super) only: Arc<Shared>,
    /// Is told what it is known as, if its port is there.
    pub(super) done: crossbeam_channel::Sender<Option<u64>>,
}

/// A change that is taken back at a time.
#[derive(Debug)]
pub(super) struct DueBack {
    pub(super) at: u64,
    pub(super) wire: Weak<PortWire>,
    pub(super) direction: Direction,
    pub(super) before: Impairment,
    pub(super) applied: Impairment,
}

/// The wire of a port.
#[derive(Debug)]
pub(crate) struct PortWire {
    pub(super) name: String,
    up: Lane,
    down: Lane,
    /// Whom its endpoint does not hear.
    pub(super) cuts: Mutex<Vec<(PortId, Sender)>>,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) wire: Mutex<Wire>,
    /// When something is due; never while nothing waits.
    due: AtomicU64,
    /// Frames of the switch's own that go along here at once.
    own: Mutex<VecDeque<FrameBuf>>,
}

/// What all wires of a switch may hold, in bytes.
const MOST_MEMORY: usize = 256 << 20;
/// ICMP errors that wait to be sent.
const MOST_OWN: usize = 64;
/// Nothing is due.
const NEVER: u64 = u64::MAX;

impl Direction {
    /// Both.
    pub const BOTH: [Direction; 2] = [Direction::Up, Direction::Down];

    /// As users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
        }
    }
}

impl Wires {
    pub(crate) fn new(clock: Clock, seed: u64) -> Wires {
        Wires {
            clock,
            manual: OnceLock::new(),
            memory: Arc::new(Memory::new(MOST_MEMORY)),
            seed: AtomicU64::new(seed),
            armed: AtomicU64::new(0),
            waker: OnceLock::new(),
            known: Mutex::default(),
            due_back: Mutex::default(),
            numbers: Arc::default(),
            injections: Mutex::default(),
            replays: Mutex::default(),
            injected: AtomicU64::new(0),
            stories: Mutex::default(),
        }
    }

    /// Nanoseconds, as the wires have them.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.manual.get().map_or_else(|| self.clock.nanos(), |manual| manual.load(Relaxed))
    }

    /// Lets a test say what time it is.
    pub fn set_clock(&self, nanos: Arc<AtomicU64>) {
        // The first one stays.
        let _ = self.manual.set(nanos);
    }

    /// What everything that happens by chance comes from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed.load(Relaxed)
    }

    /// Bytes that wait on wires.
    #[must_use]
    pub fn held(&self) -> usize {
        self.memory.used()
    }

    /// Begins everything that happens by chance again, from this seed.
    pub(super) fn reseed(&self, seed: u64) {
        self.seed.store(seed, Relaxed);
        for wire in lock(&self.known).values() {
            for direction in Direction::BOTH {
                lock(&wire.lane(direction).wire).reseed(wire_seed(seed, &wire.name, direction));
            }
        }
    }

    /// The wire of a port, made if there is none yet.
    pub(super) fn of(&self, port: &Port, network: &str) -> Arc<PortWire> {
        let fresh = || {
            let name = format!("{}@{network}", port.config.name);
            let lane = |direction| {
                let wire = Wire::new(wire_seed(self.seed(), &name, direction), Arc::clone(&self.memory));
                Lane { wire: Mutex::new(wire), due: AtomicU64::new(NEVER), own: Mutex::default() }
            };
            let (up, down) = (lane(Direction::Up), lane(Direction::Down));
            Arc::new(PortWire { name, up, down, cuts: Mutex::default() })
        };
        Arc::clone(lock(&self.known).entry(port.id).or_insert_with(fresh))
    }

    /// Departures are woken if something is due before they wake up.
    pub(super) fn due(&self, at: u64) {
        if at < self.armed.load(SeqCst) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.get()
            && let Err(error) = waker.wake()
        {
            tracing::error!(%error, "cannot wake the thread of the wires");
        }
    }
}

fn wire_seed(seed: u64, name: &str, direction: Direction) -> WireSeed {
    WireSeed::new(seed, name, direction as u8)
}

/// What a wire did with a burst.
pub(super) struct Outcome {
    pub(super) losses: Vec<Told>,
}

impl PortWire {
    pub(super) const fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// Whether nobody would notice if it were not there.
    pub(super) fn is_idle(&self) -> bool {
        Direction::BOTH.into_iter().all(|direction| {
            let lane = self.lane(direction);
            lock(&lane.wire).is_idle() && lock(&lane.own).is_empty()
        })
    }

    /// Offers frames of a burst; `each` is asked for them, with what they are known as, and told whether they go on. Losses are told of if
    /// somebody looks.
    pub(super) fn offer<'f>(
        &self,
        wires: &Wires,
        direction: Direction,
        watched: bool,
        frames: impl Iterator<Item = (Option<Packet<'f>>, u64)>,
        mut goes_on: impl FnMut(bool),
    ) -> Outcome {
        let lane = self.lane(direction);
        let mut wire = lock(&lane.wire);
        wire.watch(watched);
        let now = wires.now();
        for (packet, number) in frames {
            // What makes no sense is the switch's to drop.
            let Some(packet) = packet else {
                goes_on(true);
                continue;
            };
            let offered = wire.offer(now, &packet, number);
            if let Offered::TooLong(mtu) = offered {
                self.tell_too_long(direction, &packet, mtu);
            }
            goes_on(offered == Offered::Whole);
        }
        let losses = wire.take_losses();
        let errors = !lock(&self.lane(direction.back()).own).is_empty();
        let due = wire.next_due().unwrap_or(NEVER);
        lane.due.store(due, SeqCst);
        drop(wire);
        wires.due(if errors { 0 } else { due });
        Outcome { losses }
    }

    /// Sends the ICMP error of a router along the other direction, in the name of the packet's destination.
    fn tell_too_long(&self, direction: Direction, packet: &Packet<'_>, mtu: u32) {
        let mut own = lock(&self.lane(direction.back()).own);
        if own.len() >= MOST_OWN {
            return;
        }
        let sender = IcmpSender { mac: packet.addresses().0, address: packet.ip_addresses().1 };
        let error = IcmpError::TooBig { mtu: u16::try_from(mtu).unwrap_or(u16::MAX) };
        let mut out = FrameBuf::new();
        if error.build(packet, sender, &mut out) {
            own.push_back(out);
        }
    }

    /// Frames that are to be delivered now, at most `most`.
    pub(super) fn take(&self, direction: Direction, now: u64, most: usize) -> (Vec<Held>, Vec<FrameBuf>) {
        let lane = self.lane(direction);
        let mut wire = lock(&lane.wire);
        let mut frames = Vec::new();
        while frames.len() < most
            && let Some(held) = wire.take_due(now)
        {
            frames.push(held);
        }
        lane.due.store(wire.next_due().unwrap_or(NEVER), SeqCst);
        let mut own = lock(&lane.own);
        let room = own.len().min(most - frames.len());
        (frames, own.drain(..room).collect())
    }

    /// Frames that were taken are where they go. Losses that came to light meanwhile are handed out.
    pub(super) fn delivered(&self, direction: Direction, count: usize) -> Vec<Told> {
        let lane = self.lane(direction);
        let mut wire = lock(&lane.wire);
        wire.delivered(count);
        wire.take_losses()
    }

    /// When something is to be done for it.
    pub(super) fn next_due(&self) -> u64 {
        let lanes = [&self.up, &self.down];
        let own = lanes.iter().any(|lane| !lock(&lane.own).is_empty());
        if own { 0 } else { lanes.iter().map(|lane| lane.due.load(SeqCst)).min().unwrap_or(NEVER) }
    }

    /// Changes what happens in one direction, and says what did before and does now.
    pub(super) fn change(
        &self,
        direction: Direction,
        now: u64,
        change: impl FnOnce(&mut Impairment),
    ) -> (Impairment, Impairment) {
        let lane = self.lane(direction);
        let mut wire = lock(&lane.wire);
        let before = wire.impairment().clone();
        let mut after = before.clone();
        change(&mut after);
        if after != before {
            wire.set(after.clone(), now);
        }
        lane.due.store(wire.next_due().unwrap_or(NEVER), SeqCst);
        (before, after)
    }

    /// Lets its endpoint not hear these any more.
    pub(super) fn set_cuts(&self, change: impl FnOnce(&mut Vec<(PortId, Sender)>)) {
        let mut cuts = lock(&self.cuts);
        change(&mut cuts);
        let senders: Arc<[Sender]> = cuts.iter().map(|(_, sender)| sender.clone()).collect();
        lock(&self.down.wire).set_cuts(senders);
    }

    pub(super) fn report(&self, port: PortId, direction: Direction) -> WireReport {
        let cuts = lock(&self.cuts).iter().filter(|_| direction == Direction::Down).map(|(port, _)| *port).collect();
        let wire = lock(&self.lane(direction).wire);
        let (impairment, counters) = (wire.impairment().clone(), wire.counters());
        WireReport { port, name: self.name.clone(), direction, impairment, cuts, counters }
    }
}

impl Direction {
    /// The other one.
    const fn back(self) -> Direction {
        match self {
            Direction::Up => Direction::Down,
            Direction::Down => Direction::Up,
        }
    }
}
