//! Networks that are joined on purpose: what passes between them, and that nothing else is opened.

use std::net::IpAddr;

use vswitch_frame::NetworkIndex;
use vswitch_nat::rules::{PeeringSpec, RulesSpec};
use vswitch_nat::table::Leg;
use vswitch_nat::{Rules, RulesError};

use super::notation::address;
use super::world::{NET, NET2, PRIVATE, World, spec};

fn index(leg: Leg) -> NetworkIndex {
    let Leg::Inside(index) = leg else { panic!("the uplink is no network") };
    index
}

fn peered(peerings: &[(Leg, Leg, &[&str])]) -> RulesSpec {
    let peering = |(a, b, allow): &(Leg, Leg, &[&str])| PeeringSpec {
        between: [index(*a), index(*b)],
        allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
    };
    RulesSpec { peerings: peerings.iter().map(peering).collect(), ..spec(&[]) }
}

impl World {
    /// As the switch does when control gives it other rules.
    pub(crate) fn changes(&mut self, spec: RulesSpec) {
        let mut rules = Rules::try_from(spec).unwrap();
        rules.succeed(&self.rules);
        self.rules = rules;
        self.nat.end_forbidden(&self.rules, self.now);
    }

    fn passed(&self) -> Vec<[u64; 2]> {
        self.rules.peering_traffic().map(|one| one.passed.map(|way| way.packets)).collect()
    }
}

/// Between joined networks a packet passes untranslated, opened from either side; answers pass whatever the list says, and both
/// directions are counted. Others stay apart.
#[test]
fn joined_networks() {
    let mut world = World::with(peered(&[(NET, NET2, &["tcp/80", "udp/5000-5010", "icmp"])]));
    assert_eq!(world.send("tcp A:4000 > C:80 S seq=1"), "net8: tcp A:4000 > C:80 S");
    assert_eq!(world.send("tcp C:80 > A:4000 SA seq=1 ack=2"), "net9: tcp C:80 > A:4000 SA");
    assert_eq!(world.send("udp C:4000 > A:5005"), "net9: udp C:4000 > A:5005");
    assert_eq!(world.send("udp A:5005 > C:4000"), "net8: udp A:5005 > C:4000");
    assert_eq!(world.send("icmp A > C echo id=7"), "net8: icmp A > C echo id=7");
    for refused in ["tcp A:4000 > C:81 S", "udp A:4000 > C:4999", "sctp A:4000 > C:80", "tcp C:4000 > A:22 S"] {
        assert_eq!(world.send(refused), "not-allowed", "{refused}");
    }
    assert_eq!(world.send("tcp A:4000 > 192.0.2.7:80 S"), "isolated");
    assert_eq!(world.send("tcp 192.0.2.7:4000 > C:80 S"), "isolated");
    let way: IpAddr = address("A");
    assert_eq!(world.rules.network_of(way), Some(index(NET)));
    // The network with the lower index, NET2, comes first.
    assert_eq!(world.passed(), [[2, 3]]);
}

/// A network without a way out reaches those that it is joined with, and has no way out by them; joined networks do not join
/// those beyond them.
#[test]
fn no_way_out_by_a_peer() {
    let mut world = World::with(peered(&[(NET, PRIVATE, &[]), (NET, NET2, &[])]));
    assert_eq!(world.send("tcp PRIV:4000 > A:80 S"), "net9: tcp PRIV:4000 > A:80 S");
    assert_eq!(world.send("tcp A:4000 > PRIV:80 S"), "net7: tcp A:4000 > PRIV:80 S");
    assert_eq!(world.send("udp PRIV:4000 > S:53"), "internal");
    assert_eq!(world.send("udp PRIV:4000 > C:53"), "isolated");
    assert_eq!(world.send_from(NET, "udp PRIV:4000 > S:53"), "spoofed-source");
    assert_eq!(world.send_from(Leg::Uplink, "udp S:53 > PRIV:4000"), "internal");
}

/// What a change does not allow any more ends at once, also for connections that were open; the rest goes on and is counted on.
#[test]
fn changes_hold_for_open_connections() {
    let mut world = World::with(peered(&[(NET, NET2, &[])]));
    world.send("udp A:4000 > C:53");
    world.send("udp A:4000 > C:54");
    assert_eq!(world.count(), 2);
    world.changes(peered(&[(NET2, NET, &["udp/53"])]));
    assert_eq!((world.count(), world.passed()), (1, vec![[0, 2]]));
    assert_eq!(world.send("udp C:53 > A:4000"), "net9: udp C:53 > A:4000");
    assert_eq!(world.send("udp C:54 > A:4000"), "not-allowed");
    assert_eq!(world.passed(), [[1, 2]]);
    // A worker that still had the old rules made another one after the change: its next packet ends it.
    let new = std::mem::replace(&mut world.rules, Rules::try_from(peered(&[(NET, NET2, &[])])).unwrap());
    world.send("udp A:4000 > C:55");
    world.rules = new;
    assert_eq!(world.send("udp A:4000 > C:55"), "not-allowed");
    world.changes(spec(&[]));
    assert_eq!((world.count(), world.passed().len()), (0, 0));
    assert_eq!(world.send("udp C:53 > A:4000"), "isolated");
    assert_eq!(world.send("udp A:4000 > S:53"), "up: udp EXT:4000 > S:53");
}

/// Flows of a former run go on if what joined their networks still does.
#[test]
fn flows_of_a_former_run() {
    let mut before = World::with(peered(&[(NET, NET2, &[])]));
    before.send("udp A:4000 > C:53");
    let records = before.flows();
    let mut still = World::with(peered(&[(NET, NET2, &["udp/53"])]));
    assert_eq!(still.nat.restore(&records, &still.rules, still.now).restored, 1);
    assert_eq!(still.send("udp C:53 > A:4000"), "net9: udp C:53 > A:4000");
    let gone = World::new();
    gone.nat.restore(&records, &gone.rules, gone.now);
    assert_eq!(gone.count(), 0);
}

/// A peering is between two different networks that are there.
#[test]
fn impossible_peerings() {
    for (a, b) in [(NET, NET), (NET, Leg::Inside(NetworkIndex::new(99)))] {
        assert_eq!(Rules::try_from(peered(&[(a, b, &[])])).unwrap_err(), RulesError::Peering);
    }
}
