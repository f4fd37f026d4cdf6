//! Two operations at once, the first of which is held at each of its steps.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use std::thread;

use common::{Daemon, message, request};
use serde_json::{Value, json};
use vswitch_ctl::agent::protocol::FailureKind;

const CONTAINERS: &str = "/vswitch/v1/containers";
const ENDPOINTS: &str = "/vswitch/v1/endpoints";

/// Runs a request on a thread of its own until the agent holds it, then `meanwhile`, then lets it go on. Answers how it
/// ended.
fn held(daemon: &Daemon, step: &str, method: &str, path: &str, body: &str, meanwhile: impl FnOnce()) -> u16 {
    daemon.agent.hold(step);
    let (socket, method, path, body) = (daemon.path(), method.to_owned(), path.to_owned(), body.to_owned());
    let first = thread::spawn(move || request(&socket, &method, &path, &body).0);
    daemon.agent.wait_held();
    meanwhile();
    daemon.agent.release();
    first.join().unwrap()
}

/// Nothing of a network may be left in the switch: no port, and no network but the default one.
fn assert_clean(daemon: &Daemon, what: &str) {
    let (_, stats) = daemon.get("/vswitch/v1/stats");
    let names = |list: &str, key: &str| -> Vec<String> {
        let all = stats[list].as_array().unwrap().iter();
        all.map(|one| one[key].as_str().unwrap().to_owned()).filter(|name| !name.starts_with('(')).collect()
    };
    assert_eq!(
        (names("ports", "endpoint"), names("networks", "network")),
        (Vec::new(), vec!["bridge".to_owned()]),
        "{what}: {stats}"
    );
}

fn refused_as_busy(daemon: &Daemon, what: &str) {
    let (status, answer) = daemon.delete("/networks/web");
    assert!(status == 403 && message(&answer).contains("has active endpoints"), "{what}: {status} {answer}");
    let (status, pruned) = daemon.post("/networks/prune", "");
    assert_eq!((status, &pruned["NetworksDeleted"]), (200, &json!([])), "{what}");
}

/// The networks of a container that is being started are in use from its first step on, as with Docker; whether the start
/// succeeds or is undone, nothing is left behind.
#[test]
fn networks_of_what_is_being_started_stay() {
    let daemon = Daemon::start();
    for step in ["SandboxCreate", "EndpointAttach", "DefaultRoute", "SandboxOpen", "ProcessStart"] {
        for fails in [false, true] {
            let what = format!("{step}, fails: {fails}");
            daemon.network("web", "10.9.0.0/24");
            daemon.container("c1", "web");
            if fails {
                daemon.agent.fail("ProcessStart", FailureKind::Other);
            }
            let started = held(&daemon, step, "POST", &format!("{CONTAINERS}/c1/start"), "", || {
                refused_as_busy(&daemon, &what);
            });
            daemon.agent.recover();
            if fails {
                assert_eq!(started, 500, "{what}");
            } else {
                assert_eq!(started, 204, "{what}");
                refused_as_busy(&daemon, &what);
                assert_eq!(daemon.inspect("c1")["endpoints"][0]["state"], "up", "{what}");
                assert_eq!(daemon.post(&format!("{CONTAINERS}/c1/kill"), "").0, 204);
                assert_eq!(daemon.get(&format!("{CONTAINERS}/c1/wait")).0, 200);
            }
            // Of one that does not run the network goes.
            assert_eq!(daemon.delete("/networks/web").0, 204, "{what}");
            assert_eq!(daemon.delete(&format!("{CONTAINERS}/c1")).0, 204, "{what}");
            assert_eq!(daemon.agent.counts(), (0, 0, 0), "{what}");
            assert_clean(&daemon, &what);
        }
    }
}

/// While an undone start still takes down what it made, its networks are in use, too.
#[test]
fn networks_of_what_is_being_undone_stay() {
    let daemon = Daemon::start();
    for step in ["EndpointDetach", "SandboxRemove"] {
        daemon.network("web", "10.9.0.0/24");
        daemon.container("c1", "web");
        daemon.agent.fail("ProcessStart", FailureKind::Other);
        let started = held(&daemon, step, "POST", &format!("{CONTAINERS}/c1/start"), "", || {
            refused_as_busy(&daemon, step);
        });
        daemon.agent.recover();
        assert_eq!(started, 500);
        assert_eq!(daemon.delete("/networks/web").0, 204);
        assert_eq!(daemon.delete(&format!("{CONTAINERS}/c1")).0, 204);
        assert_clean(&daemon, step);
    }
}

