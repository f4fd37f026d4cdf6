//! Which networks a listing or a prune is about.

use std::collections::BTreeMap;

use super::state::{NetworkState, State};
use crate::clock::{Moment, parse_until};
use crate::error::ControlError;
use crate::model::{Filters, Network};

/// Docker's filters of `network ls` and `network prune`.
#[derive(Debug, Clone, Default)]
pub struct NetworkFilter {
    filters: Filters,
    dangling: Option<bool>,
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
        let filters = Filters::new(by_key, known)?;
        filters.allow("type", &["builtin", "custom"])?;
        let dangling = filters.flag("dangling")?;
        let before = match filters.values("until").next() {
            None => None,
            Some(text) => Some(parse_until(text, Moment::now()).ok_or_else(|| {
                ControlError::invalid(format!("invalid filter 'until={text}'; write a time or a duration such as 24h"))
            })?),
        };
        Ok(NetworkFilter { filters, dangling, before })
    }

    /// Whether a network matches as far as its own record says.
    #[must_use]
    pub fn matches_record(&self, network: &Network) -> bool {
        let filters = &self.filters;
        self.before.is_none_or(|before| network.created < before)
            && filters.exact("driver", network.driver.word())
            && filters.pattern("id", &[network.id.as_str()])
            && filters.pattern("name", &[&network.name])
            && filters.exact("scope", "local")
            && filters.exact("type", if network.predefined() { "builtin" } else { "custom" })
            && filters.labels(&network.labels)
    }

    pub(super) fn matches(&self, state: &State, on: &NetworkState) -> bool {
        let dangling = || !on.network.predefined() && state.active_endpoints(on).next().is_none();
        self.matches_record(&on.network) && self.dangling.is_none_or(|wanted| wanted == dangling())
    }
}
