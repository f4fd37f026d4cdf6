//! The engine with a made-up host, fake time, and smoltcp as the endpoint's stack.

mod bounds;
mod long;
mod segments;
mod world;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use smoltcp::socket::tcp::State;
use vswitch_frame::ipv4::protocol;
use vswitch_frame::tcp::{Tcp, flag};
use vswitch_frame::{FrameBuf, Headers, L3, Offload, checksum, segment};
use world::{INSIDE, SERVER, Wire, World};

use super::flow::Phase;
use super::open::may_close;
use super::{Ending, StreamDrop, StreamLimits};
use crate::proxy::datagram::ClientAddressing;
use crate::table::Seconds;

const CLEAN: Wire = Wire { loses: 0, doubles: 0, delays: 0 };

fn world() -> World {
    World::new(StreamLimits::default(), CLEAN, 7)
}

fn dropped(world: &World, reason: StreamDrop) -> u64 {
    world.engine.counters().drops().find(|(known, _)| *known == reason).map_or(0, |(_, count)| count)
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index * 31 % 251).expect("below 251")).collect()
}

/// How many bytes each side takes in a step.
#[derive(Debug, Clone, Copy)]
struct Pace {
    host: usize,
    endpoint: usize,
}

const DAY: Seconds = Seconds(86_400);
const AT_ONCE: Pace = Pace { host: usize::MAX, endpoint: usize::MAX };

/// Sends `out` from the endpoint and `back` to it, both ways closed, and checks what arrived.
fn exchange(world: &mut World, out: &[u8], back: &[u8], pace: Pace) {
    world.host.room = 0;
    world.established();
    world.peer().sends.extend(back);
    world.peer().ended = true;
    let (mut sent, mut got) = (0, Vec::new());
    world.until("exchanged", |world| {
        let socket = world.socket();
        if sent < out.len() && socket.can_send() {
            sent += socket.send_slice(&out[sent..]).expect("an open socket");
        }
        if sent == out.len() && socket.may_send() && may_close(socket) {
            socket.close();
        }
        let mut room = pace.endpoint;
        while room > 0 && socket.can_recv() {
            let take = |bytes: &mut [u8]| {
                let count = bytes.len().min(room);
                got.extend_from_slice(&bytes[..count]);
                (count, count)
            };
            room -= socket.recv(take).expect("bytes");
        }
        for peer in world.host.peers.values_mut() {
            peer.room = pace.host;
        }
        got.len() == back.len() && !world.host.closed.is_empty()
    });
    assert!(world.host.heard == out, "{} of {} bytes went out", world.host.heard.len(), out.len());
    assert!(got == back, "{} of {} bytes came in", got.len(), back.len());
    assert_eq!(world.host.closed[0].1, Ending::Orderly);
    let counters = world.engine.counters();
    assert_eq!((counters.flows, counters.opened, counters.reset, counters.rings), (0, 1, 0, 0));
    assert_eq!((counters.sent, counters.received), (out.len() as u64, back.len() as u64));
}

/// Bytes that a side takes in a step: all that are there, or few.
fn pace() -> impl Strategy<Value = usize> {
    prop_oneof![Just(usize::MAX), 200usize..20_000]
}

