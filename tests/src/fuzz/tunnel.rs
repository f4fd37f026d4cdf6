//! The VXLAN engine.

use std::net::{IpAddr, Ipv4Addr};

use vswitch_frame::{FrameBuf, Headers, MacAddr, Offload, Packet, Timestamp, Vni, buffer, segment};
use vswitch_tunnel::coalesce::Coalescer;
use vswitch_tunnel::decap::{Intake, open};
use vswitch_tunnel::encap::{Job, Joining, Packer, Pushed, Route};
use vswitch_tunnel::{EntrySpec, InnerVlan, Origin, Overlay, OverlaySpec, flow, inner_offload};

use super::frames::{Frame, USUAL};
use super::input::Input;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

fn overlay(inner_vlan: InnerVlan) -> Overlay {
    let spec = OverlaySpec { capacity: 4, inner_vlan, ..OverlaySpec::new(Vni::new(7).expect("it is small")) };
    let overlay = Overlay::new(spec, LOCAL).expect("it is allowed");
    overlay.add_remote(REMOTE, LOCAL).expect("it is allowed");
    let entry = EntrySpec {
        mac: MacAddr::new([2, 0x42, 10, 1, 0, 2]),
        addresses: vec![Ipv4Addr::new(10, 1, 0, 2).into()],
        remote: REMOTE,
        origin: Origin::Static,
    };
    overlay.put_entry(&entry, LOCAL).expect("it is allowed");
    overlay
}

/// A super-frame that was joined can be cut into as many segments as came; packing ends; what a packet says of work left
/// undone holds.
pub(super) fn tunnel(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let overlay = overlay(if input.one_in(2) { InnerVlan::Carry } else { InnerVlan::Drop });
    let (tos, now) = (input.byte(), Timestamp::from_millis(5));
    let mut joined = Joined::default();
    let mut packer = Packer::default();
    if input.one_in(4) {
        let raw = input.rest();
        if let Ok((_, at)) = open(raw) {
            let mut inner = raw[at..].to_vec();
            let _ = Intake::new(&overlay, REMOTE, tos, now).expect("it is known").accept(&mut inner);
        }
    }
    while !input.is_empty() {
        let frame = Frame::new(&mut input, &USUAL);
        if frame.bytes.len() > buffer::MAX_FRAME_LEN {
            continue;
        }
        let mut inner = frame.bytes.clone();
        if Intake::new(&overlay, REMOTE, tos, now).expect("it is known").accept(&mut inner).is_ok() {
            assert_eq!(inner.len(), frame.bytes.len());
            joined.take(&inner);
            // Its successor, which may be joined to it.
            if let Some(next) = successor(&inner) {
                joined.take(&next);
            }
        }
        if let Ok(packet) = FrameBuf::from_frame(&frame.bytes, frame.offload).admit() {
            let joining = if input.one_in(2) { Joining::Alone } else { Joining::Trains };
            pack(&mut packer, &overlay, packet, joining, tos);
            let _ = flow::hash(&packet);
        }
        let mut question = FrameBuf::new();
        question.fill(&frame.bytes, frame.offload);
        if !overlay.answer(&mut question) {
            assert_eq!(question.frame(), frame.bytes);
        }
        for datagram in [None, Some(usize::from(input.word()))] {
            let Ok(headers) = Headers::parse(&frame.bytes) else { continue };
            let left = inner_offload::infer_offload(&frame.bytes, &headers, 1450, datagram);
            assert_eq!(Offload::decode(left.encode(), frame.bytes.len()), Ok(left));
        }
        let _ = inner_offload::is_one_packet(&frame.bytes);
    }
    joined.end();
}

#[derive(Default)]
struct Joined {
    coalescer: Coalescer,
    buffer: Option<FrameBuf>,
}

impl Joined {
    fn take(&mut self, frame: &[u8]) {
        if let Some(buffer) = &mut self.buffer
            && self.coalescer.join(buffer, frame)
        {
            return;
        }
        self.end();
        let buffer = self.buffer.insert(FrameBuf::new());
        buffer.fill(frame, Offload::NONE);
        self.coalescer.begin(buffer);
    }

    fn end(&mut self) {
        let Some(mut buffer) = self.buffer.take() else { return };
        let more = self.coalescer.finish(&mut buffer);
        if more > 0 {
            let again = segment::segment(&buffer.admit().expect("what was joined is sound"))
                .expect("it was joined of segments");
            assert_eq!(again.count() as u64, more + 1);
        }
    }
}

/// The TCP segment that goes on where this one ends.
fn successor(frame: &[u8]) -> Option<Vec<u8>> {
    let headers = Headers::parse(frame).ok()?;
    let segment = vswitch_frame::tcp::Tcp::parse(headers.l4(frame)).ok().filter(|_| headers.protocol() == 6)?;
    let sequence = segment.sequence().wrapping_add(u32::try_from(segment.payload().len()).ok()?);
    let mut next = frame.to_vec();
    let at = headers.l4_offset();
    let update = vswitch_frame::checksum::Update::new().bytes(&frame[at + 4..at + 8], &sequence.to_be_bytes());
    let sum = update.finished(segment.checksum());
    next[at + 4..at + 8].copy_from_slice(&sequence.to_be_bytes());
    next[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
    Some(next)
}

fn pack(packer: &mut Packer, overlay: &Overlay, packet: Packet<'_>, joining: Joining, tos: u8) {
    let (vni, remote) = (overlay.spec().vni, overlay.remote(REMOTE).expect("it is known"));
    let job = Job { packet, index: 0, remote: &remote, counted: true };
    packer.begin(vni, joining);
    let mut from = 0;
    while let Ok(Pushed::Full(next)) = packer.push(&job, Route { path: 1, tos }, from) {
        assert!(next > from || !packer.trains().is_empty(), "it does not go on");
        from = next;
        packer.begin(vni, joining);
    }
    for train in packer.trains() {
        let bytes: usize = packer.pieces(train).iter().map(vswitch_tunnel::encap::Piece::len).sum();
        assert_eq!(bytes as u64, train.amount.bytes);
    }
    packer.clear();
}
