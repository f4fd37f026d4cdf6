//! dockerd's settings of networks, given to a real vswitchd: as flags, as a file, and again by SIGHUP.

use rustix::process::{Pid, Signal, kill_process};
use vswitch_tests::{Vswitch, eventually, guard, run};

use crate::docker::{docker, shown};

const FILE: &str = "/tmp/daemon.json";

fn hangup(vs: &Vswitch) {
    kill_process(Pid::from_raw(vs.pid().cast_signed()).unwrap(), Signal::HUP).unwrap();
}

/// bip, mtu, dns and pools of the file are what containers see; two containers of a network with icc=false do not reach
/// each other.
#[test]
fn the_file() {
    guard(|| {
        let text = r#"{"bip": "10.7.0.5/24", "fixed-cidr": "10.7.0.128/25", "mtu": 1400, "icc": false,
            "dns": ["10.7.0.53"], "dns-search": ["example.org"], "dns-opts": ["ndots:3"],
            "default-address-pools": [{"base": "10.200.0.0/16", "size": 24}]}"#;
        std::fs::write(FILE, text).unwrap();
        let vs = Vswitch::with(&["--config-file", FILE]);
        let (a, b) = (vs.container("a", ""), vs.container("b", ""));
        assert_eq!(
            (a.ipv4("bridge").to_string(), b.ipv4("bridge").to_string()),
            ("10.7.0.128".into(), "10.7.0.129".into())
        );
        assert!(a.ok("ip link show eth0").contains("mtu 1400"));
        assert!(a.ok("ip route").contains("default via 10.7.0.5"));
        let resolv = a.ok("cat /etc/resolv.conf");
        assert!(resolv.contains("nameserver 10.7.0.53") && resolv.contains("search example.org"), "{resolv}");
        assert!(resolv.contains("ndots:3"), "{resolv}");
        a.pings("10.7.0.5");
        a.cannot_ping("10.7.0.129");
        vs.expect_drops("a", "bridge", "isolated", 1);
        docker(&vs, "network create auto").ok();
        assert_eq!(shown(&vs, "network inspect auto", "{{(index .IPAM.Config 0).Subnet}}"), "10.200.0.0/24");
        assert_eq!(shown(&vs, "info", "{{(index .DefaultAddressPools 0).Base}}"), "10.200.0.0/16");
    });
}

