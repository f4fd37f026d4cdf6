//! The harness itself.

use std::{fs, os::unix::fs::MetadataExt};

use vswitch_tests::{guard, guard::is_root, sh};

/// A guarded test sees an empty host: only a loopback interface, nobody else's processes, an empty /run.
#[test]
fn guard_isolates() {
    guard(|| {
        let links = sh("ip -o link").ok();
        assert!(links.lines().all(|line| line.contains("lo:") || line.contains("@NONE")), "{links}");
        assert!(!sh("ls /run").ok().contains("netns"), "/run is fresh");
        assert_eq!(sh("cat /etc/resolv.conf").ok().trim(), "nameserver 172.19.0.53");
        assert!(std::process::id() < 50, "the test is among the first processes of its pid namespace");
    });
}

/// Called by an ordinary user, a test has no capability over its namespaces; called by root, it is the real root.
#[test]
fn rights_are_the_callers() {
    guard(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
        let everything = fs::read_to_string("/proc/self/uid_map").unwrap().trim_end().ends_with("4294967295");
        if is_root() {
            assert!(effective != "0000000000000000" && everything);
        } else {
            assert_eq!(effective, "0000000000000000");
            assert_eq!(sh("ip link add vstest0 type dummy").code, 2, "no right over the guard's namespace");
        }
        assert_eq!(fs::metadata("/tmp/home").unwrap().uid(), rustix::process::geteuid().as_raw());
    });
}

/// A failure inside a guard fails the test outside, with what was printed.
#[test]
fn failures_come_through() {
    let caught = std::panic::catch_unwind(|| guard(|| panic!("this is the reason"))).unwrap_err();
    if guard::is_inside() {
        std::panic::resume_unwind(caught);
    }
    let said = caught.downcast::<String>().unwrap();
    assert!(said.contains("this is the reason"), "{said}");
}
