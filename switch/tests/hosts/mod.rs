//! Two switches as two hosts: VTEPs on the loopback's addresses, memory ports as containers.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its own part of the hosts")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use vswitch_frame::{MacAddr, NetworkIndex, Offload, PortId, Vni};
use vswitch_switch::overlay::{OverlayPortStats, VtepConfig, VtepId};
use vswitch_switch::sys::udp;
use vswitch_switch::tunnel::{OverlaySpec, TunnelDrop};
use vswitch_switch::{
    MemoryFrame, MemoryPeer, NetworkConfig, Offloads, PortConfig, PortDevice, Settings, Switch, memory_link,
};

pub const VNI: u32 = 4097;
pub const MTU: u32 = 1450;
/// Longer than anything takes; ends a test that would never end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A switch with one overlay network and one container.
pub struct Host {
    pub switch: Switch,
    pub vtep: VtepId,
    pub address: SocketAddr,
    pub network: NetworkIndex,
    pub leg: PortId,
    pub port: PortId,
    pub container: MemoryPeer,
}

pub fn config(network: NetworkIndex, name: &str) -> PortConfig {
    PortConfig::new(name, network)
}

pub fn network(name: &str) -> NetworkConfig {
    NetworkConfig { mtu: MTU, ..NetworkConfig::new(name) }
}

impl Host {
    pub fn new(address: SocketAddr, spec: OverlaySpec, network_config: NetworkConfig) -> Host {
        let settings = Settings { workers: Some(1), ..Settings::default() };
        let switch = Switch::start(settings).unwrap();
        let socket = udp::open(address).unwrap();
        let vtep = switch.add_vtep(VtepConfig { address }, socket).unwrap();
        let network = switch.add_network(network_config).unwrap();
        let leg = switch.add_overlay(config(network, "overlay"), vtep, spec).unwrap();
        let (device, container) = memory_link(4096, Offloads::Carried).unwrap();
        let port = switch.add_port(config(network, "container"), PortDevice::Memory(device)).unwrap();
        Host { switch, vtep, address, network, leg, port, container }
    }

    pub fn knows(&self, other: &Host) {
        self.switch.add_remote(self.leg, other.address.ip()).unwrap();
    }

    pub fn send(&self, frame: &[u8]) {
        assert!(self.container.send(frame, Offload::NONE));
    }

    /// The next frame that the container gets.
    #[track_caller]
    pub fn receive(&self) -> MemoryFrame {
        self.container.receive(PATIENCE).unwrap_or_else(|| panic!("no frame came; {:#?}", self.switch.stats()))
    }

    pub fn overlay(&self) -> OverlayPortStats {
        self.switch.stats().overlays.into_iter().find(|stats| stats.port == self.leg).unwrap()
    }

    pub fn dropped(&self, reason: TunnelDrop) -> u64 {
        let overlay = self.overlay().overlay.drops;
        let vtep = self.switch.stats().vteps.into_iter().flat_map(|vtep| vtep.drops);
        overlay.into_iter().chain(vtep).filter(|(which, _)| *which == reason).map(|(_, count)| count).sum()
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub fn until(&self, what: &str, condition: impl Fn(&Host) -> bool) {
        for _ in 0..2000 {
            if condition(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{what}: {:#?}", self.switch.stats());
    }
}

/// Addresses on the loopback with a port that is free on all of them.
pub fn addresses<const N: usize>() -> [SocketAddr; N] {
    loop {
        let ips: [IpAddr; N] =
            std::array::from_fn(|index| Ipv4Addr::new(127, 0, 77, u8::try_from(index).unwrap() + 1).into());
        let first = UdpSocket::bind((ips[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        // Not one of those that packets leave from.
        if port < 49_152 && ips[1..].iter().all(|&ip| UdpSocket::bind((ip, port)).is_ok()) {
            return ips.map(|ip| SocketAddr::new(ip, port));
        }
    }
}

pub fn spec() -> OverlaySpec {
    OverlaySpec::new(Vni::new(VNI).unwrap())
}

/// Two hosts that know each other.
pub fn pair() -> [Host; 2] {
    let hosts = addresses::<2>().map(|address| Host::new(address, spec(), network("net")));
    hosts[0].knows(&hosts[1]);
    hosts[1].knows(&hosts[0]);
    hosts
}

pub fn mac(number: u8) -> MacAddr {
    MacAddr::new([2, 0x42, 10, 0, 0, number])
}

/// An Ethernet frame with an unknown EtherType.
pub fn plain(destination: MacAddr, source: MacAddr, length: usize) -> Vec<u8> {
    let mut frame = destination.octets().to_vec();
    frame.extend(source.octets());
    frame.extend([0x88, 0xb5]);
    frame.extend((0..length).map(|index| u8::try_from(index % 251).unwrap()));
    frame
}
