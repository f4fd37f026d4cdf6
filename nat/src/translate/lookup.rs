//! What a frame is, and where it would go.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vswitch_frame::{Fragment, L3, NetworkIndex, Packet, Timestamp};

use super::fragments::{FragmentKey, Noted, Route};
use super::{Context, Decision, Kind, Nat, NatPath, NewSource, PlannedFlow};
use crate::NatDrop;
use crate::classify::{Class, classify};
use crate::rules::{
    Between, Chosen, End, Filtering, Hairpin, Inbound, Mapping, Place, Ports, Reach, Rules, Shown, Target, Translation,
};
use crate::table::tcp::Segment;
use crate::table::{DENIED, Direction, Flow, FlowKind, Leg};
use crate::tuple::{Protocol, Tuple, Zone, is_mapped, is_query};

impl Nat {
    /// Says what becomes of a frame that arrived for the gateway: looks its flow up, or plans one. The frame's IP header
    /// checksum and its source are the router's to check (see [`crate::route`]), before this.
    ///
    /// # Errors
    /// Why the frame goes nowhere.
    #[inline]
    pub fn lookup(&self, context: &Context<'_>, packet: &Packet<'_>) -> Result<Decision, NatDrop> {
        match packet.l3() {
            L3::Ipv4 => {}
            // Tuples hold IPv4 addresses in this form: as IPv6 the packet would be taken for one of an IPv4 flow.
            L3::Ipv6 if [packet.source_v6(), packet.destination_v6()].into_iter().any(is_mapped) => {
                return Err(NatDrop::BadTuple);
            }
            L3::Ipv6 => {}
            _ => return Err(NatDrop::Malformed),
        }
        if packet.fragment() == Fragment::None {
            return self.whole(context, packet, None);
        }
        let (key, span) = FragmentKey::of(context.ingress, packet).ok_or(NatDrop::Malformed)?;
        let noted = self.fragments().note(key, &span, packet, context.now)?;
        match (packet.fragment(), noted) {
            (Fragment::Later, Noted::Known(Route::Forward { from, to, egress })) => {
                let kind = Kind::Fragment { from, to };
                Ok(Decision::Forward(NatPath { kind, egress, destination: to.destination(), fragment: None }))
            }
            (Fragment::Later, Noted::Known(Route::ToSelf)) => Ok(Decision::ToSelf),
            (Fragment::Later, Noted::Held) => Ok(Decision::Held),
            _ => {
                let decision = self.whole(context, packet, Some(key));
                match &decision {
                    Ok(Decision::ToSelf) => self.fragments().establish(key, Ok(Route::ToSelf)),
                    Err(reason) => self.fragments().establish(key, Err(*reason)),
                    Ok(_) => {}
                }
                decision
            }
        }
    }

    /// A whole datagram, or a first fragment.
    #[inline]
    fn whole(
        &self,
        context: &Context<'_>,
        packet: &Packet<'_>,
        fragment: Option<FragmentKey>,
    ) -> Result<Decision, NatDrop> {
        let zone = context.rules.zone(context.ingress);
        match classify(packet)? {
            Class::Flow { tuple, segment } => {
                let tuple = tuple.in_zone(zone);
                match self.table.find(&tuple, context.now) {
                    Some((flow, direction)) => {
                        let reopens = |segment| direction == Direction::Reply && flow.is_reopened_by_reply(segment);
                        if segment.as_ref().is_some_and(reopens) {
                            check_leg(context, &flow, direction)?;
                            self.check_allowed(context, &flow)?;
                            self.table.remove(&flow, context.now);
                            return self.plan(context, tuple, segment, fragment);
                        }
                        self.known(context, flow, direction, segment, fragment)
                    }
                    None => self.plan(context, tuple, segment, fragment),
                }
            }
            Class::Error(_) if fragment.is_some() => Err(NatDrop::BadQuotation),
            Class::Error(quotation) => {
                let (source, destination) = packet.ip_addresses();
                let as_gateway = || speaks_as_gateway(context, zone, source, destination);
                if context.ingress.is_uplink() && is_inside(context, zone, source) && !as_gateway() {
                    return Err(NatDrop::SpoofedSource);
                }
                // The error goes the way of an answer to the packet that it quotes.
                let answer = quotation.tuple.inverted().in_zone(zone);
                let (flow, direction) = self.table.find(&answer, context.now).ok_or(NatDrop::NoFlowForError)?;
                check_leg(context, &flow, direction)?;
                self.check_allowed(context, &flow)?;
                if destination != answer.destination() {
                    return Err(NatDrop::MismatchedError);
                }
                let (egress, destination) = (flow.egress(direction), flow.leaving(direction).destination());
                let kind = Kind::Error { flow, direction, quotation };
                Ok(Decision::Forward(NatPath { kind, egress, destination, fragment: None }))
            }
        }
    }

