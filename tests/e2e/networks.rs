//! Networks: subnets, options, isolation.

use std::{collections::BTreeSet, net::Ipv4Addr};

use serde_json::Value;
use vswitch_tests::{Vswitch, eventually, frames, guard, http, sh};

fn subnets(vs: &Vswitch, network: &str) -> Vec<String> {
    let shown = vs.json(&format!("network inspect {network}"));
    let config = shown[0]["IPAM"]["Config"].as_array().unwrap().clone();
    config.iter().map(|one| one["Subnet"].as_str().unwrap().to_owned()).collect()
}

/// Networks do not hear each other: not by address, not through the gateway, not by broadcast.
#[test]
fn isolated_from_each_other() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red --ipv6");
        vs.ok("network create blue --ipv6");
        let (a, b) = (vs.container("a", "--network red"), vs.container("b", "--network blue"));
        let peer = vs.container("peer", "--network red");
        a.pings(peer.ipv4("red"));
        a.cannot_ping(b.ipv4("blue"));
        a.cannot_ping(b.ipv6("blue"));
        assert!(vs.drops("a", "red", "untranslated") >= 2);
        let (in_red, in_blue) = (peer.sniff(), b.sniff());
        let source = (frames::mac(&a.endpoint("red").mac_address), a.ipv4("red"));
        let broadcast = frames::arp(source.0, 1, source, Ipv4Addr::new(172, 18, 9, 9));
        let unknown = frames::udp4(source, ([2, 0, 0, 0, 0, 9], b.ipv4("blue")), b"to nobody");
        let direct = frames::udp4(source, (frames::mac(&b.endpoint("blue").mac_address), b.ipv4("blue")), b"direct");
        a.sends(3, &[&broadcast, &unknown, &direct]);
        for frame in [&broadcast, &unknown, &direct] {
            in_red.expect(frame);
            assert_eq!(in_blue.count(frame), 0);
        }
    });
}

/// icc=false: containers reach the gateway and not each other, not even by broadcast, and that is counted.
#[test]
fn without_inter_container_communication() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6 --opt icc=false");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let gateway = a.endpoint("n");
        a.pings(gateway.ipv4_gateway.unwrap());
        a.pings(gateway.ipv6_gateway.unwrap());
        let sniffer = b.sniff();
        a.cannot_ping(b.ipv4("n"));
        a.cannot_ping(b.ipv6("n"));
        let source = (frames::mac(&a.endpoint("n").mac_address), a.ipv4("n"));
        let direct = frames::udp4(source, (frames::mac(&b.endpoint("n").mac_address), b.ipv4("n")), b"x");
        let broadcast = frames::arp(source.0, 1, source, b.ipv4("n"));
        a.sends(3, &[&direct, &broadcast]);
        vs.expect_drops("a", "n", "isolated", 4);
        assert_eq!(sniffer.count(&direct) + sniffer.count(&broadcast), 0);
    });
}

/// Automatic subnets follow Docker's pools and leave out what the host's routes and nameservers use.
#[test]
fn automatic_subnets() {
    guard(|| {
        let vs = Vswitch::start();
        assert_eq!(subnets(&vs, "bridge"), ["172.17.0.0/16"]);
        for (name, wanted) in [("a", "172.18.0.0/16"), ("b", "172.21.0.0/16"), ("c", "172.22.0.0/16")] {
            vs.ok(&format!("network create {name}"));
            assert_eq!(subnets(&vs, name), [wanted], "172.19 holds the nameserver, 172.20 a route of the host");
        }
        vs.ok("network create given --subnet 172.23.0.0/20");
        vs.ok("network create after");
        assert_eq!(subnets(&vs, "after"), ["172.24.0.0/16"]);
        vs.ok("network rm a");
        vs.ok("network create again --ipv6");
        let both = subnets(&vs, "again");
        assert_eq!(both[0], "172.18.0.0/16", "what was given back is used again");
        assert!(both[1].starts_with("fd") && both[1].ends_with("/64"), "{both:?}");
    });
}

