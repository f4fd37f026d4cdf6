//! A network whose endpoints are isolated from each other (icc=false): nothing of one reaches another, by no detour.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{IpNumber, PacketBuilder};
use lab::{Lab, arp, ethernet, gateway, network, station, udp4, udp6};
use proptest::prelude::*;
use vswitch_frame::offload::PartialChecksum;
use vswitch_frame::{DropReason, MacAddr, NetworkIndex, Offload, PortId};
use vswitch_switch::nat::route::Route;
use vswitch_switch::nat::rules::{
    Addresses, Between, Filtering, Mapping, NetworkSpec, PortRange, Publish, Reach, RulesSpec, SubnetSpec, Translation,
    Transport,
};
use vswitch_switch::nat::table::Leg;
use vswitch_switch::router::RouterConfig;
use vswitch_switch::{Gateway, Identity, NetworkConfig, Opening, Settings, Station};

/// What the sender wants the other one to see.
const SECRET: &[u8] = b"a word of a for nobody";
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const UPLINK_MAC: MacAddr = MacAddr::new([2, 0x42, 203, 0, 113, 1]);
const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const FAR_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 9]);
/// The endpoint that others try to reach, by its port 2000 published at 8053.
const VICTIM: u8 = 3;

struct Site {
    lab: Lab,
    attacker: PortId,
    victim: PortId,
    bystander: PortId,
}

/// Three endpoints, known to the switch and to their gateway, and an uplink.
fn site(mapping: Mapping) -> Site {
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(NetworkConfig { inter_port: false, ..network("net") }).unwrap();
    let leg = Gateway {
        mac: UPLINK_MAC,
        ipv4: Some((EXTERNAL, 24)),
        ipv6: None,
        also: Vec::new(),
        proxied: Vec::new(),
        beyond: Vec::new(),
        mesh: None,
    };
    let uplink = lab.datapath.add_network(NetworkConfig { gateway: Some(leg), ..network("uplink") }).unwrap();
    let [attacker, victim, bystander] = [2, VICTIM, 4].map(|number| lab.port(net, Some(station(number))));
    let outside = lab.port(uplink, None);
    lab.datapath.set_router(Some(router(net, uplink, mapping))).unwrap();
    for (port, number) in [(attacker, 2), (victim, VICTIM), (bystander, 4)] {
        let (me, gateway) = (station(number), gateway());
        lab.send(port, &arp(1, (me.mac, me.ipv4.unwrap()), (MacAddr::ZERO, gateway.ipv4.unwrap().0)));
        let mut packet = [0; 72];
        vswitch_frame::ndp::write_solicitation(&mut packet, me.mac, me.ipv6.unwrap(), gateway.ipv6.unwrap().0);
        lab.send(port, &ethernet(gateway.mac, me.mac, 0x86dd, &packet));
    }
    let mut site = Site { lab, attacker, victim, bystander };
    // A question from outside, by which the gateway learns where the victim is.
    let far = Identity { mac: FAR_MAC, ipv4: Some(FAR), ipv6: None };
    let mut question = udp4(&far, &Identity { mac: UPLINK_MAC, ipv4: Some(EXTERNAL), ipv6: None }, b"hello");
    question[36..38].copy_from_slice(&8053u16.to_be_bytes());
    question[40..42].fill(0);
    assert_eq!(site.sends(outside, &question).len(), 1);
    site
}

fn router(net: NetworkIndex, uplink: NetworkIndex, mapping: Mapping) -> RouterConfig {
    let subnet = |net: &str, gateway: IpAddr| SubnetSpec {
        net: net.parse().unwrap(),
        gateway: Some(gateway),
        translation: Translation::Masquerade,
    };
    let gateway = gateway();
    let subnets = vec![
        subnet("10.0.0.0/24", gateway.ipv4.unwrap().0.into()),
        subnet("fd00::/64", gateway.ipv6.unwrap().0.into()),
    ];
    let port = |port| PortRange::single(port).unwrap();
    let publish = Publish {
        transport: Transport::Udp,
        host: None,
        host_ports: port(8053),
        target: station(VICTIM).ipv4.unwrap().into(),
        network: None,
        target_ports: port(2000),
    };
    let mut rules = RulesSpec {
        networks: vec![NetworkSpec { index: net, subnets, reach: Reach::Uplink, addresses: Addresses::Shared }],
        external: vec![EXTERNAL.into()],
        publish: vec![publish],
        ..RulesSpec::default()
    };
    (rules.settings.mapping, rules.settings.between) = (mapping, Between::Routed);
    let route = |net: &str, leg| Route { destination: net.parse().unwrap(), leg, via: None };
    let inside = Leg::Inside(net);
    let routes = vec![route("0.0.0.0/0", Leg::Uplink), route("10.0.0.0/24", inside), route("fd00::/64", inside)];
    RouterConfig { uplink: Some(uplink), rules, routes, ..RouterConfig::default() }
}

