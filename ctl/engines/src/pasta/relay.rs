//! What pasta does in the namespace itself: it listens there for what is on the host's loopback (`-T`, `-U`), and looks who listens
//! there (`-t auto`, `-u auto`). A process of its own, since it enters the namespace's user namespace, which a process with threads
//! cannot, and from which it does not come back.
//!
//! Its standard input is the network namespace; on its standard output it says [`STARTED`], or why not, and then a line with
//! the ports that are listened at whenever they change. It ends with the process that started it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::inside::{Bound, Inside, listening};
use super::options::{Options, Target};
use super::ports::{Forward, Protocol, Range, Wanted};

/// What this program is called by itself, to be this process.
pub(crate) const RELAY: &str = "pasta-relay";

/// The first line of one that runs.
const STARTED: &str = "started";

/// How often it is looked who listens.
const PERIOD: Duration = Duration::from_secs(1);

/// Connections at a time, and clients of one UDP port.
const CONNECTIONS: usize = 4096;
const CLIENTS: usize = 256;

impl Heard {
    /// One after another, each with its protocol.
    pub(super) fn ports(&self) -> BTreeSet<(u16, &'static str)> {
        let tcp = self.tcp.iter().map(|&port| (port, Protocol::Tcp.word()));
        tcp.chain(self.udp.iter().map(|&port| (port, Protocol::Udp.word()))).collect()
    }
}

/// A client of a UDP port that says nothing for so long is forgotten.
const SILENCE: Duration = Duration::from_secs(60);

/// The process, as long as this is not dropped.
#[derive(Debug)]
pub(super) struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports of the namespace at which somebody listens.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) tcp: BTreeSet<u16>,
    pub(super) udp: BTreeSet<u16>,
}

/// Whether there is something to do.
pub(super) fn is_needed(options: &Options) -> bool {
    let ports = &options.ports;
    let looks = |wanted: &Wanted| matches!(wanted, Wanted::Unsaid | Wanted::Automatic(_));
    let listens = |wanted: &Wanted| !matches!(wanted, Wanted::None);
    looks(&ports.tcp_in) || looks(&ports.udp_in) || listens(&ports.tcp_out) || listens(&ports.udp_out)
}

/// Starts it with the arguments of this process, for a namespace; and what it hears.
pub(super) fn start(options: &Options, netns: File) -> anyhow::Result<(Relay, mpsc::Receiver<Heard>)> {
    let mut command = Command::new("/proc/self/exe");
    let user = match (&options.userns, &options.target) {
        (Some(path), _) => path.clone(),
        (None, Target::Pid(pid)) => format!("/proc/{pid}/ns/user").into(),
        // That of whoever calls.
        (None, _) => "/proc/self/ns/user".into(),
    };
    command.arg0(RELAY).arg(user).args(std::env::args_os().skip(1));
    let child = command.stdin(netns).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut relay = Relay(child.context("cannot start a process for the namespace")?);
    let mut said = BufReader::new(relay.0.stdout.take().context("it has no standard output")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    if line.trim_end() != STARTED {
        bail!("{}", line.trim_end());
    }
    let (sender, heard) = mpsc::channel(1);
    std::thread::Builder::new().name("heard".to_owned()).spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            if sender.blocking_send(Heard::parse(&line)).is_err() {
                break;
            }
        }
    })?;
    Ok((relay, heard))
}

/// Runs it.
pub(super) fn main(options: &Options, user: &Path) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let _ = rustix::thread::set_name(c"pasta-relay");
    let done = serve(options, user);
    if let Err(error) = &done {
        let _ = writeln!(io::stdout(), "{error:#}");
    }
    done
}

fn serve(options: &Options, user: &Path) -> anyhow::Result<()> {
    let netns = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    enter_user(user)?;
    let inside =
        Inside::enter(netns).context("cannot enter the network namespace; name its user namespace by --userns")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let outs = [(Protocol::Tcp, &options.ports.tcp_out), (Protocol::Udp, &options.ports.udp_out)];
        let mut relays = outs.map(|(protocol, _)| Listeners::new(protocol, inside.clone()));
        for (listeners, (protocol, wanted)) in relays.iter_mut().zip(outs) {
            let Wanted::These(forwards) = wanted else { continue };
            for forward in forwards {
                listeners.add_all(forward).await.with_context(|| {
                    format!("failed to listen in the namespace for ports {} of {}", forward.from, protocol.word())
                })?;
            }
        }
        let (mut started, mut known) = (false, Heard::default());
        loop {
            let heard = Heard {
                tcp: look(&inside, Protocol::Tcp, &options.ports.tcp_in, &relays[0]).await?,
                udp: look(&inside, Protocol::Udp, &options.ports.udp_in, &relays[1]).await?,
            };
            for (listeners, (protocol, wanted)) in relays.iter_mut().zip(outs) {
                let Some(excluded) = wanted.excluded() else { continue };
                // What leads in is not led out again.
                let (led_in, automatic) = match protocol {
                    Protocol::Tcp => (&options.ports.tcp_in, &heard.tcp),
                    Protocol::Udp => (&options.ports.udp_in, &heard.udp),
                };
                let mut ports = listening(protocol, Bound::Loopback)?;
                ports.retain(|port| {
                    let left_out = excluded.iter().any(|range| range.contains(*port));
                    !(left_out || led_in.names(*port) || automatic.contains(port))
                });
                listeners.follow(&ports).await;
            }
            if !std::mem::replace(&mut started, true) {
                say(STARTED)?;
            }
            if heard != known {
                say(&heard.to_string())?;
                known = heard;
            }
            tokio::time::sleep(PERIOD).await;
        }
    })
}

