//! Overlay networks between switches, over real sockets on the loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod hosts;

use hosts::{mac, pair, plain};
use vswitch_frame::offload::{Gso, GsoKind, PartialChecksum};
use vswitch_frame::{MacAddr, Offload, checksum};

/// V22, V23: frames of all lengths cross as they are, and both sides learn where the stations are.
#[test]
fn frames_cross() {
    let [a, b] = pair();
    a.send(&plain(MacAddr::BROADCAST, mac(1), 0));
    assert_eq!(&b.receive().0[..], plain(MacAddr::BROADCAST, mac(1), 0));
    for length in [0, 1, 46, 500, 1400] {
        b.send(&plain(mac(1), mac(2), length));
        assert_eq!(&a.receive().0[..], plain(mac(1), mac(2), length));
        a.send(&plain(mac(2), mac(1), length));
        assert_eq!(&b.receive().0[..], plain(mac(2), mac(1), length));
    }
    let entries = a.switch.overlay_entries(a.leg).unwrap();
    let known: Vec<_> = entries.iter().map(|entry| (entry.mac, entry.remote)).collect();
    assert_eq!(known, [(mac(2), b.address.ip())]);
}

/// A super-frame of `segments` full TCP segments from station 1 to station 2.
fn super_frame(size: usize, segments: usize) -> (Vec<u8>, Offload) {
    let payload: Vec<u8> = (0..size * segments).map(|index| u8::try_from(index % 253).unwrap()).collect();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(1).octets(), mac(2).octets())
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(5000, 5001, 7, 1000)
        .ack(9)
        .write(&mut frame, &payload)
        .unwrap();
    frame[6..12].copy_from_slice(&mac(1).octets());
    frame[0..6].copy_from_slice(&mac(2).octets());
    let pseudo = checksum::pseudo_header_v4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 6, frame.len() - 34);
    frame[50..52].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    let size = u16::try_from(size).unwrap();
    let gso = Some(Gso { kind: GsoKind::TcpV4, size, header_len: 54, ecn: false });
    (frame, Offload { checksum: Some(PartialChecksum { start: 34, offset: 16 }), gso })
}

/// A super-frame leaves as trains, arrives as trains and comes out with the bytes of the original, in few pieces.
#[test]
fn super_frames_cross() {
    let [a, b] = pair();
    let (frame, offload) = super_frame(1396, 40);
    assert!(a.container.send(&frame, offload));
    let mut payload = Vec::new();
    let mut pieces = 0;
    while payload.len() < frame.len() - 54 {
        let (piece, offload) = b.receive();
        assert_eq!(&piece[..14], &frame[..14]);
        assert_eq!(offload.gso.map(|gso| gso.size), Some(1396));
        payload.extend_from_slice(&piece[54..]);
        pieces += 1;
    }
    assert_eq!(payload, &frame[54..]);
    assert!(pieces <= 2, "{pieces} pieces");
    let stats = b.overlay().overlay;
    assert_eq!(stats.coalesced + pieces, 40);
    assert_eq!(stats.remotes[0].in_packets, 40);
    assert_eq!(stats.drops, []);
    let [vtep] = &a.switch.stats().vteps[..] else { panic!("one VTEP") };
    assert!(vtep.out_packets == 40 && vtep.out_trains <= 2, "{vtep:?}");
}
