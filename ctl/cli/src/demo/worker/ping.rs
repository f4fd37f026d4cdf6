//! Echo requests and replies over a raw ICMP socket (RFC 792, RFC 4443 section 4).

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use vswitch_frame::checksum;

use crate::clock;

/// Bytes of payload, as ping(8) sends them.
const PAYLOAD: usize = 56;
const HEADER: usize = 8;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How the echo requests went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pings {
    pub(crate) sent: u32,
    pub(crate) answered: u32,
    /// Round trip of the requests after the first, which had to find out the MAC address.
    pub(crate) average: Duration,
}

/// Ping `address`, one request after the other.
pub(crate) fn ping(address: IpAddr, count: u32) -> anyhow::Result<Pings> {
    let mut echo = Echo::open(address)?;
    let mut times = Vec::new();
    for sequence in 0..count {
        times.extend(echo.exchange(u16::try_from(sequence % 0x1_0000)?)?);
    }
    let answered = u32::try_from(times.len())?;
    let warm = if times.len() > 1 { &times[1..] } else { &times[..] };
    let sum: Duration = warm.iter().sum();
    Ok(Pings { sent: count, answered, average: sum / u32::try_from(warm.len().max(1))? })
}

struct Echo {
    socket: Socket,
    kind: Kind,
    id: u16,
}

/// What differs between the versions.
#[derive(Clone, Copy)]
struct Kind {
    request: u8,
    reply: u8,
    ipv4: bool,
}

impl Echo {
    fn open(address: IpAddr) -> anyhow::Result<Self> {
        let (domain, protocol, kind) = match address {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, Kind { request: 8, reply: 0, ipv4: true }),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, Kind { request: 128, reply: 129, ipv4: false }),
        };
        let open = || -> io::Result<Socket> {
            let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect(&SocketAddr::new(address, 0).into())?;
            Ok(socket)
        };
        let socket = open().with_context(|| format!("no ICMP socket to {address} can be opened"))?;
        let [low, high, ..] = std::process::id().to_be_bytes();
        Ok(Echo { socket, kind, id: u16::from_be_bytes([low, high]) ^ 0x7653 })
    }

    /// One request; how long its reply took, if one came.
    fn exchange(&mut self, sequence: u16) -> io::Result<Option<Duration>> {
        let request = self.message(sequence);
        let start = clock::instant();
        self.socket.send(&request)?;
        while start.elapsed() < PATIENCE {
            if self.received(sequence)? {
                return Ok(Some(start.elapsed()));
            }
        }
        Ok(None)
    }

    fn message(&self, sequence: u16) -> [u8; HEADER + PAYLOAD] {
        let mut message = [0x76; HEADER + PAYLOAD];
        message[..2].copy_from_slice(&[self.kind.request, 0]);
        message[2..4].fill(0);
        message[4..6].copy_from_slice(&self.id.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        if self.kind.ipv4 {
            // For IPv6 the kernel does it (RFC 3542 section 3.1).
            let sum = checksum::checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// Read one message; whether it is the reply.
    fn received(&mut self, sequence: u16) -> io::Result<bool> {
        let mut buffer = [0; 2048];
        let length = match self.socket.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(false),
            Err(error) => return Err(error),
        };
        // A raw IPv4 socket shows the IP header, a raw IPv6 socket does not.
        let start = if self.kind.ipv4 { usize::from(buffer[0] & 0x0f) * 4 } else { 0 };
        let message = buffer[..length].get(start..).unwrap_or_default();
        let [id, number] = [self.id.to_be_bytes(), sequence.to_be_bytes()];
        Ok(message.first() == Some(&self.kind.reply)
            && message.get(4..8) == Some(&[id[0], id[1], number[0], number[1]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request's checksum is right, and its parts are where RFC 792 puts them.
    #[test]
    fn request() {
        let kind = Kind { request: 8, reply: 0, ipv4: true };
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
        let message = Echo { socket, kind, id: 0x1234 }.message(0x5678);
        assert_eq!(checksum::checksum(&message), 0);
        assert_eq!((message[0], message[1], &message[4..8]), (8, 0, &[0x12, 0x34, 0x56, 0x78][..]));
    }
}
