//! Two uplinks over memory ports: whose router a packet goes to, and what is known of that router.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;
use lab::{Lab, arp};
use vswitch_frame::{MacAddr, NetworkIndex, PortId};
use vswitch_switch::nat::route::{Probed, Route};
use vswitch_switch::nat::rules::{Addresses, FurtherUplink, NetworkSpec, Reach, RulesSpec, SubnetSpec, Translation};
use vswitch_switch::nat::table::Leg;
use vswitch_switch::router::{Chores, RouterConfig};
use vswitch_switch::{Gateway, NetworkConfig, Settings};

const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

/// Of uplink 0 or 1: the switch's own address, and its router's.
fn own(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113 + number, 1)
}

fn router(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113 + number, 254)
}

fn mac(address: Ipv4Addr) -> MacAddr {
    MacAddr::from_ipv4(address)
}

struct Bed {
    lab: Lab,
    net: NetworkIndex,
    container: PortId,
    uplinks: [NetworkIndex; 2],
    outside: [PortId; 2],
}

impl Bed {
    fn new() -> Bed {
        let mut lab = Lab::new(Settings::default());
        let network = |name: &str, address| {
            let gateway = Gateway {
                mac: mac(address),
                ipv4: Some((address, 24)),
                ipv6: None,
                also: Vec::new(),
                proxied: Vec::new(),
                beyond: Vec::new(),
                mesh: None,
            };
            let config = NetworkConfig { gateway: Some(gateway), ..NetworkConfig::new(name) };
            lab.datapath.add_network(config).unwrap()
        };
        let (net, uplinks) = (network("inside", GATEWAY), [network("one", own(0)), network("two", own(1))]);
        let (container, outside) = (lab.port(net, None), uplinks.map(|uplink| lab.port(uplink, None)));
        Bed { lab, net, container, uplinks, outside }
    }

    /// The network leaves by the second uplink, or by the first.
    fn leave_by(&self, second: bool) {
        let inside = NetworkSpec {
            index: self.net,
            subnets: vec![SubnetSpec {
                net: "10.1.0.0/24".parse().unwrap(),
                gateway: Some(GATEWAY.into()),
                translation: Translation::Masquerade,
            }],
            reach: Reach::Uplink,
            addresses: Addresses::Shared,
        };
        let networks = if second { vec![self.net] } else { Vec::new() };
        let further = vec![FurtherUplink { external: vec![own(1).into()], networks }];
        let rules =
            RulesSpec { networks: vec![inside], external: vec![own(0).into()], further, ..RulesSpec::default() };
        let routes = [(Leg::Uplink, 0), (Leg::Further(0), 1)].into_iter().flat_map(|(leg, number)| {
            let net = format!("203.0.{}.0/24", 113 + number);
            let all = Route { destination: "0.0.0.0/0".parse().unwrap(), leg, via: Some(router(number).into()) };
            [all, Route { destination: net.parse().unwrap(), leg, via: None }]
        });
        let inside = Route { destination: "10.1.0.0/24".parse().unwrap(), leg: Leg::Inside(self.net), via: None };
        let [uplink, further] = self.uplinks;
        let config = RouterConfig {
            uplink: Some(uplink),
            further: vec![further],
            rules,
            routes: routes.chain([inside]).collect(),
            ..RouterConfig::default()
        };
        self.lab.datapath.set_router(Some(config)).unwrap();
    }

    /// Sends a frame, lets the routers answer ARP, and says which packets came out where: their ends.
    fn exchange(&mut self, port: PortId, frame: &[u8]) -> Vec<(PortId, [Ipv4Addr; 2])> {
        let (mut pending, mut out) = (self.lab.send(port, frame), Vec::new());
        while let Some((port, frame)) = pending.pop() {
            let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
            if frame[12..14] != [8, 6] {
                out.push((port, [address(26), address(30)]));
            } else {
                let (asker, asked) = (address(28), address(38));
                assert!([INSIDE, router(0), router(1)].contains(&asked));
                pending.extend(self.lab.send(port, &arp(2, (mac(asked), asked), (mac(asker), asker))));
            }
        }
        out
    }
}

fn udp(from: (MacAddr, Ipv4Addr, u16), to: (MacAddr, Ipv4Addr, u16)) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(from.0.octets(), to.0.octets())
        .ipv4(from.1.octets(), to.1.octets(), 64)
        .udp(from.2, to.2)
        .write(&mut frame, b"hello")
        .unwrap();
    frame
}

/// What a network sends goes to the router of the uplink that it leaves by, and answers come by that one alone. After a change the
/// next packets go to the other one's router; what was open is ended where that is asked for.
#[test]
fn by_either() {
    let mut bed = Bed::new();
    let outward = udp((mac(INSIDE), INSIDE, 4000), (mac(GATEWAY), FAR, 53));
    let answer = |number: u8| udp((mac(router(number)), FAR, 53), (mac(own(number)), own(number), 4000));
    for (second, number) in [(true, 1), (false, 0), (true, 1)] {
        let (here, there) = (usize::from(second), usize::from(!second));
        bed.leave_by(second);
        bed.lab.datapath.end_flows_by(bed.uplinks[there], bed.net);
        assert_eq!(bed.exchange(bed.container, &outward), [(bed.outside[here], [own(number), FAR])]);
        assert_eq!(bed.exchange(bed.outside[here], &answer(number)), [(bed.container, [FAR, INSIDE])]);
        assert!(!bed.exchange(bed.outside[there], &answer(1 - number)).iter().any(|(port, _)| *port == bed.container));
    }
    assert_eq!(bed.lab.datapath.end_flows_by(bed.uplinks[1], bed.net), 1);
    assert_eq!(bed.lab.datapath.end_flows_by(bed.uplinks[1], bed.net), 0);
}

/// A router that is asked for is asked by frames on its uplink, and is known to answer as soon as it has.
#[test]
fn routers_that_are_watched() {
    let mut bed = Bed::new();
    bed.leave_by(false);
    let mut chores = Chores::new(&bed.lab.datapath);
    let probe = |bed: &Bed| bed.lab.datapath.probe(bed.uplinks[1], router(1).into());
    assert_eq!(probe(&bed), Some(Probed::Asked));
    chores.run(&bed.lab.datapath, bed.lab.datapath.clock().now());
    let asked = bed.lab.received();
    assert_eq!(asked.iter().map(|(port, ..)| *port).collect::<Vec<_>>(), [bed.outside[1]]);
    assert_eq!(probe(&bed), Some(Probed::Asked));
    bed.lab.send(bed.outside[1], &arp(2, (mac(router(1)), router(1)), (mac(own(1)), own(1))));
    assert_eq!(probe(&bed), Some(Probed::Answers));
    assert_eq!(bed.lab.datapath.probe(NetworkIndex::new(77), router(1).into()), None);
}
