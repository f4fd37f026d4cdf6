//! A full table, races and clashes: rows X1 to X6.

use std::sync::Barrier;

use rand::SeedableRng;
use rand::rngs::StdRng;
use vswitch_frame::{PacketMut, Timestamp};
use vswitch_nat::rules::{Filtering, Mapping};
use vswitch_nat::table::Limits;
use vswitch_nat::{Context, Decision};

use super::notation::{describe, frame};
use super::udp::external_port;
use super::world::{NET, World, spec};

fn small(flows: usize) -> World {
    World::limited(spec(&[]), Limits { flows, ..Limits::default() })
}

/// Opens a whole connection from `host`:`port`.
fn establish(world: &mut World, host: &str, port: u16) {
    assert!(world.send(&format!("tcp {host}:{port} > S:80 S seq=1000")).starts_with("up: "));
    world.send(&format!("tcp S:80 > EXT:{port} SA seq=5000 ack=1001"));
    world.send(&format!("tcp {host}:{port} > S:80 A seq=1001 ack=5001"));
}

// X1
/// A table full of established flows refuses new ones, and loses none.
#[test]
fn x1_full_of_assured() {
    let mut world = small(20);
    for port in 4000..4020 {
        establish(&mut world, "A", port);
    }
    assert_eq!(world.send("tcp B:5000 > S:80 S"), "table-full");
    assert_eq!(world.count(), 20);
    assert_eq!(world.send("tcp S:80 > EXT:4007 A seq=5001 ack=1001"), "net9: tcp S:80 > A:4007 A");
    assert_eq!(world.nat.table().counters().refused_full, 1);
}

// X1
/// A half-open flow goes for a new one.
#[test]
fn x1_full_of_half_open() {
    let mut world = small(20);
    for port in 4000..4020 {
        world.send(&format!("tcp A:{port} > S:80 S"));
    }
    assert_eq!(world.send("tcp B:5000 > S:80 S"), "up: tcp EXT:5000 > S:80 S");
    assert_eq!(world.count(), 20);
    assert_eq!(world.nat.table().counters().early_dropped, 1);
}

// X1
/// A flood by one endpoint pushes out its own flows only, be another's established or not.
#[test]
fn x1_a_flood_harms_the_flooder() {
    let mut world = small(200);
    establish(&mut world, "B", 4000);
    world.send("udp B:5000 > S:7000");
    for port in 0..5000 {
        world.send(&format!("udp A:{} > S2:9", 10_000 + port));
    }
    assert_eq!(world.count(), 200);
    assert_eq!(world.send("udp S:7000 > EXT:5000"), "net9: udp S:7000 > B:5000");
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1001"), "net9: tcp S:80 > B:4000 A");
    // And the victim still gets new ones.
    assert_eq!(world.send("udp B:5001 > S:7000"), "up: udp EXT:5001 > S:7000");
}

// X1
/// Where few flows may go, looking at some of them finds one sooner or later: nobody is refused for ever.
#[test]
fn x1_refusal_does_not_stick() {
    let mut world = small(2000);
    for port in 0..1990 {
        let port = 10_000 + port;
        world.send(&format!("udp A:{port} > S:7000"));
        world.send(&format!("udp S:7000 > EXT:{port}"));
    }
    world.pass(3);
    for port in 10_000..11_990 {
        world.send(&format!("udp A:{port} > S:7000"));
    }
    for port in 0..10 {
        world.send(&format!("udp A:{} > S2:7000", 5000 + port));
    }
    let tries = (0..1000).position(|port| world.send(&format!("udp B:{} > S:9", 20_000 + port)).starts_with("up: "));
    assert!(tries.is_some_and(|tries| tries < 100), "{tries:?}");
}

// X1, U20
/// At its own limit an endpoint's new flow takes the place of one of its unanswered ones.
#[test]
fn x1_own_limit() {
    let mut world = World::limited(spec(&[]), Limits { flows_per_endpoint: 50, ..Limits::default() });
    world.send("udp B:5000 > S:7000");
    for port in 0..500 {
        assert!(world.send(&format!("udp A:{} > S:9", 10_000 + port)).starts_with("up: "));
    }
    assert_eq!(world.count(), 51);
    assert_eq!(world.nat.table().flows_of(vswitch_nat::Zone::Shared, super::notation::address("A")), 50);
}

