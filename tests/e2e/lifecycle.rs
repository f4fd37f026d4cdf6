//! The daemon's own life: start, end, what it refuses to start on.

use std::{fs, os::unix::net::UnixListener, process::Command, time::Duration};

use vswitch_tests::{Vswitch, eventually, guard, guard::is_root, run, sh, spawn};

/// Host processes of vswitch other than this test's own programs.
fn processes() -> String {
    sh("ps -eo pid,stat,args | grep -E 'vswitchd' | grep -vE 'grep|Z' || true").ok()
}

/// SIGTERM ends the daemon with status 0; containers, agent, socket and interfaces are gone, networks are kept.
#[test]
fn sigterm() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.1.0.0/24");
        let a = vs.container("a", "--network n");
        let pid = a.pid();
        assert_eq!(vs.terminate(), 0);
        assert!(!vs.socket().exists(), "the socket is left over");
        eventually("container and agent are gone", 10, || {
            processes().is_empty() && sh(&format!("grep -q '^State:.Z' /proc/{pid}/status")).code != 1
        });
        vs.up();
        assert_eq!(vs.json("network inspect n")[0]["IPAM"]["Config"][0]["Subnet"], "10.1.0.0/24");
        assert_eq!(vs.json("ps -a")[0]["state"], "exited");
        vs.ok("start a");
        a.pings("10.1.0.1");
    });
}

/// SIGINT does the same.
#[test]
fn sigint() {
    guard(|| {
        let vs = Vswitch::start();
        sh(&format!("kill -INT {}", vs.pid())).ok();
        assert_eq!(vs.wait_end(20), 0);
        assert!(!vs.socket().exists());
    });
}

/// A second daemon on the same socket is refused, and the first goes on.
#[test]
fn two_daemons_on_one_socket() {
    guard(|| {
        let vs = Vswitch::start();
        let mut second = Command::new("vswitchd");
        second.arg("--socket").arg(vs.socket()).args(["--state-dir", "/tmp/other"]);
        let first = format!("(process {})", vs.json("version")["vswitchd"]["pid"]);
        run(&mut second).refused(vs.socket().to_str().unwrap()).says(&first);
        vs.ok("network ls");
    });
}

/// A second daemon on the same state directory is refused, and the first goes on.
#[test]
fn two_daemons_on_one_state() {
    guard(|| {
        let vs = Vswitch::start();
        let mut second = Command::new("vswitchd");
        second.args(["--socket", "/tmp/other.sock", "--state-dir"]).arg(vs.state_dir());
        run(&mut second).refused(vs.state_dir().to_str().unwrap());
        vs.ok("network create n");
    });
}

/// A socket file that nobody serves is replaced; anything else at that path is not.
#[test]
fn stale_socket() {
    guard(|| {
        fs::create_dir_all("/tmp/vs").unwrap();
        drop(UnixListener::bind("/tmp/vs/vswitch.sock").unwrap());
        let vs = Vswitch::start();
        vs.ok("network ls");
        assert_eq!(vs.terminate(), 0);
        fs::write("/tmp/vs/vswitch.sock", "precious").unwrap();
        run(&mut vs.daemon_command()).refused("/tmp/vs/vswitch.sock");
        assert_eq!(fs::read_to_string("/tmp/vs/vswitch.sock").unwrap(), "precious");
    });
}

/// A state directory that belongs to another user is refused, also one that others may write.
#[test]
fn state_of_another_user() {
    guard(|| {
        let foreign = if is_root() {
            fs::create_dir("/tmp/foreign").unwrap();
            std::os::unix::fs::chown("/tmp/foreign", Some(1001), Some(1001)).unwrap();
            "/tmp/foreign"
        } else {
            "/usr/share"
        };
        let mut command = Command::new("vswitchd");
        command.args(["--socket", "/tmp/sock", "--state-dir", foreign]);
        run(&mut command).refused(foreign);
        assert!(!fs::exists("/tmp/sock").unwrap());
    });
}

/// A corrupt store is refused with a sentence and stays as it is.
#[test]
fn corrupt_store() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create precious");
        assert_eq!(vs.terminate(), 0);
        let store = store(&vs);
        let good = fs::read(&store).unwrap();
        for bad in [b"this is no store".repeat(1000), vec![0; good.len()], good[..good.len() / 3].to_vec()] {
            fs::write(&store, &bad).unwrap();
            let output = run(&mut vs.daemon_command()).refused(vs.state_dir().to_str().unwrap());
            assert_eq!(output.stderr.trim().lines().count(), 1, "one sentence, please: {output}");
            assert!(fs::read(&store).unwrap() == bad, "the store was changed");
        }
        fs::write(&store, &good).unwrap();
        vs.up();
        vs.ok("network inspect precious");
    });
}

/// A store that a later version wrote is refused with a sentence and stays as it is.
#[test]
fn newer_store() {
    use redb::ReadableDatabase as _;
    guard(|| {
        let vs = Vswitch::start();
        assert_eq!(vs.terminate(), 0);
        let store = store(&vs);
        let database = redb::Database::open(&store).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
        transaction.open_table(meta).unwrap().insert("schema", "1000".as_bytes()).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let output = run(&mut vs.daemon_command()).refused("use a newer vswitchd");
        assert_eq!(output.stderr.trim().lines().count(), 1, "one sentence, please: {output}");
        let schema = redb::Database::open(&store).unwrap().begin_read().unwrap().open_table(meta).unwrap();
        assert_eq!(schema.get("schema").unwrap().unwrap().value(), b"1000");
    });
}

