//! What people test networks for, with the programs that they use: each test is one practice, from an impairment to what must hold.

use std::time::Duration;

use vswitch_api::wire::Wire;
use vswitch_tests::{Background, Site, Vswitch, eventually, frames, guard, sh, until};

const LIMIT: Duration = Duration::from_secs(60);

#[track_caller]
fn capture(vs: &Vswitch, args: &[&str]) -> Background {
    let running = vs.spawn(&[&["capture"], args].concat());
    eventually("the capture has begun", 20, || running.output().contains("capturing on"));
    running
}

/// How many segments were lost on an endpoint's wire for a reason.
fn lost(vs: &Vswitch, endpoint: &str, direction: &str, reason: &str) -> u64 {
    let wires: Vec<Wire> = serde_json::from_value(vs.json("impair ls")).unwrap();
    let of = wires.into_iter().find(|wire| wire.endpoint == endpoint && wire.direction == direction);
    of.and_then(|wire| wire.lost.get(reason).copied()).unwrap_or_default()
}

/// The octets of a MAC address as it is written.
fn octets(mac: &str) -> [u8; 6] {
    let octets: Vec<u8> = mac.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

/// Text of these bytes, for `--hex`.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A forged ARP reply is dropped as such and never comes to its victim; where the network lets anybody claim anything, the victim believes it.
#[test]
fn arp_spoofing() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create strict");
        vs.ok("network create loose --opt anti-spoof=false");
        for (network, believed) in [("strict", false), ("loose", true)] {
            let name = |who: &str| format!("{who}-{network}");
            let flags = format!("--network {network}");
            let (victim, peer) = (vs.container(&name("victim"), &flags), vs.container(&name("peer"), &flags));
            let attacker = vs.container(&name("attacker"), &flags);
            victim.pings(peer.ipv4(network));
            let own = octets(&attacker.endpoint(network).mac_address);
            let known = || victim.ok(&format!("ip neigh show {}", peer.ipv4(network)));
            let forged = frames::arp(own, 2, (own, peer.ipv4(network)), victim.ipv4(network));
            let dropped = capture(&vs, &["all", "--reason", "spoofed-arp", "-c", "1"]);
            let within = if believed { "30s" } else { "500ms" };
            let count = if believed { "1" } else { "0" };
            let filter = format!("arp[6:2] == 2 and ether src {}", attacker.endpoint(network).mac_address);
            let expecting = vs.spawn(&["expect", victim.name(), &filter, "--within", within, "--count", count]);
            eventually("it is armed", 20, || expecting.output().contains("armed"));
            vs.ctl(&["inject", attacker.name(), "--hex", &hex(&forged)]).ok();
            expecting.wait(LIMIT).ok();
            if believed {
                // Linux keeps what it heard for a second (neigh/default/locktime), whatever is said meanwhile.
                eventually("the victim believes it", 20, || {
                    vs.ctl(&["inject", attacker.name(), "--hex", &hex(&forged)]).ok();
                    known().contains(&attacker.endpoint(network).mac_address)
                });
                drop(dropped);
            } else {
                let said = dropped.wait(LIMIT).ok();
                assert!(said.contains("attacker-strict/drop arp") && said.contains("drop spoofed-arp"), "{said}");
                assert!(known().contains(&peer.endpoint(network).mac_address), "{}", known());
            }
        }
    });
}

/// A path whose MTU shrinks in silence stalls a connection, and the trace says why; the same connection goes on at once when the router
/// on the way says so.
#[test]
fn path_mtu_black_hole() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let there = b.ipv4("n");
        vs.ok("impair b down mtu 1000 silent");
        let server = b.spawn("socat -u TCP4-LISTEN:9000 - | wc -c");
        b.listens(9000);
        let client = a.spawn(&format!("head -c 300000 /dev/zero | socat -u - TCP4:{there}:9000"));
        eventually("it is sent again and again", 60, || lost(&vs, "b", "down", "wire-too-long") > 11);
        assert_eq!(server.output(), "", "it stalls");
        let large = "x".repeat(1400);
        let traced = vs.ctl(&["inject", "a", "--udp", &format!("{there}:9"), "--data", &large, "--trace"]).ok();
        assert!(traced.contains("dropped at b: wire-too-long"), "{traced}");
        vs.ok("impair b down mtu 1000 icmp");
        client.wait(LIMIT).ok();
        assert_eq!(server.wait(LIMIT).ok().trim(), "300000");
        assert!(a.ok(&format!("ip route get {there}")).contains("mtu 1000"));
    });
}

