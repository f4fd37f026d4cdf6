//! Containers on the LAN of an interface of the host: macvlan, ipvlan, and a bridge with a leg there.

use vswitch_tests::lan::{Lan, SUBNET};
use vswitch_tests::{Container, eventually, guard, site::fetch};

fn pings(from: &vswitch_tests::site::Namespace, target: &str) {
    from.ok(&format!("ping -c 1 -W 5 {target}"));
}

/// macvlan as the tutorials have it: containers are on the LAN with addresses and MAC addresses of their own, find the LAN's
/// router and machines and are found, over IPv4 and IPv6; each other they meet here, by name, too; the host goes on using its
/// interface and is not reached.
#[test]
fn macvlan() {
    guard(|| {
        let lan = Lan::start();
        let v6 = "--ipv6 --subnet fd01::/64 --gateway fd01::fe --aux-address host=10.1.0.128";
        lan.vs.ok(&format!("network create -d macvlan {SUBNET} {v6} -o parent=eth0 lan"));
        let shown = lan.vs.json("network inspect lan")[0].clone();
        assert_eq!((shown["Driver"].as_str(), shown["Options"]["parent"].as_str()), (Some("macvlan"), Some("eth0")));
        let a = lan.vs.container("a", "--network lan");
        let b = lan.vs.container("b", "--network lan --ip 10.1.0.220");
        assert_eq!(a.ipv4("lan").to_string(), "10.1.0.129", "the auxiliary address is somebody's");
        a.serves_page();
        for (target, family) in [("10.1.0.254", ""), ("10.1.0.8", ""), ("fd01::8", ""), ("b", "")] {
            a.ok(&format!("ping {family} -c 1 -W 5 {target}"));
        }
        assert!(a.ok("ip route show default").starts_with("default via 10.1.0.254 dev eth0"));
        let page = format!("curl -s --max-time 10 http://{}/", a.ipv4("lan"));
        assert!(!fetch(lan.other.sh(&page)).is_empty());
        pings(&lan.other, &a.ipv6("lan").to_string());
        // Its own MAC address is what the LAN sees.
        let neighbour = lan.other.ok(&format!("ip neigh show {}", a.ipv4("lan")));
        assert!(neighbour.contains(&a.endpoint("lan").mac_address), "{neighbour}");
        pings(&lan.host, "10.1.0.8");
        assert_ne!(lan.host.sh(&format!("ping -c 1 -W 1 {}", a.ipv4("lan"))).code, 0);
        a.cannot_ping("10.1.0.9");
        b.pings("10.1.0.254");
        // A kernel's macvlan beside is one more machine.
        lan.other.ok(
            "ip link add m0 link eth0 type macvlan mode bridge && ip addr add 10.1.0.7/24 dev m0 && ip link set m0 up",
        );
        a.pings("10.1.0.7");
        lan.vs.ok("rm -f a b");
        lan.vs.ok("network rm lan");
    });
}

/// With `host=true` the host reaches its containers on the LAN, and they it, by an address of its own in their range; everybody else
/// by its interface as before.
#[test]
fn the_host_beside_its_containers() {
    guard(|| {
        let lan = Lan::start();
        let v6 = "--ipv6 --subnet fd01::/64 --gateway fd01::fe --ip-range fd01::1:0/112";
        lan.vs.ok(&format!("network create -d macvlan {SUBNET} {v6} -o parent=eth0 --opt host=true lan"));
        assert!(lan.host.ok("ip -o addr show dev vs-lan").contains("10.1.0.128/32"));
        let a = lan.vs.container("a", "--network lan");
        a.serves_page();
        let by_name = || lan.host.sh(&format!("curl -s --max-time 2 http://{}/page", a.ipv4("lan"))).stdout;
        eventually("the host reaches a container", 20, || by_name().contains("page-of-a"));
        pings(&lan.host, &a.ipv6("lan").to_string());
        a.ok("ping -4 -c 1 -W 5 host");
        pings(&lan.host, "10.1.0.8");
        pings(&lan.host, "10.1.0.254");
        pings(&lan.other, "10.1.0.9");
        a.pings("10.1.0.8");
        pings(&lan.other, &a.ipv4("lan").to_string());
        lan.vs.crash();
        lan.vs.up();
        eventually("it does again", 20, || by_name().contains("page-of-a"));
        lan.vs.ok("rm -f a");
        lan.vs.ok("network rm lan");
        assert_ne!(lan.host.sh("ip link show dev vs-lan").code, 0);
        assert_eq!(lan.host.ok("ip route show 10.1.0.128/25"), "");
    });
}

