//! Overlay networks over the control socket: what is decided, kept and refused. No frame crosses a tunnel here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use common::agent::FakeAgent;
use common::{Daemon, message};
use serde_json::{Value, json};
use vswitch_ctl::overlay::{OverlayTable, VtepSpec};

/// This process's own VTEP, so that tests can run side by side.
fn vtep(last: u8) -> VtepSpec {
    let [.., high, low] = std::process::id().to_be_bytes();
    VtepSpec { address: std::net::Ipv4Addr::new(127, high, low, last).into(), port: 4789 }
}

fn start(tables: &str) -> Daemon {
    Daemon::with_overlays(tempfile::tempdir().unwrap(), FakeAgent::default(), (vec![vtep(1)], parse(tables))).unwrap()
}

fn parse(tables: &str) -> Vec<OverlayTable> {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        overlay: Vec<OverlayTable>,
    }
    toml::from_str::<File>(tables).unwrap().overlay
}

fn create(daemon: &Daemon, name: &str, subnet: &str, options: &Value) -> (u16, Value) {
    let ipam = json!({"Config": [{"Subnet": subnet, "IPRange": subnet}]});
    let body = json!({"Name": name, "Driver": "overlay", "IPAM": ipam, "Options": options});
    daemon.post("/networks/create", &body.to_string())
}

fn tunnel(daemon: &Daemon, network: &str) -> Value {
    let (status, answer) = daemon.get(&format!("/vswitch/v1/networks/{network}/tunnel"));
    assert_eq!(status, 200, "{answer}");
    answer
}

fn add_remote(daemon: &Daemon, network: &str, address: &str) -> (u16, Value) {
    let body = json!({"address": address});
    daemon.post(&format!("/vswitch/v1/networks/{network}/tunnel/remotes"), &body.to_string())
}

fn add_entry(daemon: &Daemon, network: &str, mac: &str, ip: Option<&str>, remote: &str) -> (u16, Value) {
    let body = json!({"mac_address": mac, "ip_address": ip, "remote": remote});
    daemon.post(&format!("/vswitch/v1/networks/{network}/tunnel/entries"), &body.to_string())
}

/// VNIs are chosen from 4096 up, MTUs follow the underlay, and a network shows its driver, as docker shows it.
#[test]
fn decided() {
    let daemon = start("");
    assert_eq!(create(&daemon, "a", "10.1.0.0/16", &json!({})).0, 201);
    assert_eq!(create(&daemon, "b", "10.2.0.0/16", &json!({"vni": "7", "mtu": "1400"})).0, 201);
    let docker = json!({"com.docker.network.driver.overlay.vxlanid_list": "4097"});
    assert_eq!(create(&daemon, "c", "10.3.0.0/16", &docker).0, 201);
    assert_eq!(create(&daemon, "d", "10.4.0.0/16", &json!({})).0, 201);
    let vnis = ["a", "b", "c", "d"].map(|name| tunnel(&daemon, name)["vni"].as_u64().unwrap());
    assert_eq!(vnis, [4096, 7, 4097, 4098]);
    let a = tunnel(&daemon, "a");
    // Loopback carries 65535 bytes, less 50.
    assert_eq!(
        (&a["mtu"], &a["interface"], &a["up"], &a["checksum"]),
        (&json!(65485), &json!("lo"), &json!(true), &json!(true))
    );
    assert_eq!(daemon.get("/networks/a").1["Driver"], "overlay");
    let (_, all) = daemon.get("/vswitch/v1/tunnels");
    assert_eq!(all.as_array().unwrap().len(), 4);
    let (_, stats) = daemon.get("/vswitch/v1/stats");
    assert_eq!((&stats["vteps"][0]["networks"], &stats["vteps"][0]["up"]), (&json!(4), &json!(true)));
    assert!(stats["ports"].as_array().unwrap().iter().any(|port| port["endpoint"] == "(tunnel)"));
    // What is gone is gone: its VNI is free.
    assert_eq!(daemon.delete("/networks/a").0, 204);
    assert_eq!(create(&daemon, "e", "10.5.0.0/16", &json!({"vni": "4096"})).0, 201);
}