/// A thousand networks find room beside each other, without overlap, and the last one works.
#[test]
fn a_thousand_networks() {
    guard(|| {
        let vs = Vswitch::start();
        for index in 0..1000 {
            let body = format!("{{\"Name\": \"net{index}\"}}");
            let answer = http::request(&vs.socket(), "POST", "/v1.47/networks/create", Some(&body));
            assert_eq!(answer.status, 201, "network {index}: {answer:?}");
        }
        let networks = http::request(&vs.socket(), "GET", "/networks", None).json();
        let networks = networks.as_array().unwrap();
        assert_eq!(networks.len(), 1003, "with bridge, host and none");
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for network in networks {
            for config in network["IPAM"]["Config"].as_array().unwrap_or(&Vec::new()) {
                let (address, length) = config["Subnet"].as_str().unwrap().split_once('/').unwrap();
                let first = u32::from(address.parse::<Ipv4Addr>().unwrap());
                ranges.push((first, first | u32::MAX.checked_shr(length.parse().unwrap()).unwrap_or_default()));
            }
        }
        ranges.sort_unstable();
        assert_eq!(ranges.len(), 1001);
        assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "subnets overlap");
        let (a, b) = (vs.container("a", "--network net999"), vs.container("b", "--network net999"));
        a.pings(b.ipv4("net999"));
    });
}

/// What was asked of a network is what inspect shows, in Docker's shape, and what leases follow.
#[test]
fn inspect_shows_what_was_asked() {
    guard(|| {
        let vs = Vswitch::start();
        let id = vs.ok("network create n --subnet 10.5.0.0/16 --gateway 10.5.0.9 --ip-range 10.5.7.0/29 \
             --aux-address nas=10.5.7.1 --label tier=web --label empty --opt mtu=1300 --internal");
        assert_eq!(id.trim().len(), 64);
        let shown = &vs.json("network inspect n")[0];
        assert_eq!((shown["Name"].as_str(), shown["Id"].as_str()), (Some("n"), Some(id.trim())));
        assert_eq!((shown["Driver"].as_str(), shown["Scope"].as_str()), (Some("bridge"), Some("local")));
        assert_eq!((shown["Internal"].as_bool(), shown["EnableIPv6"].as_bool()), (Some(true), Some(false)));
        let config = &shown["IPAM"]["Config"][0];
        assert_eq!((&config["Subnet"], &config["Gateway"]), (&"10.5.0.0/16".into(), &"10.5.0.9".into()));
        assert_eq!(config["IPRange"], "10.5.7.0/29");
        assert_eq!(config["AuxiliaryAddresses"]["nas"], "10.5.7.1");
        assert_eq!((&shown["Labels"]["tier"], &shown["Labels"]["empty"]), (&"web".into(), &"".into()));
        assert_eq!(shown["Options"]["mtu"], "1300");
        let a = vs.container("a", "--network n");
        let address = a.ipv4("n");
        assert!(
            (2..8).contains(&address.octets()[3]) && address.octets()[2] == 7 || address.octets()[3] == 0,
            "{address}"
        );
        a.pings("10.5.0.9");
        let member =
            vs.json("network inspect n")[0]["Containers"].as_object().unwrap().values().next().unwrap().clone();
        assert_eq!((&member["Name"], &member["IPv4Address"]), (&"a".into(), &format!("{address}/16").into()));
    });
}

/// Networks are found by name, id and unique prefix of the id; the predefined ones are always there.
#[test]
fn listing() {
    guard(|| {
        let vs = Vswitch::start();
        let id = vs.ok("network create n");
        for key in ["n", id.trim(), &id[..12]] {
            assert_eq!(vs.json(&format!("network inspect {key}"))[0]["Name"], "n");
        }
        let list = vs.json("network ls");
        let names: BTreeSet<&str> = list.as_array().unwrap().iter().filter_map(|one| one["Name"].as_str()).collect();
        assert_eq!(names, BTreeSet::from(["bridge", "host", "n", "none"]));
        let table = vs.ok("network ls");
        assert!(table.lines().next().unwrap().contains("NAME") && table.lines().count() == 5, "{table}");
        assert_eq!(vs.ok("network ls -q --filter name=n --no-trunc --filter driver=bridge").lines().count(), 1);
    });
}

