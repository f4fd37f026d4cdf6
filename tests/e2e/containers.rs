//! `run` and what follows: exit statuses, streams, names, files, terminals.

use std::time::Duration;

use vswitch_tests::{Vswitch, eventually, guard, sh};

const LIMIT: Duration = Duration::from_secs(30);

/// run passes the exit status on; a missing program is 127, one that cannot be executed 126, a daemon's refusal 125.
#[test]
fn exit_statuses() {
    guard(|| {
        let vs = Vswitch::start();
        for status in [0, 1, 7, 255] {
            vs.ctl(&["run", "--rm", "--", "sh", "-c", &format!("exit {status}")]).exits(status);
        }
        vs.ctl(&["run", "--rm", "--", "sh", "-c", "kill -9 $$"]).exits(137);
        vs.words("run --rm -- no-such-program").exits(127).says("no-such-program");
        vs.words("run --rm -- /etc/passwd").exits(126).says("/etc/passwd");
        vs.words("run --rm --network nowhere -- true").exits(125).says("network nowhere not found");
        vs.words("run --no-such-flag -- true").exits(2);
        let a = vs.container("a", "");
        a.sh("exit 9").exits(9);
        vs.words("exec a no-such-program").exits(127);
        vs.words("exec nobody true").says("nobody");
        assert_eq!(vs.words("ps -aq").ok().lines().count(), 1, "--rm removes also what could not start");
    });
}

/// Standard input, output and error are the caller's own; the working directory comes along, and of the environment what -e says.
#[test]
fn streams() {
    guard(|| {
        let vs = Vswitch::start();
        let both = vs.ctl(&["run", "--rm", "--", "sh", "-c", "echo out; echo err >&2"]);
        assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
        let socket = vs.socket();
        let ctl = format!("VSWITCH_SOCKET={} vswitchctl", socket.display());
        assert_eq!(sh(&format!("echo hello | {ctl} run --rm -i -- tr a-z A-Z")).ok(), "HELLO\n");
        let large = sh(&format!("head -c 3000000 /dev/zero | {ctl} run --rm -i -- wc -c")).ok();
        assert_eq!(large.trim(), "3000000");
        assert_eq!(sh(&format!("{ctl} run --rm -- head -c 3000000 /dev/zero | wc -c")).ok().trim(), "3000000");
        assert_eq!(sh(&format!("cd /usr/bin && {ctl} run --rm -- pwd")).ok().trim(), "/usr/bin");
        assert_eq!(sh(&format!("{ctl} run --rm -w /etc -- pwd")).ok().trim(), "/etc");
        assert_eq!(sh(&format!("FOO=1 {ctl} run --rm -e FOO -e BAR=2 -- sh -c 'echo $FOO $BAR'")).ok().trim(), "1 2");
        let a = vs.container("a", "-e MINE=3");
        assert_eq!(a.ok("echo $MINE").trim(), "3");
        assert_eq!(sh(&format!("echo in | {ctl} exec a cat")).ok(), "in\n");
        assert_eq!(sh(&format!("{ctl} exec -e X=5 -w /usr a sh -c 'echo $X; pwd'")).ok(), "5\n/usr\n");
    });
}

/// `run -a` shows the streams that are named and sends what is named, and what is neither is in the logs all the same.
#[test]
fn chosen_streams() {
    guard(|| {
        let vs = Vswitch::start();
        let run = |options: &str| {
            let script = "echo out; echo err >&2; exit 3";
            let words: Vec<&str> = options.split(' ').chain(["--", "sh", "-c", script]).collect();
            let said = vs.ctl(&[&["run"], &words[..]].concat()).exits(3);
            (said.stdout.clone(), said.stderr.clone())
        };
        assert_eq!(run("--rm -a stdout"), ("out\n".to_owned(), String::new()));
        assert_eq!(run("--name a --attach STDERR"), (String::new(), "err\n".to_owned()));
        assert_eq!(run("--rm -a stdout -a stderr"), ("out\n".to_owned(), "err\n".to_owned()));
        assert_eq!(vs.ok("logs a").lines().count(), 2);
        let ctl = format!("VSWITCH_SOCKET={} vswitchctl", vs.socket().display());
        assert_eq!(sh(&format!("echo in | {ctl} run -i --rm -a stdin -a stdout -- cat")).ok(), "in\n");
        // Whoever only sends is told the id, and is done when everything is sent.
        let id = sh(&format!("echo in | {ctl} run -i --name b -a stdin -- sh -c 'cat; exec sleep 1000'")).ok();
        assert_eq!(id.trim().len(), 64);
        eventually("it was sent", 10, || vs.ok("logs b") == "in\n");
        vs.words("run -d -a stdout -- true").exits(2).says("cannot specify both --attach and --detach");
        vs.words("run -a nothing -- true").exits(2);
    });
}

