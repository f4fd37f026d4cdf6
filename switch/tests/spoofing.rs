//! Anti-spoofing: an endpoint speaks only for itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::net::{Ipv4Addr, Ipv6Addr};

use lab::{Lab, arp, ethernet, network, plain, station, udp4, udp6};
use vswitch_frame::{DropReason, MacAddr, PortId, ndp};
use vswitch_switch::{Allowed, Identity, Offloads, PortConfig, Settings};

fn setup() -> (Lab, PortId, PortId) {
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(network("net")).unwrap();
    let (a, b) = (lab.port(net, Some(station(2))), lab.port(net, Some(station(3))));
    (lab, a, b)
}

/// Frames that say the truth pass: IPv4, IPv6 from the own and the link-local address, ARP, probes, other protocols.
#[test]
fn truth_passes() {
    let (mut lab, a, b) = setup();
    let (me, you) = (station(2), station(3));
    let link_local = Identity { ipv6: Some(me.mac.link_local_ipv6()), ..me };
    for frame in [
        udp4(&me, &you, b"x"),
        udp6(&me, &you, b"x"),
        udp6(&link_local, &you, b"x"),
        plain(you.mac, me.mac),
        arp(1, (me.mac, me.ipv4.unwrap()), (MacAddr::ZERO, you.ipv4.unwrap())),
        arp(1, (me.mac, Ipv4Addr::UNSPECIFIED), (MacAddr::ZERO, you.ipv4.unwrap())),
        solicitation(me.mac, me.mac, Ipv6Addr::UNSPECIFIED),
    ] {
        assert_eq!(lab.ports_reached(a, &frame), [b]);
    }
    assert_eq!(lab.counters(a).total_dropped(), 0);
}

fn solicitation(source: MacAddr, option: MacAddr, address: Ipv6Addr) -> Vec<u8> {
    let mut packet = [0; 72];
    ndp::write_solicitation(&mut packet, option, address, station(3).ipv6.unwrap());
    ethernet(station(3).mac, source, 0x86dd, &packet)
}

fn advertisement(source: &Identity, target: Ipv6Addr) -> Vec<u8> {
    let mut packet = [0; 72];
    ndp::write_advertisement(&mut packet, source.mac, target, station(3).ipv6.unwrap(), true);
    packet[8..24].copy_from_slice(&source.ipv6.unwrap().octets());
    ethernet(station(3).mac, source.mac, 0x86dd, &packet)
}

/// Who asks a DHCP server for an address has none yet; nothing else may be sent without one.
#[test]
fn dhcp_clients() {
    let (mut lab, a, b) = setup();
    let ask = |source: [u8; 4], destination: [u8; 4], ports: (u16, u16)| {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2(station(2).mac.octets(), [0xff; 6])
            .ipv4(source, destination, 64)
            .udp(ports.0, ports.1)
            .write(&mut frame, &[1; 300])
            .unwrap();
        frame
    };
    let (none, all) = ([0; 4], [255; 4]);
    assert_eq!(lab.ports_reached(a, &ask(none, all, (68, 67))), [b]);
    for lie in [
        ask(none, all, (68, 53)),
        ask(none, all, (67, 68)),
        ask(none, [10, 0, 0, 3], (68, 67)),
        ask([10, 0, 0, 9], all, (68, 67)),
    ] {
        lab.assert_dropped(a, &lie, DropReason::SpoofedIp);
    }
}

/// An endpoint that routes for others, or is a virtual router at times, may speak as those that it was allowed, and as nobody
/// else.
#[test]
fn allowed_addresses() {
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(network("net")).unwrap();
    let virtual_mac = MacAddr::new([0, 0, 0x5e, 0, 1, 7]);
    let allowed = Allowed {
        nets: vec!["192.0.2.0/24".parse().unwrap(), "10.0.0.77/32".parse().unwrap(), "fd00:77::/64".parse().unwrap()],
        macs: vec![virtual_mac],
    };
    let config = PortConfig { identity: Some(station(2)), allowed, ..PortConfig::new("gw", net) };
    let (a, b) = (lab.port_of(config, Offloads::Carried), lab.port(net, Some(station(3))));
    let (me, you) = (station(2), station(3));
    let routed = Identity { ipv4: Some([192, 0, 2, 9].into()), ipv6: Some("fd00:77::9".parse().unwrap()), ..me };
    let floating = Identity { mac: virtual_mac, ipv4: Some([10, 0, 0, 77].into()), ipv6: None };
    let announced = arp(1, (virtual_mac, [10, 0, 0, 77].into()), (MacAddr::ZERO, [10, 0, 0, 77].into()));
    for frame in [
        udp4(&me, &you, b"x"),
        udp4(&routed, &you, b"x"),
        udp6(&routed, &you, b"x"),
        udp4(&floating, &you, b"x"),
        announced,
        advertisement(&Identity { ipv6: me.ipv6, ..routed }, "fd00:77::9".parse().unwrap()),
    ] {
        assert_eq!(lab.ports_reached(a, &frame), [b]);
    }
    let other = Identity { ipv4: station(9).ipv4, ..me };
    lab.assert_dropped(a, &udp4(&other, &you, b"x"), DropReason::SpoofedIp);
    lab.assert_dropped(a, &plain(you.mac, station(9).mac), DropReason::SpoofedMac);
    let claim = arp(1, (me.mac, station(9).ipv4.unwrap()), (MacAddr::ZERO, you.ipv4.unwrap()));
    lab.assert_dropped(a, &claim, DropReason::SpoofedArp);
    lab.assert_dropped(b, &udp4(&Identity { mac: you.mac, ..floating }, &me, b"x"), DropReason::SpoofedIp);
}

