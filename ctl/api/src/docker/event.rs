//! What happens: `GET /events`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One event, one line of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventMessage {
    /// The action, of containers only, as Docker has done since before API 1.22.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The id, of containers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `network` or `container`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened.
    #[serde(rename = "Action")]
    pub action: String,
    /// To whom.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `local`.
    pub scope: String,
    /// Seconds since 1970.
    pub time: u64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: u64,
}

/// To whom something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Actor {
    /// 64 hexadecimal digits.
    #[serde(rename = "ID")]
    pub id: String,
    /// `name` and what else is known; labels of containers, too.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}
