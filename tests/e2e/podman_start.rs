//! podman of somebody who never started a vswitchd, on a host without systemd; and of somebody who has two.

use std::collections::BTreeSet;

use vswitch_tests::{Vswitch, eventually, guard, sh};

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

/// Two podmans on one vswitchd that know nothing of each other have the same subnet and the same names: each one's containers find
/// their own, and have their own published ports.
#[test]
fn two_podmans_with_the_same_network() {
    guard(|| {
        let vs = Vswitch::start();
        let one = Podman::new(&vs);
        let two = one.twin("/tmp/podman2");
        for (podman, port, page) in [(&one, "8080:80", "first"), (&two, "8081:80", "second")] {
            podman.ok("network create --subnet 10.87.0.0/16 shop");
            let script = format!("echo {page} > /tmp/index.html; exec httpd -f -p 80 -h /tmp");
            let words = ["run", "-d", "--name", "web", "--network", "shop", "-p", port, "box", "sh", "-c", &script];
            podman.words(&words).ok();
            podman.ok("run -d --name client --network shop box sleep 100000");
        }
        let listed = vs.json("endpoint ls");
        let networks = listed.as_array().unwrap().iter().map(|one| one["network"].as_str().unwrap().to_owned());
        assert_eq!(networks.collect::<BTreeSet<_>>().len(), 2, "one network each: {listed}");
        for (podman, address, page) in [(&one, "127.0.0.1:8080", "first\n"), (&two, "127.0.0.1:8081", "second\n")] {
            // Root's podmans count addresses of one name together, so only an ordinary user's have the same ones, too.
            let inside = podman.ok("inspect -f {{.NetworkSettings.Networks.shop.IPAddress}} web");
            eventually("the published page", 20, || fetch(address) == page);
            for host in ["web", inside.trim()] {
                assert_eq!(podman.inside("client", &format!("wget -q -O - http://{host}/")).stdout, page, "{host}");
            }
        }
        for podman in [&one, &two] {
            podman.ok("rm -f -t 0 web client");
        }
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
        assert_eq!(sh("ss -Hltn 'sport = :8080 or sport = :8081'").stdout, "");
    });
}
