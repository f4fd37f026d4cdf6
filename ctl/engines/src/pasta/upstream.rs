//! What the host has: the interface of its default route, that one's addresses, and the routes by it. Read first: proc_net(5) and
//! the kernel's Documentation/networking/proc_net_tcp and `net/ipv6/route.c`, for what /proc/net tells of routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// One family's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) interface: String,
    /// Its address, with its subnet.
    pub(super) address: IpNet,
    pub(super) gateway: Option<IpAddr>,
    /// The other routes by the interface, but for the address's own.
    pub(super) routes: Vec<Route>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) destination: IpNet,
    pub(super) gateway: Option<IpAddr>,
    metric: u32,
    interface: String,
}

#[cfg(test)]
impl Route {
    pub(super) fn new(destination: &str, gateway: Option<&str>) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            metric: 0,
            interface: String::new(),
        }
    }
}

/// A route is in use.
const UP: u32 = 0x1;
/// The kernel's own, or a rejected one: of no interface that packets leave by.
const NO_WAY: u32 = 0x8000_0000 | 0x200;

/// Looks, for IPv4 and for IPv6: at `interface`, or at that of the default route.
pub(super) fn look(interface: Option<&str>) -> io::Result<(Option<Upstream>, Option<Upstream>)> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/net/{file}"));
    let addresses_v4: Vec<(String, IpNet)> = nix::ifaddrs::getifaddrs()?
        .filter_map(|one| {
            let address = one.address?.as_sockaddr_in()?.ip();
            let mask = one.netmask?.as_sockaddr_in()?.ip();
            let net = Ipv4Net::with_netmask(address, mask).ok()?;
            Some((one.interface_name, IpNet::V4(net)))
        })
        .collect();
    // Without IPv6 there are no such files.
    let addresses_v6 = addresses_v6(&read("if_inet6").unwrap_or_default());
    let (routes_v4, routes_v6) = (routes_v4(&read("route")?), routes_v6(&read("ipv6_route").unwrap_or_default()));
    Ok((of_family(interface, &addresses_v4, routes_v4), of_family(interface, &addresses_v6, routes_v6)))
}

/// Whether the host has an interface of this name.
pub(super) fn exists(interface: &str) -> bool {
    nix::ifaddrs::getifaddrs().is_ok_and(|mut all| all.any(|one| one.interface_name == interface))
}

fn of_family(interface: Option<&str>, addresses: &[(String, IpNet)], routes: Vec<Route>) -> Option<Upstream> {
    let is_default = |route: &&Route| route.destination.prefix_len() == 0;
    let mine = |route: &&Route| interface.is_none_or(|name| name == route.interface);
    let default = routes.iter().filter(is_default).filter(mine).min_by_key(|route| route.metric);
    let interface = interface.or_else(|| Some(&default?.interface))?.to_owned();
    let address = addresses.iter().find(|(name, _)| *name == interface).map(|(_, address)| *address)?;
    let gateway = default.and_then(|route| route.gateway);
    let is_own = |route: &Route| route.gateway.is_none() && route.destination == address.trunc();
    let others = routes.into_iter().filter(|route| route.interface == interface && route.destination.prefix_len() > 0);
    let routes = others.filter(|route| !is_own(route)).collect();
    Some(Upstream { interface, address, gateway, routes })
}