impl Site {
    /// Sends a frame and answers the gateway's ARP questions; what else comes out where.
    fn sends(&mut self, port: PortId, frame: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let mut pending = self.lab.send(port, frame);
        let mut out = Vec::new();
        while let Some((port, frame)) = pending.pop() {
            if frame[12..14] != [8, 6] {
                out.push((port, frame));
                continue;
            }
            let stations = [(self.attacker, 2), (self.victim, VICTIM), (self.bystander, 4)];
            let me = stations.iter().find(|(own, _)| *own == port).map(|(_, number)| station(*number));
            if let Some(me) = me.filter(|me| frame[38..42] == me.ipv4.unwrap().octets()) {
                let asker = (gateway().mac, gateway().ipv4.unwrap().0);
                pending.extend(self.lab.send(port, &arp(2, (me.mac, me.ipv4.unwrap()), asker)));
            }
        }
        out
    }

    /// Sends a frame of the attacker's and expects it to end there and then, for this reason.
    #[track_caller]
    fn is_dropped(&mut self, frame: &[u8], reason: DropReason) {
        self.lab.assert_dropped(self.attacker, frame, reason);
    }
}

/// A packet to another endpoint in a frame to the gateway goes no further than one in a frame to the endpoint: every protocol,
/// both families, whole, in fragments, with options.
#[test]
fn the_gateway_is_no_way_round() {
    let mut site = site(Mapping::default());
    let before = site.lab.counters(site.victim).out_frames;
    let (me, you) = (station(2), station(VICTIM));
    let through = Identity { mac: gateway().mac, ..you };
    site.is_dropped(&udp4(&me, &you, SECRET), DropReason::Isolated);
    site.is_dropped(&udp4(&me, &through, SECRET), DropReason::Isolated);
    site.is_dropped(&udp6(&me, &through, SECRET), DropReason::Isolated);
    let ip = || {
        let (from, to) = (me.ipv4.unwrap().octets(), you.ipv4.unwrap().octets());
        PacketBuilder::ethernet2(me.mac.octets(), gateway().mac.octets()).ipv4(from, to, 64)
    };
    let mut frames = Vec::new();
    for protocol in [0, 2, 4, 41, 47, 50, 132, 255] {
        let mut frame = Vec::new();
        ip().write(&mut frame, IpNumber(protocol), SECRET).unwrap();
        frames.push(frame);
    }
    let [mut syn, mut answer, mut echo] = [Vec::new(), Vec::new(), Vec::new()];
    ip().tcp(1, 2, 3, 4).syn().write(&mut syn, SECRET).unwrap();
    ip().tcp(1, 2, 3, 4).ack(9).write(&mut answer, SECRET).unwrap();
    ip().icmpv4_echo_request(1, 2).write(&mut echo, SECRET).unwrap();
    frames.extend([syn, answer, echo]);
    for frame in &frames {
        assert_eq!(site.lab.send(site.attacker, frame), [], "protocol {}", frame[23]);
    }
    let isolated = site.lab.counters(site.attacker).dropped(DropReason::Isolated);
    // SCTP's checksum is wrong here, which the translator says first.
    assert_eq!(isolated, 3 + frames.len() as u64 - 1);
    assert_eq!(site.lab.counters(site.victim).out_frames, before);
}

/// Nor does a frame that claims to be the gateway's own.
#[test]
fn the_gateway_s_own_address() {
    let mut site = site(Mapping::default());
    let me = Identity { mac: gateway().mac, ipv4: Some(gateway().ipv4.unwrap().0), ipv6: None };
    site.is_dropped(&udp4(&me, &station(VICTIM), SECRET), DropReason::SpoofedGateway);
    let through = Identity { mac: gateway().mac, ..station(VICTIM) };
    site.is_dropped(&udp4(&me, &through, SECRET), DropReason::SpoofedGateway);
}