proptest! {
    /// Whatever the wire loses, doubles and delays, bytes arrive whole and in order both ways, and both ends close; also
    /// when rings and windows are small and readers are slow. `PROPTEST_CASES` says how many cases are tried.
    #[test]
    fn bytes_arrive(
        seed: u64,
        (out, back) in (0usize..150_000, 0usize..150_000),
        (loses, doubles, delays) in (0u32..6, 0u32..10, 0u32..20),
        ring in prop_oneof![Just(StreamLimits::default().ring), 2_000usize..300_000],
        buffer in 2_000usize..300_000,
        (host, endpoint) in (pace(), pace()),
        long: bool,
    ) {
        // What hangs is neither woken nor ended by a timer: only retransmissions take their time.
        let limits = StreamLimits { ring, half_closed: DAY, keep_alive: DAY, unanswered: DAY, ..StreamLimits::default() };
        let world = World::with_buffer(buffer, limits, Wire { loses, doubles, delays }, seed);
        let mut world = if long { world.long() } else { world };
        exchange(&mut world, &pattern(out), &pattern(back), Pace { host, endpoint });
    }

    /// Noise with right lengths and checksums: a SYN opens one connection, and nothing else opens any; what is of no connection is
    /// answered with one reset at most, a reset with none.
    #[test]
    fn noise(seed: u64, mut packet in noise_packet(), tidy: bool) {
        let mut world = World::new(StreamLimits::default(), CLEAN, seed);
        (world.keeps, world.host.pending) = (true, true);
        // Ports and a header's length that come past the first checks, more often than not.
        if tidy {
            packet[20] |= 1;
            packet[22] |= 1;
            packet[32] = 0x50;
        }
        finish(&mut packet);
        world.inject(&packet, Offload::NONE);
        world.step(Duration::from_millis(1));
        let flags = packet[33] & (flag::SYN | flag::FIN | flag::RST | flag::ACK);
        let counters = world.engine.counters();
        prop_assert_eq!((counters.opened, dropped(&world, StreamDrop::BadChecksum)), (0, 0));
        prop_assert_eq!(counters.flows + counters.drops().map(|(_, count)| count).sum::<u64>(), 1);
        prop_assert!(counters.flows == 0 || flags == flag::SYN);
        prop_assert!(!tidy || counters.flows == u64::from(flags == flag::SYN));
        prop_assert!(world.sent.len() <= usize::from(flags & flag::RST == 0 && counters.flows == 0));
        for (frame, offload) in &world.sent {
            let headers = Headers::parse(frame).unwrap();
            let (source, destination) = headers.ip_addresses(frame);
            prop_assert_eq!([octets(destination), octets(source)].concat(), &packet[12..20]);
            let answer = Tcp::parse(headers.l4(frame)).unwrap();
            prop_assert!(answer.flags() & flag::RST != 0);
            prop_assert_eq!((answer.destination_port(), answer.source_port()), (port(&packet, 20), port(&packet, 22)));
            prop_assert_eq!(*offload, Offload::NONE);
        }
    }

    /// Noise from a connection's own endpoint that lies before what was taken already does not end it, moves no byte, and leaves
    /// it working.
    #[test]
    fn noise_on_a_connection(seed: u64, packets in proptest::collection::vec((noise_packet(), 300u32..1 << 30), 1..8)) {
        let mut world = World::new(StreamLimits::default(), CLEAN, seed);
        world.established();
        for (mut packet, behind) in packets {
            let next = world.engine.table.iter().find_map(|(_, flow)| match &flow.phase {
                Phase::Open(open) => Some(open.next),
                Phase::Connecting(..) => None,
            });
            packet[12..24].copy_from_slice(&[10, 0, 0, 2, 192, 0, 2, 7, 0x9c, 0x40, 0, 80]);
            packet[24..28].copy_from_slice(&next.expect("it is open").wrapping_sub(behind).to_be_bytes());
            finish(&mut packet);
            world.inject(&packet, Offload::NONE);
            world.step(Duration::from_millis(1));
        }
        prop_assert_eq!(world.engine.counters().flows, 1);
        prop_assert!(world.host.heard.is_empty() && world.peer().got.is_empty());
        world.socket().send_slice(b"out").unwrap();
        world.peer().sends.extend(b"back");
        world.until("bytes pass", |world| world.socket().recv_queue() == 4 && world.peer().got == b"out");
    }
}

/// An IPv4 packet that is said to hold TCP, and is noise otherwise.
fn noise_packet() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 40..200).prop_map(|mut packet| {
        (packet[0], packet[9]) = (0x45, protocol::TCP);
        // No fragment.
        (packet[6], packet[7]) = (0, 0);
        packet
    })
}

