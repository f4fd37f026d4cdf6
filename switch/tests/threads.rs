//! The running switch: worker threads, ports that come and go, and control beside traffic. `tests/threads` runs it under Miri, too.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "threads are waited for in real time")]

mod lab;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lab::{network, plain, station};
use vswitch_frame::{MacAddr, Offload};
use vswitch_switch::nat::proxy::stream::StreamLimits;
use vswitch_switch::supervise::OnEnd;
use vswitch_switch::{
    MemoryPeer, Offloads, PortConfig, PortDevice, Service, ServiceDatagram, ServiceStream, Settings, Switch,
    SwitchError, memory_link,
};

/// Miri takes minutes for what takes seconds.
const PATIENCE: Duration = Duration::from_secs(if cfg!(miri) { 600 } else { 20 });

/// As many rounds, or a few of them under Miri, which looks at each order of memory that it tries.
const fn rounds(count: u64) -> u64 {
    if cfg!(miri) { count / 100 } else { count }
}

fn config(network: vswitch_frame::NetworkIndex, name: &str) -> PortConfig {
    PortConfig::new(name, network)
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
    let count = u32::try_from(rounds(10_000)).unwrap();
    let batch = count / 20;
    for number in 0..count {
        let mut frame = plain(station(3).mac, station(2).mac);
        frame[20..24].copy_from_slice(&number.to_be_bytes());
        while !peer_a.send(&frame, Offload::NONE) {
            std::thread::yield_now();
        }
        // The link of 1,024 frames is drained often enough to lose none.
        if number % batch == batch - 1 {
            for expected in number + 1 - batch..=number {
                let (frame, _) = peer_b.receive(PATIENCE).expect("a frame");
                assert_eq!(frame[20..24], expected.to_be_bytes());
            }
        }
    }
    // A worker counts what it did when the burst is over, by when the frame may have been received.
    let counted = || {
        let stats = switch.stats();
        let received = stats.ports.iter().find(|port| port.port == a).unwrap().counters.in_frames;
        (received, stats.total.out_frames, stats.total.total_dropped())
    };
    let (all, end) = (u64::from(count), Instant::now() + PATIENCE);
    while counted() != (all, all, 0) {
        assert!(Instant::now() < end, "{:?} of {all}", counted());
        std::thread::yield_now();
    }
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
        for round in 0..rounds(1000) {
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
    assert_eq!(stats.generation, 2 + 1 + 4 * rounds(1000));
}

/// While ports come, send and go, no sum ever goes back, and none counts a frame twice.
#[test]
fn sums_never_go_back() {
    let switch = Switch::start(Settings { workers: Some(2), ..Settings::default() }).unwrap();
    let net = switch.add_network(network("net")).unwrap();
    let (_, _witness) = add(&switch, net, "witness");
    let sent = std::sync::atomic::AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut last = (0, 0);
            while !stop.load(Relaxed) {
                let stats = switch.stats();
                let now = (stats.networks[0].counters.in_frames, stats.total.in_frames);
                assert!(now.0 >= last.0 && now.1 >= last.1, "{now:?} after {last:?}");
                assert!(now.0 <= sent.load(Relaxed) && now.1 <= sent.load(Relaxed), "{now:?} of {sent:?}");
                last = now;
            }
        });
        for round in 0..rounds(500) {
            let (guest, peer) = add(&switch, net, "guest");
            let frame = plain(MacAddr::from_u64(0x0200_0000_1000 + round), station(9).mac);
            sent.fetch_add(50, Relaxed);
            for _ in 0..50 {
                assert!(peer.send(&frame, Offload::NONE));
            }
            switch.remove_port(guest).unwrap();
        }
        stop.store(true, Relaxed);
        looking.join().unwrap();
    });
    switch.stop();
}

/// A port is never put on another network that has the index of the one that was meant.
#[test]
fn reused_indices() {
    let switch = Switch::start(Settings { workers: Some(1), ..Settings::default() }).unwrap();
    let index = switch.add_network(network("first")).unwrap();
    let first = switch.network(index).unwrap();
    let add = |handle| {
        let (device, peer) = memory_link(1, Offloads::Carried).unwrap();
        switch.add_port_on(handle, config(index, "x"), PortDevice::Memory(device)).map(|port| (port, peer))
    };
    let (port, _peer) = add(first).unwrap();
    switch.remove_port(port).unwrap();
    switch.remove_network(index).unwrap();
    assert!(switch.network(index).is_none() && add(first).is_err(), "it is gone");
    assert_eq!(switch.add_network(network("second")).unwrap(), index, "the index is used again");
    assert!(add(first).is_err(), "it is another one now");
    assert_eq!(switch.stats().ports.len(), 0);
    add(switch.network(index).unwrap()).unwrap();
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

/// What a worker does with a question to a gateway: what the test says.
struct Inside(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inside")
    }
}

impl Service for Inside {
    fn datagram(&self, datagram: ServiceDatagram) -> Result<(), ServiceDatagram> {
        (self.0)();
        Err(datagram)
    }

    fn stream(&self, stream: ServiceStream) -> Result<(), ServiceStream> {
        Err(stream)
    }
}

/// A question to the service at the gateway's port 53.
fn question() -> Vec<u8> {
    let (from, gateway) = (station(2), lab::gateway());
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(from.mac.octets(), gateway.mac.octets())
        .ipv4(from.ipv4.unwrap().octets(), gateway.ipv4.unwrap().0.octets(), 64)
        .udp(1000, 53)
        .write(&mut frame, b"?")
        .unwrap();
    frame
}