/// A published port is open to everybody, be it from the same network, and its answers come back; a port that an endpoint has
/// only because it sent something is not.
#[test]
fn published_ports_are_open() {
    let mut site = site(Mapping::EndpointIndependent(Filtering::EndpointIndependent));
    let (me, you) = (station(2), station(VICTIM));
    let to = |number: u16, payload: &[u8]| {
        let mut frame = udp4(&me, &Identity { mac: gateway().mac, ipv4: Some(EXTERNAL), ipv6: None }, payload);
        frame[36..38].copy_from_slice(&number.to_be_bytes());
        frame[40..42].copy_from_slice(&[0, 0]);
        frame
    };
    let out = site.sends(site.attacker, &to(8053, b"question"));
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].0, &out[0].1[42..]), (site.victim, &b"question"[..]));
    let (sender, port) = (Ipv4Addr::from(<[u8; 4]>::try_from(&out[0].1[26..30]).unwrap()), &out[0].1[34..36]);
    let mut answer = udp4(&you, &Identity { mac: gateway().mac, ipv4: Some(sender), ipv6: None }, b"answer");
    answer[34..36].copy_from_slice(&2000u16.to_be_bytes());
    answer[36..38].copy_from_slice(port);
    answer[40..42].copy_from_slice(&[0, 0]);
    let back = site.sends(site.victim, &answer);
    assert_eq!((back.len(), back[0].0, &back[0].1[42..]), (1, site.attacker, &b"answer"[..]));

    // The victim has sent from its port 1000, which is now its own on the external address, too.
    let far = Identity { mac: gateway().mac, ipv4: Some(FAR), ipv6: None };
    site.lab.send(site.victim, &udp4(&you, &far, b"out"));
    assert_eq!(site.lab.datapath.stats().router.unwrap().flows.flows, 3);
    site.is_dropped(&to(1000, SECRET), DropReason::Isolated);
}

/// A frame from the gateway for a station that the bridge has forgotten is shown to nobody else.
#[test]
fn forgotten_stations_are_searched_for_where_they_can_be() {
    let mut site = site(Mapping::default());
    let question = |site: &mut Site| {
        let to = Identity { mac: gateway().mac, ipv4: Some(EXTERNAL), ipv6: None };
        let mut frame = udp4(&station(2), &to, SECRET);
        frame[36..38].copy_from_slice(&8053u16.to_be_bytes());
        frame[40..42].fill(0);
        site.sends(site.attacker, &frame).into_iter().map(|(port, _)| port).collect::<Vec<_>>()
    };
    assert_eq!(question(&mut site), [site.victim]);
    site.lab.datapath.fdb.forget_port(site.victim);
    assert_eq!(site.lab.datapath.fdb.count_of(site.victim), 0);
    assert_eq!(question(&mut site), [site.victim]);
}

