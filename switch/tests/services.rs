//! A service at the gateways' addresses: who reaches it, and whom its answers reach.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use etherparse::{NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice, UdpHeader};
use lab::{Lab, gateway, network, station};
use vswitch_frame::offload::{self, GsoKind, PartialChecksum};
use vswitch_frame::{DropReason, Gso, Headers, MacAddr, NetworkIndex, Offload, PortId};
use vswitch_switch::nat::proxy::stream::StreamLimits;
use vswitch_switch::{
    Gateway, Identity, NetworkConfig, PortDevice, Service, ServiceDatagram, ServicePort, ServiceStream, Settings,
};

const NUMBER: u16 = 53;

/// Keeps what it gets, up to so many.
#[derive(Debug)]
struct Keeper {
    room: usize,
    datagrams: Mutex<Vec<ServiceDatagram>>,
    streams: Mutex<Vec<ServiceStream>>,
}

impl Service for Keeper {
    fn datagram(&self, datagram: ServiceDatagram) -> Result<(), ServiceDatagram> {
        let mut kept = self.datagrams.lock().unwrap();
        if kept.len() == self.room {
            return Err(datagram);
        }
        kept.push(datagram);
        Ok(())
    }

    fn stream(&self, stream: ServiceStream) -> Result<(), ServiceStream> {
        self.streams.lock().unwrap().push(stream);
        Ok(())
    }
}

struct World {
    lab: Lab,
    keeper: Arc<Keeper>,
    port: ServicePort,
    device: PortId,
    net: NetworkIndex,
    a: PortId,
    b: PortId,
}

fn world() -> World {
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(network("net")).unwrap();
    let (a, b) = (lab.port(net, Some(station(2))), lab.port(net, Some(station(3))));
    let keeper = Arc::new(Keeper { room: 8, datagrams: Mutex::default(), streams: Mutex::default() });
    let service = Arc::<Keeper>::clone(&keeper);
    let port = ServicePort::new(NUMBER, service, StreamLimits::default(), 7).unwrap();
    let hidden = NetworkConfig { mtu: 65_535, ..NetworkConfig::new("(service)") };
    let hidden = lab.datapath.add_network(hidden).unwrap();
    let device = lab.plug(hidden, PortDevice::Service(port.clone()));
    World { lab, keeper, port, device, net, a, b }
}

impl World {
    fn kept(&self) -> Vec<ServiceDatagram> {
        std::mem::take(&mut *self.keeper.datagrams.lock().unwrap())
    }
}

fn between(from: &Identity, to: MacAddr, address: IpAddr) -> PacketBuilderStep<etherparse::IpHeaders> {
    let builder = PacketBuilder::ethernet2(from.mac.octets(), to.octets());
    match address {
        IpAddr::V4(address) => builder.ipv4(from.ipv4.unwrap().octets(), address.octets(), 64),
        IpAddr::V6(address) => builder.ipv6(from.ipv6.unwrap().octets(), address.octets(), 64),
    }
}

/// A question from station 2 in a datagram.
fn question(address: &str, number: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = between(&station(2), gateway().mac, address.parse().unwrap()).udp(4000, number);
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// Where from and where to an answer goes, and what it says; its checksums are right.
fn read(frame: &[u8], offload: Offload) -> (MacAddr, SocketAddr, SocketAddr, Vec<u8>) {
    let mut frame = frame.to_vec();
    offload::complete_checksum(&mut frame, &mut offload.clone());
    let packet = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("no UDP") };
    let (header, payload) = (udp.to_header(), udp.payload());
    let (from, to, right): (IpAddr, IpAddr, UdpHeader) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
            let right = UdpHeader::with_ipv4_checksum(header.source_port, header.destination_port, &ip, payload);
            (Ipv4Addr::from(ip.source).into(), Ipv4Addr::from(ip.destination).into(), right.unwrap())
        }
        NetSlice::Ipv6(ip) => {
            let ip = ip.header().to_header();
            let right = UdpHeader::with_ipv6_checksum(header.source_port, header.destination_port, &ip, payload);
            (ip.source_addr().into(), ip.destination_addr().into(), right.unwrap())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(right.checksum, header.checksum);
    let ends = (SocketAddr::new(from, header.source_port), SocketAddr::new(to, header.destination_port));
    (vswitch_frame::addresses(&frame).1, ends.0, ends.1, payload.to_vec())
}

