//! Answers of services to clients of their own network, which a bridge would carry as they are.

use vswitch_frame::{Fragment, L3, Packet};

use super::fragments::FragmentKey;
use super::{Context, Decision, Nat};
use crate::NatDrop;
use crate::classify::{Class, classify};
use crate::table::{Direction, FlowKind, Leg};

impl Nat {
    /// What becomes of a packet from one station of `context.ingress`'s network to another, if it answers a client of a service: that
    /// one knows the service's address alone. `None`: it does not, and nothing is said of it.
    #[inline]
    #[must_use]
    pub fn answer_of_service(&self, context: &Context<'_>, packet: &Packet<'_>) -> Option<Result<Decision, NatDrop>> {
        let (L3::Ipv4 | L3::Ipv6) = packet.l3() else { return None };
        let Leg::Inside(network) = context.ingress else { return None };
        if !context.rules.may_answer(network, packet.ip_addresses().0) {
            return None;
        }
        if packet.fragment() == Fragment::Later {
            let (key, _) = FragmentKey::of(context.ingress, packet)?;
            return self.fragments().is_forwarded(&key).then(|| self.lookup(context, packet));
        }
        let is_answer = |kind, direction| kind == FlowKind::Service && direction == Direction::Reply;
        let zone = context.rules.zone(context.ingress);
        match classify(packet).ok()? {
            Class::Flow { tuple, segment } => {
                let (flow, direction) = self.table.find(&tuple.in_zone(zone), context.now)?;
                if !is_answer(flow.kind(), direction) {
                    return None;
                }
                if packet.fragment() == Fragment::First
                    || segment.as_ref().is_some_and(|it| flow.is_reopened_by_reply(it))
                {
                    return Some(self.lookup(context, packet));
                }
                Some(self.known(context, flow, direction, segment, None))
            }
            Class::Error(quotation) => {
                let (flow, direction) = self.table.find(&quotation.tuple.inverted().in_zone(zone), context.now)?;
                is_answer(flow.kind(), direction).then(|| self.lookup(context, packet))
            }
        }
    }
}
