//! Which addresses the host's sockets may be used for, and those that stand for the host itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What control says of destinations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Destinations {
    /// Leads to 127.0.0.1 of the host.
    pub loopback_v4: Option<Ipv4Addr>,
    /// Leads to ::1 of the host.
    pub loopback_v6: Option<Ipv6Addr>,
    /// Leads to an address of the host, which is shown as this one inside.
    pub host_v4: Option<(Ipv4Addr, Ipv4Addr)>,
    /// As `host_v4`.
    pub host_v6: Option<(Ipv6Addr, Ipv6Addr)>,
    /// Leads nowhere, whoever has it behind the host.
    pub closed_v4: Option<Ipv4Addr>,
    /// As `closed_v4`.
    pub closed_v6: Option<Ipv6Addr>,
    /// What leaves by IPv4 has this address of the host.
    pub source_v4: Option<Ipv4Addr>,
    /// What leaves by IPv6 has this address of the host.
    pub source_v6: Option<Ipv6Addr>,
}

impl Destinations {
    /// Whether control closed this address.
    #[must_use]
    pub fn is_closed(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.closed_v4 == Some(address),
            IpAddr::V6(address) => self.closed_v6 == Some(address),
        }
    }

    /// Where a packet from inside to `address` goes on the host's side; `None` when it may not: to many, to nobody, to the
    /// host's loopback (but by the addresses above), to a link of the host's.
    #[must_use]
    pub fn outside(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(address) if Some(address) == self.loopback_v4 => Some(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(address) if Some(address) == self.loopback_v6 => Some(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(address) if self.host_v4.is_some_and(|(inside, _)| inside == address) => {
                self.host_v4.map(|(_, host)| host.into())
            }
            IpAddr::V6(address) if self.host_v6.is_some_and(|(inside, _)| inside == address) => {
                self.host_v6.map(|(_, host)| host.into())
            }
            other => (is_outside(other) && !self.is_closed(other)).then_some(other),
        }
    }

    /// The address of the host that what goes to `to` has; `None` leaves it to the host. Its loopback is reached from itself.
    #[must_use]
    pub fn source(&self, to: IpAddr) -> Option<IpAddr> {
        match to {
            to if to.is_loopback() => None,
            IpAddr::V4(_) => self.source_v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.source_v6.map(IpAddr::V6),
        }
    }

    /// As whom somebody outside is shown inside; `None` for those who may not be heard there.
    #[must_use]
    pub fn inside(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => self.loopback_v4.map(IpAddr::V4),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => self.loopback_v6.map(IpAddr::V6),
            IpAddr::V4(address) if self.host_v4.is_some_and(|(_, host)| host == address) => {
                self.host_v4.map(|(inside, _)| inside.into())
            }
            IpAddr::V6(address) if self.host_v6.is_some_and(|(_, host)| host == address) => {
                self.host_v6.map(|(inside, _)| inside.into())
            }
            other => is_outside(other).then_some(other),
        }
    }
}

/// Whether this is one station that is not the host's own business.
#[must_use]
pub fn is_outside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            let reserved = first == 0 || first >= 224;
            !(reserved || address.is_loopback() || address.is_link_local())
        }
        IpAddr::V6(address) => {
            // RFC 4291: mapped and compatible addresses name IPv4 hosts, and no packet carries them.
            let embedded = address.to_ipv4_mapped().is_some() || address.segments()[..6] == [0; 6];
            !(embedded || address.is_multicast() || address.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loopback, links, groups and embedded addresses are closed; one address of each family opens the host's loopback.
    #[test]
    fn closed_and_opened() {
        let closed = Destinations::default();
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::7f00:1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!((closed.outside(address), closed.inside(address)), (None, None), "{address}");
        }
        for address in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!((closed.outside(address), closed.inside(address)), (Some(address), Some(address)));
        }
        let (v4, v6): (Ipv4Addr, Ipv6Addr) = ("192.0.2.9".parse().unwrap(), "fd00::9".parse().unwrap());
        let open = Destinations { loopback_v4: Some(v4), loopback_v6: Some(v6), ..Destinations::default() };
        assert_eq!(open.outside(v4.into()), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(open.inside(Ipv6Addr::LOCALHOST.into()), Some(v6.into()));
        assert_eq!(open.outside(Ipv4Addr::LOCALHOST.into()), None);
        assert_eq!(open.inside("127.0.0.53".parse().unwrap()), None);
    }

    /// An address that stands for one of the host's, also a link-local one; the host is shown as it.
    #[test]
    fn an_address_of_the_host() {
        let (inside, host) = (Ipv4Addr::new(169, 254, 1, 2), Ipv4Addr::new(192, 0, 2, 1));
        let destinations = Destinations { host_v4: Some((inside, host)), ..Destinations::default() };
        assert_eq!(destinations.outside(inside.into()), Some(host.into()));
        assert_eq!(destinations.inside(host.into()), Some(inside.into()));
        assert_eq!(destinations.outside(Ipv4Addr::new(169, 254, 1, 3).into()), None);
    }

    /// A closed address leads nowhere, and no other is.
    #[test]
    fn closed_by_control() {
        let destinations = Destinations { closed_v4: Some(Ipv4Addr::new(10, 0, 2, 2)), ..Destinations::default() };
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(destinations.outside(address("10.0.2.2")), None);
        assert_eq!(destinations.outside(address("10.0.2.4")), Some(address("10.0.2.4")));
        assert!(!destinations.is_closed(address("fd00::2")));
    }

    /// What leaves has the address that was named for its family; what goes to the host's loopback has none of them.
    #[test]
    fn sources() {
        let named = Destinations { source_v4: Some(Ipv4Addr::new(192, 0, 2, 1)), ..Destinations::default() };
        assert_eq!(named.source(Ipv4Addr::new(198, 51, 100, 1).into()), Some(Ipv4Addr::new(192, 0, 2, 1).into()));
        assert_eq!(named.source(Ipv4Addr::LOCALHOST.into()), None);
        assert_eq!(named.source("2001:db8::1".parse().unwrap()), None);
    }
}
