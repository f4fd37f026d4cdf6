//! Tables, templates, JSON and filters against a fake daemon.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, helpers included")]

mod common;

use common::{Fake, Reply, stderr};
use serde_json::{Value, json};

fn network(name: &str, id: char, subnet: &str) -> Value {
    json!({
        "Name": name, "Id": id.to_string().repeat(64), "Created": "2020-01-01T00:00:00.000000000Z", "Scope": "local",
        "Driver": "bridge", "EnableIPv4": true, "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": [{"Subnet": subnet, "Gateway": "10.0.0.1"}]},
        "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": {"Network": ""}, "ConfigOnly": false,
        "Containers": {}, "Options": {}, "Labels": {"team": "net"}
    })
}

fn networks() -> Fake {
    Fake::new(|request| match request.path.as_str() {
        path if path.starts_with("/networks/") && path.ends_with("missing") => {
            Reply::Json(404, json!({"message": "network missing not found"}))
        }
        path if path.starts_with("/networks/") => Reply::Json(200, network("net2", 'a', "10.2.0.0/16")),
        _ => Reply::Json(200, json!([network("net10", 'b', "10.10.0.0/16"), network("net2", 'a', "10.2.0.0/16")])),
    })
}

/// Docker's look: upper-case headers, three spaces, ids of 12 digits, natural order, no lines, no blanks at ends.
#[test]
fn network_table() {
    let expected = "\
NETWORK ID     NAME    DRIVER   SCOPE
aaaaaaaaaaaa   net2    bridge   local
bbbbbbbbbbbb   net10   bridge   local
";
    assert_eq!(networks().text(&["network", "ls"]), expected);
    assert!(networks().text(&["network", "list", "--no-trunc"]).contains(&"a".repeat(64)));
}

/// `-q`, templates, tables by template, JSON lines with all values text, and JSON as the API has it.
#[test]
fn network_formats() {
    let fake = networks();
    assert_eq!(fake.text(&["network", "ls", "-q"]), "aaaaaaaaaaaa\nbbbbbbbbbbbb\n");
    assert_eq!(
        fake.text(&["network", "ls", "--format", r"{{.Name}}\t{{.Labels}}"]),
        "net2\tteam=net\nnet10\tteam=net\n"
    );
    assert_eq!(fake.text(&["network", "ls", "--format", "table {{.Name}}"]), "NAME\nnet2\nnet10\n");
    let subnets = fake.text(&["network", "ls", "--format", r"{{.Subnets}} {{.CreatedAt}}"]);
    assert!(subnets.starts_with("10.2.0.0/16 2020-01-01 00:00:00 +0000 UTC\n"), "{subnets}");
    let lines = fake.text(&["network", "ls", "--format", "json"]);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(first.as_object().unwrap().values().all(Value::is_string), "{first}");
    for key in ["CreatedAt", "Driver", "ID", "IPv4", "IPv6", "Internal", "Labels", "Name", "Scope"] {
        assert!(first.get(key).is_some(), "{key} as Docker has it");
    }
    let whole: Value = serde_json::from_str(&fake.text(&["network", "ls", "--json"])).unwrap();
    assert_eq!(whole[0]["IPAM"]["Config"][0]["Subnet"], "10.2.0.0/16");
}

