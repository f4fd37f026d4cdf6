//! Which networks a listing or a prune is about.

use std::collections::BTreeMap;

use super::state::{NetworkState, State};
use crate::clock::Moment;
use crate::error::ControlError;
use crate::model::Network;

/// Docker's filters of `network ls` and `network prune`: values of one key are alternatives, keys must all match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFilter {
    by_key: BTreeMap<String, Vec<String>>,
    before: Option<Moment>,
}

/// Filter keys of `network ls`.
const LIST_KEYS: [&str; 8] = ["dangling", "driver", "id", "label", "name", "scope", "type", "label!"];
/// Filter keys of `network prune`.
const PRUNE_KEYS: [&str; 3] = ["label", "label!", "until"];

impl NetworkFilter {
    /// For a listing.
    ///
    /// # Errors
    /// When a key is unknown or a value makes no sense for it.
    pub fn listing(by_key: BTreeMap<String, Vec<String>>) -> Result<Self, ControlError> {
        Self::new(by_key, &LIST_KEYS)
    }

    /// For a prune.
    ///
    /// # Errors
    /// When a key is unknown or a value makes no sense for it.
    pub fn pruning(by_key: BTreeMap<String, Vec<String>>) -> Result<Self, ControlError> {
        Self::new(by_key, &PRUNE_KEYS)
    }

    fn new(by_key: BTreeMap<String, Vec<String>>, known: &[&str]) -> Result<Self, ControlError> {
        for (key, values) in &by_key {
            if !known.contains(&key.as_str()) {
                return Err(ControlError::invalid(format!(
                    "invalid filter '{key}'; the filters are {}",
                    known.join(", ")
                )));
            }
            let allowed: &[&str] = match key.as_str() {
                "dangling" => &["true", "false", "1", "0"],
                "type" => &["builtin", "custom"],
                _ => continue,
            };
            if let Some(bad) = values.iter().find(|value| !allowed.contains(&value.as_str())) {
                return Err(ControlError::invalid(format!("invalid value for '{key}' filter: {bad:?}")));
            }
        }
        let until = by_key.get("until").and_then(|values| values.first());
        let before = match until {
            None => None,
            Some(text) => Some(crate::clock::parse_until(text, Moment::now()).ok_or_else(|| {
                ControlError::invalid(format!("invalid value for 'until' filter: {text:?}; write a time or a duration"))
            })?),
        };
        Ok(NetworkFilter { by_key, before })
    }

    /// Whether a network matches as far as its own record says.
    #[must_use]
    pub fn matches_record(&self, network: &Network) -> bool {
        self.before.is_none_or(|before| network.created < before)
            && self.by_key.iter().all(|(key, values)| {
                let any = |test: &dyn Fn(&str) -> bool| values.iter().any(|value| test(value));
                match key.as_str() {
                    "driver" => any(&|value| network.driver.word() == value),
                    "id" => any(&|value| network.id.as_str().contains(value)),
                    "name" => any(&|value| network.name.contains(value)),
                    "scope" => any(&|value| value == "local"),
                    "type" => any(&|value| (value == "builtin") == network.predefined()),
                    "label" => values.iter().all(|value| has_label(network, value)),
                    "label!" => !values.iter().any(|value| has_label(network, value)),
                    _ => true,
                }
            })
    }

    pub(super) fn matches(&self, state: &State, on: &NetworkState) -> bool {
        let dangling = || !on.network.predefined() && state.active_endpoints(on).next().is_none();
        self.matches_record(&on.network)
            && self
                .by_key
                .get("dangling")
                .is_none_or(|values| values.iter().any(|value| matches!(value.as_str(), "true" | "1") == dangling()))
    }
}

fn has_label(network: &Network, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => network.labels.get(key).is_some_and(|has| has == value),
        None => network.labels.contains_key(wanted),
    }
}
