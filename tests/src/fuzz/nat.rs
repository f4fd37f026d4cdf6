//! The packet-level translator and the engines of the sockets uplink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use vswitch_frame::{Fragment, FrameBuf, Headers, L3, MacAddr, NetworkIndex, Offload, Packet, PacketMut, Timestamp};
use vswitch_nat::proxy::datagram::wire::{self, Link, Notice};
use vswitch_nat::proxy::datagram::{
    Arrival, ClientAddressing, DatagramLimits, Datagrams, Filter, Heard, Listener, Report,
};
use vswitch_nat::proxy::destinations::Destinations;
use vswitch_nat::proxy::reassembly::{Joined, Reassembly, ReassemblyLimits};
use vswitch_nat::proxy::shares::Owner;
use vswitch_nat::proxy::stream::{Ending, Ends, HostSide, Readiness, Slot, StreamLimits, Streams};
use vswitch_nat::rules::{
    Addresses, NetworkSpec, Publish, Reach, Rules, RulesSpec, SubnetSpec, Translation, Transport,
};
use vswitch_nat::table::{FlowFilter, Leg, Limits};
use vswitch_nat::translate::FragmentLimits;
use vswitch_nat::{Context, Decision, Nat};

use super::frames::{Answer, Frame, USUAL};
use super::input::Input;

/// What needs its own source address on the uplink is number 4; number 3 is internal.
const ROUTED: NetworkIndex = NetworkIndex::new(4);
const INTERNAL: NetworkIndex = NetworkIndex::new(3);

fn rules() -> Rules {
    let subnet = |net: &str, gateway: &str, translation| SubnetSpec {
        net: net.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        translation,
    };
    let network = |index: u16, reach, subnets| NetworkSpec {
        index: NetworkIndex::new(index),
        reach,
        subnets,
        addresses: Addresses::Shared,
    };
    let publish = |transport, host: Option<&str>, host_port: &str, target: &str, port: &str| Publish {
        transport,
        host: host.map(|host| host.parse().unwrap()),
        host_ports: host_port.parse().unwrap(),
        target: target.parse().unwrap(),
        network: None,
        target_ports: port.parse().unwrap(),
    };
    let (masquerade, routed) = (Translation::Masquerade, Translation::Routed);
    let spec = RulesSpec {
        networks: vec![
            network(
                1,
                Reach::Uplink,
                vec![subnet("10.1.0.0/24", "10.1.0.1", masquerade), subnet("fd00:1::/64", "fd00:1::1", masquerade)],
            ),
            network(
                2,
                Reach::Uplink,
                vec![subnet("10.2.0.0/24", "10.2.0.1", masquerade), subnet("fd00:2::/64", "fd00:2::1", masquerade)],
            ),
            network(3, Reach::Internal, vec![subnet("10.4.0.0/24", "10.4.0.1", masquerade)]),
            network(4, Reach::Uplink, vec![subnet("192.0.2.0/24", "192.0.2.1", routed)]),
        ],
        external: vec!["203.0.113.1".parse().unwrap(), "2001:db8:ff::1".parse().unwrap()],
        publish: vec![
            publish(Transport::Tcp, Some("203.0.113.1"), "8080", "10.1.0.2", "80"),
            publish(Transport::Udp, None, "53", "10.2.0.2", "53"),
            publish(Transport::Sctp, None, "443", "10.1.0.2", "443"),
            publish(Transport::Tcp, None, "443", "fd00:1::2", "443"),
        ],
        ..RulesSpec::default()
    };
    spec.try_into().expect("they do not contradict each other")
}

fn ends(headers: &Headers, bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match headers.l3() {
        L3::Ipv4 => Some((headers.source_v4(bytes).into(), headers.destination_v4(bytes).into())),
        L3::Ipv6 => Some((headers.source_v6(bytes).into(), headers.destination_v6(bytes).into())),
        _ => None,
    }
}

