//! The bridge decision, frame by frame, over memory ports.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::collections::HashMap;

use lab::{Lab, ethernet, network, plain, station, udp4};
use proptest::prelude::*;
use vswitch_frame::{DropReason, MacAddr, Offload, PortId, offload::PartialChecksum, vlan::VlanTag};
use vswitch_switch::{Offloads, PortConfig, Settings};

fn mac(number: u8) -> MacAddr {
    station(number).mac
}

/// An unknown destination is flooded to the network, a known one is not, and nothing returns to where it came from.
#[test]
fn learn_and_forward() {
    let (mut lab, p) = Lab::with_ports(3);
    assert_eq!(lab.ports_reached(p[0], &plain(mac(3), mac(2))), [p[1], p[2]]);
    assert_eq!(lab.ports_reached(p[1], &plain(mac(2), mac(3))), [p[0]]);
    assert_eq!(lab.ports_reached(p[0], &plain(mac(3), mac(2))), [p[1]]);
    lab.assert_dropped(p[0], &plain(mac(2), mac(4)), DropReason::Reflection);
    let counters = lab.counters(p[0]);
    assert_eq!((counters.in_frames, counters.forwarded, counters.flooded), (3, 2, 1));
    assert_eq!(counters.in_bytes, 3 * 60);
    assert_eq!(counters.out_frames, 1);
}

/// Broadcast and multicast reach every other port; with none there, that is counted.
#[test]
fn group_addresses() {
    let (mut lab, p) = Lab::with_ports(3);
    for group in [MacAddr::BROADCAST, MacAddr::new([1, 0, 0x5e, 0, 0, 9]), MacAddr::new([0x33, 0x33, 0, 0, 0, 9])] {
        assert_eq!(lab.ports_reached(p[1], &plain(group, mac(2))), [p[0], p[2]]);
    }
    let (mut lab, p) = Lab::with_ports(1);
    lab.assert_dropped(p[0], &plain(MacAddr::BROADCAST, mac(2)), DropReason::NoReceiver);
}

/// 01:80:C2:00:00:00 to :0F stay on their link (IEEE 802.1Q table 8-1); :10 does not.
#[test]
fn reserved_multicast() {
    let (mut lab, p) = Lab::with_ports(2);
    for last in 0..16 {
        let group = MacAddr::new([1, 0x80, 0xc2, 0, 0, last]);
        lab.assert_dropped(p[0], &plain(group, mac(2)), DropReason::ReservedMulticast);
    }
    assert_eq!(lab.ports_reached(p[0], &plain(MacAddr::new([1, 0x80, 0xc2, 0, 0, 16]), mac(2))), [p[1]]);
}

/// No station has a group address or zero as its own, and nobody but the gateway has the gateway's.
#[test]
fn impossible_sources() {
    let (mut lab, p) = Lab::with_ports(2);
    for source in [MacAddr::ZERO, MacAddr::BROADCAST, MacAddr::new([1, 2, 3, 4, 5, 6])] {
        lab.assert_dropped(p[0], &plain(mac(3), source), DropReason::InvalidSource);
    }
    lab.assert_dropped(p[0], &plain(mac(3), lab::gateway().mac), DropReason::SpoofedGateway);
    assert_eq!(lab.datapath.fdb.stats().entries, 0);
}

/// Frames of one network never reach another, whatever their addresses.
#[test]
fn networks_are_apart() {
    let mut lab = Lab::new(Settings::default());
    let (red, blue) =
        (lab.datapath.add_network(network("red")).unwrap(), lab.datapath.add_network(network("blue")).unwrap());
    let (r, b) = ([lab.port(red, None), lab.port(red, None)], [lab.port(blue, None), lab.port(blue, None)]);
    assert_eq!(lab.ports_reached(r[0], &plain(MacAddr::BROADCAST, mac(2))), [r[1]]);
    assert_eq!(lab.ports_reached(b[0], &plain(mac(2), mac(3))), [b[1]], "known in red only");
    assert_eq!(lab.ports_reached(b[1], &plain(mac(3), mac(2))), [b[0]], "the same address lives in both");
    assert_eq!(lab.ports_reached(r[1], &plain(mac(2), mac(3))), [r[0]]);
}

/// Bridges behind ports are told of each other when the network says so; whatever else is for the next bridge only stays.
#[test]
fn spanning_tree_when_asked_for() {
    let frame = |last| ethernet(MacAddr::new([1, 0x80, 0xc2, 0, 0, last]), mac(2), 0x0026, &[0x42; 38]);
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(network("net")).unwrap();
    let (a, b) = (lab.port(net, None), lab.port(net, None));
    lab.assert_dropped(a, &frame(0), DropReason::ReservedMulticast);
    let told = vswitch_switch::NetworkConfig { forward_bpdus: true, ..network("net") };
    lab.datapath.update_network(net, told).unwrap();
    assert_eq!(lab.ports_reached(a, &frame(0)), [b]);
    for other in [1, 2, 3, 14] {
        lab.assert_dropped(a, &frame(other), DropReason::ReservedMulticast);
    }
}

