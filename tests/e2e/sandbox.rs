//! What a container may do to its host, compared with Docker's default.

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use vswitch_tests::{Container, Vswitch, guard, guard::is_root, run};

/// Makes system calls by number and says what came of each; see there.
const CALLS: &str = include_str!("calls.py");

/// The answers to system calls, by their names, in a container.
fn calls(vs: &Vswitch, flags: &str, names: &[&str]) -> Vec<String> {
    let start = ["run", "--rm", "--network", "none"];
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let said = vs.ctl(&[&start[..], &flags, &["--", "python3", "-c", CALLS], names].concat()).ok();
    said.lines().map(str::to_owned).collect()
}

/// Docker's profile holds by default: what it blocks is refused, also to programs that exec starts, and what depends on a
/// capability comes with it. --security-opt and --privileged lift it.
#[test]
fn system_calls() {
    guard(|| {
        let vs = Vswitch::start();
        let blocked = ["add_key", "keyctl", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "unshare_user"];
        let blocked =
            [&blocked[..], &["setns", "mount", "swapon", "kexec_load", "pivot_root", "clone_user", "vsock"]].concat();
        let answers = vec!["EPERM"; blocked.len()];
        assert_eq!(calls(&vs, "", &blocked), answers);
        assert_eq!(calls(&vs, "--cap-drop ALL", &blocked), answers);
        assert_eq!(
            calls(&vs, "", &["clone3", "number_690", "getpid", "unix_socket"]),
            ["ENOSYS", "ENOSYS", "ok", "ok"]
        );
        let a = vs.container("a", "--network none");
        let said = vs.ctl(&[&["exec", "a", "python3", "-c", CALLS][..], &blocked].concat()).ok();
        assert_eq!(said.lines().collect::<Vec<_>>(), answers);
        assert_eq!(a.ok("grep Seccomp: /proc/1/status /proc/self/status | cut -f2").trim(), "2\n2");
        assert_eq!(
            calls(&vs, "--cap-add SYS_ADMIN", &["unshare_user", "mount", "clone3", "keyctl"])[..2],
            ["ok", "ok"]
        );
        assert_eq!(calls(&vs, "--cap-add SYS_ADMIN", &["clone3", "keyctl"]), ["EINVAL", "EPERM"]);
        for flags in ["--security-opt seccomp=unconfined", "--privileged"] {
            assert_eq!(
                calls(&vs, flags, &["unshare_user", "clone3", "number_690"]),
                ["ok", "EINVAL", "ENOSYS"],
                "{flags}"
            );
        }
        assert_eq!(calls(&vs, "", &["alg_socket"]), ["EPERM"]);
    });
}

/// A profile of the user's own takes the place of Docker's, for the command as for what exec starts, with what it says of capabilities
/// and arguments; it stays the container's when its file is gone, and one that makes no sense is refused before anything is made.
#[test]
fn own_profile() {
    guard(|| {
        let vs = Vswitch::start();
        let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71, "excludes": {"caps": ["CAP_SYS_TIME"]}},
            {"name": "socket", "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#;
        fs::write("/mnt/profile.json", profile).unwrap();
        let flags = "--security-opt seccomp=/mnt/profile.json";
        let names = ["getpid", "unix_socket", "unshare_user", "add_key"];
        assert_eq!(calls(&vs, flags, &names)[..3], ["EPROTO", "EPERM", "ok"]);
        assert_eq!(calls(&vs, &format!("{flags} --cap-add SYS_TIME"), &names)[..2], ["ok", "EPERM"]);
        let a = vs.container("a", &format!("--network none {flags}"));
        fs::remove_file("/mnt/profile.json").unwrap();
        vs.ok("stop -t 0 a");
        vs.ok("start a");
        let said = vs.ctl(&[&["exec", "a", "python3", "-c", CALLS][..], &names].concat()).ok();
        assert_eq!(said.lines().take(2).collect::<Vec<_>>(), ["EPROTO", "EPERM"]);
        assert_eq!(a.ok("grep Seccomp: /proc/1/status | cut -f2").trim(), "2");
        vs.words(&format!("run {flags} -- true")).exits(2).says("/mnt/profile.json");
        for (text, says) in [("{", "cannot be used"), ("{\"defaultAction\": \"SCMP_ACT_FLY\"}", "SCMP_ACT_FLY")] {
            fs::write("/mnt/profile.json", text).unwrap();
            assert!(vs.words(&format!("run --name b {flags} -- true")).says(says).code != 0);
        }
        assert!(!vs.ok("ps -a").contains(" b\n"));
    });
}

