//! Docker's network model as packets: rows D1 to D9, G9, G16, G22, G23.

use vswitch_nat::rules::{Between, Filtering, Mapping, Translation};
use vswitch_nat::table::{FlowFilter, FlowKind, Leg};
use vswitch_nat::{Rules, RulesError};

use super::notation::{address, frame};
use super::udp::external_port;
use super::world::{NET, NET2, PRIVATE, World, publish, spec};

// D1
/// What leaves is masqueraded; what stays in its network is not touched.
#[test]
fn d1_masquerade() {
    let mut world = World::new();
    assert_eq!(world.send("tcp A:4000 > S:80 S"), "up: tcp EXT:4000 > S:80 S");
    assert_eq!(world.send("tcp A:4000 > B:80 S"), "net9: tcp A:4000 > B:80 S");
}

// D1
/// Of several external addresses each endpoint keeps to one.
#[test]
fn d1_several_addresses() {
    let mut spec = spec(&[]);
    spec.external.push(address("EXT2"));
    let mut world = World::with(spec);
    let from = |text: String| text.split(':').nth(1).unwrap().trim().to_owned();
    let (a, b) = (from(world.send("udp A:1000 > S:1")), from(world.send("udp B:1000 > S:1")));
    assert_ne!(a, b);
    for port in 2..20 {
        assert_eq!(from(world.send(&format!("udp A:1000 > S:{port}"))), a);
    }
}

// D2
/// A published port is reached from outside, from another network and from its own, at every address of the switch.
#[test]
fn d2_publish() {
    let mut world = World::publishing(&["8080:B:80/tcp", "8080:B6:80/tcp"]);
    assert_eq!(world.send("tcp S:1000 > EXT:8080 S"), "net9: tcp S:1000 > B:80 S");
    assert_eq!(world.send("tcp B:80 > S:1000 SA ack=1"), "up: tcp EXT:8080 > S:1000 SA");
    assert_eq!(world.send("tcp C:1000 > EXT:8080 S"), "net9: tcp EXT:1000 > B:80 S");
    assert_eq!(world.send("tcp B:80 > EXT:1000 SA ack=1"), "net8: tcp EXT:8080 > C:1000 SA");
    assert_eq!(
        world.send("tcp A:1000 > GW:8080 S"),
        format!("net9: tcp EXT:{} > B:80 S", {
            let flows = world.flows();
            flows.iter().find(|flow| flow.original.destination() == address("GW")).unwrap().reply.destination_port()
        })
    );
    assert_eq!(world.send("tcp S6:1000 > EXT6:8080 S"), "net9: tcp S6:1000 > B6:80 S");
    assert_eq!(world.send("tcp S:1000 > EXT:8081 S"), "self");
    assert_eq!(world.send("udp S:1000 > EXT:8080"), "self");
}

// D2
/// Ranges are published port by port, for SCTP as well.
#[test]
fn d2_ranges() {
    let mut world = World::publishing(&["8000-8010:B:80-90/sctp", "9000:B:9/udp"]);
    assert_eq!(world.send("sctp S:1000 > EXT:8003"), "net9: sctp S:1000 > B:83");
    assert_eq!(world.send("sctp B:83 > S:1000"), "up: sctp EXT:8003 > S:1000");
    assert_eq!(world.send("sctp S:1000 > EXT:8011"), "self");
    assert_eq!(world.send("udp S:1000 > EXT:9000"), "net9: udp S:1000 > B:9");
}

// D3
/// Who has a route straight to a masqueraded endpoint reaches nothing, its published ports included (Docker 28).
#[test]
fn d3_direct_access() {
    let mut world = World::publishing(&["8080:B:80/tcp"]);
    assert_eq!(world.send_from(Leg::Uplink, "tcp S:1000 > B:81 S"), "not-published");
    assert_eq!(world.send_from(Leg::Uplink, "icmp S > B echo id=1"), "not-published");
    assert_eq!(world.send_from(Leg::Uplink, "tcp S:1000 > B:80 S"), "not-published");
}

// D4
/// Networks are isolated from each other, unless routed.
#[test]
fn d4_isolation() {
    let mut world = World::new();
    assert_eq!(world.send("tcp A:1000 > C:80 S"), "isolated");
    assert_eq!(world.send("icmp C > A echo id=1"), "isolated");
    let mut spec = spec(&[]);
    spec.settings.between = Between::Routed;
    let mut world = World::with(spec);
    assert_eq!(world.send("tcp A:1000 > C:80 S"), "net8: tcp A:1000 > C:80 S");
    assert_eq!(world.send("tcp C:80 > A:1000 SA ack=1"), "net9: tcp C:80 > A:1000 SA");
    assert_eq!(world.send("tcp A:1000 > PRIV:80 S"), "internal");
}

