//! Flows that get another external port while they live, as behind a translator that has forgotten them: what a peer of QUIC, DTLS or
//! `WireGuard` then sees is a source that moves.

use std::net::IpAddr;
use std::sync::Arc;

use rand::RngCore;
use vswitch_frame::Timestamp;

use super::Nat;
use super::ports::{Pool, is_mappable};
use crate::Rules;
use crate::rules::Mapping;
use crate::table::{Direction, Flow, FlowFilter, FlowKind};
use crate::tuple::{Protocol, Tuple, Zone};

/// What became of flows that were to move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebound {
    /// They have another external port, or identifier, now.
    pub moved: usize,
    /// They stay where they are: they have none, or there is no other one for them.
    pub kept: usize,
}

/// A source inside, and the address that it has outside: what a mapping belongs to.
type Source = (Protocol, Zone, IpAddr, u16, IpAddr);

impl Nat {
    /// Gives the masqueraded flows that match another external port each; those of one source go on sharing one. Nothing else of them
    /// changes, and a packet meanwhile belongs to them before or after. Where mappings are the endpoint's, all flows of a source move.
    pub fn rebind(&self, rules: &Rules, filter: &FlowFilter, now: Timestamp, rng: &mut dyn RngCore) -> Rebound {
        let mapping = rules.settings().mapping;
        let mut rebound = Rebound::default();
        let mut sources: Vec<(Source, Arc<Flow>)> = Vec::new();
        self.table.for_each(filter, now, |flow| match source_of(flow) {
            Some(source) => sources.push((source, Arc::clone(flow))),
            None => rebound.kept += usize::from(!flow.is_denied()),
        });
        sources.sort_by_key(|(source, _)| *source);
        for group in sources.chunk_by(|(one, _), (other, _)| one == other) {
            let source = group[0].0;
            let mut flows: Vec<Arc<Flow>> = group.iter().map(|(_, flow)| Arc::clone(flow)).collect();
            if matches!(mapping, Mapping::EndpointIndependent(_)) {
                flows.clear();
                let own = FlowFilter { source: Some(source.2.into()), ..FlowFilter::default() };
                self.table.for_each(&own, now, |flow| {
                    if source_of(flow) == Some(source) {
                        flows.push(Arc::clone(flow));
                    }
                });
            }
            let moved = self.move_source(rules, &flows, now, rng);
            rebound.moved += moved;
            rebound.kept += flows.len() - moved;
        }
        rebound
    }

    /// Moves flows of one source to one other port, if there is one that does for all.
    fn move_source(&self, rules: &Rules, flows: &[Arc<Flow>], now: Timestamp, rng: &mut dyn RngCore) -> usize {
        let Some(first) = flows.first() else { return 0 };
        let old = external_port(first);
        let fits = |port: u16| {
            port != old
                && flows.iter().all(|flow| {
                    let reply = moved(flow, port);
                    self.table.find(&reply, now).is_none()
                        && reply != *flow.original()
                        && !rules.shadows(flow.original(), &reply)
                })
        };
        let pool = Pool::of(first.original(), rules.settings().ports);
        let Some(port) = pool.candidates(rng).find(|&port| fits(port)) else { return 0 };
        let mapping = rules.settings().mapping;
        // Whoever keeps the old port's mapping stands in the way of the new one's.
        let living: Vec<&Arc<Flow>> = flows.iter().filter(|flow| self.table.take(flow)).collect();
        living.iter().filter(|flow| self.table.replace(flow, moved(flow, port), mapping, now)).count()
    }
}

fn source_of(flow: &Flow) -> Option<Source> {
    let original = flow.original();
    let fits = flow.kind() == FlowKind::Masquerade && is_mappable(original.protocol()) && !flow.is_denied();
    let (address, port) = (original.source(), original.source_port());
    fits.then(|| (original.protocol(), original.zone(), address, port, flow.reply().destination()))
}

/// The port, or identifier, that its packets leave with.
const fn external_port(flow: &Flow) -> u16 {
    flow.leaving(Direction::Original).source_port()
}

/// What its answers are like when its packets leave with this port.
fn moved(flow: &Flow, port: u16) -> Tuple {
    let leaving = flow.leaving(Direction::Original);
    leaving.with_source(leaving.source(), port).inverted().in_zone(flow.reply().zone())
}
