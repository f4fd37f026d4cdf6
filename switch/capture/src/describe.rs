//! A frame in one line, for people: `tcp 10.0.0.2:4000 > 10.0.0.3:80 SYN seq 7, 74 bytes`.

use std::fmt::Write;
use std::net::IpAddr;

use vswitch_frame::arp::{self, Arp};
use vswitch_frame::icmp::{v4, v6};
use vswitch_frame::ipv4::protocol;
use vswitch_frame::tcp::{Tcp, flag};
use vswitch_frame::{Fragment, L3, Packet, ethernet};

/// What the frame is, who sends it to whom, and how long it is.
#[must_use]
pub fn describe(frame: &[u8]) -> String {
    let mut line = String::new();
    // Writing to a String cannot fail.
    let _ = write_line(&mut line, frame);
    line
}

fn write_line(out: &mut String, frame: &[u8]) -> std::fmt::Result {
    let packet = Packet::finished(frame);
    if let Some(tci) = packet.vlan_tci() {
        write!(out, "vlan {} ", tci & 0xfff)?;
    }
    match packet.l3() {
        _ if frame.len() < ethernet::HEADER_LEN => write!(out, "runt")?,
        L3::Ipv4 | L3::Ipv6 => write_packet(out, &packet)?,
        L3::Arp => write_arp(out, &packet)?,
        L3::Malformed => write_stations(out, &packet, "malformed ip")?,
        L3::Other => write_stations(out, &packet, &format!("{:#06x}", packet.ether_type().0))?,
    }
    write!(out, ", {} bytes", frame.len())
}

fn write_stations(out: &mut String, packet: &Packet<'_>, what: &str) -> std::fmt::Result {
    let (destination, source) = packet.addresses();
    write!(out, "{what} {source} > {destination}")
}

fn write_arp(out: &mut String, packet: &Packet<'_>) -> std::fmt::Result {
    let Ok(arp) = Arp::parse(packet.ip_packet()) else { return write_stations(out, packet, "malformed arp") };
    match arp.operation() {
        arp::REQUEST => write!(out, "arp who-has {} tell {}", arp.target_ip(), arp.sender_ip()),
        arp::REPLY => write!(out, "arp {} is-at {}", arp.sender_ip(), arp.sender_mac()),
        other => write!(out, "arp operation {other} {} > {}", arp.sender_ip(), arp.target_ip()),
    }
}

fn write_packet(out: &mut String, packet: &Packet<'_>) -> std::fmt::Result {
    let (source, destination) = packet.ip_addresses();
    let l4 = packet.l4();
    let name = match packet.protocol() {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::ICMP => "icmp",
        protocol::ICMPV6 => "icmp6",
        protocol::SCTP => "sctp",
        other => return write!(out, "ip-proto-{other} {source} > {destination}"),
    };
    if packet.fragment() == Fragment::Later {
        return write!(out, "{name} {source} > {destination} fragment");
    }
    match (packet.protocol(), l4) {
        (protocol::ICMP, [kind, code, ..]) => {
            write!(out, "{name} {source} > {destination} {}", icmp_name(*kind, *code))?;
        }
        (protocol::ICMPV6, [kind, code, ..]) => {
            write!(out, "{name} {source} > {destination} {}", icmp6_name(*kind, *code))?;
        }
        (protocol::ICMP | protocol::ICMPV6, _) => write!(out, "{name} {source} > {destination} cut")?,
        (_, [a, b, c, d, ..]) => {
            let (from, to) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
            write!(out, "{name} {} > {}", Socket(source, from), Socket(destination, to))?;
        }
        _ => write!(out, "{name} {source} > {destination} cut")?,
    }
    if packet.protocol() == protocol::TCP
        && let Ok(segment) = Tcp::parse(l4)
    {
        let flags = FLAGS.iter().filter(|(bit, _)| segment.flags() & bit != 0).map(|(_, name)| *name);
        write!(out, " {} seq {}", flags.collect::<Vec<_>>().join(","), segment.sequence())?;
        if segment.flags() & flag::ACK != 0 {
            write!(out, " ack {}", segment.acknowledgment())?;
        }
    }
    if packet.fragment() == Fragment::First {
        write!(out, " first fragment")?;
    }
    Ok(())
}

const FLAGS: [(u8, &str); 8] = [
    (flag::SYN, "SYN"),
    (flag::FIN, "FIN"),
    (flag::RST, "RST"),
    (flag::PSH, "PSH"),
    (flag::ACK, "ACK"),
    (flag::URG, "URG"),
    (flag::ECE, "ECE"),
    (flag::CWR, "CWR"),
];

fn icmp_name(kind: u8, code: u8) -> String {
    match kind {
        v4::ECHO_REQUEST => "echo-request".to_owned(),
        v4::ECHO_REPLY => "echo-reply".to_owned(),
        v4::UNREACHABLE => format!("unreachable code {code}"),
        v4::TIME_EXCEEDED => "time-exceeded".to_owned(),
        _ => format!("type {kind} code {code}"),
    }
}

fn icmp6_name(kind: u8, code: u8) -> String {
    match kind {
        v6::ECHO_REQUEST => "echo-request".to_owned(),
        v6::ECHO_REPLY => "echo-reply".to_owned(),
        v6::UNREACHABLE => format!("unreachable code {code}"),
        v6::PACKET_TOO_BIG => "packet-too-big".to_owned(),
        v6::TIME_EXCEEDED => "time-exceeded".to_owned(),
        v6::ROUTER_SOLICITATION => "router-solicitation".to_owned(),
        v6::ROUTER_ADVERTISEMENT => "router-advertisement".to_owned(),
        v6::NEIGHBOR_SOLICITATION => "neighbour-solicitation".to_owned(),
        v6::NEIGHBOR_ADVERTISEMENT => "neighbour-advertisement".to_owned(),
        _ => format!("type {kind} code {code}"),
    }
}

/// An address and a port, in brackets where they would run together.
struct Socket(IpAddr, u16);

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.1),
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn built(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut frame = Vec::new();
        write(&mut frame);
        describe(&frame)
    }

    /// TCP, UDP, ICMP over both families, ARP and others are named with their ends and what matters of them.
    #[test]
    fn lines() {
        let v4 =
            || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let v6 = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64);
        let tcp = built(|out| v4().tcp(1, 80, 7, 100).syn().ack(9).write(out, b"x").unwrap());
        assert_eq!(tcp, "tcp 10.0.0.1:1 > 10.0.0.2:80 SYN,ACK seq 7 ack 9, 55 bytes");
        let udp = built(|out| v6().udp(5, 53).write(out, b"xy").unwrap());
        assert_eq!(udp, "udp [101:101:101:101:101:101:101:101]:5 > [202:202:202:202:202:202:202:202]:53, 64 bytes");
        let echo = built(|out| v4().icmpv4_echo_request(1, 2).write(out, b"").unwrap());
        assert_eq!(echo, "icmp 10.0.0.1 > 10.0.0.2 echo-request, 42 bytes");
        assert_eq!(describe(&[1, 2]), "runt, 2 bytes");
        let other = [&[2; 12][..], &[0x88, 0xcc, 0, 0]].concat();
        assert_eq!(describe(&other), "0x88cc 02:02:02:02:02:02 > 02:02:02:02:02:02, 16 bytes");
    }

    proptest! {
        /// Any bytes have a line.
        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            prop_assert!(describe(&bytes).ends_with(" bytes"));
        }
    }
}
