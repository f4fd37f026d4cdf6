//! The gateway's answers: ARP, Neighbor Discovery and echo.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::net::{Ipv4Addr, Ipv6Addr};

use lab::{Lab, arp, ethernet, gateway, network, station, udp4};
use vswitch_frame::{DropReason, MacAddr, Offload, PortId, ndp};
use vswitch_switch::Settings;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn setup() -> (Lab, PortId, PortId) {
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(network("net")).unwrap();
    let (a, b) = (lab.port(net, Some(station(2))), lab.port(net, Some(station(3))));
    (lab, a, b)
}

fn echo4(to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(station(2).mac.octets(), gateway().mac.octets())
        .ipv4([10, 0, 0, 2], to.octets(), 64)
        .icmpv4_echo_request(7, 9)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// Who-has for the gateway is answered and goes no further; for another address it is flooded and not answered.
#[test]
fn answers_arp() {
    let (mut lab, a, b) = setup();
    let me = (station(2).mac, Ipv4Addr::new(10, 0, 0, 2));
    let reply = arp(2, (gateway().mac, GATEWAY), me);
    assert_eq!(lab.send(a, &arp(1, me, (MacAddr::ZERO, GATEWAY))), [(a, reply)]);
    assert_eq!(lab.ports_reached(a, &arp(1, me, (MacAddr::ZERO, [10, 0, 0, 3].into()))), [b]);
    let probe = arp(1, (me.0, Ipv4Addr::UNSPECIFIED), (MacAddr::ZERO, GATEWAY));
    assert_eq!(lab.ports_reached(a, &probe), [a], "RFC 5227: a probe of a used address is defended");
    assert_eq!(lab.counters(a).consumed, 2);
}

/// A solicitation is answered with an advertisement that etherparse finds good; so is a duplicate address check.
#[test]
fn answers_neighbor_discovery() {
    let (mut lab, a, b) = setup();
    let target: Ipv6Addr = "fd00::1".parse().unwrap();
    let ask = |source: Ipv6Addr, target: Ipv6Addr| {
        let mut packet = [0; 72];
        ndp::write_solicitation(&mut packet, station(2).mac, source, target);
        ethernet(MacAddr::ipv6_multicast(ndp::solicited_node(target)), station(2).mac, 0x86dd, &packet)
    };
    let own = station(2).ipv6.unwrap();
    for target in [target, gateway().mac.link_local_ipv6()] {
        let out = lab.send(a, &ask(own, target));
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].0, a);
        let packet = etherparse::SlicedPacket::from_ethernet(&out[0].1).unwrap();
        let (Some(etherparse::NetSlice::Ipv6(ip)), Some(etherparse::TransportSlice::Icmpv6(message))) =
            (packet.net, packet.transport)
        else {
            panic!("no ICMPv6")
        };
        assert_eq!(ip.header().destination_addr(), own);
        assert_eq!(ip.header().source_addr(), target);
        assert!(message.is_checksum_valid(ip.header().source(), ip.header().destination()));
        let view = ndp::Neighbor::parse(message.slice()).unwrap();
        assert_eq!((view.target(), view.link_layer_address()), (target, Some(gateway().mac)));
    }
    let out = lab.send(a, &ask(Ipv6Addr::UNSPECIFIED, target));
    assert_eq!(out[0].1[..6], [0x33, 0x33, 0, 0, 0, 1], "all nodes");
    assert_eq!(lab.ports_reached(a, &ask(own, station(3).ipv6.unwrap())), [b]);
}

