//! Interfaces and namespaces.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

use vswitch_ctl::agent::protocol::{Event, FailureKind, NetnsRef, OtherRoutes, Reply, Request};

use crate::harness::{Agent, link};

/// Interfaces appear in the sandbox as asked, with routes, and frames cross from one descriptor to the other.
#[tokio::test]
async fn attaches_endpoints() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    agent.sandbox("s2").await;
    let (name, one) = agent.attach("e1", "s1", link(2)).await;
    assert_eq!(name, "eth0");
    let (name, two) = agent.attach("e2", "s2", link(3)).await;
    assert_eq!(name, "eth0");
    let route = (Some(Ipv4Addr::new(10, 9, 0, 1)), Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)));
    agent.done(default_route("s1", "e1", route)).await;
    let (_, said) = agent.run("c1", Some("s1"), SHOW).await;
    for part in [
        "mtu 1400",
        "link/ether 02:42:0a:09:00:02",
        "inet 10.9.0.2/24 brd 10.9.0.255 scope global eth0",
        "inet6 fd00::2/64 scope global nodad",
        "inet6 fe80::42:aff:fe09:2/64 scope link",
        "default via 10.9.0.1 dev eth0 proto static \n",
        "default via fd00::1 dev eth0 proto static",
        "inet 127.0.0.1/8 scope host lo",
    ] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    assert!(!said.contains("tentative") && !said.contains("DOWN"), "{said}");
    let wire = Wire::between(one, two);
    let (code, said) =
        agent.run("c2", Some("s1"), "ping -c 2 -i 0.1 -W 2 10.9.0.3 && ping -c 2 -i 0.1 -W 2 fd00::3").await;
    assert_eq!(code, 0, "{said}");
    wire.cut();
    agent.end().await;
}

/// Default routes are replaced, leave by gateways outside of the subnet too, and are removed.
#[tokio::test]
async fn replaces_default_routes() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let _one = agent.attach("e1", "s1", link(2)).await;
    let mut second = link(66);
    second.ipv4 = Some((Ipv4Addr::new(10, 66, 0, 2), 32));
    second.ipv6 = Some(("fd66::2".parse().unwrap(), 128));
    let _two = agent.attach("e2", "s1", second).await;
    let far = (Some(Ipv4Addr::new(10, 66, 0, 254)), Some("fd66::ff".parse().unwrap()));
    let near = (Some(Ipv4Addr::new(10, 9, 0, 1)), Some("fe80::1".parse().unwrap()));
    let show = "ip route show default; ip -6 route show default";
    for (endpoint, gateways, wanted) in [
        ("e1", near, vec!["default via 10.9.0.1 dev eth0 ", "default via fe80::1 dev eth0 "]),
        ("e2", far, vec!["default via 10.66.0.254 dev eth1 ", "default via fd66::ff dev eth1 "]),
        ("e2", far, vec!["default via 10.66.0.254 dev eth1 ", "default via fd66::ff dev eth1 "]),
        ("e1", near, vec!["default via 10.9.0.1 dev eth0 ", "default via fe80::1 dev eth0 "]),
        ("e1", (near.0, None), vec!["default via 10.9.0.1 dev eth0 "]),
        ("e1", (None, None), vec![]),
    ] {
        agent.done(default_route("s1", endpoint, gateways)).await;
        let (_, said) = agent.run("c1", Some("s1"), show).await;
        assert_eq!(said.lines().count(), wanted.len(), "{said}");
        assert!(said.lines().zip(&wanted).all(|(line, wanted)| line.starts_with(wanted)), "{said}");
    }
    agent.end().await;
}

