//! What the router has to do when time passes.

use std::sync::Arc;

use vswitch_frame::vlan::VlanTag;
use vswitch_frame::{EtherType, Offload, Timestamp};
use vswitch_nat::route::{IcmpError, RouteDrop, Sender};
use vswitch_nat::translate::CutOff;

use super::Waiting;
use super::next_hop::solicit;
use crate::datapath::Datapath;
use crate::egress::Outlet;
use crate::fdb::FdbKey;
use crate::lan::LanMode;
use crate::port::Port;
use crate::shared::lock;
use crate::snapshot::{Network, Snapshot};

/// Who does it: the switch's ticker, or a simulation.
pub struct Chores(Outlet);

impl Chores {
    /// For this data path, after its workers.
    #[must_use]
    pub fn new(datapath: &Datapath) -> Self {
        Chores(Outlet::new(datapath.workers))
    }

    /// Does what is due; whether more will be soon.
    pub fn run(&mut self, datapath: &Datapath, now: Timestamp) -> bool {
        let snapshot = datapath.snapshot();
        self.announce(datapath, &snapshot, now);
        self.ask_for_groups(&snapshot, now);
        let router = &datapath.router;
        if snapshot.router.is_none() {
            return false;
        }
        for cut in datapath.take_cut_off() {
            self.tell_cut_off(datapath, &snapshot, &cut, now);
        }
        router.count_lost_fragments(router.nat.handle_timeout(now));
        let mut busy = router.nat.next_timeout().is_some();
        for network in snapshot.networks.iter().flatten() {
            let mut neighbours = lock(&network.neighbours);
            let due = neighbours.next_timeout().is_some_and(|at| at <= now);
            let actions = due.then(|| neighbours.handle_timeout(now));
            busy |= neighbours.next_timeout().is_some();
            drop(neighbours);
            let Some(actions) = actions else { continue };
            for (target, to) in actions.ask {
                if solicit(network, target, to, self.0.buffer()) {
                    self.send(datapath, &snapshot, network, to.map(|mac| FdbKey::new(network.index, mac)), now);
                }
            }
            for (_, waiting) in actions.given_up {
                router.neighbours_changed();
                for packet in &waiting {
                    router.count(RouteDrop::Unresolved.into());
                    self.tell_unreachable(datapath, &snapshot, packet, now);
                }
            }
        }
        busy
    }

    /// Tells the other stations of a network, on other hosts, too, where one is that was just plugged in, and the router as well.
    fn announce(&mut self, datapath: &Datapath, snapshot: &Snapshot, now: Timestamp) {
        for (port, announcement) in datapath.take_announcements() {
            let Some(port) = port.upgrade() else { continue };
            let is_there = snapshot.port(port.id).is_some_and(|current| Arc::ptr_eq(current, &port));
            let Some(network) = snapshot.network(port.config.network).filter(|_| is_there) else { continue };
            let known = network.interface.addresses.iter().any(|net| net.contains(&announcement.address));
            let learned = || {
                let mut neighbours = lock(&network.neighbours);
                // Whatever waits for it is answered when it is asked.
                neighbours.learn_if_known(announcement.address, announcement.mac, now)
            };
            if known && learned() {
                datapath.router.neighbours_changed();
            }
            announcement.build(self.0.buffer());
            let meet = network.config.inter_port && network.config.lan.is_none_or(LanMode::switches);
            let features = network.features.as_deref();
            if let Some(vlan) = features.and_then(|features| features.untagged(port.id)) {
                self.0.buffer().insert_vlan(VlanTag { tpid: EtherType::VLAN, tci: vlan.value() });
            }
            let reaches = |member: &Port| features.is_none_or(|features| features.at(port.id).reaches(member.id));
            let far = |member: &Port| member.overlay().is_some() || network.lan == Some(member.id);
            let hears = |member: &Port| member.id != port.id && (meet || far(member)) && reaches(member);
            let members = network.members.iter().filter_map(|&member| snapshot.port(member));
            self.0.send(snapshot, members.filter(|member| hears(member)).map(|member| member.id));
        }
    }

