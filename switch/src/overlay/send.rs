//! From the switch into the tunnel: a burst of frames for an overlay's port becomes trains, and these leave by the VTEP.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;
use vswitch_frame::{FrameBuf, MacAddr, Packet};
use vswitch_tunnel::encap::{Job, Joining, Packer, Pushed, Route, Train};
use vswitch_tunnel::{Amount, InnerVlan, OuterChecksum, Remote, TunnelDrop, View, ecn, flow, header};

use super::{OverlayLeg, Vtep};
use crate::counters::Cells;
use crate::port;
use crate::sys::trains::TrainSender;
use crate::verdict::Cause;

/// One sender's arrays for tunnels; made when first needed.
#[derive(Debug, Default)]
pub(crate) struct Outbound(Option<Box<Arrays>>);

#[derive(Debug, Default)]
struct Arrays {
    packer: Packer,
    sender: TrainSender,
}

impl OverlayLeg {
    /// Sends the frames that `indices` names through the tunnel, in order, and counts them on the port's cells.
    pub(crate) fn send(
        &self,
        outbound: &mut Outbound,
        buffers: &[FrameBuf],
        indices: &[u16],
        port: &mut port::Exit<'_>,
    ) {
        let outbound = outbound.0.get_or_insert_default();
        let vtep = self.vtep.load();
        let spec = self.overlay.spec();
        let joins = spec.checksum == OuterChecksum::Computed && vtep.joins();
        outbound.packer.begin(spec.vni, if joins { Joining::Trains } else { Joining::Alone });
        let mut exit = Exit { leg: self, vtep: &vtep, buffers, cells: port.cells, stale: Vec::new() };
        let view = self.overlay.view();
        for &index in indices {
            let buffer = &buffers[usize::from(index)];
            if let Err(reason) = exit.put(outbound, &view, buffer, index) {
                self.overlay.drops.add(reason, 1);
                port.refuse(reason, buffer, index);
            }
        }
        drop(view);
        exit.flush(outbound);
        for remote in exit.stale {
            self.learn_path(&vtep, remote);
        }
    }

    /// The remotes that a frame goes to.
    fn destinations<'v>(
        &self,
        packet: &Packet<'_>,
        view: &'v View<'_>,
    ) -> Result<&'v [std::sync::Arc<Remote>], TunnelDrop> {
        if packet.vlan_tci().is_some() && self.overlay.spec().inner_vlan == InnerVlan::Drop {
            return Err(TunnelDrop::Tagged);
        }
        let (destination, source) = packet.addresses();
        if destination.is_multicast() && source != MacAddr::ZERO && source.to_u64() == self.gateway.load(Relaxed) {
            return Err(TunnelDrop::GatewayFlood);
        }
        let remotes = view.towards(destination);
        if remotes.is_empty() { Err(TunnelDrop::NoRemote) } else { Ok(remotes) }
    }
}

/// What sending needs to know of one burst.
struct Exit<'b> {
    leg: &'b OverlayLeg,
    vtep: &'b Vtep,
    buffers: &'b [FrameBuf],
    cells: &'b Cells,
    /// Remotes whose path MTU is to be asked for, once the tables are not held any more.
    stale: Vec<IpAddr>,
}

