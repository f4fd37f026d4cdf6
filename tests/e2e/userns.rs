//! Containers of root's daemon in user namespaces of their own.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use vswitch_tests::{Container, Vswitch, eventually, guard, guard::is_root, sh};

use super::restart::kill_both;

/// The first id of the host that containers have.
const FIRST: u32 = 231_072;

/// A daemon with `--userns-remap default`, on a host whose user dockremap has a range of ids.
fn remapped() -> Vswitch {
    sh("mkdir -p /run/etc/up /run/etc/work && mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/up,workdir=/run/etc/work etc /etc")
        .ok();
    for file in ["/etc/subuid", "/etc/subgid"] {
        fs::write(file, format!("other:100000:65536\ndockremap:{FIRST}:65536\n")).unwrap();
    }
    Vswitch::with(&["--userns-remap", "default"])
}

/// User and group of a container's first process, as the host sees them.
fn owner(container: &Container<'_>) -> (u32, u32) {
    let about = fs::metadata(format!("/proc/{}/root/dev/shm", container.pid())).unwrap();
    let process = fs::metadata(format!("/proc/{}", container.pid())).unwrap();
    assert_eq!((about.uid(), about.gid()), (process.uid(), process.gid()), "what it has of its own is its own");
    (about.uid(), about.gid())
}

/// What only root may read.
fn secret() -> &'static str {
    fs::write("/mnt/secret", "secret\n").unwrap();
    fs::set_permissions("/mnt/secret", Permissions::from_mode(0o600)).unwrap();
    "/mnt/secret"
}

/// Root in a container is nobody on the host: a high user, to whom files of the host's root are closed, for `run`, `exec` and
/// another container's network alike; --userns=host gives the host's. An ordinary user's daemon has no ids to give.
#[test]
fn root_is_nobody() {
    guard(|| {
        if !is_root() {
            let vs = Vswitch::stopped("/tmp/vs", &["--userns-remap", "default"]);
            vs.keep_silent();
            let said = vswitch_tests::run(&mut vs.daemon_command());
            assert!(said.code == 2 && said.stderr.contains("userns-remap is for root's vswitchd"), "{said}");
            return;
        }
        let vs = remapped();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network container:a"));
        let secret = secret();
        fs::create_dir("/mnt/shared").unwrap();
        fs::set_permissions("/mnt/shared", Permissions::from_mode(0o777)).unwrap();
        for (one, network) in [(&a, "n"), (&b, "container:a")] {
            assert_eq!(owner(one), (FIRST, FIRST));
            assert_eq!(
                one.ok("id -u; id -g; id -G; cat /proc/self/uid_map").split_whitespace().collect::<Vec<_>>(),
                ["0", "0", "0", "0", "231072", "65536"]
            );
            assert!(one.sh(&format!("cat {secret}")).stderr.contains("Permission denied"));
            let said = vs.ctl(&["run", "--rm", "--network", network, "--", "cat", secret]);
            assert!(said.stderr.contains("Permission denied"), "{said}");
            one.ok(&format!("echo x > /mnt/shared/{}; chown 7:8 /mnt/shared/{}", one.name(), one.name()));
            let made = fs::metadata(format!("/mnt/shared/{}", one.name())).unwrap();
            assert_eq!((made.uid(), made.gid()), (FIRST + 7, FIRST + 8));
        }
        let host = vs.container("host", "--network n --userns host");
        assert_eq!(owner(&host), (0, 0));
        assert_eq!(host.ok(&format!("cat {secret}")), "secret\n");
        assert_eq!(vs.json("inspect host")[0]["userns"], "host");
        let flags = "--rm --network host --userns=host";
        assert_eq!(
            vs.ctl(&[&["run"], &flags.split(' ').collect::<Vec<_>>()[..], &["cat", secret]].concat()).ok(),
            "secret\n"
        );
        vs.words("run --network host -- true")
            .exits(125)
            .says("host's network namespace when user namespaces are enabled");
        vs.words("run --privileged -- true").exits(125).says("incompatible with user namespaces; add --userns=host");
        vs.ok("run --rm --privileged --userns host -- true");
        vs.words("run --userns private -- true").exits(125).says("write host");
        vs.words("run --network container:a --userns host -- true").exits(125).says("in another user namespace");
        vs.words("run --network container:host -- true").exits(125).says("in another user namespace");
    });
}

