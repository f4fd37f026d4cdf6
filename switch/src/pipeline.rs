//! What one worker does with a burst: decide for each frame, collect the frames of each egress port, send them.
//!
//! The buffers belong to the burst. An egress list names them by index, so that a flood needs no copy; the next burst may
//! only begin when every list was sent.

mod service;

use std::sync::Arc;

use rand::RngCore;
use rand::rngs::StdRng;
use vswitch_frame::icmp::v6;
use vswitch_frame::ipv4::protocol;
use vswitch_frame::{DropReason, Fragment, FrameBuf, Headers, L3, PortId, Timestamp, Verdict};
use vswitch_nat::route::IcmpError;

use crate::Settings;
use crate::bridge::{Decision, decide};
use crate::datapath::Datapath;
use crate::fdb::Cache;
use crate::gateway::Answer;
use crate::overlay::{VtepId, VtepPlan};
use crate::port::Port;
use crate::router::Spare;
use crate::router::forward::{Routed, Way};
use crate::router::next_hop::{HopCache, hear};
use crate::shared::wide;
use crate::snapshot::{Network, Snapshot};
use crate::sys::burst::Burst;

/// One worker's state.
#[derive(Debug)]
pub struct Pipeline {
    datapath: Arc<Datapath>,
    worker: usize,
    snapshot: Arc<Snapshot>,
    cache: Cache,
    hops: HopCache,
    rng: StdRng,
    egress: Egress,
}

/// Buffer indices by egress port.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    lists: Vec<Vec<u16>>,
    /// Ports whose list is not empty.
    dirty: Vec<PortId>,
}

impl Egress {
    /// Lets `port` send the frame in buffer `index`.
    #[inline]
    pub(crate) fn push(&mut self, port: PortId, index: u16) {
        if self.lists.len() <= port.index() {
            self.lists.resize_with(port.index() + 1, Vec::new);
        }
        let list = &mut self.lists[port.index()];
        if list.is_empty() {
            self.dirty.push(port);
        }
        list.push(index);
    }
}

impl Pipeline {
    /// The pipeline of worker `worker`.
    #[must_use]
    pub fn new(datapath: Arc<Datapath>, worker: usize) -> Self {
        let snapshot = datapath.snapshot();
        let mut rng = datapath.settings.rng(worker as u64);
        let hops = HopCache::new(rng.next_u64());
        Pipeline { datapath, worker, snapshot, cache: Cache::new(), hops, rng, egress: Egress::default() }
    }

