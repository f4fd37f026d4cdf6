//! Gateways behind a router, with real sockets of the loopback; containers are memory ports, and each worker a thread of its own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use vswitch_frame::{DropReason, FrameBuf, NetworkIndex, NetworkRef, Offload, PortId, Timestamp};
use vswitch_nat::proxy::datagram::{DatagramDrop, DatagramLimits, Filter, wire};
use vswitch_nat::proxy::destinations::Destinations;
use vswitch_nat::proxy::stream::StreamLimits;
use vswitch_nat::route::Route;
use vswitch_nat::rules::{
    Addresses, Algorithm, Inbound, NetworkSpec, Reach, RulesSpec, ServicePort, ServiceSpec, SubnetSpec, Translation,
    Transport,
};
use vswitch_nat::table::Leg;

use super::*;
use crate::datapath::Datapath;
use crate::lab::{CaptureSpec, Format, On, Places, Super};
use crate::pipeline::Pipeline;
use crate::port::{MemoryPeer, Offloads, memory_link};
use crate::router::RouterConfig;
use crate::sys::burst::Burst;
use crate::{Clients, Gateway, Identity, NetworkConfig, PortConfig, PortDevice, Settings, SpareSockets};

/// Stands for the loopback.
const LOOPBACK: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 9);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ROUTER: MacAddr = MacAddr::new([2, 0, 0, 0, 1, 0]);

fn mac(number: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 2, number])
}

/// Whoever waits for a datagram does so until the test is given up.
fn host_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket
}

/// A worker with what it receives from.
struct Worker {
    pipeline: Pipeline,
    /// The gateway's port.
    way_out: PortId,
    container: PortId,
    identity: Identity,
    peer: MemoryPeer,
}

impl Worker {
    fn process(&mut self, port: PortId, buffers: &mut [FrameBuf], frames: usize) {
        let port = self.pipeline.port(port).unwrap();
        self.pipeline.process(&port, buffers, frames, Timestamp::ZERO);
        self.pipeline.flush(&mut Burst::new(8), buffers);
    }

    /// Its container sends from port 5000.
    fn sends(&mut self, to: SocketAddr, payload: &[u8]) {
        self.sends_from(5000, to, payload);
    }

    fn sends_from(&mut self, port: u16, to: SocketAddr, payload: &[u8]) {
        let mut buffers: Vec<FrameBuf> = (0..8).map(|_| FrameBuf::new()).collect();
        buffers[0].receive_area()[wire::udp_header_len(false)..][..payload.len()].copy_from_slice(payload);
        let link = wire::Link { own: self.identity.mac, peer: MacAddr::from_ipv4(GATEWAY) };
        let from = SocketAddr::new(self.identity.ipv4.unwrap().into(), port);
        assert!(wire::write_udp(&mut buffers[0], link, from, to, payload.len(), None, wire::Meta::default()));
        self.process(self.container, &mut buffers, 1);
    }

    /// Its container sends a packet of a protocol that has no ports.
    fn sends_other(&mut self, protocol: u8, to: SocketAddr) {
        let mut buffers: Vec<FrameBuf> = (0..8).map(|_| FrameBuf::new()).collect();
        let link = wire::Link { own: self.identity.mac, peer: MacAddr::from_ipv4(GATEWAY) };
        let from = SocketAddr::new(self.identity.ipv4.unwrap().into(), 1);
        assert!(wire::write_udp(&mut buffers[0], link, from, to, 8, None, wire::Meta::default()));
        let mut frame = buffers[0].frame().to_vec();
        frame[14 + 9] = protocol;
        frame[14 + 10..14 + 12].fill(0);
        let sum = vswitch_frame::checksum::checksum(&frame[14..34]);
        frame[14 + 10..14 + 12].copy_from_slice(&sum.to_be_bytes());
        buffers[0].fill(&frame, Offload::NONE);
        self.process(self.container, &mut buffers, 1);
    }

    /// Serves its gateway until its container has got a datagram.
    fn hears(&mut self) -> Vec<u8> {
        loop {
            self.serves();
            if let Some((_, payload)) = self.heard() {
                return payload;
            }
            std::thread::yield_now();
        }
    }

    /// Serves its gateway once.
    fn serves(&mut self) {
        let mut buffers: Vec<FrameBuf> = (0..8).map(|_| FrameBuf::new()).collect();
        let port = self.pipeline.port(self.way_out).unwrap();
        let received = port.receive(&mut Burst::new(8), &mut buffers[..4]).unwrap();
        self.process(self.way_out, &mut buffers, received.frames);
    }

