//! The translator: lookup and translation of a known flow, and opening a new one.

use std::net::Ipv4Addr;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use vswitch_frame::{NetworkIndex, Offload, PacketMut, Timestamp, checksum, ipv4};
use vswitch_nat::rules::{NetworkSpec, Reach, SubnetSpec, Translation};
use vswitch_nat::table::{Leg, Limits};
use vswitch_nat::translate::FragmentLimits;
use vswitch_nat::{Context, Decision, Nat, Rules, RulesSpec};

use super::{Cases, Step};

pub(super) const CASES: Cases = &[("nat/known-udp", known_udp), ("nat/known-tcp", known_tcp), ("nat/new-udp", new_udp)];

const INSIDE: Leg = Leg::Inside(NetworkIndex::new(1));
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

struct Translator {
    nat: Nat,
    rules: Rules,
    rng: StdRng,
}

impl Translator {
    fn new() -> Translator {
        let subnet = SubnetSpec {
            net: "10.0.0.0/8".parse().expect("a subnet"),
            gateway: Some(Ipv4Addr::new(10, 255, 255, 254).into()),
            translation: Translation::Masquerade,
        };
        let network = NetworkSpec { index: NetworkIndex::new(1), subnets: vec![subnet], reach: Reach::Uplink };
        let external = (1..32).map(|last| [203, 0, 113, last].into()).collect();
        let spec = RulesSpec { networks: vec![network], external, ..RulesSpec::default() };
        let limits = Limits { flows: 1 << 20, flows_per_endpoint: 1 << 20, ..Limits::default() };
        Translator {
            nat: Nat::new(limits, FragmentLimits::default(), 1),
            rules: Rules::try_from(spec).expect("good rules"),
            rng: StdRng::seed_from_u64(1),
        }
    }

    fn send(&mut self, frame: &mut [u8]) {
        let mut packet = PacketMut::admit(frame, Offload::NONE).expect("a frame");
        let context = Context { rules: &self.rules, ingress: INSIDE, now: Timestamp::from_millis(1000) };
        let Ok(Decision::Forward(path)) = self.nat.lookup(&context, &packet.view()) else {
            unreachable!("it has a way out")
        };
        let outcome = self.nat.translate(&context, path, &mut packet, &mut self.rng);
        assert!(outcome.is_ok());
    }
}

/// A segment or datagram from `port` of `client` with a finished checksum.
fn packet(protocol: u8, client: Ipv4Addr, port: u16, flags: u8) -> Vec<u8> {
    let tcp = protocol == ipv4::protocol::TCP;
    let length: u16 = if tcp { 20 } else { 26 };
    let mut frame = super::frames::frame(protocol, (client, SERVER), length);
    let l4 = &mut frame[34..];
    l4[..2].copy_from_slice(&port.to_be_bytes());
    l4[3] = 80;
    let at = if tcp {
        l4[7] = 1;
        l4[12..14].copy_from_slice(&[0x50, flags]);
        l4[14] = 0xff;
        16
    } else {
        l4[5] = 26;
        6
    };
    let pseudo = checksum::pseudo_header_v4(client, SERVER, protocol, length.into());
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
