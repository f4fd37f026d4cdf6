//! The wire itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use vswitch_frame::segment::{Segments, segment};
use vswitch_frame::{L3, MacAddr, Offload, Packet, ethernet};

use crate::cast::{real, signed, wide};
use crate::class::class_of;
use crate::corrupt::{flip, mark};
use crate::distribution::{below_normal, normal};
use crate::flows::Flows;
use crate::impairment::{Discipline, Impairment, Kind, Order, Queue, ReorderBy, Select, Size, TooLong};
use crate::loss::Chance;
use crate::lost::{Counters, WireDrop};
use crate::random::{Purpose, Stream, WireSeed};
use crate::server::{Arrival, DEFAULT_BYTES, Server};

/// One direction of a wire.
#[derive(Debug)]
pub struct Wire {
    impairment: Impairment,
    cuts: Arc<[Sender]>,
    seed: WireSeed,
    chance: Chance,
    flows: Flows,
    duplicate: Stream,
    corrupt: Stream,
    jitter: Stream,
    /// The last jitter as a normal variable, for the next one to be like it.
    last_normal: f64,
    reorder: Stream,
    /// How many came late since one did not.
    late: u64,
    /// Frames that the list has counted.
    listed: u64,
    /// When the black hole began.
    black_since: u64,
    server: Server<OnItsWay>,
    line: BinaryHeap<Reverse<Due>>,
    line_bytes: u64,
    /// Those that wait for others to overtake them.
    aside: Vec<Aside>,
    last_due: u64,
    sequence: u64,
    /// Taken and not yet where they go.
    out: usize,
    memory: Arc<Memory>,
    counters: Counters,
    watched: bool,
    losses: Vec<Told>,
    fates: Vec<Fate>,
    scratch: Vec<u8>,
}

/// What all wires together may hold.
#[derive(Debug)]
pub struct Memory {
    used: AtomicUsize,
    most: usize,
}

/// Somebody whom a receiver does not hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IP addresses.
    pub addresses: Vec<IpAddr>,
}

/// A frame that a wire holds.
#[derive(Debug)]
pub struct Held {
    /// Its bytes.
    pub frame: Box<[u8]>,
    /// What is left undone of it.
    pub offload: Offload,
    /// What it is known as.
    pub number: u64,
    segments: u64,
    _lease: Lease,
}

/// What is said of a loss, when somebody looks.
#[derive(Debug)]
pub struct Told {
    /// Why.
    pub reason: WireDrop,
    /// What.
    pub frame: Box<[u8]>,
    /// What was left undone of it.
    pub offload: Offload,
    /// What it is known as.
    pub number: u64,
}

/// What became of a frame that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It goes on at once, as it is.
    Whole,
    /// It is lost, or what is left of it comes out later.
    Taken,
    /// It is lost, and its sender is to be told that packets may have so many bytes.
    TooLong(u32),
}

#[derive(Debug)]
struct Lease {
    memory: Arc<Memory>,
    bytes: usize,
}

#[derive(Debug)]
struct OnItsWay {
    held: Held,
    /// Nanoseconds by chance.
    jitter: i64,
    /// Nanoseconds of a copy.
    spacing: u64,
    reorder: Option<ReorderBy>,
    /// By which it goes before others where somebody has to wait.
    class: u8,
}

#[derive(Debug)]
struct Due {
    at: u64,
    sequence: u64,
    held: Held,
}

#[derive(Debug)]
struct Aside {
    held: Held,
    due: u64,
    places: u32,
}

/// What chance and number say of one segment.
#[derive(Debug, Clone, Copy)]
struct Fate {
    lost: Option<WireDrop>,
    mark: bool,
    corrupt: bool,
    duplicate: bool,
    jitter: i64,
    reorder: Option<ReorderBy>,
}

/// How long a frame waits for others to overtake it, when none come.
const PATIENCE: u64 = 1_000_000_000;
/// Most losses that are kept to be told of.
const MOST_TOLD: usize = 4096;

impl Memory {
    /// Room for so many bytes.
    #[must_use]
    pub const fn new(most: usize) -> Memory {
        Memory { used: AtomicUsize::new(0), most }
    }

