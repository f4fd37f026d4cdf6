//! What ports may ask beyond learning, where the router decides instead of the bridge: on the way to and from a service, and back
//! into the network.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod lab;

use std::net::{IpAddr, Ipv4Addr};

use etherparse::PacketBuilder;
use lab::{Lab, arp, gateway, network, station};
use vswitch_frame::{DropReason, MacAddr, NetworkIndex, PortId};
use vswitch_switch::l2::PortFeatures;
use vswitch_switch::nat::NatDrop;
use vswitch_switch::nat::route::Route;
use vswitch_switch::nat::rules::{
    Addresses, Algorithm, NetworkSpec, Reach, RulesSpec, ServicePort, ServiceSpec, SubnetSpec, Translation, Transport,
};
use vswitch_switch::nat::table::Leg;
use vswitch_switch::router::RouterConfig;
use vswitch_switch::{Offloads, PortConfig, Settings};

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// A client (2) and a backend (3) of one network with a service.
struct Bed {
    lab: Lab,
    client: PortId,
    backend: PortId,
}

impl Bed {
    fn new() -> Bed {
        let mut lab = Lab::new(Settings::default());
        let net = lab.datapath.add_network(network("net")).unwrap();
        let mut port = |number| {
            let config = PortConfig { identity: Some(station(number)), ..PortConfig::new("port", net) };
            lab.port_of(config, Offloads::Carried)
        };
        let (client, backend) = (port(2), port(3));
        lab.datapath.set_router(Some(router(net))).unwrap();
        // The bridge knows both.
        for (port, from, to) in [(client, 2, 3), (backend, 3, 2)] {
            lab.send(port, &udp(from, station(to).mac, 1, (SERVICE, 1)));
        }
        Bed { lab, client, backend }
    }

    /// Sends a frame and answers what the gateway asks; who got it.
    fn reached(&mut self, port: PortId, frame: &[u8]) -> Vec<PortId> {
        let (mut pending, mut out) = (self.lab.send(port, frame), Vec::new());
        while let Some((port, frame)) = pending.pop() {
            let number = if port == self.client { 2 } else { 3 };
            if frame[12..14] != [8, 6] {
                out.push(port);
            } else if frame[38..42] == station(number).ipv4.unwrap().octets() {
                let own = (station(number).mac, station(number).ipv4.unwrap());
                pending.extend(self.lab.send(port, &arp(2, own, (gateway().mac, gateway().ipv4.unwrap().0))));
            }
        }
        out
    }

    fn features(&self, port: PortId, features: PortFeatures) {
        self.lab.datapath.set_features(port, features).unwrap();
    }
}

fn router(net: NetworkIndex) -> RouterConfig {
    let subnet = SubnetSpec {
        net: "10.0.0.0/24".parse().unwrap(),
        gateway: Some(gateway().ipv4.unwrap().0.into()),
        translation: Translation::Masquerade,
    };
    let service = ServiceSpec {
        id: 1,
        network: net,
        addresses: vec![SERVICE.into()],
        ports: vec![ServicePort { transport: Transport::Udp, port: 53, target: 53 }],
        algorithm: Algorithm::RoundRobin,
        backends: vec![IpAddr::V4(station(3).ipv4.unwrap())],
        former: Vec::new(),
        elsewhere: Vec::new(),
    };
    let inside =
        NetworkSpec { index: net, subnets: vec![subnet], reach: Reach::Internal, addresses: Addresses::Shared };
    let rules = RulesSpec { networks: vec![inside], services: vec![service], ..RulesSpec::default() };
    let route = Route { destination: "10.0.0.0/24".parse().unwrap(), leg: Leg::Inside(net), via: None };
    RouterConfig { rules, routes: vec![route], ..RouterConfig::default() }
}

/// From one station to the MAC address `to`.
fn udp(from: u8, to: MacAddr, source: u16, destination: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(station(from).mac.octets(), to.octets())
        .ipv4(station(from).ipv4.unwrap().octets(), destination.0.octets(), 64)
        .udp(source, destination.1)
        .write(&mut frame, b"hello")
        .unwrap();
    frame
}

fn question() -> Vec<u8> {
    udp(2, gateway().mac, 4000, (SERVICE, 53))
}

/// What the backend says to the client in its own name, and the switch in the service's.
fn answer() -> Vec<u8> {
    udp(3, station(2).mac, 53, (station(2).ipv4.unwrap(), 4000))
}

/// What a backend answers is paid for like all that it sends, and what its client is sent like all that is sent to it.
#[test]
fn rates_of_service_answers() {
    let mut bed = Bed::new();
    let limit = || Some("100pps".parse().unwrap());
    for (port, features, reason) in [
        (bed.backend, PortFeatures { rate_in: limit(), ..PortFeatures::default() }, DropReason::RateIn),
        (bed.client, PortFeatures { rate_out: limit(), ..PortFeatures::default() }, DropReason::RateOut),
    ] {
        assert_eq!(bed.reached(bed.client, &question()), [bed.backend]);
        assert_eq!(bed.reached(bed.backend, &answer()), [bed.client]);
        bed.features(port, features);
        bed.lab.later(1);
        let answers = (0..100).flat_map(|_| bed.lab.send(bed.backend, &answer())).collect::<Vec<_>>();
        assert!(answers.iter().all(|(to, frame)| *to == bed.client && frame[26..30] == SERVICE.octets()));
        assert_eq!((answers.len(), bed.lab.counters(port).dropped(reason)), (10, 90), "{reason}");
        bed.features(port, PortFeatures::default());
    }
}

/// A service is open to members of its backends' isolation group, as a published port is. Otherwise the gateway leads nobody to whom
/// his group keeps from him, whether it knows where that one is or has to ask.
#[test]
fn groups_at_the_gateway() {
    let red = || PortFeatures { isolation: Some("red".into()), ..PortFeatures::default() };
    let direct = udp(2, gateway().mac, 4001, (station(3).ipv4.unwrap(), 53));
    let mut bed = Bed::new();
    bed.features(bed.client, red());
    bed.features(bed.backend, red());
    assert_eq!(bed.reached(bed.client, &direct), [], "what waited for an answer goes nowhere");
    let drops = bed.lab.datapath.router.stats(bed.lab.datapath.snapshot().router.as_ref().unwrap()).nat_drops;
    assert_eq!(drops, [(NatDrop::Isolated, 1)]);
    bed.lab.assert_dropped(bed.client, &direct, DropReason::Isolated);
    assert_eq!(bed.reached(bed.client, &question()), [bed.backend]);
    assert_eq!(bed.reached(bed.backend, &answer()), [bed.client]);
    bed.features(bed.client, PortFeatures::default());
    assert_eq!(bed.reached(bed.client, &direct), [bed.backend]);
}
