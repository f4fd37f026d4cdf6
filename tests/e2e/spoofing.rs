//! Frames that lie about their sender, and frames that no switch forwards.

use std::net::Ipv4Addr;

use vswitch_tests::{Container, Vswitch, frames, guard};

const STRANGER: [u8; 6] = [0x02, 0x42, 0x66, 0x66, 0x66, 0x66];

fn mac(container: &Container<'_>) -> [u8; 6] {
    frames::mac(&container.endpoint("n").mac_address)
}

/// A frame with a foreign MAC, ARP sender or source address is dropped and counted by kind; honest ones pass.
#[test]
fn lies_are_dropped_and_counted() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let victim = vs.container("victim", "--network n");
        let (me, to) = ((mac(&a), a.ipv4("n")), (mac(&b), b.ipv4("n")));
        let honest = frames::udp4(me, to, b"honest");
        let sniffer = b.sniff();
        let lies = [
            ("spoofed-mac", frames::udp4((STRANGER, me.1), to, b"mac")),
            ("spoofed-mac", frames::udp4((mac(&victim), victim.ipv4("n")), to, b"both")),
            ("spoofed-arp", frames::arp(me.0, 2, (me.0, victim.ipv4("n")), to.1)),
            ("spoofed-arp", frames::arp(me.0, 2, (STRANGER, me.1), to.1)),
            ("spoofed-arp", frames::arp(me.0, 1, (me.0, Ipv4Addr::new(172, 18, 0, 1)), to.1)),
            ("spoofed-arp", frames::neighbour_advertisement((me.0, a.ipv6("n")), victim.ipv6("n"), me.0)),
            ("spoofed-ip", frames::udp4((me.0, victim.ipv4("n")), to, b"ip")),
            ("spoofed-ip", frames::udp4((me.0, Ipv4Addr::new(8, 8, 8, 8)), to, b"elsewhere")),
            ("spoofed-ip", frames::udp6((me.0, victim.ipv6("n")), (to.0, b.ipv6("n")), b"ip6")),
        ];
        for (reason, frame) in &lies {
            let before = vs.drops("a", "n", reason);
            a.sends(4, &[frame, &honest]);
            vs.expect_drops("a", "n", reason, before + 4);
            assert_eq!(sniffer.count(frame), 0, "{reason}");
        }
        assert_eq!(vs.drops("victim", "n", "spoofed-mac"), 0);
        sniffer.expect(&honest);
        let learned = vs.json("fdb show n").to_string();
        assert!(!learned.contains("02:42:66:66:66:66"), "a liar's address was learned: {learned}");
        b.pings(victim.ipv4("n"));
        b.pings(victim.ipv6("n"));
    });
}

/// With anti-spoof=false the same frames pass.
#[test]
fn off_by_option() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --opt anti-spoof=false");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let (me, to) = ((mac(&a), a.ipv4("n")), (mac(&b), b.ipv4("n")));
        let sniffer = b.sniff();
        for frame in [
            frames::udp4((STRANGER, me.1), to, b"mac"),
            frames::arp(me.0, 2, (me.0, Ipv4Addr::new(172, 18, 0, 99)), to.1),
            frames::udp4((me.0, Ipv4Addr::new(8, 8, 8, 8)), to, b"elsewhere"),
        ] {
            a.sends(1, &[&frame]);
            sniffer.expect(&frame);
        }
        assert!(vs.port("a", "n").drops.keys().all(|reason| !reason.starts_with("spoofed")));
    });
}

/// The gateway's MAC address cannot be taken over, even where anti-spoofing is off.
#[test]
fn gateway_cannot_be_impersonated() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --opt anti-spoof=false");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        a.pings("172.18.0.1");
        let words = a.ok("ip neigh show 172.18.0.1");
        let gateway = frames::mac(words.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap());
        let sniffer = b.sniff();
        let lie = frames::udp4((gateway, Ipv4Addr::new(172, 18, 0, 1)), (mac(&b), b.ipv4("n")), b"gateway");
        a.sends(5, &[&lie]);
        vs.expect_drops("a", "n", "spoofed-gateway", 5);
        assert_eq!(sniffer.count(&lie), 0);
        b.pings("172.18.0.1");
    });
}

/// Frames to the reserved group addresses and from impossible addresses are dropped; other multicast is flooded.
#[test]
fn reserved_addresses() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --opt anti-spoof=false");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let source = mac(&a);
        let sniffer = b.sniff();
        for last in [0x00, 0x01, 0x02, 0x03, 0x0e, 0x0f] {
            let before = vs.drops("a", "n", "reserved-multicast");
            let frame = frames::ethernet([0x01, 0x80, 0xc2, 0, 0, last], source, 0x88cc, b"reserved");
            a.sends(2, &[&frame]);
            vs.expect_drops("a", "n", "reserved-multicast", before + 2);
            assert_eq!(sniffer.count(&frame), 0);
        }
        for impossible in [[0x01, 0, 0x5e, 0, 0, 1], [0; 6], [0xff; 6]] {
            let before = vs.drops("a", "n", "invalid-source");
            let frame = frames::ethernet(mac(&b), impossible, 0x88b5, b"impossible");
            a.sends(2, &[&frame]);
            vs.expect_drops("a", "n", "invalid-source", before + 2);
            assert_eq!(sniffer.count(&frame), 0);
        }
        for group in
            [[0x01, 0x80, 0xc2, 0, 0, 0x10], [0x01, 0, 0x5e, 0, 0, 0xfb], [0x33, 0x33, 0, 0, 0, 0xfb], [0xff; 6]]
        {
            let frame = frames::ethernet(group, source, 0x88b5, b"group");
            a.sends(1, &[&frame]);
            sniffer.expect(&frame);
        }
    });
}

/// Frames of every kind of nonsense harm nobody: the switch goes on forwarding.
#[test]
fn nonsense_is_survived() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6 --opt anti-spoof=false");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let whole = frames::udp6((mac(&a), a.ipv6("n")), (mac(&b), b.ipv6("n")), &[7; 200]);
        let cut: Vec<Vec<u8>> = (14..whole.len()).step_by(7).map(|length| whole[..length].to_vec()).collect();
        a.sends(3, &cut.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut state = 1_u32;
        let noise: Vec<Vec<u8>> = (0..200)
            .map(|index| {
                let mut frame = whole.clone();
                for byte in &mut frame[12 + index % 40..] {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *byte = state.to_be_bytes()[0];
                }
                frame
            })
            .collect();
        a.sends(1, &noise.iter().map(Vec::as_slice).collect::<Vec<_>>());
        a.pings(b.ipv4("n"));
        a.pings(b.ipv6("n"));
        assert!(vs.port("a", "n").in_frames > 200);
    });
}
