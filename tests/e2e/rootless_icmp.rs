//! Echo requests and what routers say, over the sockets uplink.

use vswitch_tests::{Rootless, guard, guard::is_root};

/// Containers ping the outside, near and far, over both families, with long packets too; and the gateway, which answers
/// itself.
#[test]
fn echo() {
    guard(|| {
        let site = Rootless::start();
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six");
        let gateway = a.ok("ip route show default").split_whitespace().nth(2).unwrap().to_owned();
        for address in ["10.99.0.2", "10.98.0.2", "10.99.0.1", "fd99::2", "fd98::2", &gateway] {
            a.pings(address);
        }
        for address in ["10.99.0.2", "fd99::2"] {
            a.ok(&format!("ping -n -c 2 -i 0.2 -W 10 -s 1400 {address}"));
            a.ok(&format!("ping -n -c 2 -i 0.2 -W 10 -s 8000 {address}"));
        }
        // Two at once, of one container each: identifiers are told apart.
        let b = site.vs.container("b", "--network six");
        let (one, two) = (a.spawn("ping -n -c 20 -i 0.05 10.99.0.2"), b.spawn("ping -n -c 20 -i 0.05 10.99.0.2"));
        for ping in [one, two] {
            assert!(ping.wait(std::time::Duration::from_secs(30)).ok().contains("20 received"));
        }
    });
}

/// A hop count that runs out on the way is reported by the router on the way, and by the gateway for its own hop.
#[test]
fn hops() {
    guard(|| {
        let site = Rootless::start();
        let a = site.vs.container("a", "");
        let gateway = a.ok("ip route show default").split_whitespace().nth(2).unwrap().to_owned();
        let said = a.sh("ping -n -c 1 -W 10 -t 1 10.98.0.2");
        assert!(said.stdout.contains(&format!("From {gateway} icmp_seq=1 Time to live exceeded")), "{said}");
        let said = a.sh("ping -n -c 1 -W 10 -t 2 10.98.0.2");
        assert!(said.stdout.contains("From 10.99.0.2 icmp_seq=1 Time to live exceeded"), "{said}");
        a.ok("ping -n -c 1 -W 10 -t 3 10.98.0.2");
    });
}

/// Where the host lets nobody send echo requests they are answered: prohibited, at once, and counted; the rest works.
#[test]
fn not_allowed() {
    guard(|| {
        let site = Rootless::without_ping();
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six");
        // Who says so is the gateway.
        for (address, family, says) in [
            ("10.99.0.2", "-4", "Packet filtered"),
            ("fd99::2", "-6", "Destination unreachable: Administratively prohibited"),
        ] {
            let gateway =
                a.ok(&format!("ip {family} route show default")).split_whitespace().nth(2).unwrap().to_owned();
            let said = a.sh(&format!("ping -n -c 1 -W 10 {address}"));
            assert!(said.code != 0 && said.stdout.contains(&format!("From {gateway} icmp_seq=1 {says}")), "{said}");
        }
        let uplink = site.vs.stats().router.unwrap().sockets.unwrap();
        assert!(uplink.datagrams.no_ping >= 2, "{uplink:?}");
        let _echo = site.play(&site.outside, "udp_echo 7010");
        assert_eq!(site.says(&a, "udp 10.99.0.2 7010 100"), "same 10.99.0.2 7010");
        let shown = site.vs.ok("stats");
        assert!(shown.contains("net.ipv4.ping_group_range"), "{shown}");
        // It was told at the start, once, with the line to type.
        let log = site.vs.log();
        assert_eq!(log.matches("sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"").count(), 1, "{log}");
    });
}

/// Root's agent has the sockets where nobody else may: more programs ping than there are sockets, and the host's setting stays what it
/// was. Root of a user namespace that cannot put the setting back leaves it alone, and says what to type.
#[test]
fn root_may() {
    guard(|| {
        let site = Rootless::as_root_without_ping();
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six");
        let range = site.host.ok("cat /proc/sys/net/ipv4/ping_group_range");
        assert!(!range.starts_with("0\t"), "{range}");
        if !is_root() {
            assert_ne!(a.sh("ping -n -c 1 -W 10 10.99.0.2").code, 0);
            assert!(site.vs.log().contains("sysctl -w net.ipv4.ping_group_range"));
            return;
        }
        for address in ["10.99.0.2", "10.98.0.2", "fd99::2"] {
            a.pings(address);
        }
        a.ok("for n in $(seq 80); do ping -n -c 1 -W 10 10.99.0.2 >/dev/null || exit 1; done");
        let said = a.sh("ping -n -c 1 -W 10 -t 2 10.98.0.2");
        assert!(said.stdout.contains("From 10.99.0.2 icmp_seq=1 Time to live exceeded"), "{said}");
        let uplink = site.vs.stats().router.unwrap().sockets.unwrap();
        assert!(uplink.datagrams.no_ping == 0 && uplink.datagrams.evicted > 0, "{uplink:?}");
        assert!(!site.vs.log().contains("ping_group_range"), "{}", site.vs.log());
    });
}

/// What no socket of the host carries is refused as such.
#[test]
fn other_protocols() {
    guard(|| {
        let site = Rootless::start();
        let a = site.vs.container("a", "");
        let code = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253); s.connect(('10.99.0.2', 0)); \
                    s.settimeout(10); s.send(bytes(16))\ntry:\n    s.send(bytes(16)); print(s.recv(100))\nexcept OSError as e:\n    print(e.errno)";
        std::fs::write("/mnt/raw.py", code).unwrap();
        // ENOPROTOOPT: "protocol unreachable".
        assert_eq!(a.ok("python3 /mnt/raw.py").trim_end(), "92");
        let drops = site.vs.stats().router.unwrap().sockets.unwrap().datagrams.drops;
        assert!(drops["not-carried"] >= 1, "{drops:?}");
    });
}
