//! Networks over the control socket, in Docker's dialect.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use common::{Daemon, message};
use serde_json::json;
use vswitch_ctl::model::Network;

/// Docker's clients find the three default networks, behind any version prefix; the host's networks are avoided.
#[test]
fn default_networks() {
    let daemon = Daemon::start();
    for path in ["/networks", "/v1.24/networks", "/v1.47/networks"] {
        let (status, answer) = daemon.get(path);
        assert_eq!(status, 200);
        let names: Vec<_> = answer.as_array().unwrap().iter().map(|one| one["Name"].as_str().unwrap()).collect();
        assert_eq!(names, ["bridge", "host", "none"]);
        assert_eq!(answer[0]["IPAM"]["Config"][0]["Subnet"], "172.17.0.0/16");
    }
    // The host is on 172.18.0.0/16 and its nameserver in 172.19.0.0/16.
    let (_, created) = daemon.post("/networks/create", r#"{"Name": "auto"}"#);
    let (_, network) = daemon.get(&format!("/networks/{}", created["Id"].as_str().unwrap()));
    assert_eq!(network["IPAM"]["Config"][0]["Subnet"], "172.20.0.0/16");
}

/// A network shows what was asked and what was chosen, and is found by id, prefix and name.
#[test]
fn create_inspect_remove() {
    let daemon = Daemon::start();
    let body = json!({
        "Name": "web", "Driver": "bridge", "EnableIPv6": true, "Internal": true,
        "Labels": {"a": "b"}, "Options": {"mtu": "1400"},
        "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.128/25",
            "Gateway": "10.9.0.254", "AuxiliaryAddresses": {"nas": "10.9.0.5"}}]},
    });
    let (status, answer) = daemon.post("/networks/create", &body.to_string());
    assert_eq!((status, answer["Warning"].as_str()), (201, Some("")));
    let id = answer["Id"].as_str().unwrap();
    for name in [id, &id[..12], "web"] {
        let (status, network) = daemon.get(&format!("/networks/{name}"));
        assert_eq!(status, 200);
        assert_eq!(network["IPAM"]["Config"][0], body["IPAM"]["Config"][0]);
        assert_eq!((&network["Labels"], &network["Options"]), (&body["Labels"], &body["Options"]));
        assert_eq!((&network["Internal"], &network["EnableIPv6"]), (&json!(true), &json!(true)));
        let ula = network["IPAM"]["Config"][1]["Subnet"].as_str().unwrap();
        assert!(ula.starts_with("fd") && ula.ends_with("/64"), "{ula}");
    }
    assert_eq!(daemon.delete("/networks/web").0, 204);
    let (status, answer) = daemon.get("/networks/web");
    assert_eq!((status, message(&answer)), (404, "network web not found"));
    assert_eq!(daemon.delete("/networks/web").0, 404);
}

/// Every kind of bad network is refused with Docker's status and sentence, and leaves nothing.
#[test]
fn refusals() {
    let daemon = Daemon::start();
    daemon.network("taken", "10.50.0.0/16");
    let subnet = |config: serde_json::Value| json!({"Name": "n", "IPAM": {"Config": [config]}}).to_string();
    let cases = [
        (subnet(json!({"Subnet": "10.50.4.0/24"})), 403, "Pool overlaps with other one on this address space"),
        (subnet(json!({"Subnet": "10.0.0.0/8"})), 403, "meets 10.50.0.0/16 of network taken"),
        (subnet(json!({"Subnet": "10.51.0.1/24"})), 400, "invalid subnet 10.51.0.1/24: it should be 10.51.0.0/24"),
        (subnet(json!({"Subnet": "10.51.0.0/24", "Gateway": "10.52.0.1"})), 400, "doesn't contain this address"),
        (subnet(json!({"Subnet": "10.51.0.0/32"})), 400, "no room for a container"),
        (subnet(json!({"Gateway": "10.52.0.1"})), 400, "must have a corresponding subnet"),
        (json!({"Name": "taken"}).to_string(), 409, "network with name taken already exists"),
        (json!({"Name": "a/b"}).to_string(), 400, "invalid network name"),
        (json!({"Name": ""}).to_string(), 400, "must not be empty"),
        (json!({"Name": "x".repeat(129)}).to_string(), 400, "it has 129 characters"),
        (json!({"Name": "bridge"}).to_string(), 403, "operation is not permitted on predefined bridge network"),
        (json!({"Name": "n", "Driver": "vlan"}).to_string(), 400, "network driver vlan is not available"),
        (json!({"Name": "n", "Options": {"mutu": "1"}}).to_string(), 400, "did you mean mtu?"),
        (json!({"Name": "n", "Options": {"mtu": "-1"}}).to_string(), 400, "invalid MTU number: -1"),
        (json!({"Name": "n", "Ingress": true}).to_string(), 400, "swarm"),
        ("{".to_owned(), 400, "invalid JSON in the request body"),
        ("[1]".to_owned(), 400, "invalid JSON in the request body"),
        (String::new(), 400, "the request body is empty"),
    ];
    for (body, expected, says) in cases {
        let (status, answer) = daemon.post("/networks/create", &body);
        assert!(status == expected && message(&answer).contains(says), "{body}: {status} {answer}");
    }
    let (_, networks) = daemon.get("/networks");
    assert_eq!(networks.as_array().unwrap().len(), 4);
}

