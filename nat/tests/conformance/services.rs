//! Services: one address behind which several endpoints take turns.

use std::collections::BTreeMap;

use vswitch_frame::{NetworkIndex, PacketMut};
use vswitch_nat::route::Reset;
use vswitch_nat::rules::{Algorithm, PeeringSpec, RulesSpec, ServicePort, ServiceSpec, Transport};
use vswitch_nat::table::Leg;
use vswitch_nat::translate::ServedBy;
use vswitch_nat::{Context, Protocol, Rules, Zone};

use super::notation::{address, frame};
use super::world::{NET, NET2, PRIVATE, World, spec};

fn index(leg: Leg) -> NetworkIndex {
    let Leg::Inside(index) = leg else { panic!("the uplink is no network") };
    index
}

/// `10.9.0.100:80` on NET, with backends at their port 8080.
pub(crate) fn balanced(algorithm: Algorithm, backends: &[&str], former: &[&str], publishes: &[&str]) -> RulesSpec {
    let addresses = |names: &[&str]| names.iter().map(|name| address(name)).collect();
    let port = |transport| ServicePort { transport, port: 80, target: 8080 };
    let service = ServiceSpec {
        id: 7,
        network: index(NET),
        addresses: vec![address("10.9.0.100")],
        ports: vec![port(Transport::Tcp), port(Transport::Udp)],
        algorithm,
        backends: addresses(backends),
        former: addresses(former),
        elsewhere: Vec::new(),
    };
    let peerings = vec![PeeringSpec { between: [index(NET), index(NET2)], allow: vec!["tcp/80".parse().unwrap()] }];
    RulesSpec { services: vec![service], peerings, ..spec(publishes) }
}

const BACKENDS: [&str; 3] = ["10.9.0.11", "10.9.0.12", "10.9.0.13"];

impl World {
    /// Whether a packet that a bridge carries over is a service's answer.
    fn crosses(&mut self, text: &str) -> bool {
        self.crosses_on(NET, text)
    }

    /// The same on another network.
    pub(crate) fn crosses_on(&mut self, ingress: Leg, text: &str) -> bool {
        let mut sent = frame(text);
        let packet = PacketMut::admit(&mut sent.bytes, sent.offload).unwrap();
        let context = Context { rules: &self.rules, ingress, now: self.now };
        self.nat.answer_of_service(&context, &packet.view()).is_some_and(|found| found.is_ok())
    }

    fn turns(&mut self, count: u16, client: &str) -> BTreeMap<String, usize> {
        let mut turns = BTreeMap::new();
        for port in 5000..5000 + count {
            let outcome = self.send(&format!("udp {client}:{port} > 10.9.0.100:80"));
            let backend = outcome.split("> ").nth(1).unwrap_or(&outcome).split(':').next().unwrap().to_owned();
            *turns.entry(backend).or_insert(0) += 1;
        }
        turns
    }

    fn succeeds(&mut self, spec: RulesSpec) {
        let mut rules = Rules::try_from(spec).unwrap();
        rules.succeed(&self.rules);
        self.rules = rules;
    }
}