/// Enters a user namespace, unless it is this process's already.
fn enter_user(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("couldn't open user namespace {}", path.display()))?;
    let (own, other) = (std::fs::metadata("/proc/self/ns/user")?, file.metadata()?);
    if (own.dev(), own.ino()) == (other.dev(), other.ino()) {
        return Ok(());
    }
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::User))
        .with_context(|| format!("couldn't enter user namespace {}", path.display()))
}

/// The ports of the namespace that are to lead in.
async fn look(inside: &Inside, protocol: Protocol, wanted: &Wanted, own: &Listeners) -> io::Result<BTreeSet<u16>> {
    let Some(excluded) = wanted.excluded() else { return Ok(BTreeSet::new()) };
    let mut ports = inside.run(move || listening(protocol, Bound::Reachable)).await?;
    ports.retain(|port| !excluded.iter().any(|range| range.contains(*port)) && !own.0.contains_key(port));
    Ok(ports)
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

impl std::fmt::Display for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = self.tcp.iter().map(|port| format!("{port}/tcp"));
        let words = words.chain(self.udp.iter().map(|port| format!("{port}/udp")));
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

impl Heard {
    fn parse(line: &str) -> Heard {
        let mut heard = Heard::default();
        for word in line.split_whitespace() {
            match word.split_once('/').and_then(|(port, protocol)| Some((port.parse().ok()?, protocol))) {
                Some((port, "tcp")) => drop(heard.tcp.insert(port)),
                Some((port, "udp")) => drop(heard.udp.insert(port)),
                _ => {}
            }
        }
        heard
    }
}

/// Sockets in the namespace that lead to the host's loopback, by port.
#[derive(Debug)]
struct Listeners(BTreeMap<u16, Vec<Task>>, Protocol, Inside, Arc<Semaphore>);

/// One that ends when it is dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listeners {
    fn new(protocol: Protocol, inside: Inside) -> Listeners {
        Listeners(BTreeMap::new(), protocol, inside, Arc::new(Semaphore::new(CONNECTIONS)))
    }

    async fn add_all(&mut self, forward: &Forward) -> io::Result<()> {
        let Range { first, last } = forward.from;
        for port in first..=last {
            self.add(forward.at, port, forward.to + (port - first)).await?;
        }
        Ok(())
    }

    /// Those that are wanted now, and no others. One that the namespace has itself is passed over.
    async fn follow(&mut self, ports: &BTreeSet<u16>) {
        self.0.retain(|port, _| ports.contains(port));
        for &port in ports {
            if !self.0.contains_key(&port) {
                let _ = self.add(None, port, port).await;
            }
        }
    }

    /// Listens at an address, or the loopback's of both families, of which IPv6 may be missing.
    async fn add(&mut self, at: Option<IpAddr>, port: u16, to: u16) -> io::Result<()> {
        let addresses = match at {
            Some(at) => vec![at],
            None => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        };
        let mut tasks = Vec::new();
        for (number, address) in addresses.into_iter().enumerate() {
            match self.open(SocketAddr::new(address, port), to).await {
                Ok(task) => tasks.push(Task(task)),
                Err(error) if number == 0 => return Err(error),
                Err(_) => {}
            }
        }
        self.0.entry(port).or_default().extend(tasks);
        Ok(())
    }

    async fn open(&self, at: SocketAddr, to: u16) -> io::Result<JoinHandle<()>> {
        let loopback: IpAddr = if at.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let to = SocketAddr::new(loopback, to);
        match self.1 {
            Protocol::Tcp => {
                let listener = self.2.run(move || std::net::TcpListener::bind(at)).await?;
                listener.set_nonblocking(true)?;
                Ok(tokio::spawn(connections(TcpListener::from_std(listener)?, to, Arc::clone(&self.3))))
            }
            Protocol::Udp => {
                let socket = self.2.run(move || std::net::UdpSocket::bind(at)).await?;
                socket.set_nonblocking(true)?;
                Ok(tokio::spawn(datagrams(Arc::new(UdpSocket::from_std(socket)?), to)))
            }
        }
    }
}

async fn connections(listener: TcpListener, to: SocketAddr, room: Arc<Semaphore>) {
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((mut client, _)) = listener.accept().await else {
            // No descriptor is left: some come back.
            tokio::time::sleep(PERIOD).await;
            continue;
        };
        tokio::spawn(async move {
            if let Ok(mut server) = TcpStream::connect(to).await {
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
            drop(place);
        });
    }
}

/// Each client has a socket of its own on the host's side, by which the answers find it.
async fn datagrams(socket: Arc<UdpSocket>, to: SocketAddr) {
    let mut clients: BTreeMap<SocketAddr, (Arc<UdpSocket>, Task)> = BTreeMap::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        clients.retain(|_, (_, task)| !task.0.is_finished());
        if !clients.contains_key(&client) {
            let bind = SocketAddr::new(to.ip(), 0);
            let connected = async {
                let server = UdpSocket::bind(bind).await?;
                server.connect(to).await?;
                io::Result::Ok(Arc::new(server))
            };
            let Ok(server) = connected.await else { continue };
            if clients.len() >= CLIENTS {
                clients.pop_first();
            }
            let task = Task(tokio::spawn(answers(Arc::clone(&socket), client, Arc::clone(&server))));
            clients.insert(client, (server, task));
        }
        if let Some((server, _)) = clients.get(&client) {
            let _ = server.send(&buffer[..length]).await;
        }
    }
}

async fn answers(socket: Arc<UdpSocket>, client: SocketAddr, server: Arc<UdpSocket>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(received) = tokio::time::timeout(SILENCE, server.recv(&mut buffer)).await {
        // Nobody listens (yet) is an error that comes here, too.
        if let Ok(length) = received {
            let _ = socket.send_to(&buffer[..length], client).await;
        }
    }
}
