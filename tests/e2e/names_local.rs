//! Names of containers, as their own programs look them up: getent by the C library, dig by the wire.

use vswitch_tests::{Container, Vswitch, eventually, guard};

/// What the C library finds first, or nothing.
fn getent(container: &Container<'_>, database: &str, name: &str) -> String {
    let said = container.sh(&format!("getent {database} {name}")).stdout;
    said.split_whitespace().next().unwrap_or_default().to_owned()
}

/// What the name server says, sorted.
fn dig(container: &Container<'_>, question: &str) -> Vec<String> {
    let said = container.ok(&format!("dig +short +tries=1 +time=4 {question}"));
    let mut all: Vec<_> = said.lines().map(str::to_owned).collect();
    all.sort();
    all
}

/// The status of a reply.
fn status(container: &Container<'_>, question: &str) -> String {
    let said = container.ok(&format!("dig +tries=1 +time=4 {question}"));
    let status =
        said.split_once("status: ").and_then(|(_, rest)| rest.split_once(',')).map(|(word, _)| word.to_owned());
    status.unwrap_or_else(|| panic!("no status in {said}"))
}

/// Name, short id, hostname and every alias lead to a container's addresses of both families, over UDP and TCP, bare and
/// with the network's name; its addresses lead back to it.
#[test]
fn all_names_of_a_container() {
    guard(|| {
        // Without a way out nobody else is asked, and unknown names are answered at once.
        let vs = Vswitch::with(&["--uplink", "none"]);
        vs.ok("network create --ipv6 red");
        let web = vs.container("web", "--network red --hostname Box --network-alias front --network-alias www.shop");
        let a = vs.container("a", "--network red");
        let (ipv4, ipv6) = (web.ipv4("red").to_string(), web.ipv6("red").to_string());
        let id = web.details().id[..12].to_owned();
        for name in ["web", "WEB", &id, "box", "front", "www.shop"] {
            assert_eq!(getent(&a, "ahostsv4", name), ipv4, "{name}");
            assert_eq!(getent(&a, "ahostsv6", name), ipv6, "{name}");
            assert_eq!(dig(&a, &format!("{name}.red A")), std::slice::from_ref(&ipv4));
            assert_eq!(dig(&a, &format!("+tcp {name} AAAA")), std::slice::from_ref(&ipv6));
        }
        for address in [&ipv4, &ipv6] {
            assert_eq!(dig(&a, &format!("-x {address}")), ["web.red."]);
            assert_eq!(a.ok(&format!("getent hosts {address}")).split_whitespace().last(), Some("web.red"));
        }
        // A name that exists has no other data, and that is no error; an address of nobody has no name.
        assert_eq!((status(&a, "web MX").as_str(), dig(&a, "web MX").len()), ("NOERROR", 0));
        assert_eq!(status(&a, "-x 172.18.0.99"), "NXDOMAIN");
        // Without a way out others cannot be asked, and that is said at once.
        assert_eq!(status(&a, "example.org A"), "SERVFAIL");
        // Whoever shares the namespace shares the names; it has names of its own, too.
        let guest = vs.container("guest", "--network container:web");
        assert_eq!(getent(&guest, "ahostsv4", "a"), a.ipv4("red").to_string());
        assert_eq!(getent(&web, "ahostsv4", "web"), ipv4);
        let stats = vs.stats().dns;
        assert!(stats.answered > 20 && stats.missing == 1 && stats.unanswered > 0, "{stats:?}");
        assert!(vs.ok("stats").contains("Names: "));
    });
}

/// Containers of one network never see names of another; connect, disconnect, stop and start are seen at once.
#[test]
fn names_follow_connections() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        vs.ok("network create blue");
        let (a, b) = (vs.container("a", "--network red"), vs.container("b", "--network blue"));
        assert_eq!((getent(&a, "hosts", "b"), getent(&a, "hosts", "b.blue")), Default::default());
        vs.ok("network connect --alias other red b");
        for name in ["b", "other", "b.red"] {
            assert_eq!(getent(&a, "hosts", name), b.ipv4("red").to_string());
        }
        assert_eq!(getent(&a, "hosts", "b.blue"), "", "a is not on blue");
        // b is on both and may choose.
        vs.ok("network connect blue a");
        assert_eq!(getent(&b, "hosts", "a.red"), a.ipv4("red").to_string());
        assert_eq!(getent(&b, "hosts", "a.blue"), a.ipv4("blue").to_string());
        vs.ok("network disconnect red b");
        assert_eq!(getent(&a, "hosts", "b"), b.ipv4("blue").to_string());
        assert_eq!(getent(&a, "hosts", "other"), "");
        vs.ok("stop -t 0 b");
        assert_eq!(getent(&a, "hosts", "b"), "");
        vs.ok("start b");
        assert_eq!(getent(&a, "hosts", "b"), b.ipv4("blue").to_string());
        vs.ok("rm -f b");
        assert_eq!(getent(&a, "hosts", "b"), "");
    });
}

