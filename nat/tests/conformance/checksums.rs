//! Checksums and super-frames, rows C4 to C28. (The world completes and verifies every frame that leaves.)

use rand::SeedableRng;
use rand::rngs::StdRng;
use vswitch_frame::offload::{Gso, GsoKind, PartialChecksum};
use vswitch_frame::{Headers, PacketMut, checksum, segment};

use super::notation::{Frame, frame};
use super::world::{NET, World};
use vswitch_nat::table::Leg;

fn field(sent: &Frame) -> u16 {
    let PartialChecksum { start, offset } = sent.offload.checksum.unwrap();
    let at = usize::from(start + offset);
    u16::from_be_bytes([sent.bytes[at], sent.bytes[at + 1]])
}

// C4, C6, C8
/// A partial checksum stays the pseudo-header's sum, over the new addresses.
#[test]
fn c8_partial() {
    for text in [
        "tcp A:4000 > S:80 S partial",
        "udp A:4000 > S:80 len=11 partial",
        "tcp A6:4000 > S6:80 S partial",
        "udp A6:4000 > S6:80 len=11 partial",
    ] {
        let mut world = World::new();
        let mut sent = frame(text);
        assert!(world.send_frame(NET, &mut sent).starts_with("up: "));
        let headers = Headers::parse(&sent.bytes).unwrap();
        let expected = frame(&text.replace("A6", "EXT6").replace("A:", "EXT:"));
        assert_eq!(field(&sent), field(&expected), "{text}");
        assert_eq!(sent.bytes, expected.bytes, "{text}: {headers:?}");
    }
}

// C8
/// A port that changes does not touch a partial checksum: it is under csum_start.
#[test]
fn c8_port_change_leaves_partial_alone() {
    let mut world = World::publishing(&["8080:B:80/tcp"]);
    world.send("tcp S:10000 > EXT:8080 S");
    world.send("udp A:5000 > S:7000");
    let mut sent = frame("udp B:5000 > S:7000 partial");
    let before = field(&sent);
    assert!(world.send_frame(NET, &mut sent).starts_with("up: udp EXT:"));
    let (inside, outside) = (0x0a09u16, 0x0003u16);
    let update = checksum::Update::new().word(inside, 0xcb00).word(outside, 0x7101);
    assert_eq!(field(&sent), update.partial(before));
    let mut sent = frame("tcp B:80 > S:10000 SA ack=1 partial");
    assert_eq!(world.send_frame(NET, &mut sent), "up: tcp EXT:8080 > S:10000 SA");
}

// C7, C9, C10, C12, C13, C14
/// Finished checksums are right after any change, both ways.
#[test]
fn c7_finished() {
    let mut world = World::publishing(&["8080:B:80/tcp", "8080:B:80/udp", "8080:B:80/sctp", "8080:B6:80/udp"]);
    for text in [
        "tcp S:1000 > EXT:8080 S",
        "udp S:1000 > EXT:8080 len=33",
        "sctp S:1000 > EXT:8080 len=40",
        "udp S6:1000 > EXT6:8080 len=33",
        "icmp A6 > S6 echo id=5",
        "icmp A > S echo id=5",
        "icmp B > S echo id=5",
        "icmp B6 > S6 echo id=5",
    ] {
        let outcome = world.send(text);
        assert!(outcome.starts_with("net9: ") || outcome.starts_with("up: "), "{text}: {outcome}");
    }
    assert_eq!(world.send("udp S:1001 > EXT:8080 nosum"), "net9: udp S:1001 > B:80");
}

// C10
/// A UDP sum that comes out as zero is sent as 0xffff.
#[test]
fn c10_zero_is_sent_as_ones() {
    let mut world = World::new();
    let mut sent = frame("udp A:5000 > S:7000 len=2");
    let expected = frame("udp EXT:5000 > S:7000 len=2");
    // Make the payload such that the sum after translation is exactly zero.
    let after = u16::from_be_bytes([expected.bytes[40], expected.bytes[41]]);
    let payload = u16::from_be_bytes([sent.bytes[42], sent.bytes[43]]);
    let update = checksum::Update::new().word(payload, checksum::fold(u64::from(payload) + u64::from(after)));
    let own = u16::from_be_bytes([sent.bytes[40], sent.bytes[41]]);
    sent.bytes[42..44].copy_from_slice(&checksum::fold(u64::from(payload) + u64::from(after)).to_be_bytes());
    sent.bytes[40..42].copy_from_slice(&update.finished(own).to_be_bytes());
    assert_eq!(world.send_frame(NET, &mut sent), "up: udp EXT:5000 > S:7000");
    assert_eq!(sent.bytes[40..42], [0xff, 0xff]);
}

