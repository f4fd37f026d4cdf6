//! The agent as it is: real namespaces, interfaces and processes. Run as root, every test runs once more as an ordinary
//! user (`everything_again_as_an_ordinary_user`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod endpoints;
mod harness;
mod hijacked;
mod lifetime;
mod processes;

use std::process::Command;

/// All of the other tests, as an ordinary user.
#[test]
fn everything_again_as_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        // Then the others are that already.
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(USER), Some(USER)).unwrap();
    let user = USER.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all"])
        .arg(std::env::current_exe().unwrap())
        .args(["--test-threads=2", "--nocapture"])
        .env("TMPDIR", home.path())
        .env("HOME", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(home.path().read_dir().unwrap().count(), 0, "something was left behind");
}

/// Any that is not root; it needs no entry in /etc/passwd.
const USER: u32 = 64_001;
