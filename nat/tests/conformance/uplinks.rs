//! Several uplinks: each network leaves by one of them, with that one's address.

use vswitch_frame::NetworkIndex;
use vswitch_nat::rules::{FurtherUplink, RulesSpec};
use vswitch_nat::table::{FlowFilter, Leg, Limits};
use vswitch_nat::translate::FragmentLimits;
use vswitch_nat::{Nat, Rules, RulesError};

use super::notation::address;
use super::world::{NET2, World, spec};

const WAN2: Leg = Leg::Further(0);
const SECOND: NetworkIndex = NetworkIndex::new(8);

/// The world's rules, with a second uplink that these networks leave by.
fn two(networks: &[NetworkIndex], publishes: &[&str]) -> RulesSpec {
    let further = FurtherUplink { external: vec![address("EXT2")], networks: networks.to_vec() };
    RulesSpec { further: vec![further], ..spec(publishes) }
}

/// Each network leaves by its own uplink, with the address there; what comes by the other one is no answer, and an uplink's address
/// is reached by it alone.
#[test]
fn each_by_its_own() {
    let mut world = World::with(two(&[SECOND], &[]));
    assert_eq!(world.send("udp A:5000 > S:7000"), "up: udp EXT:5000 > S:7000");
    assert_eq!(world.send("udp C:5000 > S:7000"), "further0: udp EXT2:5000 > S:7000");
    assert_eq!(world.send_from(Leg::Uplink, "udp S:7000 > EXT2:5000"), "wrong-leg");
    assert_eq!(world.send_from(WAN2, "udp S:7000 > EXT:5000"), "wrong-leg");
    assert_eq!(world.send_from(WAN2, "udp S:7000 > EXT2:5000"), "net8: udp S:7000 > C:5000");
    assert_eq!(world.send_from(Leg::Uplink, "udp S:7000 > EXT:5000"), "net9: udp S:7000 > A:5000");
    assert_eq!(world.send_from(WAN2, "udp S:7 > EXT:9"), "not-local");
    assert_eq!(world.send_from(Leg::Uplink, "udp S:7 > EXT2:9"), "not-local");
    assert_eq!(world.send_from(WAN2, "udp S:7 > EXT2:9"), "self");
    assert_eq!(world.send("udp A:5000 > EXT2:9"), "self", "from inside both are the switch's");
}

/// What a network opens after it has moved goes by its new uplink. What it had goes on where it went, until that is ended; then the
/// same source has a port there, too.
#[test]
fn a_network_that_moves() {
    let mut world = World::with(two(&[SECOND], &[]));
    assert_eq!(world.send("udp C:5000 > S:7000"), "further0: udp EXT2:5000 > S:7000");
    assert_eq!(world.send("udp C:6000 > S:7000"), "further0: udp EXT2:6000 > S:7000");
    assert_eq!(world.send("udp A:6000 > S:7000"), "up: udp EXT:6000 > S:7000");
    world.rules = Rules::try_from(two(&[], &[])).unwrap();
    assert_eq!(world.send("udp C:5000 > S2:7000"), "up: udp EXT:5000 > S2:7000");
    assert_eq!(world.send("udp C:5000 > S:7000"), "further0: udp EXT2:5000 > S:7000");
    assert_eq!(world.send_from(WAN2, "udp S:7000 > EXT2:5000"), "net8: udp S:7000 > C:5000");
    assert_eq!(world.nat.end_by(WAN2, SECOND, world.now), 2);
    assert_eq!(world.count(), 2, "others, and what goes by another uplink, are left alone");
    assert_eq!(world.send("udp C:5000 > S:7000"), "up: udp EXT:5000 > S:7000");
    assert_eq!(world.send_from(WAN2, "udp S:7000 > EXT2:5000"), "self", "nobody waits for it there");
}

/// A published port is reached by every uplink, and answers go back by the one that was asked by.
#[test]
fn published_ports() {
    let mut world = World::with(two(&[], &["8080:C:80/udp"]));
    for (leg, name, external) in [(Leg::Uplink, "up", "EXT"), (WAN2, "further0", "EXT2")] {
        assert_eq!(world.send_from(leg, &format!("udp S:9000 > {external}:8080")), "net8: udp S:9000 > C:80");
        let answer = world.send_from(NET2, "udp C:80 > S:9000");
        assert_eq!(answer, format!("{name}: udp {external}:8080 > S:9000"));
        world.nat.table().flush(&FlowFilter::default(), world.now);
    }
    assert_eq!(world.send("udp A:7 > EXT2:8080"), "net8: udp EXT:7 > C:80");
    assert_eq!(world.send("udp C:80 > EXT:7"), "net9: udp EXT2:8080 > A:7");
}

/// Flows of a former run go on by the uplink that they went by, if it is there and has the address that they have.
#[test]
fn restored() {
    let mut world = World::with(two(&[SECOND], &[]));
    world.send("udp A:5000 > S:7000");
    world.send("udp C:5000 > S:7000");
    let records = world.flows();
    let mut swapped = two(&[SECOND], &[]);
    (swapped.external[0], swapped.further[0].external[0]) = (address("EXT2"), address("EXT"));
    for (spec, restored) in [(two(&[], &[]), 2), (spec(&[]), 1), (swapped, 0)] {
        let nat = Nat::new(Limits::default(), FragmentLimits::default(), 42);
        let outcome = nat.restore(&records, &Rules::try_from(spec).unwrap(), world.now);
        assert_eq!((outcome.restored, outcome.refused), (restored, 2 - restored));
    }
}

/// Two uplinks have no address in common.
#[test]
fn addresses_are_one_uplinks() {
    let mut spec = two(&[], &[]);
    spec.further[0].external.push(address("EXT"));
    assert_eq!(Rules::try_from(spec).unwrap_err(), RulesError::ExternalTwice(address("EXT")));
}
