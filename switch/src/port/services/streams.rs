//! Connections to a service: the engine of the sockets uplink, with a socket pair in the place of each host socket.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use mio::Registry;
use mio::event::Event;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use socket2::Socket;
use vswitch_frame::{FrameBuf, L3, MacAddr, NetworkIndex, Packet, Timestamp};
use vswitch_nat::proxy::datagram::wire::Link;
use vswitch_nat::proxy::stream::{Ends, StreamCounters, StreamLimits, Streams};

use super::super::streams::{HostSockets, news};
use super::{Service, ServiceStream, mac_of, set_addresses};

/// Connections, and where their clients are.
#[derive(Debug)]
pub(super) struct ServiceStreams {
    engine: Streams,
    sockets: HostSockets,
    /// By address. When there are too many all are forgotten: the next segment of each brings it back.
    stations: HashMap<IpAddr, Station>,
}

/// Where a client is: its network and its MAC address.
pub(super) type Station = (NetworkIndex, MacAddr);

/// Most stations that are remembered.
const STATIONS: usize = 16_384;

impl ServiceStreams {
    pub(super) fn new(limits: StreamLimits, registry: &Registry, seed: u64) -> io::Result<ServiceStreams> {
        // Overwritten for each frame.
        let link = Link { own: MacAddr::ZERO, peer: MacAddr::ZERO };
        let sockets = HostSockets::new(registry.try_clone()?);
        Ok(ServiceStreams { engine: Streams::new(limits, link, seed), sockets, stations: HashMap::new() })
    }

    pub(super) fn counters(&self) -> StreamCounters {
        self.engine.counters()
    }

    /// Takes a segment.
    pub(super) fn send(&mut self, packet: &Packet<'_>, station: Station, service: &dyn Service, now: Timestamp) {
        let Some((source, _)) = ends(packet) else { return };
        if self.stations.len() >= STATIONS && !self.stations.contains_key(&source) {
            self.stations.clear();
        }
        self.stations.insert(source, station);
        let mut pairs = self.sockets.opening(|ends| open(ends, service, station.0));
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
        self.stations.remove(&address);
    }

    /// Fills buffers with frames for clients and returns how many; fewer than there are buffers says that nothing more waits.
    pub(super) fn receive(&mut self, buffers: &mut [FrameBuf], now: Timestamp) -> usize {
        let filled = self.engine.fill(buffers, now, &mut self.sockets);
        for buffer in &mut buffers[..filled] {
            let client = ends(&buffer.packet());
            match client.and_then(|(_, client)| self.stations.get(&client)) {
                Some(&(network, station)) => set_addresses(buffer.frame_mut(), station, mac_of(network)),
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
fn open(ends: &Ends, service: &dyn Service, network: NetworkIndex) -> io::Result<Socket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, own) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let asked = ServiceStream { network, source: ends.inside, local: ends.outside, stream };
    service.stream(asked).map_err(|_| io::ErrorKind::ConnectionRefused)?;
    Ok(Socket::from(own))
}
