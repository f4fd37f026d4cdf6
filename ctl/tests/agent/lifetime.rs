//! Who outlives whom.

use std::{path::Path, process::Command, time::Duration};

use vswitch_ctl::agent::{
    client::AgentError,
    protocol::{ExecSpec, FailureKind, NetnsRef, PROTOCOL_VERSION, Reply, Request},
};
use vswitch_ctl::model::Isolation;

use crate::harness::{Agent, Directory, PATH, connect, link, shell, streams, wait};

/// The agent and its containers survive vswitchd, and the next vswitchd finds everything again.
#[tokio::test]
async fn survives_vswitchd() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let _socket = agent.attach("e1", "s1", link(2)).await;
    let _living = agent.launch("c1", Some("s1"), "exec sleep 1000").await;
    let ending = agent.launch("c2", Some("s1"), "read x; exit 9").await;
    // What is left of the first vswitchd.
    let (client, hello, events) = {
        drop(std::mem::replace(&mut agent.events, tokio::sync::mpsc::unbounded_channel().1));
        let second = connect(agent.directory.path(), false).await;
        assert!(
            matches!(second, Err(AgentError::Failed(ref failure)) if failure.kind == FailureKind::Exists),
            "{second:?}"
        );
        let old = agent.client;
        drop(old);
        drop(ending);
        tokio::time::sleep(Duration::from_millis(200)).await;
        connect(agent.directory.path(), false).await.unwrap()
    };
    assert_eq!(hello.sandboxes, ["s1"]);
    assert_eq!(hello.endpoints, ["e1"]);
    assert_eq!(hello.running.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["c1"]);
    assert_eq!(hello.exited, [("c2".to_owned(), 9)]);
    assert_eq!(hello.pid, agent.hello.pid);
    assert_eq!(hello.rootless, !rustix::process::geteuid().is_root());
    let mut agent = Agent { client, hello, events, ..agent };
    let (reply, descriptors) =
        agent.client.call(Request::EndpointReopen { endpoint: "e1".to_owned() }, Vec::new()).await.unwrap();
    assert_eq!((reply, descriptors.len()), (Reply::Endpoint { interface: "eth0".to_owned() }, 1));
    agent.done(Request::ProcessForget { process: "c2".to_owned() }).await;
    agent.done(Request::ProcessSignal { process: "c1".to_owned(), signal: 15 }).await;
    assert_eq!(agent.exited("c1").await, 143);
    agent.end().await;
}

/// A stranger that connects and says nothing, or says something else, or says hello without the key, keeps no vswitchd out.
#[tokio::test]
async fn strangers_keep_nobody_out() {
    let agent = Agent::start(false).await;
    drop(agent.client);
    let knock = |message: &[u8]| {
        let kind = rustix::net::SocketType::SEQPACKET;
        let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, kind, None).unwrap();
        let address = rustix::net::SocketAddrUnix::new(agent.directory.path().join("agent.sock")).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        if !message.is_empty() {
            rustix::io::write(&socket, message).unwrap();
        }
        socket
    };
    let hello = format!(r#"{{"seq":1,"body":{{"Hello":{{"version":{PROTOCOL_VERSION},"key":"0000"}}}}}}"#);
    let start = br#"{"seq":1,"body":{"SandboxCreate":{"sandbox":"s1"}}}"#;
    let (_silent, _other, keyless) = (knock(b""), knock(start), knock(hello.as_bytes()));
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = vec![0; 4096];
        let length = rustix::io::read(&keyless, &mut answer).unwrap();
        String::from_utf8(answer[..length].to_vec()).unwrap()
    });
    let answer = answer.await.unwrap();
    assert!(answer.contains("NotPermitted") && answer.contains("agent.key"), "{answer}");
    let (client, hello, events) = connect(agent.directory.path(), false).await.unwrap();
    assert!(hello.sandboxes.is_empty());
    Agent { client, hello, events, ..agent }.end().await;
}

