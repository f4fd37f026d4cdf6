//! Networks with the same addresses: what is of one never reaches another.

use std::collections::HashMap;

use proptest::prelude::*;
use vswitch_frame::NetworkIndex;
use vswitch_nat::rules::{
    Addresses, Algorithm, Inbound, Mapping, NetworkSpec, Party, PeeringSpec, PolicyAction, PolicyRule, PolicySpec,
    Publish, RulesSpec, Translation,
};
use vswitch_nat::table::{FlowFilter, Leg, Limits};
use vswitch_nat::translate::{FragmentLimits, ServedBy};
use vswitch_nat::{Nat, Rules, RulesError, Zone};

use super::notation::address;
use super::services::balanced;
use super::world::{NET, World, publish, spec};

const TWIN: NetworkIndex = NetworkIndex::new(4);
const TRIPLET: NetworkIndex = NetworkIndex::new(3);

/// The world's rules, and two networks more with the addresses of the first.
fn twins(published: &[Publish]) -> RulesSpec {
    let mut spec = spec(&[]);
    let first = spec.networks[0].clone();
    let own = |index| NetworkSpec { index, addresses: Addresses::Own, ..first.clone() };
    spec.networks.extend([own(TWIN), own(TRIPLET)]);
    spec.publish = published.to_vec();
    spec
}

fn of(network: NetworkIndex, text: &str) -> Publish {
    Publish { network: Some(network), ..publish(text) }
}

/// Where the three come in, and how the world calls that.
const LEGS: [(Leg, &str); 3] = [(NET, "net9"), (Leg::Inside(TWIN), "net4"), (Leg::Inside(TRIPLET), "net3")];

fn port(outcome: &str) -> u16 {
    let end = outcome.strip_prefix("up: udp EXT:").unwrap_or_else(|| panic!("{outcome}"));
    end.split(' ').next().unwrap().parse().unwrap()
}

/// The same packet from each is a flow of its own, and what answers it comes to who sent it.
#[test]
fn equal_packets_are_different_flows() {
    let mut world = World::with(twins(&[]));
    let ports = LEGS.map(|(leg, _)| port(&world.send_from(leg, "udp A:5000 > S:7000")));
    assert_eq!(ports[0], 5000, "the first keeps its port");
    for (port, (_, name)) in ports.into_iter().zip(LEGS) {
        let back = world.send_from(Leg::Uplink, &format!("udp S:7000 > EXT:{port}"));
        assert_eq!(back, format!("{name}: udp S:7000 > A:5000"));
    }
    assert_eq!(world.count(), 3);
    for zone in [Zone::Shared, Zone::Own(TWIN), Zone::Own(TRIPLET)] {
        assert_eq!(world.nat.table().flows_of(zone, address("A")), 1);
    }
    let error = format!("icmp R > EXT type=3 code=1 quoting udp EXT:{} > S:7000", ports[2]);
    let told = world.send_from(Leg::Uplink, &error);
    assert!(told.starts_with("net3: "), "an error is told to who caused it: {told}");
    assert_eq!(world.nat.forget_network(TWIN, world.now), 1);
    let rest = world.flows().iter().map(|flow| flow.egress[1]).collect::<Vec<_>>();
    assert!(rest.contains(&NET) && rest.contains(&Leg::Inside(TRIPLET)), "{rest:?}");
}

/// Each one's published port leads to its own endpoint, from outside and from the others, which see a gateway; else they do not
/// reach each other, nor networks that share their addresses.
#[test]
fn published_ports() {
    let mut world =
        World::with(twins(&[publish("8080:B:80/udp"), of(TWIN, "8081:B:80/udp"), of(TRIPLET, "8082:B:80/udp")]));
    for ((leg, name), port) in LEGS.into_iter().zip([8080, 8081, 8082]) {
        let text = format!("udp S:9000 > EXT:{port}");
        assert_eq!(world.send_from(Leg::Uplink, &text), format!("{name}: udp S:9000 > B:80"));
        assert_eq!(world.send_from(leg, "udp B:80 > S:9000"), format!("up: udp EXT:{port} > S:9000"));
    }
    let hairpin = world.send_from(Leg::Inside(TWIN), "udp A:7 > EXT:8082");
    assert_eq!(hairpin, "net3: udp EXT:7 > B:80");
    assert_eq!(world.send_from(Leg::Inside(TRIPLET), "udp B:80 > EXT:7"), "net4: udp EXT:8082 > A:7");
    assert_eq!(world.send_from(Leg::Inside(TWIN), "udp A:7 > C:80"), "isolated");
    assert_eq!(world.send_from(NET, "udp B:80 > EXT:7"), "self", "nobody else's answer");
    // A host outside that has an address of the network's own could not be answered inside.
    assert_eq!(world.send_from(Leg::Uplink, "udp 10.9.0.77:5 > EXT:8081"), "spoofed-source");
    let mut spec = twins(&[of(TWIN, "8081:B:80/udp")]);
    spec.networks.remove(0);
    let mut world = World::with(spec);
    assert_eq!(world.send_from(Leg::Uplink, "udp 10.9.0.77:5 > EXT:8081"), "net4: udp GW:5 > B:80");
    assert_eq!(world.send_from(Leg::Inside(TWIN), "udp B:80 > GW:5"), "up: udp EXT:8081 > 10.9.0.77:5");
}

