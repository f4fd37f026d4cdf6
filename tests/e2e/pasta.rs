//! `pasta`, started as podman and rootlesskit start it, without them.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use vswitch_tests::rootless::Rootless;
use vswitch_tests::{Background, Output, eventually, guard, run, spawn};

/// What podman calls.
const PROGRAM: &str = "/tmp/pasta";

/// A host with an upstream, and a user of it who is root in a user namespace with mounts of its own, as podman without root is.
struct World {
    site: Rootless,
    user: Background,
}

impl World {
    fn new() -> World {
        symlink("/mnt/programs/vswitch-engine", PROGRAM).unwrap();
        let site = Rootless::without_daemon(&[], &[]);
        site.host.ok("ip route add 10.77.0.0/16 via 10.99.0.3");
        let user = site.host.spawn("unshare --user --map-root-user --mount sleep 100000");
        let world = World { site, user };
        eventually("the user is there", 20, || {
            fs::read_to_string(format!("/proc/{}/comm", world.user.pid())).is_ok_and(|comm| comm.trim() == "sleep")
        });
        world
    }

    /// The host's network first: it belongs to a user namespace above the user's, where the user may enter nothing.
    fn command(&self, script: &str) -> Command {
        let pid = self.user.pid().to_string();
        let mut command = self.site.host.command("nsenter");
        command.args(["-t", &pid, "--user", "--mount", "--preserve-credentials", "sh", "-c", script]);
        command
    }

    /// In the host's network namespace, as the user.
    #[track_caller]
    fn sh(&self, script: &str) -> Output {
        run(&mut self.command(script))
    }

    fn spawn(&self, script: &str) -> Background {
        spawn(&mut self.command(script))
    }

    /// A network namespace that is a file.
    #[track_caller]
    fn netns(&self, name: &str) -> Netns<'_> {
        let path = format!("/tmp/netns-{name}");
        self.sh(&format!("touch {path} && unshare -n mount --bind /proc/self/ns/net {path}")).ok();
        Netns { world: self, path }
    }

    /// Runs it as podman does, which reads all that it says to its end.
    #[track_caller]
    fn pasta(&self, arguments: &str) -> Output {
        self.sh(&format!("{{ {PROGRAM} {arguments}; echo \"code $?\"; }} 2>&1 | cat"))
    }

    /// Runs it, and nothing is said.
    #[track_caller]
    fn starts(&self, arguments: &str) {
        let said = self.pasta(arguments);
        assert_eq!(said.stdout, "code 0\n", "{said}");
    }

    /// Nothing of it is left: no process, no folder.
    fn nothing_left(&self) {
        eventually("nothing is left", 30, || {
            self.sh("pgrep -x 'pasta|vswitchd'; ls -d $XDG_RUNTIME_DIR/vswitch-for-* /run/vswitch-for-* 2>/dev/null")
                .stdout
                .is_empty()
        });
    }

    /// A page on the host, at one of its addresses.
    fn page(&self, address: &str, port: u16) -> Background {
        let script = format!(
            "mkdir -p /tmp/www && cd /tmp/www && echo hello > index.html && exec python3 -m http.server -b {address} {port}"
        );
        let server = self.spawn(&script);
        self.site.host.listens(port);
        server
    }
}

struct Netns<'w> {
    world: &'w World,
    path: String,
}

impl Netns<'_> {
    #[track_caller]
    fn sh(&self, script: &str) -> Output {
        run(&mut self.command(script))
    }

    fn command(&self, script: &str) -> Command {
        let mut command = self.world.command("exec nsenter --net=\"$0\" sh -c \"$1\"");
        command.args([&self.path, script]);
        command
    }

    fn serves(&self, port: u16) -> Background {
        let script =
            format!("mkdir -p /tmp/in && cd /tmp/in && echo inside > index.html && exec python3 -m http.server {port}");
        let server = spawn(&mut self.command(&script));
        eventually("the page is served", 20, || !self.sh(&format!("ss -Hltn sport = :{port}")).stdout.is_empty());
        server
    }

    /// The namespace's file goes, as when its container ends.
    fn removed(self) {
        self.world.sh(&format!("umount -l {0} && rm {0}", self.path)).ok();
    }
}

