//! The command line as a person meets it.

use std::{
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use vswitch_tests::{Vswitch, eventually, guard, run, sh};

/// Without a daemon every command says what to do.
#[test]
fn without_a_daemon() {
    guard(|| {
        let vs = Vswitch::stopped("/tmp/vs", &[]);
        for line in ["network ls", "ps", "stats", "endpoint ls", "fdb show bridge", "network create x"] {
            vs.refuses(line, "start it with 'vswitchd'");
        }
        vs.words("run -- true").exits(125).says("start it with 'vswitchd'");
        vs.words("").exits(2);
        vs.words("network").exits(2);
        vs.words("frobnicate").exits(2).says("frobnicate");
        vs.words("--help").exits(0);
    });
}

/// Completions for the usual shells are complete enough to know the subcommands, and the shell accepts them.
#[test]
fn completions() {
    guard(|| {
        let vs = Vswitch::stopped("/tmp/vs", &[]);
        for shell in ["bash", "zsh", "fish"] {
            let script = vs.ok(&format!("completions {shell}"));
            assert!(
                script.contains("vswitchctl") && script.contains("network") && script.contains("detach"),
                "{shell}"
            );
        }
        std::fs::write("/tmp/completions", vs.ok("completions bash")).unwrap();
        run(Command::new("bash").args(["-c", "source /tmp/completions"])).ok();
    });
}

/// Tables are for people, --json is for programs, on every listing.
#[test]
fn listings() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let a = vs.container("a", "--network n --label tier=web");
        let table = vs.ok("ps");
        let address = a.ipv4("n").to_string();
        for word in ["CONTAINER ID", "NAMES", "sleep 100000", "Up", &address, "n"] {
            assert!(table.contains(word), "{word} is missing:\n{table}");
        }
        assert_eq!(vs.json("ps")[0]["labels"]["tier"], "web");
        let table = vs.ok("endpoint ls");
        assert!(table.contains(&address) && table.contains("eth0"), "{table}");
        assert_eq!(vs.json("endpoint ls")[0]["name"], "a");
        assert_eq!(vs.ok("ps -q").trim(), &a.details().id[..12]);
        assert_eq!(vs.ok("ps --format {{.Names}}").trim(), "a");
        assert_eq!(vs.ok("network inspect -f {{.Name}} n").trim(), "n");
        assert!(vs.ok("version").contains(env!("CARGO_PKG_VERSION")));
        assert!(vs.json("version").is_object());
        vs.refuses("inspect nobody", "nobody");
        vs.refuses("network inspect nowhere", "network nowhere not found");
    });
}

/// What vswitchd logs to a terminal has colours, unless NO_COLOR says anything; in a pipe it has none.
#[test]
fn colours_of_the_log() {
    guard(|| {
        let vs = Vswitch::start();
        vs.terminate();
        let daemon = vs.daemon_command();
        let words: Vec<String> = std::iter::once(daemon.get_program())
            .chain(daemon.get_args())
            .map(|word| word.to_str().unwrap().to_owned())
            .collect();
        // It ends as soon as it has begun, for its standard input has ended.
        let line = format!("{} --follow-stdin < /dev/null", words.join(" "));
        let log = |no_color: &str, line: &str| {
            sh(&format!("export NO_COLOR='{no_color}' TERM=xterm; script -qec '{line}' /dev/null")).ok()
        };
        let (coloured, plain, piped) = (log("", &line), log("1", &line), log("", &format!("{line} 2>&1 | cat")));
        assert!(coloured.contains("\x1b[") && coloured.contains("INFO"), "{coloured}");
        for plain in [plain, piped] {
            assert!(!plain.contains('\x1b') && plain.contains("INFO"), "{plain}");
        }
    });
}

/// The demo runs without a daemon, in under ten seconds, shows its steps, and leaves nothing; by sockets of the host, and over
/// an interface.
#[test]
fn demo() {
    guard(|| {
        let both = ["ping", "bit/s", "MAC ADDRESS", "outside, which saw 10.9.0.1", "right saw 10.9.0.2"];
        tours("demo", &[&both[..], &["by a socket of the host", "dport=80 "]].concat());
        tours("demo --uplink packet", &[&both[..], &["through NAT", "dport=8080"]].concat());
    });
}

/// The demo for those who test programs: a frame is seen, one is lost, and two are traced; nothing is left.
#[test]
fn demo_of_the_harness() {
    guard(|| {
        let words = ["echo-reply", "2 of 3 pings answered", "wire-listed 1", "out to right", "dropped spoofed-ip"];
        tours("demo --harness", &words);
    });
}

/// The demo over two hosts: an overlay network, traffic over it, and nothing is left.
#[test]
fn demo_with_two_hosts() {
    guard(|| {
        let words = ["192.0.2.1 and 192.0.2.2", "VNI 4097", "ping", "bit/s", "REMOTE"];
        tours("demo --hosts 2", &words);
        let refused = run(Command::new("vswitchctl").args(["demo", "--hosts", "2", "--uplink", "packet"]));
        assert_eq!(refused.code, 2, "{refused}");
    });
}

/// Runs a demo that says all of these words.
#[track_caller]
fn tours(line: &str, words: &[&str]) {
    let look =
        || sh("ls -A /tmp /run /run/user/* 2>/dev/null | sort; ps -eo args | grep -E '[v]switch(d|ctl)' || true").ok();
    let before = look();
    let start = Instant::now();
    let output = run(Command::new("vswitchctl").args(line.split(' ')));
    let took = start.elapsed();
    let said = output.ok();
    assert!(took < Duration::from_secs(10), "it took {took:?}:\n{said}");
    for word in words {
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "'{word}' is missing:\n{said}");
    }
    assert_eq!(look(), before, "the demo left something:\n{said}");
}

/// A demo that is interrupted leaves nothing either.
#[test]
fn interrupted_demo() {
    guard(|| {
        for delay in ["0.1", "0.3", "1.2", "2.5"] {
            sh(&format!("timeout -s INT {delay} vswitchctl demo")).stdout.clear();
            let left = || {
                // By the program's name: the script around the test speaks of vswitchctl, too.
                sh("ps -eo stat=,args= | grep -v '^Z' | grep -E '^[^ ]+ +([^ ]*/)?vswitch(d|ctl) ' || true").ok()
            };
            eventually(&format!("nothing is left of what was interrupted after {delay} s"), 20, || left().is_empty());
        }
    });
}

/// An ephemeral agent whose vswitchd ends before it has said a word ends, too.
#[test]
fn an_agent_without_its_vswitchd() {
    guard(|| {
        std::fs::create_dir("/tmp/state").unwrap();
        let mut agent = Command::new("vswitchd");
        agent.args(["agent", "--state-dir", "/tmp/state", "--ephemeral"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut agent = agent.spawn().unwrap();
        let mut said = String::new();
        agent.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        assert!(agent.try_wait().unwrap().is_none(), "it waits for its vswitchd");
        drop(agent.stdin.take());
        eventually("the agent has ended", 20, || agent.try_wait().unwrap().is_some());
    });
}
