//! What goes out.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use vswitch_frame::offload::{Gso, GsoKind, PartialChecksum};
use vswitch_frame::{FrameBuf, Headers, Offload, Packet, checksum};
use vswitch_tunnel::encap::{Job, Joining, Packer, Piece, Pushed, Route};
use vswitch_tunnel::{OverlaySpec, Remote, TunnelDrop, flow, header};

use super::world::{REMOTES, overlay, udp, vni};

fn remote() -> Arc<Remote> {
    overlay(OverlaySpec::new(vni())).remote(REMOTES[0].into()).unwrap()
}

/// The packets of all trains, and checks what every train must be.
fn packets(packer: &Packer, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for train in packer.trains() {
        let count = usize::try_from(train.amount.packets).unwrap();
        assert!((1..=64).contains(&count));
        let bytes = |piece: Piece| match piece {
            Piece::Own(range) => packer.arena()[range].to_vec(),
            Piece::Frame(index, range) => frames[usize::from(index)][range].to_vec(),
        };
        let whole: Vec<u8> = packer.pieces(train).iter().cloned().flat_map(bytes).collect();
        assert_eq!(u64::try_from(whole.len()).unwrap(), train.amount.bytes);
        assert_eq!(whole.len().div_ceil(train.size), count, "all of one length but the last");
        for (index, packet) in whole.chunks(train.size).enumerate() {
            assert_eq!(packer.packet(train, index).flat_map(bytes).collect::<Vec<_>>(), packet);
            all.push(packet.to_vec());
        }
    }
    all
}

fn push(
    packer: &mut Packer,
    remote: &Arc<Remote>,
    index: usize,
    frame: &[u8],
    offload: Offload,
) -> Result<Pushed, TunnelDrop> {
    let index = u16::try_from(index).unwrap();
    let mut buffer = FrameBuf::from_frame(frame, offload);
    let job = Job { packet: buffer.admit().unwrap(), index, remote, counted: true };
    packer.push(&job, Route { path: 3, tos: 0 }, 0)
}

// V1, V22
/// The header is eight bytes, as captured from Linux, and short frames are not padded.
#[test]
fn v1_header() {
    let mut packer = Packer::default();
    packer.begin(vni(), Joining::Trains);
    let frame = vec![vec![2; 14]];
    push(&mut packer, &remote(), 0, &frame[0], Offload::NONE).unwrap();
    assert_eq!(packets(&packer, &frame), [[&[8, 0, 0, 0, 0, 0x10, 1, 0][..], &frame[0]].concat()]);
}

// V6
/// Sixty flows take at least fifty paths, each always the same; a tag makes another flow, fragments stay together.
#[test]
fn v6_paths() {
    let path = |frame: &[u8]| header::path(flow::hash(&Packet::finished(frame)));
    for v6 in [false, true] {
        let frames: Vec<_> = (0..60).map(|port| udp(v6, 0, (1, 2), (1000 + port, 80), b"x")).collect();
        let paths: BTreeSet<u16> = frames.iter().map(|frame| path(frame)).collect();
        assert!(paths.len() >= 50, "{} paths", paths.len());
        assert_eq!(path(&frames[0]), path(&udp(v6, 0, (1, 2), (1000, 80), b"another payload")));
    }
    let mut tagged = udp(false, 0, (1, 2), (1000, 80), b"x");
    let plain = path(&tagged);
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    assert_ne!(path(&tagged), plain);
    let fragment = |at: u8, ports| {
        let mut frame = udp(false, 0, (1, 2), ports, b"x");
        frame[20..22].copy_from_slice(&[0x20, at]);
        path(&frame)
    };
    assert_eq!(fragment(0, (1000, 80)), fragment(1, (7, 7)));
}

// C24, C27
/// A super-frame becomes one train of finished segments; what is too long is refused.
#[test]
fn super_frames() {
    let mut frame = udp(false, 0, (1, 2), (5, 6), &[9; 10_000]);
    let offload = Offload {
        checksum: Some(PartialChecksum { start: 34, offset: 6 }),
        gso: Some(Gso { kind: GsoKind::Udp, size: 1400, header_len: 42, ecn: false }),
    };
    let mut packer = Packer::default();
    packer.begin(vni(), Joining::Trains);
    assert_eq!(push(&mut packer, &remote(), 0, &frame, offload), Ok(Pushed::Done));
    let [train] = packer.trains() else { panic!("one train") };
    assert_eq!((train.amount.packets, train.size, train.frames.packets), (8, 8 + 42 + 1400, 1));
    for packet in packets(&packer, &[frame.clone()]) {
        let sliced = etherparse::SlicedPacket::from_ethernet(&packet[8..]).unwrap();
        let Some(etherparse::TransportSlice::Udp(segment)) = sliced.transport else { panic!("UDP") };
        let expected =
            segment.to_header().calc_checksum_ipv4_raw([10, 0, 0, 1], [10, 0, 0, 2], segment.payload()).unwrap();
        assert_eq!(segment.checksum(), expected);
    }
    frame.resize(65_520, 0);
    assert_eq!(push(&mut packer, &remote(), 0, &frame, Offload::NONE), Err(TunnelDrop::TooBig));
}