/// A client of the same network, of one that is joined, and of the outside by a published port: each keeps its address, and each
/// answer is the service's, also where a bridge would have carried it.
#[test]
fn who_asks_and_who_answers() {
    let spec = balanced(Algorithm::RoundRobin, &BACKENDS[..1], &[], &["8080:10.9.0.100:80/tcp"]);
    let mut world = World::with(spec);
    assert_eq!(world.send("tcp A:4000 > 10.9.0.100:80 S seq=1"), "net9: tcp A:4000 > 10.9.0.11:8080 S");
    let answer = "tcp 10.9.0.11:8080 > A:4000 SA seq=1 ack=2";
    assert!(world.crosses(answer));
    assert_eq!(world.send(answer), "net9: tcp 10.9.0.100:80 > A:4000 SA");
    assert!(!world.crosses("tcp 10.9.0.11:8080 > A:4001 SA seq=1 ack=2"));
    assert!(!world.crosses("tcp B:8080 > A:4000 SA seq=1 ack=2"));
    assert_eq!(world.send("tcp C:4000 > 10.9.0.100:80 S seq=1"), "net9: tcp C:4000 > 10.9.0.11:8080 S");
    assert_eq!(world.send("tcp 10.9.0.11:8080 > C:4000 SA seq=1 ack=2"), "net8: tcp 10.9.0.100:80 > C:4000 SA");
    assert_eq!(world.send("udp C:4000 > 10.9.0.100:80"), "not-allowed");
    assert_eq!(world.send_from(PRIVATE, "tcp PRIV:4000 > 10.9.0.100:80 S"), "isolated");
    assert_eq!(world.send("tcp S:4000 > EXT:8080 S seq=1"), "net9: tcp S:4000 > 10.9.0.11:8080 S");
    assert_eq!(world.send("tcp 10.9.0.11:8080 > S:4000 SA seq=1 ack=2"), "up: tcp EXT:8080 > S:4000 SA");
    assert_eq!(world.send("tcp A:4000 > 10.9.0.100:81 S"), "self", "no port of the service");
    let passed =
        |world: &World| world.rules.peering_traffic().flat_map(|one| one.passed).map(|one| one.packets).sum::<u64>();
    assert_eq!(passed(&world), 2, "what a service has passed between joined networks is counted there");
    // A backend that asks its own service answers itself by way of the gateway.
    assert_eq!(world.send("tcp 10.9.0.11:4000 > 10.9.0.100:80 S seq=1"), "net9: tcp GW:4000 > 10.9.0.11:8080 S");
    // When the networks are parted, nothing more passes, while the rest goes on.
    world.succeeds(RulesSpec {
        peerings: Vec::new(),
        ..balanced(Algorithm::RoundRobin, &BACKENDS[..1], &[], &["8080:10.9.0.100:80/tcp"])
    });
    assert_eq!(world.send("tcp C:4000 > 10.9.0.100:80 A seq=2 ack=2"), "isolated");
    assert_eq!(world.send("tcp A:4000 > 10.9.0.100:80 A seq=2 ack=2"), "net9: tcp A:4000 > 10.9.0.11:8080 A");
}

/// A backend behind another host's switch is shown the service in the place of its client, whoever that is, so that it answers here.
#[test]
fn backends_elsewhere() {
    let mut spec = balanced(Algorithm::RoundRobin, &BACKENDS[..1], &[], &["8080:10.9.0.100:80/tcp"]);
    spec.services[0].elsewhere = spec.services[0].backends.clone();
    let mut world = World::with(spec);
    assert_eq!(world.send("tcp A:4000 > 10.9.0.100:80 S seq=1"), "net9: tcp 10.9.0.100:4000 > 10.9.0.11:8080 S");
    assert_eq!(
        world.send("tcp 10.9.0.11:8080 > 10.9.0.100:4000 SA seq=1 ack=2"),
        "net9: tcp 10.9.0.100:80 > A:4000 SA"
    );
    assert_eq!(world.send("tcp S:4001 > EXT:8080 S seq=1"), "net9: tcp 10.9.0.100:4001 > 10.9.0.11:8080 S");
    assert_eq!(world.send("tcp 10.9.0.11:8080 > 10.9.0.100:4001 SA seq=1 ack=2"), "up: tcp EXT:8080 > S:4001 SA");
    // Two clients with one port are told apart.
    let other = world.send("tcp B:4000 > 10.9.0.100:80 S seq=1");
    assert!(other.starts_with("net9: tcp 10.9.0.100:") && !other.contains(":4000 >"), "{other}");
    assert_eq!(world.send("tcp 10.9.0.11:8080 > 10.9.0.100:4002 S seq=1"), "self", "nobody asked for that");
}

/// Whose turn it is: one after the other, who holds least, or always the same one for a client.
#[test]
fn algorithms() {
    let mut world = World::with(balanced(Algorithm::RoundRobin, &BACKENDS, &[], &[]));
    assert_eq!(world.turns(30, "A").into_values().collect::<Vec<_>>(), [10; 3]);
    let given: Vec<u64> = world.rules.backend_flows().map(|one| one.flows).collect();
    assert_eq!(given, [10; 3]);
    world.succeeds(balanced(Algorithm::LeastFlows, &[BACKENDS[0], BACKENDS[1], "10.9.0.14"], &[], &[]));
    assert_eq!(world.turns(40, "B").get("10.9.0.14"), Some(&20), "it catches up: 10 of them have 10");
    world.succeeds(balanced(Algorithm::SourceHash, &BACKENDS, &[], &[]));
    let mut world = World::with(balanced(Algorithm::SourceHash, &BACKENDS, &[], &[]));
    let first = world.turns(9, "A");
    assert_eq!(first.len(), 1);
    let chosen = first.keys().next().unwrap().clone();
    // Who goes takes nobody else's clients along.
    let other = BACKENDS.iter().find(|one| **one != chosen).unwrap();
    let left: Vec<&str> = BACKENDS.into_iter().filter(|one| one != other).collect();
    let mut world = World::with(balanced(Algorithm::SourceHash, &left, &[], &[]));
    assert_eq!(world.turns(9, "A").keys().next(), Some(&chosen));
}

