//! Keeps a port for machines open: the sockets by which they come are made here, with the caller's rights and in the caller's namespaces,
//! and what they send and receive goes between them and vswitchd alone.
//!
//! When vswitchd ends, the port is opened again as soon as another one serves. Streams do not survive that, because nobody knows how much of a
//! frame the former one had read.

mod files;
mod listen;
mod vde;

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rustix::net::{RecvFlags, SocketAddrUnix, connect, connect_unspec, recv, recvfrom};
use tokio::io::Interest;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use vswitch_api::machine::{MachinePort, MachinePortOpen};
use vswitch_api::{Client, ClientError};

use crate::output;
use files::Bound;
pub(crate) use listen::Listen;

/// Most machines at a time. Each is a client of vswitchd, which has a thousand at most.
const MOST_MACHINES: usize = 64;

/// Between two tries to reach a vswitchd that is gone.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Between two looks whether who sends datagrams is still there.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// How long to wait when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where machines come from.
#[derive(Debug)]
enum Source {
    /// Each connection is one.
    Streams { listener: UnixListener, _bound: Bound },
    /// Whoever sends to it is one, one at a time.
    Datagrams { socket: UnixDatagram, peer: Option<Peer>, _bound: Bound },
    /// As clients of `vde_switch`.
    Vde(UnixListener, Bound),
    /// The other end of a pair.
    Pair(UdpSocket),
    /// A socket that is connected already.
    Given(OwnedFd),
}

/// Who sends datagrams.
#[derive(Debug)]
struct Peer {
    address: SocketAddrUnix,
    /// Which socket that was.
    socket: (u64, u64),
}

impl Peer {
    fn is_there(&self) -> bool {
        files::seen(&self.address) == Some(self.socket)
    }
}

impl Source {
    fn open(listen: &Listen) -> anyhow::Result<Source> {
        let at = |path: &Path| format!("cannot listen at {}", path.display());
        Ok(match listen {
            Listen::Stream(path) => {
                let (listener, bound) = files::listen(path).with_context(|| at(path))?;
                Source::Streams { listener: UnixListener::from_std(listener)?, _bound: bound }
            }
            Listen::Datagram(path) => {
                let (socket, bound) = files::bind_datagram(path).with_context(|| at(path))?;
                Source::Datagrams { socket, peer: None, _bound: bound }
            }
            Listen::Vde(directory) => {
                let (listener, bound) = vde::listen(directory).with_context(|| at(directory))?;
                Source::Vde(UnixListener::from_std(listener)?, bound)
            }
            Listen::Udp { local, remote } => {
                let socket = UdpSocket::bind(local).with_context(|| format!("cannot have {local}"))?;
                socket.connect(remote).with_context(|| format!("cannot send to {remote}"))?;
                Source::Pair(socket)
            }
            Listen::Descriptor(number) => {
                let socket = files::inherited(*number);
                Source::Given(socket.with_context(|| format!("there is no descriptor {number} to take over"))?)
            }
        })
    }

    /// Plugs machines into `port`. Ends only where there is one machine, with it.
    async fn serve(&mut self, client: &Client, port: &MachinePort) -> anyhow::Result<()> {
        match self {
            Source::Streams { listener, .. } => {
                accept(listener, async |stream, machines| {
                    machines.spawn(stay(client.clone(), port.name.clone(), stream));
                })
                .await
            }
            Source::Vde(listener, bound) => {
                accept(listener, async |stream, machines| {
                    machines.spawn(vde::stay(client.clone(), port.name.clone(), stream, bound.folder()));
                })
                .await
            }
            Source::Datagrams { socket, peer, .. } => take_turns(client, port, socket, peer).await,
            Source::Pair(socket) => loop {
                stay_plugged(client, &port.name, socket.try_clone()?.into()).await?;
                tokio::time::sleep(RETRY_PAUSE).await;
            },
            Source::Given(socket) => stay_plugged(client, &port.name, socket.try_clone()?).await,
        }
    }
}

/// Opens a port, says so, and keeps it until somebody closes it, the one machine that it is for is gone, or a signal comes.
pub(crate) async fn keep(
    client: &Client,
    mut wish: MachinePortOpen,
    listen: &Listen,
    ready: impl FnOnce(&MachinePort) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut stops = Stops::listen()?;
    let mut source = Source::open(listen)?;
    let (mut port, mut hold) = client.open_machine_port(&wish).await?;
    ready(&port)?;
    loop {
        let lost = tokio::select! {
            ended = hold.ended() => ended.is_none(),
            served = source.serve(client, &port) => return served,
            () = stops.next() => return Ok(()),
        };
        if !lost {
            return Ok(());
        }
        output::note(&format!("vswitchd is gone; port {} is opened again when it serves", port.name));
        pin(&mut wish, &port);
        (port, hold) = loop {
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = stops.next() => return Ok(()),
            }
            match client.open_machine_port(&wish).await {
                Ok(opened) => break opened,
                Err(refused @ ClientError::Refused { .. }) => return Err(refused.into()),
                Err(_) => {}
            }
        };
        output::note(&format!("port {} is open again", port.name));
    }
}

