//! Listings, events and restarts (section 3.4 of the rows, U7, T15).

use vswitch_nat::rules::{Filtering, Mapping};
use vswitch_nat::table::{EventKind, FlowFilter, FlowRecord};
use vswitch_nat::{Nat, Protocol, Rebound};

use super::notation::address;
use super::udp::external_port;
use super::world::{World, spec};

/// Flows print as `conntrack -L` prints them.
#[test]
fn conntrack_format() {
    let mut world = World::linux();
    world.send("tcp A:4000 > S:80 S seq=1000");
    world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001");
    world.send("tcp A:4000 > S:80 A seq=1001 ack=5001");
    world.pass(1);
    assert_eq!(
        world.flow(),
        "tcp      6 431999 ESTABLISHED src=10.9.0.2 dst=203.0.113.2 sport=4000 dport=80 src=203.0.113.2 \
         dst=203.0.113.1 sport=80 dport=4000 [ASSURED] mark=0 use=1"
    );
    let mut world = World::linux();
    world.send("udp A:5000 > S:7000");
    world.pass(1);
    assert_eq!(
        world.flow(),
        "udp      17 29 src=10.9.0.2 dst=203.0.113.2 sport=5000 dport=7000 [UNREPLIED] src=203.0.113.2 \
         dst=203.0.113.1 sport=7000 dport=5000 mark=0 use=1"
    );
    let mut world = World::linux();
    world.send("icmp A > S echo id=4242");
    world.pass(1);
    assert_eq!(
        world.flow(),
        "icmp     1 29 src=10.9.0.2 dst=203.0.113.2 type=8 code=0 id=4242 [UNREPLIED] src=203.0.113.2 \
         dst=203.0.113.1 type=0 code=0 id=4242 mark=0 use=1"
    );
    let mut world = World::linux();
    world.send("proto=99 A > S");
    world.pass(2);
    assert_eq!(
        world.flow(),
        "unknown  99 598 src=10.9.0.2 dst=203.0.113.2 [UNREPLIED] src=203.0.113.2 dst=203.0.113.1 mark=0 use=1"
    );
}

/// A filter shows and flushes what it names, and nothing else.
#[test]
fn filters() {
    let mut world = World::publishing(&["8080:B:80/tcp"]);
    world.send("udp A:5000 > S:7000");
    world.send("tcp A:4000 > S2:80 S");
    world.send("udp C:5001 > S:7000");
    world.send("tcp S:1000 > EXT:8080 S");
    let table = world.nat.table();
    let count = |filter: FlowFilter| table.list(&filter, world.now).len();
    let all = FlowFilter::default;
    assert_eq!(count(all()), 4);
    assert_eq!(count(FlowFilter { protocol: Some(Protocol::TCP), ..all() }), 2);
    assert_eq!(count(FlowFilter { source: Some("10.9.0.0/24".parse().unwrap()), ..all() }), 2);
    assert_eq!(count(FlowFilter { destination: Some("203.0.113.3/32".parse().unwrap()), ..all() }), 1);
    assert_eq!(count(FlowFilter { endpoint: Some(address("B")), ..all() }), 1);
    assert_eq!(count(FlowFilter { network: Some(vswitch_frame::NetworkIndex::new(8)), ..all() }), 1);
    assert_eq!(table.flush(&FlowFilter { endpoint: Some(address("A")), ..all() }, world.now), 2);
    assert_eq!(count(all()), 2);
    assert_eq!(table.flows_of(vswitch_nat::Zone::Shared, address("A")), 0);
}

