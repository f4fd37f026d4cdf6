//! What names one direction of a flow: protocol, addresses, and ports or what stands for them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};
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

/// One direction of a flow as a packet shows it: the key of the connection table.
///
/// IPv4 addresses are kept in their mapped IPv6 form, so that both families share one 38-byte key; a real packet with a
/// mapped address is a martian and never gets here. For ICMP queries the identifier stands in the place of the source
/// port, type and code in that of the destination port. Protocols without ports have zeros there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    source_id: u16,
    destination_id: u16,
    protocol: Protocol,
}

impl Tuple {
    /// A tuple of a protocol with ports. Both addresses must be of one family, which is the caller's to see to.
    #[must_use]
    pub const fn ports(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        Tuple {
            source: mapped(source.ip()),
            destination: mapped(destination.ip()),
            source_id: source.port(),
            destination_id: destination.port(),
            protocol,
        }
    }

    /// A tuple of an ICMP query with this type and identifier (code 0); the protocol follows from the family.
    #[must_use]
    pub fn query(source: IpAddr, destination: IpAddr, kind: u8, identifier: u16) -> Self {
        Tuple {
            source: mapped(source),
            destination: mapped(destination),
            source_id: identifier,
            destination_id: u16::from(kind) << 8,
            protocol: if source.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 },
        }
    }

    /// A tuple of a protocol of which only the addresses are known.
    #[must_use]
    pub const fn addresses(protocol: Protocol, source: IpAddr, destination: IpAddr) -> Self {
        Tuple { source: mapped(source), destination: mapped(destination), source_id: 0, destination_id: 0, protocol }
    }

    /// The protocol.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
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
        self.source_id
    }

    /// Destination port; of an ICMP query type and code.
    #[inline]
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        self.destination_id
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
        self.destination_id.to_be_bytes()[0]
    }

    /// The tuple that an answer to this packet carries.
    #[inline]
    #[must_use]
    pub const fn inverted(&self) -> Tuple {
        let (source_id, destination_id) = if self.protocol.is_icmp() {
            let [kind, code] = self.destination_id.to_be_bytes();
            (self.source_id, u16::from_be_bytes([counterpart(self.protocol, kind), code]))
        } else {
            (self.destination_id, self.source_id)
        };
        Tuple { source: self.destination, destination: self.source, source_id, destination_id, protocol: self.protocol }
    }

    /// The same packet from another source address, and port or identifier.
    #[inline]
    #[must_use]
    pub const fn with_source(self, address: IpAddr, port: u16) -> Tuple {
        Tuple { source: mapped(address), source_id: port, ..self }
    }

    /// The same packet to another destination address and port.
    #[inline]
    #[must_use]
    pub const fn with_destination(self, address: IpAddr, port: u16) -> Tuple {
        Tuple { destination: mapped(address), destination_id: port, ..self }
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
        state.write_u64(
            u64::from(self.source_id) << 32 | u64::from(self.destination_id) << 16 | u64::from(self.protocol.0),
        );
    }
}

/// As conntrack prints one: `src=10.0.0.2 dst=1.1.1.1 sport=1000 dport=80`.
impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src={} dst={}", self.source(), self.destination())?;
        if self.protocol.has_ports() {
            write!(f, " sport={} dport={}", self.source_id, self.destination_id)
        } else if self.protocol.is_icmp() {
            let [kind, code] = self.destination_id.to_be_bytes();
            write!(f, " type={kind} code={code} id={}", self.source_id)
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.protocol)
    }
}

/// A tuple in records: plain fields, ICMP's in words.
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
            protocol: self.protocol,
            source: self.source(),
            destination: self.destination(),
            source_port: self.source_id,
            destination_port: self.destination_id,
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
