//! ICMP queries and errors (RFC 5508), rows I1 to I21.

use vswitch_nat::NatDrop;
use vswitch_nat::route::IcmpError;
use vswitch_nat::rules::PortSelection;

use super::notation::frame;
use super::world::{NET, World, spec};
use vswitch_nat::table::Leg;

fn with_udp_flow() -> World {
    let mut world = World::new();
    assert_eq!(world.send("udp A:5000 > S:7000"), "up: udp EXT:5000 > S:7000");
    world
}

fn identifier(text: &str) -> u16 {
    text.rsplit_once("id=").unwrap().1.parse().unwrap()
}

// I1
/// One source's identifier stays the same towards every destination.
#[test]
fn i1_identifier_is_kept() {
    let mut world = World::new();
    assert_eq!(world.send("icmp A > S echo id=4242"), "up: icmp EXT > S echo id=4242");
    assert_eq!(world.send("icmp A > S2 echo id=4242"), "up: icmp EXT > S2 echo id=4242");
    assert_eq!(world.send("icmp S2 > EXT reply id=4242"), "net9: icmp S2 > A reply id=4242");
}

// I2, C12
/// Where identifiers clash another is drawn, and each gets its own answers.
#[test]
fn i2_identifier_clash() {
    let mut world = World::new();
    world.send("icmp A > S echo id=4242");
    let other = identifier(&world.send("icmp B > S echo id=4242"));
    assert_ne!(other, 4242);
    assert_eq!(world.send("icmp S > EXT reply id=4242"), "net9: icmp S > A reply id=4242");
    assert_eq!(world.send(&format!("icmp S > EXT reply id={other}")), "net9: icmp S > B reply id=4242");
}

// I3
/// A query lives 60 s, each request anew.
#[test]
fn i3_query_timer() {
    let mut world = World::new();
    for _ in 0..3 {
        world.send("icmp A > S echo id=1");
        world.pass(59);
    }
    assert_eq!(world.send("icmp S > EXT reply id=1"), "net9: icmp S > A reply id=1");
    world.pass(61);
    assert_eq!(world.send("icmp S > EXT reply id=1"), "self");
}

// I4
/// Only queries make state: an unsolicited answer, from either side, makes none.
#[test]
fn i4_only_queries_make_state() {
    let mut world = World::new();
    assert_eq!(world.send("icmp S > EXT reply id=4242"), "self");
    assert_eq!(world.send("icmp A > S reply id=4242"), "unsolicited-reply");
    assert_eq!(world.count(), 0);
    for (query, answer) in [(13, 14), (15, 16), (17, 18)] {
        assert_eq!(
            world.send(&format!("icmp A > S type={query} id=7")),
            format!("up: icmp EXT > S type={query} code=0")
        );
        assert_eq!(
            world.send(&format!("icmp S > EXT type={answer} id=7")),
            format!("net9: icmp S > A type={answer} code=0")
        );
    }
}

// I5
/// An error with a wrong checksum is dropped.
#[test]
fn i5_outer_checksum() {
    let mut world = with_udp_flow();
    assert_eq!(world.send("icmp S > EXT type=3 code=3 badsum quoting udp EXT:5000 > S:7000"), "bad-checksum");
}

// I6
/// So is one that quotes a packet with a wrong IP header checksum.
#[test]
fn i6_quoted_ip_checksum() {
    let mut world = with_udp_flow();
    assert_eq!(world.send("icmp S > EXT type=3 code=3 quoting udp EXT:5000 > S:7000 badip"), "bad-quotation");
}

// I7
/// Options in the quoted header are looked past.
#[test]
fn i7_quoted_options() {
    let mut world = with_udp_flow();
    let mut sent = frame("icmp S > EXT type=3 code=3 quote=36 quoting udp EXT:5000 > S:7000 options=2");
    let outcome = world.send_frame(Leg::Uplink, &mut sent);
    assert_eq!(outcome, "net9: icmp S > A type=3 code=3 quoting udp A:5000 > S:7000");
    assert_eq!(sent.bytes[42], 0x47);
    assert_eq!(sent.bytes[42 + 28..42 + 30], 5000u16.to_be_bytes());
}