/// Nothing with an inside source leaves, nothing passes from or to an internal network, and the destination is the one
/// that the route was looked up for.
pub(super) fn nat(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let rules = rules();
    let limits = Limits { flows: 32, flows_per_endpoint: 16, events: 8 };
    let nat = Nat::new(limits, FragmentLimits::default(), 42);
    let mut random = StdRng::seed_from_u64(7);
    let mut now = Timestamp::from_millis(1_000_000);
    while !input.is_empty() {
        now = now + Duration::from_millis(input.pick(&[1, 1, 1, 20, 5000, 200_000]));
        nat.handle_timeout(now);
        let frame = Frame::new(&mut input, &USUAL);
        let Ok(headers) = Headers::parse(&frame.bytes) else { continue };
        let Some((source, destination)) = ends(&headers, &frame.bytes) else { continue };
        // The router checks sources and destinations before it asks.
        let embedded = |one: IpAddr| matches!(one, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if embedded(source) || embedded(destination) {
            continue;
        }
        let ingress = rules.network_of(source).map_or(Leg::Uplink, Leg::Inside);
        let context = Context { rules: &rules, ingress, now };
        let mut bytes = frame.bytes.clone();
        let Ok(mut packet) = PacketMut::admit(&mut bytes, frame.offload) else { continue };
        if let Ok(Decision::Forward(path)) = nat.lookup(&context, &packet.view()) {
            let (egress, target) = (path.egress(), path.destination());
            let outcome = nat.translate(&context, path, &mut packet, &mut random);
            if outcome.is_ok() {
                let after = Headers::parse(&bytes).expect("a frame stays one");
                let (source, destination) = ends(&after, &bytes).expect("a packet stays one");
                assert_eq!((bytes.len(), destination), (frame.bytes.len(), target));
                assert_eq!(after.protocol(), headers.protocol());
                check_passage(&rules, (ingress, egress), source);
            }
        }
        for released in nat.released() {
            assert!(released.packet.view().fragment() == Fragment::Later);
        }
        assert!(nat.table().len() <= 32);
    }
    assert!(nat.table().list(&FlowFilter::default(), now).len() <= 32);
}

fn check_passage(rules: &Rules, (ingress, egress): (Leg, Leg), source: IpAddr) {
    if egress == Leg::Uplink {
        let inside = rules.network_of(source);
        assert!(inside.is_none_or(|network| network == ROUTED), "{source} leaves by the uplink");
    }
    let internal = Leg::Inside(INTERNAL);
    assert!(ingress == egress || (ingress != internal && egress != internal), "{ingress:?} reaches {egress:?}");
}

/// A datagram that became whole is one packet without fragments, and what waits is bounded.
pub(super) fn reassembly(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut engine = Reassembly::new(ReassemblyLimits { datagrams: 8, per_endpoint: 4, bytes: 200_000 });
    let mut out = FrameBuf::new();
    let mut now = Timestamp::ZERO;
    while !input.is_empty() {
        now = now + Duration::from_millis(input.pick(&[1, 1, 1, 900, 40_000]));
        engine.handle_timeout(now);
        let frame = Frame::new(&mut input, &USUAL);
        let Ok(headers) = Headers::parse(&frame.bytes) else { continue };
        if headers.fragment() == Fragment::None {
            continue;
        }
        let owner = Owner::Endpoint(input.below(3) as u64);
        if engine.take(&Packet::finished(&frame.bytes), owner, now, &mut out) == Joined::Whole {
            let whole = Headers::parse(out.frame()).expect("it was made");
            assert_eq!((whole.fragment(), whole.l3()), (Fragment::None, headers.l3()));
            assert_eq!(whole.l3_end(), out.len());
            // Of IPv6 the first fragment says it, whatever this one does (RFC 8200 4.5).
            assert!(whole.protocol() == headers.protocol() || whole.l3() == L3::Ipv6);
        }
        let counters = engine.counters();
        assert!(counters.waiting <= 8 && counters.bytes <= 200_000, "{counters:?}");
    }
}

const LINK: Link = Link { own: MacAddr::new([2, 0, 0, 0, 0, 1]), peer: MacAddr::new([2, 0, 0, 0, 0, 2]) };
const FAR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)), 40_000);

fn address(input: &mut Input<'_>) -> SocketAddr {
    let address: IpAddr = if input.one_in(3) { input.pick(USUAL.v6).into() } else { input.pick(USUAL.v4).into() };
    SocketAddr::new(address, if input.one_in(4) { input.word() } else { input.pick(USUAL.ports) })
}

fn shown(input: &mut Input<'_>) -> ClientAddressing {
    if input.one_in(2) {
        ClientAddressing::Gateway(Ipv4Addr::new(10, 1, 0, 1).into())
    } else {
        ClientAddressing::Client
    }
}

