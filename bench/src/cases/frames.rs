//! Headers, checksums, segmentation, trains.

use std::hint::black_box;
use std::net::Ipv4Addr;

use vswitch_frame::offload::{Gso, GsoKind, PartialChecksum};
use vswitch_frame::segment::segment;
use vswitch_frame::train::Train;
use vswitch_frame::{FrameBuf, Headers, L3, Offload, checksum, ipv4};

use super::{Cases, Step};

pub(super) const CASES: Cases = &[
    ("frame/parse", parse),
    ("frame/checksum-1500", sum),
    ("frame/segment-45", segment_45),
    ("frame/train-64", train_64),
];

const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

/// An IPv4 frame with `length` bytes behind its IP header.
pub(super) fn frame(protocol: u8, (from, to): (Ipv4Addr, Ipv4Addr), length: u16) -> Vec<u8> {
    let mut frame = vec![0; 34 + usize::from(length)];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 2, 8, 0]);
    ipv4::write(&mut frame[14..], 0, 20 + length, protocol, from, to);
    frame
}

/// A datagram with a partial checksum and an identification.
fn datagram(identification: u16, payload: u16) -> Vec<u8> {
    let length = 8 + payload;
    let mut frame = frame(ipv4::protocol::UDP, (FROM, TO), length);
    if let Ok(mut header) = ipv4::Ipv4::parse(&mut frame[14..]) {
        header.set_identification(identification);
        header.fill_checksum();
    }
    frame[34..38].copy_from_slice(&[0x10, 0, 0, 9]);
    frame[38..40].copy_from_slice(&length.to_be_bytes());
    let pseudo = checksum::fold(checksum::pseudo_header_v4(FROM, TO, ipv4::protocol::UDP, length.into()));
    frame[40..42].copy_from_slice(&pseudo.to_be_bytes());
    frame
}

fn parse() -> Step {
    let frame = datagram(1, 18);
    Box::new(move || {
        let headers = Headers::parse(black_box(&frame)).expect("a frame");
        assert!(black_box(headers).l3() == L3::Ipv4);
    })
}

fn sum() -> Step {
    let bytes = vec![0x5a; 1500];
    Box::new(move || {
        black_box(checksum::checksum(black_box(&bytes)));
    })
}

/// A TCP super-frame of segments of `size` bytes of payload.
pub(super) fn super_frame(segments: u16, size: u16) -> (Vec<u8>, Offload) {
    let mut frame = frame(ipv4::protocol::TCP, (FROM, TO), 20 + segments * size);
    frame[46] = 0x50;
    let gso = Gso { kind: GsoKind::TcpV4, size, header_len: 54, ecn: false };
    (frame, Offload { checksum: Some(PartialChecksum { start: 34, offset: 16 }), gso: Some(gso) })
}

fn segment_45() -> Step {
    let (frame, offload) = super_frame(45, 1448);
    let mut out = vec![0; 2048];
    let mut buffer = FrameBuf::from_frame(&frame, offload);
    buffer.admit().expect("a sound frame");
    Box::new(move || {
        let packet = black_box(&buffer).packet();
        let segments = segment(&packet).expect("a super-frame");
        assert_eq!(segments.count(), 45);
        for index in 0..segments.count() {
            black_box(segments.write(index, &mut out));
        }
    })
}

fn train_64() -> Step {
    let datagrams: Vec<_> = (1..=64).map(|identification| datagram(identification, 18)).collect();
    let offload = Offload { checksum: Some(PartialChecksum { start: 34, offset: 6 }), gso: None };
    let mut first = FrameBuf::from_frame(&datagrams[0], offload);
    first.admit().expect("a sound frame");
    let mut out = [0; 64];
    Box::new(move || {
        let mut train = Train::begin(&black_box(&first).packet()).expect("a datagram");
        for pair in datagrams.windows(2) {
            assert!(train.add(&pair[0], &pair[1], &offload));
        }
        train.write_headers(&datagrams[0], &mut out);
        black_box(&out);
    })
}
