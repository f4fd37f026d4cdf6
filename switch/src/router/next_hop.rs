//! From a next hop's address to its MAC address.

use std::net::IpAddr;

use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use vswitch_frame::{FrameBuf, MacAddr, NetworkIndex, Packet, Timestamp};
use vswitch_nat::route::{Solicitation, heard};

use super::{Router, Waiting};
use crate::shared::lock;
use crate::snapshot::Network;

/// Slots of a worker's memory of next hops.
const SLOTS: usize = 256;

/// A worker's own memory of next hops, so that a busy flow does not ask the shared table for each frame. An answer holds
/// while the table's epoch and the second stay the same; so every busy neighbour is looked up, and its use noted, once a
/// second.
#[derive(Debug)]
pub(crate) struct HopCache {
    slots: Vec<Slot>,
    hasher: FixedState,
    round: (u64, u32),
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    network: NetworkIndex,
    address: IpAddr,
    mac: MacAddr,
    round: (u64, u32),
}

/// What is known of a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its MAC address.
    At(MacAddr),
    /// Its MAC address, and that it should be asked whether it is still there.
    AskAgain(MacAddr),
    /// Nothing.
    Unknown,
}

impl HopCache {
    pub(crate) fn new(seed: u64) -> Self {
        HopCache { slots: Vec::new(), hasher: FixedState::with_seed(seed), round: (0, 0) }
    }

    /// To be called before each burst.
    pub(crate) fn begin(&mut self, router: &Router, now: Timestamp) {
        self.round = (router.epoch(), now.as_secs());
    }

    /// What is known of `address` in `network`.
    #[inline]
    pub(crate) fn find(&mut self, network: &Network, address: IpAddr, now: Timestamp) -> Known {
        if self.slots.is_empty() {
            let address = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
            let empty = Slot { network: NetworkIndex::new(0), address, mac: MacAddr::ZERO, round: (0, 0) };
            self.slots.resize(SLOTS, empty);
        }
        let hash = self.hasher.hash_one((network.index, address));
        let index = usize::try_from(hash % SLOTS as u64).unwrap_or(0);
        let slot = &mut self.slots[index];
        if slot.round == self.round && slot.address == address && slot.network == network.index {
            return Known::At(slot.mac);
        }
        match lock(&network.neighbours).known(address, now) {
            Some((mac, ask)) => {
                *slot = Slot { network: network.index, address, mac, round: self.round };
                if ask { Known::AskAgain(mac) } else { Known::At(mac) }
            }
            None => Known::Unknown,
        }
    }
}

/// Builds the question for `target` in `network`; `false` when the network has no address of that family.
pub(crate) fn solicit(network: &Network, target: IpAddr, to: Option<MacAddr>, out: &mut FrameBuf) -> bool {
    let asker = network.config.gateway.as_ref().and_then(|gateway| gateway.asker(target));
    asker.is_some_and(|(mac, source)| Solicitation { mac, source, target, to }.build(out))
}

/// Takes note of what an ARP or ND frame says of a neighbour in `network`, and returns the packets that waited for it.
pub(crate) fn hear(router: &Router, network: &Network, packet: &Packet<'_>, now: Timestamp) -> Vec<Waiting> {
    let Some((address, mac, news)) = heard(packet) else { return Vec::new() };
    if !network.interface.addresses.iter().any(|net| net.contains(&address)) {
        return Vec::new();
    }
    let mut neighbours = lock(&network.neighbours);
    let before = neighbours.known(address, now).map(|(mac, _)| mac);
    let released = neighbours.learn(address, mac, news, now);
    drop(neighbours);
    if before != Some(mac) {
        router.neighbours_changed();
    }
    released
}
