//! `vswitch-overlay-host`: the data plane of one host of an overlay network, without any control, for the benchmark. It
//! joins an interface to a tunnel until its standard input ends.
//!
//! `vswitch-overlay-host INTERFACE ADDRESS:PORT REMOTE VNI MTU`

use std::io::Read as _;
use std::net::SocketAddr;

use anyhow::Context;
use vswitch_frame::Vni;
use vswitch_switch::overlay::VtepConfig;
use vswitch_switch::sys::{packet, udp};
use vswitch_switch::tunnel::OverlaySpec;
use vswitch_switch::{NetworkConfig, PortConfig, PortDevice, Settings, Switch};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, address, remote, vni, mtu] = &arguments[..] else {
        anyhow::bail!("usage: vswitch-overlay-host INTERFACE ADDRESS:PORT REMOTE VNI MTU")
    };
    let address: SocketAddr = address.parse().with_context(|| format!("{address} is no address and port"))?;
    let switch = Switch::start(Settings::default())?;
    let socket = udp::open(address).with_context(|| format!("cannot receive at {address}"))?;
    let vtep = switch.add_vtep(VtepConfig { address }, socket)?;
    let config = NetworkConfig { mtu: mtu.parse()?, ..NetworkConfig::new("bench") };
    let network = switch.add_network(config)?;
    let port = |name: &str| PortConfig::new(name, network);
    let leg = switch.add_overlay(port("overlay"), vtep, OverlaySpec::new(Vni::new(vni.parse()?)?))?;
    switch.add_remote(leg, remote.parse()?)?;
    let descriptor = packet::open(interface).with_context(|| format!("cannot open {interface}"))?;
    switch.add_port(port(interface), PortDevice::Packet(descriptor))?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    switch.stop();
    Ok(())
}