// X4
/// Packets of one new flow on many threads at once make exactly one flow, and all leave alike.
#[test]
fn x4_race_of_first_packets() {
    for mapping in [Mapping::PortPreserving, Mapping::EndpointIndependent(Filtering::EndpointIndependent)] {
        let mut rules = spec(&[]);
        rules.settings.mapping = mapping;
        let mut world = World::with(rules);
        world.send("udp B:5000 > S:7000");
        for round in 0..50 {
            let barrier = Barrier::new(4);
            let (world, barrier) = (&world, &barrier);
            let texts: Vec<String> = std::thread::scope(|scope| {
                let run = |seed: u64| {
                    move || {
                        let mut sent = frame(&format!("udp 10.9.0.{}:5000 > S:7000", 10 + round));
                        let mut packet = PacketMut::admit(&mut sent.bytes, sent.offload).unwrap();
                        let context = Context { rules: &world.rules, ingress: NET, now: world.now };
                        let mut rng = StdRng::seed_from_u64(seed);
                        barrier.wait();
                        let decision = world.nat.lookup(&context, &packet.view());
                        let Ok(Decision::Forward(path)) = decision else { panic!("{decision:?}") };
                        let outcome = world.nat.translate(&context, path, &mut packet, &mut rng);
                        assert_eq!(outcome, Ok(()));
                        describe(&sent.bytes)
                    }
                };
                let threads: Vec<_> = (0..4).map(|seed| scope.spawn(run(seed))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
            assert_eq!(world.count(), 2 + round);
        }
    }
}

// X5
/// Two published ports that lead to one endpoint: a client that uses one source port for both reaches it twice.
#[test]
fn x5_two_ports_to_one_endpoint() {
    let mut world = World::publishing(&["5202:B:5201/tcp", "5203:B:5201/tcp"]);
    assert_eq!(world.send("tcp S:10000 > EXT:5202 S"), "net9: tcp S:10000 > B:5201 S");
    let second = world.send("tcp S:10000 > EXT:5203 S");
    let port: u16 = second.strip_prefix("net9: tcp S:").unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert_ne!(port, 10_000);
    assert_eq!(world.send("tcp B:5201 > S:10000 SA ack=1"), "up: tcp EXT:5202 > S:10000 SA");
    assert_eq!(world.send(&format!("tcp B:5201 > S:{port} SA ack=1")), "up: tcp EXT:5203 > S:10000 SA");
}

// X6
/// A flow that is not translated never changes its port, however often the table is flushed.
#[test]
fn x6_no_rule_no_change() {
    let mut world = World::new();
    for _ in 0..100 {
        assert_eq!(world.send("tcp OPEN:4000 > S:80 S"), "up: tcp OPEN:4000 > S:80 S");
        assert_eq!(world.nat.table().flush(&Default::default(), world.now), 1);
    }
}

/// What is gone is forgotten altogether: flows, mappings and accounts.
#[test]
fn nothing_is_left_behind() {
    for mapping in [Mapping::PortPreserving, Mapping::EndpointIndependent(Filtering::AddressDependent)] {
        let mut rules = spec(&[]);
        rules.settings.mapping = mapping;
        let mut world = World::with(rules);
        for remote in 1..50 {
            world.send(&format!("udp A:5000 > S:{remote}"));
            world.send(&format!("udp B:5000 > S:{remote}"));
        }
        let port = external_port(&world.send("udp B:5000 > S:1"));
        assert_ne!(port, 5000);
        world.now = Timestamp::from_millis(world.now.as_millis() + 1_000_000);
        world.nat.table().expire_all(world.now);
        assert_eq!(world.count(), 0);
        assert_eq!(world.nat.table().flows_of(vswitch_nat::Zone::Shared, super::notation::address("B")), 0);
        assert_eq!(world.send("udp B:5000 > S:7000"), "up: udp EXT:5000 > S:7000");
    }
}
