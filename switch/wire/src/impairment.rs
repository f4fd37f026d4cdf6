//! What somebody wants to happen on one direction of a wire.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::distribution::Distribution;

/// Everything that happens on one direction. What is not said does not happen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Impairment {
    /// Nanoseconds that every frame is late.
    pub delay: Option<u64>,
    /// How much later or earlier each is.
    pub jitter: Option<Jitter>,
    /// Whether jitter may let frames overtake each other.
    pub order: Order,
    /// Loss by chance.
    pub loss: Option<Loss>,
    /// Loss by number.
    pub listed: Option<Listed>,
    /// Times at which everything is lost.
    pub blackhole: Option<Blackhole>,
    /// Copies.
    pub duplicate: Option<Duplicate>,
    /// Flipped bits.
    pub corrupt: Option<Corrupt>,
    /// Frames that others overtake.
    pub reorder: Option<Reorder>,
    /// How much passes in a time.
    pub rate: Option<Rate>,
    /// How much may wait for that.
    pub queue: Option<Queue>,
    /// How long packets may be.
    pub mtu: Option<Mtu>,
    /// As it was written, by kind.
    pub texts: BTreeMap<Kind, String>,
}

/// What can be set for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`Impairment::delay`].
    Delay,
    /// [`Impairment::jitter`].
    Jitter,
    /// [`Impairment::order`].
    Order,
    /// [`Impairment::loss`].
    Loss,
    /// [`Impairment::listed`].
    Drop,
    /// [`Impairment::blackhole`].
    Blackhole,
    /// [`Impairment::duplicate`].
    Duplicate,
    /// [`Impairment::corrupt`].
    Corrupt,
    /// [`Impairment::reorder`].
    Reorder,
    /// [`Impairment::rate`].
    Rate,
    /// [`Impairment::queue`].
    Queue,
    /// [`Impairment::mtu`].
    Mtu,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 12] = [
        Kind::Delay,
        Kind::Jitter,
        Kind::Order,
        Kind::Loss,
        Kind::Drop,
        Kind::Blackhole,
        Kind::Duplicate,
        Kind::Corrupt,
        Kind::Reorder,
        Kind::Rate,
        Kind::Queue,
        Kind::Mtu,
    ];

    /// The word that sets it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Delay => "delay",
            Kind::Jitter => "jitter",
            Kind::Order => "order",
            Kind::Loss => "loss",
            Kind::Drop => "drop",
            Kind::Blackhole => "blackhole",
            Kind::Duplicate => "duplicate",
            Kind::Corrupt => "corrupt",
            Kind::Reorder => "reorder",
            Kind::Rate => "rate",
            Kind::Queue => "queue",
            Kind::Mtu => "mtu",
        }
    }
}

/// Time by chance.
#[derive(Debug, Clone, PartialEq)]
pub struct Jitter {
    /// Nanoseconds, the unit of the distribution.
    pub spread: u64,
    /// What it is distributed like.
    pub distribution: Distribution,
    /// How much each value is like the one before it, from 0 to 1, without a change of the distribution.
    pub correlation: f64,
}

/// Whether frames may overtake each other because of jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// No: who would overtake waits.
    #[default]
    Keep,
    /// Yes: each comes when its own delay is over.
    ByArrival,
}

/// Loss by chance.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// When.
    pub model: Model,
    /// Each flow for itself: the k-th packet of a flow is lost or not, whatever else is sent.
    pub per_flow: bool,
    /// What can be marked instead is marked.
    pub ecn: bool,
    /// Of these frames only.
    pub of: Option<Select>,
}

/// When segments are lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Model {
    /// Each with this probability.
    Bernoulli(f64),
    /// Gilbert and Elliott's two states.
    GilbertElliott {
        /// From good to bad, a segment.
        p: f64,
        /// From bad to good.
        r: f64,
        /// Lost in the bad state.
        bad: f64,
        /// Lost in the good state.
        good: f64,
    },
    /// The Markov chain of four states of `tc`: 1 received, 2 received within a burst, 3 lost within a burst, 4 lost alone.
    FourStates {
        /// From 1 to 3.
        p13: f64,
        /// From 3 to 1.
        p31: f64,
        /// From 3 to 2.
        p32: f64,
        /// From 2 to 3.
        p23: f64,
        /// From 1 to 4.
        p14: f64,
    },
}

/// Loss by number. Numbers count from one, from when it was set.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Which ones.
    pub which: Which,
    /// Of these frames only.
    pub of: Option<Select>,
}

/// Which numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those in these ranges, which are in order.
    Ranges(Vec<(u64, u64)>),
    /// Each that this divides.
    Every(u64),
}

/// Frames of some kind.
#[derive(Clone)]
pub struct Select {
    /// As it was written.
    pub text: String,
    /// Whether this is one.
    pub matches: Matches,
}

/// Looks at a frame.
pub type Matches = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Select").field(&self.text).finish()
    }
}

