//! What `--uplink` says.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use vswitch_frame::MacAddr;

use super::SocketsUplink;
use crate::ipam::{MacFault, parse_station};

/// The way out of the networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uplink {
    /// There is none.
    None,
    /// Ordinary host sockets.
    Sockets(SocketsUplink),
    /// Interfaces of the host that the switch has addresses on, one at least; the first is everybody's first choice.
    Packet(Vec<PacketUplink>),
}

/// `packet:IFACE,address=…,gateway=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketUplink {
    /// What networks call it: the interface, if no name is given.
    pub name: String,
    /// Name of the interface.
    pub interface: String,
    /// IPv4, if there is any.
    pub ipv4: Option<Addresses>,
    /// IPv6, if there is any.
    pub ipv6: Option<Addresses>,
    /// Routes beside the default ones.
    pub routes: Vec<StaticRoute>,
    /// The switch's own address on the link, if given.
    pub mac: Option<MacAddr>,
    /// Bytes of IP packet, if given.
    pub mtu: Option<u32>,
    /// What leaves by it gets its address; if not, it is routed as it is.
    pub masquerade: bool,
    /// As the user wrote it.
    text: String,
}

/// The addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The subnet that all of them are in.
    pub net: IpNet,
    /// At least one; the first is the one that the switch speaks from.
    pub own: Vec<IpAddr>,
    /// The default router.
    pub gateway: Option<IpAddr>,
}

/// `route=DESTINATION@ROUTER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticRoute {
    /// For whom.
    pub destination: IpNet,
    /// By whom.
    pub via: IpAddr,
}

