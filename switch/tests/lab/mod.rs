//! A switch in one thread: memory ports, one pipeline and a clock that the test turns.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its own part of the lab")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use vswitch_frame::{DropReason, FrameBuf, MacAddr, NetworkIndex, Offload, PortId, Timestamp};
use vswitch_switch::datapath::Datapath;
use vswitch_switch::pipeline::Pipeline;
use vswitch_switch::sys::burst::Burst;
use vswitch_switch::{
    Counters, Gateway, Identity, MemoryPeer, NetworkConfig, Offloads, PortConfig, PortDevice, Settings, memory_link,
};

pub struct Lab {
    pub datapath: Arc<Datapath>,
    pub now: Timestamp,
    pipeline: Pipeline,
    burst: Burst,
    buffers: Vec<FrameBuf>,
    peers: Vec<Option<MemoryPeer>>,
}

pub fn gateway() -> Gateway {
    Gateway {
        mac: MacAddr::new([2, 0x42, 10, 0, 0, 1]),
        ipv4: Some((Ipv4Addr::new(10, 0, 0, 1), 24)),
        ipv6: Some(("fd00::1".parse().unwrap(), 64)),
        also: Vec::new(),
        proxied: Vec::new(),
        beyond: Vec::new(),
        mesh: None,
    }
}

pub fn network(name: &str) -> NetworkConfig {
    NetworkConfig { gateway: Some(gateway()), ..NetworkConfig::new(name) }
}

/// The station with this number: 02:42:0a:00:00:NN, 10.0.0.NN, fd00::NN.
pub fn station(number: u8) -> Identity {
    let ipv4 = Ipv4Addr::new(10, 0, 0, number);
    let ipv6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number));
    Identity { mac: MacAddr::from_ipv4(ipv4), ipv4: Some(ipv4), ipv6: Some(ipv6) }
}

impl Lab {
    pub fn new(settings: Settings) -> Self {
        let datapath = Datapath::new(settings, 1);
        let pipeline = Pipeline::new(Arc::clone(&datapath), 0);
        let buffers = std::iter::repeat_with(FrameBuf::new).take(128).collect();
        Lab { pipeline, datapath, now: Timestamp::ZERO, burst: Burst::new(64), buffers, peers: Vec::new() }
    }

    /// A lab with one network and `count` ports, which know no identity.
    pub fn with_ports(count: usize) -> (Self, Vec<PortId>) {
        let mut lab = Lab::new(Settings::default());
        let net = lab.datapath.add_network(network("net")).unwrap();
        let ports = (0..count).map(|_| lab.port(net, None)).collect();
        (lab, ports)
    }

    pub fn port(&mut self, network: NetworkIndex, identity: Option<Identity>) -> PortId {
        self.port_of(PortConfig { identity, ..PortConfig::new("port", network) }, Offloads::Carried)
    }

    pub fn port_of(&mut self, config: PortConfig, offloads: Offloads) -> PortId {
        let (device, peer) = memory_link(4096, offloads).unwrap();
        let id = self.datapath.add_port(config, PortDevice::Memory(device)).unwrap().id;
        if self.peers.len() <= id.index() {
            self.peers.resize_with(id.index() + 1, || None);
        }
        self.peers[id.index()] = Some(peer);
        id
    }

    pub fn remove(&mut self, port: PortId) {
        let taken = self.datapath.take_port(port).unwrap();
        self.pipeline.refresh();
        self.datapath.release_port(&taken);
        self.peers[port.index()] = None;
    }

    pub fn later(&mut self, seconds: u64) {
        self.now = Timestamp::from_millis(self.now.as_millis() + seconds * 1000);
    }