/// Events tell of making, changing and going, while somebody listens; lost ones are counted.
#[test]
fn events() {
    let mut world = World::linux();
    world.send("udp B:1 > S:1");
    world.nat.table().listen();
    world.send("tcp A:4000 > S:80 S seq=1000");
    world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001");
    world.send("tcp A:4000 > S:80 A seq=1001 ack=5001");
    world.send("tcp A:4000 > S:80 A seq=1001 ack=5001 len=10");
    world.nat.table().flush(&FlowFilter { protocol: Some(Protocol::TCP), ..FlowFilter::default() }, world.now);
    let (events, lost) = world.nat.table().take_events();
    let kinds: Vec<_> = events.iter().map(|event| (event.event, event.flow.state.unwrap().name())).collect();
    assert_eq!(
        kinds,
        [
            (EventKind::New, "SYN_SENT"),
            (EventKind::Update, "SYN_RECV"),
            (EventKind::Update, "ESTABLISHED"),
            (EventKind::Destroy, "ESTABLISHED"),
        ]
    );
    assert_eq!(lost, 0);
    assert!(events[0].to_string().starts_with("    [NEW] tcp      6 120 SYN_SENT src=10.9.0.2"), "{}", events[0]);
    let json = serde_json::to_string(&events[0]).unwrap();
    assert!(json.starts_with(r#"{"event":"new","original":{"protocol":6,"source":"10.9.0.2""#), "{json}");

    for port in 1..=20_000 {
        world.send(&format!("udp A:{port} > S:7000"));
    }
    let (events, lost) = world.nat.table().take_events();
    assert_eq!(events.len() as u64 + lost, 20_000);
    assert!(lost > 0);
}

// T15, U2
/// Flows outlive a restart: tuples, ports that were drawn, states and timers.
#[test]
fn restart() {
    let mut world = World::new();
    world.send("tcp A:4000 > S:80 S seq=1000");
    world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001");
    world.send("tcp A:4000 > S:80 A seq=1001 ack=5001");
    world.send("udp A:5000 > S:7000");
    let port = external_port(&world.send("udp B:5000 > S:7000"));
    let json = serde_json::to_string(&world.flows()).unwrap();

    let before = world.flows().len();
    world.nat = Nat::new(Default::default(), Default::default(), 99);
    let records: Vec<FlowRecord> = serde_json::from_str(&json).unwrap();
    let restored = world.nat.restore(&records, &world.rules, world.now);
    assert_eq!((restored.restored, restored.refused), (before, 0));
    assert_eq!(world.nat.restore(&records, &world.rules, world.now).refused, before);
    assert_eq!(world.flows().len(), before);
    world.pass(50);
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=1234567 ack=1001 len=10"), "net9: tcp S:80 > A:4000 A");
    assert_eq!(world.send(&format!("udp S:7000 > EXT:{port}")), "net9: udp S:7000 > B:5000");
    assert_eq!(world.send("udp B:5000 > S2:7000"), format!("up: udp EXT:{port} > S2:7000"));
    assert_eq!(world.send("tcp A:4000 > S:80 FA seq=1001 ack=1234577"), "up: tcp EXT:4000 > S:80 FA");
}

/// Records that cannot be are refused, not believed.
#[test]
fn bad_records() {
    let mut world = World::new();
    world.send("udp A:5000 > S:7000");
    let good = world.flows()[0].clone();
    let mut same = good.clone();
    same.reply = same.original;
    let mut tcp = good.clone();
    tcp.original = vswitch_nat::Tuple::addresses(Protocol::TCP, address("A"), address("S"));
    let mut late = good.clone();
    late.timeout.0 = 0;
    world.nat = Nat::new(Default::default(), Default::default(), 1);
    let restored = world.nat.restore(&[same, tcp, late], &world.rules, world.now);
    assert_eq!((restored.restored, restored.refused), (0, 3));
    assert_eq!(world.count(), 0);
}

/// Connections that were open for long go soon after they have ended, although they had days to live when they were last looked at.
#[test]
fn cut_short() {
    let mut world = World::linux();
    for port in 4000..4100 {
        world.send(&format!("tcp A:{port} > S:80 S seq=1000"));
        world.send(&format!("tcp S:80 > EXT:{port} SA seq=5000 ack=1001"));
        world.send(&format!("tcp A:{port} > S:80 A seq=1001 ack=5001"));
    }
    for _ in 0..60 {
        world.pass(1);
    }
    for port in 4000..4100 {
        world.send(&format!("tcp A:{port} > S:80 R seq=1001"));
    }
    for _ in 0..40 {
        world.pass(1);
    }
    assert_eq!(world.nat.table().counters().expired, 100);
}

/// Timers: nothing to do while there is nothing, and what has expired is taken out in time.
#[test]
fn timeouts_are_due() {
    let mut world = World::with(spec(&[]));
    assert_eq!(world.nat.next_timeout(), None);
    for port in 1..=100 {
        world.send(&format!("udp A:{port} > S:7000"));
    }
    world.pass(125);
    for _ in 0..8 {
        let next = world.nat.next_timeout();
        if next.is_none() {
            break;
        }
        world.pass(1);
    }
    assert_eq!(world.count(), 0);
    assert_eq!(world.nat.table().counters().expired, 100);
    assert_eq!(world.nat.next_timeout(), None);
}

/// Flows that are given another external port leave and are answered by that one from then on, and by the old one no more; they are
/// the same flows otherwise, also to those who count and listen. Flows of one source go on sharing a port.
#[test]
fn rebinding() {
    for mapping in [Mapping::PortPreserving, Mapping::EndpointIndependent(Filtering::EndpointIndependent)] {
        let mut spec = spec(&["8080:B:80/tcp"]);
        spec.settings.mapping = mapping;
        let mut world = World::with(spec);
        world.send("udp A:5000 > S:7000");
        world.send("udp S:7000 > EXT:5000");
        world.send("udp A:5000 > S2:7000");
        world.send("udp C:5001 > S:7000");
        world.send("tcp S:1000 > EXT:8080 S");
        let before = world.count();
        world.nat.table().listen();
        let of_a = FlowFilter { source: Some(address("A").into()), ..FlowFilter::default() };
        assert_eq!(world.rebind(&of_a), Rebound { moved: 2, kept: 0 });
        let (events, _) = world.nat.table().take_events();
        assert_eq!(events.iter().filter(|event| event.event == EventKind::New).count(), 2, "{events:?}");
        let port = external_port(&world.send("udp A:5000 > S:7000"));
        assert!(port != 5000, "{mapping:?}");
        assert_eq!(world.send(&format!("udp S:7000 > EXT:{port}")), "net9: udp S:7000 > A:5000");
        assert_eq!(world.send("udp S:7000 > EXT:5000"), "self", "the old one is nobody's");
        assert_eq!(external_port(&world.send("udp A:5000 > S2:7000")), port);
        assert_eq!(external_port(&world.send("udp A:5000 > S2:9")), port, "its next flows have that one, too");
        assert_eq!(world.send("udp C:5001 > S:7000"), "up: udp EXT:5001 > S:7000");
        assert_eq!(world.count(), before + 1);
        let published = FlowFilter { protocol: Some(Protocol::TCP), ..FlowFilter::default() };
        assert_eq!(world.rebind(&published), Rebound { moved: 0, kept: 1 });
        // Nothing is held when all are gone.
        world.pass(100_000);
        world.nat.table().expire_all(world.now);
        assert_eq!(world.count(), 0);
        assert_eq!(world.send("udp A:5000 > S:7000"), "up: udp EXT:5000 > S:7000");
    }
}
