//! TCP: states, windows, resets, pickup (RFC 5382, 7857, 5961), rows T1 to T20. Where no RFC speaks the rows are those of
//! Linux 6.18 (net/netfilter/nf_conntrack_proto_tcp.c).

use vswitch_nat::rules::{Filtering, Mapping, PortSelection};
use vswitch_nat::table::tcp::{Pickup, RefusedConnection, WindowCheck};

use super::udp::external_port;
use super::world::{World, spec};

/// Opens A:4000 > S:80, the client's next byte being 1001, the server's 5001.
fn open(world: &mut World) {
    assert_eq!(world.send("tcp A:4000 > S:80 S seq=1000"), "up: tcp EXT:4000 > S:80 S");
    assert_eq!(world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001"), "net9: tcp S:80 > A:4000 SA");
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=5001"), "up: tcp EXT:4000 > S:80 A");
}

fn established() -> World {
    let mut world = World::linux();
    open(&mut world);
    assert_eq!(world.state(), "ESTABLISHED 432000");
    world
}

const UP: &str = "up: tcp EXT:4000 > S:80 ";
const DOWN: &str = "net9: tcp S:80 > A:4000 ";

/// Closes the connection of [`established`]: the client first.
fn close(world: &mut World) {
    world.send("tcp A:4000 > S:80 FA seq=1001 ack=5001");
    world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1002");
    world.send("tcp S:80 > EXT:4000 FA seq=5001 ack=1002");
    world.send("tcp A:4000 > S:80 A seq=1002 ack=5002");
}

// T1, U1
/// SYNs of one source leave from one port; no other source gets it under endpoint-independent mapping.
#[test]
fn t1_mapping() {
    let mut world = World::new();
    assert_eq!(world.send("tcp A:4000 > S:80 S"), "up: tcp EXT:4000 > S:80 S");
    assert_eq!(world.send("tcp A:4000 > S2:81 S"), "up: tcp EXT:4000 > S2:81 S");
    let mut spec = spec(&[]);
    spec.settings.mapping = Mapping::EndpointIndependent(Filtering::AddressAndPortDependent);
    let mut world = World::with(spec);
    world.send("tcp A:4000 > S:80 S");
    let port = external_port(&world.send("tcp B:4000 > S2:80 S"));
    assert_ne!(port, 4000);
    assert_eq!(external_port(&world.send("tcp B:4000 > S:80 S")), port);
}

// T2
/// A simultaneous open passes and is established.
#[test]
fn t2_simultaneous_open() {
    let mut world = World::linux();
    world.send("tcp A:4000 > S:80 S seq=1000");
    assert_eq!(world.send("tcp S:80 > EXT:4000 S seq=5000"), format!("{DOWN}S"));
    assert_eq!(world.state(), "SYN_SENT2 120");
    assert_eq!(world.send("tcp A:4000 > S:80 SA seq=1000 ack=5001"), format!("{UP}SA"));
    assert_eq!(world.state(), "SYN_RECV 60");
    assert_eq!(world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001"), format!("{DOWN}SA"));
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=5001"), format!("{UP}A"));
    assert_eq!(world.state(), "ESTABLISHED 432000");
}

// T3
/// The walk through the states, with Linux's timers.
#[test]
fn t3_state_walk() {
    let mut world = World::linux();
    for (segment, state) in [
        ("tcp A:4000 > S:80 S seq=1000", "SYN_SENT 120"),
        ("tcp S:80 > EXT:4000 SA seq=5000 ack=1001", "SYN_RECV 60"),
        ("tcp A:4000 > S:80 A seq=1001 ack=5001", "ESTABLISHED 432000"),
        ("tcp A:4000 > S:80 PA seq=1001 ack=5001 len=100", "ESTABLISHED 300"),
        ("tcp S:80 > EXT:4000 A seq=5001 ack=1101", "ESTABLISHED 432000"),
        ("tcp A:4000 > S:80 FA seq=1101 ack=5001", "FIN_WAIT 120"),
        ("tcp S:80 > EXT:4000 A seq=5001 ack=1102", "CLOSE_WAIT 60"),
        ("tcp S:80 > EXT:4000 FA seq=5001 ack=1102", "LAST_ACK 30"),
        ("tcp A:4000 > S:80 A seq=1102 ack=5002", "TIME_WAIT 120"),
    ] {
        let outcome = world.send(segment);
        assert!(outcome.contains(": tcp "), "{segment}: {outcome}");
        assert_eq!(world.state(), state, "{segment}");
        assert_eq!(world.flow().contains("[ASSURED]"), !state.starts_with("SYN"), "{segment}");
    }
}

// T4
/// By default what is half open or closing lives 240 s, what is open more than two hours.
#[test]
fn t4_default_timers() {
    let mut world = World::new();
    world.send("tcp A:4000 > S:80 S seq=1000");
    assert_eq!(world.state(), "SYN_SENT 240");
    world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001");
    assert_eq!(world.state(), "SYN_RECV 240");
    world.send("tcp A:4000 > S:80 A seq=1001 ack=5001");
    world.pass(7440);
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1001"), format!("{DOWN}A"));
    close(&mut world);
    assert_eq!(world.state(), "TIME_WAIT 240");
}

// T5
/// An unsolicited SYN makes nothing, and the SYN that leaves meanwhile finds its port free.
#[test]
fn t5_unsolicited_syn() {
    let mut world = World::new();
    assert_eq!(world.send("tcp S:80 > EXT:4000 S seq=5000"), "self");
    assert_eq!(world.count(), 0);
    open(&mut world);
}

// T6
/// A reset that refuses a connection is delivered; the entry lingers, and a retry keeps its port.
#[test]
fn t6_reset_is_translated() {
    let mut world = World::new();
    world.send("tcp B:4000 > S:80 S seq=1");
    let port = external_port(&world.send("tcp A:4000 > S:80 S seq=1000"));
    let reset = format!("tcp S:80 > EXT:{port} RA seq=0 ack=1001");
    assert_eq!(world.send(&reset), "net9: tcp S:80 > A:4000 RA");
    world.pass(200);
    assert_eq!(world.count(), 2);
    let retry = world.send("tcp A:4000 > S:80 S seq=9000");
    assert_eq!(retry, format!("up: tcp EXT:{port} > S:80 S"));
}

// T6
/// In Linux's manner the entry goes with the reset.
#[test]
fn t6_forget_refused() {
    let mut spec = spec(&[]);
    spec.settings.tcp.refused = RefusedConnection::Forget;
    let mut world = World::with(spec);
    world.send("tcp A:4000 > S:80 S seq=1000");
    assert_eq!(world.send("tcp S:80 > EXT:4000 RA seq=0 ack=1001"), format!("{DOWN}RA"));
    assert_eq!(world.count(), 0);
}

// T7
/// A reset out of the window goes nowhere and changes nothing, even when lax.
#[test]
fn t7_reset_out_of_window() {
    let mut liberal = spec(&[]);
    liberal.settings.tcp.window_check = WindowCheck::Liberal;
    for mut world in [World::linux(), World::with(liberal)] {
        open(&mut world);
        assert_eq!(world.send("tcp S:80 > EXT:4000 R seq=505001"), "out-of-window");
        assert_eq!(world.send("tcp S:80 > EXT:4000 R seq=4001"), "out-of-window");
        assert!(world.state().starts_with("ESTABLISHED 432000"));
    }
}

// T8
/// A reset in the window but not exact passes on a short timer; data restores the long one.
#[test]
fn t8_inexact_reset() {
    let mut world = established();
    assert_eq!(world.send("tcp S:80 > EXT:4000 R seq=5501"), format!("{DOWN}R"));
    assert_eq!(world.state(), "ESTABLISHED 10");
    world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1001 len=10");
    world.send("tcp A:4000 > S:80 A seq=1001 ack=5011");
    assert_eq!(world.state(), "ESTABLISHED 432000");
}

// T9
/// An exact reset closes.
#[test]
fn t9_exact_reset() {
    let mut world = established();
    assert_eq!(world.send("tcp S:80 > EXT:4000 R seq=5001"), format!("{DOWN}R"));
    assert_eq!(world.state(), "CLOSE 10");
}

// T10
/// Once a FIN was seen a reset closes, exact or not.
#[test]
fn t10_inexact_reset_after_fin() {
    let mut world = established();
    world.send("tcp A:4000 > S:80 FA seq=1001 ack=5001");
    world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1002");
    assert_eq!(world.state(), "CLOSE_WAIT 60");
    assert_eq!(world.send("tcp S:80 > EXT:4000 R seq=5101"), format!("{DOWN}R"));
    assert_eq!(world.state(), "CLOSE 10");
}

// T10
/// Nor need it be in the window: by then the ends may use the ports for another connection.
#[test]
fn t10_reset_out_of_window_after_fin() {
    let mut world = established();
    close(&mut world);
    assert_eq!(world.send("tcp S:80 > EXT:4000 R seq=900000"), format!("{DOWN}R"));
    assert_eq!(world.state(), "CLOSE 10");
}

// T9
/// A reset that answers a SYN which was let through on an open connection is judged by that SYN, not by what was
/// acknowledged before.
#[test]
fn t9_reset_to_a_syn_let_through() {
    let mut world = established();
    assert_eq!(world.send("tcp A:4000 > S:80 S seq=700000"), format!("{UP}S"));
    assert_eq!(world.send("tcp S:80 > EXT:4000 RA seq=1 ack=700001"), format!("{DOWN}RA"));
    assert_eq!(world.state(), "CLOSE 10");
}

// T7
/// When each side ends the connection out of the window, the ends know better: the entry does not linger for days.
#[test]
fn t7_ends_out_of_window() {
    let mut world = established();
    assert_eq!(world.send("tcp A:4000 > S:80 FA seq=900001 ack=5001"), "out-of-window");
    assert_eq!(world.state(), "ESTABLISHED 432000");
    assert_eq!(world.send("tcp S:80 > EXT:4000 FA seq=800001 ack=1001"), "out-of-window");
    assert_eq!(world.state(), "ESTABLISHED 300");
}

// T11
/// A challenge ACK in answer to a SYN passes, so does its reset, and the connection then opens.
#[test]
fn t11_challenge_to_a_syn() {
    let mut world = World::linux();
    world.send("tcp A:4000 > S:80 S seq=1000");
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=77000 ack=99000"), format!("{DOWN}A"));
    assert_eq!(world.send("tcp A:4000 > S:80 R seq=99000"), format!("{UP}R"));
    assert!(world.flow().contains("SYN_SENT") && world.flow().contains("[UNREPLIED]"), "{}", world.flow());
    open(&mut world);
    assert!(world.flow().contains("[ASSURED]"), "{}", world.flow());
}

// T12, T19
/// A SYN in TIME_WAIT opens anew from the same port, which nobody else gets meanwhile.
#[test]
fn t12_reopening() {
    let mut world = established();
    close(&mut world);
    assert_eq!(world.state(), "TIME_WAIT 120");
    world.pass(60);
    assert_ne!(external_port(&world.send("tcp B:4000 > S:80 S seq=1")), 4000);
    assert_eq!(world.send("tcp A:4000 > S:80 S seq=9000"), format!("{UP}S"));
    let states: Vec<_> = world.flows().iter().map(|flow| (flow.state.unwrap().name(), flow.replied)).collect();
    assert_eq!(states, [("SYN_SENT", false), ("SYN_SENT", false)]);
}

// T12
/// In TIME_WAIT the side that was connected to may open anew, too: the old flow goes and the SYN is looked up like any.
#[test]
fn t12_reopening_from_the_other_side() {
    let mut spec = spec(&["4000:A:4000/tcp"]);
    spec.settings.timeouts = vswitch_nat::table::Timeouts::LINUX;
    let mut world = World::with(spec);
    open(&mut world);
    close(&mut world);
    assert_eq!(world.state(), "TIME_WAIT 120");
    assert_eq!(world.send("tcp S:80 > EXT:4000 S seq=900000"), format!("{DOWN}S"));
    assert_eq!(world.state(), "SYN_SENT 120");
    assert_eq!(world.flows()[0].kind, vswitch_nat::table::FlowKind::Publish);
    assert_eq!(world.send("tcp A:4000 > S:80 SA seq=300000 ack=900001"), format!("{UP}SA"));
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=900001 ack=300001"), format!("{DOWN}A"));
    assert_eq!(world.state(), "ESTABLISHED 432000");
}

// T12
/// Without a published port it comes in no more than any other SYN does.
#[test]
fn t12_no_way_in_by_reopening() {
    let mut world = established();
    close(&mut world);
    assert_eq!(world.send("tcp S:80 > EXT:4000 S seq=900000"), "self");
    assert_eq!(world.count(), 0);
}

// T12
/// An open connection is not reopened, by whomever.
#[test]
fn t12_open_is_not_reopened() {
    let mut world = established();
    assert_eq!(world.send("tcp S:80 > EXT:4000 S seq=900000"), "invalid-segment");
    assert_eq!(world.send("tcp A:4000 > S:80 SA seq=300000 ack=900001"), "invalid-segment");
    assert_eq!(world.state(), "ESTABLISHED 432000");
}

// T3
/// A SYN that is repeated without an answer does not lengthen the life of its entry.
#[test]
fn t3_repeated_syn() {
    let mut world = World::linux();
    world.send("tcp A:4000 > S:80 S seq=1000");
    world.pass(100);
    assert_eq!(world.send("tcp A:4000 > S:80 S seq=1000"), format!("{UP}S"));
    assert_eq!(world.state(), "SYN_SENT 20");
}

// T13
/// Lost and repeated handshake segments pass, and the connection does not stall.
#[test]
fn t13_handshake_losses() {
    let mut world = World::linux();
    world.send("tcp A:4000 > S:80 S seq=1000");
    world.send("tcp A:4000 > S:80 S seq=1000");
    world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001");
    assert_eq!(world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001"), format!("{DOWN}SA"));
    // The ACK is lost behind us: the server repeats its SYN-ACK, the client its ACK.
    world.send("tcp A:4000 > S:80 A seq=1001 ack=5001");
    assert_eq!(world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001"), format!("{DOWN}SA"));
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=5001"), format!("{UP}A"));
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1001 len=50"), format!("{DOWN}A"));
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=5051"), format!("{UP}A"));
    assert_eq!(world.state(), "ESTABLISHED 432000");
}

// T13
/// A SYN with other numbers on an open connection is let through; the SYN-ACK that accepts it brings us into step.
#[test]
fn t13_resynchronisation() {
    let mut world = established();
    assert_eq!(world.send("tcp A:4000 > S:80 S seq=700000"), format!("{UP}S"));
    assert_eq!(world.state(), "ESTABLISHED 432000");
    assert_eq!(world.send("tcp S:80 > EXT:4000 SA seq=800000 ack=700001"), format!("{DOWN}SA"));
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=700001 ack=800001"), format!("{UP}A"));
    assert_eq!(world.state(), "ESTABLISHED 432000");
}

// T14
/// Data far out of the window is dropped, unless lax.
#[test]
fn t14_data_out_of_window() {
    let mut world = established();
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5005001 ack=1001 len=10"), "out-of-window");
    let mut spec = spec(&[]);
    spec.settings.tcp.window_check = WindowCheck::Liberal;
    let mut world = World::with(spec);
    open(&mut world);
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5005001 ack=1001 len=10"), format!("{DOWN}A"));
}

// T14
/// Window scaling counts when both sides offer it, and only then.
#[test]
fn t14_window_scale() {
    for (shift, passes) in [("ws=7", true), ("", false)] {
        let mut world = World::linux();
        world.send(&format!("tcp A:4000 > S:80 S seq=1000 win=60000 {shift}"));
        world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001 win=60000 ws=7");
        world.send("tcp A:4000 > S:80 A seq=1001 ack=5001 win=60000");
        let far = world.send("tcp S:80 > EXT:4000 A seq=1005001 ack=1001 len=10");
        assert_eq!(far == format!("{DOWN}A"), passes, "{far}");
    }
}

// T15
/// A connection from before a restart is picked up, with its port, and is assured after one more segment each way.
#[test]
fn t15_pickup() {
    let mut world = World::new();
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=5001"), format!("{UP}A"));
    assert_eq!(world.state(), "ESTABLISHED 300");
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1001"), format!("{DOWN}A"));
    world.send("tcp A:4000 > S:80 A seq=1001 ack=5001");
    assert_eq!(world.state(), "ESTABLISHED 432000");
    assert!(world.flow().contains("[ASSURED]"), "{}", world.flow());

    let mut spec = spec(&[]);
    spec.settings.tcp.pickup = Pickup::SynOnly;
    let mut world = World::with(spec);
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=5001"), "invalid-segment");
    assert_eq!(world.count(), 0);
}

// T16
/// What opens no connection and belongs to none is dropped, and never leaves.
#[test]
fn t16_no_pickup_by_other_segments() {
    let mut world = World::new();
    for flags in ["SA", "R", "RA", "FA", "F", "SF", "SR", ".", "FSRPAU", "P"] {
        assert_eq!(world.send(&format!("tcp A:4000 > S:80 {flags} seq=1 ack=1")), "invalid-segment", "{flags}");
    }
    assert_eq!(world.count(), 0);
}

// T17
/// A wrong checksum is dropped: neither repaired nor passed on.
#[test]
fn t17_bad_checksum() {
    let mut world = World::new();
    for packet in ["tcp A:4000 > S:80 S badsum", "udp A:4000 > S:80 badsum", "udp A6:4000 > S6:80 badsum"] {
        assert_eq!(world.send(packet), "bad-checksum", "{packet}");
    }
    assert_eq!(world.send("udp A6:4000 > S6:80 nosum"), "bad-checksum");
    assert_eq!(world.count(), 0);
}

// T18
/// An ICMP error about a connection is translated and does not end it.
#[test]
fn t18_errors_end_nothing() {
    let mut world = established();
    assert_eq!(
        world.send("icmp R > EXT type=3 code=4 rest=1400 quoting tcp EXT:4000 > S:80 A seq=1001"),
        "net9: icmp R > A type=3 code=4 quoting tcp A:4000 > S:80 A"
    );
    assert_eq!(world.state(), "ESTABLISHED 432000");
}

// T20
/// In an exhausted range a SYN takes over the ports of a closed connection that it outruns, and of no other.
#[test]
fn t20_taking_over() {
    let mut spec = spec(&[]);
    spec.settings.ports = PortSelection::Range("4000-4001".parse().unwrap());
    let mut world = World::with(spec);
    open(&mut world);
    close(&mut world);
    assert_eq!(world.send("tcp B:4001 > S:80 S seq=1"), "up: tcp EXT:4001 > S:80 S");
    assert_eq!(world.send("tcp C:4000 > S:80 S seq=500"), "no-port");
    assert_eq!(world.send("tcp C:4000 > S:80 S seq=500000"), "up: tcp EXT:4000 > S:80 S");
}

// T13
/// A SYN-ACK that accepts another SYN than the one that was let through brings nobody into step.
#[test]
fn t13_foreign_syn_ack() {
    let mut world = established();
    world.send("tcp A:4000 > S:80 S seq=700000");
    assert_eq!(world.send("tcp S:80 > EXT:4000 SA seq=800000 ack=555"), format!("{DOWN}SA"));
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=800001 ack=1001 len=10"), "out-of-window");
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1001 len=10"), format!("{DOWN}A"));
}

// T13
/// A challenge ACK to a SYN in LAST_ACK does not end the connection.
#[test]
fn t13_challenge_in_last_ack() {
    let mut world = established();
    world.send("tcp A:4000 > S:80 FA seq=1001 ack=5001");
    world.send("tcp S:80 > EXT:4000 FA seq=5001 ack=1002");
    assert_eq!(world.state(), "LAST_ACK 30");
    assert_eq!(world.send("tcp A:4000 > S:80 S seq=700000"), format!("{UP}S"));
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5002 ack=1002"), format!("{DOWN}A"));
    assert_eq!(world.state(), "LAST_ACK 30");
    world.send("tcp A:4000 > S:80 A seq=1002 ack=5002");
    assert_eq!(world.state(), "TIME_WAIT 120");
}

// T14
/// An acknowledgment of what was never sent is out of the window, and so is one from long ago; SACK counts as such.
#[test]
fn t14_acknowledgments() {
    let mut world = established();
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=6001"), "out-of-window");
    world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1001 len=1000");
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=6001"), format!("{UP}A"));
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=5001"), format!("{UP}A"));
    // Long under way, perhaps: it passes, and moves nothing.
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=4294901760 win=1"), format!("{UP}A"));
    assert_eq!(world.state(), "ESTABLISHED 432000");
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=6001 ack=1001 len=1000"), format!("{DOWN}A"));
}

// T14
/// Data that was acknowledged long ago and comes once more passes, as the receiver answers it; the timer stays.
#[test]
fn t14_late_retransmission() {
    let mut world = established();
    for round in 0..3u32 {
        let (sequence, next) = (5001 + round * 60_000, 5001 + (round + 1) * 60_000);
        assert_eq!(world.send(&format!("tcp S:80 > EXT:4000 A seq={sequence} ack=1001 len=1000")), format!("{DOWN}A"));
        world.send(&format!("tcp A:4000 > S:80 A seq=1001 ack={}", sequence + 1000));
        world.send(&format!("tcp S:80 > EXT:4000 A seq={} ack=1001 len=59000", sequence + 1000));
        world.send(&format!("tcp A:4000 > S:80 A seq=1001 ack={next}"));
    }
    world.pass(100);
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1001 len=1000"), format!("{DOWN}A"));
    assert_eq!(world.state(), "ESTABLISHED 431900");
    // What the receiver then says again is in the window.
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=185001"), format!("{UP}A"));
}

// T14
/// After a zero window one byte may probe it. A little more than was granted passes, as its receiver will say what it
/// thinks of it, and may be acknowledged; more than a whole window is out of it.
#[test]
fn t14_zero_window() {
    let mut world = World::linux();
    world.send("tcp A:4000 > S:80 S seq=1000 win=100");
    world.send("tcp S:80 > EXT:4000 SA seq=5000 ack=1001");
    world.send("tcp A:4000 > S:80 A seq=1001 ack=5001 win=100");
    world.send("tcp S:80 > EXT:4000 A seq=5001 ack=1001 len=100");
    world.send("tcp A:4000 > S:80 A seq=1001 ack=5101 win=0");
    assert_eq!(world.state(), "ESTABLISHED 300");
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5101 ack=1001 len=1"), format!("{DOWN}A"));
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5104 ack=1001 len=1"), format!("{DOWN}A"));
    assert_eq!(world.send("tcp A:4000 > S:80 A seq=1001 ack=5105 win=100"), format!("{UP}A"));
    assert_eq!(world.send("tcp S:80 > EXT:4000 A seq=5306 ack=1001 len=1"), "out-of-window");
}

/// Repeating one segment over and over shortens the timer to that of a stalled connection.
#[test]
fn retransmissions_shorten_the_timer() {
    let mut world = established();
    for _ in 0..5 {
        world.send("tcp A:4000 > S:80 A seq=1001 ack=5001");
    }
    assert_eq!(world.state(), "ESTABLISHED 300");
}
