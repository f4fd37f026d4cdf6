//! Networks that are joined on purpose: routed between their gateways, untranslated, filtered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use vswitch_frame::NetworkIndex;

use super::Traffic;
use crate::NatDrop;
use crate::table::Traffic as Passed;
use crate::tuple::Tuple;

/// Two networks that reach each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeeringSpec {
    /// Which two.
    pub between: [NetworkIndex; 2],
    /// What either side may open towards the other; empty: everything.
    #[serde(default)]
    pub allow: Vec<Traffic>,
}

/// All peerings, sorted by their networks.
#[derive(Debug, Clone, Default)]
pub(super) struct Peerings(Vec<Peering>);

/// A peering, as lookups find it.
#[derive(Debug, Clone)]
pub(crate) struct Peering {
    /// The lower one first.
    between: [NetworkIndex; 2],
    allow: Vec<Traffic>,
    /// From the lower one and from the other; handed on to the next rules.
    passed: Arc<[Passing; 2]>,
}

#[derive(Debug, Default)]
struct Passing {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// What has passed between two peered networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeeringTraffic {
    /// Which two, the lower one first.
    pub between: [NetworkIndex; 2],
    /// From the first to the second, and from the second to the first.
    pub passed: [Passed; 2],
}

impl Peerings {
    /// Counts for itself from now on.
    pub(super) fn part(&mut self) {
        self.0.iter_mut().for_each(|peering| peering.passed = Arc::default());
    }

    pub(super) fn new(specs: &[PeeringSpec]) -> Peerings {
        let peering = |spec: &PeeringSpec| {
            let mut between = spec.between;
            between.sort_unstable();
            Peering { between, allow: spec.allow.clone(), passed: Arc::default() }
        };
        let mut peerings: Vec<Peering> = specs.iter().map(peering).collect();
        peerings.sort_by_key(|peering| peering.between);
        peerings.dedup_by_key(|peering| peering.between);
        Peerings(peerings)
    }

    /// The peering of two networks, whichever is named first.
    #[inline]
    pub(super) fn of(&self, a: NetworkIndex, b: NetworkIndex) -> Option<&Peering> {
        let between = if a <= b { [a, b] } else { [b, a] };
        let at = self.0.binary_search_by_key(&between, |peering| peering.between).ok()?;
        Some(&self.0[at])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the same may pass.
    pub(super) fn allow_as(&self, other: &Peerings) -> bool {
        let same = |(a, b): (&Peering, &Peering)| a.between == b.between && a.allow == b.allow;
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }

    /// Goes on counting where `earlier` was.
    pub(super) fn count_on(&mut self, earlier: &Peerings) {
        for peering in &mut self.0 {
            if let Some(before) = earlier.of(peering.between[0], peering.between[1]) {
                peering.passed = Arc::clone(&before.passed);
            }
        }
    }

    pub(super) fn traffic(&self) -> impl Iterator<Item = PeeringTraffic> {
        self.0.iter().map(|peering| {
            let passed = [0, 1].map(|way: usize| Passed {
                packets: peering.passed[way].packets.load(Ordering::Relaxed),
                bytes: peering.passed[way].bytes.load(Ordering::Relaxed),
            });
            PeeringTraffic { between: peering.between, passed }
        })
    }
}

impl Peering {
    /// Whether a flow may be opened.
    pub(crate) fn check(&self, opener: &Tuple) -> Result<(), NatDrop> {
        let allows = self.allow.is_empty() || self.allow.iter().any(|traffic| traffic.matches(opener));
        if allows { Ok(()) } else { Err(NatDrop::NotAllowed) }
    }

    /// Counts a packet that came from `from`.
    pub(crate) fn count(&self, from: NetworkIndex, bytes: usize) {
        let passed = &self.passed[usize::from(from != self.between[0])];
        passed.packets.fetch_add(1, Ordering::Relaxed);
        passed.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
