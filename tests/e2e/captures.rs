//! Captures of real traffic, from the command to its end.

use std::time::Duration;

use vswitch_tests::{Background, Vswitch, eventually, guard};

const LIMIT: Duration = Duration::from_secs(60);

/// A capture that sees every frame from now on.
#[track_caller]
fn capture(vs: &Vswitch, args: &[&str]) -> Background {
    let running = vs.spawn(&[&["capture"], args].concat());
    eventually("the capture has begun", 10, || running.output().contains("capturing on"));
    running
}

/// A question and its answer are seen where they come in and where they go out.
#[test]
fn lines() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        let captured = capture(&vs, &["n", "-c", "4", "icmp"]);
        a.pings(b.ipv4("n"));
        let text = captured.wait(LIMIT).ok();
        let (here, there) = (a.ipv4("n"), b.ipv4("n"));
        for part in ["a/up", "b/down"] {
            assert!(text.contains(&format!("{part} icmp {here} > {there} echo-request")), "{text}");
        }
    });
}

/// What cannot be captured is said in one sentence; what is captured and goes away ends the capture.
#[test]
fn refusals_and_ends() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        vs.ok("network create other");
        let _a = vs.container("a", "--network n");
        vs.ok("create --name idle --network n -- true");
        for (line, text) in [
            ("capture nobody", "nobody"),
            ("capture idle", "not running"),
            ("capture a@other", "other"),
            ("capture a udp prt 53", "wrong at character 5"),
            ("capture a --reason spoofed", "nothing is dropped for the reason"),
            ("capture a --at left", "no place"),
            ("capture a -s 0", "cannot be kept"),
            ("capture a -c 0", "1 or more"),
            ("capture a -w /nowhere/file", "cannot write to /nowhere/file"),
        ] {
            vs.refuses(line, text);
        }
        let ending = [capture(&vs, &["a"]), capture(&vs, &["a@n", "-w", "/tmp/a.pcapng"])];
        let of_net = capture(&vs, &["n", "arp"]);
        vs.ok("rm -f a");
        for one in ending {
            one.wait(LIMIT).ok();
        }
        assert!(std::fs::read("/tmp/a.pcapng").unwrap().starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
        vs.ok("rm idle");
        vs.ok("network rm n");
        of_net.wait(LIMIT).ok();
    });
}
