//! Bad input: each is refused with a sentence, and changes nothing.

use vswitch_tests::{Vswitch, guard};

/// Networks: subnets that overlap, gateways outside, no room, doubled names, bad names, unknown options.
#[test]
fn networks() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.1.0.0/24");
        let before = vs.json("network ls");
        let rows = [
            ("n", "network with name n already exists"),
            ("x --subnet 10.1.0.0/24", "Pool overlaps with other one on this address space"),
            ("x --subnet 10.1.0.128/25", "Pool overlaps with other one on this address space"),
            ("x --subnet 10.0.0.0/8", "Pool overlaps with other one on this address space"),
            ("x --subnet 172.17.0.0/24", "Pool overlaps with other one on this address space"),
            ("x --subnet 10.2.0.0/24 --gateway 10.3.0.1", "parent subnet 10.2.0.0/24 doesn't contain this address"),
            ("x --subnet 10.2.0.0/24 --gateway 10.2.0.255", "10.2.0.255"),
            ("x --subnet 10.2.0.0/32", "no room"),
            ("x --subnet 10.2.0.5/24", "it should be 10.2.0.0/24"),
            ("x --subnet 10.2.0.0/33", "10.2.0.0/33"),
            ("x --subnet nonsense", "nonsense"),
            ("x --subnet 224.0.0.0/8", "multicast"),
            ("x --subnet 127.0.0.0/8", "loopback"),
            ("x --subnet 10.2.0.0/24 --ip-range 10.3.0.0/25", "doesn't contain ip-range"),
            ("x --subnet 10.2.0.0/24 --ip-range 10.2.0.0/23", "bigger than its parent subnet"),
            ("x --subnet 10.2.0.0/24 --aux-address nas=10.3.0.1", "doesn't contain this address"),
            ("x --subnet 10.2.0.0/24 --gateway 10.2.0.1 --aux-address nas=10.2.0.1", "Address already in use"),
            ("x --ip-range 10.2.0.0/25", "subnet"),
            ("x --opt mtuu=1", "known options: mtu"),
            ("x --opt mtu=none", "none"),
            ("x --opt mtu=70000", "70000"),
            ("x --opt icc=maybe", "maybe"),
            ("x --driver l2bridge", "l2bridge"),
            ("x --driver host", "only one instance"),
            ("x/y", "x/y"),
            ("-- -x", "-x"),
            ("bridge", "bridge"),
            ("none", "none"),
        ];
        for (flags, says) in rows {
            vs.words(&format!("network create {flags}")).refused(says);
        }
        for name in ["", "wéb", " x", "a\nb", &"x".repeat(129)] {
            vs.ctl(&["network", "create", "--", name]).refused("network name");
        }
        assert_eq!(vs.json("network ls"), before);
        vs.ctl(&["network", "create", &"x".repeat(128)]).ok();
    });
}

/// Networks in use, predefined ones and unknown ones are not removed.
#[test]
fn removals() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let _a = vs.container("a", "--network n");
        vs.refuses("network rm n", "has active endpoints");
        vs.words("network rm n").says("name:\"a\"");
        vs.refuses("network rm bridge", "bridge is a pre-defined network and cannot be removed");
        vs.refuses("network rm host", "pre-defined network");
        vs.refuses("network rm nowhere", "network nowhere not found");
        vs.refuses("network create x --opt uplink=wan2", "this vswitchd has none; start it with --uplink packet:IFACE");
        vs.refuses("network connect nowhere a", "network nowhere not found");
        vs.refuses("network connect n nobody", "nobody");
        vs.refuses("network connect host a", "host");
        vs.refuses("network disconnect n nobody", "nobody");
        vs.ok("rm -f a");
        vs.ok("network rm n");
    });
}

/// Addresses: in use, outside the subnet, the gateway's, on an automatic network, or none at all.
#[test]
fn addresses() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create given --subnet 10.1.0.0/24 --aux-address nas=10.1.0.9");
        vs.ok("network create auto");
        let _a = vs.container("a", "--network given --ip 10.1.0.5 --mac-address 02:42:00:00:00:05");
        let rows = [
            ("--network given --ip 10.1.0.5", "Address already in use"),
            ("--network given --ip 10.1.0.1", "Address already in use"),
            ("--network given --ip 10.1.0.9", "Address already in use"),
            ("--network given --ip 10.2.0.5", "10.2.0.5"),
            ("--network given --ip 10.1.0.0", "10.1.0.0"),
            ("--network given --ip 10.1.0.255", "10.1.0.255"),
            ("--network given --ip nonsense", "nonsense"),
            ("--network given --ip6 fd00::5", "fd00::5"),
            (
                "--network auto --ip 172.18.0.9",
                "user specified IP address is supported only when connecting to networks with user configured subnets",
            ),
            (
                "--network bridge --ip 172.17.0.9",
                "user specified IP address is supported on user defined networks only",
            ),
            ("--network given --mac-address 02:42:00:00:00:05", "02:42:00:00:00:05"),
            ("--network given --mac-address 01:00:5e:00:00:01", "01:00:5e:00:00:01"),
            ("--network given --mac-address ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff"),
            ("--network given --mac-address 00:00:00:00:00:00", "00:00:00:00:00:00"),
            ("--network given --mac-address 02:42:00", "02:42:00"),
            ("--network given --mac-address nonsense", "nonsense"),
            ("--network bridge --network-alias x", "aliases"),
            ("--name bad/name", "bad/name"),
            ("--hostname bad_host/name", "bad_host/name"),
            ("--dns nonsense", "nonsense"),
            ("--add-host nonsense", "nonsense"),
        ];
        for (flags, says) in rows {
            let output = vs.words(&format!("run -d {flags} -- sleep 9")).says(says);
            assert!([125, 2].contains(&output.code), "{output}");
        }
        // What another one has is refused at the start only: as with docker run, the two containers are there, never started.
        let made = vs.json("ps -a");
        let states: Vec<_> =
            made.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap_or_default()).collect();
        assert_eq!((states.len(), states.iter().filter(|state| **state == "created").count()), (3, 2), "{made}");
        assert_eq!(vs.endpoint_ports().len(), 1);
        let long = "x".repeat(129);
        vs.ctl(&["run", "-d", "--name", &long, "--", "true"]).exits(125);
    });
}
