//! What the words between `and` and `or` ask of a frame.

use std::net::Ipv6Addr;

use vswitch_frame::ipv4::protocol;
use vswitch_frame::{EtherType, MacAddr};

use super::program::{Base, Field, Is, Node, Test};

/// The kind of a primitive: what stands before an address or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Qualifiers {
    pub(super) proto: Option<Proto>,
    pub(super) direction: Direction,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Source,
    Destination,
    Either,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing was said, which means a host.
    Unsaid,
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

/// A protocol's name in a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proto {
    Ether,
    Ip,
    Ip6,
    Arp,
    Rarp,
    /// Spanning tree.
    Stp,
    /// One upon IPv4 and IPv6.
    Upon(u8),
    /// One upon IPv4 only.
    Upon4(u8),
    Icmp6,
}

/// Bytes by which VLAN tags, that the filter asked for before, move what lies behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Shift(pub(super) u32);

const BEHIND_ETHERNET: u32 = 14;
const IPV6_HEADER: u32 = 40;
const FRAGMENT_HEADER: u32 = 44;
/// The largest length that is no EtherType.
const LONGEST_LLC: u32 = 1500;
/// The service access point of spanning tree.
const LLC_STP: u32 = 0x42;

impl Proto {
    pub(super) fn named(word: &str) -> Option<Proto> {
        Some(match word {
            "ether" | "link" => Proto::Ether,
            "ip" => Proto::Ip,
            "ip6" => Proto::Ip6,
            "arp" => Proto::Arp,
            "rarp" => Proto::Rarp,
            "stp" => Proto::Stp,
            "tcp" => Proto::Upon(protocol::TCP),
            "udp" => Proto::Upon(protocol::UDP),
            "sctp" => Proto::Upon(protocol::SCTP),
            "esp" => Proto::Upon(50),
            "ah" => Proto::Upon(51),
            "pim" => Proto::Upon(103),
            "icmp" => Proto::Upon4(protocol::ICMP),
            "igmp" => Proto::Upon4(2),
            "igrp" => Proto::Upon4(9),
            "vrrp" | "carp" => Proto::Upon4(112),
            "icmp6" => Proto::Icmp6,
            _ => return None,
        })
    }
}

pub(super) fn field(offset: u32, size: u8) -> Field {
    Field { base: Base::Frame, offset, size }
}

pub(super) fn test(field: Field, mask: u32, is: Is, value: u32) -> Node {
    Node::Test(Test::Field { field, mask, is, value })
}

fn equal(field: Field, value: u32) -> Node {
    test(field, u32::MAX, Is::Equal, value)
}

fn either(one: Node, other: Node) -> Node {
    one.or(other)
}

impl Direction {
    /// A question of the source, the destination, one of them or both.
    fn ask(self, of: impl Fn(Direction) -> Node) -> Node {
        match self {
            Direction::Source | Direction::Destination => of(self),
            Direction::Either => of(Direction::Source).or(of(Direction::Destination)),
            Direction::Both => of(Direction::Source).and(of(Direction::Destination)),
        }
    }

    fn pick(self, source: u32, destination: u32) -> u32 {
        if self == Direction::Source { source } else { destination }
    }
}

impl Shift {
    /// An offset in the packet.
    pub(super) fn l3(self, offset: u32) -> u32 {
        BEHIND_ETHERNET + self.0 + offset
    }

    pub(super) fn link_type(self) -> Field {
        field(12 + self.0, 2)
    }

    pub(super) fn ether_type(self, value: u32) -> Node {
        if value > LONGEST_LLC {
            return equal(self.link_type(), value);
        }
        let is_length = test(self.link_type(), u32::MAX, Is::Above, LONGEST_LLC).negated();
        // These are answered by the same service as they are asked of.
        let access_points = match value {
            0x06 | 0xf0 | 0xfe => equal(field(self.l3(0), 2), value << 8 | value),
            _ => equal(field(self.l3(0), 1), value),
        };
        is_length.and(access_points)
    }

    fn is(self, ether_type: EtherType) -> Node {
        self.ether_type(u32::from(ether_type.0))
    }

    pub(super) fn ipv4(self) -> Node {
        self.is(EtherType::IPV4)
    }

    pub(super) fn ipv6(self) -> Node {
        self.is(EtherType::IPV6)
    }

    /// An IPv4 packet of this protocol.
    pub(super) fn upon_ipv4(self, value: u32) -> Node {
        self.ipv4().and(equal(field(self.l3(9), 1), value))
    }

    /// An IPv6 packet of this protocol, a fragment or none.
    pub(super) fn upon_ipv6(self, value: u32) -> Node {
        let next = |value| equal(field(self.l3(6), 1), value);
        let fragment = next(FRAGMENT_HEADER).and(equal(field(self.l3(IPV6_HEADER), 1), value));
        self.ipv6().and(either(next(value), fragment))
    }