    /// Asks the stations of networks that snoop which groups they want. Other hosts ask theirs.
    fn ask_for_groups(&mut self, snapshot: &Snapshot, now: Timestamp) {
        let networks = snapshot.networks.iter().flatten();
        for (network, features) in networks.filter_map(|network| Some((network, network.features.as_ref()?))) {
            for (vlan, question) in features.questions(network, now) {
                self.0.buffer().fill(&question, Offload::NONE);
                if vlan != 0 {
                    self.0.buffer().insert_vlan(VlanTag { tpid: EtherType::VLAN, tci: vlan });
                }
                let members = network.members.iter().filter_map(|&member| snapshot.port(member));
                self.0.send(snapshot, members.filter(|member| member.overlay().is_none()).map(|member| member.id));
            }
        }
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
        let known = key.and_then(|key| datapath.fdb.lookup(key, now)).filter(|&port| snapshot.port(port).is_some());
        match known {
            Some(port) => self.0.send(snapshot, [port]),
            None => self.0.send(snapshot, network.members.iter().copied()),
        }
    }

    /// Tells a client that its connection was cut, if it is known where it is.
    fn tell_cut_off(&mut self, datapath: &Datapath, snapshot: &Snapshot, cut: &CutOff, now: Timestamp) {
        let Some(plan) = &snapshot.router else { return };
        let Some(network) = plan.network(cut.leg).and_then(|index| snapshot.network(index)) else { return };
        let Some(gateway) = &network.config.gateway else { return };
        let (client, _) = cut.reset.to;
        let (service, _) = cut.reset.from;
        let mac = match plan.peer(cut.leg, || service) {
            Ok(None) => {
                let hop = plan.next_hop(cut.leg, client);
                hop.and_then(|hop| lock(&network.neighbours).known(hop.neighbour, now)).map(|(mac, _)| mac)
            }
            peer => peer.ok().flatten(),
        };
        let port = mac.and_then(|mac| datapath.fdb.lookup(FdbKey::new(network.index, mac), now));
        if let (Some(mac), Some(port)) = (mac, port)
            && cut.reset.build(gateway.mac_of(service), mac, self.0.buffer())
        {
            self.0.send(snapshot, [port]);
        }
    }

