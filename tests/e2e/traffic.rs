//! Real programs over the switch.

use std::time::Duration;

use serde_json::Value;
use vswitch_tests::{Background, Container, Vswitch, eventually, frames, guard};

const LIMIT: Duration = Duration::from_secs(60);

/// An iperf3 server for one test.
fn iperf_server(container: &Container<'_>) -> Background {
    let server = container.spawn("exec iperf3 -s -1 --forceflush");
    eventually("iperf3 listens", 10, || server.output().contains("Server listening"));
    server
}

/// Runs iperf3 towards `target` and returns its report.
fn iperf(client: &Container<'_>, server: &Container<'_>, target: &str, flags: &str) -> Value {
    let running = iperf_server(server);
    let text = client.ok(&format!("iperf3 -J -c {target} {flags}"));
    running.wait(LIMIT).ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What `vswitch-probe verify` counted.
fn checked(probe: Background) -> Value {
    serde_json::from_str(&probe.wait(LIMIT).ok()).unwrap()
}

fn no_checksum_errors(container: &Container<'_>) {
    let counters = container.ok("nstat -asz TcpInCsumErrors UdpInCsumErrors Udp6InCsumErrors IpInHdrErrors");
    let bad = counters.lines().skip(1).filter(|line| line.split_whitespace().nth(1) != Some("0")).count();
    assert!(bad == 0, "{counters}");
}

/// TCP at full speed crosses as unsegmented frames whose partial checksums are right in both directions.
#[test]
fn tcp_with_offloads() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        for target in [b.ipv4("n").to_string(), b.ipv6("n").to_string()] {
            let probes = [a.spawn("vswitch-probe eth0 verify 5"), b.spawn("vswitch-probe eth0 verify 5")];
            let report = iperf(&a, &b, &target, "-t 2");
            let speed = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
            assert!(speed > 1e8, "only {speed} bit/s to {target}");
            let [at_a, at_b] = probes.map(checked);
            for counts in [&at_a, &at_b] {
                assert_eq!(counts["wrong"], 0, "{counts}");
                assert!(counts["partial"].as_u64().unwrap() > 10, "{counts}");
            }
            assert!(at_b["super"].as_u64().unwrap() > 10, "segmentation was not left to the receiver: {at_b}");
        }
        no_checksum_errors(&a);
        no_checksum_errors(&b);
    });
}

/// Where the kernel knows `gso_ipv4_max_size` (6.3), bulk TCP over IPv4 crosses in super-frames longer than 64 KiB, with every
/// byte in its place.
#[test]
fn super_frames_longer_than_a_packet() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let folder = "/mnt/files";
        std::fs::create_dir_all(folder).unwrap();
        a.ok(&format!("head -c 300000000 /dev/urandom > {folder}/file"));
        let _server = a.spawn(&format!("exec python3 -m http.server -d {folder} 8000"));
        a.listens(8000);
        let probe = b.spawn("vswitch-probe eth0 verify 4");
        let fetch = format!("curl -sS http://{}:8000/file | sha256sum | cut -c1-64", a.ipv4("n"));
        assert_eq!(b.ok(&fetch), a.ok(&format!("sha256sum {folder}/file | cut -c1-64")));
        let counts = checked(probe);
        assert_eq!(counts["wrong"], 0, "{counts}");
        let release = a.ok("uname -r");
        let version: Vec<u32> = release.split('.').take(2).map(|part| part.parse().unwrap()).collect();
        assert_eq!(counts["long"].as_u64().unwrap() > 100, (version[0], version[1]) >= (6, 3), "{counts}");
        no_checksum_errors(&b);
    });
}

/// With checksum and segmentation offload off in the endpoints, every frame carries a whole and right checksum.
#[test]
fn tcp_without_offloads() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        let flags = "--network n --cap-add NET_ADMIN";
        let (a, b) = (vs.container("a", flags), vs.container("b", flags));
        for container in [&a, &b] {
            container.ok("ethtool -K eth0 tx off tso off gso off");
        }
        for target in [b.ipv4("n").to_string(), b.ipv6("n").to_string()] {
            let probe = b.spawn("vswitch-probe eth0 verify 4");
            let report = iperf(&a, &b, &target, "-t 1");
            assert!(report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() > 1e7);
            let counts = checked(probe);
            assert_eq!((&counts["wrong"], &counts["super"]), (&0.into(), &0.into()), "{counts}");
            assert!(counts["complete"].as_u64().unwrap() > 100, "{counts}");
        }
        no_checksum_errors(&a);
        no_checksum_errors(&b);
    });
}