/// An alias that several containers have leads to all of them, in every order, and follows them.
#[test]
fn shared_aliases_rotate() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        let members: Vec<_> =
            ["x", "y", "z"].map(|name| vs.container(name, "--network red --network-alias pool")).into();
        let a = vs.container("a", "--network red");
        let mut wanted: Vec<_> = members.iter().map(|one| one.ipv4("red").to_string()).collect();
        wanted.sort();
        assert_eq!(dig(&a, "pool A"), wanted);
        let said = a.ok("for n in $(seq 40); do dig +short pool A | head -1; done");
        assert!(wanted.iter().all(|address| said.lines().any(|line| line == address)), "{said}");
        vs.ok("rm -f y");
        assert_eq!(dig(&a, "pool A").len(), 2);
    });
}

/// A new name holds at once, the old one no more; links and files follow; bad new names are refused.
#[test]
fn renaming() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        let (web, a) = (vs.container("web", "--network red"), vs.container("a", "--network red --link web:w"));
        let address = web.ipv4("red").to_string();
        vs.ok("rename web shop");
        assert_eq!((getent(&a, "hosts", "shop"), getent(&a, "hosts", "web")), (address.clone(), String::new()));
        assert_eq!(getent(&a, "hosts", "w"), address);
        assert_eq!(dig(&a, &format!("-x {address}")), ["shop.red."]);
        let shop = Container::new(&vs, "shop");
        assert!(shop.ok("cat /etc/hosts").contains(" shop\n"));
        assert_eq!(vs.stats().ports.iter().filter(|port| port.endpoint == "shop").count(), 1);
        vs.refuses("rename shop a", "already in use by container");
        vs.refuses("rename shop shop", "the same name as its current name");
        vs.refuses("rename shop x/y", "only [a-zA-Z0-9]");
        vs.refuses("rename nobody x", "no such container");
        assert_eq!(getent(&a, "hosts", "shop"), address);
    });
}

/// After a crash of vswitchd, and after a stop that leaves containers running, names are answered again.
#[test]
fn answers_again_after_a_restart() {
    guard(|| {
        let vs = Vswitch::with(&["--live-restore"]);
        vs.ok("network create red");
        let (web, a) = (vs.container("web", "--network red"), vs.container("a", "--network red"));
        let address = web.ipv4("red").to_string();
        vs.crash();
        vs.up();
        assert_eq!(getent(&a, "hosts", "web"), address);
        assert_eq!(vs.terminate(), 0);
        vs.up();
        assert_eq!(getent(&a, "hosts", "web"), address);
        vs.ok("rename web shop");
        assert_eq!(getent(&a, "hosts", "shop"), address);
    });
}

/// Attached namespaces have a name and aliases for the containers of their network.
#[test]
fn attached_namespaces_have_names() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        let a = vs.container("a", "--network red");
        let holder = vs.container("holder", "--network none");
        vs.ok(&format!("attach --pid {} --network red --name guest --alias visitor", holder.pid()));
        for name in ["guest", "visitor.red"] {
            let address = getent(&a, "hosts", name);
            assert!(address.starts_with("172.18.0."), "{name}: {address}");
        }
        vs.ok("detach guest");
        assert_eq!(getent(&a, "hosts", "guest"), "");
    });
}

/// The default network has no names. A container that joins a custom one knows that one's at once, and keeps working when
/// it leaves.
#[test]
fn the_default_network_has_none() {
    guard(|| {
        let vs = Vswitch::start();
        let (a, b) = (vs.container("a", ""), vs.container("b", ""));
        assert!(a.ok("cat /etc/resolv.conf").contains("nameserver 172.19.0.53"));
        assert_eq!(a.sh("dig +tries=1 +time=1 @127.0.0.11 b").code, 9, "there is no server");
        vs.ok("network create red");
        vs.ok("network connect red a");
        vs.ok("network connect red b");
        assert!(a.ok("cat /etc/resolv.conf").contains("nameserver 127.0.0.11"));
        assert_eq!(getent(&a, "hosts", "b"), b.ipv4("red").to_string());
        assert!(a.ok("cat /etc/hosts").contains(&a.ipv4("red").to_string()));
        let address = a.ipv4("red").to_string();
        vs.ok("network disconnect red a");
        assert!(a.ok("cat /etc/resolv.conf").contains("nameserver 172.19.0.53"));
        assert!(!a.ok("cat /etc/hosts").contains(&address));
    });
}

/// A container that runs a name server of its own does so beside ours, if it shares the port as name servers do.
#[test]
fn beside_a_server_of_its_own() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        let own = vs.container("own", "--network red");
        let a = vs.container("a", "--network red");
        std::fs::write("/mnt/dns_server.py", include_str!("dns_server.py")).unwrap();
        let server = own.spawn(&format!("exec python3 /mnt/dns_server.py {} 192.0.2.7", own.ipv4("red")));
        eventually("the server is ready", 20, || server.output().contains("ready"));
        assert_eq!(dig(&a, &format!("@{} example.org A", own.ipv4("red"))), ["192.0.2.7"]);
        assert_eq!(dig(&own, "-q a A"), [a.ipv4("red").to_string()]);
    });
}