/// The first question is lost; glibc's resolver asks again after its second, and both questions are in the capture, one as lost.
#[test]
fn dns_question_lost() {
    guard(|| {
        let site = Site::start();
        std::fs::write("/mnt/dns_server.py", include_str!("dns_server.py")).unwrap();
        let server = site.outside.spawn("python3 /mnt/dns_server.py 10.99.0.2 192.0.2.1");
        eventually("the name server is ready", 20, || server.output().contains("ready"));
        let a = site.vs.container("a", "--dns 10.99.0.2");
        assert!(a.ok("cat /etc/resolv.conf").contains("nameserver 10.99.0.2"));
        site.vs.ctl(&["impair", "a", "up", "drop", "1", "of", "udp dst port 53"]).ok();
        let seen = capture(&site.vs, &["a", "udp dst port 53", "--at", "up,drop", "-c", "3"]);
        let said = a.ok("RES_OPTIONS='timeout:1 attempts:3' getent ahostsv4 example.test");
        assert!(said.starts_with("192.0.2.1 "), "{said}");
        let seen = seen.wait(LIMIT).ok();
        let lines: Vec<&str> = seen.lines().filter(|line| line.contains("udp")).collect();
        let places: Vec<bool> = lines.iter().map(|line| line.contains("a/drop")).collect();
        assert_eq!(places, [false, true, false], "{seen}");
        assert!(lines[1].ends_with("drop wire-listed"), "{seen}");
    });
}

/// Waits for data with keepalive, and says how that ended.
const KEEPS_ALIVE: &str = "exec python3 -uc 'import socket as s\nl = s.create_server((\"\", 9000))\nprint(\"ready\")\nc, _ = l.accept()\n\
     for o, v in ((s.TCP_KEEPIDLE, 1), (s.TCP_KEEPINTVL, 1), (s.TCP_KEEPCNT, 2)): c.setsockopt(s.IPPROTO_TCP, o, v)\n\
     c.setsockopt(s.SOL_SOCKET, s.SO_KEEPALIVE, 1)\nprint(\"accepted\")\ntry: c.recv(1)\nexcept OSError as e: print(type(e).__name__)'";
/// Connects, sends what it is told to, and says how that ended.
const SENDS: &str = "exec python3 -uc 'import socket, sys\nc = socket.create_connection((sys.argv[1], 9000))\nprint(\"connected\")\n\
     open(\"/mnt/go\").read()\nc.send(b\"x\")\nc.settimeout(60)\ntry: c.recv(1)\nexcept OSError as e: print(type(e).__name__)'";

/// A cable that is pulled leaves a connection half open: the side with keepalive gives up, the other one learns of it when it sends, by a
/// reset; if that is lost, by the next one.
#[test]
fn half_open() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        a.ok("mkfifo /mnt/go");
        let server = b.spawn(KEEPS_ALIVE);
        b.listens(9000);
        let client = a.spawn(&format!("{SENDS} {}", b.ipv4("n")));
        eventually("they are connected", 20, || server.output().contains("accepted"));
        vs.ok("link down a");
        eventually("the server gives up", 60, || {
            let said = server.output();
            said.contains("TimeoutError") || said.contains("OSError")
        });
        vs.ok("link up a");
        vs.ctl(&["impair", "b", "up", "drop", "1", "of", "tcp[tcpflags] & tcp-rst != 0"]).ok();
        a.ok("echo > /mnt/go");
        eventually("the client is told", 60, || client.output().contains("ConnectionResetError"));
        assert_eq!(lost(&vs, "b", "up", "wire-listed"), 1, "the first reset was lost");
    });
}

/// Over a cellular link, whose trace says when 1500 bytes may go, datagrams that are sent at once leave one at a time, in order and never
/// earlier than the trace allows; what finds no room in the queue is lost by name.
#[test]
fn cellular_trace() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let there = b.ipv4("n");
        a.pings(there);
        std::fs::write("/mnt/lte.trace", "50\n50\n120\n200\n").unwrap();
        vs.ok("impair b down rate trace /mnt/lte.trace");
        vs.ok("impair b down queue 12p");
        let heard = b.spawn("exec socat -u -b 2000 UDP4-RECV:7000 -");
        eventually("it listens", 20, || b.ok("ss -lun").contains(":7000"));
        let seen = capture(&vs, &["b", "udp dst port 7000", "--at", "down", "-c", "12"]);
        let began = until("it is sent", 20, || {
            let script = "import socket, sys, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nprint(time.time_ns())\n\
                 for n in range(40): s.sendto(b\"%4d\" % n + b\"-\" * 1467 + b\"\\n\", (sys.argv[1], 7000))";
            a.sh(&format!("python3 -c '{script}' {there}")).stdout.trim().parse::<u128>().ok()
        });
        seen.wait(LIMIT).ok();
        let ended = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        // Twelve chances, of which there are four in 200 ms: at least two whole rounds.
        assert!(ended - began >= 400_000_000, "{} ms", (ended - began) / 1_000_000);
        eventually("all come", 20, || heard.output().lines().count() == 12);
        let order: Vec<u32> = heard.output().lines().map(|line| line[..4].trim().parse().unwrap()).collect();
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(lost(&vs, "b", "down", "wire-queue"), 28);
    });
}

