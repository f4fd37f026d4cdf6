//! What the host occupies already, from the text of /proc/net/route, /proc/net/ipv6_route and /etc/resolv.conf.
//! Only on-link routes count, as with Docker since 23.0: a VPN's 0.0.0.0/1 must not block every subnet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Ranges;

/// What automatic subnets must not meet.
#[derive(Debug, Clone, Default)]
pub struct HostNetworks {
    /// On-link IPv4 routes and IPv4 nameservers.
    pub ipv4: Vec<IpNet>,
    /// On-link IPv6 routes and IPv6 nameservers.
    pub ipv6: Vec<IpNet>,
}

impl HostNetworks {
    /// From the text of the three files; lines that make no sense are skipped.
    #[must_use]
    pub fn parse(route: &str, ipv6_route: &str, resolv_conf: &str) -> Self {
        let mut host = HostNetworks::default();
        host.ipv4.extend(route.lines().filter_map(ipv4_route).map(IpNet::V4));
        host.ipv6.extend(ipv6_route.lines().filter_map(parse_ipv6_route).map(IpNet::V6));
        for server in nameservers(resolv_conf) {
            match server {
                IpAddr::V4(_) => host.ipv4.push(server.into()),
                IpAddr::V6(_) => host.ipv6.push(server.into()),
            }
        }
        host
    }

    /// The IPv4 ones as a set.
    #[must_use]
    pub fn ipv4_ranges(&self) -> Ranges {
        collect(&self.ipv4)
    }

    /// The IPv6 ones as a set.
    #[must_use]
    pub fn ipv6_ranges(&self) -> Ranges {
        collect(&self.ipv6)
    }
}

/// A resolver as the host names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// Its address.
    pub address: IpAddr,
    /// The interface of a link-local address (`fe80::1%eth0`), which means nothing in another namespace.
    pub zone: Option<String>,
}

impl Resolver {
    /// Whether only the host itself reaches it.
    #[must_use]
    pub const fn is_the_hosts_own(&self) -> bool {
        self.zone.is_some() || self.address.is_loopback()
    }
}

/// The `nameserver` lines of a resolv.conf.
pub fn resolvers(resolv_conf: &str) -> impl Iterator<Item = Resolver> {
    resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        let word = words.next()?;
        let (address, zone) = match word.split_once('%') {
            Some((address, zone)) => (address, Some(zone.to_owned())),
            None => (word, None),
        };
        let address: IpAddr = address.parse().ok()?;
        (zone.is_none() || address.is_ipv6()).then_some(Resolver { address, zone })
    })
}

/// Those of them that have a meaning elsewhere than on the host's links.
fn nameservers(resolv_conf: &str) -> impl Iterator<Item = IpAddr> {
    resolvers(resolv_conf).filter(|resolver| resolver.zone.is_none()).map(|resolver| resolver.address)
}

/// The last `search` or `domain` line of a resolv.conf.
#[must_use]
pub fn search_domains(resolv_conf: &str) -> Vec<String> {
    let last = resolv_conf.lines().rev().find_map(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next()?, "search" | "domain").then(|| words.map(str::to_owned).collect())
    });
    last.unwrap_or_default()
}

/// The words of all `options` lines of a resolv.conf.
#[must_use]
pub fn options(resolv_conf: &str) -> Vec<String> {
    let lines = resolv_conf.lines().filter_map(|line| line.trim_start().strip_prefix("options"));
    let words = lines.filter(|rest| rest.starts_with(char::is_whitespace)).flat_map(str::split_whitespace);
    words.map(str::to_owned).collect()
}

fn collect(nets: &[IpNet]) -> Ranges {
    let mut ranges = Ranges::new();
    for net in nets {
        ranges.insert_net(*net);
    }
    ranges
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`; numbers are hexadecimal in the machine's byte order.
fn ipv4_route(line: &str) -> Option<Ipv4Net> {
    let mut fields = line.split_whitespace();
    let destination = fields.nth(1)?;
    let _gateway = fields.next()?;
    let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
    let mask = fields.nth(3)?;
    if flags & RTF_UP == 0 || flags & RTF_GATEWAY != 0 {
        return None;
    }
    let octets = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    let net = Ipv4Net::with_netmask(octets(destination)?.into(), Ipv4Addr::from(octets(mask)?)).ok()?;
    (net.prefix_len() > 0).then(|| net.trunc())
}

/// `destination length source length next-hop metric refcnt use flags interface`.
fn parse_ipv6_route(line: &str) -> Option<Ipv6Net> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, length, _, _, _, _, _, _, flags, interface] = fields[..] else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let length = u8::from_str_radix(length, 16).ok()?;
    let destination = Ipv6Addr::from_bits(u128::from_str_radix(destination, 16).ok()?);
    let on_link = flags & RTF_UP != 0 && flags & RTF_GATEWAY == 0;
    // Link-local and multicast routes exist on every interface and say nothing about who uses what.
    let global = !destination.is_unicast_link_local() && !destination.is_multicast();
    if !on_link || !global || interface == "lo" || length == 0 {
        return None;
    }
    Ipv6Net::new(destination, length).ok().map(|net| net.trunc())
}

/// linux/route.h.
const RTF_UP: u32 = 1;
/// linux/route.h.
const RTF_GATEWAY: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// On-link routes and nameservers count; default routes, routes by a router, loopback and link-local ones do not.
    #[test]
    fn on_link_routes_and_nameservers() {
        let route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            tun0\t0000000A\t010011AC\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n";
        let ipv6 = "fd010203040500000000000000000000 40 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
            fe800000000000000000000000000000 40 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
            00000000000000000000000000000001 80 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 00000000 00000003 00000000 80200001       lo\n";
        let host = HostNetworks::parse(route, ipv6, "search a b\nnameserver 192.168.1.1\nnameserver fd00::53\n# x\n");
        let text = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(&host.ipv4), ["172.17.0.0/16", "192.168.1.1/32"]);
        assert_eq!(text(&host.ipv6), ["fd01:203:405::/64", "fd00::53/128"]);
    }

    /// Noise is skipped without a panic, and the last search line wins.
    #[test]
    fn noise_is_skipped() {
        let host = HostNetworks::parse("x\ny z\na b c d e f g h\n", "1 2 3\n", "nameserver\nnameserver fe80::1%eth0\n");
        assert!(host.ipv4.is_empty() && host.ipv6.is_empty());
        let named = |line: &str| resolvers(line).map(|one| (one.address.to_string(), one.zone)).collect::<Vec<_>>();
        assert_eq!(named("nameserver fe80::1%eth0"), [("fe80::1".to_owned(), Some("eth0".to_owned()))]);
        assert_eq!(named("nameserver 1.1.1.1%eth0\nnameserver x%y\nnameserver"), []);
        assert_eq!(search_domains("domain old\nsearch new.example other\n"), ["new.example", "other"]);
        assert!(search_domains("nameserver 1.1.1.1\n").is_empty());
        assert_eq!(options("options edns0 rotate\noptionsx\n options ndots:2\n"), ["edns0", "rotate", "ndots:2"]);
    }
}
