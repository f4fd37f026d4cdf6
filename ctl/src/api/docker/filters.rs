//! Docker's `filters` parameter.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::answer::{Answer, Refusal};

/// `{"name": {"web": true}}`, or the older `{"name": ["web"]}`.
pub(super) fn parse(text: &str) -> Answer<BTreeMap<String, Vec<String>>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Values {
        Set(BTreeMap<String, bool>),
        List(Vec<String>),
    }
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let parsed: BTreeMap<String, Values> =
        serde_json::from_str(text).map_err(|error| Refusal::bad(format!("invalid filters {text:?}: {error}")))?;
    let values = |values| match values {
        Values::Set(set) => set.into_iter().filter(|(_, on)| *on).map(|(value, _)| value).collect(),
        Values::List(list) => list,
    };
    Ok(parsed.into_iter().map(|(key, given)| (key, values(given))).collect())
}
