//! One frame through the router.

use std::net::IpAddr;
use std::sync::Arc;

use rand::RngCore;
use vswitch_frame::ethernet::Ethernet;
use vswitch_frame::ipv4::{Ipv4, protocol};
use vswitch_frame::ipv6::Ipv6;
use vswitch_frame::{DropReason, Fragment, FrameBuf, Headers, L3, MacAddr, Offload, PortId, Timestamp};
use vswitch_nat::route::{
    Fit, Hop, IcmpError, Resolution, RouteDrop, Sender, check, decrement_hops, fit, fragment, refuse_connection,
};
use vswitch_nat::table::Leg;
use vswitch_nat::{Context, Decision, Outcome};

use super::next_hop::{HopCache, Known, solicit};
use super::{Plan, Router, Spare, Waiting};
use crate::fdb::{Fdb, FdbKey};
use crate::pipeline::Egress;
use crate::shared::lock;
use crate::snapshot::{Network, Snapshot};

/// What a frame's way through the router needs.
pub(crate) struct Way<'a> {
    pub(crate) router: &'a Router,
    pub(crate) plan: &'a Plan,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) fdb: &'a Fdb,
    pub(crate) hops: &'a mut HopCache,
    pub(crate) egress: &'a mut Egress,
    pub(crate) rng: &'a mut dyn RngCore,
    pub(crate) now: Timestamp,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routed {
    /// It is on its way.
    Forwarded,
    /// It waits, or was answered with an ICMP error that is on its way.
    Consumed,
    /// It is for the switch itself.
    ToSelf,
    /// It goes nowhere.
    Dropped(DropReason),
}

/// Why a frame goes no further.
enum Stop {
    Route(RouteDrop),
    /// Longer than this MTU.
    TooBig(u16),
    Nat(vswitch_nat::NatDrop),
    /// From one endpoint to another of a network that isolates them.
    Isolated,
    NoBuffer,
}

