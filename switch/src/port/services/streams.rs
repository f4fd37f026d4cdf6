//! Connections to a service: the engine of the sockets uplink, with a socket pair in the place of each host socket.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use mio::Registry;
use mio::event::Event;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use socket2::Socket;
use vswitch_frame::{FrameBuf, L3, MacAddr, NetworkIndex, NetworkRef, Packet, Timestamp};
use vswitch_nat::proxy::datagram::wire::Link;
use vswitch_nat::proxy::stream::{Ends, StreamCounters, StreamDrop, StreamLimits, Streams};

use super::super::streams::{HostSockets, news};
use super::{Service, ServiceStream, set_addresses};

/// Connections, and where their clients are.
#[derive(Debug)]
pub(super) struct ServiceStreams {
    engine: Streams,
    sockets: HostSockets,
    stations: Stations,
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Station {
    pub(super) network: NetworkRef,
    pub(super) mac: MacAddr,
}

/// Who asks whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Asked {
    network: NetworkRef,
    client: IpAddr,
    gateway: IpAddr,
}

/// Most stations that are remembered, those of the generation before not counted.
const STATIONS: usize = 8_192;

/// Where clients are: by their network and address and the gateway's that they asked, as one address may be on several networks.
/// When there are too many, those that are silent are forgotten; who goes on speaking is carried over.
#[derive(Debug, Default)]
struct Stations {
    now: HashMap<Asked, Station>,
    before: HashMap<Asked, Station>,
}

impl Stations {
    fn note(&mut self, ends: Asked, station: Station) {
        if self.now.len() >= STATIONS && !self.now.contains_key(&ends) {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.insert(ends, station);
    }

    fn of(&self, ends: Asked) -> Option<Station> {
        self.now.get(&ends).or_else(|| self.before.get(&ends)).copied()
    }

    fn forget(&mut self, network: NetworkIndex, client: IpAddr) {
        for stations in [&mut self.now, &mut self.before] {
            stations.retain(|asked, _| (asked.network.index, asked.client) != (network, client));
        }
    }
}

impl ServiceStreams {
    pub(super) fn new(limits: StreamLimits, registry: &Registry, seed: u64) -> io::Result<ServiceStreams> {
        // Overwritten for each frame.
        let link = Link { own: MacAddr::ZERO, peer: MacAddr::ZERO };
        let sockets = HostSockets::new(registry.try_clone()?, None);
        Ok(ServiceStreams { engine: Streams::new(limits, link, seed), sockets, stations: Stations::default() })
    }

    pub(super) fn counters(&self) -> StreamCounters {
        self.engine.counters()
    }

    /// Takes a segment.
    pub(super) fn send(
        &mut self,
        packet: &Packet<'_>,
        station: Station,
        service: &dyn Service,
        now: Timestamp,
    ) -> Result<(), StreamDrop> {
        let (client, gateway) = ends(packet).ok_or(StreamDrop::Malformed)?;
        let network = station.network;
        self.stations.note(Asked { network, client, gateway }, station);
        let mut pairs = self.sockets.opening(|ends| open(ends, service, network));
        self.engine.frame(packet, Some(network), now, &mut pairs)
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

    pub(super) fn assign(&mut self, network: NetworkIndex, address: IpAddr, endpoint: u64) {
        self.engine.owners().assign(Some(network), address, endpoint);
    }

    pub(super) fn forget_endpoint(&mut self, network: NetworkIndex, address: IpAddr) {
        self.engine.forget_endpoint(Some(network), address, &mut self.sockets);
        self.stations.forget(network, address);
    }

    /// Fills buffers with frames for clients and returns how many; fewer than there are buffers says that nothing more waits.
    pub(super) fn receive(&mut self, buffers: &mut [FrameBuf], now: Timestamp) -> usize {
        let filled = self.engine.fill(buffers, now, &mut self.sockets);
        for buffer in &mut buffers[..filled] {
            let asked = buffer.network.zip(ends(&buffer.packet()));
            let asked = asked.map(|(network, (gateway, client))| Asked { network, client, gateway });
            match asked.and_then(|asked| self.stations.of(asked)) {
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
    use vswitch_frame::Generation;

    use super::*;

    /// One address on two networks is two clients, and however many others come, who goes on speaking is remembered.
    #[test]
    fn stations_are_told_apart_and_kept() {
        let address = |number: u64| IpAddr::from(std::net::Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(number)));
        let station = |network, mac| Station {
            network: NetworkRef { index: NetworkIndex::new(network), since: Generation::default() },
            mac: MacAddr::from_u64(mac),
        };
        let asked = |station: Station, client| Asked { network: station.network, client, gateway: address(1) };
        let (client, one, other) = (address(2), station(1, 0x0200_0000_0001), station(2, 0x0200_0000_0002));
        let mut stations = Stations::default();
        stations.note(asked(one, client), one);
        stations.note(asked(other, client), other);
        for number in 0..10 * u64::try_from(STATIONS).unwrap() {
            let newcomer = station(1, number);
            stations.note(asked(newcomer, address(0x1_0000 + number)), newcomer);
            if number % 1000 == 0 {
                stations.note(asked(one, client), one);
            }
            assert_eq!(stations.of(asked(one, client)), Some(one), "after {number}");
            assert!(stations.now.len() + stations.before.len() <= 2 * STATIONS);
        }
        assert_eq!(stations.of(asked(other, client)), None, "silent for long");
        stations.note(asked(other, client), other);
        stations.forget(one.network.index, client);
        assert_eq!((stations.of(asked(one, client)), stations.of(asked(other, client))), (None, Some(other)));
    }
}