/// Puts in the length and the checksums.
fn finish(packet: &mut [u8]) {
    let length = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[10..12].fill(0);
    let sum = checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[36..38].fill(0);
    let address = |at: usize| std::net::Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
    let pseudo = checksum::pseudo_header_v4(address(12), address(16), protocol::TCP, packet.len() - 20);
    let sum = !checksum::fold(pseudo + checksum::sum(&packet[20..]));
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
}

fn port(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

fn octets(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A super-frame that is lost is sent again as soon as what came behind it was acknowledged, all of it, and not when its timer
/// ends (a second); over IPv6, too. No segment is longer than the endpoint takes.
#[test]
fn a_lost_super_frame() {
    for server in [SERVER, "[2001:db8::7]:80"] {
        let mut world = World::with_buffer(1 << 20, StreamLimits::default(), CLEAN, 7);
        world.connect(server.parse().unwrap(), 40_000);
        world.until("established", |world| world.state() == State::Established);
        let sent = pattern(900_000);
        world.peer().sends.extend(&sent);
        (world.loses_long, world.keeps) = (Some(3), true);
        let began = world.now;
        let mut got = Vec::new();
        world.until("all came", |world| {
            let mut piece = vec![0; 1 << 20];
            let length = world.socket().recv_slice(&mut piece).unwrap();
            got.extend_from_slice(&piece[..length]);
            got.len() == sent.len()
        });
        assert!(got == sent);
        let took = world.now.since(began);
        assert!(took < Duration::from_millis(500), "{took:?}: it waited for the timer");
        assert!(world.sent.iter().filter_map(|(_, offload)| offload.gso).all(|gso| gso.size <= 1460));
    }
}

/// A case that once hung: the endpoint's window, rounded down to its scale, shut on the last byte, which was under way.
#[test]
fn shut_on_the_last_byte() {
    let wire = Wire { loses: 0, doubles: 9, delays: 10 };
    let mut world = World::new(StreamLimits::default(), wire, 9_401_650_702_999_544_014);
    exchange(&mut world, &pattern(32_121), &pattern(65_536), AT_ONCE);
}

/// Small rings, and IPv6, carry the same bytes.
#[test]
fn small_rings() {
    let limits = StreamLimits { rings: 0, small_ring: 4096, ..StreamLimits::default() };
    exchange(&mut World::new(limits, CLEAN, 3), &pattern(100_000), &pattern(100_000), AT_ONCE);
    let mut world = world();
    world.connect("[2001:db8::7]:80".parse().unwrap(), 40_000);
    world.until("established", |world| world.state() == State::Established);
    world.peer().sends.extend(b"hello");
    world.until("read", |world| world.socket().recv_queue() == 5);
}

/// What the host's connect says is what the endpoint is told: a reset, an ICMP error, or nothing.
#[test]
fn connect_results() {
    for (kind, reason, answers) in [
        (ErrorKind::ConnectionRefused, StreamDrop::Refused, Some(protocol::TCP)),
        (ErrorKind::HostUnreachable, StreamDrop::Unreachable, Some(protocol::ICMP)),
        (ErrorKind::NetworkUnreachable, StreamDrop::Unreachable, Some(protocol::ICMP)),
        (ErrorKind::PermissionDenied, StreamDrop::Destination, Some(protocol::ICMP)),
        (ErrorKind::QuotaExceeded, StreamDrop::NoSocket, Some(protocol::TCP)),
        (ErrorKind::TimedOut, StreamDrop::TimedOut, None),
    ] {
        let mut world = world();
        (world.host.refuses, world.keeps) = (Some(kind), true);
        world.connect(SERVER.parse().unwrap(), 40_000);
        for _ in 0..5 {
            world.step(Duration::from_millis(1));
        }
        let said = world.sent.first().map(|(frame, _)| Headers::parse(frame).unwrap().protocol());
        assert_eq!(said, answers, "{kind:?}");
        assert_eq!(dropped(&world, reason), 1, "{kind:?}");
        assert_eq!(world.host.closed.len(), 1);
        assert_eq!(world.state() == State::Closed, answers == Some(protocol::TCP), "{kind:?}");
        assert_eq!((world.engine.counters().flows, world.engine.counters().opened), (0, 0));
    }
}

/// A reset from either side reaches the other.
#[test]
fn resets() {
    let mut inside = world();
    inside.established();
    inside.socket().abort();
    inside.until("reset", |world| !world.host.closed.is_empty());
    assert_eq!(inside.host.closed[0].1, Ending::Reset);
    assert_eq!(inside.engine.counters().reset, 1);

    let mut outside = world();
    outside.established();
    outside.peer().broken = true;
    outside.until("reset", |world| world.state() == State::Closed);
    assert_eq!((outside.engine.counters().reset, outside.engine.counters().flows), (1, 0));
}

/// A peer that does not read stops the endpoint when the ring is full, and nothing is lost when it reads again; so does an
/// endpoint that does not read stop the peer.
#[test]
fn back_pressure() {
    let limits = StreamLimits { ring: 32 << 10, ..StreamLimits::default() };
    let mut world = World::new(limits, CLEAN, 5);
    world.host.room = 0;
    world.established();
    let bytes = pattern(400_000);
    let mut sent = 0;
    for _ in 0..3000 {
        sent += world.socket().send_slice(&bytes[sent..]).unwrap();
        world.step(Duration::from_millis(10));
    }
    assert!(sent <= limits.ring + world.socket().send_capacity(), "{sent} bytes were taken");
    assert_eq!(world.engine.counters().sent, 0);
    world.peer().room = usize::MAX;
    world.until("read again", |world| {
        sent += world.socket().send_slice(&bytes[sent..]).unwrap();
        world.peer().got.len() == bytes.len()
    });
    assert!(world.peer().got == bytes);

    world.peer().sends.extend(&bytes);
    for _ in 0..1000 {
        world.step(Duration::from_millis(10));
    }
    let taken = world.engine.counters().received;
    assert!(taken <= (limits.ring + world.socket().recv_capacity()) as u64, "{taken} bytes were read");
    let mut got = Vec::new();
    world.until("all read", |world| {
        while world.socket().can_recv() {
            world.socket().recv(|bytes| (bytes.len(), got.extend_from_slice(bytes))).unwrap();
        }
        got.len() == bytes.len()
    });
    assert!(got == bytes);
}

/// RFC 5382 REQ-5: an idle connection whose ends are there lives for two hours and four minutes, and then is reset on both
/// sides; one whose endpoint has vanished ends much sooner.
#[test]
fn idle_limits() {
    let minutes = |world: &mut World, count: u32| {
        for _ in 0..count * 60 {
            world.step(Duration::from_secs(1));
        }
    };
    let mut idle = world();
    idle.established();
    minutes(&mut idle, 123);
    assert_eq!((idle.state(), idle.engine.counters().flows), (State::Established, 1));
    minutes(&mut idle, 3);
    assert_eq!((idle.state(), idle.engine.counters().flows), (State::Closed, 0));
    assert_eq!((idle.engine.counters().expired, idle.host.closed[0].1), (1, Ending::Reset));

    let gone = Wire { loses: 100, ..CLEAN };
    let mut vanished = world();
    vanished.established();
    vanished.impair(gone);
    minutes(&mut vanished, 20);
    assert_eq!((vanished.engine.counters().flows, vanished.host.closed.len()), (0, 1));
}

/// A connection that is used stays for a day.
#[test]
fn a_day() {
    let mut world = world();
    world.established();
    for hour in 0..24 {
        for _ in 0..3600 {
            world.step(Duration::from_secs(1));
        }
        world.socket().send_slice(&[hour]).unwrap();
        world.until("heard", |world| world.peer().got.len() == usize::from(hour) + 1);
    }
    assert_eq!((world.state(), world.engine.counters().expired), (State::Established, 0));
}

/// Forged segments are counted drops: impossible flags, a wrong checksum, port zero, a fragment, one of no connection, which
/// alone is answered.
#[test]
fn forged() {
    let build = |flags: u8, port: u16| {
        let mut packet = Vec::new();
        let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 2], [192, 0, 2, 7], 64).tcp(port, 80, 1, 100);
        builder.write(&mut packet, &[]).unwrap();
        packet[33] = flags;
        let sum = checksum::pseudo_header_v4([10, 0, 0, 2].into(), [192, 0, 2, 7].into(), protocol::TCP, 20);
        packet[36..38].fill(0);
        let value = !checksum::fold(sum + checksum::sum(&packet[20..]));
        packet[36..38].copy_from_slice(&value.to_be_bytes());
        packet
    };
    let mut world = world();
    world.keeps = true;
    for flags in [0, flag::FIN, flag::SYN | flag::FIN, flag::SYN | flag::RST, flag::FIN | flag::RST | flag::ACK] {
        world.inject(&build(flags, 4000), Offload::NONE);
    }
    assert_eq!(dropped(&world, StreamDrop::BadFlags), 5);
    world.inject(&build(flag::SYN, 0), Offload::NONE);
    assert_eq!(dropped(&world, StreamDrop::BadPort), 1);
    let mut wrong = build(flag::SYN, 4000);
    wrong[37] ^= 1;
    world.inject(&wrong, Offload::NONE);
    assert_eq!(dropped(&world, StreamDrop::BadChecksum), 1);
    let mut fragment = build(flag::SYN, 4000);
    fragment[6] = 0x20;
    world.inject(&fragment, Offload::NONE);
    assert_eq!(dropped(&world, StreamDrop::Fragment), 1);
    world.step(Duration::from_millis(1));
    assert!(world.sent.is_empty(), "nothing of this is answered");
    world.inject(&build(flag::ACK, 4000), Offload::NONE);
    world.step(Duration::from_millis(1));
    assert_eq!(dropped(&world, StreamDrop::NoFlow), 1);
    let frame = &world.sent[0].0;
    let headers = Headers::parse(frame).unwrap();
    assert_eq!(Tcp::parse(headers.l4(frame)).unwrap().flags(), flag::RST);
    assert!(world.host.peers.is_empty());
}