    /// A packet of a flow that is there.
    #[inline(always)]
    pub(super) fn known(
        &self,
        context: &Context<'_>,
        flow: Arc<Flow>,
        direction: Direction,
        segment: Option<Segment>,
        fragment: Option<FragmentKey>,
    ) -> Result<Decision, NatDrop> {
        check_leg(context, &flow, direction)?;
        self.check_allowed(context, &flow)?;
        let (egress, destination) = (flow.egress(direction), flow.leaving(direction).destination());
        let kind = Kind::Known { flow, direction, segment };
        Ok(Decision::Forward(NatPath { kind, egress, destination, fragment }))
    }

    /// A flow goes on for as long as the rules of the day let it pass; they are asked once.
    #[inline]
    pub(super) fn check_allowed(&self, context: &Context<'_>, flow: &Arc<Flow>) -> Result<(), NatDrop> {
        if flow.mark() == context.rules.mark() { Ok(()) } else { self.judge(context, flow) }
    }

    #[cold]
    fn judge(&self, context: &Context<'_>, flow: &Arc<Flow>) -> Result<(), NatDrop> {
        if flow.mark() == context.rules.mark() | DENIED {
            flow.set_expires(context.now + DENIED_FOR);
            return Err(NatDrop::Denied);
        }
        self.judge_anew(context.rules, flow, context.now)
    }

    /// Judges a flow by rules that it was not judged by. One that policies deny is kept for as long as its packets come: an answer
    /// that was under way would otherwise open it again from the other side.
    pub(super) fn judge_anew(&self, rules: &Rules, flow: &Arc<Flow>, now: Timestamp) -> Result<(), NatDrop> {
        let judged = rules.judge(flow);
        match judged {
            Ok(()) => flow.set_mark(rules.mark()),
            Err(NatDrop::Denied) => {
                flow.set_mark(rules.mark() | DENIED);
                flow.set_expires(now + DENIED_FOR);
            }
            Err(_) => {
                self.table.remove(flow, now);
            }
        }
        judged
    }

    /// What a packet of no known flow may become.
    fn plan(
        &self,
        context: &Context<'_>,
        tuple: Tuple,
        segment: Option<Segment>,
        fragment: Option<FragmentKey>,
    ) -> Result<Decision, NatDrop> {
        let destination = tuple.destination();
        if !is_unicast(destination) || !is_unicast(tuple.source()) {
            return Err(NatDrop::BadTuple);
        }
        let plan = match context.ingress {
            Leg::Inside(network) => self.plan_from_inside(context, network, &tuple, segment.as_ref())?,
            Leg::Uplink | Leg::Further(_) | Leg::UplinkOf(_) => {
                self.plan_from_uplink(context, &tuple, segment.as_ref())?
            }
        };
        let path = |kind, egress, destination| Decision::Forward(NatPath { kind, egress, destination, fragment });
        Ok(match plan {
            Plan::ToSelf => Decision::ToSelf,
            Plan::Untracked(egress) => path(Kind::Untracked, egress, destination),
            Plan::Flow { kind, egress, target, source } => {
                if tuple.protocol().is_icmp() && !is_query(tuple.protocol(), tuple.icmp_type()) {
                    return Err(NatDrop::UnsolicitedReply);
                }
                check_policy(context, egress, &tuple, segment.as_ref(), target)?;
                let egress = [egress, context.ingress];
                let opening = Box::new(PlannedFlow { tuple, segment, kind, egress, target, source });
                let destination = target.map_or(destination, |target| target.address);
                path(Kind::New(opening), egress[0], destination)
            }
        })
    }