impl Exit<'_> {
    /// Puts one frame into the trains, once for each of its remotes.
    fn put(&mut self, outbound: &mut Arrays, view: &View<'_>, buffer: &FrameBuf, index: u16) -> Result<(), TunnelDrop> {
        let packet = buffer.packet();
        if packet.frame().is_empty() {
            return Err(TunnelDrop::Runt);
        }
        let tos = ecn::encapsulate(ecn::tos(packet.frame(), packet.headers()));
        let route = Route { path: header::path(flow::hash(&packet)), tos };
        for (copy, remote) in self.leg.destinations(&packet, view)?.iter().enumerate() {
            let job = Job { packet, index, remote, counted: copy == 0 };
            let mut from = 0;
            while let Pushed::Full(next) = outbound.packer.push(&job, route, from)? {
                self.flush(outbound);
                from = next;
            }
        }
        Ok(())
    }

    /// Sends the trains so far.
    fn flush(&mut self, outbound: &mut Arrays) {
        let Arrays { packer, sender } = outbound;
        let mut rest = packer.trains();
        while let [first, ..] = rest {
            let same = rest.iter().take_while(|train| train.path == first.path).count();
            let sent = self.vtep.with_source(first.path, self.leg.overlay.spec().checksum, |socket| {
                sender.send(socket, self.vtep.config.address.port(), packer, &rest[..same], self.buffers)
            });
            let done = match sent {
                Ok(count) => {
                    rest[..count].iter().for_each(|train| self.sent(train));
                    count
                }
                Err(error) => self.failed(sender, packer, first, &error),
            };
            rest = &rest[done..];
        }
        packer.clear();
    }

    /// Deals with the train that the kernel did not take, and returns how many trains are done with: none if it is worth
    /// another try.
    fn failed(&mut self, sender: &mut TrainSender, packer: &Packer, train: &Train, error: &io::Error) -> usize {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        let joined = train.amount.packets > 1;
        match errno {
            Some(Errno::INTR) => return 0,
            // The path's MTU shrank, so that the train's packets have to be fragmented, or the kernel cannot cut trains
            // here: the packets go one by one.
            Some(Errno::MSGSIZE | Errno::INVAL | Errno::IO | Errno::OPNOTSUPP | Errno::NOPROTOOPT) if joined => {
                if matches!(errno, Some(Errno::IO | Errno::OPNOTSUPP | Errno::NOPROTOOPT)) {
                    self.vtep.stop_joining(error);
                }
                if !self.stale.contains(&train.remote.address) {
                    self.stale.push(train.remote.address);
                }
                self.send_apart(sender, packer, train);
            }
            _ => self.lost(train, reason(errno)),
        }
        1
    }

    /// Sends the packets of a train one by one.
    fn send_apart(&self, sender: &mut TrainSender, packer: &Packer, train: &Train) {
        let packets = usize::try_from(train.amount.packets).unwrap_or(0);
        let port = self.vtep.config.address.port();
        let mut sent = Amount::default();
        for packet in 0..packets {
            let bytes = packer.packet(train, packet).map(|piece| piece.len()).sum();
            let outcome = self.vtep.with_source(train.path, self.leg.overlay.spec().checksum, |socket| {
                sender.send_alone(socket, port, packer, train, packet, self.buffers)
            });
            match outcome {
                Ok(()) => {
                    sent.packets += 1;
                    sent.bytes += crate::shared::wide(bytes);
                    if bytes > train.remote.longest_packet() {
                        train.remote.fragmented(1);
                    }
                }
                Err(error) => {
                    self.leg.overlay.drops.add(reason(error.raw_os_error().map(Errno::from_raw_os_error)), 1);
                }
            }
        }
        train.remote.sent(sent);
        self.vtep.counts.sent(sent.packets, sent.packets);
        self.cells.sent(train.frames.packets, train.frames.bytes);
    }

    fn sent(&self, train: &Train) {
        train.remote.sent(train.amount);
        if train.fragmented {
            train.remote.fragmented(train.amount.packets);
        }
        self.vtep.counts.sent(1, train.amount.packets);
        self.cells.sent(train.frames.packets, train.frames.bytes);
    }

    fn lost(&self, train: &Train, reason: TunnelDrop) {
        self.leg.overlay.drops.add(reason, train.amount.packets);
        self.cells.dropped(Cause::from(reason).reason(), train.frames.packets);
    }
}

/// Why the kernel did not take a packet.
const fn reason(errno: Option<Errno>) -> TunnelDrop {
    match errno {
        Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => TunnelDrop::UnderlayFull,
        Some(Errno::MSGSIZE) => TunnelDrop::TooBig,
        _ => TunnelDrop::UnderlayError,
    }
}

impl OverlayLeg {
    /// Asks the kernel for the path MTU towards a remote.
    pub(crate) fn learn_path(&self, vtep: &Vtep, remote: IpAddr) {
        if let Some(mtu) = super::tick::path_mtu(vtep, remote) {
            self.overlay.set_path_mtu(remote, mtu);
        }
    }
}
