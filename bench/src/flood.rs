//! Floods of one container, at the full rate of a core: each asks for another piece of work of a switch.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use vswitch_frame::{FrameBuf, MacAddr, Offload, checksum};
use vswitch_switch::sys::burst::{Burst, Trains};
use vswitch_switch::sys::packet;

/// What a flood is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Flood {
    /// UDP of one flow out
    UdpFlow,
    /// UDP out, with new ports each time
    UdpNew,
    /// UDP to a new address each time
    UdpEverywhere,
    /// SYNs to one port
    Syn,
    /// SYNs to new addresses and ports
    SynEverywhere,
    /// Echo requests out, with a new identifier each time
    PingNew,
    /// First fragments, whose others never come
    Fragments,
    /// Questions for the name server at the gateway
    Names,
    /// Echo requests to the gateway
    PingGateway,
    /// Broadcasts
    Broadcast,
    /// To stations that nobody knows
    UnknownStation,
    /// From another MAC address each time
    ManySources,
}

/// Who floods whom.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The container's own.
    pub mac: MacAddr,
    /// The gateway's.
    pub gateway_mac: MacAddr,
    /// The container's own.
    pub address: Ipv4Addr,
    /// The gateway's.
    pub gateway: Ipv4Addr,
    /// Somebody outside.
    pub outside: Ipv4Addr,
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Where nobody listens outside.
const CLOSED: u16 = 9997;
/// Frames of a burst.
const BURST: usize = 64;

impl Flood {
    /// All of them.
    pub const ALL: [Flood; 12] = [
        Flood::UdpFlow,
        Flood::UdpNew,
        Flood::UdpEverywhere,
        Flood::Syn,
        Flood::SynEverywhere,
        Flood::PingNew,
        Flood::Fragments,
        Flood::Names,
        Flood::PingGateway,
        Flood::Broadcast,
        Flood::UnknownStation,
        Flood::ManySources,
    ];

    /// Sends by `interface` for so long, as fast as it can, and returns how many frames a second that were.
    ///
    /// # Errors
    /// When there is no such interface, or the right to send frames is missing.
    pub fn send(self, interface: &str, ends: &Ends, time: Duration) -> io::Result<f64> {
        let socket = packet::open(interface)?;
        let mut burst = Burst::new(BURST);
        let mut buffers: Vec<FrameBuf> = std::iter::repeat_with(FrameBuf::new).take(BURST).collect();
        let indices: Vec<u16> = (0..).take(BURST).collect();
        let mut random = StdRng::seed_from_u64(1);
        #[expect(clippy::disallowed_methods, reason = "it measures time")]
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < time {
            for buffer in &mut buffers {
                buffer.fill(&self.frame(ends, &mut random), Offload::NONE);
            }
            // What finds no room is what a flood is about.
            sent += burst.send(socket.as_fd(), &mut buffers, &indices, Trains::Apart).unwrap_or(0);
        }
        Ok(sent as f64 / start.elapsed().as_secs_f64())
    }

    /// Its next frame.
    fn frame(self, ends: &Ends, random: &mut impl Rng) -> Vec<u8> {
        let (mut source, mut station, mut destination) = (ends.mac, ends.gateway_mac, ends.outside);
        let ports: (u16, u16) = (random.random_range(1024..65_000), random.random_range(1..65_000));
        let anywhere = Ipv4Addr::from(0xC633_0000 | u32::from(random.random::<u16>()));
        let other = MacAddr::from_u64(0x0200_0000_0000 | u64::from(random.random::<u32>()));
        let datagram = |ports: (u16, u16)| (UDP, udp(ports, &[0; 18]));
        let (protocol, payload) = match self {
            Flood::UdpFlow => datagram((5555, 5001)),
            Flood::UdpNew | Flood::Fragments => datagram(ports),
            Flood::UdpEverywhere => {
                destination = anywhere;
                datagram(ports)
            }
            Flood::Syn => (TCP, syn((ports.0, CLOSED))),
            Flood::SynEverywhere => {
                destination = anywhere;
                (TCP, syn(ports))
            }
            Flood::PingNew => (ICMP, echo(ports)),
            Flood::PingGateway => {
                destination = ends.gateway;
                (ICMP, echo((1, 1)))
            }
            Flood::Names => {
                destination = ends.gateway;
                (UDP, udp((ports.0, 53), &question(ports.1)))
            }
            Flood::Broadcast => {
                (station, destination) = (MacAddr::BROADCAST, Ipv4Addr::BROADCAST);
                datagram(ports)
            }
            Flood::UnknownStation => {
                station = other;
                datagram(ports)
            }
            Flood::ManySources => {
                source = other;
                datagram(ports)
            }
        };
        let more_fragments = self == Flood::Fragments;
        let identification = if more_fragments { ports.0 ^ ports.1 } else { 0 };
        let mut frame = Vec::with_capacity(128);
        frame.extend(station.octets());
        frame.extend(source.octets());
        frame.extend([8, 0]);
        frame.extend(packet_of(protocol, (ends.address, destination), (identification, more_fragments), payload));
        frame
    }
}

