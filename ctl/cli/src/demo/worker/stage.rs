//! Where the demo's vswitchd runs: a network namespace of the demo's own with a veth pair, whose one end is vswitchd's
//! uplink, or the interface of the host that vswitchd runs on, and whose other end is in a second namespace that plays the
//! outside.
//!
//! `unshare`(1) makes the namespaces, since that takes code which this package must not have. They end with their last
//! process, and the processes end with the demo.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};
use rustix::process::Signal;
use tokio::task::AbortHandle;

use super::parent::Parent;
use super::{become_program, page};
use crate::clock;

/// vswitchd's end of the veth pair.
pub(crate) const UPLINK: &str = "up0";
/// The outside's end.
const OUTER: &str = "out0";
/// The loopback interface is the first of every namespace.
const LOOPBACK: u32 = 1;

/// The uplink's subnet.
pub(crate) const PREFIX: u8 = 24;
/// The address on it of vswitchd, or of the host.
pub(crate) const INNER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The outside's address on it.
pub(crate) const OUTER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Where pages are served.
pub(crate) const PAGE_PORT: u16 = 80;

/// How long a namespace or an interface may take to appear.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);

/// Whose vswitchd's end of the veth pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The host's, whose sockets use it.
    Host,
    /// vswitchd's alone.
    Switch,
}

/// Sets the stage, then becomes vswitchd.
pub(crate) async fn stage(owner: Owner, socket: &Path, command: &[OsString]) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    let outside = Command::new("unshare")
        .args(["--net", "--"])
        .arg(std::env::current_exe()?)
        .args(["demo-worker", "outside"])
        .arg(socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("unshare cannot be started; install the package util-linux")?;
    let own = std::fs::read_link("/proc/self/ns/net")?;
    let theirs = format!("/proc/{}/ns/net", outside.id());
    wait("the outside's namespace", || Ok(std::fs::read_link(&theirs)? != own))?;
    let netlink = Netlink::open()?;
    let peer = LinkMessageBuilder::<LinkUnspec>::new().name(OUTER).setns_by_pid(outside.id()).build();
    let pair = LinkMessageBuilder::<LinkVeth>::new(UPLINK, "").set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
    netlink.add(pair.up().build()).await.context("no veth pair can be made")?;
    if owner == Owner::Host {
        let index = rustix::net::netdevice::name_to_index(std::net::UdpSocket::bind("0.0.0.0:0")?, UPLINK)?;
        netlink.address(index, INNER_ADDRESS.into(), PREFIX).await?;
        netlink.up(LOOPBACK).await?;
    }
    drop(netlink);
    become_program(command)
}

/// Plays the outside: serves a page, and fetches one from each address that it is told over the Unix socket.
pub(crate) async fn outside(socket: &Path) -> anyhow::Result<()> {
    let parent = Parent::open()?;
    std::thread::spawn(move || {
        let ended = parent.ended();
        std::process::exit(i32::from(ended.is_err()));
    });
    let netlink = Netlink::open()?;
    wait("the outside's interface", || Ok(std::fs::read_to_string("/proc/self/net/dev")?.contains(OUTER)))?;
    let index = rustix::net::netdevice::name_to_index(std::net::UdpSocket::bind("0.0.0.0:0")?, OUTER)?;
    netlink.address(index, OUTER_ADDRESS.into(), PREFIX).await?;
    for index in [LOOPBACK, index] {
        netlink.up(index).await?;
    }
    let pages = TcpListener::bind((OUTER_ADDRESS, PAGE_PORT)).context("the outside's page cannot be served")?;
    std::thread::spawn(move || page::serve(&pages, "outside"));
    let listener = UnixListener::bind(socket)?;
    loop {
        let (stream, _) = listener.accept()?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        let fetched = line.trim().parse::<SocketAddr>().map_err(anyhow::Error::from).and_then(page::fetch);
        let answer = fetched.map_err(|error| format!("{error:#}"));
        (&stream).write_all(serde_json::to_string(&answer)?.as_bytes())?;
    }
}

/// Lets the outside fetch a page. Fails while it is not ready.
pub(crate) fn fetch_outside(socket: &Path, address: SocketAddr) -> anyhow::Result<page::Fetched> {
    let stream = UnixStream::connect(socket).context("the outside does not answer")?;
    stream.set_read_timeout(Some(PATIENCE * 3))?;
    (&stream).write_all(format!("{address}\n").as_bytes())?;
    let answer: Result<page::Fetched, String> = serde_json::from_reader(&stream).context("the outside went away")?;
    answer.map_err(|sentence| anyhow::anyhow!("the outside says: {sentence}"))
}

/// Waits until `ready`; that something is not there yet is no error.
pub(crate) fn wait(what: &str, mut ready: impl FnMut() -> std::io::Result<bool>) -> anyhow::Result<()> {
    let deadline = clock::instant() + PATIENCE;
    while !ready().unwrap_or(false) {
        if clock::instant() >= deadline {
            bail!("{what} did not appear within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// The namespace's interfaces.
pub(super) struct Netlink {
    handle: Handle,
    connection: AbortHandle,
}

impl Netlink {
    pub(super) fn open() -> anyhow::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Netlink { handle, connection: tokio::spawn(connection).abort_handle() })
    }

    pub(super) async fn add(&self, link: LinkMessage) -> anyhow::Result<()> {
        Ok(self.handle.link().add(link).execute().await?)
    }

    pub(super) async fn up(&self, index: u32) -> anyhow::Result<()> {
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build();
        Ok(self.handle.link().set(message).execute().await?)
    }

    pub(super) async fn address(&self, index: u32, address: IpAddr, prefix: u8) -> anyhow::Result<()> {
        Ok(self.handle.address().add(index, address, prefix).execute().await?)
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
