//! Names as podman's containers have them: what aardvark-dns answers, at the gateways of vswitch's networks.

use serde_json::{Value, json};
use vswitch_tests::{guard, site::Namespace};

use super::engines::{CONTAINER, request};
use super::engines_place::{Place, serve_names};

/// Who is on two networks finds the names of both at either gateway, others only those of their own; with and without the
/// search domain, of which nothing is asked elsewhere.
#[test]
fn networks_and_the_search_domain() {
    guard(|| {
        let place = Place::new();
        let _upstream = serve_names(&place.site.outside, "10.99.0.2", "192.0.2.1");
        let (one, two, both) = (place.site.spare(), place.site.spare(), place.site.spare());
        let id = |digit: &str| CONTAINER.replace('7', digit);
        let status = place.set_up(&one, &request("aone", &id("a"), &[1], 5));
        assert_eq!(status["n1"]["dns_search_domains"], json!(["dns.podman"]));
        place.set_up(&two, &request("bone", &id("b"), &[2], 5));
        let wish = request("abtwo", &id("c"), &[1, 2], 6);
        let status = place.set_up(&both, &wish);
        assert_eq!(status["n2"]["dns_server_ips"], json!(["10.89.2.1"]));
        for name in ["aone", "aone.dns.podman", "AONE.Dns.Podman."] {
            assert_eq!(Place::dig(&both, name, 1), "10.89.1.5", "{name}");
            assert_eq!(Place::dig(&both, name, 2), "10.89.1.5", "{name}, at the other network's gateway");
        }
        for number in [1, 2] {
            assert_eq!(Place::dig(&both, "bone.dns.podman", number), "10.89.2.5");
            assert_eq!(Place::dig(&both, "abtwo", number), "10.89.1.6 10.89.2.6");
        }
        assert_eq!(Place::dig(&one, "abtwo", 1), "10.89.1.6");
        assert_eq!(Place::dig(&two, "abtwo.dns.podman", 2), "10.89.2.6");
        let nobody = |from: &Namespace, name: &str, number: u8| {
            let said = from.ok(&format!("dig +tries=2 +time=6 {name} @10.89.{number}.1"));
            assert!(said.contains("status: NXDOMAIN"), "{name}: {said}");
        };
        nobody(&one, "bone.dns.podman", 1);
        nobody(&two, "aone.dns.podman", 2);
        nobody(&both, "nobody.dns.podman", 1);
        assert_eq!(Place::dig(&one, "example.test", 1), "192.0.2.1", "others are asked elsewhere");
        let mut less = request("abtwo", &id("c"), &[1, 2], 6);
        for part in ["networks", "network_info"] {
            less[part].as_object_mut().unwrap().remove("n1");
        }
        place.netavark(&format!("teardown /proc/{}/ns/net", both.pid()), &less);
        nobody(&both, "bone.dns.podman", 1);
        assert_eq!(Place::dig(&both, "aone", 1), "10.89.1.5");
    });
}

/// What no network has is asked of the container's own resolvers, of the network's, which can be changed while containers run,
/// or of the host's; behind an internal network of nobody.
#[test]
fn resolvers() {
    guard(|| {
        let place = Place::new();
        let _upstream = serve_names(&place.site.outside, "10.99.0.2", "192.0.2.1");
        let _other = serve_names(&place.site.far, "10.98.0.2", "192.0.2.2");
        let (plain, own, inner) = (place.site.spare(), place.site.spare(), place.site.spare());
        let id = |digit: &str| CONTAINER.replace('7', digit);
        let asked = |from: &Namespace| Place::dig(from, "example.test", 1);
        place.set_up(&plain, &request("plain", &id("a"), &[1], 5));
        assert_eq!(asked(&plain), "192.0.2.1");
        let mut wish = request("own", &id("b"), &[1], 6);
        wish["dns_servers"] = json!(["10.98.0.2"]);
        place.set_up(&own, &wish);
        assert_eq!((asked(&plain).as_str(), asked(&own).as_str()), ("192.0.2.1", "192.0.2.2"));
        place.netavark("update n1 --network-dns-servers 10.98.0.2", &Value::Null);
        assert_eq!(asked(&plain), "192.0.2.2");
        place.netavark("update n1 --network-dns-servers ''", &Value::Null);
        assert_eq!(asked(&plain), "192.0.2.1");
        place.netavark("update unknown --network-dns-servers 10.98.0.2", &Value::Null);
        wish["network_info"]["n1"]["network_dns_servers"] = json!(["10.98.0.2"]);
        place.set_up(&own, &wish);
        assert_eq!(asked(&plain), "192.0.2.2", "the network's file says so with the next container");
        let mut internal = request("inner", &id("c"), &[3], 5);
        internal["network_info"]["n3"]["internal"] = json!(true);
        place.set_up(&inner, &internal);
        assert_eq!(Place::dig(&inner, "inner", 3), "10.89.3.5");
        let said = inner.ok("dig +tries=2 +time=6 example.test @10.89.3.1");
        assert!(said.contains("status: NXDOMAIN"), "{said}");
    });
}

