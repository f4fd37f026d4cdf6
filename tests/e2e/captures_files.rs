//! Captures of real traffic, read by tshark and tcpdump.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;
use vswitch_tests::{Background, Site, Vswitch, eventually, frames, guard, sh};

const LIMIT: Duration = Duration::from_secs(60);

/// A capture that sees every frame from now on.
#[track_caller]
fn capture(vs: &Vswitch, args: &[&str]) -> Background {
    let running = vs.spawn(&[&["capture"], args].concat());
    eventually("the capture has begun", 10, || running.output().contains("capturing on"));
    running
}

/// Every frame of a file that a display filter of tshark selects; nothing while the file ends in the middle of one.
fn try_dissected(path: &str, filter: &str) -> Option<Vec<Value>> {
    let check = "-o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE";
    let text =
        sh(&format!("HOME=/tmp tshark -n -r {path} {check} -T json -Y '{filter}' 2>/tmp/tshark || echo cut")).ok();
    let all: Value = serde_json::from_str(&text).ok()?;
    Some(all.as_array()?.iter().map(|one| one["_source"]["layers"].clone()).collect())
}

#[track_caller]
fn dissected(path: &str, filter: &str) -> Vec<Value> {
    let said = || std::fs::read_to_string("/tmp/tshark");
    try_dissected(path, filter).unwrap_or_else(|| panic!("tshark does not read {path}: {:?}", said()))
}

fn field(frame: &Value, layer: &str, name: &str) -> String {
    frame[layer][name].as_str().unwrap_or_default().to_owned()
}

/// A packet that is translated on its way out is in the file where it came from and where it left, under one number, with either
/// address; a spoofed one with its reason. tshark and tcpdump read the same file while it is being written.
#[test]
fn files_for_others() {
    guard(|| {
        let site = Site::start();
        let vs = &site.vs;
        vs.ok("network create n --subnet 10.201.1.0/24");
        let a = vs.container("a", "--network n --ip 10.201.1.5");
        // From here on nobody waits for a neighbour, who would be sent on under another number.
        a.pings("10.99.0.2");
        let _all = capture(vs, &["all", "-w", "/tmp/all.pcapng"]);
        let counted = capture(vs, &["a", "-c", "2", "icmp"]);
        a.pings("10.99.0.2");
        let stranger = frames::ethernet([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 8], 0x88b5, b"who am i");
        a.sends(1, &[&stranger]);
        let text = counted.wait(LIMIT).ok();
        assert!(text.contains("a/up icmp 10.201.1.5 > 10.99.0.2 echo-request"), "{text}");
        eventually("the dropped frame is in the file", 20, || {
            let dropped = try_dissected("/tmp/all.pcapng", "frame.comment contains \"drop spoofed-mac\"");
            dropped.is_some_and(|dropped| !dropped.is_empty())
        });
        let request = |source: &str, interface: &str| {
            let filter = format!("icmp.type == 8 && ip.src == {source} && frame.interface_name == \"{interface}\"");
            let found = dissected("/tmp/all.pcapng", &filter);
            assert!(
                !found.is_empty(),
                "no request of {source} at {interface}:\n{}",
                sh("tshark -r /tmp/all.pcapng").ok()
            );
            field(&found[0], "frame", "frame.packet_id")
        };
        let inside = request("10.201.1.5", "a/up");
        assert!(!inside.is_empty());
        assert_eq!(inside, request("10.99.0.1", "up0/down"));
        let read = sh("tcpdump -n -r - icmp </tmp/all.pcapng 2>&1").ok();
        assert!(read.contains("10.201.1.5 > 10.99.0.2: ICMP echo request"), "{read}");
        assert!(read.contains("10.99.0.1 > 10.99.0.2: ICMP echo request"), "{read}");
        site.finish();
    });
}

/// Bulk TCP crosses the switch in super-frames. The file shows packets that fit the MTU, with checksums that are right, and every byte
/// that was sent. Meanwhile somebody captures everything and never reads.
#[test]
fn bulk() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let mut unread = UnixStream::connect(vs.socket()).unwrap();
        unread.write_all(b"GET /vswitch/v1/capture HTTP/1.1\r\nHost: vswitch\r\n\r\n").unwrap();
        let mut status = [0; 12];
        unread.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        let _server = b.spawn(
            "python3 -c 'import socket; one = socket.create_server((\"\", 7000)).accept()[0]\nwhile one.recv(65536): pass'",
        );
        b.listens(7000);
        let _file = capture(&vs, &["b", "--at", "down", "-w", "/tmp/b.pcapng", "tcp dst port 7000"]);
        a.ok(&format!(
            "python3 -c 'import socket; socket.create_connection((\"{}\", 7000)).sendall(bytes(1000000))'",
            b.ipv4("n")
        ));
        let bytes = || {
            let frames = try_dissected("/tmp/b.pcapng", "tcp.len > 0");
            frames
                .unwrap_or_default()
                .iter()
                .map(|one| field(one, "tcp", "tcp.len").parse::<usize>().unwrap())
                .sum::<usize>()
        };
        eventually("every byte is in the file", 20, || bytes() >= 1_000_000);
        assert_eq!(
            dissected("/tmp/b.pcapng", "frame.len > 1514 || tcp.checksum.status == 0 || ip.checksum.status == 0"),
            [Value::Null; 0]
        );
        drop(unread);
    });
}