/// As many connections as there may be, and no more; the next is reset and counted.
#[test]
fn limits() {
    let mut world = World::new(StreamLimits { per_endpoint: 1, ..StreamLimits::default() }, CLEAN, 1);
    world.established();
    let target: SocketAddr = "10.0.0.2:8080".parse().unwrap();
    let client = "203.0.113.9:5000".parse().unwrap();
    let World { engine, host, now, .. } = &mut world;
    assert_eq!(engine.accept(client, target, ClientAddressing::Client, *now, host), Err(StreamDrop::TooMany));
    let other = "10.0.0.3:8080".parse().unwrap();
    assert!(engine.accept(client, other, ClientAddressing::Client, *now, host).is_ok());
    assert_eq!(engine.accept(client, other, ClientAddressing::Client, *now, host), Err(StreamDrop::TooMany));
}

/// A client of a published port reaches the endpoint under its own address, or the gateway's; what the endpoint refuses is
/// reset outside.
#[test]
fn published() {
    let target = SocketAddr::new(INSIDE, 8080);
    let client: SocketAddr = "203.0.113.9:5000".parse().unwrap();
    let gateway = "10.0.0.1".parse().unwrap();
    for (shown, source) in [(ClientAddressing::Client, client.ip()), (ClientAddressing::Gateway(gateway), gateway)] {
        let mut world = world();
        world.listen(8080);
        let slot = world.engine.accept(client, target, shown, world.now, &mut world.host).unwrap();
        world.host.peers.insert(slot.index(), world::Peer { room: usize::MAX, ..Default::default() });
        world.peer().sends.extend(b"GET");
        world.until("asked", |world| world.socket().recv_queue() == 3);
        let remote = world.socket().remote_endpoint().unwrap();
        assert_eq!(std::net::IpAddr::from(remote.addr), source);
        world.socket().send_slice(b"200").unwrap();
        world.until("answered", |world| world.peer().got == b"200");
        assert_eq!(world.engine.counters().accepted, 1);
    }
    let mut refused = world();
    let slot = refused.engine.accept(client, target, ClientAddressing::Client, refused.now, &mut refused.host).unwrap();
    refused.host.peers.insert(slot.index(), world::Peer::default());
    refused.until("refused", |world| !world.host.closed.is_empty());
    assert_eq!(refused.host.closed, [(slot, Ending::Reset)]);
}