// C11
/// A partial UDP field of zero is still a partial checksum.
#[test]
fn c11_partial_zero() {
    let mut world = World::new();
    let mut sent = frame("udp A:5000 > S:7000 partial");
    // The pseudo-header's sum is made zero, that is 0xffff in one's complement, by writing zero for it.
    let own = field(&sent);
    sent.bytes[40..42].fill(0);
    let mut other = frame("udp A:5000 > S:7000 partial");
    assert!(world.send_frame(NET, &mut other).starts_with("up:"));
    let mut packet = PacketMut::admit(&mut sent.bytes, sent.offload).unwrap();
    let context = vswitch_nat::Context { rules: &world.rules, ingress: NET, now: world.now };
    let decision = world.nat.lookup(&context, &packet.view());
    let Ok(vswitch_nat::Decision::Forward(path)) = decision else { panic!("{decision:?}") };
    let mut rng = StdRng::seed_from_u64(1);
    world.nat.translate(&context, path, &mut packet, &mut rng).unwrap();
    let moved = checksum::fold(u64::from(field(&other)) + u64::from(!own));
    assert_eq!(field(&sent) % 0xffff, moved % 0xffff);
}

// C20, C22, C23, C24
/// A super-frame is rewritten once, keeps its offload, and falls into segments that are right.
#[test]
fn c23_super_frames() {
    for (text, kind, outside) in [
        ("tcp A:4000 > S:80 A seq=1 ack=1 len=7240 partial", GsoKind::TcpV4, "EXT"),
        ("tcp A6:4000 > S6:80 A seq=1 ack=1 len=7240 partial", GsoKind::TcpV6, "EXT6"),
        ("udp A:4000 > S:80 len=2300 partial", GsoKind::Udp, "EXT"),
    ] {
        let mut world = World::new();
        let mut sent = frame(text);
        sent.offload.gso = Some(Gso { kind, size: 1448, header_len: 66, ecn: false });
        let before = sent.offload;
        let outcome = world.send_frame(NET, &mut sent);
        assert!(outcome.contains(&format!("{outside}:4000 > ")), "{outcome}");
        assert_eq!(sent.offload, before);
        let buffer = sent.admitted();
        let segments = segment::segment(&buffer.packet()).unwrap();
        for index in 0..segments.count() {
            let mut out = vec![0; segments.max_len()];
            let length = segments.write(index, &mut out);
            let headers = Headers::parse(&out[..length]).unwrap();
            let l4 = headers.l4(&out[..length]);
            let (source, destination) = headers.ip_addresses(&out);
            let pseudo = checksum::pseudo_header(source, destination, headers.protocol(), l4.len()).unwrap();
            assert_eq!(checksum::fold(pseudo + checksum::sum(l4)), 0xffff, "{text}, segment {index}");
        }
    }
}

// C4
/// ICMPv6 with a partial checksum, from either side, errors included.
#[test]
fn partial_icmpv6() {
    let mut world = World::new();
    assert_eq!(world.send("icmp A6 > S6 echo id=5 partial"), "up: icmp EXT6 > S6 echo id=5");
    world.send("udp A6:5000 > S6:7000");
    let mut sent = frame("icmp A6 > S6 type=1 code=4 partial quoting udp S6:7000 > A6:5000");
    assert!(world.send_frame(NET, &mut sent).starts_with("up: icmp EXT6 > S6 type=1 code=4 quoting"));
    let mut sent = frame("icmp S6 > EXT6 type=1 code=4 partial quoting udp EXT6:5000 > S6:7000");
    assert!(world.send_frame(Leg::Uplink, &mut sent).starts_with("net9: icmp S6 > A6 type=1"));
}
