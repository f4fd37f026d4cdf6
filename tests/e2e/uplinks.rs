//! Several uplinks: two routers upstream, each with a way to the same address beyond, and a server there that says which way was taken.

use vswitch_tests::{Background, Container, Site, eventually, guard};

const WAN1: &str = "packet:up0,name=wan1,address=10.99.0.1/24,gateway=10.99.0.2";
const WAN2: &str = "packet:up1,name=wan2,address=10.97.0.1/24,gateway=10.97.0.2";

/// What both routers lead to.
const BEYOND: &str = "198.51.100.7";

/// A site with a second uplink, to `spare`.
struct Upstream {
    site: Site,
    _servers: [Background; 2],
}

impl Upstream {
    fn new() -> Upstream {
        let site = Site::without_daemon(&["--uplink", WAN1, "--uplink", WAN2], &[]);
        plug(&site);
        let servers = [(&site.outside, "wan1"), (&site.spare, "wan2")].map(|(router, name)| {
            router.ok(&format!(
                "ip addr add {BEYOND}/32 dev lo; mkdir -p /tmp/by-{name}; echo {name} > /tmp/by-{name}/page"
            ));
            router.serve(&format!("python3 -m http.server 8000 --directory /tmp/by-{name}"), 8000)
        });
        site.vs.up();
        Upstream { site, _servers: servers }
    }

    fn line(&self, uplink: &str) -> String {
        let stats = self.site.vs.ok("stats");
        stats.lines().find(|line| line.starts_with(&format!("Uplink: {uplink} "))).unwrap_or_default().to_owned()
    }
}

fn plug(site: &Site) {
    site.host.ok(&format!("ip link add up1 type veth peer name out1 netns {}; ip link set up1 up", site.spare.pid()));
    site.spare.ok("ip addr add 10.97.0.2/24 dev out1; ip link set out1 up");
}

/// By which uplink a container gets a page.
fn way(from: &Container<'_>) -> String {
    from.sh(&format!("curl -sS -m 2 http://{BEYOND}:8000/page")).stdout.trim().to_owned()
}

#[track_caller]
fn leaves_by(from: &Container<'_>, uplink: &str) {
    eventually(&format!("{} leaves by {uplink:?}", from.name()), 30, || way(from) == uplink);
}

/// Networks leave by the first uplink or by those that they name, with the address there, and are shown so; published ports are
/// reached by both.
#[test]
fn each_network_by_its_own() {
    guard(|| {
        let up = Upstream::new();
        let vs = &up.site.vs;
        vs.ok("network create second --subnet 10.201.2.0/24 --opt uplink=wan2,wan1");
        let a = vs.container("a", "");
        let b = up.site.web("b", "--network second -p 8080:80");
        assert_eq!((way(&a), way(&b)), ("wan1".to_owned(), "wan2".to_owned()));
        for (router, address) in [(&up.site.outside, "10.99.0.1"), (&up.site.spare, "10.97.0.1")] {
            assert!(
                router.ok(&format!("curl -sS -m 10 http://{address}:8080/page")).contains("page-of-b"),
                "{address}"
            );
        }
        let flows = vs.json("flows ls --network second");
        let sides = flows.as_array().unwrap().iter().map(|flow| flow["original"]["egress"].as_str().unwrap());
        assert!(sides.clone().any(|side| side == "(uplink wan2)"), "{flows}");
        assert_eq!(vs.json("network inspect second")[0]["Uplink"], "wan2");
        assert!(vs.ok("network graph second").contains("leaves by wan2"));
        assert!(up.line("wan1").contains("(up0) up, for bridge"), "{}", up.line("wan1"));
        assert!(up.line("wan2").contains("(up1) up, for second"), "{}", up.line("wan2"));
        vs.crash();
        vs.up();
        assert_eq!((way(&a), way(&b)), ("wan1".to_owned(), "wan2".to_owned()));
        for (line, text) in [
            ("network create x --opt uplink=wan3", "there is no uplink wan3; name one of wan1, wan2"),
            ("network create x --opt uplink=wan1,wan1", "write names of uplinks"),
            ("network create x --internal --opt uplink=wan1", "leave the option uplink out"),
            ("network create x --driver macvlan --opt parent=up0 --opt uplink=wan1", "uplink"),
        ] {
            vs.refuses(line, text);
        }
        up.site.finish();
    });
}

/// A network whose uplink has no carrier, whose router is silent or whose interface is gone leaves by the next one that it names, and
/// comes back; one that names no other waits.
#[test]
fn fail_over() {
    guard(|| {
        let up = Upstream::new();
        let Site { vs, outside, spare, host, .. } = &up.site;
        vs.ok("network create second --subnet 10.201.2.0/24 --opt uplink=wan2,wan1");
        vs.ok("network create only --subnet 10.201.3.0/24 --opt uplink=wan2");
        let (a, b, c) =
            (vs.container("a", ""), vs.container("b", "--network second"), vs.container("c", "--network only"));
        assert_eq!([way(&a), way(&b), way(&c)], ["wan1", "wan2", "wan2"]);
        let held = b.spawn(&format!(
            "python3 -c 'import socket;s=socket.create_connection((\"{BEYOND}\",8000));print(s.recv(9))'"
        ));
        let by = |uplink: &str| {
            let flows = vs.json("flows ls --network second --protocol tcp");
            let flows = flows.as_array().unwrap().clone();
            let of = |flow: &&serde_json::Value| flow["original"]["egress"] == format!("(uplink {uplink})");
            flows.iter().filter(of).filter(|flow| flow["state"] == "ESTABLISHED").count()
        };
        eventually("a connection is open", 10, || by("wan2") == 1);

        spare.ok("ip link set out1 down");
        leaves_by(&b, "wan1");
        assert_eq!((way(&a), way(&c)), ("wan1".to_owned(), String::new()));
        assert!(up.line("wan2").contains("(up1) down"), "{}", up.line("wan2"));
        assert_eq!(by("wan2"), 0, "what went by it has an address that is of no use elsewhere");
        drop(held);
        spare.ok("ip link set out1 up");
        leaves_by(&b, "wan2");
        leaves_by(&c, "wan2");

        outside.ok("ip addr del 10.99.0.2/24 dev out0");
        leaves_by(&a, "wan2");
        assert!(up.line("wan1").contains("a next router does not answer"), "{}", up.line("wan1"));
        outside.ok("ip addr add 10.99.0.2/24 dev out0");
        leaves_by(&a, "wan1");

        host.ok("ip link del up1");
        leaves_by(&b, "wan1");
        assert!(up.line("wan2").contains("(up1) lost"), "{}", up.line("wan2"));
        plug(&up.site);
        leaves_by(&b, "wan2");
        leaves_by(&c, "wan2");
        up.site.finish();
    });
}
