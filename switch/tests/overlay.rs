//! Overlay networks between switches, over real sockets on the loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod hosts;

use std::collections::BTreeSet;
use std::net::UdpSocket;

use hosts::{Host, VNI, addresses, config, mac, network, pair, plain, spec};
use vswitch_frame::arp::{self, Arp};
use vswitch_frame::offload::{Gso, GsoKind, PartialChecksum};
use vswitch_frame::{DropReason, Headers, MacAddr, Offload, Vni, checksum};
use vswitch_switch::overlay::VtepConfig;
use vswitch_switch::sys::udp;
use vswitch_switch::tunnel::{EntrySpec, Origin, OuterChecksum, OverlaySpec, TunnelDrop};
use vswitch_switch::{Offloads, PortDevice, SwitchError, memory_link};

/// V22, V23: frames of all lengths cross as they are, and both sides learn where the stations are.
#[test]
fn frames_cross() {
    let [a, b] = pair();
    a.send(&plain(MacAddr::BROADCAST, mac(1), 0));
    assert_eq!(&b.receive().0[..], plain(MacAddr::BROADCAST, mac(1), 0));
    for length in [0, 1, 46, 500, 1400] {
        b.send(&plain(mac(1), mac(2), length));
        assert_eq!(&a.receive().0[..], plain(mac(1), mac(2), length));
        a.send(&plain(mac(2), mac(1), length));
        assert_eq!(&b.receive().0[..], plain(mac(2), mac(1), length));
    }
    let entries = a.switch.overlay_entries(a.leg).unwrap();
    let known: Vec<_> = entries.iter().map(|entry| (entry.mac, entry.remote)).collect();
    assert_eq!(known, [(mac(2), b.address.ip())]);
}

/// A super-frame of `segments` full TCP segments from station 1 to station 2.
fn super_frame(size: usize, segments: usize) -> (Vec<u8>, Offload) {
    let payload: Vec<u8> = (0..size * segments).map(|index| u8::try_from(index % 253).unwrap()).collect();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(1).octets(), mac(2).octets())
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(5000, 5001, 7, 1000)
        .ack(9)
        .write(&mut frame, &payload)
        .unwrap();
    frame[6..12].copy_from_slice(&mac(1).octets());
    frame[0..6].copy_from_slice(&mac(2).octets());
    let pseudo = checksum::pseudo_header_v4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 6, frame.len() - 34);
    frame[50..52].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    let size = u16::try_from(size).unwrap();
    let gso = Some(Gso { kind: GsoKind::TcpV4, size, header_len: 54, ecn: false });
    (frame, Offload { checksum: Some(PartialChecksum { start: 34, offset: 16 }), gso })
}

/// A super-frame leaves as trains, arrives as trains and comes out with the bytes of the original, in few pieces.
#[test]
fn super_frames_cross() {
    let [a, b] = pair();
    let (frame, offload) = super_frame(1396, 40);
    assert!(a.container.send(&frame, offload));
    let mut payload = Vec::new();
    let mut pieces = 0;
    while payload.len() < frame.len() - 54 {
        let (piece, offload) = b.receive();
        assert_eq!(&piece[..14], &frame[..14]);
        assert_eq!(offload.gso.map(|gso| gso.size), Some(1396));
        payload.extend_from_slice(&piece[54..]);
        pieces += 1;
    }
    assert_eq!(payload, &frame[54..]);
    assert!(pieces <= 2, "{pieces} pieces");
    let stats = b.overlay().overlay;
    assert_eq!(stats.coalesced + pieces, 40);
    assert_eq!(stats.remotes[0].in_packets, 40);
    assert_eq!(stats.drops, []);
    let [vtep] = &a.switch.stats().vteps[..] else { panic!("one VTEP") };
    assert!(vtep.out_packets == 40 && vtep.out_trains <= 2, "{vtep:?}");
}

/// A VXLAN packet.
fn packet(vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    [&[8, 0, 0, 0, a, b, c, 0][..], inner].concat()
}

