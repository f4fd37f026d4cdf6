//! The tunnel's engine in memory, on one core: encapsulation and decapsulation of 64-byte frames.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::ensure;
use vswitch_frame::{FrameBuf, MacAddr, Offload, Timestamp, Vni};
use vswitch_switch::tunnel::coalesce::Coalescer;
use vswitch_switch::tunnel::decap::{Intake, open};
use vswitch_switch::tunnel::encap::{Job, Joining, Packer, Pushed, Route};
use vswitch_switch::tunnel::inner_offload::infer_offload;
use vswitch_switch::tunnel::{Overlay, OverlaySpec, ecn, flow, header};

use crate::report::{Figure, median};

/// Frames in flight: as many as a worker's burst.
const BURST: usize = 64;
/// Stations that the frames go to and come from.
const STATIONS: usize = 32;
const BURSTS: usize = 60_000;
const LOCAL: [u8; 4] = [192, 0, 2, 1];
const REMOTE: [u8; 4] = [192, 0, 2, 2];
const MTU: u32 = 1450;

/// Millions of frames a second, each way.
///
/// # Errors
/// When a frame does not take the way that is measured.
pub fn in_memory() -> anyhow::Result<Vec<Figure>> {
    let rates = |measure: fn() -> anyhow::Result<f64>| (0..3).map(|_| measure()).collect::<anyhow::Result<Vec<f64>>>();
    Ok(vec![
        Figure::at_least("encapsulate: look up, hash, plan, pack", median(rates(encapsulations)?), 4.0, " M/s"),
        Figure::at_least("decapsulate: check, learn, copy out", median(rates(decapsulations)?), 4.0, " M/s"),
    ])
}

fn mac(station: usize) -> MacAddr {
    MacAddr::from_u64(0x0242_0000_0000 + u64::try_from(station).unwrap_or(0))
}

/// A 64-byte UDP frame from one station to another.
fn frame(from: usize, to: usize) -> Vec<u8> {
    let mut frame = [&mac(to).octets()[..], &mac(from).octets()].concat();
    frame.extend([8, 0, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let port = u16::try_from(1000 + from).unwrap_or(0).to_be_bytes();
    frame.extend([port[0], port[1], 0, 80, 0, 30, 0, 0]);
    frame.resize(64, 0);
    frame
}

fn overlay() -> anyhow::Result<(Overlay, Vni)> {
    let vni = Vni::new(4097)?;
    let overlay = Overlay::new(OverlaySpec::new(vni), LOCAL.into())?;
    overlay.add_remote(REMOTE.into(), LOCAL.into())?;
    Ok((overlay, vni))
}

fn encapsulations() -> anyhow::Result<f64> {
    let (overlay, vni) = overlay()?;
    let mut learned = frame(STATIONS, 0);
    for station in 0..STATIONS {
        learned[6..12].copy_from_slice(&mac(station).octets());
        Intake::new(&overlay, REMOTE.into(), 0, Timestamp::ZERO).and_then(|mut intake| intake.accept(&mut learned))?;
    }
    let buffers: Vec<_> = (0..BURST)
        .map(|index| FrameBuf::from_frame(&frame(STATIONS + index, index % STATIONS), Offload::NONE))
        .collect();
    let mut packer = Packer::default();
    let mut packets = 0;
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = Instant::now();
    for _ in 0..BURSTS {
        packer.begin(vni, Joining::Trains);
        let view = overlay.view();
        for (index, buffer) in black_box(&buffers).iter().enumerate() {
            let packet = buffer.packet();
            let tos = ecn::encapsulate(ecn::tos(packet.frame(), packet.headers()));
            let route = Route { path: header::path(flow::hash(&packet)), tos };
            let (destination, _) = packet.addresses();
            let index = u16::try_from(index)?;
            for remote in view.towards(destination) {
                let job = Job { packet, index, remote, counted: true };
                ensure!(packer.push(&job, route, 0)? == Pushed::Done, "a burst fits");
            }
        }
        packets += black_box(packer.trains()).iter().map(|train| train.amount.packets).sum::<u64>();
    }
    let seconds = start.elapsed().as_secs_f64();
    ensure!(packets == u64::try_from(BURSTS * BURST)?, "{packets} packets of {} frames", BURSTS * BURST);
    Ok(BURSTS as f64 * BURST as f64 / seconds / 1e6)
}

fn decapsulations() -> anyhow::Result<f64> {
    let (overlay, vni) = overlay()?;
    let mut packets: Vec<Vec<u8>> =
        (0..BURST).map(|index| [&header::encode(vni)[..], &frame(index % STATIONS, STATIONS)].concat()).collect();
    let mut buffers: Vec<_> = std::iter::repeat_with(FrameBuf::new).take(BURST).collect();
    let mut coalescer = Coalescer::default();
    let source = IpAddr::from(REMOTE);
    let mut taken = 0;
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = Instant::now();
    for burst in 0..BURSTS {
        let now = Timestamp::from_millis(u64::try_from(burst)?);
        for (packet, index) in black_box(&mut packets).iter_mut().zip(0..BURST) {
            // As if each came by itself, from its own source.
            let (number, at) = open(packet)?;
            ensure!(number == vni, "another network");
            let mut intake = Intake::new(&overlay, source, 0, now)?;
            let inner = &mut packet[at..];
            let headers = intake.accept(inner)?;
            if let Some(last) = index.checked_sub(1) {
                ensure!(!coalescer.join(&mut buffers[last], inner), "UDP stays apart");
                coalescer.finish(&mut buffers[last]);
            }
            buffers[index].fill(inner, infer_offload(inner, &headers, MTU, None));
            coalescer.begin(&buffers[index]);
            taken += u64::from(black_box(&buffers[index]).len() == 64);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    ensure!(taken == u64::try_from(BURSTS * BURST)?, "{taken} of {} frames came out", BURSTS * BURST);
    Ok(BURSTS as f64 * BURST as f64 / seconds / 1e6)
}
