//! What may come in.

use proptest::prelude::*;
use vswitch_frame::{Headers, MacAddr};
use vswitch_tunnel::decap::open;
use vswitch_tunnel::{InnerVlan, OverlaySpec, TunnelDrop, ecn};

use super::world::{REMOTES, at, mac, overlay, take, udp, vni};

// V2, V3
/// Reserved bits are ignored, the I flag is not; a header that is cut short has a reason of its own, for every length.
#[test]
fn v2_v3_headers() {
    assert_eq!(open(&[8, 0, 0, 0, 0, 0x10, 1, 0]), Ok((vni(), 8)));
    for bit in (0..64).filter(|bit| !(32..56).contains(bit)) {
        let mut header = 0x0800_0000_0010_0100_u64;
        header ^= 1 << (63 - bit);
        let expected = if bit == 4 { Err(TunnelDrop::NoVni) } else { Ok((vni(), 8)) };
        assert_eq!(open(&header.to_be_bytes()), expected, "bit {bit}");
    }
    for length in 0..8 {
        assert_eq!(open(&[8; 8][..length]), Err(TunnelDrop::Truncated));
    }
}

// V18
/// All sixteen pairs of congestion marks, for both families, with an IPv4 checksum that stays right.
#[test]
fn v18_congestion_marks() {
    const RESULTS: [[Option<u8>; 4]; 4] = [
        [Some(0), Some(1), Some(2), Some(3)],
        [Some(0), Some(1), Some(1), Some(3)],
        [Some(0), Some(1), Some(2), Some(3)],
        [None, Some(3), Some(3), Some(3)],
    ];
    let overlay = overlay(OverlaySpec::new(vni()));
    for (outer, results) in (0u8..).zip(RESULTS) {
        for (inner, expected) in (0u8..).zip(results) {
            for v6 in [false, true] {
                let mut frame = udp(v6, 0xb8 | inner, (2, 1), (5, 6), b"x");
                let taken = take(&overlay, REMOTES[0], 0x10 | outer, &mut frame, 0);
                let Some(ecn) = expected else {
                    assert_eq!(taken, Err(TunnelDrop::NotEct));
                    continue;
                };
                assert_eq!(taken, Ok(()), "outer {outer} inner {inner}");
                assert_eq!(frame, udp(v6, 0xb8 | ecn, (2, 1), (5, 6), b"x"), "outer {outer} inner {inner}");
            }
        }
    }
}

// V17
/// The outer mark is the inner one, but a mark that says congestion is not repeated; the DSCP is not inherited.
#[test]
fn v17_outer_marks() {
    for (inner, outer) in [(0xb8, 0), (0xb9, 1), (0xba, 2), (0xbb, 2)] {
        for v6 in [false, true] {
            let frame = udp(v6, inner, (1, 2), (5, 6), b"x");
            assert_eq!(ecn::encapsulate(ecn::tos(&frame, &Headers::parse(&frame).unwrap())), outer);
        }
    }
}

// V19, V20
/// Runts, half headers and sources that no station has are dropped, and nothing is learned from them.
#[test]
fn v19_v20_broken_frames() {
    let overlay = overlay(OverlaySpec::new(vni()));
    let whole = udp(false, 0, (2, 1), (5, 6), b"x");
    for length in 0..34 {
        let taken = take(&overlay, REMOTES[0], 0, &mut whole[..length].to_vec(), 0);
        assert_eq!(taken, Err(TunnelDrop::Runt), "{length}");
    }
    let v6 = udp(true, 0, (2, 1), (5, 6), b"x");
    assert_eq!(take(&overlay, REMOTES[0], 0, &mut v6[..53].to_vec(), 0), Err(TunnelDrop::Runt));
    for source in [MacAddr::ZERO, MacAddr::BROADCAST, MacAddr::new([1, 0, 0x5e, 0, 0, 1])] {
        let mut frame = whole.clone();
        frame[6..12].copy_from_slice(&source.octets());
        assert_eq!(take(&overlay, REMOTES[0], 0, &mut frame, 0), Err(TunnelDrop::InvalidSource));
    }
    assert_eq!(overlay.entries(at(0)), []);
    let mut opaque = [&mac(1).octets()[..], &mac(2).octets(), &[0x88, 0xb5]].concat();
    assert_eq!(take(&overlay, REMOTES[0], 0, &mut opaque, 0), Ok(()), "V22: 14 bytes are a frame");
}

// V15
/// A tagged frame is dropped, or carried if the network says so.
#[test]
fn v15_tags() {
    let mut frame = udp(false, 0, (2, 1), (5, 6), b"x");
    frame.splice(12..12, [0x81, 0, 0, 7]);
    assert_eq!(take(&overlay(OverlaySpec::new(vni())), REMOTES[0], 0, &mut frame, 0), Err(TunnelDrop::Tagged));
    let carrying = OverlaySpec { inner_vlan: InnerVlan::Carry, ..OverlaySpec::new(vni()) };
    assert_eq!(take(&overlay(carrying), REMOTES[0], 0, &mut frame, 0), Ok(()));
}

/// Only configured remotes are believed.
#[test]
fn strangers() {
    let overlay = overlay(OverlaySpec::new(vni()));
    let mut frame = udp(false, 0, (2, 1), (5, 6), b"x");
    assert_eq!(take(&overlay, REMOTES[2], 0, &mut frame, 0), Err(TunnelDrop::UnknownRemote));
    assert_eq!(overlay.entries(at(0)), []);
}

proptest! {
    /// Noise behind a valid header is taken or dropped with a reason, keeps its length, and nothing panics.
    #[test]
    fn v19_noise(mut inner in proptest::collection::vec(any::<u8>(), 0..120), ip in 0usize..3, tos: u8) {
        if inner.len() > 14 {
            inner[12..15].copy_from_slice(&[[8, 0, 0x45], [0x86, 0xdd, 0x60], [0x81, 0, 0]][ip]);
        }
        let overlay = overlay(OverlaySpec { inner_vlan: InnerVlan::Carry, ..OverlaySpec::new(vni()) });
        let before = inner.clone();
        let taken = take(&overlay, REMOTES[0], tos, &mut inner, 0);
        prop_assert_eq!(taken.is_ok(), !overlay.entries(at(0)).is_empty());
        prop_assert_eq!(&before[..before.len().min(14)], &inner[..inner.len().min(14)]);
        prop_assert_eq!(overlay.stats(at(0)).remotes[0].in_packets, 1);
    }
}