/// `run -d` prints the id; the output goes to logs; ps shows the container until --rm or rm removes it.
#[test]
fn detached() {
    guard(|| {
        let vs = Vswitch::start();
        let id = vs.ctl(&["run", "-d", "--name", "a", "--", "sh", "-c", "echo one; echo two >&2; exit 3"]).ok();
        assert_eq!(id.trim().len(), 64);
        assert_eq!(vs.ok("wait a").trim(), "3");
        assert_eq!(vs.ok("logs a"), "one\ntwo\n");
        assert_eq!(vs.json("ps").as_array().map(Vec::len), Some(0));
        let shown = &vs.json("ps -a")[0];
        assert_eq!((&shown["name"], &shown["state"], &shown["exit_code"]), (&"a".into(), &"exited".into(), &3.into()));
        vs.ok("start a");
        assert_eq!(vs.ok("wait a").trim(), "3");
        assert_eq!(vs.ok(&format!("rm {}", &id[..12])).trim(), &id[..12]);
        vs.ctl(&["run", "-d", "--rm", "--name", "b", "--", "sleep", "0.3"]).ok();
        eventually("--rm removes it", 10, || vs.json("ps -a").as_array().map(Vec::len) == Some(0));
        assert!(vs.endpoint_ports().is_empty());
    });
}

/// `logs -f` tells what a container has written, then what it writes, and ends with it; of one that has ended it is `logs`.
#[test]
fn followed_logs() {
    guard(|| {
        let vs = Vswitch::start();
        let script = "echo first; while ! [ -e /mnt/go ]; do sleep 0.05; done; echo second; exec sleep 100000";
        vs.ctl(&["run", "-d", "--name", "a", "--", "sh", "-c", script]).ok();
        let follower = vs.spawn(&["logs", "-f", "a"]);
        eventually("what there is is told", 10, || follower.output() == "first\n");
        std::fs::write("/mnt/go", "").unwrap();
        eventually("what comes is told", 10, || follower.output() == "first\nsecond\n");
        vs.ok("kill a");
        let said = follower.wait(std::time::Duration::from_secs(10));
        assert_eq!((said.code, said.stdout.as_str()), (0, "first\nsecond\n"));
        assert_eq!(vs.ok("logs -f a"), "first\nsecond\n");
        vs.refuses("logs -f nobody", "nobody");
    });
}

/// Programs begin with no signal ignored, whatever the one who started vswitchd ignores: a shell's background does INT.
#[test]
fn signals_that_were_ignored() {
    guard(|| {
        let prefix = ["env", "--ignore-signal=INT,QUIT,HUP,USR1"].map(str::to_owned);
        let vs = Vswitch::stopped_inside("/tmp/vs", &prefix, &[]);
        vs.up();
        let a = vs.container("a", "--network none");
        // 32 and 33 are libc's own.
        let ignored = |said: String| {
            let mask = said.trim().strip_prefix("SigIgn:\t").map(|digits| u64::from_str_radix(digits, 16).unwrap());
            mask.unwrap() & !(0b11 << 31)
        };
        assert_eq!(ignored(vs.ok("run --rm --network none -- grep SigIgn /proc/self/status")), 0);
        assert_eq!(ignored(a.ok("grep SigIgn /proc/self/status")), 0);
    });
}

/// A container that prints without end fills no disk; what is kept is the end of it, also for who follows.
#[test]
fn bounded_logs() {
    guard(|| {
        let vs = Vswitch::start();
        let script =
            "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; touch /mnt/done; exec sleep 100000";
        let flags =
            ["run", "-d", "--name", "a", "--network", "none", "--log-opt", "max-size=16k", "--log-opt", "max-file=2"];
        vs.ctl(&[&flags[..], &["--", "sh", "-c", script]].concat()).ok();
        let follower = vs.spawn(&["logs", "-f", "a"]);
        eventually("it has printed all", 60, || std::path::Path::new("/mnt/done").exists());
        eventually("the end is told", 10, || follower.output().ends_with("line 20000\n"));
        let kept = vs.ok("logs a");
        assert!(kept.ends_with("line 19999\nline 20000\n") && kept.starts_with("line "), "{kept}");
        let files =
            std::fs::read_dir(vs.state_dir().join("logs")).unwrap().map(|file| file.unwrap().metadata().unwrap());
        // Of these, with what each line is marked by.
        let size = files.map(|about| about.len()).sum::<u64>();
        assert!((16 << 10..=32 << 10).contains(&size), "{size}");
        vs.ok("rm -f a");
        assert_eq!(std::fs::read_dir(vs.state_dir().join("logs")).unwrap().count(), 0);
        vs.words("run --log-opt max-size=big -- true").exits(125).says("max-size");
    });
}