/// Frames of an attacker's: to every kind of address, of every kind, with every offload, changed here and there.
fn frames() -> impl Strategy<Value = (Vec<u8>, Offload)> {
    let me = station(2);
    let macs = [
        gateway().mac,
        station(VICTIM).mac,
        MacAddr::BROADCAST,
        MacAddr::new([1, 0, 0x5e, 0, 0, 1]),
        MacAddr::new([0x33, 0x33, 0, 0, 0, 1]),
        MacAddr::new([2, 9, 9, 9, 9, 9]),
        UPLINK_MAC,
    ];
    let addresses = [
        station(VICTIM).ipv4.unwrap(),
        Ipv4Addr::new(10, 0, 0, 255),
        Ipv4Addr::BROADCAST,
        gateway().ipv4.unwrap().0,
        EXTERNAL,
    ];
    let change = proptest::option::weighted(0.5, (12usize..70, any::<u8>()));
    let partial = proptest::option::weighted(0.3, (0u16..80, prop::sample::select(&[6u16, 16, 8, 2, 10][..])));
    (0usize..7, 0usize..5, 0usize..8, proptest::collection::vec(change, 0..3), partial).prop_map(
        move |(mac, address, kind, changes, partial)| {
            let to = Identity { mac: macs[mac], ipv4: Some(addresses[address]), ipv6: station(VICTIM).ipv6 };
            let ip = || {
                let (from, to) = (me.ipv4.unwrap().octets(), to.ipv4.unwrap().octets());
                PacketBuilder::ethernet2(me.mac.octets(), macs[mac].octets()).ipv4(from, to, 64)
            };
            let mut frame = Vec::new();
            match kind {
                0 => frame = udp4(&me, &to, SECRET),
                1 => frame = udp6(&me, &to, SECRET),
                2 => ip().tcp(1, 2, 3, 4).syn().write(&mut frame, SECRET).unwrap(),
                3 => ip().icmpv4_echo_request(1, 2).write(&mut frame, SECRET).unwrap(),
                4 => ip().write(&mut frame, IpNumber(47), SECRET).unwrap(),
                // An error about a packet that the victim never sent.
                5 => {
                    let quoted = udp4(&Identity { mac: me.mac, ..station(VICTIM) }, &me, SECRET);
                    let error = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted[14..]].concat();
                    ip().write(&mut frame, IpNumber(1), &error).unwrap();
                    let sum = vswitch_frame::checksum::checksum(&frame[34..]);
                    frame[36..38].copy_from_slice(&sum.to_be_bytes());
                }
                6 => {
                    frame = udp4(&me, &to, SECRET);
                    frame[20] = 0x20;
                    let sum = {
                        frame[24..26].fill(0);
                        vswitch_frame::checksum::checksum(&frame[14..34])
                    };
                    frame[24..26].copy_from_slice(&sum.to_be_bytes());
                }
                _ => frame = ethernet(macs[mac], me.mac, 0x88b5, SECRET),
            }
            for (at, value) in changes.into_iter().flatten() {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            let checksum = partial.map(|(start, offset)| PartialChecksum { start, offset });
            let checksum = checksum.filter(|partial| usize::from(partial.start + partial.offset) + 2 <= frame.len());
            (frame, Offload { checksum, gso: None })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever an endpoint sends, and however much of it: no other endpoint of its network gets a frame.
    #[test]
    fn nothing_reaches_another(frames in proptest::collection::vec(frames(), 1..20), independent: bool) {
        let mapping = if independent { Mapping::EndpointIndependent(Filtering::EndpointIndependent) } else { Mapping::default() };
        let mut site = site(mapping);
        let before = [site.victim, site.bystander].map(|port| site.lab.counters(port).out_frames);
        for (frame, offload) in &frames {
            site.lab.send_all(site.attacker, [(&frame[..], *offload)]);
            for (port, frame, _) in site.lab.received() {
                prop_assert!(port != site.victim && port != site.bystander, "{:02x?}", frame);
            }
        }
        let after = [site.victim, site.bystander].map(|port| site.lab.counters(port).out_frames);
        prop_assert_eq!(before, after);
    }
}

/// An opening leads to the one port of the one server: there, back, and the questions by which each finds the other; nothing else,
/// from nobody else, and to nobody else.
#[test]
fn an_opening_opens_one_port() {
    let mut site = site(Mapping::default());
    let (me, you, other) = (station(2), station(VICTIM), station(4));
    let at = |who: &Identity, port| Station { mac: who.mac, ipv4: who.ipv4.unwrap(), port };
    let (client, server) = (at(&me, site.attacker), at(&you, site.victim));
    let opening = Opening { client, server, protocol: 17, port: 2000 };
    let net = NetworkIndex::new(0);
    site.lab.datapath.set_openings(net, vec![opening]).unwrap();
    let ask =
        |from: &Identity, to: &Identity| arp(1, (from.mac, from.ipv4.unwrap()), (MacAddr::ZERO, to.ipv4.unwrap()));
    let answer = |from: &Identity, to: &Identity| arp(2, (from.mac, from.ipv4.unwrap()), (to.mac, to.ipv4.unwrap()));
    let ports = |mut frame: Vec<u8>, source: u16, destination: u16| {
        frame[34..36].copy_from_slice(&source.to_be_bytes());
        frame[36..38].copy_from_slice(&destination.to_be_bytes());
        frame[40..42].fill(0);
        frame
    };
    let (attacker, victim, bystander) = (site.attacker, site.victim, site.bystander);
    for (from, frame, reached) in [
        (attacker, ask(&me, &you), victim),
        (victim, answer(&you, &me), attacker),
        (victim, ask(&you, &me), attacker),
        (attacker, udp4(&me, &you, SECRET), victim),
        (victim, ports(udp4(&you, &me, SECRET), 2000, 1000), attacker),
    ] {
        assert_eq!(site.lab.ports_reached(from, &frame), [reached], "{frame:?}");
    }
    let tcp = {
        let mut frame = Vec::new();
        let (from, to) = (me.ipv4.unwrap().octets(), you.ipv4.unwrap().octets());
        let builder = PacketBuilder::ethernet2(me.mac.octets(), you.mac.octets()).ipv4(from, to, 64);
        builder.tcp(1000, 2000, 3, 4).syn().write(&mut frame, SECRET).unwrap();
        frame
    };
    for (from, frame) in [
        (attacker, ports(udp4(&me, &you, SECRET), 1000, 2001)),
        (attacker, ports(udp4(&me, &you, SECRET), 2000, 1000)),
        (victim, udp4(&you, &me, SECRET)),
        (attacker, tcp),
        (attacker, udp6(&me, &you, SECRET)),
        (attacker, udp4(&me, &other, SECRET)),
        (attacker, ask(&me, &other)),
        (bystander, ask(&other, &you)),
        (bystander, udp4(&other, &you, SECRET)),
        (attacker, udp4(&me, &Identity { mac: MacAddr::BROADCAST, ..you }, SECRET)),
        (attacker, udp4(&me, &Identity { mac: other.mac, ..you }, SECRET)),
    ] {
        site.lab.assert_dropped(from, &frame, DropReason::Isolated);
    }
    site.lab.datapath.set_openings(net, Vec::new()).unwrap();
    site.is_dropped(&udp4(&me, &you, SECRET), DropReason::Isolated);
}
