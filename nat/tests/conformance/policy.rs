//! Policies: who may open flows to whom, asked of everything that is translated, routed or bridged.

use std::net::IpAddr;

use vswitch_frame::{NetworkIndex, PacketMut};
use vswitch_nat::Context;
use vswitch_nat::rules::{Party, PeeringSpec, PolicyAction, PolicyRule, PolicySpec, RulesSpec};
use vswitch_nat::table::Leg;

use super::notation::{address, frame};
use super::world::{NET, NET2, World, spec};

fn index(leg: Leg) -> NetworkIndex {
    let Leg::Inside(index) = leg else { panic!("the uplink is no network") };
    index
}

fn member(leg: Leg, name: &str) -> Party {
    Party::Members(vec![(index(leg), IpAddr::into(address(name)))])
}

/// `deny A B tcp/80`: from and to are `any`, `outside`, or members of NET by name (of NET2 for `C`).
fn rule(number: u32, text: &str) -> PolicyRule {
    let words: Vec<&str> = text.split(' ').collect();
    let party = |word: &str| match word {
        "any" => Party::Any,
        "outside" => Party::Outside,
        "net2" => Party::Network(index(NET2)),
        "C" => member(NET2, "C"),
        name => member(NET, name),
    };
    PolicyRule {
        number,
        action: if words[0] == "allow" { PolicyAction::Allow } else { PolicyAction::Deny },
        from: party(words[1]),
        to: party(words[2]),
        traffic: words[3..].iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn policed(publishes: &[&str], rules: &[&str]) -> RulesSpec {
    let rules: Vec<PolicyRule> = (1..).zip(rules).map(|(number, text)| rule(number, text)).collect();
    let peerings = vec![PeeringSpec { between: [index(NET), index(NET2)], allow: Vec::new() }];
    let policies = vec![PolicySpec { network: index(NET), rules }];
    RulesSpec { peerings, policies, ..spec(publishes) }
}

impl World {
    /// Lets a bridge carry a packet from one station of NET to another.
    fn bridges(&mut self, text: &str) -> &'static str {
        self.bridges_on(NET, text)
    }

    /// The same on another network.
    pub(crate) fn bridges_on(&mut self, ingress: Leg, text: &str) -> &'static str {
        let mut sent = frame(text);
        let packet = PacketMut::admit(&mut sent.bytes, sent.offload).unwrap();
        let context = Context { rules: &self.rules, ingress, now: self.now };
        let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
        match self.nat.check_bridged(&context, &packet.view(), &mut rng) {
            Ok(()) => "passes",
            Err(reason) => reason.name(),
        }
    }

    fn hits(&self) -> Vec<u64> {
        self.rules.policy_hits().map(|one| one.hits).collect()
    }
}

/// The first rule that matches decides, where none does a flow passes, and answers pass; on the way out and in, to published
/// ports by what is behind them, and between networks.
#[test]
fn the_first_rule_decides() {
    let rules = [
        "allow A outside udp/53",
        "deny A outside",
        "allow outside B tcp/80",
        "deny outside any",
        "deny any C icmp",
        "deny C any tcp",
    ];
    let mut world = World::with(policed(&["8080:B:80/tcp", "8081:B:81/tcp"], &rules));
    for (packet, outcome) in [
        ("udp A:4000 > S:53", "up: udp EXT:4000 > S:53"),
        ("udp S:53 > EXT:4000", "net9: udp S:53 > A:4000"),
        ("udp A:4000 > S:54", "denied"),
        ("tcp B:4000 > S:443 S", "up: tcp EXT:4000 > S:443 S"),
        ("tcp S:4000 > EXT:8080 S seq=1", "net9: tcp S:4000 > B:80 S"),
        ("tcp B:80 > S:4000 SA seq=1 ack=2", "up: tcp EXT:8080 > S:4000 SA"),
        ("tcp S:4000 > EXT:8081 S", "denied"),
        ("icmp A > C echo id=7", "denied"),
        ("udp A:4000 > C:53", "net8: udp A:4000 > C:53"),
        ("tcp C:4000 > A:80 S", "denied"),
        ("udp C:5000 > A:80", "net9: udp C:5000 > A:80"),
        // Of another network without rules.
        ("icmp C > S echo id=7", "up: icmp EXT > S echo id=7"),
    ] {
        assert_eq!(world.send(packet), outcome, "{packet}");
    }
    assert_eq!(world.hits(), [1, 1, 1, 1, 1, 1]);
}

