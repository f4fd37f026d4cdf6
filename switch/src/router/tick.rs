//! What the router has to do when time passes.

use vswitch_frame::{FrameBuf, Headers, Timestamp};
use vswitch_nat::route::{IcmpError, RouteDrop, Sender};

use super::Waiting;
use super::next_hop::solicit;
use crate::datapath::Datapath;
use crate::fdb::FdbKey;
use crate::shared::lock;
use crate::snapshot::{Network, Snapshot};
use crate::sys::burst::Burst;

/// Who does it: the switch's ticker, or a simulation. It has a buffer and arrays for sending of its own.
pub struct Chores {
    buffers: [FrameBuf; 1],
    burst: Burst,
    /// Its index among those who count on a port.
    sender: usize,
}

impl Chores {
    /// For this data path, after its workers.
    #[must_use]
    pub fn new(datapath: &Datapath) -> Self {
        Chores { buffers: [FrameBuf::new()], burst: Burst::new(1), sender: datapath.workers }
    }

    /// Does what is due; whether more will be soon.
    pub fn run(&mut self, datapath: &Datapath, now: Timestamp) -> bool {
        let snapshot = datapath.snapshot();
        let router = &datapath.router;
        if snapshot.router.is_none() {
            return false;
        }
        router.nat.handle_timeout(now);
        let mut busy = router.nat.next_timeout().is_some();
        for network in snapshot.networks.iter().flatten() {
            let mut neighbours = lock(&network.neighbours);
            let due = neighbours.next_timeout().is_some_and(|at| at <= now);
            let actions = due.then(|| neighbours.handle_timeout(now));
            busy |= neighbours.next_timeout().is_some();
            drop(neighbours);
            let Some(actions) = actions else { continue };
            for (target, to) in actions.ask {
                if solicit(network, target, to, &mut self.buffers[0]) {
                    self.send(datapath, &snapshot, network, to.map(|mac| FdbKey::new(network.index, mac)), now);
                }
            }
            for (_, waiting) in actions.given_up {
                router.neighbours_changed();
                for packet in &waiting {
                    router.refuse(RouteDrop::Unresolved);
                    self.tell_unreachable(datapath, &snapshot, packet, now);
                }
            }
        }
        busy
    }

    /// Sends the buffer to where `key` is, or to all of the network.
    fn send(
        &mut self,
        datapath: &Datapath,
        snapshot: &Snapshot,
        network: &Network,
        key: Option<FdbKey>,
        now: Timestamp,
    ) {
        let known = key.and_then(|key| datapath.fdb.lookup(key, now)).and_then(|port| snapshot.port(port));
        let members = network.members.iter().filter_map(|&member| snapshot.port(member));
        let all: Vec<_> = known.map_or_else(|| members.collect(), |port| vec![port]);
        for port in all {
            port.send(&mut self.burst, &mut self.buffers, &[0], port.counters.of(self.sender));
        }
    }

    /// Tells the sender of a packet that waited in vain.
    fn tell_unreachable(&mut self, datapath: &Datapath, snapshot: &Snapshot, packet: &Waiting, now: Timestamp) {
        let Ok(headers) = Headers::parse(&packet.original) else { return };
        let is_v4 = headers.l3() == vswitch_frame::L3::Ipv4;
        let source =
            if is_v4 { headers.source_v4(&packet.original).into() } else { headers.source_v6(&packet.original).into() };
        let Some(port) = snapshot.port(packet.ingress) else { return };
        let network = snapshot.network(port.config.network);
        let Some((mac, address)) = network.and_then(|network| network.gateway_address(is_v4)) else { return };
        if datapath.router.error_allowed(source, now)
            && IcmpError::HostUnreachable.build(
                &packet.original,
                &headers,
                Sender { mac, address },
                &mut self.buffers[0],
            )
        {
            port.send(&mut self.burst, &mut self.buffers, &[0], port.counters.of(self.sender));
        }
    }
}
