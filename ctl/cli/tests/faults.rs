//! A daemon that is absent, refuses, or talks nonsense; a reader that goes away.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, helpers included")]

mod common;

use std::os::fd::OwnedFd;
use std::process::Stdio;

use common::{Fake, Reply, command, stderr, stdout, vswitchctl};
use serde_json::json;

/// Without a daemon every command says so in one sentence and fails; `run` and `exec` as Docker's do.
#[test]
fn no_daemon() {
    let lines: &[(&[&str], i32)] = &[
        (&["network", "ls"], 1),
        (&["network", "create", "a"], 1),
        (&["ps"], 1),
        (&["stats"], 1),
        (&["stats", "--watch"], 1),
        (&["rm", "web"], 1),
        (&["inspect", "web"], 1),
        (&["version"], 1),
        (&["run", "true"], 125),
        (&["run", "-d", "true"], 125),
        (&["exec", "web", "true"], 125),
    ];
    for (line, status) in lines {
        let output = vswitchctl(line);
        assert_eq!(output.status.code(), Some(*status), "{line:?}");
        let text = stderr(&output);
        assert_eq!(text.lines().count(), 1, "{line:?}: {text}");
        assert!(text.starts_with("error: cannot reach vswitchd at ") && text.contains("--socket"), "{line:?}: {text}");
    }
}

/// The daemon's own sentence is shown as it is, and nothing else.
#[test]
fn refusal() {
    let fake = Fake::new(|_| Reply::Json(409, json!({"message": "network with name blue already exists"})));
    let output = fake.run(&["network", "create", "blue"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: network with name blue already exists\n");
    assert_eq!(stdout(&output), "");
    assert_eq!(fake.run(&["run", "true"]).status.code(), Some(125));
}

/// Nonsense and a hang-up are told as faults of the daemon.
#[test]
fn nonsense() {
    for reply in [|| Reply::HangUp, || Reply::Garbage, || Reply::Text("<html>")] {
        let fake = Fake::new(move |_| reply());
        let output = fake.run(&["ps"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("did not answer properly"), "{}", stderr(&output));
    }
}

/// Of several objects, the good ones are done and printed and each bad one gets its sentence.
#[test]
fn several_objects() {
    let fake = Fake::new(|request| match request.path.contains("bad") {
        true => Reply::Json(404, json!({"message": "network bad not found"})),
        false => Reply::Empty(204),
    });
    let output = fake.run(&["network", "rm", "one", "bad", "two"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "one\ntwo\n");
    assert_eq!(stderr(&output), "error: network bad not found\n");
    assert!(fake.run(&["network", "rm", "-f", "bad"]).status.success());
    assert_eq!(fake.run(&["detach", "bad"]).status.code(), Some(1));
}

/// Whoever closes our standard output early has read enough: quiet, status 0.
#[test]
fn broken_pipe() {
    let fake = Fake::new(|_| Reply::Json(200, json!([])));
    let lines: [&[&str]; 3] = [&["ps"], &["network", "ls", "--json"], &["completions", "bash"]];
    for line in lines {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop::<OwnedFd>(reader);
        let output = fake.command(line).stdout(Stdio::from(writer)).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{line:?}");
    }
}

/// A hidden worker that is started by hand with nonsense fails like any command.
#[test]
fn demo_without_daemon() {
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("vswitchctl");
    std::fs::copy(command().get_program(), &copy).unwrap();
    let output = std::process::Command::new(&copy).arg("demo").env("PATH", place.path()).env_remove("CARGO").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("vswitchd is neither in") && stderr(&output).contains("cargo build"));
}

/// The demo shows what vswitchd said when it does not start, and leaves nothing behind.
#[test]
fn demo_with_a_daemon_that_fails() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let (copy, fake) = (place.path().join("vswitchctl"), place.path().join("vswitchd"));
    std::fs::copy(command().get_program(), &copy).unwrap();
    std::fs::write(&fake, "#!/bin/sh\necho 'user namespaces are forbidden here' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
    let temporary = place.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let output =
        std::process::Command::new(&copy).arg("demo").env("TMPDIR", &temporary).env_remove("CARGO").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("ended before it was ready") && text.contains("user namespaces are forbidden"), "{text}");
    assert!(stdout(&output).contains("✗ starting vswitchd"), "{}", stdout(&output));
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}
