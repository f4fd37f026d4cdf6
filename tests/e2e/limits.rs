//! Few descriptors, and what that costs: one request, never the networks of others.

use std::{fs, process::Command, time::Duration};

use vswitch_tests::guard::guard_for;
use vswitch_tests::{Vswitch, eventually, guard, run, sh, spawn};

use crate::restart::kill_both_within;

/// The largest number of containers that could be needed to reach the limit.
const ENOUGH: usize = 40;

/// Out of descriptors, a container is refused with a sentence that says so; those that run go on, and once one of them has
/// ended there is room again.
#[test]
fn out_of_descriptors() {
    guard(|| {
        let limited = ["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"].map(str::to_owned);
        let vs = Vswitch::stopped_inside("/tmp/vs", &limited, &[]);
        vs.up();
        let first = vs.container("c0", "");
        let second = vs.container("c1", "");
        let mut started = 2;
        let refused = loop {
            assert!(started < ENOUGH, "{ENOUGH} containers with 64 descriptors");
            let said = run(vs
                .ctl_command()
                .args(["run", "-d", "--name", &format!("c{started}")])
                .args(["--", "sleep", "1000"]));
            if said.code != 0 {
                break said;
            }
            started += 1;
        };
        assert!(started > 4, "{started} containers: {refused}");
        let says = |text: &str| refused.stderr.contains(text);
        assert!(says("open files") || says("Too many open files"), "{refused}");
        vs.ok(&format!("rm -f c{started} c2 c3"));
        first.pings(second.ipv4("bridge"));
        vs.container("again", "").pings(first.ipv4("bridge"));
        assert!(!vs.log().contains("the agent of vswitchd ended"), "{}", vs.log());
    });
}

/// Thousands of containers fit into the usual limits: each takes three descriptors at most, of vswitchd and of its agent, and still
/// gets every signal, those too that its first process cannot catch for it.
#[test]
fn few_for_each() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        // What is there for all of them.
        let _first = vs.container("first", "--network n");
        let agent = sh(&format!("pgrep -P {}", vs.pid())).ok().trim().parse().unwrap();
        let count = || [vs.pid(), agent].map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count());
        let before = count();
        for number in 0..CONTAINERS {
            let _ = vs.container(&format!("c{number}"), "--network n");
        }
        eventually("a container takes three descriptors at most", 20, || {
            count().iter().zip(before).all(|(now, before)| *now <= before + 3 * CONTAINERS)
        });
        let script = "import signal, sys\n\
                      for number in (11, 13, 15, 17): signal.signal(number, lambda number, _: sys.exit(number))\n\
                      print('ready', flush=True)\n\
                      while True: signal.pause()";
        for (signal, number) in [("SEGV", 11), ("PIPE", 13), ("TERM", 15), ("CHLD", 17)] {
            vs.ctl(&["run", "-d", "--name", "t", "--network", "none", "--", "python3", "-c", script]).ok();
            eventually("it listens", 20, || vs.ok("logs t").contains("ready"));
            vs.ok(&format!("kill -s {signal} t"));
            assert_eq!(vs.ok("wait t"), format!("{number}\n"), "{signal}");
            vs.ok("rm t");
        }
    });
}

const CONTAINERS: usize = 8;

/// Five thousand containers, or as many as there are descriptors for, run on while both processes are killed. Those that come next
/// take all of them up, each with its address, and they still hear each other.
#[test]
#[ignore = "it takes minutes and 16 GiB of memory: tests/run all has it"]
fn thousands_of_containers() {
    guard_for(MINUTES, || {
        // Only root may have more than it was given.
        let hard: usize = sh("ulimit -n 40000 2>/dev/null; ulimit -Hn").ok().trim().parse().unwrap_or(usize::MAX);
        let wanted = std::env::var("VSWITCH_TEST_CONTAINERS").ok().and_then(|text| text.parse().ok()).unwrap_or(5000);
        let number = wanted.min((hard - OTHERS) / 4);
        let wide = ["sh", "-c", "ulimit -n 40000 2>/dev/null; exec \"$@\"", "sh"].map(str::to_owned);
        let vs = Vswitch::stopped_inside("/tmp/vs", &wide, &[]);
        vs.up();
        for network in 0..NETWORKS {
            vs.ok(&format!("network create --subnet 10.{network}.0.0/16 n{network}"));
        }
        let socket = vs.socket().display().to_string();
        let script = format!(
            "export VSWITCH_SOCKET={socket}; for first in 0 1 2 3; do \
             (number=$first; while [ $number -lt {number} ]; do \
             vswitchctl run -d --name c$number --network n$((number % {NETWORKS})) -- sleep 100000 >/dev/null || exit 1; \
             number=$((number + 4)); done) & all=\"$all $!\"; done; for one in $all; do wait $one || exit 1; done"
        );
        spawn(Command::new("sh").args(["-c", &script])).wait(MINUTES).ok();
        let addresses = || {
            let shown = vs.json("endpoint ls");
            let one =
                |endpoint: &serde_json::Value| (endpoint["name"].to_string(), endpoint["ipv4_address"].to_string());
            shown.as_array().unwrap().iter().map(one).collect::<std::collections::BTreeMap<_, _>>()
        };
        let before = addresses();
        assert_eq!(before.len(), number);
        kill_both_within(&vs, MINUTES.as_secs());
        vs.up_within(MINUTES);
        assert_eq!(vs.ok("ps -q").lines().count(), number);
        assert_eq!(addresses(), before);
        let last = number - 1 - (number - 1) % NETWORKS;
        vs.ok(&format!("exec c0 ping -c 1 -W 20 c{last}"));
    });
}

const NETWORKS: usize = 10;
/// Descriptors beside those of containers.
const OTHERS: usize = 500;
const MINUTES: Duration = Duration::from_secs(1500);
