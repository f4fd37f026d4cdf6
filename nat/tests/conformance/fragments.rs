//! Fragments, rows F1 to F8.

use std::time::Duration;

use vswitch_frame::Timestamp;
use vswitch_nat::rules::Mapping;
use vswitch_nat::table::Limits;
use vswitch_nat::translate::FragmentLimits;
use vswitch_nat::{Context, Decision, Nat};

use super::notation::{describe, frame};
use super::world::{NET, World, spec};

/// A datagram of 3008 bytes in three fragments, by its source, destination and identification.
fn fragments(ends: &str, id: u32) -> [String; 3] {
    let part = |rest: &str| format!("udp {ends} len=3000 ip-id={id} {rest}");
    [part("frag=0 part=1000 more"), part("frag=1000 part=1000 more"), part("frag=2000")]
}

/// Sends the frames that were released, and says what became of each.
fn release(world: &mut World) -> Vec<String> {
    let mut outcomes = Vec::new();
    for held in world.nat.released() {
        let mut sent = frame("udp A:1 > S:1");
        sent.bytes = held.packet.view().frame().to_vec();
        outcomes.push(world.send_frame(held.ingress, &mut sent));
    }
    outcomes
}

// F1, F2, F6
/// Fragments in order leave at once, each as it came, all from the external address.
#[test]
fn f1_in_order() {
    let mut world = World::new();
    let mut whole = vec![0; 3008];
    for (text, expected) in fragments("A:5000 > S:7000", 77).iter().zip([
        "up: udp EXT:5000 > S:7000",
        "up: frag=1000 EXT > S",
        "up: frag=2000 EXT > S",
    ]) {
        let mut sent = frame(text);
        let before = sent.bytes.clone();
        assert_eq!(world.send_frame(NET, &mut sent), expected);
        assert_eq!(sent.bytes.len(), before.len());
        assert_eq!(sent.bytes[18..22], before[18..22], "identification, flags and offset");
        let offset = usize::from(u16::from_be_bytes([sent.bytes[20], sent.bytes[21]]) & 0x1fff) * 8;
        whole[offset..offset + sent.bytes.len() - 34].copy_from_slice(&sent.bytes[34..]);
    }
    // The receiver's sum over the reassembled datagram holds.
    let expected = frame("udp EXT:5000 > S:7000 len=3000");
    assert_eq!(whole, expected.bytes[34..]);
}

// F1, F7
/// In reverse order they wait for the first, then leave in order.
#[test]
fn f1_reversed() {
    for ends in ["A:5000 > S:7000", "A6:5000 > S6:7000"] {
        let mut world = World::new();
        let [first, second, third] = fragments(ends, 78);
        assert_eq!(world.send(&third), "held");
        assert_eq!(world.send(&second), "held");
        assert!(world.nat.released().is_empty());
        assert!(world.send(&first).starts_with("up: udp EXT"));
        let released = release(&mut world);
        assert!(released[0].starts_with("up: frag=1000 EXT"), "{released:?}");
        assert!(released[1].starts_with("up: frag=2000 EXT"), "{released:?}");
        assert_eq!(world.nat.fragment_counters().held_bytes, 0);
    }
}

// F1
/// Inbound fragments of an answer reach the source inside, and those to the switch itself the switch.
#[test]
fn f1_inbound() {
    let mut world = World::new();
    world.send("udp A:5000 > S:7000");
    let [first, second, third] = fragments("S:7000 > EXT:5000", 79);
    assert_eq!(world.send(&second), "held");
    assert_eq!(world.send(&first), "net9: udp S:7000 > A:5000");
    assert_eq!(release(&mut world), ["net9: frag=1000 S > A"]);
    assert_eq!(world.send(&third), "net9: frag=2000 S > A");
    let [first, second, _] = fragments("S:7000 > EXT:9", 80);
    assert_eq!(world.send(&second), "held");
    assert_eq!(world.send(&first), "self");
    assert_eq!(release(&mut world), ["self"]);
}

// F3
/// A lone later fragment is held, forgotten after 30 s (IPv6: 60 s), and counted.
#[test]
fn f3_lone_fragment() {
    for (ends, lifetime) in [("A:5000 > S:7000", 30), ("A6:5000 > S6:7000", 60)] {
        let mut world = World::new();
        let [_, second, _] = fragments(ends, 1);
        assert_eq!(world.send(&second), "held");
        world.pass(lifetime - 1);
        assert_eq!(world.nat.fragment_counters().datagrams, 1);
        world.now = world.now + Duration::from_secs(1);
        assert_eq!(world.nat.handle_timeout(world.now), 1, "the fragment is told as lost");
        assert_eq!(world.nat.fragment_counters().datagrams, 0);
        assert_eq!(world.nat.fragment_counters().held_bytes, 0);
        assert_eq!(world.nat.next_timeout(), None);
    }
}

