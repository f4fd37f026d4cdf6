//! The engine between a container and an outside, both played by the test.

use proptest::prelude::*;
use vswitch_frame::MacAddr;
use vswitch_frame::offload::PartialChecksum;
use vswitch_frame::udp::Udp;
use vswitch_frame::{Gso, Headers, Offload, PacketMut, checksum, segment};

use super::*;

const LINK: Link = Link { own: MacAddr::new([2, 0, 0, 0, 0, 1]), peer: MacAddr::new([2, 0, 0, 0, 0, 2]) };
const INSIDE: &str = "10.0.0.2:4000";
const SERVER: &str = "192.0.2.1:7";
/// An address of the host's own.
const HOST: &str = "203.0.113.1";

struct World {
    engine: Datagrams,
    now: u64,
    out: FrameBuf,
}

impl World {
    fn new(limits: DatagramLimits) -> World {
        World::filtering(limits, Filter::default())
    }

    fn filtering(limits: DatagramLimits, filter: Filter) -> World {
        let engine = Datagrams::new(limits, Destinations::default(), filter, 7);
        World { engine, now: 0, out: FrameBuf::new() }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.now * 1000)
    }

    /// A datagram from inside; its flow, what carries it, and where it goes.
    fn sends(&mut self, from: &str, to: &str, payload: &[u8]) -> Result<(Slot, By, SocketAddr), DatagramDrop> {
        let frame = datagram(from, to, payload);
        let now = self.time();
        let outgoing = self.engine.outgoing(&frame.packet(), now)?;
        assert_eq!(outgoing.payload, payload);
        self.engine.sent(&outgoing);
        Ok((outgoing.slot, outgoing.by, outgoing.to))
    }

    fn maps(&mut self, from: &str, to: &str) -> Slot {
        self.sends(from, to, b"x").unwrap().0
    }

    /// A datagram from outside to a flow's socket; source and destination as the container sees them.
    fn receives(&mut self, slot: Slot, from: &str, payload: &[u8]) -> Result<(String, String), DatagramDrop> {
        let at = wire::udp_header_len(address(from).is_ipv6());
        self.out.receive_area()[at..at + payload.len()].copy_from_slice(payload);
        let now = self.time();
        let heard = Heard { slot, from: address(from), length: payload.len(), segment: None };
        self.engine.incoming(&heard, LINK, now, &mut self.out, |address| address.to_string() == HOST)?;
        Ok(self.shown(payload))
    }

    fn shown(&mut self, payload: &[u8]) -> (String, String) {
        let mut frame = self.out.frame().to_vec();
        let headers = Headers::parse(&frame).unwrap();
        vswitch_frame::offload::complete_checksum(&mut frame, &mut self.out.offload.clone());
        let (source, destination) = headers.ip_addresses(&frame);
        let l4 = headers.l4(&frame);
        let header = Udp::parse(l4).unwrap();
        assert!(wire::checksum_is_right(source, destination, l4, l4.len()), "a finished checksum");
        assert_eq!(header.payload(), payload);
        let of = |address, port| SocketAddr::new(address, port).to_string();
        (of(source, header.source_port()), of(destination, header.destination_port()))
    }

    fn closed(&mut self) -> Vec<Slot> {
        std::iter::from_fn(|| self.engine.take_closed()).collect()
    }

    fn passes(&mut self, seconds: u64) -> Vec<Slot> {
        self.now += seconds;
        let now = self.time();
        self.engine.handle_timeout(now);
        self.closed()
    }

    fn dropped(&self, reason: DatagramDrop) -> u64 {
        self.engine.counters().drops().find(|(other, _)| *other == reason).map_or(0, |(_, count)| count)
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn datagram(from: &str, to: &str, payload: &[u8]) -> FrameBuf {
    let mut out = FrameBuf::new();
    let (from, to) = (address(from), address(to));
    let at = wire::udp_header_len(from.is_ipv6());
    out.receive_area()[at..at + payload.len()].copy_from_slice(payload);
    assert!(wire::write_udp(&mut out, LINK, from, to, payload.len(), None, Meta::default()));
    out
}

fn echo(from: &str, to: &str, identifier: u16) -> FrameBuf {
    let mut out = FrameBuf::new();
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let at = wire::echo_header_len(from.is_ipv6());
    let kind = if from.is_ipv6() { icmp::v6::ECHO_REQUEST } else { icmp::v4::ECHO_REQUEST };
    icmp::write_header(&mut out.receive_area()[at..at + 8], kind, 0, 3);
    out.receive_area()[at + 8..at + 16].copy_from_slice(b"abcdefgh");
    assert!(wire::write_echo(&mut out, LINK, from, to, 16, identifier, Meta::default()));
    out
}

/// One socket inside has one host socket whoever it talks to (RFC 4787 REQ-1), another has another; whom it wrote to is heard,
/// and is shown by his own address.
#[test]
fn endpoint_independent_mapping() {
    let mut world = World::new(DatagramLimits::default());
    let (slot, by, to) = world.sends(INSIDE, SERVER, b"hello").unwrap();
    assert_eq!((by, to), (By::Own { fresh: true }, address(SERVER)));
    let (again, by, _) = world.sends(INSIDE, "198.51.100.9:9", b"").unwrap();
    assert_eq!((again, by), (slot, By::Own { fresh: false }));
    assert_ne!(world.maps("10.0.0.3:4000", SERVER), slot, "same port, another container");
    assert_ne!(world.maps("10.0.0.2:4001", SERVER), slot);
    assert_ne!(world.maps("[fd00::2]:4000", "[2001:db8::1]:7"), slot);
    assert_eq!(world.receives(slot, SERVER, b"answer").unwrap(), (SERVER.to_owned(), INSIDE.to_owned()));
    assert_eq!(world.receives(slot, "198.51.100.9:9", b"").unwrap().0, "198.51.100.9:9");
    let counters = world.engine.counters();
    assert_eq!((counters.flows, counters.opened, counters.sent, counters.received), (4, 4, [5, 8], [2, 6]));
}

/// Nobody is heard whom the flow has not written to, address and port; and nobody for longer than a flow lives.
#[test]
fn filtering() {
    let mut world = World::new(DatagramLimits::default());
    let slot = world.maps(INSIDE, SERVER);
    for stranger in ["192.0.2.1:8", "192.0.2.2:7", "203.0.113.1:7"] {
        assert_eq!(world.receives(slot, stranger, b"in?"), Err(DatagramDrop::Unsolicited), "{stranger}");
    }
    assert_eq!(world.maps(INSIDE, "192.0.2.1:8"), slot);
    world.receives(slot, "192.0.2.1:8", b"").unwrap();
    world.receives(slot, SERVER, b"").unwrap();
    for _ in 0..7 {
        world.passes(100);
        world.maps(INSIDE, "192.0.2.1:8");
    }
    assert_eq!(world.receives(slot, SERVER, b"late"), Err(DatagramDrop::Unsolicited));
    world.receives(slot, "192.0.2.1:8", b"").unwrap();
    assert_eq!((world.dropped(DatagramDrop::Unsolicited), world.engine.counters().flows), (4, 1));
}

/// With endpoint-independent filtering whoever is outside is heard, and the host's own addresses still only when they were
/// written to: by them come other containers and local programs.
#[test]
fn endpoint_independent_filtering() {
    let mut world = World::filtering(DatagramLimits::default(), Filter::EndpointIndependent);
    let slot = world.maps(INSIDE, SERVER);
    assert_eq!(world.receives(slot, "198.51.100.7:1", b"").unwrap().0, "198.51.100.7:1");
    let own = format!("{HOST}:53");
    assert_eq!(world.receives(slot, &own, b"x"), Err(DatagramDrop::Unsolicited));
    world.maps(INSIDE, &own);
    world.receives(slot, &own, b"answer").unwrap();
    assert_eq!(world.receives(slot, &format!("{HOST}:54"), b"x"), Err(DatagramDrop::Unsolicited));
}

/// A slot that was kept while its flow ended leads to nobody, though another endpoint's flow has its place by now: nothing that
/// the old socket still held reaches that one.
#[test]
fn reused_slots() {
    let mut world = World::new(DatagramLimits { flows: 2, ..DatagramLimits::default() });
    let old = world.maps(INSIDE, SERVER);
    world.now += 1;
    world.maps("10.0.0.2:4001", SERVER);
    // A client of another container's published port takes the place.
    let (listener, client) = (Listener(3), address("198.51.100.5:5000"));
    let arrival = Arrival {
        listener,
        client,
        local: None,
        target: address("10.0.1.2:5353"),
        shown: ClientAddressing::Client,
        length: 0,
        segment: None,
    };
    let now = world.time();
    world.engine.arriving(&arrival, LINK, now, &mut world.out).unwrap();
    let new = world.engine.flow_of_client(listener, client).unwrap();
    assert!(new.index() == old.index() && new != old, "{new:?} {old:?}");
    assert_eq!(world.engine.shape(old), None);
    assert_eq!(world.receives(old, SERVER, b"secret"), Err(DatagramDrop::NoFlow));
    let notice = Notice { kind: icmp::v4::UNREACHABLE, code: 3, rest: 0 };
    let told = world.engine.report(
        &Report { slot: old, from: None, destination: address(SERVER), payload: b"secret", notice },
        LINK,
        now,
        &mut world.out,
    );
    assert_eq!(told, Err(DatagramDrop::NoFlow));
    world.engine.refuse(old);
    assert!(world.engine.shape(new).is_some(), "what was meant for the old flow ends the new one");
    assert_eq!(world.closed(), [old]);
}

/// A flow lives for two minutes after a datagram and for five once there was an answer; a question to a name server for
/// seconds; each datagram begins anew, in either direction.
#[test]
fn timers() {
    let mut world = World::new(DatagramLimits::default());
    let slot = world.maps(INSIDE, SERVER);
    assert_eq!(world.passes(120), []);
    world.maps(INSIDE, SERVER);
    assert_eq!(world.passes(121), [slot]);
    let slot = world.maps(INSIDE, SERVER);
    world.receives(slot, SERVER, b"").unwrap();
    assert_eq!(world.passes(300), []);
    world.receives(slot, SERVER, b"").unwrap();
    assert_eq!(world.engine.next_timeout(), Some(Timestamp::from_millis((world.now + 301) * 1000)));
    assert_eq!(world.passes(301), [slot]);
    let names = world.maps(INSIDE, "192.0.2.53:53");
    world.receives(names, "192.0.2.53:53", b"").unwrap();
    assert_eq!(world.passes(16), [names]);
    let mixed = world.maps(INSIDE, "192.0.2.53:53");
    world.maps(INSIDE, SERVER);
    assert_eq!(world.passes(120), []);
    assert_eq!(world.passes(24 * 3600), [mixed]);
    assert_eq!(world.receives(mixed, SERVER, b"late").unwrap_err(), DatagramDrop::NoFlow);
    assert_eq!((world.engine.counters().flows, world.engine.counters().expired), (0, 4));
}

/// Flows are bounded: an endpoint with its share makes room for its own, and a full table takes from whom holds most.
#[test]
fn eviction() {
    let limits = DatagramLimits { flows: 6, per_endpoint: 4, ..DatagramLimits::default() };
    let mut world = World::new(limits);
    let greedy: Vec<_> = (1..=4).map(|port| world.maps(&format!("10.0.0.2:{port}"), SERVER)).collect();
    world.now += 1;
    world.maps("10.0.0.2:1", SERVER);
    world.maps("10.0.0.2:5", SERVER);
    assert_eq!(world.closed(), [greedy[1]], "the one that was idle longest");
    let modest = [world.maps("10.0.0.3:1", SERVER), world.maps("10.0.0.4:1", SERVER)];
    assert_eq!(world.closed(), []);
    world.maps("10.0.0.5:1", SERVER);
    assert_eq!(world.closed(), [greedy[2]]);
    assert!(modest.iter().all(|&slot| world.engine.shape(slot).is_some()));
    assert_eq!((world.engine.counters().flows, world.engine.counters().evicted), (6, 2));
}

/// Two addresses of one container have one share.
#[test]
fn shares_of_a_container() {
    let mut world = World::new(DatagramLimits { flows: 8, per_endpoint: 4, ..DatagramLimits::default() });
    for address in ["10.0.0.2", "fd00::2"] {
        world.engine.owners().assign(None, address.parse().unwrap(), 1);
    }
    let first: Vec<_> = (1..=4).map(|port| world.maps(&format!("10.0.0.2:{port}"), SERVER)).collect();
    world.now += 1;
    world.maps("[fd00::2]:1", "[2001:db8::1]:7");
    assert_eq!(world.closed(), [first[0]]);
}

/// Peers are bounded, in all and of each endpoint: whoever writes to very many forgets its own, and nobody else's.
#[test]
fn peers_are_bounded() {
    let limits = DatagramLimits { peers: 12, peers_per_endpoint: 8, ..DatagramLimits::default() };
    let mut world = World::new(limits);
    let modest = world.maps("10.0.0.3:1", SERVER);
    let greedy = world.maps(INSIDE, SERVER);
    for port in 100..120 {
        world.now += 1;
        assert_eq!(world.maps(INSIDE, &format!("198.51.100.1:{port}")), greedy);
    }
    for port in 100..120 {
        let heard = world.receives(greedy, &format!("198.51.100.1:{port}"), b"");
        assert_eq!(heard.is_ok(), port >= 112, "{port}");
    }
    for host in 4..8 {
        world.maps(&format!("10.0.0.{host}:1"), SERVER);
    }
    assert_eq!(world.receives(greedy, "198.51.100.1:112", b""), Err(DatagramDrop::Unsolicited), "in all");
    world.receives(modest, SERVER, b"").unwrap();
    world.receives(greedy, "198.51.100.1:119", b"").unwrap();
}

/// No socket to be had: the flow is refused and counted, and the next datagram tries again.
#[test]
fn refusal() {
    let mut world = World::new(DatagramLimits::default());
    let slot = world.maps(INSIDE, SERVER);
    world.engine.refuse(slot);
    assert_eq!(world.closed(), [slot]);
    assert_eq!((world.engine.counters().flows, world.dropped(DatagramDrop::NoSocket)), (0, 1));
    assert_eq!(world.sends(INSIDE, SERVER, b"").unwrap().1, By::Own { fresh: true });
}

/// A client of a published port is shown as itself and answered by the port, from the address that it wrote to; what the
/// same socket sends to others goes by a socket of its own.
#[test]
fn sessions() {
    let mut world = World::new(DatagramLimits::default());
    let (listener, client) = (Listener(3), address("198.51.100.5:5000"));
    let local = Some("203.0.113.1".parse().unwrap());
    let arrival = Arrival {
        listener,
        client,
        local,
        target: address(INSIDE),
        shown: ClientAddressing::Client,
        length: 0,
        segment: None,
    };
    let at = wire::udp_header_len(false);
    world.out.receive_area()[at..at + 2].copy_from_slice(b"hi");
    world.engine.arriving(&Arrival { length: 2, ..arrival }, LINK, Timestamp::ZERO, &mut world.out).unwrap();
    assert_eq!(world.shown(b"hi"), (client.to_string(), INSIDE.to_owned()));
    let (_, by, to) = world.sends(INSIDE, "198.51.100.5:5000", b"back").unwrap();
    assert_eq!((by, to), (By::Published { listener, local }, client));
    assert_eq!(world.sends(INSIDE, SERVER, b"").unwrap().1, By::Own { fresh: true });
    // By the gateway's address: each client has a port of its own there.
    let gateway = ClientAddressing::Gateway("10.0.0.1".parse().unwrap());
    let mut seen = Vec::new();
    for port in [6000, 6001, 6000] {
        let client = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
        let arrival = Arrival {
            listener,
            client,
            local: None,
            target: address(INSIDE),
            shown: gateway,
            length: 0,
            segment: None,
        };
        world.engine.arriving(&arrival, LINK, Timestamp::ZERO, &mut world.out).unwrap();
        let (shown, _) = world.shown(b"");
        assert_eq!(world.sends(INSIDE, &shown, b"").unwrap().2, client);
        seen.push(shown);
    }
    assert!(seen[0] == seen[2] && seen[0] != seen[1] && seen[0].starts_with("10.0.0.1:"), "{seen:?}");
    world.engine.forget_listener(listener);
    assert_eq!(world.closed().len(), 3);
    assert_eq!(world.sends(INSIDE, "198.51.100.5:5000", b"").unwrap().1, By::Own { fresh: false });
    world.engine.forget_endpoint("10.0.0.2".parse().unwrap());
    assert_eq!(world.engine.counters().flows, 0);
}

/// Who has spoken with a published port and then says nothing for three minutes is still answered by that port, shown by the same port of
/// the gateway's, and has the same flow: a session of QUIC or WireGuard outlives its silence.
#[test]
fn sessions_outlive_silence() {
    let mut world = World::new(DatagramLimits::default());
    let listener = Listener(3);
    let gateway = ClientAddressing::Gateway([10, 0, 0, 1].into());
    let clients = [("198.51.100.5:5000", ClientAddressing::Client), ("127.0.0.1:6000", gateway)];
    let asks = |world: &mut World, (client, shown): (&str, ClientAddressing)| {
        let (client, target) = (address(client), address(INSIDE));
        let arrival = Arrival { listener, client, local: None, target, shown, length: 0, segment: None };
        let now = world.time();
        world.engine.arriving(&arrival, LINK, now, &mut world.out).unwrap();
        world.shown(b"").0
    };
    let answered = |world: &mut World, (shown, (client, _)): (&String, (&str, ClientAddressing))| {
        let (slot, by, to) = world.sends(INSIDE, shown, b"").unwrap();
        assert_eq!((by, to), (By::Published { listener, local: None }, address(client)));
        slot
    };
    let shown = clients.map(|client| asks(&mut world, client));
    let all_answered =
        |world: &mut World| -> Vec<Slot> { shown.iter().zip(clients).map(|client| answered(world, client)).collect() };
    let flows = all_answered(&mut world);
    assert_eq!(world.passes(180), []);
    assert_eq!(all_answered(&mut world), flows, "the endpoint speaks first");
    assert_eq!(world.passes(180), []);
    assert_eq!(clients.map(|client| asks(&mut world, client)), shown, "the client does");
    assert_eq!(all_answered(&mut world), flows);
    assert_eq!(world.passes(301).len(), 2, "nobody is remembered for ever");
}

/// Echo requests of an identifier have a host socket; answers carry the identifier of inside and a right checksum.
#[test]
fn echoes() {
    for (from, to, reply) in [("10.0.0.2", "192.0.2.1", 0), ("fd00::2", "2001:db8::1", icmp::v6::ECHO_REPLY)] {
        let mut world = World::new(DatagramLimits::default());
        let frame = echo(from, to, 77);
        let outgoing = world.engine.outgoing(&frame.packet(), Timestamp::ZERO).unwrap();
        assert_eq!((outgoing.kind, outgoing.to.ip().to_string()), (Kind::Echo, to.to_owned()));
        assert_eq!(Icmp::parse(outgoing.payload).unwrap().sequence(), 3);
        let slot = outgoing.slot;
        let at = wire::echo_header_len(from.contains(':'));
        let area = world.out.receive_area();
        icmp::write_header(&mut area[at..at + 8], reply, 0, 0x1234_0003);
        area[at + 8..at + 16].copy_from_slice(b"abcdefgh");
        let source = SocketAddr::new(to.parse().unwrap(), 0);
        let heard = Heard { slot, from: source, length: 16, segment: None };
        world.engine.incoming(&heard, LINK, Timestamp::ZERO, &mut world.out, |_| false).unwrap();
        let stranger = SocketAddr::new(if to.contains(':') { "2001:db8::2" } else { "192.0.2.2" }.parse().unwrap(), 0);
        let heard = Heard { from: stranger, ..heard };
        let refused = world.engine.incoming(&heard, LINK, Timestamp::ZERO, &mut FrameBuf::new(), |_| false);
        assert_eq!(refused, Err(DatagramDrop::Unsolicited), "an answer that nobody asked for");
        let headers = Headers::parse(world.out.frame()).unwrap();
        let message = Icmp::parse(headers.l4(world.out.frame())).unwrap();
        assert_eq!((message.identifier(), message.sequence(), message.kind()), (77, 3, reply));
        let pseudo = checksum::pseudo_header(source.ip(), from.parse().unwrap(), protocol::ICMPV6, 16).unwrap();
        let pseudo = if from.contains(':') { pseudo } else { 0 };
        assert_eq!(checksum::fold(pseudo + checksum::sum(headers.l4(world.out.frame()))), 0xffff);
        assert_eq!(world.passes(61), [slot]);
    }
}

/// An ICMP error quotes the packet in its sender's words and comes from the host on the way; the translator's own reader
/// understands it.
#[test]
fn errors() {
    let mut world = World::new(DatagramLimits::default());
    let slot = world.maps(INSIDE, SERVER);
    let notice = Notice { kind: icmp::v4::UNREACHABLE, code: 4, rest: 1400 };
    let router = Some("203.0.113.254".parse().unwrap());
    world
        .engine
        .report(
            &Report { slot, from: router, destination: address(SERVER), payload: b"payload", notice },
            LINK,
            Timestamp::ZERO,
            &mut world.out,
        )
        .unwrap();
    let headers = Headers::parse(world.out.frame()).unwrap();
    assert_eq!(headers.source_v4(world.out.frame()).to_string(), "203.0.113.254");
    let message = Icmp::parse(headers.l4(world.out.frame())).unwrap();
    assert_eq!((message.kind(), message.code(), message.rest()), (3, 4, 1400));
    assert_eq!(checksum::checksum(headers.l4(world.out.frame())), 0);
    let class = crate::classify::classify(&world.out.packet()).unwrap();
    let crate::classify::Class::Error(quotation) = class else { panic!("an error") };
    assert_eq!(quotation.tuple.to_string(), "src=10.0.0.2 dst=192.0.2.1 sport=4000 dport=7");
    // Who sits on a link of the host's is not named.
    let link_local = Some("127.0.0.1".parse().unwrap());
    world
        .engine
        .report(
            &Report { slot, from: link_local, destination: address(SERVER), payload: &[9; 2000], notice },
            LINK,
            Timestamp::ZERO,
            &mut world.out,
        )
        .unwrap();
    let headers = Headers::parse(world.out.frame()).unwrap();
    assert_eq!(headers.source_v4(world.out.frame()).to_string(), "192.0.2.1");
    assert!(world.out.len() <= 14 + 576);
    assert_eq!(world.engine.counters().errors, 2);
    // One about a datagram that was never sent is forged.
    let forged = Report { slot, from: None, destination: address("192.0.2.1:8"), payload: b"x", notice };
    let forged = world.engine.report(&forged, LINK, Timestamp::ZERO, &mut world.out);
    assert_eq!(forged, Err(DatagramDrop::Unsolicited));
}

/// The host's loopback is closed, and open by its one address; groups and links are never reached.
#[test]
fn destinations() {
    let mut world = World::new(DatagramLimits::default());
    for to in ["127.0.0.1:53", "169.254.169.254:80", "224.0.0.1:5353", "255.255.255.255:67"] {
        assert_eq!(world.sends(INSIDE, to, b""), Err(DatagramDrop::Destination), "{to}");
    }
    let slot = world.maps(INSIDE, SERVER);
    assert_eq!(world.receives(slot, "127.0.0.1:9", b""), Err(DatagramDrop::Unsolicited));
    let mut all = World::filtering(DatagramLimits::default(), Filter::EndpointIndependent);
    let slot = all.maps(INSIDE, SERVER);
    assert_eq!(all.receives(slot, "127.0.0.1:9", b""), Err(DatagramDrop::Destination));
    let open = Destinations {
        loopback_v4: Some("192.0.2.254".parse().unwrap()),
        loopback_v6: None,
        ..Destinations::default()
    };
    world.engine = Datagrams::new(DatagramLimits::default(), open, Filter::default(), 7);
    let (slot, _, to) = world.sends(INSIDE, "192.0.2.254:9", b"").unwrap();
    assert_eq!(to, address("127.0.0.1:9"));
    assert_eq!(world.receives(slot, "127.0.0.1:9", b"").unwrap().0, "192.0.2.254:9");
}

/// A train of datagrams goes out and comes in as one, and is cut into right datagrams where nobody takes trains.
#[test]
fn trains() {
    let mut world = World::new(DatagramLimits::default());
    let mut frame = datagram(INSIDE, SERVER, &[5; 3000]);
    frame.offload.gso = Some(Gso { kind: GsoKind::Udp, size: 1000, header_len: 42, ecn: false });
    let outgoing = world.engine.outgoing(&frame.packet(), Timestamp::ZERO).unwrap();
    assert_eq!((outgoing.segment, outgoing.payload.len()), (Some(1000), 3000));
    world.engine.sent(&outgoing);
    let slot = outgoing.slot;
    let now = Timestamp::ZERO;
    let heard = Heard { slot, from: address(SERVER), length: 2500, segment: Some(1000) };
    world.engine.incoming(&heard, LINK, now, &mut world.out, |_| false).unwrap();
    let segments = segment::segment(&world.out.packet()).unwrap();
    assert_eq!(segments.count(), 3);
    let mut one = vec![0; segments.max_len()];
    let length = segments.write(2, &mut one);
    assert_eq!(length, 42 + 500);
    let counters = world.engine.counters();
    assert_eq!((counters.sent, counters.received), ([3, 3000], [3, 2500]));
    // A train of TCP over a datagram's headers is nobody's.
    frame.offload.gso = Some(Gso { kind: GsoKind::TcpV4, size: 1000, header_len: 42, ecn: false });
    let forged = world.engine.outgoing(&frame.packet(), now);
    assert_eq!(forged.unwrap_err(), DatagramDrop::Malformed);
}

/// Forged frames are counted drops: a wrong checksum, port zero, other protocols, an answer that nobody asked for.
#[test]
fn forged() {
    let mut world = World::new(DatagramLimits::default());
    let mut try_frame = |change: &dyn Fn(&mut FrameBuf)| {
        let mut frame = datagram(INSIDE, SERVER, b"data");
        vswitch_frame::offload::complete_checksum(
            frame.frame_mut(),
            &mut Offload { checksum: Some(PartialChecksum { start: 34, offset: 6 }), gso: None },
        );
        frame.offload = Offload::NONE;
        change(&mut frame);
        world.engine.outgoing(&frame.packet(), Timestamp::ZERO).map(|_| ())
    };
    assert_eq!(try_frame(&|_| ()), Ok(()));
    assert_eq!(try_frame(&|frame| frame.frame_mut()[42] ^= 1), Err(DatagramDrop::BadChecksum));
    assert_eq!(try_frame(&|frame| frame.frame_mut()[34..36].fill(0)), Err(DatagramDrop::Spoofed));
    assert_eq!(try_frame(&|frame| frame.frame_mut()[23] = protocol::SCTP), Err(DatagramDrop::NotCarried));
    assert_eq!(try_frame(&|frame| frame.frame_mut()[23] = protocol::ICMPV6), Err(DatagramDrop::NotCarried));
    assert_eq!(try_frame(&|frame| frame.frame_mut()[38..40].fill(0xff)), Err(DatagramDrop::Malformed));
    assert_eq!(try_frame(&|frame| frame.frame_mut()[40..42].fill(0)), Ok(()), "IPv4 may do without");
    let total: u64 = world.engine.counters().drops().map(|(_, count)| count).sum();
    assert_eq!(total, 5);
}

/// Flows as a reference knows them: by host, whether it is a client's of a published port, and port.
#[derive(Debug, Default)]
struct Reference(std::collections::BTreeMap<(u8, bool, u16), Known>);

#[derive(Debug, Clone, Copy)]
struct Known {
    slot: Slot,
    used: u64,
    answered: bool,
}

impl Reference {
    fn of(&self, host: u8) -> impl Iterator<Item = &Known> {
        self.0.iter().filter(move |(key, _)| key.0 == host).map(|(_, known)| known)
    }

    /// A flow was used or opened; whose makes room for it is the one that was idle longest, of the same host if that has its
    /// share, else of one that has most.
    fn heard(
        &mut self,
        key: (u8, bool, u16),
        slot: Slot,
        world: &mut World,
        limits: &DatagramLimits,
    ) -> Result<(), TestCaseError> {
        let closed = world.closed();
        if let Some(known) = self.0.get_mut(&key) {
            prop_assert_eq!((known.slot, closed), (slot, Vec::new()));
            known.used = world.now;
            return Ok(());
        }
        let share = |host| self.of(host).count();
        let most = (0..3).map(share).max().unwrap_or(0);
        let full = share(key.0) >= limits.per_endpoint;
        if !full && self.0.len() < limits.flows {
            prop_assert_eq!(closed, Vec::new());
        } else {
            prop_assert_eq!(closed.len(), 1);
            let gone = self.0.iter().find(|(_, known)| known.slot == closed[0]).map(|(key, known)| (*key, *known));
            let (gone, known) = gone.ok_or_else(|| TestCaseError::fail("a flow was closed that there was not"))?;
            prop_assert!(if full { gone.0 == key.0 } else { share(gone.0) == most }, "{:?} for {:?}", gone, key);
            prop_assert_eq!(self.of(gone.0).map(|known| known.used).min(), Some(known.used));
            self.0.remove(&gone);
            prop_assert_eq!(world.receives(known.slot, SERVER, b"late"), Err(DatagramDrop::NoFlow));
        }
        self.0.insert(key, Known { slot, used: world.now, answered: false });
        Ok(())
    }

    /// Takes out what has outlived its time.
    fn over(&mut self, now: u64) -> Vec<Slot> {
        let life = |known: &Known| if known.answered { 300 } else { 120 };
        let mut over: Vec<Slot> =
            self.0.values().filter(|known| known.used + life(known) < now).map(|known| known.slot).collect();
        over.sort();
        self.0.retain(|_, known| !over.contains(&known.slot));
        over
    }
}

proptest! {
    /// Whatever the order of datagrams, answers, clients of published ports and time: a reference of who was heard when says
    /// which flows there are and which makes room where there is none, no two live flows share a slot, what was evicted
    /// hears nothing any more, and the bounds hold. They are so low that most openings meet one.
    #[test]
    fn agrees_with_a_reference(
        steps in proptest::collection::vec((0u8..7, 0u8..3, 1u16..9, 0u64..200), 1..300)
    ) {
        let limits = DatagramLimits { flows: 9, per_endpoint: 4, ..DatagramLimits::default() };
        let mut world = World::new(limits);
        let mut reference = Reference::default();
        for (what, host, port, seconds) in steps {
            let inside = |port| format!("10.0.0.{}:{port}", 2 + host);
            let key = (host, what >= 5, port);
            match what {
                0 | 1 => {
                    let (slot, by, _) = world.sends(&inside(port), SERVER, b"x").unwrap();
                    prop_assert_eq!(by, By::Own { fresh: !reference.0.contains_key(&key) });
                    reference.heard(key, slot, &mut world, &limits)?;
                }
                2 | 3 => {
                    let Some(known) = reference.0.get_mut(&(host, false, port)) else { continue };
                    world.receives(known.slot, SERVER, b"y").unwrap();
                    (known.used, known.answered) = (world.now, true);
                }
                4 => {
                    let mut closed = world.passes(seconds);
                    closed.sort();
                    prop_assert_eq!(closed, reference.over(world.now));
                }
                _ => {
                    let (listener, client) = (Listener(host.into()), SocketAddr::new([198, 51, 100, 5].into(), port));
                    let target = address(&inside(53));
                    let arrival = Arrival { listener, client, local: None, target, shown: ClientAddressing::Client, length: 0, segment: None };
                    let now = world.time();
                    world.engine.arriving(&arrival, LINK, now, &mut world.out).unwrap();
                    let slot = world.engine.flow_of_client(listener, client).unwrap();
                    reference.heard(key, slot, &mut world, &limits)?;
                }
            }
            let slots: std::collections::BTreeSet<_> = reference.0.values().map(|one| one.slot.index()).collect();
            prop_assert_eq!(slots.len(), reference.0.len());
            prop_assert_eq!(world.engine.counters().flows, reference.0.len() as u64);
            prop_assert!(reference.0.len() <= limits.flows);
            prop_assert!((0..3).all(|host| reference.of(host).count() <= limits.per_endpoint));
        }
    }

    /// Any bytes at all are taken or dropped with a reason, and never panic.
    #[test]
    fn noise(mut bytes in proptest::collection::vec(any::<u8>(), 14..200), v6: bool, protocol: u8, gso: bool) {
        bytes[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 0] });
        if bytes.len() > 60 {
            if v6 {
                bytes[14] = 0x60;
                bytes[20] = protocol;
                let length = u16::try_from(bytes.len() - 54).unwrap();
                bytes[18..20].copy_from_slice(&length.to_be_bytes());
            } else {
                bytes[14] = 0x45;
                let length = u16::try_from(bytes.len() - 14).unwrap();
                bytes[16..18].copy_from_slice(&length.to_be_bytes());
                bytes[20..22].fill(0);
                bytes[23] = protocol;
            }
        }
        let mut world = World::new(DatagramLimits::default());
        let gso = gso.then_some(Gso { kind: GsoKind::Udp, size: 9, header_len: 0, ecn: false });
        let offload = Offload { checksum: gso.map(|_| PartialChecksum { start: 34, offset: 6 }), gso };
        let Ok(packet) = PacketMut::admit(&mut bytes, offload) else { return Ok(()) };
        let taken = world.engine.outgoing(&packet.view(), Timestamp::ZERO).is_ok();
        let drops: u64 = world.engine.counters().drops().map(|(_, count)| count).sum();
        prop_assert_eq!(drops, u64::from(!taken));
    }
}
