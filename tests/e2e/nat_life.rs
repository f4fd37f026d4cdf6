//! What happens to connections through the uplink when vswitchd, or the uplink, goes and comes back.

use std::time::Duration;

use vswitch_tests::{Background, Site, eventually, guard, run, site::UPLINK, site::fetch, until};

/// An echo server on port 7, and a client that talks to it ten times a second and says how often it was answered.
const SERVER: &str = "python3 -c 'import socketserver as s\n\
    class H(s.StreamRequestHandler):\n  def handle(self):\n    for l in self.rfile: self.wfile.write(l)\n\
    s.TCPServer.address_family=10\ns.ThreadingTCPServer((\"::\",7),H).serve_forever()'";

fn client(target: &str) -> String {
    format!(
        "python3 -u -c 'import socket,time\nx=socket.create_connection((\"{target}\",7),5);x.settimeout(20);n=0\n\
         while True:\n x.sendall(b\"hi\\n\");n+=len(x.recv(9));print(n);time.sleep(0.1)'"
    )
}

fn goes_on(what: &str, mut client: Background) {
    let before = client.output().lines().count();
    eventually(what, 20, || client.output().lines().count() > before + 10);
    assert!(client.running(), "{what}: {}", client.output());
}

/// Established connections, out and in through a published port, go on after kill -9 of vswitchd; the rules and ports are
/// as before, and the flows are the old ones.
#[test]
fn crash_with_live_flows() {
    guard(|| {
        let site = Site::start();
        let _server = site.outside.serve(SERVER, 7);
        let a = site.vs.container("a", "-p 7000:7 -p 80");
        a.ok(&format!("{SERVER} > /dev/null 2>&1 &"));
        a.listens(7);
        // Started apart from the daemon, whose end would otherwise be the end of `exec`.
        a.ok(&format!("({}) > /mnt/out-client 2>&1 &", client("10.99.0.2")));
        let inward = site.outside.spawn(&client("10.99.0.1").replace(",7),5)", ",7000),5)"));
        let outward = || std::fs::read_to_string("/mnt/out-client").unwrap_or_default().lines().count();
        eventually("both connections talk", 10, || outward() > 5 && inward.output().lines().count() > 5);
        let journal = site.vs.state_dir().join("flows.jsonl");
        eventually("the flows are written down", 10, || {
            std::fs::read_to_string(&journal)
                .is_ok_and(|text| text.matches("established").count() >= 2 || text.matches("ESTABLISHED").count() >= 2)
        });
        let (ports, automatic) = (site.vs.ok("port a"), site.vs.ok("port a 80"));
        site.vs.crash();
        std::thread::sleep(Duration::from_millis(700));
        site.vs.up();
        assert_eq!((site.vs.ok("port a"), site.vs.ok("port a 80")), (ports, automatic));
        let before = outward();
        eventually("the connection out goes on", 20, || outward() > before + 10);
        goes_on("the connection in goes on", inward);
        let log = site.vs.log();
        assert!(log.contains("flows go on restored=2"), "{log}");
        let kinds = site.vs.json("flows ls --protocol tcp");
        let mut kinds: Vec<_> = kinds.as_array().unwrap().iter().map(|flow| flow["kind"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["masquerade", "publish"]);
        // The old lease holds, so that nobody else gets the port.
        site.vs.words("run --rm -p 7000:7 -- true").exits(125).says("already allocated");
        site.finish();
    });
}

/// A damaged journal of flows is a warning, and vswitchd starts.
#[test]
fn damaged_journal() {
    guard(|| {
        let site = Site::start();
        let a = site.vs.container("a", "");
        a.pings("10.99.0.2");
        let journal = site.vs.state_dir().join("flows.jsonl");
        until("the flows are written down", 10, || journal.exists().then_some(()));
        for garbage in [&b""[..], b"\xff\x00garbage", b"{\"vswitch_flows\":1}\n", b"[]\n[]\n"] {
            site.vs.crash();
            std::fs::write(&journal, garbage).unwrap();
            site.vs.up();
            a.pings("10.99.0.2");
        }
        assert!(site.vs.log().contains("cannot be used"), "{}", site.vs.log());
        site.finish();
    });
}

/// The uplink's interface vanishes and comes back: it is counted, logged, and used again; the connection goes on.
#[test]
fn vanish_and_return() {
    guard(|| {
        let site = Site::start();
        let _server = site.outside.serve(SERVER, 7);
        let a = site.vs.container("a", "");
        let running = a.spawn(&client("10.99.0.2"));
        eventually("the connection talks", 10, || running.output().lines().count() > 3);
        for round in 1..=2 {
            site.unplug();
            eventually("the loss is counted", 10, || {
                let uplink = site.router().uplink.unwrap();
                !uplink.up && uplink.lost == round
            });
            assert!(site.vs.ok("stats").contains("Uplink: up0 lost"));
            a.cannot_ping("10.99.0.2");
            a.pings("172.17.0.1");
            site.plug();
            eventually("the return is counted", 10, || {
                let uplink = site.router().uplink.unwrap();
                uplink.up && uplink.recovered == round
            });
            a.pings("10.99.0.2");
        }
        goes_on("the connection goes on", running);
        let log = site.vs.log();
        assert!(log.contains("interface vanished") && log.contains("interface is back"), "{log}");
        assert!(site.vs.ok("stats").contains("Uplink: up0 up, vanished 2 times, back 2 times"));
    });
}

/// Networks come and go while connections through the uplink run: rules change, flows stay.
#[test]
fn rules_change_under_traffic() {
    guard(|| {
        let site = Site::start();
        let _server = site.outside.serve(SERVER, 7);
        let a = site.vs.container("a", "");
        let running = a.spawn(&client("10.99.0.2"));
        eventually("the connection talks", 10, || running.output().lines().count() > 3);
        for round in 0..5 {
            site.vs.ok(&format!("network create n{round}"));
            site.vs.ok(&format!("run --rm --network n{round} -p 90{round}0:80 -- true"));
            site.vs.ok(&format!("network rm n{round}"));
        }
        goes_on("the connection goes on", running);
        let b = site.vs.container("b", "");
        b.pings("10.99.0.2");
        site.finish();
    });
}

/// With --live-restore a stop and a start in order keep connections, too.
#[test]
fn live_restore() {
    guard(|| {
        let site = Site::with(&["--uplink", UPLINK, "--live-restore"], &[]);
        let web = site.web("web", "-p 8080:80");
        let a = site.vs.container("a", "");
        a.pings("10.99.0.2");
        assert_eq!(site.vs.terminate(), 0);
        site.vs.up();
        assert_eq!(fetch(site.outside.sh("curl -sS -m 10 http://10.99.0.1:8080/page")), "page-of-web");
        web.pings("10.99.0.2");
        site.finish();
    });
}

/// An agent that outlived its vswitchd opens no other interface than the one that it was started for; with it gone,
/// another uplink is fine.
#[test]
fn another_uplink_for_an_old_agent() {
    guard(|| {
        let site = Site::start();
        site.host.ok("ip link add up1 type veth peer name out1");
        let a = site.vs.container("a", "");
        a.pings("10.99.0.2");
        site.vs.crash();
        let other = |uplink: &str| {
            let daemon = site.vs.daemon_command();
            let args = daemon.get_args().map(|arg| arg.to_string_lossy().replace(UPLINK, uplink));
            run(std::process::Command::new(daemon.get_program()).args(args))
        };
        other("packet:up1,address=10.97.0.1/24").exits(1).says("was not started for the uplink's interface up1");
        site.vs.up();
        a.pings("10.99.0.2");
        site.finish();
    });
}

/// A stream at speed goes on, too, when vswitchd is killed in its middle.
#[test]
fn crash_under_load() {
    guard(|| {
        let site = Site::start();
        let server = site.outside.serve("iperf3 -s -1", 5201);
        let a = site.vs.container("a", "");
        a.ok("(iperf3 -J -c 10.99.0.2 -t 6 -b 300M > /mnt/iperf 2>&1; echo status $? >> /mnt/iperf) &");
        eventually("the stream is at speed", 20, || site.vs.port("a", "bridge").in_bytes > 30_000_000);
        site.vs.crash();
        std::thread::sleep(Duration::from_millis(300));
        site.vs.up();
        let report = || std::fs::read_to_string("/mnt/iperf").unwrap_or_default();
        eventually("the stream ends", 30, || report().contains("status"));
        assert!(report().contains("status 0"), "{}", report());
        server.wait(Duration::from_secs(10)).ok();
        let report: serde_json::Value = serde_json::from_str(report().split("status").next().unwrap()).unwrap();
        let last = report["intervals"].as_array().unwrap().last().unwrap();
        let speed = last["sum"]["bits_per_second"].as_f64().unwrap();
        assert!(speed > 1e8, "the stream has not recovered: {speed} bit/s");
        site.finish();
    });
}

/// An interface that goes down and up again is no loss.
#[test]
fn link_down_and_up() {
    guard(|| {
        let site = Site::start();
        let a = site.vs.container("a", "");
        a.pings("10.99.0.2");
        for _ in 0..3 {
            site.host.ok("ip link set up0 down");
            a.cannot_ping("10.99.0.2");
            site.host.ok("ip link set up0 up");
            eventually("traffic flows again", 10, || a.sh("ping -n -c 1 -W 1 10.99.0.2").code == 0);
        }
        let uplink = site.router().uplink.unwrap();
        assert!(uplink.up && uplink.lost == 0, "{uplink:?}");
        site.finish();
    });
}

/// An uplink whose interface is switched off, or has lost its carrier, says so; nothing is lost by that.
#[test]
fn down_and_up() {
    guard(|| {
        let site = Site::start();
        let up = || site.router().uplink.unwrap().up;
        assert!(up());
        site.host.ok("ip link set up0 down");
        assert!(!up());
        assert!(site.vs.ok("stats").contains("Uplink: up0 down"));
        site.host.ok("ip link set up0 up");
        eventually("the uplink carries again", 10, up);
        assert_eq!(site.router().uplink.unwrap().lost, 0);
        site.vs.container("a", "").pings("10.99.0.2");
    });
}
