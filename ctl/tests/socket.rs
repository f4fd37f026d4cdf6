//! The control socket itself: paths, methods, sizes, slow and dead clients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use common::{Daemon, message, raw};
use vswitch_api::MAX_BODY_BYTES;

/// What Docker's clients ask first is answered with the headers that they look at, by HEAD as well.
#[test]
fn ping() {
    let daemon = Daemon::start();
    for method in ["GET", "HEAD"] {
        let mut stream = UnixStream::connect(daemon.path()).unwrap();
        write!(stream, "{method} /_ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        for says in ["HTTP/1.1 200 OK", "api-version: 1.50", "docker-experimental: false", "ostype: linux"] {
            assert!(text.contains(says), "{text}");
        }
    }
    let (status, version) = daemon.get("/v1.41/version");
    assert_eq!((status, version["ApiVersion"].as_str()), (200, Some("1.50")));
}

/// Unknown paths, Docker's other endpoints and wrong methods are refused as JSON.
#[test]
fn unknown_paths() {
    let daemon = Daemon::start();
    for (method, path, expected, says) in [
        ("GET", "/nonsense", 404, "page not found"),
        ("GET", "/vswitch/v1/nonsense", 404, "page not found"),
        ("GET", "/v1.47/images/get", 501, "unpack or build a root directory"),
        ("POST", "/swarm/init", 503, "This node is not a swarm manager"),
        ("POST", "/containers/create", 400, "the request body is empty"),
        ("POST", "/build", 501, "--image NAME=DIR"),
        ("GET", "/images/busybox/json", 404, "No such image: busybox"),
        ("GET", "/v1.23/networks", 400, "client version 1.23 is too old. Minimum supported API version is 1.24"),
        ("GET", "/v1.51/networks", 400, "client version 1.51 is too new. Maximum supported API version is 1.50"),
        ("PUT", "/networks", 405, "PUT is not allowed on /networks"),
        ("POST", "/vswitch/v1/stats", 405, "not allowed"),
        ("GET", "/vswitch/v1/containers?all=perhaps", 400, "invalid query"),
        ("GET", "/networks/%FF", 400, "invalid path"),
    ] {
        let (status, answer) = common::request(&daemon.path(), method, path, "");
        assert!(status == expected && message(&answer).contains(says), "{method} {path}: {status} {answer}");
    }
}

/// A method that nobody has is refused on served paths with those that are served, and a sentence's escapes are escaped.
#[test]
fn refused_methods_and_escapes() {
    let daemon = Daemon::start();
    for (method, path) in [("TRACE", "/containers/json"), ("PATCH", "/containers/c1/start"), ("TRACE", "/networks")] {
        let mut stream = UnixStream::connect(daemon.path()).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("allow: "), "{text}");
    }
    let (status, answer) = daemon.get("/containers/%1b%5d0;x%07%e2%80%ae/json");
    assert_eq!((status, message(&answer)), (404, r"No such container: \u{1b}]0;x\u{7}\u{202e}"));
}

/// A head over the limit is refused, whether it comes in one piece or in many.
#[test]
fn oversized_heads() {
    let daemon = Daemon::start();
    for (bytes, expected) in [(60 << 10, 200), (70 << 10, 431), (100 << 10, 431)] {
        let header = "h".repeat(bytes);
        let head = format!("GET /_ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {header}\r\n\r\n");
        assert_eq!(raw(&daemon.path(), head.as_bytes()).0, expected, "{bytes}");
    }
}

/// A body over the limit is refused with 413 and a sentence, whether its length is announced or not.
#[test]
fn oversized_bodies() {
    let daemon = Daemon::start();
    let body = format!("{{\"Name\": \"{}\"}}", "x".repeat(MAX_BODY_BYTES));
    let (status, answer) = daemon.post("/networks/create", &body);
    assert!(status == 413 && message(&answer).contains("larger than 1048576 bytes"), "{status} {answer}");
    let mut chunked =
        b"POST /networks/create HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(format!("{:x}\r\n{}\r\n", 65536, "y".repeat(65536)).as_bytes());
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(raw(&daemon.path(), &chunked).0, 413);
    let exact = format!("{{\"Name\": \"fits\"}}{}", " ".repeat(MAX_BODY_BYTES - 16));
    assert_eq!(exact.len(), MAX_BODY_BYTES);
    assert_eq!(daemon.post("/networks/create", &exact).0, 201);
}

