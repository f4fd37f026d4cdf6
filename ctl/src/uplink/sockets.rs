//! `sockets[,host-loopback=ADDR][,host-address=ADDR@HOST][,closed=ADDR][,outbound-address=ADDR][,publish-source=client|gateway][,udp-filter=…]`: the way out over ordinary host sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use ipnet::IpNet;

use super::UplinkError;

/// Sockets for echo requests that the agent opened where the host lets vswitchd open none.
#[derive(Debug, Default)]
pub struct PingSockets {
    /// For IPv4.
    pub v4: Vec<OwnedFd>,
    /// For IPv6.
    pub v6: Vec<OwnedFd>,
}

/// The uplink that needs no privilege.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketsUplink {
    /// Leads to 127.0.0.1 of the host.
    pub loopback_v4: Option<Ipv4Addr>,
    /// Leads to ::1 of the host.
    pub loopback_v6: Option<Ipv6Addr>,
    /// Leads to an address of the host.
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
    /// As whom clients of published ports are shown.
    pub source: PublishSource,
    /// Who may write to a container's UDP sockets, beside published ports.
    pub filter: UdpFilter,
}

/// Who may write to the host's side of a container's UDP socket (RFC 4787 section 5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UdpFilter {
    /// Whom the container has written to, address and port.
    #[default]
    AddressAndPortDependent,
    /// Anybody outside, but not the host itself, unless it was written to.
    EndpointIndependent,
}

/// As whom clients of published ports are shown to containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PublishSource {
    /// As themselves.
    #[default]
    Client,
    /// As the gateway of the container's network, as Docker's userland proxy does it.
    Gateway,
}

