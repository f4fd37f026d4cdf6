//! Floods, noise and greed of one container, which must not be felt by others.

use std::time::Duration;

use vswitch_tests::{Vswitch, eventually, guard};

/// A thousand questions a second from one container are answered, and another's go on being answered meanwhile.
#[test]
fn a_flood_from_one_container() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        let (a, b) = (vs.container("a", "--network red"), vs.container("b", "--network red"));
        let flood = "import socket, struct, time\n\
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
            out.connect(('127.0.0.11', 53))\n\
            out.settimeout(0.001)\n\
            answered, began = 0, time.monotonic()\n\
            for number in range(5000):\n\
            \x20   while time.monotonic() < began + number / 1000:\n\
            \x20       try: answered += len(out.recv(512)) > 12\n\
            \x20       except TimeoutError: pass\n\
            \x20   out.send(struct.pack('!6H', number, 0x100, 1, 0, 0, 0) + b'\\1b\\0\\0\\1\\0\\1')\n\
            out.settimeout(3)\n\
            try:\n\
            \x20   while answered < 5000: answered += len(out.recv(512)) > 12\n\
            except TimeoutError: pass\n\
            print('answered', answered, flush=True)\n";
        std::fs::write("/mnt/flood.py", flood).unwrap();
        let program = a.spawn("exec python3 /mnt/flood.py");
        for _ in 0..20 {
            b.ok("dig +short +tries=1 +time=3 -q a | grep -q 172");
        }
        let said = program.wait(Duration::from_secs(60)).ok();
        let answered: u32 = said.trim().trim_start_matches("answered ").parse().unwrap();
        assert!(answered >= 4900, "{said}");
        let stats = vs.stats().dns;
        assert!(stats.questions >= 5000 && stats.answered + stats.limited >= 5000, "{stats:?}");
    });
}

/// Noise of every length, replies sent as questions and unfinished connections are counted; the server goes on.
#[test]
fn noise_and_greed() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        let a = vs.container("a", "--network red");
        let noise = "import os, socket, time\n\
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
            for length in list(range(300)) + [4096, 9000, 65000]:\n\
            \x20   out.sendto(os.urandom(length), ('127.0.0.11', 53))\n\
            \x20   out.sendto(b'\\0\\1\\x81\\x80\\0\\1\\0\\0\\0\\0\\0\\0\\1a\\0\\0\\1\\0\\1', ('127.0.0.11', 53))\n\
            held = [socket.create_connection(('127.0.0.11', 53)) for _ in range(60)]\n\
            [one.send(os.urandom(5)) for one in held]\n\
            print('held', flush=True)\n\
            time.sleep(60)\n";
        std::fs::write("/mnt/noise.py", noise).unwrap();
        let program = a.spawn("exec python3 /mnt/noise.py");
        eventually("connections are held", 20, || program.output().contains("held"));
        eventually("those that are too many are closed", 10, || vs.stats().dns.connections_refused >= 20);
        let stats = vs.stats().dns;
        assert!(stats.ignored >= 300 && stats.questions >= 600, "{stats:?}");
        assert!(a.ok("dig +short +tries=1 -q a").starts_with("172.18."));
        // Silent connections end, and others get their turn.
        eventually("a connection is to be had again", 30, || a.sh("dig +short +tcp +tries=1 +time=1 -q a").code == 0);
        assert!(!vs.log().contains("panicked"));
    });
}
