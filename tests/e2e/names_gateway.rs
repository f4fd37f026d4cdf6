//! Names at the networks' gateways: who asks there, whatever the way out, and what happens to those who should not.

use vswitch_tests::{
    Background, Container, Holder, Output, Rootless, Site, Vswitch, eventually, guard, site::Namespace,
};

const SERVER: &str = "/mnt/dns_server.py";

fn serve(place: &Namespace, address: &str, answer: &str) -> Background {
    std::fs::write(SERVER, include_str!("dns_server.py")).unwrap();
    let server = place.spawn(&format!("python3 {SERVER} {address} {answer}"));
    eventually("the name server is ready", 20, || server.output().contains("ready"));
    server
}

fn host_resolvers(text: &str) {
    std::fs::write("/run/resolv.conf", text).unwrap();
}

/// What a question to a server has for an answer, in one line.
fn short(said: &Output) -> String {
    said.stdout.lines().collect::<Vec<_>>().join(" ")
}

fn dig(container: &Container<'_>, question: &str) -> String {
    short(&container.sh(&format!("dig +short +tries=1 +time=6 {question}")))
}

fn gateways(vs: &Vswitch, network: &str) -> (String, String) {
    let configs = vs.json(&format!("network inspect {network}"))[0]["IPAM"]["Config"].clone();
    let gateway = |index: usize| configs[index]["Gateway"].as_str().unwrap_or_default().to_owned();
    (gateway(0), gateway(1))
}

/// A container that is a name server itself has port 53 of all its addresses, over UDP and TCP, and still finds names: at its
/// networks' gateways.
#[test]
fn a_name_server_inside() {
    guard(|| {
        host_resolvers("nameserver 127.0.0.53\n");
        let site = Site::start();
        let _server = serve(&site.host, "127.0.0.53", "192.0.2.53");
        site.vs.ok("network create red");
        site.vs.ok("network create blue");
        let (db, far) = (site.vs.container("db", "--network red"), site.vs.container("far", "--network blue"));
        let own = site.vs.container("own", "--network red --dns gateway");
        let take = "import socket\n\
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):\n\
            \x20   held = socket.socket(socket.AF_INET, kind)\n\
            \x20   held.bind(('', 53))\n\
            \x20   if kind == socket.SOCK_STREAM: held.listen()\n\
            print('had')\n";
        std::fs::write("/mnt/take.py", take).unwrap();
        assert_eq!(own.ok("python3 /mnt/take.py"), "had\n");
        assert_eq!(dig(&own, "db A"), db.ipv4("red").to_string());
        assert_eq!(dig(&own, "example.test A"), "192.0.2.53");
        assert!(own.ok("getent ahostsv4 db").contains(&db.ipv4("red").to_string()));
        site.vs.ok("network connect blue own");
        site.vs.ok("network disconnect red own");
        assert_eq!(dig(&own, "far A"), far.ipv4("blue").to_string());
        site.vs.words("run --rm --dns gateway --dns 192.0.2.1 -- true").exits(125).says("stands alone");
        site.finish();
    });
}

/// A namespace that was attached has names of its network and of the world, at the gateway's address of both families, over UDP
/// and TCP; so has a container.
#[test]
fn attached_namespaces() {
    guard(|| {
        host_resolvers("nameserver 127.0.0.53\n");
        let site = Site::start();
        let server = serve(&site.host, "127.0.0.53", "192.0.2.53");
        site.vs.ok("network create --ipv6 red");
        let db = site.vs.container("db", "--network red --network-alias store");
        let address = db.ipv4("red").to_string();
        site.vs.ok(&format!("attach --pid {} --network red --name lab", site.spare.pid()));
        let (four, six) = gateways(&site.vs, "red");
        let lab = |question: &str| short(&site.spare.sh(&format!("dig +short +tries=1 +time=6 {question}")));
        for server in [&four, &six] {
            for transport in ["", "+tcp"] {
                let at = format!("@{server} {transport}");
                assert_eq!(lab(&format!("{at} store A")), db.ipv4("red").to_string(), "{at}");
                assert_eq!(lab(&format!("{at} db.red AAAA")), db.ipv6("red").to_string(), "{at}");
                assert_eq!(lab(&format!("{at} -x {}", db.ipv4("red"))), "db.red.", "{at}");
                assert_eq!(lab(&format!("{at} example.test A")), "192.0.2.53", "{at}");
                assert_eq!(dig(&db, &format!("{at} lab A")).split('.').count(), 4, "{at}");
                assert_eq!(lab(&format!("{at} gateway.vswitch.internal A")), four, "{at}");
            }
        }
        assert_eq!(lab(&format!("@{four} host.vswitch.internal A")), "192.0.2.53", "nobody's name here");
        assert!(server.output().contains("tcp example.test"), "{}", server.output());
        let stats = site.vs.stats().dns;
        assert!(stats.gateways.datagrams >= 12 && stats.gateways.connections >= 12, "{stats:?}");
        assert_eq!(stats.gateways.datagrams, stats.gateways.answers, "{stats:?}");
        assert!(stats.answered > 0 && stats.forwarded > 0, "{stats:?}");
        // The names follow, and so do questions of a vswitchd that was killed.
        site.vs.ok("rename db base");
        assert_eq!(lab(&format!("@{four} base A")), address);
        assert!(site.spare.ok(&format!("dig +tries=1 +time=6 @{four} nobody.red A")).contains("192.0.2.53"));
        site.vs.crash();
        site.vs.up();
        eventually("the gateway answers again", 20, || lab(&format!("+time=1 @{four} base A")) == address);
        assert_eq!(lab(&format!("+tcp @{six} example.test A")), "192.0.2.53");
    });
}