/// With icc off, ports reach only the gateway.
#[test]
fn isolated_ports() {
    let mut lab = Lab::new(Settings::default());
    let config = vswitch_switch::NetworkConfig { inter_port: false, ..network("net") };
    let net = lab.datapath.add_network(config).unwrap();
    let (a, b) = (lab.port(net, None), lab.port(net, None));
    lab.assert_dropped(a, &plain(MacAddr::BROADCAST, mac(2)), DropReason::Isolated);
    lab.assert_dropped(b, &plain(mac(2), mac(3)), DropReason::Isolated);
    let who_has = lab::arp(1, (mac(2), [10, 0, 0, 2].into()), (MacAddr::ZERO, [10, 0, 0, 1].into()));
    assert_eq!(lab.ports_reached(a, &who_has), [a]);
    lab.datapath.update_network(net, network("net")).unwrap();
    assert_eq!(lab.ports_reached(a, &plain(MacAddr::BROADCAST, mac(2))), [b]);
}

/// A packet longer than the network's MTU is dropped; a super-frame counts by its segments.
#[test]
fn mtu() {
    let (mut lab, p) = Lab::with_ports(2);
    let (a, b) = (station(2), station(3));
    assert_eq!(lab.ports_reached(p[0], &udp4(&a, &b, &[0; 1472])), [p[1]]);
    lab.assert_dropped(p[0], &udp4(&a, &b, &[0; 1473]), DropReason::OverMtu);
    lab.assert_dropped(p[0], &ethernet(b.mac, a.mac, 0x88b5, &[0; 1501]), DropReason::OverMtu);
    let frame = udp4(&a, &b, &[0; 9000]);
    let gso =
        |size| vswitch_frame::Gso { kind: vswitch_frame::offload::GsoKind::Udp, size, header_len: 42, ecn: false };
    let checksum = Some(PartialChecksum { start: 34, offset: 6 });
    lab.send_all(p[0], [(&frame[..], Offload { checksum, gso: Some(gso(1472)) })]);
    assert_eq!(lab.received().len(), 1);
    lab.send_all(p[0], [(&frame[..], Offload { checksum, gso: Some(gso(1473)) })]);
    assert_eq!(lab.received().len(), 0);
}

/// A station that moves is found at its new port at once; one that flaps is damped, and its frames are counted.
#[test]
fn move_and_loop_guard() {
    let (mut lab, p) = Lab::with_ports(3);
    lab.ports_reached(p[0], &plain(MacAddr::BROADCAST, mac(2)));
    lab.ports_reached(p[1], &plain(MacAddr::BROADCAST, mac(2)));
    assert_eq!(lab.ports_reached(p[2], &plain(mac(2), mac(9))), [p[1]]);
    for turn in 0..100 {
        lab.ports_reached(p[turn % 2], &plain(MacAddr::BROADCAST, mac(2)));
    }
    let damped = lab.counters(p[0]).dropped(DropReason::LoopGuard) + lab.counters(p[1]).dropped(DropReason::LoopGuard);
    assert!(damped > 30, "{damped}");
    assert_eq!(lab.datapath.fdb.stats().damped, 1);
    lab.later(60);
    lab.ports_reached(p[2], &plain(MacAddr::BROADCAST, mac(2)));
    assert_eq!(lab.ports_reached(p[0], &plain(mac(2), mac(8))), [p[2]]);
}

/// A static entry wins over what frames say, and only on its own network's ports.
#[test]
fn static_entries() {
    let (mut lab, p) = Lab::with_ports(3);
    let net = lab.datapath.snapshot().port(p[0]).unwrap().config.network;
    lab.datapath.fdb_add_static(net, mac(2), p[1]).unwrap();
    lab.assert_dropped(p[0], &plain(MacAddr::BROADCAST, mac(2)), DropReason::StaticEntry);
    assert_eq!(lab.ports_reached(p[0], &plain(mac(2), mac(3))), [p[1]]);
    assert!(lab.datapath.fdb_add_static(net, MacAddr::BROADCAST, p[1]).is_err());
    assert!(lab.datapath.fdb_add_static(net, mac(4), PortId::new(77)).is_err());
}