/// An echo request comes back with its payload, a new TTL and a good checksum, in both families.
#[test]
fn answers_echo() {
    let (mut lab, a, _) = setup();
    let out = lab.send(a, &echo4(GATEWAY, b"payload"));
    let packet = etherparse::SlicedPacket::from_ethernet(&out[0].1).unwrap();
    let Some(etherparse::TransportSlice::Icmpv4(message)) = packet.transport else { panic!("no ICMP") };
    assert!(matches!(message.icmp_type(), etherparse::Icmpv4Type::EchoReply(echo) if echo.id == 7 && echo.seq == 9));
    assert_eq!(vswitch_frame::checksum::checksum(message.slice()), 0);
    assert_eq!(message.payload(), b"payload");
    let Some(etherparse::NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
    assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum());
    assert_eq!((ip.header().source_addr(), ip.header().destination_addr()), (GATEWAY, [10, 0, 0, 2].into()));

    let mut frame = Vec::new();
    let (own, target) = (station(2).ipv6.unwrap(), "fd00::1".parse::<Ipv6Addr>().unwrap());
    etherparse::PacketBuilder::ethernet2(station(2).mac.octets(), gateway().mac.octets())
        .ipv6(own.octets(), target.octets(), 64)
        .icmpv6_echo_request(7, 9)
        .write(&mut frame, b"six")
        .unwrap();
    let out = lab.send(a, &frame);
    let packet = etherparse::SlicedPacket::from_ethernet(&out[0].1).unwrap();
    let Some(etherparse::TransportSlice::Icmpv6(message)) = packet.transport else { panic!("no ICMPv6") };
    assert!(message.is_checksum_valid(target.octets(), own.octets()));
    assert_eq!(message.payload(), b"six");
}

/// The fragments of a long echo are turned around one by one and make one good reply.
#[test]
fn answers_fragmented_echo() {
    let (mut lab, a, _) = setup();
    let whole = echo4(GATEWAY, &(0..2400u16).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>());
    let message = &whole[34..];
    let fragment = |offset: usize, part: &[u8], more: bool| {
        let mut frame = whole[..34].to_vec();
        frame.extend(part);
        frame[16..18].copy_from_slice(&u16::try_from(20 + part.len()).unwrap().to_be_bytes());
        let mut ip = vswitch_frame::ipv4::Ipv4::parse(&mut frame[14..]).unwrap();
        ip.set_identification(77);
        ip.set_fragment(false, more, u16::try_from(offset).unwrap());
        ip.fill_checksum();
        frame
    };
    let mut reply = vec![0; message.len()];
    for (offset, more) in [(0, true), (1200, false)] {
        let end = if more { 1200 } else { message.len() };
        let out = lab.send(a, &fragment(offset, &message[offset..end], more));
        let packet = vswitch_frame::ipv4::Ipv4::parse(&out[0].1[14..]).unwrap();
        assert!(packet.checksum_ok());
        assert_eq!((packet.identification(), packet.fragment_offset(), packet.more_fragments()), (77, offset, more));
        reply[offset..end].copy_from_slice(packet.payload());
    }
    assert_eq!(vswitch_frame::checksum::checksum(&reply), 0);
    assert_eq!((reply[0], &reply[4..]), (0, &message[4..]));
}

/// What the gateway cannot serve is dropped with a reason: other protocols, and whatever would have to be routed.
#[test]
fn refuses_the_rest() {
    let (mut lab, a, _) = setup();
    let to_gateway = vswitch_switch::Identity { mac: gateway().mac, ipv4: Some(GATEWAY), ipv6: None };
    lab.assert_dropped(a, &udp4(&station(2), &to_gateway, b"x"), DropReason::GatewayUnsupported);
    lab.assert_dropped(a, &echo4([192, 0, 2, 1].into(), b"x"), DropReason::NotRouted);
    lab.assert_dropped(a, &ethernet(gateway().mac, station(2).mac, 0x88b5, &[0; 46]), DropReason::GatewayUnsupported);
    let me = (station(2).mac, Ipv4Addr::new(10, 0, 0, 2));
    let mut unicast = arp(1, me, (MacAddr::ZERO, [10, 0, 0, 9].into()));
    unicast[..6].copy_from_slice(&gateway().mac.octets());
    let before = lab.counters(a).consumed;
    assert_eq!(lab.send(a, &unicast), []);
    assert_eq!(lab.counters(a).consumed, before + 1);
}

/// An echo request whose checksum its sender left undone is answered with a finished one.
#[test]
fn completes_a_partial_checksum() {
    let (mut lab, a, _) = setup();
    let mut frame = echo4(GATEWAY, b"payload");
    frame[36..38].copy_from_slice(&[0, 0]);
    let checksum = Some(vswitch_frame::offload::PartialChecksum { start: 34, offset: 2 });
    lab.send_all(a, [(&frame[..], Offload { checksum, gso: None })]);
    let out = lab.received();
    assert_eq!(out[0].2, Offload::NONE);
    assert_eq!(vswitch_frame::checksum::checksum(&out[0].1[34..]), 0);
}
