//! Requests that no client sends who means well: each gets one answer, of which the daemon is not to blame, and the next
//! client is served.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use common::Daemon;
use serde_json::Value;

/// What a request deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is odd, but allowed.
    Served,
    /// A status that blames the request, with a sentence.
    Refused,
    /// What is no HTTP is refused without a sentence, or the connection is closed.
    Closed,
    /// Some clients may mean it: answered, whatever the answer is.
    Either,
}

use Fate::{Closed, Either, Refused, Served};

/// Sends bytes, with `end` nothing more after them, and reads until the end.
fn exchange(socket: &Path, bytes: &[u8], end: bool) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    // Whoever is refused in the middle of a request may find the connection closed.
    let _ = stream.write_all(bytes);
    if end {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[track_caller]
fn check(socket: &Path, name: &str, bytes: &[u8], fate: Fate) {
    // What is no whole request is only given up when no more comes; hanging up on others would be taken for a change of mind.
    let answer = exchange(socket, bytes, fate == Closed);
    let status: u16 = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let blames = (400..500).contains(&status) || status == 501;
    let fits = match fate {
        Served => (200..300).contains(&status),
        Refused => {
            let sentence =
                serde_json::from_str::<Value>(body).ok().and_then(|body| body["message"].as_str().map(str::len));
            blames && sentence.is_some_and(|length| (1..4000).contains(&length))
        }
        Closed => status == 0 || blames,
        Either => (200..300).contains(&status) || blames,
    };
    assert!(fits, "{name:.60}: {fate:?} expected: {}", answer.chars().take(600).collect::<String>());
    assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{name} has several answers: {answer}");
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes()
}

fn post(target: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n");
    [head.as_bytes(), body].concat()
}

/// Request lines and heads.
#[test]
fn heads() {
    let daemon = Daemon::start();
    let headers: String = (0..200).map(|number| format!("x{number}: y\r\n")).collect();
    let create = "POST /networks/create HTTP/1.1\r\nhost: x\r\n";
    let cases: Vec<(&str, Vec<u8>, Fate)> = vec![
        ("noise", b"\x00\x01\x02\xff\xfe\r\n\r\n".to_vec(), Closed),
        ("no version", b"GET /version\r\n\r\n".to_vec(), Closed),
        ("version 0.9", b"GET /version HTTP/0.9\r\n\r\n".to_vec(), Closed),
        ("version 2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Closed),
        ("version 3.7", b"GET / HTTP/3.7\r\n\r\n".to_vec(), Closed),
        ("a path of 60,000 letters", get(&format!("/{}", "a".repeat(60_000))), Closed),
        ("a path of 70,000 letters", get(&format!("/{}", "a".repeat(70_000))), Closed),
        ("200 headers", format!("GET /version HTTP/1.1\r\n{headers}\r\n").into_bytes(), Closed),
        ("folded header", b"GET /version HTTP/1.1\r\nhost: x\r\n y: z\r\n\r\n".to_vec(), Closed),
        ("NUL in a header", b"GET /version HTTP/1.1\r\nhost: x\0y\r\n\r\n".to_vec(), Closed),
        ("two lengths", post("/networks/create", "content-length: 5\r\n", b"{\"Name\":\"two-lengths\"}"), Closed),
        (
            "length and chunks",
            format!("{create}content-length: 4\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\nGET /info HTTP/1.1\r\n\r\n")
                .into_bytes(),
            Closed,
        ),
        ("unknown coding", format!("{create}transfer-encoding: xchunked\r\n\r\n").into_bytes(), Closed),
        ("negative length", format!("{create}content-length: -1\r\n\r\n").into_bytes(), Closed),
        ("length of 2^66", format!("{create}content-length: 99999999999999999999\r\n\r\n").into_bytes(), Closed),
        ("10 GiB announced", format!("{create}content-length: 10737418240\r\n\r\n").into_bytes(), Closed),
        ("endless chunk", format!("{create}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n").into_bytes(), Closed),
        (
            "endless extension",
            format!("{create}transfer-encoding: chunked\r\n\r\n1;{}\r\n", "a".repeat(200_000)).into_bytes(),
            Closed,
        ),
        ("method of 1,000 letters", format!("{} /version HTTP/1.1\r\nhost: x\r\n\r\n", "A".repeat(1000)).into_bytes(), Closed),
        ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), Closed),
        ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), Closed),
        ("TRACE", b"TRACE /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), Refused),
        ("version 1.0", b"GET /version HTTP/1.0\r\n\r\n".to_vec(), Either),
        ("bare line feeds", b"GET /version HTTP/1.1\nhost: x\nconnection: close\n\n".to_vec(), Either),
        ("absolute address", get("http://elsewhere/version"), Either),
        (
            "bogus upgrade",
            b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: h2c\r\n\r\n".to_vec(),
            Either,
        ),
    ];
    for (name, bytes, fate) in &cases {
        check(&daemon.path(), name, bytes, *fate);
    }
    check(&daemon.path(), "an ordinary request", &get("/version"), Served);
    assert!(!daemon.get("/networks").1.to_string().contains("two-lengths"));
}