/// All that a container has works in a user namespace of its own: names, volumes, its output, a terminal, its sysctls, a published
/// port, and capabilities over its network, which are none over anything else.
#[test]
fn everything_works() {
    guard(|| {
        if !is_root() {
            // Whose containers are in a user namespace anyway, in which everything else is tried.
            let vs = Vswitch::start();
            let a = vs.container("a", "--network none");
            assert_ne!(a.ok("cat /proc/self/uid_map").split_whitespace().nth(2), Some("4294967295"));
            return;
        }
        let vs = remapped();
        vs.ok("network create n");
        // Not even the way to the volume is open to the container.
        fs::create_dir_all("/mnt/closed/volume").unwrap();
        fs::set_permissions("/mnt/closed", Permissions::from_mode(0o700)).unwrap();
        fs::write("/mnt/closed/volume/file", "in the volume\n").unwrap();
        let a = vs
            .container("a", "--network n --volume /mnt/closed/volume:/tmp/v -p 127.0.0.1:8080:80 --cap-add NET_ADMIN");
        let b = vs.container("b", "--network n");
        assert_eq!(a.ok("cat /tmp/v/file"), "in the volume\n");
        b.pings("a");
        vs.ok("rename a c");
        let c = Container::new(&vs, "c");
        b.pings("c");
        c.ok("ip link set eth0 mtu 1300 && ip address add 10.99.0.1/24 dev eth0");
        assert!(
            c.sh("ip link set lo down && hostname x").stderr.contains("hostname"),
            "CAP_SYS_ADMIN is not among them"
        );
        assert!(b.sh("ip link set eth0 mtu 1300").code != 0, "without the capability");
        assert_eq!(c.ok("cat /proc/sys/net/ipv4/ip_unprivileged_port_start").trim(), "0");
        let groups = c.ok("cat /proc/sys/net/ipv4/ping_group_range");
        assert_eq!(groups.split_whitespace().collect::<Vec<_>>(), ["0", "65535"]);
        b.serves_page();
        vs.ok("run -d --name web --network n -p 127.0.0.1:8081:80 -- python3 -m http.server 80 --directory /usr/share");
        Container::new(&vs, "web").listens(80);
        assert_eq!(sh("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8081/").stdout, "200");
        vs.ctl(&[
            "run",
            "-d",
            "--name",
            "says",
            "--network",
            "none",
            "--",
            "sh",
            "-c",
            "echo out > /dev/stdout; echo err > /dev/stderr",
        ])
        .ok();
        eventually("its output is in the log", 10, || vs.ok("logs says") == "out\nerr\n");
        let client = format!("VSWITCH_SOCKET={} vswitchctl run --rm --network none", vs.socket().display());
        let piped = sh(&format!("{client} -- sh -c 'echo out > /dev/stdout' | cat"));
        assert_eq!(piped.stdout, "out\n", "{piped}");
        let terminal = sh(&format!(
            "script -qec 'VSWITCH_SOCKET={} vswitchctl run -t --rm --network none -- sh -c \"tty; echo 4 > /dev/tty\"' /dev/null",
            vs.socket().display()
        ));
        assert!(terminal.stdout.contains("/dev/") && terminal.stdout.contains('4'), "{terminal}");
        let code = vs.ctl(&["run", "--rm", "--network", "none", "--", "sh", "-c", "kill -9 1; exit 7"]).code;
        assert_eq!(code, 7, "the exit status is the command's");
        vs.ok("network create m");
        vs.ok("network connect m b");
        vs.ok("network disconnect n b");
        assert_eq!(b.ok("ip -o link | grep -c eth").trim(), "1");
        vs.ok("stop -t 0 b");
        vs.ok("start b");
        b.pings("127.0.0.1");
    });
}

