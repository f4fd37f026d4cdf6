//! Namespaces that exist already: the pipework case.

use vswitch_tests::{Holder, Vswitch, eventually, guard, guard::is_root, sh};

/// `attach --pid P --network br0 --ip 10.0.0.220/24@10.0.0.254`: interface, address and default route appear inside,
/// traffic flows, and detach undoes it all.
#[test]
fn pipework() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create br0 --subnet 10.0.0.0/24");
        let router = vs.container("router", "--network br0 --ip 10.0.0.254");
        let holder = Holder::usual();
        let name = vs.ok(&format!("attach --pid {} --network br0 --ip 10.0.0.220/24@10.0.0.254", holder.pid()));
        assert!(holder.sh("ip -o -4 addr show eth0").ok().contains("10.0.0.220/24"));
        assert!(holder.sh("ip -o link show eth0").ok().contains("UP"));
        assert!(holder.sh("ip route show default").ok().starts_with("default via 10.0.0.254 dev eth0"));
        holder.pings("10.0.0.254");
        holder.pings("10.0.0.1");
        router.pings("10.0.0.220");
        let shown = vs.json("endpoint ls").to_string();
        assert!(shown.contains("10.0.0.220/24") && shown.contains("10.0.0.254"), "{shown}");
        let member = vs.json("network inspect br0")[0]["Containers"].to_string();
        assert!(member.contains(name.trim()), "{member}");
        vs.refuses("network rm br0", "has active endpoints");
        vs.ok(&format!("detach {}", name.trim()));
        assert!(holder.sh("ip link show eth0").code != 0);
        assert_eq!(holder.sh("ip route show default").ok().trim(), "");
        router.cannot_ping("10.0.0.220");
        vs.refuses(&format!("detach {}", name.trim()), name.trim());
    });
}

/// `attach --netns PATH`, with a name, an interface name, IPv6 and a MAC address of one's own choice.
#[test]
fn by_path() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6 --subnet 10.1.0.0/24 --subnet fd00:1::/64");
        let peer = vs.container("peer", "--network n");
        let holder = Holder::usual();
        let path = if is_root() {
            sh(&format!("ip netns attach lab {}", holder.pid())).ok();
            "/run/netns/lab".to_owned()
        } else {
            format!("/proc/{}/ns/net", holder.pid())
        };
        let flags = "--name lab --interface lab0 --mac-address 02:42:00:00:00:99 --ip 10.1.0.99 --ip6 fd00:1::99";
        assert_eq!(vs.ok(&format!("attach --netns {path} --network n {flags}")).trim(), "lab");
        let link = holder.sh("ip -o link show lab0").ok();
        assert!(link.contains("02:42:00:00:00:99"), "{link}");
        holder.pings(peer.ipv4("n"));
        holder.pings(peer.ipv6("n"));
        peer.pings("fd00:1::99");
        vs.ok("detach lab");
        assert!(holder.sh("ip link show lab0").code != 0);
    });
}

/// A namespace that another user namespace of the same user owns can be attached too, as rootless containers are.
#[test]
fn of_another_user_namespace() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6");
        let peer = vs.container("peer", "--network n");
        let (one, two) = (Holder::new(true), Holder::new(true));
        vs.ok(&format!("attach --pid {} --network n --name one", one.pid()));
        vs.ok(&format!("attach --pid {} --network n --name two", two.pid()));
        one.pings(peer.ipv4("n"));
        peer.pings(peer.endpoint("n").ipv4_gateway.unwrap());
        let endpoints = vs.json("endpoint ls");
        let address = |name: &str| {
            let found = endpoints.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
            found["ipv4_address"].as_str().unwrap().split('/').next().unwrap().to_owned()
        };
        one.pings(address("two"));
        two.pings(address("one"));
        peer.pings(address("two"));
        vs.ok("detach one");
        assert!(one.sh("ip link show eth0").code != 0);
        two.pings(peer.ipv4("n"));
    });
}

