//! Docker's dialect: containers, events and the daemon in Docker's shapes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use common::agent::FakeAgent;
use common::{Daemon, message};
use serde_json::{Value, json};

fn escaped(filters: &Value) -> String {
    filters.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The names that a listing with these parameters shows, newest first.
fn names(daemon: &Daemon, query: &str, filters: &Value) -> Vec<String> {
    let (status, answer) = daemon.get(&format!("/containers/json?{query}&filters={}", escaped(filters)));
    assert_eq!(status, 200, "{answer}");
    let name = |one: &Value| one["Names"][0].as_str().unwrap().to_owned();
    answer.as_array().unwrap().iter().map(name).collect()
}

fn create(daemon: &Daemon, body: &Value) {
    let (status, answer) = daemon.post("/vswitch/v1/containers", &body.to_string());
    assert_eq!(status, 201, "{answer}");
}

/// A running container, a stopped one and one that was never started, one of them on a custom network.
fn three() -> Daemon {
    let uplink = "packet:up0,address=10.99.0.1/24,gateway=10.99.0.2";
    let daemon = Daemon::start_with(tempfile::tempdir().unwrap(), FakeAgent::default(), Some(uplink));
    daemon.network("net", "10.9.0.0/24");
    create(&daemon, &json!({"name": "db", "command": ["sleep", "9"], "labels": {"tier": "back", "x": "1"}}));
    create(
        &daemon,
        &json!({"name": "web", "command": ["sleep"], "network": "net", "publish": ["8080:80"],
        "labels": {"tier": "front"}, "endpoint": {"Aliases": ["www"]}, "env": ["A=b"], "dns": ["9.9.9.9"]}),
    );
    create(&daemon, &json!({"name": "new", "command": ["sleep"], "network": "none"}));
    for name in ["db", "web"] {
        assert_eq!(daemon.post(&format!("/containers/{name}/start"), "").0, 204);
    }
    assert_eq!(daemon.post("/containers/db/stop", "").0, 204);
    daemon
}

/// docker ps: which containers are shown, in which order, with what.
#[test]
fn listing() {
    let daemon = three();
    let none = json!({});
    assert_eq!(names(&daemon, "", &none), ["/web"]);
    assert_eq!(names(&daemon, "all=1", &none), ["/new", "/web", "/db"]);
    assert_eq!(names(&daemon, "limit=2", &none), ["/new", "/web"]);
    assert_eq!(names(&daemon, "limit=0", &none), ["/web"]);
    let (_, answer) = daemon.get("/v1.24/containers/json?size=1");
    let one = &answer[0];
    assert_eq!((&one["State"], &one["Command"], &one["Image"]), (&"running".into(), &"sleep".into(), &"/".into()));
    assert!(one["Status"].as_str().unwrap().starts_with("Up "), "{one}");
    assert!(one["Created"].as_u64().unwrap() > 1_600_000_000 && one["SizeRw"] == 0, "{one}");
    assert_eq!(one["HostConfig"]["NetworkMode"], "net");
    let endpoint = &one["NetworkSettings"]["Networks"]["net"];
    assert_eq!((&endpoint["IPAddress"], &endpoint["IPPrefixLen"]), (&"10.9.0.2".into(), &24.into()));
    assert_eq!((&endpoint["Gateway"], &endpoint["Aliases"]), (&"10.9.0.1".into(), &json!(["www"])));
    let dns: Vec<&str> = endpoint["DNSNames"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(
        dns.contains(&"web") && dns.contains(&"www") && dns.contains(&&one["Id"].as_str().unwrap()[..12]),
        "{dns:?}"
    );
}

/// Every filter of docker ps, alone and together; what makes no sense is refused.
#[test]
fn listing_with_filters() {
    let daemon = three();
    let id = daemon.inspect("web")["id"].as_str().unwrap().to_owned();
    let net = daemon.get("/networks/net").1["Id"].as_str().unwrap().to_owned();
    for (filters, expected) in [
        (json!({"name": ["^/we"]}), &["/web"][..]),
        (json!({"name": {"^db$": true, "web": true}}), &["/web", "/db"]),
        (json!({"id": [id[..12]]}), &["/web"]),
        (json!({"label": ["tier"]}), &["/web", "/db"]),
        (json!({"label": ["tier=back", "x"]}), &["/db"]),
        (json!({"label!": ["tier"]}), &["/new"]),
        (json!({"status": ["exited"]}), &["/db"]),
        (json!({"status": ["created", "running"]}), &["/new", "/web"]),
        (json!({"exited": ["143"]}), &["/db"]),
        (json!({"exited": ["1"]}), &[]),
        (json!({"network": ["net"]}), &["/web"]),
        (json!({"network": [net[..12]]}), &["/web"]),
        (json!({"network": ["bridge"], "label": ["tier"]}), &["/db"]),
        (json!({"publish": ["8080"]}), &["/web"]),
        (json!({"publish": ["8000-8100/tcp"]}), &["/web"]),
        (json!({"publish": ["8080/udp"]}), &[]),
        (json!({"expose": ["80"]}), &["/web"]),
        (json!({"before": ["web"]}), &["/db"]),
        (json!({"since": ["web"]}), &["/new"]),
        (json!({"ancestor": ["busybox"]}), &[]),
        (json!({"volume": ["data"]}), &[]),
        (json!({"health": ["none"]}), &["/new", "/web", "/db"]),
        (json!({"is-task": ["true"]}), &[]),
    ] {
        assert_eq!(names(&daemon, "all=1", &filters), expected, "{filters}");
    }
    for (filters, expected, says) in [
        (json!({"size": ["1"]}), 400, "invalid filter 'size'"),
        (json!({"status": ["asleep"]}), 400, "invalid filter 'status=asleep'"),
        (json!({"exited": ["x"]}), 400, "invalid filter 'exited=x'"),
        (json!({"publish": ["80/icmp"]}), 400, "invalid filter 'publish=80/icmp'"),
        (json!({"since": ["nobody"]}), 404, "No such container: nobody"),
        (json!({"is-task": ["x"]}), 400, "invalid filter 'is-task=x'"),
    ] {
        let (status, answer) = daemon.get(&format!("/containers/json?filters={}", escaped(&filters)));
        assert!(status == expected && message(&answer).contains(says), "{filters}: {status} {answer}");
    }
    assert_eq!(daemon.get("/containers/json?all=perhaps").0, 400);
}

/// docker inspect: what was asked for, what became of it, and nothing of the network while it does not run.
#[test]
fn inspection() {
    let daemon = three();
    let (status, web) = daemon.get("/v1.50/containers/web/json");
    assert_eq!((status, &web["Name"], &web["Path"]), (200, &"/web".into(), &"sleep".into()));
    assert_eq!((&web["State"]["Status"], &web["State"]["Running"]), (&"running".into(), &true.into()));
    assert_eq!((&web["Config"]["Env"], &web["HostConfig"]["Dns"]), (&json!(["A=b"]), &json!(["9.9.9.9"])));
    assert_eq!(web["HostConfig"]["PortBindings"], json!({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}));
    assert_eq!(web["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"], "8080");
    assert_eq!(web["Config"]["ExposedPorts"], json!({"80/tcp": {}}));
    assert_eq!(web["NetworkSettings"]["Networks"]["net"]["MacAddress"], "02:42:0a:09:00:02");
    assert_eq!(web["NetworkSettings"]["IPAddress"], "");
    assert_eq!(web["NetworkSettings"]["SandboxKey"], format!("/proc/{}/ns/net", web["State"]["Pid"]));
    let (_, db) = daemon.get("/containers/db/json");
    assert_eq!((&db["State"]["ExitCode"], &db["Args"]), (&143.into(), &json!(["9"])));
    assert_eq!(db["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], "");
    let (_, new) = daemon.get("/containers/new/json");
    assert_eq!(
        (&new["State"]["Status"], &new["State"]["StartedAt"]),
        (&"created".into(), &"0001-01-01T00:00:00Z".into())
    );
    assert!(new["NetworkSettings"]["Networks"]["none"]["NetworkID"].as_str().unwrap().len() == 64, "{new}");
    daemon.post("/containers/db/start", "");
    let (_, db) = daemon.get("/containers/db/json");
    assert_eq!(db["NetworkSettings"]["IPAddress"], db["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]);
    assert_eq!(db["NetworkSettings"]["IPAddress"], "172.17.0.2");
    let (status, answer) = daemon.get("/containers/nobody/json");
    assert_eq!((status, message(&answer)), (404, "No such container: nobody"));
}

/// start, stop, restart, kill, wait and rm answer as Docker does, also where there is nothing to do.
#[test]
fn lives() {
    let daemon = Daemon::start();
    daemon.container("c", "bridge");
    let post = |path: &str| daemon.post(path, "").0;
    assert_eq!((post("/containers/c/stop"), post("/containers/c/start"), post("/containers/c/start")), (304, 204, 304));
    assert_eq!((post("/containers/c/restart?t=1"), post("/containers/c/kill?signal=NONSENSE")), (204, 400));
    assert_eq!(daemon.delete("/containers/c").0, 409);
    assert_eq!(post("/containers/c/kill?signal=SIGTERM"), 204);
    let (status, answer) = daemon.post("/containers/c/wait?condition=not-running", "");
    assert!(status == 200 && answer.to_string().contains("143"), "{answer}");
    assert_eq!((post("/containers/c/kill"), daemon.delete("/containers/c?force=1&v=1").0), (409, 204));
    for (method, path) in [("POST", "start"), ("POST", "stop"), ("POST", "restart"), ("POST", "kill"), ("POST", "wait")]
    {
        let (status, answer) = common::request(&daemon.path(), method, &format!("/containers/c/{path}"), "");
        assert_eq!((status, message(&answer)), (404, "No such container: c"), "{path}");
    }
}

/// docker wait: the head of the answer comes at once, the status when what was waited for has come: that it does not run,
/// its next end, or that it is gone.
#[test]
fn waiting() {
    let daemon = Daemon::start();
    daemon.container("c", "bridge");
    let begin = |query: &str| {
        let mut stream = UnixStream::connect(daemon.path()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        write!(stream, "POST /containers/c/wait{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        reader
    };
    let end = |mut reader: BufReader<UnixStream>| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        let (from, to) = (text.find('{').unwrap(), text.rfind('}').unwrap());
        serde_json::from_str::<Value>(&text[from..=to]).unwrap()["StatusCode"].clone()
    };
    // It does not run yet, which is as good as an end.
    assert_eq!(end(begin("")), 0);
    let (next, removed) = (begin("?condition=next-exit"), begin("?condition=removed"));
    assert_eq!(daemon.post("/containers/c/start", "").0, 204);
    let stopped = begin("?condition=not-running");
    assert_eq!(daemon.post("/containers/c/kill?signal=TERM", "").0, 204);
    assert_eq!((end(next), end(stopped), end(begin(""))), (143.into(), 143.into(), 143.into()));
    assert_eq!(daemon.post("/containers/c/start", "").0, 204);
    // Killed means dead.
    assert_eq!((daemon.post("/containers/c/kill", "").0, daemon.delete("/containers/c").0), (204, 204));
    assert_eq!(end(removed), 137);
    let (status, answer) = daemon.post("/containers/c/wait?condition=later", "");
    assert_eq!((status, message(&answer)), (400, "invalid condition: \"later\""));
}

/// Networks of another scope are not found, and names in filters are patterns.
#[test]
fn networks() {
    let daemon = Daemon::start();
    daemon.network("web", "10.9.0.0/24");
    daemon.network("web2", "10.9.1.0/24");
    assert_eq!(daemon.get("/networks/web?verbose=true&scope=local").0, 200);
    let (status, answer) = daemon.get("/networks/web?scope=swarm");
    assert_eq!((status, message(&answer)), (404, "network web not found"));
    assert_eq!(daemon.get("/networks/web?verbose=perhaps").0, 400);
    let (_, answer) = daemon.get(&format!("/networks?filters={}", escaped(&json!({"name": ["^web$"]}))));
    assert_eq!((answer.as_array().unwrap().len(), &answer[0]["Name"]), (1, &"web".into()));
}

/// docker version and docker info say who answers.
#[test]
fn the_daemon() {
    let daemon = three();
    let (status, version) = daemon.get("/version");
    assert_eq!((status, &version["MinAPIVersion"], &version["Os"]), (200, &"1.24".into(), &"linux".into()));
    assert_eq!(version["Components"][0]["Details"]["ApiVersion"], version["ApiVersion"]);
    let (status, info) = daemon.get("/info");
    assert_eq!((status, &info["Containers"], &info["ContainersRunning"]), (200, &3.into(), &1.into()));
    assert_eq!((&info["ContainersStopped"], &info["Swarm"]["LocalNodeState"]), (&2.into(), &"inactive".into()));
    assert!(info["MemTotal"].as_u64().unwrap() > 0 && info["ID"].as_str().unwrap().len() == 64, "{info}");
    assert_eq!(info["Plugins"]["Network"], json!(["bridge", "host", "ipvlan", "macvlan", "null", "overlay"]));
}

/// Reads events until the connection ends or `count` have come: type, action, and name of each.
fn events(stream: UnixStream, count: usize) -> Vec<(String, String, String)> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok).filter(|line| line.starts_with('{'));
    let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let event = |line: String| {
        let event: Value = serde_json::from_str(&line).unwrap();
        (field(&event["Type"]), field(&event["Action"]), field(&event["Actor"]["Attributes"]["name"]))
    };
    lines.map(event).take(count).collect()
}

fn watch(daemon: &Daemon, query: &str) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.path()).unwrap();
    write!(stream, "GET /events?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    // The head comes at once, before anything happens.
    let mut head = [0; 15];
    std::io::Read::read_exact(&mut stream, &mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stream
}

fn triple(text: &str) -> (String, String, String) {
    let mut words = text.split(' ').map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default())
}

/// A listener hears in Docker's order what happens to a network and to a container on it.
#[test]
fn a_life_in_events() {
    let daemon = Daemon::start();
    let listener = watch(&daemon, "");
    daemon.network("net", "10.9.0.0/24");
    daemon.container("c", "net");
    assert_eq!(daemon.post("/containers/c/start", "").0, 204);
    assert_eq!(daemon.post("/networks/bridge/connect", r#"{"Container": "c"}"#).0, 200);
    assert_eq!(daemon.post("/networks/bridge/disconnect", r#"{"Container": "c"}"#).0, 200);
    assert_eq!(daemon.post("/containers/c/stop", "").0, 204);
    assert_eq!(daemon.delete("/containers/c").0, 204);
    assert_eq!(daemon.delete("/networks/net").0, 204);
    daemon.post("/networks/prune", "");
    let expected = [
        "network create net",
        "container create c",
        "network connect net",
        "container start c",
        "network connect bridge",
        "network disconnect bridge",
        "container kill c",
        "container die c",
        "network disconnect net",
        "container stop c",
        "container destroy c",
        "network destroy net",
        "network prune",
    ];
    assert_eq!(events(listener, expected.len()), expected.map(triple));
}

/// The past is told to whoever names a time, filtered, and the stream ends at its end.
#[test]
fn past_events() {
    let daemon = Daemon::start();
    daemon.network("net", "10.9.0.0/24");
    daemon.running("c", "net");
    let now = "4000000000";
    let past = |filters: Value| {
        let all = events(watch(&daemon, &format!("since=1&until=1700000000.5&filters={}", escaped(&filters))), 100);
        assert!(all.is_empty(), "nothing is as old as that: {all:?}");
        let query = format!("since=1600000000.000000001&filters={}", escaped(&filters));
        (query, filters)
    };
    for (filters, expected) in [
        (
            json!({"type": ["network"]}),
            &[
                "network create bridge",
                "network create host",
                "network create none",
                "network create net",
                "network connect net",
            ][..],
        ),
        (json!({"container": ["c"]}), &["container create c", "container start c"]),
        (json!({"network": ["net"], "event": ["connect"]}), &["network connect net"]),
        (json!({"event": ["start", "create"], "type": ["container"]}), &["container create c", "container start c"]),
    ] {
        let (query, _) = past(filters);
        let expected: Vec<_> = expected.iter().map(|text| triple(text)).collect();
        assert_eq!(events(watch(&daemon, &query), expected.len()), expected, "{query}");
    }
    for (query, says) in [
        ("since=soon", "invalid value for since"),
        ("until=-1", "invalid value for until"),
        (&format!("since={now}&until=5")[..], "cannot be after `until`"),
        ("filters=%7B%22size%22%3A%5B%221%22%5D%7D", "invalid filter 'size'"),
    ] {
        let (status, answer) = daemon.get(&format!("/events?{query}"));
        assert!(status == 400 && message(&answer).contains(says), "{query}: {status} {answer}");
    }
}

/// A listener that leaves, and one that never reads, cost nobody anything; only the latest events are kept.
#[test]
fn listeners_that_do_not_listen() {
    let daemon = Daemon::start();
    drop(watch(&daemon, ""));
    let silent = watch(&daemon, "");
    for index in 0..300 {
        daemon.network(&format!("n{index}"), &format!("10.{}.{}.0/24", 100 + index / 250, index % 250));
    }
    let kept = events(watch(&daemon, "since=1"), 256);
    assert_eq!(kept.len(), 256);
    assert_eq!(kept.last().unwrap(), &triple("network create n299"));
    assert_eq!(kept[0], triple("network create n44"));
    assert_eq!(events(silent, 300).len(), 300);
}
