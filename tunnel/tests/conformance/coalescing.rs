//! Segments that become super-frames again.

use proptest::prelude::*;
use vswitch_frame::offload::{Gso, GsoKind, PartialChecksum};
use vswitch_frame::{FrameBuf, Headers, Offload, PacketMut, checksum, segment};
use vswitch_tunnel::coalesce::Coalescer;
use vswitch_tunnel::inner_offload::{infer_offload, is_one_packet};

use super::world::{mac, udp};

/// A TCP super-frame, its checksum left to be finished.
fn super_frame(v6: bool, flags: u8, size: u16, payload: &[u8]) -> (Vec<u8>, Offload) {
    use etherparse::{PacketBuilder, TcpOptionElement::Timestamp};
    let ethernet = PacketBuilder::ethernet2(mac(1).octets(), mac(2).octets());
    let (ip, l4) = if v6 {
        (ethernet.ipv6([0xfd; 16], [0xfc; 16], 64), 54)
    } else {
        (ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64), 34)
    };
    let tcp = ip.tcp(5, 6, u32::MAX - 1000, 100).ack(77).options(&[Timestamp(1, 2)]).unwrap();
    let mut frame = Vec::new();
    tcp.write(&mut frame, payload).unwrap();
    frame[l4 + 13] = flags;
    if !v6 {
        frame[20] = 0;
        frame[24..26].fill(0);
        let value = checksum::checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&value.to_be_bytes());
    }
    let addresses = if v6 { 22..54 } else { 26..34 };
    let pseudo = checksum::fold(checksum::sum(&frame[addresses]) + 6 + u64::try_from(frame.len() - l4).unwrap());
    frame[l4 + 16..l4 + 18].copy_from_slice(&pseudo.to_be_bytes());
    let kind = if v6 { GsoKind::TcpV6 } else { GsoKind::TcpV4 };
    let checksum = Some(PartialChecksum { start: u16::try_from(l4).unwrap(), offset: 16 });
    let header_len = u16::try_from(l4 + 32).unwrap();
    (frame, Offload { checksum, gso: Some(Gso { kind, size, header_len, ecn: false }) })
}

fn segments(frame: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let mut frame = frame.to_vec();
    let packet = PacketMut::admit(&mut frame, offload).unwrap();
    let segments = segment::segment(&packet.view()).unwrap();
    let one = |index| {
        let mut out = vec![0; segments.max_len()];
        let length = segments.write(index, &mut out);
        out.truncate(length);
        out
    };
    (0..segments.count()).map(one).collect()
}

/// What is left to do on a frame in a network with an MTU of 1450 bytes.
fn left(frame: &[u8]) -> Offload {
    infer_offload(frame, &Headers::parse(frame).unwrap(), 1450, None)
}

/// What comes out of a row of frames.
fn coalesce(frames: &[Vec<u8>]) -> Vec<FrameBuf> {
    let (mut coalescer, mut out) = (Coalescer::default(), Vec::<FrameBuf>::new());
    for frame in frames {
        if let Some(last) = out.last_mut() {
            if coalescer.join(last, frame) {
                continue;
            }
            coalescer.finish(last);
        }
        let buffer = FrameBuf::from_frame(frame, Offload::NONE);
        coalescer.begin(&buffer);
        out.push(buffer);
    }
    if let Some(last) = out.last_mut() {
        coalescer.finish(last);
    }
    out
}

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