/// Within a network: what a station may not open it may still answer, in whatever order rules and connections come.
#[test]
fn within_a_network() {
    let mut world = World::with(policed(&[], &["deny A B tcp/80 udp icmp"]));
    assert_eq!(world.bridges("tcp A:4000 > B:80 S seq=1"), "denied");
    assert_eq!(world.bridges("tcp A:4000 > B:81 S seq=1"), "passes");
    assert_eq!(world.bridges("udp A:4000 > B:53"), "denied");
    assert_eq!(world.bridges("udp B:53 > A:4000"), "passes");
    assert_eq!(world.bridges("udp A:4000 > B:53"), "passes", "an answer");
    assert_eq!(world.bridges("icmp A > B echo id=7"), "denied");
    assert_eq!(world.bridges("icmp B > A echo id=8"), "passes");
    assert_eq!(world.bridges("tcp B:80 > A:4000 S seq=1"), "passes", "whatever its port");
    assert_eq!(world.bridges("tcp A:4000 > B:80 SA seq=9 ack=2"), "passes");
    let kinds: Vec<_> = world.flows().iter().map(|flow| flow.kind).collect();
    assert_eq!(kinds, [vswitch_nat::table::FlowKind::Bridged; 4]);
    // Through the gateway's address there is no way round.
    assert_eq!(world.send_from(NET, "udp A:4001 > B:53"), "denied");
    // Groups are spoken to, not opened, and later fragments go the way of the first one.
    assert_eq!(world.bridges("udp A:4000 > 224.0.0.251:5353"), "passes");
}

/// A new rule ends what was open, whoever sends next, also what was open before there were rules; and as long as anybody goes
/// on, nothing of it passes. Without the rule it goes on.
#[test]
fn new_rules_cut() {
    let mut world = World::with(policed(&[], &["allow any any"]));
    world.bridges("tcp A:4000 > B:80 S seq=1");
    world.bridges("tcp B:80 > A:4000 SA seq=1 ack=2");
    world.bridges("udp A:4000 > B:53");
    world.send("udp A:4000 > S:53");
    assert_eq!(world.flows().len(), 3);
    world.changes(policed(&[], &["deny A any"]));
    assert_eq!(world.flows().len(), 0, "nothing is shown of it");
    for _ in 0..3 {
        world.pass(100);
        for packet in ["tcp B:80 > A:4000 A seq=2 ack=2", "tcp A:4000 > B:80 A seq=2 ack=2", "udp B:53 > A:4000"] {
            assert_eq!(world.bridges(packet), "denied", "{packet}");
        }
        assert_eq!(world.send("udp S:53 > EXT:4000"), "denied");
    }
    world.changes(policed(&[], &["deny A outside"]));
    assert_eq!(world.bridges("tcp B:80 > A:4000 A seq=2 ack=2"), "passes");
    // Nobody knows who opened what was there before.
    let mut late = World::with(policed(&[], &["deny A B tcp/80"]));
    assert_eq!(late.bridges("tcp B:80 > A:4000 A seq=2 ack=2"), "denied");
    assert_eq!(late.bridges("tcp A:4000 > B:80 A seq=2 ack=2"), "denied");
    assert_eq!(late.bridges("tcp B:4000 > A:80 A seq=2 ack=2"), "passes");
}