/// stop asks and then kills, kill sends signals, rm refuses a running container unless forced.
#[test]
fn stop_kill_rm() {
    guard(|| {
        let vs = Vswitch::start();
        let polite = [
            "run",
            "-d",
            "--name",
            "polite",
            "--",
            "sh",
            "-c",
            "trap 'exit 5' TERM; touch /mnt/polite; while :; do sleep 0.1; done",
        ];
        vs.ctl(&polite).ok();
        let ready = |name: &str| {
            eventually("it has set its trap", 20, || std::fs::exists(format!("/mnt/{name}")).unwrap());
        };
        ready("polite");
        vs.ok("stop polite");
        assert_eq!(vs.json("inspect polite")[0]["exit_code"], 5);
        let deaf = [
            "run",
            "-d",
            "--name",
            "deaf",
            "--",
            "sh",
            "-c",
            "trap '' TERM; touch /mnt/deaf; while :; do sleep 0.1; done",
        ];
        vs.ctl(&deaf).ok();
        ready("deaf");
        vs.ok("stop -t 1 deaf");
        assert_eq!(vs.json("inspect deaf")[0]["exit_code"], 137);
        let signals = [
            "run",
            "-d",
            "--name",
            "signals",
            "--",
            "sh",
            "-c",
            "trap 'exit 6' USR1; touch /mnt/signals; while :; do sleep 0.1; done",
        ];
        vs.ctl(&signals).ok();
        ready("signals");
        vs.refuses("rm signals", "signals");
        vs.ok("kill -s USR1 signals");
        assert_eq!(vs.ok("wait signals").trim(), "6");
        vs.ok("rm polite deaf signals");
        let _running = vs.container("running", "");
        vs.ok("rm -f running");
        vs.refuses("rm running", "running");
        vs.refuses("stop nobody", "nobody");
    });
}

/// Hostname, /etc/hosts and /etc/resolv.conf are the container's own; the host's stay as they are.
#[test]
fn names_inside() {
    guard(|| {
        let vs = Vswitch::start();
        let before = sh("hostname; cat /etc/hosts /etc/resolv.conf; cat /etc/hostname").stdout;
        vs.ok("network create n");
        let a = vs
            .container("a", "--network n --hostname web --add-host db:10.0.0.5 --dns 9.9.9.9 --dns-search example.org");
        assert_eq!(a.ok("hostname; cat /etc/hostname"), "web\nweb\n");
        let hosts = a.ok("cat /etc/hosts");
        let own = format!("{}\tweb", a.ipv4("n"));
        assert!(
            hosts.contains("127.0.0.1\tlocalhost") && hosts.contains("10.0.0.5\tdb") && hosts.contains(&own),
            "{hosts}"
        );
        let resolv = a.ok("cat /etc/resolv.conf");
        assert!(resolv.contains("nameserver 127.0.0.11") && resolv.contains("search example.org"), "{resolv}");
        assert!(a.ok("getent hosts db").contains("10.0.0.5"));
        let b = vs.container("b", "");
        assert_eq!(b.ok("hostname").trim(), &b.details().id[..12]);
        assert_eq!(sh("hostname; cat /etc/hosts /etc/resolv.conf; cat /etc/hostname").stdout, before);
    });
}

/// A terminal is handed on: the command sees a terminal of the caller's size, and Ctrl-C reaches it.
#[test]
fn terminal() {
    guard(|| {
        let vs = Vswitch::start();
        let ctl = format!("VSWITCH_SOCKET={} vswitchctl", vs.socket().display());
        let script = |command: &str| sh(&format!("script -qec \"{command}\" /dev/null </dev/null")).stdout;
        let said = script(&format!(
            "stty rows 33 cols 99; {ctl} run --rm -t -- sh -c 'tty; stty size; test -t 0 && echo yes'"
        ));
        assert!(said.contains("/dev/") && said.contains("33 99") && said.contains("yes"), "{said}");
        let _a = vs.container("a", "");
        let said = script(&format!("stty rows 22 cols 77; {ctl} exec -t a sh -c 'stty size'"));
        assert!(said.contains("22 77"), "{said}");
        let interrupted = sh(&format!(
            "(until [ -e /mnt/ready ]; do sleep 0.05; done; printf '\\003'; sleep 1) | script -qec \"{ctl} run --rm -t --name c -- sh -c \
             'trap \\\"echo interrupted; exit 4\\\" INT; touch /mnt/ready; while :; do sleep 0.1; done'; echo status $?\" /dev/null"
        ));
        assert!(interrupted.stdout.contains("interrupted"), "{interrupted}");
    });
}

