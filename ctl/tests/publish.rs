//! Published ports and flows over the socket, with an agent that only pretends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Daemon, agent::FakeAgent};
use serde_json::{Value, json};

const UPLINK: &str = "packet:up0,address=10.99.0.1/24,gateway=10.99.0.2";

fn daemon() -> Daemon {
    Daemon::start_with(tempfile::tempdir().unwrap(), FakeAgent::default(), Some(UPLINK))
}

fn create(daemon: &Daemon, name: &str, publish: &[&str]) -> (u16, Value) {
    let body = json!({"name": name, "command": ["sleep", "1"], "publish": publish});
    daemon.post("/vswitch/v1/containers", &body.to_string())
}

fn start(daemon: &Daemon, name: &str) -> (u16, Value) {
    daemon.post(&format!("/vswitch/v1/containers/{name}/start"), "")
}

fn ports(daemon: &Daemon, name: &str) -> Vec<(String, u64, u64)> {
    let (_, container) = daemon.get(&format!("/vswitch/v1/containers/{name}"));
    let port = |one: &Value| {
        let number = |key: &str| one[key].as_u64().unwrap();
        (one["host_ip"].as_str().unwrap().to_owned(), number("host_port"), number("container_port"))
    };
    container["ports"].as_array().unwrap().iter().map(port).collect()
}

/// Ports are leased by the start and freed by the end; a second container is refused with 500 and Docker's sentence.
#[test]
fn leases() {
    let daemon = daemon();
    assert_eq!(create(&daemon, "one", &["8080:80", "127.0.0.1:9000:90"]).0, 201);
    assert_eq!(create(&daemon, "two", &["7000-7001:80-81", "8080:80"]).0, 201);
    assert!(ports(&daemon, "one").is_empty());
    assert_eq!(start(&daemon, "one").0, 204);
    assert_eq!(ports(&daemon, "one"), [("0.0.0.0".to_owned(), 8080, 80), ("127.0.0.1".to_owned(), 9000, 90)]);
    let (status, answer) = start(&daemon, "two");
    let message = answer["message"].as_str().unwrap();
    assert_eq!(status, 500);
    assert!(message.starts_with("driver failed programming external connectivity on endpoint two ("), "{message}");
    assert!(message.ends_with("Bind for 0.0.0.0:8080 failed: port is already allocated"), "{message}");
    assert!(ports(&daemon, "two").is_empty());
    // What it had leased before the refusal is free again.
    assert_eq!(create(&daemon, "three", &["7000:80"]).0, 201);
    assert_eq!(start(&daemon, "three").0, 204);
    assert_eq!(daemon.post("/vswitch/v1/containers/one/stop?timeout=0", "").0, 204);
    assert_eq!(daemon.delete("/vswitch/v1/containers/three?force=true").0, 204);
    assert_eq!(start(&daemon, "two").0, 204);
    assert_eq!(start(&daemon, "one").0, 500);
}

/// A vswitchd that crashed finds the leases of running containers again.
#[test]
fn leases_survive() {
    let daemon = daemon();
    assert_eq!(create(&daemon, "one", &["80"]).0, 201);
    assert_eq!(start(&daemon, "one").0, 204);
    let before = ports(&daemon, "one");
    assert!(before[0].1 >= 49_153);
    let (dir, agent) = daemon.crash();
    let daemon = Daemon::start_with(dir, agent, Some(UPLINK));
    assert_eq!(ports(&daemon, "one"), before);
    assert_eq!(create(&daemon, "two", &[&format!("{}:80", before[0].1)]).0, 201);
    assert_eq!(start(&daemon, "two").0, 500);
}

/// The loopback is accepted with a warning, host networking discards ports with one, and other modes refuse.
#[test]
fn modes() {
    let daemon = daemon();
    let (status, answer) = create(&daemon, "local", &["127.0.0.1:8080:80/udp"]);
    assert_eq!(status, 201);
    assert!(answer["warnings"][0].as_str().unwrap().contains("host's own loopback"), "{answer}");
    for (network, expected) in [("host", 201), ("none", 400), ("container:local", 400)] {
        let body = json!({"command": ["true"], "publish": ["80:80"], "network": network});
        let (status, answer) = daemon.post("/vswitch/v1/containers", &body.to_string());
        assert_eq!(status, expected, "{network}: {answer}");
    }
    let (status, answer) = create(&daemon, "bad", &["65536:80", "80/icmp"]);
    assert_eq!(status, 400);
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("invalid hostPort: 65536") && message.contains("invalid proto: icmp"), "{message}");
}

