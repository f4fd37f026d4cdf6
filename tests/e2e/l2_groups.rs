//! Multicast snooping and storm control. Linux's own IGMP and MLD are the members, tcpdump and probes the judges.

use crate::l2::Judge;
use vswitch_tests::{Background, Container, Vswitch, eventually, frames, guard};

/// A station that has joined.
fn member(container: &Container<'_>, group: &str, port: u16) -> Background {
    std::fs::write("/mnt/member.py", include_str!("member.py")).unwrap();
    let member = container.spawn(&format!("exec python3 /mnt/member.py {group} {port}"));
    eventually("the group is joined", 10, || member.output().contains("joined"));
    member
}

/// Sends a datagram to a group.
fn tell(from: &Container<'_>, group: &str, port: u16, text: &str) {
    let send = format!(
        "import socket; s = socket.socket(socket.AF_INET6 if ':' in '{group}' else socket.AF_INET, socket.SOCK_DGRAM); \
         s.setsockopt(0 if s.family == socket.AF_INET else 41, 33 if s.family == socket.AF_INET else 18, 4); \
         s.sendto(b'{text}', ('{group}', {port}))"
    );
    from.ok(&format!("python3 -c \"{send}\""));
}

/// Tells the group until its member hears and `stranger` does not; then, and in between, nothing is known.
fn settles(from: &Container<'_>, to: (&str, &Background), stranger: &Container<'_>) {
    let (group, member) = to;
    let ear = stranger.sniff();
    let marked = frames::ethernet(frames::BROADCAST, frames::mac(&from.endpoint("n").mac_address), 0x88b5, b"marker");
    let mut round = 0;
    eventually("the group reaches its member alone", 30, || {
        round += 1;
        let text = format!("message {group} {round}");
        tell(from, group, 5000, &text);
        from.sends(1, &[&marked]);
        eventually("everybody heard what is for all", 10, || ear.count(&marked) >= round);
        eventually("the member heard it", 10, || member.output().contains(&text));
        !ear.has_seen(text.as_bytes())
    });
}

/// A group goes to who joined it and nobody else, in both families; it ends with the membership, at once with fast leave; a port that
/// leads to routers gets everything; what is of the link itself goes to all.
#[test]
fn snooping() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6 --subnet 10.8.0.0/24 --subnet fd08::/64 --opt mcast-snooping=true");
        let from = vs.container("from", "--network n");
        let a = vs.container("a", "--network n --opt mcast-fast-leave=true");
        let stranger = vs.container("stranger", "--network n");
        let router = vs.container("router", "--network n --opt mcast-router=always");
        let (four, six) = (member(&a, "239.1.2.3", 5000), member(&a, "ff15::7", 5000));
        eventually("both memberships are known", 10, || {
            let groups = vs.ok("mdb show n");
            groups.contains("239.1.2.3") && groups.contains("ff15::7")
        });
        let at_router = router.sniff();
        settles(&from, ("239.1.2.3", &four), &stranger);
        settles(&from, ("ff15::7", &six), &stranger);
        assert!(at_router.has_seen(b"message 239.1.2.3") && at_router.has_seen(b"message ff15::7"));
        let groups = vs.json("mdb show n");
        let known = groups.as_array().unwrap().iter().find(|one| one["group"] == "239.1.2.3").unwrap();
        assert_eq!(known["endpoint"], "a");
        tell(&from, "239.1.2.3", 5000, "leave");
        eventually("the membership ends with its leave", 10, || !vs.ok("mdb show n").contains("239.1.2.3"));
        vs.ok("endpoint set router mcast-router=");
        let before = vs.drops("from", "n", "no-member");
        eventually("what nobody wants goes nowhere", 15, || {
            tell(&from, "239.1.2.3", 5000, "nobody is there");
            vs.drops("from", "n", "no-member") > before
        });
        let ear = Judge::at(&stranger);
        tell(&from, "224.0.0.199", 5001, "for the link");
        eventually("a group of the link itself goes to all", 10, || ear.says().contains("> 224.0.0.199.5001"));
        vs.ok("network create plain");
        for (line, text) in [
            ("mdb show plain", "floods what is for groups"),
            ("network create bad --opt mcast-querier=true", "add --opt mcast-snooping=true"),
            ("endpoint set a mcast-router=perhaps", "write auto, always or never"),
        ] {
            vs.refuses(line, text);
        }
    });
}

/// The switch asks, so that who was a member before vswitchd came is known again, and who else wants what somebody leaves.
#[test]
fn querier() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.8.0.0/24 --opt mcast-snooping=true");
        let a = vs.container("a", "--network n");
        // Not by an exec, which would end with vswitchd.
        std::fs::write("/mnt/member.py", include_str!("member.py")).unwrap();
        let run = "echo $$ > /mnt/member.pid; exec python3 /mnt/member.py 239.1.2.3 5000";
        a.ok(&format!("setsid sh -c '{run}' > /dev/null 2>&1 < /dev/null &"));
        eventually("the membership is known", 10, || vs.ok("mdb show n").contains("239.1.2.3"));
        vs.crash();
        vs.up();
        eventually("the membership is known again", 20, || vs.ok("mdb show n").contains("239.1.2.3"));
        let ear = Judge::at(&a);
        a.ok("kill $(cat /mnt/member.pid)");
        eventually("others are asked whether they want it", 15, || {
            ear.says().contains("10.8.0.1 > 239.1.2.3: igmp query v3")
        });
        assert!(!ear.says().contains("bad igmp cksum"), "{}", ear.says());
        eventually("nobody does", 15, || !vs.ok("mdb show n").contains("239.1.2.3"));
    });
}

/// Of broadcasts, multicasts and what is for unknown stations so many pass as the port may send, of each apart; others' pass.
#[test]
fn storm_control() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --opt anti-spoof=false --opt storm-unknown=20pps");
        let a = vs.container("a", "--network n --opt storm-broadcast=10pps --opt storm-multicast=10pps");
        let b = vs.container("b", "--network n");
        let own = frames::mac(&a.endpoint("n").mac_address);
        let ear = b.sniff();
        for (to, reason) in [
            (frames::BROADCAST, "storm-broadcast"),
            ([1, 0, 0x5e, 1, 2, 3], "storm-multicast"),
            ([2, 0, 0, 0, 0, 9], "storm-unknown"),
        ] {
            let frame = frames::ethernet(to, own, 0x88b5, reason.as_bytes());
            a.sends(2000, &[&frame]);
            eventually(&format!("all are counted as passed or {reason}"), 10, || {
                vs.drops("a", "n", reason) + ear.count(&frame) as u64 >= 2000
            });
            assert!(ear.count(&frame) > 0 && vs.drops("a", "n", reason) > 1000, "{reason}");
        }
        vs.ok("endpoint set a storm-broadcast=");
        let free = frames::ethernet(frames::BROADCAST, own, 0x88b5, b"free again");
        a.sends(200, &[&free]);
        eventually("all of them arrive", 10, || ear.count(&free) >= 200);
        b.pings(a.ipv4("n"));
        for (line, text) in [
            ("endpoint set a storm-broadcast=0pps", "write a rate"),
            ("endpoint set a storm-unknown=fast", "write a rate"),
            ("network create bad --opt storm-multicast=10", "write a rate"),
        ] {
            vs.refuses(line, text);
        }
    });
}
