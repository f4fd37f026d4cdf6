//! From the tunnel into the switch: trains of VXLAN packets become bursts of frames on the ports of their networks.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use vswitch_frame::{FrameBuf, Headers, Timestamp, Vni};
use vswitch_tunnel::TunnelDrop;
use vswitch_tunnel::coalesce::Coalescer;
use vswitch_tunnel::decap::{Intake, open};
use vswitch_tunnel::header::LEN;
use vswitch_tunnel::inner_offload::{infer_offload, is_one_packet};

use super::{OverlayLeg, VtepPlan};
use crate::pipeline::Pipeline;
use crate::port::{Port, Received};
use crate::shared::wide;
use crate::sys::burst::Burst;
use crate::sys::trains::{Received as Train, TrainReceiver};

/// One worker's arrays for receiving from VTEPs.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    receiver: TrainReceiver,
    coalescer: Coalescer,
}

/// A worker's means to process frames.
pub(crate) struct RxContext<'w> {
    pub(crate) pipeline: &'w mut Pipeline,
    pub(crate) burst: &'w mut Burst,
    /// Those of a burst, and behind them the spare ones.
    pub(crate) buffers: &'w mut [FrameBuf],
    /// How many of them a burst may use.
    pub(crate) most: usize,
    pub(crate) now: Timestamp,
}

impl Inbound {
    /// Receives once and processes what came; how many messages that was.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn serve(&mut self, plan: &VtepPlan, rx: RxContext<'_>) -> io::Result<Received> {
        let Inbound { receiver, coalescer } = self;
        let received = receiver.receive(plan.vtep.socket.as_fd())?;
        let mut entry = Entry { plan, rx, coalescer, port: None, mtu: 0, datagram: None, filled: 0 };
        let mut packets = 0;
        for index in 0..received {
            match receiver.message(index) {
                Some(train) => packets += entry.take(train),
                None => plan.vtep.drops.add(TunnelDrop::Truncated, 1),
            }
        }
        entry.flush();
        plan.vtep.counts.received(wide(received), packets);
        Ok(Received::from_kernel(received, TrainReceiver::capacity()))
    }
}

/// The burst that is being collected for one port.
struct Entry<'r, 'w> {
    plan: &'r VtepPlan,
    rx: RxContext<'w>,
    coalescer: &'r mut Coalescer,
    port: Option<(Vni, Arc<Port>)>,
    /// The MTU of its network.
    mtu: u32,
    /// What the kernel told of a UDP super-frame.
    datagram: Option<usize>,
    filled: usize,
}

impl Entry<'_, '_> {
    /// Takes a train in and returns how many packets it has.
    fn take(&mut self, train: Train<'_>) -> u64 {
        let Train { source, tos, mut size, mut bytes } = train;
        self.datagram = None;
        if size < bytes.len() && is_one_packet(bytes) {
            self.datagram = Some(size);
            size = bytes.len();
        }
        let packets = bytes.len().div_ceil(size).max(1);
        if source == self.plan.vtep.config.address.ip() {
            self.plan.vtep.drops.add(TunnelDrop::OwnAddress, wide(packets));
            return wide(packets);
        }
        if bytes.is_empty() {
            self.plan.vtep.drops.add(TunnelDrop::Truncated, 1);
        }
        while !bytes.is_empty() {
            let taken = match open(&bytes[..size.min(bytes.len())]) {
                Ok((vni, _)) => self.take_run(vni, source, tos, size, bytes),
                Err(reason) => {
                    self.plan.vtep.drops.add(reason, 1);
                    1
                }
            };
            let next = (taken * size).min(bytes.len());
            bytes = &mut bytes[next..];
        }
        wide(packets)
    }

    /// Takes in the packets of one network at the start of `bytes` and returns how many there are.
    fn take_run(&mut self, vni: Vni, source: IpAddr, tos: u8, size: usize, bytes: &mut [u8]) -> usize {
        let same = |packet: &&mut [u8]| open(packet).is_ok_and(|(other, _)| other == vni);
        if self.port.as_ref().is_none_or(|(current, _)| *current != vni) {
            self.flush();
            let id = self.plan.networks.get(&vni);
            self.port = id.and_then(|&id| self.rx.pipeline.port(id)).map(|port| (vni, port));
            self.mtu = self.port.as_ref().map_or(0, |(_, port)| self.rx.pipeline.mtu(port));
        }
        let Some((_, port)) = self.port.clone() else {
            let count = bytes.chunks_mut(size).take_while(same).count();
            self.plan.vtep.drops.add(TunnelDrop::UnknownVni, wide(count));
            return count;
        };
        let Some(leg) = port.overlay() else { return bytes.len().div_ceil(size) };
        let mut intake = match Intake::new(&leg.overlay, source, tos, self.rx.now) {
            Ok(intake) => intake,
            Err(reason) => {
                let count = bytes.chunks_mut(size).take_while(same).count();
                leg.overlay.drops.add(reason, wide(count));
                return count;
            }
        };
        let mut count = 0;
        for packet in bytes.chunks_mut(size).take_while(same) {
            count += 1;
            let inner = &mut packet[LEN..];
            match intake.accept(inner) {
                Ok(headers) => self.add(leg, inner, &headers),
                Err(reason) => leg.overlay.drops.add(reason, 1),
            }
        }
        count
    }

    /// Joins an inner frame to the last one, or puts it into a buffer of its own.
    fn add(&mut self, leg: &OverlayLeg, inner: &[u8], headers: &Headers) {
        if let Some(last) = self.filled.checked_sub(1) {
            if self.coalescer.join(&mut self.rx.buffers[last], inner) {
                return;
            }
            leg.overlay.count_coalesced(self.coalescer.finish(&mut self.rx.buffers[last]));
        }
        if self.filled == self.rx.most {
            self.flush();
        }
        let buffer = &mut self.rx.buffers[self.filled];
        buffer.fill(inner, infer_offload(inner, headers, self.mtu, self.datagram));
        self.coalescer.begin(buffer);
        self.filled += 1;
    }

    /// Lets the pipeline have what was collected.
    fn flush(&mut self) {
        let Some((_, port)) = self.port.as_ref().filter(|_| self.filled > 0) else { return };
        let RxContext { pipeline, burst, buffers, now, .. } = &mut self.rx;
        let joined = self.coalescer.finish(&mut buffers[self.filled - 1]);
        if let Some(leg) = port.overlay() {
            leg.overlay.count_coalesced(joined);
        }
        pipeline.process(port, buffers, self.filled, *now);
        pipeline.flush(burst, buffers);
        self.filled = 0;
    }
}
