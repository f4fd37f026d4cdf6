//! Who has the ports that podman publishes.

use vswitch_tests::{Vswitch, eventually, guard, guard::is_root, sh};

use super::podman::{Podman, SERVE, fetch, installed};

/// podman's settings with `enable_port_reservation` one way or the other.
fn reserving(on: bool) -> String {
    installed(&format!("enable_port_reservation = {on}\nlock_type = \"file\"\n"))
}

/// Root's podman reserves published ports by itself, unless told not to: then it finds vswitchd there, and one line says what to set;
/// once that is set, the same container starts. An ordinary user's podman reserves none, and works both ways.
#[test]
fn reserved_by_podman() {
    guard(|| {
        let vs = Vswitch::start();
        let mut podman = Podman::with(&vs, &reserving(true));
        podman.ok("network create one");
        let words = ["run", "-d", "--name", "web", "--network", "one", "-p", "8080:80", "-p", "9053:53/udp"];
        let said = podman.words(&[&words[..], &["box", "sh", "-c", SERVE]].concat());
        if is_root() {
            assert!(said.code != 0 && said.stderr.contains("address already in use"), "{said}");
            let lines: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("vswitch: ")).collect();
            assert_eq!(lines.len(), 1, "{said}");
            for part in ["8080/tcp", "9053/udp", "enable_port_reservation = false"] {
                assert!(lines[0].contains(part), "{part}: {said}");
            }
            let left = || vs.json("endpoint ls").as_array().unwrap().len();
            eventually("nothing is left half-made", 20, || left() == 0);
            assert_eq!(sh("curl -s -m 5 http://127.0.0.1:8080/").code, 7, "refused");
        } else {
            said.ok();
            eventually("the page", 20, || fetch("127.0.0.1:8080") == "hello\n");
            podman.ok("stop -t 0 web");
        }
        podman.set(reserving(false));
        let said = podman.words(&["start", "web"]);
        assert!(!said.stderr.contains("vswitch:"), "{said}");
        said.ok();
        eventually("the page", 20, || fetch("127.0.0.1:8080") == "hello\n");
        podman.ok("rm -f -t 0 web");
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
    });
}