/// SIGHUP reads the file again: what may change changes, what may not is refused in the log as a whole, and a broken file
/// changes nothing.
#[test]
fn reload() {
    guard(|| {
        std::fs::write(FILE, "{}").unwrap();
        let vs = Vswitch::with(&["--config-file", FILE, "--mtu", "1400"]);
        docker(&vs, "network create --subnet 10.9.0.0/24 web").ok();
        let gateway = shown(&vs, "network inspect bridge", "{{(index .IPAM.Config 0).Gateway}}");
        // Written anew, as editors do it: another file in the same place.
        let write = |text: &str| {
            std::fs::write("/tmp/new.json", text).unwrap();
            std::fs::rename("/tmp/new.json", FILE).unwrap();
            hangup(&vs);
        };
        let dns = || vs.ok("run --rm --network bridge -- cat /etc/resolv.conf");
        write(r#"{"dns": ["10.9.0.53"], "bridge": "web"}"#);
        eventually("the new settings hold", 20, || vs.log().contains("the settings hold from now on"));
        assert!(dns().contains("nameserver 10.9.0.53"));
        let c = vs.container("c", "");
        assert_eq!(c.ipv4("web").to_string(), "10.9.0.2");
        let says = |text: &str| eventually(text, 20, || vs.log().contains(text));
        for (text, sentence) in [
            ("{", "the settings stay as they were: unable to configure vswitchd with file /tmp/daemon.json"),
            (r#"{"dnss": []}"#, "don't match any configuration option: dnss (did you mean dns?)"),
            (
                r#"{"mtu": 1300}"#,
                "both as a flag and in the configuration file: mtu: (from flag: 1400, from file: 1300)",
            ),
            (r#"{"bridge": "no/where"}"#, "the setting bridge: invalid network name"),
        ] {
            write(text);
            says(sentence);
        }
        assert!(dns().contains("nameserver 10.9.0.53"));
        let d = vs.container("d", "--network bridge");
        let before = d.ipv4("bridge");
        write(r#"{"bip": "10.7.0.5/24"}"#);
        says("the settings would change the network bridge, which cannot change while containers are on it (d)");
        vs.ok("rm -f d");
        hangup(&vs);
        eventually("the network bridge follows", 20, || {
            shown(&vs, "network inspect bridge", "{{(index .IPAM.Config 0).Gateway}}") == "10.7.0.5"
        });
        let d = vs.container("d", "");
        assert_ne!(d.ipv4("bridge"), before);
        d.pings("10.7.0.5");
        c.pings("10.9.0.1");
        // What is gone from the file holds no more: the network is as if it had never been there.
        vs.ok("rm -f d");
        write(r#"{"bip": "10.7.0.5/24", "fixed-cidr": "10.7.0.128/25", "default-gateway": "10.7.0.254"}"#);
        let config = || shown(&vs, "network inspect bridge", "{{json (index .IPAM.Config 0)}}");
        eventually("all three hold", 20, || config().contains("10.7.0.254"));
        write("{}");
        eventually("the network bridge is back", 20, || config().contains(&format!("\"{gateway}\"")));
        assert!(!config().contains("10.7"), "{}", config());
        let routes = vs.ok("run --rm --network bridge -- ip -4 route");
        assert!(routes.contains(&format!("default via {gateway} ")) && !routes.contains("10.7"), "{routes}");
    });
}

/// A daemon whose settings make no sense does not start, and says in one sentence which one it is.
#[test]
fn refusals() {
    guard(|| {
        for (text, flags, says) in [
            ("", &["--bip", "10.7.0.0/33"][..], "invalid bip"),
            ("", &["--dns", "resolver"], "resolver is not an ip address"),
            (r#"{"frobnicate": "overlay2"}"#, &[], "don't match any configuration option: frobnicate"),
            (r#"{"dns": ["9.9.9.9"]}"#, &["--dns", "8.8.8.8"], "both as a flag and in the configuration file: dns"),
            ("{", &[], "unable to configure vswitchd with file /tmp/daemon.json"),
        ] {
            std::fs::write(FILE, text).unwrap();
            let args = [&["--config-file", FILE], flags].concat();
            run(&mut Vswitch::stopped("/tmp/refused", &args).daemon_command()).exits(2).says(says);
        }
    });
}

/// A daemon.json as it is found in the world, and -b with a network that is not there: vswitchd starts, says what it does
/// without, and containers that name no network are on the one that was named. Ports are published where ip says.
#[test]
fn as_found_in_the_world() {
    guard(|| {
        let text = r#"{"registry-mirrors": ["https://mirror.example.org"], "log-driver": "json-file",
            "storage-driver": "overlay2", "hosts": ["fd://"], "live-restore": true, "log-level": "info",
            "data-root": "/srv/docker", "ip": "127.0.0.1"}"#;
        std::fs::write(FILE, text).unwrap();
        let vs = Vswitch::with(&["--config-file", FILE, "-b", "br0"]);
        let log = vs.log();
        assert!(log.contains("are dockerd's alone: vswitchd does without them"), "{log}");
        assert!(log.contains("storage-driver") && !log.contains("live-restore is"), "{log}");
        let c = vs.container("c", "-p 18080:80");
        let gateway = c.ok("ip route show default").split_whitespace().nth(2).unwrap().to_owned();
        c.pings(gateway);
        assert_eq!(vs.ok("port c").trim(), "80/tcp -> 127.0.0.1:18080");
        vs.terminate();
        vs.up();
        assert!(c.ok("echo still here").contains("still"), "live-restore of the file holds");
        vs.ok("rm -f c");
    });
}
