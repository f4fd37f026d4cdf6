//! Wires between endpoints and their ports: `/vswitch/v1/wires`, `/vswitch/v1/cuts` and `/vswitch/v1/lab`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// One direction of the wire of an endpoint, on which something happens or has happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wire {
    /// The endpoint.
    pub endpoint: String,
    /// Its network.
    pub network: String,
    /// `up` (towards the switch) or `down`.
    pub direction: String,
    /// What happens, by kind, as it was written.
    pub settings: BTreeMap<String, String>,
    /// Whom the endpoint does not hear.
    pub cut_from: Vec<String>,
    /// Segments that came in.
    pub offered: u64,
    /// Segments that went out.
    pub passed: u64,
    /// Segments that were lost, by reason; reasons never met are absent.
    pub lost: BTreeMap<String, u64>,
    /// Copies that were made.
    pub duplicated: u64,
    /// Segments with flipped bits.
    pub corrupted: u64,
    /// Segments that others were to overtake.
    pub reordered: u64,
    /// Packets that were marked as having met congestion.
    pub marked: u64,
    /// Segments that wait now.
    pub held: u64,
}

/// What is to happen on wires from now on. Only what is named changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireChange {
    /// Containers, `container@network`, attached endpoints or networks; all their wires change at once.
    pub endpoints: Vec<String>,
    /// `up` or `down`; both without it.
    #[serde(default)]
    pub direction: Option<String>,
    /// By kind, such as `{"delay": "50ms", "loss": "1%"}`; null ends a kind.
    #[serde(default)]
    pub settings: BTreeMap<String, Option<String>>,
    /// The same in one sentence, word by word, such as `["delay", "50ms"]`; `["none"]` ends everything.
    #[serde(default)]
    pub words: Vec<String>,
    /// How long, such as `5s`; then it is taken back.
    #[serde(default)]
    pub time: Option<String>,
}

/// Whether interfaces have a carrier from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkChange {
    /// Whose, named as in [`WireChange`].
    pub endpoints: Vec<String>,
    /// What they become.
    pub state: LinkState,
}

/// Of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// As with a cable that is plugged in.
    Up,
    /// As with one that is not: the interface says so to its own side.
    Down,
}

/// Who does not hear whom any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Senders, named as in [`WireChange`].
    pub from: Vec<String>,
    /// Receivers.
    pub to: Vec<String>,
    /// Only `to` does not hear `from`; otherwise neither hears the other.
    #[serde(default)]
    pub one_way: bool,
}

/// Whose cuts end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct HealQuery {
    /// Those of these, with commas; all without it.
    pub of: Option<String>,
}

/// What everything that happens by chance comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabSeed {
    /// The seed. The same one lets the same happen again.
    pub seed: u64,
}
