//! Numbers by chance that are the same again for the same seed.
//!
//! Each kind of accident on each direction of each wire has a stream of its own, so that one more frame elsewhere, or one more kind
//! here, shifts nobody's draws.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::cast::real;

/// What the streams of one direction of a wire are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireSeed {
    lab: u64,
    /// Two digests of the endpoint's name.
    name: [u64; 2],
    direction: u8,
}

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Loss = 1,
    State = 2,
    Duplicate = 3,
    Corrupt = 4,
    Jitter = 5,
    Reorder = 6,
}

/// A stream.
#[derive(Debug, Clone)]
pub struct Stream {
    rng: ChaCha8Rng,
    /// Whether the last thing that was asked for happened.
    happened: bool,
}

impl WireSeed {
    /// The seed of the direction `direction` of the wire of the endpoint called `name`.
    #[must_use]
    pub fn new(lab: u64, name: &str, direction: u8) -> WireSeed {
        WireSeed {
            lab,
            name: [fnv(name.bytes(), 0xcbf2_9ce4_8422_2325), fnv(name.bytes().rev(), 0x6c62_272e_07bb_0142)],
            direction,
        }
    }

    pub(crate) fn stream(&self, purpose: Purpose) -> Stream {
        Stream::new(self.key(purpose, 0))
    }

    /// A stream of one flow's own.
    pub(crate) fn of_flow(&self, purpose: Purpose, flow: u64) -> Stream {
        // Zero is nobody's, so that no flow shares the stream of all.
        Stream::new(self.key(purpose, flow | 1 << 47))
    }

    fn key(&self, purpose: Purpose, flow: u64) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.lab.to_le_bytes());
        key[8..16].copy_from_slice(&self.name[0].to_le_bytes());
        key[16..24].copy_from_slice(&self.name[1].to_le_bytes());
        key[24..30].copy_from_slice(&flow.to_le_bytes()[..6]);
        key[30] = self.direction;
        key[31] = purpose as u8;
        key
    }
}

impl Stream {
    fn new(key: [u8; 32]) -> Stream {
        Stream { rng: ChaCha8Rng::from_seed(key), happened: false }
    }

    /// The next number, at least 0 and below 1.
    pub fn unit(&mut self) -> f64 {
        const STEPS: f64 = 1.0 / (1u64 << 53) as f64;
        real(self.rng.next_u64() >> 11) * STEPS
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Whether something of this probability happens that is as alike to the last time as `correlation` says, from 0 to 1. The share of
    /// times at which it happens stays what it is (netem's own blending changes it).
    pub(crate) fn happens_alike(&mut self, probability: f64, correlation: f64) -> bool {
        let again = if self.happened { correlation } else { 0.0 };
        self.happened = self.unit() < probability * (1.0 - correlation) + again;
        self.happened
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The difference from uniform is below 2^-40 for the lengths that are asked for.
        let product = u128::from(self.rng.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }
}

/// FNV-1a, from `basis`.
pub(crate) fn fnv(bytes: impl Iterator<Item = u8>, basis: u64) -> u64 {
    bytes.fold(basis, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first draws of a seed are written down: whoever changes them changes what every seed means.
    #[test]
    fn pinned() {
        let mut stream = WireSeed::new(7, "web", 0).stream(Purpose::Loss);
        let drawn: Vec<u64> = (0..4).map(|_| stream.below(1_000_000)).collect();
        assert_eq!(drawn, PINNED);
    }

    /// Other seeds, names, directions, purposes and flows draw other numbers.
    #[test]
    fn apart() {
        let base = WireSeed::new(7, "web", 0);
        let others = [
            WireSeed::new(8, "web", 0).stream(Purpose::Loss),
            WireSeed::new(7, "wbe", 0).stream(Purpose::Loss),
            WireSeed::new(7, "web", 1).stream(Purpose::Loss),
            base.stream(Purpose::Jitter),
            base.of_flow(Purpose::Loss, 0),
            base.of_flow(Purpose::Loss, 1),
        ];
        let mut drawn: Vec<u64> = others.into_iter().map(|mut stream| stream.below(u64::MAX)).collect();
        drawn.push(base.stream(Purpose::Loss).below(u64::MAX));
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 7);
    }

    const PINNED: [u64; 4] = [411_996, 7170, 940_564, 947_822];
}
