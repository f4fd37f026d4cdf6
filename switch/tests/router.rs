//! The routed leg over memory ports: a network inside, an uplink, and a neighbour that answers ARP.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use lab::{Lab, arp};
use vswitch_frame::offload::{Offload, PartialChecksum};
use vswitch_frame::{DropReason, MacAddr, NetworkIndex, PortId};
use vswitch_switch::nat::route::Route;
use vswitch_switch::nat::rules::{
    Addresses, NetworkSpec, PortRange, Publish, Reach, RulesSpec, SubnetSpec, Translation, Transport,
};
use vswitch_switch::nat::table::Leg;
use vswitch_switch::router::RouterConfig;
use vswitch_switch::{Gateway, Identity, NetworkConfig, Settings};

const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

const CONTAINER_MAC: MacAddr = MacAddr::new([2, 0x42, 10, 1, 0, 2]);
const GATEWAY_MAC: MacAddr = MacAddr::new([2, 0x42, 10, 1, 0, 1]);
const UPLINK_MAC: MacAddr = MacAddr::new([2, 0x42, 203, 0, 113, 1]);
const ROUTER_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 254]);

struct Site {
    lab: Lab,
    net: NetworkIndex,
    uplink: NetworkIndex,
    container: PortId,
    outside: PortId,
}

fn leg(mac: MacAddr, address: Ipv4Addr) -> Option<Gateway> {
    Some(Gateway {
        mac,
        ipv4: Some((address, 24)),
        ipv6: None,
        also: Vec::new(),
        proxied: Vec::new(),
        beyond: Vec::new(),
        mesh: None,
    })
}

fn setup(mtu: u32, publish: Vec<Publish>) -> Site {
    let mut lab = Lab::new(Settings::default());
    let config = |name: &str, gateway, mtu| NetworkConfig { gateway, mtu, ..NetworkConfig::new(name) };
    let net = lab.datapath.add_network(config("inside", leg(GATEWAY_MAC, GATEWAY), 1500)).unwrap();
    let uplink = lab.datapath.add_network(config("uplink", leg(UPLINK_MAC, EXTERNAL), mtu)).unwrap();
    let identity = Identity { mac: CONTAINER_MAC, ipv4: Some(INSIDE), ipv6: None };
    let (container, outside) = (lab.port(net, Some(identity)), lab.port(uplink, None));
    let mut site = Site { lab, net, uplink, container, outside };
    site.rules(publish, Reach::Uplink);
    site
}

impl Site {
    fn rules(&mut self, publish: Vec<Publish>, reach: Reach) {
        let subnet = SubnetSpec {
            net: "10.1.0.0/24".parse().unwrap(),
            gateway: Some(GATEWAY.into()),
            translation: Translation::Masquerade,
        };
        let networks =
            vec![NetworkSpec { index: self.net, subnets: vec![subnet], reach, addresses: Addresses::Shared }];
        let rules = RulesSpec { networks, external: vec![EXTERNAL.into()], publish, ..RulesSpec::default() };
        let route = |net: &str, leg, via| Route { destination: net.parse().unwrap(), leg, via };
        let routes = vec![
            route("0.0.0.0/0", Leg::Uplink, Some(IpAddr::V4(ROUTER))),
            route("203.0.113.0/24", Leg::Uplink, None),
            route("10.1.0.0/24", Leg::Inside(self.net), None),
        ];
        let config = RouterConfig { uplink: Some(self.uplink), rules, routes, ..RouterConfig::default() };
        self.lab.datapath.set_router(Some(config)).unwrap();
    }

    /// Sends a frame and answers the switch's ARP questions until nothing more comes; what else came out, by port.
    /// Whatever leaves by the uplink must not show an inside address.
    fn exchange(&mut self, port: PortId, frame: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let mut pending = self.lab.send(port, frame);
        let mut out = Vec::new();
        while let Some((port, frame)) = pending.pop() {
            if port == self.outside {
                let inside = |window: &[u8]| window == INSIDE.octets() || window == GATEWAY.octets();
                assert!(!frame.windows(4).any(inside), "an inside address leaks: {frame:02x?}");
            }
            if frame[12..14] == [8, 6] && frame[20..22] == [0, 1] {
                let (mac, ip) = if port == self.outside { (ROUTER_MAC, ROUTER) } else { (CONTAINER_MAC, INSIDE) };
                assert_eq!(frame[38..42], ip.octets(), "who-has of a neighbour that there is");
                let asker = if port == self.outside { (UPLINK_MAC, EXTERNAL) } else { (GATEWAY_MAC, GATEWAY) };
                pending.extend(self.lab.send(port, &arp(2, (mac, ip), asker)));
            } else {
                out.push((port, frame));
            }
        }
        out
    }
}

