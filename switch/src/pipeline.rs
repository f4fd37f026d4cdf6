//! What one worker does with a burst: let each frame be decided on, carry the [`Verdict`] out and count it, send what goes out.
//!
//! Deciders are asked one after another until one has a verdict: the bridge, a service at the gateway's address, the router, the
//! gateway. The buffers belong to the burst; the next one may only begin when every list of [`crate::egress`] was sent.

mod service;

use std::sync::Arc;

use rand::RngCore;
use rand::rngs::StdRng;
use vswitch_frame::icmp::v6;
use vswitch_frame::ipv4::protocol;
use vswitch_frame::{DropReason, Fragment, FrameBuf, L3, Packet, PortId, Timestamp};
use vswitch_nat::NatDrop;
use vswitch_nat::route::IcmpError;

use crate::Settings;
use crate::bridge::{Database, decide_in_vlan, decide_told};
use crate::datapath::Datapath;
use crate::egress::Egress;
use crate::fdb::Cache;
use crate::l2::Place;
use crate::lab::Direction;
use crate::overlay::{VtepId, VtepPlan};
use crate::port::{HostGateway, Port};
use crate::router::forward::RouteContext;
use crate::router::next_hop::HopCache;
use crate::router::{BurstFrame, Ingress, Plan, Spare};
use crate::shared::wide;
use crate::snapshot::{Network, Snapshot};
use crate::sys::burst::Burst;
use crate::trace::{Recorder, Step, Trace, Untraced};
use crate::verdict::{Cause, Verdict};

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
    /// Whom [`Verdict::Multicast`] is for.
    audience: Vec<PortId>,
}

impl Pipeline {
    /// The pipeline of worker `worker`.
    #[must_use]
    pub fn new(datapath: Arc<Datapath>, worker: usize) -> Self {
        let snapshot = datapath.snapshot();
        let mut rng = datapath.settings.rng(worker as u64);
        let hops = HopCache::new(rng.next_u64());
        Pipeline {
            datapath,
            worker,
            snapshot,
            cache: Cache::new(),
            hops,
            rng,
            egress: Egress::default(),
            audience: Vec::new(),
        }
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
        let received = match &self.snapshot.lab {
            Some(lab) => {
                let received = lab.arrive(ingress, &mut buffers[..received], &mut self.egress.numbers);
                if lab.asks() {
                    return self.decide_told(ingress, buffers, received, now);
                }
                received
            }
            None => received,
        };
        self.decide(ingress, buffers, received, now, Untraced);
    }

    /// As [`Pipeline::process`], for frames that come from the wire of `ingress`, and are known as these already.
    pub(crate) fn process_off_wire(
        &mut self,
        ingress: &Port,
        buffers: &mut [FrameBuf],
        numbers: &[u64],
        now: Timestamp,
    ) {
        self.egress.numbers.set(numbers);
        if self.snapshot.lab.as_ref().is_some_and(|lab| lab.asks()) {
            return self.decide_told(ingress, buffers, numbers.len(), now);
        }
        self.decide(ingress, buffers, numbers.len(), now, Untraced);
    }

    /// Decides, and tells the steps of the frames that somebody asked about.
    #[cold]
    fn decide_told(&mut self, ingress: &Port, buffers: &mut [FrameBuf], received: usize, now: Timestamp) {
        let Some(lab) = self.snapshot.lab.clone() else { return };
        let mut recorder = Recorder::of(lab.asked(ingress, &buffers[..received], &mut self.egress.numbers));
        self.decide(ingress, buffers, received, now, &mut recorder);
        lab.tell(ingress, &recorder.into_stories());
    }

    /// Lets the frame in the first buffer in, or sends it out, as somebody wishes; says what it is known as, if somebody looks.
    #[cold]
    pub(crate) fn inject(&mut self, wish: &Wish<'_>, burst: &mut Burst, buffers: &mut [FrameBuf]) -> Option<u64> {
        let lab = self.snapshot.lab.clone()?;
        let Wish { port, direction, now, known } = *wish;
        let number = lab.next_number();
        known(number);
        match direction {
            Direction::Up => {
                let received = lab.let_in(port, &mut buffers[..1], number, &mut self.egress.numbers);
                self.decide_told(port, buffers, received, now);
            }
            Direction::Down => {
                self.egress.numbers.set(&[number]);
                // What leaves was checked by somebody.
                let _ = buffers[0].admit();
                self.egress.now = now;
                self.egress.push(port.id, 0);
            }
        }
        self.flush(burst, buffers);
        Some(number)
    }

