//! UDP: mapping, filtering and timers (RFC 4787), rows U1 to U22.

use vswitch_frame::Timestamp;
use vswitch_nat::rules::{Filtering, Hairpin, Mapping, PortSelection};
use vswitch_nat::table::Limits;

use super::world::{World, spec};

fn independent(filtering: Filtering) -> World {
    let mut spec = spec(&[]);
    spec.settings.mapping = Mapping::EndpointIndependent(filtering);
    World::with(spec)
}

/// The external port in `up: udp EXT:5000 > S:7000`.
pub(crate) fn external_port(text: &str) -> u16 {
    let source = text.split_whitespace().nth(2).unwrap();
    source.split_once(':').unwrap_or_else(|| panic!("{text}")).1.parse().unwrap()
}

// U1, U2
/// One source leaves from one external port, its own, whatever it sends to.
#[test]
fn u1_u2_one_port_for_every_destination() {
    for mut world in [World::new(), independent(Filtering::AddressAndPortDependent)] {
        assert_eq!(world.send("udp A:5000 > S:7000"), "up: udp EXT:5000 > S:7000");
        assert_eq!(world.send("udp A:5000 > S2:7000"), "up: udp EXT:5000 > S2:7000");
        assert_eq!(world.send("udp A:5000 > S:7001"), "up: udp EXT:5000 > S:7001");
    }
}

// U3
/// Where the port is taken another of its class is drawn, and the source keeps that one for further destinations.
#[test]
fn u3_clash() {
    let mut world = World::new();
    world.send("udp A:5000 > S:7000");
    let port = external_port(&world.send("udp B:5000 > S:7000"));
    assert!(port != 5000 && port >= 1024, "{port}");
    assert_eq!(world.send("udp B:5000 > S2:7000"), format!("up: udp EXT:{port} > S2:7000"));
    assert_eq!(world.send("udp B:5000 > S:7001"), format!("up: udp EXT:{port} > S:7001"));
    assert_eq!(world.send(&format!("udp S2:7000 > EXT:{port}")), "net9: udp S2:7000 > B:5000");
}

// U4, X2
/// By default two sources may share a port towards different destinations, and answers find the right one.
#[test]
fn u4_overlap() {
    let mut world = World::new();
    assert_eq!(world.send("udp A:6000 > S2:7000"), "up: udp EXT:6000 > S2:7000");
    assert_eq!(world.send("udp B:6000 > S:7000"), "up: udp EXT:6000 > S:7000");
    assert_eq!(world.send("udp S:7000 > EXT:6000"), "net9: udp S:7000 > B:6000");
    assert_eq!(world.send("udp S2:7000 > EXT:6000"), "net9: udp S2:7000 > A:6000");
    assert_eq!(world.send("udp S2:7001 > EXT:6000"), "self");
}

// U4
/// Under endpoint-independent mapping no two sources share an external port.
#[test]
fn u4_no_overlap_when_endpoint_independent() {
    let mut world = independent(Filtering::EndpointIndependent);
    world.send("udp A:6000 > S2:7000");
    let port = external_port(&world.send("udp B:6000 > S:7000"));
    assert_ne!(port, 6000);
    assert_eq!(world.send("udp S:9 > EXT:6000"), "net9: udp S:9 > A:6000");
    assert_eq!(world.send(&format!("udp S2:9 > EXT:{port}")), "net9: udp S2:9 > B:6000");
}

// U5
/// Another port is of the same class as the source's own.
#[test]
fn u5_port_classes() {
    for (own, class) in [(500u16, 1..=511), (700, 600..=1023), (5000, 1024..=65_535)] {
        let mut world = World::new();
        world.send(&format!("udp A:{own} > S:7000"));
        let port = external_port(&world.send(&format!("udp B:{own} > S:7000")));
        assert!(port != own && class.contains(&port), "{own} became {port}");
    }
}

// U7
/// A mapping lives 120 s at least, and not for ever.
#[test]
fn u7_mapping_timer() {
    let mut world = World::new();
    world.send("udp A:5000 > S:7000");
    world.pass(119);
    assert_eq!(world.send("udp S:7000 > EXT:5000"), "net9: udp S:7000 > A:5000");
    world.pass(300);
    assert_eq!(world.send("udp S:7000 > EXT:5000"), "self");
    assert_eq!(world.count(), 0);
}

// U7
/// The Linux profile: 30 s, and 120 s once the flow is a stream.
#[test]
fn u7_linux_profile() {
    let mut world = World::linux();
    world.send("udp A:5000 > S:7000");
    world.pass(1);
    world.send("udp S:7000 > EXT:5000");
    assert_eq!(world.state(), "- 30");
    world.pass(2);
    world.send("udp A:5000 > S:7000");
    assert_eq!(world.state(), "- 120");
    assert!(world.flow().contains("[ASSURED]"), "{}", world.flow());
}

