//! Container processes.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::Command,
    time::Duration,
};

use rustix::pty::OpenptFlags;
use vswitch_ctl::agent::protocol::{Event, ExecSpec, FailureKind, Reply, Request};
use vswitch_ctl::model::Isolation;

use crate::harness::{Agent, DOCKER_CAPABILITIES, Directory, PATH, read_all, shell, streams};

/// A process runs in its own namespaces with the given surroundings, and its exit status arrives.
#[tokio::test]
async fn runs_with_its_own_surroundings() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let script = "hostname; echo $GREETING; cat /etc/hosts /etc/resolv.conf /etc/hostname; echo $$; ls /sys/class/net; \
        ls -d /proc/[0-9]*; grep CapEff /proc/self/status; umask; ls /proc/self/fd; pwd; exit 7";
    let (code, said) = agent.run("c1", Some("s1"), script).await;
    assert_eq!(code, 7, "{said}");
    let wanted = "box\nhello\n10.9.0.77 neighbour\nnameserver 10.9.0.1\nbox\n2\nlo\n/proc/1\n/proc/2\n\
        CapEff:\t00000000a80425fb\n0022\n0\n1\n2\n3\n/usr\n";
    assert_eq!(said, wanted);
    // The host's own are as they were.
    assert!(!std::fs::read_to_string("/etc/hosts").unwrap().contains("neighbour"));
    assert_ne!(rustix::system::uname().nodename().to_bytes(), b"box");
    agent.end().await;
}

/// Exit statuses are those that a shell would tell, also for signals and for commands that cannot run.
#[tokio::test]
async fn tells_exit_statuses() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    for (script, wanted) in [("exit 0", 0), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        assert_eq!(agent.run("c1", Some("s1"), script).await.0, wanted, "{script}");
        agent.done(Request::ProcessForget { process: "c1".to_owned() }).await;
    }
    for (command, kind) in [
        ("no-such-program", FailureKind::CommandNotFound),
        ("/no/such/program", FailureKind::CommandNotFound),
        ("/etc/passwd", FailureKind::CommandNotExecutable),
        ("/usr", FailureKind::CommandNotExecutable),
    ] {
        let mut spec = shell(Some("s1"), "");
        spec.command = vec![command.to_owned()];
        let (failure, message) =
            agent.failure(Request::ProcessStart { process: "c2".to_owned(), spec: Box::new(spec) }).await;
        assert_eq!(failure, kind, "{message}");
    }
    let mut spec = shell(Some("s1"), "");
    spec.working_dir = "/no/such/directory".to_owned();
    let (_, message) = agent.failure(Request::ProcessStart { process: "c3".to_owned(), spec: Box::new(spec) }).await;
    assert!(message.contains("working directory /no/such/directory"), "{message}");
    agent.end().await;
}

/// Orphans are collected by the container's init, and end with the command.
#[tokio::test]
async fn collects_orphans() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let script = "(sleep 0.05 & exec true); (sleep 1000 &) ; sleep 0.3; grep -l 'State:.Z' /proc/[0-9]*/status | wc -l";
    let (code, said) = agent.run("c1", Some("s1"), script).await;
    assert_eq!((code, said.as_str()), (0, "0\n"));
    agent.end().await;
}

/// Signals reach the command, whether vswitchd asks for them or somebody kills the container's process on the host.
#[tokio::test]
async fn forwards_signals() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    for (number, through_agent, wanted) in [(15, true, 33), (15, false, 33), (9, true, 137), (2, true, 130)] {
        let script = "trap 'exit 33' TERM; echo ready; while :; do sleep 0.02; done";
        let output = agent.launch("c1", Some("s1"), script).await;
        wait_for(&output, "ready");
        if through_agent {
            agent.done(Request::ProcessSignal { process: "c1".to_owned(), signal: number }).await;
        } else {
            let pid = rustix::process::Pid::from_raw(pid_of(&agent, "c1").await).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        assert_eq!(agent.exited("c1").await, wanted, "signal {number}");
        // One that ended needs none.
        agent.done(Request::ProcessSignal { process: "c1".to_owned(), signal: number }).await;
    }
    let request = Request::ProcessSignal { process: "nobody".to_owned(), signal: 15 };
    assert_eq!(agent.failure(request).await.0, FailureKind::Gone);
    agent.end().await;
}

