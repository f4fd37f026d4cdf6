//! Few descriptors, and what that costs: one request, never the networks of others.

use std::fs;

use vswitch_tests::{Vswitch, eventually, guard, run, sh};

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
