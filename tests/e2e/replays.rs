//! Files of frames that are sent again, and flows that get other ports while they live.

use std::time::Duration;

use serde_json::Value;
use vswitch_tests::{Rootless, Site, Vswitch, eventually, guard};

/// A file in pcap's format: frames with their times in microseconds.
fn pcap(frames: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    for (micros, frame) in frames {
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let (seconds, micros) = (1_000 + micros / 1_000_000, micros % 1_000_000);
        file.extend([&seconds.to_le_bytes()[..], &micros.to_le_bytes(), &length, &length, frame].concat());
    }
    file
}

/// A datagram as a sender's own capture has it: with a checksum that its interface was to finish.
fn unfinished(from: [u8; 4], to: [u8; 4], text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(28 + text.len()).unwrap();
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, length, 0, 0, 0x40, 0, 64, 17, 0, 0];
    frame.extend([from, to].concat());
    frame.extend([0x0f, 0xa0, 0x1b, 0x58, 0, length - 20, 0x12, 0x34]);
    frame.extend(text);
    frame
}

/// One side of a two-sided capture of elsewhere is sent again at its pace: with the container's addresses and whole checksums, so that
/// the other kernel takes it; never faster, and what was left out is told.
#[test]
fn replayed() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let (old, peer) = ([192, 0, 2, 5], [192, 0, 2, 6]);
        let (one, two, three) =
            (unfinished(old, peer, b"one\n"), unfinished(old, peer, b"two\n"), unfinished(old, peer, b"three\n"));
        let answer = unfinished(peer, old, b"answer\n");
        std::fs::write(
            "/tmp/two.pcap",
            pcap(&[(0, &one), (100, &answer), (150_000, &two), (150_001, &[1; 9]), (300_000, &three)]),
        )
        .unwrap();
        let heard = b.spawn("exec socat -u UDP4-RECV:7000 -");
        eventually("it listens", 20, || b.ok("ss -lun").contains(":7000"));
        let line =
            "replay /tmp/two.pcap --from a --side 192.0.2.5 --map 192.0.2.5=a,192.0.2.6=b --fix-checksums --json";
        let words: Vec<&str> = line.split(' ').collect();
        let said: Value = serde_json::from_str(&vs.ctl(&words).ok()).unwrap();
        assert_eq!(
            (said["frames"].as_u64(), said["other_side"].as_u64(), said["unfit"].as_u64()),
            (Some(3), Some(2), Some(0)),
            "{said}"
        );
        assert!(said["time_ns"].as_u64().unwrap() >= 300_000_000, "{said}");
        eventually("all come", 20, || heard.output() == "one\ntwo\nthree\n");
        // Twice as fast, towards b itself, from a pipe.
        let said = vs
            .ctl(&[
                "replay",
                "/tmp/two.pcap",
                "--from",
                "b",
                "--towards",
                "--speed",
                "2x",
                "--fix-checksums",
                "--map",
                "192.0.2.6=b",
            ])
            .ok();
        assert!(said.starts_with("4 frames in 0.1") && said.contains("left out: 1 unfit"), "{said}");
        eventually("again", 20, || heard.output().matches("three").count() == 2);
        a.pings(b.ipv4("n"));
    });
}