/// Without a flow the listing is empty, questions that make no sense are refused, and statistics have the router's part.
#[test]
fn flows() {
    let daemon = daemon();
    assert_eq!(daemon.get("/vswitch/v1/flows"), (200, json!([])));
    assert_eq!(daemon.delete("/vswitch/v1/flows?protocol=tcp").1, json!({"removed": 0}));
    for query in ["protocol=x", "protocol=256", "source=x", "dport=65536", "endpoint=nobody", "network=nowhere", "x=1"]
    {
        let (status, answer) = daemon.get(&format!("/vswitch/v1/flows?{query}"));
        assert!((400..500).contains(&status) && answer["message"].is_string(), "{query}: {status} {answer}");
    }
    let (_, stats) = daemon.get("/vswitch/v1/stats");
    let uplink = json!({
        "name": "up0", "interface": "up0", "up": true, "down": false, "silent": false, "addresses": ["10.99.0.1"],
        "networks": ["bridge"], "lost": 0, "recovered": 0
    });
    assert_eq!((&stats["router"]["uplink"], &stats["router"]["uplinks"]), (&uplink, &json!([uplink])));
    assert_eq!(stats["router"]["flows"], 0);
    let (status, answer) = daemon
        .post("/networks/create", &json!({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.99.0.0/25"}]}}).to_string());
    assert_eq!(status, 403, "{answer}");
}

/// Ports are published and taken back while the container runs, all of a request or none, and are the container's over a
/// restart; one that is had by somebody else is refused and changes nothing.
#[test]
fn changed_while_it_runs() {
    let daemon = daemon();
    assert_eq!((create(&daemon, "one", &["8080:80"]).0, start(&daemon, "one").0), (201, 204));
    assert_eq!((create(&daemon, "two", &["9000:90"]).0, start(&daemon, "two").0), (201, 204));
    let change = |method: &str, publish: &[&str]| {
        let body = json!({"publish": publish}).to_string();
        common::request(&daemon.path(), method, "/vswitch/v1/containers/one/ports", &body)
    };
    let (status, answer) = change("POST", &["127.0.0.1:8081:81", "53/udp"]);
    assert_eq!((status, answer["ports"].as_array().unwrap().len()), (200, 3), "{answer}");
    let host = "0.0.0.0".to_owned();
    assert_eq!(ports(&daemon, "one")[..2], [(host.clone(), 8080, 80), ("127.0.0.1".to_owned(), 8081, 81)]);
    for (publish, says) in [
        (&["7000:70", "9000:80"][..], "port is already allocated"),
        (&["8080:80"], "is published already"),
        (&["x"], "invalid containerPort: x"),
        (&[], "no port specified"),
    ] {
        let (status, answer) = change("POST", publish);
        assert!(status >= 400 && answer["message"].as_str().unwrap().contains(says), "{answer}");
        assert_eq!(ports(&daemon, "one").len(), 3);
    }
    // What was leased before the refusal is free.
    assert_eq!((create(&daemon, "three", &["7000:70"]).0, start(&daemon, "three").0), (201, 204));
    assert_eq!(change("DELETE", &["81", "8080:80"]).0, 204);
    let (status, answer) = change("DELETE", &["8080:80"]);
    assert!(status == 400 && answer["message"].as_str().unwrap().contains("is not published"), "{answer}");
    assert_eq!(ports(&daemon, "one").iter().map(|port| port.2).collect::<Vec<_>>(), [53]);
    assert_eq!((create(&daemon, "four", &["8080:80"]).0, start(&daemon, "four").0), (201, 204));
    let (dir, agent) = daemon.crash();
    let daemon = Daemon::start_with(dir, agent, Some(UPLINK));
    assert_eq!(daemon.inspect("one")["publish"], json!(["53/udp"]));
    // What is published because it is exposed stays.
    let body =
        json!({"name": "five", "command": ["sleep"], "publish": ["8090:80"], "expose": ["81"], "publish_all": true});
    assert_eq!(daemon.post("/vswitch/v1/containers", &body.to_string()).0, 201);
    assert_eq!((start(&daemon, "five").0, ports(&daemon, "five").len()), (204, 2));
    let body = json!({"publish": ["80"]}).to_string();
    assert_eq!(common::request(&daemon.path(), "DELETE", "/vswitch/v1/containers/five/ports", &body).0, 204);
    assert_eq!(ports(&daemon, "five").iter().map(|port| port.2).collect::<Vec<_>>(), [81]);
    // One that does not run is only told.
    assert_eq!(daemon.post("/vswitch/v1/containers/one/stop?timeout=0", "").0, 204);
    let (status, _) = daemon.post("/vswitch/v1/containers/one/ports", r#"{"publish": ["8088:80"]}"#);
    assert_eq!((status, ports(&daemon, "one").len(), start(&daemon, "one").0), (200, 0, 204));
    assert_eq!(ports(&daemon, "one").len(), 2);
}