// D5
/// A container reaches itself through its own published port.
#[test]
fn d5_self_hairpin() {
    let mut world = World::publishing(&["8080:B:80/tcp"]);
    assert_eq!(world.send("tcp B:5000 > EXT:8080 S"), "net9: tcp EXT:5000 > B:80 S");
    assert_eq!(world.send("tcp B:80 > EXT:5000 SA ack=1"), "net9: tcp EXT:8080 > B:5000 SA");
    assert_eq!(world.send("tcp B:5000 > EXT:8080 A seq=1 ack=1"), "net9: tcp EXT:5000 > B:80 A");
}

// D6
/// Another container of the same network is answered from the published port, so that it knows the answer.
#[test]
fn d6_hairpin_is_answered_from_the_published_port() {
    let mut world = World::publishing(&["8080:B:80/tcp"]);
    assert_eq!(world.send("tcp A:5000 > EXT:8080 S"), "net9: tcp EXT:5000 > B:80 S");
    assert_eq!(world.send("tcp B:80 > EXT:5000 SA ack=1"), "net9: tcp EXT:8080 > A:5000 SA");
}

// D7
/// A port published at one address is not reached at others.
#[test]
fn d7_host_address() {
    let mut spec = spec(&["EXT2:8080:B:80/tcp", "LO:9090:B:90/tcp"]);
    spec.external.push(address("EXT2"));
    let mut world = World::with(spec);
    assert_eq!(world.send("tcp S:1000 > EXT:8080 S"), "self");
    assert_eq!(world.send("tcp S:1000 > EXT2:8080 S"), "net9: tcp S:1000 > B:80 S");
    assert_eq!(world.send("tcp S:1000 > EXT:9090 S"), "self");
}

// D9
/// Nothing leaves an internal network, and nothing enters.
#[test]
fn d9_internal() {
    let mut world = World::new();
    assert_eq!(world.send("tcp PRIV:1000 > S:80 S"), "internal");
    assert_eq!(world.send_from(Leg::Uplink, "tcp S:80 > PRIV:80 S"), "internal");
}

// D9
/// Published ports of other networks are no way out of an internal network, at whatever address of the switch.
#[test]
fn d9_internal_and_published_ports() {
    let mut world = World::publishing(&["8080:B:80/tcp", "8053:C:53/udp"]);
    for own in ["EXT", "GW", "GW2", "10.7.0.1"] {
        assert_eq!(world.send(&format!("tcp PRIV:1000 > {own}:8080 S")), "internal");
        assert_eq!(world.send(&format!("udp PRIV:1000 > {own}:8053")), "internal");
    }
    assert_eq!(world.send("icmp PRIV > 10.7.0.1 echo id=1"), "self");
    assert_eq!(world.count(), 0);
}

/// A published port is its service's alone: no source inside gets it as its external one, be it its own port.
#[test]
fn published_ports_are_not_shadowed() {
    for mapping in [
        Mapping::PortPreserving,
        Mapping::Random,
        Mapping::EndpointIndependent(Filtering::EndpointIndependent),
        Mapping::EndpointIndependent(Filtering::AddressAndPortDependent),
    ] {
        let ports = ["1405:B:1405/udp", "1405:B:1405/tcp", "7000-7200:B:7000-7200/udp"];
        let mut spec = spec(&ports);
        spec.settings.mapping = mapping;
        let mut world = World::with(spec);
        for (protocol, port, flags) in [("udp", 1405, ""), ("tcp", 1405, "S"), ("udp", 7000, ""), ("udp", 7100, "")] {
            let left = world.send(&format!("{protocol} A:{port} > S:41404 {flags}"));
            let external = external_port(&left);
            assert!(left.starts_with("up: ") && external != 1405 && !(7000..=7200).contains(&external), "{left}");
            let asked = world.send(&format!("{protocol} S:41404 > EXT:{port} {flags}"));
            assert!(asked.starts_with(&format!("net9: {protocol} S:41404 > B:{port}")), "{asked}");
        }
        // Through a published port of its own network, too.
        let left = world.send("udp A:1405 > EXT:7001");
        assert_ne!(external_port(&left), 1405, "{left}");
    }
}

/// The service of a published port calls from it, so that both sides may open a connection at once.
#[test]
fn services_call_from_their_published_port() {
    let mut world = World::publishing(&["1405:B:1405/tcp", "1406:B:1407/tcp"]);
    assert_eq!(world.send("tcp B:1405 > S:41404 S"), "up: tcp EXT:1405 > S:41404 S");
    // What is published from another port of it is another service.
    let left = world.send("tcp B:1406 > S:41404 S");
    assert!(left.starts_with("up: ") && external_port(&left) != 1406, "{left}");
}

