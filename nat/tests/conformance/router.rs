//! The router's parts: rows G1 to G25.

use std::net::IpAddr;
use std::time::Duration;

use vswitch_frame::offload::{Gso, GsoKind};
use vswitch_frame::{FrameBuf, L3, MacAddr, NetworkIndex, Packet, PacketMut, Timestamp};
use vswitch_nat::route::{
    Actions, ErrorLimiter, Fit, IcmpError, Interface, NeighbourLimits, NeighbourState, Neighbours, News, Probed,
    Resolution, Route, RouteDrop, RouteTable, Sender, Solicitation, Sources, check, clamp_mss, decrement_hops, fit,
    fragment, heard, may_be_answered, refuse_connection,
};
use vswitch_nat::table::Leg;

use super::notation::{Frame, address, describe, frame};

fn inside() -> Interface {
    Interface {
        addresses: vec!["10.9.0.1/24".parse().unwrap(), "fd00:9::1/64".parse().unwrap()],
        proxied: vec!["169.254.1.2".parse().unwrap()],
        sources: Sources::OwnSubnets,
    }
}

fn checked(text: &str) -> Result<(), RouteDrop> {
    check_frame(&frame(text))
}

fn check_frame(sent: &Frame) -> Result<(), RouteDrop> {
    check(&inside(), &sent.admitted().packet())
}

/// The error about a packet, as text, and its bytes.
fn error(kind: IcmpError, sent: &Frame) -> Option<(String, Vec<u8>)> {
    let sent = sent.admitted();
    let from = if sent.packet().l3() == L3::Ipv4 { "GW" } else { "GW6" };
    let sender = Sender { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), address: address(from) };
    let mut out = FrameBuf::new();
    kind.build(&sent.packet(), sender, &mut out).then(|| (describe(out.frame()), out.frame().to_vec()))
}

// G1
/// Hops: one less, or an error from the gateway that quotes the packet as it came.
#[test]
fn g1_hops() {
    for (ttl, passes) in [(64, true), (2, true), (1, false), (0, false)] {
        for ends in ["A:5000 > S:7000", "A6:5000 > S6:7000"] {
            let mut sent = frame(&format!("udp {ends} ip-id=77 ttl={ttl} df"));
            let before = sent.bytes.clone();
            let outcome = decrement_hops(&mut PacketMut::admit(&mut sent.bytes, sent.offload).unwrap());
            if passes {
                assert_eq!(outcome, Ok(()));
                let expected = frame(&format!("udp {ends} ip-id=77 ttl={} df", ttl - 1));
                assert_eq!(sent.bytes, expected.bytes);
            } else {
                assert_eq!(outcome, Err(RouteDrop::HopsExceeded));
                assert_eq!(sent.bytes, before);
                let kind = IcmpError::for_route(RouteDrop::HopsExceeded, 1500).unwrap();
                let (text, bytes) = error(kind, &sent).unwrap();
                let expected = if ends.starts_with("A6") {
                    "icmp GW6 > A6 type=3 code=0 quoting udp A6:5000 > S6:7000"
                } else {
                    assert_eq!((bytes[15], bytes[22]), (0xc0, 64), "precedence and TTL");
                    "icmp GW > A type=11 code=0 quoting udp A:5000 > S:7000"
                };
                assert_eq!(text, expected);
                assert!(bytes.ends_with(&sent.bytes[14..]), "the whole small packet is quoted");
            }
        }
    }
}

// G2
/// A broken header is dropped in silence.
#[test]
fn g2_broken_headers() {
    assert_eq!(checked("udp A:5000 > S:7000 badip"), Err(RouteDrop::BadHeaderChecksum));
    for (at, value) in [(14, 0x44), (16, 0xff), (14, 0x65)] {
        let mut sent = frame("udp A:5000 > S:7000");
        sent.bytes[at] = value;
        assert_eq!(check_frame(&sent), Err(RouteDrop::Malformed));
    }
    assert_eq!(checked("udp A:5000 > S:7000"), Ok(()));
    assert_eq!(checked("udp A6:5000 > S6:7000"), Ok(()));
}