    /// Tells the sender of a packet that waited in vain, if it still is where the packet came from: the error quotes its
    /// words, which are for nobody else (RFC 792).
    fn tell_unreachable(&mut self, datapath: &Datapath, snapshot: &Snapshot, packet: &Waiting, now: Timestamp) {
        let original = packet.original.view();
        let (source, _) = original.ip_addresses();
        let Some(port) = packet.ingress.upgrade() else { return };
        let Some(network) = snapshot.network(port.config.network) else { return };
        let sender = FdbKey::new(network.index, original.addresses().1);
        let is_there = snapshot.port(port.id).is_some_and(|current| Arc::ptr_eq(current, &port));
        if !is_there || datapath.fdb.lookup(sender, now) != Some(port.id) {
            return;
        }
        let Some((mac, address)) = network.gateway_address(source.is_ipv4()) else { return };
        if datapath.router.error_allowed(source, now)
            && IcmpError::HostUnreachable.build(&original, Sender { mac, address }, self.0.buffer())
        {
            self.0.send(snapshot, [port.id]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::pipeline::Pipeline;
    use crate::router::RouterConfig;
    use crate::sys::burst::Burst;
    use crate::{
        Gateway, Identity, MemoryPeer, NetworkConfig, Offloads, PortConfig, PortDevice, Settings, memory_link,
    };
    use vswitch_frame::{FrameBuf, MacAddr, NetworkIndex, Offload, PortId};
    use vswitch_nat::route::Route;
    use vswitch_nat::rules::{Addresses, NetworkSpec, Reach, RulesSpec, SubnetSpec, Translation};
    use vswitch_nat::table::Leg;

    const GATEWAYS: [Ipv4Addr; 3] =
        [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1), Ipv4Addr::new(203, 0, 113, 1)];

    /// Two networks and an uplink on which nobody answers.
    struct World {
        datapath: Arc<Datapath>,
        pipeline: Pipeline,
        networks: [NetworkIndex; 3],
        _outside: MemoryPeer,
    }

    impl World {
        fn new() -> World {
            let datapath = Datapath::new(Settings::default(), 1);
            let networks = GATEWAYS.map(|address| {
                let gateway = Gateway {
                    mac: MacAddr::from_ipv4(address),
                    ipv4: Some((address, 24)),
                    ipv6: None,
                    also: Vec::new(),
                    proxied: Vec::new(),
                    beyond: Vec::new(),
                    mesh: None,
                };
                let config = NetworkConfig { gateway: Some(gateway), ..NetworkConfig::new(address.to_string()) };
                datapath.add_network(config).unwrap()
            });
            let subnet = |net: &str, gateway: Ipv4Addr| SubnetSpec {
                net: net.parse().unwrap(),
                gateway: Some(gateway.into()),
                translation: Translation::Masquerade,
            };
            let network = |at: usize, net| {
                let subnets = vec![subnet(net, GATEWAYS[at])];
                NetworkSpec { index: networks[at], subnets, reach: Reach::Uplink, addresses: Addresses::Shared }
            };
            let networks_inside = vec![network(0, "10.1.0.0/24"), network(1, "10.2.0.0/24")];
            let external = vec![GATEWAYS[2].into()];
            let rules = RulesSpec { networks: networks_inside, external, ..RulesSpec::default() };
            let routes = vec![Route { destination: "0.0.0.0/0".parse().unwrap(), leg: Leg::Uplink, via: None }];
            datapath
                .set_router(Some(RouterConfig { uplink: Some(networks[2]), rules, routes, ..RouterConfig::default() }))
                .unwrap();
            let pipeline = Pipeline::new(Arc::clone(&datapath), 0);
            let outside = plug(&datapath, networks[2], None).1;
            World { datapath, pipeline, networks, _outside: outside }
        }

        /// An endpoint, by network and last byte of its address.
        fn plug(&self, network: usize, last: u8) -> (PortId, MemoryPeer) {
            plug(&self.datapath, self.networks[network], Some(identity(network, last)))
        }

        fn unplug(&mut self, port: PortId) {
            let taken = self.datapath.take_port(port).unwrap();
            self.pipeline.refresh();
            self.datapath.release_port(&taken);
        }

        /// Lets an endpoint send: to somebody outside who is not there, or an ARP question to its gateway.
        fn sends(&mut self, port: PortId, frame: &[u8]) {
            let mut buffers: Vec<FrameBuf> = std::iter::repeat_with(FrameBuf::new).take(8).collect();
            buffers[0].fill(frame, Offload::NONE);
            self.pipeline.refresh();
            let ingress = self.pipeline.port(port).unwrap();
            self.pipeline.process(&ingress, &mut buffers, 1, Timestamp::ZERO);
            self.pipeline.flush(&mut Burst::new(8), &mut buffers);
        }

        /// Lets ten seconds pass, in which all waiting ends.
        fn wait(&self) {
            let mut chores = Chores::new(&self.datapath);
            for tenths in 1..100 {
                chores.run(&self.datapath, Timestamp::from_millis(tenths * 100));
            }
            let drops = self.datapath.stats().router.expect("it has a plan").route_drops;
            assert_eq!(drops, [(RouteDrop::Unresolved, 1)], "the packet waited in vain");
        }
    }

    fn identity(network: usize, last: u8) -> Identity {
        let [a, b, c, _] = GATEWAYS[network].octets();
        let address = Ipv4Addr::new(a, b, c, last);
        Identity { mac: MacAddr::from_ipv4(address), ipv4: Some(address), ipv6: None }
    }

    fn plug(datapath: &Datapath, network: NetworkIndex, identity: Option<Identity>) -> (PortId, MemoryPeer) {
        let (device, peer) = memory_link(64, Offloads::Carried).unwrap();
        let config = PortConfig { identity, ..PortConfig::new("port", network) };
        (datapath.add_port(config, PortDevice::Memory(device)).unwrap().id, peer)
    }

    fn outward(from: &Identity) -> Vec<u8> {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2(from.mac.octets(), MacAddr::from_ipv4(GATEWAYS[0]).octets())
            .ipv4(from.ipv4.unwrap().octets(), [203, 0, 113, 77], 64)
            .udp(1000, 2000)
            .write(&mut frame, b"private words")
            .unwrap();
        frame
    }

    /// A frame that makes the switch know where `from` is.
    fn hello(from: &Identity, network: usize) -> Vec<u8> {
        let mut packet = [0; vswitch_frame::arp::LEN];
        let (sender, target) = ((from.mac, from.ipv4.unwrap()), (MacAddr::ZERO, GATEWAYS[network]));
        vswitch_frame::arp::write(&mut packet, vswitch_frame::arp::REQUEST, sender, target);
        let mut frame = [&[0xff; 6][..], &from.mac.octets(), &[8, 6]].concat();
        frame.extend(packet);
        frame
    }

    fn has_words(peer: &MemoryPeer) -> bool {
        std::iter::from_fn(|| peer.try_receive())
            .any(|(frame, _)| frame.windows(13).any(|window| window == b"private words"))
    }

    /// The sender of a packet whose next hop does not answer is told; whoever has its port's index by then is not, be it on
    /// another network, on the same, or with the same address.
    #[test]
    fn only_the_sender_is_told() {
        let mut world = World::new();
        let (port, peer) = world.plug(0, 2);
        world.sends(port, &outward(&identity(0, 2)));
        world.wait();
        assert!(has_words(&peer), "the sender is there and is told");

        for (network, last) in [(1, 2), (0, 3), (0, 2)] {
            let mut world = World::new();
            let (port, gone) = world.plug(0, 2);
            world.sends(port, &outward(&identity(0, 2)));
            world.unplug(port);
            drop(gone);
            let (next, peer) = world.plug(network, last);
            assert_eq!(next, port, "the index is given away again");
            world.sends(next, &hello(&identity(network, last), network));
            world.wait();
            assert!(!has_words(&peer), "network {network}, address {last}");
        }
    }

    /// A station that is plugged in is announced to the others of its network, and to nobody elsewhere; one that is gone again
    /// is not.
    #[test]
    fn who_is_plugged_in_is_announced() {
        let world = World::new();
        let ((_, neighbour), (_, elsewhere)) = (world.plug(0, 3), world.plug(1, 3));
        let (port, own) = world.plug(0, 2);
        let mac = identity(0, 2).mac;
        let (v4, v6) = (identity(0, 2).ipv4.unwrap(), std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
        let of_network = world.datapath.snapshot();
        world.datapath.announce(of_network.port(port).unwrap(), mac, [IpAddr::V4(v4), v6.into()].into_iter());
        let (gone, _) = world.plug(0, 9);
        world.datapath.announce(world.datapath.snapshot().port(gone).unwrap(), mac, [v4.into()].into_iter());
        world.datapath.release_port(&world.datapath.take_port(gone).unwrap());
        Chores::new(&world.datapath).run(&world.datapath, Timestamp::ZERO);
        let heard: Vec<_> = std::iter::from_fn(|| neighbour.try_receive()).map(|(frame, _)| frame).collect();
        let said = heard.iter().map(|frame| {
            let mut buffer = FrameBuf::new();
            buffer.fill(frame, Offload::NONE);
            assert_eq!(vswitch_frame::addresses(frame).1, mac);
            vswitch_nat::route::heard(&buffer.admit().unwrap()).map(|(address, mac, _)| (address, mac))
        });
        assert_eq!(said.collect::<Vec<_>>(), [Some((v4.into(), mac)), Some((v6.into(), mac))]);
        assert!(own.try_receive().is_none() && elsewhere.try_receive().is_none());
    }

    /// Nor is the port told that a station has left for another one.
    #[test]
    fn who_moved_is_not_told_at_the_old_place() {
        let mut world = World::new();
        let (old, peer) = plug(&world.datapath, world.networks[0], None);
        let (new, _elsewhere) = plug(&world.datapath, world.networks[0], None);
        world.sends(old, &outward(&identity(0, 2)));
        world.sends(new, &hello(&identity(0, 2), 0));
        world.wait();
        assert!(!has_words(&peer));
    }
}