    /// A datagram that its container has got, and from whom.
    fn heard(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        while let Some((frame, _)) = self.peer.try_receive() {
            let mut buffer = FrameBuf::from_frame(&frame, Offload::NONE);
            let packet = buffer.admit().unwrap();
            if packet.protocol() == 17 {
                let port = u16::from_be_bytes([packet.l4()[0], packet.l4()[1]]);
                return Some((SocketAddr::new(packet.ip_addresses().0, port), packet.l4()[8..].to_vec()));
            }
            // It asks where the container is.
            self.answers(&frame);
        }
        None
    }

    fn answers(&mut self, question: &[u8]) {
        let sender = (self.identity.mac, self.identity.ipv4.unwrap());
        let mut packet = [0; vswitch_frame::arp::LEN];
        vswitch_frame::arp::write(
            &mut packet,
            vswitch_frame::arp::REPLY,
            sender,
            (MacAddr::from_ipv4(GATEWAY), GATEWAY),
        );
        let (_, router) = vswitch_frame::addresses(question);
        let frame = [&router.octets()[..], &self.identity.mac.octets(), &[8, 6], &packet].concat();
        let mut buffers: Vec<FrameBuf> = (0..8).map(|_| FrameBuf::new()).collect();
        buffers[0].fill(&frame, Offload::NONE);
        self.process(self.container, &mut buffers, 1);
    }
}

fn network(datapath: &Datapath, name: &str, address: Option<Ipv4Addr>, mac: MacAddr) -> NetworkIndex {
    let gateway = Gateway {
        mac,
        ipv4: address.map(|address| (address, 24)),
        ipv6: None,
        also: Vec::new(),
        proxied: Vec::new(),
        beyond: Vec::new(),
        mesh: None,
    };
    datapath.add_network(NetworkConfig { gateway: Some(gateway), ..NetworkConfig::new(name) }).unwrap()
}

fn plug(datapath: &Datapath, network: NetworkIndex, identity: Option<Identity>, device: PortDevice) -> PortId {
    datapath.add_port(PortConfig { identity, ..PortConfig::new("port", network) }, device).unwrap().id
}

fn settings(network: Option<NetworkRef>) -> HostGatewaySettings {
    HostGatewaySettings {
        datagrams: DatagramLimits::default(),
        streams: StreamLimits::default(),
        destinations: Destinations { loopback_v4: Some(LOOPBACK), ..Destinations::default() },
        filter: Filter::default(),
        mac: MacAddr::ZERO,
        router: ROUTER,
        network,
        budget: None,
        spares: SpareSockets::default(),
    }
}

/// Networks with equal addresses, each with one container: those of `Addresses::Own` with a gateway each, the shared one with two,
/// and containers at both of its last octets. A worker for each container.
struct World {
    datapath: Arc<Datapath>,
    config: RouterConfig,
    gateways: Vec<HostGateways>,
    workers: Vec<Worker>,
}

impl World {
    /// Two containers of a shared network, which two gateways serve.
    fn shared() -> World {
        World::new(&[(Addresses::Shared, &[2, 3])])
    }

