//! A wire under the hand of a test, and frames for it.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test file uses its own part")]

use std::sync::Arc;

use vswitch_frame::offload::{Gso, GsoKind, PartialChecksum};
use vswitch_frame::segment::segment;
use vswitch_frame::{Offload, PacketMut};
use vswitch_wire::{Change, Impairment, Memory, Offered, Select, Wire, WireSeed, words};

pub struct Bed {
    pub wire: Wire,
    pub now: u64,
}

/// A filter of these tests is a UDP or TCP port.
pub fn compile(text: &str) -> Result<Select, String> {
    let port: u16 = text.parse().map_err(|_| "no port".to_owned())?;
    let matches = move |frame: &[u8]| frame.len() > 37 && frame[36..38] == port.to_be_bytes();
    Ok(Select { text: text.to_owned(), matches: Arc::new(matches) })
}

pub fn settings(text: &str) -> Impairment {
    let mut impairment = Impairment::default();
    impairment.change(&Change::parse(&words::split(text), &compile).unwrap());
    impairment
}

impl Bed {
    pub fn new(text: &str) -> Bed {
        Bed::with_seed(text, 1, 0)
    }

    pub fn with_seed(text: &str, seed: u64, direction: u8) -> Bed {
        Bed::with_memory(text, WireSeed::new(seed, "web", direction), 256 << 20)
    }

    pub fn with_memory(text: &str, seed: WireSeed, memory: usize) -> Bed {
        let mut wire = Wire::new(seed, Arc::new(Memory::new(memory)));
        wire.set(settings(text), 1_000_000);
        Bed { wire, now: 1_000_000 }
    }

    pub fn offer(&mut self, frame: &[u8]) -> Offered {
        self.offer_with(frame, Offload::NONE)
    }

    pub fn offer_with(&mut self, frame: &[u8], offload: Offload) -> Offered {
        let mut frame = frame.to_vec();
        let packet = PacketMut::admit(&mut frame, offload).unwrap();
        self.wire.offer(self.now, &packet.view(), 1)
    }

    pub fn passes_at_once(&mut self, frame: &[u8]) -> bool {
        self.offer(frame) == Offered::Whole
    }

    /// Whether a frame passes at once where nothing waits before or after it.
    pub fn passes_alone(&mut self, frame: &[u8]) -> bool {
        let at_once = self.passes_at_once(frame);
        self.now += 1_000_000_000;
        self.due();
        at_once
    }

    /// What comes out of a super-frame at once, as segments.
    pub fn offer_super(&mut self, frame: &[u8], offload: Offload) -> Vec<Vec<u8>> {
        match self.offer_with(frame, offload) {
            Offered::Whole => segments(frame, offload),
            _ => self.due(),
        }
    }

    /// What is due now, finished.
    pub fn due(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(held) = self.wire.take_due(self.now) {
            self.wire.delivered(1);
            frames.extend(segments(&held.frame, held.offload));
        }
        frames
    }
}

/// A frame as segments, finished.
pub fn segments(frame: &[u8], mut offload: Offload) -> Vec<Vec<u8>> {
    let mut frame = frame.to_vec();
    if offload.gso.is_none() {
        vswitch_frame::offload::complete_checksum(&mut frame, &mut offload);
        return vec![frame];
    }
    let packet = PacketMut::admit(&mut frame, offload).unwrap();
    let view = packet.view();
    let segments = segment(&view).unwrap();
    (0..segments.count())
        .map(|index| {
            let mut out = vec![0; segments.max_len()];
            let length = segments.write(index, &mut out);
            out.truncate(length);
            out
        })
        .collect()
}

pub fn udp_frame(payload: &[u8], port: u16) -> Vec<u8> {
    udp(40_000, port, payload)
}

/// A datagram with a number in its payload.
pub fn udp_between(from: u16, to: u16, number: u16) -> Vec<u8> {
    udp(from, to, &number.to_be_bytes())
}

pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3])
        .ipv4([10, 0, 0, 2], [10, 0, 0, 3], 64)
        .udp(from, to)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// A datagram of 1,000 bytes with a number.
pub fn plain_frame(number: u16) -> Vec<u8> {
    let mut payload = [0; 256];
    payload[..2].copy_from_slice(&number.to_be_bytes());
    udp_frame(&payload, 53)
}

pub fn number_of(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[42], frame[43]])
}

/// A super-frame of TCP of so many segments of 100 bytes.
pub fn super_frame(count: usize) -> (Vec<u8>, Offload) {
    let payload: Vec<u8> = (0..count * 100).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3])
        .ipv4([10, 0, 0, 2], [10, 0, 0, 3], 64)
        .tcp(5, 6, 1000, 100)
        .ack(77)
        .psh()
        .write(&mut frame, &payload)
        .unwrap();
    let pseudo =
        vswitch_frame::checksum::pseudo_header_v4([10, 0, 0, 2].into(), [10, 0, 0, 3].into(), 6, frame.len() - 34);
    frame[50..52].copy_from_slice(&vswitch_frame::checksum::fold(pseudo).to_be_bytes());
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    (frame, Offload { checksum, gso: Some(Gso { kind: GsoKind::TcpV4, size: 100, header_len: 54, ecn: false }) })
}

/// Shares by chance for a test's own input.
pub fn stream() -> impl FnMut() -> f64 {
    let mut state = 0x1234_5678_9abc_def1u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}
