//! The host itself, as containers see it over the sockets uplink.

use vswitch_tests::rootless::SCRIPT;
use vswitch_tests::{Rootless, eventually, guard, sh};

/// Services on the host's loopback are closed, whatever address is tried; those on its other addresses are open, as anywhere.
#[test]
fn loopback_is_closed() {
    guard(|| {
        let site = Rootless::start();
        let a = site.vs.container("a", "");
        let _local = site.host.serve("python3 -m http.server 8100 --bind 127.0.0.1", 8100);
        let _open = site.host.serve("python3 -m http.server 8101 --bind 10.99.0.1", 8101);
        let gateway = a.ok("ip route show default").split_whitespace().nth(2).unwrap().to_owned();
        for address in [gateway.as_str(), "10.0.2.2", "10.99.0.1", "127.0.0.1", "0.0.0.0"] {
            let said = a.sh(&format!("curl -sS -m 3 http://{address}:8100/"));
            assert_ne!(said.code, 0, "{address}: {said}");
        }
        a.ok("curl -sS -m 30 http://10.99.0.1:8101/");
        let names = a.ok("cat /etc/hosts");
        assert!(!names.contains("host.docker.internal"), "{names}");
    });
}

/// Opened by `--host-loopback`: TCP, UDP and echo, both families, by address and by name; nothing else of the loopback, and
/// no network may take the address.
#[test]
fn loopback_is_opened() {
    guard(|| {
        let site = Rootless::with(&["--host-loopback", "10.0.2.2", "--host-loopback", "fd00:2::2"]);
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six --add-host gate:host-gateway");
        let _local = site.host.serve("python3 -m http.server 8100 --bind 127.0.0.1", 8100);
        let _six = site.host.serve("python3 -m http.server 8102 --bind ::1", 8102);
        let _else = site.host.serve("python3 -m http.server 8103 --bind 127.0.0.53", 8103);
        for name in ["10.0.2.2", "host.docker.internal", "host.vswitch.internal", "gate"] {
            a.ok(&format!("curl -sS -4 -m 30 http://{name}:8100/"));
        }
        a.ok("curl -gsS -m 30 http://[fd00:2::2]:8102/");
        assert_ne!(a.sh("curl -sS -m 3 http://10.0.2.2:8103/").code, 0);
        let _echo = site.play(&site.host, "udp_echo 7010");
        assert_eq!(site.says(&a, "udp 10.0.2.2 7010 1000"), "same 10.0.2.2 7010");
        a.pings("10.0.2.2");
        site.vs.words("network create x --subnet 10.0.2.0/24").refused("Pool overlaps");
        assert!(site.vs.ok("version").contains("sockets,host-loopback=10.0.2.2,host-loopback=fd00:2::2"));
    });
}

/// A host without IPv6: IPv4 works, IPv6 is refused at once, and published ports are there for IPv4 alone.
#[test]
fn without_ipv6() {
    guard(|| {
        let site = Rootless::without_daemon(&[], &[]);
        site.host.ok("for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done");
        site.vs.up();
        let _nginx = site.nginx(&[]);
        site.vs.ok("network create --ipv6 six");
        let a = site.vs.container("a", "--network six -p 7003:7003");
        assert_eq!(a.ok("curl -sS -m 30 http://10.99.0.2:8000/page").trim_end(), "page-of-nginx");
        let said = site.says(&a, "attempt fd99::2 8000");
        assert!(!said.starts_with("answered") && said.ends_with("at-once"), "{said}");
        let said = a.sh("ping -n -c 1 -W 10 fd99::2");
        assert!(said.stdout.contains("Destination unreachable: No route"), "{said}");
        let _early = site.serve_inside(&a, "early 7003");
        assert_eq!(site.says_at(&site.outside, "attempt 10.99.0.1 7003"), "answered closing time at-once");
    });
}

/// A host whose network comes up later: attempts fail at once before, and work after, without a restart.
#[test]
fn network_comes_later() {
    guard(|| {
        let site = Rootless::without_daemon(&[], &[]);
        site.host.ok("ip link set up0 down");
        site.vs.up();
        let _nginx = site.nginx(&[]);
        let a = site.vs.container("a", "");
        let said = site.says(&a, "attempt 10.99.0.2 8000");
        assert!(said.starts_with("OSError 101") && said.ends_with("at-once"), "{said}");
        site.host.ok("ip link set up0 up; ip route add default via 10.99.0.2");
        eventually("the outside is reached", 20, || a.sh("curl -sS -m 5 http://10.99.0.2:8000/page").code == 0);
    });
}

