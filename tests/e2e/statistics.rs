//! What is counted, and how it is shown.

use std::time::Duration;

use vswitch_tests::{Vswitch, eventually, frames, guard};

/// Counters of ports, networks and the whole switch add up, and every frame that came in ended somewhere.
#[test]
fn counters_add_up() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        vs.ok("network create m");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let _c = vs.container("c", "--network m");
        a.pings(b.ipv4("n"));
        a.pings("172.18.0.1");
        a.sends(7, &[&frames::udp4(([2, 9, 9, 9, 9, 9], a.ipv4("n")), ([2; 6], b.ipv4("n")), b"lie")]);
        vs.expect_drops("a", "n", "spoofed-mac", 7);
        let last = std::cell::Cell::new(u64::MAX);
        eventually("nothing more is counted", 20, || {
            let now = vs.stats().total.in_frames;
            last.replace(now) == now
        });
        let stats = vs.stats();
        let (mut frames, mut bytes) = (0, 0);
        for port in &stats.ports {
            let counters = &port.counters;
            let ended = counters.forwarded + counters.consumed + counters.drops.values().sum::<u64>();
            assert_eq!(counters.in_frames, ended, "{port:?}");
            frames += counters.in_frames;
            bytes += counters.in_bytes;
        }
        assert_eq!((stats.total.in_frames, stats.total.in_bytes), (frames, bytes));
        let of_n = &stats.networks.iter().find(|one| one.network == "n").unwrap().counters;
        let ports_of_n: u64 =
            stats.ports.iter().filter(|one| one.network == "n").map(|one| one.counters.in_frames).sum();
        assert_eq!(of_n.in_frames, ports_of_n);
        assert_eq!(of_n.drops.get("spoofed-mac"), Some(&7));
        vs.ok("rm -f a");
        let later = vs.stats();
        assert_eq!(vs.endpoint_ports().len(), 2);
        assert!(later.total.in_frames >= frames, "what a removed port counted is kept");
        assert!(later.networks.iter().find(|one| one.network == "n").unwrap().counters.drops["spoofed-mac"] == 7);
    });
}

/// The table names ports, networks and drop reasons.
#[test]
fn table() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let a = vs.container("a", "--network n");
        a.sends(3, &[&frames::ethernet([2; 6], [2, 9, 9, 9, 9, 9], 0x88b5, b"lie")]);
        vs.expect_drops("a", "n", "spoofed-mac", 3);
        let said = vs.ok("stats");
        for word in ["a", "n", "spoofed-mac", "packet"] {
            assert!(said.contains(word), "{word} is missing:\n{said}");
        }
    });
}

/// stats --watch goes on until it is interrupted, and shows rates.
#[test]
fn watch() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let traffic = a.spawn(&format!("ping -q -n -i 0.01 -c 300 {}", b.ipv4("n")));
        let mut watching = vs.spawn(&["stats", "--watch", "--interval", "0.5"]);
        eventually("rates are shown more than once", 20, || {
            let said = watching.output();
            said.contains("/s") && said.matches("a ").count() > 1
        });
        assert!(watching.running(), "{}", watching.output());
        watching.terminate();
        traffic.wait(Duration::from_secs(20)).ok();
    });
}