/// UDP datagrams of all sizes, fragmented ones included, arrive without loss at a modest rate.
#[test]
fn udp() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        for (size, rate) in [(18, "200k"), (1472, "2M"), (8000, "2M")] {
            let report = iperf(&a, &b, &b.ipv4("n").to_string(), &format!("-u -b {rate} -t 1 -l {size}"));
            let sum = &report["end"]["sum"];
            assert!(sum["packets"].as_u64().unwrap() > 10, "{sum}");
            assert!(sum["lost_percent"].as_f64().unwrap() < 1.0, "{sum}");
        }
        no_checksum_errors(&b);
    });
}

/// A receiver sees every datagram as it was sent and none twice, also those of a burst that crossed a socket in one piece: sent
/// one by one as fast as can be, and by sixty-four with UDP_SEGMENT.
#[test]
fn bursts_of_datagrams() {
    const RECEIVE: &str = "import socket\n\
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n\
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)\n\
        s.bind(('::', 9)); s.settimeout(20); seen = set()\n\
        print('ready', flush=True)\n\
        while True:\n\
        \x20   data = s.recv(70000)\n\
        \x20   if data == b'end': break\n\
        \x20   number = int(data)\n\
        \x20   assert len(data) == 18 and 0 < number <= 26400 and number not in seen, data\n\
        \x20   seen.add(number)\n\
        print('received', len(seen))\n";
    const SEND: &str = "import socket, sys, time\n\
        family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n\
        s = socket.socket(family, socket.SOCK_DGRAM); s.connect((sys.argv[1], 9)); number = 0\n\
        for _ in range(100):\n\
        \x20   for _ in range(200):\n\
        \x20       number += 1; s.send(b'%018d' % number)\n\
        \x20   time.sleep(0.002)\n\
        s.setsockopt(socket.IPPROTO_UDP, 103, 18)\n\
        for _ in range(100):\n\
        \x20   s.send(b''.join(b'%018d' % (number + i + 1) for i in range(64))); number += 64\n\
        \x20   time.sleep(0.002)\n\
        s.setsockopt(socket.IPPROTO_UDP, 103, 0)\n\
        try:\n\
        \x20   for _ in range(10): time.sleep(0.1); s.send(b'end')\n\
        except OSError: pass\n";
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        std::fs::write("/mnt/receive.py", RECEIVE).unwrap();
        std::fs::write("/mnt/send.py", SEND).unwrap();
        for target in [b.ipv4("n").to_string(), b.ipv6("n").to_string()] {
            let probe = b.spawn("exec vswitch-probe eth0 verify 6");
            let receiver = b.spawn("exec /usr/bin/python3 /mnt/receive.py");
            eventually("the receiver listens", 10, || receiver.output().contains("ready"));
            let sender = a.sh(&format!("/usr/bin/python3 /mnt/send.py {target}"));
            assert_eq!(sender.code, 0, "{}; the receiver: {}", sender.stderr, receiver.output());
            let said = receiver.wait(LIMIT).ok();
            let count: u64 = said.split_whitespace().last().and_then(|word| word.parse().ok()).expect("a number");
            assert!(count > 20_000, "of 26,400 datagrams only {count} arrived at {target}");
            let counts = checked(probe);
            assert_eq!((&counts["wrong"], &counts["super"]), (&0.into(), &0.into()), "{counts}");
            assert!(counts["partial"].as_u64().unwrap() > 1_000, "{counts}");
        }
        no_checksum_errors(&b);
    });
}

/// Several streams in both directions at once, between several pairs, all get through.
#[test]
fn many_streams() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let containers: Vec<_> = (0..4).map(|index| vs.container(&format!("c{index}"), "--network n")).collect();
        let servers = [iperf_server(&containers[1]), iperf_server(&containers[3])];
        let clients = [0, 2].map(|index: usize| {
            let target = containers[index + 1].ipv4("n");
            containers[index].spawn(&format!("iperf3 -J --bidir -P 4 -t 2 -c {target}"))
        });
        for client in clients {
            let report: Value = serde_json::from_str(&client.wait(LIMIT).ok()).unwrap();
            for sum in ["sum_received", "sum_received_bidir_reverse"] {
                assert!(report["end"][sum]["bits_per_second"].as_f64().unwrap() > 1e7, "{}", report["end"][sum]);
            }
        }
        for server in servers {
            server.wait(LIMIT).ok();
        }
    });
}