    /// As [`Pipeline::process`], for frames that come from no port but a file; or the same towards the port. [`Pipeline::flush`]
    /// must follow.
    #[cold]
    pub(crate) fn bring(
        &mut self,
        port: &Port,
        direction: Direction,
        buffers: &mut [FrameBuf],
        count: usize,
        now: Timestamp,
    ) {
        match direction {
            Direction::Up => self.process(port, buffers, count, now),
            Direction::Down => {
                self.egress.numbers.clear();
                self.egress.now = now;
                for (index, buffer) in (0..).zip(&mut buffers[..count]) {
                    // What leaves was checked by somebody.
                    let _ = buffer.admit();
                    self.egress.push(port.id, index);
                }
            }
        }
    }

    /// Decides for the frame in the first buffer, and sends nothing.
    #[cold]
    pub(crate) fn decide_alone(
        &mut self,
        buffers: &mut [FrameBuf],
        now: Timestamp,
        id: PortId,
        recorder: &mut Recorder,
    ) {
        if let Some(port) = self.port(id) {
            self.decide(&port, buffers, 1, now, recorder);
        }
    }

    /// Sends frames that come from the wire of `port`, on their way to its endpoint.
    pub(crate) fn send_off_wire(&mut self, port: &Port, burst: &mut Burst, buffers: &mut [FrameBuf], numbers: &[u64]) {
        self.egress.numbers.set(numbers);
        self.egress.send_past_wire(&self.snapshot, port, self.worker, burst, buffers);
    }

    /// Shows what a wire lost while frames of it were on their way.
    pub(crate) fn show_losses(&self, port: &Port, losses: &[vswitch_wire::Told]) {
        if let Some(lab) = &self.snapshot.lab {
            lab.show_losses(port, losses);
        }
    }

