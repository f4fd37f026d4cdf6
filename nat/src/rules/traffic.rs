//! Kinds of traffic, as lists of what may pass name them: `tcp/5432`, `udp/5000-5010`, `sctp`, `icmp`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{PortRange, Transport};
use crate::tuple::{Protocol, Tuple};

/// What a flow is, by protocol and by the port that it was opened towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Traffic {
    /// Of a protocol with ports: towards these, or towards any.
    Ports(Transport, Option<PortRange>),
    /// ICMP of either family: echo requests and what else asks for an answer.
    Icmp,
}

/// The text is no kind of traffic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no kind of traffic; write tcp, udp, sctp or icmp, and behind the former three perhaps ports, such as tcp/5432 or udp/5000-5010"
)]
pub struct InvalidTraffic(String);

impl Traffic {
    /// Whether a flow that `opener` opens is of this kind.
    #[must_use]
    pub fn matches(&self, opener: &Tuple) -> bool {
        match self {
            Traffic::Ports(transport, ports) => {
                opener.protocol() == transport.protocol()
                    && ports.is_none_or(|ports| ports.contains(opener.destination_port()))
            }
            Traffic::Icmp => opener.protocol().is_icmp(),
        }
    }

    /// Whether everything that `other` is, is of this kind, too.
    #[must_use]
    pub fn covers(&self, other: &Traffic) -> bool {
        match (self, other) {
            (Traffic::Icmp, Traffic::Icmp) => true,
            (Traffic::Ports(a, mine), Traffic::Ports(b, theirs)) => {
                a == b
                    && match (mine, theirs) {
                        (None, _) => true,
                        (Some(_), None) => false,
                        (Some(mine), Some(theirs)) => mine.first() <= theirs.first() && theirs.last() <= mine.last(),
                    }
            }
            _ => false,
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Traffic::Ports(transport, None) => transport.protocol().fmt(f),
            Traffic::Ports(transport, Some(ports)) => write!(f, "{}/{ports}", transport.protocol()),
            Traffic::Icmp => Protocol::ICMP.fmt(f),
        }
    }
}

impl FromStr for Traffic {
    type Err = InvalidTraffic;

    fn from_str(text: &str) -> Result<Self, InvalidTraffic> {
        let invalid = || InvalidTraffic(text.to_owned());
        let (protocol, ports) = text.split_once('/').map_or((text, None), |(protocol, ports)| (protocol, Some(ports)));
        let transport = match protocol {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            "sctp" => Transport::Sctp,
            "icmp" if ports.is_none() => return Ok(Traffic::Icmp),
            _ => return Err(invalid()),
        };
        let ports = ports.map(str::parse::<PortRange>).transpose().map_err(|_| invalid())?;
        Ok(Traffic::Ports(transport, ports))
    }
}

impl Serialize for Traffic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Traffic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// Text round-trips, what is none is refused by name, and a kind is told by protocol and by the opener's destination.
    #[test]
    fn text_and_meaning() {
        for text in ["tcp", "tcp/80", "udp/5000-5010", "sctp/1", "icmp"] {
            assert_eq!(text.parse::<Traffic>().unwrap().to_string(), text);
        }
        for text in ["", "http", "tcp/", "tcp/0", "icmp/8", "80", "80/tcp", "tcp/90-80", "TCP"] {
            let error = text.parse::<Traffic>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no kind of traffic")), "{error}");
        }
        let (a, b): (SocketAddr, SocketAddr) = ("10.0.0.2:80".parse().unwrap(), "10.0.0.3:5432".parse().unwrap());
        let tuple = Tuple::ports(Protocol::TCP, a, b);
        let is = |text: &str| text.parse::<Traffic>().unwrap().matches(&tuple);
        assert!(is("tcp") && is("tcp/5000-6000") && !is("tcp/80") && !is("udp") && !is("icmp"));
        let covers = |a: &str, b: &str| a.parse::<Traffic>().unwrap().covers(&b.parse().unwrap());
        assert!(covers("tcp", "tcp/80") && covers("tcp/1-99", "tcp/80") && !covers("tcp/80", "tcp"));
        assert!(covers("icmp", "icmp") && !covers("icmp", "tcp") && !covers("udp", "tcp"));
    }
}