/// Flows are bounded, and every frame that is made is a packet that parses.
pub(super) fn datagram(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limits = DatagramLimits { flows: 16, per_endpoint: 8, ..DatagramLimits::default() };
    let loopback_v4 = Some(Ipv4Addr::new(10, 0, 2, 2));
    let filter = input.pick(&[Filter::AddressAndPortDependent, Filter::EndpointIndependent]);
    let mut engine = Datagrams::new(limits, Destinations { loopback_v4, ..Destinations::default() }, filter, 7);
    let mut now = Timestamp::ZERO;
    let (mut out, mut slots) = (FrameBuf::new(), Vec::new());
    while !input.is_empty() {
        let slot = if slots.is_empty() { None } else { Some(input.pick(&slots)) };
        let kind = input.below(8);
        let made = match (kind, slot) {
            (0..=2, _) => {
                let frame = Frame::new(&mut input, &USUAL);
                let mut bytes = frame.bytes.clone();
                if let Ok(packet) = PacketMut::admit(&mut bytes, frame.offload) {
                    if let Ok(outgoing) = engine.outgoing(&packet.view(), now) {
                        engine.sent(&outgoing);
                        slots.push(outgoing.slot);
                        if input.one_in(8) {
                            engine.refuse(outgoing.slot);
                        }
                    }
                    // Only frames of the engine's own making are cut, whose offload is right.
                    if frame.offload == Offload::NONE {
                        in_fragments(&mut input, &packet.view());
                    }
                }
                false
            }
            (3, Some(slot)) => {
                let (length, segment) = (input.word().into(), Some(input.word()).filter(|&size| size > 0));
                let heard = Heard { slot, from: address(&mut input), length, segment };
                let own = input.one_in(4);
                engine.incoming(&heard, LINK, now, &mut out, |_| own).is_ok()
            }
            (4, Some(slot)) => {
                let from = input.one_in(2).then(|| address(&mut input).ip());
                let notice = Notice { kind: input.byte(), code: input.byte(), rest: input.long() };
                let length = input.below(600);
                let destination = address(&mut input);
                let report = Report { slot, from, destination, payload: input.take(length), notice };
                engine.report(&report, LINK, now, &mut out).is_ok()
            }
            (5, _) => {
                let arrival = Arrival {
                    listener: Listener(u32::from(input.byte() % 4)),
                    client: address(&mut input),
                    local: None,
                    target: SocketAddr::new(Ipv4Addr::new(10, 1, 0, 2).into(), 53),
                    shown: shown(&mut input),
                    length: input.word().into(),
                    segment: None,
                };
                engine.arriving(&arrival, LINK, now, &mut out).is_ok()
            }
            (6, _) => {
                now = now + Duration::from_secs(input.pick(&[1, 10, 20, 400]));
                engine.handle_timeout(now);
                false
            }
            _ => {
                engine.forget_endpoint(Ipv4Addr::new(10, 1, 0, input.byte() % 4).into());
                engine.forget_listener(Listener(u32::from(input.byte() % 4)));
                false
            }
        };
        if made {
            let headers = Headers::parse(out.frame()).expect("it was made");
            assert!(matches!(headers.l3(), L3::Ipv4 | L3::Ipv6), "{:?}", headers.l3());
        }
        while let Some(closed) = engine.take_closed() {
            slots.retain(|slot| *slot != closed);
        }
        assert!(engine.counters().flows <= 16);
    }
}

fn in_fragments(input: &mut Input<'_>, packet: &Packet<'_>) {
    let mtu = input.pick(&[1500, 576, 1280, 68, 9000]);
    for piece in wire::fragments(packet, mtu, 1) {
        let piece = Headers::parse(&piece).expect("it was made");
        // IPv6 has no links below 1,280 bytes.
        assert!(piece.l3_end() - piece.l3_offset() <= usize::from(mtu).max(1280));
    }
}

/// A host whose sockets do what the input says.
#[derive(Default)]
struct Host {
    mood: u8,
    readable: usize,
}