/// A redis server in one container serves clients in another.
#[test]
fn redis() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        let (client, server) = (vs.container("client", "--network n"), vs.container("server", "--network n"));
        let _running =
            server.spawn("exec redis-server --port 6379 --protected-mode no --save '' --bind '*' '::*' --dir /tmp");
        for address in [server.ipv4("n").to_string(), server.ipv6("n").to_string()] {
            let redis = format!("redis-cli -h {address}");
            eventually("redis answers", 10, || client.sh(&format!("{redis} ping")).stdout.trim() == "PONG");
            client.ok(&format!("{redis} set greeting hello"));
            assert_eq!(client.ok(&format!("{redis} get greeting")).trim(), "hello");
        }
        let said =
            client.ok(&format!("redis-benchmark -h {} -n 5000 -c 20 -d 3000 -t set,get --csv", server.ipv4("n")));
        assert_eq!(said.lines().filter(|line| line.contains("SET") || line.contains("GET")).count(), 2, "{said}");
    });
}

/// nginx in one container serves a large file to curl in another, unharmed.
#[test]
fn nginx() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        let (client, server) = (vs.container("client", "--network n"), vs.container("server", "--network n"));
        std::fs::create_dir_all("/mnt/nginx/www").unwrap();
        let config = "user root; master_process off; daemon off; pid /mnt/nginx/pid; error_log stderr; events {}\n\
             http { access_log off; client_body_temp_path /mnt/nginx/1; proxy_temp_path /mnt/nginx/2;\n\
             fastcgi_temp_path /mnt/nginx/3; uwsgi_temp_path /mnt/nginx/4; scgi_temp_path /mnt/nginx/5;\n\
             server { listen 80; listen [::]:80; root /mnt/nginx/www; } }\n";
        std::fs::write("/mnt/nginx/conf", config).unwrap();
        server.ok("head -c 50000000 /dev/urandom > /mnt/nginx/www/file");
        let _running = server.spawn("exec nginx -e stderr -c /mnt/nginx/conf");
        let wanted = server.ok("sha256sum < /mnt/nginx/www/file");
        for host in [server.ipv4("n").to_string(), format!("[{}]", server.ipv6("n"))] {
            eventually("nginx answers", 10, || client.sh(&format!("curl -sgI http://{host}/file")).code == 0);
            assert_eq!(client.ok(&format!("curl -sgf http://{host}/file | sha256sum")), wanted);
        }
        let many =
            format!("seq 200 | xargs -P 16 -I@ curl -sf -r 0-9999 -o /dev/null http://{}/file", server.ipv4("n"));
        client.ok(&many);
    });
}

/// A VLAN tag crosses the switch, although the kernel takes it off on the way in and hands it over beside the frame.
#[test]
fn vlan_tags() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --opt anti-spoof=false");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        std::fs::write("/mnt/judge.py", include_str!("vlan_judge.py")).unwrap();
        let judge = b.spawn("exec /usr/bin/python3 /mnt/judge.py");
        eventually("the judge listens", 10, || judge.output().contains("ready"));
        let source = frames::mac(&a.endpoint("n").mac_address);
        let to = frames::mac(&b.endpoint("n").mac_address);
        let plain = frames::udp4((source, a.ipv4("n")), (to, b.ipv4("n")), &[5; 64]);
        for (tag, said) in
            [([0x81, 0x00, 0xa0, 0x2a], "tag 8100 a02a on 0800"), ([0x88, 0xa8, 0, 7], "tag 88a8 0007 on 0800")]
        {
            let tagged = [&plain[..12], &tag, &plain[12..]].concat();
            a.sends(3, &[&tagged]);
            eventually(said, 10, || judge.output().contains(said));
        }
        a.sends(1, &[&plain]);
        assert_eq!(vs.port("a", "n").drops.values().sum::<u64>(), vs.drops("a", "n", "no-receiver"));
    });
}

/// One pipeline and four carry the same traffic.
#[test]
fn pipelines() {
    guard(|| {
        for workers in ["1", "4"] {
            let vs = Vswitch::with(&["--workers", workers]);
            assert_eq!(vs.stats().workers.to_string(), workers);
            let containers: Vec<_> = (0..4).map(|index| vs.container(&format!("c{index}"), "")).collect();
            for from in &containers {
                for to in &containers {
                    from.pings(to.ipv4("bridge"));
                }
            }
            let report = iperf(&containers[0], &containers[3], &containers[3].ipv4("bridge").to_string(), "-t 1");
            assert!(report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() > 1e8);
            vs.ok("rm -f c0 c1 c2 c3");
            assert_eq!(vs.terminate(), 0);
        }
    });
}
