//! The running switch: worker threads, ports that come and go, and control beside traffic.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use lab::{network, plain, station};
use vswitch_frame::{MacAddr, Offload};
use vswitch_switch::{MemoryPeer, Offloads, PortConfig, PortDevice, Settings, Switch, memory_link};

const PATIENCE: Duration = Duration::from_secs(20);

fn config(network: vswitch_frame::NetworkIndex, name: &str) -> PortConfig {
    PortConfig { name: name.to_owned(), network, identity: None, mac_limit: None }
}

fn add(switch: &Switch, network: vswitch_frame::NetworkIndex, name: &str) -> (vswitch_frame::PortId, MemoryPeer) {
    let (device, peer) = memory_link(1024, Offloads::Carried).unwrap();
    (switch.add_port(config(network, name), PortDevice::Memory(device)).unwrap(), peer)
}

/// Frames cross between ports of different workers, in order.
#[test]
fn frames_cross_in_order() {
    let switch = Switch::start(Settings { workers: Some(2), ..Settings::default() }).unwrap();
    let net = switch.add_network(network("net")).unwrap();
    let ((a, peer_a), (_, peer_b)) = (add(&switch, net, "a"), add(&switch, net, "b"));
    for number in 0..10_000u32 {
        let mut frame = plain(station(3).mac, station(2).mac);
        frame[20..24].copy_from_slice(&number.to_be_bytes());
        while !peer_a.send(&frame, Offload::NONE) {
            std::thread::yield_now();
        }
        // The link of 1,024 frames is drained often enough to lose none.
        if number % 500 == 499 {
            for expected in number - 499..=number {
                let (frame, _) = peer_b.receive(PATIENCE).expect("a frame");
                assert_eq!(frame[20..24], expected.to_be_bytes());
            }
        }
    }
    let stats = switch.stats();
    assert_eq!(stats.ports.iter().find(|port| port.port == a).unwrap().counters.in_frames, 10_000);
    assert_eq!((stats.total.out_frames, stats.total.total_dropped()), (10_000, 0));
    switch.stop();
}

/// While two victims exchange frames, a thousand other ports and networks come and go; the victims lose nothing.
#[test]
fn ports_come_and_go() {
    let switch = Switch::start(Settings { workers: Some(2), ..Settings::default() }).unwrap();
    let net = switch.add_network(network("net")).unwrap();
    let ((_, peer_a), (_, peer_b)) = (add(&switch, net, "a"), add(&switch, net, "b"));
    assert!(peer_b.send(&plain(station(2).mac, station(3).mac), Offload::NONE));
    assert!(peer_a.receive(PATIENCE).is_some());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let frame = plain(station(3).mac, station(2).mac);
            let mut sent = 0u64;
            while !stop.load(Relaxed) {
                assert!(peer_a.send(&frame, Offload::NONE));
                sent += 1;
                assert!(peer_b.receive(PATIENCE).is_some(), "frame {sent} was lost");
            }
            sent
        });
        for round in 0..1000 {
            let other = switch.add_network(network("other")).unwrap();
            let (gone, gone_peer) = add(&switch, if round % 2 == 0 { other } else { net }, "guest");
            assert!(gone_peer.send(&plain(MacAddr::from_u64(0x0200_0000_1000 + round), station(9).mac), Offload::NONE));
            switch.remove_port(gone).unwrap();
            switch.remove_network(other).unwrap();
        }
        stop.store(true, Relaxed);
        assert!(traffic.join().unwrap() > 0);
    });
    let stats = switch.stats();
    assert_eq!((stats.networks.len(), stats.ports.len()), (1, 2));
    assert_eq!(stats.generation, 2 + 1 + 4 * 1000);
}

/// Wrong handles are refused with a sentence and change nothing.
#[test]
fn wrong_handles() {
    let switch = Switch::start(Settings { workers: Some(1), ..Settings::default() }).unwrap();
    let nowhere = vswitch_frame::NetworkIndex::new(5);
    let (device, _peer) = memory_link(1, Offloads::Carried).unwrap();
    let refused = switch.add_port(config(nowhere, "x"), PortDevice::Memory(device)).unwrap_err();
    assert!(refused.to_string().contains("does not exist"));
    assert!(switch.remove_port(vswitch_frame::PortId::new(3)).is_err());
    assert!(switch.remove_network(nowhere).is_err());
    assert!(switch.update_network(nowhere, network("x")).is_err());
    assert_eq!(switch.stats().generation, 0);
}