/// What podman writes behind the ports, by version, for `--netns FILE`.
const PODMAN: [(&str, &str); 6] = [
    ("4.4", "--config-net -t none -u none -T none -U none --no-map-gw --netns FILE"),
    ("5.0", "--config-net --dns none -t none -u none -T none -U none --no-map-gw --quiet --netns FILE"),
    ("5.1", "--config-net --dns-forward 169.254.0.1 -t none -u none -T none -U none --no-map-gw --quiet --netns FILE"),
    (
        "5.2, debugging",
        "--config-net --debug --dns-forward 169.254.0.1 -t none -u none -T none -U none --no-map-gw --netns FILE",
    ),
    (
        "5.3",
        "--config-net --dns-forward 169.254.1.1 -t none -u none -T none -U none --no-map-gw --quiet --netns FILE \
         --map-guest-addr 169.254.1.2",
    ),
    (
        "rootless-netns",
        "--config-net --pid /tmp/conn.pid --dns-forward 169.254.1.1 -t none -u none -T none -U none --no-map-gw --quiet \
         --netns FILE --map-guest-addr 169.254.1.2",
    ),
];

/// The command lines of all versions: it is ready when it returns, with its outputs closed; the namespace has what the host has,
/// and its way out; it ends when the namespace's file goes.
#[test]
fn podman_s_command_lines() {
    guard(|| {
        let world = World::new();
        let outside = world.site.outside.serve("python3 -m http.server -b 10.99.0.2 8000", 8000);
        for (number, (version, line)) in PODMAN.iter().enumerate() {
            let netns = world.netns(&number.to_string());
            world.starts(&line.replace("FILE", &netns.path));
            let shown = netns.sh("ip addr show dev up0; ip route; ip -6 route; ip -o link show lo").ok();
            for part in [
                "inet 10.99.0.1/24",
                "inet6 fd99::1/64",
                "mtu 65520",
                "default via 10.99.0.2 dev up0",
                "10.77.0.0/16 via 10.99.0.3 dev up0",
                "default via fd99::2 dev up0",
                "LOOPBACK,UP",
            ] {
                assert!(shown.contains(part), "{version}: {part}: {shown}");
            }
            assert!(!shown.contains("tentative"), "{version}: {shown}");
            let page = netns.sh("curl -s -o /dev/null -w '%{http_code}' -m 20 http://10.99.0.2:8000/");
            assert_eq!(page.stdout, "200", "{version}: {page}");
            if line.contains("--pid") {
                let pid = fs::read_to_string("/tmp/conn.pid").unwrap();
                assert_eq!(fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap(), "pasta\n");
                assert!(pid.ends_with('\n'));
            }
            netns.removed();
            world.nothing_left();
        }
        let seen = outside.output();
        assert!(seen.contains("10.99.0.1 - -"), "the host is who asks: {seen}");
    });
}