/// Each kind of lie is dropped with its own reason, and nothing of it is learned.
#[test]
fn lies_are_dropped() {
    let (mut lab, a, _) = setup();
    let (me, you, other) = (station(2), station(3), station(9));
    lab.assert_dropped(a, &plain(you.mac, other.mac), DropReason::SpoofedMac);
    let wrong_ip = Identity { ipv4: other.ipv4, ipv6: other.ipv6, ..me };
    lab.assert_dropped(a, &udp4(&wrong_ip, &you, b"x"), DropReason::SpoofedIp);
    lab.assert_dropped(a, &udp6(&wrong_ip, &you, b"x"), DropReason::SpoofedIp);
    let unspecified = Identity { ipv6: Some(Ipv6Addr::UNSPECIFIED), ..me };
    lab.assert_dropped(a, &udp6(&unspecified, &you, b"x"), DropReason::SpoofedIp);
    lab.assert_dropped(a, &arp(2, (me.mac, other.ipv4.unwrap()), (you.mac, you.ipv4.unwrap())), DropReason::SpoofedArp);
    let mut wrong_sender = arp(2, (other.mac, me.ipv4.unwrap()), (you.mac, you.ipv4.unwrap()));
    wrong_sender[6..12].copy_from_slice(&me.mac.octets());
    lab.assert_dropped(a, &wrong_sender, DropReason::SpoofedArp);
    lab.assert_dropped(a, &solicitation(me.mac, other.mac, me.ipv6.unwrap()), DropReason::SpoofedArp);
    lab.assert_dropped(a, &advertisement(&me, other.ipv6.unwrap()), DropReason::SpoofedArp);
    let mut router = advertisement(&me, me.ipv6.unwrap());
    router[54] = 134;
    lab.assert_dropped(a, &router, DropReason::SpoofedArp);
    lab.assert_dropped(a, &ethernet(you.mac, me.mac, 0x0800, &[0x45; 10]), DropReason::Malformed);
    lab.assert_dropped(a, &ethernet(you.mac, me.mac, 0x0806, &[0; 10]), DropReason::Malformed);
    assert!(lab.datapath.fdb.stats().entries == 0, "nothing was learned");
}

/// An IPv6 frame of station 2's with a fragment header in front of `payload`, which starts at `offset` of its datagram.
fn fragment(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let (me, you) = (station(2), station(3));
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    let mut packet = vec![0; 40];
    vswitch_frame::ipv6::write(
        &mut packet,
        u16::try_from(8 + payload.len()).unwrap(),
        44,
        255,
        me.ipv6.unwrap(),
        you.ipv6.unwrap(),
    );
    packet.extend([next, 0, high, low, 0, 0, 0, 9]);
    packet.extend(payload);
    ethernet(you.mac, me.mac, 0x86dd, &packet)
}

/// Neighbor Discovery does not come in fragments, and a first fragment shows all headers: else a router advertisement would be
/// put together behind the check. Fragments of anything else pass.
#[test]
fn neighbor_discovery_in_fragments() {
    let (mut lab, a, b) = setup();
    for kind in 133..=137 {
        let first = [&[kind, 0, 0, 0][..], &[0; 12]].concat();
        lab.assert_dropped(a, &fragment(58, 0, true, &first), DropReason::SpoofedArp);
    }
    // Destination options fill the first fragment, and the ICMPv6 header lies in the second; or half of it.
    let options = [58, 0, 1, 4, 0, 0, 0, 0];
    lab.assert_dropped(a, &fragment(60, 0, true, &options), DropReason::Malformed);
    lab.assert_dropped(a, &fragment(60, 0, true, &[options[0], 1, 1, 4, 0, 0, 0, 0]), DropReason::Malformed);
    for (protocol, too_short) in [(58, 0), (6, 16), (17, 0), (132, 0)] {
        lab.assert_dropped(a, &fragment(protocol, 0, true, &vec![0; too_short]), DropReason::Malformed);
    }
    let echo = [&[128, 0, 0, 0][..], &[0; 12]].concat();
    for honest in [
        fragment(58, 0, true, &echo),
        fragment(60, 0, true, &[&options[..], &echo].concat()),
        fragment(58, 16, false, b"the rest"),
        fragment(17, 0, true, &[0; 8]),
        fragment(6, 0, true, &[0; 24]),
    ] {
        assert_eq!(lab.ports_reached(a, &honest), [b]);
    }
    // Of nobody in particular comes no fragment.
    let mut nobody = fragment(58, 0, true, &echo);
    nobody[22..38].fill(0);
    lab.assert_dropped(a, &nobody, DropReason::SpoofedIp);
}

/// A lie inside a VLAN tag is a lie, too.
#[test]
fn tagged_lies() {
    let (mut lab, a, _) = setup();
    let wrong_ip = Identity { ipv4: station(9).ipv4, ..station(2) };
    let frame = udp4(&wrong_ip, &station(3), b"x");
    let mut buffer = vswitch_frame::FrameBuf::from_frame(&frame, vswitch_frame::Offload::NONE);
    buffer.insert_vlan(vswitch_frame::vlan::VlanTag { tpid: vswitch_frame::EtherType::VLAN, tci: 5 });
    lab.assert_dropped(a, buffer.frame(), DropReason::SpoofedIp);
}

/// A port without an identity is an ordinary bridge port.
#[test]
fn no_identity_no_check() {
    let (mut lab, p) = Lab::with_ports(2);
    let wrong_ip = Identity { ipv4: station(9).ipv4, ..station(2) };
    assert_eq!(lab.ports_reached(p[0], &udp4(&wrong_ip, &station(3), b"x")), [p[1]]);
    assert_eq!(lab.ports_reached(p[0], &plain(station(3).mac, station(8).mac)), [p[1]]);
}