/// Paths and queries.
#[test]
fn targets() {
    let daemon = Daemon::start();
    let patterns = |text: &str, count: usize| {
        let list = vec![format!("%22{text}%22"); count].join(",");
        format!("/networks?filters=%7B%22name%22:%5B{list}%5D%7D")
    };
    let cases = [
        ("/../../etc/passwd", Refused),
        ("/containers/%2e%2e%2f%2e%2e%2fetc%2fpasswd/json", Refused),
        ("/containers/%00/json", Refused),
        ("/containers/%ff%fe/json", Refused),
        ("/containers/%zz/json", Refused),
        ("//version", Refused),
        ("/v1.99/version", Refused),
        ("/v1./version", Refused),
        ("/v99999999999999999999.1/version", Refused),
        ("/networks?filters=%7b", Refused),
        ("/events?since=999999999999999999999&until=1", Refused),
        ("/events?since=NaN", Refused),
        ("/events?since=0&until=1", Served),
        ("/events?since=-1000000000000000000&until=0", Either),
        // Patterns that expand are bounded where they are compiled.
        (&patterns("(a%7B1000%7D)%7B1000%7D", 100), Either),
        (&patterns("w%7B120%7Dx", 900), Either),
    ];
    for (target, fate) in cases {
        check(&daemon.path(), target, &get(target), fate);
    }
    for wait in ["-1", "99999999999999999999999"] {
        let target = format!("/containers/none/stop?t={wait}");
        check(&daemon.path(), &target, &post(&target, "", b""), Refused);
    }
    check(&daemon.path(), "an ordinary request", &get("/version"), Served);
}

/// Bodies.
#[test]
fn bodies() {
    let daemon = Daemon::start();
    let named = |name: &str| format!("{{\"Name\":\"{name}\"}}").into_bytes();
    let ours = "/vswitch/v1/endpoints";
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("empty", "/networks/create", Vec::new()),
        ("white space", "/networks/create", b"  \n".to_vec()),
        ("an array", "/networks/create", b"[]".to_vec()),
        ("null", "/networks/create", b"null".to_vec()),
        ("a number", "/networks/create", b"1".to_vec()),
        ("deep arrays", "/networks/create", format!("{{\"Name\":{}}}", "[".repeat(100_000)).into_bytes()),
        ("deep objects", "/networks/create", "{\"a\":".repeat(100_000).into_bytes()),
        ("a name twice", "/networks/create", b"{\"Name\":\"one\",\"Name\":\"two\"}".to_vec()),
        ("no UTF-8", "/networks/create", b"{\"Name\":\"\xff\xfe\"}".to_vec()),
        ("half a surrogate", "/networks/create", named("\\ud800")),
        ("NUL in a name", "/networks/create", named("a\\u0000b")),
        ("ESC in a name", "/networks/create", named("a\\u001b[31mred")),
        ("a name from right to left", "/networks/create", named("a\u{202e}b")),
        ("a path as a name", "/networks/create", named("../../etc")),
        ("a name of 10,000 letters", "/networks/create", named(&"n".repeat(10_000))),
        ("no name", "/networks/create", named("")),
        ("a byte order mark", "/networks/create", [&b"\xef\xbb\xbf"[..], &named("mark")].concat()),
        (
            "50,000 digits",
            "/networks/create",
            format!("{{\"Name\":\"e\",\"Internal\":{}}}", "1".repeat(50_000)).into_bytes(),
        ),
        ("compressed", "/networks/create", b"\x1f\x8b\x08".to_vec()),
        ("pid 1e400", ours, b"{\"pid\":1e400}".to_vec()),
        ("pid -1", ours, b"{\"pid\":-1}".to_vec()),
        ("pid 2^64", ours, b"{\"pid\":18446744073709551616}".to_vec()),
        ("pid 0", ours, b"{\"pid\":0,\"network\":\"bridge\"}".to_vec()),
        ("pid 1.5", ours, b"{\"pid\":1.5}".to_vec()),
        (
            "a container's name twice",
            "/vswitch/v1/containers",
            b"{\"name\":\"a\",\"name\":\"b\",\"command\":[\"true\"]}".to_vec(),
        ),
    ];
    for (name, target, body) in &cases {
        check(&daemon.path(), name, &post(target, "", body), Refused);
    }
    // Docker's clients may send what this daemon does not know.
    let deep = format!("{{\"Zzz\":{}{},\"Name\":\"deep\"}}", "[".repeat(100_000), "]".repeat(100_000));
    check(&daemon.path(), "deep where nobody looks", &post("/networks/create", "", deep.as_bytes()), Served);
    let names = daemon.get("/networks").1.to_string();
    for name in ["mark", "one", "two", "red"] {
        assert!(!names.contains(&format!("\"{name}\"")), "{name} was made: {names}");
    }
}

