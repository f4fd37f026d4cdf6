//! Topology and traffic as people look at them. Graphviz is the judge of what is written for it.

use std::process::Command;

use vswitch_tests::{Site, Vswitch, guard, run};

/// Networks, containers on one and on two networks, an attached namespace, the host's network, and a published port.
fn shop(site: &Site) {
    let vs = &site.vs;
    vs.ok("network create --subnet 10.201.1.0/24 front");
    vs.ok("network create --internal --subnet 10.201.2.0/24 --subnet fd77::/64 --ipv6 back");
    vs.ok("run -d --name web --network front --ip 10.201.1.5 -p 10080:80 -- sleep 100000");
    vs.ok("network connect --ip 10.201.2.5 back web");
    vs.ok("run -d --name db --network back --ip 10.201.2.6 -- sleep 100000");
    vs.ok("run -d --name side --network container:web -- sleep 100000");
    vs.ok("run -d --name onhost --network host -- sleep 100000");
    vs.ok("run --name done --network front -- true");
}

/// What `dot` understands, as lines of its plain format.
fn graphviz(text: &str) -> Vec<String> {
    std::fs::write("/tmp/graph.dot", text).unwrap();
    let plain = run(Command::new("dot").args(["-Tplain", "/tmp/graph.dot"])).ok();
    plain.lines().map(str::to_owned).collect()
}

/// One graph in three languages: drawn, for Mermaid, and for Graphviz, which finds every node and link in it.
#[test]
fn graph() {
    guard(|| {
        let site = Site::start();
        shop(&site);
        let drawn = site.vs.ok("network graph");
        for line in [
            "outside",
            "│ uplink packet:up0 │",
            "┤ front ",
            "│ 10.201.1.0/24 ",
            "│ gateway 10.201.2.1 ",
            "│ no way out ",
            "┤ web ",
            "│ eth0 10.201.1.5 ",
            "│ 0.0.0.0:10080->80/tcp │",
            "│ also on back ",
            "│ with side ",
            "┤ onhost │",
        ] {
            assert!(drawn.contains(line), "{line:?} is missing:\n{drawn}");
        }
        assert!(!drawn.contains("done") && site.vs.ok("network graph --all").contains("┤ done "), "{drawn}");
        assert!(site.vs.ok("network graph --ascii").is_ascii());

        let plain = graphviz(&site.vs.ok("network graph --format dot"));
        let count = |kind: &str| plain.iter().filter(|line| line.starts_with(kind)).count();
        // outside, uplink, bridge, front, back, host; web, db, onhost.
        assert_eq!(count("node "), 9, "{plain:#?}");
        // outside and uplink; uplink and bridge, front; five memberships less `bridge`'s none; the published port.
        assert_eq!(count("edge "), 1 + 2 + 4 + 1, "{plain:#?}");

        let mermaid = site.vs.ok("network graph --format mermaid back");
        assert!(mermaid.starts_with("flowchart LR\n  network0[[\"back<br/>bridge<br/>10.201.2.0/24"), "{mermaid}");
        assert!(mermaid.contains("|\"eth1<br/>10.201.2.5") && !mermaid.contains("front"), "{mermaid}");

        let json = site.vs.json("network graph");
        assert_eq!(json["uplink"]["addresses"], serde_json::json!(["10.99.0.1/24", "fd99::1/64"]));
        let back = json["networks"].as_array().unwrap().iter().find(|one| one["name"] == "back").unwrap();
        assert_eq!((&back["outside"], &back["icc"]), (&false.into(), &true.into()));
        site.vs.refuses("network graph nope", "network nope not found");
        site.vs.words("network graph --format png").exits(2).says("[possible values: text, dot, mermaid]");
        site.finish();
    });
}

/// Bridges as brctl prints them: tabs, ids made of the gateway's MAC address, one interface a line.
#[test]
fn bridge_show() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create --subnet 10.201.1.0/24 blue");
        let (a, _b) = (vs.container("a", "--network blue"), vs.container("b", "--network blue"));
        let shown = vs.ok("bridge show blue");
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "bridge name\tbridge id\t\tSTP enabled\tinterfaces");
        a.pings("10.201.1.1");
        let neighbour = a.ok("ip neigh show 10.201.1.1");
        let mac = neighbour.split_once("lladdr ").unwrap().1.split(' ').next().unwrap().replace(':', "");
        assert_eq!(lines[1], format!("blue\t\t8000.{mac}\tno\t\ta:eth0"));
        assert_eq!(lines[2..], ["\t\t\t\t\t\t\tb:eth0"]);
        let all = vs.ok("bridge show");
        assert!(all.lines().any(|line| line.starts_with("bridge\t\t8000.")) && !all.contains("host"), "{all}");
        assert_eq!(vs.json("bridge show blue")[0]["interfaces"], serde_json::json!(["a:eth0", "b:eth0"]));
        vs.ok("stop -t 0 a");
        assert!(!vs.ok("bridge show blue").contains("a:eth0"));
        vs.refuses("bridge show nope", "bridge nope does not exist");
    });
}
