//! `flows` and `port` against a daemon of a few lines.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Fake, Reply, stderr};
use serde_json::{Value, json};

const LINE: &str = "tcp      6 300 ESTABLISHED src=10.1.0.2 dst=10.9.0.2 sport=4000 dport=80 src=10.9.0.2 dst=10.9.0.1 \
                    sport=80 dport=4000 [ASSURED] mark=0 use=1";

fn flow() -> Value {
    let side = |source: &str, destination: &str| {
        json!({"source": source, "destination": destination, "source_port": 4000, "destination_port": 80,
               "egress": "(uplink)", "packets": 1, "bytes": 60})
    };
    json!({
        "protocol": "tcp", "protocol_number": 6, "kind": "masquerade", "state": "ESTABLISHED", "timeout": 300, "age": 1,
        "replied": true, "assured": true, "original": side("10.1.0.2", "10.9.0.2"),
        "reply": side("10.9.0.2", "10.9.0.1"), "text": LINE,
    })
}

/// `ls` prints conntrack's lines or the daemon's JSON, and every filter becomes a parameter.
#[test]
fn ls() {
    let fake = Fake::new(|_| Reply::Json(200, json!([flow()])));
    assert_eq!(fake.text(&["flows", "ls"]), format!("{LINE}\n"));
    let shown: Value = serde_json::from_str(&fake.text(&["flows", "ls", "--json"])).unwrap();
    assert_eq!(shown[0]["state"], "ESTABLISHED");
    let filters = ["--protocol", "tcp", "--source", "10.1.0.0/24", "--destination", "fd09::2", "--dport", "80"];
    fake.text(&[&["flows", "ls"][..], &filters, &["--endpoint", "web", "--network", "blue"]].concat());
    let path = "/vswitch/v1/flows?protocol=tcp&source=10.1.0.0%2F24&destination=fd09%3A%3A2&dport=80&endpoint=web&network=blue";
    assert_eq!(fake.lines().last().unwrap(), &format!("GET {path}"));
}

/// `flush` says how many flows it ended.
#[test]
fn flush() {
    let fake = Fake::new(|_| Reply::Json(200, json!({"removed": 1})));
    assert_eq!(fake.text(&["flows", "flush", "--endpoint", "web"]), "1 flow ended\n");
    assert_eq!(fake.lines(), ["DELETE /vswitch/v1/flows?endpoint=web"]);
}

/// `watch` prints events as they come, says where some were lost, and fails when the daemon goes.
#[test]
fn watch() {
    let events = format!(
        "{}\n{}\n",
        json!({"event": "new", "flow": flow()}),
        json!({"event": "destroy", "lost": 7, "flow": flow()})
    );
    let events: &'static str = events.leak();
    let fake = Fake::new(move |_| Reply::Text(events));
    let output = fake.run(&["flows", "watch"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with(&format!("    [NEW] {LINE}\n# 7 events were lost here")), "{text}");
    assert!(text.ends_with(&format!("[DESTROY] {LINE}\n")), "{text}");
    assert!(stderr(&output).contains("ended the stream"), "{}", stderr(&output));
}

/// `port` prints as Docker does: all bindings, or those of one port, or that there is none.
#[test]
fn port() {
    let container = json!({
        "id": "d".repeat(64), "name": "web", "hostname": "web", "command": ["true"], "created": "2020-01-01T00:00:00Z",
        "state": "running", "pid": 42, "auto_remove": false, "tty": false, "network_mode": "bridge", "dns": [],
        "extra_hosts": [], "publish": ["8080:80"], "labels": {}, "endpoints": [], "ports": [
            {"protocol": "tcp", "container_port": 80, "host_ip": "0.0.0.0", "host_port": 8080},
            {"protocol": "tcp", "container_port": 80, "host_ip": "::", "host_port": 8080},
            {"protocol": "udp", "container_port": 53, "host_ip": "10.9.0.1", "host_port": 53},
        ]
    });
    let shown = container.clone();
    let fake = Fake::new(move |_| Reply::Json(200, shown.clone()));
    let all = "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n53/udp -> 10.9.0.1:53\n";
    assert_eq!(fake.text(&["port", "web"]), all);
    assert_eq!(fake.text(&["port", "web", "80"]), "0.0.0.0:8080\n[::]:8080\n");
    assert_eq!(fake.text(&["port", "web", "53/UDP"]), "10.9.0.1:53\n");
    let output = fake.run(&["port", "web", "81"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no public port '81/tcp' published for web"), "{}", stderr(&output));
    assert_eq!(fake.run(&["port", "web", "http"]).status.code(), Some(2));
    let fake = Fake::new(move |_| Reply::Json(200, json!([container])));
    assert!(fake.text(&["ps"]).contains("0.0.0.0:8080->80/tcp, 10.9.0.1:53->53/udp, [::]:8080->80/tcp"));
}