/// Descriptors run out: new flows are refused and counted, and nothing else is harmed; they work again when others end.
#[test]
fn out_of_descriptors() {
    guard(|| {
        let site = Rootless::without_daemon(&["prlimit", "--nofile=300:300", "--"], &[]);
        site.vs.up();
        let (a, b) = (site.vs.container("a", ""), site.vs.container("b", ""));
        let _echo = site.play(&site.outside, "echo 7005");
        let hang = site.spawn_inside(&a, "hang 10.99.0.2 7005 400");
        eventually("connections are open or refused", 90, || hang.output().contains("open"));
        let said = hang.output();
        let numbers: Vec<u32> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(numbers[0] > 100 && numbers[1] > 50, "{said}");
        b.pings(a.ipv4("bridge"));
        let streams = site.vs.stats().router.unwrap().sockets.unwrap().streams;
        assert!(streams.drops["too-many"] >= 50, "{streams:?}");
        assert_eq!(streams.refused, 0, "there is always a descriptor left");
        // Another container still gets some.
        assert!(site.says(&b, "attempt 10.99.0.2 7005").starts_with("answered x"));
        drop(hang);
        a.sh("pkill -f outside.py");
        eventually("there is room again", 30, || site.says(&b, "attempt 10.99.0.2 7005").starts_with("answered x"));
    });
}

/// Descriptors are taken from the running vswitchd: the host gives no more sockets, which is counted; what is open goes on,
/// and all is well again when others end.
#[test]
fn descriptors_taken_away() {
    guard(|| {
        let site = Rootless::start();
        let (a, b) = (site.vs.container("a", ""), site.vs.container("b", "-p 8080:7008"));
        let _servers = [site.play(&site.outside, "echo 7005"), site.serve_inside(&b, "echo 7008")];
        let steady = [
            site.spawn_inside(&b, "steady 10.99.0.2 7005"),
            site.outside.spawn(&format!("python3 {SCRIPT} steady 10.99.0.1 8080")),
        ];
        let rounds = || steady.each_ref().map(|role| role.output().lines().count());
        eventually("two connections are in use", 30, || rounds().iter().all(|count| *count > 1));
        // The hogs come from outside and inside; both start before there is nothing left for `vswitchctl exec`.
        let hogs = [
            site.spawn_inside(&a, "when /mnt/hog hang 10.99.0.2 7005 60"),
            site.outside.spawn(&format!("python3 {SCRIPT} when /mnt/hog hang 10.99.0.1 8080 60")),
        ];
        eventually("the hogs wait", 30, || hogs.iter().all(|role| role.output().contains("waits")));
        let open = std::fs::read_dir(format!("/proc/{}/fd", site.vs.pid())).unwrap().count();
        sh(&format!("prlimit --pid {} --nofile={}", site.vs.pid(), open + 20)).ok();
        // Half of what is left goes with the test's own end of these, and control needs some to end the others.
        let ours = site.outside.spawn(&format!("python3 {SCRIPT} hang 10.99.0.1 8080 10"));
        eventually("half of what is left is taken", 30, || ours.output().contains("open 10 "));
        std::fs::write("/mnt/hog", "").unwrap();
        eventually("some of them are refused", 120, || hogs[0].output().contains("open"));
        let before = rounds();
        eventually("what is open goes on", 30, || rounds().iter().zip(before).all(|(now, then)| *now > then + 5));
        drop((ours, hogs));
        let sockets = || site.vs.stats().router.unwrap().sockets.unwrap();
        eventually("control works again", 60, || a.sh("pkill -f '[o]utside.py'; true").code == 0);
        eventually("the hogs' connections end", 60, || sockets().streams.flows == 2);
        assert!(sockets().streams.drops.get("no-socket").is_some_and(|count| *count > 10), "{:?}", sockets());
        for _ in 0..3 {
            assert_eq!(site.says(&a, "attempt 10.99.0.2 7005"), "answered x at-once");
            assert_eq!(site.says_at(&site.outside, "attempt 10.99.0.1 8080"), "answered x at-once");
        }
    });
}

/// Networks without a way out have none, and a thousand others all have one.
#[test]
fn many_networks() {
    guard(|| {
        let site = Rootless::start();
        let _nginx = site.nginx(&[]);
        site.vs.ok("network create --internal closed");
        let closed = site.vs.container("closed", "--network closed");
        assert_ne!(closed.sh("curl -sS -m 3 http://10.99.0.2:8000/page").code, 0);
        for number in 0..200 {
            site.vs.ok(&format!("network create --subnet 10.201.{number}.0/24 n{number}"));
        }
        for number in [0, 77, 199] {
            let one = site.vs.container(&format!("c{number}"), &format!("--network n{number}"));
            one.ok("curl -sS -m 30 http://10.99.0.2:8000/page");
            assert_ne!(one.sh("curl -sS -m 2 http://10.201.1.2/").code, 0);
        }
    });
}
