//! The translator: lookup and translation of a known flow, and opening a new one.

use std::net::Ipv4Addr;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use vswitch_frame::{NetworkIndex, Offload, Packet, PacketMut, Timestamp, checksum, ipv4};
use vswitch_nat::rules::{
    Addresses, Algorithm, NetworkSpec, PortRange, Publish, Reach, ServicePort, ServiceSpec, SubnetSpec, Translation,
    Transport,
};
use vswitch_nat::table::{Leg, Limits};
use vswitch_nat::translate::FragmentLimits;
use vswitch_nat::{Context, Decision, Nat, NatDrop, Rules, RulesSpec};

use super::{Cases, Step};

pub(super) const CASES: Cases = &[
    ("nat/known-udp", known_udp),
    ("nat/known-tcp", known_tcp),
    ("nat/new-udp", new_udp),
    ("nat/published-udp", || there_and_back(Through::Published)),
    ("nat/service-udp", || there_and_back(Through::Service)),
    ("nat/new-service-udp", new_service_udp),
];

const INSIDE: Leg = Leg::Inside(NetworkIndex::new(1));
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

/// By what members of a network reach another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    /// A port that is published on the host.
    Published,
    /// A service of their own network, of which each other member is a backend.
    Service,
}

/// Backends of the service.
const BACKENDS: u8 = 16;

fn backend(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, number)
}

struct Translator {
    nat: Nat,
    rules: Rules,
    rng: StdRng,
}

impl Translator {
    fn new() -> Translator {
        Translator::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut RulesSpec)) -> Translator {
        let subnet = SubnetSpec {
            net: "10.0.0.0/8".parse().expect("a subnet"),
            gateway: Some(Ipv4Addr::new(10, 255, 255, 254).into()),
            translation: Translation::Masquerade,
        };
        let network = NetworkSpec {
            index: NetworkIndex::new(1),
            subnets: vec![subnet],
            reach: Reach::Uplink,
            addresses: Addresses::Shared,
        };
        let external = (1..32).map(|last| [203, 0, 113, last].into()).collect();
        let mut spec = RulesSpec { networks: vec![network], external, ..RulesSpec::default() };
        change(&mut spec);
        let limits = Limits { flows: 1 << 20, flows_per_endpoint: 1 << 20, ..Limits::default() };
        Translator {
            nat: Nat::new(limits, FragmentLimits::default(), 1),
            rules: Rules::try_from(spec).expect("good rules"),
            rng: StdRng::seed_from_u64(1),
        }
    }

    fn send(&mut self, frame: &mut [u8]) {
        self.pass(frame, Nat::lookup);
    }

    /// What a bridge would carry, of a network with services.
    fn answer(&mut self, frame: &mut [u8]) {
        self.pass(frame, |nat, context, packet| nat.answer_of_service(context, packet).expect("it is an answer"));
    }

    fn pass(
        &mut self,
        frame: &mut [u8],
        ask: impl FnOnce(&Nat, &Context<'_>, &Packet<'_>) -> Result<Decision, NatDrop>,
    ) {
        let mut packet = PacketMut::admit(frame, Offload::NONE).expect("a frame");
        let context = Context { rules: &self.rules, ingress: INSIDE, now: Timestamp::from_millis(1000) };
        let Ok(Decision::Forward(path)) = ask(&self.nat, &context, &packet.view()) else {
            unreachable!("it has a way")
        };
        let outcome = self.nat.translate(&context, path, &mut packet, &mut self.rng);
        assert!(outcome.is_ok());
    }
}

/// Rules by which members of a network reach another one.
fn reached(through: Through) -> Translator {
    Translator::with(|spec| match through {
        Through::Published => spec.publish.push(Publish {
            transport: Transport::Udp,
            host: None,
            host_ports: PortRange::single(80).expect("a port"),
            target: backend(1).into(),
            network: None,
            target_ports: PortRange::single(80).expect("a port"),
        }),
        Through::Service => spec.services.push(ServiceSpec {
            id: 1,
            network: NetworkIndex::new(1),
            addresses: vec![SERVICE.into()],
            ports: vec![ServicePort { transport: Transport::Udp, port: 80, target: 80 }],
            algorithm: Algorithm::RoundRobin,
            backends: (1..=BACKENDS).map(|number| backend(number).into()).collect(),
            former: Vec::new(),
            elsewhere: Vec::new(),
        }),
    })
}

