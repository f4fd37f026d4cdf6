//! Code in vswitchd's place: its connection to the agent, its lack of privileges, its filter of system calls and its landlock.
//! What it tries must fail, each for its own reason.

use std::{
    fs::{self, File},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
    thread,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
    process::{Pid, PidfdFlags, pidfd_open},
};
use vswitch_ctl::{
    agent::{
        client::{AgentClient, AgentOptions},
        protocol::{ExecSpec, FailureKind, Policy, Reply, Request},
    },
    confinement::{Mode, Places, confine},
    privileges,
};

use crate::harness::{Agent, PATH, shell};

/// Runs `act` in a thread that may do what vswitchd may.
fn in_vswitchds_place<T: Send + 'static>(state: &Path, act: impl FnOnce() -> T + Send + 'static) -> T {
    let places = Places { own: vec![state.to_owned()], ..Places::default() };
    let thread = thread::spawn(move || {
        privileges::drop_all().unwrap();
        confine(Mode::Refuse, &places).unwrap();
        act()
    });
    thread.join().unwrap()
}

/// Nothing that the host has is reached from vswitchd's place itself.
#[test]
fn calls_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let precious = other.path().join("precious");
    fs::write(&precious, "x").unwrap();
    let service = other.path().join("service");
    let _service = UnixListener::bind(&service).unwrap();
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = Pid::from_child(&bystander);
    in_vswitchds_place(directory.path(), move || {
        assert!(File::open("/etc/shadow").is_err() && File::open(&precious).is_err());
        assert!(File::options().write(true).open("/proc/sys/kernel/core_pattern").is_err());
        assert!(UnixStream::connect(&service).is_err());
        for kind in [SocketType::STREAM, SocketType::DGRAM, SocketType::SEQPACKET] {
            let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
            assert_eq!(socket.map(drop), Err(Errno::PERM));
        }
        assert_eq!(pidfd_open(pid, PidfdFlags::empty()).map(drop), Err(Errno::PERM));
        assert_eq!(rustix::process::kill_process(pid, rustix::process::Signal::KILL), Err(Errno::PERM));
        assert!(Command::new("/bin/true").status().is_err());
    });
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

/// The agent starts nothing that no client ordered, and writes no file that vswitchd names.
#[tokio::test]
async fn orders_of_its_own() {
    let agent = Agent::start(false).await;
    drop(agent.client);
    let state = agent.directory.path().to_owned();
    let socket = state.join("v.sock");
    let policy = Policy { ordered: true, sockets: vec![socket.clone()], ..Policy::default() };
    let options =
        AgentOptions { state_dir: state.clone(), ephemeral: false, temporary: false, uplinks: Vec::new(), policy };
    let (client, hello, events) = AgentClient::start(&options).await.unwrap();
    let agent = Agent { client, hello, events, ..agent };
    agent.sandbox("s1").await;
    let refused = async |request: Request, descriptors: Vec<OwnedFd>| {
        let answer = agent.client.call(request.clone(), descriptors).await;
        let denied = matches!(&answer, Err(vswitch_ctl::agent::client::AgentError::Failed(failure))
            if failure.kind == FailureKind::NotPermitted);
        assert!(denied, "{request:?}: {answer:?}");
    };
    let marker = state.join("made");
    let script = format!("touch {}", marker.display());
    for sandbox in [None, Some("s1")] {
        let spec = Box::new(shell(sandbox, &script));
        refused(Request::ProcessStart { process: "c1".to_owned(), spec }, Vec::new()).await;
    }
    let exec = ExecSpec { command: vec!["touch".to_owned()], env: vec![PATH.to_owned()], ..ExecSpec::default() };
    let request = Request::ProcessExec {
        process: "x".to_owned(),
        container: "c1".to_owned(),
        exec,
        order: Some(1),
        attach: None,
    };
    refused(request, Vec::new()).await;
    // What is said on connections that it makes itself is no client's; this process is vswitchd to the agent.
    let order = b"POST /vswitch/v1/containers HTTP/1.1\r\nContent-Length: 20\r\n\r\n{\"command\":[\"true\"]}";
    let forged = in_vswitchds_place(&state, move || {
        let (said, heard) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut &said, order).unwrap();
        (said, heard)
    });
    refused(Request::OrderTake, vec![forged.1.into()]).await;
    let listener = UnixListener::bind(&socket).unwrap();
    let own = UnixStream::connect(&socket).unwrap();
    std::io::Write::write_all(&mut &own, order).unwrap();
    refused(Request::OrderTake, vec![listener.accept().unwrap().0.into()]).await;
    refused(Request::OrderKeep { order: 1, process: "c1".to_owned() }, Vec::new()).await;
    // Nor can it write where orders are kept.
    let orders = format!("{}.orders", state.display());
    let planted = orders.clone();
    let denied = in_vswitchds_place(&state, move || {
        let made = fs::write(Path::new(&planted).join("c1"), "{\"command\":[\"true\"]}");
        made.is_err() && fs::rename(&planted, "/tmp/elsewhere").is_err()
    });
    assert!(denied && fs::read_dir(&orders).unwrap().next().is_none());
    // Its word about the policy counts once.
    let again = Request::Hello {
        version: vswitch_ctl::agent::protocol::PROTOCOL_VERSION,
        key: String::new(),
        policy: Policy::default(),
    };
    assert!(agent.client.call(again, Vec::new()).await.is_err());
    // A client's order is taken, kept, and started as it was given, whatever vswitchd says.
    let path = socket.to_str().unwrap().to_owned();
    let body = r#"{"command":["sh","-c","exit 7"],"env":["PATH=/usr/bin:/bin"]}"#;
    let arguments = ["-s", "--unix-socket", &path, "-d", body, "http://v/vswitch/v1/containers"];
    let mut curl = Command::new("curl").args(arguments).spawn().unwrap();
    let accepted = tokio::task::spawn_blocking(move || listener.accept().unwrap().0).await.unwrap();
    let Reply::Order { order } = agent.client.call(Request::OrderTake, vec![accepted.into()]).await.unwrap().0 else {
        panic!("no order");
    };
    agent.done(Request::OrderKeep { order, process: "c1".to_owned() }).await;
    let mut agent = agent;
    let mut spec = Box::new(shell(Some("s1"), &script));
    spec.log = Some(state.join("elsewhere").to_str().unwrap().to_owned());
    fs::create_dir(state.join("logs")).unwrap();
    agent.client.call(Request::ProcessStart { process: "c1".to_owned(), spec }, Vec::new()).await.unwrap();
    assert_eq!(agent.exited("c1").await, 7);
    assert!(!state.join("elsewhere").exists() && state.join("logs/c1.log").exists());
    assert!(!marker.exists());
    let _ = curl.kill();
    curl.wait().unwrap();
    agent.end().await;
}
