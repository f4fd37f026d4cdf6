//! Packets that a bridge carries from station to station of a network with a policy: tracked, so that answers pass and a decision is
//! remembered, and never rewritten.

use rand::RngCore;
use vswitch_frame::{Fragment, L3, Packet};

use super::{Context, Nat, NewSource, PlannedFlow};
use crate::NatDrop;
use crate::classify::{Class, classify};
use crate::rules::{End, Ports};
use crate::table::tcp::Segment;
use crate::table::{Direction, FlowKind};
use crate::tuple::{Tuple, is_query};

impl Nat {
    /// Says whether an IP packet may go from one station of `context.ingress`'s network to another.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check_bridged(
        &self,
        context: &Context<'_>,
        packet: &Packet<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), NatDrop> {
        let (L3::Ipv4 | L3::Ipv6) = packet.l3() else { return Ok(()) };
        let (source, destination) = packet.ip_addresses();
        let bare = Tuple::addresses(crate::Protocol(packet.protocol()), source, destination);
        if packet.fragment() == Fragment::Later {
            return check(context, &bare, Ports::Unknown);
        }
        if !super::lookup::is_unicast(destination) || !super::lookup::is_unicast(source) {
            // Of a group there is no answer, and so nothing to remember.
            let ports = if bare.protocol().has_ports() { Ports::Unknown } else { Ports::Known };
            return match classify(packet) {
                Ok(Class::Flow { tuple, .. }) => check(context, &tuple, Ports::Known),
                _ => check(context, &bare, ports),
            };
        }
        let zone = context.rules.zone(context.ingress);
        match classify(packet)? {
            Class::Flow { tuple, segment } => self.check_tracked(context, packet, tuple.in_zone(zone), segment, rng),
            Class::Error(quotation) => match self.table.find(&quotation.tuple.inverted().in_zone(zone), context.now) {
                Some((flow, _)) => self.check_allowed(context, &flow),
                None => check(context, &bare, Ports::Known),
            },
        }
    }

    fn check_tracked(
        &self,
        context: &Context<'_>,
        packet: &Packet<'_>,
        tuple: Tuple,
        segment: Option<Segment>,
        rng: &mut dyn RngCore,
    ) -> Result<(), NatDrop> {
        let bytes = packet.l3_end() - packet.l3_offset();
        if let Some((flow, direction)) = self.table.find(&tuple, context.now)
            && flow.kind() == FlowKind::Bridged
            && flow.egress(direction) == context.ingress
        {
            self.check_allowed(context, &flow)?;
            let reopens = |segment| direction == Direction::Reply && flow.is_reopened_by_reply(segment);
            if !segment.as_ref().is_some_and(reopens) {
                // What TCP makes of a segment is between its ends: nothing is rewritten here.
                let _ = self.track(context, &flow, direction, segment.as_ref(), bytes);
                return Ok(());
            }
            self.table.remove(&flow, context.now);
        }
        check(context, &tuple, Ports::Known)?;
        let opens = match &segment {
            Some(segment) => segment.is_syn() && !segment.is_ack(),
            None => !tuple.protocol().is_icmp() || is_query(tuple.protocol(), tuple.icmp_type()),
        };
        if !opens {
            // Of what was open before there were rules nobody knows who opened it.
            check(context, &tuple.inverted(), Ports::Known)?;
        }
        let egress = [context.ingress; 2];
        let opening =
            PlannedFlow { tuple, segment, kind: FlowKind::Bridged, egress, target: None, source: NewSource::Kept };
        match self.create(context, &opening, rng) {
            Ok((flow, direction)) => {
                flow.set_mark(context.rules.mark());
                let _ = self.track(context, &flow, direction, opening.segment.as_ref(), bytes);
                Ok(())
            }
            // It ends a connection, or belongs to one of which nothing else is known: allowed, and not worth remembering.
            Err(NatDrop::InvalidSegment | NatDrop::NoPort) => Ok(()),
            Err(reason) => Err(reason),
        }
    }
}

fn check(context: &Context<'_>, tuple: &Tuple, ports: Ports) -> Result<(), NatDrop> {
    let end = |address| End { leg: context.ingress, address };
    context.rules.check_policy(end(tuple.source()), end(tuple.destination()), tuple, ports)
}