/// Endpoints get the overlay's MTU; remotes and entries come, move and go, and are the same after a crash.
#[test]
fn remotes_and_entries() {
    let daemon = start("");
    create(&daemon, "n", "10.1.0.0/16", &json!({"vni": "5", "mtu": "1450"}));
    daemon.running("c", "n");
    assert_eq!(daemon.inspect("c")["endpoints"][0]["mtu"], 1450);
    let [two, three] = [vtep(2), vtep(3)].map(|vtep| vtep.address.to_string());
    for remote in [&two, &three] {
        assert_eq!(add_remote(&daemon, "n", remote).0, 201);
    }
    assert_eq!(add_entry(&daemon, "n", "02:00:00:00:00:09", Some("10.1.9.9"), &two).0, 201);
    assert_eq!(add_entry(&daemon, "n", "02:00:00:00:00:08", None, &two).0, 201);
    // It moves, and its address with it.
    assert_eq!(add_entry(&daemon, "n", "02:00:00:00:00:09", None, &three).0, 201);
    assert_eq!(daemon.delete("/vswitch/v1/networks/n/tunnel/entries/02:00:00:00:00:08").0, 204);
    assert_eq!(daemon.delete(&format!("/vswitch/v1/networks/n/tunnel/remotes/{two}")).0, 204);
    // Without counts: an announcement goes out, or finds no remote, sooner or later.
    let lasting = |daemon: &Daemon| {
        let mut shown = tunnel(daemon, "n");
        shown["drops"] = json!({});
        for remote in shown["remotes"].as_array_mut().unwrap() {
            for count in ["out_packets", "out_bytes"] {
                remote[count] = json!(0);
            }
        }
        shown
    };
    let shown = lasting(&daemon);
    let entry = json!([{"mac_address": "02:00:00:00:00:09", "ip_addresses": ["10.1.9.9"], "remote": three,
        "kind": "static", "age_seconds": null}]);
    assert_eq!(shown["entries"], entry);
    assert_eq!((shown["remotes"].as_array().unwrap().len(), &shown["remotes"][0]["origin"]), (1, &json!("operator")));
    let (dir, agent) = daemon.crash();
    let daemon = Daemon::with_overlays(dir, agent, (vec![vtep(1)], Vec::new())).unwrap();
    assert_eq!(lasting(&daemon), shown);
    // Without its VTEP the network is there, without a tunnel, and says so.
    let (dir, agent) = daemon.crash();
    let daemon = Daemon::with_overlays(dir, agent, (Vec::new(), Vec::new())).unwrap();
    let (status, answer) = add_remote(&daemon, "n", &two);
    assert_eq!(status, 409);
    assert!(message(&answer).contains("--vtep"), "{answer}");
    assert_eq!(daemon.get("/vswitch/v1/tunnels").1, json!([]));
    assert_eq!(daemon.inspect("c")["endpoints"][0]["state"], "up");
}

/// Everything that cannot be is refused with its status and one sentence, and changes nothing.
#[test]
fn refusals() {
    let daemon = start("");
    create(&daemon, "n", "10.1.0.0/16", &json!({"vni": "5"}));
    daemon.network("plain", "10.2.0.0/16");
    daemon.running("c", "n");
    let c = daemon.inspect("c");
    let (mac, ip) =
        (c["endpoints"][0]["mac_address"].as_str().unwrap(), c["endpoints"][0]["ipv4_address"].as_str().unwrap());
    let ip = ip.split('/').next().unwrap();
    let [own, two] = [vtep(1), vtep(2)].map(|vtep| vtep.address.to_string());
    assert_eq!(add_remote(&daemon, "n", &two).0, 201);
    let before = tunnel(&daemon, "n");
    let other = "02:00:00:00:00:09";
    let options = |options: Value| create(&daemon, "x", "10.9.0.0/16", &options);
    for ((status, answer), expected, says) in [
        (options(json!({"vni": "0"})), 400, "1 to 16777215"),
        (options(json!({"vni": "16777216"})), 400, "1 to 16777215"),
        (options(json!({"vni": "5"})), 409, "VNI 5 is in use by network n"),
        (options(json!({"vtep": "192.0.2.7"})), 400, "vswitchd has no VTEP 192.0.2.7; use one of 127."),
        (options(json!({"encap-checksum": "maybe"})), 400, "write true or false"),
        (options(json!({"mtu": "65500"})), 400, "use at most 65485"),
        (create(&daemon, "x", "10.1.5.0/24", &json!({})), 403, "10.1.0.0/16 of network n"),
        (add_remote(&daemon, "n", "224.0.0.1"), 400, "no host's address"),
        (add_remote(&daemon, "n", "0.0.0.0"), 400, "no host's address"),
        (add_remote(&daemon, "n", "fd00::1"), 400, "not of one address family"),
        (add_remote(&daemon, "n", "host2"), 400, "no IP address"),
        (add_remote(&daemon, "n", &own), 400, "this host's own VTEP"),
        (add_remote(&daemon, "n", &two), 409, "a remote already"),
        (add_remote(&daemon, "plain", &two), 400, "no overlay network"),
        (add_remote(&daemon, "host", &two), 400, "no overlay network"),
        (add_remote(&daemon, "nowhere", &two), 404, "nowhere not found"),
        (add_entry(&daemon, "n", other, None, "192.0.2.9"), 404, "192.0.2.9 is no remote"),
        (add_entry(&daemon, "n", "01:00:5e:00:00:01", None, &two), 400, "multicast"),
        (add_entry(&daemon, "n", other, Some("224.0.0.9"), &two), 400, "no station's"),
        (add_entry(&daemon, "n", other, Some("10.1.0.1"), &two), 403, "already in use"),
        (add_entry(&daemon, "n", other, Some(ip), &two), 403, "already in use"),
        (add_entry(&daemon, "n", mac, None, &two), 409, "in use by c"),
        (add_entry(&daemon, "n", "02:42:0a:01:00:01", None, &two), 409, "in use by the gateway"),
        (daemon.delete("/vswitch/v1/networks/n/tunnel/entries/02:00:00:00:00:77"), 404, "no entry for"),
        (daemon.delete("/vswitch/v1/networks/n/tunnel/remotes/192.0.2.9"), 404, "no remote"),
    ] {
        let sentence = message(&answer);
        assert!(
            status == expected && sentence.contains(says) && !sentence.contains('\n'),
            "{status} {answer} ({says})"
        );
    }
    assert_eq!(add_entry(&daemon, "n", other, None, &two).0, 201);
    let (status, answer) = daemon.delete(&format!("/vswitch/v1/networks/n/tunnel/remotes/{two}"));
    assert!(status == 409 && message(&answer).contains("1 entries lead to"), "{answer}");
    assert_eq!(daemon.delete(&format!("/vswitch/v1/networks/n/tunnel/entries/{other}")).0, 204);
    assert_eq!(tunnel(&daemon, "n"), before);
    let without = Daemon::start();
    let (status, answer) = create(&without, "x", "10.9.0.0/16", &json!({}));
    assert!(status == 400 && message(&answer).contains("start vswitchd with --vtep"), "{answer}");
}

