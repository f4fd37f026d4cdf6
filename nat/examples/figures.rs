//! Prints what the engine does on one core: `cargo run --release -p vswitch-nat --example figures [FLOWS]`.
//!
//! Lines are `name: value unit`. New connections are whole ones (SYN, SYN-ACK, ACK). Frames have 64 bytes; each is copied
//! afresh, parsed, looked up, tracked and rewritten. Times are of the thread on its core. Memory is the growth of the
//! resident size of the process.

#![expect(clippy::print_stdout, clippy::panic, reason = "it measures and prints; it is no engine")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use vswitch_frame::{NetworkIndex, Offload, PacketMut, Timestamp, checksum, ipv4};
use vswitch_nat::rules::{Addresses, Filtering, Mapping, NetworkSpec, Reach, SubnetSpec, Translation};
use vswitch_nat::table::{Leg, Limits};
use vswitch_nat::translate::FragmentLimits;
use vswitch_nat::{Context, Decision, Nat, NatDrop, Rules, RulesSpec};

const INSIDE: Leg = Leg::Inside(NetworkIndex::new(1));
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

struct Bench {
    nat: Nat,
    rules: Rules,
    rng: StdRng,
    now: Timestamp,
}

impl Bench {
    fn new(flows: usize) -> Bench {
        Bench::with(flows, flows.max(1 << 20) * 2, Mapping::PortPreserving)
    }

    fn with(flows: usize, capacity: usize, mapping: Mapping) -> Bench {
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
        let mut spec = RulesSpec { networks: vec![network], external: vec![EXTERNAL.into()], ..RulesSpec::default() };
        // Strict mapping needs an external address for each 64,512 sources.
        spec.external.extend((2..32).map(|last| IpAddr::from([203, 0, 113, last])));
        spec.settings.mapping = mapping;
        let limits = Limits { flows: capacity, flows_per_endpoint: flows * 2, ..Limits::default() };
        Bench {
            nat: Nat::new(limits, FragmentLimits::default(), 1),
            rules: Rules::try_from(spec).expect("good rules"),
            rng: StdRng::seed_from_u64(1),
            now: Timestamp::from_millis(1000),
        }
    }

    /// Sends a frame; panics when it does not go through, as a figure for drops would mean nothing.
    fn send(&mut self, ingress: Leg, frame: &mut [u8]) {
        let reason = self.offer(ingress, frame);
        assert_eq!(reason, None);
    }

    /// Sends a frame and says why it was dropped, if it was.
    fn offer(&mut self, ingress: Leg, frame: &mut [u8]) -> Option<NatDrop> {
        let mut packet = PacketMut::admit(frame, Offload::NONE).expect("a frame");
        let context = Context { rules: &self.rules, ingress, now: self.now };
        match self.nat.lookup(&context, &packet.view()) {
            Ok(Decision::Forward(path)) => self.nat.translate(&context, path, &mut packet, &mut self.rng).err(),
            other => panic!("{other:?}"),
        }
    }

    fn connect(&mut self, client: SocketAddr, server: SocketAddr) {
        let external = self.rules.external_for(Leg::Uplink, client.ip()).expect("an external address");
        let outside = SocketAddr::new(external, client.port());
        self.send(INSIDE, &mut tcp(client, server, 2, 100, 0));
        self.send(Leg::Uplink, &mut tcp(server, outside, 0x12, 500, 101));
        self.send(INSIDE, &mut tcp(client, server, 0x10, 101, 501));
    }
}

/// A frame of 64 bytes with a finished checksum.
fn tcp(source: SocketAddr, destination: SocketAddr, flags: u8, sequence: u32, acknowledgment: u32) -> [u8; 64] {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) else { panic!("IPv4 only") };
    let mut frame = [0u8; 64];
    frame[12..14].copy_from_slice(&[8, 0]);
    // 50 bytes of packet: 20 + 20 + 10 of data, or none for a SYN.
    let length: u16 = if flags & 2 != 0 { 40 } else { 50 };
    ipv4::write(&mut frame[14..], 0, length, 6, from, to);
    let end = 14 + usize::from(length);
    let l4 = &mut frame[34..end];
    l4[..2].copy_from_slice(&source.port().to_be_bytes());
    l4[2..4].copy_from_slice(&destination.port().to_be_bytes());
    l4[4..8].copy_from_slice(&sequence.to_be_bytes());
    l4[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
    l4[12] = 0x50;
    l4[13] = flags;
    l4[14..16].copy_from_slice(&[0xff, 0xff]);
    let pseudo = checksum::pseudo_header_v4(from, to, 6, l4.len());
    let value = !checksum::fold(pseudo + checksum::sum(l4));
    l4[16..18].copy_from_slice(&value.to_be_bytes());
    frame
}

fn udp(source: SocketAddr, destination: SocketAddr) -> [u8; 64] {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) else { panic!("IPv4 only") };
    let mut frame = [0u8; 64];
    frame[12..14].copy_from_slice(&[8, 0]);
    ipv4::write(&mut frame[14..], 0, 50, 17, from, to);
    let l4 = &mut frame[34..];
    l4[..2].copy_from_slice(&source.port().to_be_bytes());
    l4[2..4].copy_from_slice(&destination.port().to_be_bytes());
    l4[4..6].copy_from_slice(&30u16.to_be_bytes());
    let pseudo = checksum::pseudo_header_v4(from, to, 17, 30);
    let value = !checksum::fold(pseudo + checksum::sum(l4));
    l4[6..8].copy_from_slice(&value.to_be_bytes());
    frame
}

/// The time that this thread has had a core: other work on the machine does not count.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    Duration::from_nanos(text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("nanoseconds"))
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = status.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("resident pages");
    pages * 4096
}

