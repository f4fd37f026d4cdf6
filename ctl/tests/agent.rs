//! The agent as it is: real namespaces, interfaces and processes. Run as root, every test runs once more as an ordinary
//! user (`everything_again_as_an_ordinary_user`).

use std::{
    io::Read,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::sync::mpsc;
use vswitch_ctl::agent::{
    client::{AgentClient, AgentError, AgentOptions, Hello},
    protocol::{Event, FailureKind, Link, ProcessSpec, Reply, Request},
};
use vswitch_frame::MacAddr;

/// A running agent and the connection to it.
struct Agent {
    child: Child,
    directory: tempfile::TempDir,
    ephemeral: bool,
    client: AgentClient,
    hello: Hello,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Agent {
    async fn start(ephemeral: bool) -> Agent {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vswitchd"));
        command.arg("agent").arg("--state-dir").arg(directory.path());
        if ephemeral {
            command.arg("--ephemeral");
        }
        let log = std::fs::File::create(directory.path().join("agent.log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        let (client, hello, events) = connect(directory.path(), ephemeral).await.unwrap();
        Agent { child, directory, ephemeral, client, hello, events }
    }

    async fn done(&self, request: Request) {
        let (reply, _) = self.client.call(request, Vec::new()).await.unwrap();
        assert_eq!(reply, Reply::Done);
    }

    async fn sandbox(&self, id: &str) {
        self.done(Request::SandboxCreate { sandbox: id.to_owned() }).await;
    }

    async fn attach(&self, endpoint: &str, sandbox: &str, link: Link) -> (String, OwnedFd) {
        let request = Request::EndpointAttach { endpoint: endpoint.to_owned(), sandbox: sandbox.to_owned(), link };
        match self.client.call(request, Vec::new()).await.unwrap() {
            (Reply::Endpoint { interface }, mut descriptors) => (interface, descriptors.pop().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// Starts a shell script in a container; the reading end of its output.
    async fn launch(&self, id: &str, sandbox: Option<&str>, script: &str) -> OwnedFd {
        let (output, streams) = streams();
        let request = Request::ProcessStart { process: id.to_owned(), spec: Box::new(shell(sandbox, script)) };
        let (reply, _) = self.client.call(request, streams).await.unwrap();
        assert!(matches!(reply, Reply::Started { .. }));
        output
    }

    /// Runs a shell script in a container; its exit status and output.
    async fn run(&mut self, id: &str, sandbox: Option<&str>, script: &str) -> (i32, String) {
        let output = self.launch(id, sandbox, script).await;
        let said = tokio::task::spawn_blocking(move || read_all(output)).await.unwrap();
        (self.exited(id).await, said)
    }

    async fn exited(&mut self, id: &str) -> i32 {
        loop {
            let event = tokio::time::timeout(Duration::from_secs(10), self.events.recv()).await;
            match event.expect("no event in time").expect("the agent ended") {
                Event::Exited { process, exit_code } if process == id => return exit_code,
                _ => {}
            }
        }
    }

    async fn failure(&self, request: Request) -> (FailureKind, String) {
        match self.client.call(request, Vec::new()).await {
            Err(AgentError::Failed(failure)) => (failure.kind, failure.message),
            other => panic!("{other:?}"),
        }
    }

    /// Ends the agent, which must leave nothing.
    async fn end(mut self) {
        let pid = self.hello.pid;
        if self.ephemeral {
            drop(self.client);
        } else {
            self.done(Request::Shutdown).await;
        }
        assert!(self.child.wait().unwrap().success());
        let log = std::fs::read_to_string(self.directory.path().join("agent.log")).unwrap();
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
        assert!(!self.directory.path().join("agent.sock").exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}

async fn connect(
    state_dir: &Path,
    ephemeral: bool,
) -> Result<(AgentClient, Hello, mpsc::UnboundedReceiver<Event>), AgentError> {
    AgentClient::start(&AgentOptions { state_dir: state_dir.to_owned(), ephemeral }).await
}

fn link(number: u8) -> Link {
    Link {
        interface: None,
        mac: MacAddr::new([2, 0x42, 10, 9, 0, number]),
        mtu: 1400,
        ipv4: Some((Ipv4Addr::new(10, 9, 0, number), 24)),
        ipv6: Some((Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()), 64)),
        enable_ipv6: true,
    }
}

fn shell(sandbox: Option<&str>, script: &str) -> ProcessSpec {
    ProcessSpec {
        sandbox: sandbox.map(str::to_owned),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![PATH.to_owned(), "GREETING=hello".to_owned()],
        working_dir: "/usr".to_owned(),
        hostname: "box".to_owned(),
        etc_hosts: Some("10.9.0.77 neighbour\n".to_owned()),
        etc_resolv_conf: Some("nameserver 10.9.0.1\n".to_owned()),
        tty: false,
        capabilities: DOCKER_CAPABILITIES.to_vec(),
        log: None,
    }
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot, mknod,
/// audit_write, setfcap.
const DOCKER_CAPABILITIES: [u8; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

/// The reading end of the output, and the three streams.
fn streams() -> (OwnedFd, Vec<OwnedFd>) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let input = std::fs::File::open("/dev/null").unwrap().into();
    (reader, vec![input, writer.try_clone().unwrap(), writer])
}

fn read_all(reader: OwnedFd) -> String {
    let mut said = String::new();
    std::fs::File::from(reader).read_to_string(&mut said).unwrap();
    said
}

/// A process runs in its own namespaces with the given surroundings, and its exit status arrives.
#[tokio::test]
async fn runs_a_process() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let script = "hostname; echo $GREETING; cat /etc/hosts /etc/resolv.conf /etc/hostname; echo $$; ls /sys/class/net; \
        ls -d /proc/[0-9]* | wc -l; grep CapEff /proc/self/status; umask; ls /proc/self/fd | wc -l; pwd; exit 7";
    let (code, said) = agent.run("c1", Some("s1"), script).await;
    println!("{said}");
    assert_eq!(code, 7);
    agent.end().await;
}

/// Interfaces appear in the sandbox as asked, with routes, and frames cross from one descriptor to the other.
#[tokio::test]
async fn attaches_endpoints() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    agent.sandbox("s2").await;
    let (name, _one) = agent.attach("e1", "s1", link(2)).await;
    assert_eq!(name, "eth0");
    let (name, _two) = agent.attach("e2", "s2", link(3)).await;
    assert_eq!(name, "eth0");
    agent
        .done(Request::DefaultRoute {
            sandbox: "s1".to_owned(),
            ipv4: Some(("e1".to_owned(), Ipv4Addr::new(10, 9, 0, 1))),
            ipv6: Some(("e1".to_owned(), "fd00::1".parse().unwrap())),
        })
        .await;
    let (code, said) = agent.run("c1", Some("s1"), "ip addr; ip route; ip -6 route; ls -l /proc/self/fd").await;
    println!("{said}");
    assert_eq!(code, 0);
    agent.end().await;
}

/// All of the above, as an ordinary user.
#[test]
fn everything_again_as_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        // Then the others are that already.
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(USER), Some(USER)).unwrap();
    let user = USER.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all"])
        .arg(std::env::current_exe().unwrap())
        .args(["--test-threads=2", "--nocapture"])
        .env("TMPDIR", home.path())
        .env("HOME", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    assert_eq!(home.path().read_dir().unwrap().count(), 0, "something was left behind");
}

/// Any that is not root; it needs no entry in /etc/passwd.
const USER: u32 = 64_001;
