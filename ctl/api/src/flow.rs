//! Tracked flows: `/vswitch/v1/flows…`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// One flow, as `GET /flows` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `sctp` or `unknown`.
    pub protocol: String,
    /// IANA's number.
    pub protocol_number: u8,
    /// `masquerade`, `publish`, `hairpin`, `routed-out`, `routed-in`, `peered`, `bridged` or `service`.
    pub kind: String,
    /// The TCP state, in conntrack's words.
    pub state: Option<String>,
    /// Seconds until it ends unless a packet comes.
    pub timeout: u32,
    /// Seconds since it was made.
    pub age: u32,
    /// Whether a packet came back.
    pub replied: bool,
    /// Whether it is spared when the table is full.
    pub assured: bool,
    /// Packets from the opener, as they arrive.
    pub original: FlowSide,
    /// Their answers, as they arrive.
    pub reply: FlowSide,
    /// The line that `conntrack -L` would print.
    pub text: String,
}

/// One direction of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowSide {
    /// Source address.
    #[schema(format = "ip")]
    pub source: String,
    /// Destination address.
    #[schema(format = "ip")]
    pub destination: String,
    /// Source port, where the protocol has ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Type of an ICMP query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Its identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_id: Option<u16>,
    /// Name of the network that such packets leave to; `(uplink)` for the outside.
    pub egress: String,
    /// Packets; a segmentation-offload frame counts as one.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// What happened to a flow, as `GET /flows/watch` streams it: one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowEvent {
    /// What happened.
    pub event: FlowEventKind,
    /// Events that were lost just before this one, because nobody took them in time.
    #[serde(default)]
    pub lost: u64,
    /// The flow as it was then.
    pub flow: Flow,
}

/// What can happen to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowEventKind {
    /// It was made.
    New,
    /// Its state changed.
    Update,
    /// It is gone.
    Destroy,
}

/// Which flows: those that match every field that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FlowQuery {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `sctp` or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Opened from this address or subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Opened towards this address or subnet, before translation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Opened towards this port, before translation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dport: Option<String>,
    /// Of this container or endpoint (name or id), or address inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// With an end in this network (name or id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Answer of `DELETE /flows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowsRemoved {
    /// Flows removed.
    pub removed: u64,
}

/// What became of flows that were to get another external port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowsRebound {
    /// They have another one: packets leave with it from now on.
    pub rebound: u64,
    /// They are as they were: nothing of them is replaced, or it cannot be another one.
    pub kept: u64,
}
