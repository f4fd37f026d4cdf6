//! What ports may be asked beyond learning: isolation groups, secured addresses. The containers' own stacks are the judges.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::Value;
use vswitch_tests::{Background, Container, Vswitch, eventually, frames, guard, sh};

const STRANGER: [u8; 6] = [0x02, 0x42, 0x01, 0x02, 0x03, 0x04];
const STRANGER_TEXT: &str = "02:42:01:02:03:04";

/// Frames that arrive in a container, for tcpdump to read outside of it: where one seems to be root and is not, it cannot give that up.
pub(crate) struct Judge {
    _capture: Background,
    path: String,
}

impl Judge {
    pub(crate) fn at(container: &Container<'_>) -> Judge {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let path = format!("/mnt/judged{}.pcap", NUMBER.fetch_add(1, Relaxed));
        let capture = container.spawn(&format!("exec vswitch-probe eth0 capture {path}"));
        eventually("the capture begins", 15, || capture.output().starts_with("ready"));
        Judge { _capture: capture, path }
    }

    /// What tcpdump says of what has arrived until now.
    pub(crate) fn says(&self) -> String {
        sh(&format!("tcpdump -n -e -v -r {} 2> /dev/null", self.path)).stdout
    }
}

fn mac(container: &Container<'_>) -> [u8; 6] {
    frames::mac(&container.endpoint("n").mac_address)
}

/// The endpoint of a container, as `inspect` shows it.
fn inspect(container: &Container<'_>, vs: &Vswitch) -> Value {
    vs.json(&format!("inspect --type endpoint {}", container.endpoint("n").id))[0].clone()
}

/// Members of an isolation group reach the gateway and everybody but each other, by what `run`, the network and `endpoint set` say; a
/// change holds at once and over a restart.
#[test]
fn isolation_groups() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let a = vs.container("a", "--network n --opt isolation-group=tenants");
        let b = vs.container("b", "--network n --opt isolation-group=tenants");
        let c = vs.container("c", "--network n");
        c.pings(a.ipv4("n"));
        a.pings(c.ipv4("n"));
        b.pings("172.18.0.1");
        a.cannot_ping(b.ipv4("n"));
        assert!(vs.drops("a", "n", "no-receiver") + vs.drops("a", "n", "isolated") == 0, "c hears what b does not");
        vs.ok("endpoint set b isolation-group=");
        a.pings(b.ipv4("n"));
        vs.ok("endpoint set b --network n isolation-group=tenants");
        a.cannot_ping(b.ipv4("n"));
        assert!(vs.drops("a", "n", "isolated") > 0, "a knows b's MAC address by now");
        assert_eq!(inspect(&b, &vs)["options"]["isolation-group"], "tenants");
        let members = vs.json("network inspect n")[0]["Containers"].clone();
        let options = |one: &Container<'_>| {
            members[one.endpoint("n").container_id.unwrap()]["Options"]["isolation-group"].clone()
        };
        assert_eq!((options(&b), options(&c)), ("tenants".into(), Value::Null));
        assert_eq!(vs.ok("network graph n").matches("isolation-group=tenants").count(), 2);
        vs.crash();
        vs.up();
        a.cannot_ping(b.ipv4("n"));
        a.pings(c.ipv4("n"));
        vs.ok("network create all --opt isolation-group=everybody");
        let (d, e) = (vs.container("d", "--network all"), vs.container("e", "--network all"));
        d.cannot_ping(e.ipv4("all"));
        d.pings(vs.json("network inspect all")[0]["IPAM"]["Config"][0]["Gateway"].as_str().unwrap());
    });
}

/// A port that keeps addresses refuses a further one and names it; a static one belongs to its port before it speaks.
#[test]
fn secured_addresses() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --opt anti-spoof=false");
        let a = vs.container("a", "--network n --opt mac-sticky=true --opt mac-limit=1");
        let b = vs.container("b", &format!("--network n --opt mac-static={STRANGER_TEXT}"));
        let c = vs.container("c", "--network n");
        a.pings(c.ipv4("n"));
        a.sends(3, &[&frames::ethernet(frames::BROADCAST, [2, 0, 0, 0, 0, 9], 0x88b5, b"one more")]);
        vs.expect_drops("a", "n", "mac-violation", 3);
        let violation = inspect(&a, &vs)["violations"][0].clone();
        assert_eq!((&violation["mac_address"], &violation["frames"]), (&"02:00:00:00:00:09".into(), &3.into()));
        c.sends(2, &[&frames::ethernet(frames::BROADCAST, mac(&a), 0x88b5, b"usurper")]);
        vs.expect_drops("c", "n", "mac-violation", 2);
        assert!(vs.ok("fdb show n").contains("sticky"));
        let (at_b, at_c) = (b.sniff(), c.sniff());
        let frame = frames::ethernet(STRANGER, mac(&a), 0x88b5, b"to the static station");
        a.sends(1, &[&frame]);
        at_b.expect(&frame);
        assert_eq!(at_c.count(&frame), 0);
        c.sends(2, &[&frames::ethernet(frames::BROADCAST, STRANGER, 0x88b5, b"usurper")]);
        vs.expect_drops("c", "n", "static-entry", 2);
        a.pings(b.ipv4("n"));
        // What contradicts somebody, and what makes no sense, is refused in a sentence.
        vs.ok("create --name idle --network bridge -- true");
        let taken = c.endpoint("n").mac_address;
        for (line, text) in [
            (format!("endpoint set a mac-static={STRANGER_TEXT}"), "is an address of b on network n"),
            (format!("endpoint set a mac-static={taken}"), "is an address of c on network n"),
            (format!("network connect --mac-address {STRANGER_TEXT} n idle"), "is an address of b on network n"),
            ("endpoint set a mac-sticky=perhaps".into(), "write true or false"),
            ("endpoint set a mac-stiky=true".into(), "did you mean mac-sticky?"),
            ("endpoint set a mac-limit=0".into(), "at least 1"),
            ("endpoint set nobody mac-limit=1".into(), "nobody"),
            ("endpoint set a --network host mac-limit=1".into(), "is not connected"),
            ("network create bad --opt mac-static=02:00:00:00:00:01".into(), "is for one endpoint"),
            ("network create bad --opt isolation-grup=x".into(), "did you mean isolation-group?"),
            ("network connect --opt isolation-group=a+b n idle".into(), "failed to parse isolation-group"),
        ] {
            vs.refuses(&line, text);
        }
    });
}