/// A removed port's stations are unknown again, its counts stay in the sums, and its index may serve another port.
#[test]
fn remove_a_port() {
    let (mut lab, p) = Lab::with_ports(3);
    let net = lab.datapath.snapshot().port(p[0]).unwrap().config.network;
    lab.ports_reached(p[1], &plain(MacAddr::BROADCAST, mac(2)));
    lab.remove(p[1]);
    assert_eq!(lab.ports_reached(p[0], &plain(mac(2), mac(3))), [p[2]], "flooded");
    assert_eq!(lab.datapath.stats().total.in_frames, 2);
    assert_eq!(lab.datapath.stats().networks[0].counters.in_frames, 2);
    let again = lab.port(net, None);
    assert_eq!(again, p[1]);
    assert_eq!(lab.counters(again).in_frames, 0);
    assert!(lab.datapath.remove_network(net).is_err(), "ports are on it");
    for port in p {
        lab.remove(port);
    }
    lab.datapath.remove_network(net).unwrap();
    assert_eq!(lab.datapath.stats().total.in_frames, 2);
    assert_eq!(lab.datapath.fdb.stats().entries, 0);
}

/// A port that takes only finished frames gets segments with good checksums, while another gets the super-frame.
#[test]
fn offloads_by_port() {
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(network("net")).unwrap();
    let config = PortConfig::new("finished", net);
    let (a, plain_port, carried) = (lab.port(net, None), lab.port_of(config, Offloads::Finished), lab.port(net, None));
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(2).octets(), [0xff; 6])
        .ipv4([10, 0, 0, 2], [10, 0, 0, 3], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, &[5; 4000])
        .unwrap();
    let pseudo =
        vswitch_frame::checksum::pseudo_header_v4([10, 0, 0, 2].into(), [10, 0, 0, 3].into(), 6, frame.len() - 34);
    frame[50..52].copy_from_slice(&vswitch_frame::checksum::fold(pseudo).to_be_bytes());
    let kind = vswitch_frame::offload::GsoKind::TcpV4;
    let offload = Offload {
        checksum: Some(PartialChecksum { start: 34, offset: 16 }),
        gso: Some(vswitch_frame::Gso { kind, size: 1400, header_len: 54, ecn: false }),
    };
    lab.send_all(a, [(&frame[..], offload)]);
    let received = lab.received();
    let segments: Vec<_> = received.iter().filter(|(port, ..)| *port == plain_port).collect();
    assert_eq!(segments.len(), 3);
    for (_, segment, offload) in segments {
        assert_eq!(*offload, Offload::NONE);
        let packet = etherparse::SlicedPacket::from_ethernet(segment).unwrap();
        let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Tcp(tcp))) =
            (packet.net, packet.transport)
        else {
            panic!("no TCP segment")
        };
        assert_eq!(tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap(), tcp.checksum());
    }
    let whole: Vec<_> = received.iter().filter(|(port, ..)| *port == carried).collect();
    assert_eq!((whole.len(), &whole[0].1, whole[0].2), (1, &frame, offload));
}

/// A tagged frame crosses with its tag.
#[test]
fn tagged_frames() {
    let (mut lab, p) = Lab::with_ports(2);
    let mut buffer = vswitch_frame::FrameBuf::from_frame(&udp4(&station(2), &station(3), b"x"), Offload::NONE);
    buffer.insert_vlan(VlanTag { tpid: vswitch_frame::EtherType::VLAN, tci: 100 });
    assert_eq!(lab.send(p[0], buffer.frame()), [(p[1], buffer.frame().to_vec())]);
}

/// What a network of learning bridges must do, written down the slow way.
#[derive(Default)]
struct Model {
    known: HashMap<MacAddr, usize>,
}

impl Model {
    fn send(&mut self, ports: usize, from: usize, source: MacAddr, destination: MacAddr) -> Vec<usize> {
        self.known.insert(source, from);
        match self.known.get(&destination) {
            Some(&to) if !destination.is_multicast() => Some(to).filter(|&to| to != from).into_iter().collect(),
            _ => (0..ports).filter(|&port| port != from).collect(),
        }
    }
}

proptest! {
    /// Random traffic of stations that move about is delivered exactly as the model says.
    #[test]
    fn agrees_with_the_model(steps in proptest::collection::vec((0usize..5, 0u8..8, 0u8..9), 1..200)) {
        let mut lab = Lab::new(Settings { loop_guard_moves: u32::MAX, ..Settings::default() });
        let net = lab.datapath.add_network(network("net")).unwrap();
        let ports: Vec<_> = (0..5).map(|_| lab.port(net, None)).collect();
        let mut model = Model::default();
        for (from, source, destination) in steps {
            let destination = if destination == 8 { MacAddr::BROADCAST } else { mac(10 + destination) };
            let expected = model.send(5, from, mac(10 + source), destination);
            let reached: Vec<_> = lab
                .ports_reached(ports[from], &plain(destination, mac(10 + source)))
                .into_iter()
                .map(|port| ports.iter().position(|&p| p == port).unwrap())
                .collect();
            prop_assert_eq!(reached, expected);
        }
    }
}
