//! Single frames from the command line: traced, foreseen, injected and expected among real kernels.

use std::time::Duration;

use serde_json::Value;
use vswitch_tests::{Vswitch, eventually, guard};

fn step(story: &Value, name: &str) -> String {
    let steps = story["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).map(|step| step["text"].to_string()).unwrap_or_default()
}

/// A dry run says what would become of a packet; a real one is heard by the other kernel, and answered; both name
/// ports, and a refused one its reason.
#[test]
fn traced() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let (own, there) = (a.ipv4("n"), b.ipv4("n"));
        a.pings(there);
        let dry = vs.json(&format!("trace a --icmp {there} --dry-run"));
        assert!(step(&dry, "learn").contains("is known, at a"), "{dry:#}");
        assert!(step(&dry, "verdict").contains("forwarded to b"), "{dry:#}");
        let said = vs.ok(&format!("trace a --udp {there}:53 --from 10.99.0.1 --dry-run"));
        assert!(said.contains("dropped spoofed-ip") && said.contains(&own.to_string()), "{said}");
        let answered = vs.spawn(&["expect", "a", "icmp[icmptype] == icmp-echoreply", "--within", "20s"]);
        eventually("it is armed", 20, || answered.output().contains("armed"));
        let real = vs.json(&format!("inject a --icmp {there}"));
        assert_eq!(real["ends"][0]["port"], "b", "{real:#}");
        assert!(answered.wait(Duration::from_secs(30)).ok().contains("icmp"));
        vs.ctl(&["impair", "b", "down", "drop", "1", "of", "icmp"]).ok();
        let lost = vs.ok(&format!("inject a --icmp {there} --trace"));
        assert!(lost.contains("dropped at b: wire-listed"), "{lost}");
        let towards = vs.ok(&format!("inject b --towards --icmp {there} --trace"));
        assert!(towards.contains("towards b") && towards.contains("out to b"), "{towards}");
    });
}

/// What does not come is told with what came instead and what became of what was injected; live traces tell of real traffic.
#[test]
fn expected() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let there = b.ipv4("n");
        a.pings(there);
        vs.ctl(&["expect", "b", "--count", "0", "--within", "100ms", "sctp"]).ok();
        let live = vs.spawn(&["trace", "--live", "icmp"]);
        eventually("it listens", 20, || live.output().contains("tracing"));
        a.pings(there);
        eventually("real frames are told", 20, || live.output().contains("forwarded to b"));
        let expecting = vs.spawn(&["expect", "b", "udp and dst port 53", "--within", "60s"]);
        eventually("it is armed", 20, || expecting.output().contains("armed"));
        vs.ok(&format!("inject a --udp {there}:5353"));
        vs.ok(&format!("inject a --udp {there}:53 --from 10.99.0.1"));
        // What is looked at goes, and so does the hope.
        vs.ok("rm -f b");
        let failed = expecting.wait(Duration::from_secs(30)).exits(1);
        for text in ["differs in: dst port 53", "dropped spoofed-ip", "seed "] {
            assert!(failed.stderr.contains(text), "{text}: {}", failed.stderr);
        }
    });
}

/// What cannot be is said in one sentence that names the place.
#[test]
fn refusals() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let _a = vs.container("a", "--network n");
        std::fs::write("/tmp/no.pcap", "GIF89a").unwrap();
        for (line, text) in [
            ("trace nobody --icmp 10.0.0.1", "nobody"),
            ("trace n --icmp 10.0.0.1", "not one endpoint"),
            ("trace a --hex 0g", "character 2"),
            ("trace a --hex 0", "two digits"),
            ("trace a --hex 00", "a frame of 1 bytes"),
            ("trace a --pcap /tmp/no.pcap", "no pcap"),
            ("trace a --pcap /nowhere", "cannot read"),
            ("trace a --udp 10.0.0.1", "ADDRESS:PORT"),
            ("inject a --tcp 10.0.0.1:80 --flags sin", "\"sin\""),
            ("trace a --towards --dry-run --icmp 10.0.0.1", "nothing decides"),
            ("expect a prt", "character 1"),
            ("expect a --at left udp", "left"),
            ("expect a --within never udp", "no time"),
        ] {
            vs.refuses(line, text);
        }
        assert_eq!(vs.ctl(&["inject", "a"]).code, 2);
        let waiting = vs.spawn(&["expect", "a", "udp", "--within", "60s"]);
        eventually("it is armed", 20, || waiting.output().contains("armed"));
        vs.ok("rm -f a");
        waiting.wait(Duration::from_secs(30)).exits(1);
    });
}