/// A host, and a plain socket that it takes for its remote.
fn host_and_socket(spec: OverlaySpec) -> (Host, UdpSocket) {
    let [own, other] = addresses::<2>();
    let host = Host::new(own, spec, network("net"));
    host.switch.add_remote(host.leg, other.ip()).unwrap();
    (host, UdpSocket::bind(other).unwrap())
}

// V3, V4, V7, V19
/// Malformed packets of every length, unknown networks and strangers are counted, each for its reason, and none comes in;
/// a good one does, from whatever port.
#[test]
fn v19_every_length() {
    let (host, remote) = host_and_socket(spec());
    let good = packet(VNI, &plain(MacAddr::BROADCAST, mac(9), 60));
    for length in 0..22 {
        remote.send_to(&good[..length], host.address).unwrap();
    }
    remote.send_to(&[0; 40], host.address).unwrap();
    remote.send_to(&packet(VNI + 1, &good[8..]), host.address).unwrap();
    let stranger = UdpSocket::bind("127.0.77.99:0").unwrap();
    stranger.send_to(&good, host.address).unwrap();
    let own = UdpSocket::bind((host.address.ip(), 0)).unwrap();
    own.send_to(&good, host.address).unwrap();
    let another_port = UdpSocket::bind((remote.local_addr().unwrap().ip(), 0)).unwrap();
    another_port.send_to(&good, host.address).unwrap();
    assert_eq!(host.receive().0[..], good[8..]);
    let expected = [
        (TunnelDrop::Truncated, 8),
        (TunnelDrop::Runt, 14),
        (TunnelDrop::NoVni, 1),
        (TunnelDrop::UnknownVni, 1),
        (TunnelDrop::UnknownRemote, 1),
        (TunnelDrop::OwnAddress, 1),
    ];
    for (reason, count) in expected {
        host.until(reason.name(), |host| host.dropped(reason) == count);
    }
    let counters = host.switch.stats().ports.into_iter().find(|port| port.port == host.leg).unwrap().counters;
    assert_eq!((counters.in_frames, counters.flooded), (1, 1), "{counters:?}");
}

// V1, V6, V8
/// What leaves is a VXLAN packet with the right header; flows leave from many ports, each always from the same.
#[test]
fn v6_source_ports() {
    for checksum in [OuterChecksum::Computed, OuterChecksum::Zero] {
        let (host, remote) = host_and_socket(OverlaySpec { checksum, ..spec() });
        let mut buffer = [0; 2000];
        let mut ports = BTreeSet::new();
        let datagram = |port: u16| {
            let mut frame = Vec::new();
            etherparse::PacketBuilder::ethernet2(mac(1).octets(), mac(2).octets())
                .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
                .udp(port, 80)
                .write(&mut frame, b"x")
                .unwrap();
            frame
        };
        for flow in 0..60 {
            let frame = datagram(1000 + flow);
            let mut from = || {
                host.send(&frame);
                let (length, from) = remote.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[..length], packet(VNI, &frame));
                assert_eq!(from.ip(), host.address.ip());
                from.port()
            };
            let port = from();
            assert_eq!(from(), port);
            ports.insert(port);
        }
        assert!(ports.len() >= 50 && ports.iter().all(|&port| port >= 49_152), "{ports:?}");
    }
}

