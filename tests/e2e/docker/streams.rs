//! docker exec, run, attach, logs: the streams of processes, by the docker command line.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use vswitch_tests::{Output, Vswitch, eventually, guard, http, run, spawn};

use super::{docker, docker_command, shown};

fn host_image() -> Vswitch {
    Vswitch::with(&["--image", "*=/"])
}

/// `docker` with these words, a shell's line last.
fn docker_sh(vs: &Vswitch, line: &str, script: &str) -> Output {
    run(docker_command(vs).args(line.split_whitespace()).args(["sh", "-c", script]))
}

/// `docker` with these words, and something at its standard input.
fn docker_fed(vs: &Vswitch, line: &str, script: &str, input: &[u8]) -> (i32, String) {
    let mut command = docker_command(vs);
    command.args(line.split_whitespace()).args(["sh", "-c", script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// A shell in a terminal that script(1) makes, as somebody who types has it.
fn typed(vs: &Vswitch, line: &str) -> Command {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("docker {line}"), "/dev/null"]);
    command.env("DOCKER_HOST", format!("unix://{}", vs.socket().display())).env("TERM", "xterm");
    command
}

/// docker exec: exit statuses, streams apart, standard input, environment, working directory, in the background, in a terminal.
#[test]
fn exec() {
    guard(|| {
        let vs = host_image();
        docker(&vs, "run -d --name a -e B=own busybox sleep 1000").ok();
        let said = docker_sh(&vs, "exec -e A=1 -w /usr a", "echo $A $B $PWD; echo no >&2; exit 7").exits(7);
        assert_eq!((said.stdout.trim(), said.stderr.trim()), ("1 own /usr", "no"));
        assert_eq!(docker_fed(&vs, "exec -i a", "cat; exit 3", b"from outside"), (3, "from outside".to_owned()));
        let big = vec![b'x'; 300_000];
        assert_eq!(docker_fed(&vs, "exec -i a", "wc -c", &big).1.trim(), "300000");
        assert_eq!(docker_sh(&vs, "exec a", "head -c 3000000 /dev/zero").ok().len(), 3_000_000);
        docker(&vs, "exec a no-such-program").exits(127).says("no-such-program");
        docker_sh(&vs, "exec -d a", "echo done > /tmp/file; sleep 1000").ok();
        eventually("it has begun", 10, || docker(&vs, "exec a cat /tmp/file").stdout.trim() == "done");
        let terminal = run(&mut typed(&vs, "exec -it a sh -c 'test -t 0 && stty size && exit 5'"));
        assert!(terminal.code == 5 && terminal.stdout.contains(char::is_numeric), "{terminal:?}");
        docker(&vs, "exec nobody true").exits(1).says("No such container: nobody");
        docker(&vs, "stop -t 0 a").ok();
        docker(&vs, "exec a true").exits(1).says("is not running");
    });
}

/// docker run in the foreground: what it prints and its exit status, with standard input, in a terminal, removed at its end.
#[test]
fn run_in_every_way() {
    guard(|| {
        let vs = host_image();
        let said = docker_sh(&vs, "run --rm busybox", "echo out; echo err >&2; exit 4").exits(4);
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!(docker(&vs, "ps -aq").ok(), "");
        assert_eq!(docker_fed(&vs, "run -i --rm busybox", "cat", b"hello\n"), (0, "hello\n".to_owned()));
        // Without -i there is no standard input.
        assert_eq!(docker_fed(&vs, "run --rm busybox", "cat", b"hello\n"), (0, String::new()));
        assert_eq!(docker_sh(&vs, "run --rm busybox", "head -c 3000000 /dev/zero").ok().len(), 3_000_000);
        docker(&vs, "network create --subnet 172.22.16.0/24 my_net2").ok();
        let line =
            "run -it --rm --network my_net2 --ip 172.22.16.88 busybox sh -c 'test -t 1 && hostname -I && exit 6'";
        let terminal = run(&mut typed(&vs, line));
        assert!(terminal.code == 6 && terminal.stdout.contains("172.22.16.88"), "{terminal:?}");
        docker(&vs, "run --rm busybox no-such-program").exits(127);
        // A terminal in the background, that is talked to later.
        docker(&vs, "run -dit --name shell busybox sh").ok();
        let mut attached = spawn(typed(&vs, "attach shell").stdin(Stdio::piped()));
        assert!(attached.running());
        docker(&vs, "rm -f shell").ok();
        assert!(docker(&vs, "create --name later busybox echo again").ok().len() > 60);
        assert_eq!(docker(&vs, "start -a later").ok(), "again\n");
        assert_eq!(docker(&vs, "wait later").ok().trim(), "0");
    });
}

/// docker attach: every client hears what comes from then on, and standard input is closed with the one that has it.
#[test]
fn attach() {
    guard(|| {
        let vs = host_image();
        docker(&vs, "create -i --name a busybox cat").ok();
        docker(&vs, "start a").ok();
        let listener = spawn(docker_command(&vs).args(["attach", "--no-stdin", "a"]));
        let mut client =
            docker_command(&vs).args(["attach", "a"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = client.stdin.take().unwrap();
        // It hears its own echo only once it is attached, and so does the other one.
        eventually("both listen", 20, || {
            input.write_all(b"ping\n").unwrap();
            listener.output().contains("ping")
        });
        input.write_all(b"last\n").unwrap();
        drop(input);
        let heard = client.wait_with_output().unwrap();
        assert!(String::from_utf8_lossy(&heard.stdout).ends_with("last\n") && heard.status.success());
        assert!(listener.wait(Duration::from_secs(20)).ok().ends_with("last\n"));
        assert_eq!(shown(&vs, "inspect a", "{{.State.ExitCode}}"), "0");
    });
}

/// A client that sends what the process never takes gets everything that the process writes, and then the end of the stream
/// instead of a reset connection: of exec and of attach.
#[test]
fn unread_input() {
    guard(|| {
        let vs = host_image();
        let script = "until test -e /tmp/go; do sleep 0.1; done; echo told";
        docker(&vs, "run -d --name a busybox sleep 1000").ok();
        let create =
            format!(r#"{{"AttachStdin":true,"AttachStdout":true,"AttachStderr":true,"Cmd":["sh","-c","{script}"]}}"#);
        let id = http::request(&vs.socket(), "POST", "/containers/a/exec", Some(&create)).json();
        let exec = hijacked(&vs, &format!("/exec/{}/start", id["Id"].as_str().unwrap()), r#"{"Detach":false}"#);
        docker_sh(&vs, "create -i --name b busybox", script).ok();
        let attach = hijacked(&vs, "/containers/b/attach?stream=1&stdin=1&stdout=1&stderr=1", "");
        docker(&vs, "start b").ok();
        for (container, mut stream) in [("a", exec), ("b", attach)] {
            // Until nothing on the way takes more.
            stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            while stream.write(&[b'x'; 65536]).is_ok() {}
            docker(&vs, &format!("exec {container} touch /tmp/go")).ok();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap_or_else(|error| panic!("{container}: {error}"));
            assert_eq!(heard, b"\x01\0\0\0\0\0\0\x05told\n", "{container}");
        }
    });
}

/// A connection that has become the streams of a process.
fn hijacked(vs: &Vswitch, path: &str, body: &str) -> UnixStream {
    let mut stream = http::connect(&vs.socket());
    let length = body.len();
    let head = "Host: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json";
    write!(stream, "POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// docker logs: streams apart, the last lines, from a time on, with times, and on to the end.
#[test]
fn logs() {
    guard(|| {
        let vs = host_image();
        docker_sh(&vs, "run -d --name a busybox", "echo one; echo two >&2; echo three; read x").ok();
        docker(&vs, "wait a").ok();
        let all = docker(&vs, "logs a");
        assert_eq!((all.stdout.as_str(), all.stderr.as_str()), ("one\nthree\n", "two\n"));
        let last = docker(&vs, "logs --tail 1 a");
        assert_eq!(last.stdout.len() + last.stderr.len(), if last.stderr.is_empty() { 6 } else { 4 });
        assert_eq!(docker(&vs, "logs -n 0 a").ok(), "");
        let stamped = docker(&vs, "logs -t a").ok();
        let (first, _) = stamped.split_once(' ').unwrap();
        assert!(first.ends_with('Z') && stamped.lines().count() == 2, "{stamped}");
        assert_eq!(docker(&vs, "logs --since 2000-01-01T00:00:00Z a").ok().lines().count(), 2);
        assert_eq!(docker(&vs, "logs --until 2000-01-01T00:00:00Z a").ok(), "");
        assert_eq!(vs.ok("logs a").lines().count(), 3);
        docker_sh(&vs, "run -d --name b busybox", "echo begin; until test -e /tmp/go; do sleep 0.1; done; echo end")
            .ok();
        let follower = spawn(docker_command(&vs).args(["logs", "-f", "b"]));
        eventually("it follows", 10, || follower.output().contains("begin"));
        docker(&vs, "exec b touch /tmp/go").ok();
        assert_eq!(follower.wait(Duration::from_secs(20)).ok(), "begin\nend\n");
        docker_sh(&vs, "run -dt --name t busybox", "echo raw").ok();
        docker(&vs, "wait t").ok();
        assert_eq!(docker(&vs, "logs t").ok(), "raw\r\n");
    });
}
