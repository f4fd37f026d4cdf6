//! Handing over a container's streams.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

mod common;

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use common::{Daemon, message};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

/// Asks for the upgrade and reads the head of the answer.
fn upgrade(daemon: &Daemon, path: &str, body: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(daemon.path()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    // In one piece: the agent reads the first line of what is ordered, too.
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: vswitch-stdio\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    reader
}

fn send_streams(stream: &UnixStream, count: usize) {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let streams = vec![null.as_fd(); count];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(streams.is_empty() || control.push(SendAncillaryMessage::ScmRights(&streams)));
    sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL).unwrap();
}

fn event(reader: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
}

/// With three streams the process runs and its end is told, for a start and for an exec.
#[test]
fn streams_are_handed_over() {
    let daemon = Daemon::start();
    daemon.post("/vswitch/v1/containers", r#"{"name": "c1", "command": ["exit", "7"], "auto_remove": true}"#);
    let mut client = upgrade(&daemon, "/vswitch/v1/containers/c1/start", "");
    send_streams(client.get_ref(), 3);
    assert!(event(&mut client)["started"]["pid"].is_u64());
    assert_eq!(event(&mut client), json!({"exited": {"exit_code": 7}}));
    assert_eq!(daemon.get("/vswitch/v1/containers/c1").0, 404);

    daemon.running("c2", "none");
    let mut client = upgrade(&daemon, "/vswitch/v1/containers/c2/exec", r#"{"command": ["exit", "9"]}"#);
    send_streams(client.get_ref(), 3);
    assert!(event(&mut client)["started"].is_object());
    assert_eq!(event(&mut client), json!({"exited": {"exit_code": 9}}));
}

/// Any other number of descriptors is refused, and nothing is started.
#[test]
fn other_numbers_of_streams_are_refused() {
    let daemon = Daemon::start();
    daemon.container("c1", "none");
    for count in [0, 1, 2] {
        let mut client = upgrade(&daemon, "/vswitch/v1/containers/c1/start", "");
        send_streams(client.get_ref(), count);
        let failed = event(&mut client);
        assert_eq!(failed["failed"]["exit_code"], 125, "{failed}");
    }
    assert_eq!(daemon.inspect("c1")["state"], "created");
}

/// What can be refused before the upgrade is an ordinary refusal; a client that goes away leaves the container running.
#[test]
fn refusals_and_departures() {
    let daemon = Daemon::start();
    let head = "POST /vswitch/v1/containers/nope/start HTTP/1.1\r\nhost: x\r\nupgrade: vswitch-stdio\r\nconnection: upgrade\r\n\r\n";
    let mut stream = UnixStream::connect(daemon.path()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 404 Not Found\r\n");

    daemon.container("c1", "none");
    let mut client = upgrade(&daemon, "/vswitch/v1/containers/c1/start", "");
    send_streams(client.get_ref(), 3);
    assert!(event(&mut client)["started"].is_object());
    drop(client);
    assert_eq!(daemon.inspect("c1")["state"], "running");
    let (status, answer) = daemon.post("/vswitch/v1/containers/c1/start", "");
    assert_eq!((status, message(&answer)), (409, "container c1 is running already"));
}