/// A datagram to the gateway's own address reaches the service, in both families; its answer comes from the gateway and goes to
/// the station that asked, and to nobody else.
#[test]
fn datagrams_and_answers() {
    let mut world = world();
    for address in ["10.0.0.1", "fd00::1"] {
        assert_eq!(world.lab.send(world.a, &question(address, NUMBER, b"what?")), []);
        let [asked] = <[_; 1]>::try_from(world.kept()).unwrap();
        let local = SocketAddr::new(address.parse().unwrap(), NUMBER);
        assert_eq!((asked.network.index, asked.local, &asked.payload[..]), (world.net, local, &b"what?"[..]));
        let source = asked.source;
        world.port.answer(asked.answered(b"this".to_vec()));
        let out = world.lab.pump(world.device);
        let [(to, frame, offload)] = &out[..] else { panic!("{out:?}") };
        assert_eq!(*to, world.a);
        assert_eq!(read(frame, *offload), (gateway().mac, local, source, b"this".to_vec()));
    }
    let stats = world.port.stats();
    assert_eq!((stats.datagrams, stats.answers, stats.malformed, stats.busy), (2, 2, 0, 0));
    assert_eq!(world.lab.counters(world.a).forwarded, 2);
    assert_eq!(world.lab.pump(world.device), [], "nothing is said twice");
}

/// Another port, another address than the network's own, another protocol, fragments and broken datagrams do not reach the
/// service; a source that no station there has is dropped.
#[test]
fn whom_it_does_not_hear() {
    let mut world = world();
    for (address, number) in [("10.0.0.1", 54), ("10.0.0.7", NUMBER), ("10.9.0.1", NUMBER), ("fd00:9::1", NUMBER)] {
        world.lab.send(world.a, &question(address, number, b"what?"));
    }
    let mut broken = question("10.0.0.1", NUMBER, b"what?");
    *broken.last_mut().unwrap() ^= 1;
    world.lab.send(world.a, &broken);
    world.lab.send(world.a, &question("10.0.0.1", NUMBER, b""));
    assert_eq!(world.kept(), []);
    assert_eq!(world.port.stats().malformed, 2);
    let mut fragment = question("10.0.0.1", NUMBER, b"what?");
    fragment[14 + 6] = 0x20;
    let whole = Headers::parse(&fragment).unwrap();
    assert_eq!(whole.fragment(), vswitch_frame::Fragment::First);
    world.lab.assert_dropped(world.a, &fragment, DropReason::GatewayUnsupported);
    let outsider = world.lab.port(world.net, None);
    let foreign = Identity { ipv4: Some([192, 0, 2, 9].into()), ..station(9) };
    let mut frame = Vec::new();
    between(&foreign, gateway().mac, [10, 0, 0, 1].into()).udp(4000, NUMBER).write(&mut frame, b"what?").unwrap();
    world.lab.assert_dropped(outsider, &frame, DropReason::Unroutable);
    assert_eq!(world.kept(), []);
}

/// A train of datagrams is taken apart; what finds no room at the service is counted.
#[test]
fn trains_and_no_room() {
    let mut world = world();
    let frame = question("10.0.0.1", NUMBER, &[7; 100]);
    let gso = Some(Gso { kind: GsoKind::Udp, size: 10, header_len: 42, ecn: false });
    let checksum = Some(PartialChecksum { start: 34, offset: 6 });
    world.lab.send_all(world.a, [(&frame[..], Offload { checksum, gso })]);
    let kept = world.kept();
    assert_eq!(kept.len(), 8);
    assert!(kept.iter().all(|datagram| datagram.payload == [7; 10]));
    let stats = world.port.stats();
    assert_eq!((stats.datagrams, stats.busy), (8, 2));
}

/// An answer to a station that is gone, or in a network that is another one by now, goes nowhere; one that is longer than the
/// network's packets comes in fragments.
#[test]
fn answers_to_nobody_and_long_ones() {
    let mut world = world();
    world.lab.send(world.a, &question("10.0.0.1", NUMBER, b"one"));
    world.lab.send(world.a, &question("10.0.0.1", NUMBER, b"two"));
    let [one, two] = <[_; 2]>::try_from(world.kept()).unwrap();
    let small = NetworkConfig { mtu: 576, ..network("net") };
    world.lab.datapath.update_network(world.net, small).unwrap();
    world.port.answer(one.answered(vec![1; 1200]));
    let out = world.lab.pump(world.device);
    assert_eq!(out.len(), 3);
    assert!(out.iter().all(|(port, frame, _)| *port == world.a && frame.len() <= 576 + 14));
    let other = Gateway { ipv4: Some(([10, 7, 0, 1].into(), 24)), ..gateway() };
    let other = NetworkConfig { gateway: Some(other), ..network("other") };
    world.lab.datapath.update_network(world.net, other).unwrap();
    world.port.answer(two.clone());
    assert_eq!(world.lab.pump(world.device), []);
    world.lab.datapath.update_network(world.net, network("net")).unwrap();
    world.lab.remove(world.a);
    world.port.answer(two);
    assert_eq!(world.lab.pump(world.device), []);
    assert_eq!(world.lab.counters(world.device).dropped(DropReason::NoReceiver), 2);
    let _ = world.b;
}