/// Whatever lies on a container's root directory, other users, terminals, attached clients and restart policies are what they are
/// without; a volume belongs to the container that first has it, whose numbers are not the host's.
#[test]
fn files_users_and_streams() {
    guard(|| {
        let vs = if is_root() { remapped() } else { Vswitch::start() };
        let said = |line: &str| sh(&format!("export VSWITCH_SOCKET={}\n{line}", vs.socket().display())).ok();
        let run = |line: &str| said(&format!("vswitchctl run --network none {line}"));
        // A place that the host does not have makes a new root directory; the next container finds what the first one left.
        run("--rm -v data:/no-such-place -v /anonymous --tmpfs /run/more:size=1m --read-only -- \
             sh -c 'echo kept > /no-such-place/file; echo x > /anonymous/x; echo x > /run/more/x; ! touch /x'");
        run("-d --name a -v data:/no-such-place:ro -v data:/tmp/again --restart always -- \
             sh -c 'cat /no-such-place/file; exec sleep 100000'");
        let a = Container::new(&vs, "a");
        assert!(a.sh("touch /no-such-place/x").stderr.contains("Read-only"));
        eventually("its output is in the log", 10, || vs.ok("logs a") == "kept\n");
        if is_root() {
            a.ok("chown 33:34 /tmp/again/file");
            let path = vs.state_dir().with_extension("data").join("volumes/data/_data/file");
            let about = fs::metadata(path).unwrap();
            assert_eq!((about.uid(), about.gid()), (FIRST + 33, FIRST + 34));
            assert_eq!(run("--rm -u 33:34 -v data:/tmp/v -- sh -c 'id -u; echo again >> /tmp/v/file'"), "33\n");
            assert_eq!(
                said("vswitchctl exec -u www-data a sh -c 'id -un; echo out > /dev/stdout' | cat"),
                "www-data\nout\n"
            );
            assert_eq!(run("--rm -u 33 -- sh -c 'echo out > /dev/stdout' | cat"), "out\n");
            for (flags, says) in
                [("--rootfs /usr:rw", "leave :rw out"), ("-v /tmp:/proc/x", "/proc is the container's own")]
            {
                vs.words(&format!("run --network none {flags} -- true")).exits(125).says(says);
            }
        }
        // A terminal and an input of the agent's own, and a client that comes later.
        run("-dit --name t -- sh -c 'tty; echo to its name > /dev/tty; read line; echo got $line; exit 4'");
        let typed = said(
            "(echo typed; exec sleep 100000) | script -qec 'vswitchctl attach t' /dev/null >/dev/null & \
                          vswitchctl wait t; kill $!; vswitchctl logs t",
        );
        assert!(typed.starts_with("4\n") && typed.contains("to its name") && typed.contains("got typed"), "{typed}");
        assert_eq!(
            said("echo typed | vswitchctl run -i --rm --network none -- sh -c 'cat > /dev/stdout' | cat"),
            "typed\n"
        );
        // It comes back after its first process is gone.
        let pid = a.pid();
        sh(&format!("kill -9 {pid}")).ok();
        let now = || vs.json("inspect a")[0]["pid"].as_u64().filter(|now| *now != u64::from(pid));
        eventually("it runs again", 20, || now().is_some());
        assert!(a.ok("cat /tmp/again/file").starts_with("kept\n"));
    });
}