impl Way<'_> {
    /// Routes the frame in `buffer`, which `ingress` received in `network`; `index` is the buffer's in the egress lists.
    pub(crate) fn route(
        &mut self,
        (ingress, network): (PortId, &Network),
        (buffer, index): (&mut FrameBuf, u16),
        headers: &Headers,
        spare: &mut Spare<'_>,
    ) -> Routed {
        let offload = buffer.offload;
        let (reason, error) = match self.pass((ingress, network), (buffer, index), (headers, offload), spare) {
            Ok(routed) => {
                if headers.fragment() == Fragment::First {
                    self.released(spare);
                }
                return routed;
            }
            Err(Stop::Route(reason)) => {
                self.router.refuse(reason);
                (DropReason::Unroutable, IcmpError::for_route(reason, 0))
            }
            Err(Stop::TooBig(mtu)) => {
                self.router.refuse(RouteDrop::TooBig);
                (DropReason::Unroutable, IcmpError::for_route(RouteDrop::TooBig, mtu))
            }
            // RFC 5508 REQ-8 is about senders inside; strangers are not told how full the table is.
            Err(Stop::Nat(reason)) if self.plan.leg(network.index) != Leg::Uplink => {
                (DropReason::Untranslated, IcmpError::for_nat(reason))
            }
            Err(Stop::Nat(_)) => (DropReason::Untranslated, None),
            Err(Stop::Isolated) => (DropReason::Isolated, None),
            Err(Stop::NoBuffer) => (DropReason::NoBuffer, None),
        };
        if let Some(error) = error {
            self.answer(error, (ingress, network), (buffer.frame(), headers), spare);
        }
        Routed::Dropped(reason)
    }

    fn pass(
        &mut self,
        (ingress, network): (PortId, &Network),
        (buffer, index): (&mut FrameBuf, u16),
        (headers, offload): (&Headers, Offload),
        spare: &mut Spare<'_>,
    ) -> Result<Routed, Stop> {
        check(&network.interface, buffer.frame(), headers).map_err(Stop::Route)?;
        let context = Context { rules: &self.plan.rules, ingress: self.plan.leg(network.index), now: self.now };
        let passage = match self.router.nat.lookup(&context, buffer.frame(), headers, &offload) {
            Decision::Forward(passage) => passage,
            Decision::ToSelf => return Ok(Routed::ToSelf),
            Decision::Held => return Ok(Routed::Consumed),
            Decision::Drop(reason) => return Err(Stop::Nat(reason)),
        };
        // The way through the gateway is no way round the bridge's own isolation. A published port is open to everybody, as
        // with Docker.
        let isolates = passage.egress() == context.ingress && !network.config.inter_port;
        if isolates && !passage.is_by_published_port(&self.plan.rules) {
            return Err(Stop::Isolated);
        }
        let peer = self.plan.peer.filter(|_| passage.egress() == Leg::Uplink);
        let hop = match peer {
            // It speaks for gateways, too, whose addresses lie inside.
            Some(_) => Hop { leg: Leg::Uplink, neighbour: passage.destination() },
            None => {
                let hop = self.plan.routes.lookup(passage.destination()).filter(|hop| hop.leg == passage.egress());
                hop.ok_or(Stop::Route(RouteDrop::NoRoute))?
            }
        };
        let out = self.plan.network(hop.leg).and_then(|index| self.snapshot.network(index));
        let out = out.ok_or(Stop::Route(RouteDrop::NoRoute))?;
        let gateway = out.config.gateway.as_ref().map(|gateway| gateway.mac).ok_or(Stop::Route(RouteDrop::NoRoute))?;
        if hops_left(buffer.frame(), headers) <= 1 {
            return Err(Stop::Route(RouteDrop::HopsExceeded));
        }
        let mtu = u16::try_from(out.config.mtu).unwrap_or(u16::MAX);
        let fits = fit(buffer.frame(), headers, &offload, mtu);
        if fits == Fit::TooBig {
            return Err(Stop::TooBig(mtu));
        }
        let known = match peer {
            Some(peer) => Known::At(peer),
            None => self.hops.find(out, hop.neighbour, self.now),
        };
        // What has to wait is kept as it came, too: if nobody answers, its sender is told with a quotation.
        let original: Option<Box<[u8]>> = (known == Known::Unknown).then(|| buffer.frame().into());
        decrement_hops(buffer.frame_mut(), headers).map_err(Stop::Route)?;
        match self.router.nat.translate(&context, passage, buffer.frame_mut(), headers, &offload, self.rng) {
            Outcome::Forward => {}
            Outcome::Drop(reason) => return Err(Stop::Nat(reason)),
        }
        let mac = match known {
            Known::At(mac) => mac,
            Known::AskAgain(mac) => {
                self.ask(out, hop.neighbour, Some(mac), spare);
                mac
            }
            Known::Unknown => {
                let original = original.unwrap_or_default();
                return self.wait(out, hop.neighbour, (ingress, buffer, original), spare);
            }
        };
        if fits == Fit::Fragment {
            for part in fragment(buffer.frame(), headers, &offload, mtu) {
                let (buffer, index) = spare.take().ok_or(Stop::NoBuffer)?;
                buffer.fill(&part, Offload::NONE);
                self.send(out, (gateway, mac), buffer, index);
            }
        } else {
            self.send(out, (gateway, mac), buffer, index);
        }
        Ok(Routed::Forwarded)
    }

    /// Puts a finished frame on its way to `mac` in `network`.
    fn send(&mut self, network: &Network, (from, to): (MacAddr, MacAddr), buffer: &mut FrameBuf, index: u16) {
        if let Ok(mut header) = Ethernet::parse(buffer.frame_mut()) {
            header.set_source(from);
            header.set_destination(to);
        }
        match self.fdb.lookup(FdbKey::new(network.index, to), self.now) {
            Some(port) if self.snapshot.port(port).is_some() => self.egress.push(port, index),
            _ => self.search(network, to, index),
        }
    }

    /// Sends a frame to every port behind which `to` may be. One with an identity has that station and no other, so that
    /// nobody is shown what is for somebody else.
    fn search(&mut self, network: &Network, to: MacAddr, index: u16) {
        for &member in &network.members {
            let identity = self.snapshot.port(member).and_then(|port| port.config.identity.as_ref());
            if identity.is_none_or(|identity| identity.mac == to) {
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
        (ingress, buffer, original): (PortId, &FrameBuf, Box<[u8]>),
        spare: &mut Spare<'_>,
    ) -> Result<Routed, Stop> {
        let ingress = self.snapshot.port(ingress).map(Arc::downgrade).unwrap_or_default();
        let waiting = Waiting { frame: buffer.frame().into(), offload: buffer.offload, original, ingress };
        let resolution = lock(&network.neighbours).resolve(neighbour, waiting, self.now);
        match resolution {
            // Another worker heard of it meanwhile.
            Resolution::Known { packet, mac, .. } => {
                self.send_waiting(network, mac, &packet, spare);
                Ok(Routed::Forwarded)
            }
            Resolution::Queued { ask, dropped } => {
                if dropped.is_some() {
                    self.router.refuse(RouteDrop::QueueFull);
                }
                if ask {
                    self.ask(network, neighbour, None, spare);
                }
                Ok(Routed::Consumed)
            }
            Resolution::Refused(_) => Err(Stop::Route(RouteDrop::QueueFull)),
        }
    }

    /// Sends a frame that waited, now that its next hop is at `mac`.
    pub(crate) fn send_waiting(&mut self, network: &Network, mac: MacAddr, waiting: &Waiting, spare: &mut Spare<'_>) {
        let Some(gateway) = network.config.gateway.as_ref().map(|gateway| gateway.mac) else { return };
        let mtu = u16::try_from(network.config.mtu).unwrap_or(u16::MAX);
        let Ok(headers) = Headers::parse(&waiting.frame) else { return };
        let offload = waiting.offload;
        let parts = match fit(&waiting.frame, &headers, &offload, mtu) {
            Fit::Fragment => fragment(&waiting.frame, &headers, &offload, mtu),
            Fit::Fits | Fit::TooBig => Vec::new(),
        };
        let whole = parts.is_empty().then_some((&waiting.frame[..], offload));
        for (part, offload) in parts.iter().map(|part| (&part[..], Offload::NONE)).chain(whole) {
            let Some((buffer, index)) = spare.take() else { return self.router.refuse(RouteDrop::QueueFull) };
            buffer.fill(part, offload);
            self.send(network, (gateway, mac), buffer, index);
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
            let Some(index) = spare.take().map(|(buffer, index)| {
                buffer.fill(&held.frame, Offload::NONE);
                index
            }) else {
                return self.router.refuse(RouteDrop::QueueFull);
            };
            let Ok(headers) = Headers::parse(&held.frame) else { continue };
            // A later fragment needs no spare buffer of its own, so the one that it lies in can be lent out.
            let mut buffer = std::mem::take(&mut spare.buffers[usize::from(index) - spare.base]);
            let port = network.members.first().copied().unwrap_or(PortId::new(0));
            let passed = self.pass((port, network), (&mut buffer, index), (&headers, Offload::NONE), spare);
            spare.buffers[usize::from(index) - spare.base] = buffer;
            match passed {
                Ok(_) => {}
                Err(Stop::Route(reason)) => self.router.refuse(reason),
                Err(Stop::TooBig(_)) => self.router.refuse(RouteDrop::TooBig),
                Err(Stop::Nat(_) | Stop::Isolated | Stop::NoBuffer) => {}
            }
        }
    }

    /// Refuses a packet that is for the switch itself, which serves nothing but echo: a reset for TCP (G17), an ICMP error
    /// for the rest (G16). `false` for what the gateway answers.
    pub(crate) fn refuse_service(
        &mut self,
        (ingress, network): (PortId, &Network),
        (frame, headers): (&[u8], &Headers),
        spare: &mut Spare<'_>,
    ) -> bool {
        let error = match (headers.l3(), headers.protocol()) {
            (L3::Ipv4, protocol::ICMP) | (L3::Ipv6, protocol::ICMPV6) => return false,
            (_, protocol::TCP) => {
                if let Some((buffer, index)) = spare.take()
                    && refuse_connection(frame, headers, buffer)
                {
                    self.egress.push(ingress, index);
                }
                return true;
            }
            (_, protocol::UDP | protocol::SCTP) => IcmpError::PortUnreachable,
            _ => IcmpError::ProtocolUnreachable,
        };
        self.answer(error, (ingress, network), (frame, headers), spare);
        true
    }

    /// Answers a frame with an ICMP error from the gateway of the network that it came from.
    pub(crate) fn answer(
        &mut self,
        error: IcmpError,
        (ingress, network): (PortId, &Network),
        (frame, headers): (&[u8], &Headers),
        spare: &mut Spare<'_>,
    ) {
        let (source, sender) = match headers.l3() {
            L3::Ipv4 => (IpAddr::V4(headers.source_v4(frame)), network.gateway_address(true)),
            L3::Ipv6 => (IpAddr::V6(headers.source_v6(frame)), network.gateway_address(false)),
            _ => return,
        };
        let Some((mac, address)) = sender else { return };
        if !vswitch_nat::route::may_be_answered(frame, headers) || !self.router.error_allowed(source, self.now) {
            return;
        }
        if let Some((buffer, index)) = spare.take()
            && error.build(frame, headers, Sender { mac, address }, buffer)
        {
            self.egress.push(ingress, index);
        }
    }
}

/// The time to live, or the hop limit.
fn hops_left(frame: &[u8], headers: &Headers) -> u8 {
    let packet = headers.packet(frame);
    match headers.l3() {
        L3::Ipv4 => Ipv4::parse(packet).map_or(0, |packet| packet.ttl()),
        _ => Ipv6::parse(packet).map_or(0, |packet| packet.hop_limit()),
    }
}