/// The largest file in the state directory is the store.
fn store(vs: &Vswitch) -> std::path::PathBuf {
    let files =
        fs::read_dir(vs.state_dir()).unwrap().map(Result::unwrap).filter(|one| one.file_type().unwrap().is_file());
    files.max_by_key(|one| one.metadata().unwrap().len()).expect("there is a store").path()
}

/// Without --state-dir and --socket the daemon uses its user's places, and the command line finds it there.
#[test]
fn default_places() {
    guard(|| {
        let daemon = spawn(&mut Command::new("vswitchd"));
        eventually("it serves", 20, || daemon.output().contains("vswitchd ready"));
        let socket = if is_root() {
            "/run/vswitch/vswitch.sock".to_owned()
        } else {
            format!("/run/user/{}/vswitch/vswitch.sock", rustix::process::geteuid().as_raw())
        };
        assert!(daemon.output().starts_with(&format!("vswitchd ready: socket {socket}\n")), "{}", daemon.output());
        assert!(run(Command::new("vswitchctl").args(["network", "ls"])).ok().contains("bridge"));
        let by_flag = run(Command::new("vswitchctl").args(["--socket", &socket, "version"])).ok();
        assert!(by_flag.contains(env!("CARGO_PKG_VERSION")), "{by_flag}");
        let elsewhere = run(Command::new("vswitchctl").args(["network", "ls"]).env("VSWITCH_SOCKET", "/tmp/none"));
        elsewhere.refused("cannot reach vswitchd at /tmp/none");
        daemon.terminate().ok();
        let state = if is_root() { "/var/lib/vswitch" } else { "/tmp/home/.local/state/vswitch" };
        assert!(fs::exists(state).unwrap());
    });
}

/// With --ephemeral nothing outlives the daemon, however it ends.
#[test]
fn ephemeral() {
    guard(|| {
        let vs = Vswitch::with(&["--ephemeral"]);
        let _a = vs.container("a", "");
        vs.crash();
        eventually("agent and container are gone", 10, || {
            processes().is_empty()
                && sh("ps -eo stat,args | grep -v '^Z' | grep -c '[s]leep 100000'").stdout.trim() == "0"
        });
    });
}

/// The daemon uses next to no CPU time while nothing happens: less than 1 % of a core.
#[test]
fn idle_costs_nothing() {
    guard(|| {
        let vs = Vswitch::start();
        let (_a, _b) = (vs.container("a", ""), vs.container("b", ""));
        std::thread::sleep(Duration::from_secs(2));
        // By the scheduler's clock: what `stat` says goes by samples, each of which is a whole tick.
        let on_cpu = || -> Duration {
            let tasks = fs::read_dir(format!("/proc/{}/task", vs.pid())).unwrap().map(Result::unwrap);
            let nanoseconds = tasks.map(|task| {
                let said = fs::read_to_string(task.path().join("schedstat")).unwrap();
                said.split_whitespace().next().unwrap().parse::<u64>().unwrap()
            });
            Duration::from_nanos(nanoseconds.sum())
        };
        let before = on_cpu();
        std::thread::sleep(Duration::from_secs(3));
        let used = on_cpu().checked_sub(before).unwrap();
        assert!(used < Duration::from_millis(30), "{used:?} in three seconds");
    });
}

/// What is wrong on its command line ends the daemon at once, with a sentence.
#[test]
fn bad_arguments() {
    guard(|| {
        let start = |args: &[&str]| {
            let mut command = Command::new("timeout");
            run(command.args(["20", "vswitchd", "--socket", "/tmp/s", "--state-dir", "/tmp/d"]).args(args))
        };
        start(&["--workers", "0"]).exits(2);
        start(&["--workers", "many"]).exits(2);
        start(&["--frobnicate"]).exits(2);
        start(&["--fdb-capacity", "0"]).exits(2);
        let config = start(&["--config", "/tmp/nothing.toml"]);
        assert!([1, 2].contains(&config.code) && config.stderr.contains("/tmp/nothing.toml"), "{config}");
        let group = start(&["--group", "no-such-group"]);
        assert!([1, 2].contains(&group.code) && group.stderr.contains("no-such-group"), "{group}");
    });
}

/// --config names a file with the same keys; flags win over it, and a wrong key is refused.
#[test]
fn configuration_file() {
    guard(|| {
        fs::write("/tmp/config.toml", "fdb-capacity = 1500000\nworkers = 3\n").unwrap();
        let vs = Vswitch::with(&["--config", "/tmp/config.toml", "--workers", "2"]);
        let stats = vs.stats();
        assert_eq!((stats.fdb.capacity, stats.workers), (1_500_000, 2));
        assert_eq!(vs.terminate(), 0);
        fs::write("/tmp/config.toml", "wrokers = 3\n").unwrap();
        let output = run(&mut vs.daemon_command());
        assert!([1, 2].contains(&output.code) && output.stderr.contains("wrokers"), "{output}");
    });
}
