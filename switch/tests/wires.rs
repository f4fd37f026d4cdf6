//! Wires in the switch: where they lie, what of them is seen, and that they leave everybody else alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot build its world has failed")]

mod lab;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lab::{Lab, network, station, udp4};
use vswitch_frame::{Offload, PortId, VlanId};
use vswitch_switch::capture::Filter;
use vswitch_switch::l2::{PortFeatures, PortVlan};
use vswitch_switch::lab::departures::Departures;
use vswitch_switch::lab::{CaptureSpec, Direction, Format, On, Places, Super};
use vswitch_switch::wire::{Change, Counters, Select, WireDrop, words};
use vswitch_switch::{MemoryPeer, Offloads, PortConfig, PortDevice, Settings, Switch, memory_link};

const MS: u64 = 1_000_000;

/// Two stations, time by hand, and what delivers.
struct Bed {
    lab: Lab,
    two: PortId,
    three: PortId,
    nanos: Arc<AtomicU64>,
    departures: Departures,
}

fn change(text: &str) -> Change {
    let compile = |text: &str| {
        let filter = Filter::new(text).map_err(|error| error.to_string())?;
        Ok(Select { text: text.to_owned(), matches: Arc::new(move |frame: &[u8]| filter.matches(frame)) })
    };
    Change::parse(&words::split(text), &compile).unwrap()
}

impl Bed {
    fn new() -> Bed {
        let mut lab = Lab::new(Settings { seed: Some(7), ..Settings::default() });
        let net = lab.datapath.add_network(network("net")).unwrap();
        let mut port = |name: &str, number| {
            let config = PortConfig { identity: Some(station(number)), ..PortConfig::new(name, net) };
            lab.port_of(config, Offloads::Carried)
        };
        let (two, three) = (port("two", 2), port("three", 3));
        // Both are learned, so that nothing is flooded.
        for (from, to, port) in [(2, 3, two), (3, 2, three)] {
            lab.send(port, &udp4(&station(from), &station(to), b"hello"));
        }
        let nanos = Arc::new(AtomicU64::new(1000 * MS));
        lab.datapath.wires().set_clock(Arc::clone(&nanos));
        let departures = Departures::new(&lab.datapath);
        Bed { lab, two, three, nanos, departures }
    }

    fn set(&self, port: PortId, direction: Direction, words: &str) {
        self.lab.datapath.change_wires(&[port], &[direction], &change(words), None).unwrap();
    }

    fn later(&mut self, millis: u64) -> Vec<PortId> {
        self.nanos.fetch_add(millis * MS, Relaxed);
        self.departures.run();
        self.arrived()
    }

    fn arrived(&self) -> Vec<PortId> {
        self.lab.received().into_iter().map(|(port, ..)| port).collect()
    }

    /// Sends from two to three; where something arrived at once.
    fn send(&mut self) -> Vec<PortId> {
        self.lab.ports_reached(self.two, &udp4(&station(2), &station(3), b"hello"))
    }

    fn counters(&self, port: PortId, direction: Direction) -> Counters {
        let reports = self.lab.datapath.wire_reports();
        let found = reports.into_iter().find(|report| report.port == port && report.direction == direction);
        found.unwrap().counters
    }
}

/// Each direction waits for itself, and a frame that is lost on its way to the switch was never there for the port.
#[test]
fn directions() {
    let mut bed = Bed::new();
    bed.set(bed.two, Direction::Up, "delay 20ms");
    bed.set(bed.three, Direction::Down, "delay 30ms");
    assert_eq!(bed.send(), []);
    assert_eq!((bed.later(19), bed.later(1), bed.later(29), bed.later(1)), (vec![], vec![], vec![], vec![bed.three]));
    let back = udp4(&station(3), &station(2), b"hello");
    assert_eq!(bed.lab.ports_reached(bed.three, &back), [bed.two], "the way back has no delay");
    bed.set(bed.two, Direction::Up, "loss 100%");
    let before = bed.lab.counters(bed.two);
    assert_eq!((bed.send(), bed.later(100)), (vec![], vec![]));
    assert_eq!(bed.lab.counters(bed.two), before);
    assert_eq!(bed.counters(bed.two, Direction::Up).lost(WireDrop::Loss), 1);
    bed.set(bed.two, Direction::Up, "none");
    bed.set(bed.three, Direction::Down, "none");
    assert!(bed.lab.datapath.snapshot().lab.is_none(), "nothing is left of it");
    assert_eq!((bed.send(), bed.lab.datapath.wires().held()), (vec![bed.three], 0));
}