    /// Sends frames into `port` as one burst and lets the pipeline work.
    pub fn send_all<'f>(&mut self, port: PortId, frames: impl IntoIterator<Item = (&'f [u8], Offload)>) {
        let mut count = 0;
        for (frame, offload) in frames {
            if frame.len() > vswitch_frame::buffer::MAX_FRAME_LEN {
                self.buffers[count].receive_area();
            } else {
                self.buffers[count].fill(frame, offload);
            }
            count += 1;
        }
        self.pipeline.refresh();
        let ingress = self.pipeline.port(port).unwrap();
        self.pipeline.process(&ingress, &mut self.buffers, count, self.now);
        self.pipeline.flush(&mut self.burst, &mut self.buffers);
    }

    /// Puts a device that is none of the lab's on a network.
    pub fn plug(&mut self, network: NetworkIndex, device: PortDevice) -> PortId {
        let config = PortConfig::new("device", network);
        self.datapath.add_port(config, device).unwrap().id
    }

    /// Lets such a device's frames in, and returns what came out where.
    pub fn pump(&mut self, port: PortId) -> Vec<(PortId, Vec<u8>, Offload)> {
        self.pipeline.refresh();
        let ingress = self.pipeline.port(port).unwrap();
        let count = ingress.receive(&mut self.burst, &mut self.buffers[..64]).unwrap().frames;
        self.pipeline.process(&ingress, &mut self.buffers, count, self.now);
        self.pipeline.flush(&mut self.burst, &mut self.buffers);
        self.received()
    }

    /// Sends one frame into `port` and returns what came out where.
    pub fn send(&mut self, port: PortId, frame: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        self.send_all(port, [(frame, Offload::NONE)]);
        self.received().into_iter().map(|(port, frame, _)| (port, frame)).collect()
    }

    /// Sends one frame and returns only the ports that got it.
    pub fn ports_reached(&mut self, port: PortId, frame: &[u8]) -> Vec<PortId> {
        self.send(port, frame).into_iter().map(|(port, _)| port).collect()
    }

    /// Everything that waits at the peers, by port.
    pub fn received(&self) -> Vec<(PortId, Vec<u8>, Offload)> {
        let mut all = Vec::new();
        for (index, peer) in self.peers.iter().enumerate() {
            while let Some((frame, offload)) = peer.as_ref().and_then(MemoryPeer::try_receive) {
                all.push((PortId::new(u32::try_from(index).unwrap()), frame.into_vec(), offload));
            }
        }
        all
    }

    pub fn counters(&self, port: PortId) -> Counters {
        self.datapath.stats().ports.iter().find(|stats| stats.port == port).unwrap().counters
    }

    /// Asserts that the last thing that happened on `port` was exactly one drop for `reason`.
    #[track_caller]
    pub fn assert_dropped(&mut self, port: PortId, frame: &[u8], reason: DropReason) {
        let before = self.counters(port);
        let out = self.send(port, frame);
        let after = self.counters(port);
        assert_eq!(out, [], "{reason} expected");
        let met: Vec<_> =
            DropReason::ALL.into_iter().filter(|&reason| after.dropped(reason) != before.dropped(reason)).collect();
        assert_eq!(met, [reason]);
        assert_eq!(after.dropped(reason), before.dropped(reason) + 1);
    }
}

/// An Ethernet frame.
pub fn ethernet(destination: MacAddr, source: MacAddr, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = destination.octets().to_vec();
    frame.extend(source.octets());
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A frame with an unknown EtherType.
pub fn plain(destination: MacAddr, source: MacAddr) -> Vec<u8> {
    ethernet(destination, source, 0x88b5, &[0; 46])
}

/// A UDP datagram over IPv4 from one station to another.
pub fn udp4(from: &Identity, to: &Identity, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (from.ipv4.unwrap().octets(), to.ipv4.unwrap().octets());
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets())
        .ipv4(source, destination, 64)
        .udp(1000, 2000)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// The same over IPv6.
pub fn udp6(from: &Identity, to: &Identity, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (from.ipv6.unwrap().octets(), to.ipv6.unwrap().octets());
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets())
        .ipv6(source, destination, 64)
        .udp(1000, 2000)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// An ARP packet in a frame; a request is broadcast.
pub fn arp(operation: u16, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    let mut packet = [0; vswitch_frame::arp::LEN];
    vswitch_frame::arp::write(&mut packet, operation, sender, target);
    let destination = if operation == vswitch_frame::arp::REQUEST { MacAddr::BROADCAST } else { target.0 };
    ethernet(destination, sender.0, 0x0806, &packet)
}