/// The same for a container that joins, and one that leaves, while it runs.
#[test]
fn networks_that_are_joined_and_left_stay() {
    let daemon = Daemon::start();
    daemon.network("back", "10.8.0.0/24");
    daemon.running("c1", "back");
    let body = r#"{"Container": "c1"}"#;
    for (step, way) in [("EndpointAttach", "connect"), ("DefaultRoute", "connect"), ("EndpointDetach", "disconnect")] {
        daemon.network("web", "10.9.0.0/24");
        if way == "disconnect" {
            assert_eq!(daemon.post("/networks/web/connect", body).0, 200);
        }
        let done = held(&daemon, step, "POST", &format!("/networks/web/{way}"), body, || {
            refused_as_busy(&daemon, step);
        });
        assert_eq!(done, 200, "{step}");
        if way == "connect" {
            refused_as_busy(&daemon, step);
            assert_eq!(daemon.post("/networks/web/disconnect", body).0, 200);
        }
        assert_eq!(daemon.delete("/networks/web").0, 204, "{step}");
    }
    assert_eq!(daemon.delete(&format!("{CONTAINERS}/c1?force=true")).0, 204);
    assert_eq!(daemon.delete("/networks/back").0, 204);
    assert_clean(&daemon, "in the end");
}

/// What changes a container waits for its start to end, whichever step that is at.
#[test]
fn changes_wait_for_a_start() {
    let daemon = Daemon::start();
    daemon.network("web", "10.9.0.0/24");
    daemon.network("back", "10.8.0.0/24");
    let member = r#"{"Container": "c1"}"#;
    let changes = [
        (format!("{CONTAINERS}/c1/rename?name=c2"), String::new(), 204),
        ("/networks/back/connect".to_owned(), member.to_owned(), 200),
        ("/networks/web/disconnect".to_owned(), member.to_owned(), 200),
    ];
    for (path, body, status) in changes {
        daemon.container("c1", "web");
        let mut change = None;
        let started = held(&daemon, "EndpointAttach", "POST", &format!("{CONTAINERS}/c1/start"), "", || {
            let (socket, path) = (daemon.path(), path.clone());
            change = Some(thread::spawn(move || request(&socket, "POST", &path, &body)));
        });
        assert_eq!(started, 204, "{path}");
        let (got, answer) = change.unwrap().join().unwrap();
        assert_eq!(got, status, "{path}: {answer}");
        let name = if path.contains("rename") { "c2" } else { "c1" };
        let up = |one: &Value| one["state"] == "up" && one["port"].is_u64();
        let container = daemon.inspect(name);
        let endpoints = container["endpoints"].as_array().unwrap();
        assert!(endpoints.iter().all(up), "{path}: {container}");
        assert_eq!(daemon.agent.counts(), (1, endpoints.len(), 1), "{path}");
        assert_eq!(daemon.delete(&format!("{CONTAINERS}/{name}?force=true")).0, 204);
    }
    for network in ["web", "back"] {
        assert_eq!(daemon.delete(&format!("/networks/{network}")).0, 204);
    }
    assert_clean(&daemon, "in the end");
}

/// Who detaches what is still being attached waits for it, and then takes it away: no port, no interface and no record is
/// left, whether the attaching succeeds or not.
#[test]
fn detaching_waits_for_attaching() {
    let daemon = Daemon::start();
    for step in ["SandboxAttach", "EndpointAttach", "DefaultRoute"] {
        for fails in [false, true] {
            let what = format!("{step}, fails: {fails}");
            daemon.network("web", "10.9.0.0/29");
            if fails {
                daemon.agent.fail("DefaultRoute", FailureKind::Other);
            }
            let mut detaching = Vec::new();
            let body = r#"{"name": "att", "pid": 77, "network": "web"}"#;
            let attached = held(&daemon, step, "POST", ENDPOINTS, body, || {
                refused_as_busy(&daemon, &what);
                for _ in 0..2 {
                    let socket = daemon.path();
                    detaching
                        .push(thread::spawn(move || request(&socket, "DELETE", &format!("{ENDPOINTS}/att"), "").0));
                }
            });
            daemon.agent.recover();
            assert_eq!(attached, if fails { 500 } else { 201 }, "{what}");
            let mut answers: Vec<u16> = detaching.into_iter().map(|one| one.join().unwrap()).collect();
            answers.sort_unstable();
            // One of two takes it away, if it is there.
            assert_eq!(answers, if fails { [404, 404] } else { [204, 404] }, "{what}");
            assert_eq!(daemon.get(ENDPOINTS), (200, json!([])), "{what}");
            assert_eq!(daemon.agent.counts(), (0, 0, 0), "{what}");
            assert_eq!(daemon.delete("/networks/web").0, 204, "{what}");
            assert_clean(&daemon, &what);
        }
    }
    let (dir, agent) = daemon.crash();
    assert_eq!(Daemon::start_in(dir, agent).get(ENDPOINTS), (200, json!([])), "no ghost");
}

/// Whoever waits for the host's routes, of which there may be very many, holds nobody else up.
#[test]
fn slow_routes() {
    let daemon = Daemon::start();
    let route = daemon.dir.path().join("route");
    let routes = std::fs::read(&route).unwrap();
    std::fs::remove_file(&route).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&route).status().unwrap().success());
    let socket = daemon.path();
    let first = thread::spawn(move || request(&socket, "POST", "/networks/create", r#"{"Name": "web"}"#).0);
    // That waits for the reader, which now waits for what it reads.
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&route).unwrap();
    daemon.network("other", "10.9.0.0/24");
    assert_eq!(daemon.get("/networks/other").0, 200);
    std::io::Write::write_all(&mut pipe, &routes).unwrap();
    drop(pipe);
    assert_eq!(first.join().unwrap(), 201);
}