/// Names, ids and unique beginnings of ids name a container; names are unique; without a name one is chosen.
#[test]
fn names() {
    guard(|| {
        let vs = Vswitch::start();
        let a = vs.container("a", "");
        let id = a.details().id;
        for key in ["a", &id, &id[..6]] {
            assert_eq!(vs.json(&format!("inspect {key}"))[0]["id"], id.as_str());
        }
        vs.words("run -d --name a -- sleep 1").exits(125).says("already in use");
        vs.ok("run -d -- sleep 100");
        let all = vs.json("ps");
        let chosen = all.as_array().unwrap().iter().find(|one| one["id"] != id.as_str()).unwrap();
        assert!(!chosen["name"].as_str().unwrap().is_empty());
        vs.ok("rm -f a");
        let again = vs.container("a", "");
        assert!(again.details().id != id);
    });
}

/// exec runs further processes in the same namespaces, side by side, and -d in the background.
#[test]
fn exec() {
    guard(|| {
        let vs = Vswitch::start();
        let a = vs.container("a", "");
        for namespace in ["net", "mnt", "uts", "pid", "ipc", "user", "cgroup"] {
            let own = a.ok(&format!("readlink /proc/self/ns/{namespace} /proc/1/ns/{namespace} | uniq | wc -l"));
            assert_eq!(own.trim(), "1", "{namespace}");
        }
        let many: Vec<_> = (0..10).map(|index| a.spawn(&format!("sleep 0.5; exit {index}"))).collect();
        for (index, one) in (0..).zip(many) {
            one.wait(LIMIT).exits(index);
        }
        vs.ctl(&["exec", "-d", "a", "sh", "-c", "sleep 0.2; touch /mnt/by-exec"]).ok();
        eventually("the background command ran", 10, || std::fs::exists("/mnt/by-exec").unwrap());
        let long = a.spawn("touch /mnt/long; exec sleep 100");
        eventually("it runs", 20, || std::fs::exists("/mnt/long").unwrap());
        vs.ok("stop -t 0 a");
        assert!(long.wait(LIMIT).code != 0, "exec ends with its container");
        vs.words("exec a true").says("not running");
    });
}

/// When a client is killed, its container goes on; when the first process ends, all others end with it.
#[test]
fn lifetimes() {
    guard(|| {
        let vs = Vswitch::start();
        let client = vs.spawn(&["run", "--name", "b", "--", "sleep", "100"]);
        eventually("it runs", 10, || vs.json("ps").to_string().contains("\"b\""));
        drop(client);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(vs.json("inspect b")[0]["state"], "running");
        vs.ctl(&["run", "-d", "--name", "c", "--", "sh", "-c", "sleep 31337 & sleep 31337 & sleep 0.2"]).ok();
        vs.ok("wait c");
        eventually("nothing is left of it", 5, || !sh("ps -eo stat,args | grep -v ^Z").stdout.contains("sleep 31337"));
    });
}

/// Twenty containers start at once, all with addresses of their own.
#[test]
fn many_at_once() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let names: Vec<String> = (0..20).map(|index| format!("c{index}")).collect();
        let starting: Vec<_> = names
            .iter()
            .map(|name| vs.spawn(&["run", "-d", "--name", name, "--network", "n", "--", "sleep", "999"]))
            .collect();
        for one in starting {
            one.wait(LIMIT).ok();
        }
        let shown = vs.json("ps");
        let mut addresses: Vec<_> =
            shown.as_array().unwrap().iter().map(|one| one["endpoints"][0]["ipv4_address"].to_string()).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 20);
        let first = vswitch_tests::Container::new(&vs, "c0");
        first.pings(vswitch_tests::Container::new(&vs, "c19").ipv4("n"));
        vs.ok(&format!("rm -f {}", names.join(" ")));
        assert!(vs.endpoint_ports().is_empty());
    });
}
