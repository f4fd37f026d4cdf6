//! kill -9 and what is there afterwards.

use std::time::Duration;

use vswitch_tests::{Background, Container, Vswitch, eventually, guard, ping, sh, spawn};

const LIMIT: Duration = Duration::from_secs(60);

/// A ping of five a second for twelve seconds, started directly in the container's namespaces, so that no connection
/// to the daemon is part of it. Only packets lost while the daemon is dead may be missing.
fn long_ping(from: &Container<'_>, target: &str) -> Background {
    from.spawn(&format!(
        "(ping -n -i 0.2 -c 60 -W 5 {target} > /mnt/ping-{}; echo done >> /mnt/ping-{}) &",
        from.name(),
        from.name()
    ))
}

/// After kill -9 in the middle of traffic and a restart, networks, leases, endpoints, attached namespaces and running
/// containers are back, and the traffic goes on.
#[test]
fn crash_with_traffic() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        vs.ok("network create m --subnet 10.1.0.0/24");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n --network m"));
        let stopped = vs.container("stopped", "--network n");
        vs.ok("stop -t 0 stopped");
        let before: Vec<_> = [&a, &b, &stopped].iter().map(|one| one.details()).collect();
        long_ping(&a, &b.ipv4("n").to_string()).wait(LIMIT).ok();
        let _server = b.spawn("iperf3 -s -1 -D -I /mnt/iperf.pid --logfile /mnt/iperf-server");
        eventually("the server listens", 10, || b.sh("ss -ltn").stdout.contains(":5201"));
        let target = b.ipv4("n");
        a.ok(&format!(
            "(iperf3 -c {target} -t 8 -b 50M --logfile /mnt/iperf-client; echo status $? >> /mnt/iperf-client) &"
        ));
        eventually("the stream is on its way", 20, || vs.port("a", "n").in_bytes > 5_000_000);
        vs.crash();
        std::thread::sleep(Duration::from_millis(500));
        vs.up();
        let after: Vec<_> = [&a, &b, &stopped].iter().map(|one| one.details()).collect();
        for (before, after) in before.iter().zip(&after) {
            assert_eq!((&before.id, before.state, before.pid), (&after.id, after.state, after.pid));
            let addresses = |one: &vswitch_api::container::Container| {
                let mut all: Vec<_> = one
                    .endpoints
                    .iter()
                    .map(|end| {
                        (
                            end.network.clone(),
                            end.mac_address.clone(),
                            end.ipv4_address.clone(),
                            end.ipv6_address.clone(),
                            end.state,
                        )
                    })
                    .collect();
                all.sort_by(|x, y| x.0.cmp(&y.0));
                all
            };
            assert_eq!(addresses(before), addresses(after));
        }
        a.pings(b.ipv4("n"));
        a.pings(b.ipv6("n"));
        b.pings("10.1.0.1");
        let newcomer = vs.container("newcomer", "--network n");
        a.pings(newcomer.ipv4("n"));
        assert!(![a.ipv4("n"), b.ipv4("n")].contains(&newcomer.ipv4("n")));
        eventually("the long ping ends", 40, || sh("grep -q done /mnt/ping-a").code == 0);
        let said = std::fs::read_to_string("/mnt/ping-a").unwrap();
        assert!(ping::summary(&said).1 >= 40, "{said}");
        eventually("the TCP stream ends", 40, || sh("grep -q status /mnt/iperf-client").code == 0);
        let stream = std::fs::read_to_string("/mnt/iperf-client").unwrap();
        assert!(stream.contains("status 0"), "{stream}");
        vs.ok("rm -f a b stopped newcomer");
        vs.ok("network rm n m");
    });
}

