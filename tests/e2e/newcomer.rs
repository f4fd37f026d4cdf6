//! What somebody types who has just built vswitch: the README's first tour, word for word, from a daemon to a clean stop.

use std::process::Command;

use vswitch_tests::{Output, Rootless, Vswitch, eventually, guard, run};

use crate::docker::docker;

const README: &str = include_str!("../../README.md");

/// The lines of the tour that are typed while the daemon runs, with an address of the test's outside in the place of the
/// world's.
fn tour() -> String {
    let (_, rest) = README.split_once("## Five minutes").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let typed: Vec<&str> =
        block.lines().filter(|line| !line.starts_with("vswitchd ") && !line.starts_with("kill ")).collect();
    assert!(typed.len() > 8 && block.contains("vswitchd &") && block.contains("kill %1"), "{block}");
    typed.join("\n").replace("example.org", "10.99.0.2")
}

fn type_it(site: &Rootless) -> Output {
    let script = format!("set -eu\nexport VSWITCH_SOCKET={}\n{}\n", site.vs.socket().display(), tour());
    site.host.sh(&script)
}

fn check(site: &Rootless) {
    let said = type_it(site);
    let text = said.clone().ok();
    for shown in ["Directory listing", "1 received", "10.5.0.2", "web"] {
        assert!(text.contains(shown), "no {shown}: {said}");
    }
    assert_eq!(text.matches("<h1>Directory listing").count(), 2, "by its name and by the published port: {said}");
    assert_eq!(site.vs.ok("ps -aq"), "");
    // Nothing is left of it, and the daemon ends by itself.
    assert!(!site.vs.ok("network ls").contains("shop"));
    assert_eq!(site.vs.terminate(), 0);
    assert!(!site.vs.socket().exists());
}

/// As an ordinary user.
#[test]
fn the_tour() {
    guard(|| check(&Rootless::start()));
}

/// As root.
#[test]
fn the_tour_as_root() {
    guard(|| check(&Rootless::as_root(&[])));
}

/// The lines for the docker command line.
#[test]
fn the_tour_with_docker() {
    guard(|| {
        let vs = Vswitch::with(&["--image", "*=/"]);
        let (_, rest) = README.split_once("the docker command line's own words").unwrap();
        let (_, rest) = rest.split_once("```sh\n").unwrap();
        let (block, _) = rest.split_once("```").unwrap();
        let socket = format!("unix://{}", vs.socket().display());
        let typed: Vec<&str> =
            block.lines().filter(|line| line.starts_with("docker ") && !line.contains("compose")).collect();
        assert!(typed.len() >= 4, "{block}");
        for line in typed {
            // What is typed at a terminal has one, and a shell that is talked to.
            let line = line.split('#').next().unwrap().trim();
            let command = if line.contains(" -it ") {
                format!("echo 'hostname -I; exit' | script -qec '{line}' /dev/null")
            } else {
                line.to_owned()
            };
            let said = run(std::process::Command::new("sh")
                .args(["-ec", &command])
                .env("DOCKER_HOST", &socket)
                .env("TERM", "xterm"));
            assert!(said.code == 0, "{line}: {said}");
            if line.contains("172.22.16.88") {
                assert!(said.stdout.contains("172.22.16.88"), "{said}");
            }
        }
        eventually("all is removed", 10, || docker(&vs, "ps -aq").ok().is_empty());
    });
}

/// What is made first and started then is seen as if it were run: its output, its status, standard input; and what happened is told from an
/// age on.
#[test]
fn created_and_started() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ctl(&["create", "--name", "c", "--", "sh", "-c", "echo seen; exit 3"]).ok();
        assert_eq!(vs.ctl(&["start", "-a", "c"]).exits(3).stdout, "seen\n");
        vs.ok("create -i --name d -- head -n 1");
        let line = "echo typed | vswitchctl start -ai d";
        assert_eq!(run(Command::new("sh").args(["-c", line]).env("VSWITCH_SOCKET", vs.socket())).ok(), "typed\n");
        // As with Docker, the later of two counts.
        vs.ok("create --name first --name second -- true");
        vs.ok("rm second");
        // Who ran it in the foreground had its output; nobody is told that there was none.
        vs.ok("run --name front -- echo seen");
        vs.refuses("logs front", "run it with -d, or with -it, to have it kept");
        vs.ctl(&["start", "-a", "c", "d"]).exits(2).says("multiple containers");
        let told = vs.ok("events --since 10m --until 0s");
        assert!(told.contains("start") && told.contains("die"), "{told}");
        vs.refuses("events --since soon --until 0s", "an age such as 10m");
    });
}

/// What is typed to look at containers, and to begin one again: ports that were only exposed, the latest ones, parts of outputs, the daemon.
#[test]
fn looked_at() {
    guard(|| {
        let vs = Vswitch::start();
        let script = "echo one; echo two; exec sleep 1000";
        vs.ctl(&["run", "-d", "--name", "web", "-P", "--expose", "80", "--expose", "53/udp", "--", "sh", "-c", script])
            .ok();
        vs.ok("run -d --name db -- sleep 1000");
        let ports = vs.ok("port web");
        assert!(ports.contains("80/tcp -> 0.0.0.0:") && ports.contains("53/udp -> 0.0.0.0:"), "{ports}");
        assert_eq!(vs.ok("ps -l --format {{.Names}}"), "db\n");
        assert_eq!(vs.ok("ps -n 1 --format {{.Names}}"), "db\n");
        assert_eq!(vs.ok("ps -f name=we --format {{.Names}}"), "web\n");
        eventually("it has printed", 10, || vs.ok("logs web") == "one\ntwo\n");
        assert_eq!(vs.ok("logs --tail 1 --since 10m web"), "two\n");
        let stamped = vs.ok("logs -t --tail 1 web");
        assert!(stamped.starts_with("20") && stamped.ends_with("Z two\n"), "{stamped}");
        assert_eq!(vs.ok("restart -t 0 web"), "web\n");
        eventually("it has printed again", 10, || vs.ok("logs --tail all web").lines().count() == 4);
        assert!(vs.ok("events --since 10m --until 0s --filter container=web").contains("restart"));
        assert!(vs.ok("info").contains("Containers: 2"), "{}", vs.ok("info"));
        vs.ok("stop -t 0 web db");
        assert_eq!(vs.ok("ps -q"), "");
    });
}