/// An IPv4 packet with both checksums.
fn packet_of(
    protocol: u8,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    (identification, more_fragments): (u16, bool),
    mut payload: Vec<u8>,
) -> Vec<u8> {
    let length = payload.len();
    let (at, start) = match protocol {
        ICMP => (2, 0),
        TCP => (16, checksum::pseudo_header_v4(source, destination, protocol, length)),
        _ => (6, checksum::pseudo_header_v4(source, destination, protocol, length)),
    };
    let sum = !checksum::fold(start + checksum::sum(&payload));
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    let mut header = [0x45, 0, 0, 0, 0, 0, if more_fragments { 0x20 } else { 0 }, 0, 64, protocol, 0, 0];
    header[2..4].copy_from_slice(&u16::try_from(20 + length).unwrap_or(u16::MAX).to_be_bytes());
    header[4..6].copy_from_slice(&identification.to_be_bytes());
    let mut packet = header.to_vec();
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let sum = checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn udp((source, destination): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut datagram: Vec<u8> = [source, destination, length, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    datagram.extend(payload);
    datagram
}

fn syn((source, destination): (u16, u16)) -> Vec<u8> {
    let mut segment: Vec<u8> = [source, destination].into_iter().flat_map(u16::to_be_bytes).collect();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    segment
}

fn echo((identifier, sequence): (u16, u16)) -> Vec<u8> {
    let mut request: Vec<u8> = [0x0800, 0, identifier, sequence].into_iter().flat_map(u16::to_be_bytes).collect();
    request.extend([0; 56]);
    request
}

/// A question for the IPv4 address of a name that is another one each time.
fn question(number: u16) -> Vec<u8> {
    let mut question: Vec<u8> = [number, 0x0100, 1, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    let name = format!("n{number:05}");
    for label in [name.as_str(), "example"] {
        question.push(u8::try_from(label.len()).unwrap_or(63));
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    question
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_frame::Headers;

    /// Every flood's frames are whole, and their checksums right: what is refused at the door would show nothing.
    #[test]
    fn frames_are_whole() {
        let ends = Ends {
            mac: MacAddr::from_u64(0x0200_0000_0002),
            gateway_mac: MacAddr::from_u64(0x0200_0000_0001),
            address: Ipv4Addr::new(10, 79, 0, 2),
            gateway: Ipv4Addr::new(10, 79, 0, 1),
            outside: Ipv4Addr::new(10, 78, 0, 2),
        };
        let mut random = StdRng::seed_from_u64(7);
        for flood in Flood::ALL {
            for _ in 0..50 {
                let frame = flood.frame(&ends, &mut random);
                let headers = Headers::parse(&frame).unwrap();
                let (source, destination) = (headers.source_v4(&frame), headers.destination_v4(&frame));
                assert_eq!(checksum::checksum(&frame[14..34]), 0, "{flood:?}");
                let pseudo = match headers.protocol() {
                    ICMP => 0,
                    other => checksum::pseudo_header_v4(source, destination, other, frame.len() - 34),
                };
                assert_eq!(checksum::fold(pseudo + checksum::sum(&frame[34..])), 0xffff, "{flood:?}");
            }
        }
    }
}
