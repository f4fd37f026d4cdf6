//! MAC addresses of endpoints and gateways.

use std::net::IpAddr;

use rand::Rng;
use vswitch_frame::MacAddr;

use super::SubnetPlan;

/// Why an address cannot belong to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacFault {
    /// Not six octets.
    #[error("invalid MAC address {0}: write six hexadecimal octets such as 02:42:ac:11:00:02")]
    Text(String),
    /// ff:ff:ff:ff:ff:ff.
    #[error("invalid MAC address {0}: it is the broadcast address; use a unicast one such as 02:42:ac:11:00:02")]
    Broadcast(MacAddr),
    /// The group bit is set.
    #[error("invalid MAC address {0}: it is a multicast address; use an even first octet such as 02")]
    Multicast(MacAddr),
    /// All octets are zero.
    #[error("invalid MAC address {0}: no station may use it; use one such as 02:42:ac:11:00:02")]
    Zero(MacAddr),
}

/// Text as the address of one station.
///
/// # Errors
/// When it is no MAC address, or a multicast, broadcast or zero one.
pub fn parse_station(text: &str) -> Result<MacAddr, MacFault> {
    check_station(text.parse().map_err(|_| MacFault::Text(text.to_owned()))?)
}

/// The address, if one station can own it.
///
/// # Errors
/// When it is a multicast, broadcast or zero address.
pub fn check_station(mac: MacAddr) -> Result<MacAddr, MacFault> {
    match mac {
        MacAddr::BROADCAST => Err(MacFault::Broadcast(mac)),
        MacAddr::ZERO => Err(MacFault::Zero(mac)),
        _ if mac.is_multicast() => Err(MacFault::Multicast(mac)),
        _ => Ok(mac),
    }
}

/// A random, locally administered unicast address.
pub fn random_local(rng: &mut impl Rng) -> MacAddr {
    let mut octets: [u8; 6] = rng.random();
    octets[0] = octets[0] & 0xfc | 0x02;
    MacAddr::new(octets)
}

/// The gateway's address: `02:42` and its IPv4 address, or without IPv4 four octets of the network's own (`seed`).
#[must_use]
pub fn gateway_mac(ipv4: Option<&SubnetPlan>, seed: [u8; 4]) -> MacAddr {
    match ipv4.map(|plan| plan.gateway) {
        Some(IpAddr::V4(gateway)) => MacAddr::from_ipv4(gateway),
        _ => MacAddr::from_ipv4(seed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multicast, broadcast, zero and unreadable addresses are refused, each with its own sentence.
    #[test]
    fn refuses_addresses_of_no_station() {
        for (text, says) in [
            ("01:00:5e:00:00:01", "multicast"),
            ("ff:ff:ff:ff:ff:ff", "broadcast"),
            ("00:00:00:00:00:00", "no station"),
            ("02:42:ac", "six hexadecimal octets"),
            ("", "six hexadecimal octets"),
        ] {
            let error = parse_station(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(parse_station("92-D0-C6-0A-29-33").is_ok());
    }

    /// Random addresses are always unicast and locally administered.
    #[test]
    fn random_addresses_are_local_unicast() {
        for _ in 0..1000 {
            let mac = random_local(&mut rand::rng());
            assert!(mac.is_station() && mac.octets()[0] & 2 == 2);
        }
    }
}
