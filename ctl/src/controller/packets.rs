//! Frames in a few words, as the endpoint that they are of, or for, would have them.

use std::net::{IpAddr, SocketAddr};

use vswitch_api::frame::PacketSpec;
use vswitch_frame::checksum::{checksum, fold, pseudo_header, sum};
use vswitch_frame::ipv4::protocol;
use vswitch_frame::tcp::flag;
use vswitch_frame::{EtherType, MacAddr};
use vswitch_switch::lab::Neighbourhood;

use crate::error::ControlError;

/// The port that packets come from unless something else is said.
const SOURCE_PORT: u16 = 40_000;

/// The frame that a packet stands for.
///
/// # Errors
/// When it makes no sense, or nobody is known to have an address.
pub(super) fn build(spec: &PacketSpec, towards: bool, around: &Neighbourhood) -> Result<Vec<u8>, ControlError> {
    let invalid = |text: String| ControlError::invalid(text);
    let has_ports = match spec.kind.as_str() {
        "udp" | "tcp" => true,
        "icmp" | "arp" => false,
        other => {
            return Err(invalid(format!(
                "{other:?} is no kind of packet here; use udp, tcp, icmp or arp, or give all bytes"
            )));
        }
    };
    let end = |text: &str| -> Result<SocketAddr, ControlError> {
        let read = if has_ports { text.parse().ok() } else { text.parse().ok().map(|ip| SocketAddr::new(ip, 0)) };
        let wanted = if has_ports { "ADDRESS:PORT" } else { "an address" };
        read.ok_or_else(|| invalid(format!("{text:?} is not {wanted}")))
    };
    let to = end(&spec.to)?;
    let from = match &spec.from {
        Some(text) => end(text).or_else(|error| {
            let alone = text.parse().map(|ip| SocketAddr::new(ip, SOURCE_PORT));
            alone.map_err(|_| error)
        })?,
        None => {
            let own = if towards { around.gateway_address(to.is_ipv4()) } else { around.own_address(to.is_ipv4()) };
            let missing = || invalid(format!("no address of the family of {to} is known to send from; say from which"));
            SocketAddr::new(own.ok_or_else(missing)?, SOURCE_PORT)
        }
    };
    if from.is_ipv4() != to.is_ipv4() {
        return Err(invalid(format!("{from} and {to} are of two families")));
    }
    let nobody = |address: IpAddr| invalid(format!("nobody here is known to have {address}; give all bytes instead"));
    let (own, other) = if towards { (to.ip(), from.ip()) } else { (from.ip(), to.ip()) };
    let own = around.own_mac().ok_or_else(|| nobody(own))?;
    if spec.kind == "arp" {
        return arp(own, from.ip(), to.ip()).ok_or_else(|| invalid("ARP asks for IPv4 addresses".to_owned()));
    }
    let other = around.station_for(other).ok_or_else(|| nobody(other))?;
    let (source, destination) = if towards { (other, own) } else { (own, other) };
    let data = spec.data.as_deref().unwrap_or_default().as_bytes();
    let (number, mut l4) = match spec.kind.as_str() {
        "udp" => (protocol::UDP, udp(from.port(), to.port(), data)),
        "tcp" => (protocol::TCP, tcp(from.port(), to.port(), flags(spec.flags.as_deref().unwrap_or("syn"))?, data)),
        _ if to.is_ipv4() => (protocol::ICMP, echo(8, data)),
        _ => (protocol::ICMPV6, echo(128, data)),
    };
    let pseudo = match number {
        protocol::ICMP => Some(0),
        _ => pseudo_header(from.ip(), to.ip(), number, l4.len()),
    };
    let at = match number {
        protocol::UDP => 6,
        protocol::TCP => 16,
        _ => 2,
    };
    let finished = match !fold(pseudo.unwrap_or_default() + sum(&l4)) {
        0 if number == protocol::UDP => 0xffff,
        other => other,
    };
    l4[at..at + 2].copy_from_slice(&finished.to_be_bytes());
    let (kind, packet) = ip(from.ip(), to.ip(), number, spec.ttl.unwrap_or(64), &l4)
        .ok_or_else(|| invalid("the packet is too long; carry less".to_owned()))?;
    Ok(ethernet(destination, source, kind, &packet))
}

fn ethernet(destination: MacAddr, source: MacAddr, kind: EtherType, payload: &[u8]) -> Vec<u8> {
    [&destination.octets()[..], &source.octets(), &kind.0.to_be_bytes(), payload].concat()
}

fn arp(source: MacAddr, from: IpAddr, to: IpAddr) -> Option<Vec<u8>> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else { return None };
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    let body = [&head[..], &source.octets(), &from.octets(), &[0; 6], &to.octets()].concat();
    Some(ethernet(MacAddr::BROADCAST, source, EtherType::ARP, &body))
}