/// A container whose start its agent did not live to report ends with the agent: nobody knows it.
#[tokio::test]
async fn unreported_starts_end_with_the_agent() {
    // The agent is stopped while a container starts; it may have reported the start already, and then it is tried again.
    for _ in 0..50 {
        let mut agent = Agent::start(false).await;
        let (_output, streams) = streams();
        let request =
            Request::ProcessStart { process: "c1".to_owned(), spec: Box::new(shell(None, "exec sleep 1000")) };
        let client = agent.client.clone();
        let start = tokio::spawn(async move { client.call(request, streams).await });
        let init = eventually(|| init_of(agent.hello.pid)).await;
        let own = rustix::process::Pid::from_child(&agent.child.0);
        rustix::process::kill_process(own, rustix::process::Signal::STOP).unwrap();
        eventually(|| state(agent.hello.pid).contains("T (stopped)").then_some(())).await;
        // What it has sent is read before the end of the connection is seen.
        agent.child.0.kill().unwrap();
        wait(&mut agent.child.0).await;
        let reported = start.await.unwrap().is_ok();
        if reported {
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(init.cast_signed()).unwrap(),
                rustix::process::Signal::KILL,
            )
            .unwrap();
        } else {
            return eventually(|| (!Path::new(&format!("/proc/{init}/fd/0")).exists()).then_some(())).await;
        }
    }
    panic!("every start was reported before the agent could be stopped");
}

/// More than fits one message is found again, too.
#[tokio::test]
async fn finds_thousands_again() {
    const MANY: usize = 5000;
    let agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let _output = agent.launch("c1", Some("s1"), "exec sleep 1000").await;
    let netns = NetnsRef::Pid(running(&agent).await);
    for number in 0..MANY {
        // As long as those of containers.
        let sandbox = format!("{number:064}");
        agent.done(Request::SandboxAttach { sandbox, netns: netns.clone(), force: false }).await;
    }
    drop(agent.client);
    let (client, hello, events) = connect(agent.directory.path(), false).await.unwrap();
    assert_eq!((hello.sandboxes.len(), hello.running.len()), (MANY + 1, 1));
    Agent { client, hello, events, ..agent }.end().await;
}

