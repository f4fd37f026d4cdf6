//! What Docker's clients ask of networks and endpoints, and what they are shown of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use common::agent::FakeAgent;
use common::{Daemon, message};
use serde_json::{Value, json};
use vswitch_ctl::agent::protocol::Request;
use vswitch_ctl::model::Defaults;

const UPLINK: &str = "packet:up0,address=10.99.0.1/24,gateway=10.99.0.2";

fn daemon() -> Daemon {
    Daemon::start_with(tempfile::tempdir().unwrap(), FakeAgent::default(), Some(UPLINK))
}

/// Makes a network; its record, and the warning that came with it.
fn network(daemon: &Daemon, body: &Value) -> (Value, String) {
    let (status, answer) = daemon.post("/networks/create", &body.to_string());
    assert_eq!(status, 201, "{answer}");
    let (_, made) = daemon.get(&format!("/networks/{}", answer["Id"].as_str().unwrap()));
    (made, answer["Warning"].as_str().unwrap().to_owned())
}

fn refused(daemon: &Daemon, body: &Value) -> (u16, String) {
    let (status, answer) = daemon.post("/networks/create", &body.to_string());
    assert!(status >= 400, "{answer}");
    (status, message(&answer).to_owned())
}

fn create(daemon: &Daemon, body: &Value) -> Value {
    let (status, answer) = daemon.post("/vswitch/v1/containers", &body.to_string());
    assert_eq!(status, 201, "{answer}");
    answer
}

/// Options that are nobody's are kept, shown and warned of; those of Docker's that compose files carry are understood or
/// warned of; a misspelt one is refused.
#[test]
fn driver_options() {
    let daemon = daemon();
    let options = json!({"foo": "bar", "com.docker.network.host_ipv4": "198.51.100.1",
        "com.docker.network.bridge.gateway_mode_ipv4": "routed", "com.docker.network.bridge.host_binding_ipv4": "10.99.0.1"});
    let (made, warning) = network(&daemon, &json!({"Name": "n", "Options": options}));
    assert_eq!(made["Options"], options);
    assert!(warning.contains("network option foo is not known here") && warning.contains("host_ipv4"), "{warning}");
    assert!(!warning.contains("gateway_mode") && !warning.contains("host_binding"), "{warning}");
    let (status, said) = refused(&daemon, &json!({"Name": "m", "Options": {"mut": "1400"}}));
    assert!(status == 400 && said.contains("did you mean mtu?"), "{said}");
    let isolated = json!({"com.docker.network.bridge.gateway_mode_ipv6": "isolated"});
    assert!(refused(&daemon, &json!({"Name": "m", "Options": isolated})).1.contains("internal network"));
}

/// Ports are published where the network of the way in says, or the settings; -P publishes what is exposed, and what is
/// exposed and not published is shown to lead nowhere.
#[test]
fn published_by_default() {
    let daemon = daemon();
    network(&daemon, &json!({"Name": "n", "Options": {"com.docker.network.bridge.host_binding_ipv4": "10.99.0.1"}}));
    create(
        &daemon,
        &json!({"name": "a", "command": ["sleep"], "network": "n", "publish": ["8080:80"], "expose": ["81", "53/udp"]}),
    );
    assert_eq!(daemon.post("/containers/a/start", "").0, 204);
    let ports = |name: &str| daemon.get(&format!("/containers/{name}/json")).1["NetworkSettings"]["Ports"].clone();
    let expected = json!({"80/tcp": [{"HostIp": "10.99.0.1", "HostPort": "8080"}], "81/tcp": null, "53/udp": null});
    assert_eq!(ports("a"), expected);
    create(
        &daemon,
        &json!({"name": "b", "command": ["sleep"], "publish": ["9000:80"], "expose": ["80-81"], "publish_all": true}),
    );
    let defaults = Defaults { publish_host: Some("127.0.0.1".parse().unwrap()), ..daemon.controller.defaults() };
    daemon.controller.reload(defaults).unwrap();
    assert_eq!(daemon.post("/containers/b/start", "").0, 204);
    let bound = ports("b");
    assert_eq!(bound["80/tcp"], json!([{"HostIp": "127.0.0.1", "HostPort": "9000"}]));
    assert_eq!(bound["81/tcp"][0]["HostIp"], "127.0.0.1");
    let (_, shown) = daemon.get("/containers/b/json");
    assert_eq!(shown["Config"]["ExposedPorts"], json!({"80/tcp": {}, "81/tcp": {}}));
    assert_eq!(shown["HostConfig"]["PublishAllPorts"], true);
    let (_, listed) = daemon.get("/containers/json");
    let of_a = listed.as_array().unwrap().iter().find(|one| one["Names"][0] == "/a").unwrap();
    assert!(of_a["Ports"].as_array().unwrap().contains(&json!({"PrivatePort": 81, "Type": "tcp"})), "{of_a}");
}