/// A further process runs in the container's namespaces; it ends with the container.
#[tokio::test]
async fn executes_in_a_container() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    for sandbox in [Some("s1"), None] {
        let _output = agent.launch("c1", sandbox, "exec sleep 1000").await;
        let inside = "hostname; cat /etc/resolv.conf; tr '\\0' ' ' < /proc/2/cmdline; ls /sys/class/net; exit 5";
        let (output, streams) = streams();
        let reply = agent.client.call(exec("x1", inside), streams).await.unwrap().0;
        assert!(matches!(reply, Reply::Started { .. }));
        let said = tokio::task::spawn_blocking(move || read_all(output)).await.unwrap();
        assert!(said.starts_with("box\nnameserver 10.9.0.1\n") && said.contains("sleep 1000 "), "{said}");
        assert_eq!(said.ends_with(" lo\n"), sandbox.is_some(), "{said}");
        assert_eq!(agent.exited("x1").await, 5);
        let mut missing = exec("x2", "");
        if let Request::ProcessExec { exec, .. } = &mut missing {
            exec.command = vec!["no-such-program".to_owned()];
        }
        assert_eq!(agent.failure(missing).await.0, FailureKind::CommandNotFound);
        agent.client.call(exec("x3", "exec sleep 1000"), Vec::new()).await.unwrap();
        agent.done(Request::ProcessSignal { process: "x3".to_owned(), signal: 15 }).await;
        assert_eq!(agent.exited("x3").await, 143);
        agent.client.call(exec("x4", "exec sleep 1000"), Vec::new()).await.unwrap();
        agent.done(Request::ProcessSignal { process: "c1".to_owned(), signal: 9 }).await;
        let mut ended = Vec::new();
        while ended.len() < 2 {
            match agent.events.recv().await.unwrap() {
                Event::Exited { process, exit_code } => ended.push((process, exit_code)),
                other => panic!("{other:?}"),
            }
        }
        ended.sort();
        assert_eq!(ended, [("c1".to_owned(), 137), ("x4".to_owned(), 137)]);
        assert_eq!(agent.failure(exec("x5", "true")).await.0, FailureKind::Gone);
        for process in ["c1", "x1", "x3", "x4"] {
            agent.done(Request::ProcessForget { process: process.to_owned() }).await;
        }
    }
    agent.end().await;
}

/// With a terminal the process leads a session on it, and the terminal's keys work.
#[tokio::test]
async fn has_a_terminal() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let main = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&main).unwrap();
    rustix::pty::unlockpt(&main).unwrap();
    let name = rustix::pty::ptsname(&main, Vec::new()).unwrap();
    let open = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let terminal = rustix::fs::open(name.as_c_str(), open, rustix::fs::Mode::empty()).unwrap();
    let mut spec = shell(Some("s1"), "stty size < /dev/tty; exec cat");
    spec.tty = true;
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&main, size).unwrap();
    let streams = vec![terminal.try_clone().unwrap(), terminal.try_clone().unwrap(), terminal];
    let request = Request::ProcessStart { process: "c1".to_owned(), spec: Box::new(spec) };
    agent.client.call(request, streams).await.unwrap();
    wait_for(&main, "33 77\r\n");
    let mut keyboard = File::from(main.try_clone().unwrap());
    keyboard.write_all(b"hello\n").unwrap();
    // Once from the terminal's echo, once from cat, which then has taken over from the shell.
    wait_for(&main, "hello\r\nhello\r\n");
    keyboard.write_all(b"\x03").unwrap();
    assert_eq!(agent.exited("c1").await, 130);
    agent.end().await;
}

/// Without streams a process reads nothing and writes to its log.
#[tokio::test]
async fn writes_its_log() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let log = agent.directory.path().join("c1.log");
    for _ in 0..2 {
        let mut spec = shell(Some("s1"), "cat; echo out; echo err >&2");
        spec.log = Some(log.to_str().unwrap().to_owned());
        agent
            .client
            .call(Request::ProcessStart { process: "c1".to_owned(), spec: Box::new(spec) }, Vec::new())
            .await
            .unwrap();
        assert_eq!(agent.exited("c1").await, 0);
    }
    let text = std::fs::read_to_string(&log).unwrap();
    for (stream, word) in [(" stdout F out", "out"), (" stderr F err", "err")] {
        assert_eq!(text.lines().filter(|line| line.ends_with(stream)).count(), 2, "{word}: {text}");
    }
    assert_eq!(text.lines().count(), 4, "{text}");
    agent.end().await;
}

