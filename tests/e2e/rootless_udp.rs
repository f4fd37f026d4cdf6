//! UDP over the sockets uplink.

use vswitch_tests::{Background, Container, Rootless, eventually, guard};

/// Datagrams of all sizes there and back over both families, those in fragments too; the server sees the host's address.
#[test]
fn sizes() {
    guard(|| {
        let site = Rootless::start();
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six");
        let echo = site.play(&site.outside, "udp_echo 7010");
        for (address, client) in [("10.99.0.2", "10.99.0.1"), ("fd99::2", "fd99::1")] {
            for size in [1, 18, 1400, 1472, 1473, 4000, 20_000, 65_400] {
                assert_eq!(
                    site.says(&a, &format!("udp {address} 7010 {size}")),
                    format!("same {address} 7010"),
                    "{size}"
                );
                assert!(echo.output().contains(&format!("{size} {client} ")), "{}", echo.output());
            }
        }
        assert_eq!(site.says(&a, "udp 10.99.0.2 7010 65507"), "same 10.99.0.2 7010");
        assert_eq!(site.says(&a, "udp 10.99.0.2 7010 0"), "same 10.99.0.2 7010");
        let uplink = site.vs.stats().router.unwrap().sockets.expect("the sockets uplink");
        assert_eq!(uplink.datagrams.drops, std::collections::BTreeMap::default());
        assert!(uplink.datagrams.sent >= 18 && uplink.datagrams.reassembled >= 9, "{uplink:?}");
    });
}

/// One port outside for one socket inside, whoever it talks to; another container's socket of the same number has its own.
#[test]
fn mapping() {
    guard(|| {
        let site = Rootless::start();
        let (a, b) = (site.vs.container("a", ""), site.vs.container("b", ""));
        let (one, two) = (site.play(&site.outside, "udp_echo 7010"), site.play(&site.far, "udp_echo 7011"));
        site.says(&a, "udp 10.99.0.2 7010 10 4000");
        site.says(&a, "udp 10.98.0.2 7011 10 4000");
        assert_eq!(port(&one), port(&two), "endpoint-independent mapping");
        let first = port(&one);
        assert_eq!(site.says(&b, "udp 10.99.0.2 7010 10 4000"), "same 10.99.0.2 7010");
        assert_ne!(port(&one), first);
    });
}

/// Only who was written to gets in by a container's UDP socket: no container of another network, no local process, no third
/// party, and not the asked host by another port. A published port is open to all of them.
#[test]
fn filtering() {
    guard(|| {
        let site = Rootless::start();
        site.vs.ok("network create red");
        let (blue, red) = (site.vs.container("blue", "-p 5353:5353/udp"), site.vs.container("red", "--network red"));
        let echo = site.play(&site.outside, "udp_echo 7010");
        let open = site.serve_inside(&blue, "udp_echo 5353");
        let hears = site.spawn_inside(&blue, "udp_hear 10.99.0.2 7010");
        eventually("the answer comes in", 20, || hears.output().contains("heard question from 10.99.0.2 7010"));
        let mapped = port(&echo);
        throw_from_everywhere(&site, &red, &mapped);
        let dropped = || site.vs.stats().router.unwrap().sockets.unwrap().datagrams.drops;
        eventually("all are refused", 20, || dropped().get("unsolicited") == Some(&4));
        assert_eq!(hears.output().matches("heard").count(), 1, "{}", hears.output());
        throw_from_everywhere(&site, &red, "5353");
        eventually("a published port takes all", 20, || open.output().lines().count() >= 5);
    });
}

/// With endpoint-independent filtering third parties outside get in, as games and calls need it; from the host's own addresses
/// still nobody does who was not written to.
#[test]
fn endpoint_independent_filtering() {
    guard(|| {
        let site = Rootless::with(&["--uplink", "sockets,udp-filter=endpoint-independent"]);
        site.vs.ok("network create red");
        let (blue, red) = (site.vs.container("blue", ""), site.vs.container("red", "--network red"));
        let (echo, local) = (site.play(&site.outside, "udp_echo 7010"), site.play(&site.host, "udp_echo 7011"));
        let hears = site.spawn_inside(&blue, "udp_hear 10.99.0.2 7010");
        eventually("the answer comes in", 20, || hears.output().contains("heard question from 10.99.0.2 7010"));
        throw_from_everywhere(&site, &red, &port(&echo));
        let dropped = || site.vs.stats().router.unwrap().sockets.unwrap().datagrams.drops;
        eventually("the host's own are refused", 20, || dropped().get("unsolicited") == Some(&2));
        eventually("the others come in", 20, || {
            ["from-far from 10.98.0.2", "from-outside from 10.99.0.2"].iter().all(|one| hears.output().contains(one))
        });
        assert_eq!(hears.output().matches("heard").count(), 3, "{}", hears.output());
        assert_eq!(site.says(&blue, "udp 10.99.0.1 7011 10"), "same 10.99.0.1 7011");
        drop(local);
        assert!(site.vs.ok("version").contains("sockets,udp-filter=endpoint-independent"));
    });
}