impl HostSide for Host {
    fn connect(&mut self, _: Slot, _: &Ends) -> io::Result<()> {
        if self.mood == 1 { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }

    fn connected(&mut self, _: Slot) -> Option<io::Result<()>> {
        match self.mood {
            2 => None,
            3 => Some(Err(io::ErrorKind::ConnectionRefused.into())),
            _ => Some(Ok(())),
        }
    }

    fn write(&mut self, _: Slot, bytes: &[u8]) -> io::Result<usize> {
        match self.mood {
            4 => Err(io::ErrorKind::WouldBlock.into()),
            5 => Err(io::ErrorKind::ConnectionReset.into()),
            6 => Ok(bytes.len().min(1)),
            _ => Ok(bytes.len()),
        }
    }

    fn read(&mut self, _: Slot, area: &mut [u8]) -> io::Result<usize> {
        let count = area.len().min(self.readable);
        match (self.mood, count) {
            (7, _) => Ok(0),
            (8, _) => Err(io::ErrorKind::ConnectionReset.into()),
            (_, 0) => Err(io::ErrorKind::WouldBlock.into()),
            _ => {
                self.readable -= count;
                area[..count].fill(7);
                Ok(count)
            }
        }
    }

    fn finish(&mut self, _: Slot) {}

    fn close(&mut self, _: Slot, _: Ending) {}
}

/// Connections are bounded, what the engine sends are packets, and it comes to an end of sending.
pub(super) fn stream(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limits = StreamLimits {
        flows: 8,
        per_endpoint: 6,
        ring: 8192,
        rings: 40_000,
        small_ring: 2048,
        ..StreamLimits::default()
    };
    let mut engine = Streams::new(limits, LINK, 42);
    let mut host = Host::default();
    let mut now = Timestamp::from_millis(1000);
    let mut buffers: Vec<FrameBuf> = std::iter::repeat_with(FrameBuf::new).take(4).collect();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    while !input.is_empty() {
        let took = |engine: &mut Streams, host: &mut Host, frame: &Frame| {
            let mut bytes = frame.bytes.clone();
            if let Ok(packet) = PacketMut::admit(&mut bytes, frame.offload)
                && ends(&packet, packet.view().frame()).is_some()
            {
                let drops = |engine: &Streams| engine.counters().drops().map(|(_, count)| count).sum::<u64>();
                let before = drops(engine);
                let taken = engine.frame(&packet.view(), None, now, host);
                assert!(taken.is_ok() || drops(engine) > before, "a drop is counted");
            }
        };
        match input.below(10) {
            0 | 1 => took(&mut engine, &mut host, &Frame::new(&mut input, &USUAL)),
            2..=4 if !seen.is_empty() => {
                let packet = &seen[input.below(seen.len())];
                let flags = input.pick(&[None, Some(0x10), Some(0x12), Some(0x11), Some(0x14), Some(2), Some(0x19)]);
                let (length, ahead, window) =
                    (input.below(1460), input.pick(&[0, 0, 1, 1460]), input.pick(&[0xffff, 0xffff, 0, 1]));
                let answer = Answer { payload: &[1], length, flags, ahead, window };
                if let Some(frame) = Frame::answering(packet, &answer) {
                    took(&mut engine, &mut host, &frame);
                }
            }
            5 => {
                if let Some(slot) = Slot::new(input.below(8)) {
                    let news = Readiness { readable: input.one_in(2), writable: input.one_in(2) };
                    engine.ready(slot, news, now, &mut host);
                }
            }
            6 => {
                let target = SocketAddr::new(Ipv4Addr::new(10, 1, 0, 2).into(), 80);
                let client = if input.one_in(2) { address(&mut input) } else { FAR };
                let _ = engine.accept(client, target, shown(&mut input), now, &mut host);
            }
            7 => {
                now = now + Duration::from_millis(input.pick(&[1, 10, 200, 3000, 100_000, 8_000_000]));
                engine.handle_timeout(now);
            }
            8 => (host.mood, host.readable) = (input.byte() % 9, input.word().into()),
            _ => {
                if input.one_in(4) {
                    engine.forget_endpoint(None, Ipv4Addr::new(10, 1, 0, 2).into(), &mut host);
                }
            }
        }
        let mut rounds = 0;
        loop {
            let count = engine.fill(&mut buffers, now, &mut host);
            for buffer in &buffers[..count] {
                let headers = Headers::parse(buffer.frame()).expect("it was made");
                assert!(ends(&headers, buffer.frame()).is_some());
                if seen.len() < 16 && buffer.offload == Offload::NONE || buffer.len() < 200 {
                    seen.push(buffer.frame().to_vec());
                }
            }
            if count < buffers.len() {
                break;
            }
            rounds += 1;
            assert!(rounds < 5000, "it never ends");
        }
        seen.truncate(16);
        assert!(engine.counters().flows <= 8);
    }
    assert!(engine.records().count() <= 8);
}
