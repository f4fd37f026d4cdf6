//! Rates, as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much may pass: `1000pps`, `10mbit`, or both with a comma between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Limit {
    /// Frames a second; each segment of a super-frame is one.
    pub packets: Option<u64>,
    /// Bits a second, headers included.
    pub bits: Option<u64>,
}

/// The text is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a rate such as 1000pps, 10mbit or both with a comma between")]
pub struct LimitFault;

const UNITS: [(&str, u64); 4] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

/// More than any port could take, in bits a second.
const MOST: u64 = 1_000_000_000_000;

impl FromStr for Limit {
    type Err = LimitFault;

    fn from_str(text: &str) -> Result<Limit, LimitFault> {
        let mut limit = Limit { packets: None, bits: None };
        for part in text.split(',') {
            let (place, number, unit) = match part.strip_suffix("pps") {
                Some(number) => (&mut limit.packets, number, 1),
                None => {
                    let unit = UNITS.iter().find_map(|(name, unit)| Some((part.strip_suffix(name)?, unit)));
                    let (number, unit) = unit.ok_or(LimitFault)?;
                    (&mut limit.bits, number, *unit)
                }
            };
            let plain = number.bytes().all(|byte| byte.is_ascii_digit());
            let number = number.parse::<u64>().ok().filter(|number| plain && *number > 0);
            let rate = number.and_then(|number| number.checked_mul(unit)).filter(|rate| *rate <= MOST);
            if place.replace(rate.ok_or(LimitFault)?).is_some() {
                return Err(LimitFault);
            }
        }
        Ok(limit)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(packets) = self.packets {
            write!(f, "{packets}pps")?;
        }
        let Some(bits) = self.bits else { return Ok(()) };
        let comma = if self.packets.is_some() { "," } else { "" };
        let (name, unit) = UNITS.iter().find(|(_, unit)| bits % unit == 0).unwrap_or(&("bit", 1));
        write!(f, "{comma}{}{name}", bits / unit)
    }
}

impl TryFrom<String> for Limit {
    type Error = LimitFault;

    fn try_from(text: String) -> Result<Limit, LimitFault> {
        text.parse()
    }
}

impl From<Limit> for String {
    fn from(limit: Limit) -> String {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rates go round in their largest unit; nonsense is none.
    #[test]
    fn rates() {
        for text in ["1000pps", "10mbit", "1500kbit", "1gbit", "7bit", "5pps,2mbit"] {
            assert_eq!(text.parse::<Limit>().unwrap().to_string(), text);
        }
        assert_eq!("1000kbit".parse::<Limit>().unwrap().to_string(), "1mbit");
        for text in [
            "",
            "10",
            "0pps",
            "0mbit",
            "-1pps",
            "+1pps",
            "1.5mbit",
            "10 mbit",
            "10mb",
            "1pps,2pps",
            "1mbit,1kbit",
            "mbit",
            "1pps,",
            "99999999999999999999pps",
            "2000000gbit",
        ] {
            assert_eq!(text.parse::<Limit>(), Err(LimitFault), "{text}");
        }
    }
}
