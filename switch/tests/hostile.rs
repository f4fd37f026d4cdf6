//! Frames that no honest stack sends: every length, cut headers, storms of random addresses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use lab::{Lab, network, plain, station, udp4};
use proptest::prelude::*;
use vswitch_frame::{MacAddr, Offload, offload::VNET_HEADER_LEN};
use vswitch_switch::{Offloads, PortConfig, Settings};

/// Frames of every length from 0 to 65,535 are forwarded or dropped with a reason; none is lost from the counts.
#[test]
fn every_length() {
    let mut lab = Lab::new(Settings::default());
    let config = vswitch_switch::NetworkConfig { mtu: 70_000, ..network("net") };
    let net = lab.datapath.add_network(config).unwrap();
    let (a, b) = (lab.port(net, None), lab.port(net, Some(station(3))));
    let mut frame = udp4(&station(2), &station(3), &[0; 1000]);
    frame.resize(65_536, 0xa5);
    for length in 0..=65_535 {
        lab.send_all(a, [(&frame[..length], Offload::NONE)]);
        if length % 1000 == 0 {
            lab.send_all(b, [(&frame[..length], Offload::NONE)]);
        }
        lab.received();
    }
    let counters = lab.counters(a);
    assert_eq!(counters.in_frames, 65_536);
    assert_eq!(counters.forwarded + counters.consumed + counters.total_dropped(), 65_536);
    assert_eq!(counters.total_dropped(), 14, "only runts are no frames");
}

/// Every cut of every kind of frame, to every kind of port, is forwarded, consumed or dropped, and never panics.
#[test]
fn every_cut() {
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(network("net")).unwrap();
    let finished = PortConfig::new("f", net);
    let (trusted, checked) = (lab.port(net, None), lab.port(net, Some(station(2))));
    lab.port_of(finished, Offloads::Finished);
    let mut sent = 0u64;
    for whole in samples() {
        for cut in 0..=whole.len() {
            for port in [trusted, checked] {
                lab.send(port, &whole[..cut]);
                sent += 1;
            }
        }
    }
    let total = lab.datapath.stats().total;
    let egress_drops: u64 = total.total_dropped();
    assert_eq!(total.in_frames, sent);
    assert!(total.forwarded + total.consumed + egress_drops >= sent);
}

fn samples() -> Vec<Vec<u8>> {
    let (me, you) = (station(2), station(3));
    let gateway = lab::gateway();
    let to_gateway = vswitch_switch::Identity {
        mac: gateway.mac,
        ipv4: Some([10, 0, 0, 1].into()),
        ipv6: Some("fd00::1".parse().unwrap()),
    };
    let mut samples = vec![plain(you.mac, me.mac)];
    for to in [you, to_gateway] {
        samples.push(udp4(&me, &to, b"payload"));
        samples.push(lab::udp6(&me, &to, b"payload"));
        samples.push(lab::arp(1, (me.mac, me.ipv4.unwrap()), (MacAddr::ZERO, to.ipv4.unwrap())));
        let mut echo = Vec::new();
        etherparse::PacketBuilder::ethernet2(me.mac.octets(), to.mac.octets())
            .ipv6(me.ipv6.unwrap().octets(), to.ipv6.unwrap().octets(), 64)
            .icmpv6_echo_request(1, 2)
            .write(&mut echo, b"payload")
            .unwrap();
        samples.push(echo);
        let mut packet = [0; 72];
        vswitch_frame::ndp::write_solicitation(&mut packet, me.mac, me.ipv6.unwrap(), to.ipv6.unwrap());
        samples.push(lab::ethernet(to.mac, me.mac, 0x86dd, &packet));
    }
    samples
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Noise behind any virtio-net header, on checked and unchecked ports and to a port that must segment: no panic, and
    /// every frame is accounted for.
    #[test]
    fn noise(
        header: [u8; VNET_HEADER_LEN],
        sample in 0usize..11,
        cut in 0usize..200,
        flips in proptest::collection::vec((0usize..200, any::<u8>()), 0..8),
    ) {
        let mut lab = Lab::new(Settings::default());
        let net = lab.datapath.add_network(network("net")).unwrap();
        let finished = PortConfig::new("f", net);
        let ports = [lab.port(net, None), lab.port(net, Some(station(2)))];
        lab.port_of(finished, Offloads::Finished);
        let mut frame = samples()[sample].clone();
        for (at, value) in flips {
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= value;
            }
        }
        frame.truncate(cut.max(1));
        let offload = Offload::decode(header, frame.len()).unwrap_or_default();
        for port in ports {
            lab.send_all(port, [(&frame[..], offload)]);
            let counters = lab.counters(port);
            prop_assert_eq!(counters.in_frames, 1);
            prop_assert!(counters.forwarded + counters.consumed + counters.total_dropped() >= 1);
        }
    }
}

/// A storm of a million random source addresses fills no more than the table's capacity, and two victims go on talking
/// without a frame being flooded.
#[test]
fn storm_of_random_addresses() {
    let mut lab = Lab::new(Settings { fdb_capacity: 4096, ..Settings::default() });
    let net = lab.datapath.add_network(network("net")).unwrap();
    let (a, b, attacker) = (lab.port(net, None), lab.port(net, None), lab.port(net, None));
    lab.send(a, &plain(station(3).mac, station(2).mac));
    lab.send(b, &plain(station(2).mac, station(3).mac));
    let mut number = 0u64;
    for round in 0..(1_000_000 / 64) {
        let frames: Vec<_> = (0..64)
            .map(|_| {
                number += 1;
                let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
                plain(station(2).mac, MacAddr::from_u64(random & 0xfeff_ffff_ffff | 0x0200_0000_0000))
            })
            .collect();
        lab.send_all(attacker, frames.iter().map(|frame| (&frame[..], Offload::NONE)));
        lab.received();
        if round % 1000 == 0 {
            assert_eq!(lab.ports_reached(a, &plain(station(3).mac, station(2).mac)), [b]);
            assert_eq!(lab.ports_reached(b, &plain(station(2).mac, station(3).mac)), [a]);
        }
    }
    let stats = lab.datapath.stats().fdb;
    assert_eq!(stats.entries, 4096);
    assert!(stats.evicted > 990_000);
}