/// What is wrong with an uplink.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UplinkError {
    /// None of the three.
    #[error("--uplink {0} is not known; use sockets, none or {EXAMPLE}")]
    Kind(String),
    /// Not a key of `sockets`.
    #[error(
        "--uplink sockets has no key {0}; the keys are host-loopback, host-address, closed, outbound-address, publish-source and udp-filter, as in {SOCKETS_EXAMPLE}"
    )]
    SocketsKey(String),
    /// A key without a value.
    #[error("--uplink sockets has {0:?} where KEY=VALUE should be; write {SOCKETS_EXAMPLE}")]
    SocketsNoValue(String),
    /// Not an address.
    #[error("--uplink outbound-address {0} is no address of the host; write one that 'ip address' shows")]
    Outbound(String),
    /// Not two addresses of a family.
    #[error(
        "--uplink host-address {0} is not as it should be; write the address inside, @ and one of the host's, such as \
         169.254.1.2@192.0.2.1"
    )]
    HostAddress(String),
    /// Not an address.
    #[error("--uplink closed {0} is no IP address; write one that nothing may reach")]
    Closed(String),
    /// Neither of the two.
    #[error("--uplink publish-source {0} is not known; use client or gateway")]
    PublishSource(String),
    /// Neither of the two.
    #[error("--uplink udp-filter {0} is not known; use address-and-port-dependent or endpoint-independent")]
    UdpFilter(String),
    /// Text that is no address.
    #[error("host-loopback {0} is no IP address; write one that nobody else has, such as {LOOPBACK_EXAMPLE}")]
    LoopbackText(String),
    /// An address that no packet can be sent to.
    #[error(
        "{0} cannot stand for the host's loopback; use a unicast address that nobody else has, such as {LOOPBACK_EXAMPLE}"
    )]
    Loopback(IpAddr),
    /// Two of a family.
    #[error("{0} and {1} cannot both stand for the host's loopback; name one address of each family")]
    LoopbackTwice(IpAddr, IpAddr),
    /// It means nothing for another uplink.
    #[error("--host-loopback works with --uplink sockets only; leave one of the two out")]
    LoopbackAlone,
    /// No interface, or none that there can be.
    #[error("--uplink names no interface that there can be ({0:?}); write {EXAMPLE}")]
    Interface(String),
    /// Not a key.
    #[error(
        "--uplink has no key {0}; the keys are address, gateway, mac, masquerade, mtu, name and route, as in {EXAMPLE}"
    )]
    Key(String),
    /// A key without a value.
    #[error("--uplink has {0:?} where KEY=VALUE should be; write {EXAMPLE}")]
    NoValue(String),
    /// A key that may be given once was given twice.
    #[error("--uplink names {0} twice; name it once")]
    Twice(&'static str),
    /// No address.
    #[error("--uplink packet:{0} has no address; add one of your own on its link, such as address=10.9.0.1/24")]
    NoAddress(String),
    /// An address that cannot be one.
    #[error("--uplink address {0} is no address with a prefix length; write one such as 10.9.0.1/24")]
    Address(String),
    /// An address that no station can have.
    #[error("--uplink address {0} is no station's ({1}); use one that is free on the link")]
    NoStation(IpNet, &'static str),
    /// A second address of a family in another subnet.
    #[error("--uplink address {0} is not in {1}; all {2} addresses of an uplink share a subnet")]
    AnotherSubnet(IpNet, IpNet, &'static str),
    /// Text that is no address.
    #[error("--uplink gateway {0} is no IP address; write the router's, such as gateway=10.9.0.2")]
    Gateway(String),
    /// A second gateway of a family.
    #[error("--uplink has two {0} gateways; name one for each family")]
    TwoGateways(&'static str),
    /// A gateway that is no neighbour.
    #[error("--uplink gateway {0} is not in the uplink's subnet {1}; name a router of that subnet")]
    GatewayOutside(IpAddr, IpNet),
    /// A gateway of a family that the uplink has no address of.
    #[error("--uplink gateway {0} is of a family that the uplink has no address of; add an {1} address")]
    GatewayAlone(IpAddr, &'static str),
    /// The switch itself.
    #[error("--uplink gateway {0} is the uplink's own address; name another router")]
    GatewayIsSelf(IpAddr),
    /// Not `CIDR@ROUTER`.
    #[error("--uplink route {0} is not as it should be; write DESTINATION@ROUTER, such as 10.0.0.0/8@10.9.0.3")]
    Route(String),
    /// A route's router that is no neighbour.
    #[error("--uplink route {0} leads over {1}, which is in no subnet of the uplink; name a neighbour")]
    RouteOutside(IpNet, IpAddr),
    /// Something beside interfaces.
    #[error("--uplink {0} stands alone; several uplinks are interfaces, each as {EXAMPLE}")]
    Alone(String),
    /// More than there can be.
    #[error("--uplink is given more than {0} times; leave some out")]
    TooMany(usize),
    /// A name that cannot be one.
    #[error("--uplink name {0:?} is none; write up to 15 letters, digits, '.', '_' or '-'")]
    Name(String),
    /// Neither of the two.
    #[error("--uplink masquerade {0} is not known; use true or false")]
    Masquerade(String),
    /// Two uplinks of one name.
    #[error("two uplinks are called {0}; give each a name of its own")]
    SameName(String),
    /// Two uplinks on one interface.
    #[error("two uplinks are on {0}; give each an interface of its own, or one of them all the addresses")]
    SameInterface(String),
    /// Two uplinks with one address.
    #[error("{0} is an address of both uplinks {1} and {2}; give each addresses of its own")]
    SameAddress(IpAddr, String, String),
    /// Of the MAC address.
    #[error("--uplink: {0}")]
    Mac(#[from] MacFault),
    /// Of the MTU.
    #[error("--uplink mtu {0} is out of range; use {1} to 65535 bytes")]
    Mtu(String, u32),
}

/// Shown wherever somebody has to be told the shape.
const EXAMPLE: &str = "packet:IFACE,address=10.9.0.1/24,gateway=10.9.0.2";

/// The same for `sockets`.
const SOCKETS_EXAMPLE: &str = "sockets,host-loopback=10.0.2.2";
/// What others use for that.
const LOOPBACK_EXAMPLE: &str = "10.0.2.2";

/// Most uplinks at once.
const MOST_UPLINKS: usize = 16;

/// RFC 791.
const MIN_MTU: u32 = 68;
/// RFC 8200 section 5.
const MIN_MTU_IPV6: u32 = 1280;

impl FromStr for Uplink {
    type Err = UplinkError;

    fn from_str(text: &str) -> Result<Self, UplinkError> {
        if text == "none" {
            return Ok(Uplink::None);
        }
        if let Some(keys) = text.strip_prefix("sockets").filter(|keys| keys.is_empty() || keys.starts_with(',')) {
            return SocketsUplink::parse(keys.split(',').skip(1)).map(Uplink::Sockets);
        }
        let rest = text.strip_prefix("packet:").ok_or_else(|| UplinkError::Kind(text.to_owned()))?;
        let mut parts = rest.split(',');
        let interface = parts.next().unwrap_or_default();
        if !is_interface(interface) {
            return Err(UplinkError::Interface(interface.to_owned()));
        }
        let mut given = Given::default();
        for part in parts {
            given.take(part)?;
        }
        given.finish(interface, text).map(|one| Uplink::Packet(vec![one]))
    }
}

/// What an uplink may be called.
pub(crate) fn is_name(name: &str) -> bool {
    is_interface(name) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Linux takes at most 15 bytes, no slash, colon or space.
fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'=' | b'%'))
        && !matches!(name, "." | ".." | "lo")
}

/// What the keys say, each by itself.
#[derive(Debug, Default)]
struct Given {
    addresses: Vec<IpNet>,
    gateways: Vec<IpAddr>,
    routes: Vec<StaticRoute>,
    mac: Option<MacAddr>,
    mtu: Option<u32>,
    masquerade: Option<bool>,
    name: Option<String>,
}

impl Given {
    fn take(&mut self, part: &str) -> Result<(), UplinkError> {
        let (key, value) = part.split_once('=').ok_or_else(|| UplinkError::NoValue(part.to_owned()))?;
        let owned = || value.to_owned();
        match key {
            "address" => {
                let net: IpNet = value.parse().map_err(|_| UplinkError::Address(owned()))?;
                check_station(net)?;
                self.addresses.push(net);
            }
            "gateway" => self.gateways.push(value.parse().map_err(|_| UplinkError::Gateway(owned()))?),
            "route" => {
                let (destination, via) = value.split_once('@').ok_or_else(|| UplinkError::Route(owned()))?;
                let destination = destination.parse::<IpNet>().map_err(|_| UplinkError::Route(owned()))?;
                let via: IpAddr = via.parse().map_err(|_| UplinkError::Route(owned()))?;
                if via.is_ipv4() != destination.addr().is_ipv4() || destination.trunc() != destination {
                    return Err(UplinkError::Route(owned()));
                }
                self.routes.push(StaticRoute { destination, via });
            }
            "mac" if self.mac.is_some() => return Err(UplinkError::Twice("mac")),
            "mac" => self.mac = Some(parse_station(value)?),
            "mtu" if self.mtu.is_some() => return Err(UplinkError::Twice("mtu")),
            "mtu" => {
                let mtu = value.parse().ok().filter(|mtu| (MIN_MTU..=65_535).contains(mtu));
                self.mtu = Some(mtu.ok_or_else(|| UplinkError::Mtu(owned(), MIN_MTU))?);
            }
            "masquerade" if self.masquerade.is_some() => return Err(UplinkError::Twice("masquerade")),
            "masquerade" => self.masquerade = Some(value.parse().map_err(|_| UplinkError::Masquerade(owned()))?),
            "name" if self.name.is_some() => return Err(UplinkError::Twice("name")),
            "name" if !is_name(value) => return Err(UplinkError::Name(owned())),
            "name" => self.name = Some(owned()),
            _ => return Err(UplinkError::Key(key.to_owned())),
        }
        Ok(())
    }

    fn finish(self, interface: &str, text: &str) -> Result<PacketUplink, UplinkError> {
        if self.addresses.is_empty() {
            return Err(UplinkError::NoAddress(interface.to_owned()));
        }
        let (ipv4, ipv6) = (self.family(true)?, self.family(false)?);
        if let Some(mtu) = self.mtu.filter(|&mtu| ipv6.is_some() && mtu < MIN_MTU_IPV6) {
            return Err(UplinkError::Mtu(mtu.to_string(), MIN_MTU_IPV6));
        }
        let Given { routes, mac, mtu, masquerade, name, .. } = self;
        let (interface, masquerade) = (interface.to_owned(), masquerade.unwrap_or(true));
        let name = name.unwrap_or_else(|| interface.clone());
        let uplink = PacketUplink { name, interface, ipv4, ipv6, routes, mac, mtu, masquerade, text: text.to_owned() };
        let is_neighbour = |via: IpAddr| uplink.families().any(|family| family.net.contains(&via));
        match uplink.routes.iter().find(|route| !is_neighbour(route.via)) {
            Some(route) => Err(UplinkError::RouteOutside(route.destination, route.via)),
            None => Ok(uplink),
        }
    }

    fn family(&self, ipv4: bool) -> Result<Option<Addresses>, UplinkError> {
        let word = family_word(ipv4);
        let mut gateways = self.gateways.iter().copied().filter(|gateway| gateway.is_ipv4() == ipv4);
        let gateway = gateways.next();
        if gateways.next().is_some() {
            return Err(UplinkError::TwoGateways(word));
        }
        let mut addresses = self.addresses.iter().filter(|address| address.addr().is_ipv4() == ipv4);
        let Some(first) = addresses.next() else {
            return gateway.map_or(Ok(None), |gateway| Err(UplinkError::GatewayAlone(gateway, word)));
        };
        let net = first.trunc();
        let mut own = vec![first.addr()];
        for address in addresses {
            if address.trunc() != net {
                return Err(UplinkError::AnotherSubnet(*address, net, word));
            }
            if own.contains(&address.addr()) {
                return Err(UplinkError::Twice("an address"));
            }
            own.push(address.addr());
        }
        match gateway {
            Some(gateway) if own.contains(&gateway) => Err(UplinkError::GatewayIsSelf(gateway)),
            Some(gateway) if !net.contains(&gateway) => Err(UplinkError::GatewayOutside(gateway, net)),
            _ => Ok(Some(Addresses { net, own, gateway })),
        }
    }
}

const fn family_word(ipv4: bool) -> &'static str {
    if ipv4 { "IPv4" } else { "IPv6" }
}

fn check_station(net: IpNet) -> Result<(), UplinkError> {
    let address = net.addr();
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let wide = net.prefix_len() + 2 <= net.max_prefix_len();
    let edge = wide && (address == net.network() || (address.is_ipv4() && address == net.broadcast()));
    let why = if address.is_unspecified() || address.is_multicast() {
        "it is none of a single station"
    } else if address.is_loopback() {
        "it is a loopback address"
    } else if link_local {
        "it is link-local, and the uplink has one of these by itself"
    } else if edge {
        "it is the network's or the broadcast address"
    } else {
        return Ok(());
    };
    Err(UplinkError::NoStation(net, why))
}

impl PacketUplink {
    /// The families that there are, IPv4 first.
    pub fn families(&self) -> impl Iterator<Item = &Addresses> {
        self.ipv4.iter().chain(&self.ipv6)
    }

    /// All addresses of its own.
    pub fn own(&self) -> impl Iterator<Item = IpAddr> {
        self.families().flat_map(|family| family.own.iter().copied())
    }

    /// The switch's MAC address on the link: as given, or `02:76` and the end of the first IP address, so that it is the
    /// same after a restart and another one for every switch on the link.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.mac.unwrap_or_else(|| {
            let [a, b, c, d] = match self.own().next() {
                Some(IpAddr::V4(address)) => address.octets(),
                Some(IpAddr::V6(address)) => {
                    let [.., a, b, c, d] = address.octets();
                    [a, b, c, d]
                }
                None => [0; 4],
            };
            MacAddr::new([0x02, 0x76, a, b, c, d])
        })
    }
}

