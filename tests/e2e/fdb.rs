//! The forwarding database: learning, static entries, moves, floods, loops and storms.

use std::time::Duration;

use serde_json::Value;
use vswitch_tests::{Background, Container, Vswitch, eventually, frames, guard, ping};

const STATION: [u8; 6] = [0x02, 0x42, 0x01, 0x02, 0x03, 0x04];
const STATION_TEXT: &str = "02:42:01:02:03:04";

fn mac(container: &Container<'_>) -> [u8; 6] {
    frames::mac(&container.endpoint("n").mac_address)
}

/// The entry of `address`, if there is one.
fn entry(vs: &Vswitch, address: &str) -> Option<Value> {
    vs.json("fdb show n").as_array().unwrap().iter().find(|one| one["mac_address"] == address).cloned()
}

/// The endpoint that the entry of `address` points at.
fn holder(vs: &Vswitch, address: &str) -> Option<String> {
    entry(vs, address).map(|entry| entry["endpoint"].as_str().unwrap().to_owned())
}

/// A network without anti-spoofing and three containers on it.
fn three(vs: &Vswitch) -> [Container<'_>; 3] {
    vs.ok("network create n --opt anti-spoof=false");
    ["a", "b", "c"].map(|name| vs.container(name, "--network n"))
}

/// Addresses are learned from traffic, shown with their endpoint and age, and forgotten by flush.
#[test]
fn learned_shown_flushed() {
    guard(|| {
        let vs = Vswitch::start();
        // Those of the way out are known from the beginning.
        let others = vs.stats().fdb.entries;
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        a.pings(b.ipv4("n"));
        for container in [&a, &b] {
            let found = entry(&vs, &container.endpoint("n").mac_address).expect("the address was learned");
            assert_eq!((&found["endpoint"], &found["kind"]), (&container.name().into(), &"learned".into()));
            assert!(found["age_seconds"].as_u64().unwrap() < 30);
        }
        let table = vs.ok("fdb show n");
        assert!(table.contains("MAC ADDRESS") && table.contains("learned"), "{table}");
        assert!(vs.ok("fdb flush n").contains("2 entries"));
        assert_eq!(entry(&vs, &a.endpoint("n").mac_address), None);
        a.pings(b.ipv4("n"));
        assert!(holder(&vs, &a.endpoint("n").mac_address).is_some());
        vs.ok("rm -f a");
        eventually("the entries of a removed container go with it", 5, || vs.stats().fdb.entries == others + 1);
    });
}

/// A static entry directs frames, survives a flush, keeps others from using its address, and goes by rm.
#[test]
fn static_entries() {
    guard(|| {
        let vs = Vswitch::start();
        let [a, b, c] = three(&vs);
        vs.ok(&format!("fdb add n {STATION_TEXT} b"));
        let found = entry(&vs, STATION_TEXT).unwrap();
        assert_eq!(
            (&found["endpoint"], &found["kind"], &found["age_seconds"]),
            (&"b".into(), &"static".into(), &Value::Null)
        );
        let (at_b, at_c) = (b.sniff(), c.sniff());
        let frame = frames::ethernet(STATION, mac(&a), 0x88b5, b"to the static station");
        a.sends(3, &[&frame]);
        at_b.expect(&frame);
        assert_eq!(at_c.count(&frame), 0);
        vs.ok("fdb flush n");
        assert!(entry(&vs, STATION_TEXT).is_some());
        c.sends(4, &[&frames::ethernet(mac(&a), STATION, 0x88b5, b"usurper")]);
        vs.expect_drops("c", "n", "static-entry", 4);
        assert_eq!(holder(&vs, STATION_TEXT).as_deref(), Some("b"));
        vs.ok(&format!("fdb rm n {STATION_TEXT}"));
        assert_eq!(entry(&vs, STATION_TEXT), None);
        let flooded = frames::ethernet(STATION, mac(&a), 0x88b5, b"now unknown");
        a.sends(1, &[&flooded]);
        at_b.expect(&flooded);
        at_c.expect(&flooded);
        vs.refuses(&format!("fdb rm n {STATION_TEXT}"), STATION_TEXT);
        vs.refuses("fdb add n 01:00:5e:00:00:01 b", "01:00:5e:00:00:01");
        vs.refuses("fdb add n 00:00:00:00:00:00 b", "00:00:00:00:00:00");
        vs.refuses("fdb add n 02:42:00:00 b", "02:42:00:00");
        vs.refuses(&format!("fdb add n {STATION_TEXT} stranger"), "stranger");
        vs.refuses("fdb show nowhere", "nowhere");
    });
}

