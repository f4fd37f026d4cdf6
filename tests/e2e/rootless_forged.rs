//! Frames to the gateway of the sockets uplink that no honest stack sends: each is a counted drop, and nothing of it leaves.

use std::net::Ipv4Addr;

use vswitch_frame::ipv4::protocol;
use vswitch_frame::tcp::{self, flag};
use vswitch_frame::{Headers, udp};
use vswitch_tests::rootless::Rootless;
use vswitch_tests::{Container, eventually, frames, guard};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const STRANGER: [u8; 6] = [0x02, 0x42, 0x66, 0x66, 0x66, 0x66];

/// A container's own addresses, and its gateway's MAC address with the server's address.
fn ends(container: &Container<'_>, network: &str, gateway: &str) -> (([u8; 6], Ipv4Addr), ([u8; 6], Ipv4Addr)) {
    container.pings(gateway);
    let words = container.ok(&format!("ip neigh show {gateway}"));
    let router = frames::mac(words.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap());
    let own = frames::mac(&container.endpoint(network).mac_address);
    ((own, container.ipv4(network)), (router, SERVER))
}

/// What was dropped for a reason by router and uplink together, as `vswitchctl stats` counts it.
fn dropped(site: &Rootless, reason: &str) -> u64 {
    let router = site.vs.stats().router.unwrap();
    let sockets = router.sockets.unwrap();
    let counts = [&router.route_drops, &router.nat_drops, &sockets.streams.drops, &sockets.datagrams.drops];
    counts.iter().filter_map(|drops| drops.get(reason)).sum()
}

/// The TCP and UDP packets among what was sniffed.
fn carried(sniffed: &str) -> usize {
    let frames = sniffed.lines().filter(|line| line.starts_with(|digit: char| digit.is_ascii_hexdigit()));
    let carries = |line: &&str| {
        let frame = frames::from_hex(line);
        Headers::parse(&frame).is_ok_and(|headers| matches!(headers.protocol(), protocol::TCP | protocol::UDP))
    };
    frames.filter(carries).count()
}

/// Control bits that no connection sends together, wrong checksums of each layer, ports and addresses that nobody has, and
/// segments of no connection.
#[test]
fn to_the_gateway() {
    guard(|| {
        let site = Rootless::start();
        let _echo = site.play(&site.outside, "echo 7005");
        let a = site.vs.container("a", "");
        let (me, to) = ends(&a, "bridge", "172.17.0.1");
        let segment = |flags| frames::tcp4(me, to, 7005, flags);
        let elsewhere = |address: [u8; 4]| frames::tcp4(me, (to.0, address.into()), 80, flag::SYN);
        let sniffer = site.outside.spawn("vswitch-probe out0 sniff 60");
        eventually("the sniffer is ready", 15, || sniffer.output().starts_with("ready"));
        for (reason, frame) in [
            ("invalid-segment", segment(0)),
            ("invalid-segment", segment(flag::FIN)),
            ("invalid-segment", segment(flag::SYN | flag::FIN)),
            ("invalid-segment", segment(flag::SYN | flag::RST)),
            ("invalid-segment", segment(flag::FIN | flag::PSH | flag::URG)),
            ("invalid-segment", segment(flag::SYN | flag::FIN | flag::RST | flag::ACK)),
            ("no-flow", segment(flag::ACK)),
            ("no-flow", segment(flag::RST)),
            ("bad-tuple", frames::tcp4(me, to, 0, flag::SYN)),
            ("bad-checksum", frames::flipped(&segment(flag::SYN), 20 + tcp::CHECKSUM_OFFSET)),
            ("bad-checksum", frames::flipped(&frames::udp4(me, to, b"wrong"), 20 + udp::CHECKSUM_OFFSET)),
            ("bad-header-checksum", frames::flipped(&segment(flag::SYN), 10)),
            ("not-forwardable", elsewhere([127, 0, 0, 1])),
            ("not-forwardable", elsewhere([255, 255, 255, 255])),
            ("not-forwardable", elsewhere([169, 254, 169, 254])),
        ] {
            let before = dropped(&site, reason);
            a.sends(3, &[&frame]);
            eventually("forged frames are counted", 15, || dropped(&site, reason) == before + 3);
        }
        let streams = site.vs.stats().router.unwrap().sockets.unwrap().streams;
        assert_eq!((streams.flows, streams.opened), (0, 0), "{streams:?}");
        let shown = site.vs.ok("stats");
        for word in
            ["invalid-segment", "no-flow", "bad-tuple", "bad-checksum", "bad-header-checksum", "not-forwardable"]
        {
            assert!(shown.contains(word), "{word} is not in\n{shown}");
        }
        assert_eq!(carried(&sniffer.output()), 0, "something left: {}", sniffer.output());
        assert_eq!(site.says(&a, "attempt 10.99.0.2 7005"), "answered x at-once");
        eventually("what is honest leaves", 15, || carried(&sniffer.output()) > 0);
    });
}

/// A sender's address that is not the container's: dropped at its port, and by the router where ports are not checked.
#[test]
fn senders() {
    guard(|| {
        let site = Rootless::start();
        let _echo = site.play(&site.outside, "echo 7005");
        site.vs.ok("network create --subnet 10.202.0.0/24 --gateway 10.202.0.1 --opt anti-spoof=false open");
        let (a, b) = (site.vs.container("a", ""), site.vs.container("b", "--network open"));
        let (me, to) = ends(&a, "bridge", "172.17.0.1");
        for (reason, source) in [("spoofed-mac", (STRANGER, me.1)), ("spoofed-ip", (me.0, SERVER))] {
            a.sends(3, &[&frames::tcp4(source, to, 7005, flag::SYN)]);
            site.vs.expect_drops("a", "bridge", reason, 3);
        }
        let (me, to) = ends(&b, "open", "10.202.0.1");
        for (reason, address) in [("spoofed-source", [10, 99, 0, 77]), ("martian", [127, 0, 0, 1])] {
            b.sends(3, &[&frames::tcp4((me.0, address.into()), to, 7005, flag::SYN)]);
            eventually("lies are counted", 15, || dropped(&site, reason) == 3);
        }
        assert_eq!(site.vs.stats().router.unwrap().sockets.unwrap().streams.opened, 0);
        for container in [&a, &b] {
            assert_eq!(site.says(container, "attempt 10.99.0.2 7005"), "answered x at-once");
        }
    });
}
