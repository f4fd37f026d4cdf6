//! The docker command line as a client of the control socket.

use std::process::Command;

use serde_json::Value;
use vswitch_tests::{Output, Vswitch, guard, run};

fn docker(vs: &Vswitch, line: &str) -> Output {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", format!("unix://{}", vs.socket().display()));
    run(command.args(line.split_whitespace()))
}

/// docker network create, ls, inspect, rm and prune work as against Docker itself.
#[test]
fn networks() {
    guard(|| {
        let vs = Vswitch::start();
        let id =
            docker(&vs, "network create --subnet 10.8.0.0/24 --gateway 10.8.0.9 --label a=b --opt mtu=1400 web").ok();
        assert_eq!(id.trim().len(), 64);
        let text = docker(&vs, "network inspect web").ok();
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&shown[0]["Name"], &shown[0]["Id"]), (&"web".into(), &id.trim().into()));
        assert_eq!(shown[0]["IPAM"]["Config"][0]["Gateway"], "10.8.0.9");
        assert_eq!((&shown[0]["Labels"]["a"], &shown[0]["Options"]["mtu"]), (&"b".into(), &"1400".into()));
        docker(&vs, "network create --ipv6 six").ok();
        assert_eq!(docker(&vs, "network inspect -f {{.EnableIPv6}} six").ok().trim(), "true");
        let names = docker(&vs, "network ls --format {{.Name}}/{{.Driver}}").ok();
        for name in ["bridge/bridge", "host/host", "none/null", "web/bridge", "six/bridge"] {
            assert!(names.lines().any(|line| line == name), "{names}");
        }
        assert_eq!(docker(&vs, "network ls -q --filter label=a=b").ok().lines().count(), 1);
        assert_eq!(docker(&vs, "network rm web").ok().trim(), "web");
        assert!(docker(&vs, "network prune -f").ok().contains("six"));
        assert_eq!(docker(&vs, "network ls -q").ok().lines().count(), 3);
    });
}

/// docker network connect and disconnect act on running containers.
#[test]
fn connect_and_disconnect() {
    guard(|| {
        let vs = Vswitch::start();
        docker(&vs, "network create --subnet 10.8.0.0/24 web").ok();
        let (a, b) = (vs.container("a", ""), vs.container("b", "--network web"));
        docker(&vs, "network connect --ip 10.8.0.77 --alias front web a").ok();
        assert_eq!(a.ipv4("web").to_string(), "10.8.0.77");
        b.pings("10.8.0.77");
        let members = docker(&vs, "network inspect web").ok();
        assert!(members.contains("10.8.0.77/24") && members.contains("02:42:"), "{members}");
        docker(&vs, "network rm web").exits(1).says("has active endpoints");
        docker(&vs, "network disconnect web a").ok();
        b.cannot_ping("10.8.0.77");
    });
}

/// Refusals carry Docker's own sentences.
#[test]
fn errors() {
    guard(|| {
        let vs = Vswitch::start();
        docker(&vs, "network create twice").ok();
        docker(&vs, "network create twice").exits(1).says("network with name twice already exists");
        docker(&vs, "network rm nowhere").exits(1).says("nowhere");
        docker(&vs, "network rm bridge").exits(1).says("pre-defined network and cannot be removed");
        docker(&vs, "network create --subnet 172.17.5.0/24 over").exits(1).says("overlaps with other one");
        docker(&vs, "network create --driver overlay o").exits(1).says("overlay");
        docker(&vs, "network connect twice nobody").exits(1).says("nobody");
    });
}
