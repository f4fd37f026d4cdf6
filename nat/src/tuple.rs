//! What names one direction of a flow: protocol, addresses, and ports or what stands for them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use vswitch_frame::NetworkIndex;
use vswitch_frame::icmp::{v4, v6};
use vswitch_frame::ipv4::protocol;

/// An L4 protocol number (IANA), printed by its name where it has one here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: Protocol = Protocol(protocol::ICMP);
    /// Transmission Control Protocol.
    pub const TCP: Protocol = Protocol(protocol::TCP);
    /// User Datagram Protocol.
    pub const UDP: Protocol = Protocol(protocol::UDP);
    /// ICMP for IPv6.
    pub const ICMPV6: Protocol = Protocol(protocol::ICMPV6);
    /// Stream Control Transmission Protocol.
    pub const SCTP: Protocol = Protocol(protocol::SCTP);

    /// Whether its header starts with a source and a destination port.
    #[inline]
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Protocol::TCP | Protocol::UDP | Protocol::SCTP)
    }

    /// Whether this is ICMP of either family.
    #[inline]
    #[must_use]
    pub const fn is_icmp(self) -> bool {
        matches!(self, Protocol::ICMP | Protocol::ICMPV6)
    }

    /// The name that flow listings print; `unknown` where conntrack has none.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::ICMP => "icmp",
            Protocol::TCP => "tcp",
            Protocol::UDP => "udp",
            Protocol::ICMPV6 => "icmpv6",
            Protocol::SCTP => "sctp",
            _ => "unknown",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose addresses are meant: several networks may have the same ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Zone {
    /// Those of the uplink, and of the networks whose addresses nobody else has.
    #[default]
    Shared,
    /// Those of a network that has addresses of its own, whoever else has them, too.
    Own(NetworkIndex),
}

impl Zone {
    /// It in 24 bits.
    const fn bits(self) -> u64 {
        match self {
            Zone::Shared => 0,
            Zone::Own(network) => 1 << 16 | network.value() as u64,
        }
    }

    const fn of_bits(bits: u64) -> Zone {
        match bits & 0xff_ffff {
            0 => Zone::Shared,
            bits => {
                let [.., high, low] = bits.to_be_bytes();
                Zone::Own(NetworkIndex::new(u16::from_be_bytes([high, low])))
            }
        }
    }
}

/// Source and destination port (or what stands for them), zone and protocol in one word, so that tuples are compared, copied and
/// hashed in as few steps as without a zone.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rest(u64);

impl Rest {
    const fn new(source_id: u16, destination_id: u16, zone: Zone, protocol: Protocol) -> Rest {
        Rest((source_id as u64) << 48 | (destination_id as u64) << 32 | zone.bits() << 8 | protocol.0 as u64)
    }

    #[inline]
    const fn source_id(self) -> u16 {
        let [high, low, ..] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    #[inline]
    const fn destination_id(self) -> u16 {
        let [_, _, high, low, ..] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    #[inline]
    const fn zone(self) -> Zone {
        Zone::of_bits(self.0 >> 8)
    }

    #[inline]
    const fn protocol(self) -> Protocol {
        let [.., protocol] = self.0.to_be_bytes();
        Protocol(protocol)
    }

    #[inline]
    const fn with_source_id(self, id: u16) -> Rest {
        Rest(self.0 & !(0xffff << 48) | (id as u64) << 48)
    }

    #[inline]
    const fn with_destination_id(self, id: u16) -> Rest {
        Rest(self.0 & !(0xffff << 32) | (id as u64) << 32)
    }

    #[inline]
    const fn in_zone(self, zone: Zone) -> Rest {
        Rest(self.0 & !(0xff_ffff << 8) | zone.bits() << 8)
    }
}

/// One direction of a flow as a packet shows it: the key of the connection table. A packet shows addresses; the leg that it came by
/// says in which zone.
///
/// IPv4 addresses are kept in their mapped IPv6 form, so that both families share one key of 40 bytes; a real packet with a
/// mapped address is a martian and never gets here. For ICMP queries the identifier stands in the place of the source
/// port, type and code in that of the destination port. Protocols without ports have zeros there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    rest: Rest,
}

impl Tuple {
    /// A tuple of a protocol with ports. Both addresses must be of one family, which is the caller's to see to.
    #[must_use]
    pub const fn ports(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        let rest = Rest::new(source.port(), destination.port(), Zone::Shared, protocol);
        Tuple { source: mapped(source.ip()), destination: mapped(destination.ip()), rest }
    }