// I8
/// The quoted packet's own L4 checksum is not verified.
#[test]
fn i8_quoted_l4_checksum() {
    let mut world = with_udp_flow();
    assert_eq!(
        world.send("icmp S > EXT type=3 code=3 quoting udp EXT:5000 > S:7000 badsum"),
        "net9: icmp S > A type=3 code=3 quoting udp A:5000 > S:7000"
    );
}

// I9
/// Padding and extension objects behind the quoted packet pass untouched, under a right outer checksum.
#[test]
fn i9_extensions() {
    let mut world = with_udp_flow();
    let mut sent = frame("icmp S > EXT type=11 code=0 quoting udp EXT:5000 > S:7000 len=140");
    let tail = sent.bytes[42 + 30..].to_vec();
    assert!(world.send_frame(Leg::Uplink, &mut sent).starts_with("net9: icmp S > A type=11"));
    assert_eq!(sent.bytes[42 + 30..], tail);
}

// I10, C15
/// Errors from outside: destination and quoted source become the endpoint's; type, code and MTU stay; the quoted
/// checksums are right again.
#[test]
fn i10_errors_inwards() {
    for (kind, code, rest) in [(3, 3, 0), (3, 4, 1400), (11, 0, 0), (12, 0, 0)] {
        let mut world = with_udp_flow();
        let text = format!("icmp R > EXT type={kind} code={code} rest={rest} quoting udp EXT:5000 > S:7000");
        let mut sent = frame(&text);
        assert_eq!(
            world.send_frame(Leg::Uplink, &mut sent),
            format!("net9: icmp R > A type={kind} code={code} quoting udp A:5000 > S:7000")
        );
        assert_eq!(sent.bytes[38..42], u32::to_be_bytes(rest), "the rest of the header");
        let expected = frame("udp A:5000 > S:7000");
        assert_eq!(sent.bytes[42..], expected.bytes[14..], "the quoted packet is what A sent, checksums included");
    }
}

// I11
/// A quotation of 28 bytes keeps its length; ports are translated, a checksum that is not there is not.
#[test]
fn i11_short_quotation() {
    let mut world = World::new();
    world.send("tcp A:4000 > S:80 S seq=1000");
    let mut sent = frame("icmp R > EXT type=11 code=0 quote=28 quoting tcp EXT:4000 > S:80 S seq=1000");
    let length = sent.bytes.len();
    assert_eq!(world.send_frame(Leg::Uplink, &mut sent), "net9: icmp R > A type=11 code=0 quoting tcp A:4000 > S:80");
    assert_eq!(sent.bytes.len(), length);
    assert_eq!(sent.bytes[62..66], [0x0f, 0xa0, 0, 80]);
}

// I12
/// An error about no flow is dropped.
#[test]
fn i12_no_flow() {
    let mut world = with_udp_flow();
    assert_eq!(world.send("icmp S > EXT type=3 code=3 quoting udp EXT:5999 > S:7000"), "no-flow-for-error");
}

// I13
/// An error must come to the source of the packet that it quotes.
#[test]
fn i13_wrong_destination() {
    let mut spec = spec(&[]);
    spec.external.push(super::notation::address("EXT2"));
    let mut world = World::with(spec);
    let sent = world.send("udp A:5000 > S:7000");
    let (own, other) = if sent.contains("EXT2") { ("EXT2", "EXT") } else { ("EXT", "EXT2") };
    let error = |to| format!("icmp S > {to} type=3 code=3 quoting udp {own}:5000 > S:7000");
    assert_eq!(world.send(&error(other)), "mismatched-error");
    assert!(world.send(&error(own)).starts_with("net9:"));
}

