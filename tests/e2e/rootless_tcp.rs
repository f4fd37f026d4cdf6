//! TCP over the sockets uplink, against real programs.

use vswitch_tests::rootless::{Rootless, long};
use vswitch_tests::{eventually, guard, guard::guard_for, sh};

/// An ordinary user's container fetches a page from outside, over both families; the server sees the host, and nothing but
/// sockets of the host was needed.
#[test]
fn a_page_from_outside() {
    guard(|| {
        let site = Rootless::start();
        let nginx = site.nginx(&[]);
        site.vs.ok("network create --ipv6 six");
        let (a, b) = (site.vs.container("a", ""), site.vs.container("b", "--network six"));
        for (container, address) in [(&a, "10.99.0.2"), (&b, "10.99.0.2"), (&b, "[fd99::2]"), (&a, "10.98.0.1")] {
            let page = container.ok(&format!("curl -sS -m 30 http://{address}:8000/page"));
            assert_eq!(page.trim_end(), "page-of-nginx", "{address}");
        }
        let log = std::fs::read_to_string("/tmp/nginx.log").unwrap();
        let clients: Vec<_> = log.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(clients, ["10.99.0.1", "10.99.0.1", "fd99::1", "10.99.0.1"], "{log}");
        let router = site.vs.stats().router.expect("there is an uplink");
        assert!(router.created >= 4 && router.nat_drops.is_empty(), "{router:?}");
        assert!(site.vs.ok("stats").contains("Uplink: sockets up"));
        assert!(site.vs.json("flows ls").as_array().unwrap().len() >= 4);
        drop(nginx);
    });
}

/// What leaves has the address of the host that was named, of each family: connections, datagrams and echo requests.
#[test]
fn outbound_address() {
    guard(|| {
        let uplink = "sockets,outbound-address=10.99.0.3,outbound-address=fd99::3";
        let site = Rootless::without_daemon(&[], &["--uplink", uplink]);
        site.host.ok("ip addr add 10.99.0.3/24 dev up0; ip addr add fd99::3/64 dev up0 nodad");
        site.vs.up();
        let _nginx = site.nginx(&[]);
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six");
        for address in ["10.99.0.2", "[fd99::2]"] {
            a.ok(&format!("curl -sS -m 30 http://{address}:8000/page"));
        }
        let log = std::fs::read_to_string("/tmp/nginx.log").unwrap();
        let clients: Vec<_> = log.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(clients, ["10.99.0.3", "fd99::3"], "{log}");
        let capture = site.outside.spawn("vswitch-probe out0 capture /tmp/seen.pcap");
        eventually("the capture begins", 20, || capture.output().starts_with("ready"));
        // Read outside the namespace: where it seems to be root and is not, tcpdump fails to give that up.
        let seen = || sh("tcpdump -n -r /tmp/seen.pcap 'dst host 10.99.0.2 and (icmp or udp port 7010)'").stdout;
        let _echo = site.play(&site.outside, "udp_echo 7010");
        assert_eq!(site.says(&a, "udp 10.99.0.2 7010 100"), "same 10.99.0.2 7010");
        a.pings("10.99.0.2");
        eventually("both were seen", 20, || seen().matches("IP 10.99.0.3").count() >= 2);
        assert!(!seen().contains("IP 10.99.0.1"), "{}", seen());
    });
}

/// A gigabyte each way, by hash: nginx to curl, and curl-like sending to a server that hashes what it reads.
#[test]
fn a_gigabyte_by_hash() {
    guard(|| {
        const GIGABYTE: u64 = 1 << 30;
        let site = Rootless::start();
        let _nginx = site.nginx(&[&GIGABYTE.to_string()]);
        let _sink = site.play(&site.outside, "sink 7001");
        let a = site.vs.container("a", "");
        let fetched = format!("curl -sS http://10.99.0.2:8000/{GIGABYTE} | sha256sum");
        let fetched = long(&a, &fetched, 120).ok();
        let expected = site.outside.ok(&format!("sha256sum < /tmp/nginx/{GIGABYTE}"));
        assert_eq!(fetched, expected);
        std::fs::remove_file(format!("/tmp/nginx/{GIGABYTE}")).unwrap();
        assert_eq!(site.says(&a, &format!("upload 10.99.0.2 7001 {GIGABYTE}")), "same");
    });
}