impl PartialEq for Select {
    fn eq(&self, other: &Select) -> bool {
        self.text == other.text
    }
}

/// When everything is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blackhole {
    /// For so many nanoseconds, from when it was set; always without it.
    pub length: Option<u64>,
    /// Again after so many.
    pub every: Option<u64>,
}

/// Copies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duplicate {
    /// How likely.
    pub probability: f64,
    /// How alike to the last time, from 0 to 1.
    pub correlation: f64,
    /// How many nanoseconds after the first one.
    pub spacing: u64,
}

/// Flipped bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corrupt {
    /// How likely.
    pub probability: f64,
    /// How alike to the last time, from 0 to 1.
    pub correlation: f64,
    /// How many bits.
    pub bits: u32,
    /// Where.
    pub area: Area,
    /// The L4 checksum is made right again, so that the receiver's stack does not notice.
    pub fix_checksum: bool,
}

/// Where bits are flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Behind the L4 header.
    Payload,
    /// In the L3 and L4 headers.
    Header,
    /// Anywhere in the packet.
    Any,
}

/// Frames that others overtake.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// How likely.
    pub probability: f64,
    /// How alike to the last time, from 0 to 1.
    pub correlation: f64,
    /// So many come late after each that does not, whatever chance says.
    pub at_least: u64,
    /// By how much.
    pub by: ReorderBy,
}

/// How late a frame comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReorderBy {
    /// After so many that came later.
    Places(u32),
    /// So many nanoseconds.
    Time(u64),
}

/// How much passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rate {
    /// Steadily.
    Steady {
        /// Bits in a second; never zero.
        bits: u64,
        /// Bytes that each frame has more on the wire, or fewer.
        overhead: i32,
        /// Frames fill whole cells of so many bytes, or none.
        cell: u32,
        /// Bytes that each cell has more on the wire.
        cell_overhead: u32,
    },
    /// At each of these moments, milliseconds that rise, [`Rate::CHANCE`] bytes of packets may go; the last says when it
    /// begins again.
    Trace(Arc<[u64]>),
}

impl Rate {
    /// Bytes that may go at one moment of a trace.
    pub const CHANCE: u64 = 1500;
}

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// At most.
    pub size: Size,
    /// What is lost when it is full.
    pub overflow: Overflow,
    /// Above this, packets that can be marked are.
    pub ecn_above: Option<Size>,
    /// Who goes first.
    pub discipline: Discipline,
}

impl Queue {
    /// As long as this, and otherwise as usual.
    pub(crate) const fn of(size: Size) -> Queue {
        Queue { size, overflow: Overflow::Tail, ecn_above: None, discipline: Discipline::Fifo }
    }
}

/// In which order what waits goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Discipline {
    /// As it came.
    #[default]
    Fifo,
    /// By its class, strictly; when there is no room, the lowest one loses.
    Priority,
}

/// A length of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// Nanoseconds at the rate.
    Time(u64),
    /// Packets.
    Packets(u64),
}

/// Which one is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The one that comes.
    #[default]
    Tail,
    /// The one that waits longest.
    Head,
}

/// How long packets may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mtu {
    /// Bytes of an IP packet.
    pub bytes: u32,
    /// What happens with longer ones.
    pub too_long: TooLong,
}

/// What happens with what is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLong {
    /// Nobody is told: a black hole.
    Silent,
    /// The sender is told by ICMP.
    Icmp,
}

impl Impairment {
    /// Whether nothing happens at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Impairment::default()
    }

    /// Takes one kind over from another.
    pub fn take_over(&mut self, kind: Kind, from: &Impairment) {
        match kind {
            Kind::Delay => self.delay = from.delay,
            Kind::Jitter => self.jitter.clone_from(&from.jitter),
            Kind::Order => self.order = from.order,
            Kind::Loss => self.loss.clone_from(&from.loss),
            Kind::Drop => self.listed.clone_from(&from.listed),
            Kind::Blackhole => self.blackhole = from.blackhole,
            Kind::Duplicate => self.duplicate = from.duplicate,
            Kind::Corrupt => self.corrupt = from.corrupt,
            Kind::Reorder => self.reorder = from.reorder,
            Kind::Rate => self.rate.clone_from(&from.rate),
            Kind::Queue => self.queue = from.queue,
            Kind::Mtu => self.mtu = from.mtu,
        }
        match from.texts.get(&kind) {
            Some(text) => self.texts.insert(kind, text.clone()),
            None => self.texts.remove(&kind),
        };
    }

    /// Whether a super-frame is to be looked at segment by segment.
    pub(crate) fn by_segment(&self) -> bool {
        self.jitter.is_some() || self.rate.is_some() || self.decides()
    }

    /// Whether chance or number decides on each.
    pub(crate) fn decides(&self) -> bool {
        self.loss.is_some()
            || self.listed.is_some()
            || self.duplicate.is_some()
            || self.corrupt.is_some()
            || self.reorder.is_some()
            || self.mtu.is_some()
    }
}
