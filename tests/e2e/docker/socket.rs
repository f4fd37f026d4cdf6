//! The socket on which Docker's dialect is spoken and nothing else, and who answers there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use vswitch_tests::{Output, Vswitch, guard, http, run};

const SOCKET: &str = "/tmp/vs/docker.sock";

fn docker(words: &[&str]) -> Output {
    run(Command::new("docker").args(["-H", &format!("unix://{SOCKET}")]).args(words))
}

/// docker version, info and network work there; vswitch's own API is not served; the file is the owner's and goes with
/// the daemon.
#[test]
fn a_socket_of_its_own() {
    guard(|| {
        let vs = Vswitch::with(&["--docker-socket", SOCKET]);
        assert_eq!(Path::new(SOCKET).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let version = docker(&["version"]).ok();
        assert!(version.contains("Server: vswitch") && version.contains("(minimum version 1.24)"), "{version}");
        let name = docker(&["version", "--format", "{{.Server.Platform.Name}}/{{.Server.MinAPIVersion}}"]).ok();
        assert_eq!(name.trim(), "vswitch/1.24");
        let info = docker(&["info"]).ok();
        assert!(
            info.contains("Operating System: vswitch ")
                && info.contains("Network: bridge host ipvlan macvlan null overlay"),
            "{info}"
        );
        assert_eq!(docker(&["info", "--format", "{{.ContainersRunning}}"]).ok().trim(), "0");
        docker(&["network", "create", "web"]).ok();
        assert_eq!(vs.ok("network ls --filter name=web -q").lines().count(), 1);
        http::request(Path::new(SOCKET), "GET", "/vswitch/v1/stats", None).refused(404, "page not found");
        assert_eq!(http::request(&vs.socket(), "GET", "/vswitch/v1/stats", None).status, 200);
        vs.terminate();
        assert!(!Path::new(SOCKET).exists());
    });
}

/// Every API version from 1.24 to the newest is spoken; others are refused in Docker's words, and the command line agrees
/// on a version by itself.
#[test]
fn versions() {
    guard(|| {
        let vs = Vswitch::with(&["--docker-socket", SOCKET]);
        for minor in 24..=50 {
            let answer = http::request(Path::new(SOCKET), "GET", &format!("/v1.{minor}/networks"), None);
            assert_eq!((answer.status, answer.json().as_array().unwrap().len()), (200, 3), "{minor}");
            assert!(answer.head.to_lowercase().contains("api-version: 1.50"), "{}", answer.head);
        }
        for (version, says) in [("1.23", "client version 1.23 is too old"), ("1.51", "client version 1.51 is too new")]
        {
            let answer = http::request(Path::new(SOCKET), "GET", &format!("/v{version}/networks"), None);
            answer.refused(400, says);
        }
        for version in ["1.24", "1.41", "1.47"] {
            let mut command = Command::new("docker");
            command.env("DOCKER_API_VERSION", version).env("DOCKER_HOST", format!("unix://{SOCKET}"));
            assert_eq!(run(command.args(["network", "ls", "-q"])).ok().lines().count(), 3, "{version}");
        }
        assert_eq!(vs.terminate(), 0);
    });
}

/// A path that somebody else serves is refused, and the daemon does not start.
#[test]
fn a_served_path_is_refused() {
    guard(|| {
        let vs = Vswitch::with(&["--docker-socket", SOCKET]);
        let other = Vswitch::stopped("/tmp/other", &["--docker-socket", SOCKET]);
        run(&mut other.daemon_command()).exits(1).says("is served by another vswitchd");
        assert_eq!(docker(&["network", "ls", "-q"]).ok().lines().count(), 3);
        drop(vs);
    });
}