    fn new(networks: &[(Addresses, &[u8])]) -> World {
        let datapath = Datapath::new(Settings::default(), 2);
        let uplink = network(&datapath, "uplink", None, ROUTER);
        let (mut peers, mut specs) = (Peers::default(), Vec::new());
        let (mut gateways, mut containers) = (Vec::new(), Vec::new());
        let mut routes = vec![Route { destination: "0.0.0.0/0".parse().unwrap(), leg: Leg::Uplink, via: None }];
        for (number, &(addresses, hosts)) in (0u8..).zip(networks) {
            let index = network(&datapath, &format!("net{number}"), Some(GATEWAY), MacAddr::from_ipv4(GATEWAY));
            let own = (addresses == Addresses::Own).then(|| datapath.snapshot().network(index).unwrap().to_ref());
            let macs = if own.is_some() { vec![mac(10 + number)] } else { vec![mac(0), mac(1)] };
            let serving = HostGateways::new(&settings(own), &macs, 7).unwrap();
            let mut ports = Vec::new();
            for (gateway, &mac) in serving.each().zip(&macs) {
                let port = plug(&datapath, uplink, None, PortDevice::Host(gateway.clone()));
                datapath.fdb_add_static(uplink, mac, port).unwrap();
                ports.push(port);
            }
            match own {
                Some(_) => peers.own.push((index, macs[0])),
                None => peers.shared = macs,
            }
            let net = "10.0.0.0/24".parse().unwrap();
            let subnet = SubnetSpec { net, gateway: Some(GATEWAY.into()), translation: Translation::Routed };
            specs.push(NetworkSpec { index, subnets: vec![subnet], reach: Reach::Uplink, addresses });
            routes.push(Route { destination: net, leg: Leg::Inside(index), via: None });
            for &host in hosts {
                let address = Ipv4Addr::new(10, 0, 0, host);
                let identity = Identity { mac: MacAddr::from_ipv4(address), ipv4: Some(address), ipv6: None };
                let way_out = ports[Peers::shard(address.into(), ports.len())];
                containers.push((index, identity, way_out));
            }
            gateways.push(serving);
        }
        let rules = RulesSpec { networks: specs, inbound: Inbound::Trusted, ..RulesSpec::default() };
        let config = RouterConfig { uplink: Some(uplink), peers, rules, routes, ..RouterConfig::default() };
        datapath.set_router(Some(config.clone())).unwrap();
        let workers = (0..).zip(containers).map(|(number, (index, identity, way_out))| {
            let (device, peer) = memory_link(64, Offloads::Carried).unwrap();
            let container = plug(&datapath, index, Some(identity), PortDevice::Memory(device));
            let pipeline = Pipeline::new(Arc::clone(&datapath), number % 2);
            Worker { pipeline, way_out, container, identity, peer }
        });
        let mut workers: Vec<_> = workers.collect();
        workers.iter_mut().for_each(|worker| worker.pipeline.refresh());
        World { datapath, config, gateways, workers }
    }
}

/// While somebody holds one gateway's lock, another worker's container sends, is answered, and gets a published port's datagrams.
#[test]
fn a_held_gateway_holds_up_nobody_elses_traffic() {
    let World { mut workers, gateways, .. } = World::shared();
    let server = host_socket();
    let to = SocketAddr::new(LOOPBACK.into(), server.local_addr().unwrap().port());
    let (mut of_second, mut of_first) = (workers.pop().unwrap(), workers.pop().unwrap());
    let published = host_socket();
    let way_in = published.local_addr().unwrap();
    let port = HostPort {
        socket: published.into(),
        target: "10.0.0.3:80".parse().unwrap(),
        gateway: GATEWAY.into(),
        clients: Clients::Gateway,
    };
    let held = gateways[0].0[0].hold();
    let port = gateways[0].publish_datagrams(port).unwrap();
    of_second.sends(to, b"question");
    let mut area = [0; 64];
    let (length, client) = server.recv_from(&mut area).unwrap();
    assert_eq!(&area[..length], b"question");
    server.send_to(b"answer", client).unwrap();
    assert_eq!(of_second.hears(), b"answer");
    server.send_to(b"from outside", way_in).unwrap();
    assert_eq!(of_second.hears(), b"from outside");
    assert!(gateways[0].unpublish(port));
    drop(held);
    of_first.sends(to, b"other");
    let (length, client) = server.recv_from(&mut area).unwrap();
    assert_eq!(&area[..length], b"other");
    server.send_to(b"same", client).unwrap();
    assert_eq!(of_first.hears(), b"same");
    let opened = gateways[0].each().map(|gateway| gateway.stats().datagrams.flows.opened).collect::<Vec<_>>();
    assert_eq!(opened, [1, 2], "each has its own, and the published port's client is one of the second's");
    assert_eq!(gateways[0].stats().datagrams.flows.opened, 3);
}

/// What a gateway does not carry on is a drop of its port, counted there and among its own reasons, and captures see it with both names.
#[test]
fn what_is_not_carried_on() {
    let World { datapath, mut workers, gateways, .. } = World::shared();
    let capture = |reason: &str| {
        let spec = CaptureSpec {
            on: On::All,
            places: Places::DROP,
            filter: vswitch_capture::Filter::new("").unwrap(),
            filter_text: String::new(),
            reason: Some(reason.parse().unwrap()),
            snap_len: 1500,
            super_frames: Super::Whole,
            count: None,
            format: Format::Text,
        };
        datapath.capture(spec).unwrap()
    };
    let captures = ["not-carried", "uncarried", "too-many"].map(capture);
    let worker = &mut workers[0];
    worker.pipeline.refresh();
    let server = host_socket();
    let to = SocketAddr::new(LOOPBACK.into(), server.local_addr().unwrap().port());
    worker.sends(to, b"carried");
    worker.sends_other(47, to);
    let port = worker.pipeline.port(worker.way_out).unwrap();
    let counted = port.counters.sum();
    let drops = |reason| counted.drops.of(reason);
    assert_eq!((counted.out_frames, drops(DropReason::Uncarried)), (1, 1));
    let own: Vec<_> = gateways[0].stats().datagrams.flows.drops().collect();
    assert_eq!(own, [(DatagramDrop::NotCarried, 1)]);
    let lines = captures.map(|mut capture| {
        capture.stop().stop();
        let text = std::iter::from_fn(|| capture.next_bytes()).flatten().collect();
        String::from_utf8(text).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    });
    for seen in &lines[..2] {
        assert!(seen.len() == 1 && seen[0].ends_with("drop uncarried (not-carried)"), "{seen:?}");
    }
    assert_eq!(lines[2], [""; 0]);
}

