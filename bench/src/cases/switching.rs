//! The bridge's decision: parse, check the sender, learn, look up.

use std::hint::black_box;

use vswitch_frame::{MacAddr, Offload, PacketMut};
use vswitch_switch::Verdict;
use vswitch_switch::bridge::{Database, decide};
use vswitch_switch::datapath::Datapath;
use vswitch_switch::fdb::Cache;
use vswitch_switch::{Identity, NetworkConfig, Offloads, PortConfig, PortDevice, Settings, memory_link};

use super::{Cases, Step};

pub(super) const CASES: Cases = &[("switch/decide", || step(false)), ("switch/decide-anti-spoof", || step(true))];

/// Frames between two stations behind two ports. More stations would mean a set-up whose cost depends on the FDB's random hash
/// seed; what they cost is a curve of `bench/run growth`.
fn step(checked: bool) -> Step {
    const STATIONS: u32 = 2;
    let datapath = Datapath::new(Settings::default(), 1);
    let config = NetworkConfig::new("net");
    let network = datapath.add_network(config).expect("a first network");
    let mac = |station: u32| MacAddr::from_u64(0x0242_0a00_0000 | u64::from(station));
    let port = |side: u8| {
        let identity =
            checked.then(|| Identity { mac: mac(side.into()), ipv4: Some([10, 0, 0, side].into()), ipv6: None });
        let (device, _peer) = memory_link(1, Offloads::Carried).expect("a descriptor");
        let config = PortConfig { identity, ..PortConfig::new(format!("port{side}"), network) };
        datapath.add_port(config, PortDevice::Memory(device)).expect("a first port")
    };
    let ports = [port(0), port(1)];
    let snapshot = datapath.snapshot();
    let now = datapath.clock().now();
    let mut cache = Cache::new();
    let mut from = 0;
    let mut pass = move || {
        let side = u8::from(from % 2 == 1);
        let mut frame = super::frames::frame(17, ([10, 0, 0, side].into(), [10, 0, 0, 1 - side].into()), 30);
        frame[..6].copy_from_slice(&mac(from ^ 1).octets());
        frame[6..12].copy_from_slice(&mac(from).octets());
        from = (from + 1) % STATIONS;
        let network = snapshot.network(network).expect("it is there");
        cache.begin(&datapath.fdb, now);
        let packet = PacketMut::admit(black_box(&mut frame), Offload::NONE).expect("a sound frame");
        let database = Database { fdb: &datapath.fdb, cache: &mut cache };
        decide(&packet.view(), &ports[usize::from(side)], network, database, now)
    };
    for _ in 0..STATIONS {
        pass();
    }
    Box::new(move || assert!(matches!(black_box(pass()), Some(Verdict::Forward(_)))))
}
