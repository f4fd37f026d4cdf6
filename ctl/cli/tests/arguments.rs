//! The grammar: what is refused, and that help helps.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, helpers included")]

mod common;

use std::process::{Command, Stdio};

use common::{command, stderr, stdout, vswitchctl};

/// Every wrong command line ends with status 2, a sentence on standard error and nothing on standard output.
#[test]
fn wrong_command_lines() {
    let lines: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["network"],
        &["network", "create"],
        &["network", "create", "a", "b"],
        &["network", "create", "--label", "=x", "a"],
        &["network", "create", "--opt", "mtu", "a"],
        &["network", "create", "--ipv6=maybe", "a"],
        &["network", "ls", "--filter", "colour=blue"],
        &["network", "ls", "--filter", "name"],
        &["network", "ls", "--json", "-q"],
        &["network", "rm"],
        &["network", "connect", "a"],
        &["network", "prune", "--filter", "name=x"],
        &["run"],
        &["run", "--frobnicate", "true"],
        &["run", "--network", "name=a,foo=b", "true"],
        &["run", "--network", "", "true"],
        &["run", "--add-host", "db", "true"],
        &["run", "-e", "=x", "true"],
        &["exec", "web"],
        &["attach", "--network", "a"],
        &["attach", "--pid", "1", "--netns", "/x", "--network", "a"],
        &["attach", "--pid", "one", "--network", "a"],
        &["attach", "--pid", "1"],
        &["detach"],
        &["stop", "-t", "-1", "web"],
        &["kill", "-s", "FOO", "web"],
        &["kill", "-s", "0", "web"],
        &["kill", "-s", "64", "web"],
        &["pause"],
        &["cp", "web:/a"],
        &["cp", "a", "b"],
        &["cp", "web:/a", "db:/b"],
        &["stats", "--no-stream"],
        &["stats", "--count", "2"],
        &["stats", "--watch", "web"],
        &["top", "--once", "web"],
        &["top", "-n", "2", "web"],
        &["fdb", "add", "blue", "02:00:00:00:00:01"],
        &["fdb", "show"],
        &["stats", "--interval", "1"],
        &["stats", "--watch", "--interval", "0"],
        &["stats", "--watch", "--count", "0"],
        &["completions", "tcsh"],
        &["inspect", "--type", "volume", "x"],
    ];
    for line in lines {
        let output = vswitchctl(line);
        assert_eq!(output.status.code(), Some(2), "{line:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty() && stdout(&output).is_empty(), "{line:?}");
    }
}

/// Faults in values say how to write them.
#[test]
fn faults_teach() {
    let cases: &[(&[&str], &str)] = &[
        (&["network", "ls", "--filter", "colour=blue"], "known are dangling driver id label name scope type"),
        (&["run", "--add-host", "db", "true"], "write it as NAME:ADDRESS"),
        (&["kill", "-s", "FOO", "web"], "known are HUP INT"),
        (&["network", "creat"], "create"),
        (&["stats", "--watch", "--interval", "x"], "in seconds"),
    ];
    for (line, sentence) in cases {
        let text = stderr(&vswitchctl(line));
        assert!(text.contains(sentence), "{line:?}: {text}");
    }
}

/// Each command explains itself, and the first page names every command.
#[test]
fn help() {
    let top = stdout(&vswitchctl(&["--help"]));
    let commands: Vec<&str> = top
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let expected = [
        "network",
        "volume",
        "run",
        "create",
        "exec",
        "ps",
        "port",
        "start",
        "stop",
        "restart",
        "update",
        "pause",
        "unpause",
        "kill",
        "rename",
        "rm",
        "wait",
        "logs",
        "cp",
        "inspect",
        "attach",
        "detach",
        "endpoint",
        "engine",
        "cni",
        "bridge",
        "service",
        "fdb",
        "mdb",
        "lldp",
        "flows",
        "capture",
        "extcap",
        "trace",
        "inject",
        "expect",
        "replay",
        "impair",
        "cut",
        "heal",
        "link",
        "lab",
        "tunnel",
        "stats",
        "top",
        "demo",
        "completions",
        "events",
        "info",
        "version",
        "help",
    ];
    assert_eq!(commands, expected, "{top}");
    assert!(top.contains("Examples:") && top.contains("$VSWITCH_SOCKET") && !top.contains("demo-worker"), "{top}");
    for command in &expected[..expected.len() - 1] {
        let output = vswitchctl(&[command, "--help"]);
        assert!(output.status.success(), "{command}");
        let text = stdout(&output);
        assert!(text.contains("Usage: vswitchctl") && text.lines().count() > 4, "{command}: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= 130), "{command}: {text}");
    }
    for command in ["create", "ls", "inspect", "rm", "prune", "connect", "disconnect"] {
        assert!(vswitchctl(&["network", command, "--help"]).status.success(), "{command}");
    }
    for command in
        [&["ls"][..], &["inspect"], &["remote", "add"], &["remote", "ls"], &["entry", "add"], &["entry", "rm"]]
    {
        assert!(vswitchctl(&[&["tunnel"], command, &["--help"]].concat()).status.success(), "{command:?}");
    }
    for command in ["ls", "flush", "watch"] {
        assert!(vswitchctl(&["flows", command, "--help"]).status.success(), "{command}");
    }
}

/// `-h` is the hostname of `run`, as with Docker, and help everywhere else.
#[test]
fn short_h() {
    assert!(vswitchctl(&["ps", "-h"]).status.success());
    assert_eq!(vswitchctl(&["run", "-h"]).status.code(), Some(2));
}

/// The words after the command belong to it, flags included.
#[test]
fn trailing_words() {
    let output = vswitchctl(&["run", "--rm", "ls", "--rm", "-d", "--help"]);
    assert_eq!(output.status.code(), Some(125), "no daemon, but a right command line: {}", stderr(&output));
}

/// The shells accept the completion scripts.
#[test]
fn completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&vswitchctl(&["completions", shell]));
        assert!(script.contains("vswitchctl") && script.contains("network"), "{shell}");
        assert!(!script.contains("/target/"), "{shell}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &script).unwrap();
        let checked = Command::new(shell).arg("-n").arg(file.path()).stdin(Stdio::null()).output();
        let checked = checked.unwrap_or_else(|error| panic!("the package '{shell}' is needed for this test: {error}"));
        assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

/// An empty $VSWITCH_SOCKET counts as none, and --socket beats it.
#[test]
fn socket_choice() {
    let output = command().arg("ps").env("VSWITCH_SOCKET", "/nonexistent/from-variable").output().unwrap();
    assert!(stderr(&output).contains("from-variable"), "{}", stderr(&output));
    let output = command()
        .args(["--socket", "/nonexistent/from-flag", "ps"])
        .env("VSWITCH_SOCKET", "/nonexistent/from-variable")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("from-flag"), "{}", stderr(&output));
    let output = command().arg("ps").env("VSWITCH_SOCKET", "").output().unwrap();
    assert!(stderr(&output).contains("vswitch.sock"), "{}", stderr(&output));
}