/// Ports of the host that lead in, the addresses that lead to the host and to its loopback, the name server, and neighbours of the
/// host's, who are behind the gateway.
#[test]
fn ports_and_addresses() {
    guard(|| {
        let world = World::new();
        let netns = world.netns("a");
        let _page = world.page("10.99.0.1", 8000);
        let _loopback = world.page("127.0.0.1", 8001);
        world.site.outside.ok("ip addr add 10.99.0.77/24 dev out0");
        let _neighbour = world.site.play(&world.site.outside, "echo 7000");
        let _answers = world.site.play(&world.site.outside, "udp_echo 7001");
        world.starts(&format!(
            "--config-net -t 127.0.0.1/8080-8080:80-80 -t ::1/8081-8081:80-80 -t 10.99.0.1/8082 -u 127.0.0.1/5353-5354:53-54 \
             --dns-forward 169.254.1.1 -T none -U none --map-host-loopback 169.254.1.3 --quiet --netns {} \
             --map-guest-addr 169.254.1.2 --ns-ifname eth7 --ns-mac-addr 02:00:5e:00:00:07",
            netns.path
        ));
        let shown = netns.sh("ip link show eth7; ip route").ok();
        assert!(shown.contains("02:00:5e:00:00:07") && shown.contains("default via 10.99.0.2 dev eth7"), "{shown}");
        // To the host, and to its loopback.
        let fetch = |address: &str| netns.sh(&format!("curl -s -m 20 http://{address}/"));
        assert_eq!(fetch("169.254.1.2:8000").ok(), "hello\n");
        assert_eq!(fetch("169.254.1.3:8001").ok(), "hello\n");
        assert!(fetch("169.254.1.2:8001").code != 0, "the host's address is not its loopback");
        // Names; the host's own name server answers nobody here, which is said.
        let names = netns.sh("dig +time=10 +tries=3 nowhere.example @169.254.1.1").stdout;
        assert!(names.contains("status: "), "{names}");
        // A neighbour on the host's own link.
        let neighbour = netns.sh("python3 /mnt/outside.py pingpong 10.99.0.77 7000 3");
        assert_eq!(neighbour.code, 0, "{neighbour}");
        let datagram = netns.sh("python3 /mnt/outside.py udp 10.99.0.2 7001 100");
        assert!(datagram.stdout.starts_with("same"), "{datagram}");
        // Into it, also from the address of the host that is its own, too.
        let _inside = netns.serves(80);
        let _other = netns.serves(8082);
        let get = |url: &str| world.sh(&format!("curl -s -m 20 '{url}'")).stdout;
        assert_eq!(get("http://127.0.0.1:8080/"), "inside\n");
        assert_eq!(get("http://10.99.0.1:8082/"), "inside\n");
        let outside = world.site.outside.ok("curl -s -m 20 http://10.99.0.1:8082/");
        assert_eq!(outside, "inside\n");
        let _udp = spawn(&mut netns.command("exec python3 /mnt/outside.py udp_echo 54"));
        eventually("the datagrams' server is there", 20, || !netns.sh("ss -Hlun sport = :54").stdout.is_empty());
        let answered = world.sh("python3 /mnt/outside.py udp 127.0.0.1 5354 100");
        assert!(answered.stdout.starts_with("same"), "{answered}");
        netns.removed();
        world.nothing_left();
        assert!(world.sh("ss -Hltn sport = :8080").stdout.is_empty());
    });
}

/// By the process of a namespace, as rootlesskit starts it, in the foreground, and with a log; the gateway is the host's loopback.
#[test]
fn rootlesskit_s_command_line() {
    guard(|| {
        let world = World::new();
        let _loopback = world.page("127.0.0.1", 8001);
        let child = world.spawn("exec unshare -n sleep 100000");
        eventually("the namespace is there", 20, || {
            fs::read_to_string(format!("/proc/{}/comm", child.pid())).is_ok_and(|comm| comm.trim() == "sleep")
        });
        let line = "--stderr --ns-ifname=tap0 --mtu=65520 --config-net --address=10.0.2.100 --netmask=24 --gateway=10.0.2.2 \
                    --dns-forward=10.0.2.3 --ipv4-only --tcp-ports=none --udp-ports=none -T none -U none -P /tmp/pid";
        let inside = |script: &str| world.sh(&format!("nsenter -t {} -n -- {script}", child.pid()));
        world.starts(&format!("{line} -l /tmp/log {}", child.pid()));
        let shown = inside("ip addr show tap0").ok();
        assert!(shown.contains("10.0.2.100/24") && !shown.contains("inet6 f"), "{shown}");
        assert_eq!(inside("curl -s -m 20 http://10.0.2.2:8001/").ok(), "hello\n");
        let names = inside("dig +time=5 +tries=3 nowhere.example @10.0.2.3").stdout;
        assert!(names.contains("status: "), "{names}");
        let twice = world.pasta(&format!("{line} {}", child.pid()));
        assert!(twice.stdout.contains("pasta: ") && twice.stdout.ends_with("code 1\n"), "{twice}");
        world.sh("kill -9 $(cat /tmp/pid)").ok();
        world.nothing_left();
        assert!(inside("ip link show tap0").code != 0, "the interface is gone");

        let foreground = world.spawn(&format!("exec {PROGRAM} {line} --foreground --no-map-gw {}", child.pid()));
        eventually("it is there", 60, || inside("ip addr show tap0").stdout.contains("10.0.2.100/24"));
        assert!(inside("curl -s -m 20 http://10.0.2.2:8001/").code != 0);
        child.terminate();
        assert_eq!(foreground.wait(std::time::Duration::from_secs(60)).code, 0, "it ends with the process");
        world.nothing_left();
    });
}

