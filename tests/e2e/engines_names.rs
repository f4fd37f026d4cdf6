//! Names as podman's containers have them: what aardvark-dns answers, at the gateways of vswitch's networks.

use std::fs;

use serde_json::{Value, json};
use vswitch_tests::{Background, Rootless, eventually, guard, site::Namespace};

use super::engines::{CONTAINER, HELPERS, provide_helpers, request};

/// Starts a name server that answers everything with one address.
fn serve(place: &Namespace, address: &str, answer: &str) -> Background {
    fs::write("/mnt/dns_server.py", include_str!("dns_server.py")).unwrap();
    let server = place.spawn(&format!("python3 /mnt/dns_server.py {address} {answer}"));
    eventually("the name server is ready", 20, || server.output().contains("ready"));
    server
}

/// Containers of a switch whose way out is the host's sockets.
struct Place {
    site: Rootless,
}

impl Place {
    fn netavark(&self, words: &str, request: &Value) -> Value {
        fs::write("/tmp/request.json", request.to_string()).unwrap();
        let socket = self.site.vs.socket();
        let line = format!(
            "VSWITCH_SOCKET={} {HELPERS}/netavark --rootless=true {words} </tmp/request.json",
            socket.display()
        );
        serde_json::from_str(&self.site.host.ok(&line)).unwrap_or_default()
    }

    fn set_up(&self, namespace: &Namespace, request: &Value) -> Value {
        self.netavark(&format!("setup /proc/{}/ns/net", namespace.pid()), request)
    }

    /// The sorted answers to a question at the gateway of the network of this number.
    fn dig(from: &Namespace, name: &str, number: u8) -> String {
        let said = from.sh(&format!("dig +short +tries=2 +time=6 {name} @10.89.{number}.1")).stdout;
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        lines.join(" ")
    }
}

/// Who is on two networks finds the names of both at either gateway, others only those of their own; with and without the
/// search domain, of which nothing is asked elsewhere.
#[test]
fn networks_and_the_search_domain() {
    guard(|| {
        provide_helpers();
        fs::write("/run/resolv.conf", "nameserver 10.99.0.2\n").unwrap();
        let site = Rootless::as_root(&[]);
        let _upstream = serve(&site.outside, "10.99.0.2", "192.0.2.1");
        let place = Place { site };
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
        provide_helpers();
        fs::write("/run/resolv.conf", "nameserver 10.99.0.2\n").unwrap();
        let site = Rootless::as_root(&[]);
        let _upstream = serve(&site.outside, "10.99.0.2", "192.0.2.1");
        let _other = serve(&site.far, "10.98.0.2", "192.0.2.2");
        let place = Place { site };
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