/// The host's network is possible with namespaces of its own otherwise, and two containers may share one network.
#[tokio::test]
async fn shares_networks() {
    let mut agent = Agent::start(false).await;
    let host = std::fs::read_link("/proc/self/ns/net").unwrap();
    let script = "readlink /proc/self/ns/net; hostname; echo $$";
    let (code, said) = agent.run("c1", None, script).await;
    assert_eq!((code, said), (0, format!("{}\nbox\n2\n", host.display())));
    agent.sandbox("s1").await;
    let (_, one) = agent.run("c2", Some("s1"), script).await;
    let (_, two) = agent.run("c3", Some("s1"), script).await;
    assert_eq!(one, two);
    assert!(!one.starts_with(host.to_str().unwrap()));
    let request = Request::ProcessStart { process: "c4".to_owned(), spec: Box::new(shell(Some("s9"), "true")) };
    assert_eq!(agent.failure(request).await.0, FailureKind::Gone);
    agent.end().await;
}

/// A container has its own files in /etc also where the host's are links, lead nowhere, or are missing; and it starts
/// where the host hides parts of /proc, which is then the host's.
#[tokio::test]
async fn has_its_own_files_on_odd_hosts() {
    for (odd, own_proc) in [
        ("ln -sf ../mnt/resolv /etc/resolv.conf; echo host > /mnt/resolv", true),
        ("ln -sf ../mnt/nowhere /etc/resolv.conf; rm -f /etc/hosts /etc/hostname", true),
        ("mount -t tmpfs none /proc/sys/net; exec unshare -Urm \"$0\" \"$@\"", false),
    ] {
        // A layer of its own over what the script changes.
        let script = format!(
            "set -e; mount -t tmpfs none /mnt; mkdir /mnt/up /mnt/work; \
             mount -t overlay none /etc -o lowerdir=/etc,upperdir=/mnt/up,workdir=/mnt/work; {odd}; exec \"$0\" \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", &script, env!("CARGO_BIN_EXE_vswitchd")]);
        let mut agent = Agent::start_in(false, Directory::new(), command).await;
        agent.sandbox("s1").await;
        let (code, said) =
            agent.run("c1", Some("s1"), "cat /etc/hosts /etc/resolv.conf /etc/hostname; echo /proc/[0-9]*").await;
        assert_eq!(code, 0, "{odd}: {said}");
        assert!(said.starts_with("10.9.0.77 neighbour\nnameserver 10.9.0.1\nbox\n"), "{odd}: {said}");
        assert_eq!(said.ends_with("/proc/1 /proc/2\n"), own_proc, "{odd}: {said}");
        agent.end().await;
    }
}

/// A container's capabilities are those that were asked for, and no way leads back to more.
#[tokio::test]
async fn limits_capabilities() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let mut spec =
        shell(Some("s1"), "grep Cap /proc/self/status; ip link add d0 type dummy 2>/dev/null || echo refused");
    spec.capabilities = vec![10];
    let (output, streams) = streams();
    agent.client.call(Request::ProcessStart { process: "c1".to_owned(), spec: Box::new(spec) }, streams).await.unwrap();
    let said = tokio::task::spawn_blocking(move || read_all(output)).await.unwrap();
    assert_eq!(agent.exited("c1").await, 0);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(said.contains(&format!("{set}:\t0000000000000400")), "{said}");
    }
    assert!(said.ends_with("refused\n"), "{said}");
    agent.end().await;
}

fn exec(id: &str, script: &str) -> Request {
    Request::ProcessExec {
        process: id.to_owned(),
        container: "c1".to_owned(),
        exec: ExecSpec {
            options: Default::default(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![PATH.to_owned()],
            working_dir: "/".to_owned(),
            tty: false,
            capabilities: DOCKER_CAPABILITIES.to_vec(),
            isolation: Isolation::default(),
            profile: None,
        },
        order: None,
        attach: None,
    }
}

async fn pid_of(agent: &Agent, id: &str) -> i32 {
    agent.processes().await.into_iter().find(|(name, _)| name == id).unwrap().1.cast_signed()
}

/// Reads until the text appears.
fn wait_for(output: &OwnedFd, text: &str) -> String {
    let mut said = String::new();
    let mut file = File::from(output.as_fd().try_clone_to_owned().unwrap());
    let mut buffer = [0; 512];
    while !said.contains(text) {
        let mut poll = [rustix::event::PollFd::new(output, rustix::event::PollFlags::IN)];
        let limit = rustix::time::Timespec::try_from(Duration::from_secs(10)).unwrap();
        assert_eq!(rustix::event::poll(&mut poll, Some(&limit)).unwrap(), 1, "{said}");
        let length = file.read(&mut buffer).unwrap();
        assert!(length > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    said
}