/// As the flag was written.
impl fmt::Display for PacketUplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Uplink {
    /// What all flags together say.
    ///
    /// # Errors
    /// What is wrong with one, or that they do not go together.
    pub fn parse_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Uplink, UplinkError> {
        let given = texts.into_iter().map(str::parse).collect::<Result<Vec<Uplink>, _>>()?;
        let alone = |one: &&Uplink| !matches!(one, Uplink::Packet(_));
        if let Some(one) = given.iter().find(alone).filter(|_| given.len() > 1) {
            return Err(UplinkError::Alone(one.to_string()));
        }
        let mut packets: Vec<PacketUplink> = Vec::new();
        for one in given {
            let Uplink::Packet(of_one) = one else { return Ok(one) };
            packets.extend(of_one);
        }
        if packets.is_empty() {
            return Ok(Uplink::default());
        }
        if packets.len() > MOST_UPLINKS {
            return Err(UplinkError::TooMany(MOST_UPLINKS));
        }
        for (number, one) in packets.iter().enumerate() {
            for other in &packets[..number] {
                if other.interface == one.interface {
                    return Err(UplinkError::SameInterface(one.interface.clone()));
                }
                if other.name == one.name {
                    return Err(UplinkError::SameName(one.name.clone()));
                }
                if let Some(shared) = one.own().find(|own| other.own().any(|address| address == *own)) {
                    return Err(UplinkError::SameAddress(shared, other.interface.clone(), one.interface.clone()));
                }
            }
        }
        Ok(Uplink::Packet(packets))
    }

