//! Wires that are made worse under real traffic, from the command to the kernels at both ends.

use vswitch_api::wire::Wire;
use vswitch_tests::{Vswitch, eventually, guard, ping};

/// One direction of an endpoint's wire.
#[track_caller]
fn wire(vs: &Vswitch, endpoint: &str, direction: &str) -> Wire {
    let wires: Vec<Wire> = serde_json::from_value(vs.json("impair ls")).unwrap();
    wires.into_iter().find(|wire| wire.endpoint == endpoint && wire.direction == direction).unwrap()
}

/// A delay is never shorter than asked and gone with `none`; a named packet is lost, counted and captured; a change for a time ends.
#[test]
fn a_flaky_network() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let there = b.ipv4("n");
        a.pings(there);
        vs.ok("impair a up delay 40ms");
        vs.ok("impair a up order keep");
        assert_eq!(wire(&vs, "a", "up").settings["delay"], "40ms", "only what is named changes");
        let said = a.ok(&format!("ping -n -c 1 -W 20 {there}"));
        let millis: f64 = said.split("time=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(millis >= 40.0, "{said}");
        vs.ok("impair a none");
        let capture = vs.spawn(&["capture", "b", "--reason", "wire-listed", "-c", "1"]);
        eventually("the capture has begun", 10, || capture.output().contains("capturing on"));
        vs.ctl(&["impair", "b", "down", "drop", "2", "of", "icmp[icmptype] == icmp-echo"]).ok();
        let said = a.sh(&format!("ping -n -c 3 -i 0.2 -W 5 {there}")).stdout;
        assert_eq!(ping::summary(&said), (3, 2), "{said}");
        let captured = capture.wait(std::time::Duration::from_secs(30)).ok();
        assert!(captured.contains("b/drop icmp") && captured.contains("drop wire-listed"), "{captured}");
        assert_eq!(wire(&vs, "b", "down").lost["wire-listed"], 1);
        assert!(vs.ok("stats").contains("b/down 1"), "{}", vs.ok("stats"));
        vs.ok("impair b none");
        vs.ok("impair a,b loss 100% --for 500ms");
        eventually("the losses are over", 20, || wire(&vs, "b", "down").settings.is_empty());
        a.pings(there);
        vs.ok("impair a up mtu 600 icmp");
        let said = a.sh(&format!("ping -n -c 1 -W 10 -M do -s 1000 {there}")).stdout;
        assert!(said.contains("mtu = 600"), "{said}");
    });
}

/// Bulk TCP crosses in super-frames, and loses and is counted by segments all the same; the transfer completes.
#[test]
fn bulk() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        assert_eq!(vs.ok("lab seed 7"), "7\n");
        vs.ok("impair a up loss 1%");
        let _server = b.spawn("exec iperf3 -s -1");
        b.listens(5201);
        a.ok(&format!("iperf3 -n 8M -c {}", b.ipv4("n")));
        let wire = wire(&vs, "a", "up");
        // 8 MB in segments of 1448 bytes, of which super-frames take up to hundreds.
        assert!(wire.offered >= 5524, "{wire:?}");
        let lost = wire.lost["wire-loss"];
        // Within five standard deviations, whatever the retransmissions were.
        let expected = wire.offered / 100;
        assert!(lost.abs_diff(expected) < 5 * (expected.isqrt() + 1), "{wire:?}");
    });
}

/// A partition works in one direction or both, also through the gateway, and ends when it is healed.
#[test]
fn partitions() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b, c) =
            (vs.container("a", "--network n"), vs.container("b", "--network n"), vs.container("c", "--network n"));
        a.pings(b.ipv4("n"));
        vs.ok("cut a,b c");
        a.pings(b.ipv4("n"));
        a.cannot_ping(c.ipv4("n"));
        assert_eq!(wire(&vs, "c", "down").cut_from, ["a", "b"]);
        vs.ok("heal a");
        a.pings(c.ipv4("n"));
        vs.ok("heal");
        let before = wire(&vs, "a", "down").lost;
        vs.ok("cut --one-way a b");
        b.cannot_ping(a.ipv4("n"));
        assert!(wire(&vs, "b", "down").lost["wire-cut"] > 0);
        assert_eq!(wire(&vs, "a", "down").lost, before, "what b sends arrives");
        vs.ok("rm -f b");
        vs.ok("heal");
        a.pings(c.ipv4("n"));
    });
}

/// A cable that is pulled is seen by the container's own kernel, stops traffic in both directions, and changes nothing else: the address,
/// the routes and a connection outlive it.
#[test]
fn carriers() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n --cap-add NET_ADMIN"), vs.container("b", "--network n"));
        let connection = vswitch_tests::OpenConnection::between(&a, &b, "n");
        let carrier = |side: &vswitch_tests::Container<'_>| side.ok("ip -o link show eth0").contains("LOWER_UP");
        let kept = || a.ok("ip -o -4 address show eth0; ip route show | sed 's/ linkdown//'");
        let before = kept();
        let monitor = a.spawn("exec ip -o monitor link");
        let id = a.endpoint("n").id;
        let state = || {
            let all = vs.json("endpoint ls");
            all.as_array().unwrap().iter().find(|one| one["id"] == id.as_str()).unwrap()["state"].clone()
        };
        // The monitor listens once it tells of anything at all.
        eventually("the monitor listens", 20, || {
            a.ok("ip link set eth0 txqueuelen 999; ip link set eth0 txqueuelen 1000");
            monitor.output().contains("eth0")
        });
        vs.ok("link down a");
        assert_eq!((carrier(&a), carrier(&b)), (false, true));
        eventually("Linux tells of it", 20, || monitor.output().contains("NO-CARRIER"));
        assert_eq!((kept(), state()), (before.clone(), "no_carrier".into()));
        b.cannot_ping(a.ipv4("n"));
        let told = monitor.output().len();
        vs.ok("link up a");
        assert_eq!((carrier(&a), kept(), state()), (true, before, "up".into()));
        eventually("Linux tells of it", 20, || monitor.output()[told..].contains("LOWER_UP"));
        b.pings(a.ipv4("n"));
        connection.goes_on(&a);
        vs.ok("link down n");
        assert_eq!((carrier(&a), carrier(&b)), (false, false));
        vs.ok("link up a,b");
        a.pings(b.ipv4("n"));
        vs.refuses("link down nobody", "nobody");
    });
}

/// What cannot be is said in one sentence that names the place.
#[test]
fn refusals() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        vs.ok("create --name idle --network n -- true");
        let _a = vs.container("a", "--network n");
        for (line, text) in [
            ("impair nobody delay 5ms", "nobody"),
            ("impair idle delay 5ms", "not running"),
            ("impair a dely 5ms", "word 1, \"dely\""),
            ("impair a up delay 5", "word 2, \"5\""),
            ("impair a loss 101%", "0% to 100%"),
            ("impair a every 2 of prt", "word 4, \"prt\""),
            ("impair a delay 5ms --for never", "no time"),
            ("impair a rate trace /nowhere", "cannot read /nowhere"),
            ("cut a a", "itself"),
            ("cut a nobody", "nobody"),
            ("heal nobody", "nobody"),
        ] {
            vs.refuses(line, text);
        }
        assert_eq!(vs.ctl(&["impair", "a"]).code, 2);
        assert!(serde_json::from_value::<Vec<Wire>>(vs.json("impair ls")).unwrap().is_empty());
    });
}