/// Ports of the namespace that lead to the host's loopback, named and looked for, and those that the host has because somebody
/// listens inside.
#[test]
fn ports_that_are_looked_for() {
    guard(|| {
        let world = World::new();
        let child = world.spawn("exec unshare --user --map-root-user --net sleep 100000");
        eventually("the namespace is there", 20, || {
            fs::read_to_string(format!("/proc/{}/comm", child.pid())).is_ok_and(|comm| comm.trim() == "sleep")
        });
        let enter = format!("nsenter -t {} --user --net --preserve-credentials -- ", child.pid());
        let _page = world.page("127.0.0.1", 8001);
        let _answers = world.spawn("exec python3 /mnt/outside.py udp_echo 7001");
        eventually("the datagrams' server is there", 20, || !world.sh("ss -Hlun sport = :7001").stdout.is_empty());
        world.starts(&format!("-t auto -u auto -T 9001:8001 -U 7001 {}", child.pid()));
        let inside = |script: &str| world.sh(&format!("{enter}{script}"));
        assert_eq!(inside("curl -s -m 20 http://127.0.0.1:9001/").ok(), "hello\n");
        assert!(inside("curl -s -m 20 http://127.0.0.1:8001/").code != 0);
        let answered = inside("python3 /mnt/outside.py udp 127.0.0.1 7001 100");
        assert!(answered.stdout.starts_with("same"), "{answered}");
        // What is listened at inside is found, and lost.
        let get = |port: u16| world.sh(&format!("curl -s -m 5 http://10.99.0.1:{port}/")).stdout;
        let script = format!(
            "mkdir -p /tmp/in && cd /tmp/in && echo inside > index.html && exec {enter}python3 -m http.server 8090"
        );
        let server = world.spawn(&script);
        eventually("a listener inside is found", 60, || get(8090) == "inside\n");
        assert!(world.sh("ss -Hltn sport = :9001").stdout.is_empty(), "what leads out does not lead in");
        drop(server);
        eventually("it is lost", 60, || world.sh("ss -Hltn sport = :8090").stdout.is_empty());
        child.terminate();
        world.nothing_left();

        let netns = world.netns("b");
        world.starts(&format!("-t none -u none -U none --netns {}", netns.path));
        let there = || netns.sh("curl -s -m 5 http://127.0.0.1:8001/").stdout == "hello\n";
        eventually("a listener of the host's is found", 60, there);
        let later = world.page("127.0.0.1", 8002);
        eventually("a later one, too", 60, || netns.sh("curl -s -m 5 http://127.0.0.1:8002/").stdout == "hello\n");
        drop(later);
        eventually("and lost", 60, || netns.sh("ss -Hltn sport = :8002").stdout.is_empty());
        netns.removed();
        world.nothing_left();
    });
}