// F4
/// However many datagrams begin, what is kept stays bounded, and whole packets pass.
#[test]
fn f4_memory_bound() {
    let mut world = World::new();
    let mut kept = 0;
    for id in 0..10_000 {
        let source = format!("10.9.0.{}", 2 + id % 200);
        let text = format!("udp {source}:5000 > S:7000 len=3000 ip-id={id} frag=1000 part=1000 more");
        let outcome = world.send(&text);
        kept += u32::from(outcome == "held");
        assert!(outcome == "held" || outcome == "fragment-overflow", "{outcome}");
    }
    assert!(kept > 4000, "{kept}");
    let counters = world.nat.fragment_counters();
    assert!(counters.datagrams <= 4096 && counters.held_bytes <= 4 << 20, "{counters:?}");
    assert_eq!(world.send("udp A:6000 > S:7000"), "up: udp EXT:6000 > S:7000");
}

// F4
/// One source cannot take the room of others, and one datagram not that of its source.
#[test]
fn f4_fair_bounds() {
    let mut world = World::new();
    let limits = FragmentLimits { datagrams_per_source: 4, fragments_per_datagram: 3, ..FragmentLimits::default() };
    world.nat = Nat::new(Limits::default(), limits, 1);
    let later = |source: &str, id: u32, offset: u32| {
        format!("udp {source}:5000 > S:7000 len=3000 ip-id={id} frag={offset} part=8 more")
    };
    for id in 0..4 {
        assert_eq!(world.send(&later("A", id, 1000)), "held");
    }
    assert_eq!(world.send(&later("A", 4, 1000)), "fragment-overflow");
    assert_eq!(world.send(&later("B", 4, 1000)), "held");
    assert_eq!(world.send(&later("B", 4, 1008)), "held");
    assert_eq!(world.send(&later("B", 4, 1016)), "held");
    assert_eq!(world.send(&later("B", 4, 1024)), "fragment-overflow");
}

// F5
/// A fragment that overlaps another spoils its datagram; a repeated one is dropped alone.
#[test]
fn f5_overlap() {
    let mut world = World::new();
    let [first, second, third] = fragments("A:5000 > S:7000", 5);
    world.send(&first);
    world.send(&second);
    assert_eq!(world.send(&second), "fragment-overlap");
    assert!(world.send(&third).starts_with("up:"));

    let [first, _, third] = fragments("A:5000 > S:7000", 6);
    world.send(&first);
    assert_eq!(world.send("udp A:5000 > S:7000 len=3000 ip-id=6 frag=992 part=1000 more"), "fragment-overlap");
    assert_eq!(world.send(&third), "fragment-overlap");
}

// F5
/// Tiny first fragments, and TCP fragments over the flags, are dropped (RFC 1858).
#[test]
fn f5_tiny() {
    let mut world = World::new();
    assert_eq!(world.send("tcp A:5000 > S:80 S ip-id=7 part=8 more"), "fragment-tiny");
    assert_eq!(world.send("tcp A:5000 > S:80 S ip-id=8 frag=8 part=8 more"), "fragment-tiny");
    assert_eq!(world.send("udp A:5000 > S:80 len=100 ip-id=9 part=12 more"), "malformed");
    assert_eq!(world.count(), 0);
}

// F1
/// A long ping passes in fragments both ways.
#[test]
fn f1_long_ping() {
    let mut world = World::new();
    world.send("icmp B > S echo id=9");
    let first = world.send("icmp A > S echo id=9 len=2000 ip-id=3 part=1000 more");
    assert!(first.starts_with("up: icmp EXT > S echo id=") && !first.ends_with("id=9"), "{first}");
    assert_eq!(world.send("icmp A > S echo id=9 len=2000 ip-id=3 frag=1000"), "up: frag=1000 EXT > S");
}

/// A datagram that is through makes room: its identification may be used again at once.
#[test]
fn identification_can_be_reused() {
    let mut world = World::new();
    for _ in 0..3 {
        for text in fragments("A:5000 > S:7000", 77) {
            assert!(world.send(&text).starts_with("up: "));
        }
    }
}

/// A first fragment that is dropped takes the later ones with it.
#[test]
fn later_fragments_share_the_fate_of_the_first() {
    let mut world = World::new();
    let [first, second, _] = fragments("A:5000 > C:7000", 9);
    assert_eq!(world.send(&first), "isolated");
    assert_eq!(world.send(&second), "isolated");
}

/// A frame that was looked up but not translated leaves no trace: a packet whose hops are used up makes no flow.
#[test]
fn lookup_alone_makes_no_flow() {
    let mut spec = spec(&[]);
    spec.settings.mapping = Mapping::PortPreserving;
    let world = World::with(spec);
    let sent = frame("udp A:5000 > S:7000");
    let context = Context { rules: &world.rules, ingress: NET, now: Timestamp::ZERO };
    let decision = world.nat.lookup(&context, &sent.admitted().packet());
    assert!(matches!(decision, Ok(Decision::Forward(_))), "{}", describe(&sent.bytes));
    assert_eq!(world.count(), 0);
}