    fn plan_from_inside(
        &self,
        context: &Context<'_>,
        network: NetworkIndex,
        tuple: &Tuple,
        segment: Option<&Segment>,
    ) -> Result<Plan, NatDrop> {
        let rules = context.rules;
        let (zone, destination) = (tuple.zone(), tuple.destination());
        let place = rules.place_of(zone, tuple.source()).filter(|place| place.network == network);
        let place = place.ok_or(NatDrop::SpoofedSource)?;
        if rules.is_own(zone, destination) {
            if let Some(chosen) = self.backend(context, tuple, segment) {
                let there = rules.place_of(zone, destination).ok_or(NatDrop::NotLocal)?;
                if there.network != network {
                    rules.peering(network, there.network).ok_or(NatDrop::Isolated)?.check(tuple)?;
                }
                return plan_service(chosen, tuple, there);
            }
            let Some((target, shown)) = self.inbound_target(context, tuple, segment) else { return Ok(Plan::ToSelf) };
            let there = rules.place_of(target.zone, target.address).ok_or(NatDrop::NotPublished)?;
            let either_internal = place.reach == Reach::Internal || there.reach == Reach::Internal;
            if there.network != network && either_internal {
                return Err(NatDrop::Internal);
            }
            let external = || rules.external_for(place.uplink, tuple.source()).map(NewSource::External);
            let gateway = there.gateway.map(NewSource::Gateway);
            let source = match (shown, rules.settings().hairpin) {
                (Shown::Service(address), _) => Some(NewSource::Gateway(address)),
                (Shown::Client, Hairpin::External) => external().or(gateway),
                (Shown::Client, Hairpin::Gateway) => gateway.or_else(external),
            };
            let source = source.ok_or(NatDrop::NoExternalAddress)?;
            let egress = Leg::Inside(there.network);
            return Ok(Plan::Flow { kind: FlowKind::Hairpin, egress, target: Some(target), source });
        }
        // What is not of its own zone is of the others', and what is nobody's is outside.
        match rules.place_of(zone, destination).or_else(|| rules.place_of(Zone::Shared, destination)) {
            Some(there) if there.network == network && rules.polices(network) => {
                Ok(Plan::routed(FlowKind::Bridged, context.ingress))
            }
            Some(there) if there.network == network => Ok(Plan::Untracked(context.ingress)),
            Some(_) if zone != Zone::Shared => Err(NatDrop::Isolated),
            Some(there) => match rules.settings().between {
                _ if let Some(peering) = rules.peering(network, there.network) => {
                    peering.check(tuple)?;
                    Ok(Plan::routed(FlowKind::Peered, Leg::Inside(there.network)))
                }
                Between::Isolated => Err(NatDrop::Isolated),
                Between::Routed if place.reach == Reach::Internal || there.reach == Reach::Internal => {
                    Err(NatDrop::Internal)
                }
                Between::Routed => Ok(Plan::routed(FlowKind::RoutedOut, Leg::Inside(there.network))),
            },
            None if place.reach == Reach::Internal => Err(NatDrop::Internal),
            None if place.translation == Translation::Routed => {
                Ok(Plan::routed(FlowKind::RoutedOut, rules.uplink_of(place)))
            }
            None => {
                let source = rules.external_for(place.uplink, tuple.source()).ok_or(NatDrop::NoExternalAddress)?;
                let source = NewSource::External(source);
                Ok(Plan::Flow { kind: FlowKind::Masquerade, egress: place.uplink, target: None, source })
            }
        }
    }

