//! The operator's settings: what they make of the networks, and reading them again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use clap::Parser;
use common::agent::FakeAgent;
use common::{Daemon, message};
use serde_json::{Value, json};
use vswitch_ctl::agent::protocol::Request;
use vswitch_ctl::args::{Args, Environment};
use vswitch_ctl::model::Defaults;

/// What these flags of vswitchd mean.
fn settings(line: &[&str]) -> Defaults {
    let environment = Environment { home: Some("/nonexistent".into()), ..Environment::default() };
    Args::try_parse_from([&["vswitchd"], line].concat()).unwrap().resolve(&environment).unwrap().defaults
}

fn start(line: &[&str]) -> Daemon {
    Daemon::start_settled(tempfile::tempdir().unwrap(), FakeAgent::default(), None, settings(line))
}

fn bridge(daemon: &Daemon) -> Value {
    daemon.get("/networks/bridge").1
}

fn subnet_of(daemon: &Daemon, name: &str, body: &Value) -> String {
    let mut body = body.clone();
    body["Name"] = name.into();
    let (status, answer) = daemon.post("/networks/create", &body.to_string());
    assert_eq!(status, 201, "{answer}");
    let (_, network) = daemon.get(&format!("/networks/{name}"));
    network["IPAM"]["Config"].as_array().unwrap().last().unwrap()["Subnet"].as_str().unwrap().to_owned()
}

/// bip, fixed-cidr, the default gateways, mtu, icc and ipv6 make the network bridge, and its endpoints follow.
#[test]
fn the_network_bridge() {
    let daemon = start(&[
        "--bip=10.7.0.5/16",
        "--fixed-cidr=10.7.9.0/24",
        "--default-gateway=10.7.0.9",
        "--mtu=1400",
        "--icc=false",
        "--ipv6",
        "--fixed-cidr-v6=fd07::/64",
    ]);
    let network = bridge(&daemon);
    let expected = json!([
        {"Subnet": "10.7.0.0/16", "IPRange": "10.7.9.0/24", "Gateway": "10.7.0.5",
            "AuxiliaryAddresses": {"DefaultGatewayIPv4": "10.7.0.9"}},
        {"Subnet": "fd07::/64", "Gateway": "fd07::1"},
    ]);
    assert_eq!(network["IPAM"]["Config"], expected);
    assert_eq!(network["EnableIPv6"], true);
    assert_eq!(network["Options"]["com.docker.network.driver.mtu"], "1400");
    assert_eq!(network["Options"]["com.docker.network.bridge.enable_icc"], "false");
    daemon.running("c1", "bridge");
    let endpoint = daemon.inspect("c1")["endpoints"][0].clone();
    assert_eq!((&endpoint["ipv4_address"], &endpoint["ipv4_gateway"]), (&"10.7.9.0/16".into(), &"10.7.0.9".into()));
    assert_eq!((&endpoint["ipv6_gateway"], &endpoint["mtu"]), (&"fd07::1".into(), &1400.into()));
}

