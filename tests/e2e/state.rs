//! The state directory: disks that are full, starts that come early, and who may look into it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use vswitch_tests::{Vswitch, eventually, guard, sh};

/// A daemon whose state is on a small disk, and nothing else of it.
fn on_a_small_disk() -> Vswitch {
    let vs = Vswitch::stopped("/tmp/vs", &[]);
    fs::create_dir("/run/small/state").unwrap();
    fs::set_permissions("/run/small/state", PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("/run/small/state", vs.state_dir()).unwrap();
    vs
}

/// A full disk refuses what would change and says what to do; what happens all the same is told, and known after a crash
/// once there was room again. Nothing of that needs a restart.
#[test]
fn a_full_disk() {
    guard(|| {
        let vs = on_a_small_disk();
        vs.up();
        let script = "trap 'exit 7' TERM; while :; do sleep 0.05; done";
        for (name, rm) in [("stays", "-d"), ("goes", "-d --rm")] {
            let args: Vec<&str> = rm.split(' ').collect();
            vs.ctl(&[&["run"], &args[..], &["--name", name, "--", "sh", "-c", script]].concat()).ok();
        }
        sh("cat /dev/zero > /run/small/fill");
        // What the store has left is used up by ever smaller records.
        let [.., refused] = [20_000, 2_000, 200, 0].map(|size| {
            let label = format!("filling={}", "x".repeat(size));
            let create = |number: u32| {
                let name = format!("filler-{size}-{number}");
                vs.ctl(&["network", "create", "--internal", "--label", &label, &name])
            };
            (0..200).map(create).filter(|output| output.code != 0).take(3).last().expect("the disk is full")
        });
        refused.refused("cannot write the store").says("see that there is space").says("need not be restarted");
        // Small changes may find room in what the refused ones have left; what does not is told.
        let done = [vs.ctl(&["stop", "stays"]), vs.ctl(&["rm", "-f", "goes"])];
        let owed = done.iter().any(|output| output.code != 0);
        for output in done.into_iter().filter(|output| output.code != 0) {
            output.refused("it is done").says("see that there is space");
        }
        let shown = vs.json("ps -a");
        assert_eq!(shown.as_array().map(Vec::len), Some(1), "{shown}");
        assert_eq!((&shown[0]["name"], &shown[0]["state"]), (&"stays".into(), &"exited".into()));
        fs::remove_file("/run/small/fill").unwrap();
        eventually("what was owed is written", 10, || !owed || vs.log().contains("is written again"));
        vs.ok("network create later");
        vs.crash();
        vs.up();
        let shown = vs.json("ps -a");
        assert_eq!(shown.as_array().map(Vec::len), Some(1), "{shown}");
        assert_eq!((&shown[0]["name"], vs.json("inspect stays")[0]["exit_code"].as_i64()), (&"stays".into(), Some(7)));
        vs.ok("network inspect later");
        vs.ok("rm stays");
    });
}

/// A first start on a full disk says so, and the next one with room begins as if that had not been.
#[test]
fn a_first_start_on_a_full_disk() {
    guard(|| {
        let vs = on_a_small_disk();
        for room in [0, 4, 16, 64] {
            sh("cat /dev/zero > /run/small/fill");
            let length = fs::metadata("/run/small/fill").unwrap().len();
            fs::File::options().write(true).open("/run/small/fill").unwrap().set_len(length - room * 1024).unwrap();
            vswitch_tests::run(&mut vs.daemon_command()).refused("see that there is space");
            fs::remove_file("/run/small/fill").unwrap();
            vs.up();
            assert_eq!(vs.terminate(), 0);
            fs::remove_dir_all("/run/small/state").unwrap();
            fs::create_dir("/run/small/state").unwrap();
        }
    });
}

/// A daemon that is started while a killed one is still being taken down waits for that.
#[test]
fn starting_right_after_a_kill() {
    guard(|| {
        let killed = Vswitch::start();
        // Each endpoint's socket takes the kernel a while.
        for number in 0..12 {
            killed.ok(&format!("run -d --name c{number} -- sleep 1000"));
        }
        kill_process(Pid::from_raw(killed.pid().cast_signed()).unwrap(), Signal::KILL).unwrap();
        let next = Vswitch::stopped("/tmp/vs", &[]);
        next.up();
        assert_eq!(killed.wait_end(10), 128 + 9);
        assert_eq!(next.json("ps").as_array().map(Vec::len), Some(12));
        next.container("again", "").pings("172.17.0.1");
    });
}

/// With --ephemeral nothing outlives vswitchd, even what an earlier vswitchd, which wanted otherwise, had begun.
#[test]
fn ephemeral_over_an_older_agent() {
    guard(|| {
        for kill in [false, true] {
            let dir = format!("/tmp/vs-{kill}");
            let first = Vswitch::stopped(&dir, &[]);
            first.up();
            first.ok("run -d --name a -- sleep 1234567");
            first.crash();
            let second = Vswitch::stopped(&dir, &["--ephemeral"]);
            second.up();
            assert_eq!(second.json("ps")[0]["name"], "a");
            match kill {
                true => second.crash(),
                false => assert_eq!(second.terminate(), 0),
            }
            eventually("container and agent end", 10, || {
                sh("pgrep -f '[s]leep 1234567|vswitchd [a]gent'").stdout.trim().is_empty()
            });
        }
    });
}

/// Whatever the umask is, and whatever the directory's mode was: the state is its user's alone.
#[test]
fn the_state_is_private() {
    guard(|| {
        let prefix = ["sh", "-c", "umask 0; exec \"$@\"", "sh"].map(str::to_owned);
        let vs = Vswitch::stopped_inside("/tmp/vs", &prefix, &["--uplink", "sockets"]);
        fs::create_dir(vs.state_dir()).unwrap();
        fs::set_permissions(vs.state_dir(), PermissionsExt::from_mode(0o755)).unwrap();
        vs.up();
        vs.ctl(&["run", "-d", "--name", "a", "-e", "SECRET=x", "--", "sh", "-c", "echo said; sleep 1000"]).ok();
        vs.crash();
        vs.up();
        let mut seen = Vec::new();
        look(&vs.state_dir(), &mut seen);
        for name in
            ["lock", "state.redb", "state.redb.good", "agent.key", "agent.log", "agent.lock", "agent.sock", "logs"]
        {
            assert!(seen.iter().any(|path| path == name), "{name} is not in {seen:?}");
        }
        vs.ok("rm -f a");
    });
}

/// Checks the mode of everything in a directory.
fn look(path: &Path, seen: &mut Vec<String>) {
    let about = fs::symlink_metadata(path).unwrap();
    seen.push(path.file_name().unwrap().to_string_lossy().into_owned());
    assert_eq!(about.mode() & 0o777, if about.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    if about.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| look(&entry.unwrap().path(), seen));
    }
}