/// A text whose form the document of the API describes.
struct Text {
    schema: &'static str,
    property: &'static str,
    target: &'static str,
    /// With `$` for the text, and `#` for a number that is another one every time.
    body: &'static str,
    good: &'static [&'static str],
    bad: &'static [&'static str],
}

const TEXTS: [Text; 10] = [
    Text {
        schema: "NetworkCreate",
        property: "Name",
        target: "/networks/create",
        body: r#"{"Name": "$"}"#,
        good: &["web", "a b", "0", "x_y-z."],
        bad: &["", " a", "a ", "a/b", "w\u{e9}b", "-a"],
    },
    Text {
        schema: "IpamConfig",
        property: "Subnet",
        target: "/networks/create",
        body: r##"{"Name": "s#", "EnableIPv6": true, "IPAM": {"Config": [{"Subnet": "$"}]}}"##,
        good: &["10.70.0.0/24", "fd00:70::/64"],
        bad: &["10.71.0.0", "10.71.0.0/x", "fd00::/", "net/24"],
    },
    Text {
        schema: "IpamConfig",
        property: "Gateway",
        target: "/networks/create",
        body: r##"{"Name": "g#", "IPAM": {"Config": [{"Subnet": "10.72.0.0/24", "Gateway": "$"}]}}"##,
        good: &["10.72.0.9"],
        bad: &["10.72.0.x", "gw", "10.72.0.9/24"],
    },
    Text {
        schema: "EndpointConfig",
        property: "MacAddress",
        target: "/vswitch/v1/containers",
        body: r##"{"name": "m#", "command": ["true"], "network": "fixed", "endpoint": {"MacAddress": "$"}}"##,
        good: &["02:42:ac:11:00:09", "02-42-AC-11-00-0a"],
        bad: &["02:42", "02:42:ac:11:00:zz", "02-42:ac:11:00:09", "2:42:ac:11:00:9"],
    },
    Text {
        schema: "EndpointIpamConfig",
        property: "IPv4Address",
        target: "/vswitch/v1/containers",
        body: r##"{"name": "i#", "command": ["true"], "network": "fixed", "endpoint": {"IPAMConfig": {"IPv4Address": "$"}}}"##,
        good: &["10.73.0.9", "10.73.0.10/24"],
        bad: &["10.73.0", "web", "10.73.0.9/", "fd00::1"],
    },
    Text {
        schema: "ContainerCreate",
        property: "name",
        target: "/vswitch/v1/containers",
        body: r#"{"name": "$", "command": ["true"], "network": "none"}"#,
        good: &["w", "w-1_x.y", "/slash"],
        bad: &["-w", "w x", "a/b", "/"],
    },
    Text {
        schema: "ContainerCreate",
        property: "hostname",
        target: "/vswitch/v1/containers",
        body: r#"{"hostname": "$", "command": ["true"], "network": "none"}"#,
        good: &["", "a.b-c_d", "_x"],
        bad: &["-x", ".x", "a b"],
    },
    Text {
        schema: "ContainerCreate",
        property: "working_dir",
        target: "/vswitch/v1/containers",
        body: r#"{"working_dir": "$", "command": ["true"], "network": "none"}"#,
        good: &["", "/", "/a b"],
        bad: &["a", "./a"],
    },
    Text {
        schema: "ContainerCreate",
        property: "userns",
        target: "/vswitch/v1/containers",
        body: r#"{"userns": "$", "command": ["true"], "network": "none"}"#,
        good: &["", "host"],
        bad: &["private", "Host"],
    },
    Text {
        schema: "AttachRequest",
        property: "name",
        target: "/vswitch/v1/endpoints",
        body: r#"{"name": "$", "pid": 1, "network": "fixed"}"#,
        good: &["att", "/att2"],
        bad: &["-att", "a b", "a/b"],
    },
];

/// What the document says of a text is what is checked: what does not match is refused, and what is made of it matches.
#[test]
fn patterns() {
    let daemon = Daemon::start();
    let fixed = r#"{"Name": "fixed", "IPAM": {"Config": [{"Subnet": "10.73.0.0/24"}]}}"#;
    assert_eq!(daemon.post("/networks/create", fixed).0, 201);
    let (_, document) = daemon.get("/vswitch/v1/openapi.json");
    let mut number = 0;
    for Text { schema, property, target, body, good, bad } in TEXTS {
        let pattern = document["components"]["schemas"][schema]["properties"][property]["pattern"].as_str();
        let pattern =
            regex::Regex::new(pattern.unwrap_or_else(|| panic!("{schema}.{property} has no pattern"))).unwrap();
        for (text, is_good) in good.iter().map(|text| (text, true)).chain(bad.iter().map(|text| (text, false))) {
            number += 1;
            let body = body.replace('$', text).replace('#', &number.to_string());
            let (status, answer) = daemon.post(target, &body);
            assert_eq!(pattern.is_match(text), is_good, "{schema}.{property}: {text:?}");
            assert_eq!(status, if is_good { 201 } else { 400 }, "{schema}.{property}: {text:?}: {answer}");
        }
    }
}