fn client(index: usize) -> SocketAddr {
    let host = u32::try_from(index / 50_000).expect("few hosts");
    let port = u16::try_from(10_000 + index % 50_000).expect("a port");
    SocketAddr::new(Ipv4Addr::from_bits(0x0a00_0002 + host).into(), port)
}

fn server(index: usize) -> SocketAddr {
    // Each inside host talks to a server of its own, so that every port is kept.
    let host = u32::try_from(index / 50_000).expect("few hosts");
    SocketAddr::new(Ipv4Addr::from_bits(0xc633_6400 + host).into(), 80)
}

fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).expect("a moderate count")) / took.as_secs_f64()
}

fn main() {
    let flows = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(1_000_000);

    let mut bench = Bench::new(flows);
    const CONNECTIONS: usize = 200_000;
    let start = cpu_time();
    for index in 0..CONNECTIONS {
        bench.connect(client(index), server(index));
    }
    println!("new connections: {:.0} a second", rate(CONNECTIONS, cpu_time() - start));

    const FRAMES: usize = 5_000_000;
    let peer = SocketAddr::new(Ipv4Addr::new(198, 51, 100, 7).into(), 7000);
    for (name, spread) in [("frames of 1 flow", 1), ("frames of 1,000 flows", 1000)] {
        let mut bench = Bench::new(flows);
        let templates: Vec<_> = (0..spread).map(|index| udp(client(index), peer)).collect();
        let start = cpu_time();
        let mut frame = [0u8; 64];
        for index in 0..FRAMES {
            frame.copy_from_slice(&templates[index % spread]);
            bench.send(INSIDE, &mut frame);
        }
        println!("{name}, UDP: {:.2} million a second", rate(FRAMES, cpu_time() - start) / 1e6);
        let mut bench = Bench::new(flows);
        for index in 0..spread {
            bench.connect(client(index), server(index));
        }
        let templates: Vec<_> = (0..spread).map(|index| tcp(client(index), server(index), 0x18, 101, 501)).collect();
        let start = cpu_time();
        for index in 0..FRAMES {
            frame.copy_from_slice(&templates[index % spread]);
            bench.send(INSIDE, &mut frame);
        }
        println!("{name}, TCP: {:.2} million a second", rate(FRAMES, cpu_time() - start) / 1e6);
    }

    let before = resident_bytes();
    let mut bench = Bench::new(flows);
    for index in 0..flows {
        bench.send(INSIDE, &mut udp(client(index), server(index)));
    }
    let bytes = (resident_bytes() - before) / flows;
    assert_eq!(bench.nat.table().len(), flows);
    println!("memory at {flows} flows: {bytes} bytes a flow");

    {
        let before = resident_bytes();
        let mapping = Mapping::EndpointIndependent(Filtering::EndpointIndependent);
        let mut strict = Bench::with(flows, flows * 2, mapping);
        for index in 0..flows {
            strict.send(INSIDE, &mut udp(client(index), server(index)));
        }
        let bytes = (resident_bytes() - before) / flows;
        println!("the same with strict mapping, every source another: {bytes} bytes a flow");
    }
    {
        let mut full = Bench::with(flows, 100_000, Mapping::PortPreserving);
        for index in 0..100_000 {
            full.send(INSIDE, &mut udp(client(index), server(index)));
        }
        let start = cpu_time();
        let mut refused = 0;
        for index in 100_000..300_000 {
            refused += usize::from(full.offer(INSIDE, &mut udp(client(index), server(index))).is_some());
        }
        let rate = rate(200_000, cpu_time() - start);
        println!("new flows into a full table: {rate:.0} a second, {refused} of 200,000 refused");
    }

    // The same thousand flows looked up among a thousand and among all, and others all over the table.
    let mut few = Bench::new(flows);
    for index in 0..1000 {
        few.send(INSIDE, &mut udp(client(index), server(index)));
    }
    let step = (flows / 1000).max(1);
    let cases =
        [("among 1,000", false, 1), ("among all, of 1,000 flows", true, 1), ("among all, far apart", true, step)];
    for (name, all, step) in cases {
        let bench = if all { &mut bench } else { &mut few };
        let templates: Vec<_> = (0..1000).map(|index| udp(client(index * step), server(index * step))).collect();
        let start = cpu_time();
        let mut frame = [0u8; 64];
        for index in 0..2_000_000 {
            frame.copy_from_slice(&templates[index % 1000]);
            bench.send(INSIDE, &mut frame);
        }
        println!("one frame {name}: {:.0} ns", (cpu_time() - start).as_secs_f64() * 1e9 / 2e6);
    }
    // Each frame of another flow, in an order that no cache foresees; the frames themselves lie far apart, too.
    for among in [1_000, 10_000, 100_000, flows] {
        let templates: Vec<_> = (0..among).map(|index| udp(client(index), server(index))).collect();
        let mut bench = Bench::new(among);
        let mut frame = [0u8; 64];
        for template in &templates {
            frame.copy_from_slice(template);
            bench.send(INSIDE, &mut frame);
        }
        let start = cpu_time();
        for index in 0..1_000_000usize {
            frame.copy_from_slice(&templates[index.wrapping_mul(7_919_999) % among]);
            bench.send(INSIDE, &mut frame);
        }
        let nanoseconds = (cpu_time() - start).as_secs_f64() * 1e9 / 1e6;
        println!("one frame of a random flow among {among}: {nanoseconds:.0} ns");
    }
    let start = cpu_time();
    bench.nat.table().expire_all(bench.now);
    println!("sweep of the whole table: {:.1} ms", (cpu_time() - start).as_secs_f64() * 1e3);
}