fn outward(ttl: u8, payload: &[u8]) -> Vec<u8> {
    udp(CONTAINER_MAC, GATEWAY_MAC, (INSIDE, 4000), (FAR, 53), ttl, payload)
}

fn udp(
    from: MacAddr,
    to: MacAddr,
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    ttl: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(from.octets(), to.octets())
        .ipv4(source.0.octets(), destination.0.octets(), ttl)
        .udp(source.1, destination.1)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// Addresses, ports and TTL of a UDP frame whose checksums are right.
#[track_caller]
fn read(frame: &[u8]) -> (IpAddr, u16, IpAddr, u16, u8) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (packet.net, packet.transport) else {
        panic!("no UDP over IPv4")
    };
    let ip = ip.header();
    assert_eq!(ip.to_header().calc_header_checksum(), ip.header_checksum());
    let header = udp.to_header();
    assert_eq!(header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), udp.payload()).unwrap(), udp.checksum());
    (ip.source_addr().into(), udp.source_port(), ip.destination_addr().into(), udp.destination_port(), ip.ttl())
}

/// A datagram leaves with the external address and one hop less, after one ARP question; the answer finds its way back.
#[test]
fn masquerade_and_answer() {
    let mut site = setup(1500, Vec::new());
    let out = site.exchange(site.container, &outward(64, b"question"));
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].0, site.outside);
    assert_eq!(read(&out[0].1), (EXTERNAL.into(), 4000, FAR.into(), 53, 63));
    assert_eq!(vswitch_frame::addresses(&out[0].1), (ROUTER_MAC, UPLINK_MAC));
    let answer = udp(ROUTER_MAC, UPLINK_MAC, (FAR, 53), (EXTERNAL, 4000), 60, b"answer");
    let back = site.exchange(site.outside, &answer);
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].0, site.container);
    assert_eq!(read(&back[0].1), (FAR.into(), 53, INSIDE.into(), 4000, 59));
    assert_eq!(vswitch_frame::addresses(&back[0].1), (CONTAINER_MAC, GATEWAY_MAC));
    let again = site.lab.send(site.container, &outward(64, b"again"));
    assert_eq!(again.len(), 1, "neighbours are known now");
    let flows = site.lab.datapath.stats().router.unwrap().flows;
    assert_eq!((flows.flows, flows.created), (1, 1));
}

/// SCTP whose checksum Linux leaves to the card leaves by the uplink with the CRC32c that is right there, and so does the answer of
/// a published port come in.
#[test]
fn sctp_has_its_own_checksum() {
    let port = |port| PortRange::single(port).unwrap();
    let publish = Publish {
        transport: Transport::Sctp,
        host: None,
        host_ports: port(7),
        target: INSIDE.into(),
        network: None,
        target_ports: port(70),
    };
    let mut site = setup(1500, vec![publish]);
    site.exchange(site.container, &outward(64, b"question"));
    let answer = udp(ROUTER_MAC, UPLINK_MAC, (FAR, 53), (EXTERNAL, 4000), 60, b"answer");
    assert_eq!(site.exchange(site.outside, &answer).len(), 1, "neighbours are known now");
    let init = |ports: [u16; 2]| {
        let [source, destination] = ports.map(u16::to_be_bytes);
        let rest = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 9, 0, 0, 0xff, 0xff, 0, 10, 0, 10, 0, 0, 0, 1];
        [&source[..], &destination, &rest].concat()
    };
    let frame = |macs: [MacAddr; 2], addresses: [Ipv4Addr; 2], packet: &[u8]| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(macs[0].octets(), macs[1].octets())
            .ipv4(addresses[0].octets(), addresses[1].octets(), 64)
            .write(&mut frame, etherparse::IpNumber::SCTP, packet)
            .unwrap();
        frame
    };
    let partial = PartialChecksum { start: 34, offset: 8 };
    let undone = Offload { checksum: Some(partial), ..Offload::NONE };
    let ways = [
        (site.container, site.outside, [CONTAINER_MAC, GATEWAY_MAC], [INSIDE, FAR], [4000, 7], [4000, 7]),
        (site.outside, site.container, [ROUTER_MAC, UPLINK_MAC], [FAR, EXTERNAL], [5000, 7], [5000, 70]),
    ];
    for (from, to, macs, addresses, ports, seen) in ways {
        let sent = frame(macs, addresses, &init(ports));
        site.lab.send_all(from, [(&sent[..], undone)]);
        let mut out = site.lab.received();
        assert_eq!(out.len(), 1, "{out:02x?}");
        let (port, frame, offload) = out.remove(0);
        let mut packet = frame[34..34 + 32].to_vec();
        let sum: [u8; 4] = packet[8..12].try_into().unwrap();
        assert_eq!((port, offload, &packet[..4]), (to, Offload::NONE, &init(seen)[..4]));
        packet[8..12].fill(0);
        assert_eq!(sum, vswitch_frame::crc32c::crc32c(&[&packet]).to_le_bytes());
    }
}

