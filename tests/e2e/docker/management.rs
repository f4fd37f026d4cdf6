//! docker top, stats, cp, pause, update, system and their like.

use std::fs;

use serde_json::Value;
use vswitch_tests::{Vswitch, eventually, guard, run};

use super::{docker, docker_command, shown};

/// What runs in a container and what it uses.
#[test]
fn top_and_stats() {
    guard(|| {
        let vs = Vswitch::with(&["--image", "*=/"]);
        docker(&vs, "run -d --name a busybox sleep 1000").ok();
        docker(&vs, "exec -d a sleep 2000").ok();
        eventually("both are seen", 10, || docker(&vs, "top a").ok().matches("sleep").count() == 2);
        let table = docker(&vs, "top a -o pid,cmd").ok();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["PID", "CMD"]);
        assert!(lines[1][0].parse::<u32>().unwrap() > 0 && lines[1][1..] == ["sleep", "1000"], "{table}");
        assert!(docker(&vs, "top a aux").ok().starts_with("USER"));
        docker(&vs, "top a --forest").exits(1).says("docker exec a ps --forest");
        vs.ok("exec a ping -c 3 -i 0.2 172.17.0.1");
        let text = run(docker_command(&vs).args(["stats", "--no-stream", "--format", "json", "a"])).ok();
        let stats: Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&stats["Name"], stats["PIDs"].as_str().unwrap()), (&"a".into(), "2"));
        assert!(!stats["MemUsage"].as_str().unwrap().starts_with("0B"), "{text}");
        assert!(!stats["NetIO"].as_str().unwrap().starts_with("0B"), "{text}");
        docker(&vs, "stop -t 0 a").ok();
        docker(&vs, "top a").exits(1).says("is not running");
    });
}

/// Files and folders go into a container and come out of it as they are.
#[test]
fn copies() {
    guard(|| {
        let vs = Vswitch::with(&["--image", "*=/"]);
        docker(&vs, "run -d --name a busybox sleep 1000").ok();
        fs::create_dir_all("/tmp/in/deep").unwrap();
        fs::write("/tmp/in/deep/file", "x".repeat(200_000)).unwrap();
        fs::write("/tmp/in/a b", "spaces").unwrap();
        docker(&vs, "cp /tmp/in a:/tmp").ok();
        assert_eq!(docker(&vs, "exec a wc -c /tmp/in/deep/file").ok().split(' ').next(), Some("200000"));
        docker(&vs, "cp /tmp/in/deep/file a:/tmp/renamed").ok();
        docker(&vs, "exec a ln -s renamed /tmp/link").ok();
        docker(&vs, "cp a:/tmp/in /tmp/out").ok();
        assert_eq!(fs::read_to_string("/tmp/out/a b").unwrap(), "spaces");
        docker(&vs, "cp -L a:/tmp/link /tmp/followed").ok();
        assert_eq!(fs::metadata("/tmp/followed").unwrap().len(), 200_000);
        docker(&vs, "cp a:/tmp/in/. /tmp/contents").ok();
        assert!(fs::exists("/tmp/contents/deep/file").unwrap());
        docker(&vs, "cp a:/tmp/nothing /tmp").exits(1).says("Could not find");
        docker(&vs, "cp /tmp/in a:/nowhere/x").exits(1);
        docker(&vs, "stop -t 0 a").ok();
        docker(&vs, "cp a:/tmp/in /tmp/late").exits(1).says("start it first");
    });
}

/// What is paused is still, is shown so, and ends nevertheless when it is stopped.
#[test]
fn pauses() {
    guard(|| {
        let vs = Vswitch::with(&["--image", "*=/"]);
        let script = "i=0; while :; do i=$((i+1)); echo $i > /tmp/i; done";
        run(docker_command(&vs).args(["run", "-d", "--name", "a", "busybox", "sh", "-c", script])).ok();
        let pid = docker(&vs, "top a -o pid").ok().lines().nth(1).unwrap().trim().to_owned();
        let state =
            || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit(") ").next().unwrap()[..1].to_owned();
        docker(&vs, "pause a").ok();
        assert_eq!((shown(&vs, "inspect a", "{{.State.Status}}").as_str(), state().as_str()), ("paused", "T"));
        assert!(docker(&vs, "ps --filter status=paused").ok().contains("(Paused)"));
        docker(&vs, "pause a").exits(1).says("already paused");
        docker(&vs, "unpause a").ok();
        eventually("it runs again", 10, || state() == "R");
        docker(&vs, "pause a").ok();
        docker(&vs, "stop -t 5 a").ok();
        docker(&vs, "pause a").exits(1).says("is not running");
    });
}

/// What Docker's clients ask of the daemon and of what is no more.
#[test]
fn housekeeping() {
    guard(|| {
        let vs = Vswitch::with(&["--image", "*=/", "--image", "shell=/"]);
        docker(&vs, "run -d --name a busybox sleep 1000").ok();
        docker(&vs, "update --memory 10m a").ok();
        docker(&vs, "update --restart always a").ok();
        assert!(docker(&vs, "system df").ok().contains("Containers"));
        docker(&vs, "rename a b").ok();
        docker(&vs, "kill b").ok();
        assert!(docker(&vs, "container prune -f").ok().contains("Deleted Containers"));
        docker(&vs, "network create old").ok();
        assert!(docker(&vs, "system prune -f").ok().contains("old"));
        docker(&vs, "commit b x").exits(1).says("no registry");
        docker(&vs, "service ls").exits(1).says("not a swarm manager");
        let events = docker(&vs, "events --since 1h --until 0s --filter event=exec_die --filter type=container").ok();
        assert_eq!(events, "");
    });
}
