//! What no sequence of packets may do: reach from or into an internal network, or be taken for another family's.

use std::net::IpAddr;

use proptest::prelude::*;
use vswitch_frame::{Headers, checksum};
use vswitch_nat::rules::{Between, Filtering, Hairpin, Inbound, Mapping, NetworkSpec, Reach, RulesSpec};
use vswitch_nat::table::Leg;

use super::notation::{address, frame};
use super::world::{NET, NET2, PRIVATE, ROUTED, World, spec};

/// A second internal network, `10.6.0.0/24`.
const PRIVATE2: Leg = Leg::Inside(vswitch_frame::NetworkIndex::new(5));

/// Ends of packets: endpoints of every network, gateways, external addresses, somebody outside.
const ENDS: [&str; 14] =
    ["A", "B", "C", "OPEN", "PRIV", "10.7.0.9", "10.6.0.2", "S", "EXT", "EXT2", "GW", "GW2", "10.7.0.1", "10.6.0.1"];

/// Published ones among them.
const PORTS: [u16; 5] = [80, 8080, 9003, 1000, 53];

fn rules(mapping: Mapping, hairpin: Hairpin, between: Between, inbound: Inbound) -> RulesSpec {
    let published = ["8080:B:80/tcp", "8080:C:53/udp", "EXT2:53:OPEN:53/udp", "9000-9009:A:1000-1009/sctp"];
    let mut spec = spec(&published);
    let other = NetworkSpec { reach: Reach::Internal, ..spec.networks[2].clone() };
    let Leg::Inside(index) = PRIVATE2 else { panic!("it is a network") };
    let mut subnets = other.subnets.clone();
    (subnets[0].net, subnets[0].gateway) = ("10.6.0.0/24".parse().unwrap(), Some(address("10.6.0.1")));
    spec.networks.push(NetworkSpec { index, subnets, ..other });
    spec.external.push(address("EXT2"));
    (spec.settings.mapping, spec.settings.hairpin, spec.settings.between) = (mapping, hairpin, between);
    spec.inbound = inbound;
    spec
}

