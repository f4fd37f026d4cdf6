//! Overlay networks over several hosts: vswitchd on each, or the kernel's vxlan device and bridge as the judge. Letters such
//! as V13 name rows of the conformance tables.

use std::time::Duration;

use serde_json::Value;
use vswitch_tests::hosts::{Hosts, KernelEnd, on_each, overlay};
use vswitch_tests::{Background, Container, Output, Vswitch, eventually, guard};

const LIMIT: Duration = Duration::from_secs(60);

/// The station behind the kernel's end, in tests with one.
const STATION: &str = "10.201.99.9";

/// A vswitchd on host 1 with an overlay and a container, and the kernel's vxlan device and bridge on host 2.
fn beside_the_kernel(body: impl FnOnce(&Hosts, &Vswitch, &Container<'_>, &KernelEnd)) {
    let hosts = Hosts::new(2);
    let vs = hosts.daemon(1);
    vs.ok("network create -d overlay --subnet 10.201.0.0/16 --ip-range 10.201.1.0/24 --opt vni=4097 n");
    vs.ok("tunnel remote add n 10.77.0.2");
    let a = vs.container("a", "--network n --cap-add NET_ADMIN");
    let kernel = hosts.kernel(2, 4097, (&format!("{STATION}/16"), 1450), &["10.77.0.1"], "");
    body(&hosts, &vs, &a, &kernel);
}

fn pings(said: Output) {
    let text = said.ok();
    assert!(text.contains(" 0% packet loss"), "{text}");
}

fn drops(vs: &Vswitch, network: &str, reason: &str) -> u64 {
    let tunnel = vs.json(&format!("tunnel ls {network}"));
    tunnel[0]["drops"][reason].as_u64().unwrap_or_default()
}

fn vtep_drops(vs: &Vswitch, reason: &str) -> u64 {
    vs.stats().vteps[0].drops.get(reason).copied().unwrap_or_default()
}

fn speed(client: Output, server: Background) -> f64 {
    let text = client.ok();
    server.wait(LIMIT).ok();
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap()
}

/// Containers of two vswitchd find each other, at every size up to the MTU that they were given, and each side shows where
/// the other's station is.
#[test]
fn two_hosts() {
    guard(|| {
        let (_hosts, one, two) = Hosts::pair("--opt vni=4097");
        let (a, b) = on_each(&one, &two);
        assert_eq!((a.ipv4("n").to_string(), b.ipv4("n").to_string()), ("10.201.1.0".into(), "10.201.2.0".into()));
        a.pings(b.ipv4("n"));
        b.pings(a.ipv4("n"));
        // 1450 bytes of IP packet, and not one more (V14).
        assert_eq!(a.endpoint("n").mtu, 1450);
        a.ok(&format!("ping -n -c 2 -i 0.1 -M do -s 1422 {}", b.ipv4("n")));
        assert!(a.sh(&format!("ping -n -c 1 -M do -s 1423 {}", b.ipv4("n"))).code != 0);
        let entries = one.json("tunnel ls n")[0]["entries"].clone();
        let mac = b.endpoint("n").mac_address;
        let entry = entries.as_array().unwrap().iter().find(|entry| entry["mac_address"] == *mac).cloned();
        let entry = entry.unwrap_or_else(|| panic!("no entry for {mac}: {entries}"));
        assert_eq!((&entry["remote"], &entry["kind"]), (&"10.77.0.2".into(), &"learned".into()));
        let remotes = one.ok("tunnel remote ls n");
        assert!(remotes.contains("10.77.0.2   operator") && remotes.contains("s ago"), "{remotes}");
        let server = b.spawn("exec iperf3 -s -1");
        b.listens(5201);
        assert!(speed(a.sh(&format!("iperf3 -J -t 1 -c {}", b.ipv4("n"))), server) > 1e8);
        let stats = one.ok("stats");
        assert!(stats.contains("10.77.0.1") && stats.contains("(tunnel)"), "{stats}");
    });
}

/// The kernel's end and ours ping each other, by ARP, at every size (V1, V5, V23).
#[test]
fn kernel_ping() {
    guard(|| {
        beside_the_kernel(|_, vs, a, kernel| {
            for size in [0, 18, 56, 1000, 1422] {
                pings(a.sh(&format!("ping -n -c 3 -i 0.1 -W 2 -M do -s {size} {STATION}")));
                pings(kernel.station.sh(&format!("ping -n -c 3 -i 0.1 -W 2 -M do -s {size} {}", a.ipv4("n"))));
            }
            // Longer ones go in fragments.
            pings(a.sh(&format!("ping -n -c 3 -i 0.1 -W 2 -s 9000 {STATION}")));
            assert!(kernel.station.ok("ip neigh").contains(&a.endpoint("n").mac_address.to_lowercase()));
            assert!(vs.ok("tunnel ls").contains(" 10.77.0.2   learned "));
        });
    });
}

/// TCP at full speed both ways arrives with right checksums, with offloads and without (V8).
#[test]
fn kernel_iperf() {
    guard(|| {
        beside_the_kernel(|_, _, a, kernel| {
            for offload in ["on", "off"] {
                a.ok(&format!("ethtool -K eth0 tx {offload} tso {offload} gso {offload}"));
                kernel.station.ok(&format!("ethtool -K eth0 tx {offload} tso {offload} gso {offload}"));
                for flags in ["", "-R"] {
                    let probe = kernel.station.spawn("vswitch-probe eth0 verify 3");
                    let inside = a.spawn("exec vswitch-probe eth0 verify 3");
                    let server = kernel.station.serve("iperf3 -s -1", 5201);
                    let speed = speed(a.sh(&format!("iperf3 -J -t 1 -c {STATION} {flags}")), server);
                    assert!(speed > 1e7, "only {speed} bit/s, offloads {offload} {flags}");
                    for probe in [probe, inside] {
                        let counts: Value = serde_json::from_str(&probe.wait(LIMIT).ok()).unwrap();
                        assert_eq!(counts["wrong"], 0, "offloads {offload} {flags}: {counts}");
                    }
                }
            }
        });
    });
}

/// Over IPv6, with 20 bytes less (V10, V14).
#[test]
fn ipv6_underlay() {
    guard(|| {
        let hosts = Hosts::new(2);
        let vs = hosts.with_vtep(1, &["--vtep", "fd77::1"]);
        vs.up();
        vs.ok("network create -d overlay --subnet 10.201.0.0/16 --ip-range 10.201.1.0/24 --ipv6 --subnet fd88::/64 n");
        vs.refuses("tunnel remote add n 10.77.0.2", "not of one address family");
        vs.ok("tunnel remote add n fd77::2");
        let a = vs.container("a", "--network n");
        assert_eq!(a.endpoint("n").mtu, 1430);
        let kernel = hosts.kernel(2, 4096, (&format!("{STATION}/16"), 1430), &["fd77::1"], "");
        kernel.station.ok("ip addr add fd88::99/64 dev eth0 nodad");
        pings(a.sh(&format!("ping -n -c 3 -i 0.1 -W 2 -M do -s 1402 {STATION}")));
        pings(a.sh("ping -n -c 3 -i 0.1 -W 2 -M do -s 1382 fd88::99"));
        pings(kernel.station.sh(&format!("ping -n -c 3 -i 0.1 -W 2 {}", a.ipv6("n"))));
        let server = kernel.station.serve("iperf3 -s -1", 5201);
        assert!(speed(a.sh(&format!("iperf3 -J -t 1 -c {STATION}")), server) > 1e7);
    });
}

/// Jumbo frames where the underlay carries them, and small ones where a user asks for them.
#[test]
fn jumbo_and_small() {
    guard(|| {
        let hosts = Hosts::new(2);
        for number in [1, 2] {
            hosts.underlay.ok(&format!("ip link set u{number} mtu 9000"));
            hosts.host(number).ok("ip link set u0 mtu 9000");
        }
        hosts.underlay.ok("ip link set br0 mtu 9000");
        let (one, two) = (hosts.daemon(1), hosts.daemon(2));
        overlay(&[(1, &one), (2, &two)], "jumbo", "--opt vni=9");
        one.refuses("network create -d overlay --subnet 10.202.0.0/24 --opt mtu=8951 x", "use at most 8950");
        let (a, b) = (one.container("a", "--network jumbo"), two.container("b", "--network jumbo"));
        assert_eq!(a.endpoint("jumbo").mtu, 8950);
        pings(a.sh(&format!("ping -n -c 3 -i 0.1 -W 2 -M do -s 8922 {}", b.ipv4("jumbo"))));
        for (vs, range) in [(&one, "10.203.1.0/24"), (&two, "10.203.2.0/24")] {
            vs.ok(&format!(
                "network create -d overlay --subnet 10.203.0.0/16 --ip-range {range} --opt vni=10 --opt mtu=1000 small"
            ));
        }
        one.ok("tunnel remote add small 10.77.0.2");
        two.ok("tunnel remote add small 10.77.0.1");
        let (c, d) = (one.container("c", "--network small"), two.container("d", "--network small"));
        pings(c.sh(&format!("ping -n -c 3 -i 0.1 -W 2 -M do -s 972 {}", d.ipv4("small"))));
        let server = d.spawn("exec iperf3 -s -1");
        d.listens(5201);
        assert!(speed(c.sh(&format!("iperf3 -J -t 1 -c {}", d.ipv4("small"))), server) > 1e7);
    });
}

/// Two networks with the same addresses and different VNIs never meet, and an unknown VNI is counted (V4).
#[test]
fn vnis_are_kept_apart() {
    guard(|| {
        let hosts = Hosts::new(2);
        let vs = hosts.daemon(1);
        for (name, vni, second) in [("red", 1, 201), ("blue", 16_777_215, 202)] {
            vs.ok(&format!(
                "network create -d overlay --subnet 10.{second}.0.0/16 --ip-range 10.{second}.1.0/24 --opt vni={vni} {name}"
            ));
            vs.ok(&format!("tunnel remote add {name} 10.77.0.2"));
        }
        let (red, blue) = (vs.container("r", "--network red"), vs.container("b", "--network blue"));
        let kernel_red = hosts.kernel(2, 1, ("10.201.9.9/16", 1450), &["10.77.0.1"], "");
        let kernel_blue = hosts.kernel(2, 16_777_215, ("10.202.9.9/16", 1450), &["10.77.0.1"], "");
        red.pings("10.201.9.9");
        blue.pings("10.202.9.9");
        // The blue station has the red one's address, too: nobody of the red network may hear of it.
        kernel_blue.station.ok("ip addr add 10.201.9.10/16 dev eth0");
        let dump = hosts.tcpdump(1, "udp port 4789");
        assert!(kernel_blue.station.sh(&format!("ping -n -c 2 -i 0.1 -W 1 {}", red.ipv4("red"))).code != 0);
        eventually("its question crosses", 10, || dump.output().contains("who-has"));
        let mac = kernel_blue.station.ok("ip -o link show eth0 | grep -o 'ether [^ ]*' | cut -d' ' -f2");
        let known = vs.ok("tunnel ls");
        assert!(vs.ok("tunnel ls blue").contains(mac.trim()), "{mac} is not among\n{known}");
        assert!(!vs.ok("tunnel ls red").contains(mac.trim()) && !vs.ok("fdb show red").contains(mac.trim()));
        let stranger = hosts.kernel(2, 77, ("10.201.9.11/16", 1450), &["10.77.0.1"], "");
        let _ = stranger.station.sh("ping -n -c 1 -W 1 10.201.1.0");
        eventually("an unknown VNI is counted", 10, || vtep_drops(&vs, "unknown-vni") > 0);
        drop(kernel_red);
    });
}

/// A frame that is flooded reaches each of two other hosts once, and none of them sends it on (V26, split horizon).
#[test]
fn three_hosts_without_loops() {
    guard(|| {
        let hosts = Hosts::new(3);
        let daemons = [hosts.daemon(1), hosts.daemon(2), hosts.daemon(3)];
        let numbered = [(1, &daemons[0]), (2, &daemons[1]), (3, &daemons[2])];
        overlay(&numbered, "n", "--opt vni=4097");
        let [a, b, c] = [("a", 0), ("b", 1), ("c", 2)].map(|(name, at)| daemons[at].container(name, "--network n"));
        let mac = a.endpoint("n").mac_address;
        let mut source = [0; 6];
        for (octet, text) in source.iter_mut().zip(mac.split(':')) {
            *octet = u8::from_str_radix(text, 16).unwrap();
        }
        let frame = vswitch_tests::frames::ethernet([0xff; 6], source, 0x88b5, &[7; 46]);
        let sniffers = [b.sniff(), c.sniff()];
        let own = a.sniff();
        a.sends(10, &[&frame]);
        for sniffer in &sniffers {
            eventually("all copies arrive", 10, || sniffer.count(&frame) >= 10);
        }
        // A loop would go on and on.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(sniffers.each_ref().map(|sniffer| sniffer.count(&frame)), [10, 10]);
        assert_eq!(own.count(&frame), 0);
        for (from, to) in [(&a, &b), (&b, &c), (&c, &a)] {
            from.pings(to.ipv4("n"));
        }
    });
}

/// A container that starts on another host with the addresses that it had is found there without a word of its own.
#[test]
fn silent_stations_move() {
    guard(|| {
        let hosts = Hosts::new(3);
        let [one, two, three] = [1, 2, 3].map(|number| {
            let vs = hosts.daemon(number);
            let range = format!("--subnet 10.201.0.0/16 --ip-range 10.201.{number}.0/24");
            vs.ok(&format!("network create -d overlay {range} --opt vni=5 n"));
            let others = (1..=3).filter(|other| *other != number).map(|other| format!("10.77.0.{other}"));
            vs.ok(&format!("tunnel remote add n {}", others.collect::<Vec<_>>().join(" ")));
            vs
        });
        let a = one.container("a", "--network n");
        let silent = "run -d --name s --network n --ip 10.201.9.9 --mac-address 02:00:00:00:00:99 -- sleep 1000";
        let place = || {
            let entries = one.json("tunnel ls n")[0]["entries"].as_array().unwrap().clone();
            let entry = entries.into_iter().find(|entry| entry["mac_address"] == "02:00:00:00:00:99")?;
            Some(entry["remote"].as_str().unwrap().to_owned())
        };
        two.ok(silent);
        eventually("it is announced", 20, || place().as_deref() == Some("10.77.0.2"));
        a.pings("10.201.9.9");
        two.ok("rm -f s");
        three.ok(silent);
        eventually("it is announced from its new place", 20, || place().as_deref() == Some("10.77.0.3"));
        a.pings("10.201.9.9");
    });
}

/// A station that moves to another host is found there at once (V23), and a bound one is not moved by anybody's frames (V24).
#[test]
fn stations_move() {
    guard(|| {
        let hosts = Hosts::new(3);
        let vs = hosts.daemon(1);
        vs.ok("network create -d overlay --subnet 10.201.0.0/16 --ip-range 10.201.1.0/24 --opt vni=5 n");
        vs.ok("tunnel remote add n 10.77.0.2 10.77.0.3");
        let a = vs.container("a", "--network n");
        let address = format!("{STATION}/16");
        let first = hosts.kernel(2, 5, (&address, 1450), &["10.77.0.1"], "");
        let second = hosts.kernel(3, 5, (&address, 1450), &["10.77.0.1"], "");
        second.station.ok("ip link set eth0 down");
        for end in [&first, &second] {
            end.station.ok("ip link set eth0 address 02:00:00:00:00:99");
        }
        let place = || {
            let tunnels = vs.json("tunnel ls n");
            let entries = tunnels[0]["entries"].as_array().unwrap().clone();
            let entry = entries.into_iter().find(|entry| entry["mac_address"] == "02:00:00:00:00:99");
            entry
                .map(|entry| (entry["remote"].as_str().unwrap().to_owned(), entry["kind"].as_str().unwrap().to_owned()))
        };
        a.pings(STATION);
        assert_eq!(place(), Some(("10.77.0.2".into(), "learned".into())));
        first.station.ok("ip link set eth0 down");
        second.station.ok("ip link set eth0 up");
        second.station.ok(&format!("ping -n -c 1 -W 3 {}", a.ipv4("n")));
        assert_eq!(place(), Some(("10.77.0.3".into(), "learned".into())));
        a.pings(STATION);
        // Bound to where it is not, it is not believed to be anywhere else.
        vs.ok(&format!("tunnel entry add n 02:00:00:00:00:99 {STATION} 10.77.0.2"));
        let _ = second.station.sh(&format!("ping -n -c 2 -i 0.2 -W 1 {}", a.ipv4("n")));
        assert_eq!(place(), Some(("10.77.0.2".into(), "static".into())));
        eventually("its frames are counted", 10, || drops(&vs, "n", "bound-elsewhere") > 0);
        vs.ok("tunnel entry rm n 02:00:00:00:00:99");
        second.station.ok(&format!("ping -n -c 2 -i 0.2 -W 3 {}", a.ipv4("n")));
    });
}

/// Questions for a bound address are answered here: not one VXLAN packet leaves (P13).
#[test]
fn answered_locally() {
    guard(|| {
        beside_the_kernel(|hosts, vs, a, kernel| {
            kernel.station.ok("ip link set eth0 address 02:00:00:00:00:99");
            vs.ok(&format!("tunnel entry add n 02:00:00:00:00:99 {STATION} 10.77.0.2"));
            let dump = hosts.tcpdump(2, "udp port 4789");
            pings(a.sh(&format!("ping -n -c 3 -i 0.1 -W 2 {STATION}")));
            eventually("the echo crosses", 10, || dump.output().contains("ICMP echo request"));
            let said = dump.output();
            let asked = |line: &&str| line.contains(&format!("who-has {STATION}"));
            assert_eq!(said.lines().filter(asked).count(), 0, "{said}");
            assert!(vs.ok("tunnel entry ls n").contains("static"));
        });
    });
}

/// What we send is decoded by tcpdump down to the inner packet, with nothing to complain about (V1, V5, V16).
#[test]
fn tcpdump_understands() {
    guard(|| {
        beside_the_kernel(|hosts, _, a, _| {
            let dump = hosts.tcpdump(2, "udp dst port 4789 and src 10.77.0.1");
            a.pings(STATION);
            eventually("tcpdump has decoded it", 10, || dump.output().matches("ICMP echo request").count() >= 3);
            let said = dump.output();
            assert!(said.contains("VXLAN, flags [I] (0x08), vni 4097"), "{said}");
            for complaint in ["bad udp cksum", "truncated", "malformed", "invalid", "bad cksum", "wrong ("] {
                assert!(!said.contains(complaint), "{complaint}: {said}");
            }
        });
    });
}

/// Each host answers for the gateway itself: its address neither leaves by the tunnel nor is heard of from there.
#[test]
fn gateway_of_each_host() {
    guard(|| {
        let (hosts, one, two) = Hosts::pair("--opt vni=4097");
        let (a, b) = on_each(&one, &two);
        let dump = hosts.tcpdump(2, "udp port 4789");
        a.pings("10.201.0.1");
        b.pings("10.201.0.1");
        a.pings(b.ipv4("n"));
        eventually("their own echo crosses", 10, || dump.output().contains("ICMP echo request"));
        let said = dump.output();
        assert!(!said.contains("10.201.0.1 ") && !said.contains("10.201.0.1,"), "the gateway crossed:\n{said}");
        let neighbours = [&a, &b].map(|container| container.ok("ip neigh show 10.201.0.1"));
        assert!(neighbours.iter().all(|text| text.contains("02:42:0a:c9:00:01")), "{neighbours:?}");
    });
}

/// An address that two hosts gave out is reported by whoever has one of them, with the other's MAC address and host.
#[test]
fn duplicate_addresses() {
    guard(|| {
        beside_the_kernel(|_, vs, a, kernel| {
            let own = a.ipv4("n");
            let warned = vs.words("network create -d overlay --subnet 10.202.0.0/16 whole").says("--ip-range");
            warned.ok();
            kernel.station.ok(&format!("ip link set eth0 address 02:00:00:00:00:99; ip addr add {own}/16 dev eth0"));
            let _ = kernel.station.sh(&format!("ping -n -c 2 -i 0.2 -W 1 -I {own} 10.201.77.77"));
            eventually("it is reported", 10, || {
                !vs.json("tunnel ls n")[0]["duplicates"].as_array().unwrap().is_empty()
            });
            let one = vs.json("tunnel ls n")[0]["duplicates"][0].clone();
            assert_eq!((&one["address"], &one["endpoint"]), (&own.to_string().into(), &"a".into()));
            assert_eq!((&one["mac_address"], &one["remote"]), (&"02:00:00:00:00:99".into(), &"10.77.0.2".into()));
            assert!(
                vs.ok("tunnel ls n")
                    .contains(&format!("{own} of a is in use by 02:00:00:00:00:99 behind 10.77.0.2, too"))
            );
            assert!(vs.log().contains("in use behind the tunnel"), "{}", vs.log());
            // A MAC address of two: the station here keeps it.
            let mac = a.endpoint("n").mac_address;
            kernel.station.ok(&format!("ip link set eth0 address {mac}"));
            let _ = kernel.station.sh("ping -n -c 2 -i 0.2 -W 1 10.201.77.77");
            eventually("the MAC address is reported, too", 10, || {
                vs.json("tunnel ls n")[0]["duplicates"].to_string().contains(&format!("\"address\":\"{mac}\""))
            });
        });
    });
}