/// Sizes from one byte up, both ways, each side closing its direction first once.
#[test]
fn sizes_and_half_close() {
    guard(|| {
        let site = Rootless::start();
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six");
        let _servers = [site.play(&site.outside, "sink 7001"), site.play(&site.outside, "source 7002")];
        for address in ["10.99.0.2", "fd99::2", "10.98.0.1"] {
            for size in [0, 1, 1024, 65_537, 10 << 20] {
                assert_eq!(site.says(&a, &format!("upload {address} 7001 {size}")), "same", "{address} {size}");
                assert_eq!(site.says(&a, &format!("download {address} 7002 {size}")), "same", "{address} {size}");
            }
        }
    });
}

/// How an attempt ends outside is how it ends inside: refused, unreachable, never answered; and so is how a connection ends.
#[test]
fn ends_are_passed_on() {
    guard(|| {
        let site = Rootless::start();
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six");
        let _servers = [site.play(&site.outside, "early 7003"), site.play(&site.outside, "resets 7004")];
        let echo = site.play(&site.outside, "echo 7005");
        assert_eq!(site.says(&a, "attempt 10.99.0.2 7999"), "ConnectionRefusedError 111 at-once");
        assert_eq!(site.says(&a, "attempt fd99::2 7999"), "ConnectionRefusedError 111 at-once");
        // Nobody has this address on the outside's link: its router says so after a while.
        let unreachable = site.says(&a, "attempt 10.98.0.77 80");
        assert!(unreachable.starts_with("OSError 113"), "{unreachable}");
        assert_eq!(site.says(&a, "attempt 10.97.0.1 80 3"), "TimeoutError None late");
        assert_eq!(site.says(&a, "attempt 10.99.0.2 7003"), "answered closing time at-once");
        assert_eq!(site.says(&a, "attempt 10.99.0.2 7004"), "ConnectionResetError 104 at-once");
        site.says(&a, "rst 10.99.0.2 7005");
        eventually("the server hears of the reset", 10, || echo.output().contains("reset"));
    });
}

/// A server that never reads holds its client up with bounded memory in between, and all of it arrives once it reads; a
/// client that never reads holds its server up.
#[test]
fn slow_readers() {
    guard(|| {
        let site = Rootless::start();
        let a = site.vs.container("a", "");
        let _servers = [site.play(&site.outside, "deaf 7006"), site.play(&site.outside, "source 7002")];
        let said = site.says(&a, "push 10.99.0.2 7006 3");
        let (count, verdict) = said.split_once(' ').unwrap();
        assert_eq!(verdict, "same");
        // What sockets, rings and frames on the way can hold; not what the client would like to send.
        let count: u64 = count.parse().unwrap();
        assert!((1..64 << 20).contains(&count), "{count} bytes were taken from the client");
        assert_eq!(site.says(&a, &format!("download 10.99.0.2 7002 {} 3", 40 << 20)), "same");
    });
}

/// Idle connections hold little, however often they are opened and closed; what they held is given back, and nothing that their
/// number adds up to stays.
#[test]
fn idle_connections_hold_little() {
    guard(|| idle_connections(1_000, 4));
}

/// The same of ten thousand of two containers, five times over.
#[test]
#[ignore = "it takes minutes: tests/run all has it"]
fn ten_thousand_idle_connections() {
    guard_for(std::time::Duration::from_secs(900), || idle_connections(10_000, 5));
}