/// A packet, its leg by chance or that of its source.
fn packet() -> impl Strategy<Value = (usize, String)> {
    let end = 0..ENDS.len();
    let port = || prop::sample::select(&PORTS[..]);
    (0usize..10, 0usize..7, end.clone(), port(), end, port()).prop_map(|(leg, kind, from, source, to, destination)| {
        let (from, to) = (ENDS[from], ENDS[to]);
        let text = match kind {
            0 => format!("tcp {from}:{source} > {to}:{destination} S"),
            1 => format!("tcp {from}:{source} > {to}:{destination} A seq=1 ack=1"),
            2 => format!("udp {from}:{source} > {to}:{destination}"),
            3 => format!("sctp {from}:{source} > {to}:{destination}"),
            4 => format!("icmp {from} > {to} echo id=7"),
            5 => format!("icmp {from} > {to} type=3 code=3 quoting udp {to}:{source} > {from}:{destination}"),
            _ => format!("udp {from}:{source} > {to}:{destination} len=64 part=32 more"),
        };
        (leg, text)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// No path from or to an internal network has another network, or the uplink, as its other end, whatever came before
    /// and however translation is set. (Of what is trusted behind an uplink of sockets, only the network's own gateway
    /// speaks to it.)
    #[test]
    fn internal_networks_are_islands(
        packets in prop::collection::vec(packet(), 1..16), gateway: bool, routed: bool, trusted: bool,
        mapping in prop::sample::select(&[
            Mapping::PortPreserving, Mapping::Random, Mapping::EndpointIndependent(Filtering::EndpointIndependent),
        ][..]),
    ) {
        let hairpin = if gateway { Hairpin::Gateway } else { Hairpin::External };
        let between = if routed { Between::Routed } else { Between::Isolated };
        let inbound = if trusted { Inbound::Trusted } else { Inbound::Published };
        let mut world = World::with(rules(mapping, hairpin, between, inbound));
        for (leg, text) in &packets {
            let source = address(text.split([' ', ':']).nth(1).unwrap());
            let own = world.rules.network_of(source).map_or(Leg::Uplink, Leg::Inside);
            let ingress = *[NET, NET2, PRIVATE, PRIVATE2, ROUTED, Leg::Uplink].get(*leg).unwrap_or(&own);
            let outcome = world.send_from(ingress, text);
            let Some((egress, _)) = outcome.split_once(": ") else { continue };
            for (island, name, gateway) in [(PRIVATE, "net7", "10.7.0.1"), (PRIVATE2, "net5", "10.6.0.1")] {
                let by_gateway = trusted && ingress == Leg::Uplink && source == address(gateway);
                prop_assert_eq!(ingress == island, egress == name && !by_gateway, "{:?} {} -> {}", ingress, text, outcome);
            }
        }
    }
}

/// What is trusted behind the uplink says errors in the name of the gateway of whoever hears them, and of nobody else inside; strangers say
/// none in that name.
#[test]
fn errors_by_the_gateway() {
    for (inbound, source, spoofed) in [
        (Inbound::Trusted, "192.0.2.1", false),
        (Inbound::Trusted, "S", false),
        (Inbound::Trusted, "GW2", true),
        (Inbound::Trusted, "B", true),
        (Inbound::Published, "192.0.2.1", true),
    ] {
        let mut world = World::with(rules(Mapping::PortPreserving, Hairpin::External, Between::Isolated, inbound));
        world.send_from(ROUTED, "udp OPEN:5000 > S:7000");
        let error = format!("icmp {source} > OPEN type=3 code=13 quoting udp OPEN:5000 > S:7000");
        let outcome = world.send_from(Leg::Uplink, &error);
        assert_eq!(
            (outcome == "spoofed-source", outcome.contains(": icmp")),
            (spoofed, !spoofed),
            "{source}: {outcome}"
        );
    }
}

/// A connection that ended in what is trusted behind the uplink is soon forgotten, closed or reset; one that merely passes, between
/// networks or by an uplink of strangers, is remembered as long as the RFCs ask for.
#[test]
fn ended_connections_are_forgotten() {
    let open = ["> S seq=1", "< SA seq=1 ack=2", "> A seq=2 ack=2"];
    let close = ["> FA seq=2 ack=2", "< FA seq=2 ack=3", "> A seq=3 ack=3"];
    let reset = ["> R seq=2"];
    for (inbound, server, leg, seconds) in [
        (Inbound::Trusted, "S", Leg::Uplink, 10),
        (Inbound::Published, "S", Leg::Uplink, 240),
        (Inbound::Trusted, "C", NET2, 240),
    ] {
        for end in [&close[..], &reset[..]] {
            let mut world = World::with(rules(Mapping::PortPreserving, Hairpin::External, Between::Routed, inbound));
            for segment in open.iter().chain(end) {
                let (way, segment) = segment.split_once(' ').unwrap();
                let outcome = match way {
                    ">" => world.send_from(ROUTED, &format!("tcp OPEN:4000 > {server}:80 {segment}")),
                    _ => world.send_from(leg, &format!("tcp {server}:80 > OPEN:4000 {segment}")),
                };
                assert!(outcome.contains(": tcp"), "{server} {segment}: {outcome}");
            }
            let state = world.state();
            assert!(state == format!("TIME_WAIT {seconds}") || state == format!("CLOSE {seconds}"), "{state}");
        }
    }
}

/// An IPv6 packet whose addresses are IPv4 ones in IPv6 clothes is no packet of an IPv4 flow, and opens none; nor does an error
/// that quotes one belong to one.
#[test]
fn mapped_addresses_are_not_ipv4() {
    let mut world = World::publishing(&["8080:B:80/udp"]);
    world.send("udp A:5000 > S:7000");
    let octets = |name: &str| match address(name) {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    for (leg, from, to) in [
        (NET, ("A", 5000), ("S", 7000)),
        (NET, ("A", 5001), ("S", 7000)),
        (NET, ("A6", 5001), ("S", 7000)),
        (Leg::Uplink, ("S", 7000), ("EXT", 5000)),
        (Leg::Uplink, ("S", 7001), ("EXT", 8080)),
    ] {
        let mut sent = frame("udp A6:1 > S6:2");
        sent.bytes[22..38].copy_from_slice(&octets(from.0));
        sent.bytes[38..54].copy_from_slice(&octets(to.0));
        sent.bytes[54..56].copy_from_slice(&u16::to_be_bytes(from.1));
        sent.bytes[56..58].copy_from_slice(&u16::to_be_bytes(to.1));
        sent.bytes[60..62].copy_from_slice(&[0, 0]);
        let headers = Headers::parse(&sent.bytes).unwrap();
        let (source, destination) = (headers.source_v6(&sent.bytes), headers.destination_v6(&sent.bytes));
        let pseudo = checksum::pseudo_header_v6(source, destination, 17, headers.l4(&sent.bytes).len());
        let sum = !checksum::fold(pseudo + checksum::sum(headers.l4(&sent.bytes)));
        sent.bytes[60..62].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(world.send_frame(leg, &mut sent), "bad-tuple", "{from:?} > {to:?}");
    }
    assert_eq!(world.count(), 1);
}

/// A network that goes takes its flows with it, and what is kept of its fragments: its index may be another's, with the same
/// addresses. Flows of others stay.
#[test]
fn a_network_that_goes() {
    let mut world = World::new();
    let Leg::Inside(index) = NET else { panic!("the uplink is no network") };
    assert_eq!(world.send("udp A:5000 > S:7000"), "up: udp EXT:5000 > S:7000");
    assert_eq!(world.send("udp C:6000 > S:7000"), "up: udp EXT:6000 > S:7000");
    let held = "udp A:1 > S:2 len=3000 ip-id=9 frag=2000";
    assert_eq!(world.send(held), "held");
    assert_eq!(world.nat.forget_network(index, world.now), 1);
    assert_eq!(world.count(), 1);
    assert_eq!(world.nat.fragment_counters().held_bytes, 0);
    assert_eq!(world.send("udp S:7000 > EXT:5000"), "self", "nobody is told what was for another");
    assert_eq!(world.send("udp S:7000 > EXT:6000"), "net8: udp S:7000 > C:6000");
}