/// udhcpc gets a lease of dnsmasq though the first offer is lost; a second, rogue server is seen at once by who it is.
#[test]
fn dhcp() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.77.0.0/24 --ip-range 10.77.0.0/28");
        let flags = "--network n --cap-add NET_ADMIN --cap-add NET_RAW";
        let (server, rogue) = (vs.container("server", flags), vs.container("rogue", flags));
        let client = vs.container("client", flags);
        let serve = |at: &vswitch_tests::Container<'_>, range: &str| {
            at.spawn(&format!(
                "exec dnsmasq -d -C /dev/null -u root -p 0 -i eth0 --dhcp-range={range},10m --dhcp-authoritative \
                 --dhcp-leasefile=/dev/null --no-ping --log-dhcp"
            ))
        };
        let asks = |tries: u32| {
            std::fs::write("/mnt/lease", "#!/bin/sh\n[ \"$1\" != bound ] || echo \"$ip from $serverid\"\n").unwrap();
            client.ok("chmod +x /mnt/lease");
            client.sh(&format!("busybox udhcpc -f -n -q -i eth0 -s /mnt/lease -t {tries} -T 1 2>&1"))
        };
        let good = serve(&server, "10.77.0.100,10.77.0.120");
        eventually("dnsmasq serves", 20, || good.output().contains("DHCP, IP range"));
        vs.ctl(&["impair", "client", "down", "drop", "1", "of", "udp src port 67"]).ok();
        let said = asks(8).ok();
        assert!(said.contains(&format!("from {}", server.ipv4("n"))), "{said}");
        assert_eq!(lost(&vs, "client", "down", "wire-listed"), 1, "{said}");
        vs.ok("impair client none");
        let offers = capture(&vs, &["rogue", "udp src port 67", "--at", "up", "-c", "1"]);
        let bad = serve(&rogue, "10.77.0.200,10.77.0.210");
        eventually("dnsmasq serves", 20, || bad.output().contains("DHCP, IP range"));
        asks(8).ok();
        let offers = offers.wait(LIMIT).ok();
        assert!(offers.contains(&format!("rogue/up udp {}:67", rogue.ipv4("n"))), "{offers}");
    });
}

/// Repeats what is sent to a group's port on one interface on the other one.
const REFLECTS: &str = "exec python3 -uc 'import socket, struct, sys, select\ng = (\"224.0.0.251\", 5353)\nown = sys.argv[1:]\nss = []\n\
     for o in own:\n s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n \
     s.bind(g)\n i = socket.inet_aton(o)\n s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(g[0]) + i)\n \
     s.setsockopt(0, socket.IP_MULTICAST_IF, i)\n s.setsockopt(0, socket.IP_MULTICAST_LOOP, 0)\n s.setsockopt(0, 49, 0)\n \
     ss.append(s)\nprint(\"ready\")\nwhile True:\n for s in select.select(ss, [], [])[0]:\n  m, a = s.recvfrom(2000)\n  \
     [o.sendto(m, g) for o in ss if o is not s and a[0] not in own]'";
/// Hears a group.
const HEARS: &str = "exec socat -u UDP4-RECVFROM:5353,reuseaddr,ip-add-membership=224.0.0.251:eth0,fork -";

/// mDNS is one network's: what is said there never crosses by itself, and does with a reflector that is on both.
#[test]
fn mdns() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create one");
        vs.ok("network create two");
        let (a, near, far) = (
            vs.container("a", "--network one"),
            vs.container("near", "--network one"),
            vs.container("far", "--network two"),
        );
        let (near_hears, far_hears) = (near.spawn(HEARS), far.spawn(HEARS));
        for one in [&near, &far] {
            eventually("it listens", 20, || one.ok("ss -lun").contains(":5353"));
        }
        let says = |text: &str| {
            a.ok(&format!(
                "echo {text} | socat -u - UDP4-DATAGRAM:224.0.0.251:5353,bind=:5353,reuseaddr,ip-multicast-if={}",
                a.ipv4("one")
            ));
        };
        says("alone");
        eventually("its own network hears it", 20, || near_hears.output().contains("alone"));
        let reflector = vs.container("reflector", "--network one");
        vs.ok("network connect two reflector");
        let reflects = reflector.spawn(&format!("{REFLECTS} {} {}", reflector.ipv4("one"), reflector.ipv4("two")));
        eventually("it reflects", 20, || reflects.output().contains("ready"));
        says("reflected");
        eventually("the other network hears it", 20, || far_hears.output().contains("reflected"));
        // What came later is there, so what came before would be.
        assert!(!far_hears.output().contains("alone"), "{}", far_hears.output());
    });
}