// V4
/// Two networks on one VTEP stay apart, and a VNI is used once.
#[test]
fn v4_networks_stay_apart() {
    let [a, b] = pair();
    let second = |host: &Host| {
        let index = host.switch.add_network(network("second")).unwrap();
        let spec = OverlaySpec::new(Vni::new(VNI + 1).unwrap());
        let leg = host.switch.add_overlay(config(index, "overlay"), host.vtep, spec).unwrap();
        let (device, peer) = memory_link(64, Offloads::Carried).unwrap();
        host.switch.add_port(config(index, "container"), PortDevice::Memory(device)).unwrap();
        (index, leg, peer)
    };
    let (index, leg_a, peer_a) = second(&a);
    let (_, leg_b, peer_b) = second(&b);
    a.switch.add_remote(leg_a, b.address.ip()).unwrap();
    b.switch.add_remote(leg_b, a.address.ip()).unwrap();
    for number in 0..20 {
        a.send(&plain(MacAddr::BROADCAST, mac(1), number));
        assert!(peer_a.send(&plain(MacAddr::BROADCAST, mac(2), number), Offload::NONE));
        assert_eq!(b.receive().0[..], plain(MacAddr::BROADCAST, mac(1), number));
        let other = peer_b.receive(std::time::Duration::from_secs(20)).unwrap().0;
        assert_eq!(other[..], plain(MacAddr::BROADCAST, mac(2), number));
    }
    assert!(b.container.try_receive().is_none() && peer_b.try_receive().is_none());
    let taken = a.switch.add_network(network("third")).unwrap();
    let refused = a.switch.add_overlay(config(taken, "overlay"), a.vtep, spec()).unwrap_err();
    assert!(matches!(refused, SwitchError::VniTaken(_)), "{refused}");
    let spec = OverlaySpec::new(Vni::new(VNI + 2).unwrap());
    let refused = a.switch.add_overlay(config(index, "overlay"), a.vtep, spec).unwrap_err();
    assert!(matches!(refused, SwitchError::HasOverlay(_)), "{refused}");
    assert!(matches!(a.switch.remove_vtep(a.vtep).unwrap_err(), SwitchError::VtepBusy(_)));
    a.switch.remove_port(leg_a).unwrap();
    assert!(peer_b.send(&plain(MacAddr::BROADCAST, mac(2), 1), Offload::NONE));
    a.until("the VNI is unknown again", |host| host.dropped(TunnelDrop::UnknownVni) == 1);
}

// V26
/// A flood reaches each of three hosts once and does not come back by another.
#[test]
fn v26_three_hosts() {
    let hosts = addresses::<3>().map(|address| Host::new(address, spec(), network("net")));
    for host in &hosts {
        hosts.iter().filter(|other| other.address != host.address).for_each(|other| host.knows(other));
    }
    for number in 0..10 {
        hosts[0].send(&plain(MacAddr::BROADCAST, mac(1), number));
    }
    for host in &hosts[1..] {
        for number in 0..10 {
            assert_eq!(host.receive().0[..], plain(MacAddr::BROADCAST, mac(1), number));
        }
    }
    // An answer that comes shows that what came before it is done with.
    for host in &hosts[1..] {
        host.send(&plain(mac(1), mac(2), 0));
        assert_eq!(hosts[0].receive().0[..], plain(mac(1), mac(2), 0), "nothing came back");
        assert!(host.container.try_receive().is_none());
        assert_eq!(host.overlay().overlay.remotes.iter().map(|remote| remote.in_packets).sum::<u64>(), 10);
    }
}

// V13, V14
/// A packet that must not be fragmented and does not fit is answered in its destination's name with the network's MTU;
/// one that may be fragmented crosses.
#[test]
fn v13_too_big() {
    let [a, b] = pair();
    let datagram = |length: usize, whole: bool| {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2(mac(1).octets(), mac(2).octets())
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(5, 6)
            .write(&mut frame, &vec![7; length - 28])
            .unwrap();
        frame[20] = if whole { 0x40 } else { 0 };
        frame[24..26].fill(0);
        let value = checksum::checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&value.to_be_bytes());
        frame
    };
    a.send(&datagram(1450, true));
    assert_eq!(b.receive().0.len(), 1464);
    a.send(&datagram(1451, false));
    assert_eq!(b.receive().0.len(), 1465);
    a.send(&datagram(1451, true));
    let answer = a.receive().0;
    assert_eq!(vswitch_frame::addresses(&answer), (mac(1), mac(2)));
    let headers = Headers::parse(&answer).unwrap();
    assert_eq!(headers.source_v4(&answer), std::net::Ipv4Addr::new(10, 0, 0, 2));
    assert_eq!(headers.l4(&answer)[..2], [3, 4]);
    assert_eq!(headers.l4(&answer)[4..8], 1450u32.to_be_bytes());
    assert!(b.container.try_receive().is_none());
    assert_eq!(a.overlay().overlay.too_big, 1);
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(1).octets(), mac(2).octets())
        .ipv6([0xfd; 16], [0xfc; 16], 64)
        .udp(5, 6)
        .write(&mut frame, &[7; 1500])
        .unwrap();
    a.send(&frame);
    let answer = a.receive().0;
    let headers = Headers::parse(&answer).unwrap();
    assert_eq!((headers.l4(&answer)[0], &headers.l4(&answer)[4..8]), (2, &1450u32.to_be_bytes()[..]));
}