/// A subnet that others have, too, is given only where that is asked for; it is then in nobody's way.
#[test]
fn overlapping_subnets() {
    let daemon = Daemon::start();
    let create = |name: &str, subnet: &str, options: serde_json::Value| {
        let body = json!({"Name": name, "Options": options, "IPAM": {"Config": [{"Subnet": subnet}]}});
        daemon.post("/networks/create", &body.to_string())
    };
    let own = || json!({"overlap": "true"});
    assert_eq!(create("own", "10.60.0.0/16", own()).0, 201);
    assert_eq!(create("shared", "10.60.4.0/24", json!({})).0, 201, "what is another one's own is in nobody's way");
    assert_eq!(create("more", "10.60.4.0/24", json!({})).0, 403);
    assert_eq!(create("more", "10.60.4.0/24", own()).0, 201);
    for options in [
        json!({"overlap": "true", "masquerade": "false"}),
        json!({"overlap": "true", "com.docker.network.bridge.gateway_mode_ipv4": "routed"}),
        json!({"overlap": "true", "host": "true"}),
        json!({"overlap": "true", "proxy-arp": "10.60.4.9"}),
        json!({"overlap": "perhaps"}),
    ] {
        let (status, answer) = create("bad", "10.60.4.0/24", options);
        assert_eq!(status, 400, "{answer}");
    }
    let (_, shown) = daemon.get("/networks/more");
    assert_eq!(shown["Options"], own());
    for network in ["own", "more", "shared"] {
        daemon.running(&format!("on-{network}"), network);
    }
}

/// The predefined networks stay, and a network in use names who uses it.
#[test]
fn removals_that_are_refused() {
    let daemon = Daemon::start();
    for name in Network::PREDEFINED {
        let (status, answer) = daemon.delete(&format!("/networks/{name}"));
        assert_eq!(
            (status, message(&answer)),
            (403, &*format!("{name} is a pre-defined network and cannot be removed"))
        );
    }
    daemon.network("web", "10.9.0.0/24");
    daemon.running("c1", "web");
    let (status, answer) = daemon.delete("/networks/web");
    assert_eq!(status, 403);
    let says = r#"error while removing network: network web has active endpoints (name:"c1" id:""#;
    assert!(message(&answer).starts_with(says), "{answer}");
    // A stopped container is no hindrance, as with Docker; starting it then says which network is missing.
    assert_eq!(daemon.post("/vswitch/v1/containers/c1/stop", "").0, 204);
    assert_eq!(daemon.delete("/networks/web").0, 204);
    let (status, answer) = daemon.post("/vswitch/v1/containers/c1/start", "");
    assert_eq!((status, message(&answer)), (404, "network web not found"));
}

/// Docker's filters: alternatives within a key, all keys together; unknown ones are refused.
#[test]
fn filters() {
    let daemon = Daemon::start();
    daemon.post("/networks/create", r#"{"Name": "alpha", "Labels": {"tier": "front"}}"#);
    daemon.post("/networks/create", r#"{"Name": "beta", "Labels": {"tier": "back"}}"#);
    daemon.running("c1", "beta");
    let names = |filters: &str| -> Vec<String> {
        let escaped: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (status, answer) = daemon.get(&format!("/networks?filters={escaped}"));
        assert_eq!(status, 200, "{answer}");
        answer.as_array().unwrap().iter().map(|one| one["Name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(r#"{"name": {"alp": true, "bet": true}}"#), ["alpha", "beta"]);
    assert_eq!(names(r#"{"name": ["a"], "label": ["tier=back"]}"#), ["beta"]);
    assert_eq!(names(r#"{"type": {"builtin": true}}"#), ["bridge", "host", "none"]);
    assert_eq!(names(r#"{"dangling": {"true": true}}"#), ["alpha"]);
    assert_eq!(names(r#"{"driver": {"null": true}}"#), ["none"]);
    let (status, answer) = daemon.get("/networks?filters=%7B%22size%22%3A%5B%221%22%5D%7D");
    assert!(status == 400 && message(&answer).starts_with("invalid filter 'size'"), "{answer}");
    assert_eq!(daemon.get("/networks?filters=x").0, 400);
}

/// Prune removes exactly the custom networks that nobody active uses.
#[test]
fn prune() {
    let daemon = Daemon::start();
    for name in ["used", "unused", "labelled"] {
        let labels = if name == "labelled" { json!({"keep": "1"}) } else { json!({}) };
        daemon.post("/networks/create", &json!({"Name": name, "Labels": labels}).to_string());
    }
    daemon.running("c1", "used");
    let (status, answer) = daemon.post("/networks/prune?filters=%7B%22label%21%22%3A%5B%22keep%22%5D%7D", "");
    assert_eq!((status, answer), (200, json!({"NetworksDeleted": ["unused"]})));
    let (_, answer) = daemon.post("/networks/prune", "");
    assert_eq!(answer, json!({"NetworksDeleted": ["labelled"]}));
}

/// A thousand networks get a thousand subnets that do not overlap.
#[test]
fn a_thousand_networks() {
    let daemon = Daemon::start();
    let mut subnets = std::collections::BTreeSet::new();
    for index in 0..1000 {
        let spec = vswitch_ctl::model::parse_network(vswitch_api::network::NetworkCreate {
            name: format!("n{index}"),
            ..Default::default()
        });
        let id = daemon.controller.create_network(spec.unwrap()).unwrap();
        let network = daemon.controller.inspect_network(id.as_str()).unwrap();
        assert!(subnets.insert(network.ipam.config[0].subnet.clone()));
    }
    let nets: Vec<ipnet::IpNet> = subnets.iter().map(|text| text.parse().unwrap()).collect();
    let mut sorted = nets.clone();
    sorted.sort_by_key(ipnet::IpNet::network);
    assert!(sorted.windows(2).all(|pair| !pair[0].contains(&pair[1])));
    let host: ipnet::IpNet = "172.18.0.0/16".parse().unwrap();
    assert!(nets.iter().all(|net| !net.contains(&host) && !host.contains(net)));
}
