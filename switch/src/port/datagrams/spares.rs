//! Ping sockets that somebody opened who may, for a host that lets this process open none.
//!
//! There are few of them, so they go round: the one that was given back first is used first, and where none is left, the one that
//! whoever has most has had for longest. An echo request that is answered within the time that this takes loses nothing by it.
//! Gateways share them: none holds more than its part while there are others, and who is inside makes room at its own gateway.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use vswitch_nat::proxy::datagram::Slot;
use vswitch_nat::proxy::shares::Owner;

use crate::shared::lock;

/// The sockets, by family. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct SpareSockets(Arc<Pool>);

#[derive(Debug, Default)]
struct Pool {
    v4: Family,
    v6: Family,
    gateways: AtomicUsize,
}

#[derive(Debug, Default)]
struct Family {
    free: Mutex<VecDeque<OwnedFd>>,
    all: usize,
}

impl SpareSockets {
    /// These sockets, for echo requests of either family.
    #[must_use]
    pub fn new(v4: Vec<OwnedFd>, v6: Vec<OwnedFd>) -> SpareSockets {
        let family = |sockets: Vec<OwnedFd>| Family { all: sockets.len(), free: Mutex::new(sockets.into()) };
        SpareSockets(Arc::new(Pool { v4: family(v4), v6: family(v6), gateways: AtomicUsize::new(0) }))
    }

    fn family(&self, ipv6: bool) -> &Family {
        if ipv6 { &self.0.v6 } else { &self.0.v4 }
    }

    fn free(&self, ipv6: bool) -> MutexGuard<'_, VecDeque<OwnedFd>> {
        lock(&self.family(ipv6).free)
    }
}

/// What one gateway has of them.
#[derive(Debug)]
pub(super) struct Spares {
    sockets: SpareSockets,
    v4: Lent,
    v6: Lent,
}

/// Flows that have one, the oldest first.
type Lent = BTreeMap<Owner, VecDeque<Slot>>;

impl Spares {
    pub(super) fn new(sockets: SpareSockets) -> Spares {
        sockets.0.gateways.fetch_add(1, Relaxed);
        Spares { sockets, v4: Lent::new(), v6: Lent::new() }
    }

    /// Whether there is one that no other gateway has more right to.
    pub(super) fn may_take(&mut self, ipv6: bool) -> bool {
        let held: usize = self.lent(ipv6).values().map(VecDeque::len).sum();
        let part = self.sockets.family(ipv6).all.div_ceil(self.sockets.0.gateways.load(Relaxed).max(1));
        held < part && !self.sockets.free(ipv6).is_empty()
    }

    /// The flow that is to make room.
    pub(super) fn victim(&mut self, ipv6: bool) -> Option<Slot> {
        let most = self.lent(ipv6).values().max_by_key(|flows| flows.len())?;
        most.front().copied()
    }

    pub(super) fn take(&mut self, ipv6: bool, owner: Owner, slot: Slot) -> Option<OwnedFd> {
        let socket = self.sockets.free(ipv6).pop_front()?;
        self.lent(ipv6).entry(owner).or_default().push_back(slot);
        Some(socket)
    }

    /// Takes the socket of a flow again.
    pub(super) fn put_back(&mut self, slot: Slot, socket: OwnedFd) {
        let ipv6 = self.v6.values().any(|flows| flows.contains(&slot));
        let lent = self.lent(ipv6);
        for flows in lent.values_mut() {
            flows.retain(|&other| other != slot);
        }
        lent.retain(|_, flows| !flows.is_empty());
        self.sockets.free(ipv6).push_back(socket);
    }

    const fn lent(&mut self, ipv6: bool) -> &mut Lent {
        if ipv6 { &mut self.v6 } else { &mut self.v4 }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.sockets.0.gateways.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use vswitch_frame::Timestamp;
    use vswitch_nat::proxy::datagram::{DatagramLimits, Datagrams, Filter};
    use vswitch_nat::proxy::destinations::Destinations;

    use super::*;

    /// Whoever has most makes room, with what it has had for longest; whoever has few keeps them; what comes back is used last.
    #[test]
    fn who_has_most_makes_room() {
        let mut spares = Spares::new(SpareSockets::new(nulls(3), Vec::new()));
        let (greedy, modest) = (Owner::Endpoint(1), Owner::Endpoint(2));
        let slots = slots(4);
        for (owner, slot) in [(modest, slots[0]), (greedy, slots[1]), (greedy, slots[2])] {
            assert!(spares.may_take(false) && spares.take(false, owner, slot).is_some());
        }
        assert!(!spares.may_take(false) && spares.take(false, greedy, slots[3]).is_none());
        assert!(!spares.may_take(true) && spares.victim(true).is_none());
        assert_eq!(spares.victim(false), Some(slots[1]));
        spares.put_back(slots[1], File::open("/dev/null").unwrap().into());
        assert!(spares.take(false, greedy, slots[3]).is_some());
        assert_eq!(spares.victim(false), Some(slots[2]));
    }

    /// No gateway takes another one's part; one that goes leaves it to the others.
    #[test]
    fn each_gateway_has_its_part() {
        let sockets = SpareSockets::new(nulls(4), Vec::new());
        let (mut one, other) = (Spares::new(sockets.clone()), Spares::new(sockets));
        let (owner, slots) = (Owner::Endpoint(1), slots(3));
        for &slot in &slots[..2] {
            assert!(one.may_take(false) && one.take(false, owner, slot).is_some());
        }
        assert!(!one.may_take(false), "the other one's");
        assert_eq!(one.victim(false), Some(slots[0]));
        drop(other);
        assert!(one.may_take(false) && one.take(false, owner, slots[2]).is_some());
    }

    fn nulls(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| File::open("/dev/null").unwrap().into()).collect()
    }

    /// Slots of an engine, the only place where they come from.
    fn slots(count: u8) -> Vec<Slot> {
        let mut engine = Datagrams::new(DatagramLimits::default(), Destinations::default(), Filter::default(), 1);
        let slot = |last: u8| {
            let mut frame = Vec::new();
            let builder =
                etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, last], [192, 0, 2, 1], 64);
            builder.udp(1000, 2000).write(&mut frame, b"x").unwrap();
            let mut buffer = vswitch_frame::FrameBuf::default();
            buffer.fill(&frame, vswitch_frame::Offload::NONE);
            engine.outgoing(&buffer.packet(), Timestamp::ZERO).unwrap().slot
        };
        (1..=count).map(slot).collect()
    }
}