// P13, V24
/// An entry from control answers for its station, binds it, and tells local stations when its address changes hands.
#[test]
fn p13_entries() {
    let [a, b] = pair();
    let entry = |number: u8| EntrySpec {
        mac: mac(number),
        addresses: vec![[10, 0, 0, 7].into()],
        remote: b.address.ip(),
        origin: Origin::ControlPlane,
    };
    a.switch.put_overlay_entry(a.leg, &entry(7)).unwrap();
    let mut question = plain(MacAddr::BROADCAST, mac(1), arp::LEN);
    question[12..14].copy_from_slice(&[8, 6]);
    arp::write(
        &mut question[14..],
        arp::REQUEST,
        (mac(1), [10, 0, 0, 1].into()),
        (MacAddr::ZERO, [10, 0, 0, 7].into()),
    );
    a.send(&question);
    let answer = a.receive().0;
    assert_eq!(Arp::parse(&answer[14..]).unwrap().sender_mac(), mac(7));
    assert_eq!(a.overlay().overlay.remotes[0].out_packets, 0, "not flooded");
    a.send(&plain(MacAddr::BROADCAST, mac(7), 1));
    a.until("a local station cannot take the address", |host| {
        host.switch.stats().total.dropped(DropReason::StaticEntry) == 1
    });
    a.switch.put_overlay_entry(a.leg, &entry(8)).unwrap();
    let announcement = a.receive().0;
    assert_eq!(vswitch_frame::addresses(&announcement), (MacAddr::BROADCAST, mac(8)));
    assert_eq!(Arp::parse(&announcement[14..]).unwrap().sender_ip(), std::net::Ipv4Addr::from([10, 0, 0, 7]));
    assert!(a.switch.remove_overlay_entry(a.leg, mac(7)).unwrap());
    a.send(&plain(MacAddr::BROADCAST, mac(7), 1));
    assert_eq!(b.receive().0[..], plain(MacAddr::BROADCAST, mac(7), 1));
    let not_a_leg = a.switch.overlay_entries(a.port).unwrap_err();
    assert!(matches!(not_a_leg, SwitchError::NotOverlay(_)), "{not_a_leg}");
}

/// A VTEP takes another address while its networks, remotes and entries stay; not one that is a remote's.
#[test]
fn the_address_changes() {
    let [first, other, next] = addresses::<3>();
    let host = Host::new(first, spec(), network("net"));
    host.switch.add_remote(host.leg, other.ip()).unwrap();
    let remote = UdpSocket::bind(other).unwrap();
    let wrong = host.switch.replace_vtep(host.vtep, VtepConfig { address: other }, udp::open(next).unwrap());
    assert!(wrong.unwrap_err().to_string().contains("own VTEP address"));
    host.switch.replace_vtep(host.vtep, VtepConfig { address: next }, udp::open(next).unwrap()).unwrap();
    let frame = plain(MacAddr::BROADCAST, mac(1), 10);
    host.send(&frame);
    let mut buffer = [0; 2000];
    let (length, from) = remote.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from.ip()), (&packet(VNI, &frame)[..], next.ip()));
    remote.send_to(&packet(VNI, &plain(mac(1), mac(2), 10)), next).unwrap();
    assert_eq!(host.receive().0[..], plain(mac(1), mac(2), 10));
    let free = UdpSocket::bind(first).expect("the old socket is closed");
    drop(free);
}