    #[inline]
    fn decide<T: Trace>(
        &mut self,
        ingress: &Port,
        buffers: &mut [FrameBuf],
        received: usize,
        now: Timestamp,
        mut trace: T,
    ) {
        let snapshot = Arc::clone(&self.snapshot);
        self.egress.now = now;
        let cells = ingress.counters.of(self.worker);
        let (frames, spare) = buffers.split_at_mut(received);
        let mut spare = Spare::new(spare, received);
        cells.received(wide(received), wide(frames.iter().map(FrameBuf::len).sum()));
        if ingress.service().is_some() {
            return self.answer_by_service(ingress, &snapshot, frames, &mut spare, now);
        }
        let alone = ingress.host_gateway().and_then(HostGateway::network);
        let on_behalf_of = alone.and_then(|kept| snapshot.network_of(kept)).map(|network| network.index);
        // A port whose network is gone, or the one that it serves alone, is about to be removed.
        let network = snapshot.network(ingress.config.network).filter(|_| alone.is_none() || on_behalf_of.is_some());
        let Some(network) = network else {
            cells.dropped(DropReason::NoReceiver, wide(received));
            if let Some(lab) = &snapshot.lab {
                for (index, buffer) in (0..).zip(&*frames) {
                    lab.dropped(ingress, DropReason::NoReceiver.into(), buffer, index, &mut self.egress.numbers);
                }
            }
            return;
        };
        self.cache.begin(&self.datapath.fdb, now);
        self.hops.begin(&self.datapath.router, now);
        let mut forwarded = 0;
        let leg = ingress.overlay();
        let place = network.features.as_deref().map(|features| features.at(ingress.id));
        for (index, buffer) in frames.iter_mut().enumerate() {
            let index = u16::try_from(index).expect("a burst is small");
            let database = Database { fdb: &self.datapath.fdb, cache: &mut self.cache };
            trace.begin(index);
            trace.step(|| Step::Parse(vswitch_capture::describe::describe(buffer.frame())));
            let classified = place.map_or(Ok(()), |place| place.classify(buffer));
            let verdict = match classified.and_then(|()| buffer.admit()) {
                Ok(packet) => match place.and_then(|place| place.vlan_of(&packet)) {
                    None => decide_told(&packet, ingress, network, database, now, trace.again()),
                    Some(vlan) => Some(decide_in_vlan(&packet, ingress, network, vlan, database, now)),
                },
                Err(reason) => Some(reason.into()),
            };
            if let Some(mirror) = place.and_then(Place::mirror) {
                match spare.take() {
                    Some((copy, index)) => {
                        copy.fill_with(&buffer.packet());
                        self.egress.mirror(mirror, index);
                    }
                    None => cells.dropped(DropReason::MirrorLost, 1),
                }
            }
            if let Some(leg) = leg
                && leg.duplicates.look(&buffer.packet(), verdict, now)
            {
                tracing::warn!(
                    network = network.config.name,
                    "a local station's address is in use behind the tunnel, too"
                );
            }
            if matches!(verdict, Some(Verdict::Flood)) {
                self.overhear(&snapshot, network, &buffer.packet(), &mut spare, now);
            }
            let may_answer = network.balanced
                && matches!(
                    verdict,
                    Some(Verdict::Forward(_) | Verdict::Flood | Verdict::Drop(Cause::Switch(DropReason::Isolated)))
                );
            let from = Ingress { port: Some(ingress.id), network, on_behalf_of };
            let answered = if may_answer {
                let with = With { spare: &mut spare, now, trace: trace.again() };
                self.pass_answer(&snapshot, from, place, BurstFrame { buffer, index }, with)
            } else {
                None
            };
            // It is on its way by the router, and no more the bridge's to judge.
            let place = place.filter(|_| answered.is_none());
            let verdict = match verdict {
                _ if answered.is_some() => answered,
                Some(Verdict::Forward(_) | Verdict::Flood) if network.policed => {
                    let refused = self.police(&snapshot, network, &buffer.packet(), now);
                    trace.step(|| {
                        Step::Policy(refused.and_then(|refused| match refused {
                            Verdict::Drop(cause) => Some(cause),
                            _ => None,
                        }))
                    });
                    refused.or(verdict)
                }
                verdict => verdict,
            };
            let verdict = match place {
                Some(place) => {
                    let judged = place.judge(&buffer.packet(), network, verdict, now, &mut self.audience);
                    trace.step(|| Step::Features(judged));
                    judged
                }
                None => verdict,
            };
            let verdict = match verdict {
                Some(Verdict::Forward(port)) if snapshot.port(port).is_some() => Verdict::Forward(port),
                // The entry leads to a port that was just removed.
                Some(Verdict::Forward(_)) if network.config.lan.is_some() => DropReason::NoReceiver.into(),
                Some(Verdict::Forward(_)) => Verdict::Flood,
                Some(Verdict::Flood) if suppressed(ingress, network, buffer) => Verdict::Answer,
                Some(Verdict::Drop(Cause::Switch(DropReason::ReservedMulticast))) => {
                    self.datapath.lldp.hear(ingress.id, &buffer.packet(), now);
                    DropReason::ReservedMulticast.into()
                }
                Some(Verdict::Drop(Cause::TooBig(mtu))) => {
                    self.tell_too_big(ingress, network, buffer, mtu, &mut spare, now);
                    Cause::TooBig(mtu).into()
                }
                Some(verdict) => verdict,
                None => {
                    let ingress = Ingress { port: Some(ingress.id), network, on_behalf_of };
                    {
                        let with = With { spare: &mut spare, now, trace: trace.again() };
                        self.serve(&snapshot, ingress, BurstFrame { buffer, index }, with)
                    }
                }
            };
            trace.step(|| Step::Verdict(verdict));
            let members = Members { all: &network.members, place };
            forwarded += self.settle(verdict, ingress, members, BufferRef { buffer, index }, trace.again());
        }
        cells.forwarded(forwarded);
    }

    /// Asks the network's policy whether one station may send this to another; `None`: it may.
    fn police(
        &mut self,
        snapshot: &Snapshot,
        network: &Network,
        packet: &Packet<'_>,
        now: Timestamp,
    ) -> Option<Verdict> {
        // Without knowing each other's MAC addresses stations could not even be allowed to speak.
        let plan = snapshot.router.as_ref().filter(|_| !is_neighbour_talk(packet))?;
        let context = vswitch_nat::Context { rules: &plan.rules, ingress: plan.leg(network.index), now };
        let refused = self.datapath.router.nat.check_bridged(&context, packet, &mut self.rng).err()?;
        Some(refused.into())
    }

    /// Lets the router hear what a station tells all others of itself: its address has moved, or has another MAC address.
    fn overhear(
        &mut self,
        snapshot: &Snapshot,
        network: &Network,
        packet: &Packet<'_>,
        spare: &mut Spare<'_>,
        now: Timestamp,
    ) {
        let (destination, _) = packet.addresses();
        let Some(plan) = snapshot.router.as_ref().filter(|_| destination.is_multicast()) else { return };
        if packet.vlan_tci().is_some() || !is_neighbour_talk(packet) {
            return;
        }
        self.context(plan, snapshot, now, Untraced).hear(network, packet, spare);
    }