/// An unknown field is a wrong command line, and the sentence lists the known ones.
#[test]
fn unknown_field() {
    let output = networks().run(&["network", "ls", "--format", "{{.Nmae}}"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("'.Nmae' does not exist; known there are .CreatedAt .Driver .ID"));
}

/// Filters travel in Docker's shape: alternatives of a key together.
#[test]
fn network_filters() {
    let fake = networks();
    fake.text(&["network", "ls", "-f", "name=a", "--filter", "name=b", "--filter", "label=x=y"]);
    let path = fake.lines().remove(0).replace("%22", "\"").replace("%3A", ":").replace("%2C", ",");
    let path = path.replace("%7B", "{").replace("%7D", "}").replace("%5B", "[").replace("%5D", "]").replace("%3D", "=");
    assert_eq!(path, r#"GET /networks?filters={"label":["x=y"],"name":["a","b"]}"#);
}

/// What is found is printed, what is missing is told, and the status is 1.
#[test]
fn network_inspect() {
    let fake = networks();
    let output = fake.run(&["network", "inspect", "net2", "missing"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["Name"]), (1, &json!("net2")));
    assert_eq!(stderr(&output), "error: network missing not found\n");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("[\n    {\n        \"Name\": \"net2\",\n        \"Id\": "),
        "Docker's order and indentation"
    );
    assert_eq!(fake.text(&["network", "inspect", "-f", "{{.Name}} {{.IPAM.Driver}}", "net2"]), "net2 default\n");
    assert_eq!(fake.text(&["network", "inspect", "-f", "{{json .Labels}}", "net2"]), "{\"team\":\"net\"}\n");
    assert_eq!(fake.run(&["network", "inspect", "-f", "{{.IPAM.Foo}}", "net2"]).status.code(), Some(2));
}

/// A creation carries what was asked for, each address with the subnet of its family.
#[test]
fn network_create() {
    let fake = Fake::new(|_| Reply::Json(201, json!({"Id": "c".repeat(64), "Warning": ""})));
    let line = [
        "network",
        "create",
        "--subnet",
        "10.9.0.0/24",
        "--subnet",
        "fd09::/64",
        "--gateway",
        "10.9.0.254",
        "--ipv6",
        "--label",
        "a",
        "-o",
        "mtu=1400",
        "--aux-address",
        "nas=10.9.0.9",
        "--internal",
        "blue",
    ];
    assert_eq!(fake.text(&line), "c".repeat(64) + "\n");
    let body = &fake.seen()[0].body;
    assert_eq!(body["Name"], "blue");
    assert_eq!(body["EnableIPv6"], true);
    assert!(body.get("EnableIPv4").is_none());
    assert_eq!(body["Internal"], true);
    assert_eq!(body["Options"], json!({"mtu": "1400"}));
    assert_eq!(body["Labels"], json!({"a": ""}));
    let first = json!({"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.254", "AuxiliaryAddresses": {"nas": "10.9.0.9"}});
    assert_eq!(body["IPAM"]["Config"], json!([first, {"Subnet": "fd09::/64"}]));
}

/// An address without a subnet of its family is refused in Docker's words before the daemon is asked.
#[test]
fn network_create_without_subnet() {
    let fake = Fake::new(|_| Reply::HangUp);
    let cases: [(&[&str], &str); 2] = [
        (&["--gateway", "10.0.0.1"], "error: every ip-range or gateway must have a corresponding subnet\n"),
        (&["--subnet", "10.0.0.0/8", "--gateway", "fd00::1"], "error: no matching subnet for gateway fd00::1;"),
    ];
    for (flags, sentence) in cases {
        let output = fake.run(&[&["network", "create"], flags, &["blue"]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).starts_with(sentence), "{}", stderr(&output));
    }
    assert!(fake.lines().is_empty());
}

fn container(name: &str, state: &str) -> Value {
    json!({
        "id": "d".repeat(64), "name": name, "hostname": name, "command": ["python3", "-m", "http.server", "8000"],
        "created": "2020-01-01T00:00:00Z", "started": "2020-01-01T00:00:00Z", "finished": "2020-01-02T00:00:00Z",
        "state": state, "pid": 42, "exit_code": if state == "exited" { json!(3) } else { Value::Null },
        "auto_remove": false, "tty": false, "network_mode": "blue", "dns": [], "extra_hosts": [], "publish": [],
        "labels": {}, "endpoints": [{
            "id": "e".repeat(64), "name": name, "network": "blue", "network_id": "f".repeat(64),
            "container_id": "d".repeat(64), "state": "up", "interface": "eth0", "mac_address": "02:42:0a:09:00:02",
            "ipv4_address": "10.9.0.2/24", "ipv6_address": "fd09::2/64", "ipv4_gateway": null, "ipv6_gateway": null,
            "mtu": 1500, "port": 3, "aliases": []
        }]
    })
}

/// Containers with Docker's words for their age and state.
#[test]
fn ps() {
    let fake = Fake::new(|_| Reply::Json(200, json!([container("web", "running"), container("done", "exited")])));
    let text = fake.text(&["ps", "-a"]);
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap().split("   ").map(str::trim).filter(|word| !word.is_empty()).collect::<Vec<_>>(),
        ["CONTAINER ID", "COMMAND", "CREATED", "STATUS", "NETWORKS", "ADDRESSES", "PORTS", "NAMES"]
    );
    let done = lines.next().unwrap();
    assert!(done.contains("Exited (3) ") && done.contains(" years ago") && done.ends_with("done"), "{text}");
    let web = lines.next().unwrap();
    assert!(
        web.contains("\"python3 -m http.ser…\"") && web.contains("Up ") && web.contains("10.9.0.2, fd09::2"),
        "{text}"
    );
    assert_eq!(fake.lines(), ["GET /vswitch/v1/containers?all=true"]);
    assert_eq!(fake.text(&["ps", "--format", "{{.Names}}:{{.State}}"]), "done:exited\nweb:running\n");
    assert_eq!(fake.text(&["ps", "-q", "--no-trunc"]), ("d".repeat(64) + "\n").repeat(2));
}