/// Bytes that are no HTTP end the connection and nothing else.
#[test]
fn noise() {
    let daemon = Daemon::start();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
    for bytes in [&b"\0\x01\x02\r\n\r\n"[..], b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", long.as_bytes()] {
        let mut stream = UnixStream::connect(daemon.path()).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2"));
        assert_eq!(daemon.get("/vswitch/v1/version").0, 200);
    }
}

/// Clients that connect and stay silent, send half a request, or never read, hold nobody up.
#[test]
fn silent_clients() {
    let daemon = Daemon::start();
    let mut held = Vec::new();
    for index in 0..200 {
        let mut stream = UnixStream::connect(daemon.path()).unwrap();
        match index % 4 {
            0 => {}
            1 => stream.write_all(b"GET /netw").unwrap(),
            2 => {
                stream.write_all(b"POST /networks/create HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
            }
            _ => stream.write_all(&b"GET /vswitch/v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50)).unwrap(),
        }
        held.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(daemon.get("/networks").0, 200);
    }
}

/// More clients than there is room for are told so; when one goes, the next is served.
#[test]
fn too_many_clients() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum },
    )
    .unwrap();
    let daemon = Daemon::start();
    let mut held: Vec<_> = (0..1024).map(|_| UnixStream::connect(daemon.path()).unwrap()).collect();
    let mut last = (0, String::new());
    for _ in 0..100 {
        last = raw(&daemon.path(), b"");
        if last.0 == 503 {
            break;
        }
    }
    assert!(last.0 == 503 && last.1.contains("as many clients as it can"), "{last:?}");
    held.clear();
    for attempt in 0.. {
        let (status, _) = raw(&daemon.path(), b"GET /_ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        if status == 200 {
            break;
        }
        assert!(attempt < 100, "still {status}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Many clients at once each make, use and remove their own network.
#[test]
fn many_clients_at_once() {
    let daemon = Daemon::start();
    std::thread::scope(|scope| {
        for index in 0..16 {
            let daemon = &daemon;
            scope.spawn(move || {
                let name = format!("n{index}");
                daemon.network(&name, &format!("10.{index}.0.0/16"));
                daemon.running(&format!("c{index}"), &name);
                assert_eq!(daemon.delete(&format!("/networks/{name}")).0, 403);
                assert_eq!(daemon.delete(&format!("/vswitch/v1/containers/c{index}?force=true")).0, 204);
                assert_eq!(daemon.delete(&format!("/networks/{name}")).0, 204);
            });
        }
    });
    assert_eq!(daemon.agent.counts(), (0, 0, 0));
}

/// The document that describes the socket has every route, and every route of it is served.
#[test]
fn the_description_is_complete() {
    let daemon = Daemon::start();
    let (status, document) = daemon.get("/vswitch/v1/openapi.json");
    assert_eq!(status, 200);
    let paths = document["paths"].as_object().unwrap();
    let mut operations = 0;
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            operations += 1;
            // Streams without an end would never be answered.
            let concrete = path.replace(['{', '}'], "").replace("/events", "/events?until=1");
            let endless = ["/v1/capture", "/v1/trace", "/v1/expect"];
            let concrete = endless.iter().fold(concrete, |path, end| path.replace(end, &format!("{end}?on=nothing")));
            let (status, answer) = common::request(&daemon.path(), &method.to_uppercase(), &concrete, "");
            let text = answer.to_string();
            assert!(status != 405 && !text.contains("page not found"), "{method} {path}: {status} {text}");
        }
    }
    for (path, own, other) in
        [("/version", "MinAPIVersion", "state_dir"), ("/vswitch/v1/version", "state_dir", "MinAPIVersion")]
    {
        let answer = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let name = answer["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        let properties = document["components"]["schemas"][name]["properties"].as_object().unwrap();
        assert!(properties.contains_key(own) && !properties.contains_key(other), "{path}: {name}");
    }
    let refusals = &document["paths"]["/vswitch/v1/containers"]["get"]["responses"];
    assert!(refusals["4XX"].is_object() && refusals["5XX"].is_object(), "{refusals}");
    assert_eq!(operations, 126, "routes and this number change together");
    for name in ["ContainerCreate", "NetworkCreate", "EndpointConfig", "Stats", "FdbEntry", "ErrorBody"] {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}
