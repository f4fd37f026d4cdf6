//! Clients at work while vswitchd and its agent are killed again and again, at moments that a seed chooses.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use vswitch_tests::{Output, Vswitch, eventually, guard, run, sh};

/// Whether a network or container is there, of those whose client knows.
type Known = BTreeMap<String, bool>;

/// What this client was told by `vswitchctl`.
fn ask(socket: &str, line: &str) -> Output {
    run(Command::new("vswitchctl").args(line.split(' ')).env("VSWITCH_SOCKET", socket))
}

/// Makes networks with a container each, and removes every other pair again. What was not acknowledged is not known.
fn work(socket: &str, number: usize, stop: &AtomicBool) -> Known {
    let mut known = Known::new();
    for turn in 0..1000 {
        if stop.load(Relaxed) {
            break;
        }
        let (network, container) = (format!("n{number}-{turn}"), format!("c{number}-{turn}"));
        if ask(socket, &format!("network create {network}")).code != 0 {
            thread::sleep(Duration::from_millis(20));
            continue;
        }
        known.insert(network.clone(), true);
        if ask(socket, &format!("run -d --name {container} --network {network} -- sleep 100000")).code == 0 {
            known.insert(container.clone(), true);
        }
        if turn % 2 == 0 {
            // Until it is acknowledged nobody knows.
            let was = known.remove(&container);
            if ask(socket, &format!("rm -f {container}")).code == 0 && was.is_some() {
                known.insert(container, false);
            }
            known.remove(&network);
            if ask(socket, &format!("network rm {network}")).code == 0 {
                known.insert(network, false);
            }
        }
    }
    known
}

/// What an agent of this test is called with. The brackets keep the shell that looks for it from finding itself.
const AGENT: &str = "agen[t] --state-dir /tmp/vs/state";

/// Numbers that are the same for the same seed.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Whatever is killed and whenever, what was acknowledged is so afterwards: made is there and runs, removed is gone. And what nobody
/// was told of leaves nothing behind once everything is removed: no process, no order, no output.
#[test]
#[ignore = "it takes a minute: tests/run all has it"]
fn nothing_acknowledged_is_lost() {
    guard(|| {
        let vs = Vswitch::start();
        let mut seed = std::env::var("VSWITCH_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed);
        let (socket, stop) = (vs.socket().display().to_string(), AtomicBool::new(false));
        let known: Known = thread::scope(|scope| {
            let clients: Vec<_> = (0..2)
                .map(|number| {
                    scope.spawn({
                        let (socket, stop) = (&socket, &stop);
                        move || work(socket, number, stop)
                    })
                })
                .collect();
            for _ in 0..5 {
                let chosen = next(&mut seed);
                thread::sleep(Duration::from_millis(100 + chosen % 700));
                vs.crash();
                if chosen & 1024 != 0 {
                    // In this pid namespace there is no other.
                    sh(&format!("pkill -9 -f '{AGENT}'")).ok();
                    eventually("the agent is dead", 20, || sh(&format!("pgrep -f '{AGENT}'")).stdout.is_empty());
                }
                vs.up();
            }
            stop.store(true, Relaxed);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        assert!(known.values().filter(|there| **there).count() > 0, "nothing was acknowledged: {known:?}");
        let names = |line: &str| -> Vec<String> { vs.ok(line).lines().map(str::to_owned).collect() };
        let there = [names("network ls --format {{.Name}}"), names("ps --format {{.Names}}")].concat();
        let stopped = names("ps -a --format {{.Names}}");
        for (name, is_there) in &known {
            assert!(
                there.contains(name) == *is_there && (*is_there || !stopped.contains(name)),
                "{name}, seed {seed}: {known:?}"
            );
        }
        for container in stopped {
            vs.ok(&format!("rm -f {container}"));
        }
        vs.ok("network prune -f");
        let processes = || sh("pgrep -f 'sandbox-ini[t] --agent'").stdout;
        eventually("the processes of nobody's containers end", 20, || processes().is_empty());
        for folder in ["/tmp/vs/state.orders", "/tmp/vs/state/logs"] {
            eventually("nothing is left of containers", 10, || {
                sh(&format!("ls -A {folder} 2>/dev/null")).stdout.is_empty()
            });
        }
    });
}
