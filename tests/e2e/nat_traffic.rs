//! Through the uplink and back: masquerade and what routers do, judged by Linux on both sides. Letters such as G1 name rows
//! of the conformance tables. A tap on the uplink watches every test for inside addresses.

use std::time::Duration;

use serde_json::Value;
use vswitch_tests::{Background, Container, Site, eventually, guard, sh, site::fetch};

const LIMIT: Duration = Duration::from_secs(60);

const DUAL: &str = "network create n --subnet 10.201.1.0/24 --ipv6 --subnet fd77::/64";

/// A container fetches pages from outside over both families; the server sees the uplink's address.
#[test]
fn curl_out() {
    guard(|| {
        let site = Site::start();
        let web = site.outside_web();
        site.vs.ok(DUAL);
        let a = site.vs.container("a", "--network n");
        for url in ["http://10.99.0.2:8000/page", "http://[fd99::2]:8000/page"] {
            assert_eq!(fetch(a.sh(&format!("curl -sS -m 10 {url}"))), "page-of-outside");
        }
        // On the default network, and from behind another router.
        let b = site.vs.container("b", "");
        assert_eq!(fetch(b.sh("curl -sS -m 10 http://10.99.0.2:8000/page")), "page-of-outside");
        let clients = web.output();
        assert!(clients.contains("10.99.0.1") && clients.contains("fd99::1"), "{clients}");
        let flows = site.vs.json("flows ls --protocol tcp --dport 8000");
        let kinds: Vec<_> = flows.as_array().unwrap().iter().map(|flow| flow["kind"].clone()).collect();
        assert_eq!(kinds, ["masquerade"; 3]);
        assert_eq!(site.vs.json("flows ls --endpoint b").as_array().unwrap().len(), 1);
        let text = site.vs.ok("flows ls --network n --protocol tcp");
        assert!(text.lines().count() == 2 && text.contains(" dport=8000 ") && text.contains("dst=10.99.0.1"), "{text}");
        assert_eq!(site.router().created, 3);
        site.finish();
    });
}

/// nginx outside serves a large file to curl inside, unharmed.
#[test]
fn nginx_outside() {
    guard(|| {
        let site = Site::start();
        std::fs::create_dir_all("/tmp/nginx/www").unwrap();
        let config = "user root; master_process off; daemon off; pid /tmp/nginx/pid; error_log stderr; events {}\n\
             http { access_log off; client_body_temp_path /tmp/nginx/1; proxy_temp_path /tmp/nginx/2;\n\
             fastcgi_temp_path /tmp/nginx/3; uwsgi_temp_path /tmp/nginx/4; scgi_temp_path /tmp/nginx/5;\n\
             server { listen 80; root /tmp/nginx/www; } }\n";
        std::fs::write("/tmp/nginx/conf", config).unwrap();
        let wanted = sh("head -c 50000000 /dev/urandom | tee /tmp/nginx/www/file | sha256sum").ok();
        let _nginx = site.far.serve("nginx -e stderr -c /tmp/nginx/conf", 80);
        let a = site.vs.container("a", "");
        assert_eq!(a.ok("curl -sS -m 60 http://10.98.0.2/file | sha256sum"), wanted);
        site.finish();
    });
}

