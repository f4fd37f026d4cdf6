//! Captures: which frames are in them, where and why, and that they cost nobody but themselves.

#![allow(clippy::unwrap_used, reason = "a test that cannot build its world has failed")]

mod lab;

use lab::{Lab, network, plain, station, udp4};
use vswitch_frame::offload::{Gso, GsoKind, Offload, PartialChecksum};
use vswitch_frame::{MacAddr, PortId};
use vswitch_switch::capture::Filter;
use vswitch_switch::lab::{Capture, CaptureSpec, Format, MOST_CAPTURES, On, Places, Super};
use vswitch_switch::{Offloads, PortConfig, PortDevice, Settings, SwitchError, memory_link};

fn spec(on: On, filter: &str) -> CaptureSpec {
    CaptureSpec {
        on,
        places: Places::ALL,
        filter: Filter::new(filter).unwrap(),
        filter_text: filter.to_owned(),
        reason: None,
        snap_len: 262_144,
        super_frames: Super::Segments,
        count: None,
        format: Format::Text,
    }
}

/// One network with stations 2 and 3, called `two` and `three`.
fn two_stations() -> (Lab, PortId, PortId) {
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(network("net")).unwrap();
    let mut port = |name: &str, number| {
        let config = PortConfig { identity: Some(station(number)), ..PortConfig::new(name, net) };
        lab.port_of(config, Offloads::Carried)
    };
    let (two, three) = (port("two", 2), port("three", 3));
    (lab, two, three)
}

/// Everything that comes out until the end, without the times.
fn lines(mut capture: Capture) -> Vec<String> {
    capture.stop().stop();
    let mut text = Vec::new();
    while let Some(bytes) = capture.next_bytes() {
        text.extend(bytes);
    }
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| line.split_once("Z ").map_or(line, |(_, rest)| rest).to_owned()).collect()
}

/// A frame is seen on its way in and out under one number, and another one, that is dropped, with the reason.
#[test]
fn places_and_numbers() {
    let (mut lab, two, _) = two_stations();
    let capture = lab.datapath.capture(spec(On::All, "")).unwrap();
    lab.send(two, &udp4(&station(2), &station(3), b"hello"));
    lab.send(two, &udp4(&station(9), &station(3), b"no"));
    let found = lines(capture);
    assert_eq!(
        found,
        [
            "#1 two/up udp 10.0.0.2:1000 > 10.0.0.3:2000, 47 bytes",
            "#1 three/down udp 10.0.0.2:1000 > 10.0.0.3:2000, 47 bytes",
            "#2 two/up udp 10.0.0.9:1000 > 10.0.0.3:2000, 44 bytes",
            "#2 two/drop udp 10.0.0.9:1000 > 10.0.0.3:2000, 44 bytes  drop spoofed-mac",
        ]
    );
}

/// Ports, places, filters and reasons each leave out what was not asked for; an answer of the gateway is a frame of its own.
#[test]
fn what_is_asked_for() {
    let (mut lab, two, three) = two_stations();
    let net = lab.datapath.snapshot().ports[two.index()].as_ref().unwrap().config.network;
    let kept = lab.datapath.snapshot().network(net).unwrap().to_ref();
    let specs = [
        spec(On::Ports(vec![three]), ""),
        CaptureSpec { places: "up".parse().unwrap(), ..spec(On::Network(kept), "udp") },
        spec(On::All, "arp or ether proto 0x88b5"),
        CaptureSpec { reason: Some("spoofed-mac".parse().unwrap()), ..spec(On::All, "") },
        CaptureSpec { reason: Some("spoofed-arp".parse().unwrap()), ..spec(On::All, "") },
    ];
    let captures = specs.map(|spec| lab.datapath.capture(spec).unwrap());
    lab.send(two, &udp4(&station(2), &station(3), b"hello"));
    lab.send(two, &plain(station(3).mac, station(9).mac));
    let gateway = lab::gateway();
    let question = lab::arp(1, (station(2).mac, station(2).ipv4.unwrap()), (MacAddr::ZERO, gateway.ipv4.unwrap().0));
    lab.send(two, &question);
    let [port, up, filtered, reason, other] = captures.map(lines);
    assert_eq!(port, ["#1 three/down udp 10.0.0.2:1000 > 10.0.0.3:2000, 47 bytes"]);
    assert_eq!(up, ["#1 two/up udp 10.0.0.2:1000 > 10.0.0.3:2000, 47 bytes"]);
    assert_eq!(filtered.len(), 4, "{filtered:?}");
    assert_eq!(filtered[2], "#3 two/up arp who-has 10.0.0.1 tell 10.0.0.2, 42 bytes");
    assert_eq!(filtered[3], "#4 two/down arp 10.0.0.1 is-at 02:42:0a:00:00:01, 42 bytes");
    assert!(reason.len() == 1 && reason[0].ends_with("drop spoofed-mac"), "{reason:?}");
    assert_eq!(other, [""; 0]);
    assert!(lab.datapath.snapshot().lab.is_none(), "who looked has gone");
}

