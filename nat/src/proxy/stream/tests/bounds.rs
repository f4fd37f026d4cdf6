//! Bounds: who makes room for whom, and what waits in memory.

use std::time::Duration;

use etherparse::{PacketBuilder, TcpOptionElement};
use vswitch_frame::tcp::{Tcp, flag};
use vswitch_frame::{Offload, Timestamp};

use super::super::{Phase, StreamDrop, StreamLimits};
use super::world::{Wire, World};
use super::{CLEAN, dropped};

/// Nobody answers what the gateway sends.
const MUTE: Wire = Wire { loses: 100, ..CLEAN };

/// A SYN of this source, with bytes behind it.
fn syn(source: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(source, [192, 0, 2, 7], 64).tcp(port, 80, 1000, 60_000).syn();
    let builder = builder.options(&[TcpOptionElement::MaximumSegmentSize(1460)]).unwrap();
    let mut packet = Vec::new();
    builder.write(&mut packet, payload).unwrap();
    packet
}

/// Connects from here; whether it is let in.
fn connects(world: &mut World, source: [u8; 4], port: u16) -> bool {
    let before = dropped(world, StreamDrop::TooMany);
    world.inject(&syn(source, port, &[]), Offload::NONE);
    world.step(Duration::from_millis(1));
    dropped(world, StreamDrop::TooMany) == before
}

fn ports(world: &World) -> Vec<u16> {
    let mut ports: Vec<_> = world.engine.records().map(|record| record.ends.inside.port()).collect();
    ports.sort_unstable();
    ports
}

/// All addresses of a container have one share, and what it would have beyond is refused; when all is taken, whoever has most
/// loses the connection that was idle longest, is told so, and others get in.
#[test]
fn fair_eviction() {
    let limits = StreamLimits { flows: 5, per_endpoint: 4, ..StreamLimits::default() };
    let mut world = World::new(limits, MUTE, 3);
    let (first, second, modest) = ([10, 0, 0, 2], [10, 0, 9, 2], [10, 0, 0, 3]);
    for address in [first, second] {
        world.engine.owners().assign(None, address.into(), 1);
    }
    for (address, port) in [(first, 1), (second, 2), (first, 3), (second, 4)] {
        assert!(connects(&mut world, address, port));
        world.now = world.now + Duration::from_secs(1);
    }
    assert!(!connects(&mut world, second, 5), "two addresses have one share");
    assert!(connects(&mut world, modest, 6));
    assert_eq!(ports(&world), [1, 2, 3, 4, 6]);
    world.keeps = true;
    assert!(connects(&mut world, modest, 7), "there is room for who has less");
    assert_eq!(ports(&world), [2, 3, 4, 6, 7]);
    let told = world.sent.iter().any(|(frame, _)| {
        let segment = Tcp::parse(&frame[34..]).unwrap();
        segment.destination_port() == 1 && segment.flags() & flag::RST != 0
    });
    assert!(told, "the endpoint hears of it");
    assert_eq!((world.engine.counters().evicted, world.engine.counters().flows), (1, 5));
    assert_eq!(world.host.closed.len(), 1);
}

/// Connections that a container only tries to open make room for what it tries next, and not those that are open.
#[test]
fn attempts_make_room() {
    let mut world = World::new(StreamLimits { per_endpoint: 2, ..StreamLimits::default() }, MUTE, 3);
    let hog = [10, 0, 0, 2];
    assert!(connects(&mut world, hog, 1));
    world.host.pending = true;
    world.now = world.now + Duration::from_secs(60);
    assert!(connects(&mut world, hog, 2) && connects(&mut world, hog, 3));
    assert_eq!(ports(&world), [1, 3]);
    assert!(!connects_from_outside(&mut world, hog), "clients end nothing that an endpoint has begun");
}

fn connects_from_outside(world: &mut World, target: [u8; 4]) -> bool {
    let (client, target) = ("203.0.113.9:5000".parse().unwrap(), (target, 8080).into());
    let shown = crate::proxy::datagram::ClientAddressing::Client;
    world.engine.accept(client, target, shown, world.now, &mut world.host).is_ok()
}

/// A SYN waits without the bytes that came with it, however many, and its connection opens all the same.
#[test]
fn large_syns() {
    let mut world = World::new(StreamLimits::default(), MUTE, 3);
    world.host.pending = true;
    world.inject(&syn([10, 0, 0, 2], 1, &[7; 60_000]), Offload::NONE);
    let waiting = |phase: &Phase| match phase {
        Phase::Connecting(syn, _) => Some(syn.view().frame().len()),
        Phase::Open(_) => None,
    };
    let kept: Vec<usize> = world.engine.table.iter().filter_map(|(_, flow)| waiting(&flow.phase)).collect();
    assert_eq!(kept, [14 + 20 + 24]);
    world.host.pending = false;
    world.keeps = true;
    world.step(Duration::from_millis(1));
    let answer = Tcp::parse(&world.sent[0].0[34..]).unwrap();
    assert_eq!((answer.flags() & (flag::SYN | flag::ACK), answer.acknowledgment()), (flag::SYN | flag::ACK, 1001));
}

/// However often connections come to be due earlier than they were, their timers are swept.
#[test]
fn timers_are_swept() {
    let mut world = World::new(StreamLimits::default(), MUTE, 3);
    for port in 1..=10 {
        assert!(connects(&mut world, [10, 0, 0, 2], port));
    }
    let slots: Vec<_> = world.engine.table.iter().map(|(slot, _)| slot).collect();
    while world.engine.table.due(Timestamp::from_millis(u64::MAX)).is_some() {}
    for earlier in 0..10_000 {
        for &slot in &slots {
            world.engine.table.schedule(slot, Timestamp::from_millis(1_000_000 - earlier));
        }
    }
    assert!(world.engine.table.timers() <= 100, "{}", world.engine.table.timers());
    assert_eq!(world.engine.next_timeout(), Some(Timestamp::from_millis(990_001)));
    let due = std::iter::from_fn(|| world.engine.table.due(Timestamp::from_millis(990_001)));
    assert_eq!(due.count(), 10, "each once");
}
