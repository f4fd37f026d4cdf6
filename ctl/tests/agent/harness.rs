//! A running agent, and what the tests ask of it.

use std::{
    io::Read,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::sync::mpsc;
use vswitch_ctl::agent::{
    client::{AgentClient, AgentError, AgentOptions, Hello},
    protocol::{Event, Existing, FailureKind, Link, Policy, ProcessSpec, Reply, Request},
};
use vswitch_ctl::model::Isolation;
use vswitch_frame::MacAddr;

/// A state directory, and around it room for what is beside it.
pub(crate) struct Directory {
    _room: tempfile::TempDir,
    state: std::path::PathBuf,
}

impl Directory {
    pub(crate) fn new() -> Directory {
        Directory::inside(tempfile::tempdir().unwrap())
    }

    pub(crate) fn inside(room: tempfile::TempDir) -> Directory {
        let state = room.path().join("state");
        std::fs::create_dir(&state).unwrap();
        Directory { _room: room, state }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.state
    }
}

/// A running agent and the connection to it.
pub(crate) struct Agent {
    pub(crate) child: Ended,
    pub(crate) directory: Directory,
    pub(crate) ephemeral: bool,
    pub(crate) client: AgentClient,
    pub(crate) hello: Hello,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
}

impl Agent {
    pub(crate) async fn start(ephemeral: bool) -> Agent {
        Agent::start_in(ephemeral, Directory::new(), Command::new(env!("CARGO_BIN_EXE_vswitchd"))).await
    }

    /// Starts one whose command line begins like this.
    pub(crate) async fn start_in(ephemeral: bool, directory: Directory, mut command: Command) -> Agent {
        command.arg("agent").arg("--state-dir").arg(directory.path());
        if ephemeral {
            command.arg("--ephemeral");
        }
        let log = std::fs::File::create(directory.path().join("agent.log")).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        let (client, hello, events) = connect(directory.path(), ephemeral).await.unwrap();
        Agent { child: Ended(child), directory, ephemeral, client, hello, events }
    }

    pub(crate) async fn done(&self, request: Request) {
        let (reply, _) = self.client.call(request, Vec::new()).await.unwrap();
        assert_eq!(reply, Reply::Done);
    }

    pub(crate) async fn sandbox(&self, id: &str) {
        self.done(Request::SandboxCreate { sandbox: id.to_owned() }).await;
    }

    pub(crate) async fn attach(&self, endpoint: &str, sandbox: &str, link: Link) -> (String, OwnedFd) {
        let request = Request::EndpointAttach { endpoint: endpoint.to_owned(), sandbox: sandbox.to_owned(), link };
        match self.client.call(request, Vec::new()).await.unwrap() {
            (Reply::Endpoint { interface }, mut descriptors) => (interface, descriptors.pop().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// The processes that run: id and host pid.
    pub(crate) async fn processes(&self) -> Vec<(String, u32)> {
        match self.client.call(Request::Survey { from: 0 }, Vec::new()).await.unwrap().0 {
            Reply::Survey { existing, more: false } => existing.into_iter().filter_map(running).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Starts a shell script in a container; the reading end of its output.
    pub(crate) async fn launch(&self, id: &str, sandbox: Option<&str>, script: &str) -> OwnedFd {
        let (output, streams) = streams();
        let request = Request::ProcessStart { process: id.to_owned(), spec: Box::new(shell(sandbox, script)) };
        let (reply, _) = self.client.call(request, streams).await.unwrap();
        assert!(matches!(reply, Reply::Started { .. }));
        output
    }

    /// Runs a shell script in a container; its exit status and output.
    pub(crate) async fn run(&mut self, id: &str, sandbox: Option<&str>, script: &str) -> (i32, String) {
        let output = self.launch(id, sandbox, script).await;
        let said = tokio::task::spawn_blocking(move || read_all(output)).await.unwrap();
        (self.exited(id).await, said)
    }

    pub(crate) async fn exited(&mut self, id: &str) -> i32 {
        loop {
            let event = tokio::time::timeout(Duration::from_secs(10), self.events.recv()).await;
            match event.expect("no event in time").expect("the agent ended") {
                Event::Exited { process, exit_code } if process == id => return exit_code,
                _ => {}
            }
        }
    }

    pub(crate) async fn failure(&self, request: Request) -> (FailureKind, String) {
        match self.client.call(request, Vec::new()).await {
            Err(AgentError::Failed(failure)) => (failure.kind, failure.message),
            other => panic!("{other:?}"),
        }
    }

    /// Ends the agent, which must leave nothing.
    pub(crate) async fn end(mut self) {
        let pid = self.hello.pid;
        if self.ephemeral {
            drop(self.client);
        } else {
            self.done(Request::Shutdown).await;
        }
        assert!(wait(&mut self.child.0).await.success());
        let log = std::fs::read_to_string(self.directory.path().join("agent.log")).unwrap();
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
        assert!(!self.directory.path().join("agent.sock").exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}

pub(crate) async fn connect(
    state_dir: &Path,
    ephemeral: bool,
) -> Result<(AgentClient, Hello, mpsc::UnboundedReceiver<Event>), AgentError> {
    AgentClient::start(&AgentOptions {
        state_dir: state_dir.to_owned(),
        temporary: false,
        ephemeral,
        uplinks: Vec::new(),
        policy: Policy::default(),
    })
    .await
}

fn running(one: Existing) -> Option<(String, u32)> {
    match one {
        Existing::Running(id, pid) => Some((id, pid)),
        _ => None,
    }
}

pub(crate) fn link(number: u8) -> Link {
    Link {
        interface: None,
        mac: MacAddr::new([2, 0x42, 10, 9, 0, number]),
        mtu: 1400,
        ipv4: Some((Ipv4Addr::new(10, 9, 0, number), 24)),
        ipv6: Some((Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()), 64)),
        link_local: Vec::new(),
        replace_tap: false,
        enable_ipv6: true,
        bare: false,
    }
}

pub(crate) fn shell(sandbox: Option<&str>, script: &str) -> ProcessSpec {
    ProcessSpec {
        sandbox: sandbox.map(str::to_owned),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![PATH.to_owned(), "GREETING=hello".to_owned()],
        working_dir: "/usr".to_owned(),
        hostname: "box".to_owned(),
        etc_hosts: Some("10.9.0.77 neighbour\n".to_owned()),
        etc_resolv_conf: Some("nameserver 10.9.0.1\n".to_owned()),
        tty: false,
        open_stdin: false,
        stdin_once: false,
        capabilities: DOCKER_CAPABILITIES.to_vec(),
        isolation: Isolation::default(),
        profile: None,
        mounts: Default::default(),
        options: Default::default(),
        log: None,
        log_limit: vswitch_ctl::logfile::Limit::default(),
    }
}

pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot, mknod,
/// audit_write, setfcap.
pub(crate) const DOCKER_CAPABILITIES: [u8; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

/// The reading end of the output, and the three streams.
pub(crate) fn streams() -> (OwnedFd, Vec<OwnedFd>) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let input = std::fs::File::open("/dev/null").unwrap().into();
    (reader, vec![input, writer.try_clone().unwrap(), writer])
}

pub(crate) fn read_all(reader: OwnedFd) -> String {
    let mut said = String::new();
    std::fs::File::from(reader).read_to_string(&mut said).unwrap();
    said
}

/// Waits for a child without blocking the runtime, and not for ever.
pub(crate) async fn wait(child: &mut Child) -> ExitStatus {
    for _ in 0..1500 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().unwrap();
    panic!("the agent does not end");
}

/// A process that ends with its test.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let pid = rustix::process::Pid::from_child(&self.0);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}