/// A backend that does not serve any more: clients of its connections are told by what they expect next, and what they send on is
/// refused instead of being given to another one. Connections to others go on, and new ones are opened.
#[test]
fn connections_that_are_cut() {
    let spec = balanced(Algorithm::RoundRobin, &BACKENDS[..2], &[], &[]);
    let (addresses, ports) = (spec.services[0].addresses.clone(), spec.services[0].ports.clone());
    let mut world = World::with(spec);
    for (port, backend) in [(4000, BACKENDS[0]), (4001, BACKENDS[1])] {
        let leads = format!("net9: tcp A:{port} > {backend}:8080 ");
        assert_eq!(world.send(&format!("tcp A:{port} > 10.9.0.100:80 S seq=100")), leads.clone() + "S");
        world.send(&format!("tcp {backend}:8080 > A:{port} SA seq=500 ack=101"));
        assert_eq!(world.send(&format!("tcp A:{port} > 10.9.0.100:80 A seq=101 ack=501")), leads + "A");
    }
    world.send("udp A:4002 > 10.9.0.100:80");
    let served =
        |backend, ports| ServedBy { network: index(NET), service: &addresses, ports, backend: address(backend) };
    let other = [ServicePort { target: 9090, ..ports[0] }];
    assert!(world.nat.cut(&served(BACKENDS[0], &other), world.now).is_empty(), "of another service");
    world.succeeds(balanced(Algorithm::RoundRobin, &BACKENDS[1..2], &BACKENDS[..1], &[]));
    let cut = world.nat.cut(&served(BACKENDS[0], &ports), world.now);
    let reset =
        Reset { from: (address("10.9.0.100"), 80), to: (address("A"), 4000), sequence: 501, acknowledgment: Some(101) };
    assert_eq!(cut.iter().map(|one| (one.leg, one.reset)).collect::<Vec<_>>(), [(NET, reset)]);
    assert_eq!(world.send("tcp A:4000 > 10.9.0.100:80 A seq=101 ack=501"), "self", "which resets it");
    assert_eq!(world.send("tcp A:4001 > 10.9.0.100:80 A seq=101 ack=501"), "net9: tcp A:4001 > 10.9.0.12:8080 A");
    assert_eq!(world.send("udp A:4002 > 10.9.0.100:80"), "net9: udp A:4002 > 10.9.0.12:8080", "it finds another one");
    assert_eq!(world.send("tcp A:4000 > 10.9.0.100:80 S seq=900"), "net9: tcp A:4000 > 10.9.0.12:8080 S");
}

/// Ten thousand changes of backends while a thousand connections are open: each stays with its own, and answers are the
/// service's all the time. Without a backend a new one is refused at once.
#[test]
fn backends_change_under_open_connections() {
    let mut world = World::with(balanced(Algorithm::RoundRobin, &BACKENDS, &[], &[]));
    let mut backend_of = BTreeMap::new();
    for port in 1000..2000 {
        let outcome = world.send(&format!("udp A:{port} > 10.9.0.100:80"));
        backend_of.insert(port, outcome.rsplit("> ").next().unwrap().to_owned());
    }
    for change in 0..10_000u16 {
        let (gone, left) = (BACKENDS[usize::from(change % 3)], BACKENDS[usize::from((change + 1) % 3)]);
        world.succeeds(balanced(Algorithm::RoundRobin, &[left], &[gone, BACKENDS[usize::from((change + 2) % 3)]], &[]));
        let port = 1000 + change % 1000;
        let backend = &backend_of[&port];
        assert_eq!(world.send(&format!("udp A:{port} > 10.9.0.100:80")), format!("net9: udp A:{port} > {backend}"));
        let answer = format!("udp {backend} > A:{port}");
        assert!(world.crosses(&answer));
        assert_eq!(world.send(&answer), format!("net9: udp 10.9.0.100:80 > A:{port}"));
    }
    world.succeeds(balanced(Algorithm::RoundRobin, &[], &BACKENDS, &[]));
    assert_eq!(world.send("tcp A:4000 > 10.9.0.100:80 S"), "self", "which resets it");
    assert!(world.nat.table().flows_of(Zone::Shared, address("10.9.0.11")) > 300);
    assert!(world.flows().iter().all(|flow| flow.original.protocol() == Protocol::UDP));
}
