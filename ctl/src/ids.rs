//! Identifiers of networks, containers and endpoints.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use serde::{Deserialize, Serialize};

/// 64 lower-case hexadecimal digits, as Docker's.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// A new one.
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut text = String::with_capacity(64);
        for _ in 0..8 {
            fmt::Write::write_fmt(&mut text, format_args!("{:08x}", rng.random::<u32>()))
                .expect("writing to a String cannot fail");
        }
        Id(text)
    }

    /// All digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }

    /// The first four octets, for what must be stable and differ between objects.
    #[must_use]
    pub fn seed(&self) -> [u8; 4] {
        u32::from_str_radix(&self.0[..8], 16).expect("an id consists of hexadecimal digits").to_be_bytes()
    }

    /// The first eight octets as a number, for tables that need nothing longer.
    #[must_use]
    pub fn number(&self) -> u64 {
        u64::from_str_radix(&self.0[..16], 16).expect("an id consists of hexadecimal digits")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// The text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id of 64 lower-case hexadecimal digits")]
pub struct IdParseError(String);

impl TryFrom<String> for Id {
    type Error = IdParseError;

    fn try_from(text: String) -> Result<Self, IdParseError> {
        let good = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if good { Ok(Id(text)) } else { Err(IdParseError(text)) }
    }
}

impl FromStr for Id {
    type Err = IdParseError;

    fn from_str(text: &str) -> Result<Self, IdParseError> {
        text.to_owned().try_into()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

/// What a text given by a user means among objects with ids and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Exactly this one.
    One(Id),
    /// None.
    Nothing,
    /// A prefix of this many ids.
    Several(usize),
}

/// Finds an object as Docker does: by full id, then by name, then by a prefix that only one id has.
pub fn find<'a>(text: &str, objects: impl Iterator<Item = (&'a Id, &'a str)> + Clone) -> Found {
    let exact = objects.clone().find(|(id, _)| id.as_str() == text);
    if let Some((id, _)) = exact.or_else(|| objects.clone().find(|(_, name)| *name == text)) {
        return Found::One(id.clone());
    }
    if text.is_empty() {
        return Found::Nothing;
    }
    let mut matches = objects.filter(|(id, _)| id.as_str().starts_with(text));
    match (matches.next(), matches.count()) {
        (None, _) => Found::Nothing,
        (Some((id, _)), 0) => Found::One(id.clone()),
        (Some(_), more) => Found::Several(more + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(start: &str) -> Id {
        format!("{start:0<64}").parse().unwrap()
    }

    /// The full id wins over a name, a name over a prefix, and a prefix of several is ambiguous.
    #[test]
    fn docker_s_order_of_lookup() {
        let objects = [(id("ab1"), "web".to_owned()), (id("ab2"), "ab1".to_owned()), (id("c"), "db".to_owned())];
        let find = |text: &str| super::find(text, objects.iter().map(|(id, name)| (id, name.as_str())));
        assert_eq!(find(id("ab1").as_str()), Found::One(id("ab1")));
        assert_eq!(find("ab1"), Found::One(id("ab2")));
        assert_eq!(find("c00"), Found::One(id("c")));
        assert_eq!(find("ab"), Found::Several(2));
        assert_eq!(find("nothing"), Found::Nothing);
        assert_eq!(find(""), Found::Nothing);
    }

    /// Ids survive JSON, differ from each other, and other text is refused.
    #[test]
    fn form() {
        let id = Id::random(&mut rand::rng());
        assert_ne!(id, Id::random(&mut rand::rng()));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<Id>(&json).unwrap(), id);
        assert!("abc".parse::<Id>().is_err());
        assert!("G".repeat(64).parse::<Id>().is_err());
    }
}