// U8
/// Each packet outwards refreshes the mapping.
#[test]
fn u8_outbound_refresh() {
    let mut world = World::new();
    for _ in 0..3 {
        world.send("udp A:5000 > S:7000");
        world.pass(100);
    }
    assert_eq!(world.send("udp S:7000 > EXT:5000"), "net9: udp S:7000 > A:5000");
}

// U9
/// So does each packet inwards.
#[test]
fn u9_inbound_refresh() {
    let mut world = World::new();
    world.send("udp A:5000 > S:7000");
    for _ in 0..4 {
        world.pass(100);
        assert_eq!(world.send("udp S:7000 > EXT:5000"), "net9: udp S:7000 > A:5000");
    }
}

// U10
/// An ICMP error about a flow does not refresh it.
#[test]
fn u10_errors_do_not_refresh() {
    let mut world = World::new();
    world.send("udp A:5000 > S:7000");
    world.pass(100);
    let before = world.flows()[0].timeout;
    assert_eq!(
        world.send("icmp A > S type=3 code=3 quoting udp S:7000 > A:5000"),
        "up: icmp EXT > S type=3 code=3 quoting udp S:7000 > EXT:5000"
    );
    assert_eq!(world.flows()[0].timeout, before);
}

// U11
/// Filtering: who may send to a mapping, by setting.
#[test]
fn u11_filtering() {
    let cases = [
        (Filtering::AddressAndPortDependent, false, false),
        (Filtering::AddressDependent, true, false),
        (Filtering::EndpointIndependent, true, true),
    ];
    let mut worlds: Vec<_> = cases.iter().map(|&(f, port, address)| (independent(f), port, address)).collect();
    worlds.push((World::new(), false, false));
    for (mut world, other_port, other_address) in worlds {
        world.send("udp A:5000 > S:7000");
        assert_eq!(world.send("udp S:7000 > EXT:5000"), "net9: udp S:7000 > A:5000");
        let expected = |passes, packet: &str| if passes { format!("net9: {packet}") } else { "self".to_owned() };
        assert_eq!(world.send("udp S2:7000 > EXT:5000"), expected(other_address, "udp S2:7000 > A:5000"));
        assert_eq!(world.send("udp S:7009 > EXT:5000"), expected(other_port, "udp S:7009 > A:5000"));
    }
}

// U12
/// What nobody asked for makes no state and takes no port.
#[test]
fn u12_unsolicited_makes_no_state() {
    let mut world = World::new();
    assert_eq!(world.send("udp S:7000 > EXT:5555"), "self");
    assert_eq!(world.count(), 0);
    assert_eq!(world.send("udp A:5555 > S:7000"), "up: udp EXT:5555 > S:7000");
    assert_eq!(world.send("udp S:7000 > EXT:5555"), "net9: udp S:7000 > A:5555");
}

// U14
/// A hairpinned packet shows its sender's external address and port, and the answer comes from the published port.
#[test]
fn u14_hairpin() {
    let mut world = World::publishing(&["8053:B:53/udp"]);
    assert_eq!(world.send("udp A:5000 > EXT:8053"), "net9: udp EXT:5000 > B:53");
    assert_eq!(world.send("udp B:53 > EXT:5000"), "net9: udp EXT:8053 > A:5000");
}

// U14, D5
/// In Docker's manner the sender shows as the gateway.
#[test]
fn u14_hairpin_as_docker() {
    let mut spec = spec(&["8053:B:53/udp"]);
    spec.settings.hairpin = Hairpin::Gateway;
    let mut world = World::with(spec);
    assert_eq!(world.send("udp A:5000 > EXT:8053"), "net9: udp GW:5000 > B:53");
    assert_eq!(world.send("udp B:53 > GW:5000"), "net9: udp EXT:8053 > A:5000");
}

// U14
/// Under endpoint-independent filtering one source inside reaches another through its mapping.
#[test]
fn u14_hairpin_to_a_mapping() {
    let mut world = independent(Filtering::EndpointIndependent);
    world.send("udp B:4000 > S:7000");
    assert_eq!(world.send("udp A:5000 > EXT:4000"), "net9: udp EXT:5000 > B:4000");
    assert_eq!(world.send("udp B:4000 > EXT:5000"), "net9: udp EXT:4000 > A:5000");
}

// U15
/// No gateway for applications: addresses in the payload pass as they are.
#[test]
fn u15_payload_is_untouched() {
    let mut world = World::new();
    let mut sent = super::notation::frame("udp A:5060 > S:5060 len=600");
    let payload = sent.bytes[42..].to_vec();
    world.send_frame(super::world::NET, &mut sent);
    assert_eq!(sent.bytes[42..], payload);
}

