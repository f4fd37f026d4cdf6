//! Who reaches whom, and what an endpoint looks like from inside.

use vswitch_tests::{Vswitch, guard, sh};

/// Containers of one network reach each other over IPv4 and IPv6, and nothing is dropped.
#[test]
fn containers_reach_each_other() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        a.pings(b.ipv4("n"));
        b.pings(a.ipv4("n"));
        a.pings(b.ipv6("n"));
        b.pings(a.ipv6("n"));
        for name in ["a", "b"] {
            let port = vs.port(name, "n");
            assert!(port.forwarded >= 12 && port.out_frames >= 12, "{port:?}");
            let spoofed: Vec<_> = port.drops.keys().filter(|reason| reason.starts_with("spoofed")).collect();
            assert!(spoofed.is_empty(), "an honest container was accused: {port:?}");
        }
    });
}

/// The default network works without being made: its first container has 172.17.0.2 and the gateway 172.17.0.1.
#[test]
fn default_network() {
    guard(|| {
        let vs = Vswitch::start();
        let (a, b) = (vs.container("a", ""), vs.container("b", ""));
        assert_eq!(a.ipv4("bridge").to_string(), "172.17.0.2");
        assert_eq!(b.ipv4("bridge").to_string(), "172.17.0.3");
        a.pings("172.17.0.3");
        a.pings("172.17.0.1");
    });
}

/// The gateway answers ARP, Neighbor Discovery and echo requests, also large ones, and counts them as consumed.
#[test]
fn gateway_answers() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.1.0.0/24 --gateway 10.1.0.254 --subnet fd00:1::/64 --ipv6");
        let a = vs.container("a", "--network n");
        a.pings("10.1.0.254");
        a.pings("-s 1400 10.1.0.254");
        a.pings("fd00:1::1");
        let neighbours = a.ok("ip neigh");
        assert!(neighbours.contains("10.1.0.254 dev eth0 lladdr"), "{neighbours}");
        assert!(neighbours.contains("fd00:1::1 dev eth0 lladdr"), "{neighbours}");
        assert!(vs.port("a", "n").consumed >= 11);
    });
}

/// Inside there are lo and eth0 with the right MAC address, addresses, MTU and default routes, and nothing else.
#[test]
fn inside_of_an_endpoint() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6 --subnet 10.1.0.0/24 --subnet fd00:1::/64 --opt mtu=1400");
        let a = vs.container("a", "--network n --ip 10.1.0.9 --ip6 fd00:1::9 --mac-address 02:42:00:00:00:77");
        let links = a.ok("ip -o link | grep -v @NONE | cut -d: -f2 | cut -d@ -f1 | sort | xargs");
        assert_eq!(links.trim(), "eth0 lo");
        let link = a.ok("ip -o link show eth0");
        assert!(link.contains("02:42:00:00:00:77") && link.contains("mtu 1400") && link.contains("UP"), "{link}");
        assert!(a.ok("ip -o link show lo").contains("UP"));
        assert!(a.ok("ip -o -4 addr show eth0").contains("10.1.0.9/24"));
        let ipv6 = a.ok("ip -o -6 addr show eth0 scope global");
        assert!(ipv6.contains("fd00:1::9/64") && !ipv6.contains("tentative"), "{ipv6}");
        assert!(a.ok("ip route show default").starts_with("default via 10.1.0.1 dev eth0"));
        assert!(a.ok("ip -6 route show default").contains("default via fd00:1::1 dev eth0"));
        let endpoint = a.endpoint("n");
        assert_eq!(endpoint.mac_address, "02:42:00:00:00:77");
        assert_eq!(endpoint.ipv4_address.as_deref(), Some("10.1.0.9/24"));
        assert_eq!((endpoint.mtu, endpoint.interface.as_deref()), (1400, Some("eth0")));
    });
}

/// Addresses of our own choice: MAC addresses start with 02:42, an IPv4-only network has no IPv6 at all.
#[test]
fn chosen_addresses() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let a = vs.container("a", "--network n");
        assert!(a.endpoint("n").mac_address.starts_with("02:42:"), "{:?}", a.endpoint("n"));
        assert_eq!(a.ok("ip -6 addr show dev eth0").trim(), "");
        assert_eq!(a.endpoint("n").ipv6_address, None);
    });
}

/// Neither the host's interfaces nor its routes change while networks and containers come and go.
#[test]
fn host_is_not_touched() {
    guard(|| {
        let host = || sh("ip -o link; ip route show table all; ip rule; ls /run/netns 2>/dev/null; true").ok();
        let before = host();
        let vs = Vswitch::start();
        vs.ok("network create n");
        let a = vs.container("a", "--network n");
        a.pings("172.18.0.1");
        assert_eq!(host(), before);
        vs.ok("rm -f a");
        vs.ok("network rm n");
        assert_eq!(vs.terminate(), 0);
        assert_eq!(host(), before);
    });
}