/// An ephemeral agent takes everything down when vswitchd is gone.
#[tokio::test]
async fn ends_with_vswitchd() {
    let agent = Agent::start(true).await;
    agent.sandbox("s1").await;
    let _socket = agent.attach("e1", "s1", link(2)).await;
    let _output = agent.launch("c1", Some("s1"), "sleep 1000 & exec sleep 1000").await;
    let pid = running(&agent).await;
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    agent.end().await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

/// The containers of an ephemeral agent end even when it is killed, and vswitchd notices.
#[tokio::test]
async fn containers_end_with_a_killed_ephemeral_agent() {
    let mut agent = Agent::start(true).await;
    agent.sandbox("s1").await;
    let _output = agent.launch("c1", Some("s1"), "exec sleep 1000").await;
    let pid = running(&agent).await;
    agent.child.0.kill().unwrap();
    wait(&mut agent.child.0).await;
    tokio::time::timeout(Duration::from_secs(5), agent.client.closed()).await.unwrap();
    assert!(agent.events.recv().await.is_none());
    assert!(matches!(agent.client.call(Request::Shutdown, Vec::new()).await, Err(AgentError::Lost)));
    for _ in 0..500 {
        if !Path::new(&format!("/proc/{pid}/exe")).exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {pid} still runs");
}

/// A termination signal makes the agent take everything down, too.
#[tokio::test]
async fn ends_in_order_when_terminated() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let _socket = agent.attach("e1", "s1", link(2)).await;
    let _output = agent.launch("c1", Some("s1"), "exec sleep 1000").await;
    let pid = running(&agent).await;
    let own = rustix::process::Pid::from_child(&agent.child.0);
    rustix::process::kill_process(own, rustix::process::Signal::TERM).unwrap();
    assert!(wait(&mut agent.child.0).await.success());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

/// After its agent was killed a container lives on; the next agent finds it, and attaches, executes and ends as before.
#[tokio::test]
async fn finds_the_containers_of_a_killed_agent() {
    let mut killed = Agent::start(false).await;
    killed.sandbox("s1").await;
    let socket = killed.attach("e1", "s1", link(2)).await;
    let _output = killed.launch("c1", Some("s1"), "trap 'exit 3' TERM; while :; do sleep 0.02; done").await;
    let _output = killed.launch("c2", None, "exec sleep 1000").await;
    // The agent's one thread tells a container's init of the reported start before it turns to the next request.
    assert_eq!(killed.processes().await.len(), 2);
    killed.child.0.kill().unwrap();
    wait(&mut killed.child.0).await;
    let directory = std::mem::replace(&mut killed.directory, Directory::new());
    let mut agent = Agent::start_in(false, directory, Command::new(env!("CARGO_BIN_EXE_vswitchd"))).await;
    assert_eq!(agent.hello.sandboxes, ["s1"]);
    assert!(agent.hello.endpoints.is_empty());
    assert_eq!(agent.hello.running.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["c1", "c2"]);
    // The descriptor that vswitchd has of the earlier interface keeps it; the name is free all the same.
    let (name, _socket) = agent.attach("e1", "s1", link(2)).await;
    assert_eq!(name, "eth0");
    drop(socket);
    let (code, said) = agent.run("c3", Some("s1"), "ip addr show dev eth0").await;
    assert!(code == 0 && said.contains("inet 10.9.0.2/24"), "{said}");
    for container in ["c1", "c2"] {
        let exec = ExecSpec {
            options: Default::default(),
            command: ["sh", "-c", "test $(hostname) = box"].map(str::to_owned).to_vec(),
            env: vec![PATH.to_owned()],
            working_dir: "/".to_owned(),
            tty: false,
            capabilities: Vec::new(),
            isolation: Isolation::default(),
            profile: None,
        };
        let request = Request::ProcessExec {
            process: "x1".to_owned(),
            container: container.to_owned(),
            exec,
            order: None,
            attach: None,
        };
        agent.client.call(request, Vec::new()).await.unwrap();
        assert_eq!(agent.exited("x1").await, 0);
    }
    agent.done(Request::ProcessSignal { process: "c1".to_owned(), signal: 15 }).await;
    assert_eq!(agent.exited("c1").await, 137, "nobody was there to learn the status");
    agent.end().await;
}

/// Where the host forbids user namespaces, an ordinary user's agent says so, and how to allow them.
#[test]
fn says_how_to_allow_user_namespaces() {
    let directory = tempfile::tempdir().unwrap();
    let forbidden = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["-Ur", "sh", "-c", forbidden, env!("CARGO_BIN_EXE_vswitchd"), "agent", "--state-dir"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("this host does not let ordinary users make user namespaces"), "{said}");
    assert!(said.contains("user.max_user_namespaces") && said.lines().count() == 1, "{said}");
    assert!(!directory.path().join("agent.sock").exists());
}

/// A state directory may be deeper than a socket's address is long.
#[tokio::test]
async fn serves_a_long_path() {
    let parent = tempfile::tempdir().unwrap();
    let mut deep = parent.path().to_owned();
    for _ in 0..4 {
        deep.push("d".repeat(60));
    }
    std::fs::create_dir_all(&deep).unwrap();
    let directory = Directory::inside(tempfile::tempdir_in(&deep).unwrap());
    let agent = Agent::start_in(false, directory, Command::new(env!("CARGO_BIN_EXE_vswitchd"))).await;
    agent.sandbox("s1").await;
    agent.end().await;
}

/// The first process of a container that an agent has just begun to start.
fn init_of(agent: u32) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{agent}/task")).ok()?.flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> =
        children.flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect();
    let named =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|l| l.contains("--container"));
    children.into_iter().find(named)
}

fn state(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

/// Waits until something is there.
async fn eventually<T>(look: impl Fn() -> Option<T>) -> T {
    for _ in 0..10_000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it does not come");
}

async fn running(agent: &Agent) -> u32 {
    agent.processes().await[0].1
}