/// A flow whose external port is published later ends: the service gets what its clients send from then on.
#[test]
fn a_flow_gives_way_to_a_published_port() {
    let mut world = World::new();
    assert_eq!(world.send("udp A:1405 > S:41404"), "up: udp EXT:1405 > S:41404");
    assert_eq!(world.send("udp A:1406 > S:41404"), "up: udp EXT:1406 > S:41404");
    let records = world.flows();
    let earlier = std::mem::replace(&mut world.rules, Rules::try_from(spec(&["1405:B:1405/udp"])).unwrap());
    assert!(world.rules.publish_more_than(&earlier) && !earlier.publish_more_than(&world.rules));
    assert_eq!(world.nat.end_shadows(&world.rules, world.now), 1);
    assert_eq!(world.send("udp S:41404 > EXT:1405"), "net9: udp S:41404 > B:1405");
    assert_eq!(world.send("udp S:41404 > EXT:1406"), "net9: udp S:41404 > A:1406");
    // Nor does a restart bring it back.
    let again = World::publishing(&["1405:B:1405/udp"]);
    again.nat.restore(&records, &again.rules, again.now);
    assert_eq!(again.count(), 1);
}

/// A routed subnet leaves as it is; from outside come answers, published ports and echo requests.
#[test]
fn routed_subnets() {
    let mut world = World::publishing(&["8080:OPEN:80/tcp"]);
    assert_eq!(world.send("udp OPEN:1000 > S:7000"), "up: udp OPEN:1000 > S:7000");
    assert_eq!(world.send("udp S:7000 > OPEN:1000"), "net6: udp S:7000 > OPEN:1000");
    assert_eq!(world.send("icmp S > OPEN echo id=1"), "net6: icmp S > OPEN echo id=1");
    assert_eq!(world.send("icmp OPEN > S reply id=1"), "up: icmp OPEN > S reply id=1");
    assert_eq!(world.send("tcp S:1000 > OPEN:80 S"), "net6: tcp S:1000 > OPEN:80 S");
    assert_eq!(world.send("tcp S:1000 > OPEN:81 S"), "not-published");
}

// G9
/// A source that is not of its network is dropped, and one that claims to be inside does not come from the uplink.
#[test]
fn g9_spoofed_sources() {
    let mut world = World::new();
    assert_eq!(world.send_from(NET, "udp 172.31.0.5:1 > S:2"), "spoofed-source");
    assert_eq!(world.send_from(NET2, "udp A:1 > S:2"), "spoofed-source");
    assert_eq!(world.send_from(Leg::Uplink, "udp A:1 > EXT:2"), "spoofed-source");
    assert_eq!(world.send_from(Leg::Uplink, "udp EXT:1 > B:2"), "spoofed-source");
    world.send("udp A:5000 > S:7000");
    assert_eq!(world.send_from(PRIVATE, "udp A:5000 > S:7000"), "wrong-leg");
    assert_eq!(world.send_from(NET, "udp S:7000 > EXT:5000"), "wrong-leg");
    assert_eq!(
        world.send_from(Leg::Uplink, "icmp A > EXT type=3 code=3 quoting udp EXT:5000 > S:7000"),
        "spoofed-source"
    );
}

// G16
/// Other protocols are masqueraded by address alone: one inside host for each outside host and protocol.
#[test]
fn g16_other_protocols() {
    let mut world = World::new();
    assert_eq!(world.send("proto=99 A > S"), "up: proto=99 EXT > S");
    assert_eq!(world.send("proto=99 S > EXT"), "net9: proto=99 S > A");
    assert_eq!(world.send("proto=99 B > S"), "no-port");
    assert_eq!(world.send("proto=99 B > S2"), "up: proto=99 EXT > S2");
    world.pass(599);
    assert_eq!(world.send("proto=99 S > EXT"), "net9: proto=99 S > A");
}

// G23, G1
/// Type of service, identification and TTL are not the translator's to change.
#[test]
fn g23_header_fields_are_preserved() {
    let mut world = World::new();
    let mut sent = frame("udp A:5000 > S:7000 tos=185 ip-id=77 ttl=9 df");
    world.send_frame(NET, &mut sent);
    assert_eq!((sent.bytes[15], sent.bytes[18..22].to_vec(), sent.bytes[22]), (185, vec![0, 77, 0x40, 0], 9));
}