impl SocketsUplink {
    /// From what stands behind `sockets,`.
    pub(super) fn parse<'a>(parts: impl Iterator<Item = &'a str>) -> Result<SocketsUplink, UplinkError> {
        let mut uplink = SocketsUplink::default();
        let (mut source_given, mut filter_given) = (false, false);
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| UplinkError::SocketsNoValue(part.to_owned()))?;
            match key {
                "host-loopback" => uplink.share_loopback(value)?,
                "host-address" => uplink.lead_to_host(value)?,
                "outbound-address" => uplink.leave_from(value)?,
                "closed" => uplink.close(value)?,
                "publish-source" if source_given => return Err(UplinkError::Twice("publish-source")),
                "publish-source" => {
                    source_given = true;
                    uplink.source = match value {
                        "client" => PublishSource::Client,
                        "gateway" => PublishSource::Gateway,
                        _ => return Err(UplinkError::PublishSource(value.to_owned())),
                    };
                }
                "udp-filter" if filter_given => return Err(UplinkError::Twice("udp-filter")),
                "udp-filter" => {
                    filter_given = true;
                    uplink.filter = match value {
                        "address-and-port-dependent" => UdpFilter::AddressAndPortDependent,
                        "endpoint-independent" => UdpFilter::EndpointIndependent,
                        _ => return Err(UplinkError::UdpFilter(value.to_owned())),
                    };
                }
                _ => return Err(UplinkError::SocketsKey(key.to_owned())),
            }
        }
        Ok(uplink)
    }

    /// Lets an address stand for the host's loopback.
    ///
    /// # Errors
    /// When it is none that packets can be sent to, or there is one of its family already.
    pub fn share_loopback(&mut self, text: &str) -> Result<(), UplinkError> {
        let address: IpAddr = text.parse().map_err(|_| UplinkError::LoopbackText(text.to_owned()))?;
        if !(is_usable(address) || is_link_local(address)) {
            return Err(UplinkError::Loopback(address));
        }
        let before = match address {
            IpAddr::V4(address) => self.loopback_v4.replace(address).map(IpAddr::V4),
            IpAddr::V6(address) => self.loopback_v6.replace(address).map(IpAddr::V6),
        };
        before.map_or(Ok(()), |before| Err(UplinkError::LoopbackTwice(before, address)))
    }

    /// Lets an address stand for one of the host's.
    fn lead_to_host(&mut self, text: &str) -> Result<(), UplinkError> {
        let refused = || UplinkError::HostAddress(text.to_owned());
        let (inside, host) = text.split_once('@').ok_or_else(refused)?;
        let (inside, host) = (inside.parse().map_err(|_| refused())?, host.parse().map_err(|_| refused())?);
        if !(is_link_local(inside) || is_usable(inside)) || !is_usable(host) {
            return Err(refused());
        }
        let twice = match (inside, host) {
            (IpAddr::V4(inside), IpAddr::V4(host)) => self.host_v4.replace((inside, host)).is_some(),
            (IpAddr::V6(inside), IpAddr::V6(host)) => self.host_v6.replace((inside, host)).is_some(),
            _ => return Err(refused()),
        };
        if twice { Err(UplinkError::Twice("host-address")) } else { Ok(()) }
    }

    /// Lets nothing reach an address, whoever has it.
    fn close(&mut self, text: &str) -> Result<(), UplinkError> {
        let address: IpAddr = text.parse().map_err(|_| UplinkError::Closed(text.to_owned()))?;
        let twice = match address {
            IpAddr::V4(address) => self.closed_v4.replace(address).is_some(),
            IpAddr::V6(address) => self.closed_v6.replace(address).is_some(),
        };
        if twice { Err(UplinkError::Twice("closed")) } else { Ok(()) }
    }

    /// Lets what leaves have an address of the host that the user chose.
    fn leave_from(&mut self, text: &str) -> Result<(), UplinkError> {
        let address: IpAddr = text.parse().map_err(|_| UplinkError::Outbound(text.to_owned()))?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(UplinkError::Outbound(text.to_owned()));
        }
        let twice = match address {
            IpAddr::V4(address) => self.source_v4.replace(address).is_some(),
            IpAddr::V6(address) => self.source_v6.replace(address).is_some(),
        };
        if twice { Err(UplinkError::Twice("outbound-address")) } else { Ok(()) }
    }

    /// The addresses that lead to the host's loopback, IPv4 first.
    pub fn loopbacks(&self) -> impl Iterator<Item = IpAddr> {
        self.loopback_v4.map(IpAddr::V4).into_iter().chain(self.loopback_v6.map(IpAddr::V6))
    }

    /// The addresses that lead to the host, its loopback and another of its addresses.
    pub fn host_inside(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.host_v4.map(|(inside, _)| inside.into());
        self.loopbacks().chain(v4).chain(self.host_v6.map(|(inside, _)| inside.into()))
    }

    /// The addresses of the host that what leaves has, IPv4 first; a family without one has the host's own choice.
    pub fn sources(&self) -> impl Iterator<Item = IpAddr> {
        self.source_v4.map(IpAddr::V4).into_iter().chain(self.source_v6.map(IpAddr::V6))
    }

    /// The address within `net` that leads to the host's loopback, if one does.
    #[must_use]
    pub fn meets(&self, net: &IpNet) -> Option<IpAddr> {
        self.loopbacks().find(|address| net.contains(address))
    }
}

/// Whether the router forwards packets to this address where a network's gateway answers for it, and else to nobody.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Whether the router forwards packets to this address (RFC 1812 section 5.3).
fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            !(first == 0 || first >= 224 || address.is_loopback() || address.is_link_local())
        }
        IpAddr::V6(address) => {
            let embedded = address.to_ipv4_mapped().is_some();
            let nobody = address.is_unspecified() || address.is_loopback();
            !(embedded || nobody || address.is_multicast() || address.is_unicast_link_local())
        }
    }
}