/// Options of a network change while it is in use: for ports that are there and those to come, but not over what an endpoint says itself;
/// rates, storm control, isolation between all. They are shown, and hold over a restart.
#[test]
fn options_of_a_network_in_use() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.8.0.0/24 --opt anti-spoof=false --opt rate-in=5pps");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n --opt rate-in=100000pps"));
        let counted = |from: &Container<'_>, to: &Container<'_>, reason: &str| {
            let before = vs.drops(from.name(), "n", reason);
            let frame = frames::ethernet(mac(to), mac(from), 0x88b5, reason.as_bytes());
            let ear = to.sniff();
            from.sends(500, &[&frame]);
            let dropped = || vs.drops(from.name(), "n", reason) - before;
            eventually("all are passed or dropped", 15, || dropped() + ear.count(&frame) as u64 >= 500);
            dropped()
        };
        assert!(counted(&a, &b, "rate-in") > 300, "the network's rate");
        vs.ok("network update n --opt rate-in=100000pps --opt storm-broadcast=5pps");
        assert_eq!(counted(&a, &b, "rate-in"), 0, "at once");
        assert_eq!(inspect(&a, &vs)["options"]["rate-in"], "100000pps");
        vs.ok("endpoint set b rate-in=5pps");
        vs.ok("network update n --opt rate-in=");
        assert_eq!(counted(&a, &b, "rate-in"), 0);
        assert!(counted(&b, &a, "rate-in") > 300, "what the endpoint says itself stays");
        vs.ok("endpoint set b rate-in=");
        vs.ok("network update n -o com.docker.network.bridge.enable_icc=false");
        a.cannot_ping(b.ipv4("n"));
        vs.crash();
        vs.up();
        a.cannot_ping(b.ipv4("n"));
        let options = vs.json("network inspect n")[0]["Options"].clone();
        assert_eq!(options["storm-broadcast"], "5pps");
        assert_eq!(options.get("rate-in"), None);
        vs.ok("network update n -o icc=true");
        // Its stack may be about to give the address up.
        let there = format!("ping -c 1 -W 1 {}", b.ipv4("n"));
        eventually("they meet again", 15, || a.sh(&there).code == 0);
        for (line, text) in [
            ("network update n -o mtu=1400", "stays as the network was made; these change: icc, bpdus"),
            ("network update n -o rate-inn=5pps", "did you mean rate-in?"),
            ("network update n -o rate-in=fast", "write a rate"),
            ("network update n -o mcast-querier=true", "where the network snoops"),
            ("network update bridge -o icc=false", "as vswitchd's settings say"),
            ("network update n -o uplink=wan2", "names an interface, and this vswitchd has none"),
            ("network update nope -o icc=false", "network nope not found"),
        ] {
            vs.refuses(line, text);
        }
    });
}

/// A mirror gets what an endpoint sends and is sent, also after it was started again; rates hold in both directions.
#[test]
fn mirrors_and_rates() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.8.0.0/24 --opt anti-spoof=false");
        let monitor = vs.container("monitor", "--network n");
        let a = vs.container("a", "--network n --opt mirror-to=monitor");
        let b = vs.container("b", "--network n");
        let both = |said: &str| {
            let (a, b) = (a.ipv4("n"), b.ipv4("n"));
            said.contains(&format!("{a} > {b}: ICMP echo request"))
                && said.contains(&format!("{b} > {a}: ICMP echo reply"))
        };
        let seen = Judge::at(&monitor);
        a.pings(b.ipv4("n"));
        eventually("the mirror has seen both", 10, || both(&seen.says()));
        vs.ok("stop -t 0 monitor");
        a.pings(b.ipv4("n"));
        vs.ok("start monitor");
        let seen = Judge::at(&monitor);
        a.pings(b.ipv4("n"));
        eventually("the mirror has seen both again", 10, || both(&seen.says()));
        vs.ok("endpoint set a mirror-to=");

        vs.ok("endpoint set a rate-in=10pps rate-out=10pps");
        for (from, to, reason) in [(&a, &b, "rate-in"), (&b, &a, "rate-out")] {
            let frame = frames::ethernet(mac(to), mac(from), 0x88b5, reason.as_bytes());
            let ear = to.sniff();
            from.sends(2000, &[&frame]);
            eventually("all are counted as passed or dropped", 10, || {
                vs.drops("a", "n", reason) + ear.count(&frame) as u64 >= 2000
            });
            assert!(vs.drops("a", "n", reason) > 1000, "{reason}");
        }
        for (line, text) in [
            ("endpoint set a mirror-to=a", "cannot be a mirror of itself"),
            ("endpoint set a mirror=sideways", "write in, out or both"),
            ("endpoint set a rate-in=0mbit", "write a rate"),
        ] {
            vs.refuses(line, text);
        }
    });
}
