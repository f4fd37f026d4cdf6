//! A flow as listings, events and exports show it.

use std::fmt;

use serde::{Deserialize, Serialize};
use vswitch_frame::Timestamp;

use super::flow::{Flow, FlowKind, Leg, ProtocolState, Traffic};
use super::tcp::TcpState;
use super::timeouts::Seconds;
use crate::tuple::Tuple;

/// A copy of a flow at one moment. Printed as `conntrack -L` prints an entry; as JSON it can be restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Packets from the opener, as they arrive.
    pub original: Tuple,
    /// Their answers, as they arrive.
    pub reply: Tuple,
    /// Why the flow exists.
    pub kind: FlowKind,
    /// The TCP state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TcpState>,
    /// Seconds until it ends unless a packet comes.
    pub timeout: Seconds,
    /// Seconds since it was made.
    #[serde(default)]
    pub age: Seconds,
    /// Whether a packet came back.
    pub replied: bool,
    /// Whether early drop leaves it alone.
    pub assured: bool,
    /// Where packets of the original and of the reply direction leave.
    pub egress: [Leg; 2],
    /// What has passed in the original and in the reply direction.
    #[serde(default)]
    pub traffic: [Traffic; 2],
}

impl FlowRecord {
    /// The flow as it is at `now`.
    #[must_use]
    pub fn of(flow: &Flow, now: Timestamp) -> Self {
        let tracking = flow.tracking();
        let left = flow.expires().since(now).as_secs();
        FlowRecord {
            original: *flow.original(),
            reply: *flow.reply(),
            kind: flow.kind(),
            state: match &tracking.protocol {
                ProtocolState::Tcp(connection) => Some(connection.state()),
                ProtocolState::Datagrams { .. } => None,
            },
            timeout: Seconds(u32::try_from(left).unwrap_or(u32::MAX)),
            age: Seconds(now.as_secs().saturating_sub(flow.created())),
            replied: tracking.replied,
            assured: tracking.assured,
            egress: [flow.egress(super::Direction::Original), flow.egress(super::Direction::Reply)],
            traffic: tracking.traffic,
        }
    }
}

impl fmt::Display for FlowRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.original.protocol();
        write!(f, "{:<8} {} {} ", protocol.name(), protocol.0, self.timeout.0)?;
        if let Some(state) = self.state {
            write!(f, "{} ", state.name())?;
        }
        write!(f, "{} ", self.original)?;
        if !self.replied {
            f.write_str("[UNREPLIED] ")?;
        }
        write!(f, "{} ", self.reply)?;
        if self.assured {
            f.write_str("[ASSURED] ")?;
        }
        f.write_str("mark=0 use=1")
    }
}
