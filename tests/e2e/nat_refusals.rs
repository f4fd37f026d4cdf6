//! Bad input about the uplink and published ports: each is refused with a sentence that says what to do.

use vswitch_tests::{Site, Vswitch, eventually, guard, guard::is_root, run, sh, site::UPLINK};

/// An uplink that makes no sense is a wrong command line.
#[test]
fn wrong_uplinks() {
    guard(|| {
        let rows = [
            ("sockets,loopback=10.0.2.2", "no key loopback"),
            ("packet:", "names no interface"),
            ("packet:up0", "has no address"),
            ("packet:up0,address=10.99.0.1", "no address with a prefix length"),
            ("packet:up0,address=10.99.0/24", "no address with a prefix length"),
            ("packet:up0,address=10.99.0.1/24,gateway=10.98.0.2", "not in the uplink's subnet 10.99.0.0/24"),
            ("packet:up0,address=10.99.0.1/24,gateway=10.99.0.2,gateway=10.99.0.3", "two IPv4 gateways"),
            ("packet:up0,address=10.99.0.1/24,gateway=router", "no IP address"),
            ("packet:up0,address=10.99.0.1/24,speed=10", "no key speed"),
            ("packet:up0,address=10.99.0.1/24,mtu=1", "out of range"),
            ("packet:up0,address=10.99.0.1/24,mac=ff:ff:ff:ff:ff:ff", "broadcast"),
        ];
        for (uplink, says) in rows {
            let vs = Vswitch::stopped("/tmp/vs", &["--uplink", uplink]);
            let output = run(&mut vs.daemon_command()).exits(2).says(says);
            assert_eq!(output.stderr.trim_end().lines().count(), 1, "{output}");
        }
        std::fs::write("/tmp/vs/config", format!("uplink = \"{}\"\n", rows[5].0)).unwrap();
        let vs = Vswitch::stopped("/tmp/vs", &["--config", "/tmp/vs/config"]);
        run(&mut vs.daemon_command()).exits(2).says(rows[5].1);
        std::fs::write("/tmp/vs/config", "[nat]\nmappings = \"random\"\n").unwrap();
        run(&mut vs.daemon_command()).exits(2).says("unknown field `mappings`");
    });
}

/// An interface that does not exist, or that the user may not open, and nothing stays behind.
#[test]
fn unusable_interfaces() {
    guard(|| {
        let vs = Vswitch::stopped("/tmp/vs", &["--uplink", "packet:nowhere0,address=10.99.0.1/24"]);
        run(&mut vs.daemon_command()).exits(1).says("interface nowhere0 does not exist");
        let site = Site::without_daemon(&["--uplink", "packet:up1,address=10.99.0.1/24"], &[]);
        run(&mut site.vs.daemon_command()).exits(1).says("interface up1 does not exist");
        let site = Site::without_daemon(&["--uplink", UPLINK], &[]);
        if is_root() {
            // An ordinary user in the namespace that has the interface. In an ordinary user's own, everybody is root.
            let user = "setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/tmp/nobody";
            site.host.ok("mkdir /tmp/nobody && chown 65534:65534 /tmp/nobody");
            let daemon = "/mnt/programs/vswitchd --socket /tmp/nobody/socket --state-dir /tmp/nobody/state";
            let output = site.host.sh(&format!("{user} {daemon} --uplink {UPLINK}")).exits(1);
            output.says("an ordinary user may not open the uplink's interface up0");
        }
        site.host.ok("ip addr add 10.99.0.1/24 dev up0");
        run(&mut site.vs.daemon_command()).exits(1).says("10.99.0.1 is the host's own address on up0");
        // It was told to end before vswitchd did, and may take a moment longer.
        eventually("no agent stays behind", 20, || {
            sh("ps -eo args | grep -v grep | grep -c 'vswitchd agent'").stdout.trim() == "0"
        });
    });
}

/// Subnets and the uplink's do not overlap, in either order.
#[test]
fn overlaps() {
    guard(|| {
        let site = Site::start();
        for subnet in ["10.99.0.0/24", "10.99.0.0/25", "10.0.0.0/8"] {
            site.vs.words(&format!("network create x --subnet {subnet}")).refused("Pool overlaps");
        }
        site.vs.words("network create x --ipv6 --subnet fd99::/64").refused("Pool overlaps");
        site.vs.ok("network create n --subnet 10.201.1.0/24");
        let a = site.vs.container("a", "--network n");
        a.pings("10.99.0.2");
        site.vs.terminate();
        let clash = Vswitch::stopped("/tmp/vs", &["--uplink", "packet:up0,address=10.201.1.9/24"]);
        clash.keep_silent();
        let mut command = site.vs.daemon_command();
        let args: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_string_lossy().replace(UPLINK, "packet:up0,address=10.201.1.9/24"))
            .collect();
        let mut changed = std::process::Command::new(command.get_program());
        command = {
            changed.args(args);
            changed
        };
        run(&mut command).exits(1).says("lies in the inside subnet 10.201.1.0/24");
        site.vs.up();
        site.vs.ok("network rm n");
        site.finish();
    });
}

/// Ports that make no sense, in Docker's words.
#[test]
fn wrong_ports() {
    guard(|| {
        let site = Site::start();
        site.vs.ok("network create closed --internal");
        site.vs.container("other", "").pings("10.99.0.2");
        let rows = [
            ("-p 65536:80", "invalid hostPort: 65536"),
            ("-p 80:0", "invalid containerPort: 0"),
            ("-p 80:65536", "invalid containerPort: 65536"),
            ("-p 8080:", "no port specified: 8080:<empty>"),
            ("-p 80/icmp", "invalid proto: icmp"),
            ("-p x:80:80", "invalid IP address: x"),
            ("-p 8010-8000:80", "invalid hostPort: 8010-8000"),
            ("-p 8000-8002:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8000-8002"),
            ("-p 80:80 --network none", "network none has no way in"),
            (
                "-p 80:80 --network container:other",
                "conflicting options: port publishing and the container type network mode",
            ),
            ("-p 10.99.0.9:80:80", "cannot assign requested address; the uplink has 10.99.0.1"),
            ("-p [fd99::1]:80:80", "no IPv6 address"),
        ];
        for (flags, says) in rows {
            let output = site.vs.words(&format!("run --rm {flags} -- true")).exits(125).says(says);
            assert_eq!(output.stderr.trim_end().lines().count(), 1, "{output}");
        }
        assert_eq!(site.vs.json("ps -a").as_array().unwrap().len(), 1);
        // Accepted with a warning: nobody reaches the host's loopback through a packet uplink.
        site.vs.words("run --rm -p 127.0.0.1:8080:80/udp -- true").exits(0).says("host's own loopback");
        site.vs
            .words("run --rm --network host -p 80:80 -- true")
            .exits(0)
            .says("discarded when using host network mode");
        site.finish();
    });
}

/// Without an uplink nothing is published, and the sentence says so.
#[test]
fn no_uplink() {
    guard(|| {
        let vs = Vswitch::with(&["--uplink", "none"]);
        vs.words("run --rm -p 8080:80 -- true").exits(125).says("published ports need an uplink");
        vs.refuses("flows watch", "there are no flows to watch");
        assert_eq!(vs.ok("flows ls"), "");
        assert!(vs.stats().router.is_none());
    });
}