    fn plan_from_uplink(
        &self,
        context: &Context<'_>,
        tuple: &Tuple,
        segment: Option<&Segment>,
    ) -> Result<Plan, NatDrop> {
        let rules = context.rules;
        if rules.inbound() == Inbound::Trusted {
            return self.plan_from_trusted(context, tuple, segment);
        }
        if is_inside(context, Zone::Shared, tuple.source()) {
            return Err(NatDrop::SpoofedSource);
        }
        if rules.is_of_another(context.ingress, tuple.destination()) {
            return Err(NatDrop::NotLocal);
        }
        if rules.is_own(Zone::Shared, tuple.destination()) {
            let Some((target, shown)) = self.inbound_target(context, tuple, segment) else { return Ok(Plan::ToSelf) };
            let there = rules.place_of(target.zone, target.address).ok_or(NatDrop::NotPublished)?;
            if there.reach == Reach::Internal {
                return Err(NatDrop::Internal);
            }
            let egress = Leg::Inside(there.network);
            // Outside there are hosts with the network's own addresses, perhaps: one of those would be answered inside.
            let ambiguous = there.net.contains(&tuple.source());
            let source = match (shown, there.gateway) {
                (Shown::Service(address), _) => NewSource::Gateway(address),
                (Shown::Client, _) if !ambiguous => NewSource::Kept,
                (Shown::Client, Some(gateway)) => NewSource::Gateway(gateway),
                (Shown::Client, None) => return Err(NatDrop::NoExternalAddress),
            };
            return Ok(Plan::Flow { kind: FlowKind::Publish, egress, target: Some(target), source });
        }
        let place = rules.place_of(Zone::Shared, tuple.destination()).ok_or(NatDrop::NotLocal)?;
        if place.reach == Reach::Internal {
            return Err(NatDrop::Internal);
        }
        // Straight to an endpoint, by a route that the uplink's side has: of routed subnets to published ports and by an
        // echo request. What is masqueraded is reached at the published address alone, as with Docker since 28: a port
        // published at one address (127.0.0.1, say) is not open to whoever adds a route.
        let is_let_in = tuple.protocol().is_icmp() || rules.is_target(tuple);
        if place.translation != Translation::Routed || !is_let_in {
            return Err(NatDrop::NotPublished);
        }
        Ok(Plan::routed(FlowKind::RoutedIn, Leg::Inside(place.network)))
    }

    /// What the switch's own part behind the uplink sends: to endpoints only, from anybody outside or from their gateway.
    fn plan_from_trusted(
        &self,
        context: &Context<'_>,
        tuple: &Tuple,
        segment: Option<&Segment>,
    ) -> Result<Plan, NatDrop> {
        let zone = tuple.zone();
        let place = context.rules.place_of(zone, tuple.destination()).ok_or(NatDrop::NotLocal)?;
        let as_gateway = place.gateway == Some(tuple.source());
        if place.reach == Reach::Internal && !as_gateway {
            return Err(NatDrop::Internal);
        }
        let service = self.backend(context, tuple, segment);
        if service.is_none() && context.rules.is_own(zone, tuple.destination()) {
            return Err(NatDrop::NotPublished);
        }
        if is_inside(context, zone, tuple.source()) && !as_gateway {
            return Err(NatDrop::SpoofedSource);
        }
        if let Some(chosen) = service {
            return plan_service(chosen, tuple, place);
        }
        let egress = Leg::Inside(place.network);
        // What an endpoint sends to a service at its gateway is for the switch and of no flow, so neither are the answers.
        let is_answer = segment.is_some_and(|segment| !segment.is_syn() || segment.is_ack());
        if as_gateway && is_answer {
            return Ok(Plan::Untracked(egress));
        }
        Ok(Plan::routed(FlowKind::RoutedIn, egress))
    }

    /// Where a packet to one of the switch's addresses is to go: to where its port is published, else to the source
    /// inside that has the port, if filtering lets it; and who is seen there.
    fn inbound_target(
        &self,
        context: &Context<'_>,
        tuple: &Tuple,
        segment: Option<&Segment>,
    ) -> Option<(Target, Shown)> {
        let published = tuple.protocol().has_ports().then(|| context.rules.published(tuple)).flatten();
        let filtering = match context.rules.settings().mapping {
            Mapping::EndpointIndependent(filtering) => filtering,
            Mapping::PortPreserving | Mapping::Random => Filtering::AddressAndPortDependent,
        };
        let by_mapping = || matches!(tuple.protocol(), Protocol::TCP | Protocol::UDP | Protocol::SCTP);
        // What is published of a service is for one of its backends.
        if let Some(Target { zone, address, port }) = published
            && let Some(chosen) = self.backend(context, &tuple.with_destination(address, port).in_zone(zone), segment)
        {
            return match chosen {
                Chosen::Backend(target, shown) => Some((target, shown)),
                Chosen::Nobody => None,
            };
        }
        let target = published.or_else(|| by_mapping().then(|| self.table.mappings.owner(tuple, filtering)).flatten());
        target.map(|target| (target, Shown::Client))
    }