    /// Carries a verdict out and counts it; returns how many frames were forwarded by it, which the caller counts.
    #[inline]
    fn settle<T: Trace>(
        &mut self,
        verdict: Verdict,
        ingress: &Port,
        members: Members<'_>,
        frame: BufferRef<'_>,
        mut trace: T,
    ) -> u64 {
        let BufferRef { buffer, index } = frame;
        let cells = ingress.counters.of(self.worker);
        match verdict {
            Verdict::Forward(port) => self.egress.push(port, index),
            Verdict::Forwarded => {}
            Verdict::Flood | Verdict::FloodBut(_) => {
                let but = if let Verdict::FloodBut(port) = verdict { port } else { ingress.id };
                let vlan = members.place.and_then(|place| place.vlan_of(&buffer.packet()));
                let asked =
                    |member| members.place.is_none_or(|place| place.reaches(member) && place.is_in(member, vlan));
                let other = |&&member: &&PortId| member != ingress.id && member != but && asked(member);
                let mut others = members.all.iter().filter(other).peekable();
                trace.step(|| Step::Flooded(others.clone().copied().collect()));
                if others.peek().is_none() {
                    cells.dropped(DropReason::NoReceiver, 1);
                    if let Some(lab) = &self.snapshot.lab {
                        lab.dropped(ingress, DropReason::NoReceiver.into(), buffer, index, &mut self.egress.numbers);
                    }
                    return 0;
                }
                others.for_each(|&member| self.egress.push(member, index));
                cells.flooded();
            }
            Verdict::Multicast => {
                trace.step(|| Step::Flooded(self.audience.clone()));
                self.audience.iter().for_each(|&member| self.egress.push(member, index));
                cells.flooded();
            }
            Verdict::Answer => {
                self.egress.push(ingress.id, index);
                self.egress.numbers.forget(index);
                cells.consumed();
                return 0;
            }
            Verdict::Consumed => {
                cells.consumed();
                return 0;
            }
            Verdict::Drop(cause) => {
                self.datapath.router.count(cause);
                cells.dropped(cause.reason(), 1);
                if let Some(lab) = &self.snapshot.lab {
                    lab.dropped(ingress, cause, buffer, index, &mut self.egress.numbers);
                }
                return 0;
            }
        }
        1
    }

    /// Tells the sender of a packet that it does not fit an overlay, in the name of its destination: a bridge has no
    /// address of its own (V13).
    fn tell_too_big(
        &mut self,
        ingress: &Port,
        network: &Network,
        buffer: &FrameBuf,
        mtu: u32,
        spare: &mut Spare<'_>,
        now: Timestamp,
    ) {
        let packet = buffer.packet();
        if !matches!(packet.l3(), L3::Ipv4 | L3::Ipv6) {
            return;
        }
        let (source, address) = packet.ip_addresses();
        let sender = vswitch_nat::route::Sender { mac: packet.addresses().0, address };
        let error = IcmpError::TooBig { mtu: u16::try_from(mtu).unwrap_or(u16::MAX) };
        if packet.vlan_tci().is_none()
            && vswitch_nat::route::may_be_answered(&packet)
            && self.datapath.router.error_allowed(source, now)
            && let Some((out, index)) = spare.take()
            && error.build(&packet, sender, out)
        {
            self.egress.push(ingress.id, index);
            if let Some(leg) = &network.leg {
                leg.leg.overlay.count_too_big();
            }
        }
    }

