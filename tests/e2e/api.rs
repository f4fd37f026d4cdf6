//! The control socket: good clients, many clients, bad clients.

use std::{
    io::Write,
    process::{Child, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use vswitch_tests::{Vswitch, eventually, guard, http, sh};

/// The daemon describes itself and its API, and curl can talk to it.
#[test]
fn describes_itself() {
    guard(|| {
        let vs = Vswitch::start();
        let socket = vs.socket();
        let version = http::request(&socket, "GET", "/vswitch/v1/version", None).json();
        assert_eq!(version["pid"].as_u64(), Some(vs.pid().into()));
        assert_eq!(version["state_dir"].as_str(), vs.state_dir().to_str());
        let openapi = http::request(&socket, "GET", "/vswitch/v1/openapi.json", None).json();
        assert!(openapi["openapi"].as_str().unwrap().starts_with("3."));
        for path in ["/vswitch/v1/containers", "/vswitch/v1/endpoints", "/vswitch/v1/stats", "/networks/create"] {
            assert!(openapi["paths"][path].is_object(), "{path} is not described");
        }
        let said = sh(&format!("curl -sf --unix-socket {} http://d/vswitch/v1/stats", socket.display())).ok();
        assert!(said.contains("uptime_ms"), "{said}");
        let ping = http::request(&socket, "GET", "/_ping", None);
        assert_eq!((ping.status, ping.body.as_str()), (200, "OK"));
        assert!(ping.head.to_lowercase().contains("api-version: 1.50"), "{}", ping.head);
    });
}

/// Unknown paths, wrong methods and malformed bodies are answered with a status and a sentence.
#[test]
fn bad_requests() {
    guard(|| {
        let vs = Vswitch::start();
        let socket = vs.socket();
        http::request(&socket, "GET", "/nowhere", None).refused(404, "");
        http::request(&socket, "GET", "/vswitch/v1/nowhere", None).refused(404, "");
        assert_eq!(http::request(&socket, "PATCH", "/networks", None).status, 405);
        for path in ["/networks/create", "/vswitch/v1/containers", "/vswitch/v1/endpoints", "/networks/bridge/connect"]
        {
            for body in [
                "{",
                "",
                "[]",
                "17",
                "\"text\"",
                "{\"Name\": 5, \"Container\": 5, \"command\": 5}",
                "{}}",
                "\u{0}\u{1}",
            ] {
                let answer = http::request(&socket, "POST", path, Some(body));
                assert!(answer.status == 400, "{path} {body:?}: {answer:?}");
                assert!(!answer.json()["message"].as_str().unwrap().is_empty());
            }
        }
        let unknown = "{\"command\": [\"true\"], \"comand\": 1}";
        http::request(&socket, "POST", "/vswitch/v1/containers", Some(unknown)).refused(400, "comand");
        let deep = "[".repeat(100_000);
        assert_eq!(http::request(&socket, "POST", "/networks/create", Some(&deep)).status, 400);
        http::request(&socket, "GET", "/networks/no%20such", None).refused(404, "network no such not found");
        http::request(&socket, "GET", "/networks?filters=%7Bbad", None).refused(400, "");
        assert_eq!(vs.json("network ls").as_array().map(Vec::len), Some(3), "nothing was made");
    });
}

/// Bodies and heads beyond the limits are refused without being kept in memory.
#[test]
fn oversized_requests() {
    guard(|| {
        let vs = Vswitch::start();
        let socket = vs.socket();
        let large = format!("{{\"Name\": \"{}\"}}", "x".repeat(2 << 20));
        assert_eq!(http::request(&socket, "POST", "/networks/create", Some(&large)).status, 413);
        let mut chunked = "POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            .to_owned();
        for _ in 0..40 {
            chunked.push_str(&format!("10000\r\n{}\r\n", "x".repeat(65536)));
        }
        chunked.push_str("0\r\n\r\n");
        let answer = http::raw(&socket, chunked.as_bytes());
        assert!(answer.status == 413 || answer.status == 0, "{}", answer.status);
        let promised = "POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n\
             Content-Length: 99999999999\r\nConnection: close\r\n\r\n";
        assert_eq!(http::raw(&socket, promised.as_bytes()).status, 413);
        let head = format!("GET /_ping HTTP/1.1\r\nHost: d\r\nX: {}\r\n\r\n", "x".repeat(2 << 20));
        let answer = http::raw(&socket, head.as_bytes());
        assert!([0, 400, 413, 431].contains(&answer.status), "{}", answer.status);
        let path = format!("GET /{} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n", "x".repeat(1 << 20));
        assert!([0, 400, 404, 413, 414, 431].contains(&http::raw(&socket, path.as_bytes()).status));
        let noise: Vec<u8> = (0..100_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!([0, 400].contains(&http::raw(&socket, &noise).status));
        vs.ok("network ls");
        let resident = std::fs::read_to_string(format!("/proc/{}/status", vs.pid())).unwrap();
        let line = resident.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kib < 300_000, "{line}");
    });
}

/// Many clients at once are all answered; of those who want the same name, one gets it.
#[test]
fn many_clients() {
    guard(|| {
        let vs = Vswitch::start();
        let socket = vs.socket();
        let (made, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for client in 0..40 {
                let (socket, made, refused) = (&socket, &made, &refused);
                scope.spawn(move || {
                    for round in 0..10 {
                        let body = format!("{{\"Name\": \"net{client}-{round}\"}}");
                        assert_eq!(http::request(socket, "POST", "/networks/create", Some(&body)).status, 201);
                        assert_eq!(http::request(socket, "GET", "/vswitch/v1/stats", None).status, 200);
                        let contested = format!("{{\"Name\": \"contested{round}\"}}");
                        match http::request(socket, "POST", "/networks/create", Some(&contested)).status {
                            201 => made.fetch_add(1, Ordering::Relaxed),
                            409 => refused.fetch_add(1, Ordering::Relaxed),
                            other => panic!("status {other}"),
                        };
                        let path = format!("/networks/net{client}-{round}");
                        assert_eq!(http::request(socket, "DELETE", &path, None).status, 204);
                    }
                });
            }
        });
        assert_eq!((made.into_inner(), refused.into_inner()), (10, 390));
        assert_eq!(vs.json("network ls").as_array().map(Vec::len), Some(13));
    });
}

/// Clients that stall in the middle of a request, never read, or hang up at once harm nobody else.
#[test]
fn slow_and_dead_clients() {
    guard(|| {
        let vs = Vswitch::start();
        let socket = vs.socket();
        for index in 0..50 {
            http::request(&socket, "POST", "/networks/create", Some(&format!("{{\"Name\": \"net{index}\"}}")));
        }
        let mut stalled = Vec::new();
        for index in 0..150 {
            let mut stream = http::connect(&socket);
            let part: &[u8] = match index % 3 {
                0 => b"",
                1 => b"POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Le",
                _ => b"POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{",
            };
            stream.write_all(part).unwrap();
            stalled.push(stream);
        }
        for _ in 0..20 {
            let mut deaf = http::connect(&socket);
            deaf.set_nonblocking(true).unwrap();
            let request = b"GET /networks HTTP/1.1\r\nHost: d\r\n\r\n".repeat(200);
            let _ = deaf.write(&request);
            stalled.push(deaf);
        }
        for _ in 0..200 {
            let mut dead = http::connect(&socket);
            let _ = dead.write_all(b"GET /networks HTTP/1.1\r\nHost: d\r\n\r\n");
        }
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(http::request(&socket, "GET", "/_ping", None).status, 200);
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        vs.ok("network create while-they-stall");
        drop(stalled);
        eventually("their connections are closed", 15, || {
            std::fs::read_dir(format!("/proc/{}/fd", vs.pid())).unwrap().count() < 80
        });
    });
}

/// A waiting client is answered when the container ends, and its hanging up does not stop the container.
#[test]
fn waiting_clients() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ctl(&["run", "-d", "--name", "b", "--network", "none", "--", "sh", "-c", "sleep 2; exit 7"]).ok();
        {
            let mut impatient = http::connect(&vs.socket());
            impatient.write_all(b"GET /vswitch/v1/containers/b/wait HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
        }
        let answer = http::request(&vs.socket(), "GET", "/vswitch/v1/containers/b/wait", None);
        assert_eq!((answer.status, answer.json()["exit_code"].as_i64()), (200, Some(7)));
    });
}

/// A standard error that is gone, full, or that nobody reads breaks no request, however much is to be logged.
#[test]
fn nobody_takes_the_log() {
    guard(|| {
        for (index, kind) in ["gone", "full", "stuck"].into_iter().enumerate() {
            let vs = Vswitch::stopped(&format!("/tmp/log-{kind}"), &["--log", "debug", "--uplink", "none"]);
            let (reader, writer) = std::io::pipe().unwrap();
            let stderr = match kind {
                "full" => std::fs::File::options().write(true).open("/dev/full").unwrap().into(),
                _ => std::os::fd::OwnedFd::from(writer),
            };
            let reader = (kind == "stuck").then_some(reader);
            let child = vs.daemon_command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
            let daemon = Killed(child);
            eventually("it serves", 20, || vs.words("version").code == 0);
            // More than a pipe holds.
            for _ in 0..400 {
                assert_eq!(http::request(&vs.socket(), "GET", "/networks/nobody", None).status, 404);
            }
            vs.ok(&format!("network create n --subnet 10.{index}.0.0/24"));
            vs.container("a", "--network n").pings(format!("10.{index}.0.1"));
            vs.ok("rm -f a");
            drop((daemon, reader));
        }
    });
}

/// A program that ends with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
