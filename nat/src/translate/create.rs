//! Making a flow: finding it a source that nobody else has.

use std::net::IpAddr;
use std::sync::Arc;

use rand::RngCore;

use super::ports::{Pool, is_mappable};
use super::{Context, Nat, NewSource, PlannedFlow};
use crate::NatDrop;
use crate::rules::Mapping;
use crate::table::tcp::Segment;
use crate::table::{Direction, Flow, FlowKind, NewFlow, Refused};
use crate::tuple::Tuple;

/// What came of one candidate.
enum Tried {
    /// The flow is made, or was there.
    Done(Arc<Flow>, Direction),
    /// Somebody else has it; perhaps a connection that is over.
    Taken(Option<Arc<Flow>>),
    /// No candidate would do.
    Refused(NatDrop),
}

/// What stays the same over all candidates.
struct Attempt<'a> {
    context: &'a Context<'a>,
    opening: &'a PlannedFlow,
    /// The packet with its destination replaced.
    towards: Tuple,
    /// The mapping behaviour, for a source that is replaced by an external address.
    mapping: Option<Mapping>,
}

impl Nat {
    /// Makes the flow that `opening` describes. If another worker was faster, the flow is that one's.
    pub(super) fn create(
        &self,
        context: &Context<'_>,
        opening: &PlannedFlow,
        rng: &mut dyn RngCore,
    ) -> Result<(Arc<Flow>, Direction), NatDrop> {
        let result = self.create_once(context, opening, rng);
        if !matches!(result, Err(NatDrop::NoPort)) {
            return result;
        }
        // A worker with another packet of the same source may have been given the port meanwhile, or have made this very
        // flow.
        if let Some(found) = self.table.find(&opening.tuple, context.now) {
            return Ok(found);
        }
        match opening.source.address().and_then(|source| self.table.mappings.of(&opening.tuple, source)) {
            Some(_) => self.create_once(context, opening, rng),
            None => result,
        }
    }

    fn create_once(
        &self,
        context: &Context<'_>,
        opening: &PlannedFlow,
        rng: &mut dyn RngCore,
    ) -> Result<(Arc<Flow>, Direction), NatDrop> {
        let tcp = context.rules.settings().tcp;
        if opening.segment.as_ref().is_some_and(|segment| !segment.opens(tcp)) {
            return Err(NatDrop::InvalidSegment);
        }
        let (tuple, settings) = (opening.tuple, context.rules.settings());
        let towards = opening.target.map_or(tuple, |to| tuple.with_destination(to.address, to.port));
        let external = matches!(opening.source, NewSource::External(_));
        let mapping = (external && is_mappable(tuple.protocol())).then_some(settings.mapping);
        let attempt = Attempt { context, opening, towards, mapping };

        let replaced = opening.source.address();
        let source = replaced.unwrap_or(tuple.source());
        let mut over = None;
        let mut attempt_with = |port| match self.attempt(&attempt, source, port) {
            Tried::Done(flow, direction) => Some(Ok((flow, direction))),
            Tried::Refused(reason) => Some(Err(reason)),
            Tried::Taken(flow) => {
                if over.is_none() {
                    over = flow.map(|flow| (flow, port));
                }
                None
            }
        };

        let known = mapping.and_then(|_| self.table.mappings.of(&tuple, source));
        if let Some(port) = known
            && mapping != Some(Mapping::Random)
            && let Some(done) = attempt_with(port)
        {
            return done;
        }
        if matches!(mapping, Some(Mapping::EndpointIndependent(_))) && known.is_some() {
            return Err(NatDrop::NoPort);
        }
        let keep = mapping != Some(Mapping::Random) && (replaced.is_none() || Pool::allows(&tuple, settings.ports));
        if keep && let Some(done) = attempt_with(tuple.source_port()) {
            return done;
        }
        // A source that is not replaced keeps its port whatever happens (X6), unless it was the replaced destination
        // that made it clash (X5).
        if replaced.is_some() || matches!(opening.kind, FlowKind::Publish | FlowKind::Service) {
            for port in Pool::of(&tuple, settings.ports).candidates(rng) {
                if let Some(done) = attempt_with(port) {
                    return done;
                }
            }
        }
        let Some((flow, port)) = over else { return Err(NatDrop::NoPort) };
        // T20: the new SYN lies beyond all that the old connection sent, so nothing of the old can disturb it.
        self.table.remove(&flow, context.now);
        match self.attempt(&attempt, source, port) {
            Tried::Done(flow, direction) => Ok((flow, direction)),
            Tried::Taken(_) => Err(NatDrop::NoPort),
            Tried::Refused(reason) => Err(reason),
        }
    }

    /// Tries to make the flow with this source.
    fn attempt(&self, attempt: &Attempt<'_>, source: IpAddr, port: u16) -> Tried {
        let Attempt { context, opening, towards, mapping } = attempt;
        let (original, now) = (opening.tuple, context.now);
        let leaving = towards.with_source(source, port);
        let reply = leaving.inverted().in_zone(context.rules.zone(opening.egress[0]));
        if reply == original || source == towards.destination() && port == towards.destination_port() {
            return Tried::Taken(None);
        }
        if let Some((flow, direction)) = self.table.find(&reply, now) {
            let over = direction == Direction::Reply && is_outrun(&flow, opening.segment.as_ref());
            return Tried::Taken(over.then_some(flow));
        }
        if opening.source != NewSource::Kept && context.rules.shadows(&original, &reply) {
            return Tried::Taken(None);
        }
        let held = match mapping {
            Some(mapping) => match self.table.mappings.hold(&original, &reply, *mapping) {
                Some(held) => held,
                None => return Tried::Taken(None),
            },
            None => false,
        };
        let new = NewFlow { original, reply, egress: opening.egress, kind: opening.kind, holds_mapping: held };
        let tcp = context.rules.settings().tcp;
        let refused = match Flow::new(new, opening.segment.as_ref(), tcp, now) {
            Some(flow) => match self.table.insert(flow, now) {
                Ok(flow) => return Tried::Done(flow, Direction::Original),
                Err(refused) => Some(refused),
            },
            None => None,
        };
        if held {
            self.table.mappings.forget(&original, &reply);
        }
        match refused {
            Some(Refused::Exists(flow, direction)) => Tried::Done(flow, direction),
            Some(Refused::ReplyTaken) => Tried::Taken(None),
            Some(Refused::Full) => Tried::Refused(NatDrop::TableFull),
            Some(Refused::EndpointLimit) => Tried::Refused(NatDrop::EndpointLimit),
            None => Tried::Refused(NatDrop::InvalidSegment),
        }
    }
}

fn is_outrun(flow: &Flow, segment: Option<&Segment>) -> bool {
    segment.is_some_and(|segment| segment.is_syn() && flow.is_outrun_by(segment.sequence))
}