/// A command in namespaces of its own: it is root there, has the host's address and its way out, and ends as it likes.
#[test]
fn a_command() {
    guard(|| {
        let world = World::new();
        let _page = world.site.outside.serve("python3 -m http.server -b 10.99.0.2 8000", 8000);
        let none = "--no-map-gw -t none -u none -T none -U none";
        let said = world.sh(&format!(
            "{PROGRAM} {none} sh -c 'id -u; ip -o -4 addr show up0; curl -s -o /dev/null -w %{{http_code}} -m 20 \
             http://10.99.0.2:8000/; echo; cat /proc/1/comm; exit 7'"
        ));
        assert_eq!(said.code, 7, "{said}");
        let lines: Vec<&str> = said.stdout.lines().collect();
        assert!(
            lines[0] == "0" && lines[1].contains("10.99.0.1/24") && lines[2] == "200" && lines[3] == "sh",
            "{said}"
        );
        world.nothing_left();
        world.sh(&format!("{PROGRAM} {none} no-such-program")).exits(1).says("failed to start command or shell");
        world.sh(&format!("{PROGRAM} {none} sh -c 'kill -TERM $$'")).exits(0);
        let shell = world.sh(&format!("echo 'exit 5' | SHELL=/bin/sh {PROGRAM} {none}"));
        assert_eq!(shell.code, 5, "{shell}");
        let pasta = world.spawn(&format!("exec {PROGRAM} {none} sleep 12345"));
        eventually("it runs", 60, || world.sh("pgrep -x sleep -a").stdout.contains("12345"));
        drop(pasta);
        eventually("its command goes with it", 30, || !world.sh("pgrep -x sleep -a").stdout.contains("12345"));
        world.nothing_left();
    });
}

/// What makes no sense is told in pasta's manner, and changes nothing.
#[test]
fn nonsense() {
    guard(|| {
        let world = World::new();
        let netns = world.netns("a");
        let refused = |arguments: &str, text: &str| {
            let said = world.pasta(&arguments.replace("FILE", &netns.path));
            assert!(said.stdout.contains(text) && said.stdout.ends_with("code 1\n"), "{said}");
            assert!(said.stdout.lines().count() == 2, "one sentence: {said}");
        };
        refused("--nonsense --netns FILE", "pasta: unrecognized option '--nonsense'");
        refused("-t 80:90:100 --netns FILE", "pasta: invalid port specifier '-t 80:90:100'");
        refused("--netns /nowhere", "couldn't open network namespace /nowhere");
        refused("--netns /etc/hostname", "namespace");
        refused("4194300", "couldn't open network namespace /proc/4194300/ns/net");
        refused("-i nope --netns FILE", "invalid interface name nope");
        refused("-P /nowhere/pid --netns FILE", "couldn't open PID file /nowhere/pid");
        refused("--ns-mac-addr 01:00:00:00:00:01 --netns FILE", "MAC");
        refused("--runas nobody --netns FILE", "--runas is not built");
        refused("--netns /proc/self/ns/net", "host");
        let _taken = world.page("127.0.0.1", 8080);
        refused("-t 127.0.0.1/8080-8080:80-80 --netns FILE", "8080");
        assert!(!netns.sh("ip link").ok().contains("up0"), "nothing is left of it");
        world.nothing_left();
        assert!(world.pasta("--version").stdout.starts_with("pasta "));
        assert!(world.pasta("--help").stdout.contains("--map-guest-addr"));
        let probed = world.pasta("--host-lo-to-ns-lo --version");
        assert!(probed.stdout.ends_with("code 1\n"), "rootlesskit asks so whether it is there: {probed}");
    });
}

/// Killed at whatever moment of its start, or without its namespace: nothing is left. Hosts without a way out have one to themselves.
#[test]
fn killed_while_it_starts() {
    guard(|| {
        let world = World::new();
        let netns = world.netns("a");
        let line = format!("exec {PROGRAM} -f -t none -u none -T none -U none --netns {}", netns.path);
        for moment in 0..8u32 {
            let pasta = world.spawn(&line);
            // Moments of its life, not a wait for something.
            std::thread::sleep(std::time::Duration::from_millis(u64::from(moment * moment * 15)));
            drop(pasta);
        }
        world.nothing_left();
        assert!(!netns.sh("ip link").ok().contains("up0"));
        world.site.host.ok("ip link del up0");
        let _loopback = world.page("127.0.0.1", 8001);
        world.starts(&format!("-t none -u none -T none -U none --netns {}", netns.path));
        assert!(netns.sh("ip addr show tap0").ok().contains("10.0.2.100/24"));
        assert_eq!(netns.sh("curl -s -m 20 http://10.0.2.2:8001/").ok(), "hello\n");
        netns.removed();
        world.nothing_left();
    });
}