/// A frame to an unknown address goes to every other port of the network and not back; to a known one, only there.
#[test]
fn unknown_is_flooded_known_is_not() {
    guard(|| {
        let vs = Vswitch::start();
        let [a, b, c] = three(&vs);
        let sniffers = [&a, &b, &c].map(Container::sniff);
        let unknown = frames::ethernet(STATION, mac(&a), 0x88b5, b"who is there");
        let before = vs.port("a", "n").flooded;
        a.sends(1, &[&unknown]);
        sniffers[1].expect(&unknown);
        sniffers[2].expect(&unknown);
        assert_eq!(sniffers[0].count(&unknown), 0, "nothing comes back to its sender");
        assert!(vs.port("a", "n").flooded > before);
        b.sends(1, &[&frames::ethernet(mac(&a), STATION, 0x88b5, b"me")]);
        eventually("the station is learned", 5, || holder(&vs, STATION_TEXT).as_deref() == Some("b"));
        let known = frames::ethernet(STATION, mac(&a), 0x88b5, b"only for you");
        a.sends(1, &[&known]);
        sniffers[1].expect(&known);
        let marker = frames::ethernet(frames::BROADCAST, mac(&a), 0x88b5, b"marker");
        a.sends(1, &[&marker]);
        sniffers[2].expect(&marker);
        assert_eq!(sniffers[2].count(&known), 0);
    });
}

/// A station that shows up at another port is moved there at once.
#[test]
fn stations_move() {
    guard(|| {
        let vs = Vswitch::start();
        let [a, b, c] = three(&vs);
        let hello = frames::ethernet(frames::BROADCAST, STATION, 0x88b5, b"here I am");
        let moved = vs.stats().fdb.moved;
        for (container, name) in [(&a, "a"), (&b, "b"), (&a, "a")] {
            container.sends(1, &[&hello]);
            eventually("the station has moved", 5, || holder(&vs, STATION_TEXT).as_deref() == Some(name));
        }
        assert_eq!(vs.stats().fdb.moved, moved + 2);
        let (at_a, at_b) = (a.sniff(), b.sniff());
        let frame = frames::ethernet(STATION, mac(&c), 0x88b5, b"follow");
        c.sends(1, &[&frame]);
        at_a.expect(&frame);
        assert_eq!(at_b.count(&frame), 0);
    });
}

/// An entry that is not seen for the ageing time is forgotten.
#[test]
fn ageing() {
    guard(|| {
        let vs = Vswitch::with(&["--fdb-ageing", "2"]);
        let [a, ..] = three(&vs);
        a.sends(1, &[&frames::ethernet(frames::BROADCAST, STATION, 0x88b5, b"once")]);
        eventually("the station is learned", 5, || holder(&vs, STATION_TEXT).is_some());
        eventually("the station is forgotten", 15, || holder(&vs, STATION_TEXT).is_none());
        eventually("that is counted", 5, || vs.stats().fdb.aged >= 1);
    });
}

