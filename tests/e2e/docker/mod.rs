//! The docker command line and Docker's SDK as clients, unmodified.

mod compose;
mod containers;
mod events;
mod images;
mod management;
mod moby;
mod sdk;
mod socket;
mod streams;

use std::process::Command;

use serde_json::Value;
use vswitch_tests::{Output, Vswitch, guard, run};

/// Runs `docker` with the words of `line`.
#[track_caller]
pub(crate) fn docker(vs: &Vswitch, line: &str) -> Output {
    run(docker_command(vs).args(line.split_whitespace()))
}

/// What `docker` with the words of `line` shows in this format of Go's templates.
#[track_caller]
pub(crate) fn shown(vs: &Vswitch, line: &str, format: &str) -> String {
    run(docker_command(vs).args(line.split_whitespace()).args(["--format", format])).ok().trim_end().to_owned()
}

/// The docker command line at a daemon's control socket.
fn docker_command(vs: &Vswitch) -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", format!("unix://{}", vs.socket().display()));
    command
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
        for (line, expected) in [
            ("network ls -q --filter name=^we", 1),
            ("network ls -q --filter driver=bridge --filter type=custom", 2),
            ("network ls -q --filter type=builtin", 3),
            ("network ls -q --filter dangling=true", 2),
            ("network ls -q --no-trunc --filter scope=local", 5),
            ("network ls --format json", 5),
        ] {
            assert_eq!(docker(&vs, line).ok().lines().count(), expected, "{line}");
        }
        assert_eq!(docker(&vs, "network inspect --verbose -f {{.Scope}} web").ok().trim(), "local");
        assert_eq!(docker(&vs, &format!("network inspect -f {{{{.Name}}}} {}", &id[..12])).ok().trim(), "web");
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
        docker(&vs, "network connect twice nobody").exits(1).says("No such container: nobody");
        let _c = vs.container("c", "--network twice");
        for (line, says) in [
            ("network connect twice c", "endpoint with name c already exists in network twice"),
            ("network connect nowhere c", "network nowhere not found"),
            ("network connect --ip 172.31.9.9 bridge c", "supported on user defined networks only"),
            ("network connect --alias www bridge c", "only supported for user-defined networks"),
            ("network connect host c", "host"),
            ("network disconnect bridge c", "container c is not connected to the network bridge"),
            ("network disconnect twice nobody", "No such container: nobody"),
            ("network inspect twice nowhere", "network nowhere not found"),
            ("network create --driver l2bridge m", "network driver l2bridge is not available"),
            ("network create --subnet 10.1.0.1/24 bad", "it should be 10.1.0.0/24"),
            ("network create --opt mut=1 bad", "did you mean mtu?"),
            ("network create bridge", "operation is not permitted on predefined bridge network"),
            ("network ls --filter size=1", "invalid filter 'size'"),
            ("network prune -f --filter until=soon", "until"),
            ("network rm bridge host", "host is a pre-defined network and cannot be removed"),
            ("network connect --link-local-ip 169.253.7.7 bridge c", "invalid link-local IP address"),
        ] {
            docker(&vs, line).exits(1).says(says);
        }
        assert_eq!(docker(&vs, "network ls -q").ok().lines().count(), 4);
        docker(&vs, "network rm -f nowhere").ok();
    });
}
