//! `run`, `exec` and `stats --watch`: streams, terminals, signals and exit statuses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, helpers included")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Conversation, Fake, Reply, Request, stderr, stdout};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Winsize};
use serde_json::json;
use vswitch_api::stdio::StdioEvent;

/// A daemon that creates container `c0ffee` and hands its streams to `converse`; other requests go to `other`.
fn daemon(
    converse: impl Fn(Conversation) + Send + Sync + 'static,
    other: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> Fake {
    let converse = Arc::new(converse);
    Fake::new(move |request| match request.line().as_str() {
        "POST /vswitch/v1/containers" => {
            Reply::Json(201, json!({"id": "c0ffee", "name": "n", "warnings": ["mind the gap"]}))
        }
        line if line.ends_with("/start") || line.ends_with("/exec") => {
            if !request.upgrade {
                return Reply::Empty(204);
            }
            let converse = converse.clone();
            Reply::Streams(Box::new(move |conversation| converse(conversation)))
        }
        _ => other(request),
    })
}

fn nothing(_: &Request) -> Reply {
    Reply::Empty(204)
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The process reads our standard input and writes our standard output and error; its status is ours.
#[test]
fn streams_and_status() {
    let fake = daemon(
        |mut conversation| {
            conversation.say(&StdioEvent::Started { pid: 1 });
            let mut input = String::new();
            conversation.stdin.read_to_string(&mut input).unwrap();
            write!(conversation.stdout, "out:{input}").unwrap();
            write!(conversation.stderr, "err").unwrap();
            conversation.say(&StdioEvent::Exited { exit_code: 42 });
        },
        nothing,
    );
    let mut child = fake
        .command(&["run", "--rm", "-e", "A=b", "-w", "/tmp", "--", "cat", "-u"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(42));
    assert_eq!(stdout(&output), "out:hello");
    assert_eq!(stderr(&output), "warning: mind the gap\nerr");
    let body = &fake.seen()[0].body;
    assert_eq!(body["command"], json!(["cat", "-u"]));
    assert_eq!(
        (&body["auto_remove"], &body["tty"], &body["working_dir"]),
        (&json!(true), &json!(false), &json!("/tmp"))
    );
    assert!(body["env"].as_array().unwrap().contains(&json!("A=b")));
}

/// A program that does not start: the sentence, Docker's status, and no container left by --rm.
#[test]
fn not_started() {
    let fake = daemon(
        |mut conversation| {
            conversation.say(&StdioEvent::Failed { message: "there is no program 'nope'".into(), exit_code: 127 });
        },
        nothing,
    );
    let output = fake.run(&["exec", "web", "nope"]);
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(stderr(&output), "error: there is no program 'nope'\n");
}

/// `-d` prints the id and hands over no streams; a failed start with --rm leaves no container.
#[test]
fn detached() {
    let fake = daemon(|_| panic!("no streams"), nothing);
    assert_eq!(fake.text(&["run", "-d", "sleep", "9"]), "c0ffee\n");
    let unknown = Fake::new(|request| match request.path.ends_with("/start") {
        true => Reply::Json(400, json!({"message": "no such program", "exit_code": 127})),
        false => Reply::Json(201, json!({"id": "c0ffee", "name": "n", "warnings": []})),
    });
    let output = unknown.run(&["run", "-d", "nope"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(127), "error: no such program\n".into()));
    let broken = Fake::new(|request| match request.line().as_str() {
        "POST /vswitch/v1/containers" => Reply::Json(201, json!({"id": "c0ffee", "name": "n", "warnings": []})),
        "POST /vswitch/v1/containers/c0ffee/start" => Reply::Json(500, json!({"message": "no"})),
        _ => Reply::Empty(204),
    });
    let output = broken.run(&["run", "-d", "--rm", "sleep", "9"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(125), String::new()));
    assert_eq!(broken.lines().last().unwrap(), "DELETE /vswitch/v1/containers/c0ffee?force=true");
}

/// `exec -d` leaves once the process runs.
#[test]
fn exec_detached() {
    let fake = daemon(
        |mut conversation| {
            conversation.say(&StdioEvent::Started { pid: 1 });
            // The process goes on until the test ends.
            std::thread::sleep(Duration::from_secs(60));
        },
        nothing,
    );
    assert_eq!(fake.text(&["exec", "-d", "web", "sleep", "9"]), "");
}

/// Without a terminal SIGTERM and SIGINT are passed on, and the third one kills.
#[test]
fn signals() {
    let (tell, told) = mpsc::channel();
    let (kill, killed) = mpsc::channel();
    let (killed, kill) = (Mutex::new(killed), Mutex::new(kill));
    let tell = Mutex::new(tell);
    let fake = daemon(
        move |mut conversation| {
            conversation.say(&StdioEvent::Started { pid: 1 });
            tell.lock().unwrap().send(String::new()).unwrap();
            for _ in 0..3 {
                let path: String = killed.lock().unwrap().recv().unwrap();
                tell.lock().unwrap().send(path).unwrap();
            }
            conversation.say(&StdioEvent::Exited { exit_code: 137 });
        },
        move |request| {
            kill.lock().unwrap().send(request.path.clone()).unwrap();
            Reply::Empty(204)
        },
    );
    let mut child = fake.command(&["run", "sleep", "9"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    told.recv().unwrap();
    for (number, sent) in [(Signal::TERM, 15), (Signal::INT, 2), (Signal::INT, 9)] {
        signal(&child, number);
        assert_eq!(told.recv().unwrap(), format!("/vswitch/v1/containers/c0ffee/kill?signal={sent}"));
    }
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

/// What comes while the process is being started is passed on once it runs.
#[test]
fn early_signals() {
    let (tell, told) = mpsc::channel();
    let (tell, (go, gone)) = (Mutex::new(tell), mpsc::channel());
    let (gone, started) = (Mutex::new(gone), Arc::new(AtomicU64::new(0)));
    let seen = started.clone();
    let fake = daemon(
        move |mut conversation| {
            tell.lock().unwrap().send(()).unwrap();
            let () = gone.lock().unwrap().recv().unwrap();
            started.store(1, Ordering::SeqCst);
            conversation.say(&StdioEvent::Started { pid: 1 });
            // Until the signal is there.
            let () = gone.lock().unwrap().recv().unwrap();
            conversation.say(&StdioEvent::Exited { exit_code: 130 });
        },
        {
            let go = Mutex::new(go.clone());
            move |_| {
                if seen.load(Ordering::SeqCst) == 0 {
                    return Reply::Json(409, json!({"message": "container c0ffee is not running"}));
                }
                go.lock().unwrap().send(()).unwrap();
                Reply::Empty(204)
            }
        },
    );
    let mut child = fake.command(&["run", "sleep", "9"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    told.recv().unwrap();
    let before = settled(&child, 0);
    signal(&child, Signal::INT);
    settled(&child, before + 1);
    go.send(()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let kills: Vec<String> = fake.lines().into_iter().filter(|line| line.contains("/kill")).collect();
    assert_eq!(kills, ["POST /vswitch/v1/containers/c0ffee/kill?signal=2"]);
}

/// Waits until a process sleeps and has gone to sleep so often; how often that was.
fn settled(child: &Child, least: u64) -> u64 {
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
        let slept: u64 = value("voluntary_ctxt_switches:").parse().unwrap();
        if value("State:").starts_with('S') && slept >= least {
            return slept;
        }
        std::thread::yield_now();
    }
}

/// A daemon that goes away in between is waited for: the container lives on, and its status is asked for.
#[test]
fn daemon_restart() {
    let fake = daemon(
        |mut conversation| conversation.say(&StdioEvent::Started { pid: 1 }),
        |request| match request.path.as_str() {
            "/vswitch/v1/containers/c0ffee/wait" => Reply::Json(200, json!({"exit_code": 5})),
            other => panic!("{other}"),
        },
    );
    let output = fake.run(&["run", "sleep", "9"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("the container lives on"));
    let output = fake.run(&["exec", "web", "sleep", "9"]);
    assert_eq!(output.status.code(), Some(125));
}

/// On a terminal the process gets a pty of the same size, which follows ours; ours is raw meanwhile, and as before afterwards.
#[test]
fn terminal() {
    let (master, ours) = pty();
    let size = Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&ours, size).unwrap();
    let before = rustix::termios::tcgetattr(&ours).unwrap();
    let watched = ours.try_clone().unwrap();
    let fake = daemon(
        move |mut conversation| {
            assert!(rustix::termios::isatty(&conversation.stdin) && rustix::termios::isatty(&conversation.stderr));
            let inside = rustix::termios::tcgetwinsize(&conversation.stdout).unwrap();
            conversation.say(&StdioEvent::Started { pid: 1 });
            let mut line = [0; 6];
            conversation.stdin.read_exact(&mut line).unwrap();
            let raw = !rustix::termios::tcgetattr(&watched).unwrap().local_modes.contains(LocalModes::ICANON);
            write!(conversation.stdout, "{}x{} raw={raw} {}", inside.ws_row, inside.ws_col, str(&line)).unwrap();
            while rustix::termios::tcgetwinsize(&conversation.stdout).unwrap().ws_row != 44 {
                std::thread::sleep(Duration::from_millis(1));
            }
            write!(conversation.stdout, "resized").unwrap();
            conversation.say(&StdioEvent::Exited { exit_code: 7 });
        },
        nothing,
    );
    let end = || Stdio::from(ours.try_clone().unwrap());
    let mut child = fake.command(&["run", "sh"]).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    let mut master = File::from(master);
    master.write_all(b"hello\r").unwrap();
    let mut seen = String::new();
    let mut read_until = |end: &str| {
        while !seen.trim_end().ends_with(end) {
            let mut buffer = [0; 1024];
            let length = master.read(&mut buffer).unwrap();
            seen += str(&buffer[..length]);
        }
        seen.clone()
    };
    let seen = read_until("raw=true hello");
    assert!(seen.contains("33x101 raw=true"), "{seen}");
    rustix::termios::tcsetwinsize(&ours, Winsize { ws_row: 44, ..size }).unwrap();
    signal(&child, Signal::WINCH);
    read_until("resized");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let after = rustix::termios::tcgetattr(&ours).unwrap();
    assert_eq!((after.local_modes, after.input_modes, after.output_modes), {
        (before.local_modes, before.input_modes, before.output_modes)
    });
    assert_eq!(fake.seen()[0].body["tty"], true);
}

/// A terminal that we are told to leave is left as it was.
#[test]
fn terminal_after_sigterm() {
    let (_master, ours) = pty();
    let before = rustix::termios::tcgetattr(&ours).unwrap().local_modes;
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let fake = daemon(
        move |mut conversation| {
            conversation.say(&StdioEvent::Started { pid: 1 });
            tell.lock().unwrap().send(()).unwrap();
            std::thread::sleep(Duration::from_secs(60));
        },
        nothing,
    );
    let end = || Stdio::from(ours.try_clone().unwrap());
    let mut child = fake.command(&["exec", "web", "sh"]).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    told.recv().unwrap();
    while rustix::termios::tcgetattr(&ours).unwrap().local_modes.contains(LocalModes::ICANON) {
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(rustix::termios::tcgetattr(&ours).unwrap().local_modes, before);
}

/// `stats --watch` prints a block a look where there is no terminal, and ends quietly by Ctrl-C.
#[test]
fn watch() {
    let looks = AtomicU64::new(0);
    let fake = Fake::new(move |_| {
        let look = looks.fetch_add(1, Ordering::Relaxed) + 1;
        let counters = json!({
            "in_frames": look * 1000, "in_bytes": look * 1_000_000, "out_frames": 0, "out_bytes": 0, "forwarded": 0,
            "flooded": 0, "consumed": 0, "drops": {"runt": look}
        });
        let port = json!({
            "port": 1, "endpoint": "web", "network": "blue", "kind": "packet", "worker": 0, "fdb_entries": 1,
            "counters": counters
        });
        let fdb = json!({
            "entries": 1, "capacity": 65536, "learned": 1, "moved": 0, "aged": 0, "evicted": 0, "limited": 0, "damped": 0
        });
        Reply::Json(
            200,
            json!({
                "uptime_ms": look * 1000, "workers": 1, "generation": 1, "total": counters, "networks": [],
                "ports": [port], "fdb": fdb
            }),
        )
    });
    let text = fake.text(&["stats", "--watch", "--interval", "0.02", "--count", "2"]);
    assert_eq!(text.matches("1.00 k/s   8.00 Mbit/s").count(), 2, "{text}");
    assert!(!text.contains('\u{1b}'), "no cursor moves in a pipe: {text}");
    assert!(fake.text(&["stats"]).contains("web        blue      packet"), "totals");
    assert_eq!(fake.text(&["stats", "--watch", "--json", "-i", "0.02", "-n", "2"]).lines().count(), 2);

    let mut child = fake
        .command(&["stats", "--watch", "-i", "0.02"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 100]).unwrap();
    signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

fn pty() -> (OwnedFd, OwnedFd) {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    (master, rustix::fs::open(name, flags, Mode::empty()).unwrap())
}

fn str(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