/// Crashes at any moment, also in the middle of changes, never leave anything that keeps the daemon from starting or a
/// name from being used.
#[test]
fn crashes_in_the_middle() {
    guard(|| {
        let vs = Vswitch::start();
        let keeper = vs.container("keeper", "");
        for round in 0..6 {
            let script = format!(
                "for i in 1 2 3 4 5 6 7 8; do vswitchctl network create net{round}-$i; \
                 vswitchctl run -d --name c{round}-$i --network net{round}-$i -- sleep 1000; done"
            );
            let changes =
                spawn(std::process::Command::new("sh").args(["-c", &script]).env("VSWITCH_SOCKET", vs.socket()));
            std::thread::sleep(Duration::from_millis(40 + 90 * round));
            vs.crash();
            drop(changes);
            vs.up();
            keeper.pings("172.17.0.1");
        }
        let names = vs.ok("ps -aq --no-trunc");
        vs.ok(&format!("rm -f {}", names.split_whitespace().collect::<Vec<_>>().join(" ")));
        vs.ok("network prune -f");
        assert_eq!(vs.json("network ls").as_array().map(Vec::len), Some(3));
        assert_eq!(vs.json("endpoint ls").as_array().map(Vec::len), Some(0));
        assert!(vs.endpoint_ports().is_empty());
        assert_eq!(vs.container("again", "").ipv4("bridge").to_string(), "172.17.0.2");
    });
}

/// A container that ended while the daemon was dead is shown as ended, with its exit status.
#[test]
fn ended_meanwhile() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ctl(&["run", "-d", "--name", "a", "--", "sh", "-c", "sleep 1; exit 9"]).ok();
        vs.ctl(&["run", "-d", "--rm", "--name", "b", "--", "sh", "-c", "sleep 1"]).ok();
        vs.crash();
        let left = || sh("ps -eo stat,args | grep -v '^Z' | grep -E 'sh -c [s]leep 1' || true").ok();
        eventually("both have ended", 20, || left().is_empty());
        vs.up();
        eventually("the end is known", 10, || {
            let shown = vs.json("inspect a");
            shown[0]["state"] == "exited" && shown[0]["exit_code"] == 9
        });
        eventually("--rm was obeyed", 10, || vs.json("ps -a").as_array().map(Vec::len) == Some(1));
    });
}

/// When the agent dies too, a new daemon and agent take the running containers over and make their interfaces again.
#[test]
fn agent_dies_too() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n --network bridge"));
        a.pings(b.ipv4("n"));
        let before = [a.details(), b.details()];
        kill_both(&vs);
        vs.up();
        for (before, after) in before.iter().zip([a.details(), b.details()]) {
            assert_eq!((before.pid, before.state), (after.pid, after.state));
        }
        a.pings(b.ipv4("n"));
        b.pings(a.ipv6("n"));
        b.pings("172.17.0.1");
        assert!(a.ok("ip route show default").contains("172.18.0.1"));
        vs.ok("stop -t 0 a b");
        eventually("they have ended", 5, || !sh("ps -eo stat,args | grep -v ^Z").stdout.contains("sleep 100000"));
        vs.ok("start a b");
        a.pings(b.ipv4("n"));
    });
}

/// When the agent is killed as well, the containers are taken over all the same, whatever is written in the state directory: they
/// keep their addresses, are stopped and started, and their end is learned. What is named in an old record is let alone.
#[test]
fn agent_killed_too() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let before = [a.details(), b.details()];
        kill_both(&vs);
        let stranger = spawn(std::process::Command::new("sleep").arg("100000"));
        let record = format!(
            r#"[{{"id":"{}","pid":{},"started":{},"init":true,"sandbox":null}}]"#,
            before[0].id,
            stranger.pid(),
            started(stranger.pid())
        );
        std::fs::write(vs.state_dir().join("agent.json"), record).unwrap();
        vs.up();
        for (before, after) in before.iter().zip([a.details(), b.details()]) {
            assert_eq!((before.pid, before.state), (after.pid, after.state));
        }
        vs.container("c", "--network n").pings(a.ipv4("n"));
        vs.ok("kill a");
        eventually("its end is learned, though not its status", 10, || {
            let shown = vs.json("inspect a");
            shown[0]["state"] == "exited" && shown[0]["exit_code"] == 137
        });
        assert!(std::path::Path::new(&format!("/proc/{}/fd", stranger.pid())).exists(), "the stranger was killed");
        vs.ok("stop -t 0 b");
        vs.ok("start a b");
        a.pings(b.ipv4("n"));
    });
}

/// When a process started, in ticks since the host did.
fn started(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap()
}