/// The segments that a super-frame's offload asks for fit the endpoint's MSS, and each one's checksum is right.
fn segments_are_right((frame, offload): &(Vec<u8>, Offload), family: L3) {
    let mut buffer = FrameBuf::from_frame(frame, *offload);
    let segments = segment::segment(&buffer.admit().unwrap()).unwrap();
    let mut out = vec![0; segments.max_len()];
    for index in 0..segments.count() {
        let length = segments.write(index, &mut out);
        let frame = &out[..length];
        let headers = Headers::parse(frame).unwrap();
        assert_eq!(headers.l3(), family);
        assert!(headers.packet(frame).len() <= 1500);
        let l4 = headers.l4(frame);
        let (from, to) = headers.ip_addresses(frame);
        let pseudo = checksum::pseudo_header(from, to, protocol::TCP, l4.len()).unwrap();
        assert_eq!(checksum::fold(pseudo + checksum::sum(l4)), 0xffff, "segment {index}");
    }
}

/// Bulk goes to the endpoint in super-frames of either family whose segments fit its MSS, and each segment's checksum is right
/// when the offload is done.
#[test]
fn super_frames() {
    for (server, family, mss) in [(SERVER, L3::Ipv4, 1460), ("[2001:db8::7]:80", L3::Ipv6, 1440)] {
        let mut world = World::with_buffer(300_000, StreamLimits::default(), CLEAN, 7);
        world.connect(server.parse().unwrap(), 40_000);
        world.until("established", |world| world.state() == State::Established);
        world.keeps = true;
        world.peer().sends.extend(pattern(200_000));
        world.until("arrived", |world| world.socket().recv_queue() == 200_000);
        let largest = world.sent.iter().max_by_key(|(frame, _)| frame.len()).unwrap();
        let gso = largest.1.gso.expect("a super-frame");
        // Linux's `gso_max_size`: from there on it segments in software.
        assert!((60_000..65_536).contains(&largest.0.len()) && gso.size == mss, "{} bytes, {gso:?}", largest.0.len());
        segments_are_right(largest, family);
    }
}