/// An address that flaps between two ports as in a loop is damped and counted; everybody else goes on.
#[test]
fn loops_are_damped() {
    guard(|| {
        let vs = Vswitch::start();
        let [a, b, c] = three(&vs);
        let frame = frames::hex(&frames::ethernet(frames::BROADCAST, STATION, 0x88b5, b"loop"));
        let flapping = [&a, &b].map(|one| one.spawn(&format!("vswitch-probe eth0 alternate 1500 {frame}")));
        eventually("the address is damped", 10, || vs.stats().fdb.damped >= 1);
        c.pings(a.ipv4("n"));
        c.pings("172.18.0.1");
        for one in flapping {
            one.wait(Duration::from_secs(30)).ok();
        }
        let dropped = vs.drops("a", "n", "loop-guard") + vs.drops("b", "n", "loop-guard");
        assert!(dropped > 100, "only {dropped} frames were dropped");
        assert_eq!(vs.drops("c", "n", "loop-guard"), 0);
    });
}

/// Pings 20 times a second until `storm` ends, and returns how many came back and went out.
fn pings_during(storm: &mut Background, from: &Container<'_>, to: &Container<'_>) -> (u64, u64) {
    let target = to.ipv4("n");
    let (mut received, mut sent) = (0, 0);
    loop {
        let said = from.sh(&format!("ping -n -c 20 -i 0.05 -W 2 {target}")).stdout;
        let (more_sent, more_received) = ping::summary(&said);
        sent += more_sent;
        received += more_received;
        if !storm.running() {
            return (received, sent);
        }
    }
}

/// A million random source addresses from one container: the table stays in its bounds, the attacker's entries push
/// out its own, and the victims' entries and traffic stay.
#[test]
fn storm_of_a_million_addresses() {
    guard(|| {
        let vs = Vswitch::with(&["--fdb-capacity", "4096"]);
        let [a, b, attacker] = three(&vs);
        a.pings(b.ipv4("n"));
        let mut storm = attacker.spawn("vswitch-probe eth0 storm 1000000");
        let (received, sent) = pings_during(&mut storm, &a, &b);
        storm.wait(Duration::from_secs(5)).ok();
        assert!(received * 10 >= sent * 9, "of {sent} pings only {received} came back");
        let fdb = vs.stats().fdb;
        assert_eq!(fdb.capacity, 4096);
        assert!(fdb.entries <= 4096 && fdb.entries > 1000, "{fdb:?}");
        assert!(fdb.evicted + fdb.limited > 100_000, "{fdb:?}");
        for victim in [&a, &b] {
            let address = victim.endpoint("n").mac_address;
            assert_eq!(holder(&vs, &address).as_deref(), Some(victim.name()));
        }
        assert!(vs.port("c", "n").in_frames > 100_000, "{:?}", vs.port("c", "n"));
        a.pings(b.ipv4("n"));
    });
}

/// With anti-spoofing on, the same storm does not even reach the table.
#[test]
fn storm_against_anti_spoofing() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let [a, b, attacker] = ["a", "b", "attacker"].map(|name| vs.container(name, "--network n"));
        a.pings(b.ipv4("n"));
        let mut storm = attacker.spawn("vswitch-probe eth0 storm 300000");
        let (received, sent) = pings_during(&mut storm, &a, &b);
        storm.wait(Duration::from_secs(5)).ok();
        assert!(received * 10 >= sent * 9, "of {sent} pings only {received} came back");
        eventually("the storm is counted", 10, || vs.drops("attacker", "n", "spoofed-mac") > 100_000);
        assert!(vs.stats().fdb.entries <= 3, "{:?}", vs.stats().fdb);
    });
}

/// A port's own limit of addresses holds, and is counted.
#[test]
fn limit_of_a_port() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --opt anti-spoof=false --opt mac-limit=8");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        a.ok("vswitch-probe eth0 storm 1000");
        eventually("addresses are refused", 5, || vs.stats().fdb.limited > 100);
        let of_a = vs.stats().ports.into_iter().find(|port| port.endpoint == "a").unwrap();
        assert!(of_a.fdb_entries <= 8, "{of_a:?}");
        a.pings(b.ipv4("n"));
    });
}