/// An uplink that is trusted says which network's a packet is; nothing is translated there.
#[test]
fn over_a_trusted_uplink() {
    let mut spec = twins(&[]);
    spec.inbound = Inbound::Trusted;
    for subnet in spec.networks[4..].iter_mut().flat_map(|network| &mut network.subnets) {
        subnet.translation = Translation::Routed;
    }
    let mut world = World::with(spec);
    for (network, name) in [(TWIN, "4"), (TRIPLET, "3")] {
        let (inside, uplink) = (Leg::Inside(network), Leg::UplinkOf(network));
        assert_eq!(world.send_from(inside, "udp A:5000 > S:7000"), format!("up{name}: udp A:5000 > S:7000"));
        assert_eq!(world.send_from(uplink, "udp S:7000 > A:5000"), format!("net{name}: udp S:7000 > A:5000"));
        assert_eq!(
            world.send_from(uplink, "udp S:9 > B:80"),
            format!("net{name}: udp S:9 > B:80"),
            "a published port's"
        );
        assert_eq!(world.send_from(uplink, "udp GW:9 > B:80"), format!("net{name}: udp GW:9 > B:80"), "as its gateway");
        assert_eq!(world.send_from(uplink, "udp S:9 > C:80"), "not-local", "another network's");
    }
    assert_eq!(world.send_from(Leg::Uplink, "udp S:7000 > A:5000"), "net9: udp S:7000 > A:5000", "no flow of theirs");
}

/// Fragments with equal addresses and identifications are parts of different datagrams.
#[test]
fn fragments_are_not_mixed() {
    let mut world = World::with(twins(&[]));
    let part = |rest: &str| format!("udp A:5000 > S:7000 len=3000 ip-id=9 {rest}");
    let first = world.send_from(Leg::Inside(TWIN), &part("frag=0 part=1000 more"));
    assert_eq!(first, "up: udp EXT:5000 > S:7000");
    assert_eq!(world.send_from(Leg::Inside(TRIPLET), &part("frag=1000 part=1000 more")), "held");
    assert_eq!(world.send_from(Leg::Inside(TWIN), &part("frag=1000 part=1000 more")), "up: frag=1000 EXT > S");
}

/// What is brought back after a restart, when networks have other numbers, is each network's own again.
#[test]
fn restored_flows() {
    let mut world = World::with(twins(&[]));
    let ports = LEGS.map(|(leg, _)| port(&world.send_from(leg, "udp A:5000 > S:7000")));
    let mut records = world.nat.table().list(&FlowFilter::default(), world.now);
    for leg in records.iter_mut().flat_map(|record| &mut record.egress) {
        *leg = match *leg {
            Leg::Inside(TWIN) => Leg::Inside(TRIPLET),
            Leg::Inside(TRIPLET) => Leg::Inside(TWIN),
            other => other,
        };
    }
    world.nat = Nat::new(Limits::default(), FragmentLimits::default(), 1);
    assert_eq!(world.nat.restore(&records, &world.rules, world.now).restored, 3);
    for (port, name) in ports.into_iter().zip(["net9", "net3", "net4"]) {
        let back = world.send_from(Leg::Uplink, &format!("udp S:7000 > EXT:{port}"));
        assert_eq!(back, format!("{name}: udp S:7000 > A:5000"));
    }
}