/// no-new-privileges holds for the command and for what exec starts; without it set-user-id programs work as with Docker.
#[test]
fn no_new_privileges() {
    guard(|| {
        let vs = Vswitch::start();
        let state = "grep NoNewPrivs /proc/self/status | cut -f2";
        assert_eq!(vs.container("a", "--network none").ok(state).trim(), "0");
        let b = vs.container("b", "--network none --security-opt no-new-privileges");
        assert_eq!(
            b.ok(&format!("{state}; grep NoNewPrivs /proc/2/status /proc/1/status | cut -f2")).lines().next(),
            Some("1")
        );
        let said =
            vs.words("run --rm --network none --security-opt no-new-privileges:true -- cat /proc/self/status").ok();
        assert!(said.contains("NoNewPrivs:\t1"), "{said}");
    });
}

/// The dangerous parts of /proc and /sys are empty or read-only, for root as for an ordinary user; some for both.
#[test]
fn kernel_files() {
    guard(|| {
        let vs = Vswitch::start();
        let own = vs.container("own", "--network none");
        let host = vs.container("host", "--network host");
        for one in [&own, &host] {
            for file in ["keys", "kcore", "timer_list", "latency_stats", "sched_debug", "interrupts"] {
                assert_eq!(one.sh(&format!("head -c 10 /proc/{file} 2>/dev/null")).stdout, "", "{file}");
            }
            let masked = "ls -A /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap 2>/dev/null | grep -v :$ | grep .";
            assert_eq!(one.sh(masked).stdout, "");
            for file in ["sys/kernel/core_pattern", "sys/vm/swappiness", "sys/net/ipv4/ip_forward"] {
                let said = one.sh(&format!("echo x > /proc/{file}"));
                assert!(said.stderr.contains("Read-only file system"), "{said}");
            }
            let said = one.sh("for d in /sys /sys/kernel /sys/fs/cgroup; do mkdir $d/x; done");
            assert_eq!(said.stderr.matches("Read-only file system").count(), 3, "{said}");
            let mounts = one.ok("cat /proc/self/mountinfo");
            for path in ["bus", "fs", "irq", "sys", "sysrq-trigger"].map(|name| format!("/proc/{name}")) {
                if fs::exists(&path).unwrap() {
                    assert!(mounts.contains(&format!(" {path} ro,")), "{path} is read-only: {mounts}");
                }
            }
            assert_eq!(one.ok("cat /proc/self/cgroup | grep ^0: || echo 0::/").trim(), "0::/");
        }
        // What was set before it was closed: everybody may ping and listen.
        assert_eq!(own.ok("cat /proc/sys/net/ipv4/ip_unprivileged_port_start").trim(), "0");
        let groups = own.ok("cat /proc/sys/net/ipv4/ping_group_range");
        let last = if is_root() { "2147483647" } else { "0" };
        assert_eq!(groups.split_whitespace().collect::<Vec<_>>(), ["0", last]);
        let open = vs.container("open", "--network none --privileged");
        open.ok("echo 1 > /proc/sys/net/ipv4/ip_forward");
        open.ok("mkdir /tmp/m && mount -t tmpfs none /tmp/m");
    });
}

/// /dev has a few nodes of its own, which work; shared memory, /tmp, /run and terminals are the container's own and end with it;
/// no other device node can be opened, whoever made it.
#[test]
fn own_folders() {
    guard(|| {
        let vs = Vswitch::start();
        for place in ["/tmp/secret", "/run/secret"] {
            fs::write(place, "secret").unwrap();
        }
        let a = vs.container("a", "--network none");
        let devices = a.ok("ls /dev | sort | tr '\\n' ' '");
        assert_eq!(devices.trim(), "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero");
        a.ok("echo x > /dev/null; head -c 4 /dev/zero /dev/urandom /dev/random > /dev/null; ! echo x > /dev/full; echo y > /dev/stderr");
        let seen = a.sh("ls -A /tmp /run /dev/shm /dev/pts /dev/mqueue");
        assert!(!seen.stdout.contains("secret"), "{seen}");
        for folder in ["/dev/shm", "/dev/pts"] {
            let device = fs::metadata(folder).unwrap().dev().to_string();
            assert_ne!(a.ok(&format!("stat -c %d {folder}")).trim(), device, "{folder} is the host's");
        }
        a.ok("touch /tmp/mine /run/mine /dev/shm/mine; stat -c %a /tmp /dev/shm | grep -c 1777 | grep 2");
        a.ok("printf '#!/bin/sh\\nexit 0\\n' > /tmp/program; chmod +x /tmp/program; /tmp/program");
        assert!(!fs::exists("/tmp/mine").unwrap() && !fs::exists("/dev/shm/mine").unwrap());
        let b = vs.container("b", "--network none");
        assert!(!b.sh("ls /tmp /run /dev/shm").stdout.contains("mine"));
        let script = "import os, pty; main, sub = pty.openpty(); print(os.ttyname(sub))";
        assert_eq!(vs.ctl(&["exec", "b", "python3", "-c", script]).ok().trim(), "/dev/pts/0");
        // Root may make a node of the random source, and an ordinary user may not even that.
        let made = b.sh("mknod /mnt/node c 1 8 && cat /mnt/node | head -c 1");
        assert!(made.stdout.is_empty() && made.stderr.to_lowercase().contains("permi"), "{made}");
        assert_eq!(is_root(), fs::exists("/mnt/node").unwrap());
        let open = vs.container("open", "--network none --privileged");
        open.ok("ls /dev | grep -q null; head -c 1 /dev/zero > /dev/null");
        if is_root() {
            open.ok("head -c 1 /mnt/node > /dev/null");
        }
    });
}

