//! What ports may be asked beyond learning: isolation groups, secured addresses. The containers' own stacks are the judges.

use serde_json::Value;
use vswitch_tests::{Container, Vswitch, frames, guard};

const STRANGER: [u8; 6] = [0x02, 0x42, 0x01, 0x02, 0x03, 0x04];
const STRANGER_TEXT: &str = "02:42:01:02:03:04";

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
        let taken = c.endpoint("n").mac_address;
        for (line, text) in [
            (format!("endpoint set a mac-static={STRANGER_TEXT}"), "is an address of b on network n"),
            (format!("endpoint set a mac-static={taken}"), "is an address of c on network n"),
            (format!("create --network n --mac-address {STRANGER_TEXT} -- true"), "is an address of b on network n"),
            ("endpoint set a mac-sticky=perhaps".into(), "write true or false"),
            ("endpoint set a mac-stiky=true".into(), "did you mean mac-sticky?"),
            ("endpoint set a mac-limit=0".into(), "at least 1"),
            ("endpoint set nobody mac-limit=1".into(), "nobody"),
            ("endpoint set a --network host mac-limit=1".into(), "is not connected"),
            ("network create bad --opt mac-static=02:00:00:00:00:01".into(), "is for one endpoint"),
            ("network create bad --opt isolation-grup=x".into(), "did you mean isolation-group?"),
            ("create --network n --opt isolation-group=a+b -- true".into(), "failed to parse isolation-group"),
        ] {
            vs.refuses(&line, text);
        }
    });
}
