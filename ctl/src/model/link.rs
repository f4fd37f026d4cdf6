//! Links: names that one container alone has for another.

use serde::{Deserialize, Serialize};

use super::container_name;

/// `--link CONTAINER[:ALIAS]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Name or id of the other container as it was given; its id once it was found, so that a new name changes nothing.
    pub target: String,
    /// What the other is called.
    pub alias: String,
}

impl Link {
    /// Reads `CONTAINER[:ALIAS]`; without an alias the other is called as it is.
    ///
    /// # Errors
    /// One sentence that says what to write.
    pub fn parse(text: &str) -> Result<Link, String> {
        let bad = || format!("bad format for links: {text:?}; write CONTAINER or CONTAINER:ALIAS");
        let (target, alias) = text.split_once(':').unwrap_or((text, text));
        let target = target.strip_prefix('/').unwrap_or(target);
        let alias = alias.strip_prefix('/').unwrap_or(alias);
        if target.is_empty() || alias.contains(':') {
            return Err(bad());
        }
        let named = |name: &str, what: &str| {
            container_name(name)
                .map_err(|_| format!("invalid {what} {name:?} in link {text:?}: use letters, digits, '_', '.' and '-'"))
        };
        Ok(Link { target: named(target, "container")?, alias: named(alias, "alias")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An alias is optional, Docker's slashes are taken off, and what is no link is refused.
    #[test]
    fn parses() {
        let link = |target: &str, alias: &str| Link { target: target.into(), alias: alias.into() };
        assert_eq!(Link::parse("db").unwrap(), link("db", "db"));
        assert_eq!(Link::parse("/db:store").unwrap(), link("db", "store"));
        assert_eq!(Link::parse("db:/web/store").unwrap_err().matches("invalid alias").count(), 1);
        for bad in ["", ":x", "a:b:c", "a:", "a b", "a:b c"] {
            assert!(Link::parse(bad).is_err(), "{bad}");
        }
    }
}
