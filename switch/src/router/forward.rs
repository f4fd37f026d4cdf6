//! One frame through the router.

use std::net::IpAddr;
use std::sync::Arc;

use rand::RngCore;
use vswitch_capture::describe::describe;
use vswitch_frame::ethernet::Ethernet;
use vswitch_frame::ipv4::{Ipv4, protocol};
use vswitch_frame::ipv6::Ipv6;
use vswitch_frame::{DropReason, Fragment, FrameBuf, L3, MacAddr, Offload, Packet, PortId, Timestamp};
use vswitch_nat::route::{
    Fit, Hop, IcmpError, Resolution, RouteDrop, Sender, check, decrement_hops, fit, fragment, refuse_connection,
};
use vswitch_nat::table::Leg;
use vswitch_nat::{Context, Decision, NatDrop};

use super::next_hop::{HopCache, Known, hear, solicit};
use super::{BurstFrame, Ingress, Plan, Router, Spare, Waiting};
use crate::egress::Egress;
use crate::fdb::{Fdb, FdbKey};
use crate::shared::lock;
use crate::snapshot::{Network, Snapshot};
use crate::trace::{Step, Trace, Untraced};
use crate::verdict::{Cause, Verdict};

/// What a frame's way through the router needs.
pub(crate) struct RouteContext<'a, T = Untraced> {
    pub(crate) router: &'a Router,
    pub(crate) plan: &'a Plan,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) fdb: &'a Fdb,
    pub(crate) hops: &'a mut HopCache,
    pub(crate) egress: &'a mut Egress,
    pub(crate) rng: &'a mut dyn RngCore,
    pub(crate) now: Timestamp,
    pub(crate) trace: T,
}

/// A frame that goes no further.
struct Refusal {
    cause: Cause,
    /// What its sender is told, if it is told something.
    told: Option<IcmpError>,
}

impl From<RouteDrop> for Refusal {
    fn from(reason: RouteDrop) -> Refusal {
        Refusal { cause: reason.into(), told: IcmpError::for_route(reason, 0) }
    }
}

impl From<NatDrop> for Refusal {
    fn from(reason: NatDrop) -> Refusal {
        Refusal { cause: reason.into(), told: IcmpError::for_nat(reason) }
    }
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Refusal {
        Refusal { cause: reason.into(), told: None }
    }
}

/// The addresses of a frame that leaves.
#[derive(Clone, Copy)]
struct Addresses {
    from: MacAddr,
    to: MacAddr,
}