/// prune removes networks without members and keeps the others and the predefined ones.
#[test]
fn prune() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create used");
        vs.ok("network create unused");
        let _member = vs.container("a", "--network used");
        assert!(vs.ok("network prune -f").contains("unused"));
        let names = vs.ok("network ls --format {{.Name}}");
        assert_eq!(
            names.split_whitespace().collect::<BTreeSet<_>>(),
            BTreeSet::from(["bridge", "host", "none", "used"])
        );
    });
}

/// Leases are given back and used again; a small network runs out with Docker's sentence.
#[test]
fn leases() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.6.0.0/29");
        let containers: Vec<_> = (2..7).map(|last| vs.container(&format!("c{last}"), "--network n")).collect();
        let addresses: BTreeSet<_> = containers.iter().map(|one| one.ipv4("n").octets()[3]).collect();
        assert_eq!(addresses, BTreeSet::from([2, 3, 4, 5, 6]));
        vs.words("run -d --name more --network n -- sleep 9").exits(125).says("no available IPv4 addresses");
        let freed = containers[2].ipv4("n");
        vs.ok("rm -f c4");
        assert_eq!(vs.container("more", "--network n").ipv4("n"), freed);
        let answer = http::request(&vs.socket(), "GET", "/vswitch/v1/containers?all=true", None).json();
        assert_eq!(answer.as_array().map(Vec::len), Some(5));
    });
}

/// A network of one family has only that family; a network without addresses still switches frames.
#[test]
fn families() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create six --ipv4=false --ipv6");
        let (a, b) = (vs.container("a", "--network six"), vs.container("b", "--network six"));
        assert_eq!(a.endpoint("six").ipv4_address, None);
        a.pings(b.ipv6("six"));
        a.pings(a.endpoint("six").ipv6_gateway.unwrap());
        let shown: Value = vs.json("network inspect six");
        assert_eq!((&shown[0]["EnableIPv4"], &shown[0]["EnableIPv6"]), (&false.into(), &true.into()));
        assert_eq!(sh("true").code, 0);
    });
}

/// With --icc=false a link opens the ports that its target exposes, for that container alone.
#[test]
fn links_without_icc() {
    guard(|| {
        let vs = Vswitch::with(&["--icc=false"]);
        let db = vs.container("db", "--expose 8000");
        let _open = db.spawn("exec python3 -m http.server 8000");
        let _closed = db.spawn("exec python3 -m http.server 8001");
        let linked = vs.container("linked", "--link db:store");
        let stranger = vs.container("stranger", "");
        let target = db.ipv4("bridge");
        linked.ok("curl -sf --retry 30 --retry-connrefused --retry-delay 1 -m 20 http://store:8000/");
        eventually("the other port is served", 20, || db.sh("curl -sf http://127.0.0.1:8001/").code == 0);
        for (who, port) in [(&linked, 8001), (&stranger, 8000)] {
            assert_eq!(who.sh(&format!("curl -s -m 2 http://{target}:{port}/")).code, 28, "{port}");
        }
        assert_ne!(linked.sh(&format!("ping -c 1 -W 1 {target}")).code, 0);
    });
}

/// Addresses of the link are had beside those of the network.
#[test]
fn link_local_addresses() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let a = vs.container("a", "--network n --link-local-ip 169.254.7.7");
        let b = vs.container("b", "");
        vs.ok("network connect --link-local-ip 169.254.8.8 n b");
        a.pings("169.254.8.8");
        b.pings("169.254.7.7");
        vs.words("create --network n --link-local-ip 169.253.5.5 -- true")
            .exits(125)
            .says("invalid link-local IP address");
    });
}