/// `/proc/net/route`: numbers are in network order, written as the host's own.
fn routes_v4(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[interface, destination, gateway, flags, _, _, metric, mask, ..] = fields.as_slice() else { return None };
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        let address = |text: &str| Some(Ipv4Addr::from(number(text)?.to_ne_bytes()));
        let flags = number(flags).filter(|flags| flags & UP != 0 && flags & NO_WAY == 0);
        flags?;
        let net = Ipv4Net::with_netmask(address(destination)?, address(mask)?).ok()?;
        let gateway = address(gateway).filter(|gateway| !gateway.is_unspecified()).map(IpAddr::V4);
        Some(Route { destination: net.into(), gateway, metric: metric.parse().ok()?, interface: interface.to_owned() })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// `/proc/net/ipv6_route`.
fn routes_v6(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[destination, length, _, source, gateway, metric, _, _, flags, interface] = fields.as_slice() else {
            return None;
        };
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        let address = |text: &str| Some(Ipv6Addr::from(u128::from_str_radix(text, 16).ok()?));
        let flags = number(flags).filter(|flags| flags & UP != 0 && flags & NO_WAY == 0);
        flags?;
        let net = Ipv6Net::new(address(destination)?, u8::from_str_radix(length, 16).ok()?).ok()?;
        let passed_over = net.addr().is_multicast() || net.addr().is_unicast_link_local() || source != "00";
        let gateway = address(gateway).filter(|gateway| !gateway.is_unspecified()).map(IpAddr::V6);
        let (metric, interface) = (number(metric)?, interface.to_owned());
        (!passed_over && interface != "lo").then_some(Route { destination: net.into(), gateway, metric, interface })
    };
    text.lines().filter_map(route).collect()
}

/// `/proc/net/if_inet6`: those that connections are opened from.
fn addresses_v6(text: &str) -> Vec<(String, IpNet)> {
    const GLOBAL: &str = "00";
    const TEMPORARY: u32 = 0x01;
    const DEPRECATED: u32 = 0x20;
    const TENTATIVE: u32 = 0x40;
    let address = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[address, _, length, GLOBAL, flags, interface] = fields.as_slice() else { return None };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        let net = Ipv6Net::new(address, u8::from_str_radix(length, 16).ok()?).ok()?;
        (flags & (TEMPORARY | DEPRECATED | TENTATIVE) == 0).then(|| (interface.to_owned(), net.into()))
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's own words for IPv4: the least metric is the default, and an address's own route is none of the others.
    #[test]
    fn ipv4() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            up0\t00000000\t0200630A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            up0\t00004D0A\t0300630A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            up0\t0000630A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            *\t0000000B\t00000000\t0201\t0\t0\t0\t000000FF\t0\t0\t0\n";
        let addresses = [
            ("wlan0".to_owned(), "192.168.1.7/24".parse().unwrap()),
            ("up0".to_owned(), "10.99.0.1/24".parse().unwrap()),
        ];
        let found = of_family(None, &addresses, routes_v4(text)).unwrap();
        assert_eq!((found.interface.as_str(), found.address.to_string().as_str()), ("up0", "10.99.0.1/24"));
        assert_eq!(found.gateway, Some("10.99.0.2".parse().unwrap()));
        let routes: Vec<_> = found.routes.iter().map(|route| (route.destination.to_string(), route.gateway)).collect();
        assert_eq!(routes, [("10.77.0.0/16".to_owned(), Some("10.99.0.3".parse().unwrap()))]);
        let named = of_family(Some("wlan0"), &addresses, routes_v4(text)).unwrap();
        assert_eq!(named.gateway, Some("192.168.1.1".parse().unwrap()));
        assert_eq!(of_family(Some("eth9"), &addresses, routes_v4(text)), None);
        assert_eq!(of_family(None, &addresses, Vec::new()), None);
    }

    /// For IPv6: link-local and temporary addresses, local and multicast routes are none.
    #[test]
    fn ipv6() {
        let routes = "\
fd990000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001      up0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001      up0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000002 00000400 00000001 00000000 00000003      up0
fd990000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001      up0
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001      up0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";
        let addresses = "\
fd990000000000000000000000000009 02 40 00 01      up0
fe80000000000000504f4bfffe3ae4a5 02 40 20 80      up0
fd990000000000000000000000000001 02 40 00 80      up0
00000000000000000000000000000001 01 80 10 80       lo
";
        let found = of_family(None, &addresses_v6(addresses), routes_v6(routes)).unwrap();
        assert_eq!((found.interface.as_str(), found.address.to_string().as_str()), ("up0", "fd99::1/64"));
        assert_eq!((found.gateway, found.routes), (Some("fe80::2".parse().unwrap()), Vec::new()));
    }
}
