//! Networks joined on purpose (`network peer`): redis and ping across, everything else as before.

use vswitch_tests::site::fetch;
use vswitch_tests::{OpenConnection, Site, Vswitch, guard};

fn two_networks(vs: &Vswitch) {
    vs.ok("network create --subnet 10.201.1.0/24 --ipv6 --subnet fd71::/64 shop");
    vs.ok("network create --subnet 10.201.2.0/24 --ipv6 --subnet fd72::/64 db");
}

/// A shop's network and a database's: redis is reached with the client's own address, over both families, and nothing else is.
/// It is shown everywhere, is counted both ways, outlives a crash, and goes with either network.
#[test]
fn redis_across() {
    guard(|| {
        let vs = Vswitch::start();
        two_networks(&vs);
        let web = vs.container("web", "--network shop");
        let redis = vs.container("redis", "--network db --ip 10.201.2.9 --ip6 fd72::9");
        redis.ok("redis-server --daemonize yes --dir /tmp --bind '*' -::* --protected-mode no --save ''");
        redis.listens(6379);
        let ask = |host: &str, words: &str| web.sh(&format!("timeout 3 redis-cli -h {host} {words}"));
        assert_ne!(ask("10.201.2.9", "ping").code, 0, "networks are isolated until they are joined");
        vs.ok("network peer --allow tcp/6379 shop db");
        for (host, client) in
            [("10.201.2.9", web.ipv4("shop").to_string()), ("fd72::9", format!("[{}]", web.ipv6("shop")))]
        {
            let clients = ask(host, "client list").ok();
            assert!(clients.contains(&format!(" addr={client}:")), "the server sees the client: {clients}");
        }
        web.cannot_ping("10.201.2.9");
        web.serves_page();
        assert!(redis.sh(&format!("curl -sS -m 2 http://{}/page", web.ipv4("shop"))).code != 0, "not allowed");
        // By name, too, with the network's behind it; a name alone is one of the own network.
        let hosts = |name: &str| web.sh(&format!("getent ahosts {name}")).stdout;
        let known = hosts("redis.db");
        assert!(known.contains("10.201.2.9 ") && known.contains("fd72::9 "), "{known}");
        assert_eq!(hosts("redis"), "");
        assert_eq!(ask("redis.db", "ping").ok().trim(), "PONG");
        assert!(web.ok("getent hosts 10.201.2.9").contains("redis.db"));
        assert!(redis.ok("getent hosts web.shop").contains(&web.ipv6("shop").to_string()));
        let stranger = vs.container("stranger", "");
        assert_ne!(stranger.sh("getent hosts redis.db").code, 0, "the default network is joined with nobody");
        let at_gateway = web.ok("dig +short @10.201.1.1 redis.db A");
        assert_eq!(at_gateway.trim(), "10.201.2.9", "the gateway says the same");
        let shown = vs.json("network inspect db");
        assert_eq!(shown[0]["Peerings"], serde_json::json!([{"Network": "shop", "Allow": ["tcp/6379"]}]));
        for (format, line) in [
            ("", "joined with db: tcp/6379"),
            ("--format dot", "label=\"tcp/6379\", style=bold"),
            ("--format mermaid", "===|\"tcp/6379\"|"),
        ] {
            let drawing = vs.ok(&format!("network graph {format}"));
            assert!(drawing.contains(line), "{line}: {drawing}");
        }
        let ways = vs.stats().router.unwrap().peerings;
        let names: Vec<_> = ways.iter().map(|way| (way.from.as_str(), way.to.as_str(), way.packets > 4)).collect();
        assert_eq!(names, [("db", "shop", true), ("shop", "db", true)]);
        assert!(vs.ok("stats").contains("Joined: shop to db, "));
        let kinds: Vec<_> =
            vs.json("flows ls --network db").as_array().unwrap().iter().map(|flow| flow["kind"].clone()).collect();
        assert!(!kinds.is_empty() && kinds.iter().all(|kind| kind == "peered"), "{kinds:?}");

        vs.crash();
        vs.up();
        assert_eq!(ask("redis.db", "ping").ok().trim(), "PONG");
        // Said anew, it opens what it did not.
        vs.ok("network peer db shop");
        web.pings("10.201.2.9");
        redis.pings(web.ipv6("shop"));
        vs.ok("network unpeer db shop");
        web.cannot_ping("10.201.2.9");
        assert_eq!(hosts("redis.db"), "");
        assert_eq!(vs.json("network inspect shop")[0].get("Peerings"), None);

        vs.ok("network peer shop db");
        vs.ok("rm -f redis");
        vs.ok("network rm db");
        assert_eq!(vs.json("network inspect shop")[0].get("Peerings"), None);
        assert_eq!(vs.stats().router.map_or(0, |router| router.peerings.len()), 0);
    });
}

/// What was open ends when networks are parted, at once.
#[test]
fn open_connections_end() {
    guard(|| {
        let vs = Vswitch::with(&["--uplink", "none"]);
        two_networks(&vs);
        vs.ok("network peer shop db");
        let (web, server) = (vs.container("web", "--network shop"), vs.container("server", "--network db"));
        let open = OpenConnection::between(&web, &server, "db");
        vs.ok("network unpeer shop db");
        assert_eq!(vs.json("flows ls"), serde_json::json!([]));
        open.is_cut(&web);
    });
}

/// A network without a way out is reached by the one that it is joined with, and gets no way out by it.
#[test]
fn an_internal_network_stays_inside() {
    guard(|| {
        let site = Site::start();
        let _web = site.outside_web();
        site.vs.ok("network create --subnet 10.201.1.0/24 shop");
        site.vs.ok("network create --internal --subnet 10.201.2.0/24 vault");
        site.vs.ok("network peer shop vault");
        let (shop, vault) = (site.vs.container("s", "--network shop"), site.vs.container("v", "--network vault"));
        assert!(vault.ok("ip route").contains("default via 10.201.2.1"), "others are reached by the gateway alone");
        vault.serves_page();
        let page = format!("curl -sS -m 10 http://{}/page", vault.ipv4("vault"));
        assert_eq!(fetch(shop.sh(&page)), "page-of-v");
        assert_eq!(fetch(shop.sh("curl -sS -m 10 http://10.99.0.2:8000/page")), "page-of-outside");
        assert_ne!(vault.sh("curl -sS -m 2 http://10.99.0.2:8000/page").code, 0);
        let late = site.vs.container("late", "--network vault");
        late.pings(shop.ipv4("shop"));
        site.vs.ok("network unpeer vault shop");
        assert_eq!(vault.ok("ip route show default"), "");
        site.finish();
    });
}

/// One sentence for each thing that cannot be joined.
#[test]
fn what_cannot_be_joined() {
    guard(|| {
        let vs = Vswitch::start();
        two_networks(&vs);
        vs.ok("network create --ipam-driver null flat");
        vs.refuses("network peer shop nope", "network nope not found");
        vs.refuses("network peer shop shop", "network shop is not joined with itself");
        vs.refuses("network peer shop host", "network host has no gateway of the switch's");
        vs.refuses("network peer flat shop", "network flat has no gateway of the switch's");
        vs.ok("network create twin --subnet 10.70.0.0/24 --opt overlap=true");
        vs.refuses("network peer shop twin", "others may have the addresses of network twin, too");
        vs.refuses("network peer --allow tcp/http shop db", "\"tcp/http\" is no kind of traffic; write tcp, udp");
        vs.refuses("network unpeer shop db", "networks shop and db are not joined");
        assert_eq!(vs.json("network inspect shop")[0].get("Peerings"), None);
    });
}