/// As `--uplink` takes it.
impl std::fmt::Display for SocketsUplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sockets")?;
        for address in self.loopbacks() {
            write!(f, ",host-loopback={address}")?;
        }
        if let Some((inside, host)) = self.host_v4 {
            write!(f, ",host-address={inside}@{host}")?;
        }
        if let Some((inside, host)) = self.host_v6 {
            write!(f, ",host-address={inside}@{host}")?;
        }
        let closed = self.closed_v4.map(IpAddr::V4).into_iter().chain(self.closed_v6.map(IpAddr::V6));
        for address in closed {
            write!(f, ",closed={address}")?;
        }
        for address in self.sources() {
            write!(f, ",outbound-address={address}")?;
        }
        if self.source == PublishSource::Gateway {
            f.write_str(",publish-source=gateway")?;
        }
        match self.filter {
            UdpFilter::AddressAndPortDependent => Ok(()),
            UdpFilter::EndpointIndependent => f.write_str(",udp-filter=endpoint-independent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::uplink::Uplink;

    /// Every form, and what it says of itself, which can be given again.
    #[test]
    fn forms() {
        for text in [
            "sockets",
            "sockets,host-loopback=10.0.2.2",
            "sockets,host-loopback=fd00::2,publish-source=gateway",
            "sockets,publish-source=gateway,udp-filter=endpoint-independent",
            "sockets,outbound-address=192.0.2.1,outbound-address=2001:db8::1",
            "sockets,host-address=169.254.1.2@192.0.2.1,host-address=fe80::2@2001:db8::1",
        ] {
            assert_eq!(text.parse::<Uplink>().unwrap().to_string(), text);
        }
        let both =
            "sockets,host-loopback=fd00::2,publish-source=client,host-loopback=10.0.2.2".parse::<Uplink>().unwrap();
        let Uplink::Sockets(sockets) = both else { panic!("the sockets uplink") };
        assert_eq!(sockets.to_string(), "sockets,host-loopback=10.0.2.2,host-loopback=fd00::2");
        assert_eq!(sockets.meets(&"10.0.0.0/16".parse().unwrap()).unwrap().to_string(), "10.0.2.2");
        assert_eq!(sockets.meets(&"10.1.0.0/16".parse().unwrap()), None);
    }

    /// Bad input is refused with one sentence that says what to do.
    #[test]
    fn refusals() {
        for (text, says) in [
            ("sockets,", "KEY=VALUE"),
            ("sockets,host-loopback", "KEY=VALUE"),
            ("sockets,loopback=10.0.2.2", "no key loopback"),
            ("sockets,host-loopback=x", "no IP address"),
            ("sockets,host-loopback=127.0.0.1", "cannot stand for the host's loopback"),
            ("sockets,host-loopback=224.0.0.1", "cannot stand for the host's loopback"),
            ("sockets,host-loopback=::ffff:10.0.2.2", "cannot stand for the host's loopback"),
            ("sockets,host-loopback=10.0.2.2,host-loopback=10.0.2.3", "10.0.2.2 and 10.0.2.3"),
            ("sockets,outbound-address=eth0", "outbound-address eth0 is no address of the host"),
            ("sockets,outbound-address=0.0.0.0", "no address of the host"),
            ("sockets,outbound-address=192.0.2.1,outbound-address=192.0.2.2", "twice"),
            ("sockets,host-address=169.254.1.2", "write the address inside, @ and one of the host's"),
            ("sockets,host-address=169.254.1.2@127.0.0.1", "write the address inside, @ and one of the host's"),
            ("sockets,host-address=169.254.1.2@fd00::1", "write the address inside, @ and one of the host's"),
            ("sockets,host-address=10.0.0.1@10.0.0.2,host-address=10.0.0.3@10.0.0.2", "twice"),
            ("sockets,publish-source=me", "client or gateway"),
            ("sockets,publish-source=client,publish-source=client", "twice"),
            ("sockets,udp-filter=open", "address-and-port-dependent or endpoint-independent"),
            ("sockets,udp-filter=endpoint-independent,udp-filter=endpoint-independent", "twice"),
            ("socket", "use sockets, none or packet:IFACE"),
        ] {
            let error = text.parse::<Uplink>().unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