    /// Bytes that are held.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn lease(self: &Arc<Memory>, bytes: usize) -> Option<Lease> {
        if self.used.fetch_add(bytes, Relaxed) + bytes > self.most {
            self.used.fetch_sub(bytes, Relaxed);
            return None;
        }
        Some(Lease { memory: Arc::clone(self), bytes })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Relaxed);
    }
}

impl Fate {
    /// It only goes on.
    const fn is_plain(&self) -> bool {
        self.lost.is_none() && !self.mark && !self.corrupt && !self.duplicate && self.reorder.is_none()
    }
}

impl Wire {
    /// A wire on which nothing happens yet.
    #[must_use]
    pub fn new(seed: WireSeed, memory: Arc<Memory>) -> Wire {
        Wire {
            impairment: Impairment::default(),
            cuts: Arc::new([]),
            chance: Chance::new(seed.stream(Purpose::Loss), seed.stream(Purpose::State)),
            flows: Flows::default(),
            duplicate: seed.stream(Purpose::Duplicate),
            corrupt: seed.stream(Purpose::Corrupt),
            jitter: seed.stream(Purpose::Jitter),
            last_normal: 0.0,
            reorder: seed.stream(Purpose::Reorder),
            late: 0,
            seed,
            listed: 0,
            black_since: 0,
            server: Server::new(),
            line: BinaryHeap::new(),
            line_bytes: 0,
            aside: Vec::new(),
            last_due: 0,
            sequence: 0,
            out: 0,
            memory,
            counters: Counters::default(),
            watched: false,
            losses: Vec::new(),
            fates: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// What happens.
    #[must_use]
    pub const fn impairment(&self) -> &Impairment {
        &self.impairment
    }

    /// Whom the receiver does not hear.
    #[must_use]
    pub const fn cuts(&self) -> &Arc<[Sender]> {
        &self.cuts
    }

    /// What happened, and what waits.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let line: u64 = self.line.iter().map(|Reverse(due)| due.held.segments).sum();
        let aside: u64 = self.aside.iter().map(|aside| aside.held.segments).sum();
        Counters { held: wide(self.server.len()) + line + aside, ..self.counters }
    }

    /// Whether nothing happens and nothing waits, so that nobody needs the wire.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.impairment.is_none() && self.cuts.is_empty() && self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.out == 0 && self.line.is_empty() && self.server.len() == 0 && self.aside.is_empty()
    }

    /// Whether losses are to be told of.
    pub fn watch(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// The losses since the last call.
    pub fn take_losses(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.losses)
    }

    /// Draws from the beginning of the streams of this seed.
    pub fn reseed(&mut self, seed: WireSeed) {
        let (memory, cuts) = (Arc::clone(&self.memory), Arc::clone(&self.cuts));
        let fresh = Wire::new(seed, memory);
        self.seed = fresh.seed;
        self.chance = fresh.chance;
        self.flows = fresh.flows;
        self.duplicate = fresh.duplicate;
        self.corrupt = fresh.corrupt;
        self.jitter = fresh.jitter;
        self.last_normal = 0.0;
        self.reorder = fresh.reorder;
        self.late = 0;
        self.listed = 0;
        self.cuts = cuts;
    }

    /// Replaces whom the receiver does not hear.
    pub fn set_cuts(&mut self, cuts: Arc<[Sender]>) {
        self.cuts = cuts;
    }

    /// Replaces what happens. What waits goes on as it was decided, and at once when nothing happens any more.
    pub fn set(&mut self, impairment: Impairment, now: u64) {
        self.advance(now);
        if impairment.listed != self.impairment.listed {
            self.listed = 0;
        }
        if impairment.blackhole != self.impairment.blackhole {
            self.black_since = now;
        }
        if impairment.loss != self.impairment.loss {
            self.flows = Flows::default();
        }
        let no_rate = impairment.rate.is_none();
        self.impairment = impairment;
        if no_rate {
            let waiting: Vec<OnItsWay> = self.server.drain().collect();
            waiting.into_iter().for_each(|item| self.join_line(item, now));
        }
        if self.impairment.is_none() {
            self.flush(now);
        }
    }