/// A root directory of the container's own is its root's, to read and to change, though it is the host's root's on the disk; what is
/// changed stays with the container over restarts, also with the host's users, and the directory stays as it was. What no container may
/// see is not seen, either.
#[test]
fn root_directories() {
    guard(|| {
        super::mounts::root_directory("/mnt/root");
        fs::write("/mnt/root/etc/secret", "of root\n").unwrap();
        fs::set_permissions("/mnt/root/etc/secret", Permissions::from_mode(0o600)).unwrap();
        let vs = if is_root() { remapped() } else { Vswitch::start() };
        vs.ok("run -d --name a --network none --rootfs /mnt/root -- sleep 100000");
        let a = Container::new(&vs, "a");
        if is_root() {
            assert_eq!(owner(&a), (FIRST, FIRST));
        }
        assert_eq!(
            a.ok("cat /etc/secret; stat -c %u:%g:%a / /etc/secret /mark /bin/busybox").trim(),
            "of root\n0:0:755\n0:0:600\n0:0:644\n0:0:755"
        );
        a.ok("echo changed > /etc/secret; mkdir -p /opt/x; touch /opt/x/new; rm /mark");
        vs.ok("stop -t 0 a");
        vs.ok("start a");
        let seen = "cat /etc/secret; stat -c %u:%g:%a /etc/secret /opt/x/new; ! ls /mark";
        assert_eq!(a.ok(seen).trim(), "changed\n0:0:600\n0:0:644");
        assert_eq!(fs::read_to_string("/mnt/root/etc/secret").unwrap(), "of root\n");
        assert!(fs::exists("/mnt/root/mark").unwrap() && !fs::exists("/mnt/root/opt").unwrap());
        // The host's root is not in it.
        assert!(!a.ok("cat /proc/self/mountinfo").contains("/mnt/programs"));
        super::mounts::root_directory("/tmp");
        let script = "ls -A /vs/state /vs/state.data; echo looked";
        let seen = vs.ctl(&["run", "--rm", "--network", "none", "--rootfs", "/tmp", "--", "sh", "-c", script]);
        assert!(
            seen.stdout.contains("looked") && !seen.stdout.contains("redb") && !seen.stdout.contains("roots"),
            "{seen}"
        );
    });
}

/// Containers in user namespaces survive vswitchd and its agent, are found again, and are as usable as before; with another
/// setting they stay what they are until they are started anew.
#[test]
fn survivors() {
    guard(|| {
        if !is_root() {
            // Those of an ordinary user: the same in a user namespace of the agent's.
            let vs = Vswitch::start();
            let a = vs.container("a", "--network none");
            let pid = a.pid();
            kill_both(&vs);
            vs.up();
            assert_eq!((a.pid(), a.ok("id -u").trim()), (pid, "0"));
            return;
        }
        let vs = remapped();
        vs.ok("network create n");
        {
            let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
            let pids = [a.pid(), b.pid()];
            kill_both(&vs);
            vs.up();
            assert_eq!([a.pid(), b.pid()], pids);
            a.pings("b");
            assert_eq!((owner(&a), a.ok("id -u").trim()), ((FIRST, FIRST), "0"));
            let c = vs.container("c", "--network n");
            c.pings("a");
            kill_both(&vs);
        }
        drop(vs);
        let vs = Vswitch::start();
        let a = Container::new(&vs, "a");
        a.pings("b");
        assert_eq!(owner(&a), (FIRST, FIRST));
        vs.ok("stop -t 0 a");
        vs.ok("start a");
        assert_eq!(owner(&a), (0, 0));
        vs.ok("rm -f a b c");
    });
}

/// Whoever has no range of ids is told what to type, and the setting of the file is the flag's.
#[test]
fn no_ids() {
    guard(|| {
        if !is_root() {
            fs::write("/tmp/daemon.json", r#"{"userns-remap": "me"}"#).unwrap();
            let vs = Vswitch::stopped("/tmp/vs", &["--config-file", "/tmp/daemon.json"]);
            let said = vswitch_tests::run(&mut vs.daemon_command());
            assert!(said.code == 2 && said.stderr.contains("userns-remap is for root's vswitchd"), "{said}");
            return;
        }
        let vs = remapped();
        assert_eq!(vs.terminate(), 0);
        for (value, sentence) in
            [("nobody_knows", "echo nobody_knows:231072:65536 >> /etc/subuid"), ("a b", "write default")]
        {
            fs::write("/tmp/daemon.json", format!(r#"{{"userns-remap": "{value}"}}"#)).unwrap();
            let vs = Vswitch::stopped("/tmp/vs", &["--config-file", "/tmp/daemon.json"]);
            let said = vswitch_tests::run(&mut vs.daemon_command());
            assert!(said.code != 0 && said.stderr.contains(sentence), "{said}");
        }
        fs::write("/tmp/daemon.json", r#"{"userns-remap": "other:dockremap"}"#).unwrap();
        let vs = Vswitch::with(&["--config-file", "/tmp/daemon.json"]);
        assert_eq!(owner(&vs.container("a", "--network none")), (100_000, FIRST));
    });
}
