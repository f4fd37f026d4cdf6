//! Whom each flow has written to, so that others are not heard (RFC 4787 section 5: address and port-dependent filtering).
//!
//! Most flows write to one peer, which is found without a look anywhere else. All that is remembered is bounded, in all and of
//! each owner; where there is no room, the peer that was not heard of for longest is forgotten, of whom remembers most.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::settings::DatagramLimits;
use super::table::Slot;
use crate::proxy::shares::{Owner, Shares};

/// The peers of one flow.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    /// The one that it had to do with last, and when.
    last: Option<(SocketAddr, u32)>,
    /// The others.
    others: BTreeMap<SocketAddr, u32>,
}

/// The peers of all flows, in the order in which they are forgotten.
#[derive(Debug)]
pub(super) struct PeersOfAll {
    shares: Shares<(u32, Slot, SocketAddr)>,
    all: usize,
    per_endpoint: usize,
}

impl Peers {
    /// Whether this is the one that it had to do with last, in this second: then there is nothing to note.
    pub(super) fn is_last(&self, peer: SocketAddr, now: u32) -> bool {
        self.last == Some((peer, now))
    }

    /// Makes `peer` the last one; `renewed` is told when it was met before. Answers whether it was met at all.
    pub(super) fn note(&mut self, peer: SocketAddr, now: u32, renewed: impl FnOnce(u32)) -> bool {
        let before = match self.last {
            Some((last, met)) if last == peer => Some(met),
            last => {
                let before = self.others.remove(&peer);
                if let Some((last, met)) = last {
                    self.others.insert(last, met);
                }
                before
            }
        };
        self.last = Some((peer, now));
        if let Some(met) = before {
            renewed(met);
        }
        before.is_some()
    }

    /// When `peer` was met last.
    pub(super) fn met(&self, peer: SocketAddr) -> Option<u32> {
        match self.last {
            Some((last, met)) if last == peer => Some(met),
            _ => self.others.get(&peer).copied(),
        }
    }

    pub(super) fn forget(&mut self, peer: SocketAddr) {
        if self.last.is_some_and(|(last, _)| last == peer) {
            self.last = None;
        }
        self.others.remove(&peer);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, u32)> {
        self.last.into_iter().chain(self.others.iter().map(|(&peer, &met)| (peer, met)))
    }
}

impl PeersOfAll {
    pub(super) const fn new(limits: DatagramLimits) -> Self {
        PeersOfAll { shares: Shares::new(), all: limits.peers, per_endpoint: limits.peers_per_endpoint }
    }

    /// Remembers a peer of a flow. Answers whose is forgotten for it.
    pub(super) fn add(&mut self, owner: Owner, slot: Slot, peer: SocketAddr, now: u32) -> Option<(Slot, SocketAddr)> {
        let from = if self.shares.of(owner) >= self.per_endpoint.max(1) {
            Some(owner)
        } else if self.shares.len() >= self.all.max(1) {
            self.shares.greatest()
        } else {
            None
        };
        let goes = from.and_then(|from| Some((from, self.shares.first(from)?)));
        if let Some((from, key)) = goes {
            self.shares.remove(from, &key);
        }
        self.shares.insert(owner, (now, slot, peer));
        goes.map(|(_, (_, slot, peer))| (slot, peer))
    }

    pub(super) fn renew(&mut self, owner: Owner, slot: Slot, peer: SocketAddr, met: u32, now: u32) {
        self.shares.renew(owner, &(met, slot, peer), (now, slot, peer));
    }

    pub(super) fn remove(&mut self, owner: Owner, slot: Slot, peer: SocketAddr, met: u32) {
        self.shares.remove(owner, &(met, slot, peer));
    }
}
