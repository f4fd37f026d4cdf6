//! What a reader of Docker's tutorials types about published ports: `-p`, and the same one twice.

use std::net::TcpListener;

use vswitch_tests::rootless::Rootless;
use vswitch_tests::{Container, Output, Vswitch, eventually, guard};

use crate::docker::docker;

fn serve(container: &Container<'_>, page: &str) {
    let name = container.name();
    container.ok(&format!("mkdir -p /mnt/{name} && echo {page} > /mnt/{name}/index.html"));
    container.ok(&format!("python3 -m http.server 80 --directory /mnt/{name} > /mnt/{name}.log 2>&1 &"));
    eventually("the web server listens", 30, || container.sh("ss -ltn").stdout.contains(":80 "));
}

/// What a neighbour of the host gets at the host's port 8080.
fn curl(site: &Rootless) -> Output {
    site.outside.sh("curl -sS -m 20 http://10.99.0.1:8080/")
}

/// A web server is reached at the host's port; a second container that asks for the port is refused in Docker's words and
/// leaves the first one alone; it may have the port once the first one has ended.
#[test]
fn published_twice() {
    guard(|| {
        let site = Rootless::start();
        let vs = &site.vs;
        let web = vs.container("web", "-p 8080:80");
        serve(&web, "hello-from-web");
        assert_eq!(curl(&site).ok().trim(), "hello-from-web");
        assert_eq!(docker(vs, "port web 80").ok().lines().next(), Some("0.0.0.0:8080"));
        assert!(docker(vs, "ps --format {{.Ports}}").ok().contains("0.0.0.0:8080->80/tcp"));
        let second = vs.words("run -d --name second -p 8080:80 -- sleep 9").exits(125);
        second.says("Bind for 0.0.0.0:8080 failed: port is already allocated");
        assert_eq!(curl(&site).ok().trim(), "hello-from-web");
        docker(vs, "stop -t 0 web").ok();
        assert_ne!(curl(&site).code, 0);
        docker(vs, "start second").ok();
        docker(vs, "start web").exits(1).says("port is already allocated");
    });
}

/// A port that a program of the host has is refused as well, and the container does not run.
#[test]
fn taken_by_the_host() {
    guard(|| {
        let vs = Vswitch::start();
        let taken = TcpListener::bind("0.0.0.0:8081").unwrap();
        vs.words("run -d --name web -p 8081:80 -- sleep 9").exits(125).says("0.0.0.0:8081");
        assert_eq!(docker(&vs, "ps -q").ok(), "");
        drop(taken);
        docker(&vs, "start web").ok();
        assert_eq!(docker(&vs, "ps -q").ok().lines().count(), 1);
    });
}