/// Has the port be what it was, wherever vswitchd chose.
fn pin(wish: &mut MachinePortOpen, port: &MachinePort) {
    wish.name = Some(port.name.clone());
    let Some(identity) = &mut wish.identity else { return };
    let bare = |address: &Option<String>| {
        address.as_deref().and_then(|address| address.split('/').next()).unwrap_or_default().to_owned()
    };
    let ipam = identity.ipam_config.get_or_insert_default();
    if ipam.ipv4_address.is_empty() {
        ipam.ipv4_address = bare(&port.ipv4_address);
    }
    if ipam.ipv6_address.is_empty() {
        ipam.ipv6_address = bare(&port.ipv6_address);
    }
    identity.mac_address = port.mac_address.clone().unwrap_or_default();
}

/// Accepts connections, up to so many at a time.
async fn accept(
    listener: &UnixListener,
    begin: impl AsyncFn(std::os::unix::net::UnixStream, &mut JoinSet<()>),
) -> anyhow::Result<()> {
    let mut machines = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) if machines.len() < MOST_MACHINES => begin(stream, &mut machines).await,
                Ok(_) => output::note(&format!("a machine is sent away: there are {MOST_MACHINES} already")),
                Err(error) => {
                    output::note(&format!("cannot accept a machine: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = machines.join_next() => {}
        }
    }
}

/// Plugs a machine in and waits for its end.
async fn stay(client: Client, port: String, socket: impl Into<OwnedFd>) {
    if let Err(error) = stay_plugged(&client, &port, socket.into()).await {
        output::note(&format!("a machine is sent away: {error}"));
    }
}

async fn stay_plugged(client: &Client, port: &str, socket: OwnedFd) -> anyhow::Result<()> {
    let (machine, mut hold) = client.plug_machine(port, socket.as_fd()).await?;
    // From here on the machine's end is vswitchd's to see, and its own to make.
    drop(socket);
    if let Some(why) = hold.ended().await {
        output::note(&format!("{}: {why}", machine.name));
    }
    Ok(())
}

/// Serves whoever sends to a datagram socket, until another one does. Who is known from before, when another vswitchd served, is still there.
async fn take_turns(
    client: &Client,
    port: &MachinePort,
    socket: &UnixDatagram,
    known: &mut Option<Peer>,
) -> anyhow::Result<()> {
    loop {
        let peer = match known.take().filter(Peer::is_there) {
            Some(peer) => known.insert(peer),
            None => known.insert(next_peer(socket).await?),
        };
        let (machine, mut hold) = match client.plug_machine(&port.name, socket.as_fd()).await {
            Ok(plugged) => plugged,
            Err(error) => {
                output::note(&format!("a machine is not heard: {error}"));
                discard(socket);
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        loop {
            tokio::select! {
                why = hold.ended() => {
                    output::note(&format!("{}: {}", machine.name, why.unwrap_or_default()));
                    break;
                }
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
            // Nobody tells the end of who sends datagrams.
            if !peer.is_there() {
                output::note(&format!("{}: the machine is gone", machine.name));
                break;
            }
        }
    }
}

/// Connects with whoever sent the first datagram that waits. It stays where it is.
async fn next_peer(socket: &UnixDatagram) -> io::Result<Peer> {
    connect_unspec(socket)?;
    loop {
        let address = next_sender(socket).await?;
        if let Some(seen) = files::seen(&address)
            && connect(socket, &address).is_ok()
        {
            return Ok(Peer { address, socket: seen });
        }
        discard(socket);
    }
}

/// Whose datagram is the first that waits. It stays where it is.
async fn next_sender(socket: &UnixDatagram) -> io::Result<SocketAddrUnix> {
    // Watched for as long as nobody else reads from it.
    let watched = tokio::net::UnixDatagram::from_std(socket.try_clone()?)?;
    loop {
        watched.readable().await?;
        let peeked = watched.try_io(Interest::READABLE, || {
            Ok(recvfrom(socket, &mut [0u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT)?.2)
        });
        match peeked {
            Ok(from) => match from.and_then(|from| SocketAddrUnix::try_from(from).ok()) {
                Some(peer) if !peer.is_unnamed() => return Ok(peer),
                // Nobody can answer that one.
                _ => discard(socket),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Throws away one datagram that waits, if one does.
fn discard(socket: &UnixDatagram) {
    let _ = recv(socket, &mut [0u8; 1], RecvFlags::DONTWAIT);
}

/// The signals that close a port.
#[derive(Debug)]
struct Stops([Signal; 3]);

impl Stops {
    fn listen() -> io::Result<Stops> {
        Ok(Stops([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