/// A wire of a port in a VLAN carries what its endpoint sends and gets: without a tag at an access port, with it at a trunk, and nobody
/// else's VLAN, however long it was on its way.
#[test]
fn in_vlans() {
    let mut bed = Bed::new();
    let vlan = VlanId::new(10).unwrap();
    let other = bed.lab.port(bed.lab.datapath.snapshot().port(bed.two).unwrap().config.network, None);
    let trunk = PortVlan::Trunk { native: None, tagged: "10".parse().unwrap() };
    for (port, vlan) in [(bed.two, PortVlan::Access(vlan)), (bed.three, trunk)] {
        bed.lab.datapath.set_features(port, PortFeatures { vlan: Some(vlan), ..PortFeatures::default() }).unwrap();
        for direction in [Direction::Up, Direction::Down] {
            bed.set(port, direction, "delay 10ms");
        }
    }
    let plain = |from, to| udp4(&station(from), &station(to), b"hello");
    let tagged = |frame: Vec<u8>| [&frame[..12], &[0x81, 0, 0, 10], &frame[12..]].concat();
    let pass = |bed: &mut Bed, from: PortId, frame: &[u8]| {
        assert_eq!(bed.lab.ports_reached(from, frame), []);
        for _ in 0..2 {
            bed.nanos.fetch_add(10 * MS, Relaxed);
            bed.departures.run();
        }
        bed.lab.received().into_iter().map(|(port, frame, _)| (port, frame)).collect::<Vec<_>>()
    };
    let (two, three) = (bed.two, bed.three);
    for _ in 0..2 {
        assert_eq!(pass(&mut bed, two, &plain(2, 3)), [(three, tagged(plain(2, 3)))]);
        assert_eq!(pass(&mut bed, three, &tagged(plain(3, 2))), [(two, plain(3, 2))]);
    }
    assert_eq!(pass(&mut bed, three, &plain(3, 2)), [], "the trunk has no VLAN for it");
    assert_eq!(bed.lab.ports_reached(other, &plain(9, 2)), [], "nor is anybody else in the VLAN");
}

/// What goes on and what is lost keep their numbers, and the capture says which wire lost what.
#[test]
fn captured() {
    let mut bed = Bed::new();
    let spec = CaptureSpec {
        on: On::All,
        places: Places::ALL,
        filter: Filter::new("").unwrap(),
        filter_text: String::new(),
        reason: None,
        snap_len: 1000,
        super_frames: Super::Segments,
        count: None,
        format: Format::Text,
    };
    let mut capture = bed.lab.datapath.capture(spec).unwrap();
    bed.set(bed.two, Direction::Up, "delay 5ms");
    bed.set(bed.three, Direction::Down, "drop 2 delay 5ms");
    bed.send();
    bed.send();
    bed.later(5);
    bed.later(5);
    capture.stop().stop();
    let text: Vec<u8> = std::iter::from_fn(|| capture.next_bytes()).flatten().collect();
    let text = String::from_utf8(text).unwrap();
    let words = |line: &str| {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        format!(
            "{} {}{}",
            line[1],
            line[2],
            if line.len() > 9 { format!(" {}", line[9..].join(" ")) } else { String::new() }
        )
    };
    let lines: Vec<String> = text.lines().map(words).collect();
    assert_eq!(lines, ["#1 two/up", "#2 two/up", "#2 three/drop drop wire-listed", "#1 three/down"]);
}

/// Frames of one burst that go on and that do not are told apart.
#[test]
fn within_a_burst() {
    let mut bed = Bed::new();
    bed.set(bed.two, Direction::Up, "every 3");
    bed.set(bed.three, Direction::Down, "first 2");
    let frames: Vec<Vec<u8>> = (0..9u8).map(|n| udp4(&station(2), &station(3), &[n])).collect();
    bed.lab.send_all(bed.two, frames.iter().map(|frame| (&frame[..], Offload::NONE)));
    let payloads: Vec<u8> = bed.lab.received().iter().map(|(_, frame, _)| frame[42]).collect();
    assert_eq!(payloads, [3, 4, 6, 7]);
}

/// A receiver does not hear whom it is cut off from, in one direction, until it is healed or the other one is gone.
#[test]
fn cuts() {
    let mut bed = Bed::new();
    let back = udp4(&station(3), &station(2), b"hello");
    bed.lab.datapath.cut(&[bed.two], &[bed.three]).unwrap();
    assert_eq!((bed.send(), bed.lab.ports_reached(bed.three, &back)), (vec![], vec![bed.two]));
    assert_eq!(bed.counters(bed.three, Direction::Down).lost(WireDrop::Cut), 1);
    bed.lab.datapath.heal(Some(&[bed.two]));
    assert_eq!(bed.send(), [bed.three]);
    bed.lab.datapath.cut(&[bed.two, bed.three], &[bed.two, bed.three]).unwrap();
    assert_eq!((bed.send(), bed.lab.ports_reached(bed.three, &back)), (vec![], vec![]));
    bed.lab.datapath.heal(None);
    assert!(bed.lab.datapath.snapshot().lab.is_none());
    bed.lab.datapath.cut(&[bed.two], &[bed.three]).unwrap();
    bed.lab.remove(bed.two);
    assert!(bed.lab.datapath.wire_reports().iter().all(|report| report.cuts.is_empty()));
}

