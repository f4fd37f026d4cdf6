//! What a sender leaves undone is held against its frame before anything of it is believed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use lab::{Lab, arp, network, station, udp4};
use proptest::prelude::*;
use vswitch_frame::offload::{Gso, GsoKind, PartialChecksum};
use vswitch_frame::{DropReason, Headers, L3, MacAddr, Offload, PortId};
use vswitch_switch::{Offloads, PortConfig, Settings};

/// An endpoint that may speak for itself only, and a port that gets finished frames, as a tunnel does.
fn setup() -> (Lab, PortId, PortId) {
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(network("net")).unwrap();
    let a = lab.port(net, Some(station(2)));
    let config = PortConfig::new("finished", net);
    let b = lab.port_of(config, Offloads::Finished);
    (lab, a, b)
}

fn partial(start: u16, offset: u16) -> Offload {
    Offload { checksum: Some(PartialChecksum { start, offset }), gso: None }
}

/// A "checksum" that is completed over the source address, in IPv4 or ARP, is refused and counted, and nobody sees the frame.
#[test]
fn a_partial_checksum_forges_no_source() {
    let (mut lab, a, _) = setup();
    let question = arp(1, (station(2).mac, station(2).ipv4.unwrap()), (MacAddr::ZERO, station(9).ipv4.unwrap()));
    for (frame, offload) in [
        (udp4(&station(2), &station(9), &[7; 40]), partial(20, 8)),
        (udp4(&station(2), &station(9), &[7; 40]), partial(26, 0)),
        (question, partial(20, 10)),
    ] {
        let before = lab.counters(a).dropped(DropReason::BadOffload);
        lab.send_all(a, [(&frame[..], offload)]);
        assert_eq!(lab.received(), []);
        assert_eq!(lab.counters(a).dropped(DropReason::BadOffload), before + 1);
    }
}

/// One frame is no work for thousands: super-frames of more segments than Linux makes are refused.
#[test]
fn super_frames_of_crumbs() {
    let (mut lab, a, b) = setup();
    let mut frame = Vec::new();
    let (me, you) = (station(2), station(3));
    etherparse::PacketBuilder::ethernet2(me.mac.octets(), you.mac.octets())
        .ipv4(me.ipv4.unwrap().octets(), you.ipv4.unwrap().octets(), 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, &[7; 65_000])
        .unwrap();
    let crumbs = |size| {
        let gso = Gso { kind: GsoKind::TcpV4, size, header_len: 54, ecn: false };
        Offload { gso: Some(gso), ..partial(34, 16) }
    };
    lab.send_all(a, [(&frame[..], crumbs(1)), (&frame[..], crumbs(40))]);
    assert_eq!(lab.received(), []);
    assert_eq!(lab.counters(a).dropped(DropReason::BadOffload), 2);
    lab.send_all(a, [(&frame[..], crumbs(1448))]);
    assert_eq!(lab.received().iter().filter(|(port, ..)| *port == b).count(), 45);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever a sender claims to have left undone: what others get, finished, comes from its own addresses.
    #[test]
    fn finished_frames_are_the_sender_s_own(
        kind in 0usize..4, payload in proptest::collection::vec(any::<u8>(), 30..80), start in 0u16..90,
        offset in prop::sample::select(&[0u16, 2, 4, 6, 8, 10, 16][..]),
        gso in proptest::option::weighted(0.2, (0usize..3, 1u16..60)),
    ) {
        let (mut lab, a, _) = setup();
        let (me, you) = (station(2), station(3));
        let frame = match kind {
            0 => udp4(&me, &you, &payload),
            1 => lab::udp6(&me, &you, &payload),
            2 => arp(1, (me.mac, me.ipv4.unwrap()), (MacAddr::ZERO, you.ipv4.unwrap())),
            _ => {
                let mut frame = Vec::new();
                let ip = etherparse::PacketBuilder::ethernet2(me.mac.octets(), you.mac.octets())
                    .ipv4(me.ipv4.unwrap().octets(), you.ipv4.unwrap().octets(), 64);
                ip.tcp(1, 2, 3, 4).write(&mut frame, &payload).unwrap();
                frame
            }
        };
        prop_assume!(usize::from(start + offset) + 2 <= frame.len());
        let kinds = [GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::Udp];
        let gso = gso.map(|(kind, size)| Gso { kind: kinds[kind], size, header_len: 0, ecn: false });
        lab.send_all(a, [(&frame[..], Offload { gso, ..partial(start, offset) })]);
        for (_, frame, _) in lab.received() {
            let headers = Headers::parse(&frame).unwrap();
            prop_assert_eq!(vswitch_frame::addresses(&frame).1, me.mac);
            match headers.l3() {
                L3::Ipv4 => prop_assert_eq!(Some(headers.source_v4(&frame)), me.ipv4),
                L3::Ipv6 => prop_assert_eq!(Some(headers.source_v6(&frame)), me.ipv6),
                L3::Arp => prop_assert_eq!(&frame[22..32], [&me.mac.octets()[..], &me.ipv4.unwrap().octets()].concat()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