/// What is no file of frames, or cannot be sent, is said; a replay ends with its endpoint.
#[test]
fn refusals() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let _a = vs.container("a", "--network n");
        let frame = unfinished([192, 0, 2, 5], [192, 0, 2, 6], b"one");
        std::fs::write("/tmp/no.pcap", "GIF89a, and nothing else").unwrap();
        std::fs::write("/tmp/ends.pcap", &pcap(&[(0, &frame)])[..50]).unwrap();
        std::fs::write("/tmp/good.pcap", pcap(&[(0, &frame)])).unwrap();
        for (line, text) in [
            ("replay /tmp/no.pcap --from a", "no pcap or pcapng file"),
            ("replay /tmp/ends.pcap --from a", "ends at byte 50"),
            ("replay /tmp/good.pcap --from nobody", "nobody"),
            ("replay /tmp/good.pcap --from n", "not one endpoint"),
            ("replay /tmp/good.pcap --from a --speed fast", "\"fast\" is no speed"),
            ("replay /tmp/good.pcap --from a --speed 0", "no speed"),
            ("replay /tmp/good.pcap --from a --side web", "no side"),
            ("replay /tmp/good.pcap --from a --map 192.0.2.5", "maps nothing"),
            ("replay /tmp/good.pcap --from a --map 192.0.2.5=fd00::1", "maps nothing"),
            ("replay /tmp/good.pcap --from a --map 192.0.2.5=nobody", "nobody"),
            ("replay /tmp/absent.pcap --from a", "cannot read"),
        ] {
            vs.refuses(line, text);
        }
        std::fs::write("/tmp/long.pcap", pcap(&[(0, &frame), (3_000_000_000, &frame)])).unwrap();
        let capture = vs.spawn(&["capture", "a", "--at", "up,drop", "-c", "1"]);
        eventually("the capture has begun", 20, || capture.output().contains("capturing on"));
        let replay = vs.spawn(&["replay", "/tmp/long.pcap", "--from", "a"]);
        capture.wait(Duration::from_secs(30)).ok();
        vs.ok("rm -f a");
        let ended = replay.wait(Duration::from_secs(30)).exits(1);
        assert!(ended.stderr.contains("went before all frames were sent"), "{}", ended.stderr);
    });
}

/// Answers every datagram with the port that it came from.
const REFLECT: &str = "python3 -uc 'import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind((\"\", 7010))\n\
     print(\"ready\")\nwhile True:\n m, a = s.recvfrom(99)\n s.sendto(str(a[1]).encode(), a)'";
/// Asks from one socket once for each line.
const ASK: &str = "exec python3 -uc 'import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind((\"\", 4000))\n\
     s.settimeout(20)\nfor m in sys.stdin:\n s.sendto(b\"x\", (\"10.99.0.2\", 7010))\n print(\"port\", s.recv(99).decode(), flush=True)'";

/// A UDP flow goes on from another external port at once, both ways, over a translator of packets and over host sockets alike.
#[test]
fn rebound() {
    guard(|| {
        let site = Site::start();
        let reflect = site.outside.spawn(REFLECT);
        eventually("it listens", 20, || reflect.output().contains("ready"));
        let a = site.vs.container("a", "");
        moves(&a, &site.vs);
        site.finish();
    });
}

/// The same over host sockets.
#[test]
fn rebound_over_sockets() {
    guard(|| {
        let site = Rootless::start();
        let reflect = site.outside.spawn(REFLECT);
        eventually("it listens", 20, || reflect.output().contains("ready"));
        let a = site.vs.container("a", "");
        moves(&a, &site.vs);
        assert_eq!(site.vs.ok("flows rebind --endpoint a --protocol tcp"), "0 flows rebound\n");
    });
}

fn moves(a: &vswitch_tests::Container<'_>, vs: &Vswitch) {
    a.ok("mkfifo /tmp/ask");
    let asking = a.spawn(&format!("(exec 3<>/tmp/ask; {ASK} </tmp/ask) 3<>/tmp/ask"));
    let ask = |times: usize| {
        a.ok("echo >/tmp/ask");
        let said = || {
            asking.output().lines().filter_map(|line| line.strip_prefix("port ").map(str::to_owned)).collect::<Vec<_>>()
        };
        eventually("it is answered", 30, || said().len() >= times);
        said()[times - 1].clone()
    };
    let (first, again) = (ask(1), ask(2));
    assert_eq!(first, again);
    assert_eq!(vs.ok("flows rebind --endpoint a --protocol udp"), "1 flow rebound\n");
    let moved = ask(3);
    assert_ne!(moved, first);
    assert_eq!(ask(4), moved);
    vs.refuses("flows rebind --protocol 999", "no protocol");
}
