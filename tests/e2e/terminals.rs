//! Containers whose streams the agent keeps: left, come back to, and shared.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    time::Duration,
};

use vswitch_tests::{Background, Vswitch, eventually, guard, sh, spawn};

/// A client of a container's streams, and what it types with.
fn client(vs: &Vswitch, name: &str, arguments: &str) -> (Background, File) {
    let path = format!("/tmp/typed-{name}");
    sh(&format!("mkfifo {path}")).ok();
    let mut command = std::process::Command::new("sh");
    command.env("VSWITCH_SOCKET", vs.socket()).args(["-c", &format!("exec vswitchctl {arguments} < {path}")]);
    let client = spawn(&mut command);
    // Waits until the client reads.
    (client, OpenOptions::new().write(true).open(&path).unwrap())
}

/// -d -i -t keeps a terminal for whoever attaches: the keys leave it and it goes on, several clients share it, and its end is theirs.
#[test]
fn kept_terminal() {
    guard(|| {
        let vs = Vswitch::start();
        let limit = Duration::from_secs(30);
        vs.ctl(&["run", "-dit", "--name", "box", "--network", "none", "--", "sh"]).ok();
        let (one, mut typed) = client(&vs, "one", "attach box");
        typed.write_all(b"test -t 0 && echo $((6 * 7))\n").unwrap();
        eventually("the shell answers", 20, || one.output().contains("42"));
        typed.write_all(b"\x10\x11").unwrap();
        let left = one.wait(limit).exits(0);
        assert!(left.stderr.contains("read escape sequence"), "{left}");
        assert_eq!(vs.json("inspect box")[0]["state"], "running");
        let (two, mut typed) = client(&vs, "two", "attach box");
        let (three, _silent) = client(&vs, "three", "attach --no-stdin box");
        // Again and again: who comes later does not hear what was before.
        eventually("both hear it", 20, || {
            typed.write_all(b"echo $((7 * 8))\n").unwrap();
            two.output().contains("56") && three.output().contains("56")
        });
        typed.write_all(b"exit 7\n").unwrap();
        two.wait(limit).exits(7);
        three.wait(limit).exits(7);
        assert!(vs.ok("logs box").contains("42"));
        assert!(vs.ok("logs --tail 1 -t box").starts_with("20"));
        vs.words("attach box").exits(1).says("You cannot attach to a stopped container");
        let (four, mut typed) = client(&vs, "four", "run -it --rm --name again --network none -- sh");
        typed.write_all(b"echo $((8 * 9)); exit 3\n").unwrap();
        let said = four.wait(limit).exits(3);
        assert!(said.stdout.contains("72"), "{said}");
        assert_eq!(vs.ok("ps -a --filter name=again -q"), "");
    });
}
