//! What a new vswitchd finds after the old one crashed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use common::Daemon;
use serde_json::{Value, json};
use vswitch_ctl::agent::protocol::Request;

/// Networks, leases and ids are back, running containers get their ports again, and the next lease is a free one.
#[test]
fn everything_is_back() {
    let daemon = Daemon::start();
    daemon.network("web", "10.9.0.0/24");
    daemon.running("c1", "web");
    daemon.container("c2", "web");
    daemon.post("/vswitch/v1/endpoints", r#"{"name": "att", "pid": 77, "network": "web"}"#);
    let shown = |daemon: &Daemon| {
        let (_, networks) = daemon.get("/networks");
        let (_, containers) = daemon.get("/vswitch/v1/containers?all=true");
        let (_, endpoints) = daemon.get("/vswitch/v1/endpoints");
        without_ports(json!([networks, containers, endpoints]))
    };
    let before = shown(&daemon);
    let (dir, agent) = daemon.crash();
    agent.asked();
    let daemon = Daemon::start_in(dir, agent);
    assert_eq!(shown(&daemon), before);
    let reopened = daemon.agent.asked();
    assert_eq!(reopened.iter().filter(|one| matches!(one, Request::EndpointReopen { .. })).count(), 2);
    assert_eq!(reopened.iter().filter(|one| matches!(one, Request::SandboxOpen { .. })).count(), 1);
    assert_eq!(reopened.len(), 3, "nothing else is touched: {reopened:?}");
    daemon.container("c3", "web");
    assert_eq!(daemon.inspect("c3")["endpoints"][0]["ipv4_address"], "10.9.0.5/24");
    assert_eq!(daemon.post("/vswitch/v1/containers/c1/stop", "").0, 204);
    assert_eq!(daemon.inspect("c1")["exit_code"], 143);
}

/// A container that ended meanwhile has its exit status; one whose agent is gone counts as killed.
#[test]
fn ends_are_noticed() {
    let daemon = Daemon::start();
    daemon.running("ended", "bridge");
    daemon.running("lost", "bridge");
    let id = |name: &str| daemon.inspect(name)["id"].as_str().unwrap().to_owned();
    let (ended, lost) = (id("ended"), id("lost"));
    let (dir, agent) = daemon.crash();
    {
        let mut state = agent.state.lock().unwrap();
        state.running.clear();
        state.exited.insert(ended, 5);
        state.sandboxes.remove(&lost);
    }
    let daemon = Daemon::start_in(dir, agent);
    assert_eq!(
        (&daemon.inspect("ended")["state"], &daemon.inspect("ended")["exit_code"]),
        (&json!("exited"), &json!(5))
    );
    assert_eq!(daemon.inspect("lost")["exit_code"], 137);
    assert_eq!(daemon.agent.counts(), (0, 0, 0));
    assert!(daemon.agent.state.lock().unwrap().exited.is_empty());
    assert_eq!(daemon.post("/vswitch/v1/containers/lost/start", "").0, 204);
}

/// A process that the store takes for a container's, and that the agent does not know, is let alone: the store is vswitchd's own,
/// and proves nothing about processes.
#[test]
fn unknown_processes_are_let_alone() {
    let daemon = Daemon::start();
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    daemon.agent.state.lock().unwrap().pid = Some(child.id());
    daemon.running("c1", "bridge");
    let (dir, agent) = daemon.crash();
    *agent.state.lock().unwrap() = Default::default();
    let daemon = Daemon::start_in(dir, agent);
    assert_eq!(daemon.inspect("c1")["exit_code"], 137);
    assert_eq!(daemon.post("/vswitch/v1/containers/c1/kill", "").0, 409);
    assert!(child.try_wait().unwrap().is_none(), "it was killed");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(daemon.agent.counts(), (0, 0, 0));
}

/// What the agent has and the store does not know (a crash in the middle of an operation) is taken down.
#[test]
fn strangers_are_taken_down() {
    let daemon = Daemon::start();
    let (dir, agent) = daemon.crash();
    let stranger = "f".repeat(64);
    {
        let mut state = agent.state.lock().unwrap();
        state.sandboxes.insert(stranger.clone());
        state.endpoints.insert("e".repeat(64));
        state.running.insert(stranger, 7);
    }
    let daemon = Daemon::start_in(dir, agent);
    for attempt in 0.. {
        let forgotten = daemon.agent.state.lock().unwrap().exited.is_empty();
        if daemon.agent.counts() == (0, 0, 0) && forgotten {
            break;
        }
        assert!(attempt < 200, "{:?}", daemon.agent.counts());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// An attached namespace that is gone is shown as lost, hinders nobody, and can be detached.
#[test]
fn lost_namespaces() {
    let daemon = Daemon::start();
    daemon.network("web", "10.9.0.0/24");
    daemon.post("/vswitch/v1/endpoints", r#"{"name": "att", "pid": 77, "network": "web"}"#);
    let (dir, agent) = daemon.crash();
    agent.state.lock().unwrap().endpoints.clear();
    let daemon = Daemon::start_in(dir, agent);
    let (_, endpoint) = daemon.get("/vswitch/v1/endpoints/att");
    assert_eq!(endpoint["state"], "lost");
    let (_, network) = daemon.get("/networks/web");
    assert_eq!(network["Containers"], json!({}));
    assert_eq!(daemon.delete("/vswitch/v1/endpoints/att").0, 204);
}

/// The automatic IPv6 prefix of a state directory stays the same.
#[test]
fn the_ula_prefix_stays() {
    let daemon = Daemon::start();
    let subnet = |daemon: &Daemon, name: &str| {
        let (_, answer) = daemon.post("/networks/create", &json!({"Name": name, "EnableIPv6": true}).to_string());
        let (_, network) = daemon.get(&format!("/networks/{}", answer["Id"].as_str().unwrap()));
        network["IPAM"]["Config"][1]["Subnet"].as_str().unwrap().to_owned()
    };
    let first: ipnet::Ipv6Net = subnet(&daemon, "a").parse().unwrap();
    let (dir, agent) = daemon.crash();
    let daemon = Daemon::start_in(dir, agent);
    let second: ipnet::Ipv6Net = subnet(&daemon, "b").parse().unwrap();
    assert_eq!(first.addr().segments()[..3], second.addr().segments()[..3]);
    assert_ne!(first, second);
}

/// Port numbers are the switch's own and may differ.
fn without_ports(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.remove("port");
            map.values_mut().for_each(|inner| *inner = without_ports(inner.take()));
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| *inner = without_ports(inner.take())),
        _ => {}
    }
    value
}