impl<T: Trace> RouteContext<'_, T> {
    /// Routes a frame, by what the translator has `found` if somebody has asked it; `None`: it is for the switch itself.
    pub(crate) fn route(
        &mut self,
        ingress: Ingress<'_>,
        frame: &mut BurstFrame<'_>,
        spare: &mut Spare<'_>,
        found: Option<Result<Decision, NatDrop>>,
    ) -> Option<Verdict> {
        let Refusal { cause, told } = match self.pass(ingress, frame, spare, found) {
            Ok(verdict) => {
                if frame.buffer.packet().fragment() == Fragment::First {
                    self.released(spare);
                }
                return verdict;
            }
            Err(refusal) => refusal,
        };
        // RFC 5508 REQ-8 is about senders inside; strangers are not told how full the table is.
        let stranger = matches!(cause, Cause::Nat(_)) && self.plan.leg(ingress.network.index).is_uplink();
        if let Some(error) = told.filter(|_| !stranger) {
            self.answer(error, ingress, frame, spare);
        }
        Some(cause.into())
    }

    fn pass(
        &mut self,
        ingress: Ingress<'_>,
        frame: &mut BurstFrame<'_>,
        spare: &mut Spare<'_>,
        found: Option<Result<Decision, NatDrop>>,
    ) -> Result<Option<Verdict>, Refusal> {
        let (packet, network) = (frame.buffer.packet(), ingress.network);
        check(&network.interface, &packet)?;
        self.trace.step(|| Step::Checked);
        let leg = match (self.plan.leg(network.index), ingress.on_behalf_of) {
            (Leg::Uplink, Some(network)) => Leg::UplinkOf(network),
            (leg, _) => leg,
        };
        let context = Context { rules: &self.plan.rules, ingress: leg, now: self.now };
        let path = match found.unwrap_or_else(|| self.router.nat.lookup(&context, &packet))? {
            Decision::Forward(path) => path,
            Decision::ToSelf => {
                self.trace.step(|| Step::Flow("it is for the gateway itself".to_owned()));
                return Ok(None);
            }
            Decision::Held => {
                self.trace.step(|| Step::Flow("a fragment that waits for the first of its datagram".to_owned()));
                return Ok(Some(Verdict::Consumed));
            }
        };
        self.trace.step(|| Step::Flow(path.to_string()));
        // The way through the gateway is no way round the bridge's own isolation. A published port is open to everybody, as
        // with Docker.
        let isolates = path.egress() == context.ingress && !network.config.inter_port;
        if isolates && !path.is_by_published_port(&self.plan.rules) {
            return Err(DropReason::Isolated.into());
        }
        let peer = self.plan.peer(path.egress(), || path.source(packet.ip_addresses().0))?;
        let hop = match peer {
            // It speaks for gateways, too, whose addresses lie inside.
            Some(_) => Hop { leg: path.egress(), neighbour: path.destination() },
            None => self.plan.next_hop(path.egress(), path.destination()).ok_or(RouteDrop::NoRoute)?,
        };
        let out = self.plan.network(hop.leg).and_then(|index| self.snapshot.network(index));
        let out = out.ok_or(RouteDrop::NoRoute)?;
        let gateway = out.config.gateway.as_ref().ok_or(RouteDrop::NoRoute)?;
        self.trace.step(|| {
            let (network, mtu) = (out.config.name.clone(), out.config.mtu);
            Step::Hop { network, neighbour: hop.neighbour, mtu }
        });
        self.trace.step(|| Step::Hops(hops_left(&packet)));
        if hops_left(&packet) <= 1 {
            return Err(RouteDrop::HopsExceeded.into());
        }
        let mtu = u16::try_from(out.config.mtu).unwrap_or(u16::MAX);
        let known = match peer {
            Some(peer) => Known::At(peer),
            None => self.hops.find(out, hop.neighbour, self.now),
        };
        let returns = path.egress() == context.ingress && !path.is_by_published_port(&self.plan.rules);
        if returns && !self.reaches(ingress.network, ingress.port, known) {
            return Err(DropReason::Isolated.into());
        }
        let fits = fit(&packet, mtu);
        if fits == Fit::TooBig {
            let told = IcmpError::for_route(RouteDrop::TooBig, mtu);
            return Err(Refusal { cause: RouteDrop::TooBig.into(), told });
        }
        // What has to wait is kept as it came, too: if nobody answers, its sender is told with a quotation.
        let original = (known == Known::Unknown).then(|| packet.keep());
        if packet.fragment() == Fragment::None {
            // The translator has looked at the checksum, and keeps it right.
            frame.buffer.mark_verified();
        }
        let before = if T::LISTENS { describe(frame.buffer.frame()) } else { String::new() };
        let mut packet = frame.buffer.packet_mut();
        decrement_hops(&mut packet)?;
        self.router.nat.translate(&context, path, &mut packet, self.rng)?;
        self.trace.step(|| Step::Translated { before, after: describe(frame.buffer.frame()) });
        self.trace.step(|| {
            Step::Neighbour(match known {
                Known::At(mac) | Known::AskAgain(mac) => Some(mac),
                Known::Unknown => None,
            })
        });
        let mac = match known {
            Known::At(mac) => mac,
            Known::AskAgain(mac) => {
                self.ask(out, hop.neighbour, Some(mac), spare);
                mac
            }
            Known::Unknown => {
                let ingress = ingress.port.and_then(|port| self.snapshot.port(port)).map(Arc::downgrade);
                let waiting = Waiting {
                    packet: frame.buffer.packet().keep(),
                    original: original.unwrap_or_default(),
                    ingress: ingress.unwrap_or_default(),
                    returns,
                };
                return self.wait(out, hop.neighbour, waiting, spare).map(Some);
            }
        };
        let from = gateway.mac_of(frame.buffer.packet().ip_addresses().0);
        let addresses = Addresses { from, to: mac };
        if fits == Fit::Fragment {
            for part in fragment(&frame.buffer.packet(), mtu) {
                let (buffer, index) = spare.take().ok_or(DropReason::NoBuffer)?;
                buffer.fill(&part, Offload::NONE);
                self.send(out, addresses, buffer, index);
            }
        } else {
            self.send(out, addresses, frame.buffer, frame.index);
        }
        Ok(Some(Verdict::Forwarded))
    }

    /// Whether what came in by a port of a network may go back there to this station, which an isolation group may keep from it.
    fn reaches(&self, network: &Network, from: Option<PortId>, station: Known) -> bool {
        let Some((features, from)) = network.features.as_deref().zip(from) else { return true };
        let (Known::At(mac) | Known::AskAgain(mac)) = station else { return true };
        let to = self.fdb.lookup(FdbKey::new(network.index, mac), self.now);
        to.is_none_or(|to| features.at(from).reaches(to))
    }

    /// Puts a finished frame on its way in `network`.
    fn send(&mut self, network: &Network, addresses: Addresses, buffer: &mut FrameBuf, index: u16) {
        let Addresses { from, to } = addresses;
        if let Ok(mut header) = Ethernet::parse(buffer.frame_mut()) {
            header.set_source(from);
            header.set_destination(to);
        }
        match self.fdb.lookup(FdbKey::new(network.index, to), self.now) {
            Some(port) if self.snapshot.port(port).is_some() => {
                self.trace.step(|| Step::Out(port));
                self.egress.push(port, index);
            }
            _ => self.search(network, to, index),
        }
    }

    /// Sends a frame to every port behind which `to` may be. One with an identity has that station and no other, so that
    /// nobody is shown what is for somebody else.
    fn search(&mut self, network: &Network, to: MacAddr, index: u16) {
        for &member in &network.members {
            let identity = self.snapshot.port(member).and_then(|port| port.config.identity.as_ref());
            if identity.is_none_or(|identity| identity.mac == to) {
                self.trace.step(|| Step::Out(member));
                self.egress.push(member, index);
            }
        }
    }

    fn flood(&mut self, network: &Network, index: u16) {
        for &member in &network.members {
            self.egress.push(member, index);
        }
    }

    /// Keeps a translated frame until its next hop is known.
    fn wait(
        &mut self,
        network: &Network,
        neighbour: IpAddr,
        waiting: Waiting,
        spare: &mut Spare<'_>,
    ) -> Result<Verdict, Refusal> {
        let resolution = lock(&network.neighbours).resolve(neighbour, waiting, self.now);
        match resolution {
            // Another worker heard of it meanwhile.
            Resolution::Known { packet, mac, .. } => {
                self.send_waiting(network, mac, &packet, spare);
                Ok(Verdict::Forwarded)
            }
            Resolution::Queued { ask, dropped } => {
                if dropped.is_some() {
                    self.router.count(RouteDrop::QueueFull.into());
                }
                if ask {
                    self.ask(network, neighbour, None, spare);
                }
                Ok(Verdict::Consumed)
            }
            Resolution::Refused(_) => Err(RouteDrop::QueueFull.into()),
        }
    }

    /// Hears ARP or Neighbor Discovery, and sends what waited for it.
    pub(crate) fn hear(&mut self, network: &Network, packet: &Packet<'_>, spare: &mut Spare<'_>) {
        let (_, source) = packet.addresses();
        for waiting in hear(self.router, network, packet, self.now) {
            self.send_waiting(network, source, &waiting, spare);
        }
    }

    /// Sends a frame that waited, now that its next hop is at `mac`.
    fn send_waiting(&mut self, network: &Network, mac: MacAddr, waiting: &Waiting, spare: &mut Spare<'_>) {
        let Some(gateway) = network.config.gateway.as_ref() else { return };
        if waiting.returns {
            let ingress = waiting.ingress.upgrade().map(|port| port.id);
            if !self.reaches(network, ingress, Known::At(mac)) {
                return self.router.count(NatDrop::Isolated.into());
            }
        }
        let mtu = u16::try_from(network.config.mtu).unwrap_or(u16::MAX);
        let packet = waiting.packet.view();
        let from = gateway.mac_of(packet.ip_addresses().0);
        let parts = match fit(&packet, mtu) {
            Fit::Fragment => fragment(&packet, mtu),
            Fit::Fits | Fit::TooBig => Vec::new(),
        };
        let whole = parts.is_empty().then_some(packet);
        for part in parts.iter().map(|part| Packet::finished(part)).chain(whole) {
            let Some((buffer, index)) = spare.take() else { return self.router.count(RouteDrop::QueueFull.into()) };
            buffer.fill_with(&part);
            self.send(network, Addresses { from, to: mac }, buffer, index);
        }
    }

    fn ask(&mut self, network: &Network, neighbour: IpAddr, to: Option<MacAddr>, spare: &mut Spare<'_>) {
        if let Some((buffer, index)) = spare.take()
            && solicit(network, neighbour, to, buffer)
        {
            self.flood(network, index);
        }
    }

    /// Sends fragments on that waited for the first of their datagram.
    fn released(&mut self, spare: &mut Spare<'_>) {
        for held in self.router.nat.released() {
            let network = self.plan.network(held.ingress).and_then(|index| self.snapshot.network(index));
            let Some(network) = network else { continue };
            let Some((buffer, index)) = spare.take() else {
                return self.router.count(RouteDrop::QueueFull.into());
            };
            buffer.fill_with(&held.packet.view());
            let mut frame = BurstFrame { buffer, index };
            let on_behalf_of = match held.ingress {
                Leg::UplinkOf(network) => Some(network),
                Leg::Uplink | Leg::Further(_) | Leg::Inside(_) => None,
            };
            let ingress = Ingress { port: None, network, on_behalf_of };
            if let Err(refusal) = self.pass(ingress, &mut frame, spare, None) {
                self.router.count(refusal.cause);
            }
        }
    }

    /// Refuses a packet that is for the switch itself, which serves nothing but echo: a reset for TCP (G17), an ICMP error
    /// for the rest (G16). `false` for what the gateway answers.
    pub(crate) fn refuse_service(
        &mut self,
        ingress: Ingress<'_>,
        frame: &BurstFrame<'_>,
        spare: &mut Spare<'_>,
    ) -> bool {
        let packet = frame.buffer.packet();
        let error = match (packet.l3(), packet.protocol()) {
            (L3::Ipv4, protocol::ICMP) | (L3::Ipv6, protocol::ICMPV6) => return false,
            (_, protocol::TCP) => {
                if let (Some(port), Some((buffer, index))) = (ingress.port, spare.take())
                    && refuse_connection(&packet, buffer)
                {
                    self.egress.push(port, index);
                }
                return true;
            }
            (_, protocol::UDP | protocol::SCTP) => IcmpError::PortUnreachable,
            _ => IcmpError::ProtocolUnreachable,
        };
        self.answer(error, ingress, frame, spare);
        true
    }

    /// Answers a frame with an ICMP error from the gateway of the network that it came from.
    pub(crate) fn answer(
        &mut self,
        error: IcmpError,
        ingress: Ingress<'_>,
        frame: &BurstFrame<'_>,
        spare: &mut Spare<'_>,
    ) {
        let packet = frame.buffer.packet();
        if !vswitch_nat::route::may_be_answered(&packet) {
            return;
        }
        let (source, _) = packet.ip_addresses();
        let sender = ingress.network.gateway_address(source.is_ipv4());
        let (Some(port), Some((mac, address))) = (ingress.port, sender) else { return };
        if self.router.error_allowed(source, self.now)
            && let Some((buffer, index)) = spare.take()
            && error.build(&packet, Sender { mac, address }, buffer)
        {
            self.egress.push(port, index);
        }
    }
}

/// The time to live, or the hop limit.
fn hops_left(packet: &Packet<'_>) -> u8 {
    match packet.l3() {
        L3::Ipv4 => Ipv4::parse(packet.ip_packet()).map_or(0, |packet| packet.ttl()),
        _ => Ipv6::parse(packet.ip_packet()).map_or(0, |packet| packet.hop_limit()),
    }
}