/// Of the caller's environment a container gets its HOME and what was asked for; the rest are Docker's defaults.
#[test]
fn environment() {
    guard(|| {
        let vs = Vswitch::start();
        let env = |flags: &[&str]| {
            let mut command = vs.ctl_command();
            command.env("SECRET", "s3cret").env("WANTED", "w").args([
                "run",
                "--rm",
                "--network",
                "none",
                "--hostname",
                "h",
            ]);
            let said = run(command.args(flags).args(["--", "env"])).ok();
            let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(env(&[]), ["HOME=/tmp/home", "HOSTNAME=h", path]);
        assert_eq!(
            env(&["-e", "WANTED", "-e", "A=b", "-e", "HOME=/"]),
            ["A=b", "HOME=/", "HOSTNAME=h", path, "WANTED=w"]
        );
        assert!(env(&["--env-host"]).contains(&"SECRET=s3cret".to_owned()));
        run(vs.ctl_command().env("SECRET", "s3cret").args(["run", "-d", "--name", "a", "--", "sleep", "1000"])).ok();
        let stored = fs::read(vs.state_dir().join("state.redb")).unwrap();
        assert!(!stored.windows(6).any(|part| part == b"s3cret"), "it was written to the store");
        assert!(stored.windows(10).any(|part| part == b"HOME=/tmp/"), "what was handed on is there");
        assert_eq!(vs.ok("exec -e MORE=1 a env").lines().filter(|line| !line.starts_with("HOSTNAME=")).count(), 3);
    });
}

/// --volume shares a folder or a file of the host, if wished read-only, also over the container's own folders, and never brings
/// back what is hidden.
#[test]
fn volumes() {
    guard(|| {
        let vs = Vswitch::start();
        fs::create_dir("/tmp/data").unwrap();
        fs::write("/tmp/data/file", "from-the-host").unwrap();
        let a = vs.container(
            "a",
            "--network none -v /tmp/data:/tmp/data -v /tmp/data:/srv:ro -v /tmp/data/file:/run/one -v /tmp:/media",
        );
        assert_eq!(a.ok("cat /tmp/data/file /srv/file /run/one"), "from-the-host".repeat(3));
        a.ok("echo back > /tmp/data/back");
        assert_eq!(fs::read_to_string("/tmp/data/back").unwrap(), "back\n");
        assert!(a.sh("touch /srv/x").stderr.contains("Read-only file system"));
        assert_eq!(a.ok("cat /media/data/back").trim(), "back");
        let hidden =
            |one: &Container<'_>, path: &str| assert_eq!(one.sh(&format!("ls -A {path}")).stdout, "", "{path}");
        hidden(&a, "/media/vs/state");
        assert!(a.sh("ls /media/vs/vswitch.sock").code != 0);
        let said =
            run(Command::new("curl").args(["-s", "--unix-socket"]).arg(vs.socket()).arg("http://v/vswitch/v1/version"));
        assert!(said.ok().contains("version"), "the socket itself is as it was");
        assert_eq!(vs.json("inspect a")[0]["volumes"][1], "/tmp/data:/srv:ro");
        vs.words("run --rm --network none --mount type=bind,src=/nowhere,dst=/srv -- true").exits(125).says("/nowhere");
    });
}