/// What an interface does not take is seen at its port, after it was on its way out.
#[test]
fn a_full_egress() {
    let (mut lab, two, _) = two_stations();
    let net = lab.datapath.snapshot().ports[two.index()].as_ref().unwrap().config.network;
    let (device, _peer) = memory_link(1, Offloads::Carried).unwrap();
    lab.plug(net, PortDevice::Memory(device));
    let capture = lab.datapath.capture(CaptureSpec { places: Places::DROP, ..spec(On::All, "") }).unwrap();
    let frame = plain(station(7).mac, station(2).mac);
    lab.send_all(two, (0..3).map(|_| (&frame[..], Offload::NONE)));
    let told = |number| {
        let stations = "02:42:0a:00:00:02 > 02:42:0a:00:00:07";
        format!("#{number} device/drop 0x88b5 {stations}, 60 bytes  drop egress-full")
    };
    assert_eq!(lines(capture), [told(2), told(3)]);
}

/// What a capture is of goes: it ends by itself. So it does after as many frames as were asked for.
#[test]
fn ends() {
    let (mut lab, two, three) = two_stations();
    let mut gone = lab.datapath.capture(spec(On::Ports(vec![three]), "")).unwrap();
    let mut counted = lab.datapath.capture(CaptureSpec { count: Some(1), ..spec(On::All, "") }).unwrap();
    lab.send(two, &udp4(&station(2), &station(3), b"hello"));
    lab.remove(three);
    let all = |capture: &mut Capture| std::iter::from_fn(|| capture.next_bytes()).flatten().collect::<Vec<u8>>();
    for capture in [&mut gone, &mut counted] {
        assert_eq!(String::from_utf8(all(capture)).unwrap().lines().count(), 1);
    }
}

/// There is an end to how many captures there are, and one that ends makes room.
#[test]
fn not_too_many() {
    let (lab, ..) = two_stations();
    let mut captures: Vec<_> = (0..MOST_CAPTURES).map(|_| lab.datapath.capture(spec(On::All, "")).unwrap()).collect();
    assert!(matches!(lab.datapath.capture(spec(On::All, "")), Err(SwitchError::TooManyCaptures)));
    captures.pop();
    assert!(lab.datapath.capture(spec(On::All, "")).is_ok());
}

/// Who never reads loses frames, hears how many, and holds up nobody.
#[test]
fn a_reader_that_never_reads() {
    let (mut lab, two, _) = two_stations();
    let capture = lab.datapath.capture(CaptureSpec { places: "up".parse().unwrap(), ..spec(On::All, "") }).unwrap();
    let frame = udp4(&station(2), &station(3), &[0; 1400]);
    let bursts = 200;
    for _ in 0..bursts {
        lab.send_all(two, (0..64).map(|_| (&frame[..], Offload::NONE)));
        assert_eq!(lab.received().len(), 64);
    }
    let found = lines(capture);
    let told: Vec<&String> = found.iter().filter(|line| line.starts_with('#') && line.contains("lost")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let lost: usize = told[0].split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(found.len() - 1 + lost, bursts * 64);
    assert!(lost > 0 && found.len() > 5000, "{lost} lost, {} seen", found.len());
}

/// A super-frame of TCP is written as the segments that it stands for, with finished checksums, or as it is.
#[test]
fn super_frames() {
    let (mut lab, two, _) = two_stations();
    let (from, to) = (station(2), station(3));
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets())
        .ipv4(from.ipv4.unwrap().octets(), to.ipv4.unwrap().octets(), 64)
        .tcp(4000, 80, 1, 100)
        .write(&mut frame, &[7; 2500])
        .unwrap();
    let gso = Gso { kind: GsoKind::TcpV4, size: 1000, header_len: 54, ecn: false };
    let offload = Offload { checksum: Some(PartialChecksum { start: 34, offset: 16 }), gso: Some(gso) };
    // The sum of the pseudo-header alone.
    let addresses = [from.ipv4.unwrap().octets(), to.ipv4.unwrap().octets()].concat();
    let pseudo = [&addresses[..], &[0, 6], &2520_u16.to_be_bytes()].concat();
    frame[50..52].copy_from_slice(&vswitch_frame::checksum::fold(vswitch_frame::checksum::sum(&pseudo)).to_be_bytes());
    let pcapng = |super_frames| CaptureSpec {
        places: "down".parse().unwrap(),
        super_frames,
        format: Format::Pcapng,
        ..spec(On::All, "tcp")
    };
    let mut cut = lab.datapath.capture(pcapng(Super::Segments)).unwrap();
    let mut whole = lab.datapath.capture(pcapng(Super::Whole)).unwrap();
    lab.send_all(two, [(&frame[..], offload)]);
    let lengths = |capture: &mut Capture| {
        capture.stop().stop();
        let bytes: Vec<u8> = std::iter::from_fn(|| capture.next_bytes()).flatten().collect();
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            if word(0) == 6 {
                let length = usize::try_from(word(20)).unwrap();
                let at = 28 + length.next_multiple_of(4);
                found.push((length, u32::from_le_bytes(rest[at + 4..at + 8].try_into().unwrap())));
                if length < 2000 {
                    let packet = etherparse::SlicedPacket::from_ethernet(&rest[28..28 + length]).unwrap();
                    let etherparse::TransportSlice::Tcp(tcp) = packet.transport.unwrap() else { unreachable!() };
                    let Some(etherparse::NetSlice::Ipv4(ip)) = packet.net else { unreachable!() };
                    let expected = tcp.to_header().calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()).unwrap();
                    assert_eq!(tcp.checksum(), expected);
                }
            }
            rest = &rest[usize::try_from(word(4)).unwrap()..];
        }
        found
    };
    assert_eq!(lengths(&mut cut), [(1054, 2), (1054, 2), (554, 2)]);
    assert_eq!(lengths(&mut whole), [(2554, 2 | 1 << 9 | 1 << 11)]);
}