/// Frames for others never reach the switch, whatever the LAN floods; what is for a container does.
#[test]
fn hears_what_is_its_own() {
    guard(|| {
        let lan = Lan::start();
        lan.vs.ok(&format!("network create -d macvlan {SUBNET} -o parent=eth0 lan"));
        let a = lan.vs.container("a", "--network lan --ip 10.1.0.220");
        let leg = || lan.vs.stats().ports.into_iter().find(|port| port.endpoint == "(eth0)").unwrap().counters;
        lan.other.ok("ip neigh add 10.1.0.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent");
        pings(&lan.other, "10.1.0.220");
        let before = leg();
        // Nobody has that address, so the LAN's switch floods.
        lan.other.sh("ping -c 50 -i 0.002 -W 1 -q 10.1.0.99");
        lan.other.ok("ping -c 50 -i 0.002 -W 5 -q 10.1.0.220");
        let after = leg();
        let heard = after.in_frames - before.in_frames;
        assert!((50..80).contains(&heard), "{heard} of 100 frames were heard");
        a.pings("10.1.0.8");
    });
}

/// VLANs of one parent are networks of their own, tagged on the wire by the switch; TCP goes through at full length, and one
/// place on a parent is one network's.
#[test]
fn vlans() {
    guard(|| {
        let lan = Lan::start();
        let machine = lan.machine("port2");
        let far = Lan::daemon(&machine, "/tmp/far");
        for (vlan, subnet) in [(50, 50), (51, 51)] {
            let network = format!("-d macvlan --subnet 10.{subnet}.0.0/24 -o parent=eth0.{vlan} vlan{vlan}");
            lan.vs.ok(&format!("network create {network}"));
            far.ok(&format!("network create {network}"));
        }
        lan.vs.ok(&format!("network create -d macvlan {SUBNET} -o parent=eth0 plain"));
        lan.vs.refuses(
            "network create -d macvlan --subnet 10.60.0.0/24 -o parent=eth0.50 again",
            "network vlan50 is already using parent interface eth0.50",
        );
        let a = lan.vs.container("a", "--network vlan50 --ip 10.50.0.2");
        let b = far.container("b", "--network vlan50 --ip 10.50.0.3");
        let c = far.container("c", "--network vlan51 --ip 10.51.0.3");
        let wire = lan.capture(&lan.other, "eth0");
        a.pings("10.50.0.3");
        c.cannot_ping("10.50.0.2");
        b.serves_page();
        b.ok("head -c 3000000 /dev/zero > /mnt/big; (cd /mnt && exec python3 -m http.server 8000) > /dev/null 2>&1 &");
        b.listens(8000);
        assert_eq!(a.ok("curl -s --max-time 20 http://10.50.0.3:8000/big | wc -c").trim(), "3000000");
        eventually("the wire shows tags", 10, || wire.shows("vlan 50").contains("vlan 50"));
        assert_eq!(wire.shows("net 10.50.0.0/16 and not vlan"), "");
        lan.vs.container("d", "--network plain").pings("10.1.0.8");
    });
}

/// `private` containers never meet, `vepa` ones by a switch that sends frames back only, and `passthru` is for one.
#[test]
fn modes() {
    guard(|| {
        let lan = Lan::start();
        for (mode, vlan) in [("private", 1), ("vepa", 2), ("passthru", 3)] {
            lan.vs.ok(&format!(
                "network create -d macvlan --subnet 10.{vlan}.0.0/24 -o parent=eth0.{vlan} -o macvlan_mode={mode} {mode}"
            ));
        }
        for mode in ["private", "vepa"] {
            let one = lan.vs.container(&format!("{mode}1"), &format!("--network {mode}"));
            let two = lan.vs.container(&format!("{mode}2"), &format!("--network {mode}"));
            one.cannot_ping(two.ipv4(mode));
        }
        lan.street.ok("ip link set port0 type bridge_slave hairpin on");
        let ends = ["private", "vepa"].map(|mode| [1, 2].map(|n| Container::new(&lan.vs, &format!("{mode}{n}"))));
        ends[0][0].cannot_ping(ends[0][1].ipv4("private"));
        ends[1][0].pings(ends[1][1].ipv4("vepa"));
        lan.street.ok("ip link set port0 type bridge_slave hairpin off");
        let _one = lan.vs.container("alone", "--network passthru");
        lan.vs.words("run --rm --network passthru -- true").exits(125).says("is for one container");
    });
}