/// A file's networks are made, its remotes and entries hold for as long as it says so, and a file that contradicts what
/// exists is refused.
#[test]
fn the_file() {
    let two = vtep(2).address;
    let table = format!(
        "[[overlay]]\nnetwork = \"n\"\nvni = 9\nsubnet = \"10.1.0.0/16\"\nip-range = \"10.1.1.0/24\"\nremotes = [\"{two}\"]\n\
         entries = [{{ mac = \"02:00:00:00:00:09\", ip = \"10.1.9.9\", remote = \"{two}\" }}]\n"
    );
    let daemon = start(&table);
    let shown = tunnel(&daemon, "n");
    assert_eq!((&shown["vni"], &shown["remotes"][0]["origin"]), (&json!(9), &json!("file")));
    assert_eq!(shown["entries"][0]["ip_addresses"], json!(["10.1.9.9"]));
    for (status, answer) in [
        add_remote(&daemon, "n", &two.to_string()),
        daemon.delete(&format!("/vswitch/v1/networks/n/tunnel/remotes/{two}")),
        daemon.delete("/vswitch/v1/networks/n/tunnel/entries/02:00:00:00:00:09"),
    ] {
        assert_eq!(status, 409, "{answer}");
    }
    assert_eq!(add_entry(&daemon, "n", "02:00:00:00:00:0a", None, &two.to_string()).0, 201);
    let (mut dir, mut agent) = daemon.crash();
    for (from, to, says) in [
        ("vni = 9", "vni = 10", "exists with VNI 9"),
        ("10.1.0.0/16", "10.0.0.0/15", "exists with subnet 10.1.0.0/16"),
        ("\"n\"", "\"bridge\"", "predefined"),
        ("\"n\"", "\"m\"", "VNI 9 is in use by network n"),
        (&*format!("remotes = [\"{two}\"]"), "remotes = [\"127.0.0.1\", \"224.0.0.1\"]", "no host's address"),
    ] {
        let text = table.replace(from, to);
        let parsed = std::panic::catch_unwind(|| parse(&text));
        let Ok(tables) = parsed else {
            assert_eq!(to, "\"bridge\"", "only a predefined name is refused by the parser");
            continue;
        };
        let kept = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join("state.redb"), kept.path().join("state.redb")).unwrap();
        let refused = Daemon::with_overlays(kept, FakeAgent::default(), (vec![vtep(1)], tables));
        let Err(error) = refused else { panic!("{to} should be refused") };
        let sentence = error.to_string();
        assert!(sentence.contains(says) && !sentence.contains('\n'), "{sentence}");
    }
    // Gone from the file, gone from the network; what the operator said of the same remote needs it again.
    (dir, agent) = {
        let daemon = Daemon::with_overlays(dir, agent, (vec![vtep(1)], Vec::new())).unwrap();
        let shown = tunnel(&daemon, "n");
        assert_eq!(shown["entries"][0]["mac_address"], "02:00:00:00:00:0a");
        daemon.crash()
    };
    let daemon = Daemon::with_overlays(dir, agent, (vec![vtep(1)], parse(&table))).unwrap();
    assert_eq!(tunnel(&daemon, "n")["entries"].as_array().unwrap().len(), 2);
}