fn ip(from: IpAddr, to: IpAddr, number: u8, ttl: u8, l4: &[u8]) -> Option<(EtherType, Vec<u8>)> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(20 + l4.len()).ok()?.to_be_bytes();
            let mut header =
                [&[0x45, 0][..], &length, &[0, 0, 0x40, 0, ttl, number, 0, 0], &from.octets(), &to.octets()].concat();
            let sum = checksum(&header).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            header.extend(l4);
            Some((EtherType::IPV4, header))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u16::try_from(l4.len()).ok()?.to_be_bytes();
            let header = [&[0x60, 0, 0, 0][..], &length, &[number, ttl], &from.octets(), &to.octets(), l4].concat();
            Some((EtherType::IPV6, header))
        }
        _ => None,
    }
}

fn udp(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap_or(u16::MAX);
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length.to_be_bytes(), &[0, 0], data].concat()
}

fn tcp(from: u16, to: u16, flags: u8, data: &[u8]) -> Vec<u8> {
    let rest = [0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &rest, data].concat()
}

fn echo(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0x76, 0x73, 0, 1][..], data].concat()
}

fn flags(text: &str) -> Result<u8, ControlError> {
    text.split(',').try_fold(0, |flags, word| {
        let flag = match word.trim() {
            "fin" => flag::FIN,
            "syn" => flag::SYN,
            "rst" => flag::RST,
            "psh" => flag::PSH,
            "ack" => flag::ACK,
            _ => {
                return Err(ControlError::invalid(format!(
                    "{word:?} is no flag of TCP; use fin, syn, rst, psh, ack with commas"
                )));
            }
        };
        Ok(flags | flag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_frame::{Offload, PacketMut};
    use vswitch_switch::Identity;

    fn around() -> Neighbourhood {
        let mac = |last| MacAddr::new([2, 0, 0, 0, 0, last]);
        let of = |last: u8| Identity {
            mac: mac(last),
            ipv4: Some([10, 0, 0, last].into()),
            ipv6: Some(format!("fd00::{last}").parse().unwrap()),
        };
        let gateway = vswitch_switch::Gateway {
            mac: mac(1),
            ipv4: Some(([10, 0, 0, 1].into(), 24)),
            ipv6: Some(("fd00::1".parse().unwrap(), 64)),
            also: Vec::new(),
            proxied: Vec::new(),
            beyond: Vec::new(),
            mesh: None,
        };
        Neighbourhood { own: Some(of(2)), gateway: Some(gateway), others: vec![of(3)] }
    }

    fn said(kind: &str, to: &str, towards: bool) -> Result<String, ControlError> {
        let spec = PacketSpec {
            kind: kind.to_owned(),
            to: to.to_owned(),
            data: Some("hi".to_owned()),
            ..PacketSpec::default()
        };
        let mut frame = build(&spec, towards, &around())?;
        let packet = PacketMut::admit(&mut frame, Offload::NONE).expect("it is whole");
        Ok(format!("{} > {:?}", packet.view().addresses().1, packet.view().addresses().0))
    }

    /// Packets are whole, checksums included, and go to who has the address, or by the gateway.
    #[test]
    fn packets() {
        for (kind, to) in [("udp", "10.0.0.3:53"), ("tcp", "[fd00::3]:80"), ("icmp", "10.0.0.3"), ("icmp", "fd00::3")] {
            assert!(said(kind, to, false).unwrap().contains("02:00:00:00:00:02 > "), "{kind} {to}");
        }
        let spec = |to: &str, towards| {
            let spec = PacketSpec { kind: "udp".to_owned(), to: to.to_owned(), ..PacketSpec::default() };
            build(&spec, towards, &around()).unwrap()
        };
        assert_eq!(spec("10.0.0.3:53", false)[..6], [2, 0, 0, 0, 0, 3]);
        assert_eq!(spec("192.0.2.9:53", false)[..6], [2, 0, 0, 0, 0, 1]);
        assert_eq!(spec("10.0.0.2:53", true)[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
        let mut frame = spec("10.0.0.3:53", false);
        let packet = PacketMut::admit(&mut frame, Offload::NONE).unwrap();
        let packet = packet.view();
        let (source, destination) = packet.ip_addresses();
        let pseudo = pseudo_header(source, destination, protocol::UDP, packet.l4().len()).unwrap();
        assert_eq!((fold(pseudo + sum(packet.l4())), checksum(&frame[14..34])), (0xffff, 0));
    }

    /// What makes no sense is said.
    #[test]
    fn wrong() {
        for (kind, to, text) in [
            ("sctp", "10.0.0.3:1", "no kind of packet"),
            ("udp", "10.0.0.3", "not ADDRESS:PORT"),
            ("icmp", "10.0.0.3:1", "not an address"),
            ("udp", "10.0.0.77:1", "nobody here"),
            ("arp", "fd00::3", "IPv4"),
        ] {
            let error = said(kind, to, false).unwrap_err().to_string();
            assert!(error.contains(text), "{kind} {to}: {error}");
        }
    }
}