/// ipvlan: on the LAN all containers have the parent's MAC address, and are told apart by their own.
#[test]
fn ipvlan() {
    guard(|| {
        let lan = Lan::start();
        let v6 = "--ipv6 --subnet fd01::/64 --gateway fd01::fe";
        lan.vs.ok(&format!("network create -d ipvlan {SUBNET} {v6} -o parent=eth0 lan"));
        let (a, b) = (lan.vs.container("a", "--network lan"), lan.vs.container("b", "--network lan"));
        let wire = lan.capture(&lan.other, "eth0");
        for container in [&a, &b] {
            container.pings("10.1.0.8");
            container.pings("fd01::8");
            container.serves_page();
            let page = format!("curl -s --max-time 10 http://{}/", container.ipv4("lan"));
            assert!(!fetch(lan.other.sh(&page)).is_empty());
            pings(&lan.other, &container.ipv6("lan").to_string());
        }
        a.pings(b.ipv4("lan"));
        a.pings(b.ipv6("lan"));
        let known = lan.other.ok("ip neigh");
        for container in [&a, &b] {
            let line = known.lines().find(|line| line.starts_with(&format!("{} ", container.ipv4("lan")))).unwrap();
            let mac = line.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap();
            let parent = lan.host.ok("ip -o link show eth0");
            assert!(parent.contains(mac), "{line}");
            assert!(!wire.shows("").contains(&container.endpoint("lan").mac_address));
        }
        pings(&lan.host, "10.1.0.8");
    });
}

/// A bridge network with a leg on the LAN, pipework's picture: a namespace that is attached with an address and gateway of the
/// LAN's is one more machine there.
#[test]
fn bridge_with_a_leg() {
    guard(|| {
        let lan = Lan::start();
        lan.vs.ok("network create br0 --subnet 10.1.0.0/24 -o parent=eth0");
        let holder = lan.spare();
        lan.vs.ok(&format!("attach --pid {} --network br0 --ip 10.1.0.220/24@10.1.0.254", holder.pid()));
        assert!(holder.ok("ip route show default").starts_with("default via 10.1.0.254 dev eth0"));
        pings(&holder, "10.1.0.254");
        let web = lan.vs.container("web", "--network br0 --ip 10.1.0.221");
        web.serves_page();
        assert!(!fetch(lan.other.sh("curl -s --max-time 10 http://10.1.0.221/")).is_empty());
        pings(&lan.other, "10.1.0.220");
        web.pings("10.1.0.220");
        // Who is on the LAN is learned as being there.
        let fdb = lan.vs.ok("fdb show br0");
        let other = lan.other.ok("ip -o link show eth0");
        let mac = other.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
        assert!(fdb.lines().any(|line| line.contains(mac) && line.contains("(eth0)")), "{fdb}");
        // Nobody there is believed to be a container.
        let own = &web.endpoint("br0").mac_address;
        lan.other.ok(&format!("ip link add f0 link eth0 type macvlan mode bridge && ip link set f0 address {own} && ip link set f0 up && ip addr add 10.1.0.6/24 dev f0"));
        lan.other.sh("ping -c 3 -i 0.1 -W 1 -I f0 10.1.0.220");
        web.pings("10.1.0.220");
    });
}

/// A parent that vanishes and comes back, changes its MTU or loses its carrier; a restart of vswitchd.
#[test]
fn parents_come_and_go() {
    guard(|| {
        let lan = Lan::start();
        lan.vs.ok(&format!("network create -d macvlan {SUBNET} -o parent=eth0 lan"));
        let a = lan.vs.container("a", "--network lan --ip 10.1.0.220");
        a.pings("10.1.0.8");
        lan.host.ok("ip link del eth0");
        eventually("the loss is told", 15, || lan.vs.log().contains("the parent interface vanished"));
        let b = lan.vs.container("b", "--network lan --ip 10.1.0.221");
        a.pings("10.1.0.221");
        lan.plug(&lan.host, "port0");
        eventually("a is on the LAN again", 20, || a.sh("ping -c 1 -W 1 10.1.0.8").code == 0);
        b.pings("10.1.0.254");
        lan.street.ok("ip link set port0 down");
        eventually("the lack is told", 15, || lan.vs.log().contains("is down or has no carrier"));
        lan.street.ok("ip link set port0 up");
        eventually("a is on the LAN again", 20, || a.sh("ping -c 1 -W 1 10.1.0.8").code == 0);
        lan.host.ok("ip link set eth0 mtu 1400");
        eventually("the MTU is told", 15, || lan.vs.log().contains("the parent's MTU changed"));
        let c = lan.vs.container("c", "--network lan");
        assert!(c.ok("ip -o link show eth0").contains("mtu 1400"));
        eventually("who runs has it, too", 15, || a.ok("ip -o link show eth0").contains("mtu 1400"));
        a.ok("ping -M do -s 1372 -c 1 -W 5 10.1.0.8");
        lan.host.ok("ip link set eth0 mtu 1500");
        eventually("and again", 15, || a.ok("ip -o link show eth0").contains("mtu 1500"));
        a.ok("ping -M do -s 1472 -c 1 -W 5 10.1.0.8");
        lan.vs.crash();
        lan.vs.up();
        a.pings("10.1.0.8");
        pings(&lan.other, "10.1.0.221");
    });
}