/// Names are the first free ones or the given ones; what is there already is refused and nothing is left of the attempt.
#[tokio::test]
async fn names_interfaces() {
    let mut agent = Agent::start(false).await;
    agent.sandbox("s1").await;
    let (zero, _one) = agent.attach("e0", "s1", link(2)).await;
    let (one, _two) = agent.attach("e1", "s1", link(3)).await;
    assert_eq!((zero.as_str(), one.as_str()), ("eth0", "eth1"));
    agent.done(Request::EndpointDetach { endpoint: "e0".to_owned() }).await;
    agent.done(Request::EndpointDetach { endpoint: "e0".to_owned() }).await;
    let (again, _three) = agent.attach("e2", "s1", link(4)).await;
    assert_eq!(again, "eth0");
    let mut named = link(5);
    named.interface = Some("wan.7".to_owned());
    named.enable_ipv6 = false;
    named.ipv6 = None;
    let (given, _four) = agent.attach("e3", "s1", named.clone()).await;
    assert_eq!(given, "wan.7");
    let attach = |endpoint: &str, link| Request::EndpointAttach {
        endpoint: endpoint.to_owned(),
        sandbox: "s1".to_owned(),
        link,
    };
    assert_eq!(agent.failure(attach("e4", named)).await.0, FailureKind::Exists);
    assert_eq!(agent.failure(attach("e3", link(9))).await.0, FailureKind::Exists);
    let mut wrong = link(9);
    wrong.interface = Some("much-too-long-a-name".to_owned());
    agent.failure(attach("e5", wrong)).await;
    let (_, said) = agent.run("c1", Some("s1"), "ls /sys/class/net; ip -6 addr show dev wan.7").await;
    assert_eq!(said, "eth0\neth1\nlo\nwan.7\n");
    let nowhere = Request::EndpointAttach { endpoint: "e6".to_owned(), sandbox: "s2".to_owned(), link: link(7) };
    assert_eq!(agent.failure(nowhere).await.0, FailureKind::Gone);
    agent.done(Request::SandboxRemove { sandbox: "s1".to_owned() }).await;
    agent.end().await;
}

/// An existing namespace gets an endpoint, also one that another user namespace owns; when it vanishes that is told, and
/// later requests say so.
#[tokio::test]
async fn attaches_existing_namespaces() {
    let mut agent = Agent::start(false).await;
    for (index, arguments) in [["-Urn"], ["-Un"]].iter().enumerate() {
        let mut stranger = Stranger::start(arguments);
        let (sandbox, endpoint) = (format!("host-{index}"), format!("e{index}"));
        let netns = NetnsRef::Pid(stranger.child.id());
        agent.done(Request::SandboxAttach { sandbox: sandbox.clone(), netns: netns.clone(), force: false }).await;
        let (name, _socket) = agent.attach(&endpoint, &sandbox, link(2)).await;
        assert_eq!(name, "eth0");
        agent.done(default_route(&sandbox, &endpoint, (Some(Ipv4Addr::new(10, 9, 0, 1)), None))).await;
        let said = stranger.run(&["sh", "-c", SHOW]);
        assert!(said.contains("inet 10.9.0.2/24") && said.contains("default via 10.9.0.1 dev eth0"), "{said}");
        let reopened =
            agent.client.call(Request::EndpointReopen { endpoint: endpoint.clone() }, Vec::new()).await.unwrap();
        assert_eq!((reopened.0, reopened.1.len()), (Reply::Endpoint { interface: "eth0".to_owned() }, 1));
        agent.done(Request::EndpointDetach { endpoint: endpoint.clone() }).await;
        assert!(!stranger.run(&["sh", "-c", SHOW]).contains("eth0"));
        let (name, _socket) = agent.attach(&endpoint, &sandbox, link(3)).await;
        assert_eq!(name, "eth0");
        stranger.end();
        let event = tokio::time::timeout(Duration::from_secs(10), agent.events.recv()).await.unwrap().unwrap();
        assert_eq!(event, Event::EndpointLost { endpoint: endpoint.clone() });
        let (kind, message) = agent
            .failure(Request::EndpointAttach { endpoint: "other".to_owned(), sandbox: sandbox.clone(), link: link(4) })
            .await;
        assert_eq!(kind, FailureKind::Gone, "{message}");
        assert_eq!(agent.failure(Request::EndpointReopen { endpoint: endpoint.clone() }).await.0, FailureKind::Gone);
        agent.done(Request::EndpointDetach { endpoint }).await;
        agent.done(Request::SandboxRemove { sandbox: sandbox.clone() }).await;
        let (kind, message) = agent.failure(Request::SandboxAttach { sandbox, netns, force: false }).await;
        assert_eq!(kind, FailureKind::Gone, "{message}");
        assert!(message.contains("does not exist"), "{message}");
    }
    agent.end().await;
}