/// A datagram from one member of a network to another and its answer.
fn there_and_back(through: Through) -> Step {
    let mut translator = reached(through);
    let towards = if through == Through::Service { SERVICE } else { EXTERNAL };
    let request = datagram((CLIENT, 4000), (towards, 80));
    let mut there = request.clone();
    translator.send(&mut there);
    // The answer goes to whom the request shows as its sender.
    let at = |from: usize| Ipv4Addr::new(there[from], there[from + 1], there[from + 2], there[from + 3]);
    let port = u16::from_be_bytes([there[34], there[35]]);
    let answer = datagram((at(30), 80), (at(26), port));
    let mut back = answer.clone();
    Box::new(move || {
        there.copy_from_slice(&request);
        translator.send(&mut there);
        back.copy_from_slice(&answer);
        match through {
            Through::Published => translator.send(&mut back),
            Through::Service => translator.answer(&mut back),
        }
    })
}

fn new_service_udp() -> Step {
    let mut translator = reached(Through::Service);
    let mut index = 0u32;
    Box::new(move || {
        let client = Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 0, 0).to_bits() + index / 50_000);
        let port = u16::try_from(10_000 + index % 50_000).expect("below 60,000");
        index += 1;
        translator.send(&mut datagram((client, port), (SERVICE, 80)));
    })
}

fn datagram(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    between(ipv4::protocol::UDP, from, to, 0)
}

/// A segment or datagram from `port` of `client` with a finished checksum.
fn packet(protocol: u8, client: Ipv4Addr, port: u16, flags: u8) -> Vec<u8> {
    between(protocol, (client, port), (SERVER, 80), flags)
}

fn between(
    protocol: u8,
    (client, port): (Ipv4Addr, u16),
    (server, server_port): (Ipv4Addr, u16),
    flags: u8,
) -> Vec<u8> {
    let tcp = protocol == ipv4::protocol::TCP;
    let length: u16 = if tcp { 20 } else { 26 };
    let mut frame = super::frames::frame(protocol, (client, server), length);
    let l4 = &mut frame[34..];
    l4[..2].copy_from_slice(&port.to_be_bytes());
    l4[2..4].copy_from_slice(&server_port.to_be_bytes());
    let at = if tcp {
        l4[7] = 1;
        l4[12..14].copy_from_slice(&[0x50, flags]);
        l4[14] = 0xff;
        16
    } else {
        l4[5] = 26;
        6
    };
    let pseudo = checksum::pseudo_header_v4(client, server, protocol, length.into());
    let value = !checksum::fold(pseudo + checksum::sum(l4));
    l4[at..at + 2].copy_from_slice(&value.to_be_bytes());
    frame
}

fn known(template: Vec<u8>) -> Step {
    let mut translator = Translator::new();
    let mut frame = template.clone();
    translator.send(&mut frame);
    Box::new(move || {
        frame.copy_from_slice(&template);
        translator.send(&mut frame);
    })
}

fn known_udp() -> Step {
    known(packet(ipv4::protocol::UDP, CLIENT, 4000, 0))
}

/// A SYN again and again, which the connection's state takes for a retransmission.
fn known_tcp() -> Step {
    known(packet(ipv4::protocol::TCP, CLIENT, 4000, 2))
}

fn new_udp() -> Step {
    let mut translator = Translator::new();
    let mut index = 0u32;
    Box::new(move || {
        let client = Ipv4Addr::from_bits(CLIENT.to_bits() + index / 50_000);
        let port = u16::try_from(10_000 + index % 50_000).expect("below 60,000");
        index += 1;
        translator.send(&mut packet(ipv4::protocol::UDP, client, port, 0));
    })
}