/// A capture goes into tshark while it runs, which shows names of stations, the reason of a drop, and one number for a frame at all places.
#[test]
fn wireshark() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        a.pings(b.ipv4("n"));
        let piped = format!(
            "/mnt/programs/vswitchctl --socket {} capture all -w - 2>/tmp/live | HOME=/tmp tshark -l -N mnNd -i - -T fields -e frame.packet_id -e ip.dst_host \
             -e frame.comment -Y 'icmp or frame.comment contains \"spoofed\"' 2>/dev/null",
            vs.socket().display()
        );
        let live = vswitch_tests::spawn(std::process::Command::new("sh").args(["-c", &piped]));
        eventually("the capture has begun", 30, || {
            std::fs::read_to_string("/tmp/live").is_ok_and(|said| said.contains("capturing on"))
        });
        let stranger = frames::ethernet([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 8], 0x88b5, b"who am i");
        eventually("tshark shows all of it", 40, || {
            a.pings(b.ipv4("n"));
            a.sends(1, &[&stranger]);
            let said = live.output();
            let of = |line: &str| line.split('\t').next().map(str::to_owned);
            let to_b: Vec<_> = said.lines().filter(|line| line.split('\t').nth(1) == Some("b")).map(of).collect();
            let twice = to_b
                .iter()
                .any(|id| id.as_deref() != Some("") && to_b.iter().filter(|other| *other == id).count() == 2);
            twice && said.contains("drop spoofed-mac")
        });
    });
}

/// tshark lists endpoints as its own interfaces, has a filter checked, and captures there, by the program that it starts itself.
#[test]
fn extcap() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        std::fs::create_dir_all("/tmp/.config/wireshark/extcap").unwrap();
        std::os::unix::fs::symlink("/mnt/programs/vswitchctl", "/tmp/.config/wireshark/extcap/vswitch-extcap").unwrap();
        let with = format!("HOME=/tmp VSWITCH_SOCKET={}", vs.socket().display());
        let listed = sh(&format!("{with} tshark -D")).ok();
        for interface in ["vswitch-all", "vswitch-n ", "vswitch-a@n", "vswitch-b@n"] {
            assert!(listed.contains(interface), "{interface}: {listed}");
        }
        let own = |words: &str| sh(&format!("{with} /tmp/.config/wireshark/extcap/vswitch-extcap {words}"));
        assert!(own("--extcap-dlts --extcap-interface vswitch-all").ok().contains("{number=1}"));
        assert!(own("--extcap-config --extcap-interface vswitch-all").ok().contains("{call=--reason}"));
        assert_eq!(own("--extcap-interface vswitch-all --extcap-capture-filter 'udp port 53'").ok(), "");
        let wrong = own("--extcap-interface vswitch-all --extcap-capture-filter 'udp prt 53'").ok();
        assert!(wrong.contains("character 5"), "{wrong}");
        own("--capture --fifo /tmp/fifo").exits(2);
        let script = format!("{with} exec tshark -l -n -i vswitch-b@n -f icmp -c 2 2>/dev/null");
        let shown = vswitch_tests::spawn(std::process::Command::new("sh").args(["-c", &script]));
        eventually("tshark shows it", 40, || {
            a.pings(b.ipv4("n"));
            shown.output().contains("Echo (ping) request")
        });
        let nothing = sh("HOME=/tmp VSWITCH_SOCKET=/tmp/nobody tshark -D").ok();
        assert!(!nothing.contains("vswitch-"), "{nothing}");
    });
}

/// The ten lines with which the documentation begins work as they stand there.
#[test]
fn ten_lines() {
    guard(|| {
        let vs = Vswitch::start();
        let text = include_str!("../../docs/harness.md");
        let block = text.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
        let lines = block.lines().map(|line| line.split(" #").next().unwrap().trim());
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 10);
        for line in lines {
            let words = line.strip_prefix("vswitchctl ").unwrap();
            // A server may not listen yet.
            eventually(line, 40, || vs.words(words).code == 0);
        }
        let said = vs.ok("impair ls");
        assert!(said.contains("db") && said.contains("10mbit"), "{said}");
    });
}