/// One namespace on two networks, as a router between them would be.
#[test]
fn on_two_networks() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        vs.ok("network create blue");
        let (red, blue) = (vs.container("red", "--network red"), vs.container("blue", "--network blue"));
        let holder = Holder::usual();
        vs.ok(&format!("attach --pid {} --network red --name in-red", holder.pid()));
        vs.ok(&format!("attach --pid {} --network blue --name in-blue", holder.pid()));
        holder.pings(red.ipv4("red"));
        holder.pings(blue.ipv4("blue"));
        vs.ok("detach in-red");
        holder.pings(blue.ipv4("blue"));
    });
}

/// A namespace that vanishes is noticed, harms nobody, and its endpoint can be removed and its address used again.
#[test]
fn vanished() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.1.0.0/24");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let holder = Holder::usual();
        vs.ok(&format!("attach --pid {} --network n --name gone --ip 10.1.0.50", holder.pid()));
        a.pings("10.1.0.50");
        holder.terminate();
        eventually("the endpoint is lost or removed", 10, || {
            let endpoints = vs.json("endpoint ls");
            let found = endpoints.as_array().unwrap().iter().find(|one| one["name"] == "gone").cloned();
            found.is_none_or(|one| one["state"] == "lost")
        });
        a.pings(b.ipv4("n"));
        a.cannot_ping("10.1.0.50");
        if vs.json("endpoint ls").to_string().contains("gone") {
            vs.ok("detach gone");
        }
        let next = Holder::usual();
        vs.ok(&format!("attach --pid {} --network n --name gone --ip 10.1.0.50", next.pid()));
        a.pings("10.1.0.50");
    });
}

/// What cannot be attached is refused with a reason, and leaves nothing.
#[test]
fn refusals() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.1.0.0/24");
        let holder = Holder::usual();
        let pid = holder.pid();
        vs.refuses("attach --pid 99999999 --network n", "99999999");
        vs.refuses("attach --netns /run/netns/nothing --network n", "/run/netns/nothing");
        vs.refuses("attach --netns /etc/passwd --network n", "/etc/passwd");
        vs.refuses(&format!("attach --pid {pid} --network nowhere"), "network nowhere not found");
        vs.refuses(&format!("attach --pid {pid} --network n --ip 10.9.0.1"), "10.9.0.1");
        vs.refuses(&format!("attach --pid {pid} --network n --interface lo"), "lo");
        vs.refuses(&format!("attach --pid {pid} --network n --interface waytoolonginterface"), "waytoolonginterface");
        vs.ok(&format!("attach --pid {pid} --network n --name twice --interface eth7"));
        vs.refuses(&format!("attach --pid {pid} --network n --name twice"), "twice");
        vs.refuses(&format!("attach --pid {pid} --network n --name other --interface eth7"), "eth7");
        vs.words("attach --network n").exits(2);
        vs.words(&format!("attach --pid {pid} --netns /x --network n")).exits(2);
        assert_eq!(vs.json("endpoint ls").as_array().map(Vec::len), Some(1));
        assert_eq!(vs.endpoint_ports().len(), 1);
    });
}

/// `--resolv-conf FILE` names the network's gateways, of the families that the endpoint has; a file that cannot be written, or
/// an attachment that is refused, changes nothing.
#[test]
fn name_servers() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6 --subnet 10.1.0.0/24 --subnet fd00:1::/64");
        let db = vs.container("db", "--network n");
        let holder = Holder::usual();
        let pid = holder.pid();
        vs.refuses(&format!("attach --pid {pid} --network n --resolv-conf /proc/none/resolv.conf"), "--resolv-conf");
        vs.refuses(&format!("attach --pid {pid} --network missing --resolv-conf /tmp/etc/resolv.conf"), "missing");
        assert!(!std::path::Path::new("/tmp/etc/resolv.conf").exists());
        assert_eq!(vs.json("endpoint ls").as_array().map(Vec::len), Some(1));
        std::fs::create_dir_all("/tmp/etc").unwrap();
        std::fs::write("/tmp/etc/resolv.conf", "x".repeat(500)).unwrap();
        vs.ok(&format!("attach --pid {pid} --network n --name lab --resolv-conf /tmp/etc/resolv.conf"));
        let written = std::fs::read_to_string("/tmp/etc/resolv.conf").unwrap();
        let lines: Vec<_> = written.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, ["nameserver 10.1.0.1", "nameserver fd00:1::1", "options ndots:0"]);
        let server = lines[0].split(' ').nth(1).unwrap();
        let said = holder.sh(&format!("dig +short +tries=1 +time=6 @{server} db A")).ok();
        assert_eq!(said.trim(), db.ipv4("n").to_string());
        assert_eq!(vs.json("inspect lab")[0]["name_servers"][0], "10.1.0.1");
    });
}