fn idle_connections(connections: u64, rounds: u64) {
    const EACH: u64 = 40 << 10;
    const LEFT: u64 = 200;
    // Nine of sixteen are for connections, and three quarters of those for one container.
    let limit = format!("--nofile={0}:{0}", 8_192.max(connections * 37 / 20));
    let site = Rootless::without_daemon(&["prlimit", &limit, "--"], &[]);
    site.vs.up();
    let clients = ["a", "b"].map(|name| site.vs.container(name, ""));
    let _server = site.play(&site.outside, "many 7005");
    for client in &clients {
        assert_eq!(site.says(client, "attempt 10.99.0.2 7005"), "answered x at-once");
    }
    let flows = || site.vs.stats().router.unwrap().sockets.unwrap().streams.flows;
    let (before, before_anonymous) = (resident(&site), memory(&site, "RssAnon:"));
    for round in 1..=rounds {
        let half = connections / 2;
        let hang = clients.each_ref().map(|client| site.spawn_inside(client, &format!("hang 10.99.0.2 7005 {half}")));
        for hang in &hang {
            eventually("all are open", 240, || hang.output().contains("open"));
            assert_eq!(hang.output().trim(), format!("open {half} failed 0"));
        }
        assert_eq!(flows(), connections);
        let each = resident(&site).saturating_sub(before) / connections;
        assert!(each <= EACH, "round {round}: {each} bytes for each idle connection");
        drop(hang);
        for client in &clients {
            client.sh("pkill -f 'outside[.]py'; true");
        }
        eventually("all are over", 60, || flows() == 0);
        eventually("memory is given back", 60, || resident(&site) <= before + before / 5);
    }
    // The router remembers them for a while longer.
    eventually("the router has forgotten them", 60, || site.vs.stats().router.unwrap().flows < 10);
    let most = before_anonymous + rounds * connections * LEFT;
    eventually("nothing of them stays", 30, || memory(&site, "RssAnon:") <= most);
}

/// Bytes of memory that vswitchd holds.
fn resident(site: &Rootless) -> u64 {
    memory(site, "VmRSS:")
}