// I14
/// Errors from inside leave from the external address and quote what the outside sent.
#[test]
fn i14_errors_outwards() {
    let mut world = World::publishing(&["8053:B:53/udp"]);
    assert_eq!(world.send("udp S:7000 > EXT:8053"), "net9: udp S:7000 > B:53");
    let mut sent = frame("icmp B > S type=3 code=3 quoting udp S:7000 > B:53");
    assert_eq!(world.send_frame(NET, &mut sent), "up: icmp EXT > S type=3 code=3 quoting udp S:7000 > EXT:8053");
    assert_eq!(sent.bytes[42..], frame("udp S:7000 > EXT:8053").bytes[14..]);
}

// I16
/// Errors about hairpinned packets find their way, too.
#[test]
fn i16_hairpinned_error() {
    let mut world = World::publishing(&["8053:B:53/udp"]);
    world.send("udp A:5000 > EXT:8053");
    assert_eq!(
        world.send("icmp B > EXT type=3 code=3 quoting udp EXT:5000 > B:53"),
        "net9: icmp EXT > A type=3 code=3 quoting udp A:5000 > EXT:8053"
    );
}

// I17
/// A flow for which there is no port is refused, and its sender is to be told "prohibited".
#[test]
fn i17_no_port_is_told() {
    let mut spec = spec(&[]);
    spec.settings.ports = PortSelection::Range("4000".parse().unwrap());
    let mut world = World::with(spec);
    world.send("udp A:4000 > S:7000");
    assert_eq!(world.send("udp B:4000 > S:7000"), "no-port");
    assert_eq!(IcmpError::for_nat(NatDrop::NoPort), Some(IcmpError::Prohibited));
    assert_eq!(IcmpError::for_nat(NatDrop::OutOfWindow), None);
}

// I18
/// Redirects are not for those behind a translator.
#[test]
fn i18_redirect() {
    let mut world = with_udp_flow();
    assert_eq!(world.send("icmp S > EXT type=5 code=1 quoting udp EXT:5000 > S:7000"), "redirect");
}

// I19
/// Unknown types are dropped.
#[test]
fn i19_unknown_types() {
    let mut world = World::new();
    for kind in [1, 2, 6, 9, 10, 19, 40, 255] {
        assert_eq!(world.send(&format!("icmp A > S type={kind}")), "unknown-icmp", "{kind}");
    }
}

// I20
/// An error about an error is dropped.
#[test]
fn i20_error_about_an_error() {
    let mut world = with_udp_flow();
    assert_eq!(
        world.send("icmp R > EXT type=3 code=1 quoting icmp EXT > S type=3 code=3 quoting udp S:7000 > EXT:5000"),
        "bad-quotation"
    );
}

// I21, C13
/// ICMPv6: queries and the four errors are translated like ICMPv4's, under the pseudo-header's checksum.
#[test]
fn i21_icmpv6() {
    let mut world = World::new();
    assert_eq!(world.send("icmp A6 > S6 echo id=9"), "up: icmp EXT6 > S6 echo id=9");
    let other = identifier(&world.send("icmp B6 > S6 echo id=9"));
    assert_eq!(world.send(&format!("icmp S6 > EXT6 reply id={other}")), "net9: icmp S6 > B6 reply id=9");
    world.send("udp A6:5000 > S6:7000");
    for kind in 1..=4 {
        assert_eq!(
            world.send(&format!("icmp R6 > EXT6 type={kind} quoting udp EXT6:5000 > S6:7000")),
            format!("net9: icmp R6 > A6 type={kind} code=0 quoting udp A6:5000 > S6:7000")
        );
    }
    assert_eq!(world.send("icmp A6 > S6 type=137 quoting udp A6:5000 > S6:7000"), "redirect");
    assert_eq!(world.send("icmp A6 > S6 type=135"), "unknown-icmp");
}

/// An error about an echo request carries its identifier back.
#[test]
fn errors_about_queries() {
    let mut world = World::new();
    world.send("icmp A > S echo id=77");
    let other = identifier(&world.send("icmp B > S echo id=77"));
    assert_eq!(
        world.send(&format!("icmp R > EXT type=11 code=0 quoting icmp EXT > S echo id={other}")),
        "net9: icmp R > B type=11 code=0 quoting icmp B > S echo id=77"
    );
}