/// What the suite of aardvark-dns, podman's own name server, expects of one network: names and aliases over both transports and both
/// families, many questions over one connection, no caching, long names of networks, and an address's way back to all names.
#[test]
fn as_aardvark_dns() {
    guard(|| {
        let place = Place::new();
        let _upstream = serve_names(&place.site.outside, "10.99.0.2", "192.0.2.1");
        let (one, two, six, long) = (place.site.spare(), place.site.spare(), place.site.spare(), place.site.spare());
        let id = |digit: &str| CONTAINER.replace('7', digit);
        let named = |name: &str, digit: &str, host: u8, aliases: [&str; 2]| {
            let mut wish = request(name, &id(digit), &[1], host);
            wish["networks"]["n1"]["aliases"] = json!(aliases);
            wish
        };
        place.set_up(&one, &named("aone", "a", 5, ["a1", "1a"]));
        place.set_up(&two, &named("atwo", "b", 6, ["a2", "2a"]));
        for transport in ["+notcp", "+tcp"] {
            for (from, names, wanted) in
                [(&one, ["atwo", "a2", "2a"], "10.89.1.6"), (&two, ["aone", "a1", "1a"], "10.89.1.5")]
            {
                for name in names {
                    let said = from.ok(&format!("dig +tries=2 +time=6 {transport} {name} @10.89.1.1"));
                    let answer =
                        said.lines().find(|line| line.ends_with(wanted)).unwrap_or_else(|| panic!("{name}: {said}"));
                    assert_eq!(answer.split_whitespace().nth(1), Some("0"), "nobody keeps it: {answer}");
                    assert!(!said.contains("recursion requested but not available"), "{said}");
                }
            }
            let said = one.ok(&format!("dig +short {transport} +tries=2 +time=6 example.test @10.89.1.1"));
            assert_eq!(said, "192.0.2.1\n", "{transport}");
        }
        let said = one.ok("dig +tcp +short +keepopen @10.89.1.1 aone a1 1a");
        assert_eq!(said, "10.89.1.5\n".repeat(3));
        let back = |from: &Namespace, address: &str, gateway: &str| {
            let said = from.ok(&format!("dig +short +tries=2 +time=6 -x {address} @{gateway}"));
            let mut names: Vec<String> = said.lines().map(str::to_owned).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(back(&one, "10.89.1.6", "10.89.1.1"), ["2a.", "a2.", "atwo."]);
        let mut wish = named("asix", "c", 5, ["b6", "6b"]);
        let network = &mut wish["network_info"]["n1"];
        network["id"] = json!(id("d"));
        network["subnets"] = json!([{"subnet": "fd89:6::/64", "gateway": "fd89:6::1"}]);
        network["ipv6_enabled"] = json!(true);
        wish["networks"]["n1"]["static_ips"] = json!(["fd89:6::5"]);
        place.set_up(&six, &wish);
        for name in ["asix", "b6"] {
            let said = six.ok(&format!("dig +short +tries=2 +time=6 {name} AAAA @fd89:6::1"));
            assert_eq!(said, "fd89:6::5\n", "{name}");
        }
        assert_eq!(back(&six, "fd89:6::5", "fd89:6::1"), ["6b.", "asix.", "b6."]);
        let name = format!("podman{}", "1".repeat(107));
        let mut wish: Value = serde_json::from_str(
            &request("along", &id("e"), &[2], 5).to_string().replace("\"n2\"", &format!("{name:?}")),
        )
        .unwrap();
        wish["network_info"][&name]["name"] = json!(name);
        place.set_up(&long, &wish);
        assert_eq!(Place::dig(&long, "along", 2), "10.89.2.5");
    });
}