/// Rules that would route to addresses which are several networks' are refused; so are two subnets of one such network.
#[test]
fn contradictions() {
    let refusal = |change: fn(&mut RulesSpec)| {
        let mut spec = twins(&[]);
        change(&mut spec);
        Rules::try_from(spec).err()
    };
    assert_eq!(refusal(|_| ()), None);
    let routed = refusal(|spec| spec.networks[4].subnets[0].translation = Translation::Routed);
    assert!(matches!(routed, Some(RulesError::OwnRouted(_))), "{routed:?}");
    let twice = refusal(|spec| {
        let again = spec.networks[4].subnets[0].clone();
        spec.networks[4].subnets.push(again);
    });
    assert!(matches!(twice, Some(RulesError::Overlap(..))), "{twice:?}");
    let shared = refusal(|spec| spec.networks[4].addresses = Addresses::Shared);
    assert!(matches!(shared, Some(RulesError::Overlap(..))), "{shared:?}");
    let peered = refusal(|spec| {
        spec.peerings = vec![PeeringSpec { between: [NetworkIndex::new(8), TWIN], allow: Vec::new() }];
    });
    assert_eq!(peered, Some(RulesError::OwnPeered));
}

fn denying(network: NetworkIndex, from: Party, to: Party) -> PolicySpec {
    let rule = PolicyRule { number: 1, action: PolicyAction::Deny, from, to, traffic: Vec::new() };
    PolicySpec { network, rules: vec![rule] }
}

/// A rule speaks of its own network's members, and a flow that it judges is that network's: the same packet on another one is
/// another flow, on the bridge, too. It holds for published ports by the container behind them.
#[test]
fn policies_of_equal_networks() {
    let member = |network, name: &str| Party::Members(vec![(network, address(name).into())]);
    let mut spec = twins(&[of(TWIN, "8081:B:80/udp"), of(TRIPLET, "8082:B:80/udp")]);
    spec.policies = vec![
        denying(TWIN, Party::Any, member(TWIN, "B")),
        // Whoever has the address elsewhere is nobody here.
        denying(TRIPLET, member(TWIN, "A"), Party::Any),
    ];
    let mut world = World::with(spec);
    let (twin, triplet) = (Leg::Inside(TWIN), Leg::Inside(TRIPLET));
    for (leg, outcome) in [(twin, "denied"), (triplet, "passes")] {
        assert_eq!(world.bridges_on(leg, "udp A:4000 > B:53"), outcome);
        assert_eq!(world.bridges_on(leg, "tcp A:4000 > B:80 S seq=1"), outcome);
    }
    assert_eq!(world.bridges_on(twin, "udp B:53 > A:4000"), "passes", "not an answer: B may open flows");
    assert_eq!(world.flows().len(), 3);
    assert_eq!(world.flows().iter().filter(|flow| flow.egress == [twin, twin]).count(), 1);
    assert_eq!(world.bridges_on(twin, "udp A:4000 > B:53"), "passes", "an answer to that");
    // By the gateway, and by published ports.
    assert_eq!(world.send_from(twin, "udp A:4001 > B:53"), "denied");
    assert_eq!(world.send_from(triplet, "udp A:4001 > B:53"), "net3: udp A:4001 > B:53");
    assert_eq!(world.send_from(Leg::Uplink, "udp S:9000 > EXT:8081"), "denied");
    assert_eq!(world.send_from(Leg::Uplink, "udp S:9000 > EXT:8082"), "net3: udp S:9000 > B:80");
    // The client's own network asks who it is, the other one where it goes.
    assert_eq!(world.send_from(triplet, "udp A:7 > EXT:8081"), "denied");
    assert_eq!(world.send_from(twin, "udp A:7 > EXT:8082"), "denied", "the one whom the rule names");
}

/// Who is behind a network's own part of a trusted uplink is outside, too.
#[test]
fn policies_over_a_trusted_uplink() {
    let mut spec = twins(&[]);
    spec.inbound = Inbound::Trusted;
    for subnet in spec.networks[4..].iter_mut().flat_map(|network| &mut network.subnets) {
        subnet.translation = Translation::Routed;
    }
    spec.policies = vec![denying(TWIN, Party::Any, Party::Outside), denying(TRIPLET, Party::Outside, Party::Any)];
    let mut world = World::with(spec);
    let legs = |network| (Leg::Inside(network), Leg::UplinkOf(network));
    let ((twin, twin_up), (triplet, triplet_up)) = (legs(TWIN), legs(TRIPLET));
    assert_eq!(world.send_from(twin, "udp A:5000 > S:7000"), "denied");
    assert_eq!(world.send_from(twin_up, "udp S:9 > B:80"), "net4: udp S:9 > B:80");
    assert_eq!(world.send_from(triplet, "udp A:5000 > S:7000"), "up3: udp A:5000 > S:7000");
    assert_eq!(world.send_from(triplet_up, "udp S:9 > B:80"), "denied");
}