fn iperf(client: &Container<'_>, server: Background, target: &str, flags: &str) -> Value {
    let text = client.ok(&format!("iperf3 -J -c {target} {flags}"));
    server.wait(LIMIT).ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// TCP at full speed in both directions, over both families, arrives with right checksums.
#[test]
fn iperf_both_ways() {
    guard(|| {
        let site = Site::start();
        site.vs.ok(DUAL);
        let a = site.vs.container("a", "--network n");
        for target in ["10.99.0.2", "fd99::2"] {
            for flags in ["-t 1", "-t 1 -R"] {
                let probe = site.outside.spawn("vswitch-probe out0 verify 3");
                let report = iperf(&a, site.outside.serve("iperf3 -s -1", 5201), target, flags);
                let speed = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
                assert!(speed > 1e8, "only {speed} bit/s, {target} {flags}");
                let counts: Value = serde_json::from_str(&probe.wait(LIMIT).ok()).unwrap();
                assert_eq!(counts["wrong"], 0, "{target} {flags}: {counts}");
            }
        }
        site.finish();
    });
}

/// Without checksum and segmentation offload in the container and outside, every packet carries a right, whole checksum
/// (C20-C23).
#[test]
fn without_offloads() {
    guard(|| {
        let site = Site::start();
        let a = site.vs.container("a", "--cap-add NET_ADMIN");
        a.ok("ethtool -K eth0 tx off tso off gso off");
        site.outside.ok("ethtool -K out0 tx off tso off gso off");
        for flags in ["-t 1", "-t 1 -R"] {
            let probe = site.outside.spawn("vswitch-probe out0 verify 3");
            let report = iperf(&a, site.outside.serve("iperf3 -s -1", 5201), "10.99.0.2", flags);
            assert!(report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() > 1e7);
            let counts: Value = serde_json::from_str(&probe.wait(LIMIT).ok()).unwrap();
            assert_eq!((&counts["wrong"], &counts["partial"]), (&0.into(), &0.into()), "{flags}: {counts}");
        }
        site.finish();
    });
}

/// A datagram and its answer, from the same port, to two servers; each sees the uplink's address (U1, U2).
#[test]
fn udp_question_and_answer() {
    guard(|| {
        let site = Site::start();
        let echo = "python3 -c 'import socket as s\nx=s.socket(s.AF_INET,s.SOCK_DGRAM);x.bind((\"0.0.0.0\",53))\n\
                    while True:\n d,a=x.recvfrom(9000);x.sendto(repr(a).encode()+d,a)'";
        let _servers = [site.outside.spawn(echo), site.far.spawn(echo)];
        for namespace in [&site.outside, &site.far] {
            eventually("the server listens", 15, || namespace.sh("ss -lun").stdout.contains(":53 "));
        }
        let a = site.vs.container("a", "");
        let ask = "python3 -c 'import socket as s\nx=s.socket(s.AF_INET,s.SOCK_DGRAM);x.settimeout(5);x.bind((\"\",4321))\n\
                   for to in (\"10.99.0.2\",\"10.98.0.2\"):\n x.sendto(b\"hello\",(to,53));print(x.recvfrom(9000)[0].decode())'";
        let said = a.ok(ask);
        assert_eq!(said.matches("('10.99.0.1', 4321)hello").count(), 2, "{said}");
        site.finish();
    });
}

/// Echo requests with a TTL of one, two and three end at the gateway, at the router outside and at their goal, and each
/// error comes from the right address (G1, I10, I11).
#[test]
fn ping_and_traceroute() {
    guard(|| {
        let site = Site::start();
        site.vs.ok(DUAL);
        let a = site.vs.container("a", "--network n");
        for (target, hops) in
            [("10.98.0.2", ["10.201.1.1", "10.99.0.2", "10.98.0.2"]), ("fd98::2", ["fd77::1", "fd99::2", "fd98::2"])]
        {
            for (ttl, hop) in (1..).zip(hops) {
                let said = a.sh(&format!("ping -n -c 1 -W 5 -t {ttl} {target}")).stdout;
                assert!(said.contains(&format!("rom {hop}")), "TTL {ttl} to {target} should end at {hop}: {said}");
                assert_eq!(said.contains("1 received"), hop == target, "{said}");
            }
            a.pings(target);
        }
        site.finish();
    });
}

/// Datagrams larger than a packet cross in fragments, both ways, both families (F1-F7).
#[test]
fn fragments() {
    guard(|| {
        let site = Site::start();
        site.vs.ok(DUAL);
        let a = site.vs.container("a", "--network n");
        // Over IPv6 the sender itself has to learn of the small link first.
        a.sh("ping -n -s 4000 -c 1 -W 5 fd98::2").says("");
        for target in ["10.99.0.2", "10.98.0.2", "fd99::2", "fd98::2"] {
            let said = a.ok(&format!("ping -n -s 4000 -c 3 -i 0.2 -W 5 {target}"));
            assert!(said.contains("3 received"), "{said}");
        }
        site.finish();
    });
}

/// A small link behind the uplink: packets that may not be fragmented are answered with its MTU, and TCP learns of it (G4,
/// I10).
#[test]
fn path_mtu() {
    guard(|| {
        let site = Site::start();
        site.vs.ok(DUAL);
        let a = site.vs.container("a", "--network n");
        let said = a.sh("ping -n -M do -s 1450 -c 2 -i 0.3 -W 2 10.98.0.2");
        assert!(format!("{said}").contains("1400"), "{said}");
        assert!(a.ok("ip route get 10.98.0.2").contains("mtu 1400"), "the container has learned the path's MTU");
        let said = a.sh("ping -n -M do -s 1440 -c 2 -i 0.3 -W 2 fd98::2");
        assert!(format!("{said}").contains("1400"), "{said}");
        for target in ["10.98.0.2", "fd98::2"] {
            let report = iperf(&a, site.far.serve("iperf3 -s -1", 5201), target, "-t 1");
            let received = report["end"]["sum_received"]["bytes"].as_u64().unwrap();
            assert!(received > 1_000_000, "{target}: only {received} bytes");
        }
        assert!(a.ok("ip -6 route get fd98::2").contains("mtu 1400"));
        site.finish();
    });
}

/// The uplink's own MTU counts, too: a smaller one than the network's is told to senders (G4), or packets are cut (G5).
#[test]
fn small_uplink() {
    guard(|| {
        let site = Site::with(&["--uplink", "packet:up0,address=10.99.0.1/24,gateway=10.99.0.2,mtu=1300"], &[]);
        let a = site.vs.container("a", "");
        let said = a.sh("ping -n -M do -s 1400 -c 1 -W 2 10.99.0.2");
        assert!(format!("{said}").contains("1300"), "{said}");
        let said = a.ok("ping -n -M dont -s 1400 -c 2 -i 0.2 -W 5 10.99.0.2");
        assert!(said.contains("2 received"), "{said}");
        let _web = site.outside_web();
        assert_eq!(fetch(a.sh("curl -sS -m 10 http://10.99.0.2:8000/page")), "page-of-outside");
        site.finish();
    });
}

/// What nobody answers is told at once: a refused connection, an unused address outside, an unknown network, another
/// network's container (G12, D4).
#[test]
fn unreachable() {
    guard(|| {
        let site = Site::start();
        site.vs.ok("network create n --subnet 10.201.1.0/24");
        site.vs.ok("network create m --subnet 10.201.2.0/24");
        let (a, b) = (site.vs.container("a", "--network n"), site.web("b", "--network m"));
        let refused = a.sh("curl -sS -m 5 http://10.99.0.2:9/").exits(7);
        assert!(
            refused.stderr.contains("onnection refused") || refused.stderr.contains("ailed to connect"),
            "{refused}"
        );
        let said = a.sh("ping -n -c 1 -W 5 10.99.0.77").stdout;
        assert!(said.contains("From 10.201.1.1") && said.contains("Unreachable"), "{said}");
        a.cannot_ping(b.ipv4("m"));
        assert_ne!(a.sh(&format!("curl -sS -m 2 http://{}/page", b.ipv4("m"))).code, 0);
        a.pings("10.201.1.1");
        a.pings("10.99.0.1");
        site.finish();
    });
}

/// An internal network has no way out (D9), and containers on it talk to each other.
#[test]
fn internal_network() {
    guard(|| {
        let site = Site::start();
        let _web = site.outside_web();
        site.vs.ok("network create closed --internal --subnet 10.201.3.0/24");
        let (a, b) = (site.vs.container("a", "--network closed"), site.web("b", "--network closed"));
        assert_eq!(fetch(a.sh(&format!("curl -sS -m 5 http://{}/page", b.ipv4("closed")))), "page-of-b");
        assert_ne!(a.sh("curl -sS -m 2 http://10.99.0.2:8000/page").code, 0);
        a.ok("true");
        // With a route of its own it still has none.
        let c = site.vs.container("c", "--network closed --cap-add NET_ADMIN");
        c.ok("ip route add default via 10.201.3.1");
        assert_ne!(c.sh("curl -sS -m 2 http://10.99.0.2:8000/page").code, 0);
        assert_eq!(site.vs.json("flows ls").as_array().unwrap().len(), 0);
        assert_eq!(site.vs.ok("network inspect closed").matches("\"Internal\": true").count(), 1);
        let d = site.vs.container("d", "");
        d.pings("10.99.0.2");
        site.finish();
    });
}

/// With masquerade off the containers' own addresses are seen outside, and reached from there as far as Docker's rules
/// let: echo, and published ports.
#[test]
fn routed_network() {
    guard(|| {
        let site = Site::with(&["--uplink", vswitch_tests::site::UPLINK], &["10.201.4.0/24"]);
        let web = site.outside_web();
        site.vs.ok("network create open --opt masquerade=false --subnet 10.201.4.0/24");
        site.outside.ok("ip route add 10.201.4.0/24 via 10.99.0.1");
        let a = site.web("a", "--network open --ip 10.201.4.7 -p 8080:80");
        assert_eq!(fetch(a.sh("curl -sS -m 10 http://10.99.0.2:8000/page")), "page-of-outside");
        assert!(web.output().contains("10.201.4.7"), "{}", web.output());
        assert_eq!(fetch(site.outside.sh("curl -sS -m 10 http://10.201.4.7/page")), "page-of-a");
        assert_eq!(fetch(site.outside.sh("curl -sS -m 10 http://10.99.0.1:8080/page")), "page-of-a");
        site.outside.ok("ping -n -c 1 -W 2 10.201.4.7");
        a.ok("python3 -m http.server 81 >/dev/null 2>&1 &");
        a.listens(81);
        assert_ne!(site.outside.sh("curl -sS -m 2 http://10.201.4.7:81/").code, 0, "not published");
        let b = site.vs.container("b", "");
        b.pings("10.99.0.2");
        site.finish();
    });
}

/// Several external addresses: each container leaves from one of them, always the same (RFC 4787 REQ-2).
#[test]
fn several_addresses() {
    guard(|| {
        let uplink = "packet:up0,address=10.99.0.1/24,address=10.99.0.3/24,gateway=10.99.0.2";
        let site = Site::with(&["--uplink", uplink], &[]);
        let web = site.outside_web();
        let containers = [site.vs.container("a", ""), site.vs.container("b", "")];
        for container in containers.iter().chain(&containers) {
            assert_eq!(fetch(container.sh("curl -sS -m 10 http://10.99.0.2:8000/page")), "page-of-outside");
        }
        let log = web.output();
        assert_eq!((log.matches("10.99.0.1 ").count(), log.matches("10.99.0.3 ").count()), (2, 2), "{log}");
        site.outside.ok("ping -n -c 1 -W 2 10.99.0.3");
        site.finish();
    });
}

/// Static routes lead where they say; without a default router the rest is told to be unreachable (G11).
#[test]
fn static_routes() {
    guard(|| {
        let uplink =
            "packet:up0,address=10.99.0.1/24,address=fd99::1/64,route=10.98.0.0/24@10.99.0.2,route=fd98::/64@fd99::2";
        let site = Site::with(&["--uplink", uplink], &[]);
        site.vs.ok(DUAL);
        let a = site.vs.container("a", "--network n");
        for target in ["10.99.0.2", "10.98.0.2", "fd99::2", "fd98::2"] {
            a.pings(target);
        }
        let said = a.sh("ping -n -c 1 -W 2 198.51.100.1").stdout;
        assert!(said.contains("From 10.201.1.1") && said.contains("Net Unreachable"), "{said}");
        let said = a.sh("ping -n -c 1 -W 2 2001:db8::1").stdout;
        assert!(said.contains("From fd77::1") && said.contains("No route"), "{said}");
        assert!(site.router().route_drops.values().sum::<u64>() >= 2);
        site.finish();
    });
}