/// Packets that no host sends make no flow: land attacks, port zero, and destinations that are no host.
#[test]
fn bad_tuples() {
    let mut world = World::new();
    for text in [
        "udp A:5000 > A:5000",
        "icmp A > A echo id=1",
        "udp A:0 > S:7000",
        "tcp A:5000 > S:0 S",
        "udp A:5000 > 224.0.0.1:7000",
        "udp A:5000 > 255.255.255.255:7000",
        "udp A:5000 > LO:7000",
        "udp A:5000 > 0.0.0.0:7000",
    ] {
        assert_eq!(world.send(text), "bad-tuple", "{text}");
    }
    assert_eq!(world.count(), 0);
}

/// When a published port goes, its flows are flushed, and others go on.
#[test]
fn removing_a_published_port() {
    let mut world = World::publishing(&["8080:B:80/tcp", "9090:B:90/tcp"]);
    world.send("tcp S:1000 > EXT:8080 S");
    world.send("tcp S:1000 > EXT:9090 S");
    world.send("tcp A:4000 > S:80 S");
    world.rules = spec(&["9090:B:90/tcp"]).try_into().unwrap();
    let filter = FlowFilter { kind: Some(FlowKind::Publish), destination_port: Some(8080), ..FlowFilter::default() };
    assert_eq!(world.nat.table().flush(&filter, world.now), 1);
    assert_eq!(world.send("tcp S:1000 > EXT:8080 A seq=1 ack=1"), "self");
    assert_eq!(world.send("tcp B:80 > S:1000 A seq=1 ack=1"), "up: tcp EXT:80 > S:1000 A");
    assert_eq!(world.send("tcp B:90 > S:1000 SA ack=1"), "up: tcp EXT:9090 > S:1000 SA");
    assert_eq!(world.send("tcp S:80 > EXT:4000 SA ack=1"), "net9: tcp S:80 > A:4000 SA");
}

/// Rules that cannot be are refused in one sentence that says what to do.
#[test]
fn bad_rules() {
    let refuse = |change: &dyn Fn(&mut vswitch_nat::RulesSpec)| {
        let mut bad = spec(&[]);
        change(&mut bad);
        Rules::try_from(bad).unwrap_err()
    };
    assert!(matches!(
        refuse(&|spec| spec.networks[1].subnets[0].net = "10.9.0.128/25".parse().unwrap()),
        RulesError::GatewayOutside { .. }
    ));
    assert!(matches!(
        refuse(&|spec| {
            spec.networks[1].subnets[0].gateway = None;
            spec.networks[1].subnets[0].net = "10.9.0.128/25".parse().unwrap();
        }),
        RulesError::Overlap(..)
    ));
    assert!(matches!(refuse(&|spec| spec.external.push(address("A"))), RulesError::ExternalInside(..)));
    assert!(matches!(refuse(&|spec| spec.external.push(address("LO"))), RulesError::External(_)));
    for (text, expected) in [
        ("8080:S:80/tcp", "is published to an address that is in no network"),
        ("8080:PRIV:80/tcp", "is published to an internal network, which has no way in"),
        ("8080-8081:B:80/tcp", "has 2 host ports for 1 target ports; use ranges of one length"),
        ("EXT6:8080:B:80/tcp", "mixes address families; publish IPv4 to IPv4 and IPv6 to IPv6"),
    ] {
        let error = refuse(&|spec| spec.publish.push(publish(text))).to_string();
        assert!(error.ends_with(expected), "{error}");
    }
    let taken = refuse(&|spec| spec.publish = vec![publish("8000-8010:B:80-90/tcp"), publish("EXT:8005:A:80/tcp")]);
    assert_eq!(
        taken.to_string(),
        "203.0.113.1:8005->10.9.0.2:80/tcp and 0.0.0.0:8000-8010->10.9.0.3:80-90/tcp claim the same host port"
    );
    let mut routed = spec(&["EXT:8080:B:80/tcp", "EXT6:8080:B6:80/tcp", "8080:B:80/udp"]);
    routed.networks[0].subnets[0].translation = Translation::Routed;
    assert!(Rules::try_from(routed).is_ok());
}

/// Rules survive JSON, and unknown words in it are refused.
#[test]
fn rules_as_json() {
    let mut rules = spec(&["EXT:8080-8090:B:80-90/tcp", "8080:B6:80/udp"]);
    rules.settings.mapping = vswitch_nat::rules::Mapping::EndpointIndependent(Default::default());
    let json = serde_json::to_string(&rules).unwrap();
    assert_eq!(serde_json::from_str::<vswitch_nat::RulesSpec>(&json).unwrap(), rules);
    assert!(json.contains(r#""host_ports":"8080-8090""#), "{json}");
    assert!(serde_json::from_str::<vswitch_nat::RulesSpec>(&json.replace("external", "extrenal")).is_err());
    assert_eq!(serde_json::from_str::<vswitch_nat::RulesSpec>("{}").unwrap(), Default::default());
}
