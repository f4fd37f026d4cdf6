//! VLANs, and LLDP. Tagged frames are made by hand, since the kernel may have no 802.1Q; tcpdump reads the tags at the other end.

use crate::l2::Judge;
use vswitch_tests::{Container, Sniffer, Vswitch, eventually, frames, guard};

/// A frame to all behind these tags, the outer one first.
fn tagged(from: &Container<'_>, tags: &[u16], text: &str) -> Vec<u8> {
    let inside = [&0x88b5u16.to_be_bytes()[..], text.as_bytes()].concat();
    let body = tags.iter().rev().fold(inside, |inside, tci| [&[0x81, 0], &tci.to_be_bytes()[..], &inside].concat());
    let source = frames::mac(&from.endpoint("n").mac_address);
    frames::ethernet(frames::BROADCAST, source, u16::from_be_bytes([body[0], body[1]]), &body[2..])
}

/// Waits for a frame without a tag, which may be shorter than it was with one.
fn hears(ear: &Sniffer, frame: &[u8], text: &str) {
    eventually(&format!("{text:?} arrives"), 10, || ear.has_seen(&frame[..14 + text.len()]));
}

/// Access ports meet in their VLAN alone; trunks carry theirs with tags, the native one without; what is not theirs is dropped, also
/// behind a tag of the default VLAN; the gateway is in the default one. A change holds at once.
#[test]
fn access_and_trunk() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.8.0.0/24");
        let run = |name: &str, options: &str| vs.container(name, &format!("--network n {options}"));
        let (a, b) = (run("a", "--opt vlan=10"), run("b", "--opt vlan=10"));
        let (c, d) = (run("c", "--opt vlan=20"), run("d", ""));
        let trunk = run("trunk", "--opt vlan-trunk=10,20 --opt vlan=30");
        a.pings(b.ipv4("n"));
        a.cannot_ping(c.ipv4("n"));
        a.cannot_ping(d.ipv4("n"));
        a.cannot_ping("10.8.0.1");
        d.pings("10.8.0.1");
        let table = vs.json("fdb show n");
        let of_a = table.as_array().unwrap().iter().find(|one| one["endpoint"] == "a").unwrap();
        assert_eq!(of_a["vlan"], 10);

        let (at_trunk, at_a, at_c) = (Judge::at(&trunk), a.sniff(), c.sniff());
        a.sends(1, &[&tagged(&a, &[], "from ten")]);
        eventually("a's frame has its tag on the trunk", 10, || at_trunk.says().contains("vlan 10,"));
        trunk.sends(1, &[&tagged(&trunk, &[0x600a], "to ten")]);
        hears(&at_a, &tagged(&trunk, &[], "to ten"), "to ten");
        trunk.sends(1, &[&tagged(&trunk, &[20], "to twenty")]);
        hears(&at_c, &tagged(&trunk, &[], "to twenty"), "to twenty");
        assert!(!at_c.has_seen(b"to ten") && !at_a.has_seen(b"to twenty"));
        trunk.sends(2, &[&tagged(&trunk, &[40], "nobody's"), &tagged(&trunk, &[4095], "nobody's")]);
        d.sends(1, &[&tagged(&d, &[10], "hop"), &tagged(&d, &[1, 10], "hop")]);
        vs.expect_drops("trunk", "n", "vlan-filtered", 4);
        vs.expect_drops("d", "n", "vlan-filtered", 2);
        assert!(!at_a.has_seen(b"hop") && !at_a.has_seen(b"nobody's"));

        vs.ok("endpoint set c vlan=10");
        c.pings(a.ipv4("n"));
        vs.ok("endpoint set c vlan=30");
        trunk.pings(c.ipv4("n"));
        vs.crash();
        vs.up();
        a.pings(b.ipv4("n"));
        a.cannot_ping(d.ipv4("n"));
        vs.ok("create --name idle --network bridge -- true");
        for (line, text) in [
            ("endpoint set a vlan=4095", "write a VLAN id from 1 to 4094"),
            ("endpoint set a vlan=0", "write a VLAN id from 1 to 4094"),
            ("endpoint set trunk vlan=20", "VLAN 20 would have a tag"),
            ("endpoint set a vlan=none", "is for trunks"),
            ("endpoint set trunk vlan-tunnel=true", "leave one of them out"),
            ("network connect --opt vlan-trunk=20-10 n idle", "write VLAN ids"),
            ("network create bad --opt vlan=10", "is for one endpoint"),
        ] {
            vs.refuses(line, text);
        }
    });
}

/// What comes into a tunnel keeps its tags, behind that of the tunnel's VLAN on trunks.
#[test]
fn tags_in_tags() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.8.0.0/24");
        let run = |name: &str, options: &str| vs.container(name, &format!("--network n {options}"));
        let (one, two) =
            (run("one", "--opt vlan=100 --opt vlan-tunnel=true"), run("two", "--opt vlan=100 --opt vlan-tunnel=true"));
        let trunk = run("trunk", "--opt vlan-trunk=100 --opt vlan=none");
        let (at_two, at_trunk) = (Judge::at(&two), Judge::at(&trunk));
        one.sends(1, &[&tagged(&one, &[7], "customer")]);
        eventually("the far end of the tunnel gets the customer's tag", 10, || {
            let said = at_two.says();
            said.contains("vlan 7,") && !said.contains("vlan 100,")
        });
        eventually("the trunk carries both", 10, || {
            let said = at_trunk.says();
            said.contains("vlan 100,") && said.contains("vlan 7,")
        });
        one.pings(two.ipv4("n"));
        trunk.sends(1, &[&tagged(&trunk, &[], "no VLAN")]);
        vs.expect_drops("trunk", "n", "vlan-filtered", 1);
    });
}

/// Who announces itself by LLDP is shown, and its frames go no further.
#[test]
fn lldp() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.8.0.0/24");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let own = frames::mac(&a.endpoint("n").mac_address);
        let body = [&[2, 7, 4][..], &own, b"\x04\x05\x05swp1", &[6, 2, 0, 120], b"\x0a\x04leaf", &[0, 0]];
        let ear = b.sniff();
        let marker = frames::ethernet(frames::BROADCAST, own, 0x88b5, b"marker");
        a.sends(1, &[&frames::ethernet([1, 0x80, 0xc2, 0, 0, 0x0e], own, 0x88cc, &body.concat()), &marker]);
        ear.expect(&marker);
        assert!(!ear.has_seen(b"swp1"));
        eventually("the neighbour is known", 10, || !vs.json("lldp").as_array().unwrap().is_empty());
        let known = vs.json("lldp")[0].clone();
        assert_eq!(
            (&known["endpoint"], &known["system"], &known["port_id"]),
            (&"a".into(), &"leaf".into(), &"swp1".into())
        );
        assert_eq!(known["chassis"], a.endpoint("n").mac_address);
        assert!(vs.ok("lldp").contains("leaf"));
        vs.ok("rm -f a");
        eventually("it goes with its port", 10, || vs.json("lldp").as_array().unwrap().is_empty());
    });
}
