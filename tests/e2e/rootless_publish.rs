//! Published ports of the sockets uplink: ports of the host itself.

use vswitch_tests::rootless::SCRIPT;
use vswitch_tests::site::fetch;
use vswitch_tests::{Container, Rootless, eventually, guard};

/// Starts a container with a web server on port 80 that logs its clients.
fn web<'v>(site: &'v Rootless, name: &str, flags: &str) -> Container<'v> {
    let container = site.vs.container(name, flags);
    container.serves_page();
    container
}

fn log(name: &str) -> String {
    std::fs::read_to_string(format!("/mnt/{name}.log")).unwrap_or_default()
}

const CURL: &str = "curl -gsS -m 30";

/// A published port is reached from outside and from the host, by both families; the container sees the client itself, or
/// the gateway for a client on the host's loopback.
#[test]
fn from_outside() {
    guard(|| {
        let site = Rootless::start();
        site.vs.ok("network create --ipv6 six");
        let _a = web(&site, "a", "--network six -p 8080:80");
        let gateway =
            site.vs.json("network inspect six")[0]["IPAM"]["Config"][0]["Gateway"].as_str().unwrap().to_owned();
        assert_eq!(site.vs.ok("port a"), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n");
        for (place, address, client) in [
            (&site.outside, "10.99.0.1", "10.99.0.2"),
            (&site.outside, "[fd99::1]", "fd99::2"),
            (&site.far, "10.99.0.1", "10.98.0.2"),
            (&site.host, "10.99.0.1", "10.99.0.1"),
            (&site.host, "127.0.0.1", &gateway),
        ] {
            std::fs::write("/mnt/a.log", "").unwrap();
            assert_eq!(fetch(place.sh(&format!("{CURL} http://{address}:8080/page"))), "page-of-a", "{address}");
            let expected = if client.contains(':') { client.to_owned() } else { format!("::ffff:{client} - - ") };
            eventually("the server has logged its client", 10, || log("a").contains(&expected));
        }
        let rows = site.vs.ok("ps");
        assert!(rows.contains("0.0.0.0:8080->80/tcp"), "{rows}");
    });
}

/// Ports are published and taken back while the container runs: reached at once, refused at once, and the host's own again.
#[test]
fn added_and_removed() {
    guard(|| {
        let site = Rootless::start();
        let _a = web(&site, "a", "");
        let page = || site.outside.sh(&format!("{CURL} http://10.99.0.1:8080/page"));
        assert_ne!(page().code, 0);
        assert!(site.vs.ok("port add a 8080:80 127.0.0.1:8081:80").contains("80/tcp -> 127.0.0.1:8081"));
        assert_eq!(fetch(page()), "page-of-a");
        assert_eq!(fetch(site.host.sh(&format!("{CURL} http://127.0.0.1:8081/page"))), "page-of-a");
        site.vs.words("port add a 8080:80").exits(1).says("is published already");
        site.vs.words("port add a").exits(2).says("needs a container and its ports");
        site.vs.ok("port rm a 8080:80");
        assert_eq!(page().code, 7, "refused");
        assert_eq!(site.vs.ok("port a"), "80/tcp -> 127.0.0.1:8081\n");
        site.vs.words("port rm a 8080:80").exits(1).says("is not published");
        let _b = web(&site, "b", "-p 8080:80");
        assert_eq!(fetch(page()), "page-of-b");
    });
}

/// A container of an overlay network has the same way out, and its ports are published in the same way.
#[test]
fn of_an_overlay() {
    guard(|| {
        let site = Rootless::with(&["--vtep", "10.99.0.1"]);
        site.vs.ok("network create -d overlay --subnet 10.100.0.0/16 --ip-range 10.100.1.0/24 blue");
        let a = web(&site, "a", "--network blue -p 8080:80");
        assert_eq!(fetch(site.outside.sh(&format!("{CURL} http://10.99.0.1:8080/page"))), "page-of-a");
        let _nginx = site.nginx(&[]);
        assert_eq!(fetch(a.sh(&format!("{CURL} http://10.99.0.2:8000/page"))), "page-of-nginx");
    });
}

/// With `publish-source=gateway` every client is shown as the gateway, of TCP and of UDP.
#[test]
fn shown_as_the_gateway() {
    guard(|| {
        let site = Rootless::with(&["--uplink", "sockets,publish-source=gateway"]);
        let a = web(&site, "a", "-p 8080:80 -p 9000:9000/udp");
        let gateway =
            site.vs.json("network inspect bridge")[0]["IPAM"]["Config"][0]["Gateway"].as_str().unwrap().to_owned();
        assert_eq!(fetch(site.outside.sh(&format!("{CURL} http://10.99.0.1:8080/page"))), "page-of-a");
        eventually("the server has logged its client", 10, || log("a").contains(&format!("::ffff:{gateway} - - ")));
        let echo = site.serve_inside(&a, "udp_echo 9000");
        for _ in 0..2 {
            assert_eq!(site.says_at(&site.outside, "udp 10.99.0.1 9000 100"), "same 10.99.0.1 9000");
            assert_eq!(site.says_at(&site.host, "udp 127.0.0.1 9000 100"), "same 127.0.0.1 9000");
        }
        let clients: Vec<String> =
            echo.output().lines().skip(1).map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
        assert_eq!(clients, [gateway.clone(), gateway.clone(), gateway.clone(), gateway], "{}", echo.output());
    });
}

/// UDP ports: many clients at once, each shown as itself and answered from the address that it wrote to.
#[test]
fn datagrams() {
    guard(|| {
        let site = Rootless::start();
        site.host.ok("ip addr add 10.99.0.11/24 dev up0");
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six -p 9000:9000/udp");
        let echo = site.serve_inside(&a, "udp_echo 9000");
        for (place, host, source) in [
            (&site.outside, "10.99.0.1", "10.99.0.2 5000"),
            (&site.outside, "10.99.0.11", "10.99.0.2 5001"),
            (&site.outside, "fd99::1", "fd99::2 5002"),
            (&site.far, "10.99.0.1", "10.98.0.2 5000"),
            (&site.host, "10.99.0.1", "10.99.0.1 5003"),
        ] {
            let port = source.split(' ').nth(1).unwrap();
            let said = site.says_at(place, &format!("udp {host} 9000 1200 {port}"));
            assert_eq!(said, format!("same {host} 9000"));
            assert!(echo.output().contains(&format!("1200 {source}\n")), "{}", echo.output());
        }
    });
}

/// A hundred ports in a row, one that anybody may have, one of an address.
#[test]
fn ranges_and_addresses() {
    guard(|| {
        let site = Rootless::start();
        let a = site.vs.container("a", "-p 8000-8099:8000-8099 -p 80 -p 127.0.0.1:7000:80 -p 7100-7110:80");
        let _server = site.serve_inside(&a, "early 8057");
        let _other = site.serve_inside(&a, "early 80");
        assert_eq!(site.says_at(&site.outside, "attempt 10.99.0.1 8057"), "answered closing time at-once");
        let ports = site.vs.ok("port a");
        // Each in both families, but for the one of an address.
        assert_eq!(ports.lines().count(), 205, "{ports}");
        let automatic = site.vs.ok("port a 80");
        let automatic: Vec<_> = automatic.lines().filter_map(|line| line.rsplit(':').next()).collect();
        let [automatic, same, "7000", "7100", "7100"] = automatic[..] else { panic!("{automatic:?}") };
        assert_eq!(automatic, same);
        assert!(automatic.parse::<u16>().unwrap() >= 49_153);
        assert_eq!(
            site.says_at(&site.outside, &format!("attempt 10.99.0.1 {automatic}")),
            "answered closing time at-once"
        );
        assert_eq!(site.says_at(&site.host, "attempt 127.0.0.1 7000"), "answered closing time at-once");
        assert_eq!(site.says_at(&site.outside, "attempt 10.99.0.1 7000"), "ConnectionRefusedError 111 at-once");
        site.vs.ok("rm -f a");
        let left = site.host.ok("ss -Htuln");
        assert!(!left.contains(":8057") && !left.contains(":7000"), "{left}");
    });
}

/// Large transfers come in whole, both ways, and both sides may close first.
#[test]
fn in_by_hash() {
    guard(|| {
        let site = Rootless::start();
        let a = site.vs.container("a", "-p 7001:7001 -p 7002:7002 -p 7004:7004 -p 7005:7005");
        let _servers = [
            site.serve_inside(&a, "sink 7001"),
            site.serve_inside(&a, "source 7002"),
            site.serve_inside(&a, "resets 7004"),
        ];
        let echo = site.serve_inside(&a, "echo 7005");
        for size in [1, 100_000, 200 << 20] {
            assert_eq!(site.says_at(&site.outside, &format!("upload 10.99.0.1 7001 {size}")), "same");
            assert_eq!(site.says_at(&site.outside, &format!("download 10.99.0.1 7002 {size}")), "same");
        }
        assert_eq!(site.says_at(&site.outside, "attempt 10.99.0.1 7004"), "ConnectionResetError 104 at-once");
        site.says_at(&site.outside, "rst 10.99.0.1 7005");
        eventually("the container hears of the reset", 10, || echo.output().contains("reset"));
    });
}

/// A port on which nobody listens inside refuses, and a container reaches its own and others' published ports.
#[test]
fn hairpin_and_nobody() {
    guard(|| {
        let site = Rootless::start();
        site.vs.ok("network create other");
        let a = web(&site, "a", "-p 8080:80 -p 8081:81");
        let b = site.vs.container("b", "--network other");
        for container in [&a, &b] {
            assert_eq!(fetch(container.sh(&format!("{CURL} http://10.99.0.1:8080/page"))), "page-of-a");
        }
        let nobody = site.says_at(&site.outside, "attempt 10.99.0.1 8081");
        assert!(nobody.starts_with("ConnectionRefusedError") || nobody.starts_with("ConnectionResetError"), "{nobody}");
        // Straight from network to network stays closed.
        let direct = b.sh(&format!("curl -sS -m 3 http://{}/page", a.ipv4("bridge")));
        assert_ne!(direct.code, 0, "{direct}");
    });
}

/// Ports are free again at once after a stop, come back with a start, survive a killed vswitchd, and follow the container to
/// another network.
#[test]
fn life() {
    guard(|| {
        let site = Rootless::start();
        let reach = || site.outside.sh(&format!("{CURL} http://10.99.0.1:8080/page"));
        let a = web(&site, "a", "-p 8080:80 -p 9000:9000/udp");
        assert_eq!(fetch(reach()), "page-of-a");
        site.vs.ok("stop -t 0 a");
        assert_eq!(reach().code, 7, "refused");
        let b = web(&site, "b", "-p 8080:80");
        assert_eq!(fetch(reach()), "page-of-b");
        site.vs.ok("rm -f b");
        let _ = b;
        site.vs.ok("start a");
        a.ok("python3 -m http.server 80 --bind :: --directory /mnt/a > /mnt/a.log 2>&1 &");
        a.listens(80);
        assert_eq!(fetch(reach()), "page-of-a");
        // On its own: what runs by 'exec' loses its output with vswitchd.
        a.ok(&format!("python3 {SCRIPT} udp_echo 9000 > /mnt/echo.log 2>&1 &"));
        eventually("the container echoes", 15, || a.sh("ss -lun").stdout.contains(":9000 "));
        site.vs.crash();
        site.vs.up();
        assert_eq!(fetch(reach()), "page-of-a");
        assert_eq!(site.says_at(&site.outside, "udp 10.99.0.1 9000 10"), "same 10.99.0.1 9000");
        site.vs.ok("network create new");
        site.vs.ok("network connect new a");
        site.vs.ok("network disconnect bridge a");
        assert_eq!(fetch(reach()), "page-of-a");
        site.vs.ok("rm -f a");
        assert_eq!(reach().code, 7, "refused");
    });
}

/// Below the first unprivileged port an ordinary user is told what the host must allow; root just gets it.
#[test]
fn privileged_ports() {
    guard(|| {
        let site = Rootless::start();
        for port in ["80", "53:53/udp", "127.0.0.1:443:443"] {
            let host = if port == "80" { "80:80" } else { port };
            let said = site.vs.words(&format!("run --rm -p {host} -- true")).exits(125).says("permission denied");
            let number = host.trim_start_matches("127.0.0.1:").split(':').next().unwrap();
            said.says(&format!("net.ipv4.ip_unprivileged_port_start={number}"));
        }
        site.host.ok("echo 80 > /proc/sys/net/ipv4/ip_unprivileged_port_start");
        let _a = web(&site, "a", "-p 80:80");
        assert_eq!(fetch(site.outside.sh(&format!("{CURL} http://10.99.0.1/page"))), "page-of-a");
    });
}

/// As root, though vswitchd has no privilege any more; also after it was killed.
#[test]
fn privileged_ports_as_root() {
    guard(|| {
        let site = Rootless::as_root(&[]);
        let _a = web(&site, "a", "-p 80:80 -p 53:53/udp");
        assert_eq!(fetch(site.outside.sh(&format!("{CURL} http://10.99.0.1/page"))), "page-of-a");
        site.vs.crash();
        site.vs.up();
        assert_eq!(fetch(site.outside.sh(&format!("{CURL} http://10.99.0.1/page"))), "page-of-a");
        let busy = site.host.spawn("python3 -m http.server 81");
        site.host.listens(81);
        site.vs.words("run --rm -p 81:80 -- true").exits(125).says("0.0.0.0:81/tcp: address already in use");
        drop(busy);
        site.vs.words("run --rm -p 81:80 -- true").exits(0);
    });
}

/// What cannot be had is refused in Docker's words, names the port, and leaves nothing behind.
#[test]
fn refusals() {
    guard(|| {
        let site = Rootless::start();
        let _busy = site.host.serve("python3 -m http.server 8080 --bind 10.99.0.1", 8080);
        let _first = site.vs.container("first", "-p 9090:80 -p 9091:80/udp");
        let rows = [
            ("-p 8080:80", "failed to bind host port 0.0.0.0:8080/tcp: address already in use"),
            ("-p 10.99.0.1:8080:80", "failed to bind host port 10.99.0.1:8080/tcp: address already in use"),
            ("-p 9090:81", "Bind for 0.0.0.0:9090 failed: port is already allocated"),
            ("-p 9091:81/udp", "Bind for 0.0.0.0:9091 failed: port is already allocated"),
            ("-p 10.99.0.77:8081:80", "failed to bind host port 10.99.0.77:8081/tcp: cannot assign requested address"),
            ("-p 8081:80/sctp", "the sockets uplink carries tcp and udp"),
            ("-p 8082:80 -p 8080:80", "0.0.0.0:8080/tcp: address already in use"),
        ];
        for (flags, says) in rows {
            let said = site.vs.words(&format!("run --rm {flags} -- true")).exits(125).says(says);
            assert_eq!(said.stderr.trim_end().lines().count(), 1, "{said}");
        }
        assert_eq!(site.vs.json("ps -a").as_array().unwrap().len(), 1);
        assert!(!site.host.ok("ss -Htln").contains(":8082"), "what was taken before the refusal is given back");
        // A range passes over what others have.
        let _ranged = site.vs.container("ranged", "-p 10.99.0.1:8080-8081:80");
        assert_eq!(site.vs.ok("port ranged"), "80/tcp -> 10.99.0.1:8081\n");
    });
}

/// A port is published for both families whatever the container has; by the address of any gateway it is reached from inside,
/// too; a question that was sent to all is answered by the host.
#[test]
fn reached_in_every_way() {
    guard(|| {
        let site = Rootless::start();
        site.vs.ok("network create red");
        site.vs.ok("network create blue");
        let _a = web(&site, "a", "--network red -p 8080:80 -p 9000:9000/udp -p 0:80");
        let (b, c) = (site.vs.container("b", "--network red"), site.vs.container("c", "--network blue"));
        let ports = site.vs.ok("port a 80");
        assert!(ports.starts_with("0.0.0.0:8080\n[::]:8080\n0.0.0.0:49153\n[::]:49153\n"), "{ports}");
        for (place, address) in [(&site.host, "[::1]"), (&site.outside, "[fd99::1]"), (&site.outside, "10.99.0.1")] {
            assert_eq!(fetch(place.sh(&format!("{CURL} http://{address}:8080/page"))), "page-of-a", "{address}");
        }
        let gateway = |network: &str| {
            let shown = site.vs.json(&format!("network inspect {network}"));
            shown[0]["IPAM"]["Config"][0]["Gateway"].as_str().unwrap().to_owned()
        };
        for (from, network) in [(&b, "red"), (&b, "blue"), (&c, "red"), (&c, "blue")] {
            let url = format!("http://{}:8080/page", gateway(network));
            assert_eq!(fetch(from.sh(&format!("{CURL} {url}"))), "page-of-a", "{} by {network}", from.name());
        }
        std::fs::write("/mnt/echo.py", ECHO).unwrap();
        let echo = site.vs.spawn(&["exec", "a", "python3", "/mnt/echo.py"]);
        eventually("the service is there", 20, || echo.output().contains("ready"));
        for (to, family) in [("10.99.0.255", "INET"), ("10.99.0.1", "INET"), ("fd99::1", "INET6")] {
            let ask = format!(
                "import socket\n\
                 s = socket.socket(socket.AF_{family}, socket.SOCK_DGRAM)\n\
                 s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n\
                 s.settimeout(20)\n\
                 s.sendto(b'who is there', ('{to}', 9000))\n\
                 print(s.recvfrom(100))\n"
            );
            std::fs::write("/mnt/ask.py", ask).unwrap();
            let said = site.outside.ok("python3 /mnt/ask.py");
            let from = if family == "INET" { "10.99.0.1" } else { "fd99::1" };
            assert!(said.contains("who is there") && said.contains(from), "{to}: {said}");
        }
    });
}

const ECHO: &str = "import socket\n\
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    s.bind(('0.0.0.0', 9000))\n\
    print('ready', flush=True)\n\
    while True: s.sendto(*s.recvfrom(100))\n";

/// A container on an internal network starts with ports to publish, which are published once there is a way in, and closed when
/// that goes.
#[test]
fn ways_in_come_and_go() {
    guard(|| {
        let site = Rootless::start();
        site.vs.ok("network create --internal back");
        site.vs.ok("network create front");
        let said = site.vs.words("run -d --name a --network back -p 8080:80 -- sleep 1000");
        assert_eq!(said.code, 0, "{said}");
        assert!(said.stderr.contains("is published once"), "{said}");
        let a = Container::new(&site.vs, "a");
        a.serves_page();
        let url = "http://10.99.0.1:8080/page";
        let refused = |when: &str| {
            // 7: the connection was refused.
            site.outside.sh(&format!("{CURL} {url}")).exits(7);
            assert_eq!(site.vs.ok("port a"), "", "{when}");
        };
        refused("on internal networks only");
        for _ in 0..2 {
            site.vs.ok("network connect front a");
            assert_eq!(fetch(site.outside.sh(&format!("{CURL} {url}"))), "page-of-a");
            assert_eq!(site.vs.ok("port a"), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n");
            site.vs.ok("network disconnect front a");
            refused("without a way in");
        }
        site.vs.crash();
        site.vs.up();
        refused("after a restart");
        let _other = web(&site, "other", "--network front -p 8080:80");
        site.vs.refuses("network connect front a", "port is already allocated");
        assert_eq!(fetch(site.outside.sh(&format!("{CURL} {url}"))), "page-of-other");
    });
}

/// A published port whose address is missing when vswitchd starts again is published when the address is there.
#[test]
fn an_address_that_comes_later() {
    guard(|| {
        let site = Rootless::start();
        site.host.ok("ip addr add 10.99.0.77/24 dev up0");
        let _a = web(&site, "a", "-p 10.99.0.77:8080:80");
        let get = format!("{CURL} http://10.99.0.77:8080/page");
        assert_eq!(fetch(site.outside.sh(&get)), "page-of-a");
        site.vs.crash();
        site.host.ok("ip addr del 10.99.0.77/24 dev up0");
        site.vs.up();
        assert!(site.vs.log().contains("a has lost its published port"), "{}", site.vs.log());
        site.host.ok("ip addr add 10.99.0.77/24 dev up0");
        eventually("the port is published again", 20, || site.outside.sh(&get).stdout.contains("page-of-a"));
    });
}