// U16
/// In a table that is nearly full, mappings behave as in an empty one.
#[test]
fn u16_under_load() {
    let mut world = World::limited(spec(&[]), Limits { flows: 1000, ..Limits::default() });
    for port in 0..900 {
        world.send(&format!("udp B:{} > S2:9", 10_000 + port));
    }
    assert_eq!(world.send("udp A:5000 > S:7000"), "up: udp EXT:5000 > S:7000");
    assert_eq!(world.send("udp A:5000 > S2:7000"), "up: udp EXT:5000 > S2:7000");
    let port = external_port(&world.send("udp B:5000 > S:7000"));
    assert_ne!(port, 5000);
    assert_eq!(world.send("udp S:7009 > EXT:5000"), "self");
}

// U17, U18, I15
/// An error from any router on the way is delivered, and ends nothing.
#[test]
fn u17_u18_errors_are_delivered() {
    let mut world = World::new();
    world.send("udp A:5000 > S:7000");
    let before = world.flows();
    for from in ["S", "R"] {
        let sent = format!("icmp {from} > EXT type=3 code=3 quoting udp EXT:5000 > S:7000");
        let expected = format!("net9: icmp {from} > A type=3 code=3 quoting udp A:5000 > S:7000");
        assert_eq!(world.send(&sent), expected);
    }
    assert_eq!(world.flows(), before);
}

// U20
/// An endpoint at its limit is refused, and only it.
#[test]
fn u20_endpoint_limit() {
    let mut world = World::limited(spec(&[]), Limits { flows_per_endpoint: 3, ..Limits::default() });
    world.now = Timestamp::from_millis(5_000_000);
    for port in 1..=3 {
        world.send(&format!("udp A:500{port} > S:7000"));
        world.send(&format!("udp S:7000 > EXT:500{port}"));
        world.pass(3);
        world.send(&format!("udp A:500{port} > S:7000"));
    }
    assert_eq!(world.send("udp A:5004 > S:7000"), "endpoint-limit");
    assert_eq!(world.send("udp B:5004 > S:7000"), "up: udp EXT:5004 > S:7000");
    assert_eq!(world.nat.table().counters().refused_endpoint, 1);
}

// U21, X3
/// Ports that are drawn are spread over their class, without runs.
#[test]
fn u21_ports_are_unpredictable() {
    let mut world = World::new();
    let mut ports: Vec<u16> = Vec::new();
    for host in 0..1000 {
        world.send(&format!("udp A:{} > S:7000", 20_000 + host));
        ports.push(external_port(&world.send(&format!("udp B:{} > S:7000", 20_000 + host))));
    }
    let near = ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 10).count();
    assert!(near < 10, "{near} of 1000 lie next to the one before");
    for quarter in 0..4u32 {
        let range = 1024 + quarter * 16_128..1024 + (quarter + 1) * 16_128;
        let count = ports.iter().filter(|&&port| range.contains(&u32::from(port))).count();
        assert!((180..320).contains(&count), "{count} in {range:?}");
    }
}

// U21
/// With random mapping no flow keeps its port.
#[test]
fn u21_fully_random() {
    let mut spec = spec(&[]);
    spec.settings.mapping = Mapping::Random;
    let mut world = World::with(spec);
    let ports: Vec<_> = (0..20).map(|n| external_port(&world.send(&format!("udp A:5000 > S:{}", 7000 + n)))).collect();
    assert!(ports.iter().filter(|&&port| port == 5000).count() <= 1, "{ports:?}");
    let mut distinct = ports.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct.len() >= 18, "{ports:?}");
}

// U22, C9
/// A datagram without a checksum leaves without one.
#[test]
fn u22_no_checksum() {
    let mut world = World::new();
    let mut sent = super::notation::frame("udp A:5000 > S:7000 nosum");
    assert_eq!(world.send_frame(super::world::NET, &mut sent), "up: udp EXT:5000 > S:7000");
    assert_eq!(sent.bytes[40..42], [0, 0]);
}

// X2
/// A range of two ports serves two flows to one destination, and the third is refused; to another it has room.
#[test]
fn x2_small_range() {
    let mut spec = spec(&[]);
    spec.settings.ports = PortSelection::Range("40000-40001".parse().unwrap());
    let mut world = World::with(spec);
    let first = external_port(&world.send("udp A:5000 > S:7000"));
    let second = external_port(&world.send("udp A:5001 > S:7000"));
    assert_eq!(first.min(second), 40_000);
    assert_eq!(first.max(second), 40_001);
    assert_eq!(world.send("udp A:5002 > S:7000"), "no-port");
    assert!(world.send("udp A:5002 > S2:7000").starts_with("up: udp EXT:4000"));
}
