//! Networks that are joined on purpose.

use serde::{Deserialize, Serialize};
use vswitch_switch::nat::rules::Traffic;

use super::Faults;
use crate::ids::Id;

/// That a network is joined with another one; kept with the record of either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peering {
    /// The other one.
    pub with: Id,
    /// What either side may open towards the other; empty: everything.
    #[serde(default)]
    pub allow: Vec<Traffic>,
}

/// What is to be allowed: each entry one kind of traffic, such as `tcp/5432`.
///
/// # Errors
/// When some are none.
pub fn parse_traffic(texts: &[String]) -> Result<Vec<Traffic>, Faults> {
    let mut faults = Faults::default();
    let mut allow: Vec<Traffic> = Vec::new();
    for text in texts {
        match text.trim().parse() {
            Ok(traffic) if allow.contains(&traffic) => {}
            Ok(traffic) => allow.push(traffic),
            Err(error) => faults.add(error.to_string()),
        }
    }
    faults.finish(allow)
}
