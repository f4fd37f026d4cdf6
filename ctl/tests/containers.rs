//! Containers and endpoints over the control socket.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use common::{Daemon, message};
use serde_json::{Value, json};
use vswitch_ctl::agent::protocol::{FailureKind, Request};

const CONTAINERS: &str = "/vswitch/v1/containers";

/// Created, started, connected, stopped, removed: each step shows in the inspection, and the agent keeps nothing.
#[test]
fn a_life() {
    let daemon = Daemon::start();
    daemon.network("web", "10.9.0.0/24");
    daemon.network("back", "10.8.0.0/24");
    daemon.container("c1", "web");
    let created = daemon.inspect("c1");
    assert_eq!((&created["state"], &created["endpoints"][0]["state"]), (&json!("created"), &json!("down")));
    assert_eq!(created["endpoints"][0]["ipv4_address"], "10.9.0.2/24");
    assert_eq!(created["endpoints"][0]["mac_address"], "02:42:0a:09:00:02");
    assert_eq!(daemon.post(&format!("{CONTAINERS}/c1/start"), "").0, 204);
    let running = daemon.inspect("c1");
    assert_eq!((&running["state"], &running["endpoints"][0]["state"]), (&json!("running"), &json!("up")));
    assert!(running["pid"].is_u64() && running["endpoints"][0]["port"].is_u64());
    let (status, answer) = daemon.post(&format!("{CONTAINERS}/c1/start"), "");
    assert_eq!((status, message(&answer)), (409, "container c1 is running already"));

    assert_eq!(
        daemon
            .post(
                "/networks/back/connect",
                r#"{"Container": "c1", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.8.0.77"}}}"#
            )
            .0,
        200
    );
    let (_, back) = daemon.get("/networks/back");
    let member = back["Containers"].as_object().unwrap().values().next().unwrap().clone();
    assert_eq!((&member["Name"], &member["IPv4Address"]), (&json!("c1"), &json!("10.8.0.77/24")));
    // Alphabetically first: the default route moves to it, as with Docker.
    let routes: Vec<_> = daemon
        .agent
        .asked()
        .into_iter()
        .filter_map(|request| match request {
            Request::DefaultRoute { ipv4, .. } => ipv4.map(|(_, gateway)| gateway.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(routes, ["10.9.0.1", "10.8.0.1"]);
    assert_eq!(daemon.post("/networks/web/disconnect", r#"{"Container": "c1"}"#).0, 200);
    assert_eq!(daemon.agent.counts(), (1, 1, 1));

    let (status, answer) = daemon.delete(&format!("{CONTAINERS}/c1"));
    assert!(status == 409 && message(&answer).contains("stop the container before removing"), "{answer}");
    assert_eq!(daemon.post(&format!("{CONTAINERS}/c1/stop?timeout=1"), "").0, 204);
    assert_eq!(daemon.inspect("c1")["exit_code"], 143);
    assert_eq!(daemon.get(&format!("{CONTAINERS}/c1/wait")), (200, json!({"exit_code": 143})));
    assert_eq!(daemon.delete(&format!("{CONTAINERS}/c1")).0, 204);
    assert_eq!(daemon.get(&format!("{CONTAINERS}/c1")).0, 404);
    assert_eq!(daemon.agent.counts(), (0, 0, 0));
}

/// Every kind of bad container is refused with its status and sentence, and nothing of it stays.
#[test]
fn refusals() {
    let daemon = Daemon::start();
    daemon.network("web", "10.9.0.0/29");
    daemon.post("/networks/create", r#"{"Name": "auto"}"#);
    daemon.container("taken", "web");
    let with = |extra: Value| {
        let mut body = json!({"command": ["sleep"], "network": "web"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body.to_string()
    };
    let ip = |network: &str, address: &str| {
        with(json!({"network": network, "endpoint": {"IPAMConfig": {"IPv4Address": address}}}))
    };
    let mac = |mac: &str| with(json!({"endpoint": {"MacAddress": mac}}));
    let cases = [
        (with(json!({"name": "taken"})), 409, "The container name \"/taken\" is already in use by container"),
        (with(json!({"name": "a b"})), 400, "Invalid container name (a b)"),
        (with(json!({"name": "x".repeat(129)})), 400, "it has 129 characters"),
        (with(json!({"network": "nope"})), 404, "network nope not found"),
        (with(json!({"network": "container:nope"})), 404, "No such container: nope"),
        (ip("web", "10.9.0.1"), 403, "Address already in use"),
        (ip("web", "10.9.1.2"), 400, "no configured subnet contains IP address 10.9.1.2"),
        (ip("web", "10.9.0"), 400, "invalid IPv4 address"),
        (ip("auto", "172.20.0.9"), 400, "only when connecting to networks with user configured subnets"),
        (ip("bridge", "172.17.0.9"), 400, "supported on user defined networks only"),
        (ip("none", "172.17.0.9"), 400, "supported on user defined networks only"),
        (mac("01:00:5e:00:00:01"), 400, "multicast"),
        (mac("00:00:00:00:00:00"), 400, "no station may use it"),
        (mac("ff:ff:ff:ff:ff:ff"), 400, "broadcast"),
        (mac("x"), 400, "six hexadecimal octets"),
        (mac("02:42:0a:09:00:01"), 409, "is already in use by the gateway"),
        (with(json!({"network": "bridge", "endpoint": {"Aliases": ["db"]}})), 400, "user-defined networks"),
        (with(json!({"more_networks": [{"network": "web"}]})), 403, "already exists in network web"),
        (with(json!({"network": "host", "more_networks": [{"network": "web"}]})), 400, "sharing network namespace"),
        (with(json!({"network": "none", "more_networks": [{"network": "web"}]})), 400, "private (none) mode"),
        (with(json!({"publish": ["80:80"]})), 400, "published ports need an uplink"),
        (with(json!({"command": []})), 400, "no command"),
        (with(json!({"colour": "red"})), 400, "unknown field `colour`"),
    ];
    for (body, expected, says) in cases {
        let (status, answer) = daemon.post(CONTAINERS, &body);
        assert!(status == expected && message(&answer).contains(says), "{body}: {status} {answer}");
    }
    // .2 is taken's; .3 to .6 are free, so nothing that was refused holds a lease.
    for address in ["10.9.0.3/29", "10.9.0.4/29", "10.9.0.5/29", "10.9.0.6/29"] {
        let (_, answer) = daemon.post(CONTAINERS, &with(json!({})));
        assert_eq!(daemon.inspect(answer["id"].as_str().unwrap())["endpoints"][0]["ipv4_address"], address);
    }
    let (status, answer) = daemon.post(CONTAINERS, &with(json!({})));
    let says = "no available IPv4 addresses on this network's address pools: web (";
    assert!(status == 500 && message(&answer).starts_with(says), "{answer}");
}

/// A start that fails half way is undone completely, and works once the obstacle is gone.
#[test]
fn half_starts_are_undone() {
    let daemon = Daemon::start();
    daemon.network("a", "10.1.0.0/24");
    daemon.network("b", "10.2.0.0/24");
    let body = json!({"name": "c1", "command": ["sleep"], "network": "a", "more_networks": [{"network": "b"}]});
    assert_eq!(daemon.post(CONTAINERS, &body.to_string()).0, 201);
    for (step, kind, status) in [
        ("SandboxCreate", FailureKind::NotPermitted, 403),
        ("10.2.0.2", FailureKind::Other, 500),
        ("DefaultRoute", FailureKind::Other, 500),
        ("ProcessStart", FailureKind::CommandNotFound, 400),
    ] {
        daemon.agent.fail(step, kind);
        let (answered, answer) = daemon.post(&format!("{CONTAINERS}/c1/start"), "");
        assert_eq!((answered, message(&answer)), (status, "the pretended agent was told to fail"), "{step}");
        daemon.agent.recover();
        assert_eq!(daemon.agent.counts(), (0, 0, 0), "{step}");
        let shown = daemon.inspect("c1");
        assert_eq!((&shown["state"], &shown["endpoints"][1]["state"]), (&json!("created"), &json!("down")), "{step}");
        let (_, stats) = daemon.get("/vswitch/v1/stats");
        assert_eq!(stats["ports"], json!([]), "{step}");
    }
    assert_eq!(daemon.post(&format!("{CONTAINERS}/c1/start"), "").0, 204);
    assert_eq!(daemon.agent.counts(), (1, 2, 1));
}

/// A failed live connect gives its address back.
#[test]
fn half_connects_are_undone() {
    let daemon = Daemon::start();
    daemon.network("a", "10.1.0.0/24");
    daemon.network("b", "10.2.0.0/24");
    daemon.running("c1", "a");
    daemon.agent.fail("10.2.0.2", FailureKind::Other);
    assert_eq!(daemon.post("/networks/b/connect", r#"{"Container": "c1"}"#).0, 500);
    daemon.agent.recover();
    assert_eq!(daemon.inspect("c1")["endpoints"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.post("/networks/b/connect", r#"{"Container": "c1"}"#).0, 200);
    assert_eq!(daemon.inspect("c1")["endpoints"][1]["ipv4_address"], "10.2.0.2/24");
}

/// Connecting twice, strangers, and namespaces that are shared are refused in Docker's words.
#[test]
fn connect_refusals() {
    let daemon = Daemon::start();
    daemon.network("a", "10.1.0.0/24");
    daemon.running("c1", "a");
    daemon.running("lonely", "none");
    daemon.running("host1", "host");
    let (status, answer) =
        daemon.post(CONTAINERS, r#"{"name": "joined", "command": ["sleep"], "network": "container:c1"}"#);
    assert_eq!(status, 201, "{answer}");
    for (path, container, expected, says) in [
        ("/networks/a/connect", "c1", 403, "endpoint with name c1 already exists in network a"),
        ("/networks/a/connect", "nope", 404, "No such container: nope"),
        ("/networks/nope/connect", "c1", 404, "network nope not found"),
        ("/networks/a/connect", "lonely", 400, "private (none) mode"),
        ("/networks/a/connect", "host1", 400, "sharing network namespace with another container or host"),
        ("/networks/a/connect", "joined", 400, "sharing network namespace with another container or host"),
        ("/networks/bridge/disconnect", "c1", 404, "container c1 is not connected to the network bridge"),
        ("/networks/host/disconnect", "host1", 400, "cannot be disconnected from host network"),
    ] {
        let (status, answer) = daemon.post(path, &json!({"Container": container}).to_string());
        assert!(status == expected && message(&answer).contains(says), "{path} {container}: {status} {answer}");
    }
    // Leaving none makes other networks possible, as with Docker.
    assert_eq!(daemon.post("/networks/none/disconnect", r#"{"Container": "lonely"}"#).0, 200);
    assert_eq!(daemon.post("/networks/a/connect", r#"{"Container": "lonely"}"#).0, 200);
}

/// A container that is to be removed at its end is gone when the waiter is told, and its name is free.
#[test]
fn auto_remove() {
    let daemon = Daemon::start();
    for round in 0..20 {
        let body = json!({"name": "once", "command": ["exit", "7"], "auto_remove": true}).to_string();
        let (status, answer) = daemon.post(CONTAINERS, &body);
        assert_eq!(status, 201, "round {round}: {answer}");
        let waiting = daemon.controller.watch_container("once").unwrap();
        assert_eq!(daemon.post(&format!("{CONTAINERS}/once/start"), "").0, 204);
        assert_eq!(daemon.block_on(waiting), Some(7));
    }
    assert_eq!(daemon.agent.counts(), (0, 0, 0));
    let (_, all) = daemon.get(&format!("{CONTAINERS}?all=true"));
    assert_eq!(all, json!([]));
}

/// A container that joins another's namespace needs that one to run; one that failed to start with auto_remove is gone.
#[test]
fn joining() {
    let daemon = Daemon::start();
    daemon.container("c1", "bridge");
    daemon.post(CONTAINERS, r#"{"name": "j", "command": ["sleep"], "network": "container:c1", "auto_remove": true}"#);
    let (status, answer) = daemon.post(&format!("{CONTAINERS}/j/start"), "");
    assert_eq!((status, message(&answer)), (409, "cannot join network of a non running container: c1"));
    assert_eq!(daemon.get(&format!("{CONTAINERS}/j")).0, 404);
    daemon.post(&format!("{CONTAINERS}/c1/start"), "");
    daemon.post(CONTAINERS, r#"{"name": "j", "command": ["sleep"], "network": "container:c1"}"#);
    assert_eq!(daemon.post(&format!("{CONTAINERS}/j/start"), "").0, 204);
    let id = daemon.inspect("c1")["id"].as_str().unwrap().to_owned();
    assert_eq!(daemon.inspect("j")["network_mode"], format!("container:{id}"));
    let joined = daemon.agent.asked().into_iter().any(
        |request| matches!(request, Request::ProcessStart { spec, .. } if spec.sandbox.as_deref() == Some(&*id) && spec.command == ["sleep"]),
    );
    assert!(joined);
}

/// An attached namespace has an endpoint with what was asked; a namespace that vanished is refused; detach undoes it.
#[test]
fn attached_namespaces() {
    let daemon = Daemon::start();
    daemon.network("br0", "10.0.0.0/24");
    let body = json!({"name": "pipe", "pid": 4242, "network": "br0", "interface": "eth7",
        "endpoint": {"IPAMConfig": {"IPv4Address": "10.0.0.220/16@10.0.0.254"}, "MacAddress": "02:00:00:00:00:07"}});
    let (status, endpoint) = daemon.post("/vswitch/v1/endpoints", &body.to_string());
    assert_eq!(status, 201, "{endpoint}");
    assert_eq!((&endpoint["ipv4_address"], &endpoint["ipv4_gateway"]), (&json!("10.0.0.220/16"), &json!("10.0.0.254")));
    assert_eq!((&endpoint["mac_address"], &endpoint["interface"]), (&json!("02:00:00:00:00:07"), &json!("eth7")));
    let (status, answer) = daemon.post("/vswitch/v1/endpoints", &body.to_string());
    assert!(status == 409 && message(&answer).contains("the name pipe is already in use"), "{answer}");
    let (status, answer) = daemon.delete("/networks/br0");
    assert!(status == 403 && message(&answer).contains("name:\"pipe\""), "{answer}");

    daemon.agent.fail("SandboxAttach", FailureKind::Gone);
    let (status, answer) = daemon.post("/vswitch/v1/endpoints", r#"{"pid": 1, "network": "br0"}"#);
    assert_eq!((status, message(&answer)), (404, "the pretended agent was told to fail"));
    daemon.agent.recover();
    for (body, says) in [
        (r#"{"network": "br0"}"#, "exactly one of pid and netns"),
        (r#"{"pid": 1, "netns": "/x", "network": "br0"}"#, "exactly one of pid and netns"),
        (r#"{"netns": "x", "network": "br0"}"#, "not absolute"),
        (r#"{"pid": 1}"#, "name the network"),
        (r#"{"pid": 1, "network": "br0", "interface": "a/b"}"#, "invalid interface name"),
        (
            r#"{"pid": 1, "network": "br0", "endpoint": {"IPAMConfig": {"IPv4Address": "10.0.0.9@10.9.9.9"}}}"#,
            "not a neighbour",
        ),
    ] {
        let (status, answer) = daemon.post("/vswitch/v1/endpoints", body);
        assert!(status == 400 && message(&answer).contains(says), "{body}: {answer}");
    }
    assert_eq!(daemon.delete("/vswitch/v1/endpoints/pipe").0, 204);
    assert_eq!(daemon.delete("/vswitch/v1/endpoints/pipe").0, 404);
    assert_eq!(daemon.agent.counts(), (0, 0, 0));
    assert_eq!(daemon.delete("/networks/br0").0, 204);
}

/// A further process answers with its own exit status; in a container that does not run it is refused.
#[test]
fn exec() {
    let daemon = Daemon::start();
    daemon.container("c1", "none");
    let exec = |body: &str| daemon.post(&format!("{CONTAINERS}/c1/exec"), body);
    let (status, answer) = exec(r#"{"command": ["exit", "3"]}"#);
    assert_eq!((status, message(&answer)), (409, "container c1 is not running"));
    daemon.post(&format!("{CONTAINERS}/c1/start"), "");
    assert_eq!(exec(r#"{"command": ["exit", "3"]}"#), (200, json!({"exit_code": 3})));
    assert_eq!(exec(r#"{"command": []}"#).0, 400);
    daemon.agent.fail("ProcessExec", FailureKind::CommandNotFound);
    assert_eq!(exec(r#"{"command": ["x"]}"#).0, 400);
}

/// Static FDB entries name an endpoint; bad addresses and strangers are refused.
#[test]
fn fdb() {
    let daemon = Daemon::start();
    daemon.network("web", "10.9.0.0/24");
    daemon.running("c1", "web");
    let path = "/vswitch/v1/networks/web/fdb";
    assert_eq!(daemon.post(path, r#"{"mac_address": "02:00:00:00:00:09", "endpoint": "c1"}"#).0, 201);
    let (_, entries) = daemon.get(path);
    let entry = entries.as_array().unwrap().iter().find(|one| one["mac_address"] == "02:00:00:00:00:09").unwrap();
    assert_eq!((&entry["endpoint"], &entry["kind"]), (&json!("c1"), &json!("static")));
    assert_eq!(daemon.post(path, r#"{"mac_address": "01:00:5e:00:00:01", "endpoint": "c1"}"#).0, 400);
    assert_eq!(daemon.post(path, r#"{"mac_address": "02:00:00:00:00:08", "endpoint": "nope"}"#).0, 404);
    assert_eq!(daemon.get("/vswitch/v1/networks/host/fdb").0, 400);
    assert_eq!(daemon.get("/vswitch/v1/networks/nope/fdb").0, 404);
    assert_eq!(daemon.delete(&format!("{path}/02:00:00:00:00:09")), (200, json!({"removed": 1})));
    assert_eq!(daemon.delete(&format!("{path}/x")).0, 400);
    assert_eq!(daemon.delete(path).0, 200);
}

/// Addresses that were asked for belong to whoever runs: several containers are made with them, one is started; nobody gets them
/// by chance, and who has one by chance makes way.
#[test]
fn fixed_addresses() {
    let daemon = Daemon::start();
    daemon.network("web", "10.9.0.0/29");
    let create = |name: &str, endpoint: Value| {
        let body = json!({"name": name, "command": ["sleep"], "network": "web", "endpoint": endpoint});
        assert_eq!(daemon.post(CONTAINERS, &body.to_string()).0, 201, "{name}");
    };
    let start = |name: &str| {
        let (status, answer) = daemon.post(&format!("{CONTAINERS}/{name}/start"), "");
        (status, answer["message"].as_str().unwrap_or_default().to_owned())
    };
    let stop = |name: &str| assert_eq!(daemon.post(&format!("{CONTAINERS}/{name}/stop?timeout=0"), "").0, 204);
    let address = |name: &str| daemon.inspect(name)["endpoints"][0]["ipv4_address"].as_str().unwrap().to_owned();
    let fixed = || json!({"IPAMConfig": {"IPv4Address": "10.9.0.3"}, "MacAddress": "02:00:00:00:00:07"});
    create("old", fixed());
    create("new", fixed());
    assert_eq!(start("old").0, 204);
    assert_eq!(start("new"), (403, "Address already in use: 10.9.0.3 on network web".to_owned()));
    create("station", json!({"MacAddress": "02:00:00:00:00:07"}));
    let (status, says) = start("station");
    assert!(status == 409 && says.contains("already in use by old"), "{says}");
    let live = json!({"Container": "other", "EndpointConfig": fixed()}).to_string();
    create("other", json!({}));
    assert_eq!((address("station"), address("other")), ("10.9.0.2/29".into(), "10.9.0.4/29".into()));
    daemon.post("/networks/web/disconnect", r#"{"Container": "other"}"#);
    daemon.network("back", "10.8.0.0/24");
    daemon.post("/networks/back/connect", r#"{"Container": "other"}"#);
    assert_eq!(start("other").0, 204);
    assert_eq!(daemon.post("/networks/web/connect", &live).0, 403, "at once for one that runs");
    stop("old");
    assert_eq!(daemon.post("/networks/web/connect", &live).0, 200);
    assert_eq!(start("new").0, 403);
    daemon.post("/networks/web/disconnect", r#"{"Container": "other"}"#);
    assert_eq!(start("new").0, 204);
    assert_eq!(daemon.delete(&format!("{CONTAINERS}/old")).0, 204);
    // Whoever had it by chance while it did not run gets another one.
    create("chance", json!({}));
    assert_eq!(address("chance"), "10.9.0.4/29");
    create("late", json!({"IPAMConfig": {"IPv4Address": "10.9.0.4"}}));
    assert_eq!(start("late").0, 204);
    assert_eq!(start("chance").0, 204);
    assert_eq!((address("late"), address("chance")), ("10.9.0.4/29".into(), "10.9.0.5/29".into()));
}