/// Clients of a port that is closed are reset where nobody has answered; other connections go on.
#[test]
fn closed_before_an_answer() {
    let target = SocketAddr::new(INSIDE, 8080);
    let mut world = world();
    world.listen(8080);
    let accept = |world: &mut World, client: &str, target| {
        let slot = world
            .engine
            .accept(client.parse().unwrap(), target, ClientAddressing::Client, world.now, &mut world.host)
            .unwrap();
        world.host.peers.insert(slot.index(), world::Peer { room: usize::MAX, ..Default::default() });
        slot
    };
    accept(&mut world, "203.0.113.9:5000", target);
    world.until("answered", |world| world.state() == State::Established);
    let waits = accept(&mut world, "203.0.113.9:5001", target);
    accept(&mut world, "203.0.113.9:5002", "10.0.0.3:8080".parse().unwrap());
    let World { engine, host, .. } = &mut world;
    engine.end_unanswered(target, host);
    assert_eq!((engine.counters().flows, host.closed.clone()), (2, vec![(waits, Ending::Reset)]));
}

/// An address that goes takes its connections with it.
#[test]
fn forgotten_endpoint() {
    let mut world = world();
    world.established();
    let World { engine, host, .. } = &mut world;
    engine.forget_endpoint(None, "10.0.0.3".parse().unwrap(), host);
    assert_eq!(engine.counters().flows, 1);
    engine.forget_endpoint(None, INSIDE, host);
    assert_eq!((engine.counters().flows, host.closed[0].1), (0, Ending::Reset));
}
