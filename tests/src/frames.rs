//! Frames that no well-behaved program would send.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use vswitch_frame::tcp::flag;
use vswitch_frame::{MacAddr, ethernet};

/// The broadcast address.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// The bytes of an address in text.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn mac(text: &str) -> [u8; 6] {
    text.parse::<MacAddr>().unwrap().octets()
}

/// An Ethernet frame, padded to its shortest length.
#[must_use]
pub fn ethernet(destination: [u8; 6], source: [u8; 6], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&destination[..], &source, &ether_type.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// An ARP message (RFC 826) in a broadcast frame from `source`; `operation` 1 asks, 2 answers.
#[must_use]
pub fn arp(source: [u8; 6], operation: u16, sender: ([u8; 6], Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4];
    message.extend(operation.to_be_bytes());
    message.extend(sender.0);
    message.extend(sender.1.octets());
    message.extend([0; 6]);
    message.extend(target.octets());
    ethernet(BROADCAST, source, 0x0806, &message)
}

/// A UDP datagram over IPv4 to port 9.
#[must_use]
pub fn udp4(source: ([u8; 6], Ipv4Addr), destination: ([u8; 6], Ipv4Addr), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(source.0, destination.0)
        .ipv4(source.1.octets(), destination.1.octets(), 64)
        .udp(4000, 9);
    written(payload, |frame| builder.write(frame, payload).map_err(|error| error.to_string()))
}

/// A TCP segment over IPv4 from port 4000 to `port`, with these control bits and nothing else, and the right checksums.
#[must_use]
pub fn tcp4(source: ([u8; 6], Ipv4Addr), destination: ([u8; 6], Ipv4Addr), port: u16, flags: u8) -> Vec<u8> {
    let mut header = etherparse::TcpHeader::new(4000, port, 1, 1024);
    (header.fin, header.syn, header.rst) = (flags & flag::FIN != 0, flags & flag::SYN != 0, flags & flag::RST != 0);
    (header.psh, header.ack, header.urg) = (flags & flag::PSH != 0, flags & flag::ACK != 0, flags & flag::URG != 0);
    let builder = PacketBuilder::ethernet2(source.0, destination.0)
        .ipv4(source.1.octets(), destination.1.octets(), 64)
        .tcp_header(header);
    written(&[], |frame| builder.write(frame, &[]).map_err(|error| error.to_string()))
}

/// The same frame with one bit changed in byte `at` behind the Ethernet header.
#[must_use]
pub fn flipped(frame: &[u8], at: usize) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[ethernet::HEADER_LEN + at] ^= 1;
    frame
}

/// A UDP datagram over IPv6 to port 9.
#[must_use]
pub fn udp6(source: ([u8; 6], Ipv6Addr), destination: ([u8; 6], Ipv6Addr), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(source.0, destination.0)
        .ipv6(source.1.octets(), destination.1.octets(), 64)
        .udp(4000, 9);
    written(payload, |frame| builder.write(frame, payload).map_err(|error| error.to_string()))
}

/// A neighbour advertisement (RFC 4861 section 4.4) to all nodes that says `target` is at `link_address`.
#[must_use]
pub fn neighbour_advertisement(source: ([u8; 6], Ipv6Addr), target: Ipv6Addr, link_address: [u8; 6]) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut payload = target.octets().to_vec();
    payload.extend([2, 1]);
    payload.extend(link_address);
    let builder = PacketBuilder::ethernet2(source.0, [0x33, 0x33, 0, 0, 0, 1])
        .ipv6(source.1.octets(), all_nodes.octets(), 255)
        .icmpv6_raw(136, 0, [0x20, 0, 0, 0]);
    written(&payload, |frame| builder.write(frame, &payload).map_err(|error| error.to_string()))
}

/// A frame as `vswitch-probe` takes it.
#[must_use]
pub fn hex(frame: &[u8]) -> String {
    use std::fmt::Write as _;
    frame.iter().fold(String::with_capacity(frame.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that [`hex`] wrote.
///
/// # Panics
/// When it is something else.
#[must_use]
pub fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "two hexadecimal digits a byte");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn written(payload: &[u8], write: impl FnOnce(&mut Vec<u8>) -> Result<(), String>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 100);
    write(&mut frame).unwrap();
    frame.resize(frame.len().max(60), 0);
    frame
}
