//! Overlay networks when things break: hosts that go and return, an underlay that changes or loses packets, a daemon that
//! is killed. Traffic recovers by itself.

use vswitch_tests::hosts::{Hosts, on_each};
use vswitch_tests::{Container, Vswitch, eventually, guard};

fn recovers(from: &Container<'_>, to: &Container<'_>) {
    let ping = format!("ping -n -c 1 -W 1 {}", to.ipv4("n"));
    eventually("traffic recovers", 30, || from.sh(&ping).code == 0);
    from.pings(to.ipv4("n"));
}

fn up(vs: &Vswitch) -> bool {
    vs.json("tunnel ls n")[0]["up"] == true
}

/// The other host dies and returns; then the own underlay address goes and comes back, which is seen and told.
#[test]
fn hosts_and_addresses_return() {
    guard(|| {
        let (hosts, one, two) = Hosts::pair("");
        let (a, b) = on_each(&one, &two);
        a.pings(b.ipv4("n"));
        hosts.unplug(2);
        a.cannot_ping(b.ipv4("n"));
        hosts.replug(2);
        recovers(&a, &b);
        hosts.host(1).ok("ip addr del 10.77.0.1/24 dev u0");
        eventually("the loss is seen", 10, || !up(&one));
        assert!(one.ok("tunnel ls n").contains("no interface has the address 10.77.0.1"), "{}", one.ok("tunnel ls n"));
        a.cannot_ping(b.ipv4("n"));
        hosts.host(1).ok("ip addr add 10.77.0.1/24 dev u0");
        eventually("the return is seen", 10, || up(&one));
        recovers(&a, &b);
    });
}

/// The other host gets another underlay address: its new one is added, its old one removed.
#[test]
fn another_address() {
    guard(|| {
        let (hosts, one, two) = Hosts::pair("");
        let (a, b) = on_each(&one, &two);
        a.pings(b.ipv4("n"));
        drop(b);
        assert_eq!(two.terminate(), 0);
        drop(two);
        hosts.host(2).ok("ip addr add 10.77.0.22/24 dev u0");
        let two = hosts.with_vtep(2, &["--vtep", "10.77.0.22"]);
        two.up();
        // The network is as it was, and follows the VTEP that there is now.
        assert_eq!(two.json("tunnel ls n")[0]["vtep"], "10.77.0.22");
        two.ok("start b");
        let b = Container::new(&two, "b");
        // Nobody is believed who was not named.
        let ping = format!("ping -n -c 1 -W 1 {}", a.ipv4("n"));
        assert!(b.sh(&ping).code != 0);
        let unknown = || one.json("tunnel ls n")[0]["drops"]["unknown-remote"].as_u64().unwrap_or_default();
        eventually("a stranger's frames are counted", 10, || unknown() > 0);
        one.ok("tunnel remote add n 10.77.0.22");
        one.ok("tunnel remote rm n 10.77.0.2");
        recovers(&a, &b);
    });
}

/// The underlay's MTU shrinks: packets that must not be cut up are answered, streams go on, and new containers fit.
#[test]
fn the_underlay_shrinks() {
    guard(|| {
        let (hosts, one, two) = Hosts::pair("");
        let (a, b) = on_each(&one, &two);
        let longest = format!("ping -n -c 2 -i 0.1 -W 2 -M do -s 1422 {}", b.ipv4("n"));
        a.ok(&longest);
        for number in [1, 2] {
            hosts.host(number).ok("ip link set u0 mtu 1400");
        }
        eventually("the new MTU is seen", 10, || one.json("tunnel ls n")[0]["mtu"] == 1350);
        // The first may cross in fragments; then the path's MTU is known, and it is told (V13).
        eventually("what does not fit is answered", 15, || {
            let said = a.sh(&longest);
            said.code != 0 && (said.stdout + &said.stderr).contains("mtu")
        });
        a.ok(&format!("ping -n -c 2 -i 0.1 -W 2 -M do -s 1322 {}", b.ipv4("n")));
        let server = b.spawn("exec iperf3 -s -1");
        b.listens(5201);
        a.ok(&format!("iperf3 -t 1 -c {}", b.ipv4("n")));
        drop(server);
        assert!(one.container("c", "--network n").ok("ip link show eth0").contains("mtu 1350"));
    });
}

/// Every tenth packet of the underlay is lost: a file arrives whole nevertheless.
#[test]
fn a_lossy_underlay() {
    guard(|| {
        let (hosts, one, two) = Hosts::pair("");
        let (a, b) = on_each(&one, &two);
        a.pings(b.ipv4("n"));
        let relay = hosts.lose(10);
        let wanted = a.ok("mkdir -p /mnt/web; head -c 300000 /dev/urandom > /mnt/web/file; sha256sum < /mnt/web/file");
        a.ok("python3 -m http.server 80 --directory /mnt/web > /mnt/web.log 2>&1 &");
        a.listens(80);
        let fetched =
            b.ok(&format!("curl -sS --retry 5 --retry-all-errors -m 50 http://{}/file | sha256sum", a.ipv4("n")));
        assert_eq!(fetched, wanted);
        let said = relay.terminate().stdout;
        assert!(said.lines().filter(|line| *line == "lost").count() > 10, "the relay lost too little:\n{said}");
    });
}

/// vswitchd is killed and started again: the containers that ran on reach the other host, and everything is as it was.
#[test]
fn killed_and_restarted() {
    guard(|| {
        let (_hosts, one, two) = Hosts::pair("--opt vni=77");
        let (a, b) = on_each(&one, &two);
        let mac = b.endpoint("n").mac_address;
        one.ok(&format!("tunnel entry add n {mac} {} 10.77.0.2", b.ipv4("n")));
        a.pings(b.ipv4("n"));
        let entries = one.ok("tunnel entry ls n");
        one.crash();
        one.up();
        assert_eq!(one.ok("tunnel entry ls n"), entries);
        assert_eq!(one.json("tunnel ls n")[0]["vni"], 77);
        recovers(&a, &b);
        recovers(&b, &a);
    });
}
