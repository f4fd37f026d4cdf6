//! Why a wire loses a frame, and what it counts.

use std::fmt;

/// Why a segment did not come out of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WireDrop {
    /// By chance, each for itself.
    Loss,
    /// By chance, in the bad state of a model with states.
    Burst,
    /// It was named: by its number, as one of the first, as every n-th.
    Listed,
    /// Everything is lost for a time.
    Blackhole,
    /// The receiver does not hear the sender.
    Cut,
    /// The queue in front of the rate, or of the delay, was full.
    Queue,
    /// It is longer than the wire takes.
    TooLong,
    /// All wires together hold as much as they may.
    Memory,
}

impl WireDrop {
    /// All of them, in the order of their counters.
    pub const ALL: [WireDrop; 8] = [
        WireDrop::Loss,
        WireDrop::Burst,
        WireDrop::Listed,
        WireDrop::Blackhole,
        WireDrop::Cut,
        WireDrop::Queue,
        WireDrop::TooLong,
        WireDrop::Memory,
    ];

    /// As it is called in statistics and captures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            WireDrop::Loss => "wire-loss",
            WireDrop::Burst => "wire-burst",
            WireDrop::Listed => "wire-listed",
            WireDrop::Blackhole => "wire-blackhole",
            WireDrop::Cut => "wire-cut",
            WireDrop::Queue => "wire-queue",
            WireDrop::TooLong => "wire-too-long",
            WireDrop::Memory => "wire-memory",
        }
    }
}

impl fmt::Display for WireDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happened on one direction of a wire, in segments. `offered + duplicated = passed + lost + held`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Came in.
    pub offered: u64,
    /// Went out.
    pub passed: u64,
    /// By [`WireDrop`].
    pub lost: [u64; WireDrop::ALL.len()],
    /// Copies that were made.
    pub duplicated: u64,
    /// Went on with flipped bits.
    pub corrupted: u64,
    /// Were overtaken because of it.
    pub reordered: u64,
    /// Were marked as having met congestion.
    pub marked: u64,
    /// Wait now.
    pub held: u64,
}

impl Counters {
    /// How many were lost for this reason.
    #[must_use]
    pub const fn lost(&self, reason: WireDrop) -> u64 {
        self.lost[reason as usize]
    }

    /// How many were lost.
    #[must_use]
    pub fn lost_all(&self) -> u64 {
        self.lost.iter().sum()
    }
}