/// A namespace that has a default route keeps it, and is told so; with --default-route everything goes by the network until
/// detach, or until vswitchd and its agent are gone, however they go.
#[test]
fn foreign_default_routes() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --ipv6 --subnet 10.1.0.0/24 --subnet fd00:1::/64");
        let holder = Holder::usual();
        let lines = [
            "ip link add up0 type veth peer name up1",
            "ip link set up1 up",
            "ip addr add 198.18.0.1/24 dev up0",
            "ip -6 addr add fd18::1/64 dev up0 nodad",
            "ip link set up0 up",
            "ip route add default via 198.18.0.2",
            "ip -6 route add default via fd18::2",
        ];
        holder.sh(&lines.join(" && ")).ok();
        let ways = || {
            let way = |target: &str| holder.sh(&format!("ip route get {target}")).ok().contains("dev up0");
            (way("192.0.2.1"), way("203.0.113.1"), way("2001:db8::1"), way("fd55::1"))
        };
        let (own, ours) = ((true, true, true, true), (false, false, false, false));
        let attach = |flags: &str| vs.words(&format!("attach --pid {} --network n --name x {flags}", holder.pid()));
        let said = attach("").exits(0);
        let told = &said.stderr;
        assert!(told.contains("IPv4 by 198.18.0.2 (up0)") && told.contains("IPv6 by fd18::2 (up0)"), "{told}");
        assert!(told.contains("--default-route"), "{told}");
        eventually("it is in the log", 5, || vs.log().contains("IPv4 by 198.18.0.2 (up0)"));
        assert_eq!(ways(), own);
        holder.pings("10.1.0.1");
        vs.ok("detach x");
        assert_eq!(ways(), own);
        assert_eq!(attach("--default-route").exits(0).stderr, "");
        assert_eq!(ways(), ours);
        vs.ok("detach x");
        assert_eq!(ways(), own);
        attach("--default-route").exits(0);
        vs.crash();
        vs.up();
        assert_eq!(ways(), ours);
        vs.ok("detach x");
        assert_eq!(ways(), own);
        attach("--default-route").exits(0);
        assert_eq!(vs.terminate(), 0);
        eventually("its own routes hold again", 10, || ways() == own);
    });
}

/// The host's own namespace is refused, whoever names it and however; only --force, by whoever may, attaches it.
#[test]
fn the_hosts_own_namespace() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n --subnet 10.1.0.0/24");
        let before = sh("ip addr; ip route").ok();
        vs.refuses(&format!("attach --pid {} --network n", std::process::id()), "is the host's own");
        // An ordinary user may not even look which one that is.
        let says = if is_root() { "is the host's own" } else { "belongs to somebody else" };
        vs.refuses("attach --netns /proc/1/ns/net --network n", says);
        assert_eq!(sh("ip addr; ip route").ok(), before);
        assert_eq!(vs.json("endpoint ls").as_array().map(Vec::len), Some(0));
        if is_root() {
            vs.ok(&format!("attach --pid {} --network n --name own --force", std::process::id()));
            assert!(sh("ip addr show eth0").ok().contains("10.1.0."));
            vs.ok("detach own");
            assert_eq!(sh("ip addr; ip route").ok(), before);
        }
    });
}
