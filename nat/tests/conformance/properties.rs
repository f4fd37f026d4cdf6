//! What holds for any packet: translation and its reverse, checksums, and noise.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use vswitch_frame::{Headers, Offload, PacketMut, Timestamp, offload::PartialChecksum};
use vswitch_nat::rules::{Filtering, Hairpin, Mapping};
use vswitch_nat::table::Leg;
use vswitch_nat::{Context, Decision};

use super::notation::{Frame, frame};
use super::world::{NET, NET2, World, spec};

fn mapping() -> impl Strategy<Value = Mapping> {
    prop_oneof![
        Just(Mapping::PortPreserving),
        Just(Mapping::Random),
        Just(Mapping::EndpointIndependent(Filtering::AddressAndPortDependent)),
        Just(Mapping::EndpointIndependent(Filtering::EndpointIndependent)),
    ]
}

fn world(mapping: Mapping) -> World {
    let mut spec = spec(&["8080:B:80/tcp", "8080:B:80/udp", "8080:B6:80/udp", "8080:B6:80/tcp"]);
    spec.settings.mapping = mapping;
    spec.settings.hairpin = Hairpin::External;
    World::with(spec)
}

/// The frame that answers `sent`: ends swapped, everything else as it was.
fn answer(sent: &Frame) -> Frame {
    let mut back = sent.clone();
    let headers = Headers::parse(&sent.bytes).unwrap();
    let (l3, l4) = (headers.l3_offset(), headers.l4_offset());
    let (at, size) = if sent.bytes[l3] >> 4 == 4 { (l3 + 12, 4) } else { (l3 + 8, 16) };
    for byte in at..at + size {
        back.bytes.swap(byte, byte + size);
    }
    if matches!(headers.protocol(), 6 | 17) {
        back.bytes.swap(l4, l4 + 2);
        back.bytes.swap(l4 + 1, l4 + 3);
    }
    back
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// An answer that is translated back has the bytes of an answer to the packet as it was sent: translating and
    /// reversing is the identity, checksum included, for finished, partial and no checksums. (The world verifies every
    /// checksum on the way.)
    #[test]
    fn there_and_back(
        mapping in mapping(), v6: bool, tcp: bool, partial: bool, clash: bool, port in 1u16.., to in 1u16..,
        len in 0usize..1400, hairpin: bool,
    ) {
        let mut world = world(mapping);
        let (a, b, s) = if v6 { ("A6", "B6", "S6") } else { ("A", "B", "S") };
        let (s, to) = if hairpin { (if v6 { "EXT6" } else { "EXT" }, 8080) } else { (s, to) };
        let (protocol, flags) = if tcp { ("tcp", "S") } else { ("udp", "") };
        if clash {
            world.send(&format!("{protocol} {b}:{port} > {s}:{to} {flags}"));
        }
        let sum = if partial { "partial" } else { "" };
        let len = if tcp { String::new() } else { format!("len={len}") };
        let original = frame(&format!("{protocol} {a}:{port} > {s}:{to} {flags} seq=7 {len} {sum}"));
        let mut sent = original.clone();
        let outcome = world.send_frame(NET, &mut sent);
        let hairpinned = hairpin;
        prop_assert!(outcome.starts_with(if hairpinned { "net9: " } else { "up: " }), "{}", outcome);

        let mut back = answer(&sent);
        if tcp {
            // A SYN-ACK for that SYN.
            back = frame("udp A:1 > S:1");
            let text = outcome.split_once(": ").unwrap().1;
            let words: Vec<&str> = text.split_whitespace().collect();
            back.bytes = frame(&format!("tcp {} > {} SA seq=9 ack=8 {sum}", words[3], words[1])).bytes;
            back.offload = sent.offload;
            let mut expected = frame(&format!("tcp {s}:{to} > {a}:{port} SA seq=9 ack=8 {sum}"));
            expected.offload = sent.offload;
            let outcome = world.send_frame(if hairpinned { NET } else { Leg::Uplink }, &mut back);
            prop_assert!(outcome.starts_with("net9: "), "{}", outcome);
            prop_assert_eq!(&back.bytes, &expected.bytes);
        } else {
            let expected = answer(&original);
            let outcome = world.send_frame(if hairpinned { NET } else { Leg::Uplink }, &mut back);
            prop_assert!(outcome.starts_with("net9: "), "{}", outcome);
            prop_assert_eq!(&back.bytes, &expected.bytes);
        }
    }

    /// No noise makes the translator panic or leak: not random bytes, not random changes of good packets, not foreign
    /// offloads.
    #[test]
    fn noise(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<proptest::sample::Index>(), which in 0usize..12, leg in 0usize..3,
        start in 0u16..100, partial: bool, mapping in mapping(),
    ) {
        let mut world = world(mapping);
        world.send("udp A:5000 > S:7000");
        world.send("tcp A:5000 > S:80 S");
        let texts = [
            "udp A:5000 > S:7000", "udp S:7000 > EXT:5000", "tcp S:80 > EXT:5000 SA ack=1", "icmp A > S echo id=1",
            "icmp S > EXT type=3 code=3 quoting udp EXT:5000 > S:7000", "udp A6:5000 > S6:7000",
            "icmp R6 > EXT6 type=1 quoting udp EXT6:5000 > S6:7000", "udp A:1 > S:2 len=2000 frag=0 part=1000 more",
            "udp A:1 > S:2 len=2000 frag=1000 part=1000", "udp A6:1 > S6:2 len=2000 frag=1000 part=1000",
            "sctp S:1 > EXT:2", "udp A:5000 > EXT:8080",
        ];
        let mut sent = frame(texts[which]);
        for (at, value) in &changes {
            let at = 12 + at.index(sent.bytes.len() - 12);
            sent.bytes[at] = *value;
        }
        let length = 14 + cut.index(sent.bytes.len() - 13);
        sent.bytes.truncate(length);
        if partial {
            sent.offload = Offload { checksum: Some(PartialChecksum { start, offset: 16 }), gso: None };
        }
        let ingress = [NET, NET2, Leg::Uplink][leg];
        let Ok(mut packet) = PacketMut::admit(&mut sent.bytes, sent.offload) else { return Ok(()) };
        let context = Context { rules: &world.rules, ingress, now: Timestamp::from_millis(1_000_500) };
        let mut rng = StdRng::seed_from_u64(1);
        if let Ok(Decision::Forward(path)) = world.nat.lookup(&context, &packet.view()) {
            let egress = path.egress();
            let outcome = world.nat.translate(&context, path, &mut packet, &mut rng);
            if outcome.is_ok() && egress == Leg::Uplink {
                let (source, _) = packet.view().ip_addresses();
                let routed = super::notation::address("OPEN");
                prop_assert!(world.rules.network_of(source).is_none() || source == routed, "{} leaves", source);
            }
        }
    }
}
