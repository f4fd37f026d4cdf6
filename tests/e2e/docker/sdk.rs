//! Docker's Python SDK (docker-py).

use std::process::Command;

use vswitch_tests::{Vswitch, guard, run};

/// The program that Debian's python3-docker is for.
const PYTHON: &str = "/usr/bin/python3";

/// Networks, members, containers, events and errors are what the SDK expects of Docker.
#[test]
fn python() {
    guard(|| {
        let vs = Vswitch::with(&["--docker-socket", "/tmp/vs/docker.sock"]);
        let _c = vs.container("c", "");
        let mut command = Command::new(PYTHON);
        command.args(["-c", include_str!("sdk.py"), "/tmp/vs/docker.sock", "c"]);
        assert_eq!(run(&mut command).ok().trim(), "everything");
    });
}