// V12
/// A packet that is longer than the path MTU travels alone, so that the underlay can fragment it.
#[test]
fn v12_longer_than_the_path() {
    let remote = remote();
    remote.set_path_mtu(1000);
    assert_eq!(remote.inner_mtu(), Some(950));
    let frames: Vec<_> = [908, 908, 909, 909].map(|length| udp(false, 0, (1, 2), (5, 6), &vec![7; length])).to_vec();
    let mut packer = Packer::default();
    packer.begin(vni(), Joining::Trains);
    for (index, frame) in frames.iter().enumerate() {
        push(&mut packer, &remote, index, frame, Offload::NONE).unwrap();
    }
    let trains: Vec<_> = packer.trains().iter().map(|train| (train.amount.packets, train.fragmented)).collect();
    // 950 bytes of inner packet are 922 of payload behind 28 of headers.
    assert_eq!(trains, [(2, false), (2, false)]);
    let longer: Vec<_> = [922, 923, 923].map(|length| udp(false, 0, (1, 2), (5, 6), &vec![7; length])).to_vec();
    packer.begin(vni(), Joining::Trains);
    for (index, frame) in longer.iter().enumerate() {
        push(&mut packer, &remote, index, frame, Offload::NONE).unwrap();
    }
    let trains: Vec<_> = packer.trains().iter().map(|train| (train.amount.packets, train.fragmented)).collect();
    assert_eq!(trains, [(1, false), (1, true), (1, true)]);
}

proptest! {
    /// Whatever frames of whatever lengths and offloads are pushed, the packets are those frames in their order, behind
    /// their headers, with finished checksums; joined or alone.
    #[test]
    fn every_frame_is_there(lengths in proptest::collection::vec(0usize..1500, 1..60), repeat in 1usize..4, alone: bool) {
        let frames: Vec<Vec<u8>> = lengths.iter().flat_map(|&length| {
            std::iter::repeat_n(udp(length % 2 == 0, 0, (1, 2), (5, 6), &vec![7; length]), repeat)
        }).collect();
        let remote = remote();
        let mut packer = Packer::default();
        let joining = if alone { Joining::Alone } else { Joining::Trains };
        packer.begin(vni(), joining);
        let mut sent = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            // Every second one leaves its checksum to be finished.
            let headers = Headers::parse(frame).unwrap();
            let (mut left, mut offload) = (frame.clone(), Offload::NONE);
            if index % 2 == 0 {
                let (l3, l4) = (headers.l3_offset(), headers.l4_offset());
                let addresses = if l4 == 34 { l3 + 12..l3 + 20 } else { l3 + 8..l3 + 40 };
                let length = u64::try_from(frame.len() - l4).unwrap();
                let pseudo = checksum::fold(checksum::sum(&frame[addresses]) + 17 + length);
                left[l4 + 6..l4 + 8].copy_from_slice(&pseudo.to_be_bytes());
                let start = u16::try_from(l4).unwrap();
                offload.checksum = Some(PartialChecksum { start, offset: 6 });
            }
            let mut all = frames.clone();
            all[index] = left.clone();
            if push(&mut packer, &remote, index, &left, offload).unwrap() != Pushed::Done {
                sent.extend(packets(&packer, &frames));
                packer.clear();
                prop_assert_eq!(push(&mut packer, &remote, index, &left, offload), Ok(Pushed::Done));
            }
        }
        sent.extend(packets(&packer, &frames));
        let expected: Vec<_> =
            frames.iter().map(|frame| [&[8, 0, 0, 0, 0, 0x10, 1, 0][..], frame].concat()).collect();
        prop_assert_eq!(sent, expected);
        prop_assert!(!alone || packer.trains().iter().all(|train| train.amount.packets == 1));
    }
}