/// Nor does one in a network whose index has gone to another, be it one with the same addresses and stations.
#[test]
fn answers_after_a_network_is_gone() {
    let mut world = world();
    world.lab.send(world.a, &question("10.0.0.1", NUMBER, b"private"));
    let [asked] = <[_; 1]>::try_from(world.kept()).unwrap();
    world.lab.remove(world.a);
    world.lab.remove(world.b);
    world.lab.datapath.remove_network(world.net).unwrap();
    let next = world.lab.datapath.add_network(network("next")).unwrap();
    assert_eq!(next, world.net, "the index is given away again");
    let heir = world.lab.port(next, Some(station(2)));
    world.lab.send(heir, &question("10.0.0.1", NUMBER, b"own"));
    let [own] = <[_; 1]>::try_from(world.kept()).unwrap();
    world.port.answer(asked.answered(b"private".to_vec()));
    assert_eq!(world.lab.pump(world.device), []);
    world.port.answer(own);
    assert_eq!(world.lab.pump(world.device).len(), 1, "its own answer comes");
}

/// A SYN from station 2 to the gateway's service.
fn syn() -> Vec<u8> {
    let mut syn = Vec::new();
    let builder = between(&station(2), gateway().mac, [10, 0, 0, 1].into()).tcp(4001, NUMBER, 1000, 8192).syn();
    builder.write(&mut syn, &[]).unwrap();
    syn
}

/// A connection to the gateway's address is handed to the service with its client's address, and the client is told so.
#[test]
fn connections() {
    let mut world = world();
    assert_eq!(world.lab.send(world.a, &syn()), []);
    let out = world.lab.pump(world.device);
    let [(to, frame, _)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(*to, world.a);
    assert_eq!(vswitch_frame::addresses(frame), (station(2).mac, gateway().mac));
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
    assert!(tcp.syn() && tcp.ack() && tcp.acknowledgment_number() == 1001);
    let streams = std::mem::take(&mut *world.keeper.streams.lock().unwrap());
    let [stream] = <[_; 1]>::try_from(streams).unwrap();
    assert_eq!(stream.network.index, world.net);
    assert_eq!(stream.source, "10.0.0.2:4001".parse().unwrap());
    assert_eq!(stream.local, "10.0.0.1:53".parse().unwrap());
    assert_eq!(world.port.stats().streams.flows, 1);
    world.port.forget_endpoint(world.net, [10, 0, 0, 2].into());
    assert_eq!(world.port.stats().streams.flows, 0);
}

/// Two networks with the same addresses, stations and gateways: each one's connections and questions are its own, and end with it.
#[test]
fn networks_with_equal_addresses() {
    let mut world = world();
    let twin = world.lab.datapath.add_network(network("twin")).unwrap();
    let of_twin = world.lab.port(twin, Some(station(2)));
    for port in [world.a, of_twin] {
        assert_eq!(world.lab.send(port, &syn()), []);
        let out = world.lab.pump(world.device);
        let [(to, _, _)] = &out[..] else { panic!("{out:?}") };
        assert_eq!(*to, port, "the answer goes to who asked");
    }
    let streams = std::mem::take(&mut *world.keeper.streams.lock().unwrap());
    assert_eq!(streams.iter().map(|stream| stream.network.index).collect::<Vec<_>>(), [world.net, twin]);
    assert_eq!(world.port.stats().streams.flows, 2, "they are not one");
    for port in [world.a, of_twin] {
        world.lab.send(port, &question("10.0.0.1", NUMBER, b"what?"));
    }
    for (asked, port) in world.kept().into_iter().zip([world.a, of_twin]) {
        world.port.answer(asked.answered(b"this".to_vec()));
        assert_eq!(world.lab.pump(world.device).iter().map(|(to, _, _)| *to).collect::<Vec<_>>(), [port]);
    }
    world.port.forget_endpoint(world.net, [10, 0, 0, 2].into());
    assert_eq!(world.port.stats().streams.flows, 1, "the other one's goes on");
}
