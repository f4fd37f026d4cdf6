//! The data path in memory, on one core: parse, learn, look up, decide.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Context;
use vswitch_frame::{FrameBuf, MacAddr, Offload, PacketMut};
use vswitch_switch::Verdict;
use vswitch_switch::bridge::{Database, decide};
use vswitch_switch::datapath::Datapath;
use vswitch_switch::fdb::Cache;
use vswitch_switch::{Identity, NetworkConfig, Offloads, PortConfig, PortDevice, Settings, memory_link};

/// Frames in flight: as many as a worker's burst.
const BURST: usize = 64;
/// Stations behind the two ports.
const STATIONS: u64 = 256;

/// Millions of 64-byte frames a second through parse, anti-spoofing (if `checked`), learn, lookup and verdict.
pub fn frames_per_second(checked: bool, bursts: usize) -> anyhow::Result<f64> {
    let datapath = Datapath::new(Settings::default(), 1);
    let config = NetworkConfig::new("net");
    let network = datapath.add_network(config)?;
    let stations = if checked { 1 } else { STATIONS };
    let mac = |side: u64, station: u64| MacAddr::from_u64(0x0242_0000_0000 | side << 16 | station);
    let port = |side: u64| -> anyhow::Result<_> {
        let identity = checked.then(|| Identity {
            mac: mac(side, 0),
            ipv4: Some([10, 0, u8::try_from(side).unwrap_or(0), 0].into()),
            ipv6: None,
        });
        let (device, _peer) = memory_link(1, Offloads::Carried)?;
        let config = PortConfig { identity, ..PortConfig::new(format!("port{side}"), network) };
        Ok(datapath.add_port(config, PortDevice::Memory(device))?)
    };
    let ports = [port(0)?, port(1)?];
    let frame = |side: u64, number: u64| {
        let other = 1 - side;
        let mut frame = Vec::with_capacity(64);
        frame.extend(mac(other, number).octets());
        frame.extend(mac(side, number).octets());
        frame.extend([8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0]);
        let (side, other) = (u8::try_from(side).unwrap_or(0), u8::try_from(other).unwrap_or(0));
        frame.extend([10, 0, side, 0, 10, 0, other, 0]);
        frame.resize(64, 0);
        FrameBuf::from_frame(&frame, Offload::NONE)
    };
    let mut buffers: Vec<Vec<FrameBuf>> = (0..2)
        .map(|side| (0..BURST).map(|n| frame(side, u64::try_from(n).unwrap_or(0) % stations)).collect())
        .collect();
    let snapshot = datapath.snapshot();
    let network = snapshot.network(network).context("the network is there")?;
    let clock = datapath.clock();
    let mut cache = Cache::new();
    let mut unicast = 0u64;
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = Instant::now();
    for round in 0..bursts {
        let side = round % 2;
        let now = clock.now();
        cache.begin(&datapath.fdb, now);
        for buffer in &mut buffers[side] {
            let packet = black_box(buffer).admit().map_err(|reason| anyhow::anyhow!("{reason}"))?;
            let database = Database { fdb: &datapath.fdb, cache: &mut cache };
            let decision = decide(&packet, &ports[side], network, database, now);
            unicast += u64::from(matches!(black_box(decision), Some(Verdict::Forward(_))));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let frames = bursts * BURST;
    // All but the first frames find their destination known: otherwise this measured something else.
    anyhow::ensure!(unicast + 2 * BURST as u64 >= frames as u64, "only {unicast} of {frames} frames were forwarded");
    Ok(frames as f64 / seconds / 1e6)
}

/// Nanoseconds that a 64-byte frame takes through parse, learn, lookup and verdict, when each comes from and goes to a random
/// one of `stations` stations that are all known.
pub fn nanoseconds_among(stations: u32) -> anyhow::Result<f64> {
    const FRAMES: u32 = 2_000_000;
    let settings = Settings { fdb_capacity: 4_000_000, ..Settings::default() };
    let datapath = Datapath::new(settings, 1);
    let config = NetworkConfig::new("net");
    let network = datapath.add_network(config)?;
    let port = |name: &str| -> anyhow::Result<_> {
        let (device, _peer) = memory_link(1, Offloads::Carried)?;
        let config = PortConfig::new(name, network);
        Ok(datapath.add_port(config, PortDevice::Memory(device))?)
    };
    let ports = [port("even")?, port("odd")?];
    let snapshot = datapath.snapshot();
    let network = snapshot.network(network).context("the network is there")?;
    let now = datapath.clock().now();
    let mut cache = Cache::new();
    cache.begin(&datapath.fdb, now);
    let mac = |station: u32| MacAddr::from_u64(0x0242_0000_0000 | u64::from(station)).octets();
    let mut frame = [0; 64];
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let mut pass = |from: u32, to: u32| {
        frame[..6].copy_from_slice(&mac(to));
        frame[6..12].copy_from_slice(&mac(from));
        let ingress = &ports[usize::from(from % 2 == 1)];
        let Ok(packet) = PacketMut::admit(black_box(&mut frame), Offload::NONE) else { return false };
        let database = Database { fdb: &datapath.fdb, cache: &mut cache };
        matches!(decide(&packet.view(), ingress, network, database, now), Some(Verdict::Forward(_)))
    };
    for station in 0..stations {
        pass(station, station ^ 1);
    }
    // Numerical Recipes' generator is random enough for an order that no cache foresees.
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % stations
    };
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = Instant::now();
    let mut unicast = 0;
    for _ in 0..FRAMES {
        let from = random();
        unicast += u32::from(pass(from, random() & !1 | (from & 1 ^ 1)));
    }
    let nanos = start.elapsed().as_secs_f64() * 1e9 / f64::from(FRAMES);
    anyhow::ensure!(unicast > FRAMES / 100 * 99, "only {unicast} of {FRAMES} frames were forwarded");
    Ok(nanos)
}
