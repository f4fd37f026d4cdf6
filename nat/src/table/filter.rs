//! Which flows a listing shows and a flush removes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vswitch_frame::NetworkIndex;

use super::flow::{Direction, Flow, FlowKind, Leg};
use crate::tuple::Protocol;

/// A flow matches when it matches every field that is set; the default matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowFilter {
    /// This protocol.
    pub protocol: Option<Protocol>,
    /// Opened from these addresses.
    pub source: Option<IpNet>,
    /// Opened towards these addresses, before translation.
    pub destination: Option<IpNet>,
    /// Opened towards this port, before translation.
    pub destination_port: Option<u16>,
    /// Accounted to this address inside.
    pub endpoint: Option<IpAddr>,
    /// With one end, or both, in this network.
    pub network: Option<NetworkIndex>,
    /// Of this kind.
    pub kind: Option<FlowKind>,
}

impl FlowFilter {
    /// Whether a flow matches.
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        let tuple = flow.original();
        let inside =
            |network| [Direction::Original, Direction::Reply].iter().any(|&d| flow.egress(d) == Leg::Inside(network));
        let is_end = |address| address == flow.endpoint() || address == flow.reply().source();
        self.protocol.is_none_or(|protocol| protocol == tuple.protocol())
            && self.source.is_none_or(|net| net.contains(&tuple.source()))
            && self.destination.is_none_or(|net| net.contains(&tuple.destination()))
            && self.destination_port.is_none_or(|port| port == tuple.destination_port())
            && self.endpoint.is_none_or(is_end)
            && self.network.is_none_or(inside)
            && self.kind.is_none_or(|kind| kind == flow.kind())
    }
}
