use std::ffi::OsString;

use super::super::options::{Parsed, parse};
use super::*;

fn options(text: &str) -> Options {
    let words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
    match parse(&words) {
        Ok(Parsed::Run(options)) => *options,
        other => panic!("{text}: {other:?}"),
    }
}

fn upstream(address: &str, gateway: Option<&str>) -> Upstream {
    Upstream {
        interface: "up0".to_owned(),
        address: address.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        routes: Vec::new(),
    }
}

fn routes(plan: &Plan) -> Vec<String> {
    let text = |route: &EngineRoute| match &route.gateway {
        Some(gateway) => format!("{} via {gateway}", route.destination),
        None => route.destination.clone(),
    };
    plan.attach.routes.iter().map(text).collect()
}

fn option<'a>(plan: &'a Plan, key: &str) -> &'a str {
    plan.attach.network.options.get(key).map_or("", String::as_str)
}

fn subnets(plan: &Plan) -> Vec<String> {
    let config = &plan.attach.network.ipam.as_ref().unwrap().config;
    config.iter().map(|one| format!("{} {} {}", one.subnet, one.ip_range, one.gateway)).collect()
}

/// As podman 5.3 calls it on an ordinary host: its addresses, its gateways, its names, and the two addresses of podman's.
#[test]
fn the_host_s_own() {
    let options = options(
        "--config-net -t 127.0.0.1/8080-8080:80-80 --dns-forward 169.254.1.1 -u none -T none -U none --no-map-gw --quiet \
         --netns /x --map-guest-addr 169.254.1.2",
    );
    let (v4, v6) = (upstream("192.168.1.7/24", Some("192.168.1.1")), upstream("2001:db8::7/64", Some("fe80::1")));
    let plan = mimic(&options, (Some(&v4), Some(&v6))).unwrap();
    assert_eq!(plan.uplink, "sockets,host-address=169.254.1.2@192.168.1.7");
    assert_eq!(plan.attach.addresses, ["192.168.1.7/24", "2001:db8::7/64"]);
    assert_eq!(plan.attach.key.interface, "up0");
    assert_eq!(plan.attach.publish, ["127.0.0.1:8080:80/tcp"]);
    assert_eq!(
        subnets(&plan),
        ["192.168.0.0/23 192.168.1.7/32 192.168.0.255", "2001:db8::/63 2001:db8::7/128 2001:db8:0:1::"]
    );
    assert_eq!(routes(&plan), ["0.0.0.0/0 via 192.168.1.1", "::/0 via fe80::1"]);
    assert_eq!(option(&plan, "proxy-arp"), "rest,169.254.1.2,fe80::1");
    assert_eq!(option(&plan, "gateway-addresses"), "169.254.1.1");
    assert_eq!(option(&plan, "mtu"), "65520");
}

/// As rootlesskit calls it: everything is said, and the gateway is the host's loopback.
#[test]
fn what_is_said() {
    let options = options(
        "--stderr --ns-ifname=tap0 --mtu=65520 --config-net --address=10.0.2.100 --netmask=24 --gateway=10.0.2.2 \
         --dns-forward=10.0.2.3 --ipv4-only --tcp-ports=auto --udp-ports=auto 4711",
    );
    let v4 = upstream("192.168.1.7/24", Some("192.168.1.1"));
    let plan = mimic(&options, (Some(&v4), None)).unwrap();
    assert_eq!(plan.uplink, "sockets,host-loopback=10.0.2.2");
    assert_eq!(
        (plan.attach.addresses.as_slice(), plan.attach.key.interface.as_str()),
        (&["10.0.2.100/24".to_owned()][..], "tap0")
    );
    assert_eq!(subnets(&plan), ["10.0.2.0/23 10.0.2.100/32 10.0.3.0"]);
    assert_eq!(routes(&plan), ["0.0.0.0/0 via 10.0.2.2"]);
    assert_eq!(option(&plan, "proxy-arp"), "rest,10.0.2.2");
}

/// Hosts with a /32 and a gateway elsewhere, with a default route without gateway, with routes of their own, and with none at all.
#[test]
fn other_hosts() {
    let none = options("-t none --netns /x");
    let narrow = Upstream {
        routes: vec![super::super::upstream::Route::new("10.128.0.1/32", None)],
        ..upstream("10.128.0.9/32", Some("10.128.0.1"))
    };
    let plan = mimic(&none, (Some(&narrow), None)).unwrap();
    assert_eq!(routes(&plan), ["10.128.0.1/32", "0.0.0.0/0 via 10.128.0.1"]);
    assert_eq!(subnets(&plan), ["10.128.0.0/23 10.128.0.9/32 10.128.1.0"]);
    let tunnel = mimic(&none, (Some(&upstream("10.8.0.6/24", None)), None)).unwrap();
    assert_eq!(routes(&tunnel), ["10.8.1.0/32", "0.0.0.0/0 via 10.8.1.0"]);
    assert_eq!(option(&tunnel, "proxy-arp"), "rest");
    let routed = Upstream {
        routes: vec![
            super::super::upstream::Route::new("10.77.0.0/16", Some("10.99.0.3")),
            super::super::upstream::Route::new("10.78.0.0/16", None),
        ],
        ..upstream("10.99.0.1/24", Some("10.99.0.2"))
    };
    let plan = mimic(&none, (Some(&routed), None)).unwrap();
    assert_eq!(routes(&plan), ["0.0.0.0/0 via 10.99.0.2", "10.77.0.0/16 via 10.99.0.3", "10.78.0.0/16 via 10.99.0.2"]);
    let bare = options("--no-copy-routes --netns /x");
    assert_eq!(routes(&mimic(&bare, (Some(&routed), None)).unwrap()), ["0.0.0.0/0 via 10.99.0.2"]);
    let alone = mimic(&none, (None, None)).unwrap();
    assert_eq!(
        (alone.attach.addresses.as_slice(), alone.attach.key.interface.as_str()),
        (&["10.0.2.100/24".to_owned()][..], "tap0")
    );
    let only_v6 = options("-6 --netns /x");
    assert!(mimic(&only_v6, (Some(&routed), None)).is_err());
}