    /// Everything that waits is due.
    fn flush(&mut self, now: u64) {
        for aside in std::mem::take(&mut self.aside) {
            self.put(aside.held, aside.due);
        }
        let line = std::mem::take(&mut self.line).into_sorted_vec();
        self.line = line.into_iter().map(|Reverse(due)| Reverse(Due { at: due.at.min(now), ..due })).collect();
        self.last_due = self.last_due.min(now);
    }

    /// Lets a frame in. What comes of it later is taken with [`Wire::take_due`].
    pub fn offer(&mut self, now: u64, packet: &Packet<'_>, number: u64) -> Offered {
        self.advance(now);
        let super_frame = packet.offload().gso.and_then(|_| segment(packet).ok());
        let count = super_frame.as_ref().map_or(1, Segments::count);
        self.counters.offered += wide(count);
        if let Some(reason) = self.stopped(packet, now) {
            self.lose_whole(packet, number, count, reason);
            return Offered::Taken;
        }
        if self.too_long(packet, super_frame.as_ref()) {
            self.lose_whole(packet, number, count, WireDrop::TooLong);
            let mtu = self.impairment.mtu.filter(|mtu| mtu.too_long == TooLong::Icmp && may_not_be_cut(packet));
            return mtu.map_or(Offered::Taken, |mtu| Offered::TooLong(mtu.bytes));
        }
        match super_frame {
            Some(segments) if self.impairment.by_segment() => self.offer_segments(now, packet, number, &segments),
            _ => {
                let fate = self.fate(packet, packet.frame());
                if self.passes(&fate) {
                    self.counters.passed += wide(count);
                    return Offered::Whole;
                }
                self.go_on(now, (packet.frame(), packet.offload()), number, wide(count), fate, packet);
                Offered::Taken
            }
        }
    }

    fn offer_segments(&mut self, now: u64, packet: &Packet<'_>, number: u64, segments: &Segments<'_>) -> Offered {
        let count = segments.count();
        let mut fates = std::mem::take(&mut self.fates);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(packet.frame().len().max(segments.max_len()), 0);
        fates.clear();
        let filtered = self.filters();
        for index in 0..count {
            let length = if filtered { segments.write(index, &mut scratch) } else { 0 };
            let frame = if filtered { &scratch[..length] } else { packet.frame() };
            fates.push(self.fate(packet, frame));
        }
        let apart = self.impairment.rate.is_some() || self.impairment.jitter.is_some();
        let whole = !apart && fates.iter().all(Fate::is_plain);
        let offered = if whole && self.passes(&fates[0]) {
            self.counters.passed += wide(count);
            Offered::Whole
        } else if whole {
            self.go_on(now, (packet.frame(), packet.offload()), number, wide(count), fates[0], packet);
            Offered::Taken
        } else {
            let joined = !apart && segments.can_run(packet.offload());
            let mut index = 0;
            while index < count {
                let plain = fates[index..].iter().take_while(|fate| fate.is_plain()).count();
                let run = if joined && plain > 1 { plain } else { 1 };
                let fate = fates[index];
                self.piece(now, packet, number, (segments, index..index + run), fate, &mut scratch);
                index += run;
            }
            Offered::Taken
        };
        (self.fates, self.scratch) = (fates, scratch);
        offered
    }