/// What was asked of an endpoint is shown, whether it runs or not: addresses, MAC address, options; what vswitchd chose is
/// not. A container shows where its output goes.
#[test]
fn what_was_asked_for() {
    let daemon = daemon();
    daemon.network("n", "10.9.0.0/24");
    daemon.network("m", "10.9.1.0/24");
    let endpoint = json!({"IPAMConfig": {"IPv4Address": "10.9.0.9"}, "MacAddress": "02:42:ac:11:00:42",
        "DriverOpts": {"com.docker-py.setting": "on"}});
    let made = create(&daemon, &json!({"name": "c", "command": ["sleep"], "network": "n", "endpoint": endpoint}));
    assert!(made["warnings"][0].as_str().unwrap().contains("com.docker-py.setting is not known here"), "{made}");
    assert_eq!(daemon.post("/networks/m/connect", r#"{"Container": "c", "EndpointConfig": {}}"#).0, 200);
    let shown = || daemon.get("/containers/c/json").1;
    let created = shown();
    let on = &created["NetworkSettings"]["Networks"]["n"];
    assert_eq!(on["IPAMConfig"], json!({"IPv4Address": "10.9.0.9"}));
    assert_eq!((&on["MacAddress"], &on["IPAddress"]), (&"02:42:ac:11:00:42".into(), &"".into()));
    assert_eq!(
        (&created["Config"]["MacAddress"], &on["DriverOpts"]),
        (&"02:42:ac:11:00:42".into(), &endpoint["DriverOpts"])
    );
    assert_eq!(created["HostConfig"]["LogConfig"], json!({"Type": "json-file", "Config": {}}));
    assert_eq!(daemon.post("/containers/c/start", "").0, 204);
    let running = shown();
    let networks = &running["NetworkSettings"]["Networks"];
    assert_eq!((&networks["n"]["IPAddress"], &networks["n"]["IPAMConfig"]), (&"10.9.0.9".into(), &on["IPAMConfig"]));
    assert_eq!((&networks["m"]["IPAMConfig"], &networks["m"]["IPAddress"]), (&Value::Null, &"10.9.1.2".into()));
}

/// A network that only holds settings gives them to others, is on nobody's way and cannot be joined, and stays while one has
/// them.
#[test]
fn settings_for_others() {
    let daemon = daemon();
    let ipam = json!({"Config": [{"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.9"}]});
    let held = json!({"Name": "held", "ConfigOnly": true, "IPAM": ipam, "Labels": {"a": "1"},
        "Options": {"com.docker.network.driver.mtu": "1400"}});
    let (made, _) = network(&daemon, &held);
    assert_eq!((&made["ConfigOnly"], &made["Driver"]), (&true.into(), &"null".into()));
    assert_eq!(made["IPAM"]["Config"], ipam["Config"]);
    let (made, _) = network(
        &daemon,
        &json!({"Name": "n", "ConfigFrom": {"Network": "held"},
        "IPAM": {"Driver": "default", "Options": {}, "Config": []}, "Options": {}, "Labels": {"b": "2"}}),
    );
    assert_eq!((&made["ConfigFrom"]["Network"], &made["ConfigOnly"]), (&"held".into(), &false.into()));
    assert_eq!((&made["IPAM"]["Config"], &made["Labels"]), (&ipam["Config"], &json!({"a": "1", "b": "2"})));
    assert_eq!(made["Options"], held["Options"]);
    daemon.running("c", "n");
    assert_eq!(daemon.inspect("c")["endpoints"][0]["ipv4_gateway"], "10.9.0.9");
    for (body, status, says) in [
        (json!({"Name": "m", "ConfigFrom": {"Network": "nobody"}}), 404, "could not find configuration network"),
        (json!({"Name": "m", "ConfigFrom": {"Network": "n"}}), 403, "is not a configuration network"),
        (json!({"Name": "m", "ConfigFrom": {"Network": "held"}, "IPAM": ipam}), 403, "user specified configurations"),
        (json!({"Name": "m", "ConfigOnly": true, "Internal": true}), 403, "Network operator fields"),
        (json!({"Name": "m", "ConfigOnly": true, "ConfigFrom": {"Network": "held"}}), 400, "cannot depend on another"),
        (json!({"Name": "m", "ConfigOnly": true, "Options": {"mtu": "1"}}), 400, "invalid MTU"),
    ] {
        let (got, said) = refused(&daemon, &body);
        assert!(got == status && said.contains(says), "{body}: {got} {said}");
    }
    let body = json!({"command": ["sleep"], "network": "held"});
    let (status, answer) = daemon.post("/vswitch/v1/containers", &body.to_string());
    assert!(status == 403 && message(&answer).contains("--config-only"), "{answer}");
    assert_eq!(daemon.post("/networks/held/connect", r#"{"Container": "c"}"#).0, 403);
    let (status, answer) = daemon.delete("/networks/held");
    assert_eq!((status, message(&answer)), (403, "configuration network \"held\" is in use"));
    let (dir, agent) = daemon.crash();
    let daemon = Daemon::start_with(dir, agent, Some(UPLINK));
    assert_eq!(daemon.get("/networks/held").1["IPAM"]["Config"], ipam["Config"]);
    assert_eq!((daemon.delete("/containers/c?force=1").0, daemon.post("/networks/prune", "").0), (204, 200));
    assert_eq!((daemon.get("/networks/n").0, daemon.delete("/networks/held").0), (404, 204));
}

/// A network of two addresses without a gateway has room for two, who have no default route; one whose gateway is
/// somebody else's keeps the address free and leads there.
#[test]
fn without_a_gateway() {
    let daemon = daemon();
    let inhibit = json!({"com.docker.network.bridge.inhibit_ipv4": "true"});
    let point_to_point = json!({"Name": "p2p", "Internal": true, "Options": inhibit,
        "IPAM": {"Config": [{"Subnet": "192.168.135.0/31"}]}});
    let (made, _) = network(&daemon, &point_to_point);
    assert_eq!(made["IPAM"]["Config"][0]["Gateway"], Value::Null);
    daemon.running("a", "p2p");
    daemon.running("b", "p2p");
    let endpoint = |name: &str| daemon.inspect(name)["endpoints"][0].clone();
    assert_eq!(endpoint("a")["ipv4_address"], "192.168.135.0/31");
    assert_eq!(
        (&endpoint("b")["ipv4_address"], &endpoint("b")["ipv4_gateway"]),
        (&"192.168.135.1/31".into(), &Value::Null)
    );
    network(&daemon, &json!({"Name": "n", "Options": inhibit, "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}}));
    daemon.running("c", "n");
    assert_eq!(
        (&endpoint("c")["ipv4_address"], &endpoint("c")["ipv4_gateway"]),
        (&"10.9.0.2/24".into(), &"10.9.0.1".into())
    );
    assert_eq!(endpoint("c")["name_servers"], json!([]));
}

/// Interfaces are called as their network says, each with a number of its own.
#[test]
fn interface_names() {
    let daemon = daemon();
    for name in ["n", "m"] {
        network(&daemon, &json!({"Name": name, "Options": {"com.docker.network.container_iface_prefix": "bds"}}));
    }
    create(&daemon, &json!({"name": "c", "command": ["sleep"], "network": "n", "more_networks": [{"network": "m"}]}));
    daemon.agent.asked();
    assert_eq!(daemon.post("/containers/c/start", "").0, 204);
    let interface = |request: Request| match request {
        Request::EndpointAttach { link, .. } => link.interface,
        _ => None,
    };
    let names: Vec<String> = daemon.agent.asked().into_iter().filter_map(interface).collect();
    assert_eq!(names, ["bds0", "bds1"]);
}

/// A network goes from under a stopped container, which is disconnected from it all the same; a container with a name for
/// the host is made, and told what that comes to.
#[test]
fn left_behind() {
    let daemon = daemon();
    daemon.network("test@#$", "10.9.0.0/24");
    let body = json!({"name": "c", "command": ["sleep"], "network": "test@#$", "extra_hosts": ["docker:host-gateway"]});
    let made = create(&daemon, &body);
    assert!(made["warnings"][0].as_str().unwrap().contains("docker:host-gateway is the network's gateway"), "{made}");
    assert_eq!(daemon.delete("/networks/test%40%23%24").0, 204);
    assert_eq!(daemon.post("/containers/c/start", "").0, 404);
    let gone = r#"{"Container": "c", "Force": true}"#;
    assert_eq!(daemon.post("/networks/test%40%23%24/disconnect", gone).0, 200);
    assert_eq!(daemon.inspect("c")["endpoints"], json!([]));
    assert_eq!(daemon.post("/networks/test%40%23%24/disconnect", gone).0, 404);
    assert_eq!(daemon.post("/networks/bridge/connect", r#"{"Container": "c"}"#).0, 200);
    assert_eq!(daemon.post("/containers/c/start", "").0, 204);
}

/// Stopped containers are pruned, by label and time if that is said; swarm mode answers as dockerd without one.
#[test]
fn pruned() {
    let daemon = daemon();
    create(&daemon, &json!({"name": "a", "command": ["sleep"], "labels": {"keep": "1"}}));
    daemon.container("b", "bridge");
    daemon.running("c", "bridge");
    let ids = |names: &[&str]| names.iter().map(|name| daemon.inspect(name)["id"].clone()).collect::<Vec<_>>();
    let expected = ids(&["b"]);
    let (status, answer) = daemon.post("/containers/prune?filters=%7B%22label%21%22%3A%5B%22keep%22%5D%7D", "");
    assert_eq!((status, &answer), (200, &json!({"ContainersDeleted": expected, "SpaceReclaimed": 0})));
    assert_eq!(daemon.post("/containers/prune?filters=%7B%22size%22%3A%5B%221%22%5D%7D", "").0, 400);
    let expected = ids(&["a"]);
    assert_eq!(daemon.post("/containers/prune", "").1["ContainersDeleted"], json!(expected));
    assert_eq!(daemon.inspect("c")["state"], "running");
    for (method, path) in
        [("POST", "/swarm/leave?force=1"), ("GET", "/swarm"), ("GET", "/nodes"), ("GET", "/v1.44/services")]
    {
        let (status, answer) = common::request(&daemon.path(), method, path, "");
        assert!(status == 503 && message(&answer).starts_with("This node is not"), "{path}: {status} {answer}");
    }
}
