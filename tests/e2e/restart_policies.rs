//! Containers that are started again by themselves.

use vswitch_tests::{Vswitch, eventually, guard, until};

fn count(vs: &Vswitch, name: &str) -> u64 {
    vs.json(&format!("inspect {name}"))[0]["restart_count"].as_u64().unwrap()
}

fn state(vs: &Vswitch, name: &str) -> String {
    vs.json(&format!("inspect {name}"))[0]["state"].as_str().unwrap().to_owned()
}

fn run(vs: &Vswitch, name: &str, flags: &str, script: &str) {
    let flags: Vec<&str> = flags.split_whitespace().collect();
    vs.ctl(&[&["run", "-d", "--name", name, "--network", "none"], &flags[..], &["--", "sh", "-c", script]].concat())
        .ok();
}

/// on-failure starts again so often as was said and not after success; always goes on until it is stopped, which cancels also a
/// wait; a policy can be given and taken while it runs.
#[test]
fn while_vswitchd_runs() {
    guard(|| {
        let vs = Vswitch::start();
        run(&vs, "fails", "--restart on-failure:2", "echo run; exit 3");
        eventually("it has been started twice more", 20, || {
            count(&vs, "fails") == 2 && state(&vs, "fails") == "exited"
        });
        eventually("it has said so each time", 20, || vs.ok("logs fails") == "run\nrun\nrun\n");
        run(&vs, "works", "--restart on-failure", "exit 0");
        run(&vs, "always", "--restart always", "exit 0");
        eventually("it goes on", 20, || count(&vs, "always") >= 3);
        assert_eq!((state(&vs, "works").as_str(), count(&vs, "works")), ("exited", 0));
        eventually("it waits", 20, || state(&vs, "always") == "restarting");
        eventually("the list says so", 20, || vs.ok("ps").contains("Restarting (0)"));
        vs.ok("stop always");
        assert_eq!(state(&vs, "always"), "exited");
        let stopped = count(&vs, "always");
        run(&vs, "runs", "--restart unless-stopped", "exec sleep 100000");
        vs.ok("kill runs");
        assert_eq!(state(&vs, "runs"), "exited");
        vs.ok("start runs");
        vs.ok("restart -t 0 runs");
        assert_eq!((state(&vs, "runs").as_str(), count(&vs, "runs")), ("running", 0));
        let pid = || vs.json("inspect runs")[0]["pid"].as_u64();
        let first = pid().unwrap();
        // What kills all may be killed with them.
        let _ = vs.words("exec runs kill -9 -1");
        until("another process is there", 20, || pid().filter(|pid| *pid != first));
        vs.ok("update --restart no runs");
        let _ = vs.words("exec runs kill -9 -1");
        eventually("it stays down", 10, || state(&vs, "runs") == "exited");
        assert_eq!(count(&vs, "always"), stopped);
        vs.ok("rm fails works always runs");
        for (flags, says) in
            [("--restart sometimes", "unknown policy 'sometimes'"), ("--rm --restart always", "AutoRemove")]
        {
            vs.words(&format!("run {flags} -- true")).exits(125).says(says);
        }
    });
}

/// Over a restart of vswitchd: what was to run runs again, what was stopped stays so, unless it is to run always.
#[test]
fn over_a_restart_of_vswitchd() {
    guard(|| {
        let vs = Vswitch::start();
        for (name, policy) in
            [("no", "no"), ("always", "always"), ("unless", "unless-stopped"), ("stopped", "unless-stopped")]
        {
            run(&vs, name, &format!("--restart {policy} --stop-timeout 0"), "exec sleep 100000");
        }
        run(&vs, "stopped-always", "--restart always --stop-timeout 0", "exec sleep 100000");
        vs.ok("stop stopped stopped-always");
        assert_eq!(vs.terminate(), 0);
        vs.up();
        for name in ["always", "unless", "stopped-always"] {
            eventually("it runs again", 20, || state(&vs, name) == "running");
        }
        for name in ["no", "stopped"] {
            assert_eq!(state(&vs, name), "exited", "{name}");
        }
    });
}