/// Over the sockets uplink of an ordinary user: the host's resolvers, whose changes hold soon; answers that do not fit a
/// datagram; nothing leaves an internal network; the default network has no names.
#[test]
fn over_sockets() {
    guard(|| {
        host_resolvers("nameserver 10.99.0.2\n");
        let site = Rootless::start();
        let first = serve(&site.outside, "10.99.0.2", "192.0.2.1");
        let _second = serve(&site.far, "10.98.0.2", "192.0.2.2");
        site.vs.ok("network create red");
        site.vs.ok("network create --internal inner");
        let (red, inner) = (gateways(&site.vs, "red").0, gateways(&site.vs, "inner").0);
        let bridge = gateways(&site.vs, "bridge").0;
        let (a, b) = (site.vs.container("a", "--network red"), site.vs.container("b", ""));
        assert_eq!(dig(&a, &format!("@{red} -q a A")), a.ipv4("red").to_string());
        assert_eq!(dig(&a, &format!("@{red} example.test A")), "192.0.2.1");
        assert_eq!(dig(&a, &format!("@{red} big.test A")).split(' ').count(), 200, "dig asks again over TCP");
        let cut = a.ok(&format!("dig +ignore +tries=1 @{red} big2.test A"));
        assert!(cut.contains(" tc ") && cut.contains("ANSWER: 0"), "{cut}");
        assert_eq!(dig(&b, &format!("@{bridge} example.test A")), "192.0.2.1");
        assert_eq!(dig(&b, &format!("@{bridge} b A")), "192.0.2.1", "the default network has no names of its own");
        host_resolvers("nameserver 10.98.0.2\n");
        let other = || dig(&a, &format!("@{red} example.test A")) == "192.0.2.2";
        eventually("the other resolver is asked", 10, other);
        let before = first.output();
        let closed = site.vs.container("closed", "--network inner");
        assert_eq!(dig(&closed, &format!("@{inner} closed A")), closed.ipv4("inner").to_string());
        let said = closed.ok(&format!("dig +tries=1 +time=4 @{inner} secret.test A"));
        assert!(said.contains("status: SERVFAIL"), "{said}");
        assert!(!first.output()[before.len()..].contains("secret"), "nothing leaves an internal network");
    });
}

/// The same with vswitchd started by root of the host, and a namespace that was attached.
#[test]
fn attached_over_sockets() {
    guard(|| {
        host_resolvers("nameserver 10.99.0.2\n");
        let site = Rootless::as_root(&["--host-loopback", "10.0.2.2"]);
        let _server = serve(&site.outside, "10.99.0.2", "192.0.2.1");
        site.vs.ok("network create --ipv6 red");
        let db = site.vs.container("db", "--network red");
        let spare = site.spare();
        site.vs.ok(&format!("attach --pid {} --network red --name lab", spare.pid()));
        let (four, six) = gateways(&site.vs, "red");
        let lab = |question: &str| short(&spare.sh(&format!("dig +short +tries=1 +time=6 {question}")));
        for server in [four, six] {
            for transport in ["", "+tcp"] {
                let at = format!("@{server} {transport}");
                assert_eq!(lab(&format!("{at} db A")), db.ipv4("red").to_string(), "{at}");
                assert_eq!(lab(&format!("{at} example.test A")), "192.0.2.1", "{at}");
                assert_eq!(lab(&format!("{at} host.docker.internal A")), "10.0.2.2", "{at}");
            }
        }
    });
}

