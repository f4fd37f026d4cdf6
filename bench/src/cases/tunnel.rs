//! One frame into the tunnel, one out of it, and a super-frame into it.

use std::hint::black_box;
use std::net::IpAddr;

use vswitch_frame::{FrameBuf, MacAddr, Offload, Timestamp, Vni};
use vswitch_switch::tunnel::decap::{Intake, open};
use vswitch_switch::tunnel::encap::{Job, Joining, Packer, Pushed, Route};
use vswitch_switch::tunnel::inner_offload::infer_offload;
use vswitch_switch::tunnel::{Overlay, OverlaySpec, ecn, flow, header};

use super::{Cases, Step};

pub(super) const CASES: Cases = &[
    ("tunnel/encapsulate", || {
        let frame = super::frames::frame(17, ([10, 0, 0, 1].into(), [10, 0, 0, 2].into()), 22);
        encapsulate(FrameBuf::from_frame(&frame, Offload::NONE), 1)
    }),
    ("tunnel/encapsulate-45-segments", || {
        let (frame, offload) = super::frames::super_frame(45, 1398);
        encapsulate(FrameBuf::from_frame(&frame, offload), 45)
    }),
    ("tunnel/decapsulate", decapsulate),
];

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const REMOTE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const MTU: u32 = 1450;

/// A network with one remote and one station behind it.
fn overlay(station: MacAddr) -> (Overlay, Vni) {
    let vni = Vni::new(4097).expect("a number of 24 bits");
    let overlay = Overlay::new(OverlaySpec::new(vni), LOCAL).expect("an address of a host");
    overlay.add_remote(REMOTE, LOCAL).expect("a first remote");
    let mut learned = super::frames::frame(17, ([10, 0, 0, 2].into(), [10, 0, 0, 1].into()), 22);
    learned[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    learned[6..12].copy_from_slice(&station.octets());
    let intake = Intake::new(&overlay, REMOTE, 0, Timestamp::ZERO);
    intake.and_then(|mut intake| intake.accept(&mut learned)).expect("a frame of a remote");
    (overlay, vni)
}

fn encapsulate(mut buffer: FrameBuf, packets: u64) -> Step {
    buffer.admit().expect("a sound frame");
    let (destination, _) = vswitch_frame::addresses(buffer.frame());
    let (overlay, vni) = overlay(destination);
    let mut packer = Packer::default();
    Box::new(move || {
        packer.begin(vni, Joining::Trains);
        let view = overlay.view();
        let packet = black_box(&buffer).packet();
        let tos = ecn::encapsulate(ecn::tos(packet.frame(), packet.headers()));
        let route = Route { path: header::path(flow::hash(&packet)), tos };
        for remote in view.towards(destination) {
            let job = Job { packet, index: 0, remote, counted: true };
            assert_eq!(packer.push(&job, route, 0), Ok(Pushed::Done));
        }
        assert_eq!(black_box(packer.trains()).iter().map(|train| train.amount.packets).sum::<u64>(), packets);
    })
}

fn decapsulate() -> Step {
    let station = MacAddr::new([2, 9, 0, 0, 0, 1]);
    let (overlay, vni) = overlay(station);
    let mut inner = super::frames::frame(17, ([10, 0, 0, 2].into(), [10, 0, 0, 1].into()), 22);
    inner[6..12].copy_from_slice(&station.octets());
    let mut packet = [&header::encode(vni)[..], &inner].concat();
    let mut buffer = FrameBuf::new();
    Box::new(move || {
        let (number, at) = open(black_box(&packet)).expect("a packet of ours");
        let frame = &mut packet[at..];
        let intake = Intake::new(&overlay, REMOTE, 0, Timestamp::ZERO);
        let headers = intake.and_then(|mut intake| intake.accept(frame)).expect("a frame of a remote");
        buffer.fill(frame, infer_offload(frame, &headers, MTU, None));
        assert_eq!((number, black_box(&buffer).len()), (vni, inner.len()));
    })
}
