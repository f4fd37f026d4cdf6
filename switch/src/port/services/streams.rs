//! Connections to a service: the engine of the sockets uplink, with a socket pair in the place of each host socket.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use mio::Registry;
use mio::event::Event;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use socket2::Socket;
use vswitch_frame::{FrameBuf, L3, MacAddr, NetworkRef, Packet, Timestamp};
use vswitch_nat::proxy::datagram::wire::Link;
use vswitch_nat::proxy::stream::{Ends, StreamCounters, StreamLimits, Streams};

use super::super::streams::{HostSockets, news};
use super::{Service, ServiceStream, set_addresses};

/// Connections, and where their clients are.
#[derive(Debug)]
pub(super) struct ServiceStreams {
    engine: Streams,
    sockets: HostSockets,
    /// By address. When there are too many all are forgotten: the next segment of each brings it back.
    stations: Stations,
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Station {
    pub(super) network: NetworkRef,
    pub(super) mac: MacAddr,
}

/// Most stations that are remembered, those of the generation before not counted.
const STATIONS: usize = 8_192;

/// Where clients are: by their address and the gateway's that they asked, as one link-local address may be on several networks.
/// When there are too many, those that are silent are forgotten; who goes on speaking is carried over.
#[derive(Debug, Default)]
struct Stations {
    now: HashMap<(IpAddr, IpAddr), Station>,
    before: HashMap<(IpAddr, IpAddr), Station>,
}

impl Stations {
    fn note(&mut self, ends: (IpAddr, IpAddr), station: Station) {
        if self.now.len() >= STATIONS && !self.now.contains_key(&ends) {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.insert(ends, station);
    }

    fn of(&self, ends: (IpAddr, IpAddr)) -> Option<Station> {
        self.now.get(&ends).or_else(|| self.before.get(&ends)).copied()
    }

    fn forget(&mut self, client: IpAddr) {
        for stations in [&mut self.now, &mut self.before] {
            stations.retain(|(address, _), _| *address != client);
        }
    }
}

impl ServiceStreams {
    pub(super) fn new(limits: StreamLimits, registry: &Registry, seed: u64) -> io::Result<ServiceStreams> {
        // Overwritten for each frame.
        let link = Link { own: MacAddr::ZERO, peer: MacAddr::ZERO };
        let sockets = HostSockets::new(registry.try_clone()?);
        Ok(ServiceStreams { engine: Streams::new(limits, link, seed), sockets, stations: Stations::default() })
    }

    pub(super) fn counters(&self) -> StreamCounters {
        self.engine.counters()
    }

    /// Takes a segment.
    pub(super) fn send(&mut self, packet: &Packet<'_>, station: Station, service: &dyn Service, now: Timestamp) {
        let Some(asked) = ends(packet) else { return };
        self.stations.note(asked, station);
        let mut pairs = self.sockets.opening(|ends| open(ends, service, station.network));
        self.engine.frame(packet, now, &mut pairs);
    }

    /// Takes what the poll says of a socket.
    pub(super) fn event(&mut self, event: &Event, now: Timestamp) {
        if let Some((slot, news)) = news(event) {
            self.engine.ready(slot, news, now, &mut self.sockets);
        }
    }

    pub(super) fn has_output(&self) -> bool {
        self.engine.has_output()
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.engine.next_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        self.engine.handle_timeout(now);
    }

    pub(super) fn assign(&mut self, address: IpAddr, endpoint: u64) {
        self.engine.owners().assign(address, endpoint);
    }

    pub(super) fn forget_endpoint(&mut self, address: IpAddr) {
        self.engine.forget_endpoint(address, &mut self.sockets);
        self.stations.forget(address);
    }

    /// Fills buffers with frames for clients and returns how many; fewer than there are buffers says that nothing more waits.
    pub(super) fn receive(&mut self, buffers: &mut [FrameBuf], now: Timestamp) -> usize {
        let filled = self.engine.fill(buffers, now, &mut self.sockets);
        for buffer in &mut buffers[..filled] {
            let client = ends(&buffer.packet());
            match client.and_then(|(gateway, client)| self.stations.of((client, gateway))) {
                Some(Station { network, mac }) => {
                    set_addresses(buffer.frame_mut(), mac, MacAddr::ZERO);
                    buffer.network = Some(network);
                }
                // Sent again when its client is heard of again.
                None => buffer.truncate(0),
            }
        }
        filled
    }
}

/// Source and destination address of a packet.
fn ends(packet: &Packet<'_>) -> Option<(IpAddr, IpAddr)> {
    matches!(packet.l3(), L3::Ipv4 | L3::Ipv6).then(|| packet.ip_addresses())
}

/// A socket that leads to the service.
fn open(ends: &Ends, service: &dyn Service, network: NetworkRef) -> io::Result<Socket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, own) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let asked = ServiceStream { network, source: ends.inside, local: ends.outside, stream };
    service.stream(asked).map_err(|_| io::ErrorKind::ConnectionRefused)?;
    Ok(Socket::from(own))
}

#[cfg(test)]
mod tests {
    use vswitch_frame::{Generation, NetworkIndex};

    use super::*;

    /// One address on two networks is two clients, and however many others come, who goes on speaking is remembered.
    #[test]
    fn stations_are_told_apart_and_kept() {
        let address = |number: u64| IpAddr::from(std::net::Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(number)));
        let station = |network, mac| Station {
            network: NetworkRef { index: NetworkIndex::new(network), since: Generation::default() },
            mac: MacAddr::from_u64(mac),
        };
        let (client, gateways) = (address(2), [address(0x101), address(0x102)]);
        let mut stations = Stations::default();
        stations.note((client, gateways[0]), station(1, 0x0200_0000_0001));
        stations.note((client, gateways[1]), station(2, 0x0200_0000_0002));
        for number in 0..10 * u64::try_from(STATIONS).unwrap() {
            stations.note((address(0x1_0000 + number), gateways[0]), station(1, number));
            if number % 1000 == 0 {
                stations.note((client, gateways[0]), station(1, 0x0200_0000_0001));
            }
            assert_eq!(stations.of((client, gateways[0])), Some(station(1, 0x0200_0000_0001)), "after {number}");
            assert!(stations.now.len() + stations.before.len() <= 2 * STATIONS);
        }
        assert_eq!(stations.of((client, gateways[1])), None, "silent for long");
        stations.forget(client);
        assert_eq!(stations.of((client, gateways[0])), None);
    }
}
