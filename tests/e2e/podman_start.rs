//! podman of somebody who never started a vswitchd, on a host without systemd.

use vswitch_tests::{eventually, guard, sh};

use super::podman::{Podman, SERVE, fetch};

/// The first container starts vswitchd, root's by netavark, an ordinary user's before podman enters its own network namespace; it
/// serves the next ones, has the host's ports, and vswitchctl finds it where this user's is.
#[test]
fn the_first_container_starts_vswitchd() {
    guard(|| {
        let podman = Podman::alone();
        podman.ok("network create one");
        for (name, port) in [("web", "8080:80"), ("more", "8081:80")] {
            podman.words(&["run", "-d", "--name", name, "--network", "one", "-p", port, "box", "sh", "-c", SERVE]).ok();
        }
        for address in ["127.0.0.1:8080", "127.0.0.1:8081"] {
            eventually("the page", 20, || fetch(address) == "hello\n");
        }
        assert_eq!(podman.inside("more", "wget -q -O - http://web/").stdout, "hello\n");
        let listed = || serde_json::from_str::<serde_json::Value>(&sh("vswitchctl endpoint ls --json").ok()).unwrap();
        assert_eq!(listed().as_array().unwrap().len(), 2);
        podman.ok("rm -f -t 0 web more");
        assert_eq!(listed().as_array().unwrap().len(), 0);
        for pid in sh("pgrep -x vswitchd").stdout.lines() {
            sh(&format!("kill {pid}"));
        }
    });
}
