//! podman's containers are started again and again under clients that never let go.

use std::fs;
use std::process::Command;
use std::time::Duration;

use vswitch_tests::{Vswitch, eventually, guard, guard::guard_for, sh, spawn};

use super::podman::{Podman, SERVE, fetch};

/// Connects again whenever its connection ends.
const HOLDER_OF_CONNECTIONS: &str = "import socket, time\n\
while True:\n\
\x20   try:\n\
\x20       held = socket.create_connection(('127.0.0.1', 8080), 5)\n\
\x20       held.send(b'GET / HT')\n\
\x20       print('connected', flush=True)\n\
\x20       held.settimeout(60)\n\
\x20       while held.recv(99): pass\n\
\x20   except OSError: time.sleep(0.05)\n";

/// A few times, what podman itself does slowly.
#[test]
fn restarts() {
    guard(|| restarted(3));
}

/// As often as somebody would complain of.
#[test]
#[ignore = "it takes minutes: tests/run all has it"]
fn two_hundred_restarts() {
    guard_for(Duration::from_secs(1800), || restarted(200));
}

/// What could add up: descriptors of vswitchd and of its agent, ports of the host, processes that hold them, endpoints.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: [usize; 2],
    listeners: usize,
    helpers: usize,
    endpoints: usize,
}

impl Held {
    fn now(vs: &Vswitch) -> Held {
        let agent = sh(&format!("pgrep -o -P {}", vs.pid())).ok();
        let count = |pid: &str| fs::read_dir(format!("/proc/{}/fd", pid.trim())).map_or(0, Iterator::count);
        let lines = |script: &str| sh(script).stdout.lines().count();
        Held {
            endpoints: vs.json("endpoint ls").as_array().unwrap().len(),
            descriptors: [count(&vs.pid().to_string()), count(&agent)],
            listeners: lines("ss -Hltnu 'sport = :8080 or sport = :9001'"),
            helpers: lines("pgrep -x rootlessport"),
        }
    }

    /// Whether nothing of it is more than before.
    fn is_within(&self, before: &Held) -> bool {
        let descriptors = self.descriptors.iter().zip(&before.descriptors).all(|(now, then)| now <= then);
        descriptors
            && (self.listeners, self.helpers, self.endpoints) == (before.listeners, before.helpers, before.endpoints)
    }
}

/// Waits until no more is held than before.
fn nothing_adds_up(vs: &Vswitch, what: &str, before: &Held) {
    let more = format!("nothing more is held {what} than {before:?}");
    eventually(&more, 60, || Held::now(vs).is_within(before));
}

fn restarted(times: usize) {
    let vs = Vswitch::start();
    let podman = Podman::new(&vs);
    podman.ok("network create one");
    let run = |name: &str, more: &str| {
        let words = format!("run -d --name {name} --network one {more} box sh -c");
        let mut words: Vec<&str> = words.split_whitespace().collect();
        words.push(SERVE);
        podman.words(&words).ok();
    };
    // What is there once and for all is there with the first container.
    run("before", "");
    podman.ok("rm -f -t 0 before");
    let before = Held::now(&vs);
    run("again", "-p 8080:80 -p 9001:9001/udp");
    let page = || fetch("127.0.0.1:8080") == "hello\n";
    eventually("the page", 20, page);
    // Half a request: the server waits for the rest, and the connection ends with it.
    let client = spawn(Command::new("python3").args(["-c", HOLDER_OF_CONNECTIONS]));
    let connections = || client.output().matches("connected").count();
    eventually("the client is connected", 20, || connections() == 1);
    let mut first = None;
    for time in 1..=times {
        podman.ok("restart -t 0 again");
        eventually("the page after a restart", 20, page);
        eventually("the client is connected again", 20, || connections() > time);
        // The host's stack says so to the client; vswitchd takes it a moment later.
        let taken = || vs.stats().router.unwrap().sockets.unwrap().streams.flows == 1;
        eventually("the client's connection is the only one", 20, taken);
        first.get_or_insert_with(|| Held::now(&vs));
    }
    nothing_adds_up(&vs, "by restarts", &first.unwrap());
    podman.ok("rm -f -t 0 again");
    drop(client);
    nothing_adds_up(&vs, "in the end", &before);
}