/// Who sends too long a packet is told by a router's message, whichever end the short wire is at.
#[test]
fn too_long() {
    for (end, direction) in [(2, Direction::Up), (3, Direction::Down)] {
        let mut bed = Bed::new();
        let port = if end == 2 { bed.two } else { bed.three };
        bed.set(port, direction, "mtu 600 icmp");
        let frame = udp4(&station(2), &station(3), &[0; 700]);
        assert_eq!(bed.lab.ports_reached(bed.two, &frame), []);
        bed.departures.run();
        let got = bed.lab.received();
        assert_eq!(got.len(), 1);
        let (to, error, _) = &got[0];
        assert_eq!((*to, &error[26..30], error[34..36].to_vec()), (bed.two, &[10, 0, 0, 3][..], vec![3, 4]));
        assert_eq!(u16::from_be_bytes([error[40], error[41]]), 600);
    }
}

/// A change for a time is taken back when it is over; a port that goes takes what waits for it with it.
#[test]
fn for_a_time() {
    let mut bed = Bed::new();
    bed.set(bed.three, Direction::Down, "delay 1ms");
    let worse = change("delay 500ms loss 100%");
    bed.lab.datapath.change_wires(&[bed.three], &[Direction::Down], &worse, Some(100 * MS)).unwrap();
    assert_eq!((bed.send(), bed.later(99)), (vec![], vec![]));
    bed.later(1);
    assert_eq!((bed.send(), bed.later(1)), (vec![], vec![bed.three]));
    bed.send();
    bed.set(bed.three, Direction::Down, "none");
    assert!(bed.lab.datapath.snapshot().lab.is_some(), "something waits");
    bed.departures.run();
    assert!(bed.arrived() == [bed.three] && bed.lab.datapath.snapshot().lab.is_none());
    bed.set(bed.three, Direction::Down, "delay 10s");
    bed.send();
    assert!(bed.lab.datapath.wires().held() > 0);
    bed.lab.remove(bed.three);
    bed.departures.run();
    assert_eq!(bed.lab.datapath.wires().held(), 0);
}

/// The same seed loses the same frames again, whatever happened before.
#[test]
fn seeds() {
    let mut bed = Bed::new();
    let mut pattern = |seed| {
        bed.lab.datapath.reseed_wires(seed);
        bed.set(bed.two, Direction::Up, "loss 50%");
        (0..64).map(|_| bed.send().len()).collect::<Vec<_>>()
    };
    let first = pattern(1);
    assert_eq!((pattern(1) == first, pattern(2) == first), (true, false));
}

/// With threads and the real clock: nothing is early, nothing is lost, and order is kept through changes.
#[test]
fn real_time() {
    let switch = Switch::start(Settings { workers: Some(2), ..Settings::default() }).unwrap();
    let net = switch.add_network(network("net")).unwrap();
    let port = |name: &str, number: u8| -> (PortId, MemoryPeer) {
        let (device, peer) = memory_link(4096, Offloads::Carried).unwrap();
        let config = PortConfig { identity: Some(station(number)), ..PortConfig::new(name, net) };
        (switch.add_port(config, PortDevice::Memory(device)).unwrap(), peer)
    };
    let ((two, from), (three, to)) = (port("two", 2), port("three", 3));
    switch.change_wires(&[two], &[Direction::Up], &change("delay 30ms"), None).unwrap();
    let clock = vswitch_switch::Clock::start();
    let patience = Duration::from_secs(20);
    for number in 0..200u8 {
        if number % 50 == 25 {
            let words = ["loss 0%", "delay 3ms", "rate 50mbit", "none"][usize::from(number / 50)];
            switch.change_wires(&[two, three], &Direction::BOTH, &change(words), None).unwrap();
        }
        assert!(from.send(&udp4(&station(2), &station(3), &[number]), Offload::NONE));
        if number == 0 {
            let (frame, _) = to.receive(patience).unwrap();
            assert_eq!(frame[42], 0);
            assert!(clock.nanos() >= 30 * MS, "early");
        }
    }
    let got: Vec<u8> = (1..200).map(|_| to.receive(patience).unwrap().0[42]).collect();
    assert_eq!(got, (1..200).collect::<Vec<u8>>());
    assert!(switch.wire_reports().iter().all(|report| report.counters.lost_all() == 0));
}