/// Without any way out there are the names of the network, and others are answered at once.
#[test]
fn without_a_way_out() {
    guard(|| {
        host_resolvers("nameserver 10.99.0.2\n");
        let vs = Vswitch::with(&["--uplink", "none"]);
        vs.ok("network create --ipv6 red");
        let (holder, db) = (Holder::usual(), vs.container("db", "--network red"));
        vs.ok(&format!("attach --pid {} --network red --name lab", holder.pid()));
        let (four, six) = gateways(&vs, "red");
        for server in [&four, &six] {
            for transport in ["", "+tcp"] {
                let said = holder.sh(&format!("dig +short +tries=1 +time=6 {transport} @{server} db A"));
                assert_eq!(short(&said), db.ipv4("red").to_string());
            }
        }
        let said = holder.sh(&format!("dig +tries=1 +time=4 @{four} example.test A")).ok();
        assert!(said.contains("status: SERVFAIL"), "{said}");
        assert!(vs.ok("stats").contains("datagrams and connections at gateways"));
    });
}

/// Nobody reaches the gateway of another network, by whatever address and transport, nor hears its names at the own one.
#[test]
fn other_networks() {
    guard(|| {
        for uplink in ["none", "sockets"] {
            let vs = Vswitch::with(&["--uplink", uplink]);
            vs.ok("network create --ipv6 red");
            vs.ok("network create --ipv6 blue");
            let (red, blue) = (vs.container("a", "--network red"), vs.container("b", "--network blue"));
            let (four, six) = gateways(&vs, "blue");
            assert_eq!(dig(&blue, &format!("@{four} b A")), blue.ipv4("blue").to_string());
            let before = vs.stats().dns;
            for server in [&four, &six] {
                for transport in ["", "+tcp"] {
                    let said = red.sh(&format!("dig +short +tries=1 +time=1 {transport} @{server} b A"));
                    assert_ne!(said.code, 0, "{uplink}: {server} {transport}: {said}");
                }
            }
            // By a route of one's own choice, with the own gateway as the next hop.
            let own = gateways(&vs, "red").0;
            let said = red.ok(&format!("dig +tries=1 +time=6 @{own} b.blue A"));
            assert!(!said.contains(&blue.ipv4("blue").to_string()), "{said}");
            let after = vs.stats().dns;
            assert_eq!(after.gateways.datagrams, before.gateways.datagrams + 1);
            vs.terminate();
            std::fs::remove_dir_all("/tmp/vs").unwrap();
        }
    });
}

/// Nonsense, questions too long, connections that say nothing and floods are counted, answered as the RFCs say or not at all,
/// and harm nobody.
#[test]
fn nonsense() {
    guard(|| {
        let vs = Vswitch::with(&["--uplink", "none"]);
        vs.ok("network create red");
        let (a, b) = (vs.container("a", "--network red"), vs.container("b", "--network red"));
        let gateway = gateways(&vs, "red").0;
        let script = include_str!("dns_nonsense.py");
        std::fs::write("/mnt/dns_nonsense.py", script).unwrap();
        let said = a.ok(&format!("python3 /mnt/dns_nonsense.py {gateway}"));
        assert_eq!(said.trim(), "formerr 1 silent 4 refused-or-closed 40");
        let stats = vs.stats().dns;
        assert!(stats.refused >= 1 && stats.ignored >= 2, "{stats:?}");
        assert!(stats.gateways.malformed >= 1, "{stats:?}");
        assert!(stats.connections_refused >= 1, "{stats:?}");
        assert_eq!(dig(&a, &format!("@{gateway} b A")), b.ipv4("red").to_string());
        assert_eq!(dig(&b, &format!("+tcp @{gateway} -q a A")), a.ipv4("red").to_string());
    });
}

/// Resolvers out of reach are not waited for: on a host without a network each question is answered at once, in a container
/// and at the gateway.
#[test]
fn a_host_without_a_network() {
    guard(|| {
        host_resolvers("nameserver 10.99.0.2\nnameserver 10.98.0.2\nnameserver fd99::2\n");
        let site = Rootless::without_daemon(&[], &[]);
        site.host.ok("ip link set up0 down");
        site.vs.up();
        site.vs.ok("network create red");
        let a = site.vs.container("a", "--network red");
        let gateway = gateways(&site.vs, "red").0;
        for server in ["127.0.0.11", gateway.as_str()] {
            for transport in ["", "+tcp"] {
                // One resolver alone would take two seconds if it were waited for.
                let said = a.ok(&format!("dig +tries=1 +time=4 {transport} @{server} example{server}.test A"));
                assert!(said.contains("status: SERVFAIL"), "{said}");
                let time = said.lines().find_map(|line| line.strip_prefix(";; Query time: ")).unwrap();
                let millis: u32 = time.split(' ').next().unwrap().parse().unwrap();
                assert!(millis < 1900, "{server} {transport}: {millis} ms");
            }
        }
        site.host.ok("ip link set up0 up; ip route add default via 10.99.0.2");
        let _server = serve(&site.outside, "10.99.0.2", "192.0.2.1");
        eventually("the network is there", 20, || dig(&a, "example.test A") == "192.0.2.1");
        assert_eq!(dig(&a, &format!("@{gateway} example.test A")), "192.0.2.1");
    });
}