    /// A tuple of an ICMP query with this type and identifier (code 0); the protocol follows from the family.
    #[must_use]
    pub fn query(source: IpAddr, destination: IpAddr, kind: u8, identifier: u16) -> Self {
        let protocol = if source.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
        let rest = Rest::new(identifier, u16::from(kind) << 8, Zone::Shared, protocol);
        Tuple { source: mapped(source), destination: mapped(destination), rest }
    }

    /// A tuple of a protocol of which only the addresses are known.
    #[inline(always)]
    #[must_use]
    pub const fn addresses(protocol: Protocol, source: IpAddr, destination: IpAddr) -> Self {
        let (source, destination) = (mapped(source), mapped(destination));
        Tuple { source, destination, rest: Rest::new(0, 0, Zone::Shared, protocol) }
    }

    /// The same packet, by a leg of this zone.
    #[inline]
    #[must_use]
    pub const fn in_zone(self, zone: Zone) -> Tuple {
        Tuple { rest: self.rest.in_zone(zone), ..self }
    }

    /// Whose addresses it has.
    #[inline]
    #[must_use]
    pub const fn zone(&self) -> Zone {
        self.rest.zone()
    }

    /// The protocol.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.rest.protocol()
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        self.source.to_canonical()
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        self.destination.to_canonical()
    }

    /// Source port, or the identifier of an ICMP query.
    #[inline]
    #[must_use]
    pub const fn source_port(&self) -> u16 {
        self.rest.source_id()
    }

    /// Destination port; of an ICMP query type and code.
    #[inline]
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        self.rest.destination_id()
    }

    /// Whether the addresses are IPv4.
    #[inline]
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.source.to_ipv4_mapped().is_some()
    }

    /// The type of an ICMP query.
    #[must_use]
    pub const fn icmp_type(&self) -> u8 {
        self.rest.destination_id().to_be_bytes()[0]
    }

    /// The tuple that an answer to this packet carries; in the same zone, as long as nobody says otherwise.
    #[inline]
    #[must_use]
    pub const fn inverted(&self) -> Tuple {
        let (protocol, source_id, destination_id) =
            (self.rest.protocol(), self.rest.source_id(), self.rest.destination_id());
        let rest = if protocol.is_icmp() {
            let [kind, code] = destination_id.to_be_bytes();
            self.rest.with_destination_id(u16::from_be_bytes([counterpart(protocol, kind), code]))
        } else {
            self.rest.with_source_id(destination_id).with_destination_id(source_id)
        };
        Tuple { source: self.destination, destination: self.source, rest }
    }

    /// The same packet from another source address, and port or identifier.
    #[inline]
    #[must_use]
    pub const fn with_source(self, address: IpAddr, port: u16) -> Tuple {
        Tuple { source: mapped(address), rest: self.rest.with_source_id(port), ..self }
    }

    /// The same packet to another destination address and port.
    #[inline]
    #[must_use]
    pub const fn with_destination(self, address: IpAddr, port: u16) -> Tuple {
        Tuple { destination: mapped(address), rest: self.rest.with_destination_id(port), ..self }
    }

    pub(crate) const fn source_key(&self) -> Ipv6Addr {
        self.source
    }

    pub(crate) const fn destination_key(&self) -> Ipv6Addr {
        self.destination
    }
}

impl Hash for Tuple {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.source.octets()));
        state.write_u128(u128::from_ne_bytes(self.destination.octets()));
        state.write_u64(self.rest.0);
    }
}

/// As conntrack prints one: `src=10.0.0.2 dst=1.1.1.1 sport=1000 dport=80`.
impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src={} dst={}", self.source(), self.destination())?;
        if self.rest.protocol().has_ports() {
            write!(f, " sport={} dport={}", self.rest.source_id(), self.rest.destination_id())
        } else if self.rest.protocol().is_icmp() {
            let [kind, code] = self.rest.destination_id().to_be_bytes();
            write!(f, " type={kind} code={code} id={}", self.rest.source_id())
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.rest.protocol())
    }
}