// G4, G25
/// Too long with DF: the sender is told the MTU, from the inside gateway, in at most 576 bytes; in IPv6 at least 1280.
#[test]
fn g4_path_mtu() {
    let sent = frame("udp A:5000 > S:7000 len=1450 df");
    assert_eq!(fit(&sent.admitted().packet(), 1478), Fit::Fits);
    assert_eq!(fit(&sent.admitted().packet(), 1400), Fit::TooBig);
    let (text, bytes) = error(IcmpError::TooBig { mtu: 1400 }, &sent).unwrap();
    assert_eq!(text, "icmp GW > A type=3 code=4 quoting udp A:5000 > S:7000");
    assert_eq!(bytes.len(), 14 + 576);
    assert_eq!(bytes[38..42], 1400u32.to_be_bytes());

    let sent = frame("udp A6:5000 > S6:7000 len=1450");
    assert_eq!(fit(&sent.admitted().packet(), 1400), Fit::TooBig);
    let (text, bytes) = error(IcmpError::TooBig { mtu: 600 }, &sent).unwrap();
    assert_eq!(text, "icmp GW6 > A6 type=2 code=0 quoting udp A6:5000 > S6:7000");
    assert_eq!((bytes.len(), &bytes[58..62]), (14 + 1280, &1280u32.to_be_bytes()[..]));
}

// G5
/// Too long without DF: fragments in order, of which the receiver makes the packet again.
#[test]
fn g5_fragmentation() {
    let sent = frame("udp A:5000 > S:7000 len=1450 ip-id=9 partial");
    assert_eq!(fit(&sent.admitted().packet(), 1400), Fit::Fragment);
    let pieces = fragment(&sent.admitted().packet(), 1400);
    assert_eq!(pieces.iter().map(|piece| piece.len() - 14).collect::<Vec<_>>(), [1396, 102]);
    assert_eq!(describe(&pieces[1]), "frag=1376 A > S");
    let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece[34..].to_vec()).collect();
    assert_eq!(joined, frame("udp A:5000 > S:7000 len=1450 ip-id=9").bytes[34..], "with a finished checksum");

    // A fragment is cut further, and a last one stays the last.
    let last = frame("udp A:5000 > S:7000 len=3000 ip-id=9 frag=2000");
    let pieces = fragment(&last.admitted().packet(), 600);
    assert_eq!(describe(&pieces[1]), "frag=2576 A > S");
    let more: Vec<bool> = pieces.iter().map(|piece| piece[20] & 0x20 != 0).collect();
    assert_eq!(more, [true, false]);
}

// G6
/// What must not be answered by an error is not.
#[test]
fn g6_unanswerable() {
    for text in [
        "icmp A > S type=3 code=3 ttl=1 quoting udp S:7000 > A:5000",
        "icmp A > S type=200 ttl=1",
        "udp A:5000 > S:7000 len=100 frag=40 ttl=1",
        "udp A:5000 > 224.0.0.9:7000 ttl=1",
        "udp A:5000 > 255.255.255.255:7000 ttl=1",
        "udp 0.0.0.0:68 > S:67 ttl=1",
        "udp LO:68 > S:67 ttl=1",
        "udp 224.0.0.1:68 > S:67 ttl=1",
        "udp 240.0.0.1:68 > S:67 ttl=1",
        "icmp A6 > S6 type=1 ttl=1 quoting udp S6:7000 > A6:5000",
    ] {
        assert_eq!(error(IcmpError::HopsExceeded, &frame(text)), None, "{text}");
    }
    let mut broadcast = frame("udp A:5000 > S:7000 ttl=1");
    broadcast.bytes[..6].fill(0xff);
    assert_eq!(error(IcmpError::HopsExceeded, &broadcast), None);
    for text in ["icmp A > S echo id=1 ttl=1", "udp A:1 > S:2 len=90 part=48 more", "icmp A6 > S6 echo id=1"] {
        let sent = frame(text);
        assert!(may_be_answered(&sent.admitted().packet()), "{text}");
    }
}

