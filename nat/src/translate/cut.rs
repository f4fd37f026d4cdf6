//! Connections that are cut because the backend that they lead to does not serve any more.

use std::net::IpAddr;

use vswitch_frame::{NetworkIndex, Timestamp};

use super::Nat;
use crate::route::Reset;
use crate::rules::ServicePort;
use crate::table::{Direction, FlowFilter, FlowKind, Leg};

/// A backend, as a service leads to it.
#[derive(Debug, Clone, Copy)]
pub struct ServedBy<'a> {
    /// The network that both are on.
    pub network: NetworkIndex,
    /// The service's own addresses.
    pub service: &'a [IpAddr],
    /// Its ports.
    pub ports: &'a [ServicePort],
    /// The backend's address.
    pub backend: IpAddr,
}

/// What a client is told of a connection that was cut, and where it is.
#[derive(Debug, Clone, Copy)]
pub struct CutOff {
    /// Where the client is.
    pub leg: Leg,
    /// What it is told, in the name of the service.
    pub reset: Reset,
}

impl Nat {
    /// Ends the flows by which a service leads to a backend. Their clients open others, which lead elsewhere; those of TCP connections
    /// are to be told. Where nothing is known of a connection but that it is there, its next segment is answered with a reset.
    pub fn cut(&self, served: &ServedBy<'_>, now: Timestamp) -> Vec<CutOff> {
        let mut cut = Vec::new();
        let filter = FlowFilter { endpoint: Some(served.backend), ..FlowFilter::default() };
        self.table.for_each(&filter, now, |flow| {
            let (opener, real) = (flow.original(), flow.reply());
            let is_port = |port: &ServicePort| {
                port.transport.protocol() == opener.protocol()
                    && port.port == opener.destination_port()
                    && port.target == real.source_port()
            };
            let is_there = match flow.kind() {
                FlowKind::Service => served.service.contains(&opener.destination()),
                FlowKind::Publish | FlowKind::Hairpin => true,
                _ => false,
            };
            let is_on = flow.egress(Direction::Original) == Leg::Inside(served.network);
            if !is_there || !is_on || real.source() != served.backend || !served.ports.iter().any(is_port) {
                return;
            }
            if let Some((sequence, acknowledgment)) = flow.expected_by_opener() {
                let reset = Reset {
                    from: (opener.destination(), opener.destination_port()),
                    to: (opener.source(), opener.source_port()),
                    sequence,
                    acknowledgment: Some(acknowledgment),
                };
                cut.push(CutOff { leg: flow.egress(Direction::Reply), reset });
            }
            self.table.remove(flow, now);
        });
        cut
    }
}
