//! Ping sockets that somebody opened who may, for a host that lets this process open none.
//!
//! There are few of them, so they go round: the one that was given back first is used first, and where none is left, the one that
//! whoever has most has had for longest. An echo request that is answered within the time that this takes loses nothing by it.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

use vswitch_nat::proxy::datagram::Slot;
use vswitch_nat::proxy::shares::Owner;

/// The sockets, by family.
#[derive(Debug, Default)]
pub(super) struct Spares {
    v4: Family,
    v6: Family,
}

#[derive(Debug, Default)]
struct Family {
    free: VecDeque<OwnedFd>,
    /// Flows that have one, the oldest first.
    lent: BTreeMap<Owner, VecDeque<Slot>>,
}

impl Spares {
    pub(super) fn add(&mut self, ipv6: bool, sockets: Vec<OwnedFd>) {
        self.family(ipv6).free.extend(sockets);
    }

    pub(super) fn is_empty(&mut self, ipv6: bool) -> bool {
        self.family(ipv6).free.is_empty()
    }

    /// The flow that is to make room.
    pub(super) fn victim(&mut self, ipv6: bool) -> Option<Slot> {
        let most = self.family(ipv6).lent.values().max_by_key(|flows| flows.len())?;
        most.front().copied()
    }

    pub(super) fn take(&mut self, ipv6: bool, owner: Owner, slot: Slot) -> Option<OwnedFd> {
        let family = self.family(ipv6);
        let socket = family.free.pop_front()?;
        family.lent.entry(owner).or_default().push_back(slot);
        Some(socket)
    }

    /// Takes the socket of a flow again.
    pub(super) fn put_back(&mut self, slot: Slot, socket: OwnedFd) {
        let ipv6 = self.v6.lent.values().any(|flows| flows.contains(&slot));
        let family = self.family(ipv6);
        for flows in family.lent.values_mut() {
            flows.retain(|&other| other != slot);
        }
        family.lent.retain(|_, flows| !flows.is_empty());
        family.free.push_back(socket);
    }

    const fn family(&mut self, ipv6: bool) -> &mut Family {
        if ipv6 { &mut self.v6 } else { &mut self.v4 }
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
        let mut spares = Spares::default();
        spares.add(false, (0..3).map(|_| File::open("/dev/null").unwrap().into()).collect());
        let (greedy, modest) = (Owner::Endpoint(1), Owner::Endpoint(2));
        let slots = slots(4);
        for (owner, slot) in [(modest, slots[0]), (greedy, slots[1]), (greedy, slots[2])] {
            assert!(spares.take(false, owner, slot).is_some());
        }
        assert!(spares.is_empty(false) && spares.take(false, greedy, slots[3]).is_none());
        assert!(spares.is_empty(true) && spares.victim(true).is_none());
        assert_eq!(spares.victim(false), Some(slots[1]));
        spares.put_back(slots[1], File::open("/dev/null").unwrap().into());
        assert!(spares.take(false, greedy, slots[3]).is_some());
        assert_eq!(spares.victim(false), Some(slots[2]));
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
