//! Routes, found by the longest prefix.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use foldhash::fast::FixedState;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::table::Leg;
use crate::tuple::mapped;

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The destinations that it is for; `0.0.0.0/0` or `::/0` for a default route.
    pub destination: IpNet,
    /// Where it leads out.
    pub leg: Leg,
    /// The next router; none for a subnet that is connected.
    #[serde(default)]
    pub via: Option<IpAddr>,
}

/// Where a packet goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The leg that it leaves by.
    pub leg: Leg,
    /// Whose MAC address the frame is sent to: the next router's, or the destination's own.
    pub neighbour: IpAddr,
}

/// An immutable set of routes. Of several for one prefix the last given counts.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    /// The prefix lengths there are, longest first, IPv4's counted as those of the mapped form.
    lengths: Vec<u8>,
    routes: HashMap<(u8, u128), (Leg, Option<IpAddr>), FixedState>,
}

impl RouteTable {
    /// The table of these routes.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let mut table = RouteTable::default();
        for route in routes {
            let length =
                route.destination.prefix_len() + if route.destination.addr().is_ipv4() { V4_PREFIX } else { 0 };
            let network = mapped(route.destination.network()).to_bits();
            table.routes.insert((length, network), (route.leg, route.via));
            table.lengths.push(length);
        }
        table.lengths.sort_unstable_by(|a, b| b.cmp(a));
        table.lengths.dedup();
        table
    }

    /// Where a packet for `destination` goes, by the longest prefix that contains it.
    #[must_use]
    pub fn lookup(&self, destination: IpAddr) -> Option<Hop> {
        let bits = mapped(destination).to_bits();
        let is_v4 = destination.is_ipv4();
        // `::/0` must not catch IPv4 in its mapped form.
        let lengths = self.lengths.iter().filter(|&&length| !is_v4 || length >= V4_PREFIX);
        lengths
            .filter_map(|&length| self.routes.get(&(length, masked(bits, length))))
            .next()
            .map(|&(leg, via)| Hop { leg, neighbour: via.unwrap_or(destination) })
    }
}

fn masked(bits: u128, length: u8) -> u128 {
    match length {
        0 => 0,
        length => bits & u128::MAX << (Ipv6Addr::BITS - u32::from(length)),
    }
}

/// The bits in front of an IPv4 address in its mapped form.
const V4_PREFIX: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest prefix counts, a default catches the rest, and the families stay apart.
    #[test]
    fn longest_prefix() {
        let inside = Leg::Inside(vswitch_frame::NetworkIndex::new(1));
        let route = |destination: &str, leg, via: Option<&str>| Route {
            destination: destination.parse().unwrap(),
            leg,
            via: via.map(|via| via.parse().unwrap()),
        };
        let table = RouteTable::new(&[
            route("0.0.0.0/0", Leg::Uplink, Some("203.0.113.254")),
            route("203.0.113.0/24", Leg::Uplink, None),
            route("10.9.0.0/24", inside, None),
            route("10.9.0.128/25", inside, Some("10.9.0.7")),
            route("2001:db8::/32", Leg::Uplink, None),
        ]);
        for (destination, leg, neighbour) in [
            ("1.1.1.1", Leg::Uplink, "203.0.113.254"),
            ("203.0.113.9", Leg::Uplink, "203.0.113.9"),
            ("10.9.0.5", inside, "10.9.0.5"),
            ("10.9.0.200", inside, "10.9.0.7"),
            ("2001:db8::9", Leg::Uplink, "2001:db8::9"),
        ] {
            let hop = Hop { leg, neighbour: neighbour.parse().unwrap() };
            assert_eq!(table.lookup(destination.parse().unwrap()), Some(hop), "{destination}");
        }
        assert_eq!(table.lookup("2001:db9::1".parse().unwrap()), None);
        let v6_default = RouteTable::new(&[route("::/0", Leg::Uplink, None)]);
        assert_eq!(v6_default.lookup("1.1.1.1".parse().unwrap()), None);
    }
}