    fn context<'a, T: Trace>(
        &'a mut self,
        plan: &'a Plan,
        snapshot: &'a Snapshot,
        now: Timestamp,
        trace: T,
    ) -> RouteContext<'a, T> {
        RouteContext {
            router: &self.datapath.router,
            plan,
            snapshot,
            fdb: &self.datapath.fdb,
            hops: &mut self.hops,
            egress: &mut self.egress,
            rng: &mut self.rng,
            now,
            trace,
        }
    }

    /// A frame for the gateway: routed if it is to go through it, answered if it is for it.
    fn serve<T: Trace>(
        &mut self,
        snapshot: &Snapshot,
        ingress: Ingress<'_>,
        frame: BurstFrame<'_>,
        with: With<'_, '_, T>,
    ) -> Verdict {
        let With { spare, now, mut trace } = with;
        let BurstFrame { buffer, index } = frame;
        let network = ingress.network;
        let Some(gateway) = network.config.gateway.as_ref() else { return DropReason::NotRouted.into() };
        let packet = buffer.packet();
        if let Some((port, service)) = snapshot.service()
            && service.is_asked(&network.interface, &packet)
            && snapshot.router.as_ref().is_none_or(|plan| !plan.is_uplink(network.index))
        {
            return service::ask(port, network, buffer);
        }
        let mut to_self = gateway.answers_echo(&packet);
        if let Some(plan) = snapshot.router.as_ref().filter(|_| !to_self) {
            let mut context = self.context(plan, snapshot, now, trace.again());
            if is_neighbour_talk(&packet) {
                context.hear(network, &packet, spare);
            } else if matches!(packet.l3(), L3::Ipv4 | L3::Ipv6) && packet.vlan_tci().is_none() {
                let mut frame = BurstFrame { buffer, index };
                if let Some(verdict) = context.route(ingress, &mut frame, spare, None) {
                    return verdict;
                }
                if context.refuse_service(ingress, &frame, spare) {
                    return NatDrop::Unsolicited.into();
                }
                to_self = true;
            }
        }
        gateway.answer(buffer, to_self)
    }

    /// Carries on what answers a client of a service, also of one on the network of them both, by way of the router; `None`: it is
    /// no such answer.
    fn pass_answer<T: Trace>(
        &mut self,
        snapshot: &Snapshot,
        ingress: Ingress<'_>,
        place: Option<Place<'_>>,
        mut frame: BurstFrame<'_>,
        with: With<'_, '_, T>,
    ) -> Option<Verdict> {
        let With { spare, now, mut trace } = with;
        let packet = frame.buffer.packet();
        let plan = snapshot.router.as_ref().filter(|_| packet.vlan_tci().is_none())?;
        let leg = plan.leg(ingress.network.index);
        let found = {
            let context = vswitch_nat::Context { rules: &plan.rules, ingress: leg, now };
            self.datapath.router.nat.answer_of_service(&context, &packet)?
        };
        if let Some(Err(reason)) = place.map(|place| place.charge(&packet, false, now)) {
            return Some(reason.into());
        }
        trace.step(|| Step::Service);
        self.context(plan, snapshot, now, trace).route(ingress, &mut frame, spare, Some(found))
    }

    /// Sends every egress list.
    pub fn flush(&mut self, burst: &mut Burst, buffers: &mut [FrameBuf]) {
        self.egress.flush(&self.snapshot, self.worker, burst, buffers);
    }
}

/// What a decider needs beside the frame.
struct With<'w, 'b, T> {
    spare: &'w mut Spare<'b>,
    now: Timestamp,
    trace: T,
}

/// A frame that somebody wishes to be there.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'w> {
    /// At which port.
    pub(crate) port: &'w Port,
    /// As if its endpoint had sent it, or towards that.
    pub(crate) direction: Direction,
    pub(crate) now: Timestamp,
    /// Is told what it is known as before anything happens to it.
    pub(crate) known: &'w dyn Fn(u64),
}

/// To whom a flood may go.
#[derive(Clone, Copy)]
struct Members<'m> {
    all: &'m [PortId],
    /// Where some ask for more than floods.
    place: Option<Place<'m>>,
}

/// A frame of a burst, and where its buffer is.
#[derive(Clone, Copy)]
struct BufferRef<'b> {
    buffer: &'b FrameBuf,
    index: u16,
}

/// Whether a flood from a local port was a question that the overlay answered in the buffer.
fn suppressed(ingress: &Port, network: &Network, buffer: &mut FrameBuf) -> bool {
    network.leg.as_ref().is_some_and(|leg| leg.port != ingress.id && leg.leg.overlay.answer(buffer))
}

/// Whether a frame is ARP or Neighbor Discovery, which the router hears and never forwards.
fn is_neighbour_talk(packet: &Packet<'_>) -> bool {
    let discovery = || {
        let kind = packet.l4().first().copied();
        packet.protocol() == protocol::ICMPV6
            && packet.fragment() == Fragment::None
            && kind.is_some_and(|kind| (v6::ROUTER_SOLICITATION..=v6::REDIRECT).contains(&kind))
    };
    match packet.l3() {
        L3::Arp => true,
        L3::Ipv6 => discovery(),
        _ => false,
    }
}