    /// What becomes of some segments that have one fate.
    fn piece(
        &mut self,
        now: u64,
        packet: &Packet<'_>,
        number: u64,
        (segments, run): (&Segments<'_>, Range<usize>),
        fate: Fate,
        scratch: &mut [u8],
    ) {
        let count = wide(run.len());
        if fate.lost.is_some() && !self.watched {
            return self.count_lost(fate.lost, count);
        }
        let (length, offload) = segments.write_run(run, packet.offload(), scratch);
        self.go_on(now, (&scratch[..length], offload), number, count, fate, packet);
    }

    /// Whether a frame with this fate goes on as it is and at once.
    fn passes(&self, fate: &Fate) -> bool {
        let timed = self.impairment.rate.is_some() || self.impairment.delay.is_some();
        fate.is_plain() && !timed && self.impairment.jitter.is_none() && self.is_empty()
    }

    /// A frame that waits, or is lost, or changed.
    fn go_on(
        &mut self,
        now: u64,
        (frame, offload): (&[u8], Offload),
        number: u64,
        segments: u64,
        fate: Fate,
        packet: &Packet<'_>,
    ) {
        if let Some(reason) = fate.lost {
            return self.lose((frame, offload), number, segments, reason);
        }
        let Some(lease) = self.memory.lease(frame.len()) else {
            return self.lose((frame, offload), number, segments, WireDrop::Memory);
        };
        let mut held = Held { frame: frame.into(), offload, number, segments, _lease: lease };
        let marks = |queue: Option<Queue>, rate| self.server.marks(queue, rate);
        let congested = self.impairment.rate.as_ref().is_some_and(|rate| marks(self.impairment.queue, rate));
        if (fate.mark || congested) && mark(&mut held.frame, packet.l3(), packet.l3_offset()) {
            self.counters.marked += segments;
        }
        if fate.corrupt
            && let Some(corrupt) = self.impairment.corrupt
            && flip(&mut held.frame, &mut held.offload, corrupt, &mut self.corrupt)
        {
            self.counters.corrupted += segments;
        }
        let copy = fate.duplicate.then(|| self.copy(&held)).flatten();
        let ranks = self.impairment.queue.is_some_and(|queue| queue.discipline == Discipline::Priority);
        let class = if ranks { class_of(packet) } else { 0 };
        self.enqueue(now, OnItsWay { held, jitter: fate.jitter, spacing: 0, reorder: fate.reorder, class });
        if let Some(held) = copy {
            self.counters.duplicated += segments;
            let spacing = self.impairment.duplicate.map_or(0, |duplicate| duplicate.spacing);
            self.enqueue(now, OnItsWay { held, jitter: fate.jitter, spacing, reorder: None, class });
        }
    }

    fn copy(&self, held: &Held) -> Option<Held> {
        let lease = self.memory.lease(held.frame.len())?;
        let Held { offload, number, segments, .. } = *held;
        Some(Held { frame: held.frame.clone(), offload, number, segments, _lease: lease })
    }

    fn enqueue(&mut self, now: u64, item: OnItsWay) {
        let Some(rate) = &self.impairment.rate else { return self.join_line(item, now) };
        let arrival = Arrival { length: item.held.frame.len(), class: item.class, item };
        let lost = self.server.push(arrival, now, (rate, self.impairment.queue));
        for item in lost {
            self.lose_held(&item.held, WireDrop::Queue);
        }
        self.advance(now);
    }

    /// What has passed the rate at `base`, or needs to pass none, waits for its delay.
    fn join_line(&mut self, item: OnItsWay, base: u64) {
        if self.impairment.rate.is_none() && self.line_is_full(item.held.frame.len()) {
            return self.lose_held(&item.held, WireDrop::Queue);
        }
        let delay = self.impairment.delay.unwrap_or(0).saturating_add_signed(item.jitter);
        let due = base + delay + item.spacing;
        match item.reorder {
            Some(ReorderBy::Places(places)) => {
                self.counters.reordered += item.held.segments;
                self.aside.push(Aside { held: item.held, due, places });
            }
            Some(ReorderBy::Time(time)) => {
                self.counters.reordered += item.held.segments;
                self.put(item.held, due + time);
            }
            None => {
                let keeps = self.impairment.order == Order::Keep;
                let due = if keeps { due.max(self.last_due) } else { due };
                self.last_due = self.last_due.max(due);
                self.put(item.held, due);
                self.overtake(due);
            }
        }
    }

    /// One more has gone past those that wait for that.
    fn overtake(&mut self, due: u64) {
        let mut index = 0;
        while index < self.aside.len() {
            self.aside[index].places -= 1;
            if self.aside[index].places == 0 {
                let aside = self.aside.remove(index);
                self.put(aside.held, aside.due.max(due));
            } else {
                index += 1;
            }
        }
    }

    fn put(&mut self, held: Held, at: u64) {
        self.sequence += 1;
        self.line_bytes += wide(held.frame.len());
        self.line.push(Reverse(Due { at, sequence: self.sequence, held }));
    }

    /// Whether a queue without a rate has no room.
    fn line_is_full(&self, more: usize) -> bool {
        let bytes = self.line_bytes + wide(more);
        match self.impairment.queue.map(|queue| queue.size) {
            Some(Size::Bytes(most)) => bytes > most,
            Some(Size::Packets(most)) => wide(self.line.len()) >= most,
            Some(Size::Time(_)) | None => bytes > DEFAULT_BYTES,
        }
    }

    /// Makes up for what happened until `now`.
    fn advance(&mut self, now: u64) {
        while let Some(rate) = &self.impairment.rate
            && let Some((item, through)) = self.server.pop(rate, now)
        {
            self.join_line(item, through);
        }
        while let Some(index) = self.aside.iter().position(|aside| aside.due + PATIENCE <= now) {
            let aside = self.aside.remove(index);
            self.put(aside.held, aside.due);
        }
    }

    /// When somebody is to ask for what is due.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let line = self.line.peek().map(|Reverse(due)| due.at);
        let server = self.impairment.rate.as_ref().and_then(|rate| self.server.next(rate));
        let aside = self.aside.iter().map(|aside| aside.due + PATIENCE).min();
        [line, server, aside].into_iter().flatten().min()
    }

