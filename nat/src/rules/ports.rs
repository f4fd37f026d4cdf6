//! Ranges of ports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One port or several in a row, none of them zero. Written `80` or `8000-8010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// The text or the numbers are not a range of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a port range; write a port from 1 to 65535, or two with the lower one first, such as 8000-8010")]
pub struct InvalidPorts(String);

impl PortRange {
    /// The range from `first` to `last`, both included.
    ///
    /// # Errors
    /// When `first` is zero or above `last`.
    pub fn new(first: u16, last: u16) -> Result<Self, InvalidPorts> {
        if first == 0 || first > last {
            return Err(InvalidPorts(format!("{first}-{last}")));
        }
        Ok(PortRange { first, last })
    }

    /// A single port.
    ///
    /// # Errors
    /// When it is zero.
    pub fn single(port: u16) -> Result<Self, InvalidPorts> {
        PortRange::new(port, port)
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports it has.
    #[must_use]
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// Whether a port is in it.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// The port `offset` places behind the first; round to the first again behind the last.
    #[must_use]
    pub fn nth(self, offset: usize) -> u16 {
        let offset = u16::try_from(offset % self.count()).unwrap_or(0);
        self.first + offset
    }

    pub(crate) const fn constant(first: u16, last: u16) -> Self {
        PortRange { first, last }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for PortRange {
    type Err = InvalidPorts;

    fn from_str(text: &str) -> Result<Self, InvalidPorts> {
        let invalid = || InvalidPorts(text.to_owned());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { digits.parse().map_err(|_| invalid()) } else { Err(invalid()) }
        };
        PortRange::new(port(first)?, port(last)?).map_err(|_| invalid())
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is not a range is refused by name.
    #[test]
    fn refuses_what_is_not_a_range() {
        for text in ["", "0", "65536", "80-", "-80", "90-80", "80-90-100", "+80", "0-5", "8o"] {
            let error = text.parse::<PortRange>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    proptest! {
        /// Text and ranges round-trip.
        #[test]
        fn round_trip(a in 1u16.., b in 1u16..) {
            let range = PortRange::new(a.min(b), a.max(b)).unwrap();
            prop_assert_eq!(range.to_string().parse::<PortRange>().unwrap(), range);
            prop_assert!(range.contains(range.nth(usize::from(a))));
        }
    }
}