/// What is answered has the forms that the document says: addresses, MAC addresses and times.
#[test]
fn answers_have_their_forms() {
    let daemon = Daemon::start();
    let dual = r#"{"Name": "dual", "EnableIPv6": true,
        "IPAM": {"Config": [{"Subnet": "10.73.0.0/24"}, {"Subnet": "fd00:73::/64"}]}}"#;
    assert_eq!(daemon.post("/networks/create", dual).0, 201);
    daemon.running("c", "dual");
    daemon.container("made", "dual");
    let entry = r#"{"mac_address": "02-00-00-00-00-09", "endpoint": "c"}"#;
    assert!(daemon.post("/vswitch/v1/networks/dual/fdb", entry).0 < 300);
    let (_, document) = daemon.get("/vswitch/v1/openapi.json");
    let mut forms = Forms { document: &document, held: BTreeMap::new() };
    for (path, concrete) in [
        ("/networks", "/networks"),
        ("/networks/{id}", "/networks/dual"),
        ("/containers/json", "/containers/json?all=true"),
        ("/containers/{id}/json", "/containers/c/json"),
        ("/containers/{id}/json", "/containers/made/json"),
        ("/info", "/info"),
        ("/vswitch/v1/containers", "/vswitch/v1/containers?all=true"),
        ("/vswitch/v1/containers/{id}", "/vswitch/v1/containers/c"),
        ("/vswitch/v1/endpoints", "/vswitch/v1/endpoints"),
        ("/vswitch/v1/networks/{network}/fdb", "/vswitch/v1/networks/dual/fdb"),
        ("/vswitch/v1/topology", "/vswitch/v1/topology"),
        ("/vswitch/v1/stats", "/vswitch/v1/stats"),
    ] {
        let (status, answer) = daemon.get(concrete);
        assert_eq!(status, 200, "{concrete}: {answer}");
        let said = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(said.is_object(), "{path} has no schema");
        forms.hold(said, &answer, concrete);
    }
    for form in ["date-time", "mac", "cidr", "ipv4", "ipv6", "pattern"] {
        assert!(forms.held.get(form).is_some_and(|times| *times >= 2), "{form}: {:?}", forms.held);
    }
}

/// Holds answers against what a document says of them.
struct Forms<'d> {
    document: &'d Value,
    /// How often a form was met.
    held: BTreeMap<String, usize>,
}

impl Forms<'_> {
    fn hold(&mut self, schema: &Value, value: &Value, at: &str) {
        if let Some(name) = schema["$ref"].as_str() {
            let schema = &self.document["components"]["schemas"][name.rsplit('/').next().unwrap()];
            assert!(schema.is_object(), "{name}");
            return self.hold(schema, value, at);
        }
        for part in ["oneOf", "anyOf", "allOf"].iter().filter_map(|key| schema[key].as_array()).flatten() {
            if !value.is_null() && part["type"] != "null" {
                self.hold(part, value, at);
            }
        }
        match value {
            Value::String(text) => self.text(schema, text, at),
            Value::Array(all) => all.iter().for_each(|one| self.hold(&schema["items"], one, &format!("{at}[]"))),
            Value::Object(fields) => {
                for (name, field) in fields {
                    let own = schema["properties"].get(name);
                    if let Some(schema) = own.or_else(|| schema.get("additionalProperties")) {
                        self.hold(schema, field, &format!("{at}.{name}"));
                    }
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, schema: &Value, text: &str, at: &str) {
        if let Some(pattern) = schema["pattern"].as_str() {
            assert!(regex::Regex::new(pattern).unwrap().is_match(text), "{at}: {text:?} is not {pattern}");
            *self.held.entry("pattern".to_owned()).or_default() += 1;
        }
        let Some(form) = schema["format"].as_str() else { return };
        let matches = |pattern: &str| regex::Regex::new(pattern).unwrap().is_match(text);
        let has_form = match form {
            "date-time" => {
                matches(r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$")
            }
            "mac" => matches("^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"),
            "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
            "ip" => text.parse::<std::net::IpAddr>().is_ok(),
            "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
            "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
            _ => panic!("{at}: nobody knows the format {form}"),
        };
        assert!(has_form, "{at}: {text:?} is no {form}");
        *self.held.entry(form.to_owned()).or_default() += 1;
    }
}