    /// The next frame that is due. Until [`Wire::delivered`] says that it is where it goes, nothing passes it.
    pub fn take_due(&mut self, now: u64) -> Option<Held> {
        self.advance(now);
        self.line.peek().filter(|Reverse(due)| due.at <= now)?;
        let Reverse(due) = self.line.pop()?;
        self.line_bytes -= wide(due.held.frame.len());
        self.counters.passed += due.held.segments;
        self.out += 1;
        Some(due.held)
    }

    /// So many of those that were taken are where they go.
    pub fn delivered(&mut self, count: usize) {
        self.out -= count;
    }

    /// Whether the whole wire is closed to a frame.
    fn stopped(&self, packet: &Packet<'_>, now: u64) -> Option<WireDrop> {
        if !self.cuts.is_empty() && self.cuts.iter().any(|sender| sender.sent(packet)) {
            return Some(WireDrop::Cut);
        }
        let black = self.impairment.blackhole?;
        let since = now.saturating_sub(self.black_since);
        let since = black.every.map_or(since, |every| since % every);
        black.length.is_none_or(|length| since < length).then_some(WireDrop::Blackhole)
    }

    fn too_long(&self, packet: &Packet<'_>, super_frame: Option<&Segments<'_>>) -> bool {
        let Some(mtu) = self.impairment.mtu else { return false };
        let longest = super_frame.map_or(packet.frame().len(), Segments::max_len);
        longest - packet.l3_offset().min(longest) > usize::try_from(mtu.bytes).unwrap_or(usize::MAX)
    }

    fn filters(&self) -> bool {
        let listed = self.impairment.listed.as_ref().is_some_and(|listed| listed.of.is_some());
        listed || self.impairment.loss.as_ref().is_some_and(|loss| loss.of.is_some())
    }

