//! Memory of rings: who gets large ones.
//!
//! What counts is what a ring can come to hold, not what it holds now: a ring that a connection has cannot be made smaller, and
//! a thousand idle connections may all begin to send. So that one endpoint's connections, idle or not, do not take the
//! speed of others', nobody gets large rings for more than is left for everybody else (Choudhury and Hahne, "Dynamic queue length
//! thresholds", 1998): with one endpoint half of the memory stays free, with two a third, and so on.

use std::collections::BTreeMap;

use super::StreamLimits;
use crate::proxy::shares::Owner;

#[derive(Debug)]
pub(super) struct Rings {
    large: usize,
    small: usize,
    budget: usize,
    /// Bytes of large rings, of all and of each owner.
    total: usize,
    held: BTreeMap<Owner, usize>,
}

impl Rings {
    pub(super) const fn new(limits: &StreamLimits) -> Self {
        let &StreamLimits { ring, small_ring, rings, .. } = limits;
        Rings { large: ring, small: small_ring, budget: rings, total: 0, held: BTreeMap::new() }
    }

    /// The size of each of a new connection's two rings, to be given back when it ends.
    pub(super) fn take(&mut self, owner: Owner) -> usize {
        let held = self.held.get(&owner).copied().unwrap_or(0);
        let both = 2 * self.large;
        if held + both > self.budget.saturating_sub(self.total) {
            return self.small;
        }
        self.total += both;
        self.held.insert(owner, held + both);
        self.large
    }

    pub(super) fn give_back(&mut self, owner: Owner, ring: usize) {
        if ring != self.large {
            return;
        }
        let both = 2 * ring;
        self.total = self.total.saturating_sub(both);
        if let Some(held) = self.held.get_mut(&owner) {
            *held = held.saturating_sub(both);
            if *held == 0 {
                self.held.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 512;
    const SMALL: usize = 16;

    fn rings() -> Rings {
        Rings::new(&StreamLimits { ring: LARGE, small_ring: SMALL, rings: 12 * 2 * LARGE, ..StreamLimits::default() })
    }

    /// Whoever opens very many gets large rings for half of the memory, and others still get theirs; what is given back can be
    /// had again.
    #[test]
    fn others_get_large_ones() {
        let (mut rings, hog, modest) = (rings(), Owner::Endpoint(1), Owner::Endpoint(2));
        let taken: Vec<_> = (0..100).map(|_| rings.take(hog)).collect();
        assert_eq!(taken.iter().filter(|ring| **ring == LARGE).count(), 6);
        let taken: Vec<_> = (0..100).map(|_| rings.take(modest)).collect();
        assert_eq!(taken.iter().filter(|ring| **ring == LARGE).count(), 3);
        for ring in taken {
            rings.give_back(modest, ring);
        }
        assert_eq!(rings.take(modest), LARGE);
        assert_eq!(rings.take(hog), SMALL);
        (0..6).for_each(|_| rings.give_back(hog, LARGE));
        assert_eq!(rings.take(hog), LARGE);
        assert_eq!((rings.total, rings.held.len()), (4 * LARGE, 2));
    }

    /// Where large and small are the same, or there is no memory for large ones, all are small.
    #[test]
    fn without_memory() {
        let mut rings = Rings::new(&StreamLimits { rings: 0, ..StreamLimits::default() });
        assert_eq!(rings.take(Owner::Endpoint(1)), StreamLimits::default().small_ring);
    }
}