    /// The backend for what may open a flow to a service; `None`: it is for none. What is of a connection that was cut opens
    /// nothing, and is refused by nobody's answer.
    fn backend(&self, context: &Context<'_>, tuple: &Tuple, segment: Option<&Segment>) -> Option<Chosen> {
        let opens = segment.is_none_or(|segment| segment.is_syn() && !segment.is_ack());
        context.rules.backend(tuple, opens, &self.table)
    }
}

/// Whether policies let a flow be opened that leaves by `egress`, for `target` if that is not where it was sent.
fn check_policy(
    context: &Context<'_>,
    egress: Leg,
    tuple: &Tuple,
    segment: Option<&Segment>,
    target: Option<Target>,
) -> Result<(), NatDrop> {
    if !context.rules.have_policies() {
        return Ok(());
    }
    let goes = target.map_or(*tuple, |to| tuple.with_destination(to.address, to.port));
    let from = End { leg: context.ingress, address: goes.source() };
    let to = End { leg: egress, address: goes.destination() };
    context.rules.check_policy(from, to, &goes, Ports::Known)?;
    // Of a connection that was open before, nobody knows who opened it.
    match segment.is_some_and(|segment| !segment.is_syn()) {
        true => context.rules.check_policy(to, from, &goes.inverted(), Ports::Known),
        false => Ok(()),
    }
}

/// How long a flow is remembered that is denied, from its last packet on: TCP sends again for longer, and is refused as well then.
const DENIED_FOR: Duration = Duration::from_secs(120);

/// What a packet of no known flow may become.
enum Plan {
    ToSelf,
    Untracked(Leg),
    Flow { kind: FlowKind, egress: Leg, target: Option<Target>, source: NewSource },
}

impl Plan {
    const fn routed(kind: FlowKind, egress: Leg) -> Plan {
        Plan::Flow { kind, egress, target: None, source: NewSource::Kept }
    }
}

/// The way to a backend. One that comes back to itself by its service shows as its gateway: it would not answer itself otherwise.
fn plan_service(chosen: Chosen, tuple: &Tuple, there: &Place) -> Result<Plan, NatDrop> {
    let Chosen::Backend(target, shown) = chosen else { return Ok(Plan::ToSelf) };
    let itself = there.gateway.filter(|_| target.address == tuple.source());
    let source = match shown {
        Shown::Service(address) => NewSource::Gateway(address),
        Shown::Client => itself.map_or(NewSource::Kept, NewSource::Gateway),
    };
    let egress = Leg::Inside(there.network);
    Ok(Plan::Flow { kind: FlowKind::Service, egress, target: Some(target), source })
}

/// Packets of one direction arrive where those of the other leave; anything else is spoofed, or routed in a circle.
#[inline]
fn check_leg(context: &Context<'_>, flow: &Arc<Flow>, direction: Direction) -> Result<(), NatDrop> {
    if context.ingress == flow.egress(direction.opposite()) { Ok(()) } else { Err(NatDrop::WrongLeg) }
}

/// Whether the switch's own part behind the uplink says something in the name of the gateway of whom it says it to.
fn speaks_as_gateway(context: &Context<'_>, zone: Zone, source: IpAddr, destination: IpAddr) -> bool {
    let place = context.rules.place_of(zone, destination);
    context.rules.inbound() == Inbound::Trusted && place.is_some_and(|place| place.gateway == Some(source))
}

fn is_inside(context: &Context<'_>, zone: Zone, source: IpAddr) -> bool {
    context.rules.is_own(zone, source) || context.rules.place_of(zone, source).is_some()
}

/// Whether one host can have this address. (The router has checked more; this keeps flows from being made of less.)
pub(super) fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_multicast() || address.is_unspecified() || address.is_loopback() || broadcast)
}