/// A worker that panics does not end in silence: whoever started the switch is told its name and why, and control is refused
/// instead of waiting for it.
#[test]
fn a_workers_end_is_told() {
    let (sender, told) = channel();
    let sender = Mutex::new(sender);
    let on_end = OnEnd::new(move |ended| sender.lock().unwrap().send(ended.to_string()).unwrap());
    let switch = Switch::start_supervised(Settings { workers: Some(1), ..Settings::default() }, &on_end).unwrap();
    let service = Arc::new(Inside(Box::new(|| panic!("a fault of this test"))));
    switch.serve("(service)", 53, service, StreamLimits::default()).unwrap();
    let net = switch.add_network(network("net")).unwrap();
    let (port, peer) = add(&switch, net, "a");
    assert!(peer.send(&question(), Offload::NONE));
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "the thread worker-0 ended: it panicked: a fault of this test");
    assert!(matches!(switch.remove_port(port), Err(SwitchError::WorkerGone)));
    switch.stop();
    assert!(told.try_recv().is_err(), "the ticker was asked to end");
}

/// A switch with one worker, which the next question holds up.
struct Held {
    switch: Switch,
    has_entered: Receiver<()>,
    release: Sender<()>,
}

/// The worker waits to be released for at most `patience`.
fn held(patience: Duration) -> Held {
    let (entered, has_entered): (Sender<()>, Receiver<()>) = channel();
    let (release, released): (Sender<()>, Receiver<()>) = channel();
    let held = Mutex::new((entered, released));
    let service = Arc::new(Inside(Box::new(move || {
        let (entered, released) = &*held.lock().unwrap();
        entered.send(()).unwrap();
        released.recv_timeout(patience).unwrap();
    })));
    let switch = Switch::start(Settings { workers: Some(1), ..Settings::default() }).unwrap();
    switch.serve("(service)", 53, service, StreamLimits::default()).unwrap();
    Held { switch, has_entered, release }
}

/// Control does not wait for ever for a worker that is held up; the port is taken from the workers at once, and its index is
/// given away when the worker has let go.
#[test]
fn a_busy_worker() {
    let Held { switch, has_entered, release } = held(PATIENCE);
    let net = switch.add_network(network("net")).unwrap();
    let (port, peer) = add(&switch, net, "a");
    assert!(peer.send(&question(), Offload::NONE));
    has_entered.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(switch.remove_port(port), Err(SwitchError::WorkerBusy)));
    assert!(matches!(switch.remove_port(port), Err(SwitchError::UnknownPort(_))));
    release.send(()).unwrap();
    // It answers in the order in which it was asked: when it watches another port, it has let go of this one.
    let others = ["b", "c"].map(|name| add(&switch, net, name).0);
    assert!(others.contains(&port), "the index stays away");
}

/// A worker that is held up while more is asked of it than its mailbox holds is busy and not gone: it is told all of it when it goes
/// on, and gives every port back.
#[test]
fn a_full_mailbox() {
    let Held { switch, has_entered, release } = held(3 * PATIENCE);
    let net = switch.add_network(network("net")).unwrap();
    let ports: Vec<_> = (0..100).map(|_| add(&switch, net, "a")).collect();
    assert!(ports[0].1.send(&question(), Offload::NONE));
    has_entered.recv_timeout(PATIENCE).unwrap();
    std::thread::scope(|scope| {
        for (port, _) in &ports {
            let switch = &switch;
            scope.spawn(move || assert!(matches!(switch.remove_port(*port), Err(SwitchError::WorkerBusy))));
        }
    });
    release.send(()).unwrap();
    let taken: BTreeSet<_> = ports.iter().map(|(port, _)| *port).collect();
    // What was not posted is asked for when something is asked for again.
    let mut indices = BTreeSet::new();
    for _ in 0..3 * ports.len() {
        let (port, _) = add(&switch, net, "c");
        indices.insert(port);
    }
    assert!(taken.is_subset(&indices), "indices that stay away: {:?}", taken.difference(&indices).collect::<Vec<_>>());
}

/// An error that a receive brings holds up nothing that waits behind it. (A packet socket's errors cannot be made without
/// privilege; that of a UDP socket whose peer was not there comes in the same way.)
#[test]
fn an_error_in_the_way() {
    let switch = Switch::start(Settings { workers: Some(1), ..Settings::default() }).unwrap();
    let net = switch.add_network(network("net")).unwrap();
    let (_, witness) = add(&switch, net, "witness");
    let [device, peer] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = peer.local_addr().unwrap();
    device.connect(address).unwrap();
    drop(peer);
    device.send(b"nobody is there").unwrap();
    let peer = UdpSocket::bind(address).unwrap();
    peer.connect(device.local_addr().unwrap()).unwrap();
    let frame = plain(MacAddr::BROADCAST, station(2).mac);
    let message = [&[0; vswitch_frame::offload::VNET_HEADER_LEN][..], &frame].concat();
    peer.send(&message).unwrap();
    switch.add_port(config(net, "device"), PortDevice::Packet(device.into())).unwrap();
    assert_eq!(&*witness.receive(PATIENCE).expect("the frame behind the error").0, &frame[..]);
}