// G7
/// Errors: a burst of six to one destination, then one a second; fifty in all at once.
#[test]
fn g7_rate_limit() {
    let mut limiter = ErrorLimiter::new(1);
    let mut now = Timestamp::from_millis(10_000);
    let allowed = (0..40).filter(|_| limiter.allows(address("A"), now)).count();
    assert_eq!(allowed, 6);
    for _ in 0..5 {
        now = now + Duration::from_secs(1);
        assert_eq!((0..5).filter(|_| limiter.allows(address("A"), now)).count(), 1);
    }
    now = now + Duration::from_secs(10);
    let hosts = (0..200u8).map(|last| IpAddr::from([10, 9, 1, last]));
    assert_eq!(hosts.filter(|&host| limiter.allows(host, now)).count(), 50);
    assert_eq!(limiter.held_back(), 34 + 20 + 150);
}

// G8, G9
/// Sources that no host here has are dropped.
#[test]
fn g8_g9_sources() {
    for source in
        ["LO", "0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "240.1.1.1", "GW", "10.9.0.255", "10.9.0.0"]
    {
        assert_eq!(checked(&format!("udp {source}:1 > S:2")), Err(RouteDrop::Martian), "{source}");
    }
    for source in ["172.31.0.5", "S", "C"] {
        assert_eq!(checked(&format!("udp {source}:1 > S:2")), Err(RouteDrop::SpoofedSource), "{source}");
    }
    assert_eq!(checked("udp S6:1 > T6:2"), Err(RouteDrop::SpoofedSource));
    let uplink =
        Interface { addresses: vec!["203.0.113.1/24".parse().unwrap()], proxied: Vec::new(), sources: Sources::Any };
    let host = Interface { proxied: vec!["169.254.1.2".parse().unwrap()], ..uplink.clone() };
    let answer = frame("udp 169.254.1.2:1 > A:2");
    assert_eq!(check(&host, &answer.admitted().packet()), Ok(()));
    assert_eq!(check(&uplink, &answer.admitted().packet()), Err(RouteDrop::NotForwardable));
    let sent = frame("udp 1.1.1.1:1 > EXT:2");
    assert_eq!(check(&uplink, &sent.admitted().packet()), Ok(()));
}

// G10, G13, G14
/// Destinations that are not forwarded, and unicast packets in broadcast frames.
#[test]
fn g10_g13_g14_destinations() {
    for destination in ["LO", "0.0.0.0", "224.0.0.9", "255.255.255.255", "10.9.0.255", "169.254.1.1"] {
        assert_eq!(checked(&format!("udp A:1 > {destination}:2")), Err(RouteDrop::NotForwardable), "{destination}");
    }
    // One that is answered for is forwarded, though not for its neighbours on the link.
    assert_eq!(checked("udp A:1 > 169.254.1.2:2"), Ok(()));
    assert_eq!(checked("udp 169.254.7.7:1 > 169.254.1.2:2"), Err(RouteDrop::NotForwardable));
    let mut broadcast = frame("udp A:1 > S:2");
    broadcast.bytes[..6].fill(0xff);
    assert_eq!(check_frame(&broadcast), Err(RouteDrop::LinkBroadcast));
    assert_eq!(checked("udp A:1 > GW:2"), Ok(()));
}

// G11
/// Where no route leads, 240/4 included, the sender is told so.
#[test]
fn g11_no_route() {
    let net = Leg::Inside(NetworkIndex::new(9));
    let table = RouteTable::new(&[Route { destination: "10.9.0.0/24".parse().unwrap(), leg: net, via: None }]);
    assert_eq!(checked("udp A:1 > 240.0.0.1:2"), Ok(()));
    assert_eq!(table.lookup(address("240.0.0.1")), None);
    let kind = IcmpError::for_route(RouteDrop::NoRoute, 1500).unwrap();
    let (text, _) = error(kind, &frame("udp A:1 > 240.0.0.1:2")).unwrap();
    assert_eq!(text, "icmp GW > A type=3 code=0 quoting udp A:1 > 240.0.0.1:2");
}

// G12
/// A next hop that does not answer is asked three times, a second apart; then those who wait are told.
#[test]
fn g12_unresolved_neighbour() {
    let mut cache: Neighbours<u32> = Neighbours::new(NeighbourLimits { entries: 100, queue: 2 });
    let (hop, start) = (address("S"), Timestamp::from_millis(1000));
    assert_eq!(cache.resolve(hop, 1, start), Resolution::Queued { ask: true, dropped: None });
    assert_eq!(cache.resolve(hop, 2, start), Resolution::Queued { ask: false, dropped: None });
    assert_eq!(cache.resolve(hop, 3, start), Resolution::Queued { ask: false, dropped: Some(1) });
    let at = |seconds| start + Duration::from_secs(seconds);
    let ask = Actions { ask: vec![(hop, None)], given_up: vec![] };
    assert_eq!(cache.next_timeout(), Some(at(1)));
    assert_eq!(cache.handle_timeout(at(1)), ask);
    assert_eq!(cache.handle_timeout(at(2)), ask);
    assert_eq!(cache.handle_timeout(at(3)), Actions { ask: vec![], given_up: vec![(hop, vec![2, 3])] });
    assert_eq!((cache.next_timeout(), cache.entries().count()), (None, 0));
    let (text, _) = error(IcmpError::HostUnreachable, &frame("udp A:1 > S:2")).unwrap();
    assert!(text.starts_with("icmp GW > A type=3 code=1"));
}

// G12
/// An answer lets those who wait go; the entry is used, goes stale, is asked again when used, and is given up.
#[test]
fn g12_life_of_a_neighbour() {
    let mut cache: Neighbours<u32> = Neighbours::new(NeighbourLimits::default());
    let (hop, mac) = (address("S"), MacAddr::new([2, 0, 0, 0, 0, 9]));
    let mut now = Timestamp::from_millis(1000);
    cache.resolve(hop, 1, now);
    assert_eq!(cache.learn(hop, mac, News::Answer, now), [1]);
    assert_eq!(cache.resolve(hop, 2, now), Resolution::Known { packet: 2, mac, ask: false });
    now = now + Duration::from_secs(30);
    assert_eq!(cache.handle_timeout(now), Actions { ask: vec![], given_up: vec![] });
    assert_eq!(cache.entries().next().unwrap().state, NeighbourState::Stale);
    assert_eq!(cache.resolve(hop, 3, now), Resolution::Known { packet: 3, mac, ask: true });
    for _ in 0..2 {
        now = now + Duration::from_secs(1);
        assert_eq!(cache.handle_timeout(now).ask, [(hop, Some(mac))]);
    }
    now = now + Duration::from_secs(1);
    assert_eq!(cache.handle_timeout(now).given_up, [(hop, vec![])]);
}

/// Nobody fills the cache: announcements make no entries, a scan takes half of it at most, and what answers stays.
#[test]
fn neighbour_capacity() {
    let mut cache: Neighbours<u32> = Neighbours::new(NeighbourLimits { entries: 8, queue: 2 });
    let mac = MacAddr::new([2, 0, 0, 0, 0, 9]);
    let host = |last: u8| IpAddr::from([10, 9, 0, last]);
    let mut now = Timestamp::from_millis(1000);
    assert!(cache.learn(host(1), mac, News::Hint, now).is_empty());
    assert_eq!(cache.entries().count(), 0);
    for last in 1..=20 {
        cache.resolve(host(last), 0, now);
        cache.learn(host(last), mac, News::Answer, now);
        now = now + Duration::from_millis(1);
    }
    assert_eq!(cache.entries().count(), 8);
    let refused =
        (100..200).filter(|&last| matches!(cache.resolve(host(last), 0, now), Resolution::Refused(_))).count();
    assert_eq!(refused, 96);
    assert_eq!(cache.entries().filter(|entry| entry.mac.is_some()).count(), 4);
    assert!(cache.learn(host(20), MacAddr::BROADCAST, News::Answer, now).is_empty());
    assert!(matches!(cache.resolve(host(20), 0, now), Resolution::Known { mac: known, .. } if known == mac));
}

// G12, G25
/// Questions are well-formed ARP requests and neighbor solicitations, and answers are understood.
#[test]
fn neighbour_frames() {
    let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
    let mut out = FrameBuf::new();
    let ask = |source, target, to| Solicitation { mac, source: address(source), target: address(target), to };
    assert!(ask("EXT", "S", None).build(&mut out));
    assert_eq!(out.len(), 42);
    let is_arp = |frame: &[u8]| {
        let sliced = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
        matches!(sliced.net, Some(etherparse::NetSlice::Arp(_)))
    };
    assert!(is_arp(out.frame()));
    assert_eq!(out.frame()[..6], [0xff; 6]);
    assert_eq!(heard(&out.packet()), Some((address("EXT"), mac, News::Hint)));

    assert!(ask("EXT6", "S6", None).build(&mut out));
    assert_eq!(out.frame()[..6], [0x33, 0x33, 0xff, 0, 0, 2]);
    assert_eq!(heard(&out.packet()), Some((address("EXT6"), mac, News::Hint)));
    assert!(!ask("EXT", "S6", None).build(&mut out));

    let mut bytes = vec![0u8; 14 + 72];
    bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
    let (IpAddr::V6(target), IpAddr::V6(asker)) = (address("S6"), address("EXT6")) else { panic!("IPv6") };
    vswitch_frame::ndp::write_advertisement(&mut bytes[14..], mac, target, asker, true);
    assert_eq!(heard(&Packet::finished(&bytes)), Some((address("S6"), mac, News::Answer)));
    bytes[14 + 7] = 254;
    assert_eq!(heard(&Packet::finished(&bytes)), None, "a hop limit below 255 came from afar");
}

// G15
/// Source routes are never followed; other options pass.
#[test]
fn g15_source_route() {
    let mut sent = frame("udp A:5000 > S:7000 options=2");
    assert_eq!(check_frame(&sent), Ok(()));
    for kind in [131, 137] {
        sent.bytes[34..42].copy_from_slice(&[kind, 7, 4, 1, 1, 1, 1, 0]);
        sent.bytes[24..26].fill(0);
        let sum = vswitch_frame::checksum::checksum(&sent.bytes[14..42]);
        sent.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(check_frame(&sent), Err(RouteDrop::SourceRouted));
    }
}

// C25, C26
/// A super-frame is judged by its segments.
#[test]
fn c26_super_frames() {
    let mut sent = frame("tcp A:4000 > S:80 A len=7240 df partial");
    sent.offload.gso = Some(Gso { kind: GsoKind::TcpV4, size: 1448, header_len: 54, ecn: false });
    assert_eq!(fit(&sent.admitted().packet(), 1500), Fit::Fits);
    assert_eq!(fit(&sent.admitted().packet(), 1488), Fit::Fits);
    assert_eq!(fit(&sent.admitted().packet(), 1487), Fit::TooBig);
}

// G17
/// A connection to the switch itself is refused by a reset that the asker believes, and a reset is not answered.
#[test]
fn g17_reset() {
    let mut out = FrameBuf::new();
    let mut refuse = |text: &str| {
        let sent = frame(text);
        refuse_connection(&sent.admitted().packet(), &mut out).then(|| out.frame().to_vec())
    };
    for (sent, expected) in [
        ("tcp A:4000 > GW:80 S seq=1000", "tcp GW:80 > A:4000 RA seq=0 ack=1001 win=0 df"),
        ("tcp A6:4000 > GW6:80 S seq=1000", "tcp GW6:80 > A6:4000 RA seq=0 ack=1001 win=0"),
        ("tcp A:4000 > GW:80 A seq=1000 ack=77 len=9", "tcp GW:80 > A:4000 R seq=77 win=0 df"),
    ] {
        let reset = refuse(sent).unwrap();
        assert_eq!(reset[14..], frame(expected).bytes[14..], "{sent}");
        assert_eq!((&reset[..6], &reset[6..12]), (&[2, 0, 0, 0, 0, 2][..], &[2, 0, 0, 0, 0, 1][..]));
    }
    assert_eq!(refuse("tcp A:4000 > GW:80 R seq=1000"), None);
    assert_eq!(refuse("udp A:4000 > GW:80"), None);
}

// G24
/// The segment size that a SYN offers is lowered to what fits, under a right checksum wherever the option lies.
#[test]
fn g24_mss_clamp() {
    for sum in ["", "partial"] {
        for place in ["", "odd"] {
            for (ends, expected) in [("A:4000 > S:80", 1410), ("A6:4000 > S6:80", 1390)] {
                let mut sent = frame(&format!("tcp {ends} S mss=1460 {place} {sum}"));
                let offload = sent.offload;
                let clamp = |bytes: &mut [u8]| clamp_mss(&mut PacketMut::admit(bytes, offload).unwrap(), 1450);
                assert!(clamp(&mut sent.bytes));
                assert_eq!(sent.bytes, frame(&format!("tcp {ends} S mss={expected} {place} {sum}")).bytes);
                assert!(!clamp(&mut sent.bytes));
            }
        }
    }
    for text in ["tcp A:4000 > S:80 A mss=1460", "tcp A:4000 > S:80 S", "udp A:4000 > S:80"] {
        let sent = frame(text);
        assert!(!clamp_mss(&mut sent.admitted().packet_mut(), 1450), "{text}");
    }
}

/// A next hop that is asked for again and again is known to answer, or to be silent once it has not answered three times, whether
/// packets wait for it or not, and until it answers again.
#[test]
fn next_hops_that_are_watched() {
    let (router, mac) = (address("R"), MacAddr::new([2, 0, 0, 0, 0, 1]));
    for busy in [false, true] {
        let mut cache: Neighbours<u32> = Neighbours::new(NeighbourLimits::default());
        let mut now = Timestamp::from_millis(1000);
        let second = |cache: &mut Neighbours<u32>, now: &mut Timestamp| {
            let probed = cache.probe(router, *now);
            let asked = cache.handle_timeout(*now).ask;
            if busy {
                let _ = cache.resolve(router, 1, *now);
            }
            *now = *now + Duration::from_secs(1);
            (probed, asked.into_iter().map(|(_, to)| to).collect::<Vec<_>>())
        };
        assert_eq!(second(&mut cache, &mut now), (Probed::Asked, vec![None]));
        assert_eq!(second(&mut cache, &mut now), (Probed::Asked, vec![None]));
        cache.learn(router, mac, News::Answer, now);
        for _ in 0..5 {
            assert_eq!(second(&mut cache, &mut now), (Probed::Answers, vec![Some(mac)]));
            cache.learn(router, mac, News::Answer, now);
        }
        let gone: Vec<_> = (0..12).map(|_| second(&mut cache, &mut now).0).collect();
        let (answers, silent) = gone.split_at(4);
        assert!(answers.iter().all(|probed| *probed == Probed::Answers), "{gone:?}");
        assert!(silent.iter().all(|probed| *probed == Probed::Silent), "{gone:?}");
        // What answers no question is not believed.
        while second(&mut cache, &mut now).1.is_empty() {}
        cache.learn(router, mac, News::Answer, now);
        assert_eq!(second(&mut cache, &mut now).0, Probed::Answers);
    }
}