/// A service's published port is with the gateway of the service's address, and so is what its backend answers, although that one's own
/// traffic is another gateway's.
#[test]
fn answers_of_services_come_to_the_gateway_that_asked() {
    let World { datapath, config, mut workers, gateways } = World::shared();
    let service = ServiceSpec {
        id: 1,
        network: config.rules.networks[0].index,
        addresses: vec!["10.0.0.101".parse().unwrap()],
        ports: vec![ServicePort { transport: Transport::Udp, port: 80, target: 8080 }],
        algorithm: Algorithm::RoundRobin,
        backends: vec!["10.0.0.2".parse().unwrap()],
        former: Vec::new(),
        elsewhere: Vec::new(),
    };
    datapath.set_router(Some(config.with_services(vec![service]))).unwrap();
    workers.iter_mut().for_each(|worker| worker.pipeline.refresh());
    let (published, client) = (host_socket(), host_socket());
    client.connect(published.local_addr().unwrap()).unwrap();
    let port = HostPort {
        socket: published.into(),
        target: "10.0.0.101:80".parse().unwrap(),
        gateway: GATEWAY.into(),
        clients: Clients::Gateway,
    };
    gateways[0].publish_datagrams(port).unwrap();
    client.send(b"question").unwrap();
    let [backend, other] = &mut workers[..] else { panic!("there are two") };
    let (shown, question) = loop {
        other.serves();
        if let Some(heard) = backend.heard() {
            break heard;
        }
        std::thread::yield_now();
    };
    assert_eq!(question, b"question");
    backend.sends_from(8080, shown, b"answer");
    let mut area = [0; 64];
    let length = client.recv(&mut area).unwrap();
    assert_eq!(&area[..length], b"answer");
}

/// Containers with the same address and port, on three networks with the same subnet: what each sends and hears is its own, and so
/// are their published ports.
#[test]
fn equal_addresses_are_told_apart() {
    let World { datapath, mut workers, gateways, .. } =
        World::new(&[(Addresses::Shared, &[2]), (Addresses::Own, &[2]), (Addresses::Own, &[2])]);
    let server = host_socket();
    let to = SocketAddr::new(LOOPBACK.into(), server.local_addr().unwrap().port());
    let mut clients = Vec::new();
    for (worker, words) in workers.iter_mut().zip([b"one", b"two", b"six"]) {
        worker.sends(to, words);
        let mut area = [0; 64];
        let (length, client) = server.recv_from(&mut area).unwrap();
        assert_eq!(&area[..length], words);
        assert!(!clients.contains(&client), "a socket of its own");
        clients.push(client);
    }
    let mut ports = Vec::new();
    for gateway in &gateways {
        let socket = host_socket();
        ports.push(socket.local_addr().unwrap());
        let target = "10.0.0.2:80".parse().unwrap();
        let (gateway_address, clients) = (GATEWAY.into(), Clients::Gateway);
        let port = HostPort { socket: socket.into(), target, gateway: gateway_address, clients };
        gateway.publish_datagrams(port).unwrap();
    }
    for (number, worker) in workers.iter_mut().enumerate().rev() {
        let (answer, call) = (format!("answer {number}"), format!("call {number}"));
        server.send_to(answer.as_bytes(), clients[number]).unwrap();
        assert_eq!(worker.hears(), answer.as_bytes());
        server.send_to(call.as_bytes(), ports[number]).unwrap();
        assert_eq!(worker.hears(), call.as_bytes());
    }
    for worker in &workers {
        assert!(worker.peer.try_receive().is_none(), "nothing else came");
    }
    assert_eq!(datapath.stats().router.unwrap().flows.flows, 3 + 3);
    for gateway in &gateways {
        let counted = gateway.stats().datagrams.flows;
        assert_eq!((counted.opened, counted.received[0]), (2, 2));
    }
}