/// An upstream router that is replaced is followed at once when it announces itself, by either form of gratuitous
/// ARP.
#[test]
fn a_router_that_moves() {
    for operation in [1, 2] {
        let mut site = setup(1500, Vec::new());
        site.exchange(site.container, &outward(64, b"question"));
        let new = MacAddr::new([2, 0, 0, 0, 9, operation]);
        let target = if operation == 1 { MacAddr::ZERO } else { new };
        let announcement = arp(operation.into(), (new, ROUTER), (target, ROUTER));
        let announcement = [&MacAddr::BROADCAST.octets()[..], &announcement[6..]].concat();
        site.lab.send(site.outside, &announcement);
        let out = site.lab.send(site.container, &outward(64, b"again"));
        let sent: Vec<_> = out.iter().filter(|(_, frame)| frame[12..14] == [8, 0]).collect();
        assert_eq!(sent.len(), 1, "{out:02x?}");
        assert_eq!(vswitch_frame::addresses(&sent[0].1), (new, UPLINK_MAC), "operation {operation}");
    }
}

/// A published port leads in with the client's own address, and its answers leave from the external one.
#[test]
fn published_port() {
    let ports = |port| PortRange::single(port).unwrap();
    let publish = Publish {
        transport: Transport::Udp,
        host: None,
        host_ports: ports(8053),
        target: INSIDE.into(),
        network: None,
        target_ports: ports(53),
    };
    let mut site = setup(1500, vec![publish]);
    let question = udp(ROUTER_MAC, UPLINK_MAC, (FAR, 999), (EXTERNAL, 8053), 60, b"q");
    let out = site.exchange(site.outside, &question);
    assert_eq!(read(&out[0].1), (FAR.into(), 999, INSIDE.into(), 53, 59));
    let answer = udp(CONTAINER_MAC, GATEWAY_MAC, (INSIDE, 53), (FAR, 999), 64, b"a");
    let out = site.exchange(site.container, &answer);
    assert_eq!(read(&out[0].1), (EXTERNAL.into(), 8053, FAR.into(), 999, 63));
    site.rules(Vec::new(), Reach::Uplink);
    let fresh = udp(ROUTER_MAC, UPLINK_MAC, (FAR, 1000), (EXTERNAL, 8053), 60, b"q");
    let refused = site.exchange(site.outside, &fresh);
    assert_eq!(refused.len(), 1, "port unreachable");
    assert_eq!((refused[0].0, &refused[0].1[34..36]), (site.outside, &[3, 3][..]));
}

/// A connection to the switch's own address is refused with a reset (G17).
#[test]
fn refuses_connections_to_itself() {
    let mut site = setup(1500, Vec::new());
    for to in [GATEWAY, EXTERNAL] {
        let mut syn = Vec::new();
        PacketBuilder::ethernet2(CONTAINER_MAC.octets(), GATEWAY_MAC.octets())
            .ipv4(INSIDE.octets(), to.octets(), 64)
            .tcp(4000, 80, 1, 1000)
            .syn()
            .write(&mut syn, &[])
            .unwrap();
        let out = site.exchange(site.container, &syn);
        assert_eq!((out.len(), out[0].0), (1, site.container));
        let packet = SlicedPacket::from_ethernet(&out[0].1).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
        assert!(tcp.rst() && tcp.ack() && tcp.acknowledgment_number() == 2);
    }
}

