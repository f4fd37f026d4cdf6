//! The harness itself.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, process::Command};

use vswitch_tests::{eventually, guard, guard::is_root, sh, spawn, until};

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

/// A test that is killed half-way takes its daemon, containers and programs along.
#[test]
fn killed_tests_leave_nothing() {
    guard::build_programs();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = spawn(command.args(["--exact", "containers::many_at_once"]));
    let processes = until("the test has started a daemon and containers", 30, || {
        let found = descendants(test.pid());
        (found.len() > 15).then_some(found)
    });
    drop(test);
    eventually("all of them are gone", 10, || {
        let alive =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        !processes.iter().any(alive)
    });
}

/// All processes that descend from `pid`.
fn descendants(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().map(Result::unwrap) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        children.entry(parent.unwrap_or_default()).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(next) = open.pop() {
        let below = children.remove(&next).unwrap_or_default();
        open.extend(&below);
        found.extend(below);
    }
    found
}