/// A tuple in records: plain fields, ICMP's in words. Its zone follows from the leg, whose number may change.
#[derive(Serialize, Deserialize)]
struct TupleFields {
    protocol: Protocol,
    source: IpAddr,
    destination: IpAddr,
    /// Source port, or the identifier of an ICMP query.
    source_port: u16,
    /// Destination port; of an ICMP query type × 256 + code.
    destination_port: u16,
}

impl Serialize for Tuple {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        TupleFields {
            protocol: self.rest.protocol(),
            source: self.source(),
            destination: self.destination(),
            source_port: self.rest.source_id(),
            destination_port: self.rest.destination_id(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tuple {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = TupleFields::deserialize(deserializer)?;
        if fields.source.is_ipv4() != fields.destination.is_ipv4() {
            return Err(serde::de::Error::custom("source and destination are of different address families"));
        }
        Ok(Tuple::addresses(fields.protocol, fields.source, fields.destination)
            .with_source(fields.source, fields.source_port)
            .with_destination(fields.destination, fields.destination_port))
    }
}

/// The form in which tuples keep addresses.
#[inline]
pub(crate) const fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Whether this is an IPv4 address in IPv6 clothes, which no packet may carry (RFC 4291 section 2.5.5.2).
#[inline]
pub(crate) const fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// The ICMP type that answers a query, and back; other types have none and stay as they are.
const fn counterpart(protocol: Protocol, kind: u8) -> u8 {
    match (protocol, kind) {
        (Protocol::ICMP, v4::ECHO_REQUEST) => v4::ECHO_REPLY,
        (Protocol::ICMP, v4::ECHO_REPLY) => v4::ECHO_REQUEST,
        // Timestamp, information and address mask: request and reply are neighbours (RFC 792, RFC 950).
        (Protocol::ICMP, 13 | 15 | 17) | (Protocol::ICMPV6, v6::ECHO_REQUEST) => kind + 1,
        (Protocol::ICMP, 14 | 16 | 18) | (Protocol::ICMPV6, v6::ECHO_REPLY) => kind - 1,
        _ => kind,
    }
}

/// Whether an ICMP type asks for an answer, and so may start a flow (RFC 5508 REQ-1).
pub(crate) const fn is_query(protocol: Protocol, kind: u8) -> bool {
    match protocol {
        Protocol::ICMP => matches!(kind, v4::ECHO_REQUEST | 13 | 15 | 17),
        _ => kind == v6::ECHO_REQUEST,
    }
}

/// Whether an ICMP type answers a query.
pub(crate) const fn is_query_reply(protocol: Protocol, kind: u8) -> bool {
    match protocol {
        Protocol::ICMP => matches!(kind, v4::ECHO_REPLY | 14 | 16 | 18),
        _ => kind == v6::ECHO_REPLY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inverting twice gives the tuple back, for ports, queries and bare protocols.
    #[test]
    fn inversion_is_an_involution() {
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 2].into(), [1, 1, 1, 1].into());
        let tcp = Tuple::ports(Protocol::TCP, (a, 1000).into(), (b, 80).into());
        assert_eq!(tcp.inverted(), Tuple::ports(Protocol::TCP, (b, 80).into(), (a, 1000).into()));
        for tuple in [tcp, Tuple::query(a, b, 8, 7), Tuple::query(a, b, 14, 7), Tuple::addresses(Protocol(99), a, b)] {
            assert_eq!(tuple.inverted().inverted(), tuple);
        }
        assert_eq!(Tuple::query(a, b, 8, 7).inverted().icmp_type(), 0);
    }

    /// Tuples print as conntrack prints them and survive JSON.
    #[test]
    fn text_and_json() {
        let (a, b): (IpAddr, IpAddr) = ([10, 9, 0, 3].into(), [203, 0, 113, 2].into());
        let tuple = Tuple::query(a, b, 8, 4242);
        assert_eq!(tuple.to_string(), "src=10.9.0.3 dst=203.0.113.2 type=8 code=0 id=4242");
        let json = serde_json::to_string(&tuple).unwrap();
        assert_eq!(serde_json::from_str::<Tuple>(&json).unwrap(), tuple);
        assert!(serde_json::from_str::<Tuple>(&json.replace("10.9.0.3", "fd00::1")).is_err());
    }
}