/// Automatic subnets come from the operator's pools, of both families, and end with them.
#[test]
fn address_pools() {
    let daemon =
        start(&["--default-address-pool=base=10.200.0.0/23,size=24", "--default-address-pool=base=fd77::/56,size=64"]);
    assert_eq!(bridge(&daemon)["IPAM"]["Config"][0]["Subnet"], "10.200.0.0/24");
    assert_eq!(subnet_of(&daemon, "a", &json!({"EnableIPv6": true})), "fd77::/64");
    let (status, answer) = daemon.post("/networks/create", r#"{"Name": "b"}"#);
    let says = "all predefined address pools have been fully subnetted";
    assert!(status == 400 && message(&answer).starts_with(says), "{answer}");
    assert_eq!(subnet_of(&daemon, "c", &json!({"EnableIPv4": false, "EnableIPv6": true})), "fd77:0:0:1::/64");
}

/// Containers that name no network go to the one that the operator named; none leaves them without.
#[test]
fn another_default_network() {
    let daemon = Daemon::start();
    daemon.network("web", "10.9.0.0/24");
    daemon.controller.reload(settings(&["--bridge=web"])).unwrap();
    daemon.container("c1", "");
    assert_eq!(daemon.inspect("c1")["network_mode"], "web");
    daemon.container("c2", "bridge");
    assert_eq!(daemon.inspect("c2")["network_mode"], "bridge");
    daemon.controller.reload(settings(&["--bridge=none"])).unwrap();
    daemon.container("c3", "default");
    assert_eq!(daemon.inspect("c3")["network_mode"], "none");
    // One that is not there is made, as the settings want the network bridge.
    daemon.controller.reload(settings(&["--bridge=br0", "--mtu=1400"])).unwrap();
    daemon.container("c4", "");
    assert_eq!(daemon.inspect("c4")["network_mode"], "br0");
    assert_eq!(daemon.get("/networks/br0").1["Options"]["com.docker.network.driver.mtu"], "1400");
    let error = daemon.controller.reload(settings(&["--bridge=br0/x"])).unwrap_err().to_string();
    assert!(error.contains("the setting bridge: invalid network name \"br0/x\""), "{error}");
    // Nor does it stay when the rest of the settings cannot hold.
    daemon.running("c5", "bridge");
    daemon.controller.reload(settings(&["--bridge=br1", "--ipv6", "--mtu=1400"])).unwrap_err();
    assert_eq!(daemon.get("/networks/br1").0, 404);
    daemon.container("c6", "");
    assert_eq!(daemon.inspect("c6")["network_mode"], "br0");
}

/// What the operator says of containers' output holds for those that do not say it themselves, option by option.
#[test]
fn output_of_containers() {
    let agent = FakeAgent::default();
    let dir = tempfile::tempdir().unwrap();
    let line = ["--log-opt=max-size=1m", "--log-opt=max-file=2"];
    let daemon = Daemon::start_settled(dir, agent.clone(), None, settings(&line));
    let (size, file) = (json!({"max-size": "2m"}), json!({"max-file": "7"}));
    let cases = [(json!({}), (1 << 20, 2)), (size, (2 << 20, 2)), (file, (1 << 20, 7))];
    for (number, (options, expected)) in cases.into_iter().enumerate() {
        let name = format!("c{number}");
        let body = json!({"name": name, "command": ["true"], "network": "none", "log_options": options});
        assert_eq!(daemon.post("/vswitch/v1/containers", &body.to_string()).0, 201);
        agent.asked();
        assert_eq!(daemon.post(&format!("/vswitch/v1/containers/{name}/start"), "").0, 204);
        let limit = agent.asked().into_iter().find_map(|request| match request {
            Request::ProcessStart { spec, .. } => Some((spec.log_limit.max_bytes, spec.log_limit.max_files)),
            _ => None,
        });
        assert_eq!(limit, Some(expected), "{options}");
    }
}

/// New settings change the network bridge while nobody is on it, and are refused as a whole, by name, while somebody is.
#[test]
fn reload() {
    let daemon = Daemon::start();
    let id = bridge(&daemon)["Id"].clone();
    daemon.controller.reload(settings(&["--bip=10.7.0.5/16", "--mtu=1400"])).unwrap();
    let network = bridge(&daemon);
    assert_eq!((&network["Id"], &network["IPAM"]["Config"][0]["Gateway"]), (&id, &"10.7.0.5".into()));
    daemon.running("c1", "bridge");
    assert_eq!(daemon.inspect("c1")["endpoints"][0]["ipv4_address"], "10.7.0.1/16");
    for line in [&["--bip=10.8.0.5/16"][..], &["--bip=10.7.0.5/16", "--mtu=1300"], &["--ipv6"]] {
        let mut line = line.to_vec();
        line.push("--default-address-pool=base=10.200.0.0/16,size=24");
        let error = daemon.controller.reload(settings(&line)).unwrap_err().to_string();
        assert!(error.contains("cannot change while containers are on it (c1)"), "{error}");
        assert_eq!(bridge(&daemon)["IPAM"], network["IPAM"]);
    }
    assert_eq!(subnet_of(&daemon, "a", &json!({})), "172.17.0.0/16");
    // What says nothing of the network bridge is no obstacle.
    let same = ["--bip=10.7.0.5/16", "--mtu=1400", "--default-address-pool=base=10.200.0.0/16,size=24"];
    daemon.controller.reload(settings(&same)).unwrap();
    assert_eq!(subnet_of(&daemon, "b", &json!({})), "10.200.0.0/24");
    assert_eq!(daemon.post("/vswitch/v1/containers/c1/stop", "").0, 204);
    assert_eq!(daemon.delete("/vswitch/v1/containers/c1").0, 204);
    daemon.controller.reload(settings(&["--bip=10.8.0.5/16"])).unwrap();
    daemon.running("c2", "bridge");
    assert_eq!(daemon.inspect("c2")["endpoints"][0]["ipv4_address"], "10.8.0.1/16");
    // What cannot change is refused, too.
    let error = daemon.controller.reload(settings(&["--userns-remap=default"])).unwrap_err().to_string();
    assert!(error.contains("restart it to change that"), "{error}");
    // A subnet of another network is refused, and bridge stays.
    let error = daemon.controller.reload(settings(&["--bip=10.200.0.1/24"])).unwrap_err().to_string();
    assert!(error.contains("cannot change while"), "{error}");
    assert_eq!(daemon.delete("/vswitch/v1/containers/c2?force=1").0, 204);
    let error = daemon.controller.reload(settings(&["--bip=10.200.0.1/24"])).unwrap_err().to_string();
    assert!(error.contains("overlaps with other one") && error.contains("of network b"), "{error}");
    assert_eq!(bridge(&daemon)["IPAM"]["Config"][0]["Subnet"], "10.8.0.0/16");
}

/// A restart with other settings changes the network bridge as a reload does, and what was taken away is gone: the subnet,
/// the range and the router that were named. Stopped containers follow.
#[test]
fn restart() {
    let daemon = start(&["--bip=10.7.0.5/16", "--default-gateway=10.7.0.9"]);
    daemon.container("c0", "bridge");
    assert_eq!(daemon.inspect("c0")["endpoints"][0]["ipv4_gateway"], "10.7.0.9");
    let (dir, agent) = daemon.crash();
    let daemon = Daemon::start_in(dir, agent);
    let automatic = json!([{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]);
    assert_eq!(bridge(&daemon)["IPAM"]["Config"], automatic);
    let endpoint = daemon.inspect("c0")["endpoints"][0].clone();
    assert_eq!(
        (&endpoint["ipv4_address"], &endpoint["ipv4_gateway"], &endpoint["mac_address"]),
        (&"172.17.0.2/16".into(), &"172.17.0.1".into(), &"02:42:ac:11:00:02".into())
    );
    let (dir, agent) = daemon.crash();
    let daemon = Daemon::start_settled(dir, agent, None, settings(&["--bip=10.8.0.5/16", "--icc=false"]));
    assert_eq!(bridge(&daemon)["IPAM"]["Config"][0]["Gateway"], "10.8.0.5");
    daemon.container("c1", "bridge");
    let address = daemon.inspect("c1")["endpoints"][0]["ipv4_address"].clone();
    assert_eq!(
        (&address, &daemon.inspect("c0")["endpoints"][0]["ipv4_address"]),
        (&"10.8.0.2/16".into(), &"10.8.0.1/16".into())
    );
    let (dir, agent) = daemon.crash();
    // Options alone may change under stopped containers, whose leases stay theirs.
    let daemon = Daemon::start_settled(dir, agent, None, settings(&["--bip=10.8.0.5/16", "--mtu=1300"]));
    let network = bridge(&daemon);
    assert_eq!(network["Options"], json!({"com.docker.network.driver.mtu": "1300"}));
    assert_eq!(daemon.inspect("c1")["endpoints"][0]["ipv4_address"], address);
    daemon.container("c2", "bridge");
    assert_ne!(daemon.inspect("c2")["endpoints"][0]["ipv4_address"], address);
}

/// Taken away on SIGHUP it is gone as well, from under stopped containers; while one runs that is said, and a start goes on
/// with what there is until it does not.
#[test]
fn settings_that_are_taken_away() {
    let daemon = start(&["--bip=10.7.0.5/16"]);
    daemon.running("c1", "bridge");
    let error = daemon.controller.reload(Defaults::default()).unwrap_err().to_string();
    assert!(error.contains("cannot change while containers are on it (c1)"), "{error}");
    let (dir, agent) = daemon.crash();
    let daemon = Daemon::start_in(dir, agent);
    assert_eq!(bridge(&daemon)["IPAM"]["Config"][0]["Gateway"], "10.7.0.5");
    assert_eq!(daemon.inspect("c1")["state"], "running");
    assert_eq!(daemon.post("/containers/c1/stop", "").0, 204);
    daemon.controller.reload(Defaults::default()).unwrap();
    assert_eq!(bridge(&daemon)["IPAM"]["Config"], json!([{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]));
    assert_eq!(daemon.post("/containers/c1/start", "").0, 204);
    assert_eq!(daemon.inspect("c1")["endpoints"][0]["ipv4_address"], "172.17.0.2/16");
    // Whoever ran when the host went down is on nothing now.
    let (dir, agent) = daemon.crash();
    agent.state.lock().unwrap().running.clear();
    let daemon = Daemon::start_settled(dir, agent, None, settings(&["--bip=10.8.0.5/16"]));
    assert_eq!(bridge(&daemon)["IPAM"]["Config"][0]["Gateway"], "10.8.0.5");
    assert_eq!(daemon.inspect("c1")["endpoints"][0]["ipv4_address"], "10.8.0.1/16");
}

/// Networks get the options of their driver that they leave open, and show them.
#[test]
fn default_options_of_networks() {
    let daemon = Daemon::start();
    let mtu = "--default-network-opt=bridge=com.docker.network.driver.mtu=1234";
    daemon.controller.reload(settings(&[mtu])).unwrap();
    let made = |name: &str, options: Value| {
        let body = json!({"Name": name, "Options": options});
        let (status, answer) = daemon.post("/networks/create", &body.to_string());
        assert_eq!(status, 201, "{answer}");
        daemon.get(&format!("/networks/{name}")).1["Options"].clone()
    };
    assert_eq!(made("a", json!({})), json!({"com.docker.network.driver.mtu": "1234"}));
    let own = json!({"com.docker.network.driver.mtu": "1400"});
    assert_eq!(made("b", own.clone()), own);
}