/// Services of equal networks, at the same address, each with its own backends: by the gateway, from outside, over a trusted uplink;
/// what is cut of one goes on with the other.
#[test]
fn services_of_equal_networks() {
    let service = |network: NetworkIndex, backend: &str| {
        let mut service = balanced(Algorithm::RoundRobin, &[backend], &[], &[]).services.remove(0);
        (service.id, service.network) = (u64::from(network.value()), network);
        service
    };
    let mut spec = twins(&[of(TWIN, "8081:10.9.0.100:80/udp"), of(TRIPLET, "8082:10.9.0.100:80/udp")]);
    spec.services = vec![service(TWIN, "10.9.0.11"), service(TRIPLET, "10.9.0.11")];
    let mut world = World::with(spec.clone());
    let (twin, triplet) = (Leg::Inside(TWIN), Leg::Inside(TRIPLET));
    for (leg, name) in [(twin, "net4"), (triplet, "net3")] {
        assert_eq!(world.send_from(leg, "udp A:5000 > 10.9.0.100:80"), format!("{name}: udp A:5000 > 10.9.0.11:8080"));
        assert!(world.crosses_on(leg, "udp 10.9.0.11:8080 > A:5000"));
        assert_eq!(world.send_from(leg, "udp 10.9.0.11:8080 > A:5000"), format!("{name}: udp 10.9.0.100:80 > A:5000"));
    }
    // The first of the three has no service: there it is somebody's address.
    assert!(!world.crosses_on(NET, "udp 10.9.0.11:8080 > A:5000"));
    assert_eq!(world.send_from(Leg::Uplink, "udp S:9000 > EXT:8082"), "net3: udp S:9000 > 10.9.0.11:8080");
    assert_eq!(world.send_from(triplet, "udp 10.9.0.11:8080 > S:9000"), "up: udp EXT:8082 > S:9000");
    assert_eq!(world.nat.table().flows_of(Zone::Own(TRIPLET), address("10.9.0.11")), 2);
    let (addresses, ports) = (spec.services[0].addresses.clone(), spec.services[0].ports.clone());
    let served = ServedBy { network: TWIN, service: &addresses, ports: &ports, backend: address("10.9.0.11") };
    world.nat.cut(&served, world.now);
    assert_eq!(world.nat.table().flows_of(Zone::Own(TWIN), address("10.9.0.11")), 0);
    assert_eq!(world.nat.table().flows_of(Zone::Own(TRIPLET), address("10.9.0.11")), 2);

    spec.inbound = Inbound::Trusted;
    for subnet in spec.networks[4..].iter_mut().flat_map(|network| &mut network.subnets) {
        subnet.translation = Translation::Routed;
    }
    let mut world = World::with(spec);
    let sent = world.send_from(Leg::UplinkOf(TRIPLET), "udp S:9000 > 10.9.0.100:80");
    assert_eq!(sent, "net3: udp S:9000 > 10.9.0.11:8080");
    assert_eq!(world.send_from(triplet, "udp 10.9.0.11:8080 > S:9000"), "up3: udp 10.9.0.100:80 > S:9000");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever each of them sends, in whatever order, and however ports are chosen: no two share what they look like outside
    /// towards one peer, and every answer comes to who was answered.
    #[test]
    fn answers_come_to_who_asked(
        packets in prop::collection::vec((0usize..3, 0usize..2, 0u16..3, 0usize..2, 0u16..2), 1..24),
        mapping in prop::sample::select(&[Mapping::PortPreserving, Mapping::Random][..]),
    ) {
        let mut spec = twins(&[]);
        spec.settings.mapping = mapping;
        let mut world = World::with(spec);
        let mut senders = HashMap::new();
        for (network, host, from, peer, to) in packets {
            let ((leg, name), inside, peer) = (LEGS[network], ["A", "B"][host], ["S", "S2"][peer]);
            let outcome = world.send_from(leg, &format!("udp {inside}:{} > {peer}:{}", 5000 + from, 7000 + to));
            let sender = (name, inside, 5000 + from);
            let known = *senders.entry((peer, to, port(&outcome))).or_insert(sender);
            prop_assert_eq!(known, sender, "{}", outcome);
            for ((peer, to, external), (name, inside, from)) in &senders {
                let back = world.send_from(Leg::Uplink, &format!("udp {peer}:{} > EXT:{external}", 7000 + to));
                prop_assert_eq!(back, format!("{name}: udp {peer}:{} > {inside}:{from}", 7000 + to));
            }
        }
    }
}
