//! The program vswitchd: what it refuses to start with, and what it gives up before it serves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A vswitchd whose end ends everything that it made.
struct Vswitchd {
    child: Child,
}

impl Vswitchd {
    fn command(dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vswitchd"));
        command.arg("--socket").arg(dir.join("v.sock")).arg("--state-dir").arg(dir.join("state"));
        command.args(["--ephemeral", "--workers", "1", "--log", "warn"]);
        command.env_remove("VSWITCH_SOCKET").stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(dir: &Path) -> Vswitchd {
        let mut child = Vswitchd::command(dir).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != format!("vswitchd ready: socket {}\n", dir.join("v.sock").display()) {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("{line}{said}");
        }
        Vswitchd { child }
    }

    /// Its exit status and what it said on standard error.
    fn stop(mut self) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), said)
    }
}

impl Drop for Vswitchd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts one that must refuse; its sentence.
fn refused(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("vswitchd: ") && said.lines().count() == 1, "not one sentence: {said}");
    said
}

/// Before it serves, vswitchd has no capability in any set and cannot gain one, on every thread, for root and others.
#[test]
fn no_privileges_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Vswitchd::start(dir.path());
    let root = rustix::process::geteuid().is_root();
    let tasks = format!("/proc/{}/task", daemon.child.id());
    let mut threads = 0;
    for task in std::fs::read_dir(tasks).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        threads += 1;
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            // Only a capability lets a process empty its bounding set; without privileges it bounds nothing.
            if set != "CapBnd" || root {
                assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
            }
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
    assert!(threads > 2, "the workers and the runtime are running");
    let (status, said) = daemon.stop();
    // Where the host lets nobody ping, that is all that there is to say.
    let rest: Vec<&str> = said.lines().filter(|line| !line.contains("net.ipv4.ping_group_range")).collect();
    assert_eq!((status, rest), (Some(0), Vec::new()));
    assert!(!dir.path().join("v.sock").exists());
}

/// A socket or a state directory that another vswitchd uses is refused, and that one goes on.
#[test]
fn a_second_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Vswitchd::start(dir.path());
    let with = |socket: &str, state: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vswitchd"));
        command.arg("--socket").arg(dir.path().join(socket)).arg("--state-dir").arg(dir.path().join(state));
        command
    };
    assert!(refused(with("v.sock", "other"), 1).contains("is served by another vswitchd"));
    let sentence = refused(with("w.sock", "state"), 1);
    let holder = format!("another vswitchd (process {}) uses the state directory", first.child.id());
    assert!(sentence.contains(&holder), "{sentence}");
    assert!(!dir.path().join("w.sock").exists());
    UnixStream::connect(dir.path().join("v.sock")).unwrap();
    assert_eq!(first.stop().0, Some(0));
}

/// The socket file of a dead vswitchd is replaced.
#[test]
fn a_stale_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(dir.path().join("v.sock")).unwrap());
    let daemon = Vswitchd::start(dir.path());
    UnixStream::connect(dir.path().join("v.sock")).unwrap();
    assert_eq!(daemon.stop().0, Some(0));
}

/// A damaged store is refused, kept, and leaves neither a socket nor an agent behind.
#[test]
fn a_damaged_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("state/state.redb");
    std::fs::DirBuilder::new().mode(0o700).create(dir.path().join("state")).unwrap();
    std::fs::write(&store, "not a store").unwrap();
    assert!(refused(Vswitchd::command(dir.path()), 1).contains("it was left as it is"));
    assert_eq!(std::fs::read_to_string(&store).unwrap(), "not a store");
    assert!(!dir.path().join("v.sock").exists());
    assert!(!dir.path().join("state/agent.log").exists(), "no agent was started");
}

/// Flags that make no sense end with status 2 and one sentence.
#[test]
fn bad_flags() {
    for flags in [&["--workers", "0"][..], &["--uplink", "nowhere"], &["--live-restore", "--ephemeral"]] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vswitchd"));
        command.arg("--socket").arg(dir.path().join("v.sock")).arg("--state-dir").arg(dir.path().join("state"));
        command.args(flags);
        refused(command, 2);
        assert!(!dir.path().join("state").exists());
    }
}