/// Endpoints and forwarding databases.
#[test]
fn endpoints_and_fdb() {
    let fake = Fake::new(|request| match request.line().as_str() {
        line if line.ends_with("%3A99") => Reply::Json(200, json!({"removed": 0})),
        line if line.starts_with("DELETE") => Reply::Json(200, json!({"removed": 1})),
        line if line.ends_with("fdb") => Reply::Json(
            200,
            json!([
                {"mac_address": "02:42:0a:09:00:02", "port": 3, "endpoint": "web", "kind": "learned", "age_seconds": 5},
                {"mac_address": "02:42:0a:09:00:01", "port": 12, "endpoint": "db", "kind": "static", "age_seconds": null},
            ]),
        ),
        _ => Reply::Json(200, json!([container("web", "running")["endpoints"][0]])),
    });
    let table = fake.text(&["endpoint", "ls"]);
    assert!(table.contains("eeeeeeeeeeee   web") && table.contains("fd09::2/64") && table.contains("up"), "{table}");
    let expected = "\
MAC ADDRESS         PORT   ENDPOINT   KIND      AGE
02:42:0a:09:00:01     12   db         static
02:42:0a:09:00:02      3   web        learned   5 s
";
    assert_eq!(fake.text(&["fdb", "show", "blue"]), expected);
    assert_eq!(fake.text(&["fdb", "flush", "blue"]), "1 entry forgotten\n");
    assert_eq!(fake.text(&["fdb", "rm", "blue", "02:42:0a:09:00:02"]), "02:42:0a:09:00:02\n");
    let output = fake.run(&["fdb", "rm", "blue", "02:42:0a:09:00:99"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("network blue has no entry for 02:42:0a:09:00:99"));
}

/// Attaching prints the name that detaching takes; relative paths are made whole for the daemon.
#[test]
fn attach() {
    let fake = Fake::new(|_| Reply::Json(201, container("lab", "running")["endpoints"][0].clone()));
    let line = ["attach", "--netns", "lab", "--network", "blue", "--ip", "10.9.0.220/24@10.9.0.254"];
    assert_eq!(fake.text(&line), "lab\n");
    let body = &fake.seen()[0].body;
    assert!(body["netns"].as_str().unwrap().starts_with('/'), "{body}");
    assert_eq!(body["endpoint"]["IPAMConfig"]["IPv4Address"], "10.9.0.220/24@10.9.0.254");
}

/// `inspect` finds networks where there is no such container, and says what it looked for.
#[test]
fn inspect_anything() {
    let fake = Fake::new(|request| match request.path.as_str() {
        "/networks/blue" => Reply::Json(200, network("blue", 'a', "10.2.0.0/16")),
        _ => Reply::Json(404, json!({"message": "nothing"})),
    });
    assert_eq!(fake.text(&["inspect", "-f", "{{.Name}}", "blue"]), "blue\n");
    let output = fake.run(&["inspect", "red"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no container, network or endpoint is called red"));
}

fn usage(name: &str) -> Value {
    json!({
        "read": "2020-01-01T00:00:01Z", "preread": "2020-01-01T00:00:00Z", "pids_stats": {"current": 3}, "blkio_stats": {},
        "num_procs": 0, "storage_stats": {}, "memory_stats": {"usage": 1_515_520, "limit": 1_u64 << 32, "stats": {}},
        "cpu_stats": {"cpu_usage": {"total_usage": 750}, "system_cpu_usage": 3000, "online_cpus": 4},
        "precpu_stats": {"cpu_usage": {"total_usage": 500}, "system_cpu_usage": 1000, "online_cpus": 4},
        "name": format!("/{name}"), "id": "d".repeat(64), "networks": {
            "eth0": {"rx_bytes": 1000, "rx_packets": 1, "rx_errors": 0, "rx_dropped": 0,
                "tx_bytes": 5, "tx_packets": 1, "tx_errors": 0, "tx_dropped": 0},
            "eth1": {"rx_bytes": 90, "rx_packets": 1, "rx_errors": 0, "rx_dropped": 0,
                "tx_bytes": 0, "tx_packets": 0, "tx_errors": 0, "tx_dropped": 0}}
    })
}

/// `stats` and `top` with a container show what Docker shows of it; one that is missing is told, and the status is 1.
#[test]
fn what_containers_use() {
    let fake = Fake::new(|request| match request.path.as_str() {
        "/containers/web/stats?stream=false" => Reply::Json(200, usage("web")),
        "/containers/db/stats?stream=false" => Reply::Json(200, usage("db")),
        "/containers/web/top?ps_args=-o%20pid%2Ccmd" => {
            Reply::Json(200, json!({"Titles": ["PID", "CMD"], "Processes": [["7", "sleep 9"], ["1234", "sh"]]}))
        }
        _ => Reply::Json(404, json!({"message": "No such container: gone"})),
    });
    let expected = "\
CONTAINER ID   NAME   CPU %    MEM USAGE / LIMIT   MEM %   NET I/O        PIDS
dddddddddddd   web    50.00%   1.445MiB / 4GiB     0.04%   1.09kB / 5B    3
dddddddddddd   db     50.00%   1.445MiB / 4GiB     0.04%   1.09kB / 5B    3
";
    let squeezed =
        |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!(squeezed(&fake.text(&["stats", "--no-stream", "web", "db"])), squeezed(expected));
    assert_eq!(fake.text(&["stats", "-n", "2", "--format", "{{.Name}} {{.PIDs}}", "db"]), "db 3\ndb 3\n");
    let json: Value = serde_json::from_str(&fake.text(&["stats", "--no-stream", "--json", "web"])).unwrap();
    assert_eq!(json[0]["pids_stats"]["current"], 3);
    let output = fake.run(&["stats", "--no-stream", "--format", "{{.Name}}", "web", "gone"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"web\n"[..]));
    assert_eq!(stderr(&output), "error: No such container: gone\n");
    assert_eq!(fake.text(&["top", "web", "-o", "pid,cmd"]), "PID    CMD\n7      sleep 9\n1234   sh\n");
    assert_eq!(fake.run(&["top", "gone"]).status.code(), Some(1));
}