/// Bytes of its memory of one kind.
fn memory(site: &Rootless, kind: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.vs.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Fifty readers that never read, on either side, cost the switch no more than their rings, and others nothing.
#[test]
fn others_are_unharmed() {
    guard(|| {
        let site = Rootless::start();
        let (a, b) = (site.vs.container("a", ""), site.vs.container("b", ""));
        let _servers = ["deaf 7006", "source 7002", "echo 7005"].map(|role| site.play(&site.outside, role));
        let before = resident(&site);
        let deaf = [
            site.spawn_inside(&a, "never_read_by 10.99.0.2 7006 25"),
            site.spawn_inside(&a, "never_reads 10.99.0.2 7002 25"),
        ];
        for role in &deaf {
            eventually("nothing moves any more", 60, || role.output().starts_with("stuck"));
        }
        let streams = site.vs.stats().router.unwrap().sockets.unwrap().streams;
        assert_eq!(streams.flows, 50, "{streams:?}");
        // Each has a ring for each direction; only one of them is in use.
        let grown = resident(&site).saturating_sub(before);
        assert!(grown < 50 * (1 << 20), "{grown} bytes more");
        assert_eq!(site.says(&b, &format!("download 10.99.0.2 7002 {}", 20 << 20)), "same");
        let median: u64 = site.says(&b, "pingpong 10.99.0.2 7005 200").parse().unwrap();
        assert!(median < 20_000, "{median} us for a byte there and back");
        drop(deaf);
        a.sh("pkill -f outside.py");
        let flows = || site.vs.stats().router.unwrap().sockets.unwrap().streams.flows;
        eventually("who does not read ends with its program", 30, || flows() <= 25);
        std::fs::write("/mnt/wake-up", "").unwrap();
        eventually("what was sent to who did not read arrives when it does", 60, || flows() == 0);
    });
}

/// What the host waits for in vain ends when the host gives up, and is counted; the container hears nothing, as from a filter.
#[test]
fn filtered() {
    guard(|| {
        let site = Rootless::start();
        site.host.ok("echo 1 > /proc/sys/net/ipv4/tcp_syn_retries");
        let a = site.vs.container("a", "");
        assert_eq!(site.says(&a, "attempt 10.97.0.1 80 6"), "TimeoutError None late");
        let streams = || site.vs.stats().router.unwrap().sockets.unwrap().streams;
        // As often as the container has asked anew meanwhile.
        eventually("the host gives up", 30, || streams().drops.get("timed-out").is_some_and(|count| *count > 0));
        assert!(site.vs.ok("stats").contains("timed-out"));
    });
}

/// Five hundred downloads at once, without an error.
#[test]
fn parallel_downloads() {
    guard(|| {
        let site = Rootless::start();
        let _nginx = site.nginx(&["100000"]);
        let a = site.vs.container("a", "");
        let expected = site.outside.ok("sha256sum < /tmp/nginx/100000");
        a.ok("mkdir -p /tmp/out; for i in $(seq 500); do echo url = http://10.99.0.2:8000/100000; \
              echo output = /tmp/out/$i; done > /tmp/urls");
        long(
            &a,
            "curl -sS --fail-early --no-progress-meter --parallel --parallel-immediate --parallel-max 500 -K /tmp/urls",
            120,
        )
        .ok();
        let hashes = a.ok("cat /dev/null; for f in /tmp/out/*; do sha256sum < $f; done | sort | uniq -c");
        assert_eq!(
            hashes.split_whitespace().collect::<Vec<_>>(),
            ["500", expected.split_whitespace().next().unwrap(), "-"]
        );
    });
}

/// Requests over one connection stay on it, and keystrokes are not held back.
#[test]
fn interactive() {
    guard(|| {
        let site = Rootless::start();
        let _nginx = site.nginx(&[]);
        let _echo = site.play(&site.outside, "echo 7005");
        let a = site.vs.container("a", "");
        let page = "http://10.99.0.2:8000/page ";
        a.ok(&format!("curl -sS {}", page.repeat(20)));
        let log = std::fs::read_to_string("/tmp/nginx.log").unwrap();
        let requests: Vec<_> = log.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(requests.last(), Some(&"20"), "all on one connection: {log}");
        let median: u64 = site.says(&a, "pingpong 10.99.0.2 7005 300").parse().unwrap();
        // What a delayed acknowledgment or a Nagle timer would cost.
        assert!(median < 20_000, "{median} us for a byte there and back");
    });
}

/// iperf3 both ways, both at once, and UDP.
#[test]
fn iperf3() {
    guard(|| {
        let site = Rootless::start();
        let a = site.vs.container("a", "");
        let _server = site.outside.serve("iperf3 -s", 5201);
        for flags in ["", "-R", "--bidir", "-P 4", "-u -b 50M", "-u -b 50M -R -l 1400"] {
            let said = a.ok(&format!("iperf3 -J -c 10.99.0.2 -t 2 {flags}"));
            let report: serde_json::Value = serde_json::from_str(&said).unwrap();
            let sum = if flags.starts_with("-u") { &report["end"]["sum"] } else { &report["end"]["sum_received"] };
            let rate = sum["bits_per_second"].as_f64().unwrap_or_default();
            assert!(rate > 20e6, "{flags}: {rate} bit/s\n{said}");
        }
    });
}

/// A busy pair of programs with many small messages.
#[test]
fn redis() {
    guard(|| {
        let site = Rootless::start();
        let a = site.vs.container("a", "");
        let _server =
            site.outside.serve("redis-server --save '' --bind 10.99.0.2 --protected-mode no --port 6379", 6379);
        let said = a.ok("redis-benchmark -h 10.99.0.2 -n 20000 -c 50 -P 4 -t set,get --csv");
        assert!(
            said.lines().filter(|line| line.starts_with("\"SET\"") || line.starts_with("\"GET\"")).count() == 2,
            "{said}"
        );
    });
}