    /// The settings of the switch.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.datapath.settings
    }

    /// Takes the newest snapshot. To be called between bursts.
    #[inline]
    pub fn refresh(&mut self) {
        self.datapath.refresh(&mut self.snapshot);
    }

    /// The port with this index in the current snapshot.
    #[inline]
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<Arc<Port>> {
        self.snapshot.port(id).cloned()
    }

    /// The MTU of a port's network, in bytes.
    #[must_use]
    pub fn mtu(&self, port: &Port) -> u32 {
        self.snapshot.network(port.config.network).map_or(0, |network| network.config.mtu)
    }

    /// The VTEP with this index in the current snapshot.
    #[must_use]
    pub fn vtep(&self, id: VtepId) -> Option<Arc<VtepPlan>> {
        self.snapshot.vtep(id).cloned()
    }

    /// Decides for the `received` frames that `ingress` received at `now` into the first of `buffers`; the buffers behind
    /// them serve for frames that the router makes. [`Pipeline::flush`] must follow, with the same buffers.
    ///
    /// # Panics
    /// When there are more than 65,536 buffers, or fewer than received.
    pub fn process(&mut self, ingress: &Port, buffers: &mut [FrameBuf], received: usize, now: Timestamp) {
        let snapshot = Arc::clone(&self.snapshot);
        let cells = ingress.counters.of(self.worker);
        let (frames, spare) = buffers.split_at_mut(received);
        let mut spare = Spare::new(spare, received);
        cells.received(wide(received), wide(frames.iter().map(FrameBuf::len).sum()));
        if ingress.service().is_some() {
            return self.answer_by_service((ingress, &snapshot), frames, &mut spare, now);
        }
        // A port whose network is gone is about to be removed.
        let Some(network) = snapshot.network(ingress.config.network) else {
            cells.dropped(DropReason::NoReceiver, wide(received));
            return;
        };
        self.cache.begin(&self.datapath.fdb, now);
        self.hops.begin(&self.datapath.router, now);
        let mut forwarded = 0;
        let leg = ingress.overlay();
        for (index, buffer) in frames.iter_mut().enumerate() {
            let index = u16::try_from(index).expect("a burst is small");
            let database = (&self.datapath.fdb, &mut self.cache);
            let decision = decide(buffer.parts(), ingress, network, database, now);
            if let Some(leg) = leg
                && leg.duplicates.look(buffer.frame(), decision, now)
            {
                tracing::warn!(
                    network = network.config.name,
                    "a local station's address is in use behind the tunnel, too"
                );
            }
            match decision {
                Decision::Unicast(port) if snapshot.port(port).is_some() => {
                    forwarded += 1;
                    self.egress.push(port, index);
                }
                Decision::Flood if suppressed(ingress, network, buffer) => {
                    self.egress.push(ingress.id, index);
                    cells.consumed();
                }
                // The entry leads to a port that was just removed.
                Decision::Unicast(_) | Decision::Flood => self.flood(ingress, network, index),
                Decision::TooBig(mtu) => {
                    self.tell_too_big((ingress, network), buffer, mtu, &mut spare, now);
                    cells.dropped(DropReason::OverMtu, 1);
                }
                Decision::Gateway => {
                    match self.serve(&snapshot, (ingress, network), (buffer, index), &mut spare, now) {
                        Verdict::Forwarded => forwarded += 1,
                        Verdict::Consumed => cells.consumed(),
                        Verdict::Dropped(reason) => cells.dropped(reason, 1),
                    }
                }
                Decision::Drop(reason) => cells.dropped(reason, 1),
            }
        }
        cells.forwarded(forwarded);
    }

    fn flood(&mut self, ingress: &Port, network: &Network, index: u16) {
        let cells = ingress.counters.of(self.worker);
        let mut others = network.members.iter().filter(|&&member| member != ingress.id).peekable();
        if others.peek().is_none() {
            return cells.dropped(DropReason::NoReceiver, 1);
        }
        for &member in others {
            self.egress.push(member, index);
        }
        cells.forwarded(1);
        cells.flooded();
    }

    /// Tells the sender of a packet that it does not fit an overlay, in the name of its destination: a bridge has no
    /// address of its own (V13).
    fn tell_too_big(
        &mut self,
        (ingress, network): (&Port, &Network),
        buffer: &FrameBuf,
        mtu: u32,
        spare: &mut Spare<'_>,
        now: Timestamp,
    ) {
        let frame = buffer.frame();
        let Ok(headers) = Headers::parse(frame) else { return };
        if !matches!(headers.l3(), L3::Ipv4 | L3::Ipv6) {
            return;
        }
        let (source, address) = headers.ip_addresses(frame);
        let sender = vswitch_nat::route::Sender { mac: vswitch_frame::addresses(frame).0, address };
        let error = IcmpError::TooBig { mtu: u16::try_from(mtu).unwrap_or(u16::MAX) };
        if headers.vlan_tci().is_none()
            && vswitch_nat::route::may_be_answered(frame, &headers)
            && self.datapath.router.error_allowed(source, now)
            && let Some((out, index)) = spare.take()
            && error.build(frame, &headers, sender, out)
        {
            self.egress.push(ingress.id, index);
            if let Some(leg) = &network.leg {
                leg.leg.overlay.count_too_big();
            }
        }
    }

    /// A frame for the gateway: routed if it is to go through it, answered if it is for it.
    fn serve(
        &mut self,
        snapshot: &Snapshot,
        (ingress, network): (&Port, &Network),
        (buffer, index): (&mut FrameBuf, u16),
        spare: &mut Spare<'_>,
        now: Timestamp,
    ) -> Verdict {
        let Some(gateway) = network.config.gateway.as_ref() else { return Verdict::Dropped(DropReason::NotRouted) };
        let Ok(headers) = Headers::parse(buffer.frame()) else { return Verdict::Dropped(DropReason::Runt) };
        if let Some((port, service)) = snapshot.service()
            && service.is_asked(&network.interface, buffer.frame(), &headers)
            && snapshot.router.as_ref().is_none_or(|plan| plan.uplink != Some(network.index))
        {
            return self.ask_service((port, network), (buffer, index), &headers);
        }
        let mut to_self = false;
        if let Some(plan) = &snapshot.router {
            let router = &self.datapath.router;
            let mut way = Way {
                router,
                plan,
                snapshot,
                fdb: &self.datapath.fdb,
                hops: &mut self.hops,
                egress: &mut self.egress,
                rng: &mut self.rng,
                now,
            };
            if is_neighbour_talk(buffer.frame(), &headers) {
                let (_, source) = vswitch_frame::addresses(buffer.frame());
                for waiting in hear(router, network, buffer.frame(), &headers, now) {
                    way.send_waiting(network, source, &waiting, spare);
                }
            } else if matches!(headers.l3(), L3::Ipv4 | L3::Ipv6) && headers.vlan_tci().is_none() {
                match way.route((ingress.id, network), (buffer, index), &headers, spare) {
                    Routed::Forwarded => return Verdict::Forwarded,
                    Routed::Consumed => return Verdict::Consumed,
                    Routed::Dropped(reason) => return Verdict::Dropped(reason),
                    Routed::ToSelf => to_self = true,
                }
                if way.refuse_service((ingress.id, network), (buffer.frame(), &headers), spare) {
                    router.nat.refuse(vswitch_nat::NatDrop::Unsolicited);
                    return Verdict::Dropped(DropReason::GatewayUnsupported);
                }
            }
        }
        match gateway.answer(buffer, to_self) {
            Answer::Reply => {
                self.egress.push(ingress.id, index);
                Verdict::Consumed
            }
            Answer::Silent => Verdict::Consumed,
            Answer::Drop(reason) => Verdict::Dropped(reason),
        }
    }

    /// Sends every egress list.
    pub fn flush(&mut self, burst: &mut Burst, buffers: &mut [FrameBuf]) {
        while let Some(port) = self.egress.dirty.pop() {
            let list = &mut self.egress.lists[port.index()];
            if let Some(port) = self.snapshot.port(port) {
                port.send(burst, buffers, list, port.counters.of(self.worker));
            }
            list.clear();
        }
    }
}

/// Whether a flood from a local port was a question that the overlay answered in the buffer.
fn suppressed(ingress: &Port, network: &Network, buffer: &mut FrameBuf) -> bool {
    network.leg.as_ref().is_some_and(|leg| leg.port != ingress.id && leg.leg.overlay.answer(buffer))
}

/// Whether a frame is ARP or Neighbor Discovery, which the router hears and never forwards.
fn is_neighbour_talk(frame: &[u8], headers: &Headers) -> bool {
    let discovery = || {
        let kind = headers.l4(frame).first().copied();
        headers.protocol() == protocol::ICMPV6
            && headers.fragment() == Fragment::None
            && kind.is_some_and(|kind| (v6::ROUTER_SOLICITATION..=v6::REDIRECT).contains(&kind))
    };
    match headers.l3() {
        L3::Arp => true,
        L3::Ipv6 => discovery(),
        _ => false,
    }
}