    /// The interfaces and all that is on them, if there are any.
    #[must_use]
    pub fn packets(&self) -> &[PacketUplink] {
        match self {
            Uplink::None | Uplink::Sockets(_) => &[],
            Uplink::Packet(packets) => packets,
        }
    }

    /// Lets an address stand for the host's loopback (`--host-loopback`).
    ///
    /// # Errors
    /// When this is not the sockets uplink, or the address will not do.
    pub fn share_loopback(&mut self, text: &str) -> Result<(), UplinkError> {
        match self {
            Uplink::Sockets(sockets) => sockets.share_loopback(text),
            Uplink::None | Uplink::Packet(_) => Err(UplinkError::LoopbackAlone),
        }
    }
}

impl Default for Uplink {
    fn default() -> Self {
        Uplink::Sockets(SocketsUplink::default())
    }
}

/// As the flag was written.
impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uplink::None => f.write_str("none"),
            Uplink::Sockets(sockets) => sockets.fmt(f),
            Uplink::Packet(packets) => {
                let texts: Vec<&str> = packets.iter().map(|packet| packet.text.as_str()).collect();
                f.write_str(&texts.join(" "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(text: &str) -> PacketUplink {
        text.parse::<Uplink>().unwrap().packets()[0].clone()
    }

    /// One address and one gateway of each family, further addresses, routes, MAC and MTU all arrive where they belong.
    #[test]
    fn everything_at_once() {
        let text = "packet:eth1,address=10.9.0.1/24,gateway=10.9.0.2,address=10.9.0.3/24,address=fd09::1/64,\
                    gateway=fd09::2,mac=02:00:00:00:00:09,mtu=1400,route=10.0.0.0/8@10.9.0.4,route=fd00::/8@fd09::4";
        let uplink = packet(text);
        assert_eq!(uplink.interface, "eth1");
        let own: Vec<_> = uplink.own().map(|address| address.to_string()).collect();
        assert_eq!(own, ["10.9.0.1", "10.9.0.3", "fd09::1"]);
        assert_eq!(uplink.ipv4.as_ref().unwrap().gateway.unwrap().to_string(), "10.9.0.2");
        assert_eq!(uplink.ipv6.as_ref().unwrap().net.to_string(), "fd09::/64");
        assert_eq!((uplink.mac().to_string().as_str(), uplink.mtu), ("02:00:00:00:00:09", Some(1400)));
        assert_eq!(uplink.routes.len(), 2);
        assert_eq!(text.parse::<Uplink>().unwrap().to_string(), text);
        assert_eq!("none".parse::<Uplink>().unwrap(), Uplink::None);
    }

    /// Without a MAC address of its own it follows from the IP address, always the same.
    #[test]
    fn own_mac() {
        let mac = packet("packet:eth1,address=10.9.0.1/24").mac();
        assert!(mac.is_station() && mac == packet("packet:x,address=10.9.0.1/16").mac());
        assert_ne!(mac, packet("packet:eth1,address=10.9.0.2/24").mac());
    }

    /// Several uplinks are interfaces, each with addresses of its own.
    #[test]
    fn several() {
        let (one, two) = ("packet:a,address=10.9.0.1/24", "packet:b,address=10.8.0.1/24,name=wan2,masquerade=false");
        let both = Uplink::parse_all([one, two]).unwrap();
        let said = both.packets().iter().map(|packet| (packet.name.as_str(), packet.masquerade));
        assert_eq!(said.collect::<Vec<_>>(), [("a", true), ("wan2", false)]);
        let interfaces: Vec<_> = both.packets().iter().map(|packet| packet.interface.as_str()).collect();
        assert_eq!((interfaces, both.to_string()), (vec!["a", "b"], format!("{one} {two}")));
        assert_eq!(Uplink::parse_all([]).unwrap(), Uplink::default());
        let many: Vec<String> = (1..18).map(|n| format!("packet:e{n},address=10.{n}.0.1/24")).collect();
        for (texts, says) in [
            (vec![one, "sockets"], "sockets stands alone"),
            (vec!["none", one], "none stands alone"),
            (vec!["none", "none"], "none stands alone"),
            (vec![one, "packet:a,address=10.8.0.1/24"], "two uplinks are on a"),
            (vec![one, "packet:b,address=10.9.0.1/16"], "10.9.0.1 is an address of both uplinks a and b"),
            (vec![one, "packet:b,address=10.8.0.1/24,name=a"], "two uplinks are called a"),
            (vec![one, "packet:b,address=10.8.0.1/24,name=a b"], "letters, digits"),
            (vec![one, "packet:b,address=10.8.0.1/24,name=x,name=y"], "names name twice"),
            (vec![one, "packet:b,address=10.8.0.1/24,masquerade=perhaps"], "use true or false"),
            (vec![one, "packet:b"], "has no address"),
            (many.iter().map(String::as_str).collect(), "more than 16 times"),
        ] {
            let error = Uplink::parse_all(texts.iter().copied()).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{texts:?}: {error}");
        }
    }

    /// Each kind of bad input is refused with one sentence that says what to do.
    #[test]
    fn refusals() {
        let packet = |rest: &str| format!("packet:eth1,{rest}");
        for (text, says) in [
            ("packet:".to_owned(), "names no interface"),
            ("packet:a/b,address=10.9.0.1/24".to_owned(), "names no interface"),
            ("packet:eth1".to_owned(), "has no address"),
            (packet("address=10.9.0.1"), "no address with a prefix length"),
            (packet("address=10.9.0.300/24"), "no address with a prefix length"),
            (packet("address=10.9.0.1/33"), "no address with a prefix length"),
            (packet("address=10.9.0.0/24"), "network's or the broadcast address"),
            (packet("address=10.9.0.255/24"), "network's or the broadcast address"),
            (packet("address=127.0.0.1/8"), "loopback"),
            (packet("address=224.0.0.1/8"), "none of a single station"),
            (packet("address=fe80::1/64"), "link-local"),
            (packet("address=10.9.0.1/24,address=10.8.0.1/24"), "share a subnet"),
            (packet("address=10.9.0.1/24,address=10.9.0.1/24"), "twice"),
            (packet("address=10.9.0.1/24,gateway=10.8.0.2"), "not in the uplink's subnet 10.9.0.0/24"),
            (packet("address=10.9.0.1/24,gateway=10.9.0.1"), "own address"),
            (packet("address=10.9.0.1/24,gateway=x"), "no IP address"),
            (packet("address=10.9.0.1/24,gateway=fd09::2"), "add an IPv6 address"),
            (packet("address=10.9.0.1/24,gateway=10.9.0.2,gateway=10.9.0.3"), "two IPv4 gateways"),
            (packet("address=10.9.0.1/24,adress=10.9.0.2/24"), "no key adress"),
            (packet("address=10.9.0.1/24,mtu"), "KEY=VALUE"),
            (packet("address=10.9.0.1/24,mtu=67"), "68 to 65535"),
            (packet("address=fd09::1/64,mtu=1000"), "1280 to 65535"),
            (packet("address=10.9.0.1/24,mtu=1400,mtu=1400"), "mtu twice"),
            (packet("address=10.9.0.1/24,mac=01:00:5e:00:00:01"), "multicast"),
            (packet("address=10.9.0.1/24,route=10.0.0.0/8"), "DESTINATION@ROUTER"),
            (packet("address=10.9.0.1/24,route=10.0.0.1/8@10.9.0.2"), "DESTINATION@ROUTER"),
            (packet("address=10.9.0.1/24,route=10.0.0.0/8@10.8.0.2"), "no subnet of the uplink"),
        ] {
            let error = text.parse::<Uplink>().unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