/// What cannot be is refused in a sentence: unknown parents, modes and VLANs, a second network or vswitchd on one place.
#[test]
fn refusals() {
    guard(|| {
        let lan = Lan::start();
        for (options, says) in [
            ("-d macvlan -o parent=eth9", "parent interface was not found on the host: eth9"),
            ("-d macvlan -o parent=eth0.5000", "VLAN ids are 1 to 4094"),
            ("-d macvlan -o parent=lo", "is not an Ethernet interface"),
            ("-d macvlan -o parent=eth0 -o macvlan_mode=l3", "requested macvlan mode 'l3' is not valid"),
            ("-d ipvlan -o parent=eth0 -o ipvlan_mode=l3", "requested ipvlan mode 'l3' is not available"),
            ("-d macvlan -o parent=eth0 -o mtu=9000", "parent interface eth0 has MTU 1500"),
            ("-d overlay -o parent=eth0", "of no use with the driver overlay"),
        ] {
            lan.vs.refuses(&format!("network create {options} --subnet 10.9.0.0/24 n"), says);
        }
        lan.vs.ok(&format!("network create -d macvlan {SUBNET} -o parent=eth0 lan"));
        lan.vs.refuses(
            "network create -o parent=eth0 --subnet 10.9.0.0/24 n",
            "network lan is already using parent interface eth0",
        );
        let second = Lan::daemon(&lan.host, "/tmp/second");
        second.refuses(
            "network create -d macvlan -o parent=eth0 --subnet 10.9.0.0/24 n",
            "another vswitchd has a network on parent eth0",
        );
        second.ok("network create -d macvlan -o parent=eth0.7 --subnet 10.9.0.0/24 n");
        let _published = lan.vs.container("p", "--network lan -p 80");
        assert_eq!(lan.vs.ok("port p").trim(), "");
        lan.vs.refuses("network policy add lan --deny", "is on a LAN");
        // Without a parent containers are among themselves.
        lan.vs.ok("network create -d macvlan --subnet 10.8.0.0/24 alone");
        let (x, y) = (lan.vs.container("x", "--network alone"), lan.vs.container("y", "--network alone"));
        x.pings(y.ipv4("alone"));
    });
}

/// Containers get addresses from the LAN's DHCP server, keep them by renewing, find its router, and are told when there is none.
#[test]
fn dhcp() {
    guard(|| {
        let lan = Lan::start();
        lan.vs.ok("network create -d macvlan --ipam-driver dhcp -o parent=eth0 lan");
        lan.vs
            .words("run --rm --network lan -- true")
            .exits(125)
            .says("no DHCP server on network lan gives an address");
        let dnsmasq = "dnsmasq --keep-in-foreground --port=0 --conf-file=/dev/null --user= --group= --interface=lan0 --bind-interfaces \
             --dhcp-range=10.1.0.50,10.1.0.60,255.255.255.0,2m --dhcp-option=3,10.1.0.254 --dhcp-leasefile=/tmp/leases \
             --dhcp-authoritative --no-ping --log-dhcp --log-facility=/tmp/dnsmasq.log --pid-file=/tmp/dnsmasq.pid";
        let _server = lan.street.spawn(dnsmasq);
        let log = || std::fs::read_to_string("/tmp/dnsmasq.log").unwrap_or_default();
        eventually("the server serves", 15, || log().contains("DHCP, IP range"));
        let a = lan.vs.container("a", "--network lan");
        let address = a.ipv4("lan");
        assert_eq!(lan.vs.json("network inspect lan")[0]["EnableIPv4"], true);
        assert!((50..=60).contains(&address.octets()[3]), "{address}");
        assert!(a.ok("ip route show default").starts_with("default via 10.1.0.254 dev eth0"));
        a.pings("10.1.0.8");
        pings(&lan.other, &address.to_string());
        assert!(std::fs::read_to_string("/tmp/leases").unwrap().contains(&format!("{address} a ")));
        // A restarted vswitchd renews at once what it finds.
        let asked = || log().matches(&format!("DHCPACK(lan0) {address}")).count();
        let before = asked();
        lan.vs.crash();
        lan.vs.up();
        eventually("the lease is renewed", 20, || asked() > before);
        a.pings("10.1.0.8");
        // Started again, it has its address again; removed, it gives it back.
        lan.vs.ok("restart -t 0 a");
        assert_eq!(a.ipv4("lan"), address);
        let b = lan.vs.container("b", "--network lan --ip 10.1.0.220/24@10.1.0.254");
        b.pings(address);
        lan.vs.ok("rm -f a");
        eventually("the lease is given back", 10, || log().contains(&format!("DHCPRELEASE(lan0) {address}")));
        lan.vs.refuses("network create --ipam-driver dhcp --subnet 10.9.0.0/24 n", "leave --subnet out");
    });
}