/// The host's port that a server saw last.
fn port(server: &Background) -> String {
    server.output().lines().last().unwrap().rsplit(' ').next().unwrap().to_owned()
}

/// One datagram each to a UDP port of the host: from a container of another network, a local process, a third party, and
/// another port of the host outside.
fn throw_from_everywhere(site: &Rootless, red: &Container<'_>, port: &str) {
    site.says(red, &format!("udp_throw 10.99.0.1 {port} from-red"));
    site.says_at(&site.host, &format!("udp_throw 10.99.0.1 {port} from-host"));
    site.says_at(&site.far, &format!("udp_throw 10.99.0.1 {port} from-far"));
    site.says_at(&site.outside, &format!("udp_throw 10.99.0.1 {port} from-outside"));
}

/// ICMP errors about datagrams come to the socket that sent them: nobody on the port, a path with a smaller MTU, no way.
#[test]
fn errors_come_in() {
    guard(|| {
        let site = Rootless::start();
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six");
        for address in ["10.99.0.2", "fd99::2", "10.98.0.2", "fd98::2"] {
            assert_eq!(site.says(&a, &format!("udp_connected {address} 7999")), "ConnectionRefusedError", "{address}");
        }
        let _echo = site.play(&site.far, "udp_echo 7010");
        assert_eq!(site.says(&a, "pmtu 10.98.0.2 7010 1450"), "1400");
        assert_eq!(site.says(&a, "udp 10.98.0.2 7010 1450"), "same 10.98.0.2 7010");
        site.host.ok("ip route del default via 10.99.0.2");
        let said = a.sh("ping -n -c 1 -W 10 192.0.2.1");
        assert!(said.stdout.contains("Destination Net Unreachable"), "{said}");
        let uplink = site.vs.stats().router.unwrap().sockets.unwrap();
        assert!(uplink.datagrams.errors >= 6, "{uplink:?}");
    });
}

/// Five hundred questions like a resolver's, each from a socket of its own, are all answered, and the flows go soon.
#[test]
fn many_questions() {
    guard(|| {
        let site = Rootless::start();
        let a = site.vs.container("a", "");
        let _echo = site.play(&site.outside, "udp_echo 53");
        assert_eq!(site.says(&a, "udp_burst 10.99.0.2 53 500"), "500");
        let datagrams = || site.vs.stats().router.unwrap().sockets.unwrap().datagrams;
        // A few sockets get the same port one after the other, and so the same flow.
        assert!(datagrams().opened >= 400, "{:?}", datagrams());
        eventually("flows of questions end", 40, || datagrams().flows == 0);
        assert!(datagrams().expired >= 400, "{:?}", datagrams());
    });
}

/// Trains of datagrams both ways: of what iperf3 sends at a rate that needs them, more than half arrives also on a busy machine.
#[test]
fn bulk() {
    guard(|| {
        let site = Rootless::start();
        let a = site.vs.container("a", "-p 5202:5202/udp -p 5202:5202");
        let _server = site.outside.serve("iperf3 -s", 5201);
        for flags in ["", "-R"] {
            let said = a.ok(&format!("iperf3 -J -u -l 1400 -b 200M -t 2 -c 10.99.0.2 {flags}"));
            let report: serde_json::Value = serde_json::from_str(&said).unwrap();
            let sum = &report["end"]["sum"];
            let (sent, lost) = (sum["packets"].as_u64().unwrap(), sum["lost_percent"].as_f64().unwrap());
            assert!(sent > 1000 && lost < 50.0, "{flags}: {sent} sent, {lost} % lost");
        }
    });
}

/// More flows than there may be harm nobody: those that were idle longest end, of the container that has most, and the
/// switch and its control go on.
#[test]
fn bounded() {
    guard(|| {
        let site = Rootless::without_daemon(&["prlimit", "--nofile=200:200", "--"], &[]);
        site.vs.up();
        let (a, b) = (site.vs.container("a", ""), site.vs.container("b", ""));
        let _echo = site.play(&site.outside, "udp_echo 7010");
        assert_eq!(site.says(&b, "udp 10.99.0.2 7010 10 4000"), "same 10.99.0.2 7010");
        assert_eq!(site.says(&a, "udp_burst 10.99.0.2 7010 300"), "300");
        let datagrams = site.vs.stats().router.unwrap().sockets.unwrap().datagrams;
        assert!(datagrams.evicted > 200 && (10..100).contains(&datagrams.flows), "{datagrams:?}");
        assert_eq!(datagrams.no_descriptor, 0, "there is always a descriptor left");
        b.pings(a.ipv4("bridge"));
        let shown = site.vs.ok("stats");
        assert!(shown.contains("ended for room"), "{shown}");
    });
}