    /// Draws for one segment. Each kind draws for each, so that none depends on another.
    fn fate(&mut self, packet: &Packet<'_>, frame: &[u8]) -> Fate {
        let is = |of: &Option<Select>| of.as_ref().is_none_or(|of| (of.matches)(frame));
        let mut fate = Fate { lost: None, mark: false, corrupt: false, duplicate: false, jitter: 0, reorder: None };
        if let Some(loss) = self.impairment.loss.as_ref().filter(|loss| is(&loss.of)) {
            let chance = if loss.per_flow { self.flows.chance(packet, &self.seed) } else { &mut self.chance };
            fate.lost = chance.next(&loss.model);
            if fate.lost.is_some() && loss.ecn && is_capable(packet) {
                (fate.lost, fate.mark) = (None, true);
            }
        }
        if let Some(listed) = self.impairment.listed.as_ref().filter(|listed| is(&listed.of)) {
            self.listed += 1;
            if listed.has(self.listed) {
                fate.lost = Some(WireDrop::Listed);
            }
        }
        let Impairment { corrupt, duplicate, reorder, .. } = &self.impairment;
        fate.corrupt = corrupt.is_some_and(|it| self.corrupt.happens_alike(it.probability, it.correlation));
        fate.duplicate = duplicate.is_some_and(|it| self.duplicate.happens_alike(it.probability, it.correlation));
        if let Some(reorder) = *reorder {
            let late =
                self.late < reorder.at_least || self.reorder.happens_alike(reorder.probability, reorder.correlation);
            self.late = if late { self.late + 1 } else { 0 };
            fate.reorder = late.then_some(reorder.by);
        }
        if let Some(jitter) = &self.impairment.jitter {
            let u = self.jitter.unit().clamp(1e-12, 1.0 - 1e-12);
            let u = if jitter.correlation > 0.0 {
                let c = jitter.correlation;
                self.last_normal = c * self.last_normal + (1.0 - c * c).sqrt() * normal(u);
                below_normal(self.last_normal).clamp(1e-12, 1.0 - 1e-12)
            } else {
                u
            };
            fate.jitter = signed(jitter.distribution.quantile(u) * real(jitter.spread));
        }
        fate
    }

    fn count_lost(&mut self, reason: Option<WireDrop>, segments: u64) {
        if let Some(reason) = reason {
            self.counters.lost[reason as usize] += segments;
        }
    }

    fn lose(&mut self, (frame, offload): (&[u8], Offload), number: u64, segments: u64, reason: WireDrop) {
        self.count_lost(Some(reason), segments);
        if self.watched && self.losses.len() < MOST_TOLD {
            self.losses.push(Told { reason, frame: frame.into(), offload, number });
        }
    }

    fn lose_whole(&mut self, packet: &Packet<'_>, number: u64, count: usize, reason: WireDrop) {
        self.lose((packet.frame(), packet.offload()), number, wide(count), reason);
    }

    fn lose_held(&mut self, held: &Held, reason: WireDrop) {
        self.lose((&held.frame, held.offload), held.number, held.segments, reason);
    }
}

impl Impairment {
    /// Takes a change over; the kinds that it names and no others.
    pub fn change(&mut self, change: &crate::Change) {
        if change.clears {
            *self = Impairment::default();
        }
        for &kind in &change.kinds {
            self.take_over(kind, &change.to);
        }
    }

    /// Takes back what `applied` changed of `before`, where nobody has changed it since.
    pub fn take_back(&mut self, before: &Impairment, applied: &Impairment) {
        for kind in Kind::ALL {
            if self.texts.get(&kind) == applied.texts.get(&kind) && before.texts.get(&kind) != applied.texts.get(&kind)
            {
                self.take_over(kind, before);
            }
        }
    }
}

impl Sender {
    /// Whether it sent a frame, as far as its addresses tell.
    fn sent(&self, packet: &Packet<'_>) -> bool {
        let frame = packet.frame();
        if frame.len() >= ethernet::HEADER_LEN && packet.addresses().1 == self.mac {
            return true;
        }
        match packet.l3() {
            L3::Ipv4 | L3::Ipv6 => self.addresses.contains(&packet.ip_addresses().0),
            _ => false,
        }
    }
}

/// Whether a packet's sender takes marks of congestion.
fn is_capable(packet: &Packet<'_>) -> bool {
    let at = packet.l3_offset();
    match packet.l3() {
        L3::Ipv4 => packet.frame()[at + 1] & 3 != 0,
        L3::Ipv6 => packet.frame()[at + 1] >> 4 & 3 != 0,
        _ => false,
    }
}

/// Whether nobody may cut a packet up, so that its sender is told.
fn may_not_be_cut(packet: &Packet<'_>) -> bool {
    match packet.l3() {
        L3::Ipv4 => packet.frame()[packet.l3_offset() + 6] & 0x40 != 0,
        L3::Ipv6 => true,
        _ => false,
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}
