//! Who may open connections to whom (`network policy`), judged by redis, nginx's pages and ping.

use vswitch_tests::rootless::Rootless;
use vswitch_tests::{Container, OpenConnection, Vswitch, eventually, guard};

fn fetches(client: &Container<'_>, url: &str) -> bool {
    client.sh(&format!("curl -sS -m 2 -o /dev/null {url}")).code == 0
}

/// The usual picture: a database that only the web tier speaks to, whoever is of that tier now; over both families, within the
/// network, and by every address that a container has. Rules are listed, counted, kept over a crash, and removed.
#[test]
fn a_tier_of_its_own() {
    guard(|| {
        let vs = Vswitch::with(&["--uplink", "none"]);
        vs.ok("network create --subnet 10.201.1.0/24 --ipv6 --subnet fd71::/64 shop");
        let db = vs.container("db", "--network shop --ip 10.201.1.9 --ip6 fd71::9");
        db.ok("redis-server --daemonize yes --dir /tmp --bind '*' -::* --protected-mode no --save ''");
        db.listens(6379);
        let (web, other) =
            (vs.container("web", "--network shop --label tier=web"), vs.container("other", "--network shop"));
        web.serves_page();
        let ask = |client: &Container<'_>, host: &str| {
            client.sh(&format!("timeout 2 redis-cli -h {host} ping")).stdout.trim() == "PONG"
        };
        assert!(ask(&other, "10.201.1.9"), "nobody is refused without rules");
        assert_eq!(vs.ok("network policy add shop --allow --from label=tier=web --to db --port tcp/6379"), "1\n");
        assert_eq!(vs.ok("network policy add shop --deny --to db"), "2\n");
        for host in ["10.201.1.9", "fd71::9"] {
            assert!(ask(&web, host) && !ask(&other, host), "{host}");
        }
        let link_local =
            db.ok("ip -6 -o addr show dev eth0 scope link | awk '{print $4}' | cut -d/ -f1").trim().to_owned();
        assert!(ask(&web, &format!("{link_local}%eth0")) && !ask(&other, &format!("{link_local}%eth0")));
        web.cannot_ping("10.201.1.9");
        // It may speak to others itself.
        db.pings(other.ipv4("shop"));
        assert!(fetches(&db, &format!("http://{}/page", web.ipv4("shop"))));

        // Who comes with the label is of the tier from its first packet on, and whoever has an address later is not.
        let late = vs.container("late", "--network shop --label tier=web");
        assert!(ask(&late, "10.201.1.9"));
        let address = late.ipv4("shop");
        vs.ok("rm -f late");
        let heir = vs.container("heir", &format!("--network shop --ip {address}"));
        assert!(!ask(&heir, "10.201.1.9"));

        vs.crash();
        vs.up();
        assert!(ask(&web, "10.201.1.9") && !ask(&other, "10.201.1.9"));
        let listed = vs.json("network policy ls shop");
        let words: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| {
                (
                    rule["rule"].as_u64().unwrap(),
                    rule["action"].as_str().unwrap(),
                    rule["from"].as_str().unwrap(),
                    rule["hits"].as_u64() > Some(0),
                )
            })
            .collect();
        assert_eq!(words, [(1, "allow", "label=tier=web", true), (2, "deny", "any", true)]);
        assert!(vs.ok("network policy ls shop").contains("   2   deny     any "));
        assert!(vs.stats().total.drops.values().sum::<u64>() > 0);
        vs.ok("network policy rm shop 2");
        assert!(ask(&other, "10.201.1.9"));
    });
}

/// A rule that comes while a connection is open ends it, and so does the end of what allowed it; published ports are judged by the
/// container behind them.
#[test]
fn open_connections_and_published_ports() {
    guard(|| {
        let site = Rootless::start();
        let vs = &site.vs;
        vs.ok("network create --subnet 10.201.1.0/24 shop");
        let web = vs.container("web", "--network shop -p 8080:80");
        web.serves_page();
        let server = vs.container("server", "--network shop");
        let open = OpenConnection::between(&web, &server, "shop");
        vs.ok("network policy add shop --deny --from web --to server");
        open.is_cut(&web);

        let fetches = || site.outside.sh("curl -sS -m 2 -o /dev/null http://10.99.0.1:8080/page").code == 0;
        eventually("the port is published", 15, fetches);
        vs.ok("network policy add shop --deny --from outside --to web --port tcp/80");
        assert!(!fetches());
        vs.ok("network policy rm shop 2");
        assert!(fetches());
    });
}

/// One sentence for rules that contradict others, decide nothing, or speak of nobody.
#[test]
fn rules_that_make_no_sense() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create --subnet 10.201.1.0/24 shop");
        let _web = vs.container("web", "--network shop");
        vs.ok("network policy add shop --deny --from web --port tcp/80,icmp");
        let add = |words: &str, said: &str| vs.refuses(&format!("network policy add {words}"), said);
        add(
            "shop --allow --from web --to 10.201.1.9 --port tcp/80",
            "rule 1 of network shop contradicts it and comes first: deny from web",
        );
        add("shop --deny --from web --port tcp/80", "rule 1 of network shop says that already");
        add("shop --allow --from any --before 1", "rule 1 of network shop would have nothing to decide behind it");
        add("shop --deny --from nobody", "No such container: nobody");
        add("shop --deny --to network=nope", "network nope not found");
        add("shop --deny --to network=host", "network host is not on the switch");
        add("host --deny", "network host is not on the switch");
        add("nope --deny", "network nope not found");
        add("shop --deny --from label=", "\"label=\" names nobody; write any, outside");
        add("shop --deny --port http", "\"http\" is no kind of traffic");
        add("shop --deny --before 7", "network shop has no rule 7");
        vs.refuses(
            "network policy rm shop 7",
            "network shop has no rule 7; 'vswitchctl network policy ls shop' lists them",
        );
        vs.words("network policy add shop").exits(2).says("--allow");
        assert_eq!(vs.json("network policy ls shop").as_array().unwrap().len(), 1);
    });
}