proptest! {
    /// Segments of one super-frame become that super-frame again, byte by byte, and cutting it again gives the segments.
    #[test]
    fn there_and_back(
        v6: bool, push: bool, size in 1u16..3000, payload in proptest::collection::vec(any::<u8>(), 2..40_000),
    ) {
        prop_assume!(payload.len() > usize::from(size) && payload.len() / usize::from(size) < 200);
        let (frame, offload) = super_frame(v6, if push { ACK | PSH } else { ACK }, size, &payload);
        let cut = segments(&frame, offload);
        let joined = coalesce(&cut);
        prop_assert_eq!(joined.len(), 1);
        prop_assert_eq!(joined[0].offload, offload);
        prop_assert_eq!(joined[0].frame(), &frame[..]);
        prop_assert_eq!(segments(joined[0].frame(), joined[0].offload), cut);
    }

    /// Whatever one byte of a segment is changed to, what comes out can be cut into exactly what came in.
    #[test]
    fn one_changed_byte(v6: bool, which in 0usize..4, at in 0usize..1000, value: u8) {
        let (frame, offload) = super_frame(v6, ACK, 300, &[0x5a; 1200]);
        let mut cut = segments(&frame, offload);
        let at = at % cut[which].len();
        cut[which][at] = value;
        let mut back = Vec::new();
        for buffer in coalesce(&cut) {
            if buffer.offload.gso.is_some() {
                back.extend(segments(buffer.frame(), buffer.offload));
            } else {
                back.push(buffer.frame().to_vec());
            }
        }
        prop_assert_eq!(back, cut);
    }
}

/// Every rule keeps a segment apart: order, flags, options, acknowledgment, window, size, UDP.
#[test]
fn what_stays_apart() {
    let (frame, offload) = super_frame(false, ACK, 300, &[1; 900]);
    let cut = segments(&frame, offload);
    let swapped = [cut[1].clone(), cut[0].clone()];
    assert_eq!(coalesce(&swapped).len(), 2);
    let pushed = segments(&super_frame(false, ACK | PSH, 300, &[1; 300]).0, offload);
    assert_eq!(coalesce(&[pushed[0].clone(), cut[1].clone()]).len(), 2, "PSH ends it");
    // Offsets in the TCP header, and the checksum made right again.
    for (at, what) in [(13, "flags"), (29, "timestamp"), (11, "acknowledgment"), (15, "window"), (19, "urgent pointer")]
    {
        let mut other = cut[1].clone();
        other[34 + at] ^= 2;
        other[50..52].fill(0);
        let length = u64::try_from(other.len() - 34).unwrap();
        let sum = checksum::sum(&other[26..34]) + 6 + length + checksum::sum(&other[34..]);
        other[50..52].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
        assert_eq!(coalesce(&[cut[0].clone(), other]).len(), 2, "{what}");
    }
    let mut broken = cut[1].clone();
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(coalesce(&[cut[0].clone(), broken]).len(), 2, "wrong checksum");
    let datagrams = vec![udp(false, 0, (1, 2), (5, 6), &[1; 300]); 2];
    assert_eq!(coalesce(&datagrams).len(), 2, "UDP");
}

// C1, C4
/// A checksum that a kernel VTEP left undone is seen as such, a finished one is left alone.
#[test]
fn c1_checksums_left_undone() {
    for v6 in [false, true] {
        let (frame, offload) = super_frame(v6, ACK, 1000, &[1; 500]);
        let expected = Offload { gso: None, ..offload };
        assert_eq!(left(&frame), expected);
        assert_eq!(left(&segments(&frame, offload)[0]), Offload::NONE);
        let mut padded = frame.clone();
        padded.push(0);
        assert_eq!(left(&padded), Offload::NONE);
    }
}

// C20
/// A super-frame that a kernel VTEP did not cut gets segments that fit the network.
#[test]
fn c20_super_frames_left_undone() {
    for v6 in [false, true] {
        let (frame, offload) = super_frame(v6, ACK, 1000, &[1; 4000]);
        let headers = if v6 { 40 + 32 } else { 20 + 32 };
        let gso = offload.gso.map(|gso| Gso { size: 1450 - headers, ..gso });
        assert_eq!(left(&frame), Offload { gso, ..offload });
        let packet = [&[8, 0, 0, 0, 0, 0x10, 1, 0][..], &frame].concat();
        assert!(is_one_packet(&packet) && !is_one_packet(&[&packet[..], &packet].concat()));
    }
}