/// Places that are no namespaces, or not the user's, are refused with a reason.
#[tokio::test]
async fn refuses_other_places() {
    let agent = Agent::start(false).await;
    let attach = |netns| Request::SandboxAttach { sandbox: "s1".to_owned(), netns, force: false };
    let path = |path: &str| NetnsRef::Path(path.to_owned());
    assert_eq!(agent.failure(attach(path("/no/such/file"))).await.0, FailureKind::Gone);
    assert_eq!(agent.failure(attach(path("/etc/hosts"))).await.0, FailureKind::Gone);
    // Opening these waits for somebody at the other end.
    let fifo = agent.directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(agent.failure(attach(path(fifo.to_str().unwrap()))).await.0, FailureKind::Gone);
    if !rustix::process::geteuid().is_root() {
        let (kind, message) = agent.failure(attach(NetnsRef::Pid(1))).await;
        assert_eq!(kind, FailureKind::NotPermitted);
        assert!(message.contains("belongs to somebody else"), "{message}");
    }
    // The user's own process, but the host's network.
    let (kind, message) = agent.failure(attach(NetnsRef::Pid(std::process::id()))).await;
    assert_eq!(kind, FailureKind::Harmful);
    let way_out = if rustix::process::geteuid().is_root() { "--force" } else { "only root's vswitchd" };
    assert!(message.contains(way_out), "{message}");
    agent.end().await;
}

fn default_route(sandbox: &str, endpoint: &str, (ipv4, ipv6): (Option<Ipv4Addr>, Option<Ipv6Addr>)) -> Request {
    Request::DefaultRoute {
        sandbox: sandbox.to_owned(),
        ipv4: ipv4.map(|gateway| (endpoint.to_owned(), gateway)),
        ipv6: ipv6.map(|gateway| (endpoint.to_owned(), gateway)),
        others: OtherRoutes::Replace,
    }
}

const SHOW: &str = "ip addr; ip route; ip -6 route";

/// A process in namespaces that the agent did not make.
struct Stranger {
    child: Child,
}

impl Stranger {
    fn start(arguments: &[&str]) -> Stranger {
        let mut command = Command::new("unshare");
        command.args(arguments).args(["sh", "-c", "echo; exec sleep 1000"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It has unshared once it says something.
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        Stranger { child }
    }

    /// What a command says inside.
    fn run(&self, command: &[&str]) -> String {
        let pid = self.child.id().to_string();
        let output = Command::new("nsenter")
            .args(["--target", &pid, "--user", "--net", "--preserve-credentials"])
            .args(command)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two threads that carry every frame from one packet socket to another.
struct Wire {
    threads: Vec<std::thread::JoinHandle<()>>,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Wire {
    fn between(one: OwnedFd, two: OwnedFd) -> Wire {
        let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let pairs = [(one.try_clone().unwrap(), two.try_clone().unwrap()), (two, one)];
        let carry = |(from, to): (OwnedFd, OwnedFd)| {
            let stop = std::sync::Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut buffer = vec![0; 70_000];
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut poll = [rustix::event::PollFd::new(&from, rustix::event::PollFlags::IN)];
                    let limit = rustix::time::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                    rustix::event::poll(&mut poll, Some(&limit)).unwrap();
                    if let Ok(length) = rustix::io::read(&from, &mut buffer) {
                        let _ = rustix::io::write(&to, &buffer[..length]);
                    }
                }
            })
        };
        Wire { threads: pairs.into_iter().map(carry).collect(), stop }
    }

    fn cut(self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}