/// What a container prints comes into its log whatever becomes of vswitchd and the agent, which carries it: nothing kills the
/// container, and nothing that it prints in between is lost.
#[test]
fn output_goes_on() {
    guard(|| {
        let vs = Vswitch::start();
        let script = "echo one; while ! [ -e /mnt/go ]; do sleep 0.05; done; echo two && touch /mnt/said; \
            while ! [ -e /mnt/end ]; do sleep 0.05; done; echo three; exit 5";
        vs.ctl(&["run", "-d", "--name", "a", "--network", "none", "--", "sh", "-c", script]).ok();
        eventually("it prints", 10, || vs.ok("logs a") == "one\n");
        kill_both(&vs);
        std::fs::write("/mnt/go", "").unwrap();
        eventually("it prints with nobody to listen", 10, || std::path::Path::new("/mnt/said").exists());
        vs.up();
        eventually("it is in the log", 10, || vs.ok("logs a") == "one\ntwo\n");
        vs.crash();
        vs.up();
        let follower = vs.spawn(&["logs", "-f", "a"]);
        std::fs::write("/mnt/end", "").unwrap();
        let said = follower.wait(std::time::Duration::from_secs(20));
        assert_eq!((said.code, said.stdout.as_str()), (0, "one\ntwo\nthree\n"));
    });
}

/// Kills the daemon, then its agent, and waits until nothing of either is left but what nobody has waited for.
#[track_caller]
pub(crate) fn kill_both(vs: &Vswitch) {
    kill_both_within(vs, 10);
}

/// As [`kill_both`], when each takes up to so many seconds to end.
pub(crate) fn kill_both_within(vs: &Vswitch, seconds: u64) {
    let agent = sh(&format!("pgrep -P {}", vs.pid())).ok();
    vs.crash_within(seconds);
    sh(&format!("kill -9 {agent}")).ok();
    let process = format!("/proc/{}", agent.trim());
    eventually("the agent is dead", seconds, || {
        let ended = std::fs::read_to_string(format!("{process}/stat")).map_or(true, |stat| stat.contains(") Z "));
        // Its first thread may be gone before the others.
        ended && std::fs::read_dir(format!("{process}/task")).map_or(0, Iterator::count) <= 1
    });
}

/// A worker whose poll fails ends vswitchd with a sentence and exit code 1 instead of leaving half of the ports dead; the containers
/// live on, and the next vswitchd takes them up.
#[test]
fn a_worker_dies() {
    guard(|| {
        let debugged = ["python3", "-c", include_str!("worker.py")].map(str::to_owned);
        let vs = Vswitch::stopped_inside("/tmp/vs", &debugged, &[]);
        vs.up();
        vs.ok("network create n");
        let pid = vs.container("a", "--network n").pid();
        std::fs::write("/mnt/die", "").unwrap();
        assert_eq!(vs.wait_end(30), 1);
        assert!(vs.log().contains("vswitchd: the thread worker-0 ended: "), "{}", vs.log());
        let vs = Vswitch::start();
        let a = Container::new(&vs, "a");
        assert_eq!(a.pid(), pid);
        vs.container("b", "--network n").pings("a");
    });
}

/// With --live-restore SIGTERM leaves containers running for the next daemon.
#[test]
fn live_restore() {
    guard(|| {
        let vs = Vswitch::with(&["--live-restore"]);
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let pid = a.pid();
        assert_eq!(vs.terminate(), 0);
        vs.up();
        assert_eq!(a.pid(), pid);
        a.pings(b.ipv4("n"));
    });
}

/// Attached namespaces are found again after a crash.
#[test]
fn attached_namespaces_survive() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.1.0.0/24");
        let a = vs.container("a", "--network n");
        let flags = if vswitch_tests::guard::is_root() { "-n" } else { "-Urn" };
        let holder = spawn(std::process::Command::new("unshare").args([flags, "sleep", "100000"]));
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        eventually("it is in a namespace of its own", 20, || {
            std::fs::read_link(format!("/proc/{}/ns/net", holder.pid())).is_ok_and(|link| link != own)
        });
        vs.ok(&format!("attach --pid {} --network n --name held --ip 10.1.0.50", holder.pid()));
        a.pings("10.1.0.50");
        vs.crash();
        vs.up();
        a.pings("10.1.0.50");
        vs.ok("detach held");
        a.cannot_ping("10.1.0.50");
    });
}