    /// A protocol's name alone.
    pub(super) fn proto(self, proto: Proto) -> Option<Node> {
        Some(match proto {
            Proto::Ether => return None,
            Proto::Ip => self.ipv4(),
            Proto::Ip6 => self.ipv6(),
            Proto::Arp => self.is(EtherType::ARP),
            Proto::Rarp => self.ether_type(RARP),
            Proto::Stp => self.ether_type(LLC_STP),
            Proto::Upon(value) => either(self.upon_ipv4(value.into()), self.upon_ipv6(value.into())),
            Proto::Upon4(value) => self.upon_ipv4(value.into()),
            Proto::Icmp6 => self.upon_ipv6(protocol::ICMPV6.into()),
        })
    }

    /// The first fragment of an IPv4 packet, or a whole one.
    pub(super) fn has_l4(self) -> Node {
        test(field(self.l3(6), 2), 0x1fff, Is::AtLeast, 1).negated()
    }

    /// A host, or a network: those addresses that equal `address` where `mask` is set.
    pub(super) fn ipv4_address(
        self,
        proto: Option<Proto>,
        direction: Direction,
        address: u32,
        mask: u32,
    ) -> Option<Node> {
        let within = |guard: Node, source, destination| {
            direction.ask(|one| {
                let at = self.l3(one.pick(source, destination));
                guard.clone().and(test(field(at, 4), mask, Is::Equal, address & mask))
            })
        };
        let ip = || within(self.ipv4(), 12, 16);
        let arp = || within(self.is(EtherType::ARP), 14, 24);
        let rarp = || within(self.ether_type(RARP), 14, 24);
        match proto {
            None => Some(ip().or(arp()).or(rarp())),
            Some(Proto::Ip) => Some(ip()),
            Some(Proto::Arp) => Some(arp()),
            Some(Proto::Rarp) => Some(rarp()),
            Some(_) => None,
        }
    }

    pub(super) fn ipv6_address(self, direction: Direction, address: Ipv6Addr, bits: u32) -> Node {
        let (address, mask) = (address.to_bits(), mask128(bits));
        let word = |value: u128, index: u32| u32::try_from(value >> (96 - 32 * index) & 0xffff_ffff).unwrap_or(0);
        direction.ask(|one| {
            let at = self.l3(one.pick(8, 24));
            (0..4).fold(self.ipv6(), |node, index| {
                let mask = word(mask, index);
                node.and(test(field(at + 4 * index, 4), mask, Is::Equal, word(address, index) & mask))
            })
        })
    }

    /// Ports from `first` to `last`, of one protocol or of all that have ports.
    pub(super) fn ports(self, only: Option<u8>, direction: Direction, first: u16, last: u16) -> Node {
        let protocols = || {
            let all = [protocol::TCP, protocol::UDP, protocol::SCTP];
            all.into_iter().filter(move |one| only.is_none_or(|only| only == *one))
        };
        let port = |base: Base, header: u32| {
            direction.ask(|one| {
                let field = Field { base, offset: header + one.pick(0, 2), size: 2 };
                if first == last {
                    return equal(field, first.into());
                }
                let from = test(field, u32::MAX, Is::AtLeast, first.into());
                from.and(test(field, u32::MAX, Is::Above, last.into()).negated())
            })
        };
        let any = |at: u32, ports: &dyn Fn() -> Node| {
            let one = |value: u8| equal(field(self.l3(at), 1), value.into()).and(ports());
            protocols().map(one).reduce(Node::or)
        };
        let v4 = any(9, &|| self.has_l4().and(port(Base::BehindIpv4(self.l3(0)), 0)));
        let v6 = any(6, &|| port(Base::Frame, self.l3(IPV6_HEADER)));
        let nothing = || test(field(0, 1), 0, Is::Above, 0);
        let v6 = self.ipv6().and(v6.unwrap_or_else(nothing));
        v6.or(self.ipv4().and(v4.unwrap_or_else(nothing)))
    }

    /// A tag with this identifier, or any.
    pub(super) fn vlan(self, identifier: Option<u32>) -> Node {
        let tagged = [0x8100, 0x88a8, 0x9100].map(|value| equal(self.link_type(), value));
        let [one, two, three] = tagged;
        let tagged = one.or(two).or(three);
        match identifier {
            None => tagged,
            Some(value) => tagged.and(test(field(self.l3(0), 2), 0x0fff, Is::Equal, value)),
        }
    }
}

const RARP: u32 = 0x8035;

/// A station.
pub(super) fn mac_address(direction: Direction, address: MacAddr) -> Node {
    let bytes = address.octets();
    let part = |range: std::ops::Range<usize>| bytes[range].iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
    direction.ask(|one| {
        let at = one.pick(6, 0);
        equal(field(at + 2, 4), part(2..6)).and(equal(field(at, 2), part(0..2)))
    })
}

/// Frames for many.
pub(super) fn group(shift: Shift, proto: Option<Proto>) -> Option<Node> {
    match proto {
        None | Some(Proto::Ether) => Some(test(field(0, 1), 1, Is::Equal, 1)),
        Some(Proto::Ip) => Some(shift.ipv4().and(test(field(shift.l3(16), 1), u32::MAX, Is::AtLeast, 224))),
        Some(Proto::Ip6) => Some(shift.ipv6().and(equal(field(shift.l3(24), 1), 255))),
        Some(_) => None,
    }
}

pub(super) fn mask32(bits: u32) -> u32 {
    u32::MAX.checked_shl(32 - bits).unwrap_or(0)
}

pub(super) fn mask128(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}
