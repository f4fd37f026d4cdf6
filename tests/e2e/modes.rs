//! Containers without a network of their own, and containers on several networks.

use std::{fs, time::Duration};

use vswitch_tests::{Vswitch, eventually, guard, ping};

const LIMIT: Duration = Duration::from_secs(30);

/// `--network host`: the host's own network namespace.
#[test]
fn host() {
    guard(|| {
        let vs = Vswitch::start();
        let host = fs::read_link("/proc/self/ns/net").unwrap();
        let inside = vs.ok("run --rm --network host -- readlink /proc/self/ns/net");
        assert_eq!(inside.trim(), host.to_str().unwrap());
        assert!(vs.ok("run --rm --network host -- ip route").contains("172.20.5.0/24"));
    });
}

/// `--network none`: only a loopback interface, which works.
#[test]
fn none() {
    guard(|| {
        let vs = Vswitch::start();
        let a = vs.container("a", "--network none");
        let links = a.ok("ip -o link | grep -v @NONE");
        assert!(links.lines().count() == 1 && links.contains("lo:"), "{links}");
        a.pings("127.0.0.1");
        assert_eq!(a.ok("ip route").trim(), "");
        assert!(a.details().endpoints.is_empty());
    });
}

/// `--network container:NAME`: the other container's interfaces, for as long as it lives.
#[test]
fn of_another_container() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, peer) = (vs.container("a", "--network n"), vs.container("peer", "--network n"));
        let b = vs.container("b", "--network container:a");
        assert_eq!(a.ok("readlink /proc/self/ns/net"), b.ok("readlink /proc/self/ns/net"));
        assert!(a.ok("readlink /proc/self/ns/mnt") != b.ok("readlink /proc/self/ns/mnt"));
        assert!(b.ok("ip -o -4 addr show eth0").contains(&a.ipv4("n").to_string()));
        peer.pings(a.ipv4("n"));
        let _server = a.spawn("exec iperf3 -s -1 -B 127.0.0.1");
        eventually("the other's loopback is reached", 10, || b.sh("iperf3 -c 127.0.0.1 -t 1").code == 0);
        vs.words("run --network container:nobody -- true").exits(125).says("nobody");
        vs.refuses("network connect bridge b", "container sharing network namespace");
    });
}

/// A container on several networks has an interface on each and reaches all its peers; the default route is Docker's
/// choice, the network whose name is first.
#[test]
fn several_networks() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        vs.ok("network create blue");
        let both = vs.container("both", "--network red --network blue");
        let (red, blue) = (vs.container("red", "--network red"), vs.container("blue", "--network blue"));
        both.pings(red.ipv4("red"));
        both.pings(blue.ipv4("blue"));
        blue.pings(both.ipv4("blue"));
        red.cannot_ping(both.ipv4("blue"));
        assert_eq!(both.endpoint("red").interface.as_deref(), Some("eth0"));
        assert_eq!(both.endpoint("blue").interface.as_deref(), Some("eth1"));
        assert!(both.ok("ip route show default").contains("dev eth1"), "blue comes before red");
    });
}

/// Networks are connected and disconnected while the container runs and its traffic on another network flows.
#[test]
fn live_connect_and_disconnect() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create stays");
        vs.ok("network create comes --subnet 10.7.0.0/24");
        let (a, b) = (vs.container("a", "--network stays"), vs.container("b", "--network stays"));
        let c = vs.container("c", "--network comes");
        let traffic = a.spawn(&format!("ping -n -i 0.02 -c 200 -W 2 {}", b.ipv4("stays")));
        for _ in 0..3 {
            vs.ok("network connect --ip 10.7.0.77 --alias second comes a");
            a.pings(c.ipv4("comes"));
            c.pings("10.7.0.77");
            assert!(a.endpoint("comes").aliases.contains(&"second".to_owned()));
            vs.refuses("network connect comes a", "already exists in network comes");
            vs.ok("network disconnect comes a");
            assert_eq!(a.ok("ip -o link show | grep -c eth").trim(), "1");
            c.cannot_ping("10.7.0.77");
        }
        let said = traffic.wait(LIMIT).ok();
        assert!(ping::summary(&said).1 >= 199, "only the last answer may come too late for ping:\n{said}");
        vs.refuses("network disconnect comes a", "is not connected to the network comes");
    });
}

/// When the network of the default route is disconnected, another network's gateway takes over, and back again.
#[test]
fn default_route_follows() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create one --subnet 10.1.0.0/24");
        vs.ok("network create two --subnet 10.2.0.0/24");
        let a = vs.container("a", "--network one --network two");
        let route = || a.ok("ip route show default");
        assert!(route().contains("10.1.0.1"), "{}", route());
        vs.ok("network disconnect one a");
        assert!(route().contains("10.2.0.1"), "{}", route());
        vs.ok("network disconnect two a");
        assert_eq!(route().trim(), "");
        vs.ok("network connect one a");
        assert!(route().contains("10.1.0.1"), "{}", route());
        a.pings("10.1.0.1");
    });
}

/// Containers come and go by the dozen while two others exchange traffic that loses nothing.
#[test]
fn comings_and_goings_disturb_nobody() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let traffic = a.spawn(&format!("ping -n -i 0.02 -c 250 -W 2 {}", b.ipv4("n")));
        for round in 0..4 {
            let names: Vec<String> = (0..4).map(|index| format!("guest{round}{index}")).collect();
            let starting: Vec<_> = names
                .iter()
                .map(|name| vs.spawn(&["run", "-d", "--name", name, "--network", "n", "--", "sleep", "99"]))
                .collect();
            for one in starting {
                one.wait(LIMIT).ok();
            }
            vs.ok(&format!("rm -f {}", names.join(" ")));
        }
        let said = traffic.wait(LIMIT).ok();
        assert!(ping::summary(&said).1 >= 249, "only the last answer may come too late for ping:\n{said}");
        assert_eq!(vs.stats().ports.iter().filter(|one| one.network == "n").count(), 2);
    });
}