/// The last hop is answered with a time-exceeded from the gateway, quoting the packet as it was sent (G1).
#[test]
fn hops_exceeded() {
    let mut site = setup(1500, Vec::new());
    let frame = outward(1, b"x");
    let out = site.exchange(site.container, &frame);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].0, site.container);
    let error = &out[0].1;
    assert_eq!(error[26..34], [10, 1, 0, 1, 10, 1, 0, 2]);
    assert_eq!(error[34..36], [11, 0]);
    assert_eq!(error[42..], frame[14..]);
    let drops = site.lab.counters(site.container);
    assert_eq!(drops.dropped(DropReason::Unroutable), 1);
}

/// A packet over the uplink's MTU is refused with that MTU if it may not be fragmented, and fragmented otherwise (G4, G5).
#[test]
fn path_mtu() {
    let mut site = setup(1000, Vec::new());
    site.exchange(site.container, &outward(64, b"warm up"));
    let mut whole = outward(64, &[7; 1400]);
    whole[20] = 0x40;
    refresh_header(&mut whole);
    let out = site.exchange(site.container, &whole);
    assert_eq!(out[0].1[34..36], [3, 4]);
    assert_eq!(out[0].1[40..42], 1000u16.to_be_bytes());
    let mut may = outward(64, &[7; 1400]);
    may[20] = 0;
    refresh_header(&mut may);
    let out = site.exchange(site.container, &may);
    assert_eq!(out.len(), 2, "two fragments");
    assert!(out.iter().all(|(port, frame)| *port == site.outside && frame.len() <= 1014));
    assert!(out.iter().all(|(_, frame)| frame[26..30] == EXTERNAL.octets()));
}

fn refresh_header(frame: &mut [u8]) {
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = vswitch_frame::checksum::checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// Nothing leaves an internal network, and nothing comes in unasked.
#[test]
fn internal_and_unsolicited() {
    let mut site = setup(1500, Vec::new());
    let out = site.exchange(site.outside, &udp(ROUTER_MAC, UPLINK_MAC, (FAR, 1), (INSIDE, 2), 60, b"x"));
    assert_eq!(out, [], "straight to an inside address");
    assert_eq!(site.lab.counters(site.outside).dropped(DropReason::Untranslated), 1);
    site.rules(Vec::new(), Reach::Internal);
    let out = site.exchange(site.container, &outward(64, b"x"));
    assert_eq!(out, []);
    assert_eq!(site.lab.counters(site.container).dropped(DropReason::Untranslated), 1);
    let mut echo = Vec::new();
    PacketBuilder::ethernet2(CONTAINER_MAC.octets(), GATEWAY_MAC.octets())
        .ipv4(INSIDE.octets(), GATEWAY.octets(), 64)
        .icmpv4_echo_request(1, 2)
        .write(&mut echo, b"x")
        .unwrap();
    assert_eq!(site.exchange(site.container, &echo).len(), 1, "the gateway still answers");
}

/// Flows can be listed and flushed; an outside echo to the external address is answered by the switch itself.
#[test]
fn flows_and_own_echo() {
    let mut site = setup(1500, Vec::new());
    site.exchange(site.container, &outward(64, b"x"));
    let table = site.lab.datapath.stats().router.unwrap();
    assert_eq!(table.flows.flows, 1);
    assert!(site.lab.datapath.restore_flows(&[]).is_some());
    let mut echo = Vec::new();
    PacketBuilder::ethernet2(ROUTER_MAC.octets(), UPLINK_MAC.octets())
        .ipv4(FAR.octets(), EXTERNAL.octets(), 64)
        .icmpv4_echo_request(1, 2)
        .write(&mut echo, b"x")
        .unwrap();
    let out = site.exchange(site.outside, &echo);
    assert_eq!((out.len(), out[0].0, out[0].1[34]), (1, site.outside, 0));
}
